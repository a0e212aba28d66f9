//! Target policies: how much of a draft may be shown while its segment is still open.
//!
//! Every policy implements [`TargetPolicy`]: it takes a [`Proposal`] (the shown text, the draft,
//! and the source as far as it is known) and returns a [`Verdict`]. Once the segment is closed, its
//! final translation is shown whole; the policy then only reports what the model attended to.
//! [`super::align_att`] is our own policy. The standard baselines are in this file:
//!
//! * `local-agreement`: shows the common beginning of two drafts in a row, in whole units (Liu et
//!   al. 2020);
//! * `hold-n`: shows the draft without its last n units (wait-k of Ma et al. 2019, seen from the
//!   target);
//! * `offline`: shows nothing before the segment has closed.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::align_att::AlignAtt;
use super::budget::PARTIAL_MOST;
use super::frontier::words_through;
use super::gate::Policy;
use super::listening::Attention;
use super::preset::Preset;
use crate::text::language::Language;
use crate::text::sentence::strip_final_marks;
use crate::text::time::Millis;
use crate::text::units::{is_unit_boundary, join_words, push_joined, unit_ends};

/// A source word as a policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceWord {
    pub text: String,
    /// When its sound ends, in absolute stream time. `None` if it was not aligned.
    pub end: Option<Millis>,
    /// Two hypotheses agreed on it.
    pub committed: bool,
}

/// A draft for a policy to judge.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// The text that was shown when the draft was written; normalised.
    pub accepted: &'a str,
    /// `accepted` and the draft as one normalised text.
    pub candidate: &'a str,
    /// The byte offset in `candidate` at which each of the draft's tokens ends, without blanks
    /// after it.
    pub ends: &'a [usize],
    /// The model ended the draft itself; it did not run out of budget.
    pub finished: bool,
    /// The attention of the draft's tokens, if it was captured.
    pub attention: Option<&'a Attention>,
    /// The source words that were in the prompt.
    pub source: &'a [SourceWord],
    /// The segment is closed: everything may be shown, and the policy only reports the attention.
    pub source_is_final: bool,
    /// How far the stream has been heard.
    pub heard: Millis,
    pub target: Language,
}

impl<'a> Proposal<'a> {
    /// The text that each of the draft's tokens adds to the shown text.
    pub fn token_texts(&self) -> Vec<&'a str> {
        let mut from = self.accepted.len();
        let text = |&end: &usize| {
            let text = self.candidate.get(from..end).unwrap_or_default();
            from = end.max(from);
            text
        };
        self.ends.iter().map(text).collect()
    }

    /// The mass of a row on each source word, as (index of the word, mean over heads). Words with
    /// less than 0.01 are left out.
    pub fn words_listened_to(&self, attention: &Attention, row: usize) -> Vec<(usize, f32)> {
        let places = word_places(self.source);
        let mut masses = vec![0.0; places.len()];
        for (column, bytes) in attention.columns.iter().enumerate() {
            let Some(word) = words_through(bytes, &places).checked_sub(1) else {
                continue;
            };
            let mass: f32 = (0..attention.heads_len).filter_map(|head| attention.row(row, head).get(column)).sum();
            masses[word] += mass / attention.heads_len as f32;
        }
        masses.into_iter().enumerate().filter(|(_, mass)| *mass >= 0.01).collect()
    }
}

/// The source words as one text.
pub fn joined(words: &[SourceWord]) -> String {
    join_words(words.iter().map(|word| word.text.as_str()))
}

/// The byte range of each word in [`joined`].
pub fn word_places(words: &[SourceWord]) -> Vec<Range<usize>> {
    let mut text = String::new();
    let place = |word: &SourceWord| {
        push_joined(&mut text, &word.text);
        text.len() - word.text.len()..text.len()
    };
    words.iter().map(place).collect()
}

