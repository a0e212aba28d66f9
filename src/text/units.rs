//! Source words and target units: what a reader counts, and where each of them ends.
//!
//! A *source word* is a run of non-blank characters with its punctuation, or one CJK character with
//! the punctuation after it. A *target unit* is what a reader of the translation counts: where
//! spaces separate words, a word with its punctuation; in Chinese and Japanese a character, a mark,
//! or a run of letters and digits. Source: docs/method.md, sections 1.4, 5.5 and 6.3.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::language::Language;

/// CJK ideographs and kana: each is a unit by itself.
pub(crate) fn is_cjk(c: char) -> bool {
    let in_blocks = matches!(u32::from(c),
        0x3005..=0x3007                         // 々 〆 〇
        | 0x3021..=0x3029 | 0x3031..=0x3035 | 0x3038..=0x303C // Hangzhou numerals, repeat marks
        | 0x3041..=0x30FF | 0x31F0..=0x31FF     // kana
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF
        | 0xFF66..=0xFF9F                       // half-width kana
        | 0x1B000..=0x1B16F                     // historic kana
        | 0x20000..=0x3FFFD); // both ideographic planes, with code points not yet assigned
    in_blocks && !is_punctuation(c)
}

/// Punctuation or a symbol, in any script.
pub(crate) fn is_punctuation(c: char) -> bool {
    matches!(c.general_category_group(), GeneralCategoryGroup::Punctuation | GeneralCategoryGroup::Symbol)
}

/// Punctuation in its wide forms, which Chinese and Japanese set without spaces, and the wide
/// blank.
fn is_wide_punctuation(c: char) -> bool {
    let in_blocks = matches!(u32::from(c), 0x3000..=0x303F | 0x30A0..=0x30FF | 0xFF00..=0xFF65);
    in_blocks && (is_punctuation(c) || c == '\u{3000}')
}

/// A letter, a digit, a combining mark, or a character that joins them within a word. Not CJK.
fn in_word(c: char) -> bool {
    !is_cjk(c)
        && (c.is_alphanumeric()
            || c.general_category_group() == GeneralCategoryGroup::Mark
            || matches!(c, '_' | '-' | '\'' | '’'))
}

/// Splits a transcript into its words, each with its punctuation. Blanks separate words. A CJK
/// character is a word by itself and takes the punctuation that follows it.
pub(crate) fn source_words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for run in text.split_whitespace() {
        let mut word = String::new();
        for c in run.chars() {
            let parts = word.chars().any(|p| !is_punctuation(p))
                && (is_cjk(c) || (word.chars().any(is_cjk) && !is_punctuation(c) && !is_wide_punctuation(c)));
            if parts {
                words.push(std::mem::take(&mut word));
            }
            word.push(c);
        }
        // A run of bare punctuation belongs to the word before it.
        match words.last_mut() {
            Some(last) if word.chars().all(|c| matches!(c, ',' | '.' | ';' | ':' | '!' | '?')) => {
                last.push_str(&word);
            }
            _ => words.push(word),
        }
    }
    words
}

/// Joins words, with the separator of [`seam_between`] between two of them.
pub(crate) fn join_words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for word in words {
        push_joined(&mut text, word);
    }
    text
}

/// Appends `word` to `text`, with a space between them if their scripts need one.
pub(crate) fn push_joined(text: &mut String, word: &str) {
    text.push_str(seam_between(text, word));
    text.push_str(word);
}

/// The separator between two pieces of text: one space, or nothing if a side is empty or has a CJK
/// character or wide punctuation at the seam.
pub(crate) fn seam_between(left: &str, right: &str) -> &'static str {
    let wide = |c: char| is_cjk(c) || is_wide_punctuation(c);
    match (left.chars().next_back(), right.chars().next()) {
        (Some(l), Some(r)) if !wide(l) && !wide(r) => " ",
        _ => "",
    }
}

/// A word without the quotes, brackets and punctuation around it. May be empty.
pub(crate) fn trim_punctuation(word: &str) -> &str {
    let open = ['"', '\'', '`', '“', '”', '‘', '’', '(', '[', '{'];
    let close = |c: char| c.is_ascii_punctuation() || matches!(c, '”' | '’') || is_wide_punctuation(c);
    word.trim_start_matches(open).trim_end_matches(close)
}

