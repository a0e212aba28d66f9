//! Atoms: the tree of lengths and names that makes up an MP4 or QuickTime file.
//!
//! No length is trusted. An atom ends at the latest where the bytes around it end.

use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// The four letters that name an atom.
pub(super) type Kind = [u8; 4];

/// The number of bytes that are searched at once for the next valid atom.
const SEARCH_LEN: usize = 1 << 16;

/// Kinds of atoms at the top of a file.
const TOP: [&Kind; 20] = [
    b"ftyp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"sidx", b"styp", b"emsg", b"prft",
    b"mfra", b"meta", b"pdin", b"ssix", b"udta", b"pnot", b"PICT", b"junk",
];

/// Kinds that identify an MP4 or QuickTime file.
const IDENTIFYING: [&Kind; 6] = [b"ftyp", b"moov", b"moof", b"mdat", b"styp", b"sidx"];

/// An atom in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    pub(super) kind: Kind,
    /// The place of its length.
    pub(super) at: u64,
    /// The place of its content.
    pub(super) body: u64,
    /// Its end, which may lie beyond the end of the file.
    pub(super) end: u64,
    /// True if its length is wrong. Then it ends where the next atom was found.
    pub(super) damaged: bool,
}

/// The bytes of a file, which can be read at any place.
pub(super) struct Bytes {
    reader: BufReader<Box<dyn MediaSource>>,
    at: u64,
    pub(super) len: u64,
}

impl Bytes {
    pub(super) fn new(mut source: Box<dyn MediaSource>) -> io::Result<Bytes> {
        let len = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        Ok(Bytes { reader: BufReader::with_capacity(SEARCH_LEN, source), at: 0, len })
    }

    /// Reads up to `len` bytes from `at` on. There are fewer at the end of the file.
    pub(super) fn read(&mut self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if at >= self.len {
            return Ok(bytes);
        }
        // A short step stays within the buffer.
        match i64::try_from(i128::from(at) - i128::from(self.at)) {
            Ok(step) => self.reader.seek_relative(step)?,
            Err(_) => return Err(ErrorKind::InvalidInput.into()),
        }
        self.at = at;
        let len = (self.len - at).min(len as u64);
        let read = (&mut self.reader).take(len).read_to_end(&mut bytes);
        self.at += bytes.len() as u64;
        read.map(|_| bytes)
    }

    /// The header at `at`, unchecked.
    fn header(&mut self, at: u64) -> io::Result<Option<Atom>> {
        let head = self.read(at, 16)?;
        Ok(header(&head, at, self.len))
    }

    /// True if a valid atom, or the end of the file, is at `at`.
    fn fits_at(&mut self, at: u64) -> io::Result<bool> {
        let Some(next) = self.header(at)? else {
            return Ok(at == self.len);
        };
        Ok(TOP.contains(&&next.kind) || (is_named(&next.kind) && next.end <= self.len))
    }

    /// The atom at `at`, or the next one if that is not valid. None if there are no more.
    pub(super) fn top_atom(&mut self, at: u64) -> io::Result<Option<Atom>> {
        if self.len.saturating_sub(at) < 8 {
            return Ok(None);
        }
        let here = self.header(at)?;
        if let Some(atom) = here {
            let known = TOP.contains(&&atom.kind);
            // Sound data may reach beyond the end of a file that was cut off.
            let cut = known && atom.end > self.len;
            if (known || is_named(&atom.kind)) && self.fits_at(atom.end)? {
                return Ok(Some(atom));
            }
            if known {
                let next = self.search(atom.body)?;
                // If no valid atom follows, it is the last one, cut off or not.
                let (end, damaged) = match next {
                    Some(next) => (next.at, true),
                    None if cut => (atom.end, false),
                    None => (atom.end.min(self.len), false),
                };
                return Ok(Some(Atom { end, damaged, ..atom }));
            }
        }
        let found = self.search(at + 1)?;
        Ok(found.map(|atom| Atom { damaged: true, ..atom }))
    }

