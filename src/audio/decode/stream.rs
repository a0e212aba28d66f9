//! Opens a source that cannot be seeked, by its first bytes.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::coded::Coded;
use super::{AudioFile, Source};
use crate::audio::error::AudioError;
use crate::audio::id3;
use crate::audio::sniff::{MATROSKA, is_mpeg_frame, known_format, looks_like_text};
use crate::audio::wav::{PcmReader, is_wav};

/// The number of bytes that tell the format. Every stream of sound has more.
const HEAD_LEN: usize = 12;

/// Waits for the first bytes, and opens the format that they tell.
pub(super) fn open(source: Source, name: String) -> Result<AudioFile, AudioError> {
    let read_error = |source| AudioError::Read { name: name.clone(), source };
    let mut stream = Stream { front: Vec::new(), used: 0, source };
    let mut tagged = false;
    let head = loop {
        let head = stream.head().map_err(read_error)?;
        let Some(len) = head.get(..id3::HEADER as usize).and_then(id3::tag_len) else {
            break head;
        };
        tagged = true;
        io::copy(&mut (&mut stream).take(len), &mut io::sink()).map_err(read_error)?;
    };
    let source: Source = Box::new(stream);
    match known_format(&head) {
        _ if head.is_empty() => {
            let what = if tagged { "nothing follows its ID3 tag" } else { "it has no bytes" };
            Err(AudioError::Empty { name, what })
        }
        _ if is_wav(&head) => AudioFile::from_wav(PcmReader::wav(source, &name), name, None),
        Some("Ogg") => AudioFile::from_ogg(source, name, None),
        Some(MATROSKA) => Ok(AudioFile::from_coded(Coded::open_matroska(source, &name)?, name)),
        Some("FLAC") => Ok(AudioFile::from_coded(Coded::open(source, &name, &head)?, name)),
        None if is_mpeg_frame(&head) => Ok(AudioFile::from_coded(Coded::open(source, &name, &head)?, name)),
        Some(format @ "MP4") => {
            let found = format!("this is {format}, which must be a file, because its index may be at its end");
            Err(AudioError::UnknownFormat { name, found })
        }
        Some(format) => Err(AudioError::UnknownFormat { name, found: format!("this is {format}") }),
        None if looks_like_text(&head) => {
            Err(AudioError::UnknownFormat { name, found: "this looks like text, not sound".into() })
        }
        None => Err(AudioError::UnknownFormat { name, found: "this does not begin as sound in a known format".into() }),
    }
}

/// A source with the bytes in front that were read from it.
struct Stream {
    front: Vec<u8>,
    /// The number of bytes in front that were read again.
    used: usize,
    source: Source,
}

impl Stream {
    /// The next bytes, which stay. There are fewer at the end.
    fn head(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.take(HEAD_LEN as u64).read_to_end(&mut head)?;
        (self.front, self.used) = (head.clone(), 0);
        Ok(head)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.used == self.front.len() {
            return self.source.read(into);
        }
        let len = (self.front.len() - self.used).min(into.len());
        into[..len].copy_from_slice(&self.front[self.used..self.used + len]);
        self.used += len;
        Ok(len)
    }
}

impl Seek for Stream {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(ErrorKind::Unsupported.into())
    }
}

impl MediaSource for Stream {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}
