//! Splits a long translation at the segments of its reference, so that each part can be scored
//! against its own segment.
//!
//! All units of the translation (the hypothesis) are aligned with all units of the reference so
//! that the sum of their similarities is greatest; gaps cost nothing. The similarity of two words
//! is that of their sets of letters (intersection over union), two characters are equal or not, and
//! punctuation is never aligned with a word. A unit in a gap goes to the segment before or after
//! the gap, whichever neighbour it is more similar to. Once a unit of a gap has gone to the segment
//! after it, all later units of that gap do. This is the SoftSegmenter of Polák et al. 2025
//! (arXiv:2509.17349); ties are resolved as in OmniSTEval, and so are marks before the first
//! matched unit: they belong to no segment, unless the reference begins with a mark.

use unicode_normalization::UnicodeNormalization;

use super::moses::{Moses, UnknownRules};
use crate::text::Language;

/// What is aligned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tokens {
    /// Characters, each equal to another or not.
    Characters,
    /// Words with their punctuation.
    Words,
    /// Words split by Moses' rules.
    Moses(Moses),
}

impl Tokens {
    /// Characters where the language counts them, otherwise words split by Moses' rules.
    pub(crate) fn of(language: Language) -> Result<Tokens, UnknownRules> {
        match language.counts_characters() {
            true => Ok(Tokens::Characters),
            false => Moses::new(language).map(Tokens::Moses),
        }
    }
}

/// The greatest product of the numbers of tokens of a translation and its reference: the alignment
/// takes one byte for each pair.
pub(crate) const MOST_PAIRS: usize = 1 << 30;

/// A translation and its reference are too long to be aligned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{hypothesis} tokens of the translation and {reference} of the reference are too many to be aligned")]
pub(crate) struct TooLong {
    hypothesis: usize,
    reference: usize,
}

/// What is compared: a word, a mark or a character.
#[derive(Clone, Debug, PartialEq)]
struct Token {
    text: String,
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

/// For each of `units`, the segment of `references` (a list of its units) that it belongs to; they
/// never decrease. `None` where it belongs to none.
pub(crate) fn resegment(
    units: &[String],
    references: &[Vec<String>],
    tokens: Tokens,
) -> Result<Vec<Option<usize>>, TooLong> {
    let hypothesis = split(units.iter().enumerate(), tokens);
    let named = references.iter().enumerate().flat_map(|(at, units)| units.iter().map(move |unit| (at, unit)));
    let reference = split(named, tokens);
    if hypothesis.len().saturating_mul(reference.len()) > MOST_PAIRS {
        return Err(TooLong { hypothesis: hypothesis.len(), reference: reference.len() });
    }
    let by_character = matches!(tokens, Tokens::Characters);
    let steps = align(&reference, &hypothesis, by_character);
    let token_segments = token_segments(&reference, &hypothesis, &steps, by_character);
    // A unit belongs to the segment of its first token.
    let mut segment_of = vec![None; units.len()];
    for (token, &segment) in hypothesis.iter().zip(&token_segments).rev() {
        segment_of[token.owner] = segment;
    }
    Ok(segment_of)
}

/// The units in NFKC and lower case, split as `tokens` has it.
fn split<'a>(units: impl Iterator<Item = (usize, &'a String)>, tokens: Tokens) -> Vec<Token> {
    let mut split = Vec::new();
    for (owner, unit) in units {
        let unit = unit.nfkc().collect::<String>().to_lowercase();
        match tokens {
            Tokens::Characters | Tokens::Words => split.push(token(unit, owner)),
            Tokens::Moses(moses) => split.extend(moses.tokens(&unit).into_iter().map(|text| token(text, owner))),
        }
    }
    split
}

fn token(text: String, owner: usize) -> Token {
    // The marks that OmniSTEval never aligns with words.
    let marks = ".!?,;:-()。！？，；：—（）ー";
    let mut characters = text.chars();
    let mark = matches!((characters.next(), characters.next()), (Some(c), None) if marks.contains(c));
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    Token { text, letters, mark, owner }
}

