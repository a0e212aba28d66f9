//! The frontier: how much of the source is accessible, in words and in the model's source tokens
//! (columns).
//!
//! All times are absolute stream time, so the frontier is computed alike in the first sentence and
//! after hours. Source: docs/method.md, sections 1.5 and 2.2. The frontier has a file of its own
//! because of two published defects (docs/method.md, section 10, BUG-1 and BUG-2).

use std::ops::Range;

use super::gate::Policy;
use crate::policy::target_policy::{SourceWord, word_places};
use crate::text::time::Millis;
use crate::text::units::core;

/// The source of one draft, as it is known now.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The words that were in the prompt.
    pub words: &'a [SourceWord],
    /// Byte range of each source token in the words' joined text, in order.
    pub columns: &'a [Range<usize>],
    /// How far the stream has been heard.
    pub heard: Millis,
    /// The segment is closed: no more words will come.
    pub is_final: bool,
}

/// How much of the source a translation may rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    /// How many words are accessible, from the first.
    pub words: usize,
    /// How many columns are accessible, from the first.
    pub columns: usize,
    /// For each column, the number of source words up to and including the last one that it
    /// touches.
    pub words_through: Vec<usize>,
    /// The segment is closed, and the whole source is accessible.
    pub is_final: bool,
    /// Nothing has been shown for too long, so agreed words are accessible whatever their times.
    pub stalled: bool,
    /// The first column of the last word, if that word may be only half heard. No margin reaches
    /// this column.
    pub half_word: Option<usize>,
}

/// A word that ends this close to the end of the sound may continue after it. This is one step of
/// the aligner.
const EDGE: Millis = Millis(80);

impl Frontier {
    /// Computes the frontier of `source`. `stalled` comes from [`super::stall::Stall::is_over`].
    pub fn new(source: &Source<'_>, policy: &Policy, stalled: bool) -> Frontier {
        let spans = word_places(source.words);
        let words = accessible_words(source, policy, stalled);
        let words_through: Vec<usize> = source.columns.iter().map(|column| words_through(column, &spans)).collect();
        let columns = if words == source.words.len() && !policy.count_columns || source.is_final {
            source.columns.len()
        } else if policy.count_columns {
            published_columns(source, &spans[..words])
        } else {
            words_through.iter().take_while(|&&through| through <= words).count()
        };
        let half_word = last_is_half(source, policy)
            .then(|| words_through.partition_point(|&through| through < source.words.len()))
            .filter(|&column| column < words_through.len());
        Frontier { words, columns, words_through, is_final: source.is_final, stalled, half_word }
    }
}

/// How many words are accessible. Of a final source, all are. Otherwise it is the longest prefix of
/// words that ended at least `holdback` ago and, if the policy requires it, that two hypotheses
/// agree on; a last word that may be half heard is not part of it. If no word has a time, all words
/// but the last count as ended. In a stall, agreed words are accessible in any case.
fn accessible_words(source: &Source<'_>, policy: &Policy, stalled: bool) -> usize {
    if source.is_final {
        return source.words.len();
    }
    let untimed = source.words.iter().all(|word| word.end.is_none());
    let until = source.heard - policy.holdback;
    let whole = source.words.len() - usize::from(last_is_half(source, policy));
    let is_heard = |at: usize, word: &SourceWord| match word.end {
        Some(end) => end <= until && at < whole,
        None => untimed && at + 1 < source.words.len(),
    };
    let is_accessible = |(at, word): &(usize, &SourceWord)| {
        (is_heard(*at, word) && (word.committed || !policy.agreed_only.unwrap_or_default()))
            || (stalled && word.committed)
    };
    source.words.iter().enumerate().take_while(is_accessible).count()
}

/// Whether the last word may be only half heard. Never true of a final source or as published.
fn last_is_half(source: &Source<'_>, policy: &Policy) -> bool {
    let end = source.words.last().and_then(|word| word.end);
    !source.is_final && !policy.count_columns && end.is_some_and(|end| end + EDGE > source.heard)
}

/// The indices of the columns that overlap the byte range `span`.
pub fn columns_of(span: Range<usize>, columns: &[Range<usize>]) -> impl Iterator<Item = usize> {
    columns.iter().enumerate().filter(move |(_, c)| c.start < span.end && span.start < c.end).map(|(at, _)| at)
}

