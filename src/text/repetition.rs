//! Guards against text that loops.
//!
//! Greedy decoding can fall into "the same the same the same". A *turn* is one occurrence of the
//! repeated block. [`cut_loop`] ends a translation after the first turn of such a loop; if the
//! source repeats itself, the translation may do so as often. [`without_loops`] removes all turns
//! but the first from a transcript and keeps what follows the loop, because that was spoken.

use super::language::Language;
use super::units::{folded, is_cjk, unit_ends};

/// The longest block, in units, that may be repeated on purpose; twice as many in a translation
/// whose units are characters.
const LONGEST_BLOCK: usize = 12;
/// The longest pattern that is searched for within words, in characters.
const LONGEST_PATTERN: usize = 20;
/// A pattern of characters that occurs this many times in a row is a loop. Qwen3-ASR's own guard
/// uses the same number.
const PATTERN_TURNS: usize = 20;
/// The same for a pattern that is a part of a word (`Kopf-Kopf-Kopf-Kopf`): more turns than a word
/// may have in a row in a translation.
const PART_TURNS: usize = 4;
/// A pattern with this many different letters or more is a part of a word, not a laugh.
const PART_LETTERS: usize = 3;

/// A block of items that occurs several times in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Index of the first item of the first turn.
    at: usize,
    /// Number of items in one turn.
    len: usize,
    turns: usize,
}

impl Run {
    fn end(self) -> usize {
        self.at + self.len * self.turns
    }
}

/// Every run of at least two turns whose block has at most `longest` items, ordered by position and
/// then by block length.
fn runs<T: PartialEq>(items: &[T], longest: usize) -> impl Iterator<Item = Run> {
    (0..items.len()).flat_map(move |at| {
        let lengths = 1..=longest.min((items.len() - at) / 2);
        lengths.map(move |len| Run { at, len, turns: turns_at(&items[at..], len) }).filter(|run| run.turns > 1)
    })
}

/// How many times in a row the first `len` items occur at the start of `items`.
fn turns_at<T: PartialEq>(items: &[T], len: usize) -> usize {
    let (block, behind) = items.split_at(len);
    1 + behind.chunks_exact(len).take_while(|turn| *turn == block).count()
}

/// How many turns in a row a block of `len` units may have in a translation; more are a loop.
fn allowed_turns(len: usize, language: Language) -> usize {
    match (len, language.counts_characters()) {
        (1, false) => 3,
        (1, true) => 5,
        (2, true) => 3,
        (len, false) if len > LONGEST_BLOCK => 1,
        (len, true) if len > 2 * LONGEST_BLOCK => 1,
        _ => 2,
    }
}

/// The same for a block of words in a transcript. More turns are allowed than in a translation:
/// speakers do repeat themselves, and what they say must not be lost.
fn allowed_spoken_turns(block: &[String]) -> usize {
    let characters = block.iter().all(|word| word.chars().next().is_some_and(is_cjk));
    match (block.len(), characters) {
        (1, false) => 5,
        (1, true) => 8,
        (2, _) => 4,
        (len, _) if len > LONGEST_BLOCK => 2,
        _ => 3,
    }
}

/// `text` up to the end of the first turn of a loop, but never shorter than `keep` bytes (the text
/// that is already shown). `source_run` is [`longest_run`] of the source: as many turns are always
/// allowed. `None` if there is nothing to cut.
pub(crate) fn cut_loop(text: &str, keep: usize, source_run: usize, language: Language) -> Option<&str> {
    let ends = unit_ends(text, language);
    let unit_loop = runs(&units_of(text, &ends), usize::MAX)
        .find(|run| run.turns > allowed_turns(run.len, language).max(source_run) && ends[run.end() - 1] > keep)
        .map(|run| ends[run.at + run.len - 1]);
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let only: Vec<char> = chars.iter().map(|(_, c)| *c).collect();
    let end_of = |count: usize| chars.get(count).map_or(text.len(), |(at, _)| *at);
    let pattern_loop = runs(&only, LONGEST_PATTERN)
        .find(|run| {
            let pattern = &only[run.at..][..run.len];
            run.turns >= pattern_turns(pattern).max(source_run + 1) && end_of(run.end()) > keep
        })
        .map(|run| end_of(run.at + run.len));
    let cut = unit_loop.into_iter().chain(pattern_loop).min()?.max(keep);
    if cut < text.trim_end().len() { text.get(..cut) } else { None }
}