/// The form in which two spellings of a word are compared: its letters and digits in lower case.
pub(crate) fn folded(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether `text` may be cut at byte `at` without splitting a unit. False if `at` is not a
/// character boundary. True at both ends of the text: whether its last unit is complete depends on
/// how the draft ended, which is not decided here.
pub(crate) fn is_unit_boundary(text: &str, at: usize) -> bool {
    let (Some(left), Some(right)) = (text.get(..at), text.get(at..)) else {
        return false;
    };
    let mut before = left.chars().rev();
    let mut after = right.chars();
    let (Some(l), Some(r)) = (before.next(), after.next()) else {
        return true;
    };
    if in_word(l) && in_word(r) {
        return false;
    }
    // Numbers such as 3.5, 1,200 and 10:30 are one unit each: neither side of the mark is a
    // boundary.
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let mark = |c: char| matches!(c, '.' | ',' | ':' | '/');
    let cuts_number = (mark(l) && r.is_ascii_digit() && digit(before.next()))
        || (mark(r) && l.is_ascii_digit() && digit(after.next()));
    !cuts_number
}

/// Whether a target unit ends at byte `at` of a draft that continues after it. In Chinese and
/// Japanese a unit ends wherever the cut splits no word or number. In other languages it ends next
/// to a blank and on either side of a CJK character, as [`unit_ends`] counts. Source:
/// docs/method.md, section 5.3.
pub(crate) fn unit_ends_at(text: &str, at: usize, language: Language) -> bool {
    if language.counts_characters() {
        return is_unit_boundary(text, at);
    }
    let (Some(left), Some(right)) = (text.get(..at), text.get(at..)) else {
        return false;
    };
    let opens = |c: char| c.is_whitespace() || is_cjk(c);
    left.is_empty() || left.ends_with(opens) || right.starts_with(opens)
}

/// Whether the last unit of `text` is complete, whatever follows. Only Chinese and Japanese text
/// can show this: a character or a mark is complete, a run of letters or digits is not.
pub(crate) fn is_closed(text: &str, language: Language) -> bool {
    language.counts_characters() && !text.ends_with(in_word)
}

/// The byte offsets at which the target units of `text` end. Where spaces separate words, a unit is
/// a word with its punctuation, or a CJK character among them. In Chinese and Japanese every
/// character and every mark is a unit, and so is a run of letters or digits.
pub(crate) fn unit_ends(text: &str, language: Language) -> Vec<usize> {
    let mut ends = Vec::new();
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        if c.is_whitespace() {
            continue;
        }
        let next = text[end..].chars().next();
        let closes = if language.counts_characters() {
            is_unit_boundary(text, end)
        } else {
            next.is_none_or(char::is_whitespace) || is_cjk(c) || next.is_some_and(is_cjk)
        };
        if closes || next.is_none() {
            ends.push(end);
        }
    }
    ends
}

/// The units in which latency is counted: words without `,.;:!?` at their edges, or in a language
/// without spaces the characters of the text in NFKC. Bare punctuation is not counted among words.
/// Source: docs/method.md, section 6.3.
pub(crate) fn latency_units(text: &str, language: Language) -> Vec<String> {
    if language.counts_characters() {
        return text.nfkc().filter(|c| !c.is_whitespace()).map(String::from).collect();
    }
    text.split_whitespace()
        .map(|word| word.trim_matches([',', '.', ';', ':', '!', '?']))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The units of [`latency_units`] as they are written, with their punctuation. [`unit_seam`] joins
/// them to the text again, without bare marks at its beginning.
pub fn written_units(text: &str, language: Language) -> Vec<String> {
    if language.counts_characters() {
        return latency_units(text, language);
    }
    let mut units: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        // A bare mark is not a unit: it belongs to the word before it.
        match (latency_units(word, language).is_empty(), units.last_mut()) {
            (true, Some(last)) => last.push_str(word),
            (true, None) => {}
            (false, _) => units.push(word.to_owned()),
        }
    }
    units
}

