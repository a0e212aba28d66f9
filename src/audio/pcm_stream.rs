//! Sound as it arrives on a pipe: a WAV stream by its header, or raw 16-bit little-endian mono at 16 kHz.
//!
//! ```text
//! ffmpeg -i talk.mkv -f wav -                      | PcmReader::new   WAV: any rate, channels, u8 s16 s24 s32 f32 f64 A-law µ-law
//! arecord -f S16_LE -r 16000 -c 1 -t raw           | PcmReader::new   no "RIFF": raw
//! → blocks of 16 kHz mono f32
//! ```
//!
//! A block is what one read gave: nothing waits for a buffer to fill. Memory does not grow with the stream. A header's
//! lengths are not trusted: a pipe's writer cannot know them (ffmpeg writes 0xFFFFFFFF), and a recorder that was
//! killed leaves 0. Samples that are NaN or infinite become 0.

use std::io::{ErrorKind, Read};

use super::error::AudioError;
use super::mel::SAMPLE_RATE;
use super::resample::{RATES, Resampler, is_sound};

/// Bytes asked for in one read.
const READ_LEN: usize = 64 * 1024;
/// A header may not be longer than this before its data begins (lists and pictures are skipped, not kept).
const KEPT_OF_FMT: usize = 40;
/// More channels than any recording has: the header is wrong.
const MOST_CHANNELS: u16 = 64;

/// The coding of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// Unsigned 8 bit.
    U8,
    /// Signed 16 bit, little-endian.
    S16,
    /// Signed 24 bit, little-endian.
    S24,
    /// Signed 32 bit, little-endian.
    S32,
    /// IEEE 32 bit.
    F32,
    /// IEEE 64 bit.
    F64,
    /// G.711 A-law.
    ALaw,
    /// G.711 µ-law.
    MuLaw,
}

impl SampleKind {
    fn bytes(self) -> usize {
        match self {
            SampleKind::U8 | SampleKind::ALaw | SampleKind::MuLaw => 1,
            SampleKind::S16 => 2,
            SampleKind::S24 => 3,
            SampleKind::S32 | SampleKind::F32 => 4,
            SampleKind::F64 => 8,
        }
    }