/// How many turns of a pattern within words are a loop.
fn pattern_turns(pattern: &[char]) -> usize {
    let mut letters: Vec<char> = pattern.iter().copied().filter(|c| c.is_alphabetic()).collect();
    letters.sort_unstable();
    letters.dedup();
    if letters.len() >= PART_LETTERS { PART_TURNS } else { PATTERN_TURNS }
}

/// The largest number of times that a block of units occurs in a row; 1 for ordinary text.
pub(crate) fn longest_run(text: &str, language: Language) -> usize {
    let ends = unit_ends(text, language);
    runs(&units_of(text, &ends), usize::MAX).map(|run| run.turns).max().unwrap_or(1)
}

/// The words of `heard`, which follow the words of `known`, without all turns but the first of each
/// loop. If a loop reaches the end, its incomplete last turn is removed too. Known words always
/// stay.
pub(crate) fn without_loops(known: &[String], heard: Vec<String>) -> Vec<String> {
    let mut words: Vec<String> = known.iter().cloned().chain(heard).collect();
    let mut from = 0;
    loop {
        let folded: Vec<String> = words[from..].iter().map(|word| comparable(word)).collect();
        let is_loop = |run: &Run| run.turns > allowed_spoken_turns(&words[from + run.at..][..run.len]);
        let Some(run) = runs(&folded, usize::MAX).find(is_loop) else { break };
        let broken = folded[run.end()..].iter().zip(&folded[run.at..]).take_while(|(a, b)| a == b).count();
        let at_end = run.end() + broken == folded.len();
        let end = from + run.end() + if at_end { broken } else { 0 };
        from += run.at + run.len;
        let first = from.max(known.len());
        if first < end {
            words.drain(first..end);
        } else {
            from = end;
        }
    }
    words.split_off(known.len())
}

fn units_of(text: &str, ends: &[usize]) -> Vec<String> {
    let starts = std::iter::once(&0).chain(ends);
    starts.zip(ends).map(|(&start, &end)| comparable(text[start..end].trim())).collect()
}

