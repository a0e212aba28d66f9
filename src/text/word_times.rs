//! Maps the times of the aligner's words to the recogniser's words.
//!
//! An aligner strips punctuation, joins "small-test" and splits CJK characters, so its list may
//! differ in length from the recogniser's. The letters are the same, though: a word takes the times
//! of the aligned words that contain its letters. Where even the letters differ, letter positions
//! are scaled, so that every word gets a time.

use super::time::Millis;

/// An aligned word, with the times at which its sound begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timed<'a> {
    pub text: &'a str,
    pub start: Millis,
    pub end: Millis,
}

/// The time span (start, end) of each of `words`, in order. Starts and ends never decrease and stay
/// within `limit`. If `aligned` contains no letters at all, the words share `limit` evenly.
pub(crate) fn map_times(words: &[String], aligned: &[Timed<'_>], limit: Millis) -> Vec<(Millis, Millis)> {
    let ours: Vec<usize> = words.iter().map(|w| letters(w)).collect();
    let theirs: Vec<usize> = aligned.iter().map(|t| letters(t.text)).collect();
    let (our_total, their_total) = (ours.iter().sum::<usize>(), theirs.iter().sum::<usize>());
    if their_total == 0 {
        return share_evenly(words.len(), limit);
    }
    let their_ends: Vec<usize> = running_sum(&theirs);
    let scale = |letter: usize| {
        if our_total == their_total { letter } else { letter * their_total / our_total.max(1) }
    };
    let holder = |letter: usize| their_ends.partition_point(|&end| end <= letter).min(aligned.len() - 1);
    let mut floor = Millis::ZERO;
    let mut at = 0;
    let mut times = Vec::with_capacity(words.len());
    for count in ours {
        let (start, end) = if count == 0 {
            (floor, floor) // bare punctuation: no sound of its own
        } else {
            let first = &aligned[holder(scale(at))];
            let last = &aligned[holder(scale(at + count - 1))];
            (first.start, last.end)
        };
        at += count;
        let start = start.max(floor).min(limit);
        let end = end.max(start).min(limit);
        floor = end;
        times.push((start, end));
    }
    times
}

fn share_evenly(count: usize, limit: Millis) -> Vec<(Millis, Millis)> {
    let part = |i: usize| Millis(limit.0 * i as u64 / count.max(1) as u64);
    (0..count).map(|i| (part(i), part(i + 1))).collect()
}

fn letters(word: &str) -> usize {
    word.chars().filter(|c| c.is_alphanumeric()).count()
}

fn running_sum(counts: &[usize]) -> Vec<usize> {
    counts
        .iter()
        .scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::units::source_words;

    fn timed<'a>(words: &[(&'a str, u64, u64)]) -> Vec<Timed<'a>> {
        words.iter().map(|&(text, start, end)| Timed { text, start: Millis(start), end: Millis(end) }).collect()
    }

    fn map(text: &str, aligned: &[(&str, u64, u64)]) -> Vec<(u64, u64)> {
        map_times(&source_words(text), &timed(aligned), Millis(1000)).into_iter().map(|(s, e)| (s.0, e.0)).collect()
    }

    #[test]
    fn punctuation_and_hyphens_do_not_shift_the_times() {
        assert_eq!(
            map("A — small-test, then.", &[("A", 0, 80), ("smalltest", 160, 400), ("then", 400, 640)]),
            [(0, 80), (80, 80), (160, 400), (400, 640)]
        );
        assert_eq!(map("我们", &[("我", 0, 80), ("们", 80, 160)]), [(0, 80), (80, 160)]);
        assert_eq!(map("we are", &[("we", 0, 80), ("a", 80, 100), ("re", 100, 160)]), [(0, 80), (80, 160)]);
    }

    #[test]
    fn wrong_lists_still_give_a_time_for_every_word() {
        assert_eq!(map("a b", &[]), [(0, 500), (500, 1000)]);
        assert_eq!(map("a b c d", &[("ab", 0, 500), ("xxxxxx", 500, 2000)]).len(), 4);
        assert_eq!(map("a b", &[("b", 700, 800), ("a", 100, 200)]), [(700, 800), (800, 800)]);
    }
}
