//! Any audio file to 16 kHz mono, in blocks: a ten-hour recording is never held in memory.
//!
//! ```text
//! WAV, RF64 (PCM, float, A-law, µ-law)         pcm_stream: one reader for files and pipes
//! FLAC, MP3, AAC (ADTS)                        symphonia
//! Ogg (Vorbis, FLAC)                           ogg for the packets, symphonia for the sound
//! M4A/MP4/MOV                                  mp4 for the packets, symphonia for the sound
//! → one channel → resample → next_block()
//! ```
//!
//! What is damaged or missing is told, not fatal: [`AudioFile::warning`]. Damaged packets and holes become silence of the
//! same length, so that later times stay right. AAC carries an encoder delay of 20 to 50 ms that is taken off where
//! an MP4's edit list tells it.
//! Opus is not decoded (symphonia has no decoder for it), nor ADPCM in WAV (symphonia 0.6.1 gets IMA wrong and overflows
//! in MS): the error says how to pipe them through ffmpeg.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::num::NonZero;
use std::ops::Range;
use std::path::Path;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_AC3, CODEC_ID_DCA, CODEC_ID_EAC3, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_OPUS,
    CODEC_ID_SPEEX, CODEC_ID_WMA,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::TimeBase;

use super::downmix::Downmix;
use super::error::AudioError;
use super::id3::{self, Behind};
use super::mel::SAMPLE_RATE;
use super::mp4::{self, Mp4, OpenError};
use super::ogg::Ogg;
use super::pcm_stream::{PcmReader, another_format, is_wav};
use super::resample::Resampler;

/// A block is given once it has this many samples (1 s), or at the end.
const BLOCK: usize = SAMPLE_RATE as usize;
/// A hole in the file's time stamps that is shorter than this (in seconds) is rounding.
const LEAST_HOLE: f64 = 0.02;
/// The longest silence that stands in for one damaged packet, in seconds.
const LONGEST_PACKET: f64 = 10.0;
/// A file is given up when this many packets come before the first that can be decoded.
const MOST_UNDECODED: u64 = 200;
/// A file whose end is missing by less than this (in seconds) is complete.
const END_SLACK: f64 = 0.05;

/// Warnings of sound before its channels changed, at most.
const MOST_EARLIER: usize = 8;

const NO_TRACK: &str = "there is no audio track";
const CUT_INDEX: &str = "its index is missing, as when a recording or a download is cut off before it is finished";

type Source = Box<dyn MediaSource>;

/// An audio file being decoded.
pub struct AudioFile {
    name: String,
    duration: Option<f64>,
    /// A sample was given.
    heard: bool,
    from: From,
}

enum From {
    Wav(Box<PcmReader<Source>>),
    Ogg(Box<Ogg<Source>>),
    Coded(Box<Coded>),
}

impl AudioFile {
    /// Opens a file and reads its header.
    ///
    /// Errors name the file and say what to do: not there, empty, not sound (a text file named `.wav`), a coding that is
    /// not decoded here (Opus). A path that cannot be sought in (a pipe) may be a WAV or raw s16le 16 kHz mono.
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

    /// The same from anything that is read and sought in; `name` is for messages.
    pub fn from_source(mut source: Box<dyn MediaSource>, name: String) -> Result<Self, AudioError> {
        if !source.is_seekable() {
            return Self::from_wav(PcmReader::new(source, &name), name, None);
        }
        let read_error = |source| AudioError::Read { name: name.clone(), source };
        let tags_len = id3::tags_len(&mut source).map_err(read_error)?;
        if tags_len > 0 {
            source = Box::new(Behind::new(source, tags_len).map_err(read_error)?);
        }
        let byte_len = source.byte_len();
        let mut head = Vec::new();
        (&mut source).take(512).read_to_end(&mut head).map_err(read_error)?;
        source.seek(SeekFrom::Start(0)).map_err(read_error)?;
        if head.is_empty() {
            let what = if tags_len > 0 { "nothing follows its ID3 tag" } else { "the file has no bytes" };
            return Err(AudioError::Empty { name, what });
        }
        if another_format(&head).is_none_or(|found| found == "MP4") && mp4::is_mp4(&mut source).map_err(read_error)? {
            let coded = Coded::open_mp4(source, &name)?;
            return Ok(AudioFile {
                duration: coded.declared_seconds,
                name,
                heard: false,
                from: From::Coded(Box::new(coded)),
            });
        }
        let is_ogg = match another_format(&head) {
            Some(found) => found == "Ogg",
            // Its pages may stand behind something else.
            None => head.windows(5).any(|w| w == b"OggS\0"),
        };
        if is_ogg {
            let ogg = Ogg::open(source, &name)?;
            return Ok(AudioFile { duration: ogg.seconds(), name, heard: false, from: From::Ogg(Box::new(ogg)) });
        }
        if !is_wav(&head) {
            return Self::from_coded(source, name, &head);
        }
        Self::from_wav(PcmReader::wav_of_len(source, &name, byte_len), name, byte_len)
    }

