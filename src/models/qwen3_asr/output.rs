//! Reads the recogniser's raw text: its language, its transcript, and loops removed.
//!
//! ```text
//! language English<asr_text>Hello.   not forced: language and text, split at the first <asr_text>
//! language None<asr_text>            no speech
//! Hello.                             forced, or no tag: all of it is text
//! ```
//!
//! [`parse`] is Qwen3-ASR's own rule. It lets through what a model writes against the rule: a
//! second header, a header although the language is forced, control strings. [`transcript`] is what
//! the program shows.

use super::words::is_space;
use crate::weights::markup::without_markup;

const TEXT_TAG: &str = "<asr_text>";
const LANGUAGE_TAG: &str = "language ";
/// A character that is repeated more often than this, or a pattern that is repeated at least as
/// often, is a loop.
const REPEATS: usize = 20;
/// The longest pattern of a loop, in characters.
const LONGEST_PATTERN: usize = 20;
/// The language in a header that reports no speech.
const NONE: &str = "None";
/// A header that reports no speech, without its tag.
const NO_SPEECH: &str = "language None";
/// The languages in all other headers.
const LANGUAGES: &str = "Chinese English Cantonese Arabic German French Spanish Portuguese Indonesian Italian \
                         Korean Russian Thai Vietnamese Japanese Turkish Hindi Malay Dutch Swedish Danish \
                         Finnish Polish Czech Filipino Persian Greek Romanian Hungarian Macedonian";

/// What was recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The English name of the language, as forced or as the model names it. Empty if the model
    /// names none or reports no speech.
    pub language: String,
    /// The transcript.
    pub text: String,
}

