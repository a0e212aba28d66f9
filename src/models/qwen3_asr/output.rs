//! What the recogniser's raw text means: its language, its text, and loops taken out.
//!
//! ```text
//! language English<asr_text>Hello.   not forced: language and text, split at the first <asr_text>
//! language None<asr_text>            no speech
//! Hello.                             forced, or no tag: all of it is text
//! ```
//! As Qwen3-ASR's own code does it. (specs/models.md 1.7)

use super::words::is_space;

const TEXT_TAG: &str = "<asr_text>";
const LANGUAGE_TAG: &str = "language ";
/// A character repeated more often, or a pattern repeated at least as often, is a loop.
const REPEATS: usize = 20;
/// Longest pattern of a loop, in characters.
const LONGEST_PATTERN: usize = 20;

/// What was recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The language's English name, as forced or as the model says; empty where it says none, or that there is no speech.
    pub language: String,
    /// The transcript.
    pub text: String,
}

/// Reads the model's raw text. `forced` is the language that the prompt forced, if any: then all of it is transcript.
pub fn parse(raw: &str, forced: Option<&str>) -> Parsed {
    let raw = strip(raw);
    if raw.is_empty() {
        return Parsed::default();
    }
    let text = fix_repetitions(raw);
    if let Some(language) = forced.filter(|name| !name.is_empty()) {
        return Parsed { language: language.into(), text };
    }
    match text.split_once(TEXT_TAG) {
        None => Parsed { language: String::new(), text: strip(&text).into() },
        Some((header, text)) => Parsed { language: language_of(header), text: strip(text).into() },
    }
}

/// The language that the part before the tag names.
fn language_of(header: &str) -> String {
    if header.to_lowercase().contains("language none") {
        return String::new();
    }
    header
        .split(is_line_end)
        .map(strip)
        .find_map(|line| {
            let tag = line.get(..LANGUAGE_TAG.len())?;
            tag.eq_ignore_ascii_case(LANGUAGE_TAG).then(|| capitalised(strip(&line[LANGUAGE_TAG.len()..])))
        })
        .unwrap_or_default()
}

/// "german" → "German".
fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect(),
        None => String::new(),
    }
}

fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Ends of lines as Python's `str.splitlines` has them.
fn is_line_end(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Takes the loops out that a model can fall into: a character repeated more than 20 times, then any pattern of up
/// to 20 characters repeated at least 20 times, is left once.
pub fn fix_repetitions(text: &str) -> String {
    let chars = collapse_characters(text);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    // Shorter ends are left alone, as the reference leaves them.
    while at + 2 * REPEATS <= chars.len() {
        let rest = &chars[at..];
        let lengths = 1..=LONGEST_PATTERN.min(rest.len() / REPEATS);
        match lengths.map(|len| (len, repeats(rest, len))).find(|&(_, times)| times >= REPEATS) {
            Some((len, times)) => {
                out.extend(&rest[..len]);
                at += len * times;
            }
            None => {
                out.push(rest[0]);
                at += 1;
            }
        }
    }
    out.extend(&chars[at..]);
    out
}

/// How often the first `len` characters stand there in a row.
fn repeats(chars: &[char], len: usize) -> usize {
    chars.chunks_exact(len).take_while(|piece| *piece == &chars[..len]).count()
}

fn collapse_characters(text: &str) -> Vec<char> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunk_by(|a, b| a == b).flat_map(|run| if run.len() > REPEATS { &run[..1] } else { run }).copied().collect()
}

/// The languages of the pieces of long audio: what each says, without repeats in a row, joined by commas.
pub fn merge_languages<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = pieces.into_iter().map(strip).filter(|name| !name.is_empty()).collect();
    names.dedup();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::golden_text;
    use proptest::prelude::*;

    #[test]
    fn parsing_equals_the_reference() {
        let golden = golden_text();
        let cases = golden["parse_asr_output"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let text = |key: &str| case[key].as_str().unwrap().to_string();
            let want = Parsed { language: text("language"), text: text("text") };
            assert_eq!(parse(&text("raw"), case["forced"].as_str()), want, "{case}");
        }
    }

    #[test]
    fn repetitions_equal_the_reference() {
        let golden = golden_text();
        let cases = golden["fix_repetitions"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            assert_eq!(fix_repetitions(case["input"].as_str().unwrap()), case["output"].as_str().unwrap());
        }
    }

    #[test]
    fn merging_equals_the_reference() {
        let golden = golden_text();
        for case in golden["merge_languages"].as_array().unwrap() {
            let pieces = case["input"].as_array().unwrap().iter().map(|v| v.as_str().unwrap());
            assert_eq!(merge_languages(pieces), case["output"].as_str().unwrap());
        }
    }

    /// The reference's own way of finding patterns, word for word.
    fn by_definition(chars: &[char]) -> String {
        let n = chars.len();
        let (mut out, mut i) = (String::new(), 0);
        while n >= 40 && i <= n - 40 {
            for k in 1..=20 {
                if i + k * 20 > n {
                    break;
                }
                let same = |rep: usize| chars[i + rep * k..i + rep * k + k] == chars[i..i + k];
                if (1..20).all(same) {
                    let mut end = i + 20 * k;
                    while end + k <= n && chars[end..end + k] == chars[i..i + k] {
                        end += k;
                    }
                    out.extend(&chars[i..i + k]);
                    return out + &by_definition(&chars[end..]);
                }
            }
            out.push(chars[i]);
            i += 1;
        }
        out.extend(&chars[i..]);
        out
    }

    proptest! {
        #[test]
        fn patterns_are_found_as_defined(parts in proptest::collection::vec(("[ab ]{1,22}", 1usize..24), 1..4)) {
            let text: String = parts.iter().map(|(pattern, times)| pattern.repeat(*times)).collect();
            prop_assert_eq!(fix_repetitions(&text), by_definition(&collapse_characters(&text)));
        }

        #[test]
        fn any_text_is_taken(raw in "\\PC{0,60}", forced in proptest::option::of("[A-Z][a-z]{0,5}")) {
            parse(&raw, forced.as_deref());
        }
    }
}