    fn from_wav(mut reader: PcmReader<Source>, name: String, byte_len: Option<u64>) -> Result<Self, AudioError> {
        reader.read_header()?;
        let there = byte_len
            .zip(reader.spec())
            .map(|(bytes, spec)| bytes.saturating_sub(reader.header_len()) / spec.frame_len() as u64);
        let frames = match (reader.declared_frames(), there) {
            (Some(declared), Some(there)) => Some(declared.min(there)),
            (declared, there) => declared.or(there),
        };
        let duration = frames.zip(reader.spec()).map(|(frames, spec)| frames as f64 / f64::from(spec.rate));
        Ok(AudioFile { name, duration, heard: false, from: From::Wav(Box::new(reader)) })
    }

    fn from_coded(source: Source, name: String, head: &[u8]) -> Result<Self, AudioError> {
        let coded = Coded::open(source, &name, head)?;
        Ok(AudioFile { duration: coded.declared_seconds, name, heard: false, from: From::Coded(Box::new(coded)) })
    }

    /// How many sound tracks the file has.
    pub fn tracks(&self) -> usize {
        match &self.from {
            From::Coded(coded) if let Packets::Mp4(mp4) = &coded.packets => mp4.tracks().len(),
            _ => 1,
        }
    }

    /// The sound track that is heard, from 1: the first that is enabled and can be decoded.
    pub fn track(&self) -> usize {
        match &self.from {
            From::Coded(coded) if let Packets::Mp4(mp4) = &coded.packets => mp4.chosen() + 1,
            _ => 1,
        }
    }

    /// Hears sound track `track` (from 1) instead, from its beginning.
    pub fn choose_track(&mut self, track: NonZero<u16>) -> Result<(), AudioError> {
        let index = usize::from(track.get()) - 1;
        if index >= self.tracks() {
            return Err(AudioError::NoTrack { name: self.name.clone(), track: track.get(), tracks: self.tracks() });
        }
        if let From::Coded(coded) = &mut self.from
            && let Packets::Mp4(mp4) = &mut coded.packets
        {
            let decoder = mp4_decoder(mp4, index, &self.name)?;
            mp4.choose(index);
            coded.decoder = decoder;
            self.duration = mp4.seconds();
        }
        Ok(())
    }

    /// The next samples, 16 kHz mono, at most a few seconds of them; None at the end.
    ///
    /// Values of integer formats lie in `[-1, 1]`, floating ones may exceed it; NaN and infinite ones are 0.
    /// Fails when reading fails, and when the end comes before a single sample did.
    pub fn next_block(&mut self) -> Result<Option<Vec<f32>>, AudioError> {
        let block = match &mut self.from {
            From::Wav(reader) => reader.next_block()?,
            From::Ogg(ogg) => ogg.next_block()?,
            From::Coded(coded) => coded.next_block(&self.name)?,
        };
        if let Some(block) = &block {
            self.heard |= !block.is_empty();
        } else if !self.heard {
            return Err(AudioError::Empty { name: self.name.clone(), what: "it has a header and no samples" });
        }
        Ok(block)
    }

    /// Length in seconds as the file tells it, where it does. An estimate for MP3 and AAC without an index.
    pub fn duration(&self) -> Option<f64> {
        self.duration
    }

    /// What the user should know although sound came: the file ends early, parts of it were damaged. Complete only
    /// after the last block.
    pub fn warning(&self) -> Option<String> {
        match &self.from {
            From::Wav(reader) => reader.warning(),
            From::Ogg(ogg) => ogg.warning(),
            From::Coded(coded) => coded.warning(&self.name),
        }
    }
}

/// Where packets come from.
enum Packets {
    Mp4(Box<Mp4>),
    Other(Box<dyn FormatReader>),
}

