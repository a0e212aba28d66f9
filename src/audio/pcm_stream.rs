//! Sound as it arrives on a pipe: a WAV stream by its header, or raw 16-bit little-endian mono at 16 kHz.
//!
//! ```text
//! ffmpeg -i talk.mkv -f wav -                      | PcmReader::new   WAV: any rate, channels, u8 s16 s24 s32 f32 f64 A-law µ-law
//! arecord -f S16_LE -r 16000 -c 1 -t raw           | PcmReader::new   no "RIFF": raw
//! → blocks of 16 kHz mono f32
//! ```
//!
//! A block is what one read gave: mono integers wait for nothing, several channels for 100 ms
//! ([`Downmix`]), floats for their first second ([`FloatScale`]). Memory does not grow with the stream.
//!
//! A header's lengths are not trusted. A pipe's writer cannot know them (ffmpeg writes 0xFFFFFFFF), a
//! recorder that was killed leaves 0 or what was true a while ago, and 32 bits cannot tell more than
//! 4 GiB. So what follows the declared samples is looked at: a chunk (`LIST`, `id3 `) is skipped, another
//! WAV is read as well, and anything else is more sound. Samples that are NaN or infinite become 0.

use std::io::{ErrorKind, Read};

use super::downmix::Downmix;
use super::error::AudioError;
use super::float_scale::FloatScale;
use super::mel::SAMPLE_RATE;
use super::resample::{RATES, Resampler};

/// Bytes asked for in one read.
const READ_LEN: usize = 64 * 1024;
/// A header may not be longer than this before its data begins (lists and pictures are skipped, not kept).
const KEPT_OF_FMT: usize = 40;
/// Chunks that may be long, or stand behind the samples.
const KNOWN_CHUNKS: [&[u8; 4]; 14] = [
    b"LIST", b"id3 ", b"ID3 ", b"JUNK", b"junk", b"FLLR", b"PAD ", b"_PMX", b"bext", b"iXML", b"axml", b"fact",
    b"fmt ", b"data",
];
/// An unknown chunk behind the samples is not longer than this; sound that looks like a chunk would be.
const LONGEST_UNKNOWN: u64 = 16 << 20;
/// Less sound than this (in seconds) behind the declared samples is padding.
const LEAST_REST: f64 = 0.1;
/// Sound behind the declared samples that stays below this is padding, too.
const SILENT: f32 = 0.002;
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
    /// Samples; `left` bytes of them where the header declares a length.
    Samples { left: Option<u64> },
    /// Behind the declared samples, `partial` bytes of a frame apart.
    Behind { wave: Wave, partial: usize },
    /// Neither sound nor a chunk, after a chunk that followed the samples.
    Junk { len: u64, silent: bool },
    /// The samples are over.
    Over,
}

/// What the header has declared so far.
#[derive(Clone, Copy, Default)]
struct Wave {
    spec: Option<PcmSpec>,
    /// Data length from the `ds64` chunk of RF64.
    long_data_len: Option<u64>,
}

/// Samples of one coding on their way to 16 kHz mono.
struct Body {
    spec: PcmSpec,
    /// For floats only.
    scale: Option<FloatScale>,
    downmix: Downmix,
    resampler: Resampler,
    frames: u64,
    /// Frames when the declared samples were over and more sound came; the peak since then.
    undeclared: Option<(u64, f32)>,
    values: Vec<f32>,
    scaled: Vec<f32>,
    mono: Vec<f32>,
}

/// Reads blocks of 16 kHz mono from a byte stream.
pub struct PcmReader<R> {
    reader: R,
    name: String,
    state: State,
    body: Option<Box<Body>>,
    /// The last samples of another coding than those that follow.
    finished: Vec<f32>,
    buffer: Vec<u8>,
    /// Bytes of the source, where it is a file.
    source_len: Option<u64>,
    read_len: u64,
    given: bool,
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

    /// The same for a source whose length in bytes is known.
    pub(super) fn wav_of_len(reader: R, name: impl Into<String>, source_len: Option<u64>) -> Self {
        PcmReader { source_len, ..Self::wav(reader, name) }
    }

