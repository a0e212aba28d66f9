//! A transcript into the words that the forced aligner gives times for.
//!
//! Split at white space; of each piece keep letters, numbers and `'`; CJK ideographs stand alone. So "small-test" is
//! "smalltest", "3.50" is "350", combining marks and punctuation vanish. As the original does it for all languages but
//! Japanese and Korean, which it splits with dictionaries. (specs/models.md 1.8)

use std::ops::Range;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// A word and the bytes of the transcript that it was made of, from its first kept character to its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As the aligner sees it.
    pub text: String,
    /// Where it stands in the transcript; what lies between two spans is space, punctuation and marks.
    pub span: Range<usize>,
}

/// The words of `text`, in order.
pub fn split(text: &str) -> Vec<String> {
    split_spans(text).into_iter().map(|word| word.text).collect()
}

/// The words of `text`, and where each stands in it.
pub fn split_spans(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut open = false;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        if is_space(c) {
            open = false;
        } else if is_ideograph(c) {
            words.push(Word { text: c.into(), span: at..end });
            open = false;
        } else if is_kept(c) {
            match words.last_mut().filter(|_| open) {
                Some(word) => {
                    word.text.push(c);
                    word.span.end = end;
                }
                None => words.push(Word { text: c.into(), span: at..end }),
            }
            open = true;
        }
    }
    words
}

/// White space as Python's `str.split` and `str.strip` have it: Unicode's, and the four separators 1C to 1F.
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
    fn spans_lead_back_to_the_transcript() {
        let text = "»Das« kostet 3.50, 我用iPhone — ok!";
        let words = split_spans(text);
        let pieces: Vec<&str> = words.iter().map(|w| &text[w.span.clone()]).collect();
        assert_eq!(pieces, ["Das", "kostet", "3.50", "我", "用", "iPhone", "ok"]);
        assert_eq!(words[2].text, "350");
        assert!(split(" \u{1c}\u{a0} … ").is_empty());
        assert_eq!(split("a\u{1f}b"), ["a", "b"]);
    }
}