/// The form in which two units are compared: letters and digits in lower case; bare punctuation as
/// it is.
fn comparable(unit: &str) -> String {
    let letters = folded(unit);
    if letters.is_empty() { unit.to_owned() } else { letters }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::units::source_words;
    use proptest::prelude::*;

    const DE: Language = Language::GERMAN;

    #[test]
    fn loops_are_cut_after_one_turn() {
        assert_eq!(cut_loop("so gut gut gut gut gut", 0, 1, DE), Some("so gut"));
        assert_eq!(cut_loop("und das und das und das", 0, 1, DE), Some("und das"));
        assert_eq!(cut_loop("哈哈哈哈哈哈哈", 0, 1, Language::CHINESE), Some("哈"));
        assert_eq!(cut_loop("a b a b a b c", 7, 1, DE), Some("a b a b"), "what is shown stays");
        assert_eq!(cut_loop("Gut. Gut, gut! Gut gut", 0, 1, DE), Some("Gut."), "whatever its marks and case");
    }

    #[test]
    fn a_loop_of_any_period_is_cut() {
        for period in [1, 2, 5, 12, 13, 30, 57] {
            let turn: Vec<String> = (0..period).map(|i| format!("w{i}")).collect();
            let turn = turn.join(" ");
            let text = ["so", &turn, &turn, &turn, &turn].join(" ");
            assert_eq!(cut_loop(&text, 0, 1, DE), Some(format!("so {turn}").as_str()), "{period}");
            assert_eq!(longest_run(&text, DE), 4);
        }
    }

    #[test]
    fn a_loop_inside_a_word_is_cut() {
        assert_eq!(cut_loop(&format!("so ha{}", "ha".repeat(30)), 0, 1, DE), Some("so ha"));
        assert_eq!(cut_loop(&format!("ja{} gut", "!".repeat(25)), 0, 1, DE), Some("ja!"));
        assert_eq!(cut_loop("hahahaha!!!", 0, 1, DE), None);
        assert_eq!(
            cut_loop("die Aufmerksamkeit-Kopf-Kopf-Kopf-Kopf-Kopf-K", 0, 1, DE),
            Some("die Aufmerksamkeit-Kopf")
        );
        assert_eq!(cut_loop("Leserinnenreinenreinenreinenrein", 0, 1, DE), Some("Leserinnenrei"));
        assert_eq!(cut_loop("Bla-Bla-Bla, nein-nein-nein", 0, 1, DE), None);
        assert_eq!(cut_loop("nein-nein-nein-nein-nein", 0, 5, DE), None, "the source says it as often");
    }

    #[test]
    fn text_after_a_shown_loop_is_kept() {
        assert_eq!(cut_loop("ja ja ja ja gut", 11, 1, DE), None);
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        assert_eq!(cut_loop("sehr, sehr gut", 0, 1, DE), None);
        assert_eq!(cut_loop("ja ja ja ja", 0, longest_run("yes yes yes yes", Language::ENGLISH), DE), None);
        assert_eq!(cut_loop("", 0, 1, DE), None);
        assert_eq!(longest_run("one two", DE), 1);
    }

    fn heard(known: &str, text: &str) -> String {
        without_loops(&source_words(known), source_words(text)).join(" ")
    }

    #[test]
    fn a_transcript_keeps_one_turn_and_what_follows() {
        assert_eq!(heard("", &"None ".repeat(15)), "None");
        assert_eq!(heard("", &format!("So {} we go on.", "I ".repeat(9))), "So I we go on.");
        assert_eq!(heard("", &"thank you very much. ".repeat(5)), "thank you very much.");
        assert_eq!(heard("", &format!("{}Thank you", "Thank you. ".repeat(6))), "Thank you.");
        assert_eq!(heard("", &"好".repeat(20)), "好");
        assert_eq!(heard("", &format!("{}hello {}", "la ".repeat(9), "na ".repeat(9))), "la hello na");
        let long: Vec<String> = (0..40).map(|i| format!("w{i}")).collect();
        let long = long.join(" ");
        assert_eq!(heard("", &[long.as_str(); 4].join(" ")), long);
        assert_eq!(heard("", &format!("{} w0 w1", [long.as_str(); 4].join(" "))), long, "and its broken turn");
    }

    #[test]
    fn speakers_may_repeat_themselves() {
        for text in ["No, no, no, no, no.", "very very good", "What do we want? What do we want?", "哈哈哈哈", ""] {
            assert_eq!(heard("", text), source_words(text).join(" "));
        }
    }

    #[test]
    fn known_words_stay() {
        assert_eq!(heard("no no no", "no no no no no then"), "then");
        assert_eq!(heard("a no no no no no no no", "then"), "then");
        assert_eq!(heard("a b c a b", "c a b c a b c d"), "d");
    }

    proptest! {
        #[test]
        fn no_loop_is_left_and_no_known_word_lost(
            known in proptest::collection::vec("[ab好]", 0..6),
            blocks in proptest::collection::vec(("[ab好c]( [ab好c]){0,4}", 1usize..9), 0..6),
        ) {
            let text: Vec<String> = blocks.iter().map(|(block, times)| [block.as_str()].repeat(*times).join(" ")).collect();
            let words = source_words(&text.join(" "));
            let kept = without_loops(&known, words.clone());
            let mut left = words.iter();
            prop_assert!(kept.iter().all(|word| left.any(|other| other == word)), "an order of its own: {kept:?}");
            let all: Vec<String> = known.iter().chain(&kept).cloned().collect();
            let looping = runs(&all, usize::MAX)
                .filter(|run| run.turns > allowed_spoken_turns(&all[run.at..][..run.len]))
                .find(|run| run.end() > known.len().max(run.at + run.len));
            // A cut may bring two equal blocks together, so a run may have up to twice the allowed
            // turns.
            if let Some(run) = looping {
                prop_assert!(run.turns <= 2 * allowed_spoken_turns(&all[run.at..][..run.len]), "{all:?}: {run:?}");
            }
        }
    }
}
