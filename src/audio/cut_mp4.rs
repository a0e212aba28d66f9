//! An MP4 that was cut off, made as long as it says it is.
//!
//! symphonia passes over sound data (`mdat`) that reaches beyond the file, and so gives nothing of a download that broke
//! off. This source claims the full length and has nothing to read where the file ends, so that decoding runs up to there.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::sought;

/// A file has few top-level atoms; more are a broken file.
const MOST_ATOMS: usize = 100_000;

/// A source that claims to be as long as its sound data.
pub(super) struct CutMp4 {
    inner: Box<dyn MediaSource>,
    at: u64,
    there: u64,
    claimed: u64,
}

impl CutMp4 {
    /// Looks for sound data that reaches beyond the end; the position is at the start afterwards.
    pub(super) fn new(mut inner: Box<dyn MediaSource>) -> io::Result<Self> {
        let there = inner.seek(SeekFrom::End(0))?;
        let claimed = data_end(&mut inner, there)?.max(there);
        inner.seek(SeekFrom::Start(0))?;
        Ok(CutMp4 { inner, at: 0, there, claimed })
    }
}

/// Where the first top-level `mdat` that does not fit into `there` bytes would end; 0 if there is none.
fn data_end(source: &mut Box<dyn MediaSource>, there: u64) -> io::Result<u64> {
    let mut at = 0u64;
    for _ in 0..MOST_ATOMS {
        if there.saturating_sub(at) < 16 {
            break;
        }
        source.seek(SeekFrom::Start(at))?;
        let mut head = [0u8; 16];
        source.read_exact(&mut head)?;
        let [a, b, c, d, e, f, g, h, long @ ..] = head;
        let len = match u32::from_be_bytes([a, b, c, d]) {
            1 => u64::from_be_bytes(long),
            len => u64::from(len),
        };
        if len < 8 {
            break;
        }
        let Some(end) = at.checked_add(len).filter(|&end| end < 1 << 62) else {
            break;
        };
        if end > there {
            return Ok(if [e, f, g, h] == *b"mdat" { end } else { 0 });
        }
        at = end;
    }
    Ok(0)
}

impl Read for CutMp4 {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.there {
            return Ok(0);
        }
        let len = self.inner.read(buf)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for CutMp4 {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = sought(to, self.at, self.claimed)?;
        if target < self.there {
            self.inner.seek(SeekFrom::Start(target))?;
        }
        self.at = target;
        Ok(target)
    }
}

impl MediaSource for CutMp4 {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.claimed)
    }
}
