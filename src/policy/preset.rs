//! The presets by name: a chunk length, and the policy that goes with it.

use std::fmt;
use std::str::FromStr;

use super::gate::Policy;
use crate::text::time::Millis;

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
    pub fn policy(self) -> Policy {
        match self {
            Preset::Low => Policy::low(),
            Preset::High => Policy::high(),
            Preset::Published => Policy::published(),
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
    fn names_and_ranges() {
        for preset in Preset::ALL {
            assert_eq!(preset.to_string().parse(), Ok(preset));
            assert_eq!(preset.policy().check(), Ok(()));
        }
        let error = "fast".parse::<Preset>().expect_err("no such preset");
        assert_eq!(error.to_string(), "unknown preset `fast`: use low, high or ref");
        let error = Policy { soft_mass: f32::NAN, ..Policy::low() }.check().expect_err("not a number");
        assert_eq!(error.to_string(), "the policy's soft mass is out of range: use 0 to 1");
    }
}
