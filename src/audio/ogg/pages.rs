//! Reads the pages of an Ogg file.
//!
//! ```text
//! "OggS" · 0 · flags · granule u64 · serial u32 · sequence u32 · CRC u32 · n · n lengths · bytes
//! ```
//!
//! A packet is made of pieces of 255 bytes and one shorter piece. It may continue on the next page.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

const MARK: &[u8] = b"OggS";
/// The number of bytes of the header of a page, without its lengths.
const HEADER: usize = 27;
/// The maximum number of bytes of a page.
const MAX_PAGE: usize = HEADER + 255 + 255 * 255;
/// The number of bytes to read at once.
const READ_LEN: usize = 64 * 1024;
/// The number of bytes at the end of a file in which the last page is searched.
const TAIL: u64 = 2 * MAX_PAGE as u64;
/// The maximum number of marks to examine at the end of a file.
const MAX_MARKS: usize = 64;

/// Damaged data that was skipped.
#[derive(Clone, Copy, Default)]
pub(super) struct Damage {
    pub(super) bytes: u64,
    /// The number of page marks in it.
    pub(super) pages: u64,
}

impl Damage {
    pub(super) fn add(&mut self, more: Damage) {
        self.bytes += more.bytes;
        self.pages += more.pages;
    }
}

pub(super) struct Page {
    /// Its first piece belongs to a packet that began on the previous page.
    pub(super) continued: bool,
    pub(super) first: bool,
    pub(super) last: bool,
    /// The number of frames up to its end. None if no packet ends in it.
    pub(super) granule: Option<u64>,
    pub(super) serial: u32,
    pub(super) sequence: u32,
    /// Its CRC is right.
    pub(super) intact: bool,
    /// The file ends within it.
    pub(super) cut: bool,
    /// Packets, or pieces of them.
    pub(super) pieces: Vec<Vec<u8>>,
    /// The last piece continues on the next page.
    pub(super) open: bool,
    /// The number of its bytes in the file.
    pub(super) len: usize,
}

/// Reads pages one after another.
pub(super) struct Pages<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The number of bytes of the buffer that were read.
    used: usize,
    ended: bool,
    /// The file ends within the header of a page.
    pub(super) cut: bool,
    damage: Damage,
}

impl<R: Read> Pages<R> {
    pub(super) fn new(reader: R) -> Self {
        Pages { reader, buffer: Vec::new(), used: 0, ended: false, cut: false, damage: Damage::default() }
    }

    /// The damaged data that was skipped since the last call.
    pub(super) fn take_damage(&mut self) -> Damage {
        std::mem::take(&mut self.damage)
    }

    /// The next page. A damaged page is returned too, if another page or the end follows at the
    /// place where it should end. Nothing is read after a page that is intact, because a live
    /// stream may pause there.
    pub(super) fn next(&mut self) -> io::Result<Option<Page>> {
        loop {
            let rest = &self.buffer[self.used..];
            let Some(at) = rest.windows(MARK.len()).position(|w| w == MARK) else {
                let kept = if self.ended { 0 } else { MARK.len() - 1 };
                self.cut |= self.ended && !rest.is_empty() && MARK.starts_with(rest);
                self.skip(rest.len().saturating_sub(kept));
                if self.ended {
                    return Ok(None);
                }
                self.fill()?;
                continue;
            };
            self.skip(at);
            let rest = &self.buffer[self.used..];
            let page = parse(rest);
            let enough =
                page.as_ref().is_some_and(|page| page.intact || (!page.cut && rest.len() >= page.len + MARK.len()));
            if !enough && !self.ended {
                self.fill()?;
                continue;
            }
            match page {
                Some(page) if page.intact || is_followed(&page, rest) => {
                    self.used += page.len;
                    return Ok(Some(page));
                }
                Some(_) => self.damage.pages += 1,
                None => self.cut = true,
            }
            self.skip(MARK.len());
        }
    }

    fn skip(&mut self, len: usize) {
        self.used += len;
        self.damage.bytes += len as u64;
    }

    /// Reads what has arrived. A page and the mark after it are enough, so the buffer stays small.
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

/// True if a page that is damaged or cut off ends at the right place. `bytes` begin with the page.
fn is_followed(page: &Page, bytes: &[u8]) -> bool {
    if page.cut {
        // If another page lies within it, its length is wrong.
        return !bytes[MARK.len()..].windows(MARK.len()).any(|w| w == MARK);
    }
    let rest = &bytes[page.len..];
    rest.is_empty() || rest.starts_with(MARK)
}

/// Parses the page at the start of `bytes`, which may be cut off. None if the header is not
/// complete.
fn parse(bytes: &[u8]) -> Option<Page> {
    let head = bytes.get(..HEADER)?;
    let number = |at: usize, len: usize| head[at..at + len].iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let lengths = bytes.get(HEADER..HEADER + usize::from(head[26]))?;
    let body = HEADER + lengths.len();
    let end = body + lengths.iter().map(|&n| usize::from(n)).sum::<usize>();
    let len = end.min(bytes.len());
    let cut = len < end;
    let (mut pieces, mut piece, mut at, mut open) = (Vec::new(), Vec::new(), body, false);
    for &n in lengths {
        let Some(part) = bytes.get(at..at + usize::from(n)) else {
            // The packet in which the file ends cannot be used.
            open = false;
            break;
        };
        piece.extend_from_slice(part);
        at += part.len();
        open = n == 255;
        if !open {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    if open {
        pieces.push(piece);
    }
    Some(Page {
        continued: head[5] & 1 != 0,
        first: head[5] & 2 != 0,
        last: head[5] & 4 != 0 && !cut,
        granule: Some(number(6, 8)).filter(|&granule| granule < 1 << 62 && !cut),
        serial: number(14, 4) as u32,
        sequence: number(18, 4) as u32,
        intact: !cut && head[4] == 0 && u64::from(crc(&bytes[..len])) == number(22, 4),
        cut,
        pieces,
        open,
        len,
    })
}

/// Ogg's CRC-32 of a page. The CRC field in the page counts as 0.
pub(super) fn crc(page: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0u32; 256];
        let mut n = 0;
        while n < 256 {
            let mut value = (n as u32) << 24;
            let mut bit = 0;
            while bit < 8 {
                value = if value >> 31 == 1 { value << 1 ^ 0x04C1_1DB7 } else { value << 1 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    page.iter().enumerate().fold(0, |crc, (at, &byte)| {
        let byte = if (22..26).contains(&at) { 0 } else { byte };
        crc << 8 ^ TABLE[usize::from((crc >> 24) as u8 ^ byte)]
    })
}

/// The serial and granule of the last page. The position is reset to the start.
pub(in crate::audio) fn last_granule(source: &mut (impl Read + Seek)) -> io::Result<Option<(u32, u64)>> {
    let len = source.seek(SeekFrom::End(0))?;
    source.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    source.take(TAIL).read_to_end(&mut tail)?;
    source.seek(SeekFrom::Start(0))?;
    let marks = (0..tail.len()).rev().filter(|&at| tail[at..].starts_with(MARK)).take(MAX_MARKS);
    let mut pages = marks.filter_map(|at| parse(&tail[at..])).filter(|page| page.intact);
    Ok(pages.find_map(|page| Some((page.serial, page.granule?))))
}