/// A policy's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// How many bytes of the candidate may be shown. The cascade raises it to the length of the
    /// shown text and moves it to a character boundary.
    pub show_len: usize,
    /// How many source words that text may rest on. The segment does not close before the last of
    /// them, so no word is translated in two segments.
    pub rests_on: usize,
    /// How many source words, from the first, were accessible.
    pub heard: usize,
    /// The draft's tokens one by one, if attention was captured.
    pub tokens: Vec<Judged>,
}

/// The verdict on one token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged {
    /// Why it is held; `None` if it is shown.
    pub held: Option<Hold>,
    /// The index of the source word that it rests on.
    pub word: Option<usize>,
    /// Mass on accessible source words, on the other source words, on the rest of the prompt, and
    /// on the draft.
    pub mass: [f32; 4],
}

/// Why a token is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It rests on source words that are not accessible.
    Frontier,
    /// One of its masses is NaN or infinite.
    NotFinite,
    /// No attention was captured for it.
    NoRow,
    /// It passed, but its unit is not complete or is held at the draft's end.
    OpenUnit,
    /// An earlier token is held.
    Behind,
}

impl Hold {
    /// The name in events and traces.
    pub fn name(self) -> &'static str {
        match self {
            Hold::Frontier => "frontier",
            Hold::NotFinite => "not-finite",
            Hold::NoRow => "no-row",
            Hold::OpenUnit => "open-unit",
            Hold::Behind => "behind",
        }
    }
}

/// Decides, draft by draft within one segment, how much is shown.
pub trait TargetPolicy {
    /// How much of this draft may be shown.
    fn judge(&mut self, proposal: &Proposal<'_>) -> Verdict;
    /// How many of the source words are accessible when the stream has been heard up to `heard`.
    /// While the source, this number and [`TargetPolicy::is_stalled`] stay the same, a held draft
    /// is not judged again.
    fn heard_words(&self, source: &[SourceWord], _heard: Millis) -> usize {
        source.len()
    }
    /// Whether the wait at the frontier has reached its limit, so that a held draft must be judged
    /// again.
    fn is_stalled(&self, _heard: Millis) -> bool {
        false
    }
    /// A new draft begins. The next call of [`TargetPolicy::enough`] sees its first tokens.
    fn draft_begins(&mut self) {}
    /// Whether the draft that is being written already has all that can be used now, so that
    /// drafting can stop.
    fn enough(&mut self, _so_far: &Proposal<'_>) -> bool {
        false
    }
    /// Most tokens in a draft of an open segment.
    fn draft_len(&self) -> usize {
        PARTIAL_MOST
    }
    /// The segment is closed: resets the policy's state.
    fn segment_closed(&mut self);
    /// Whether the policy needs the times of all source words.
    fn wants_times(&self) -> bool {
        false
    }
}

/// A policy as the user names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PolicyKind {
    /// `alignatt`, `alignatt:high`, or `ref` (the published decisions): the preset, and all
    /// settings. They differ from those of the preset where the user has set a knob.
    AlignAtt(Preset, Policy),
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
            PolicyKind::AlignAtt(_, policy) => Box::new(AlignAtt::new(policy.towards(target))),
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
            PolicyKind::AlignAtt(_, policy) => policy.heads_len,
            PolicyKind::LocalAgreement | PolicyKind::HoldN(_) | PolicyKind::Offline => 0,
        }
    }
}

