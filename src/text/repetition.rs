//! The guard against a draft that loops.
//!
//! Greedy decoding can fall into "the same the same the same". Everything past the first turn of such a
//! loop is cut. A source that repeats itself may be translated so: its own longest run is allowed for.

use super::language::Language;
use super::units::unit_ends;

/// Longest repeated block that is looked for, in target units.
const LONGEST_BLOCK: usize = 12;

/// How many times in a row a block of `len` units may stand before it counts as a loop.
fn allowed_turns(len: usize, language: Language) -> usize {
    match (len, language.counts_characters()) {
        (1, false) => 3,
        (1, true) => 5,
        (2, true) => 3,
        _ => 2,
    }
}

/// `text` up to the end of the first turn of a loop, never shorter than `keep` bytes (what is already
/// shown). `source_run` is [`longest_run`] of the source. `None` where nothing loops.
pub fn cut_loop(text: &str, keep: usize, source_run: usize, language: Language) -> Option<&str> {
    let ends = unit_ends(text, language);
    let units: Vec<&str> = units_of(text, &ends);
    for at in 0..units.len() {
        for len in 1..=LONGEST_BLOCK.min((units.len() - at) / 2) {
            let turns = turns_at(&units, at, len);
            let allowed = allowed_turns(len, language).max(source_run);
            let cut = ends[at + len - 1].max(keep);
            if turns > allowed && cut < text.trim_end().len() {
                return text.get(..cut);
            }
        }
    }
    None
}

/// The most times any block of words stands in a row: 1 for ordinary text.
pub fn longest_run(text: &str, language: Language) -> usize {
    let ends = unit_ends(text, language);
    let units = units_of(text, &ends);
    (0..units.len())
        .flat_map(|at| (1..=LONGEST_BLOCK.min((units.len() - at) / 2)).map(move |len| (at, len)))
        .map(|(at, len)| turns_at(&units, at, len))
        .max()
        .unwrap_or(1)
}

fn turns_at(units: &[&str], at: usize, len: usize) -> usize {
    let block = &units[at..at + len];
    units[at..].chunks_exact(len).take_while(|turn| *turn == block).count()
}

fn units_of<'a>(text: &'a str, ends: &[usize]) -> Vec<&'a str> {
    let starts = std::iter::once(&0).chain(ends);
    starts.zip(ends).map(|(&start, &end)| text[start..end].trim()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DE: Language = Language::GERMAN;

    #[test]
    fn loops_are_cut_after_one_turn() {
        assert_eq!(cut_loop("so gut gut gut gut gut", 0, 1, DE), Some("so gut"));
        assert_eq!(cut_loop("und das und das und das", 0, 1, DE), Some("und das"));
        assert_eq!(cut_loop("哈哈哈哈哈哈哈", 0, 1, Language::CHINESE), Some("哈"));
        assert_eq!(cut_loop("a b a b a b c", 7, 1, DE), Some("a b a b"), "what is shown stays");
    }

    #[test]
    fn honest_text_is_left_alone() {
        assert_eq!(cut_loop("sehr, sehr gut", 0, 1, DE), None);
        assert_eq!(cut_loop("ja ja ja ja", 0, longest_run("yes yes yes yes", Language::ENGLISH), DE), None);
        assert_eq!(cut_loop("", 0, 1, DE), None);
        assert_eq!(longest_run("one two", DE), 1);
    }
}