/// The separator between two written units.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn unit_seam(language: Language) -> &'static str {
    if language.counts_characters() { "" } else { " " }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_spacing_and_of_cjk_text() {
        assert_eq!(source_words(" Hi,  all . "), ["Hi,", "all."]);
        assert_eq!(source_words("我们用GPT模型。好"), ["我", "们", "用", "GPT", "模", "型。", "好"]);
        assert_eq!(source_words("a — b"), ["a", "—", "b"]);
        assert_eq!(source_words("\"Yes,\" he said."), ["\"Yes,\"", "he", "said."]);
        assert_eq!(join_words(["Hi,", "all."]), "Hi, all.");
        assert_eq!(join_words(["我", "们。", "GPT", "4"]), "我们。GPT 4");
    }

    #[test]
    fn wide_letters_and_digits_are_not_punctuation() {
        assert_eq!(trim_punctuation("ＧＰＴ"), "ＧＰＴ");
        assert_eq!(trim_punctuation("ＧＰＴ，"), "ＧＰＴ");
        assert_eq!(trim_punctuation("「２０２４」。"), "「２０２４");
        assert_eq!(source_words("用ＧＰＴ４ 好"), ["用", "ＧＰＴ４", "好"]);
        assert_eq!(join_words(["ＧＰＴ", "４"]), "ＧＰＴ ４");
        assert_eq!(source_words("人々は〇です。"), ["人", "々", "は", "〇", "で", "す。"]);
        assert_eq!(trim_punctuation("人々"), "人々");
        assert_eq!(unit_ends("ｶﾅ𰀀", Language::CHINESE).len(), 3);
        for mark in ['、', '。', '・', '「', '〜', '，', '！', '（', '｡', '￥'] {
            assert!(is_wide_punctuation(mark) || mark == '￥', "{mark}");
            assert!(!is_cjk(mark), "{mark}");
        }
        for letter in ['Ａ', '９', '々', '〇', 'ー', 'ｱ', '\u{31350}', '\u{2EBF0}'] {
            assert!(!is_wide_punctuation(letter), "{letter}");
        }
    }

    /// The page has the same table, and its tests read the same file.
    #[test]
    fn the_page_knows_the_same_cjk_characters() {
        let shared: serde_json::Value = serde_json::from_str(include_str!("../../tests/fixtures/units.json")).unwrap();
        let mut ranges: Vec<[u32; 2]> = Vec::new();
        for code in ('\0'..=char::MAX).filter(|&c| is_cjk(c)).map(u32::from) {
            match ranges.last_mut() {
                Some(last) if last[1] + 1 == code => last[1] = code,
                _ => ranges.push([code, code]),
            }
        }
        assert_eq!(serde_json::json!(ranges), shared["cjk"]);
        for code in Language::codes() {
            let counts = shared["counts_characters"].as_array().unwrap().contains(&code.into());
            assert_eq!(code.parse::<Language>().unwrap().counts_characters(), counts, "{code}");
        }
    }

    #[test]
    fn boundaries_keep_words_and_numbers_whole() {
        let text = "dell'uomo 3.5 km/h";
        let cuts: Vec<usize> = (0..=text.len()).filter(|&i| is_unit_boundary(text, i)).collect();
        assert_eq!(cuts, [0, 9, 10, 13, 14, 16, 17, 18]);
        assert!(is_unit_boundary("你好", 3));
        assert!(!is_unit_boundary("你好", 1));
    }

    #[test]
    fn ends_of_units() {
        assert_eq!(unit_ends("Das ist, gut.", Language::GERMAN), [3, 8, 13]);
        assert_eq!(unit_ends("我在CMU。", Language::CHINESE), [3, 6, 9, 12]);
        assert!(!unit_ends_at("gut, so", 3, Language::GERMAN) && unit_ends_at("gut, so", 4, Language::GERMAN));
        assert_eq!(unit_ends("我是fen wir", Language::GERMAN), [3, 6, 9, 13]);
        assert!(unit_ends_at("我是fen wir", 6, Language::GERMAN) && !unit_ends_at("我是fen wir", 8, Language::GERMAN));
        assert!(is_closed("我在", Language::CHINESE) && !is_closed("我在CMU", Language::CHINESE));
        assert!(!is_closed("ja ", Language::GERMAN));
        assert_eq!(trim_punctuation("(hello,)"), "hello");
        assert_eq!(folded("Don't!"), "dont");
    }

    #[test]
    fn units_are_counted_as_they_are_written() {
        assert_eq!(written_units("Ja , gut. — So", Language::GERMAN), ["Ja,", "gut.", "—", "So"]);
        assert_eq!(written_units("... na", Language::GERMAN), ["na"]);
        assert_eq!(written_units("好， 我", Language::CHINESE), ["好", ",", "我"]);
        for text in ["Ja , gut. — So!", ". . a b.", "", "好， 我 GPT"] {
            for language in [Language::GERMAN, Language::CHINESE] {
                assert_eq!(written_units(text, language).len(), latency_units(text, language).len(), "{text}");
            }
        }
    }
}
