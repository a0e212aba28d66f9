//! Reads text files that the user names: of bounded size, in UTF-8, with or without a byte-order
//! mark.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The longest line of JSON that is read, in bytes.
pub(super) const LINE_BYTES: usize = 16 << 20;

const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";
const UTF16_MARKS: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];

/// A text file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextError {
    #[error("cannot read {file}")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("{file} is longer than {max} bytes")]
    TooLong { file: String, max: usize },
    #[error("{file}, line {line} is longer than {max} bytes")]
    LongLine { file: String, line: usize, max: usize },
    #[error("{file} is in UTF-16; save it as UTF-8")]
    Utf16 { file: String },
    #[error("{file}, line {line} is not in UTF-8; save the file as UTF-8")]
    NotUtf8 { file: String, line: usize },
}

/// Reads the text of the file at `path`, which may have at max `max` bytes.
pub(super) fn read(path: &Path, max: usize) -> Result<String, TextError> {
    let file = path.display().to_string();
    let failed = |source| TextError::Read { file: file.clone(), source };
    let mut bytes = Vec::new();
    // A pipe has no known length, so the file is read up to one byte more than allowed.
    File::open(path).and_then(|open| open.take(max as u64 + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > max {
        return Err(TextError::TooLong { file, max });
    }
    if is_utf16(&bytes) {
        return Err(TextError::Utf16 { file });
    }
    if bytes.starts_with(UTF8_MARK) {
        bytes.drain(..UTF8_MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        TextError::NotUtf8 { file, line: 1 + before.iter().filter(|&&byte| byte == b'\n').count() }
    })
}

fn is_utf16(bytes: &[u8]) -> bool {
    UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark))
}

/// Reads the lines of a text one by one.
pub(super) struct TextLines<R> {
    input: R,
    file: String,
    max: usize,
    line: Vec<u8>,
    number: usize,
}

impl TextLines<BufReader<File>> {
    /// Opens the file at `path`. Its lines may have at max `max` bytes.
    pub(super) fn open(path: &Path, max: usize) -> Result<Self, TextError> {
        let file = path.display().to_string();
        match File::open(path) {
            Ok(open) => Ok(TextLines::new(BufReader::new(open), &file, max)),
            Err(source) => Err(TextError::Read { file, source }),
        }
    }
}

impl<R: BufRead> TextLines<R> {
    /// Reads the lines of `input`. Errors name it as `file`.
    pub(super) fn new(input: R, file: &str, max: usize) -> TextLines<R> {
        TextLines { input, file: file.to_owned(), max, line: Vec::new(), number: 0 }
    }

    /// The next line without its end; `None` after the last.
    pub(super) fn next_line(&mut self) -> Result<Option<&[u8]>, TextError> {
        self.line.clear();
        self.number += 1;
        // Room for one byte more than allowed, and for the end of the line.
        let limit = self.max as u64 + 2;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.line);
        if read.map_err(|source| self.failed(source))? == 0 {
            return Ok(None);
        }
        if self.line.ends_with(b"\n") {
            self.line.pop();
        }
        if self.line.ends_with(b"\r") {
            self.line.pop();
        }
        if self.line.len() > self.max {
            return Err(TextError::LongLine { file: self.file.clone(), line: self.number, max: self.max });
        }
        if self.number == 1 && is_utf16(&self.line) {
            return Err(TextError::Utf16 { file: self.file.clone() });
        }
        // In files that were concatenated, any line may start with a mark.
        Ok(Some(self.line.strip_prefix(UTF8_MARK).unwrap_or(&self.line)))
    }

    /// The next line as text.
    pub(super) fn next_text(&mut self) -> Result<Option<&str>, TextError> {
        let not_utf8 = TextError::NotUtf8 { file: self.file.clone(), line: self.number + 1 };
        let line = self.next_line()?;
        line.map(|line| std::str::from_utf8(line).map_err(|_| not_utf8)).transpose()
    }

    /// Number of the line that was read last, from 1.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Whether the line that was read last is the last one.
    pub(super) fn at_end(&mut self) -> Result<bool, TextError> {
        let rest = self.input.fill_buf().map(<[u8]>::is_empty);
        rest.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> TextError {
        TextError::Read { file: self.file.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::one_line;
    use super::*;

    fn lines(bytes: &[u8], max: usize) -> Result<Vec<String>, String> {
        let mut lines = TextLines::new(bytes, "x", max);
        let mut found = Vec::new();
        while let Some(line) = lines.next_text().map_err(|error| one_line(&error))? {
            found.push(line.to_owned());
        }
        Ok(found)
    }

    fn whole(bytes: &[u8], max: usize) -> Result<String, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).map_err(|error| error.to_string())?;
        let place = format!("{}/", folder.path().display());
        read(&path, max).map_err(|error| one_line(&error).replace(&place, ""))
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(whole(b"\xEF\xBB\xBFWien", 9).as_deref(), Ok("Wien"));
        assert_eq!(whole(b"\xEF\xBB\xBF", 9).as_deref(), Ok(""));
        assert_eq!(lines(b"\xEF\xBB\xBF{}\r\n\xEF\xBB\xBF{}", 9), Ok(vec!["{}".to_owned(), "{}".to_owned()]));
        for utf16 in [&b"\xFF\xFEW\0i\0\n\0"[..], b"\xFE\xFF\0W\0i\0\n"] {
            assert_eq!(whole(utf16, 99), Err("x is in UTF-16; save it as UTF-8".to_owned()));
            assert_eq!(lines(utf16, 99), Err("x is in UTF-16; save it as UTF-8".to_owned()));
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_line() {
        let latin = b"Wien\nCaf\xE9\nGraz\n";
        let error = Err("x, line 2 is not in UTF-8; save the file as UTF-8".to_owned());
        assert_eq!(whole(latin, 99), error);
        assert_eq!(lines(latin, 99).map(|lines| lines.concat()), error);
    }

    #[test]
    fn lengths_have_bounds() {
        assert_eq!(whole(b"12345", 5).as_deref(), Ok("12345"));
        assert_eq!(whole(b"123456", 5), Err("x is longer than 5 bytes".to_owned()));
        for end in ["", "\n", "\r\n"] {
            assert_eq!(lines(format!("1\n12345{end}").as_bytes(), 5).map(|lines| lines.len()), Ok(2));
            let long = lines(format!("1\n123456{end}").as_bytes(), 5);
            assert_eq!(long, Err("x, line 2 is longer than 5 bytes".to_owned()));
        }
        let endless = TextLines::new(BufReader::new(io::repeat(b'1')), "x", 99).next_line().map(drop);
        assert!(matches!(endless, Err(TextError::LongLine { line: 1, .. })));
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = read(Path::new("/nowhere/x"), 9).err().map(|error| one_line(&error));
        assert!(missing.is_some_and(|line| line.starts_with("cannot read /nowhere/x: ")));
        assert!(matches!(TextLines::open(Path::new("/nowhere/x"), 9), Err(TextError::Read { .. })));
    }
}