impl Default for PolicyKind {
    fn default() -> PolicyKind {
        PolicyKind::AlignAtt(Preset::Low, Policy::low())
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
                let (preset, knobs) = match rest.split_once(',').unwrap_or((rest, "")) {
                    ("" | "low", knobs) => (Preset::Low, knobs),
                    ("high", knobs) => (Preset::High, knobs),
                    _ => (Preset::Low, rest),
                };
                let policy = preset.policy().with(knobs).map_err(unknown)?;
                Ok(PolicyKind::AlignAtt(preset, policy))
            }
            ("ref", "") => Ok(PolicyKind::AlignAtt(Preset::Published, Policy::published())),
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
            PolicyKind::AlignAtt(preset, policy) => {
                let knobs = policy.differs_from(&preset.policy());
                match (preset, knobs.as_str()) {
                    (Preset::Low, "") => f.write_str("alignatt"),
                    (_, "") => write!(f, "alignatt:{preset}"),
                    (Preset::Low, knobs) => write!(f, "alignatt:{knobs}"),
                    (_, knobs) => write!(f, "alignatt:{preset},{knobs}"),
                }
            }
            PolicyKind::LocalAgreement => f.write_str("local-agreement"),
            PolicyKind::HoldN(units) => write!(f, "hold-n:{units}"),
            PolicyKind::Offline => f.write_str("offline"),
        }
    }
}

/// Shows the common beginning of two drafts in a row.
#[derive(Debug, Default)]
pub struct LocalAgreement {
    previous: Option<Previous>,
}

#[derive(Debug)]
struct Previous {
    candidate: String,
    finished: bool,
    source_words: usize,
}

impl TargetPolicy for LocalAgreement {
    fn judge(&mut self, proposal: &Proposal<'_>) -> Verdict {
        let now = Previous {
            candidate: proposal.candidate.to_owned(),
            finished: proposal.finished,
            source_words: proposal.source.len(),
        };
        let verdict = match &self.previous {
            // Both drafts begin with the shown text, so it rests on no more words than the shorter
            // source has.
            Some(before) => Verdict {
                show_len: shown_len(proposal, agreed_len(before, &now)),
                rests_on: before.source_words.min(now.source_words),
                ..Verdict::default()
            },
            None => Verdict { show_len: proposal.accepted.len(), ..Verdict::default() },
        };
        self.previous = Some(now);
        verdict
    }

    fn segment_closed(&mut self) {
        self.previous = None;
    }
}

/// The length in bytes of the longest common prefix of two drafts that splits no unit of either.
fn agreed_len(a: &Previous, b: &Previous) -> usize {
    let whole = |draft: &Previous, at: usize| {
        if at == draft.candidate.len() { draft.finished } else { is_unit_boundary(&draft.candidate, at) }
    };
    let pairs = a.candidate.char_indices().zip(b.candidate.chars());
    let common: usize = pairs.take_while(|((_, x), y)| x == y).map(|((_, x), _)| x.len_utf8()).sum();
    (0..=common).rev().find(|&at| a.candidate.is_char_boundary(at) && whole(a, at) && whole(b, at)).unwrap_or(0)
}

/// Shows all but the last `units` units of a draft.
#[derive(Debug)]
pub struct HoldN {
    pub units: usize,
}

impl TargetPolicy for HoldN {
    fn judge(&mut self, proposal: &Proposal<'_>) -> Verdict {
        let ends = unit_ends(proposal.candidate, proposal.target);
        // A draft that ran out of budget may end within a unit, so that unit is always held.
        let held = if proposal.finished { self.units } else { self.units.max(1) };
        let shown = match ends.len().checked_sub(held + 1) {
            Some(last) => ends[last],
            None => 0,
        };
        Verdict {
            show_len: shown_len(proposal, shown),
            rests_on: proposal.source.len().saturating_sub(held_words(held, proposal.target)),
            ..Verdict::default()
        }
    }

    fn segment_closed(&mut self) {}
}

/// Shows nothing of an open segment.
#[derive(Debug)]
pub struct Offline;

impl TargetPolicy for Offline {
    fn judge(&mut self, proposal: &Proposal<'_>) -> Verdict {
        Verdict { show_len: proposal.accepted.len(), ..Verdict::default() }
    }

    fn segment_closed(&mut self) {}
}

/// About how many source words correspond to `units` target units.
fn held_words(units: usize, target: Language) -> usize {
    if target.counts_characters() { units / 2 } else { units }
}

