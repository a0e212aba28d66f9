//! Splits a long translation at the segments of its reference, so that each part can be scored
//! against its own segment.
//!
//! All units of the translation (the hypothesis) are aligned with all units of the reference so
//! that the sum of their similarities is greatest; gaps cost nothing. The similarity of two words
//! is that of their sets of letters (intersection over union), two characters are equal or not, and
//! punctuation is never aligned with a word. A unit in a gap goes to the segment before or after
//! the gap, whichever neighbour it is more similar to. Once a unit of a gap has gone to the segment
//! after it, all later units of that gap do. This is the SoftSegmenter of Polák et al. 2025
//! (arXiv:2509.17349); ties are resolved as in OmniSTEval.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;

use crate::text::language::Language;
use crate::text::units::is_punctuation;

/// What is compared: a word, or a mark from the edge of a word.
#[derive(Clone, Debug, PartialEq)]
struct Token {
    /// Sorted, each letter once.
    letters: Vec<char>,
    mark: bool,
    /// Index of the unit (translation) or of the segment (reference) that the token belongs to.
    owner: usize,
}

/// How the alignment goes on from a cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Match,
    /// The token of the reference has no partner.
    SkipReference,
    /// The token of the translation has no partner.
    SkipHypothesis,
}

/// For each segment of `references` (a list of its units), the range of `units` that belongs to it.
/// The ranges follow one another and contain all units. Memory: one byte for each pair of a token
/// of the translation and a token of the reference.
pub(crate) fn resegment(units: &[String], references: &[Vec<String>], language: Language) -> Vec<Range<usize>> {
    let hypothesis = tokens(units.iter().enumerate(), language);
    let named = references.iter().enumerate().flat_map(|(at, units)| units.iter().map(move |unit| (at, unit)));
    let reference = tokens(named, language);
    let by_character = language.counts_characters();
    let steps = align(&reference, &hypothesis, by_character);
    let segments = token_segments(&reference, &hypothesis, &steps, by_character);
    ranges(&hypothesis, &segments, units.len(), references.len())
}

/// The units in lower case and NFKC. Where spaces separate words, each mark at the edge of a word
/// is a token of its own.
fn tokens<'a>(units: impl Iterator<Item = (usize, &'a String)>, language: Language) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (owner, unit) in units {
        let unit: String = unit.nfkc().flat_map(char::to_lowercase).collect();
        let tail = unit.trim_start_matches(is_punctuation);
        let core = tail.trim_end_matches(is_punctuation);
        if language.counts_characters() || core.is_empty() {
            tokens.push(token(&unit, owner));
            continue;
        }
        let mark = |c: char| token(c.encode_utf8(&mut [0; 4]), owner);
        tokens.extend(unit[..unit.len() - tail.len()].chars().map(mark));
        tokens.push(token(core, owner));
        tokens.extend(tail[core.len()..].chars().map(mark));
    }
    tokens
}

fn token(text: &str, owner: usize) -> Token {
    // The marks that OmniSTEval separates from words.
    let marks = ".!?,;:-()。！？，；：—（）ー";
    let mut characters = text.chars();
    let mark = matches!((characters.next(), characters.next()), (Some(c), None) if marks.contains(c));
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    Token { letters, mark, owner }
}

