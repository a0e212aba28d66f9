//! Splits a word into tokens by the rules of Moses' tokenizer (version 1.1, with aggressive
//! splitting of hyphens), as OmniSTEval does with `--lang` before it aligns.
//!
//! Marks and symbols are tokens. These are kept within a word: a hyphen that is not between
//! letters, a comma between digits, a full stop after an abbreviation or a single letter, and an
//! apostrophe as the language has it.

use std::sync::LazyLock;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::text::Language;

/// A dot of a run of dots. The text is in lower case, so this letter is not in it.
const RUN_DOT: char = 'D';

/// The rules of one language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moses {
    language: Language,
    abbreviations: &'static [&'static str],
}

/// There is no list of the language's abbreviations here, though Moses has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Moses' rules for {0} are not known here")]
pub(crate) struct UnknownRules(&'static str);

impl Moses {
    pub(crate) fn new(language: Language) -> Result<Moses, UnknownRules> {
        let list = |code: &str| ABBREVIATIONS.iter().find(|(of, _)| *of == code).map(|(_, list)| list.as_slice());
        let abbreviations = match language.code() {
            "el" => None,
            code => list(code).or_else(|| list("en")),
        };
        match abbreviations {
            Some(abbreviations) => Ok(Moses { language, abbreviations }),
            None => Err(UnknownRules(language.english_name())),
        }
    }

    /// The tokens of a word in lower case. A word of blanks and control characters has none.
    pub(crate) fn tokens(&self, word: &str) -> Vec<String> {
        let blanks = |c: char| if c.is_whitespace() { ' ' } else { c };
        let text: Vec<char> = word.trim().chars().map(blanks).filter(|&c| c >= ' ').collect();
        let text = with_run_dots(&with_hyphens(&with_marks(&text)));
        let text = pairs(&text, |a, b| (!a.is_numeric() && b == ',').then(|| vec![a, ' ', ',', ' ']));
        let text = pairs(&text, |a, b| (a == ',' && !b.is_numeric()).then(|| vec![' ', ',', ' ', b]));
        let text: String = self.with_apostrophes(text).into_iter().collect();
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut tokens = Vec::with_capacity(words.len() + 1);
        for (at, word) in words.iter().enumerate() {
            match word.strip_suffix('.').filter(|stem| !stem.is_empty()) {
                Some(stem) if !self.keeps_stop(stem, words.get(at + 1)) => tokens.extend([stem, "."]),
                _ => tokens.push(word),
            }
        }
        tokens.into_iter().map(|token| token.replace(RUN_DOT, ".")).collect()
    }

    /// Splits at apostrophes: in English the apostrophe goes with what follows (`it 's`), in French
    /// and Italian with what precedes (`l' uomo`), elsewhere it is a token.
    fn with_apostrophes(&self, text: Vec<char>) -> Vec<char> {
        let alone = |a: char, b: char| vec![a, ' ', '\'', ' ', b];
        let right = |a: char, b: char| vec![a, ' ', '\'', b];
        let left = |a: char, b: char| vec![a, '\'', ' ', b];
        let letter = char::is_alphabetic;
        match self.language.code() {
            "en" => {
                let text = around(&text, |a, b| (!letter(a) && !letter(b)).then(|| alone(a, b)));
                let text = around(&text, |a, b| (!letter(a) && !a.is_numeric() && letter(b)).then(|| alone(a, b)));
                let text = around(&text, |a, b| (letter(a) && !letter(b)).then(|| alone(a, b)));
                let text = around(&text, |a, b| (letter(a) && letter(b)).then(|| right(a, b)));
                around(&text, |a, b| (a.is_numeric() && b == 's').then(|| right(a, b)))
            }
            "fr" | "it" => {
                let text = around(&text, |a, b| (!letter(a) && !letter(b)).then(|| alone(a, b)));
                let text = around(&text, |a, b| (!letter(a) && letter(b)).then(|| alone(a, b)));
                let text = around(&text, |a, b| (letter(a) && !letter(b)).then(|| alone(a, b)));
                around(&text, |a, b| (letter(a) && letter(b)).then(|| left(a, b)))
            }
            _ => text.into_iter().flat_map(|c| if c == '\'' { vec![' ', c, ' '] } else { vec![c] }).collect(),
        }
    }

    /// Whether the full stop after `stem` is a part of the word.
    fn keeps_stop(&self, stem: &str, next: Option<&&str>) -> bool {
        (stem.contains('.') && stem.chars().any(char::is_alphabetic))
            || self.abbreviations.contains(&stem)
            || next.is_some_and(|next| next.starts_with(char::is_lowercase))
    }
}

/// A letter or a decimal digit.
fn is_alnum(c: char) -> bool {
    c.is_alphabetic() || c.general_category() == GeneralCategory::DecimalNumber
}

/// Every mark and symbol apart, but for full stops, commas, hyphens and apostrophes.
fn with_marks(text: &[char]) -> Vec<char> {
    let kept = |c: char| is_alnum(c) || c.is_whitespace() || matches!(c, '.' | '\'' | '`' | ',' | '-');
    text.iter().flat_map(|&c| if kept(c) { vec![c] } else { vec![' ', c, ' '] }).collect()
}

/// `@-@` for each hyphen between letters or digits.
fn with_hyphens(text: &[char]) -> Vec<char> {
    let mut split = Vec::with_capacity(text.len());
    for (at, &c) in text.iter().enumerate() {
        let before = at.checked_sub(1).is_some_and(|before| is_alnum(text[before]));
        match c == '-' && before && text.get(at + 1).is_some_and(|&next| is_alnum(next)) {
            true => split.extend(" @-@ ".chars()),
            false => split.push(c),
        }
    }
    split
}

/// Each run of two or more dots apart, as [`RUN_DOT`]s.
fn with_run_dots(text: &[char]) -> Vec<char> {
    let mut split = Vec::with_capacity(text.len());
    let mut at = 0;
    for run in text.chunk_by(|&a, &b| a == '.' && b == '.') {
        at += run.len();
        if run.len() == 1 {
            split.extend(run);
            continue;
        }
        split.push(' ');
        split.extend(run.iter().map(|_| RUN_DOT));
        if at < text.len() {
            split.push(' ');
        }
    }
    split
}

/// Replaces groups of `N` neighbours from left to right; what was replaced is not looked at again.
fn replace_groups<const N: usize>(text: &[char], replaced: impl Fn([char; N]) -> Option<Vec<char>>) -> Vec<char> {
    let mut made = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        match rest.first_chunk().and_then(|group| replaced(*group)) {
            Some(new) => {
                made.extend(new);
                rest = &rest[N..];
            }
            None => {
                made.push(*first);
                rest = behind;
            }
        }
    }
    made
}