/// The length of the candidate's first `len` bytes without blanks and sentence-final marks at their
/// end: a mark there ends the source heard so far, not the sentence. Never less than the shown
/// text.
fn shown_len(proposal: &Proposal<'_>, len: usize) -> usize {
    let text = proposal.candidate.get(..len).unwrap_or_default();
    strip_final_marks(text).len().max(proposal.accepted.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(words: usize) -> Vec<SourceWord> {
        let word = SourceWord { text: "w".to_owned(), end: None, committed: false };
        vec![word; words]
    }

    fn judge(
        policy: &mut dyn TargetPolicy,
        accepted: &str,
        candidate: &str,
        finished: bool,
        target: Language,
    ) -> String {
        let source = source(5);
        let verdict = policy.judge(&Proposal {
            accepted,
            candidate,
            ends: &[],
            finished,
            attention: None,
            source: &source,
            source_is_final: false,
            heard: Millis::ZERO,
            target,
        });
        candidate[..verdict.show_len].to_owned()
    }

    /// The frontier counts such a column in the same way.
    #[test]
    fn a_column_that_two_words_share_counts_for_the_later_one() {
        let word = |text: &str| SourceWord { text: text.to_owned(), end: None, committed: false };
        let source = ["我", "们", "好"].map(word);
        let mut attention = Attention::new(vec![0..6, 6..9], 1);
        assert!(attention.append(&[0.75, 0.25], &[[0.0; 2]]).is_ok());
        let proposal = Proposal {
            accepted: "",
            candidate: "",
            ends: &[],
            finished: false,
            attention: Some(&attention),
            source: &source,
            source_is_final: false,
            heard: Millis::ZERO,
            target: Language::GERMAN,
        };
        assert_eq!(proposal.words_listened_to(&attention, 0), [(1, 0.75), (2, 0.25)]);
    }

    #[test]
    fn agreement_is_in_whole_units() {
        let de = Language::GERMAN;
        let mut policy = LocalAgreement::default();
        assert_eq!(judge(&mut policy, "", "Das ist Ent", false, de), "");
        assert_eq!(judge(&mut policy, "", "Das ist Entwurf", false, de), "Das ist");
        assert_eq!(judge(&mut policy, "Das ist", "Das ist Entwurf, dass", false, de), "Das ist");
        assert_eq!(judge(&mut policy, "Das ist", "Das ist Entwurf und", false, de), "Das ist Entwurf");
        assert_eq!(judge(&mut policy, "Das ist Entwurf", "Das ist Entwurf und.", true, de), "Das ist Entwurf");
        assert_eq!(judge(&mut policy, "Das ist Entwurf", "Das ist Entwurf und so", true, de), "Das ist Entwurf und");
        policy.segment_closed();
        assert_eq!(judge(&mut policy, "", "Das", true, de), "");
    }

    #[test]
    fn a_final_mark_waits_for_the_sentence() {
        let mut policy = LocalAgreement::default();
        judge(&mut policy, "", "你好。", true, Language::CHINESE);
        assert_eq!(judge(&mut policy, "", "你好。", true, Language::CHINESE), "你好");
        assert_eq!(judge(&mut HoldN { units: 0 }, "", "Ja, gut.", true, Language::GERMAN), "Ja, gut");
    }

    #[test]
    fn the_last_units_are_held() {
        let mut policy = HoldN { units: 2 };
        assert_eq!(judge(&mut policy, "", "Das ist sehr gut.", true, Language::GERMAN), "Das ist");
        assert_eq!(judge(&mut policy, "Das ist sehr", "Das ist sehr gut", true, Language::GERMAN), "Das ist sehr");
        assert_eq!(judge(&mut policy, "", "我们在学", true, Language::CHINESE), "我们");
        assert_eq!(judge(&mut HoldN { units: 0 }, "", "Das ist Ent", false, Language::GERMAN), "Das ist");
        assert_eq!(judge(&mut policy, "", "", true, Language::GERMAN), "");
    }

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
}
