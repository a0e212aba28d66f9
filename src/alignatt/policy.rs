//! Target policies: how much of a draft may be shown while its segment is still open.
//!
//! Every policy stands behind [`TargetPolicy`]: it sees a [`Proposal`] (what is shown, what was drafted,
//! the source as it is known) and answers with a [`Verdict`]. Once the segment is closed no policy is
//! asked: its final translation is shown whole. Two standard baselines live here:
//!
//! * `local-agreement`: what two drafts in a row begin with alike, in whole units (Liu et al. 2020);
//! * `hold-n`: the draft without its last n units (Ma et al. 2019's wait-k seen from the target).
//!
//! and the one that waits for everything, to measure the others by: `offline` shows nothing of an open segment.
//!
//! A policy that looks at attention reads [`Piece::evidence`] and the times of the source words.

use std::fmt;
use std::str::FromStr;

use super::language::Language;
use super::sentence::strip_final_marks;
use super::time::Millis;
use super::units::{is_unit_boundary, unit_ends};

/// A source word as a policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceWord {
    pub text: String,
    /// When its sound ends, absolute; unknown where no alignment was asked for.
    pub end: Option<Millis>,
    /// Two hypotheses agreed on it.
    pub committed: bool,
}

/// One token of a draft.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// The text it adds; the pieces of a draft join up to its continuation.
    pub text: String,
    /// What the model's attention says of it, where it was captured.
    pub evidence: Option<Evidence>,
}

/// Where a draft token listens. Source: specs/alignatt4llm.md 4.2, 5.1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Index of the source word it rests on.
    pub source_word: usize,
    /// Attention on source words heard and stable, on the others, on the rest of the prompt, on the draft.
    pub mass: [f32; 4],
}

/// What a policy is asked to judge.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// Shown already; normalised.
    pub accepted: &'a str,
    /// Shown text and draft as one normalised text; starts with `accepted`.
    pub candidate: &'a str,
    /// The model ended the draft by itself (not the budget).
    pub finished: bool,
    /// The draft's tokens.
    pub pieces: &'a [Piece],
    /// The source words that were in the prompt.
    pub source: &'a [SourceWord],
    /// How far the stream has been heard.
    pub heard: Millis,
    pub target: Language,
}

/// A policy's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many bytes of the candidate may be shown; clamped to at least what is shown and to a character.
    pub show_len: usize,
    /// How many source words that text may rest on: the segment does not close before the last of them,
    /// so that no word is translated in two segments.
    pub rests_on: usize,
}

/// Decides, draft by draft, within one segment.
pub trait TargetPolicy {
    /// How much of this draft may be shown.
    fn judge(&mut self, proposal: &Proposal<'_>) -> Verdict;
    /// The segment is closed: forget it.
    fn segment_closed(&mut self);
    /// Whether it needs the times of all source words, and a draft when only they have changed.
    fn wants_times(&self) -> bool {
        false
    }
}

/// A policy by name, as a user gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    LocalAgreement,
    /// The number of units that are held.
    HoldN(usize),
    /// Nothing is shown before its segment is closed.
    Offline,
}

impl PolicyKind {
    /// Units held by `hold-n` where no number is given.
    pub const HOLD: usize = 3;

    pub fn build(self) -> Box<dyn TargetPolicy> {
        match self {
            PolicyKind::LocalAgreement => Box::new(LocalAgreement::default()),
            PolicyKind::HoldN(units) => Box::new(HoldN { units }),
            PolicyKind::Offline => Box::new(Offline),
        }
    }
}

/// A policy name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown policy `{name}`: use local-agreement, hold-n, hold-n:N (N from 0 to 99) or offline")]
pub struct UnknownPolicy {
    pub name: String,
}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownPolicy { name: name.to_owned() };
        match name {
            "local-agreement" => Ok(PolicyKind::LocalAgreement),
            "offline" => Ok(PolicyKind::Offline),
            "hold-n" => Ok(PolicyKind::HoldN(Self::HOLD)),
            _ => match name.strip_prefix("hold-n:").map(str::parse::<usize>) {
                Some(Ok(units)) if units < 100 => Ok(PolicyKind::HoldN(units)),
                _ => Err(unknown()),
            },
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyKind::LocalAgreement => f.write_str("local-agreement"),
            PolicyKind::HoldN(units) => write!(f, "hold-n:{units}"),
            PolicyKind::Offline => f.write_str("offline"),
        }
    }
}

/// Shows what two successive drafts begin with alike.
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
            // Both drafts begin with the shown text, so it rests on no more than the shorter source.
            Some(before) => Verdict {
                show_len: shown_len(proposal, agreed_len(before, &now)),
                rests_on: before.source_words.min(now.source_words),
            },
            None => Verdict { show_len: proposal.accepted.len(), rests_on: 0 },
        };
        self.previous = Some(now);
        verdict
    }

    fn segment_closed(&mut self) {
        self.previous = None;
    }
}

/// The longest common prefix of two drafts that cuts no unit of either.
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
        // A draft that ran out of budget may end inside a unit: that one is held in any case.
        let held = if proposal.finished { self.units } else { self.units.max(1) };
        let shown = match ends.len().checked_sub(held + 1) {
            Some(last) => ends[last],
            None => 0,
        };
        Verdict {
            show_len: shown_len(proposal, shown),
            rests_on: proposal.source.len().saturating_sub(held_words(held, proposal.target)),
        }
    }

    fn segment_closed(&mut self) {}
}

/// Shows nothing.
#[derive(Debug)]
pub struct Offline;

impl TargetPolicy for Offline {
    fn judge(&mut self, proposal: &Proposal<'_>) -> Verdict {
        Verdict { show_len: proposal.accepted.len(), rests_on: 0 }
    }

    fn segment_closed(&mut self) {}
}

/// About how many source words `units` target units stand for.
fn held_words(units: usize, target: Language) -> usize {
    if target.counts_characters() { units / 2 } else { units }
}

/// `len` bytes of the candidate without blanks and sentence-final marks at its end: a mark there closes
/// the source heard so far, not the sentence. Never less than what is shown.
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
            finished,
            pieces: &[],
            source: &source,
            heard: Millis::ZERO,
            target,
        });
        candidate[..verdict.show_len].to_owned()
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
        assert_eq!(judge(&mut Offline, "", "Das ist gut.", true, Language::GERMAN), "");
    }

    #[test]
    fn names() {
        assert_eq!("hold-n:5".parse(), Ok(PolicyKind::HoldN(5)));
        assert_eq!("hold-n".parse(), Ok(PolicyKind::HoldN(3)));
        for name in ["local-agreement", "hold-n:7", "offline"] {
            assert_eq!(name.parse::<PolicyKind>().map(|p| p.to_string()), Ok(name.to_owned()));
        }
        assert!("hold-n:x".parse::<PolicyKind>().is_err());
        assert!("alignatt2".parse::<PolicyKind>().is_err());
    }
}
