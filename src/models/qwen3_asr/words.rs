//! Splits a transcript into the words for which the forced aligner gives times.
//!
//! The text is split at white space. Of each piece only letters, numbers and `'` are kept, and each
//! CJK ideograph is a word. So "small-test" becomes "smalltest", "3.50" becomes "350", and
//! combining marks and punctuation vanish. The original does the same for all languages but
//! Japanese and Korean, which it splits with dictionaries. (docs/models.md, section 1.8)

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// The words of `text`, in order, as the aligner sees them.
pub fn split(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for c in text.chars() {
        if is_space(c) {
            open = false;
        } else if is_ideograph(c) {
            words.push(c.into());
            open = false;
        } else if is_kept(c) {
            match words.last_mut().filter(|_| open) {
                Some(word) => word.push(c),
                None => words.push(c.into()),
            }
            open = true;
        }
    }
    words
}

/// White space as in Python's `str.split` and `str.strip`: that of Unicode, and the four separators
/// U+001C to U+001F.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_kept(c: char) -> bool {
    let group = c.general_category_group();
    c == '\'' || matches!(group, GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number)
}

fn is_ideograph(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B820..=0x2CEAF
            | 0xF900..=0xFAFF
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::golden_text;

    #[test]
    fn equals_the_reference() {
        let golden = golden_text();
        let cases = golden["align_words"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let want: Vec<&str> = case["words"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
            assert_eq!(split(text), want);
        }
    }

    #[test]
    fn words_keep_letters_and_numbers_only() {
        let text = "»Das« kostet 3.50, 我用iPhone — ok!";
        assert_eq!(split(text), ["Das", "kostet", "350", "我", "用", "iPhone", "ok"]);
        assert!(split(" \u{1c}\u{a0} … ").is_empty());
        assert_eq!(split("a\u{1f}b"), ["a", "b"]);
    }
}
