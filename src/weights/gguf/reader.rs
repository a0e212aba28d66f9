//! A file's header, read from its beginning in pieces.

use crate::weights::error::{CheckpointError, FETCH_AGAIN};
use crate::weights::files::ByteSource;

/// Bytes that are read at once. The header's length is not known beforehand: that of a real model
/// has 0.1 to 16 MB.
const PIECE: usize = 1 << 20;
/// The longest header, in bytes. The longest of a published model has 16 MB.
const MAX_HEADER: u64 = 64 << 20;

/// Holds one piece, or one value where that is longer.
pub(super) struct Reader<'a> {
    source: &'a dyn ByteSource,
    /// Name of the file, for messages.
    file: &'a str,
    size: u64,
    window: Vec<u8>,
    /// The position of the window's first byte in the file.
    begins: u64,
    /// Bytes of the window that have been taken.
    taken: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn ByteSource, file: &'a str) -> Reader<'a> {
        Reader { source, file, size: source.size(), window: Vec::new(), begins: 0, taken: 0 }
    }

    /// The position of the next byte in the file.
    pub(super) fn position(&self) -> u64 {
        self.begins + self.taken as u64
    }

    /// Bytes from the next one to the end of the file.
    pub(super) fn left(&self) -> u64 {
        self.size - self.position()
    }

    /// The error that the header is wrong.
    pub(super) fn bad(&self, what: impl std::fmt::Display) -> CheckpointError {
        CheckpointError::file(self.file, what, FETCH_AGAIN)
    }

    /// The next `len` bytes. `what` they are, for messages. Errors: there are fewer, or the header
    /// is too long.
    pub(super) async fn take(&mut self, len: u64, what: &str) -> Result<&[u8], CheckpointError> {
        if len > self.left() {
            let (at, left) = (self.position(), self.left());
            return Err(self.bad(format!("ends in {what}: byte {at} is followed by {left} bytes, not by {len}")));
        }
        if self.position() + len > MAX_HEADER {
            return Err(self.bad(format!("has a header of more than {} MiB, in {what}", MAX_HEADER >> 20)));
        }
        let len = len as usize;
        if self.window.len() - self.taken < len {
            self.read_on(len).await?;
        }
        let from = self.taken;
        self.taken += len;
        Ok(&self.window[from..self.taken])
    }

    /// Forgets what has been taken, and reads until the window has `len` bytes.
    async fn read_on(&mut self, len: usize) -> Result<(), CheckpointError> {
        self.begins = self.position();
        self.window.drain(..self.taken);
        self.taken = 0;
        while self.window.len() < len {
            let at = self.begins + self.window.len() as u64;
            let piece = PIECE.min((self.size - at) as usize);
            let bytes =
                self.source.read(at, piece).await.map_err(|error| {
                    CheckpointError::io(format_args!("{} (byte {at})", self.file), error, FETCH_AGAIN)
                })?;
            if bytes.len() != piece {
                return Err(self.bad(format!("{} bytes came instead of {piece} at byte {at}", bytes.len())));
            }
            self.window.extend_from_slice(&bytes);
        }
        Ok(())
    }

    async fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], CheckpointError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, what).await?);
        Ok(bytes)
    }

    pub(super) async fn u32(&mut self, what: &str) -> Result<u32, CheckpointError> {
        Ok(u32::from_le_bytes(self.array(what).await?))
    }

    pub(super) async fn u64(&mut self, what: &str) -> Result<u64, CheckpointError> {
        Ok(u64::from_le_bytes(self.array(what).await?))
    }

    /// A text of at most `most` bytes; it need not be UTF-8.
    pub(super) async fn text(&mut self, most: u64, what: &str) -> Result<&[u8], CheckpointError> {
        let len = self.u64(what).await?;
        if len > most && len <= self.left() {
            return Err(self.bad(format!("{what} has {len} bytes, but at most {most} are expected")));
        }
        self.take(len, what).await
    }
}