fn similarity(a: &Token, b: &Token, by_character: bool) -> f64 {
    if a.mark != b.mark {
        return f64::NEG_INFINITY;
    }
    if by_character {
        return if a.text == b.text { 1.0 } else { 0.0 };
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
fn token_segments(reference: &[Token], hypothesis: &[Token], steps: &[Step], by_character: bool) -> Vec<Option<usize>> {
    let mut token_segments = Vec::with_capacity(hypothesis.len());
    // `passed`: how many tokens of the reference come before this step. `to_next`: whether the rest
    // of this gap goes to the segment after it.
    let (mut passed, mut to_next) = (0usize, false);
    for step in steps {
        match step {
            Step::SkipHypothesis => {
                let before = passed.checked_sub(1).and_then(|at| reference.get(at));
                let behind = reference.get(passed);
                let this = &hypothesis[token_segments.len()];
                let score = |other: Option<&Token>| {
                    other.map_or(f64::NEG_INFINITY, |other| similarity(this, other, by_character))
                };
                to_next |= score(behind) > score(before);
                token_segments.push(if to_next { behind } else { before }.map(|token| token.owner));
            }
            Step::Match | Step::SkipReference => {
                passed += 1;
                to_next = false;
                if *step == Step::Match {
                    token_segments.push(Some(reference[passed - 1].owner));
                }
            }
        }
    }
    token_segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::units::{unit_seam, written_units};
    use proptest::prelude::*;

    fn tokens_of(language: Language) -> Tokens {
        Tokens::of(language).unwrap_or(Tokens::Words)
    }

    /// The text of each segment; what belongs to none comes last.
    fn parted_by(hypothesis: &str, references: &[&str], language: Language, tokens: Tokens) -> Vec<String> {
        let units = written_units(hypothesis, language);
        let references: Vec<Vec<String>> = references.iter().map(|text| written_units(text, language)).collect();
        let token_segments = resegment(&units, &references, tokens).unwrap_or_default();
        assert_eq!(token_segments.len(), units.len());
        let part = |wanted: Option<usize>| {
            let own = units
                .iter()
                .zip(&token_segments)
                .filter(|(_, segment)| **segment == wanted)
                .map(|(unit, _)| unit.as_str());
            own.collect::<Vec<_>>().join(unit_seam(language))
        };
        (0..references.len()).map(Some).chain([None]).map(part).collect()
    }

    fn parted(hypothesis: &str, references: &[&str], language: Language) -> Vec<String> {
        let mut parts = parted_by(hypothesis, references, language, tokens_of(language));
        assert_eq!(parts.pop().as_deref(), Some(""), "{hypothesis}");
        parts
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
    fn words_as_they_are() {
        let parts = |tokens| {
            let references = ["Ja, gut.", "Wir gehen (heute)."];
            parted_by("Ja gut Wir, (wir) gehen heute .", &references, Language::GERMAN, tokens)
        };
        assert_eq!(parts(Tokens::Words), ["Ja gut", "Wir, (wir) gehen heute.", ""]);
        assert_eq!(parts(tokens_of(Language::GERMAN)), ["Ja gut Wir, (wir)", "gehen heute.", ""]);
    }

    #[test]
    fn a_mark_before_the_first_match_belongs_to_no_segment() {
        let parts = parted_by("(Also) wir gehen", &["Wir gehen."], Language::GERMAN, tokens_of(Language::GERMAN));
        assert_eq!(parts, ["wir gehen", "(Also)"]);
        let parts = parted_by("(Also) wir gehen", &["(Wir gehen)."], Language::GERMAN, tokens_of(Language::GERMAN));
        assert_eq!(parts, ["(Also) wir gehen", ""]);
        let parts = parted_by("，我们", &["我们"], Language::CHINESE, Tokens::Characters);
        assert_eq!(parts, ["我们", ","]);
    }

    #[test]
    fn nothing_against_something() {
        assert_eq!(parted("", &["Das.", "Ja."], Language::GERMAN), ["", ""]);
        assert_eq!(parted_by("Ja gut", &["", ""], Language::GERMAN, Tokens::Words), ["", "", "Ja gut"]);
        assert_eq!(resegment(&[], &[], Tokens::Words), Ok(Vec::new()));
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let units = vec!["a".to_owned(); 40_000];
        let refused = resegment(&units, std::slice::from_ref(&units), Tokens::Words);
        assert_eq!(refused, Err(TooLong { hypothesis: 40_000, reference: 40_000 }));
    }

    proptest! {
        #[test]
        fn segments_follow_one_another(
            words in prop::collection::vec("[a-cA-C.,!-]{1,3}|[你好。]{1,2}", 0..30),
            references in prop::collection::vec("([a-cA-C.,!]{1,3} ?){0,6}|[你好。]{0,4}", 1..6),
            chinese: bool,
            split: bool,
        ) {
            let language = if chinese { Language::CHINESE } else { Language::GERMAN };
            let tokens = if split { tokens_of(language) } else { Tokens::Words };
            let references: Vec<Vec<String>> = references.iter().map(|text| written_units(text, language)).collect();
            let token_segments = resegment(&words, &references, tokens).unwrap_or_default();
            prop_assert_eq!(token_segments.len(), words.len());
            prop_assert!(token_segments.is_sorted(), "{:?}", token_segments);
            prop_assert!(token_segments.iter().flatten().all(|&segment| segment < references.len()));
        }
    }
}
