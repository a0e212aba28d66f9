//! Decodes any audio file to 16 kHz mono, in blocks. A recording of ten hours is never held in
//! memory.
//!
//! ```text
//! WAV, RF64 (PCM, float, A-law, µ-law)   wav: one reader for files and pipes
//! FLAC, MP3, AAC (ADTS)                  symphonia; aac for more than two channels
//! Ogg (Opus, Vorbis, FLAC)               ogg reads the packets, symphonia or opus decodes them
//! WebM/MKV                               matroska reads the packets, the same decoders
//! M4A/MP4/MOV                            mp4 reads the packets, the same decoders
//! → one channel → resample → next_block()
//! ```
//!
//! Damaged or missing sound is not an error; [`AudioFile::warning`] reports it. Silence of the same
//! length takes the place of damaged packets and holes, so that later times stay right. AAC begins
//! with an encoder delay of 20 to 50 ms. It is removed where the edit list of an MP4 gives it.
//!
//! A source that cannot be seeked is decoded as it arrives. Only MP4 must be a file, because its
//! index may be at its end.
//!
//! ADPCM in WAV is refused by name. Symphonia's decoders for it are wrong (version 0.6.1: IMA gives
//! wrong samples, MS overflows).

mod coded;
mod packets;
mod stream;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{ErrorKind, Read, SeekFrom};
use std::num::NonZero;
use std::path::Path;

use symphonia::core::io::MediaSource;

use self::coded::Coded;
use super::error::AudioError;
use super::id3::{self, Behind};
use super::mp4;
use super::ogg::{Ogg, last_granule};
use super::sniff::{MATROSKA, known_format};
use super::wav::{PcmReader, is_wav};

/// Bytes at the beginning of a file that tell its format.
const HEAD_LEN: u64 = 512;

type Source = Box<dyn MediaSource>;

/// An audio file that is being decoded.
pub struct AudioFile {
    name: String,
    duration: Option<f64>,
    /// At least one sample was returned.
    has_samples: bool,
    decoder: Decoder,
}

enum Decoder {
    Wav(Box<PcmReader<Source>>),
    Ogg(Box<Ogg<Source>>),
    Coded(Box<Coded>),
}

