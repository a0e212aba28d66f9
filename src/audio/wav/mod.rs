//! Reads sound as it arrives: a WAV, or raw 16-bit little-endian mono at 16 kHz.
//!
//! ```text
//! ffmpeg -i talk.mkv -f wav -             | PcmReader::wav   any rate and channels; u8 s16 s24 s32
//!                                                            f32 f64 A-law µ-law
//! arecord -f S16_LE -r 16000 -c 1 -t raw  | PcmReader::raw
//! → blocks of 16 kHz mono f32
//! ```
//!
//! A block is what one read gave. Mono integers wait for nothing. Several channels wait for 100 ms
//! ([`Downmix`](super::downmix::Downmix)), and floats for their first second
//! ([`FloatScale`](super::float_scale::FloatScale)). Memory does not grow with the stream.
//!
//! The lengths in a header are not trusted. The writer of a pipe cannot know them (ffmpeg writes
//! 0xFFFFFFFF). A recorder that was killed leaves 0 or an earlier length. 32 bits cannot hold more
//! than 4 GiB. So the reader looks at what follows the declared samples: a chunk (`LIST`, `id3 `)
//! is skipped, another WAV is read too, and anything else is more sound. Samples that are NaN or
//! infinite become 0.

mod convert;
mod format;
#[cfg(all(feature = "server", not(target_arch = "wasm32")))]
mod pushed;
#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Read};

use self::convert::Converter;
pub(crate) use self::format::PcmSpec;
use self::format::{le_u32, le_u64, parse_format};
#[cfg(all(feature = "server", not(target_arch = "wasm32")))]
pub(crate) use self::{format::SampleKind, pushed::PushedPcm};
use super::error::AudioError;

/// The number of bytes to read at once.
const READ_LEN: usize = 64 * 1024;
/// The number of bytes of a `fmt ` or `ds64` chunk that are read. The rest of it is skipped.
const MAX_FORMAT: usize = 40;
/// Chunks that may be long, or follow the samples.
const KNOWN_CHUNKS: [&[u8; 4]; 14] = [
    b"LIST", b"id3 ", b"ID3 ", b"JUNK", b"junk", b"FLLR", b"PAD ", b"_PMX", b"bext", b"iXML", b"axml", b"fact",
    b"fmt ", b"data",
];
/// The maximum length of an unknown chunk after the samples. Sound that looks like a chunk would be
/// longer.
const MAX_UNKNOWN: u64 = 16 << 20;
/// Less sound than this (in seconds) after the declared samples is padding.
const MIN_REST: f64 = 0.1;
/// Sound after the declared samples that stays below this is padding, too.
const SILENT: f32 = 0.002;

enum State {
    /// Before the first bytes.
    Start,
    /// Between chunks of a WAV header.
    Chunks { header: Header },
    /// Within a chunk that is not read. `left` bytes of it remain.
    Skipping { header: Header, left: u64 },
    /// Within the samples. `left` bytes of them remain, if the header declares a length.
    Samples { left: Option<u64> },
    /// After the declared samples. `partial` bytes of a frame come first.
    AfterSamples { header: Header, partial: usize },
    /// After a chunk that followed the samples: neither sound nor a chunk.
    Junk { len: u64, silent: bool },
    /// After the last sample.
    Ended,
}

/// The fields of the header that were read so far.
#[derive(Clone, Copy, Default)]
struct Header {
    spec: Option<PcmSpec>,
    /// The data length in the `ds64` chunk of RF64.
    long_data_len: Option<u64>,
}

/// Reads blocks of 16 kHz mono from a byte stream.
pub(crate) struct PcmReader<R> {
    reader: R,
    name: String,
    state: State,
    converter: Option<Box<Converter>>,
    /// The last samples of a coding that another one follows.
    finished: Vec<f32>,
    buffer: Vec<u8>,
    /// The length of the source in bytes, if it is a file.
    source_len: Option<u64>,
    read_len: u64,
    /// At least one sample was returned.
    has_samples: bool,
    ended: bool,
    spec: Option<PcmSpec>,
    declared_frames: Option<u64>,
    warnings: Vec<String>,
}

impl<R: Read> PcmReader<R> {
    /// Reads a WAV. Anything else is an error. `name` is for messages.
    pub(crate) fn wav(reader: R, name: impl Into<String>) -> Self {
        Self::starting(reader, name.into(), State::Start)
    }

    /// Does the same for a source whose length in bytes is known.
    pub(super) fn wav_of_len(reader: R, name: impl Into<String>, source_len: Option<u64>) -> Self {
        PcmReader { source_len, ..Self::wav(reader, name) }
    }