/// Replaces pairs of neighbours.
fn pairs(text: &[char], replaced: impl Fn(char, char) -> Option<Vec<char>>) -> Vec<char> {
    replace_groups(text, |[a, b]| replaced(a, b))
}

/// Replaces apostrophes with their two neighbours.
fn around(text: &[char], replaced: impl Fn(char, char) -> Option<Vec<char>>) -> Vec<char> {
    replace_groups(text, |[a, mark, b]| if mark == '\'' { replaced(a, b) } else { None })
}

/// The abbreviations of each language, by its code.
static ABBREVIATIONS: LazyLock<Vec<(&str, Vec<&str>)>> = LazyLock::new(|| {
    let paragraphs = include_str!("abbreviations.txt").split("\n\n").skip(1);
    let listed = paragraphs.filter_map(|paragraph| paragraph.split_once(':'));
    listed.map(|(code, list)| (code.trim(), list.split_whitespace().collect())).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    fn split(word: &str, code: &str) -> String {
        let moses = code.parse().ok().and_then(|language| Moses::new(language).ok());
        moses.map_or_else(|| "no rules".to_owned(), |moses| moses.tokens(word).join(" "))
    }

    /// The expected tokens are those of Moses' tokenizer for the same words.
    #[test]
    fn words_as_moses_splits_them() {
        for (code, word, tokens) in [
            ("de", "haus.", "haus ."),
            ("de", "bzw.", "bzw."),
            ("de", "z.b.", "z.b."),
            ("de", "„nein“,", "„ nein “ ,"),
            ("de", "e-mail-adresse", "e @-@ mail @-@ adresse"),
            ("de", "-wort-", "-wort-"),
            ("de", "3,5", "3,5"),
            ("de", "1990,", "1990,"),
            ("de", "a,b,c", "a , b , c"),
            ("de", "geht's", "geht ' s"),
            ("de", "warte...", "warte ..."),
            ("de", "ja...nein", "ja ... nein"),
            ("de", "(s", "( s"),
            ("de", "#um,", "# um ,"),
            ("de", "17.", "17."),
            ("de", "100.", "100 ."),
            ("de", "50%", "50 %"),
            ("de", ".", "."),
            ("de", "..", ".."),
            ("de", "❶", "❶"),
            ("de", "a❶b", "a ❶ b"),
            ("it", "l'uomo", "l' uomo"),
            ("it", "dell'«arte»", "dell ' « arte »"),
            ("it", "dott.", "dott."),
            ("en", "don't", "don 't"),
            ("en", "1990's", "1990 's"),
            ("en", "dogs'", "dogs'"),
            ("en", "('a", "( ' a"),
            ("en", "bzw.", "bzw ."),
            ("tr", "vs.", "vs."),
            ("fr", "n/réf.", "n / réf ."),
            ("es", "pág.", "pág."),
            ("ru", "гг.", "гг ."),
        ] {
            assert_eq!(split(word, code), tokens, "{code}: {word}");
        }
    }

    #[test]
    fn what_has_no_tokens() {
        for word in ["", " ", "\u{1}\u{1f}", "\u{3000}"] {
            assert_eq!(split(word, "de"), "", "{word:?}");
        }
        assert_eq!(split("ά.", "el"), "no rules");
    }

    #[test]
    fn every_list_is_read() {
        let found: Vec<(&str, usize)> = ABBREVIATIONS.iter().map(|(code, list)| (*code, list.len())).collect();
        let lengths = [("en", 3), ("de", 162), ("it", 22), ("fr", 68), ("es", 30), ("pt", 73), ("nl", 33)];
        assert_eq!(found[..7], lengths);
        assert_eq!(found.len(), 14);
    }
}