fn similarity(a: &Token, b: &Token, by_character: bool) -> f64 {
    if a.mark != b.mark {
        return f64::NEG_INFINITY;
    }
    if by_character {
        return if a.letters == b.letters { 1.0 } else { 0.0 };
    }
    let both = a.letters.iter().filter(|c| b.letters.binary_search(c).is_ok()).count();
    let either = a.letters.len() + b.letters.len() - both;
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

/// The steps of the best alignment, from the first cell to the last.
fn align(reference: &[Token], hypothesis: &[Token], by_character: bool) -> Vec<Step> {
    let width = hypothesis.len();
    let mut back = vec![Step::SkipHypothesis; reference.len() * width];
    let mut row = vec![0.0_f64; width + 1];
    for (i, r) in reference.iter().enumerate() {
        let mut diagonal = 0.0;
        for (j, h) in hypothesis.iter().enumerate() {
            let matched = diagonal + similarity(r, h, by_character);
            let (skip_reference, skip_hypothesis) = (row[j + 1], row[j]);
            let (best, step) = if matched >= skip_reference && matched >= skip_hypothesis {
                (matched, Step::Match)
            } else if skip_reference >= skip_hypothesis {
                (skip_reference, Step::SkipReference)
            } else {
                (skip_hypothesis, Step::SkipHypothesis)
            };
            diagonal = row[j + 1];
            row[j + 1] = best;
            back[i * width + j] = step;
        }
    }
    let (mut i, mut j) = (reference.len(), width);
    let mut steps = Vec::with_capacity(i + j);
    while i > 0 || j > 0 {
        let step = match (i, j) {
            (0, _) => Step::SkipHypothesis,
            (_, 0) => Step::SkipReference,
            _ => back[(i - 1) * width + j - 1],
        };
        i -= usize::from(step != Step::SkipHypothesis);
        j -= usize::from(step != Step::SkipReference);
        steps.push(step);
    }
    steps.reverse();
    steps
}

/// The segment of each token of the translation.
fn token_segments(reference: &[Token], hypothesis: &[Token], steps: &[Step], by_character: bool) -> Vec<usize> {
    let mut assigned = Vec::with_capacity(hypothesis.len());
    // `passed`: how many tokens of the reference come before this step. `to_next`: whether the rest
    // of this gap goes to the segment after it.
    let (mut passed, mut to_next) = (0usize, false);
    for step in steps {
        match step {
            Step::SkipHypothesis => {
                let before = passed.checked_sub(1).and_then(|at| reference.get(at));
                let behind = reference.get(passed);
                let this = &hypothesis[assigned.len()];
                let score = |other: &Token| similarity(this, other, by_character);
                to_next |= match (before, behind) {
                    (Some(before), Some(behind)) => score(behind) > score(before),
                    (None, _) => true,
                    (_, None) => false,
                };
                let segment = if to_next { behind.or(before) } else { before };
                assigned.push(segment.map_or(0, |token| token.owner));
            }
            Step::Match | Step::SkipReference => {
                passed += 1;
                to_next = false;
                if *step == Step::Match {
                    assigned.push(reference[passed - 1].owner);
                }
            }
        }
    }
    assigned
}

/// The range of units of each segment. A unit belongs to the segment of its first token.
fn ranges(hypothesis: &[Token], assigned: &[usize], units: usize, segments: usize) -> Vec<Range<usize>> {
    let mut unit_segment = vec![0; units];
    for (token, &segment) in hypothesis.iter().zip(assigned).rev() {
        unit_segment[token.owner] = segment;
    }
    let mut from = 0;
    let mut ranges = Vec::with_capacity(segments);
    for segment in 0..segments {
        let to = if segment + 1 == segments { units } else { unit_segment.partition_point(|&other| other <= segment) };
        ranges.push(from..to);
        from = to;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::units::written_units;
    use proptest::prelude::*;

    fn parted(hypothesis: &str, references: &[&str], language: Language) -> Vec<String> {
        let units = written_units(hypothesis, language);
        let references: Vec<Vec<String>> = references.iter().map(|text| written_units(text, language)).collect();
        let between = if language.counts_characters() { "" } else { " " };
        resegment(&units, &references, language).into_iter().map(|range| units[range].join(between)).collect()
    }

    /// The expected parts in this test and the next are those of OmniSTEval (0.1.10) for the same
    /// texts.
    #[test]
    fn sentences_go_to_their_references() {
        let references = ["Das ist ein Haus.", "Wir sehen es heute.", "Ja!"];
        let exact = parted("Das ist ein Haus. Wir sehen es heute. Ja!", &references, Language::GERMAN);
        assert_eq!(exact, references);
        let refined = ["Das ist ein altes Haus.", "Morgen sehen wir es.", "Ja!"];
        let loose = "Dies ist das alte Haus, (ein großes) Haus. Wir sehen es morgen früh an. Und „ja“!";
        let parts = ["Dies ist das alte Haus, (ein großes) Haus.", "Wir sehen es morgen früh an.", "Und „ja“!"];
        assert_eq!(parted(loose, &refined, Language::GERMAN), parts);
        // OmniSTEval's choice where a word could go to either side.
        let unmarked = parted("Dies ist das Haus Heute sehen wir es. Ja!", &references, Language::GERMAN);
        assert_eq!(unmarked, ["Dies ist das Haus Heute sehen", "wir es.", "Ja!"]);
        let missing = parted("Das ist ein Haus. Ja!", &references, Language::GERMAN);
        assert_eq!(missing, ["Das ist ein Haus.", "", "Ja!"]);
    }

    #[test]
    fn characters() {
        let parts = parted("你好。我们看房子", &["你好。", "我们看到房子。"], Language::CHINESE);
        assert_eq!(parts, ["你好。", "我们看房子"]);
        let parts = parted("嗯你好呀好。我嗯们看房子吧", &["你好。", "我们看到房子。"], Language::CHINESE);
        assert_eq!(parts, ["嗯你好呀好。", "我嗯们看房子吧"]);
    }

    #[test]
    fn an_empty_side_is_allowed() {
        assert_eq!(parted("", &["Das.", "Ja."], Language::GERMAN), ["", ""]);
        assert_eq!(parted("Ja gut", &["", ""], Language::GERMAN).concat(), "Ja gut");
        assert_eq!(resegment(&[], &[], Language::GERMAN), Vec::<Range<usize>>::new());
    }

    proptest! {
        #[test]
        fn every_unit_is_in_one_segment_and_in_order(
            words in prop::collection::vec("[a-cA-C.,!-]{1,3}|[你好。]{1,2}", 0..30),
            references in prop::collection::vec("([a-cA-C.,!]{1,3} ?){0,6}|[你好。]{0,4}", 1..6),
            chinese: bool,
        ) {
            let language = if chinese { Language::CHINESE } else { Language::GERMAN };
            let references: Vec<Vec<String>> = references.iter().map(|text| written_units(text, language)).collect();
            let ranges = resegment(&words, &references, language);
            prop_assert_eq!(ranges.len(), references.len());
            let mut at = 0;
            for range in ranges {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end >= at);
                at = range.end;
            }
            prop_assert_eq!(at, words.len());
        }
    }
}