    /// Reads raw samples of the kind `spec`, whatever the first bytes look like.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn raw(reader: R, name: impl Into<String>, spec: PcmSpec) -> Result<Self, AudioError> {
        let name = name.into();
        let converter = Converter::new(spec, &name)?;
        let this = Self::starting(reader, name, State::Samples { left: None });
        Ok(PcmReader { spec: Some(spec), converter: Some(Box::new(converter)), ..this })
    }

    fn starting(reader: R, name: String, state: State) -> Self {
        PcmReader {
            reader,
            name,
            state,
            converter: None,
            finished: Vec::new(),
            buffer: Vec::new(),
            source_len: None,
            read_len: 0,
            has_samples: false,
            ended: false,
            spec: None,
            declared_frames: None,
            warnings: Vec::new(),
        }
    }

    /// Returns the next samples, 16 kHz mono, at least one. None at the end.
    ///
    /// Waits only until some bytes arrive. Fails for a WAV header that cannot be used, for another
    /// known format, and for a stream without a single sample. A stream that ends early is not an
    /// error, but a [`warning`](Self::warning).
    pub(crate) fn next_block(&mut self) -> Result<Option<Vec<f32>>, AudioError> {
        let mut out = Vec::new();
        loop {
            self.advance(&mut out)?;
            if !out.is_empty() {
                self.has_samples = true;
                return Ok(Some(out));
            }
            if matches!(self.state, State::Ended) {
                return match std::mem::replace(&mut self.has_samples, true) {
                    true => Ok(None),
                    false => Err(self.empty()),
                };
            }
            self.read_more()?;
        }
    }

    /// Reads until the samples begin. Then [`spec`](Self::spec) and
    /// [`declared_frames`](Self::declared_frames) are known.
    pub(crate) fn read_header(&mut self) -> Result<(), AudioError> {
        loop {
            while self.header_step()? {
                if self.converter.is_some() {
                    return Ok(());
                }
            }
            if self.converter.is_some() || matches!(self.state, State::Ended) {
                return Ok(());
            }
            self.read_more()?;
        }
    }

    /// The kind of the samples, once the header is read.
    pub(crate) fn spec(&self) -> Option<PcmSpec> {
        self.spec
    }

    /// The number of frames, at the rate of the stream, that the header declares. The header of a
    /// pipe declares none.
    pub(crate) fn declared_frames(&self) -> Option<u64> {
        self.declared_frames
    }

    /// The number of bytes before the samples. Valid after [`read_header`](Self::read_header) and
    /// before the first block.
    pub(crate) fn header_len(&self) -> u64 {
        self.read_len - self.buffer.len() as u64
    }

    /// Faults that did not stop reading: the stream ended early, or samples were not numbers.
    pub(crate) fn warning(&self) -> Option<String> {
        match self.warnings.is_empty() {
            true => None,
            false => Some(self.warnings.join("; ")),
        }
    }

    fn read_more(&mut self) -> Result<(), AudioError> {
        let at = self.buffer.len();
        self.buffer.resize(at + READ_LEN, 0);
        let got = loop {
            match self.reader.read(&mut self.buffer[at..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                other => break other,
            }
        };
        self.buffer.truncate(at + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => {
                self.ended = true;
                Ok(())
            }
            Ok(len) => {
                self.read_len += len as u64;
                Ok(())
            }
            Err(source) => Err(AudioError::Read { name: self.name.clone(), source }),
        }
    }

    /// Reads all of the buffer that can be read.
    fn advance(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        loop {
            self.all_header_steps()?;
            out.append(&mut self.finished);
            let State::Samples { left } = self.state else {
                break;
            };
            if !self.take_samples(left, out) {
                break;
            }
        }
        if matches!(self.state, State::Ended)
            && let Some(mut converter) = self.converter.take()
        {
            converter.finish(out);
            self.warnings.extend(converter.warnings(&self.name));
        }
        Ok(())
    }

    /// Reads all of a header that has arrived. After the first sound, a fault is a warning and no
    /// longer an error.
    fn all_header_steps(&mut self) -> Result<(), AudioError> {
        loop {
            match self.header_step() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if self.converter.is_none() => return Err(error),
                Err(error) => {
                    self.warnings.push(format!("what follows the first sound was not read: {error}"));
                    self.state = State::Ended;
                    return Ok(());
                }
            }
        }
    }

    /// Decodes whole frames. Returns false if more bytes are needed, or after the last sample.
    fn take_samples(&mut self, left: Option<u64>, out: &mut Vec<f32>) -> bool {
        let Some(converter) = &mut self.converter else {
            self.state = State::Ended;
            return false;
        };
        let frame_len = converter.spec.frame_len();
        let present = match left {
            Some(left) => self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => self.buffer.len(),
        };
        let used = present - present % frame_len;
        converter.take(&self.buffer[..used], out);
        self.buffer.drain(..used);
        let left = left.map(|left| left - used as u64);
        self.state = State::Samples { left };
        if let Some(partial) = left.filter(|&left| left < frame_len as u64) {
            let header = Header { spec: Some(converter.spec), long_data_len: None };
            self.state = State::AfterSamples { header, partial: partial as usize };
            return true;
        }
        if !self.ended {
            return false;
        }
        if let (Some(_), Some(declared)) = (left, self.declared_frames) {
            let seconds = |frames: u64| frames as f64 / f64::from(converter.spec.rate);
            let (present, all) = (seconds(converter.frames), seconds(declared));
            self.warnings.push(format!("{}: it ends early: {present:.2} of {all:.2} seconds are present", self.name));
        }
        self.buffer.clear();
        self.state = State::Ended;
        false
    }

    /// Looks at what follows the declared samples: nothing, a chunk, another WAV, or more sound.
    fn after_samples(&mut self, header: Header, partial: usize) -> bool {
        if self.buffer.len() < partial + 13 && !self.ended {
            return false;
        }
        // Samples of odd length are padded, but some programs omit the padding.
        for at in [partial, partial + 1] {
            let rest = self.buffer.get(at..).unwrap_or(&[]);
            if is_wav(rest) {
                self.buffer.drain(..at);
                self.state = State::Start;
                return true;
            }
            if self.is_chunk(rest) {
                self.buffer.drain(..at);
                self.state = State::Chunks { header };
                return true;
            }
        }
        if self.buffer.len() < partial + 8 && self.ended {
            self.buffer.clear();
            self.state = State::Ended;
            return false;
        }
        let rest = self.source_len.map_or(0, |len| len.saturating_sub(self.position() + partial as u64));
        // The 32 bits of a length lack its multiples of 4 GiB.
        let wrapped = rest >> 32 << 32;
        self.state = State::Samples { left: Some(wrapped + partial as u64).filter(|_| wrapped > 0) };
        if let Some(converter) = &mut self.converter
            && self.declared_frames.is_some()
            && converter.undeclared.is_none()
        {
            converter.undeclared = Some((converter.frames, 0.0));
        }
        self.declared_frames = None;
        true
    }

    /// The number of bytes that were read from the buffer.
    fn position(&self) -> u64 {
        self.read_len - self.buffer.len() as u64
    }

    /// True if a chunk begins here, and not sound. Sound whose first four bytes are letters would
    /// be a chunk of more than half a gigabyte.
    fn is_chunk(&self, head: &[u8]) -> bool {
        let Some((id, len)) = head.get(..8).map(|head| head.split_at(4)) else {
            return false;
        };
        let len = u64::from(le_u32(len));
        let after = self.source_len.map(|all| all.saturating_sub(self.position()));
        let fits = len <= MAX_UNKNOWN && after.is_none_or(|after| len <= after);
        KNOWN_CHUNKS.iter().any(|known| id == *known) || (fits && id.iter().all(|b| (b' '..=b'~').contains(b)))
    }

    /// Reads one part of the header. Returns false if more bytes are needed, or after the header.
    fn header_step(&mut self) -> Result<bool, AudioError> {
        match self.state {
            State::Start => self.begin(),
            State::AfterSamples { header, partial } => Ok(self.after_samples(header, partial)),
            State::Junk { len, silent } => {
                let len = len + self.buffer.len() as u64;
                let silent = silent && self.buffer.iter().all(|&b| b == 0);
                self.buffer.clear();
                self.state = State::Junk { len, silent };
                if self.ended {
                    self.state = State::Ended;
                    let second = self.spec.map_or(u64::MAX, |spec| u64::from(spec.rate) * spec.frame_len() as u64);
                    if !silent && len as f64 > MIN_REST * second as f64 {
                        self.warnings.push(format!("{}: {len} bytes after the sound were not read", self.name));
                    }
                }
                Ok(false)
            }
            State::Skipping { header, left } => {
                let skip = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.buffer.drain(..skip);
                let left = left - skip as u64;
                if left == 0 {
                    self.state = State::Chunks { header };
                    return Ok(true);
                }
                if self.ended {
                    return self.header_ended();
                }
                self.state = State::Skipping { header, left };
                Ok(false)
            }
            State::Chunks { header } => self.chunk(header),
            State::Samples { .. } | State::Ended => Ok(false),
        }
    }

    fn begin(&mut self) -> Result<bool, AudioError> {
        if self.buffer.len() < 12 && !self.ended {
            return Ok(false);
        }
        let head = &self.buffer[..self.buffer.len().min(12)];
        if head.is_empty() {
            return Err(self.empty());
        }
        if is_wav(head) {
            self.buffer.drain(..12);
            self.state = State::Chunks { header: Header::default() };
            return Ok(true);
        }
        if is_riff(head) && head.len() < 12 {
            return Err(self.no_data());
        }
        Err(AudioError::UnknownFormat { name: self.name.clone(), found: "this is not a WAV".into() })
    }

    fn chunk(&mut self, header: Header) -> Result<bool, AudioError> {
        if self.converter.is_some() && self.buffer.len() < 12 && !self.ended {
            return Ok(false);
        }
        let Some(head) = self.buffer.get(..8) else {
            return if self.ended { self.header_ended() } else { Ok(false) };
        };
        if self.converter.is_some() && is_wav(&self.buffer) {
            self.state = State::Start;
            return Ok(true);
        }
        if self.converter.is_some() && !self.is_chunk(head) {
            self.state = State::Junk { len: 0, silent: true };
            return Ok(true);
        }
        let len = le_u32(&head[4..8]);
        // Chunks are padded to an even length.
        let padded = u64::from(len) + u64::from(len & 1);
        match &head[..4] {
            b"data" => {
                let Some(spec) = header.spec else {
                    return Err(self.broken("its header has no format before its samples"));
                };
                let after = self.source_len.map(|all| all.saturating_sub(self.position() + 8));
                let declared = match header.long_data_len {
                    Some(long) if len == u32::MAX => Some(long),
                    _ if len < 0x7FFF_0000 => Some(u64::from(len)),
                    // This is what the writer of a pipe puts there, or the length of a long file
                    // that is complete.
                    _ => {
                        Some(u64::from(len)).filter(|&len| len < 0xFFFF_0000 && after.is_some_and(|after| len <= after))
                    }
                };
                self.buffer.drain(..8);
                self.begin_samples(spec, declared)?;
                Ok(true)
            }
            b"fmt " | b"ds64" => {
                let want = 8 + (len as usize).min(MAX_FORMAT);
                if self.buffer.len() < want {
                    return if self.ended { self.header_ended() } else { Ok(false) };
                }
                let mut header = header;
                let body = &self.buffer[8..want];
                if head.starts_with(b"ds64") {
                    header.long_data_len = body.get(8..16).map(le_u64).filter(|&n| n != 0 && n < 1 << 62);
                } else {
                    header.spec = Some(parse_format(body).map_err(|e| e.named(&self.name))?);
                }
                self.state = State::Skipping { header, left: 8 + padded };
                Ok(true)
            }
            _ => {
                self.state = State::Skipping { header, left: 8 + padded };
                Ok(true)
            }
        }
    }

    /// Begins the samples. `left` is their number of bytes, if it is declared.
    fn begin_samples(&mut self, spec: PcmSpec, left: Option<u64>) -> Result<(), AudioError> {
        let frames_before = match &mut self.converter {
            Some(converter) if converter.spec == spec => converter.frames,
            _ => {
                let converter = Box::new(Converter::new(spec, &self.name)?);
                if let Some(mut old) = self.converter.replace(converter) {
                    old.finish(&mut self.finished);
                    self.warnings.extend(old.warnings(&self.name));
                }
                0
            }
        };
        self.spec = Some(spec);
        // A recorder that was killed leaves 0.
        let declared = left.filter(|&bytes| bytes > 0);
        self.declared_frames = declared.map(|bytes| frames_before + bytes / spec.frame_len() as u64);
        self.state = State::Samples { left };
        Ok(())
    }

    /// Handles a stream that ends within a header. It is an error, unless sound was read before.
    fn header_ended(&mut self) -> Result<bool, AudioError> {
        if self.converter.is_none() {
            return Err(self.no_data());
        }
        self.buffer.clear();
        self.state = State::Ended;
        Ok(false)
    }

    fn no_data(&self) -> AudioError {
        self.broken("it ends before its samples begin")
    }

    fn empty(&self) -> AudioError {
        let what = if self.read_len == 0 { "it has no bytes" } else { "it has a header and no samples" };
        AudioError::Empty { name: self.name.clone(), what }
    }

    fn broken(&self, what: &str) -> AudioError {
        AudioError::Broken { name: self.name.clone(), what: what.into() }
    }
}

/// True if a RIFF file begins here, perhaps one of more than 4 GiB.
fn is_riff(head: &[u8]) -> bool {
    matches!(head.get(..4), Some(b"RIFF" | b"RF64" | b"BW64"))
}

/// True if a WAV begins here.
pub(super) fn is_wav(head: &[u8]) -> bool {
    is_riff(head) && head.get(8..12) == Some(b"WAVE")
}
