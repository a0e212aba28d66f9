//! Elements: the numbers, lengths and contents that make up a Matroska file.
//!
//! ```text
//! id (1 to 4 bytes) · length (1 to 8 bytes; all ones: not known) · content
//! ```
//!
//! The leading zeros of the first byte tell how long a number is. Bytes are only read forwards, and
//! no further than they are needed, because they may come from a live stream. No length is trusted.

use std::io::{self, ErrorKind, Read};

/// The number of bytes to read at once.
const READ_LEN: usize = 64 * 1024;
/// The maximum number of bytes of an id and a length.
pub(super) const MAX_HEAD: usize = 12;

/// The head of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: u32,
    /// The number of bytes of the content, if it is known.
    pub(super) len: Option<u64>,
    /// The number of bytes of the head itself.
    pub(super) head_len: usize,
}

/// Reads the head at the start of `bytes`. None if it is not valid or not complete.
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let id_len = bytes.first()?.leading_zeros() as usize + 1;
    if id_len > 4 {
        return None;
    }
    let id = uint(bytes.get(..id_len)?) as u32;
    let (len, len_len) = number(&bytes[id_len..])?;
    Some(Head { id, len, head_len: id_len + len_len })
}

/// A number with its own length in front, and the number of its bytes. All ones mean none.
pub(super) fn number(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let len = bytes.first()?.leading_zeros() as usize + 1;
    if len > 8 {
        return None;
    }
    let ones = (1 << (7 * len)) - 1;
    let value = uint(bytes.get(..len)?) & ones;
    Some((Some(value).filter(|&value| value != ones), len))
}

/// An unsigned number of up to 8 bytes.
pub(super) fn uint(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// A signed number of up to 8 bytes.
pub(super) fn int(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len().min(8) as u32;
    match unused {
        64 => 0,
        _ => (uint(bytes) << unused) as i64 >> unused,
    }
}

/// A floating-point number of 4 or 8 bytes.
pub(super) fn float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        4 => Some(f64::from(f32::from_bits(uint(bytes) as u32))),
        8 => Some(f64::from_bits(uint(bytes))),
        _ => None,
    }
}

/// The elements in `bytes`, with their contents. Ends at the first that is not valid.
pub(super) fn children(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = head(rest)?;
        let len = usize::try_from(head.len?).ok()?;
        let body = rest.get(head.head_len..head.head_len.checked_add(len)?)?;
        rest = &rest[head.head_len + len..];
        Some((head.id, body))
    })
}

/// Bytes that arrive one after another.
pub(super) struct Bytes<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The number of bytes of the buffer that were used.
    used: usize,
    /// The place of the next byte.
    at: u64,
    ended: bool,
}

impl<R: Read> Bytes<R> {
    pub(super) fn new(reader: R) -> Bytes<R> {
        Bytes { reader, buffer: Vec::new(), used: 0, at: 0, ended: false }
    }

    /// The place of the next byte.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next `len` bytes, which stay. There are fewer at the end.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        while !self.ended && self.buffer.len() - self.used < len {
            self.fill()?;
        }
        let end = self.buffer.len().min(self.used + len);
        Ok(&self.buffer[self.used..end])
    }

    /// The next `len` bytes. None if the source ends before.
    pub(super) fn take(&mut self, len: usize) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.peek(len)?.to_vec();
        self.consume(bytes.len());
        Ok(Some(bytes).filter(|bytes| bytes.len() == len))
    }

    /// Skips `len` bytes. False if the source ends before.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<bool> {
        let mut left = len;
        while left > 0 {
            let present = (self.buffer.len() - self.used) as u64;
            self.consume(present.min(left) as usize);
            left -= present.min(left);
            if left > 0 {
                if self.ended {
                    return Ok(false);
                }
                self.fill()?;
            }
        }
        Ok(true)
    }

    /// Skips to the next place at which `mark` begins. False if there is none up to the end.
    pub(super) fn find(&mut self, mark: &[u8]) -> io::Result<bool> {
        loop {
            let rest = &self.buffer[self.used..];
            if let Some(at) = rest.windows(mark.len()).position(|w| w == mark) {
                self.consume(at);
                return Ok(true);
            }
            let kept = if self.ended { 0 } else { mark.len() - 1 };
            self.consume(rest.len().saturating_sub(kept));
            if self.ended {
                return Ok(false);
            }
            self.fill()?;
        }
    }

    fn consume(&mut self, len: usize) {
        self.used += len;
        self.at += len as u64;
    }

    /// Reads what has arrived.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let at = self.buffer.len();
        self.buffer.resize(at + READ_LEN, 0);
        let got = self.reader.read(&mut self.buffer[at..]);
        self.buffer.truncate(at + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(len) => self.ended = len == 0,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}
