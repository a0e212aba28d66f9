//! The text of `translate --text`: a file that is read as a whole, or standard input as it comes.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::error::{CliError, one_line};
use super::sound::is_stdin;
use super::text_file::{self, TextLines};
use crate::text::Millis;
use crate::text::passages::{Passage, Passages, spread};
use crate::text::units::source_words;

/// Files above this size, in bytes, are refused.
const MAX_FILE_BYTES: usize = 64 << 20;
/// The longest line of standard input, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;
/// The most passages of standard input that wait.
const MAX_WAITING: usize = 1_000;
/// The time of a word in a text without times: 150 words a minute.
const PER_WORD: Millis = Millis(400);

/// A word with its times in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextWord {
    pub text: String,
    pub start: Millis,
    pub end: Millis,
}

/// Source of a text.
#[derive(Debug)]
pub(super) enum TextOrigin {
    /// All words of a file, in order.
    File(Vec<TextWord>),
    Stdin,
}

/// Result of [`TypedText::next`].
pub(super) enum NextPassage {
    Passage(Passage),
    /// Nothing yet.
    Waiting,
    /// Reading failed. What was sent before is valid.
    Failed(CliError),
    End,
}

/// Standard input, which is read on a thread of its own so that Ctrl-C is noticed meanwhile.
pub(super) struct TypedText(Receiver<Result<Passage, CliError>>);

impl TextOrigin {
    /// Opens `name`; `-` is standard input. A file is read here, so that whatever is wrong in it is
    /// found before a model loads. In a text without times, words follow each other at 150 a minute,
    /// and a pause of `pause` stands between paragraphs.
    pub(super) fn open(name: &Path, pause: Millis) -> Result<TextOrigin, CliError> {
        if is_stdin(name) {
            return Ok(TextOrigin::Stdin);
        }
        let shown = name.display().to_string();
        let text = text_file::read(name, MAX_FILE_BYTES).map_err(CliError::of)?;
        let mut passages = Passages::new();
        let mut words = Vec::new();
        for (at, line) in text.lines().enumerate() {
            for passage in passages.line(line).map_err(|error| wrong_line(&shown, at + 1, &error))? {
                append(&mut words, &passage, pause);
            }
        }
        passages.finish().iter().for_each(|passage| append(&mut words, passage, pause));
        match words.is_empty() {
            true => Err(CliError::Failed(format!("{shown} contains no text").into())),
            false => Ok(TextOrigin::File(words)),
        }
    }
}

/// Adds the words of `passage`, with its times or behind the words before.
fn append(words: &mut Vec<TextWord>, passage: &Passage, pause: Millis) {
    let texts = source_words(&passage.text);
    let before = words.last().map(|word| word.end);
    let (start, end) = passage.times.unwrap_or_else(|| {
        let gap = if passage.opens_paragraph { pause } else { Millis::ZERO };
        let start = before.map_or(Millis::ZERO, |end| end + gap);
        (start, start + Millis(PER_WORD.0.saturating_mul(texts.len() as u64)))
    });
    let start = start.max(before.unwrap_or_default());
    let timed = spread(texts, start, end.max(start));
    words.extend(timed.into_iter().map(|(text, start, end)| TextWord { text, start, end }));
}

fn wrong_line(file: &str, line: usize, error: &dyn std::error::Error) -> CliError {
    CliError::Failed(format!("{file}, line {line} {}", one_line(error)).into())
}

impl TypedText {
    /// Starts to read standard input.
    pub(super) fn start() -> TypedText {
        let (sender, passages) = sync_channel(MAX_WAITING);
        // The thread ends with the text, or when the receiver is dropped.
        thread::spawn(move || {
            let mut lines = TextLines::new(io::stdin().lock(), "standard input", MAX_LINE_BYTES);
            let mut passages = Passages::new();
            loop {
                let found = match lines.next_text() {
                    Ok(Some(line)) => passages.line(line).map_err(|error| error.to_string()),
                    Ok(None) => break,
                    Err(error) => {
                        let _ = sender.send(Err(CliError::of(error)));
                        return;
                    }
                };
                let sent = match found {
                    Ok(found) => found.into_iter().try_for_each(|passage| sender.send(Ok(passage))),
                    Err(what) => {
                        let error = format!("standard input, line {} {what}", lines.number());
                        let _ = sender.send(Err(CliError::Failed(error.into())));
                        return;
                    }
                };
                if sent.is_err() {
                    return;
                }
            }
            for passage in passages.finish() {
                let _ = sender.send(Ok(passage));
            }
        });
        TypedText(passages)
    }

    /// Returns the next passage, after waiting for at most `timeout`.
    pub(super) fn next(&self, timeout: Duration) -> NextPassage {
        match self.0.recv_timeout(timeout) {
            Ok(Ok(passage)) => NextPassage::Passage(passage),
            Ok(Err(error)) => NextPassage::Failed(error),
            Err(RecvTimeoutError::Timeout) => NextPassage::Waiting,
            Err(RecvTimeoutError::Disconnected) => NextPassage::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<(String, u64, u64)>, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().join("words");
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        match TextOrigin::open(&path, Millis(1200)) {
            Ok(TextOrigin::File(words)) => Ok(words.into_iter().map(|w| (w.text, w.start.0, w.end.0)).collect()),
            Ok(TextOrigin::Stdin) => Err("standard input".to_owned()),
            Err(error) => Err(one_line(&error).rsplit('/').next().unwrap_or_default().to_owned()),
        }
    }

    fn says(expected: &[(&str, u64, u64)]) -> Result<Vec<(String, u64, u64)>, String> {
        Ok(expected.iter().map(|(text, start, end)| ((*text).to_owned(), *start, *end)).collect())
    }

    #[test]
    fn a_text_without_times_is_spoken_at_a_steady_pace() {
        let expected = [("Good", 0, 400), ("cats", 400, 800), ("sit.", 800, 1200), ("They", 2400, 2800)];
        assert_eq!(words("Good cats\nsit.\n\nThey\n"), says(&expected));
    }

    #[test]
    fn times_never_go_back() {
        let text = "{\"text\":\"one\",\"start\":1,\"end\":2}\n{\"text\":\"two\",\"start\":0.5,\"end\":0.6}\n{\"text\":\"six\"}";
        assert_eq!(words(text), says(&[("one", 1000, 2000), ("two", 2000, 2000), ("six", 2000, 2400)]));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let wrong = words("{\"text\":\"one\"}\n{\"text\":1}").expect_err("a number");
        assert_eq!(wrong, "words, line 2 has a `text` that is not a text");
        assert_eq!(words(" \n"), Err("words contains no text".to_owned()));
    }
}
