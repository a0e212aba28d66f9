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
//! | `token` | one judged token: whether it is shown, and why not |
//! | `stall` | how long the gate has let nothing pass |
//! | `baselines` | local agreement, hold-n, offline |
//! | `schedule` | whether a draft is due |
//! | `budget` | how many tokens a draft may have |
//! | `emission` | shown text, which only grows |
//!
//! Invariant: plain data in, plain data out; no tensors, no I/O, no clock.

pub(crate) mod align_att;
pub(crate) mod baselines;
pub(crate) mod budget;
pub(crate) mod emission;
pub(crate) mod frontier;
pub(crate) mod gate;
pub(crate) mod heads;
pub(crate) mod kind;
pub(crate) mod knobs;
pub(crate) mod listening;
mod published;
pub(crate) mod schedule;
pub(crate) mod shipped_heads;
pub(crate) mod stall;
pub(crate) mod token;
pub(crate) mod tracker;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod defects;

use std::ops::Range;

pub use emission::Committed;
pub(crate) use kind::PolicyKind;
pub use token::{Hold, Token};

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
    /// It was written rather than heard: it is complete, and it will not change.
    pub certain: bool,
}

/// A draft for a policy to judge, joined to the shown text.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The text that was shown when the draft was written; normalised.
    pub accepted: String,
    /// `accepted` and the draft as one normalised text.
    pub candidate: String,
    /// The byte offset in `candidate` at which each of the draft's tokens ends, without blanks
    /// after it.
    pub ends: Vec<usize>,
    /// The model ended the draft itself; it did not run out of budget, and it was not cut at a
    /// loop.
    pub finished: bool,
    /// The attention of the draft's tokens, if it was captured.
    pub attention: Option<Attention>,
    /// The source words that were in the prompt.
    pub source: Vec<SourceWord>,
    /// The segment is closed: everything may be shown, and the policy only reports the attention.
    pub source_is_final: bool,
    /// How far the stream has been heard.
    pub heard: Millis,
    pub target: Language,
}

impl Proposal {
    /// The text that each of the draft's tokens adds to the shown text.
    pub fn token_texts(&self) -> Vec<&str> {
        let mut from = self.accepted.len();
        let text = |&end: &usize| {
            let text = self.candidate.get(from..end).unwrap_or_default();
            from = end.max(from);
            text
        };
        self.ends.iter().map(text).collect()
    }

    /// A draft of `texts` of which nothing is shown yet. Its source has no words.
    #[cfg(test)]
    pub(crate) fn of_texts(texts: &[&str], finished: bool, target: Language) -> Proposal {
        let mut candidate = String::new();
        let end = |text: &&str| {
            candidate.push_str(text);
            candidate.len()
        };
        let ends = texts.iter().map(end).collect();
        Proposal {
            accepted: String::new(),
            candidate,
            ends,
            finished,
            attention: None,
            source: Vec::new(),
            source_is_final: false,
            heard: Millis::ZERO,
            target,
        }
    }
}

/// The source words as one text.
pub(crate) fn joined(words: &[SourceWord]) -> String {
    join_words(words.iter().map(|word| word.text.as_str()))
}

/// The byte range of each word in [`joined`].
pub(crate) fn word_places(words: &[SourceWord]) -> Vec<Range<usize>> {
    let mut text = String::new();
    let place = |word: &SourceWord| {
        push_joined(&mut text, &word.text);
        text.len() - word.text.len()..text.len()
    };
    words.iter().map(place).collect()
}

/// How many words start before `column` ends. A token that two words share counts for the later
/// one.
pub(crate) fn words_through(column: &Range<usize>, spans: &[Range<usize>]) -> usize {
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
    /// The draft's tokens one by one, if attention was captured. The shown ones come first.
    pub tokens: Vec<Token>,
}

impl Verdict {
    /// What stopped the first token that did not pass.
    pub fn stop(&self) -> Option<Hold> {
        self.tokens.iter().find_map(|token| token.why.filter(|why| *why != Hold::OpenUnit))
    }

    /// How many tokens are shown completely.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> usize {
        self.tokens.iter().take_while(|token| token.shown).count()
    }

    /// How many tokens passed, before the cut to whole units.
    #[cfg(test)]
    pub(crate) fn passed(&self) -> usize {
        self.tokens.iter().take_while(|token| matches!(token.why, None | Some(Hold::OpenUnit))).count()
    }
}

/// Decides, draft by draft within one segment, how much is shown.
pub trait TargetPolicy {
    /// How much of this draft may be shown.
    fn judge(&mut self, proposal: &Proposal) -> Verdict;
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
    fn enough(&mut self, _so_far: &Proposal) -> bool {
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
