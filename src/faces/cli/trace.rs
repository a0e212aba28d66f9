//! `--trace`: the attention of each draft, one line per token.
//!
//! ```text
//!  12.75 s  segment 3  drafted 2 tokens, 9 of 11 words heard
//!    committed  " habe"  ← [1] have   heard 0.71  unheard 0.02  prompt 0.20  draft 0.07
//!    HELD       " Brot"  ← [9] bread  heard 0.10  unheard 0.62  prompt 0.21  draft 0.07  frontier
//! ```
//!
//! Words count from 0, as in the events. Columns line up by display width.

use unicode_width::UnicodeWidthStr;

use crate::cascade::event::Listen;
use crate::policy::{Hold, Token};
use crate::text::Millis;

/// The widest padding of a column, in terminal columns.
const WIDEST: usize = 28;

/// The lines for one draft: a heading, and one line per token.
pub(super) fn lines(at: Millis, listen: &Listen) -> Vec<String> {
    let rows: Vec<(String, String)> =
        listen.tokens.iter().map(|token| (quoted(token), rests_on(token, listen))).collect();
    let widest = |width: fn(&(String, String)) -> usize| rows.iter().map(width).max().unwrap_or(0).min(WIDEST);
    let (text_width, word_width) = (widest(|row| row.0.width()), widest(|row| row.1.width()));
    let mut lines = vec![heading(at, listen)];
    for (token, (text, word)) in listen.tokens.iter().zip(&rows) {
        let state = if token.shown { "committed" } else { "HELD" };
        // An empty sum is -0.0.
        let [heard, unheard, prompt, draft] = token.mass.map(|mass| mass + 0.0);
        let line = format!(
            "   {state:<9}  {}  {}  heard {heard:.2}  unheard {unheard:.2}  prompt {prompt:.2}  draft {draft:.2}  {}",
            padded(text, text_width),
            padded(word, word_width),
            token.why.map_or("", Hold::name),
        );
        lines.push(line.trim_end().to_owned());
    }
    lines
}

fn heading(at: Millis, listen: &Listen) -> String {
    let tokens = listen.tokens.len();
    format!(
        "{:>6.2} s  segment {}  {} {tokens} {}, {} of {} words heard",
        at.seconds(),
        listen.segment.0,
        if listen.drafted { "drafted" } else { "judged again:" },
        if tokens == 1 { "token" } else { "tokens" },
        listen.heard,
        listen.source.len(),
    )
}

fn quoted(token: &Token) -> String {
    format!("\"{}\"", plain(&token.text))
}

fn rests_on(token: &Token, listen: &Listen) -> String {
    match token.word.and_then(|at| Some((at, listen.source.get(at)?))) {
        Some((at, word)) => format!("← [{at}] {}", plain(word)),
        None => "← –".to_owned(),
    }
}

/// Replaces control characters, which would move the terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cascade::event::SegmentId;

    fn token(text: &str, word: Option<usize>, why: Option<Hold>) -> Token {
        Token {
            text: text.to_owned(),
            shown: why.is_none(),
            why,
            word,
            mass: [0.1, 0.62, 0.21, 0.07],
            attention: Vec::new(),
        }
    }

    fn listen(source: &[&str], tokens: Vec<Token>) -> Listen {
        let source = source.iter().map(|&word| word.to_owned()).collect();
        Listen { segment: SegmentId(3), source, heard: 1, drafted: true, tokens }
    }

    #[test]
    fn a_line_a_token() {
        let draft = listen(
            &["I", "have"],
            vec![token(" habe", Some(1), None), token(" gekauft", Some(0), Some(Hold::Frontier))],
        );
        assert_eq!(
            lines(Millis(12_750), &draft),
            [
                " 12.75 s  segment 3  drafted 2 tokens, 1 of 2 words heard",
                "   committed  \" habe\"     ← [1] have  heard 0.10  unheard 0.62  prompt 0.21  draft 0.07",
                "   HELD       \" gekauft\"  ← [0] I     heard 0.10  unheard 0.62  prompt 0.21  draft 0.07  frontier",
            ]
        );
    }

    #[test]
    fn columns_line_up_whatever_the_script() {
        let tokens = vec![
            token("他们", Some(0), None),
            token("ab", Some(1), Some(Hold::AfterHeld)),
            token("\u{1b}[2J\n", None, None),
            token("", Some(7), None),
        ];
        let lines = lines(Millis(0), &listen(&["我们", "us"], tokens));
        let column = |line: &String, mark: &str| line.find(mark).map(|at| line[..at].width());
        for mark in ["←", "heard", "draft 0"] {
            let first = column(&lines[1], mark);
            assert!(first.is_some() && lines[1..].iter().all(|line| column(line, mark) == first), "{lines:#?}");
        }
        assert!(lines.iter().all(|line| !line.contains(char::is_control)));
        assert!(lines[0].ends_with("drafted 4 tokens, 1 of 2 words heard"));
    }
}
