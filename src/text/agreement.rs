//! Which words two hypotheses of the same sound agree on.
//!
//! A word is committed once two hypotheses in a row spell it alike, punctuation included, and agree
//! on every word before it. Committed words stay as they are. A later hypothesis that spells them
//! differently is joined to them where it fits best.

use super::units::folded;

/// The length of the common prefix, in whole words.
pub(crate) fn agreed_len(previous: &[String], current: &[String]) -> usize {
    previous.iter().zip(current).take_while(|(a, b)| a == b).count()
}

/// Where `hypothesis` continues the committed words: the index of its first new word.
///
/// Normally the hypothesis begins with exactly the committed words. Otherwise it is split so that
/// its first part differs from the committed words by the fewest word edits; case and punctuation
/// are ignored. Of equal splits, the one nearest to `expected` is taken: a word that was left out
/// and a word that was spelled differently cost the same, and only the times of the words tell them
/// apart.
///
/// O(committed x hypothesis); the length of a segment bounds both.
pub(crate) fn continuation_at(committed: &[String], hypothesis: &[String], expected: usize) -> usize {
    if hypothesis.starts_with(committed) {
        return committed.len();
    }
    let want: Vec<String> = committed.iter().map(|w| folded(w)).collect();
    let have: Vec<String> = hypothesis.iter().map(|w| folded(w)).collect();
    // `edits[j]`: the number of word edits between the words of `want` so far and `have[..j]`.
    let mut edits: Vec<usize> = (0..=have.len()).collect();
    for (i, word) in want.iter().enumerate() {
        let mut diagonal = edits[0];
        edits[0] = i + 1;
        for (j, other) in have.iter().enumerate() {
            let change = diagonal + usize::from(word != other);
            diagonal = edits[j + 1];
            edits[j + 1] = change.min(diagonal + 1).min(edits[j] + 1);
        }
    }
    (0..edits.len()).min_by_key(|&j| (edits[j], j.abs_diff(expected))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::units::source_words as w;

    #[test]
    fn whole_words_with_their_punctuation() {
        assert_eq!(agreed_len(&w("I trans"), &w("I translate")), 1);
        assert_eq!(agreed_len(&w("Hi all."), &w("Hi all, I")), 1);
    }

    #[test]
    fn a_changed_past_is_joined_where_it_fits() {
        let at = |committed, hypothesis| continuation_at(&w(committed), &w(hypothesis), w(committed).len());
        assert_eq!(at("a b", "a b c"), 2);
        assert_eq!(at("a b c", "a b x d"), 3);
        assert_eq!(at("the cat, sat", "the cat sat down"), 3);
        assert_eq!(at("a b c", "b c d"), 2);
        assert_eq!(at("a b c", ""), 0);
        assert_eq!(at("", "a"), 0);
    }

    #[test]
    fn the_time_distinguishes_a_missing_word_from_a_respelled_one() {
        let at = |committed, hypothesis, expected| continuation_at(&w(committed), &w(hypothesis), expected);
        assert_eq!(at("a b", "a c d e", 1), 1, "`b` was left out");
        assert_eq!(at("a b", "a x c d", 2), 2, "`b` was respelled");
        assert_eq!(at("a b c", "a b x c d", 4), 4, "`x` was put in");
        assert_eq!(at("the cat", "cat the cat sat", 3), 3, "the end of a word comes before the first");
        assert_eq!(at("a b", "c d e", 9), 2, "the fewest edits come first");
    }
}
