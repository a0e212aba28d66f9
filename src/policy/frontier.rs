//! The frontier: how much of the source is accessible, in words and in the model's source tokens
//! (columns).
//!
//! All times are absolute stream time, so the frontier is computed alike in the first sentence and
//! after hours. Source: docs/method.md, sections 1.5 and 2.2. The frontier has a file of its own
//! because of two published defects (docs/method.md, section 10, BUG-1 and BUG-2).
//! [`super::published`] counts columns as the published system does.

use std::ops::Range;

use super::knobs::Knobs;
use super::{SourceWord, published, word_places, words_through};
use crate::text::time::Millis;

/// The source of one draft, as it is known now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
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
pub(crate) struct Frontier {
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
    pub(crate) fn new(source: &Source<'_>, knobs: &Knobs, stalled: bool) -> Frontier {
        let spans = word_places(source.words);
        let words = accessible_words(source, knobs, stalled);
        let words_through: Vec<usize> = source.columns.iter().map(|column| words_through(column, &spans)).collect();
        let columns = if knobs.count_columns && !source.is_final {
            published::columns_len(&source.words[..words], &spans, source.columns)
        } else {
            words_through.iter().take_while(|&&through| through <= words).count()
        };
        let half_word = last_is_half(source, knobs)
            .then(|| words_through.partition_point(|&through| through < source.words.len()))
            .filter(|&column| column < words_through.len());
        Frontier { words, columns, words_through, is_final: source.is_final, stalled, half_word }
    }
}

/// How many words are accessible. Of a final source, all are. Otherwise it is the longest prefix of
/// words that ended at least `holdback` ago and, if the policy requires it, that two hypotheses
/// agree on; a last word that may be half heard is not part of it. If no word has a time, all words
/// but the last count as ended. In a stall, agreed words are accessible in any case. Words that are
/// certain are always accessible: the holdback and the agreement protect from what was misheard.
fn accessible_words(source: &Source<'_>, knobs: &Knobs, stalled: bool) -> usize {
    if source.is_final {
        return source.words.len();
    }
    let untimed = source.words.iter().all(|word| word.end.is_none());
    let until = source.heard - knobs.holdback;
    let whole = source.words.len() - usize::from(last_is_half(source, knobs));
    let is_heard = |at: usize, word: &SourceWord| match word.end {
        Some(end) => end <= until && at < whole,
        None => untimed && at + 1 < source.words.len(),
    };
    let is_accessible = |(at, word): &(usize, &SourceWord)| {
        word.certain
            || (is_heard(*at, word) && (word.committed || !knobs.agreed_only.unwrap_or_default()))
            || (stalled && word.committed)
    };
    source.words.iter().enumerate().take_while(is_accessible).count()
}

/// Whether the last word may be only half heard. Never true of a final source or as published.
fn last_is_half(source: &Source<'_>, knobs: &Knobs) -> bool {
    let end = source.words.last().filter(|word| !word.certain).and_then(|word| word.end);
    !source.is_final && !knobs.count_columns && end.is_some_and(|end| end + EDGE > source.heard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::units::source_words;

    fn timed(text: &str, step: u64) -> Vec<SourceWord> {
        let texts = source_words(text).into_iter().zip(1..);
        texts
            .map(|(text, at)| SourceWord { text, end: Some(Millis(at * step)), committed: false, certain: false })
            .collect()
    }

    #[test]
    fn held_words_are_those_of_the_last_moment() {
        let words = timed("the cat sat on", 400);
        let at = |heard, knobs: Knobs, stalled, is_final| {
            let source = Source { words: &words, columns: &[], heard: Millis(heard), is_final };
            Frontier::new(&source, &knobs, stalled).words
        };
        assert_eq!(at(1600, Knobs::published(), false, false), 4);
        assert_eq!(at(1600, Knobs::for_tests(), false, false), 3);
        assert_eq!(at(100, Knobs::for_tests(), false, false), 0);
        assert_eq!(at(0, Knobs::for_tests(), false, true), 4);
        let agreed = Knobs { agreed_only: Some(true), ..Knobs::published() };
        assert_eq!(at(1600, agreed, false, false), 0);
    }

    #[test]
    fn a_word_at_the_end_of_the_sound_may_be_half_of_one() {
        let words = timed("the cat sat on", 400);
        let columns = [0..3, 3..7, 7..11, 11..14];
        let at = |heard, knobs: &Knobs| {
            let source = Source { words: &words, columns: &columns, heard: Millis(heard), is_final: false };
            let frontier = Frontier::new(&source, knobs, false);
            (frontier.words, frontier.columns, frontier.half_word)
        };
        let at_once = Knobs { holdback: Millis::ZERO, ..Knobs::for_tests() };
        assert_eq!(at(1600, &at_once), (3, 3, Some(3)));
        assert_eq!(at(1680, &at_once), (4, 4, None));
        assert_eq!(at(1600, &Knobs { margin: 1, ..Knobs::for_tests() }), (3, 3, Some(3)));
        assert_eq!(at(1600, &Knobs::published()).0, 4);
    }

    #[test]
    fn words_agreed_on_are_heard_when_the_stream_stalls() {
        let mut words = timed("the cat sat on", 400);
        words[0].committed = true;
        words[1].committed = true;
        let source = Source { words: &words, columns: &[], heard: Millis(500), is_final: false };
        assert_eq!(Frontier::new(&source, &Knobs::for_tests(), false).words, 0);
        assert_eq!(Frontier::new(&source, &Knobs::for_tests(), true).words, 2);
    }

    /// Text is not misheard, and a written word is complete.
    #[test]
    fn a_certain_word_is_heard_at_once() {
        let mut words = timed("the cat sat on", 400);
        let knobs = Knobs { agreed_only: Some(true), ..Knobs::for_tests() };
        let at = |words: &[SourceWord]| {
            let source = Source { words, columns: &[0..3, 3..7, 7..11, 11..14], heard: Millis(1600), is_final: false };
            let frontier = Frontier::new(&source, &knobs, false);
            (frontier.words, frontier.columns, frontier.half_word)
        };
        assert_eq!(at(&words), (0, 0, Some(3)));
        words.iter_mut().for_each(|word| word.certain = true);
        assert_eq!(at(&words), (4, 4, None));
    }

    #[test]
    fn a_token_shared_with_an_unheard_word_is_unheard() {
        let words = timed("我们好", 100);
        let columns = [0..6, 6..9];
        let source = Source { words: &words, columns: &columns, heard: Millis(100), is_final: false };
        let frontier = Frontier::new(&source, &Knobs::published(), false);
        assert_eq!((frontier.words, frontier.words_through.as_slice()), (1, [2, 3].as_slice()));
        let right = Knobs { count_columns: false, ..Knobs::published() };
        assert_eq!(Frontier::new(&source, &right, false).columns, 0);
    }
}