/// A file whose sound symphonia decodes.
struct Coded {
    packets: Packets,
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
    time_base: Option<TimeBase>,
    /// Frames that the file surely has, where it tells.
    declared: Option<u64>,
    declared_seconds: Option<f64>,
    /// Frames of encoder delay that are still to be dropped.
    skip: usize,
    rate: u32,
    resampler: Option<Resampler>,
    downmix: Option<Downmix>,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
    /// Where the next packet should begin, in the track's time base.
    next_ts: Option<i64>,
    frames: u64,
    /// Frames of silence that are counted and still to be given, and the packet behind them.
    silent: u64,
    held: Option<Packet>,
    /// How long the packets and holes are together that were taken as silence.
    damaged_seconds: f64,
    /// Packets that could not be decoded, and whether one could.
    undecoded: u64,
    decoded: bool,
    /// Why the first of them could not be decoded.
    failure: Option<String>,
    ended: bool,
    /// What is to be said of the sound before its channels changed.
    earlier: Vec<String>,
    /// Why reading stopped before the file's end.
    stopped: Option<String>,
}

impl Coded {
    fn open(source: Source, name: &str, head: &[u8]) -> Result<Self, AudioError> {
        let format = open_format(source).map_err(|e| probe_error(e, name, head))?;
        let (track, decoder) = pick_track(format.as_ref(), name)?;
        let params = decoder.codec_params();
        let mp3 = params.codec == CODEC_ID_MP3;
        let rate = params.sample_rate.unwrap_or(0);
        // MP3 without a tag, and ADTS, only have an estimate.
        let sure = match format.format_info().short_name {
            "mp1" | "mp2" | "mp3" => track.delay.is_some(),
            "aac" | "adts" => false,
            _ => true,
        };
        let declared_seconds =
            track.num_frames.filter(|_| rate > 0).map(|n| n as f64 / f64::from(rate)).or_else(|| {
                let time = track.time_base?.calc_duration(track.duration?)?;
                Some(time.as_secs_f64()).filter(|&s| s > 0.0)
            });
        Ok(Coded {
            track_id: track.id,
            time_base: track.time_base,
            declared: track.num_frames.filter(|&n| sure && n > 0),
            declared_seconds,
            skip: if mp3 { track.delay.unwrap_or(0) as usize } else { 0 },
            ..Coded::new(Packets::Other(format), decoder)
        })
    }

    fn open_mp4(source: Source, name: &str) -> Result<Self, AudioError> {
        let mut mp4 = Mp4::open(source).map_err(|e| mp4_error(e, name))?;
        // The first track that can be decoded, enabled ones before others.
        let mut order: Vec<usize> = (0..mp4.tracks().len()).collect();
        order.sort_by_key(|&index| !mp4.tracks()[index].enabled);
        let mut decoders = order.into_iter().map(|index| mp4_decoder(&mp4, index, name).map(|d| (index, d)));
        let first = decoders.next().unwrap_or(Err(AudioError::Empty { name: name.into(), what: NO_TRACK }));
        let (index, decoder) = match first {
            Ok(found) => found,
            Err(refused) => decoders.find_map(Result::ok).ok_or(refused)?,
        };
        drop(decoders);
        mp4.choose(index);
        let declared_seconds = mp4.seconds();
        Ok(Coded { declared_seconds, ..Coded::new(Packets::Mp4(Box::new(mp4)), decoder) })
    }

    fn new(packets: Packets, decoder: Box<dyn AudioDecoder>) -> Self {
        Coded {
            packets,
            track_id: 0,
            time_base: None,
            declared: None,
            declared_seconds: None,
            skip: 0,
            rate: decoder.codec_params().sample_rate.unwrap_or(0),
            decoder,
            resampler: None,
            downmix: None,
            interleaved: Vec::new(),
            mono: Vec::new(),
            next_ts: None,
            frames: 0,
            silent: 0,
            held: None,
            damaged_seconds: 0.0,
            undecoded: 0,
            decoded: false,
            failure: None,
            ended: false,
            earlier: Vec::new(),
            stopped: None,
        }
    }

