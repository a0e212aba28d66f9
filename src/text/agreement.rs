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

/// The cost of a word that is left out or put in.
const WORD: usize = 1_000;

/// What the times of a hypothesis say about where its new words begin, in words from its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Most likely here.
    pub expected: usize,
    /// Not before this: these words ended when the committed words did, or earlier.
    pub past: usize,
}

impl Place {
    /// The place where no times are known.
    pub(crate) fn behind(committed: &[String]) -> Place {
        Place { expected: committed.len(), past: 0 }
    }
}

/// Where `hypothesis` continues the committed words: the index of its first new word.
///
/// Normally the hypothesis begins with exactly the committed words. Otherwise it is split so that
/// its first part differs from the committed words least; case and punctuation are ignored. A word
/// that is left out, put in or replaced by another counts as one. A word that is spelled
/// differently (`method`, `methods`) counts as the share of its letters that differ, if that is
/// less than half of them (numbers that differ are never the same word: `121`, `122`), and a word
/// that is written as two (`data set`) counts as nothing. A word that would be new and is past by
/// its time counts as one, too: the recogniser hears old words differently, above all after a
/// restart, and they must not come twice. Of equal splits, those are preferred whose first part
/// ends with the last committed word, and among them the one nearest to the expected place: a word
/// that was left out and a word that was replaced cost the same, and only the times of the words
/// tell them apart.
///
/// O(committed x hypothesis); the length of a segment bounds both.
pub(crate) fn continuation_at(committed: &[String], hypothesis: &[String], place: Place) -> usize {
    if hypothesis.starts_with(committed) {
        return committed.len();
    }
    let want: Vec<Vec<char>> = committed.iter().map(|w| folded(w).chars().collect()).collect();
    let have: Vec<Vec<char>> = hypothesis.iter().map(|w| folded(w).chars().collect()).collect();
    let is_two = |one: &[char], first: &[char], second: &[char]| {
        one.len() == first.len() + second.len() && one.starts_with(first) && one.ends_with(second)
    };
    // `costs[i][j]`: how much `want[..i]` and `have[..j]` differ.
    let mut costs = vec![vec![0usize; have.len() + 1]; want.len() + 1];
    for i in 0..=want.len() {
        for j in 0..=have.len() {
            if i == 0 || j == 0 {
                costs[i][j] = (i + j) * WORD;
                continue;
            }
            let mut cost = costs[i - 1][j - 1] + replaced(&want[i - 1], &have[j - 1]);
            cost = cost.min(costs[i - 1][j] + WORD).min(costs[i][j - 1] + WORD);
            if j > 1 && is_two(&want[i - 1], &have[j - 2], &have[j - 1]) {
                cost = cost.min(costs[i - 1][j - 2]);
            }
            if i > 1 && is_two(&have[j - 1], &want[i - 2], &want[i - 1]) {
                cost = cost.min(costs[i - 2][j - 1]);
            }
            costs[i][j] = cost;
        }
    }
    let whole = &costs[want.len()];
    let ends_alike = |j: usize| match (want.last(), j.checked_sub(1).and_then(|last| have.get(last))) {
        (Some(one), Some(other)) => replaced(one, other) < WORD,
        _ => false,
    };
    let rank = |&j: &usize| {
        let cost = whole[j] + place.past.saturating_sub(j) * WORD;
        (cost, !ends_alike(j), j.abs_diff(place.expected))
    };
    (0..whole.len()).min_by_key(rank).unwrap_or(0)
}

/// The cost of a word in the place of another.
fn replaced(one: &[char], other: &[char]) -> usize {
    let (short, long) = (one.len().min(other.len()), one.len().max(other.len()));
    if one == other {
        return 0;
    }
    let is_number = |word: &[char]| word.iter().any(|c| c.is_numeric());
    if short * 2 <= long || is_number(one) || is_number(other) {
        return WORD; // at least half of the letters differ, or the value does
    }
    let mut edits: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = edits[0];
        edits[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = edits[j + 1];
            edits[j + 1] = change.min(diagonal + 1).min(edits[j] + 1);
        }
    }
    let share = WORD * edits[other.len()] / long;
    if share * 2 < WORD { share } else { WORD }
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
        let at = |committed, hypothesis| continuation_at(&w(committed), &w(hypothesis), Place::behind(&w(committed)));
        assert_eq!(at("a b", "a b c"), 2);
        assert_eq!(at("a b c", "a b x d"), 3);
        assert_eq!(at("the cat, sat", "the cat sat down"), 3);
        assert_eq!(at("a b c", "b c d"), 2);
        assert_eq!(at("a b c", ""), 0);
        assert_eq!(at("", "a"), 0);
    }

    #[test]
    fn a_respelled_word_is_no_new_word() {
        // The times would put the new word where the comment says.
        let at = |committed, hypothesis, expected| {
            continuation_at(&w(committed), &w(hypothesis), Place { expected, past: 0 })
        };
        assert_eq!(at("our methods", "our method for", 1), 2, "not `our methods method for`");
        assert_eq!(at("over girls", "over goals of", 1), 2);
        assert_eq!(at("a dataset", "a data set of", 2), 3, "not `a dataset set of`");
        assert_eq!(at("the data set", "the dataset is", 3), 2, "not `the data set` without `is`");
        assert_eq!(at("they all overgenerated", "they all over generated then", 3), 4);
        // Half of a compound is another word: it is shown twice rather than lost.
        assert_eq!(at("a high", "a high-quality script", 1), 1);
        assert_eq!(at("a cat", "a dog sat", 1), 1, "other words, told apart by their times");
        assert_eq!(at("a cat", "a dog sat", 2), 2);
        // The first number was not heard again: the second one is not a spelling of it.
        assert_eq!(at("120 121", "121 122 123", 2), 1);
    }

    #[test]
    fn what_is_past_does_not_come_again() {
        let at = |committed, hypothesis, past| {
            continuation_at(&w(committed), &w(hypothesis), Place { expected: past, past })
        };
        // One word is now heard as two others, in its time.
        assert_eq!(at("it is so", "it is show now then", 4), 4);
        assert_eq!(at("it is so", "it is show now then", 3), 3, "`now` comes after it");
        assert_eq!(at("a b", "x y z", 3), 3, "nothing is alike");
        // The text is sure, and the times are a little off.
        assert_eq!(at("it is so,", "it is so then", 4), 3);
    }

    #[test]
    fn the_time_distinguishes_a_missing_word_from_a_respelled_one() {
        let at = |committed, hypothesis, expected| {
            continuation_at(&w(committed), &w(hypothesis), Place { expected, past: 0 })
        };
        assert_eq!(at("a b", "a c d e", 1), 1, "`b` was left out");
        assert_eq!(at("a b", "a x c d", 2), 2, "`b` was respelled");
        assert_eq!(at("a b c", "a b x c d", 4), 4, "`x` was put in");
        assert_eq!(at("the cat", "cat the cat sat", 3), 3, "the end of a word comes before the first");
        assert_eq!(at("a b", "c d e", 9), 2, "the fewest edits come first");
    }
}