    /// Raw samples as `spec` says, whatever the first bytes look like.
    pub fn raw(reader: R, name: impl Into<String>, spec: PcmSpec) -> Result<Self, AudioError> {
        let name = name.into();
        let body = Body::new(spec, &name)?;
        let this = Self::starting(reader, name, State::Samples { left: None });
        Ok(PcmReader { spec: Some(spec), body: Some(Box::new(body)), ..this })
    }

    fn starting(reader: R, name: String, state: State) -> Self {
        PcmReader {
            reader,
            name,
            state,
            body: None,
            finished: Vec::new(),
            buffer: Vec::new(),
            source_len: None,
            read_len: 0,
            given: false,
            ended: false,
            spec: None,
            declared_frames: None,
            warnings: Vec::new(),
        }
    }

    /// The next samples at 16 kHz mono, at least one; None at the end.
    ///
    /// Blocks only until the first bytes are there. A WAV header that cannot be used, and another known format, are
    /// errors, and so is a stream without a single sample; one that ends early is not (see
    /// [`warning`](Self::warning)).
    pub fn next_block(&mut self) -> Result<Option<Vec<f32>>, AudioError> {
        let mut out = Vec::new();
        loop {
            self.advance(&mut out)?;
            if !out.is_empty() {
                self.given = true;
                return Ok(Some(out));
            }
            if matches!(self.state, State::Over) {
                return match std::mem::replace(&mut self.given, true) {
                    true => Ok(None),
                    false => Err(self.empty()),
                };
            }
            self.read_more()?;
        }
    }