/// How many words start before `column` ends. A token that two words share counts for the later
/// one.
pub fn words_through(column: &Range<usize>, spans: &[Range<usize>]) -> usize {
    spans.partition_point(|span| span.start < column.end.max(column.start.saturating_add(1)))
}

/// The frontier as published (docs/method.md, section 10, BUG-2): the *number* of tokens that touch
/// the letters of an accessible word, used as a position. Each token of bare punctuation moves it
/// one token to the left.
fn published_columns(source: &Source<'_>, spans: &[Range<usize>]) -> usize {
    let letters = spans.iter().zip(source.words).map(|(span, word)| core_span(span, &word.text));
    letters.filter(|letters| !letters.is_empty()).map(|letters| columns_of(letters, source.columns).count()).sum()
}

/// The byte range of a word's letters, without the punctuation around them. `span` is the range of
/// the word.
fn core_span(span: &Range<usize>, word: &str) -> Range<usize> {
    let letters = core(word);
    let start = span.start + word.find(letters).unwrap_or_default();
    start..start + letters.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::units::source_words;

    fn timed(text: &str, step: u64) -> Vec<SourceWord> {
        let texts = source_words(text).into_iter().zip(1..);
        texts.map(|(text, at)| SourceWord { text, end: Some(Millis(at * step)), committed: false }).collect()
    }

    #[test]
    fn letters_stand_without_their_marks() {
        assert_eq!(core_span(&(5..12), "\"Hi,\""), 6..8);
    }

    #[test]
    fn held_words_are_those_of_the_last_moment() {
        let words = timed("the cat sat on", 400);
        let at = |heard, policy: Policy, stalled, is_final| {
            let source = Source { words: &words, columns: &[], heard: Millis(heard), is_final };
            Frontier::new(&source, &policy, stalled).words
        };
        assert_eq!(at(1600, Policy::published(), false, false), 4);
        assert_eq!(at(1600, Policy::for_tests(), false, false), 3);
        assert_eq!(at(100, Policy::for_tests(), false, false), 0);
        assert_eq!(at(0, Policy::for_tests(), false, true), 4);
        let agreed = Policy { agreed_only: Some(true), ..Policy::published() };
        assert_eq!(at(1600, agreed, false, false), 0);
    }

    #[test]
    fn a_word_at_the_end_of_the_sound_may_be_half_of_one() {
        let words = timed("the cat sat on", 400);
        let columns = [0..3, 3..7, 7..11, 11..14];
        let at = |heard, policy: &Policy| {
            let source = Source { words: &words, columns: &columns, heard: Millis(heard), is_final: false };
            let frontier = Frontier::new(&source, policy, false);
            (frontier.words, frontier.columns, frontier.half_word)
        };
        let at_once = Policy { holdback: Millis::ZERO, ..Policy::for_tests() };
        assert_eq!(at(1600, &at_once), (3, 3, Some(3)));
        assert_eq!(at(1680, &at_once), (4, 4, None));
        assert_eq!(at(1600, &Policy { margin: 1, ..Policy::for_tests() }), (3, 3, Some(3)));
        assert_eq!(at(1600, &Policy::published()).0, 4);
    }

    #[test]
    fn words_agreed_on_are_heard_when_the_stream_stalls() {
        let mut words = timed("the cat sat on", 400);
        words[0].committed = true;
        words[1].committed = true;
        let source = Source { words: &words, columns: &[], heard: Millis(500), is_final: false };
        assert_eq!(Frontier::new(&source, &Policy::for_tests(), false).words, 0);
        assert_eq!(Frontier::new(&source, &Policy::for_tests(), true).words, 2);
    }

    #[test]
    fn a_token_shared_with_an_unheard_word_is_unheard() {
        let words = timed("我们好", 100);
        let columns = [0..6, 6..9];
        let source = Source { words: &words, columns: &columns, heard: Millis(100), is_final: false };
        let frontier = Frontier::new(&source, &Policy::published(), false);
        assert_eq!((frontier.words, frontier.words_through.as_slice()), (1, [2, 3].as_slice()));
        let right = Policy { count_columns: false, ..Policy::published() };
        assert_eq!(Frontier::new(&source, &right, false).columns, 0);
    }
}