    /// The next `moof`, `moov` or `mdat` after `from` that another atom or the end follows.
    fn search(&mut self, from: u64) -> io::Result<Option<Atom>> {
        let mut at = from;
        while self.len.saturating_sub(at) >= 8 {
            let bytes = self.read(at, SEARCH_LEN)?;
            for (i, window) in bytes.windows(8).enumerate() {
                if !matches!(&window[4..], b"moof" | b"moov" | b"mdat") {
                    continue;
                }
                if let Some(atom) = self.header(at + i as u64)?
                    && (self.fits_at(atom.end)? || (atom.kind == *b"mdat" && atom.end > self.len))
                {
                    return Ok(Some(atom));
                }
            }
            if bytes.len() < SEARCH_LEN {
                break;
            }
            at += (bytes.len() - 7) as u64;
        }
        Ok(None)
    }
}

/// True if `source` begins like an MP4 or QuickTime file, whatever atom comes first. The position
/// is reset to the start.
pub(in crate::audio) fn is_mp4(source: &mut Box<dyn MediaSource>) -> io::Result<bool> {
    let end = source.seek(SeekFrom::End(0))?;
    let (mut at, mut found) = (0, false);
    for _ in 0..16 {
        source.seek(SeekFrom::Start(at))?;
        let mut head = Vec::new();
        source.take(16).read_to_end(&mut head)?;
        let Some(atom) = header(&head, at, end) else {
            break;
        };
        found = IDENTIFYING.contains(&&atom.kind);
        if found || !is_named(&atom.kind) || atom.end > end {
            break;
        }
        at = atom.end;
    }
    source.seek(SeekFrom::Start(0))?;
    Ok(found)
}

fn is_named(kind: &Kind) -> bool {
    kind.iter().all(|b| (b' '..=b'~').contains(b))
}

/// The header of an atom that begins with `head`, at `at` in a file of `file_len` bytes.
fn header(head: &[u8], at: u64, file_len: u64) -> Option<Atom> {
    let kind = kind_at(head, 4)?;
    let (body, len) = match be_u32(head, 0)? {
        0 => (8, file_len.saturating_sub(at)),
        1 => (16, be_u64(head, 8).unwrap_or(0)),
        len => (8, u64::from(len)),
    };
    let end = at.checked_add(len).filter(|&end| len >= body && end < 1 << 62)?;
    Some(Atom { kind, at, body: at + body, end, damaged: false })
}

/// The atoms within `bytes`, each with its content. An atom whose length is too large ends with the
/// bytes.
pub(super) fn children(bytes: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (short, kind) = (be_u32(rest, 0)?, kind_at(rest, 4)?);
        let (body, len) = match short {
            0 => (8, rest.len()),
            1 => (16, usize::try_from(be_u64(rest, 8)?).ok()?),
            len => (8, usize::try_from(len).ok()?),
        };
        if len < body {
            return None;
        }
        let len = len.min(rest.len());
        let content = rest.get(body..len)?;
        rest = &rest[len..];
        Some((kind, content))
    })
}

/// True if atoms fill `bytes` to the end, as they do if no length is damaged.
pub(super) fn is_tiled(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let (Some(len), Some(kind)) = (be_u32(rest, 0), kind_at(rest, 4)) {
        let len = len as usize;
        if len < 8 || len > rest.len() || !is_named(&kind) {
            return false;
        }
        rest = &rest[len..];
    }
    rest.is_empty()
}

/// The content of the first child of a kind.
pub(super) fn child<'a>(bytes: &'a [u8], kind: &Kind) -> Option<&'a [u8]> {
    children(bytes).find(|(k, _)| k == kind).map(|(_, content)| content)
}

fn kind_at(bytes: &[u8], at: usize) -> Option<Kind> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(super) fn be_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A table of 32-bit numbers. It ends with the bytes at the latest.
pub(super) fn u32_table(bytes: &[u8], at: usize, count: u32) -> impl Iterator<Item = u32> {
    let (numbers, _) = bytes.get(at..).unwrap_or_default().as_chunks();
    numbers.iter().take(count as usize).map(|b| u32::from_be_bytes(*b))
}