impl AudioFile {
    /// Opens a file and reads its header.
    ///
    /// Fails for a file that is missing, empty, not sound (a text file named `.wav`) or in a coding
    /// that is not decoded here.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AudioError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let error = |source| AudioError::Open { name: name.clone(), source };
        let file = File::open(path).map_err(error)?;
        if file.metadata().map_err(error)?.is_dir() {
            return Err(error(ErrorKind::IsADirectory.into()));
        }
        Self::from_source(Box::new(file), name)
    }

    /// Does the same as [`open`](Self::open) for any source. `name` is for messages.
    ///
    /// A source that cannot be seeked (a pipe, a socket) is never read further than the next block
    /// needs, so a live stream is decoded as it arrives. It may be anything but MP4, from its
    /// beginning on. Raw samples have no beginning that tells them from other bytes, and are
    /// refused.
    pub fn from_source(mut source: Box<dyn MediaSource>, name: String) -> Result<Self, AudioError> {
        if !source.is_seekable() {
            return stream::open(source, name);
        }
        let read_error = |source| AudioError::Read { name: name.clone(), source };
        let tags_len = id3::tags_len(&mut source).map_err(read_error)?;
        if tags_len > 0 {
            source = Box::new(Behind::new(source, tags_len).map_err(read_error)?);
        }
        let byte_len = source.byte_len();
        let mut head = Vec::new();
        (&mut source).take(HEAD_LEN).read_to_end(&mut head).map_err(read_error)?;
        source.seek(SeekFrom::Start(0)).map_err(read_error)?;
        if head.is_empty() {
            let what = if tags_len > 0 { "nothing follows its ID3 tag" } else { "the file has no bytes" };
            return Err(AudioError::Empty { name, what });
        }
        let format = known_format(&head);
        if format.is_none_or(|format| format == "MP4") && mp4::is_mp4(&mut source).map_err(read_error)? {
            return Ok(Self::from_coded(Coded::open_mp4(source, &name)?, name));
        }
        let is_ogg = match format {
            Some(format) => format == "Ogg",
            // Its pages may come after something else.
            None => head.windows(5).any(|w| w == b"OggS\0"),
        };
        if is_ogg {
            let last = last_granule(&mut source).map_err(read_error)?;
            return Self::from_ogg(source, name, last);
        }
        if format == Some(MATROSKA) {
            return Ok(Self::from_coded(Coded::open_matroska(source, &name)?, name));
        }
        if is_wav(&head) {
            return Self::from_wav(PcmReader::wav_of_len(source, &name, byte_len), name, byte_len);
        }
        Ok(Self::from_coded(Coded::open(source, &name, &head)?, name))
    }

    fn from_wav(mut reader: PcmReader<Source>, name: String, byte_len: Option<u64>) -> Result<Self, AudioError> {
        reader.read_header()?;
        let present = byte_len
            .zip(reader.spec())
            .map(|(bytes, spec)| bytes.saturating_sub(reader.header_len()) / spec.frame_len() as u64);
        let frames = match (reader.declared_frames(), present) {
            (Some(declared), Some(present)) => Some(declared.min(present)),
            (declared, present) => declared.or(present),
        };
        let duration = frames.zip(reader.spec()).map(|(frames, spec)| frames as f64 / f64::from(spec.rate));
        Ok(AudioFile { name, duration, has_samples: false, decoder: Decoder::Wav(Box::new(reader)) })
    }

    fn from_ogg(source: Source, name: String, last: Option<(u32, u64)>) -> Result<Self, AudioError> {
        let ogg = Ogg::open(source, &name, last)?;
        let duration = ogg.seconds();
        Ok(AudioFile { name, duration, has_samples: false, decoder: Decoder::Ogg(Box::new(ogg)) })
    }

    fn from_coded(coded: Coded, name: String) -> Self {
        let duration = coded.duration();
        AudioFile { name, duration, has_samples: false, decoder: Decoder::Coded(Box::new(coded)) }
    }

    /// The number of sound tracks in the file.
    pub fn tracks(&self) -> usize {
        self.coded().map_or(1, Coded::tracks)
    }

    /// The number of the sound track that is decoded, from 1. By default it is the first track that
    /// is enabled and can be decoded.
    pub fn track(&self) -> usize {
        self.coded().map_or(1, |coded| coded.track() + 1)
    }

    fn coded(&self) -> Option<&Coded> {
        match &self.decoder {
            Decoder::Coded(coded) => Some(coded),
            Decoder::Wav(_) | Decoder::Ogg(_) => None,
        }
    }

    /// Decodes sound track `track` (from 1) instead, from its beginning. Of a Matroska file, the
    /// track must be chosen before the first block.
    pub fn choose_track(&mut self, track: NonZero<u16>) -> Result<(), AudioError> {
        let index = usize::from(track.get()) - 1;
        if index >= self.tracks() {
            return Err(AudioError::NoTrack { name: self.name.clone(), track: track.get(), tracks: self.tracks() });
        }
        if let Decoder::Coded(coded) = &mut self.decoder {
            coded.choose_track(index, &self.name)?;
            self.duration = coded.duration();
        }
        Ok(())
    }

    /// Returns the next samples, 16 kHz mono, at most a few seconds of them. None at the end.
    ///
    /// Samples of integer formats lie in `[-1, 1]`. Floating-point samples may exceed that range;
    /// NaN and infinite ones become 0. Fails if reading fails, and if there is not a single sample.
    pub fn next_block(&mut self) -> Result<Option<Vec<f32>>, AudioError> {
        let block = match &mut self.decoder {
            Decoder::Wav(reader) => reader.next_block()?,
            Decoder::Ogg(ogg) => ogg.next_block()?,
            Decoder::Coded(coded) => coded.next_block(&self.name)?,
        };
        if let Some(block) = &block {
            self.has_samples |= !block.is_empty();
        } else if !self.has_samples {
            return Err(AudioError::Empty { name: self.name.clone(), what: "it has a header and no samples" });
        }
        Ok(block)
    }

    /// The length in seconds that the file declares, if it declares one. For MP3 and AAC without an
    /// index it is an estimate.
    pub fn duration(&self) -> Option<f64> {
        self.duration
    }

    /// Faults that did not stop decoding: the file ends early, or parts of it are damaged. The text
    /// is complete only after the last block.
    pub fn warning(&self) -> Option<String> {
        match &self.decoder {
            Decoder::Wav(reader) => reader.warning(),
            Decoder::Ogg(ogg) => ogg.warning(),
            Decoder::Coded(coded) => coded.warning(&self.name),
        }
    }
}