/// Reads the model's raw text. `forced` is the language that the prompt forced, if any. In that
/// case all of the text is transcript.
pub(crate) fn parse(raw: &str, forced: Option<&str>) -> Parsed {
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

/// What is shown of the model's raw text: only what was spoken. `forced` is that of [`parse`].
///
/// The text is cut at every `<asr_text>`; at the end of the text the beginning of a tag is enough.
/// A header before a tag is removed, wherever the model put it. After a header that says `None`
/// there is no speech up to the next tag. Other control strings are removed. Where the model says
/// nothing but `None`, nothing is left.
pub(crate) fn transcript(raw: &str, forced: Option<&str>) -> Parsed {
    let text = spoken(&fix_repetitions(strip(raw)));
    if text.is_empty() {
        return Parsed::default();
    }
    Parsed { language: parse(raw, forced).language, text }
}

fn spoken(raw: &str) -> String {
    let mut text = String::new();
    let mut silent = false;
    let mut left = Some(raw);
    while let Some(raw) = left {
        let (part, behind) = split_tag(raw);
        let part = without_markup(part, " ");
        let (words, header) = split_header(without_opening(&part), behind.is_some());
        if !silent {
            text.push_str(words);
            text.push(' ');
        }
        silent = header.split(is_space).any(|word| key_at(word, "none").is_some());
        left = behind;
    }
    // Parts that were separate may form markup together.
    let mut text = one_line(&without_markup(&text, " "));
    while let Some(at) = text.find(NO_SPEECH) {
        text.replace_range(at..at + NO_SPEECH.len(), " ");
        text = one_line(&text);
    }
    if text.split(' ').all(|word| word == NONE) { String::new() } else { text }
}

/// Leaves single blanks between words.
fn one_line(text: &str) -> String {
    text.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Splits `text` at its first `<asr_text>`: the text before it, and the text after it, which is
/// `None` if there is no tag. The name `asr_text` is enough for a tag; at the end of `text` the
/// beginning of a tag is enough.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let name = &TEXT_TAG[1..TEXT_TAG.len() - 1];
    if let Some(at) = text.to_ascii_lowercase().find(name) {
        let bracket = |c: char| matches!(c, '<' | '>' | '|' | '/');
        let before = text[..at].trim_end_matches(bracket);
        return (before, Some(text[at + name.len()..].trim_start_matches(bracket)));
    }
    let begun = (2..TEXT_TAG.len()).rev().find_map(|len| text.strip_suffix(&TEXT_TAG[..len]));
    begun.map_or((text, None), |before| (before, Some("")))
}

/// Splits `part` into speech and the headers after it. `tagged`: a tag follows.
fn split_header(part: &str, tagged: bool) -> (&str, &str) {
    let mut speech = part.trim_end_matches(is_space);
    while let Some(start) = header_at(speech, tagged) {
        speech = speech[..start].trim_end_matches(is_space);
    }
    part.split_at(speech.len())
}

/// Where the header at the end of `text` begins, if there is one. If no tag follows, only what
/// nobody would say counts as a header: at the beginning of a sentence, a lower-case `language`
/// with a name and nothing more; anywhere, `language None` or a repeated `None`.
fn header_at(text: &str, tagged: bool) -> Option<usize> {
    let (before, last) = split_last_word(text);
    let (first, second) = split_last_word(before);
    let (last_at, second_at) = (text.len() - last.len(), before.trim_end_matches(is_space).len() - second.len());
    let named = LANGUAGES.split(' ').any(|name| name == last) || last == NONE;
    if tagged {
        return (key_at(second, "language").map(|at| second_at + at))
            .or_else(|| key_at(last, "language").map(|at| last_at + at))
            .or_else(|| key_at(last, "none").map(|at| last_at + at))
            .or_else(|| (named && second.is_empty()).then_some(last_at));
    }
    let begins = first.is_empty() || strip(first).ends_with(['.', '?', '!', '…', '。', '？', '！']);
    if second == "language" && (named && begins || last == NONE) {
        return Some(second_at);
    }
    (last == NONE && second == NONE).then_some(last_at)
}

/// Splits off the last word, which is empty if there is none.
fn split_last_word(text: &str) -> (&str, &str) {
    let text = text.trim_end_matches(is_space);
    text.split_at(text.rfind(is_space).map_or(0, |at| text.ceil_char_boundary(at + 1)))
}

/// Where `key` (in lower case) begins, if `word` ends with it in any case and no Latin letter
/// precedes it.
fn key_at(word: &str, key: &str) -> Option<usize> {
    let at = word.len().checked_sub(key.len())?;
    let found = word.get(at..)?.eq_ignore_ascii_case(key) && !word[..at].ends_with(|c: char| c.is_ascii_alphabetic());
    found.then_some(at)
}

/// Removes a header without a tag from the beginning of `part`, if a sentence follows it.
fn without_opening(part: &str) -> &str {
    let named = part.trim_start_matches(is_space).strip_prefix(LANGUAGE_TAG).and_then(|header| {
        LANGUAGES
            .split(' ')
            .find_map(|name| header.strip_prefix(name))
            .map(|behind| behind.trim_start_matches(is_space))
    });
    let begins = |text: &&str| text.starts_with(|c: char| c.is_alphabetic() && !c.is_lowercase());
    named.filter(begins).unwrap_or(part)
}

/// The language that the text before a tag names; empty if it names none or reports no speech.
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

/// The line ends of Python's `str.splitlines`.
fn is_line_end(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Removes the loops that a model can fall into. A character that is repeated more than 20 times is
/// kept once; then a pattern of up to 20 characters that is repeated at least 20 times is kept
/// once.
pub(crate) fn fix_repetitions(text: &str) -> String {
    let chars = collapse_characters(text);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    // A shorter rest is left unchanged, as in the reference.
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

/// How often the first `len` characters are repeated in a row, the first occurrence included.
fn repeats(chars: &[char], len: usize) -> usize {
    chars.chunks_exact(len).take_while(|piece| *piece == &chars[..len]).count()
}

fn collapse_characters(text: &str) -> Vec<char> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunk_by(|a, b| a == b).flat_map(|run| if run.len() > REPEATS { &run[..1] } else { run }).copied().collect()
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

    /// The reference's own search for patterns, line by line.
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

    fn shown(raw: &str) -> String {
        transcript(raw, Some("English")).text
    }

    #[test]
    fn no_speech_is_an_empty_hypothesis() {
        for raw in [
            "language None<asr_text>",
            "None<asr_text>",
            "None None None None<asr_text>",
            "None None None",
            "None",
            "language None None None",
            "language None",
            "language none<asr_text>",
            "language None<asr_text>uh",
            "None<asr_text>None<asr_text>",
            "None None<asr_te",
            "<asr_text>",
            "<",
            "language English<asr_text>",
            "English<asr_text>",
            "<|im_end|>",
            "language None<|im_end|><asr_text>",
            " \n",
        ] {
            assert_eq!(shown(raw), "", "{raw}");
            assert_eq!(transcript(raw, None), Parsed::default(), "{raw}");
        }
    }

    #[test]
    fn only_what_was_spoken_is_shown() {
        for (raw, want) in [
            ("Hello world.", "Hello world."),
            ("Hello<asr_text> world.", "Hello world."),
            ("language English<asr_text>Hello.", "Hello."),
            ("Hello. language German<asr_text>Guten Tag.", "Hello. Guten Tag."),
            ("Hello. language None<asr_text>uh language English<asr_text>World.", "Hello. World."),
            ("Hello. language None<asr_text>", "Hello."),
            ("Hello. language None", "Hello."),
            ("Hello. language German", "Hello."),
            ("Hello. <asr_t", "Hello."),
            ("Hello<|audio_pad|> world<|", "Hello world"),
            ("Hello <timestamp><timestamp>world", "Hello world"),
            ("你好language Chinese<asr_text>世界", "你好 世界"),
            ("language English Hello.", "Hello."),
            ("Klingon. language Klingon<asr_text>Qapla", "Klingon. Qapla"),
        ] {
            assert_eq!(shown(raw), want, "{raw}");
        }
    }

    #[test]
    fn speech_about_languages_is_speech() {
        for text in [
            "None.",
            "None of us came.",
            "I know none",
            "He spoke the language English.",
            "the language English",
            "language English is spoken here",
            "English",
            "Which language? None.",
            "a < b and b > c",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn the_rule_of_the_reference_holds_for_what_is_well_formed() {
        let golden = golden_text();
        for case in golden["parse_asr_output"].as_array().unwrap() {
            let (raw, text) = (case["raw"].as_str().unwrap(), case["text"].as_str().unwrap());
            let no_speech = raw.contains("None");
            if case["forced"].is_null() && !no_speech && !text.contains(TEXT_TAG) {
                assert_eq!(transcript(raw, None), parse(raw, None), "{raw}");
            }
        }
    }

    /// What a derailed model might write, in any order.
    const SCRAPS: [&str; 34] = [
        "<asr_text>",
        "<asr_te",
        "asr_text>",
        "_text>",
        "<",
        ">",
        "|",
        "<|",
        "|>",
        "<|im_end|>",
        "<|im_",
        "end|>",
        "<timestamp>",
        "language ",
        "language None",
        "language English",
        "language",
        "None",
        "None ",
        "English",
        " ",
        "\n",
        ". ",
        "Hello",
        " world.",
        "你好",
        "。",
        "<b>",
        "</b>",
        "<unused1>",
        "<ASR_TEXT>",
        "Language German",
        "none",
        "é",
    ];

    proptest! {
        #[test]
        fn markup_is_never_shown(
            scraps in proptest::collection::vec(proptest::sample::select(SCRAPS.to_vec()), 0..14),
            forced in proptest::option::of(proptest::sample::select(vec!["English", "Chinese"])),
        ) {
            let raw = scraps.concat();
            let text = transcript(&raw, forced).text;
            for mark in ["asr_text", "ASR_TEXT", "<|", "|>", "<b", "/b", "<unused", "<timestamp", "<asr", "language None"] {
                prop_assert!(!text.contains(mark), "{raw:?} shows {text:?}");
            }
            prop_assert!(!text.ends_with('<') && text.trim() == text, "{raw:?} shows {text:?}");
            prop_assert!(text.is_empty() || text.split(' ').any(|word| word != NONE), "{raw:?} shows {text:?}");
        }

        #[test]
        fn speech_comes_through(words in proptest::collection::vec("[a-z]{1,8}[,.]?", 1..12)) {
            let text = words.join(" ");
            for raw in [text.clone(), format!("language English<asr_text>{text}")] {
                prop_assert_eq!(shown(&raw), fix_repetitions(&text).replace("  ", " "));
            }
        }

        #[test]
        fn patterns_are_found_as_defined(parts in proptest::collection::vec(("[ab ]{1,22}", 1usize..24), 1..4)) {
            let text: String = parts.iter().map(|(pattern, times)| pattern.repeat(*times)).collect();
            prop_assert_eq!(fix_repetitions(&text), by_definition(&collapse_characters(&text)));
        }

        #[test]
        fn any_text_is_taken(raw in "\\PC{0,60}", forced in proptest::option::of("[A-Z][a-z]{0,5}")) {
            parse(&raw, forced.as_deref());
            transcript(&raw, forced.as_deref());
        }
    }
}
