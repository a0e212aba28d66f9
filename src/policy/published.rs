//! The frontier of the published system (REF), for comparison (docs/method.md, section 10, BUG-2).
//! [`super::knobs::Knobs::count_columns`] turns it on.

use std::ops::Range;

use super::SourceWord;
use crate::text::units::trim_punctuation;

/// How many columns are accessible, as published: the *number* of tokens that touch the letters of
/// an accessible word, used as a position. Each token of bare punctuation moves it one token to the
/// left. `accessible` are the accessible words, `spans` the byte ranges of the source's words.
pub(super) fn columns_len(accessible: &[SourceWord], spans: &[Range<usize>], columns: &[Range<usize>]) -> usize {
    let letters = spans.iter().zip(accessible).map(|(span, word)| core_span(span, &word.text));
    letters.filter(|letters| !letters.is_empty()).map(|letters| columns_of(letters, columns).count()).sum()
}

/// The indices of the columns that overlap the byte range `span`.
pub(super) fn columns_of(span: Range<usize>, columns: &[Range<usize>]) -> impl Iterator<Item = usize> {
    columns.iter().enumerate().filter(move |(_, c)| c.start < span.end && span.start < c.end).map(|(at, _)| at)
}

/// The byte range of a word's letters, without the punctuation around them. `span` is the range of
/// the word.
fn core_span(span: &Range<usize>, word: &str) -> Range<usize> {
    let letters = trim_punctuation(word);
    let start = span.start + word.find(letters).unwrap_or_default();
    start..start + letters.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_without_their_marks() {
        assert_eq!(core_span(&(5..12), "\"Hi,\""), 6..8);
    }
}
