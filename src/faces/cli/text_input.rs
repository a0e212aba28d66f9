//! The text of `translate --text`: a file that is read as a whole, or standard input as it comes.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::error::CliError;
use super::sound::is_stdin;
use super::text_file::{self, TextError, TextLines};
use crate::text::Millis;
use crate::text::passages::{Passage, PassageError, Passages, TextWord, read};

/// Files above this size, in bytes, are refused.
const MAX_FILE_BYTES: usize = 64 << 20;
/// The longest line of standard input, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;
/// The most passages of standard input that wait.
const MAX_WAITING: usize = 1_000;
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
    Failed(InputError),
    End,
}

/// Standard input, which is read on a thread of its own so that Ctrl-C is noticed meanwhile.
pub(super) struct TypedText(Receiver<Result<Passage, InputError>>);

/// Standard input is no text, or has a malformed line.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("standard input, line {0} {1}")]
    Line(usize, PassageError),
}

impl TextOrigin {
    /// Opens `name`; `-` is standard input. A file is read here, so that whatever is wrong in it is
    /// found before a model loads. `pause` stands between the paragraphs of a text without times.
    pub(super) fn open(name: &Path, pause: Millis) -> Result<TextOrigin, CliError> {
        if is_stdin(name) {
            return Ok(TextOrigin::Stdin);
        }
        let shown = name.display().to_string();
        let text = text_file::read(name, MAX_FILE_BYTES).map_err(CliError::of)?;
        let words = read(&text, pause).map_err(|(line, error)| wrong_line(&shown, line, &error))?;
        match words.is_empty() {
            true => Err(CliError::Failed(format!("{shown} contains no text").into())),
            false => Ok(TextOrigin::File(words)),
        }
    }
}

fn wrong_line(file: &str, line: usize, error: &PassageError) -> CliError {
    CliError::Failed(format!("{file}, line {line} {error}").into())
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
                    Ok(Some(line)) => passages.line(line),
                    Ok(None) => break,
                    Err(error) => {
                        let _ = sender.send(Err(error.into()));
                        return;
                    }
                };
                let sent = match found {
                    Ok(found) => found.into_iter().try_for_each(|passage| sender.send(Ok(passage))),
                    Err(error) => {
                        let _ = sender.send(Err(InputError::Line(lines.number(), error)));
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
    use super::super::error::one_line;
    use super::*;

    fn open(text: &str) -> Result<usize, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().join("words");
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        match TextOrigin::open(&path, Millis(1200)) {
            Ok(TextOrigin::File(words)) => Ok(words.len()),
            Ok(TextOrigin::Stdin) => Err("standard input".to_owned()),
            Err(error) => Err(one_line(&error).rsplit('/').next().unwrap_or_default().to_owned()),
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert_eq!(open("Good morning,\neveryone."), Ok(3));
        let wrong = "words, line 2 has a `text` that is not a text";
        assert_eq!(open("{\"text\":\"one\"}\n{\"text\":1}"), Err(wrong.to_owned()));
        assert_eq!(open(" \n"), Err("words contains no text".to_owned()));
    }
}
