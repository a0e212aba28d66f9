//! Control strings in a model's output. They steer the model and are not text.
//!
//! Control *tokens* are recognised by their ids. But a model can also spell such a string in
//! ordinary tokens, break it off, or end in the middle of it. So text is searched by shape:
//! `<name>`, where the name consists of ASCII letters, digits and `_ | / ｜ ▁`.

use std::ops::Range;

/// Replaces every control string in `text` by `instead`.
pub(crate) fn without_markup(text: &str, instead: &str) -> String {
    let mut text = text.to_owned();
    // The text before and after a control string may form another one when joined.
    while let Some(at) = find(&text) {
        text.replace_range(at, instead);
    }
    text
}

/// Removes control strings from a text given in pieces, one for each token. Every piece keeps the
/// characters that are not part of a control string.
pub(crate) fn erase_markup(pieces: &mut [String]) {
    while let Some(at) = find(&pieces.concat()) {
        let mut start = 0;
        for piece in pieces.iter_mut() {
            let end = start + piece.len();
            let (from, to) = (at.start.clamp(start, end) - start, at.end.clamp(start, end) - start);
            piece.replace_range(from..to, "");
            start = end;
        }
    }
}

/// Where the first control string is: whole, with one end missing, or begun at the end of `text`.
fn find(text: &str) -> Option<Range<usize>> {
    text.char_indices().find_map(|(at, c)| match c {
        '<' => opened(text, at),
        '>' => closed(text, at),
        _ => None,
    })
}

/// A control string that begins with the `<` at `at`.
fn opened(text: &str, at: usize) -> Option<Range<usize>> {
    let behind = &text[at + 1..];
    let name = &behind[..behind.find(|c| !in_name(c)).unwrap_or(behind.len())];
    let end = at + 1 + name.len();
    let at_end = text[end..].trim_end().is_empty();
    let steers = name.starts_with(|c: char| !c.is_ascii_digit()) || at_end;
    steers.then(|| at..end + usize::from(text[end..].starts_with('>')))
}

/// A control string that ends with the `>` at `at` and has lost its `<`. Its name must contain a
/// character of `_ | / ｜ ▁`: ordinary prose does not.
fn closed(text: &str, at: usize) -> Option<Range<usize>> {
    let name: usize = text[..at].chars().rev().take_while(|c| in_name(*c)).map(char::len_utf8).sum();
    let start = at - name;
    text[start..at].contains(|c: char| !c.is_ascii_alphanumeric()).then_some(start..at + 1)
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '|' | '/' | '｜' | '▁')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_strings_are_known_by_their_shape() {
        for (text, want) in [
            ("Ja<end_of_turn>", "Ja"),
            ("<|turn>model\nJa.<turn|>", "model\nJa."),
            ("Ja<unused12> gut", "Ja gut"),
            ("Ja <|im_end gut", "Ja  gut"),
            ("Ja turn|> gut", "Ja  gut"),
            ("Ja<｜end▁of▁sentence｜>.", "Ja."),
            ("Ja</b><br/>", "Ja"),
            ("Ja<", "Ja"),
            ("Ja<end_of", "Ja"),
            ("Ja<|", "Ja"),
            ("Ja<<", "Ja"),
            ("Ja <", "Ja "),
            ("<as<|x|>r_text>Ja", "Ja"),
            ("<<b>b>Ja", "Ja"),
            ("你好<|im_end|>再见", "你好再见"),
        ] {
            assert_eq!(without_markup(text, ""), want, "{text}");
        }
    }

    #[test]
    fn prose_is_left_alone() {
        for text in ["a < b", "x > y", "p <0.05", "p<0.05 > q", "3<你好>4", "<- ja ->", "", "a <= b"] {
            assert_eq!(without_markup(text, ""), text);
        }
    }

    proptest! {
        #[test]
        fn pieces_are_cleaned_like_their_text(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "<", ">", "|", "<|", "|>", "turn", "<eos>", "_of", " ", "Ja", "好", "é", "<|im_end|>", "/", "5",
                ]),
                0..12,
            ),
        ) {
            let mut pieces: Vec<String> = pieces.into_iter().map(str::to_owned).collect();
            let want = without_markup(&pieces.concat(), "");
            let len = pieces.len();
            erase_markup(&mut pieces);
            prop_assert_eq!(pieces.len(), len);
            prop_assert_eq!(pieces.concat(), &*want);
            for mark in ["<|", "|>", "<eos", "<turn", "_of>"] {
                prop_assert!(!want.contains(mark), "{}", want);
            }
        }
    }
}
