//! Seams: where the accepted prefix of a translation meets its continuation.
//!
//! A model continues a prefix with a leading space or within a word, and sometimes repeats the last
//! words of the prefix. [`glue`] joins both into one text. Source: docs/method.md, section 2.4.

use super::units::{is_cjk, is_punctuation};

/// The least content of an overlap that counts as a repetition, in characters that are neither
/// blank nor punctuation: for an overlap with CJK characters, and for one without.
const OVERLAP: (usize, usize) = (2, 4);
/// The same limits for a continuation whose leading punctuation mark was skipped first.
const OVERLAP_AFTER_MARK: (usize, usize) = (3, 6);

/// Strips blanks at both ends, deletes blanks before `, . ; : ! ?`, and reduces a run of spaces and
/// tabs to one space. `normalize(normalize(x)) == normalize(x)`.
pub(crate) fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        if matches!(c, ',' | '.' | ';' | ':' | '!' | '?') {
            out.truncate(out.trim_end().len());
            out.push(c);
        } else if !matches!(c, ' ' | '\t') {
            out.push(c);
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out
}

/// Joins the accepted prefix and what the model wrote after it into one normalised text. The result
/// starts with `prefix` if `prefix` is normalised, as every earlier result of this function is.
pub(crate) fn glue(prefix: &str, generated: &str) -> String {
    let generated = generated.trim_end_matches([' ', '\n', '\t', '\r']);
    if prefix.is_empty() {
        return normalize(generated);
    }
    let kept = strip_repeated_prefix(prefix, generated);
    let lost_space = !kept.is_empty()
        && !kept.starts_with(char::is_whitespace)
        && generated.starts_with(char::is_whitespace)
        && kept == normalize(generated);
    let space = if lost_space { " " } else { "" };
    normalize(&format!("{prefix}{space}{kept}"))
}

/// `continuation`, normalised, without the words at its beginning with which `prefix` already ends.
/// The rest keeps its leading space. If the continuation opens with a punctuation mark, the text
/// after the mark is tried too, with stricter limits.
pub(crate) fn strip_repeated_prefix(prefix: &str, continuation: &str) -> String {
    let prefix = normalize(prefix);
    let continuation = normalize(continuation);
    if let Some(rest) = after_overlap(&prefix, &continuation, OVERLAP) {
        return rest.to_owned();
    }
    let Some(mark) = continuation.chars().next().filter(|&c| is_punctuation(c)) else {
        return continuation;
    };
    let after_mark = continuation[mark.len_utf8()..].trim_start();
    match after_overlap(&prefix, after_mark, OVERLAP_AFTER_MARK) {
        Some(rest) => {
            let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || is_punctuation(c));
            format!("{mark}{rest}")
        }
        None => continuation,
    }
}

/// The rest of `text` after its longest beginning with which `prefix` ends. `None` if there is no
/// such beginning, or if it has less content than `least`.
fn after_overlap<'a>(prefix: &str, text: &'a str, least: (usize, usize)) -> Option<&'a str> {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let longest = ends.take_while(|&end| end <= prefix.len()).filter(|&end| prefix.ends_with(&text[..end])).last()?;
    let overlap = &text[..longest];
    let least = if overlap.chars().any(is_cjk) { least.0 } else { least.1 };
    let content = overlap.chars().filter(|&c| !c.is_whitespace() && !is_punctuation(c));
    (content.count() >= least).then_some(&text[longest..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_neither_glued_nor_doubled() {
        assert_eq!(glue("Der", " kausale Encoder"), "Der kausale Encoder");
        assert_eq!(glue("Entwurfs", "verarbeitung"), "Entwurfsverarbeitung");
        assert_eq!(glue("Der kausale", "Der kausale Encoder"), "Der kausale Encoder");
        assert_eq!(glue("大家好", "，我是"), "大家好，我是");
        assert_eq!(glue("Das ist", " , gut"), "Das ist, gut");
        assert_eq!(glue("", " Das  ist \n"), "Das ist");
    }

    proptest! {
        #[test]
        fn the_prefix_is_never_changed(p in "[a-zß你好 ,.!]{0,12}", c in "[a-zß你好 ,.!\n]{0,12}") {
            let p = normalize(&p);
            let text = glue(&p, &c);
            prop_assert!(text.starts_with(&p), "{p:?} + {c:?} = {text:?}");
            prop_assert_eq!(normalize(&text), text.clone());
        }
    }
}