    /// One sample's bytes as a value in `[-1, 1]`.
    fn value(self, b: &[u8]) -> f32 {
        match (self, b) {
            (SampleKind::U8, &[a]) => (f32::from(a) - 128.0) / 128.0,
            (SampleKind::S16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
            (SampleKind::S24, &[a, b, c]) => (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0,
            (SampleKind::S32, &[a, b, c, d]) => (f64::from(i32::from_le_bytes([a, b, c, d])) / 2_147_483_648.0) as f32,
            (SampleKind::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (SampleKind::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
            (SampleKind::ALaw, &[a]) => a_law(a),
            (SampleKind::MuLaw, &[a]) => mu_law(a),
            _ => 0.0,
        }
    }
}

/// What a stream's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmSpec {
    /// Frames per second.
    pub rate: u32,
    /// Samples of a frame, which are averaged.
    pub channels: u16,
    /// Coding of a sample.
    pub kind: SampleKind,
}

impl PcmSpec {
    /// 16-bit mono at 16 kHz.
    pub const RAW: PcmSpec = PcmSpec { rate: SAMPLE_RATE, channels: 1, kind: SampleKind::S16 };

    /// Bytes of a frame.
    pub fn frame_len(&self) -> usize {
        self.kind.bytes() * usize::from(self.channels)
    }
}

/// What the beginning may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// WAV by its header, else raw.
    Either,
    /// WAV or an error.
    Wav,
}

enum State {
    /// Nothing is known yet.
    Start(Expect),
    /// Between chunks of a WAV header.
    Chunks { wave: Wave },
    /// Within a chunk that is of no interest.
    Skipping { wave: Wave, left: u64 },
    /// Samples; `left` bytes of them where the header told a length.
    Samples { body: Box<Body>, left: Option<u64> },
    /// The samples are over.
    Over,
}

/// What the header has told so far.
#[derive(Clone, Copy, Default)]
struct Wave {
    spec: Option<PcmSpec>,
    /// The RIFF length is one that a finished file has.
    riff_len_known: bool,
    /// Data length from the `ds64` chunk of RF64.
    long_data_len: Option<u64>,
}

struct Body {
    spec: PcmSpec,
    resampler: Resampler,
    mono: Vec<f32>,
    frames: u64,
    broken: u64,
}

/// Reads blocks of 16 kHz mono from a byte stream.
pub struct PcmReader<R> {
    reader: R,
    name: String,
    state: State,
    buffer: Vec<u8>,
    read_len: u64,
    ended: bool,
    spec: Option<PcmSpec>,
    declared_frames: Option<u64>,
    warnings: Vec<String>,
}

impl<R: Read> PcmReader<R> {
    /// WAV where the stream begins with a WAV header, else raw s16le mono at 16 kHz. `name` is for messages.
    pub fn new(reader: R, name: impl Into<String>) -> Self {
        Self::starting(reader, name.into(), State::Start(Expect::Either))
    }

    /// A WAV; anything else is an error.
    pub fn wav(reader: R, name: impl Into<String>) -> Self {
        Self::starting(reader, name.into(), State::Start(Expect::Wav))
    }

    /// Raw samples as `spec` says, whatever the first bytes look like.
    pub fn raw(reader: R, name: impl Into<String>, spec: PcmSpec) -> Result<Self, AudioError> {
        let name = name.into();
        let body = Body::new(spec, &name)?;
        let state = State::Samples { body: Box::new(body), left: None };
        let mut this = Self::starting(reader, name, state);
        this.spec = Some(spec);
        Ok(this)
    }

    fn starting(reader: R, name: String, state: State) -> Self {
        PcmReader {
            reader,
            name,
            state,
            buffer: Vec::new(),
            read_len: 0,
            ended: false,
            spec: None,
            declared_frames: None,
            warnings: Vec::new(),
        }
    }

    /// The next samples at 16 kHz mono, at least one; None at the end.
    ///
    /// Blocks only until the first bytes are there. A WAV header that cannot be used, and another known format, are
    /// errors; a stream that ends early is not (see [`warning`](Self::warning)).
    pub fn next_block(&mut self) -> Result<Option<Vec<f32>>, AudioError> {
        let mut out = Vec::new();
        loop {
            self.advance(&mut out)?;
            if !out.is_empty() {
                return Ok(Some(out));
            }
            if matches!(self.state, State::Over) {
                return Ok(None);
            }
            self.read_more()?;
        }
    }

    /// Reads until the samples begin, so that [`spec`](Self::spec) and [`declared_frames`](Self::declared_frames) are known.
    pub fn read_header(&mut self) -> Result<(), AudioError> {
        loop {
            while self.header_step()? {}
            if matches!(self.state, State::Samples { .. } | State::Over) {
                return Ok(());
            }
            self.read_more()?;
        }
    }

    /// What the samples are, once the header was read.
    pub fn spec(&self) -> Option<PcmSpec> {
        self.spec
    }

    /// Frames (at the stream's own rate) that the header promises; a pipe's header promises none.
    pub fn declared_frames(&self) -> Option<u64> {
        self.declared_frames
    }

    /// Bytes before the samples, once [`read_header`](Self::read_header) was called and before any block.
    pub fn header_len(&self) -> u64 {
        self.read_len - self.buffer.len() as u64
    }

    /// Something the user should know although sound came: it ended early, or samples were not numbers.
    pub fn warning(&self) -> Option<String> {
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

    /// Uses up the buffer as far as it goes.
    fn advance(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        while self.header_step()? {}
        let State::Samples { body, left } = &mut self.state else {
            return Ok(());
        };
        let frame_len = body.spec.frame_len();
        let there = match *left {
            Some(left) => self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => self.buffer.len(),
        };
        let used = there - there % frame_len;
        body.take(&self.buffer[..used], out);
        self.buffer.drain(..used);
        if let Some(left) = left {
            *left -= used as u64;
        }
        let complete = left.is_some_and(|left| left < frame_len as u64);
        if !complete && !self.ended {
            return Ok(());
        }
        body.resampler.finish(out);
        let (rate, frames, broken) = (body.spec.rate, body.frames, body.broken);
        if let (false, Some(declared)) = (complete, self.declared_frames) {
            let seconds = |frames: u64| frames as f64 / f64::from(rate);
            self.warnings.push(format!(
                "{}: it ends early: {:.2} of {:.2} seconds are there",
                self.name,
                seconds(frames),
                seconds(declared)
            ));
        }
        if broken > 0 {
            self.warnings.push(format!("{}: {broken} samples were not numbers and were taken as silence", self.name));
        }
        self.buffer.clear();
        self.state = State::Over;
        Ok(())
    }

    /// One step of the header; false when more bytes are needed or the header is behind us.
    fn header_step(&mut self) -> Result<bool, AudioError> {
        match self.state {
            State::Start(expect) => self.begin(expect),
            State::Skipping { wave, left } => {
                let skip = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.buffer.drain(..skip);
                let left = left - skip as u64;
                if left == 0 {
                    self.state = State::Chunks { wave };
                    return Ok(true);
                }
                if self.ended {
                    return Err(self.no_data());
                }
                self.state = State::Skipping { wave, left };
                Ok(false)
            }
            State::Chunks { wave } => self.chunk(wave),
            State::Samples { .. } | State::Over => Ok(false),
        }
    }

    fn begin(&mut self, expect: Expect) -> Result<bool, AudioError> {
        if self.buffer.len() < 12 && !self.ended {
            return Ok(false);
        }
        let head = &self.buffer[..self.buffer.len().min(12)];
        let riff = matches!(head.get(..4), Some(b"RIFF" | b"RF64" | b"BW64"));
        if riff && head.get(8..12) == Some(b"WAVE") {
            let len = le_u32(&head[4..8]);
            let wave = Wave { riff_len_known: len != 0 && len < 0x7FFF_0000, ..Wave::default() };
            self.buffer.drain(..12);
            self.state = State::Chunks { wave };
            return Ok(true);
        }
        if riff && head.len() < 12 {
            return Err(self.no_data());
        }
        if let Some(found) = another_format(head) {
            return Err(AudioError::UnknownFormat {
                name: self.name.clone(),
                found: format!("this is {found}, and a stream can only be WAV or raw samples"),
            });
        }
        if expect == Expect::Wav {
            return Err(AudioError::UnknownFormat { name: self.name.clone(), found: "this is not a WAV".into() });
        }
        self.samples(PcmSpec::RAW, None)?;
        Ok(true)
    }

    fn chunk(&mut self, wave: Wave) -> Result<bool, AudioError> {
        let Some(head) = self.buffer.get(..8) else {
            return match self.ended {
                true => Err(self.no_data()),
                false => Ok(false),
            };
        };
        let len = le_u32(&head[4..8]);
        // Chunks are padded to even lengths.
        let padded = u64::from(len) + u64::from(len & 1);
        match &head[..4] {
            b"data" => {
                let Some(spec) = wave.spec else {
                    return Err(self.broken("its header has no format before the data"));
                };
                if len == 0 && self.buffer.len() < 12 && !self.ended {
                    return Ok(false);
                }
                // A recorder that was killed leaves 0 in the header; what follows then is not another chunk.
                let chunk_follows = match self.buffer.get(8..12) {
                    Some(id) => id.iter().all(|b| (b' '..=b'~').contains(b)),
                    None => true,
                };
                let declared = match wave.long_data_len {
                    Some(long) if len == u32::MAX => Some(long),
                    _ if len >= 0x7FFF_0000 => None,
                    _ if len == 0 && !(wave.riff_len_known && chunk_follows) => None,
                    _ => Some(u64::from(len)),
                };
                self.buffer.drain(..8);
                self.samples(spec, declared)?;
                Ok(true)
            }
            b"fmt " | b"ds64" => {
                let want = 8 + (len as usize).min(KEPT_OF_FMT);
                if self.buffer.len() < want {
                    return match self.ended {
                        true => Err(self.no_data()),
                        false => Ok(false),
                    };
                }
                let mut wave = wave;
                let body = &self.buffer[8..want];
                if head.starts_with(b"ds64") {
                    wave.long_data_len = body.get(8..16).map(le_u64).filter(|&n| n != 0 && n < 1 << 62);
                } else {
                    wave.spec = Some(parse_format(body).map_err(|e| e.named(&self.name))?);
                }
                self.state = State::Skipping { wave, left: 8 + padded };
                Ok(true)
            }
            _ => {
                self.state = State::Skipping { wave, left: 8 + padded };
                Ok(true)
            }
        }
    }

    fn samples(&mut self, spec: PcmSpec, left: Option<u64>) -> Result<(), AudioError> {
        let body = Box::new(Body::new(spec, &self.name)?);
        self.spec = Some(spec);
        self.declared_frames = left.map(|bytes| bytes / spec.frame_len() as u64);
        self.state = State::Samples { body, left };
        Ok(())
    }

    fn no_data(&self) -> AudioError {
        self.broken("it ends before its samples begin")
    }

    fn broken(&self, what: &str) -> AudioError {
        AudioError::Broken { name: self.name.clone(), what: what.into() }
    }
}

impl Body {
    fn new(spec: PcmSpec, name: &str) -> Result<Self, AudioError> {
        let rate_error = || AudioError::Rate { name: name.into(), rate: spec.rate };
        if !RATES.contains(&spec.rate) {
            return Err(rate_error());
        }
        if spec.channels == 0 || spec.channels > MOST_CHANNELS {
            return Err(AudioError::Broken {
                name: name.into(),
                what: format!("its header tells of {} channels", spec.channels),
            });
        }
        Ok(Body {
            spec,
            resampler: Resampler::new(spec.rate).map_err(|_| rate_error())?,
            mono: Vec::new(),
            frames: 0,
            broken: 0,
        })
    }

    /// Whole frames of bytes → mono → 16 kHz.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<f32>) {
        let kind = self.spec.kind;
        let channels = f32::from(self.spec.channels);
        self.mono.clear();
        for frame in bytes.chunks_exact(self.spec.frame_len()) {
            let sum: f32 = frame.chunks_exact(kind.bytes()).map(|b| kind.value(b)).sum();
            let mean = sum / channels;
            self.broken += u64::from(!is_sound(mean));
            self.mono.push(if is_sound(mean) { mean } else { 0.0 });
        }
        self.frames += self.mono.len() as u64;
        self.resampler.push(&self.mono, out);
    }
}

/// Why a `fmt ` chunk cannot be used.
enum FormatError {
    Short,
    Codec(u16, u16),
}

impl FormatError {
    fn named(self, name: &str) -> AudioError {
        let name = name.to_string();
        match self {
            FormatError::Short => AudioError::Broken { name, what: "its format header is too short".into() },
            FormatError::Codec(tag, bits) => {
                AudioError::UnknownCodec { name, codec: format!("WAV coding 0x{tag:04x} with {bits} bits") }
            }
        }
    }
}

/// The body of a `fmt ` chunk: WAVEFORMAT, WAVEFORMATEX or WAVEFORMATEXTENSIBLE.
fn parse_format(body: &[u8]) -> Result<PcmSpec, FormatError> {
    let at = |i: usize| body.get(i..i + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let (Some(tag), Some(channels), Some(align)) = (at(0), at(2), at(12)) else {
        return Err(FormatError::Short);
    };
    let rate = body.get(4..8).map(le_u32).ok_or(FormatError::Short)?;
    let bits = at(14).ok_or(FormatError::Short)?;
    // WAVE_FORMAT_EXTENSIBLE: the coding is the first field of the sub-format.
    let tag = match tag {
        0xFFFE => at(24).ok_or(FormatError::Short)?,
        tag => tag,
    };
    // 24 bits in 4 bytes are stored at the upper end, so the container's size is what counts.
    let container = match channels {
        0 => 0,
        n if align % n == 0 => align / n,
        _ => 0,
    };
    let bytes = match container {
        0 => bits.div_ceil(8),
        n if n >= bits.div_ceil(8) => n,
        _ => bits.div_ceil(8),
    };
    let kind = match (tag, bytes) {
        (1, 1) => SampleKind::U8,
        (1, 2) => SampleKind::S16,
        (1, 3) => SampleKind::S24,
        (1, 4) => SampleKind::S32,
        (3, 4) => SampleKind::F32,
        (3, 8) => SampleKind::F64,
        (6, 1) => SampleKind::ALaw,
        (7, 1) => SampleKind::MuLaw,
        _ => return Err(FormatError::Codec(tag, bits)),
    };
    Ok(PcmSpec { rate, channels, kind })
}

/// The name of a well-known format by its first bytes (12 are enough), WAV apart.
pub(crate) fn another_format(head: &[u8]) -> Option<&'static str> {
    let is = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    if is(0, b"fLaC") {
        Some("FLAC")
    } else if is(0, b"OggS") {
        Some("Ogg")
    } else if is(0, b"ID3") {
        Some("MP3")
    } else if is(4, b"ftyp") {
        Some("MP4")
    } else if is(0, &[0x1A, 0x45, 0xDF, 0xA3]) {
        Some("Matroska or WebM")
    } else if is(0, b"FORM") {
        Some("AIFF")
    } else if is(0, b"caff") {
        Some("CAF")
    } else {
        None
    }
}

fn le_u32(b: &[u8]) -> u32 {
    b.iter().take(4).rev().fold(0, |n, &b| n << 8 | u32::from(b))
}

fn le_u64(b: &[u8]) -> u64 {
    b.iter().take(8).rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// ITU-T G.711 A-law.
fn a_law(byte: u8) -> f32 {
    let x = byte ^ 0x55;
    let (exponent, mantissa) = (u32::from(x >> 4 & 7), f32::from(x & 15));
    let magnitude = match exponent {
        0 => mantissa * 16.0 + 8.0,
        e => (mantissa * 16.0 + 264.0) * (1u32 << (e - 1)) as f32,
    };
    magnitude / 32_768.0 * if x & 0x80 != 0 { 1.0 } else { -1.0 }
}

/// ITU-T G.711 µ-law.
fn mu_law(byte: u8) -> f32 {
    let x = !byte;
    let (exponent, mantissa) = (u32::from(x >> 4 & 7), f32::from(x & 15));
    let magnitude = (mantissa * 8.0 + 132.0) * (1u32 << exponent) as f32 - 132.0;
    magnitude / 32_768.0 * if x & 0x80 != 0 { -1.0 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::fixture;
    use proptest::prelude::*;
    use std::io::{self, Cursor};

    /// A pipe that gives what it has in pieces of the given lengths.
    struct Pipe {
        bytes: Vec<u8>,
        at: usize,
        pieces: Vec<usize>,
        turn: usize,
    }

    impl Read for Pipe {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.turn += 1;
            if self.turn.is_multiple_of(3) {
                return Err(ErrorKind::Interrupted.into());
            }
            let piece = self.pieces[self.turn % self.pieces.len()].max(1);
            let len = piece.min(buf.len()).min(self.bytes.len() - self.at);
            buf[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
            self.at += len;
            Ok(len)
        }
    }

    fn all<R: Read>(reader: &mut PcmReader<R>) -> Result<Vec<f32>, AudioError> {
        let mut out = Vec::new();
        while let Some(block) = reader.next_block()? {
            assert!(!block.is_empty());
            out.extend(block);
        }
        assert!(reader.next_block()?.is_none());
        Ok(out)
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<f32>, AudioError> {
        all(&mut PcmReader::new(Cursor::new(bytes), "standard input"))
    }

    fn chunk(id: &[u8; 4], body: &[u8], len: u32) -> Vec<u8> {
        [id.as_slice(), &len.to_le_bytes(), body].concat()
    }

    fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let align = channels * bits.div_ceil(8);
        let fields = [tag, channels];
        let mut body: Vec<u8> = fields.iter().flat_map(|f| f.to_le_bytes()).collect();
        body.extend(rate.to_le_bytes());
        body.extend((rate * u32::from(align)).to_le_bytes());
        body.extend(align.to_le_bytes());
        body.extend(bits.to_le_bytes());
        chunk(b"fmt ", &body, 16)
    }

    fn wav(fmt: &[u8], data: &[u8], riff_len: u32, data_len: u32) -> Vec<u8> {
        let head = chunk(b"RIFF", b"WAVE", riff_len);
        [&head, fmt, &chunk(b"data", data, data_len)].concat()
    }

    fn ramp(len: usize) -> (Vec<u8>, Vec<f32>) {
        let samples: Vec<i16> = (0..len).map(|i| (i as i16).wrapping_mul(77)).collect();
        (
            samples.iter().flat_map(|s| s.to_le_bytes()).collect(),
            samples.iter().map(|&s| f32::from(s) / 32_768.0).collect(),
        )
    }

    #[test]
    fn raw_samples_come_as_they_are() {
        let (bytes, want) = ramp(5_000);
        assert_eq!(read(bytes.clone()).unwrap(), want);
        let spec = PcmSpec { rate: 8_000, channels: 2, kind: SampleKind::U8 };
        let mut reader = PcmReader::raw(Cursor::new(bytes), "pipe", spec).unwrap();
        assert_eq!(all(&mut reader).unwrap().len(), 10_000);
        assert!(read(Vec::new()).unwrap().is_empty());
        assert!(read(vec![1]).unwrap().is_empty());
        assert_eq!(read(vec![0, 64, 9]).unwrap(), [0.5]);
    }

    #[test]
    fn lengths_that_lie() {
        let (bytes, want) = ramp(3_000);
        let fmt = format(1, 1, 16_000, 16);
        for (riff, data) in [
            (36 + 6_000, 6_000),
            (u32::MAX, u32::MAX),
            (0, 0),
            (36, 0),
            (0x7FFF_FFFF, 0x7FFF_FFDB),
            (0x8000_0024, 0x8000_0000),
        ] {
            let mut reader = PcmReader::new(Cursor::new(wav(&fmt, &bytes, riff, data)), "pipe");
            assert_eq!(all(&mut reader).unwrap(), want, "{riff} {data}");
            assert_eq!(reader.warning(), None);
        }
        let mut reader = PcmReader::new(Cursor::new(wav(&fmt, &bytes, 99_036, 99_000)), "talk.wav");
        assert_eq!(all(&mut reader).unwrap(), want);
        let warning = reader.warning().unwrap();
        assert_eq!(warning, "talk.wav: it ends early: 0.19 of 3.09 seconds are there");
        let mut finished = wav(&fmt, &[], 36, 0);
        finished.extend(chunk(b"LIST", &[7; 100], 100));
        assert!(read(finished).unwrap().is_empty());
        let mut more = wav(&fmt, &bytes, 6_036, 6_000);
        more.extend(chunk(b"LIST", &[7; 100], 100));
        assert_eq!(read(more).unwrap(), want);
    }

    #[test]
    fn rf64_tells_its_length_apart() {
        let (bytes, want) = ramp(300);
        let mut sizes = Vec::new();
        for n in [700u64, 600, 300] {
            sizes.extend(n.to_le_bytes());
        }
        let mut file = chunk(b"RF64", b"WAVE", u32::MAX);
        file.extend(chunk(b"ds64", &sizes, 24));
        file.extend(format(1, 1, 16_000, 16));
        file.extend(chunk(b"data", &bytes, u32::MAX));
        file.extend(chunk(b"LIST", &[7; 50], 50));
        let mut reader = PcmReader::new(Cursor::new(file), "long.wav");
        assert_eq!(all(&mut reader).unwrap(), want);
        assert_eq!(reader.declared_frames(), Some(300));
    }

    #[test]
    fn every_coding_has_the_same_sound() {
        let names = ["s16le", "u8", "s24le", "s32le", "f32le", "f64le", "alaw", "mulaw"];
        let file = |name: &str| std::fs::read(fixture(&format!("audio/wav_{name}.wav"))).unwrap();
        let want = read(file("s16le")).unwrap();
        assert_eq!(want.len(), 3_200);
        for name in names {
            let got = read(file(name)).unwrap();
            assert_eq!(got.len(), want.len(), "{name}");
            let error = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("{name}: largest difference {error:.1e}");
            let bound = match name {
                "u8" | "alaw" | "mulaw" => 0.02,
                _ => 1e-4,
            };
            assert!(error < bound, "{name}: {error}");
        }
    }

    #[test]
    fn channels_are_averaged_and_broken_floats_silenced() {
        let frames: [[f32; 2]; 4] = [[0.5, -0.25], [f32::NAN, 0.1], [1.5, 0.5], [f32::INFINITY, 0.0]];
        let data: Vec<u8> = frames.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        let mut reader = PcmReader::new(Cursor::new(wav(&format(3, 2, 16_000, 32), &data, 0, 32)), "f.wav");
        assert_eq!(all(&mut reader).unwrap(), [0.125, 0.0, 1.0, 0.0]);
        assert!(reader.warning().unwrap().contains("2 samples were not numbers"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let message = |bytes: Vec<u8>| read(bytes).unwrap_err().to_string();
        let head = chunk(b"RIFF", b"WAVE", 36);
        assert!(message(b"RIFF".to_vec()).contains("standard input: it ends before its samples begin"));
        assert!(message(head.clone()).contains("ends before its samples"));
        assert!(message([head.clone(), chunk(b"data", &[0; 20], 20)].concat()).contains("no format"));
        assert!(message([head.clone(), chunk(b"fmt ", &[1; 8], 8)].concat()).contains("too short"));
        let odd = |tag, channels, rate, bits| message(wav(&format(tag, channels, rate, bits), &[0; 64], 100, 64));
        assert!(odd(17, 1, 16_000, 4).contains("WAV coding 0x0011 with 4 bits is not decoded here"));
        assert!(odd(1, 0, 16_000, 16).contains("0 channels"));
        assert!(odd(1, 200, 16_000, 16).contains("200 channels"));
        assert!(odd(1, 1, 0, 16).contains("0 Hz"));
        assert!(odd(1, 1, 2_000_000_000, 16).contains("2000000000 Hz"));
        let mp3 = message(std::fs::read(fixture("audio/mono_44k.mp3")).unwrap());
        assert!(mp3.contains("this is MP3") && mp3.contains("ffmpeg"), "{mp3}");
    }

    #[test]
    fn a_block_comes_as_soon_as_its_bytes() {
        let (bytes, want) = ramp(1_000);
        let pipe = Pipe { bytes, at: 0, pieces: vec![640], turn: 0 };
        let mut reader = PcmReader::raw(pipe, "pipe", PcmSpec::RAW).unwrap();
        assert_eq!(reader.next_block().unwrap().unwrap(), want[..320]);
        assert_eq!(reader.next_block().unwrap().unwrap(), want[320..640]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_do_not_matter(pieces in proptest::collection::vec(1usize..700, 1..9), at in 0usize..4) {
            let name = ["wav_s16le.wav", "wav_extensible.wav", "wav_u8.wav", "ref_16k.wav"][at];
            let bytes = std::fs::read(fixture(&format!("audio/{name}"))).unwrap();
            let want = read(bytes.clone()).unwrap();
            let pipe = Pipe { bytes, at: 0, pieces, turn: 0 };
            prop_assert_eq!(all(&mut PcmReader::new(pipe, name)).unwrap(), want);
        }
    }
}