    fn next_block(&mut self, name: &str) -> Result<Option<Vec<f32>>, AudioError> {
        let mut out = Vec::new();
        while out.len() < BLOCK && (!self.ended || self.silent > 0) {
            if self.silent > 0 {
                self.give_silence(name, &mut out)?;
                continue;
            }
            if let Some(packet) = self.held.take() {
                self.decode(&packet, name, &mut out)?;
                continue;
            }
            let packet = match &mut self.packets {
                Packets::Mp4(mp4) => mp4.next_packet().map_err(SymphoniaError::IoError),
                Packets::Other(format) => format.next_packet(),
            };
            match packet {
                Ok(Some(packet)) if matches!(self.packets, Packets::Mp4(_)) => {
                    self.wait_for(&packet);
                    self.held = Some(packet);
                }
                Ok(Some(packet)) if packet.track_id == self.track_id => {
                    self.fill_hole(&packet);
                    self.held = Some(packet);
                }
                Ok(Some(_)) => {}
                Ok(None) => self.ended = true,
                Err(SymphoniaError::IoError(source)) if is_trouble(&source) => {
                    return Err(AudioError::Read { name: name.into(), source });
                }
                Err(SymphoniaError::IoError(_)) => self.ended = true,
                Err(e) => self.stop(e.to_string()),
            }
        }
        if self.ended && !self.decoded && self.undecoded > 0 {
            return Err(self.undecodable(name));
        }
        if self.ended {
            self.flush(&mut out);
            if let Some(mut resampler) = self.resampler.take() {
                resampler.finish(&mut out);
            }
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }

    fn stop(&mut self, why: String) {
        self.stopped = Some(why);
        self.ended = true;
    }

    fn undecodable(&self, name: &str) -> AudioError {
        let what = match &self.failure {
            Some(why) => format!("none of its sound can be decoded ({why})"),
            None => "none of its sound can be decoded".into(),
        };
        AudioError::Broken { name: name.into(), what }
    }

    fn decode(&mut self, packet: &Packet, name: &str, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let (rate, channels) = match self.decoder.decode(packet) {
            Ok(buffer) => {
                let spec = buffer.spec();
                let (rate, channels) = (spec.rate(), spec.channels().count());
                buffer.copy_to_vec_interleaved(&mut self.interleaved);
                self.decoded = true;
                (rate, channels)
            }
            Err(e) => return self.replace(packet, e, name),
        };
        if channels == 0 || self.interleaved.is_empty() {
            return Ok(());
        }
        self.in_shape(rate, channels, name, out)?;
        let skipped = self.skip.min(self.interleaved.len() / channels);
        self.skip -= skipped;
        let frames = self.interleaved.len() / channels;
        let heard = match &self.packets {
            Packets::Mp4(_) => self.heard(packet, frames),
            Packets::Other(_) => skipped..frames,
        };
        self.frames += heard.len() as u64;
        self.mono.clear();
        if let (Some(downmix), Some(resampler)) = (&mut self.downmix, &mut self.resampler) {
            downmix.push(&self.interleaved[heard.start * channels..heard.end * channels], &mut self.mono);
            resampler.push(&self.mono, out);
        }
        Ok(())
    }

    /// The frames of a decoded packet that are to be heard, as its trims say.
    fn heard(&self, packet: &Packet, len: usize) -> Range<usize> {
        let frames = |ticks: u64| (self.seconds(ticks) * f64::from(self.rate)).round() as usize;
        let begin = frames(packet.trim_start.get()).min(len);
        match packet.trim_end.get() {
            0 => begin..len,
            _ => begin..begin.saturating_add(frames(packet.dur.get())).min(len),
        }
    }

    /// Silence of a packet's length where it cannot be decoded.
    fn replace(&mut self, packet: &Packet, why: SymphoniaError, name: &str) -> Result<(), AudioError> {
        if matches!(why, SymphoniaError::ResetRequired) {
            self.decoder.reset();
        }
        self.undecoded += 1;
        self.failure.get_or_insert_with(|| why.to_string());
        if !self.decoded && self.undecoded >= MOST_UNDECODED {
            return Err(self.undecodable(name));
        }
        let seconds = self.seconds(packet.dur.get()).min(LONGEST_PACKET);
        if seconds > 0.0 {
            self.damaged_seconds += seconds;
            self.silence((seconds * f64::from(self.rate)).round() as u64);
        }
        Ok(())
    }

    /// Gives the sound that waits for the rest of its block.
    fn flush(&mut self, out: &mut Vec<f32>) {
        self.mono.clear();
        if let (Some(downmix), Some(resampler)) = (&mut self.downmix, &mut self.resampler) {
            downmix.finish(&mut self.mono);
            resampler.push(&self.mono, out);
        }
    }

    /// Makes sure that the mixer is for `channels` and the resampler for `rate`.
    fn in_shape(&mut self, rate: u32, channels: usize, name: &str, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let same = self.rate == rate && self.downmix.as_ref().is_some_and(|d| d.channels() == channels);
        if !same {
            self.flush(out);
            let old = self.downmix.replace(Downmix::new(rate, channels));
            for warning in old.iter().flat_map(Downmix::warnings) {
                if self.earlier.len() < MOST_EARLIER && !self.earlier.contains(&warning) {
                    self.earlier.push(warning);
                }
            }
        }
        self.at_rate(rate, name, out)
    }

    /// Makes sure that the resampler is for `rate`; a chained stream may change it.
    fn at_rate(&mut self, rate: u32, name: &str, out: &mut Vec<f32>) -> Result<(), AudioError> {
        if self.resampler.as_ref().is_some_and(|r| r.rate() == rate) {
            return Ok(());
        }
        if let Some(mut old) = self.resampler.take() {
            old.finish(out);
        }
        let new = Resampler::new(rate).map_err(|_| AudioError::Rate { name: name.into(), rate })?;
        self.resampler = Some(new);
        self.rate = rate;
        Ok(())
    }

    /// Silence where the time stamps jump ahead (packets too damaged to be found), never beyond the declared length.
    fn fill_hole(&mut self, packet: &Packet) {
        let begin = packet.pts.get();
        let expected = self.next_ts.unwrap_or(begin);
        let end = begin.saturating_add(i64::try_from(packet.dur.get()).unwrap_or(0));
        self.next_ts = Some(end.max(expected));
        let hole = u64::try_from(begin.saturating_sub(expected)).unwrap_or(0);
        let seconds = self.seconds(hole);
        if seconds < LEAST_HOLE {
            return;
        }
        let room = self.declared.map_or(0, |n| n.saturating_sub(self.frames));
        let frames = ((seconds * f64::from(self.rate)).round() as u64).min(room);
        self.damaged_seconds += frames as f64 / f64::from(self.rate.max(1));
        self.silence(frames);
    }

    /// Silence up to the time at which the packet of an MP4 is heard.
    fn wait_for(&mut self, packet: &Packet) {
        let begin = self.seconds(u64::try_from(packet.pts.get()).unwrap_or(0));
        let hole = begin - self.frames as f64 / f64::from(self.rate.max(1));
        if hole >= LEAST_HOLE {
            self.silence((hole * f64::from(self.rate)).round() as u64);
        }
    }

    /// Silence of so many frames, which is given by blocks before the next packet.
    fn silence(&mut self, frames: u64) {
        self.silent = self.silent.saturating_add(frames);
        self.frames = self.frames.saturating_add(frames);
    }

    fn give_silence(&mut self, name: &str, out: &mut Vec<f32>) -> Result<(), AudioError> {
        self.flush(out);
        self.at_rate(self.rate, name, out)?;
        let len = self.silent.min(u64::from(self.rate));
        self.silent -= len;
        self.mono.clear();
        self.mono.resize(len as usize, 0.0);
        if let Some(resampler) = &mut self.resampler {
            resampler.push(&self.mono, out);
        }
        Ok(())
    }

    /// Ticks of the track's time base in seconds.
    fn seconds(&self, ticks: u64) -> f64 {
        if let Packets::Mp4(mp4) = &self.packets {
            return ticks as f64 / f64::from(mp4.timescale());
        }
        self.time_base.map_or(0.0, |b| ticks as f64 * f64::from(b.numer.get()) / f64::from(b.denom.get()))
    }

    fn warning(&self, name: &str) -> Option<String> {
        let mut all = Vec::new();
        let rate = f64::from(self.rate.max(1));
        let there = self.frames as f64 / rate;
        let declared = self.declared.map_or(0.0, |n| n as f64 / rate);
        if self.ended && self.rate > 0 && declared - there > END_SLACK {
            all.push(format!("it ends early: {there:.2} of {declared:.2} seconds are there"));
        }
        if let Some(why) = &self.stopped {
            all.push(format!("it could be read for {there:.2} seconds only ({why})"));
        }
        let mut damaged_seconds = self.damaged_seconds;
        if let Packets::Mp4(mp4) = &self.packets {
            let lost = mp4.lost();
            let missing = self.seconds(lost.at_end);
            if self.ended && missing > END_SLACK {
                all.push(format!("it ends early: {there:.2} of {:.2} seconds are there", there + missing));
            } else if self.ended && lost.cut {
                all.push(format!("it ends early: {there:.2} seconds are there"));
            }
            if lost.clock > 0 {
                let begin = self.seconds(lost.clock);
                all.push(format!("its clock begins at {begin:.0} seconds; times count from its first sound"));
            }
            if lost.index {
                all.push("its index is damaged".into());
            }
            damaged_seconds += self.seconds(lost.within);
        }
        if damaged_seconds > 0.0 {
            all.push(format!("{damaged_seconds:.2} seconds of it are damaged and were taken as silence"));
        }
        all.extend(self.earlier.iter().cloned());
        all.extend(self.downmix.iter().flat_map(Downmix::warnings));
        Some(format!("{name}: {}", all.join("; "))).filter(|_| !all.is_empty())
    }
}

/// Finds the container.
fn open_format(source: Source) -> Result<Box<dyn FormatReader>, SymphoniaError> {
    let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
    let probe = symphonia::default::get_probe();
    probe.probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
}

/// What decodes sound track `index` of an MP4.
fn mp4_decoder(mp4: &Mp4, index: usize, name: &str) -> Result<Box<dyn AudioDecoder>, AudioError> {
    let coding = &mp4.tracks()[index].coding;
    let refused = |codec| AudioError::UnknownCodec { name: name.into(), codec };
    let params = coding.params.as_ref().ok_or_else(|| refused(coding.name()))?;
    // An MP4's trims are taken off here, for every coding alike.
    let options = AudioDecoderOptions::default().gapless(false);
    let decoder = symphonia::default::get_codecs().make_audio_decoder(params, &options);
    decoder.map_err(|e| refused(coding_name(params, &e)))
}

fn mp4_error(e: OpenError, name: &str) -> AudioError {
    let name = name.to_string();
    match e {
        OpenError::Io(source) if is_trouble(&source) => AudioError::Read { name, source },
        OpenError::Io(e) => AudioError::Broken { name, what: format!("its MP4 header is damaged ({e})") },
        OpenError::NoIndex => AudioError::Broken { name, what: CUT_INDEX.into() },
        OpenError::NoTrack => AudioError::Empty { name, what: NO_TRACK },
    }
}

/// The end of a file (or of what its header promises) is not trouble; a disk that fails is.
fn is_trouble(e: &std::io::Error) -> bool {
    e.raw_os_error().is_some()
}

/// The first audio track that can be decoded, the default one before others.
fn pick_track(format: &dyn FormatReader, name: &str) -> Result<(Track, Box<dyn AudioDecoder>), AudioError> {
    let default = format.default_track(symphonia::core::formats::TrackType::Audio);
    let mut refused = None;
    for track in default.into_iter().chain(format.tracks()) {
        let Some(CodecParameters::Audio(params)) = &track.codec_params else {
            continue;
        };
        // MP3's end padding is kept: it would be taken off by an estimate, or by the first of several joined files.
        let options = AudioDecoderOptions::default().gapless(params.codec != CODEC_ID_MP3);
        match symphonia::default::get_codecs().make_audio_decoder(params, &options) {
            Ok(decoder) => return Ok((track.clone(), decoder)),
            Err(e) => refused = refused.or(Some((params, e))),
        }
    }
    let name = name.to_string();
    Err(match refused {
        Some((params, e)) => AudioError::UnknownCodec { name, codec: coding_name(params, &e) },
        None => AudioError::Empty { name, what: NO_TRACK },
    })
}

/// What to call a coding that is not decoded.
fn coding_name(params: &AudioCodecParameters, why: &SymphoniaError) -> String {
    let channels = params.channels.as_ref().map_or(0, Channels::count);
    match codec_name(params.codec) {
        Some(known) => known.into(),
        None if params.codec == CODEC_ID_AAC && channels > 2 => format!("AAC with {channels} channels"),
        None => format!("its audio coding ({why})"),
    }
}

fn codec_name(codec: AudioCodecId) -> Option<&'static str> {
    Some(match codec {
        CODEC_ID_OPUS => "Opus audio",
        CODEC_ID_SPEEX => "Speex audio",
        CODEC_ID_MP1 | CODEC_ID_MP2 => "MPEG audio of layer 1 or 2",
        CODEC_ID_AC3 | CODEC_ID_EAC3 => "Dolby AC-3 audio",
        CODEC_ID_DCA => "DTS audio",
        CODEC_ID_WMA => "Windows Media audio",
        _ => return None,
    })
}

