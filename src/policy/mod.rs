//! Policies: how much of a draft may be shown while its segment is still open.
//!
//! Every policy implements [`TargetPolicy`]: it takes a [`Proposal`] (the shown text, the draft,
//! and the source as far as it is known) and returns a [`Verdict`]. Once the segment is closed, its
//! final translation is shown whole; the policy then only reports what the model attended to.
//! [`align_att`] is our own policy.
//!
//! | file | what it holds |
//! |---|---|
//! | `kind` | the policies and presets by name |
//! | `align_att` | the AlignAtt policy: it ties tracker, frontier, gate and stall together |
//! | `knobs` | the settings of the AlignAtt policy, by name |
//! | `heads` | which attention heads of a model follow the source, and how well |
//! | `shipped_heads` | the head sets that come with the program, and which a model can use |
//! | `listening` | the attention that a model hands over with its draft |
//! | `tracker` | the source position that each draft token attends to |
//! | `frontier` | how far the source is heard and stable |
//! | `published` | the frontier of the published system, for comparison |
//! | `gate` | which tokens of a draft may be shown, and why the others are held |
//! | `stall` | how long the gate has let nothing pass |
//! | `baselines` | local agreement, hold-n, offline |
//! | `schedule` | whether a draft is due |
//! | `budget` | how many tokens a draft may have |
//! | `emission` | shown text, which only grows |
//!
//! Invariant: plain data in, plain data out; no tensors, no I/O, no clock.

pub mod align_att;
pub mod baselines;
pub mod budget;
pub mod emission;
pub mod frontier;
pub mod gate;
pub mod heads;
pub mod kind;
pub mod knobs;
pub mod listening;
mod published;
pub mod schedule;
pub mod shipped_heads;
pub mod stall;
pub mod tracker;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod defects;

use std::ops::Range;

pub use emission::Committed;
pub use kind::PolicyKind;

use budget::PARTIAL_MOST;
use listening::Attention;

use crate::text::language::Language;
use crate::text::time::Millis;
use crate::text::units::{join_words, push_joined};

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

/// How many words start before `column` ends. A token that two words share counts for the later
/// one.
pub fn words_through(column: &Range<usize>, spans: &[Range<usize>]) -> usize {
    spans.partition_point(|span| span.start < column.end.max(column.start.saturating_add(1)))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
