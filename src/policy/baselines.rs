//! The standard baselines:
//!
//! * `local-agreement`: shows the common beginning of two drafts in a row, in whole units (Liu et
//!   al. 2020);
//! * `hold-n`: shows the draft without its last n units (wait-k of Ma et al. 2019, seen from the
//!   target);
//! * `offline`: shows nothing before the segment has closed.

use super::{Proposal, TargetPolicy, Verdict};
use crate::text::language::Language;
use crate::text::sentence::strip_final_marks;
use crate::text::units::{is_unit_boundary, unit_ends};

/// Shows the common beginning of two drafts in a row.
#[derive(Debug, Default)]
pub(crate) struct LocalAgreement {
    previous: Option<Previous>,
}

#[derive(Debug)]
struct Previous {
    candidate: String,
    finished: bool,
    source_words: usize,
}

impl TargetPolicy for LocalAgreement {
    fn judge(&mut self, proposal: &Proposal) -> Verdict {
        let now = Previous {
            candidate: proposal.candidate.clone(),
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
pub(crate) struct HoldN {
    pub units: usize,
}

impl TargetPolicy for HoldN {
    fn judge(&mut self, proposal: &Proposal) -> Verdict {
        let ends = unit_ends(&proposal.candidate, proposal.target);
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
pub(crate) struct Offline;

impl TargetPolicy for Offline {
    fn judge(&mut self, proposal: &Proposal) -> Verdict {
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
fn shown_len(proposal: &Proposal, len: usize) -> usize {
    let text = proposal.candidate.get(..len).unwrap_or_default();
    strip_final_marks(text).len().max(proposal.accepted.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SourceWord;

    fn source(words: usize) -> Vec<SourceWord> {
        let word = SourceWord { text: "w".to_owned(), end: None, committed: false, certain: false };
        vec![word; words]
    }

    fn judge(
        policy: &mut dyn TargetPolicy,
        accepted: &str,
        candidate: &str,
        finished: bool,
        target: Language,
    ) -> String {
        let accepted = accepted.to_owned();
        let proposal = Proposal { accepted, source: source(5), ..Proposal::of_texts(&[candidate], finished, target) };
        let verdict = policy.judge(&proposal);
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
    }
}