/// What to say of a file that symphonia could not begin with.
fn probe_error(e: SymphoniaError, name: &str, head: &[u8]) -> AudioError {
    let name = name.to_string();
    let container = another_format(head);
    if let Some(container @ ("FLAC" | "MP3")) = container {
        return AudioError::Broken { name, what: format!("its {container} header is damaged ({e})") };
    }
    let found = match container {
        Some(other) => format!("this is {other}"),
        None if looks_like_text(head) => "this looks like text, not sound".into(),
        None => "this is not sound in a form that is known here".into(),
    };
    AudioError::UnknownFormat { name, found }
}

fn looks_like_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character may be cut at the end of what was read.
        Err(e) if e.valid_up_to() + 4 > head.len() => std::str::from_utf8(&head[..e.valid_up_to()]).unwrap_or(""),
        Err(_) => return false,
    };
    !valid.is_empty() && !valid.chars().any(|c| c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::audio::testing::{fixture, read_wav};

    /// Files that decode, with the seconds that may be missing or too many.
    const GOOD: [(&str, f64); 16] = [
        ("ref_16k.wav", 0.0),
        ("stereo_22k.flac", 0.0),
        ("mono_44k.mp3", 0.06),
        ("stereo_44k.ogg", 0.01),
        ("aac_48k.m4a", 0.08),
        ("aac_44k.mp4", 0.08),
        ("aac_16k.aac", 0.2),
        ("alac_32k.m4a", 0.0),
        ("video.mp4", 0.15),
        ("wav_extensible.wav", 0.0),
        ("wav_s16le.wav", 0.0),
        ("wav_u8.wav", 0.0),
        ("wav_s24le.wav", 0.0),
        ("wav_f64le.wav", 0.0),
        ("wav_mulaw.wav", 0.0),
        ("wav_alaw.wav", 0.0),
    ];

    fn bytes_of(name: &str) -> Vec<u8> {
        std::fs::read(fixture(&format!("audio/{name}"))).unwrap()
    }

    /// Decodes all of it: samples and warning.
    fn decode(bytes: Vec<u8>, name: &str) -> Result<(Vec<f32>, Option<String>), AudioError> {
        let mut file = AudioFile::from_source(Box::new(Cursor::new(bytes)), name.to_owned())?;
        let mut all = Vec::new();
        while let Some(block) = file.next_block()? {
            assert!(block.iter().all(|x| x.is_finite()));
            all.extend(block);
        }
        Ok((all, file.warning()))
    }

    /// The largest normalised correlation over lags of 0..=1200 samples, and that lag.
    fn likeness(got: &[f32], want: &[f32]) -> (f64, usize) {
        (0..=1_200.min(got.len().saturating_sub(1)))
            .map(|lag| {
                let (mut ab, mut aa, mut bb) = (0.0, 1e-9_f64, 1e-9_f64);
                for (&a, &b) in got[lag..].iter().zip(want) {
                    let (a, b) = (f64::from(a), f64::from(b));
                    (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
                }
                (ab / (aa * bb).sqrt(), lag)
            })
            .fold((-1.0, 0), |best, x| if x.0 > best.0 { x } else { best })
    }

    #[test]
    fn every_format_has_the_same_sound() {
        let want = read_wav(&fixture("audio/ref_16k.wav"));
        for (name, slack) in GOOD {
            let seconds = match name {
                "wav_extensible.wav" => 0.1,
                n if n.starts_with("wav_") => 0.2,
                _ => 0.3,
            };
            let duration = AudioFile::open(fixture(&format!("audio/{name}"))).unwrap().duration();
            let (got, warning) = decode(bytes_of(name), name).unwrap();
            let (same, lag) = likeness(&got, &want);
            println!(
                "{name}: {} samples, told {duration:.3?} s, likeness {same:.4} at lag {lag}, warning {warning:?}",
                got.len()
            );
            assert_eq!(warning, None, "{name}");
            let length = got.len() as f64 / 16_000.0;
            assert!((length - seconds).abs() <= slack + 1e-3, "{name}: {length} s");
            let told = duration.unwrap_or(length);
            assert!((told - length).abs() <= slack + 1e-3, "{name}: told {told} of {length} s");
            assert!(same > 0.97, "{name}: {same}");
            let late = if name.contains("aac") || name.contains("video") { 1_100 } else { 1 };
            assert!(lag <= late, "{name}: {lag} samples late");
        }
    }

    #[test]
    fn what_cannot_be_decoded_says_what_to_do() {
        for (name, says) in [
            ("opus.ogg", "Opus"),
            ("opus.mp4", "Opus"),
            ("opus.webm", "Matroska or WebM"),
            ("wav_ima.wav", "WAV coding 0x0011 with 4 bits"),
        ] {
            let error = AudioFile::open(fixture(&format!("audio/{name}"))).err().unwrap().to_string();
            println!("{error}");
            assert!(error.contains(name) && error.contains(says) && error.contains("ffmpeg"), "{error}");
        }
        let message = |bytes: &[u8], name: &str| decode(bytes.to_vec(), name).unwrap_err().to_string();
        let text = message("Grüße aus Köln, this is no sound.\n".as_bytes(), "notes.wav");
        assert!(text.contains("notes.wav: this looks like text") && text.contains("FLAC"), "{text}");
        assert!(message(&[], "empty.mp3").contains("no bytes"));
        assert!(message(&[0; 3_000], "zeros.m4a").contains("not sound"));
        let mut silent = bytes_of("ref_16k.wav");
        silent.truncate(44);
        silent[4..8].copy_from_slice(&36u32.to_le_bytes());
        silent[40..44].copy_from_slice(&0u32.to_le_bytes());
        assert!(message(&silent, "silent.wav").contains("a header and no samples"));
        let missing = AudioFile::open("no/such/talk.wav").err().unwrap().to_string();
        assert!(missing.contains("no/such/talk.wav: cannot be opened"), "{missing}");
        let folder = AudioFile::open(env!("CARGO_MANIFEST_DIR")).err().unwrap().to_string();
        assert!(folder.contains("directory"), "{folder}");
        let mut cut = bytes_of("aac_44k.mp4");
        cut.truncate(900);
        assert!(message(&cut, "cut.mp4").contains("index is missing"));
    }

    #[test]
    fn cut_files_give_what_is_there_and_say_so() {
        for name in ["ref_16k.wav", "stereo_22k.flac", "mono_44k.mp3", "aac_48k.m4a", "alac_32k.m4a"] {
            let whole = decode(bytes_of(name), name).unwrap().0;
            let mut bytes = bytes_of(name);
            bytes.truncate(bytes.len() * 3 / 4);
            let (got, warning) = decode(bytes, name).unwrap();
            println!("{name}: {} of {} samples; {warning:?}", got.len(), whole.len());
            assert!(got.len() > whole.len() / 5 && got.len() < whole.len());
            assert!(warning.unwrap().contains(name));
            let same = got.iter().zip(&whole).take(got.len() / 2).all(|(a, b)| (a - b).abs() < 1e-3);
            assert!(same, "{name}");
        }
        // All sound of this file is in one page, of which the packets count that are whole.
        let mut bytes = bytes_of("stereo_44k.ogg");
        bytes.truncate(bytes.len() * 9 / 10);
        let (got, warning) = decode(bytes, "cut.ogg").unwrap();
        assert!((3_000..4_800).contains(&got.len()), "{}", got.len());
        assert!(warning.unwrap().starts_with("cut.ogg: it is cut off after 0.2"));
    }

    #[test]
    fn a_damaged_packet_keeps_the_clock() {
        let name = "stereo_22k.flac";
        let whole = decode(bytes_of(name), name).unwrap().0;
        let mut bytes = bytes_of(name);
        for b in &mut bytes[12_000..12_200] {
            *b ^= 0xA5;
        }
        let (got, warning) = decode(bytes, name).unwrap();
        println!("{} of {} samples; {warning:?}", got.len(), whole.len());
        assert_eq!(got.len(), whole.len());
    }

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % n.max(1)
        }
    }

    /// Bytes flipped, overwritten, cut out, repeated or cut off.
    fn mangle(bytes: &mut Vec<u8>, dice: &mut Dice) {
        for _ in 0..=dice.below(6) {
            let len = bytes.len();
            // Headers are where the harm is.
            let at = match dice.below(2) {
                0 => dice.below(len),
                _ => dice.below(len.min(300)),
            };
            match dice.below(6) {
                0 | 1 => bytes[at] ^= 1 << dice.below(8),
                2 => bytes[at] = [0, 255, 127, 128][dice.below(4)],
                3 => bytes.truncate(at.max(1)),
                4 => {
                    let end = (at + dice.below(40)).min(len);
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let end = (at + 1 + dice.below(40)).min(len.max(2) - 1);
                    bytes.drain(at.min(end)..end);
                }
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
    }

    #[test]
    fn no_input_makes_it_panic_or_run_away() {
        let rounds: usize = match std::env::var("ALIGNATT_FUZZ_ROUNDS") {
            Ok(n) => n.parse().unwrap(),
            Err(_) => 40,
        };
        let others = ["opus.ogg", "opus.mp4", "opus.webm", "wav_ima.wav", "wav_f32le.wav", "wav_s32le.wav"];
        let (mut decoded, mut refused) = (0, 0);
        for (seed, name) in GOOD.iter().map(|g| g.0).chain(others).enumerate() {
            let original = bytes_of(name);
            let mut dice = Dice(seed as u64 + 1);
            for round in 0..rounds {
                let mut bytes = original.clone();
                mangle(&mut bytes, &mut dice);
                let len = bytes.len();
                match decode(bytes, name) {
                    Ok((got, _)) => {
                        assert!(got.len() < 16_000 * 120, "{name} {round}: {} from {len} bytes", got.len());
                        decoded += 1;
                    }
                    Err(e) => {
                        assert!(e.to_string().contains(name));
                        refused += 1;
                    }
                }
            }
        }
        println!("{decoded} decoded, {refused} refused");
        assert!(decoded > 0 && refused > 0);
    }
}
