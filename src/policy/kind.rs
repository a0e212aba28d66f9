//! The policies and presets by name.

use std::fmt;
use std::str::FromStr;

use super::TargetPolicy;
use super::align_att::AlignAtt;
use super::baselines::{HoldN, LocalAgreement, Offline};
use super::knobs::Knobs;
use crate::text::language::Language;
use crate::text::time::Millis;

/// A policy as the user names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PolicyKind {
    /// `alignatt`, `alignatt:high`, or `ref` (the published decisions): the preset, and all
    /// knobs. They differ from those of the preset where the user has set one.
    AlignAtt(Preset, Knobs),
    /// Shows what two drafts in a row agree on.
    LocalAgreement,
    /// Holds this many units at the end of a draft.
    HoldN(usize),
    /// Shows nothing before a segment closes: the upper bound of translation quality.
    Offline,
}

impl PolicyKind {
    /// How many units `hold-n` holds if no number is given.
    pub const HOLD: usize = 3;

    /// Builds the policy for translation into `target`.
    pub fn build(self, target: Language) -> Box<dyn TargetPolicy> {
        match self {
            PolicyKind::AlignAtt(_, knobs) => Box::new(AlignAtt::new(knobs.towards(target))),
            PolicyKind::LocalAgreement => Box::new(LocalAgreement::default()),
            PolicyKind::HoldN(units) => Box::new(HoldN { units }),
            PolicyKind::Offline => Box::new(Offline),
        }
    }

    /// The default chunk: the sound of one step.
    pub fn chunk(self) -> Millis {
        match self {
            PolicyKind::AlignAtt(preset, _) => preset.chunk(),
            PolicyKind::LocalAgreement | PolicyKind::HoldN(_) | PolicyKind::Offline => Preset::Low.chunk(),
        }
    }

    /// How many attention heads the policy reads; 0 if it needs none.
    pub fn heads_len(self) -> usize {
        match self {
            PolicyKind::AlignAtt(_, knobs) => knobs.heads_len,
            PolicyKind::LocalAgreement | PolicyKind::HoldN(_) | PolicyKind::Offline => 0,
        }
    }
}

impl Default for PolicyKind {
    fn default() -> PolicyKind {
        PolicyKind::AlignAtt(Preset::Low, Knobs::low())
    }
}

/// The error for text that names no policy, or that sets a knob wrongly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown policy `{name}`: {why}")]
pub struct UnknownPolicy {
    pub name: String,
    pub why: String,
}

const NAMES: &str = "use alignatt, alignatt:high, ref, local-agreement, hold-n, hold-n:N (N from 0 to 99) or offline";

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let unknown = |why: String| UnknownPolicy { name: name.to_owned(), why };
        let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
        match (kind, rest) {
            ("alignatt", _) => {
                let (preset, settings) = match rest.split_once(',').unwrap_or((rest, "")) {
                    ("" | "low", settings) => (Preset::Low, settings),
                    ("high", settings) => (Preset::High, settings),
                    _ => (Preset::Low, rest),
                };
                let knobs = preset.knobs().with(settings).map_err(unknown)?;
                Ok(PolicyKind::AlignAtt(preset, knobs))
            }
            ("ref", "") => Ok(PolicyKind::AlignAtt(Preset::Published, Knobs::published())),
            ("local-agreement", "") => Ok(PolicyKind::LocalAgreement),
            ("hold-n", "") => Ok(PolicyKind::HoldN(Self::HOLD)),
            ("hold-n", count) => match count.parse() {
                Ok(units) if units < 100 => Ok(PolicyKind::HoldN(units)),
                _ => Err(unknown(NAMES.to_owned())),
            },
            ("offline", "") => Ok(PolicyKind::Offline),
            _ => Err(unknown(NAMES.to_owned())),
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyKind::AlignAtt(Preset::Published, _) => f.write_str("ref"),
            PolicyKind::AlignAtt(preset, knobs) => {
                let settings = knobs.differs_from(&preset.knobs());
                match (preset, settings.as_str()) {
                    (Preset::Low, "") => f.write_str("alignatt"),
                    (_, "") => write!(f, "alignatt:{preset}"),
                    (Preset::Low, settings) => write!(f, "alignatt:{settings}"),
                    (_, settings) => write!(f, "alignatt:{preset},{settings}"),
                }
            }
            PolicyKind::LocalAgreement => f.write_str("local-agreement"),
            PolicyKind::HoldN(units) => write!(f, "hold-n:{units}"),
            PolicyKind::Offline => f.write_str("offline"),
        }
    }
}