    /// Reads until the samples begin, so that [`spec`](Self::spec) and [`declared_frames`](Self::declared_frames) are known.
    pub fn read_header(&mut self) -> Result<(), AudioError> {
        loop {
            while self.header_step()? {
                if self.body.is_some() {
                    return Ok(());
                }
            }
            if self.body.is_some() || matches!(self.state, State::Over) {
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
        if matches!(self.state, State::Over)
            && let Some(mut body) = self.body.take()
        {
            body.finish(out);
            self.warnings.extend(body.warnings(&self.name));
        }
        Ok(())
    }

    /// All that can be read of a header. A fault behind sound that was read is no error any more.
    fn all_header_steps(&mut self) -> Result<(), AudioError> {
        loop {
            match self.header_step() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if self.body.is_none() => return Err(error),
                Err(error) => {
                    self.warnings.push(format!("what follows its first sound was not read: {error}"));
                    self.state = State::Over;
                    return Ok(());
                }
            }
        }
    }

    /// Decodes whole frames; false when more bytes are needed or the samples are over.
    fn take_samples(&mut self, left: Option<u64>, out: &mut Vec<f32>) -> bool {
        let Some(body) = &mut self.body else {
            self.state = State::Over;
            return false;
        };
        let frame_len = body.spec.frame_len();
        let there = match left {
            Some(left) => self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => self.buffer.len(),
        };
        let used = there - there % frame_len;
        body.take(&self.buffer[..used], out);
        self.buffer.drain(..used);
        let left = left.map(|left| left - used as u64);
        self.state = State::Samples { left };
        if let Some(partial) = left.filter(|&left| left < frame_len as u64) {
            let wave = Wave { spec: Some(body.spec), long_data_len: None };
            self.state = State::Behind { wave, partial: partial as usize };
            return true;
        }
        if !self.ended {
            return false;
        }
        if let (Some(_), Some(declared)) = (left, self.declared_frames) {
            let seconds = |frames: u64| frames as f64 / f64::from(body.spec.rate);
            let (there, all) = (seconds(body.frames), seconds(declared));
            self.warnings.push(format!("{}: it ends early: {there:.2} of {all:.2} seconds are there", self.name));
        }
        self.buffer.clear();
        self.state = State::Over;
        false
    }

    /// What stands behind the declared samples: nothing, a chunk, another WAV, or more sound.
    fn behind(&mut self, wave: Wave, partial: usize) -> bool {
        if self.buffer.len() < partial + 13 && !self.ended {
            return false;
        }
        // Samples of odd length are padded, but not by everybody.
        for at in [partial, partial + 1] {
            let rest = self.buffer.get(at..).unwrap_or(&[]);
            if is_wav(rest) {
                self.buffer.drain(..at);
                self.state = State::Start(Expect::Wav);
                return true;
            }
            if self.is_chunk(rest) {
                self.buffer.drain(..at);
                self.state = State::Chunks { wave };
                return true;
            }
        }
        if self.buffer.len() < partial + 8 && self.ended {
            self.buffer.clear();
            self.state = State::Over;
            return false;
        }
        let rest = self.source_len.map_or(0, |len| len.saturating_sub(self.position() + partial as u64));
        // 32 bits hold the length without its multiples of 4 GiB.
        let wrapped = rest >> 32 << 32;
        self.state = State::Samples { left: Some(wrapped + partial as u64).filter(|_| wrapped > 0) };
        if let Some(body) = &mut self.body
            && self.declared_frames.is_some()
            && body.undeclared.is_none()
        {
            body.undeclared = Some((body.frames, 0.0));
        }
        self.declared_frames = None;
        true
    }

    /// Bytes used up.
    fn position(&self) -> u64 {
        self.read_len - self.buffer.len() as u64
    }

    /// Whether a chunk begins here, rather than sound. Sound whose first four bytes are letters would
    /// be a chunk of more than half a gigabyte.
    fn is_chunk(&self, head: &[u8]) -> bool {
        let Some((id, len)) = head.get(..8).map(|head| head.split_at(4)) else {
            return false;
        };
        let len = u64::from(le_u32(len));
        let after = self.source_len.map(|all| all.saturating_sub(self.position()));
        let fits = len <= LONGEST_UNKNOWN && after.is_none_or(|after| len <= after);
        KNOWN_CHUNKS.iter().any(|known| id == *known) || (fits && id.iter().all(|b| (b' '..=b'~').contains(b)))
    }

    /// One step of the header; false when more bytes are needed or the header is behind us.
    fn header_step(&mut self) -> Result<bool, AudioError> {
        match self.state {
            State::Start(expect) => self.begin(expect),
            State::Behind { wave, partial } => Ok(self.behind(wave, partial)),
            State::Junk { len, silent } => {
                let len = len + self.buffer.len() as u64;
                let silent = silent && self.buffer.iter().all(|&b| b == 0);
                self.buffer.clear();
                self.state = State::Junk { len, silent };
                if self.ended {
                    self.state = State::Over;
                    let second = self.spec.map_or(u64::MAX, |spec| u64::from(spec.rate) * spec.frame_len() as u64);
                    if !silent && len as f64 > LEAST_REST * second as f64 {
                        self.warnings.push(format!("{}: {len} bytes behind its sound were not read", self.name));
                    }
                }
                Ok(false)
            }
            State::Skipping { wave, left } => {
                let skip = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.buffer.drain(..skip);
                let left = left - skip as u64;
                if left == 0 {
                    self.state = State::Chunks { wave };
                    return Ok(true);
                }
                if self.ended {
                    return self.header_ended();
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
        if head.is_empty() {
            return Err(self.empty());
        }
        if is_wav(head) {
            self.buffer.drain(..12);
            self.state = State::Chunks { wave: Wave::default() };
            return Ok(true);
        }
        if is_riff(head) && head.len() < 12 {
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
        if self.body.is_some() && self.buffer.len() < 12 && !self.ended {
            return Ok(false);
        }
        let Some(head) = self.buffer.get(..8) else {
            return if self.ended { self.header_ended() } else { Ok(false) };
        };
        if self.body.is_some() && is_wav(&self.buffer) {
            self.state = State::Start(Expect::Wav);
            return Ok(true);
        }
        if self.body.is_some() && !self.is_chunk(head) {
            self.state = State::Junk { len: 0, silent: true };
            return Ok(true);
        }
        let len = le_u32(&head[4..8]);
        // Chunks are padded to even lengths.
        let padded = u64::from(len) + u64::from(len & 1);
        match &head[..4] {
            b"data" => {
                let Some(spec) = wave.spec else {
                    return Err(self.broken("its header has no format before the data"));
                };
                let behind = self.source_len.map(|all| all.saturating_sub(self.position() + 8));
                let declared = match wave.long_data_len {
                    Some(long) if len == u32::MAX => Some(long),
                    _ if len < 0x7FFF_0000 => Some(u64::from(len)),
                    // What a pipe's writer puts there, or the length of a long file that is all there.
                    _ => Some(u64::from(len)).filter(|&len| len < 0xFFFF_0000 && behind.is_some_and(|b| len <= b)),
                };
                self.buffer.drain(..8);
                self.samples(spec, declared)?;
                Ok(true)
            }
            b"fmt " | b"ds64" => {
                let want = 8 + (len as usize).min(KEPT_OF_FMT);
                if self.buffer.len() < want {
                    return if self.ended { self.header_ended() } else { Ok(false) };
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

    /// Samples begin; `left` bytes of them, where that is declared.
    fn samples(&mut self, spec: PcmSpec, left: Option<u64>) -> Result<(), AudioError> {
        let frames_before = match &mut self.body {
            Some(body) if body.spec == spec => body.frames,
            _ => {
                let body = Box::new(Body::new(spec, &self.name)?);
                if let Some(mut old) = self.body.replace(body) {
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

    /// The stream is over within a header: an error, unless sound was read before it.
    fn header_ended(&mut self) -> Result<bool, AudioError> {
        if self.body.is_none() {
            return Err(self.no_data());
        }
        self.buffer.clear();
        self.state = State::Over;
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

impl Body {
    fn new(spec: PcmSpec, name: &str) -> Result<Self, AudioError> {
        let rate_error = || AudioError::Rate { name: name.into(), rate: spec.rate };
        if !RATES.contains(&spec.rate) {
            return Err(rate_error());
        }
        if spec.channels == 0 || spec.channels > MOST_CHANNELS {
            return Err(AudioError::Broken {
                name: name.into(),
                what: format!("its header declares {} channels", spec.channels),
            });
        }
        let channels = usize::from(spec.channels);
        let float = matches!(spec.kind, SampleKind::F32 | SampleKind::F64);
        Ok(Body {
            spec,
            scale: float.then(|| FloatScale::new(spec.rate, channels)),
            downmix: Downmix::new(spec.rate, channels),
            resampler: Resampler::new(spec.rate).map_err(|_| rate_error())?,
            frames: 0,
            undeclared: None,
            values: Vec::new(),
            scaled: Vec::new(),
            mono: Vec::new(),
        })
    }

    /// Whole frames of bytes → floats of usual scale → mono → 16 kHz.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<f32>) {
        let kind = self.spec.kind;
        self.values.clear();
        self.values.extend(bytes.chunks_exact(kind.bytes()).map(|b| kind.value(b)));
        self.frames += (bytes.len() / self.spec.frame_len()) as u64;
        if let Some((_, peak)) = &mut self.undeclared {
            *peak = self.values.iter().fold(*peak, |peak, x| peak.max(x.abs()));
        }
        self.mono.clear();
        match &mut self.scale {
            Some(scale) => {
                self.scaled.clear();
                scale.push(&self.values, &mut self.scaled);
                self.downmix.push(&self.scaled, &mut self.mono);
            }
            None => self.downmix.push(&self.values, &mut self.mono),
        }
        self.resampler.push(&self.mono, out);
    }

    fn finish(&mut self, out: &mut Vec<f32>) {
        self.mono.clear();
        if let Some(scale) = &mut self.scale {
            self.scaled.clear();
            scale.finish(&mut self.scaled);
            self.downmix.push(&self.scaled, &mut self.mono);
        }
        self.downmix.finish(&mut self.mono);
        self.resampler.push(&self.mono, out);
        self.resampler.finish(out);
    }

    /// What the user should know about samples of this coding.
    fn warnings(&self, name: &str) -> Vec<String> {
        let seconds = |frames: u64| frames as f64 / f64::from(self.spec.rate);
        let undeclared =
            self.undeclared.filter(|(from, peak)| seconds(self.frames - from) >= LEAST_REST && *peak > SILENT);
        let all = [
            undeclared.map(|(from, _)| {
                let (declared, read) = (seconds(from), seconds(self.frames));
                format!("its header declares {declared:.2} seconds, but sound follows, and {read:.2} seconds were read")
            }),
            self.scale.as_ref().and_then(FloatScale::warning),
        ];
        all.into_iter().flatten().chain(self.downmix.warnings()).map(|warning| format!("{name}: {warning}")).collect()
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

/// Whether a RIFF file, perhaps of more than 4 GiB, begins here.
fn is_riff(head: &[u8]) -> bool {
    matches!(head.get(..4), Some(b"RIFF" | b"RF64" | b"BW64"))
}

/// Whether a WAV begins here.
pub(super) fn is_wav(head: &[u8]) -> bool {
    is_riff(head) && head.get(8..12) == Some(b"WAVE")
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
    } else if is(0, b"riff") {
        Some("Wave64")
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
    }

    #[test]
    fn nothing_is_an_error() {
        let fmt = format(1, 1, 16_000, 16);
        let message = |bytes: Vec<u8>| read(bytes).unwrap_err().to_string();
        assert!(message(Vec::new()).contains("standard input: there is no sound in it (it has no bytes)"));
        assert!(message(vec![1]).contains("no samples"));
        let mut raw = PcmReader::raw(Cursor::new(Vec::new()), "standard input", PcmSpec::RAW).unwrap();
        assert!(all(&mut raw).unwrap_err().to_string().contains("no bytes"));
        let empty = wav(&fmt, &[], 36, 0);
        assert!(message(empty.clone()).contains("a header and no samples"));
        for more in [chunk(b"LIST", &[7; 100], 100), chunk(b"cue ", &[0; 28], 28), empty.clone()] {
            assert!(message([empty.clone(), more].concat()).contains("a header and no samples"));
        }
    }

    /// Reads from a pipe, and from a source of known length: samples and warning are the same.
    fn both_ways(bytes: &[u8]) -> (Vec<f32>, Option<String>) {
        let mut pipe = PcmReader::wav(Cursor::new(bytes), "talk.wav");
        let got = all(&mut pipe).unwrap();
        let mut file = PcmReader::wav_of_len(Cursor::new(bytes), "talk.wav", Some(bytes.len() as u64));
        assert_eq!(all(&mut file).unwrap(), got);
        assert_eq!(file.warning(), pipe.warning());
        (got, pipe.warning())
    }

    #[test]
    fn a_killed_recorder_is_read_whatever_its_first_samples_are() {
        // A-law silence is 0x55, the letter U; 0xD5 is not a letter.
        let silence = [[0x55u8; 2_000], [0xD5; 2_000], [b' '; 2_000]];
        for data in silence {
            for (riff, len) in [(36, 0), (0, 0), (u32::MAX, u32::MAX), (0x8000_0024, 0x8000_0000)] {
                let (got, warning) = both_ways(&wav(&format(6, 1, 16_000, 8), &data, riff, len));
                assert_eq!((got.len(), warning), (2_000, None), "{riff} {len} {}", data[0]);
            }
        }
        let (bytes, want) = ramp(3_000);
        for (fmt, data, want) in [
            (format(1, 1, 16_000, 16), [b"fact now".as_slice(), &bytes].concat(), None),
            (format(1, 1, 16_000, 16), [b"OK!?\0\0\xFF\xFF".as_slice(), &bytes].concat(), Some(&want)),
        ] {
            // Letters are a chunk only if its length can be one.
            let got = read(wav(&fmt, &data, 36, 0));
            match want {
                Some(want) => assert_eq!(got.unwrap()[4..], want[..]),
                None => assert!(got.is_err()),
            }
        }
    }

    #[test]
    fn chunks_behind_the_samples_are_no_sound() {
        let (bytes, want) = ramp(3_000);
        let (odd, _) = (vec![0x20u8; 3_001], ());
        let unknown = chunk(b"ab7 ", &[9; 30], 30);
        let list = chunk(b"LIST", &[7; 100], 100);
        let cut = chunk(b"id3 ", &[7; 50], 5_000);
        let zeros = vec![0; 20_000];
        for more in [&list, &unknown, &[unknown.clone(), list.clone()].concat(), &cut, &[list.clone(), zeros].concat()]
        {
            let file = [wav(&format(1, 1, 16_000, 16), &bytes, 6_036, 6_000), more.clone()].concat();
            assert_eq!(both_ways(&file), (want.clone(), None));
            for pad in [vec![], vec![0]] {
                let file = [wav(&format(7, 1, 16_000, 8), &odd, 36, 3_001), pad, more.clone()].concat();
                let (got, warning) = both_ways(&file);
                assert_eq!((got.len(), warning), (3_001, None));
            }
        }
        let junk = [wav(&format(1, 1, 16_000, 16), &bytes, 6_036, 6_000), list, vec![200; 9_000]].concat();
        let (got, warning) = both_ways(&junk);
        assert_eq!(got, want);
        assert_eq!(warning.unwrap(), "talk.wav: 9000 bytes behind its sound were not read");
    }

    #[test]
    fn sound_behind_the_declared_samples_is_read() {
        let (bytes, want) = ramp(6_000);
        let fmt = format(1, 1, 16_000, 16);
        for declared in [2, 5_000, 5_001, 11_000] {
            let (got, warning) = both_ways(&wav(&fmt, &bytes, 36 + declared, declared));
            assert_eq!(got, want);
            match declared {
                // Less than 0.1 s is padding.
                11_000 => assert_eq!(warning, None),
                _ => assert!(warning.unwrap().contains("and 0.38 seconds were read")),
            }
        }
        // Zeros are padding, too, however many.
        let padded = [wav(&fmt, &bytes, 12_036, 12_000), vec![0; 8_000]].concat();
        let (got, warning) = both_ways(&padded);
        assert_eq!((got.len(), warning), (10_000, None));
        // Another WAV, of the same coding or not.
        let one = wav(&fmt, &bytes, 12_036, 12_000);
        let list = chunk(b"LIST", &[7; 100], 100);
        let (got, warning) = both_ways(&[one.clone(), list, one.clone()].concat());
        assert_eq!((got, warning), ([want.clone(), want.clone()].concat(), None));
        let other = wav(&format(7, 2, 8_000, 8), &[0xFF; 4_000], 4_036, 4_000);
        let (got, warning) = both_ways(&[one.clone(), other].concat());
        assert_eq!((got.len(), warning), (6_000 + 4_000, None));
        assert_eq!(got[..6_000], want);
        // What cannot be decoded is a warning behind sound, not an error.
        let adpcm = wav(&format(2, 1, 8_000, 4), &[0x11; 400], 436, 400);
        let (got, warning) = both_ways(&[one.clone(), adpcm].concat());
        assert_eq!(got, want);
        assert!(warning.unwrap().contains("was not read"));
        let cut = wav(&fmt, &bytes[..4_000], 12_036, 12_000);
        let (got, warning) = both_ways(&[one, cut].concat());
        assert_eq!(got.len(), 8_000);
        assert_eq!(warning.unwrap(), "talk.wav: it ends early: 0.50 of 0.75 seconds are there");
    }

    /// A WAV of more than 4 GiB that is not held anywhere.
    struct Long {
        head: Vec<u8>,
        tail: Vec<u8>,
        len: u64,
        at: u64,
    }

    impl Read for Long {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let tail_at = self.len - self.tail.len() as u64;
            let piece = match self.at {
                at if at < self.head.len() as u64 => &self.head[at as usize..],
                at if at >= tail_at => &self.tail[(at - tail_at) as usize..],
                at => {
                    let len = (tail_at - at).min(buf.len() as u64) as usize;
                    buf[..len].fill(0);
                    self.at += len as u64;
                    return Ok(len);
                }
            };
            let len = piece.len().min(buf.len());
            buf[..len].copy_from_slice(&piece[..len]);
            self.at += len as u64;
            Ok(len)
        }
    }

    #[test]
    fn a_length_that_32_bits_cannot_tell_is_known_from_the_file() {
        // 4 GiB and 1000 frames of 64 channels of 8 bytes, at 1 kHz, then a chunk.
        let data_len = (1u64 << 32) + 512_000;
        let mut head = wav(&format(3, 64, 1_000, 64), &[], 36, 512_000);
        head.extend(0.5f64.to_le_bytes());
        let tail = chunk(b"LIST", &[7; 100], 100);
        let len = 44 + data_len + tail.len() as u64;
        let mut reader = PcmReader::wav_of_len(Long { head, tail, len, at: 0 }, "long.wav", Some(len));
        reader.read_header().unwrap();
        // The rest of such a file takes a minute to decode: where it ends is what counts.
        assert_eq!(reader.declared_frames(), Some(1_000));
        reader.next_block().unwrap();
        while reader.declared_frames().is_some() {
            reader.next_block().unwrap();
        }
        let State::Samples { left: Some(left) } = reader.state else { panic!("the length is not known") };
        assert_eq!(reader.position() + left, 44 + data_len);
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