/// The choice between a short lag and a good translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// About two seconds behind the speaker.
    #[default]
    Low,
    /// About three and a half seconds behind the speaker, with a better translation.
    High,
    /// The published system's decisions, for comparison.
    Published,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Preset; 3] = [Preset::Low, Preset::High, Preset::Published];

    /// The name that a user gives.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Low => "low",
            Preset::High => "high",
            Preset::Published => "ref",
        }
    }

    /// The chunk: the sound of one step.
    pub fn chunk(self) -> Millis {
        match self {
            Preset::Low | Preset::Published => Millis(850),
            Preset::High => Millis(1500),
        }
    }

    /// The settings of the gate.
    pub fn knobs(self) -> Knobs {
        match self {
            Preset::Low => Knobs::low(),
            Preset::High => Knobs::high(),
            Preset::Published => Knobs::published(),
        }
    }
}

/// The error for a name that no preset has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown preset `{name}`: use low, high or ref")]
pub struct UnknownPreset {
    pub name: String,
}

impl FromStr for Preset {
    type Err = UnknownPreset;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let preset = Preset::ALL.into_iter().find(|preset| preset.name() == name);
        preset.ok_or_else(|| UnknownPreset { name: name.to_owned() })
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!("hold-n:5".parse(), Ok(PolicyKind::HoldN(5)));
        assert_eq!("hold-n".parse(), Ok(PolicyKind::HoldN(3)));
        for name in [
            "alignatt",
            "alignatt:high",
            "alignatt:high,holdback=900,stall=off",
            "alignatt:margin=1,soft-mass=0.1,hold-last=0",
            "alignatt:agreed-only=off",
            "ref",
            "local-agreement",
            "hold-n:7",
            "offline",
        ] {
            assert_eq!(name.parse::<PolicyKind>().map(|p| p.to_string()), Ok(name.to_owned()));
        }
        for name in ["hold-n:x", "ref:low", "offline:1", "alignatt:margin", "alignatt:margin=900", "alignatt:high,low"]
        {
            assert!(name.parse::<PolicyKind>().is_err(), "{name}");
        }
        assert!("alignatt2".parse::<PolicyKind>().is_err());
        assert_eq!("alignatt:agreed-only=auto".parse::<PolicyKind>(), "alignatt".parse());
    }

    #[test]
    fn names_and_ranges() {
        for preset in Preset::ALL {
            assert_eq!(preset.to_string().parse(), Ok(preset));
            assert_eq!(preset.knobs().check(), Ok(()));
        }
        let error = "fast".parse::<Preset>().expect_err("no such preset");
        assert_eq!(error.to_string(), "unknown preset `fast`: use low, high or ref");
        let error = Knobs { soft_mass: f32::NAN, ..Knobs::low() }.check().expect_err("not a number");
        assert_eq!(error.to_string(), "the policy's soft-mass is out of range: use 0 to 1");
    }

    #[test]
    fn an_error_names_the_knob_as_the_user_typed_it() {
        for (knob, range) in [
            ("heads=0", "1 to 64"),
            ("margin=65", "0 to 64 tokens"),
            ("soft-mass=2", "0 to 1"),
            ("soft-mass=NaN", "0 to 1"),
            ("holdback=10001", "0 to 10000 ms"),
            ("filter=64", "1 to 63 tokens"),
            ("hold-last=10", "0 to 9 units"),
            ("draft=0", "1 to 160 tokens"),
        ] {
            let (name, policy) = (knob.split('=').next().unwrap_or(knob), format!("alignatt:{knob}"));
            let error = policy.parse::<PolicyKind>().expect_err("out of range").to_string();
            let expected = format!("unknown policy `{policy}`: the policy's {name} is out of range: use {range}");
            assert_eq!(error, expected);
        }
    }
}
