//! Reads Ogg files with Opus, Vorbis or FLAC: their packets, their times, and what is missing.
//!
//! A page is decoded as a whole, and its place follows from its granule: `granule - frames
//! decoded`. If that is later than the end of the previous page, sound is missing, and silence
//! takes its place. So a page that is damaged (its CRC is wrong) or missing loses only its own
//! sound.
//!
//! The sound begins at 0, whatever the first granule is, because the recording of a running stream
//! begins hours after the stream. The exception is that pages were lost between the headers and the
//! first sound, which their numbers and the damage there show. Then silence takes their place.
//!
//! Opus begins with sound that is not part of the recording (the pre-skip). Granules count it, and
//! it is dropped when the sound has its place.
//!
//! A chained file is a sequence of streams. Streams of other codings (video) are skipped.

mod pages;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::io::Read;

use symphonia::core::codecs::audio::well_known::{CODEC_ID_FLAC, CODEC_ID_OPUS, CODEC_ID_VORBIS};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

pub(super) use self::pages::last_granule;
use self::pages::{Damage, Page, Pages};
use super::downmix::Downmix;
use super::error::AudioError;
use super::opus;
use super::resample::Resampler;

/// The maximum number of bytes of a packet that are kept. Only a comment with pictures is longer.
const MAX_PACKET: usize = 16 << 20;
/// The maximum number of samples of a page that are kept before they are passed on.
const MAX_SAMPLES: usize = 4 << 20;
/// A shorter hole (in seconds) is a rounding error.
const MIN_HOLE: f64 = 0.02;
/// The longest hole, in seconds. At a longer one, the clock was reset.
const MAX_HOLE: f64 = 3_600.0;
/// The maximum number of pages that can be missing before the first one. If there are more, the
/// recording began within a running stream.
const MAX_LOST_AT_START: u64 = 2;
/// The minimum number of bytes of a page.
const MIN_PAGE: u64 = 28;
/// A block is returned once it has this many samples (100 ms).
const BLOCK: usize = 1_600;
/// The maximum number of warnings about one file.
const MAX_NOTES: usize = 8;

/// The sample rate and the number of channels.
type Shape = (u32, usize);

/// What a logical stream is coded as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Codec {
    Vorbis,
    Flac,
    /// With this number of channels.
    Opus(usize),
}

/// A logical stream that is being decoded.
struct Stream {
    serial: u32,
    codec: Codec,
    /// None until the headers are complete.
    decoder: Option<Box<dyn AudioDecoder>>,
    /// The first packet. In Vorbis, a comment and the setup follow it.
    ident: Vec<u8>,
    /// A packet whose end is on the next page.
    partial: Vec<u8>,
    /// A piece of it comes from a damaged page.
    tainted: bool,
    shape: Option<Shape>,
    /// Frames at the beginning that are not part of the recording and have not been dropped yet.
    skip: u64,
    /// The number of the last page that was decoded.
    sequence: u32,
    /// The granule of that page.
    granule: Option<u64>,
    /// The number of frames up to its end.
    position: Option<u64>,
    /// The damaged data that was skipped since then.
    damage: Damage,
    /// Pages are missing before the sound that is placed next.
    gap: bool,
    /// The number of these pages.
    lost_pages: u64,
    /// The last page of the stream was read.
    last: bool,
}

/// An Ogg file that is being decoded.
pub(super) struct Ogg<R> {
    pages: Pages<R>,
    name: String,
    seconds: Option<f64>,
    stream: Option<Stream>,
    /// The streams that began together with it, and their codings.
    others: BTreeMap<u32, &'static str>,
    /// The previous page began a stream.
    beginning: bool,
    rate: u32,
    downmix: Option<Downmix>,
    resampler: Option<Resampler>,
    mono: Vec<f32>,
    /// The number of frames of silence that come next.
    hole: u64,
    /// The sound after that silence.
    held: Option<Vec<f32>>,
    /// The number of samples that were returned.
    given: u64,
    ended: bool,
    // Faults for the warning.
    silent_seconds: f64,
    damaged_packets: u64,
    undeclared_pages: u64,
    late_pages: u64,
    cut: bool,
    jumps: u64,
    /// The recording began within a running stream.
    late: bool,
    notes: Vec<String>,
}

impl<R: Read> Ogg<R> {
    /// Reads up to the first sound. `last` is what [`last_granule`] found, if the end is known.
    pub(super) fn open(reader: R, name: &str, last: Option<(u32, u64)>) -> Result<Self, AudioError> {
        let mut ogg = Ogg {
            pages: Pages::new(reader),
            name: name.into(),
            seconds: None,
            stream: None,
            others: BTreeMap::new(),
            beginning: false,
            rate: 0,
            downmix: None,
            resampler: None,
            mono: Vec::new(),
            hole: 0,
            held: None,
            given: 0,
            ended: false,
            silent_seconds: 0.0,
            damaged_packets: 0,
            undeclared_pages: 0,
            late_pages: 0,
            cut: false,
            jumps: 0,
            late: false,
            notes: Vec::new(),
        };
        let mut out = Vec::new();
        while ogg.held.is_none() && ogg.hole == 0 && !ogg.ended {
            let has_decoder = ogg.stream.as_ref().is_some_and(|stream| stream.decoder.is_some());
            match ogg.pages.next().map_err(|e| read_error(name, e))? {
                Some(page) if !page.first && ogg.stream.is_none() && !ogg.others.is_empty() => {
                    return Err(ogg.no_sound());
                }
                Some(page) => ogg.page(page, &mut out)?,
                None if !has_decoder => return Err(ogg.no_sound()),
                None => ogg.finish(&mut out),
            }
        }
        ogg.seconds = ogg.length(last);
        Ok(ogg)
    }

    /// The length by the last page, if it belongs to the same stream as the first.
    fn length(&self, last: Option<(u32, u64)>) -> Option<f64> {
        let stream = self.stream.as_ref()?;
        let (rate, channels) = stream.shape?;
        let (_, end) = last.filter(|&(serial, _)| serial == stream.serial)?;
        let held = self.held.as_ref().map_or(0, |samples| samples.len() / channels);
        let rest = end.checked_sub(stream.position?)?;
        Some((self.hole + held as u64 + rest) as f64 / f64::from(rate))
    }

    /// The length in seconds that the file declares.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.seconds
    }

    fn no_sound(&self) -> AudioError {
        let name = self.name.clone();
        let audio = self.others.values().find(|codec| codec.contains("audio"));
        match audio.or(self.others.values().next()) {
            Some(codec) if self.stream.is_none() => AudioError::UnknownCodec { name, codec: (*codec).into() },
            _ => AudioError::Broken { name, what: "its Ogg header is damaged or cut off".into() },
        }
    }

    /// Returns the next samples, 16 kHz mono. None at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<Vec<f32>>, AudioError> {
        let mut out = Vec::new();
        while out.len() < BLOCK && !self.ended {
            if self.hole > 0 {
                self.push_silence(&mut out);
            } else if let Some(samples) = self.held.take() {
                self.push(&samples, &mut out);
            } else {
                match self.pages.next() {
                    Ok(Some(page)) => self.page(page, &mut out)?,
                    Ok(None) => self.finish(&mut out),
                    Err(e) => return Err(read_error(&self.name, e)),
                }
            }
        }
        self.given += out.len() as u64;
        Ok(Some(out).filter(|out| !out.is_empty()))
    }

    fn finish(&mut self, out: &mut Vec<f32>) {
        self.ended = true;
        let damage = self.pages.take_damage();
        if let Some(stream) = &mut self.stream {
            stream.damage.add(damage);
        }
        self.cut |= self.pages.cut;
        self.end_stream();
        self.flush(out);
        if let Some(mut resampler) = self.resampler.take() {
            resampler.finish(out);
        }
    }

    /// Adds the warnings about a stream that has ended.
    fn end_stream(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        if stream.decoder.is_none() {
            self.note("a stream in it has a damaged header and was not read".into());
        } else if stream.last && stream.damage.pages > 0 {
            self.note(format!("{} damaged pages after its end were not read", stream.damage.pages));
        } else if !stream.last && stream.damage.bytes > 0 && !self.cut {
            self.note("its end is damaged, and it is not known how much is missing".into());
        } else if !stream.last && !self.late && !self.cut {
            self.note("it has no end mark, so its end may be missing".into());
        }
    }

    fn note(&mut self, text: String) {
        if self.notes.len() < MAX_NOTES && !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    fn page(&mut self, page: Page, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let damage = self.pages.take_damage();
        if let Some(stream) = &mut self.stream {
            stream.damage.add(damage);
        }
        self.cut |= page.cut;
        if page.first && page.intact {
            if !self.beginning {
                self.end_stream();
                self.others.clear();
            }
            self.beginning = true;
            self.begin(&page);
            return Ok(());
        }
        if std::mem::take(&mut self.beginning)
            && self.stream.is_none()
            && let Some(codec) = self.others.values().next()
        {
            self.note(format!("a part of it is {codec}, which is not decoded here"));
        }
        let Some(mut stream) = self.stream.take_if(|stream| stream.serial == page.serial || !page.intact) else {
            self.undeclared_pages += u64::from(page.intact && !self.others.contains_key(&page.serial));
            return Ok(());
        };
        let result = self.page_of(&mut stream, page, out);
        self.stream = Some(stream);
        result
    }

    /// Begins a stream with its first packet.
    fn begin(&mut self, page: &Page) {
        let Some(packet) = page.pieces.first() else {
            return;
        };
        let (codec, decoder, skip) = match opened(packet) {
            Ok(opened) => opened,
            Err(name) => {
                self.others.insert(page.serial, name);
                return;
            }
        };
        if self.stream.is_some() {
            self.others.insert(page.serial, "another sound track");
            self.note("it has another sound track, which was not read".into());
            return;
        }
        self.stream = Some(Stream {
            serial: page.serial,
            codec,
            decoder,
            ident: packet.clone(),
            partial: Vec::new(),
            tainted: false,
            shape: None,
            skip,
            sequence: page.sequence,
            granule: None,
            position: None,
            damage: Damage::default(),
            gap: false,
            lost_pages: 0,
            last: false,
        });
    }

    /// Decodes a page of the stream, or a damaged page that may belong to it.
    fn page_of(&mut self, stream: &mut Stream, page: Page, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let in_header = stream.decoder.is_none();
        // A damaged page of the headers may contain only the comment, which is not needed. If the
        // file ends within a page, the complete packets of that page are good.
        let tried = stream.serial == page.serial && (in_header || page.cut);
        if !page.intact && !tried {
            stream.damage.add(Damage { bytes: page.len as u64, pages: 1 });
            return Ok(());
        }
        let step = if page.intact || page.cut { page.sequence.wrapping_sub(stream.sequence) } else { 1 };
        if step == 0 && page.granule.is_some() && page.granule == stream.granule {
            // This page was read before.
            return Ok(());
        }
        if step > u32::MAX / 2 && page.granule.is_some_and(|end| stream.position.is_some_and(|at| end <= at)) {
            self.late_pages += 1;
            return Ok(());
        }
        stream.sequence = stream.sequence.wrapping_add(step);
        stream.granule = page.granule;
        let lost = if step <= u32::MAX / 2 { u64::from(step.saturating_sub(1)) } else { 0 };
        // If no number is missing, the damage was in other streams.
        let gap = lost > 0 || (step != 1 && stream.damage.bytes > 0);
        if !gap {
            stream.damage = Damage::default();
        }
        if gap || !page.continued {
            stream.partial.clear();
            stream.tainted = false;
        }
        if gap && let Some(decoder) = &mut stream.decoder {
            decoder.reset();
        }
        stream.gap |= gap;
        stream.lost_pages += lost;
        stream.last |= page.last;
        if stream.gap && page.cut {
            // The place of its sound is not known.
            return Ok(());
        }
        let mut samples = Vec::new();
        // The beginning of its first packet is missing.
        let headless = page.continued && stream.partial.is_empty();
        let count = page.pieces.len();
        for (at, piece) in page.pieces.iter().enumerate().skip(usize::from(headless)) {
            stream.tainted |= !page.intact;
            let room = MAX_PACKET - stream.partial.len();
            stream.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if at + 1 == count && page.open {
                break;
            }
            let packet = std::mem::take(&mut stream.partial);
            match stream.packet(packet, &mut samples) {
                Packed::Fine => {}
                Packed::LeftOut => self.damaged_packets += 1,
                Packed::Silent(frames) => self.silent_seconds += frames as f64 / f64::from(opus::RATE),
            }
            if samples.len() >= MAX_SAMPLES {
                self.place(stream, None, false, std::mem::take(&mut samples), out)?;
                self.push_held(out);
            }
        }
        self.place(stream, page.granule, page.last, samples, out)
    }

    /// Places the sound of a page that ends at `granule`. If sound is missing before it, silence
    /// takes its place.
    fn place(
        &mut self,
        stream: &mut Stream,
        granule: Option<u64>,
        last: bool,
        mut samples: Vec<f32>,
        out: &mut Vec<f32>,
    ) -> Result<(), AudioError> {
        let Some((rate, channels)) = stream.shape else {
            return Ok(());
        };
        self.set_format(rate, channels, out)?;
        let len = (samples.len() / channels) as u64;
        let seconds = |frames: u64| frames as f64 / f64::from(rate);
        let (mut skip, mut keep, mut hole) = (0, len, 0);
        match (granule, stream.position) {
            (None, position) => stream.position = position.map(|at| at + len),
            (Some(end), None) if end < len && last => keep = end,
            (Some(end), None) if end < len => skip = len - end,
            (Some(end), None) => {
                let begin = end - len;
                let missing = MAX_LOST_AT_START.max(stream.damage.bytes / MIN_PAGE);
                if stream.gap && stream.lost_pages <= missing && seconds(begin) <= MAX_HOLE {
                    hole = begin;
                } else if begin > 0 {
                    self.late = true;
                    if stream.gap {
                        let begin = seconds(begin);
                        self.note(format!("its clock begins at {begin:.0} seconds; times count from its first sound"));
                    }
                }
            }
            (Some(end), Some(position)) => {
                let late = end.saturating_sub(len).saturating_sub(position);
                if last && (position..position + len).contains(&end) {
                    keep = end - position;
                } else if seconds(late) > MAX_HOLE {
                    self.jumps += 1;
                } else if stream.gap || seconds(late) >= MIN_HOLE {
                    hole = late;
                }
            }
        }
        if granule.is_some() {
            stream.position = granule;
            (stream.gap, stream.lost_pages, stream.damage) = (false, 0, Damage::default());
        }
        samples.truncate(keep as usize * channels);
        samples.drain(..skip as usize * channels);
        let of_hole = hole.min(stream.skip);
        let of_sound = (stream.skip - of_hole).min((samples.len() / channels) as u64);
        stream.skip -= of_hole + of_sound;
        hole -= of_hole;
        samples.drain(..of_sound as usize * channels);
        self.silent_seconds += seconds(hole);
        self.hole = hole;
        self.held = Some(samples).filter(|samples| !samples.is_empty());
        Ok(())
    }

    fn push_held(&mut self, out: &mut Vec<f32>) {
        if let Some(samples) = self.held.take() {
            self.push(&samples, out);
        }
    }

    fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.mono.clear();
        if let (Some(downmix), Some(resampler)) = (&mut self.downmix, &mut self.resampler) {
            downmix.push(samples, &mut self.mono);
            resampler.push(&self.mono, out);
        }
    }

    /// Appends at most a second of the silence that comes next.
    fn push_silence(&mut self, out: &mut Vec<f32>) {
        self.flush(out);
        let len = self.hole.min(u64::from(self.rate));
        self.hole -= len;
        self.mono.clear();
        self.mono.resize(len as usize, 0.0);
        if let Some(resampler) = &mut self.resampler {
            resampler.push(&self.mono, out);
        }
    }

    /// Appends the sound that waits for the rest of its block in the mixer.
    fn flush(&mut self, out: &mut Vec<f32>) {
        self.mono.clear();
        if let (Some(downmix), Some(resampler)) = (&mut self.downmix, &mut self.resampler) {
            downmix.finish(&mut self.mono);
            resampler.push(&self.mono, out);
        }
    }

    /// Makes sure that the mixer and the resampler are for this rate and number of channels. The
    /// streams of a chain may differ.
    fn set_format(&mut self, rate: u32, channels: usize, out: &mut Vec<f32>) -> Result<(), AudioError> {
        if self.rate == rate && self.downmix.as_ref().is_some_and(|downmix| downmix.channels() == channels) {
            return Ok(());
        }
        self.flush(out);
        let old = self.downmix.replace(Downmix::new(rate, channels));
        for warning in old.iter().flat_map(Downmix::warnings) {
            self.note(warning);
        }
        if self.rate == rate && self.resampler.is_some() {
            return Ok(());
        }
        if let Some(mut old) = self.resampler.take() {
            old.finish(out);
        }
        let error = |_| AudioError::Rate { name: self.name.clone(), rate };
        self.resampler = Some(Resampler::new(rate).map_err(error)?);
        self.rate = rate;
        Ok(())
    }

    /// The faults found so far.
    pub(super) fn warning(&self) -> Option<String> {
        let mut all = Vec::new();
        if self.cut {
            all.push(format!("it is cut off after {:.2} seconds", self.given as f64 / 16_000.0));
        }
        if self.silent_seconds > 0.0 {
            all.push(format!(
                "{:.2} seconds are damaged or missing and were replaced with silence",
                self.silent_seconds
            ));
        }
        if self.damaged_packets > 0 {
            all.push(format!("{} damaged packets were left out", self.damaged_packets));
        }
        if self.jumps > 0 {
            all.push(format!("its clock jumps ahead {} times, and the jumps were ignored", self.jumps));
        }
        if self.undeclared_pages > 0 {
            all.push(format!("{} pages belong to no stream that it declares and were not read", self.undeclared_pages));
        }
        if self.late_pages > 0 {
            all.push(format!("{} pages come too late and were left out", self.late_pages));
        }
        all.extend(self.notes.iter().cloned());
        all.extend(self.downmix.iter().flat_map(Downmix::warnings));
        Some(format!("{}: {}", self.name, all.join("; "))).filter(|_| !all.is_empty())
    }
}

fn read_error(name: &str, source: std::io::Error) -> AudioError {
    AudioError::Read { name: name.into(), source }
}

/// What became of a packet.
enum Packed {
    /// It was decoded, or has no sound.
    Fine,
    /// It is damaged, and its length is not known.
    LeftOut,
    /// It is damaged, and silence of so many frames took its place.
    Silent(usize),
}

impl Stream {
    /// Decodes a whole packet and appends its sound.
    fn packet(&mut self, packet: Vec<u8>, samples: &mut Vec<f32>) -> Packed {
        let tainted = std::mem::take(&mut self.tainted);
        let Some(decoder) = &mut self.decoder else {
            // The decoder trusts the packets of its setup.
            if packet.starts_with(b"\x05vorbis") && !tainted {
                self.decoder = decoder(CODEC_ID_VORBIS, &[self.ident.clone(), packet].concat());
            }
            return Packed::Fine;
        };
        let sounds = match self.codec {
            Codec::Vorbis => packet.first().is_some_and(|b| b & 1 == 0),
            Codec::Flac => packet.first() == Some(&0xFF),
            Codec::Opus(_) => !packet.is_empty() && !packet.starts_with(b"OpusTags"),
        };
        if !sounds {
            // This is a comment, or an empty packet.
            return Packed::Fine;
        }
        let opus = match self.codec {
            Codec::Opus(channels) => opus::frames(&packet).map(|frames| (frames, channels)),
            Codec::Vorbis | Codec::Flac => None,
        };
        let Ok(buffer) = decoder.decode(&Packet::new(0, Timestamp::ZERO, Duration::ZERO, packet)) else {
            let Some((frames, channels)) = opus else {
                return Packed::LeftOut;
            };
            self.shape = Some((opus::RATE, channels));
            samples.resize(samples.len() + frames * channels, 0.0);
            return Packed::Silent(frames);
        };
        let spec = buffer.spec();
        let shape = (spec.rate(), spec.channels().count());
        // The header gives the rate and the channels. A packet with others is damaged.
        if shape.0 == 0 || shape.1 == 0 || self.shape.is_some_and(|old| old != shape) {
            return Packed::LeftOut;
        }
        self.shape = Some(shape);
        let mut decoded: Vec<f32> = Vec::new();
        buffer.copy_to_vec_interleaved(&mut decoded);
        samples.extend(decoded);
        Packed::Fine
    }
}

/// A coding, its decoder if that needs no other packets, and the frames to drop at its beginning.
type Opened = (Codec, Option<Box<dyn AudioDecoder>>, u64);

/// Begins a stream by its first packet, or names the coding that is not decoded here.
fn opened(packet: &[u8]) -> Result<Opened, &'static str> {
    if packet.starts_with(b"\x01vorbis") {
        return Ok((Codec::Vorbis, None, 0));
    }
    if packet.starts_with(b"\x7fFLAC") && packet.len() >= 51 {
        return Ok((Codec::Flac, decoder(CODEC_ID_FLAC, &packet[17..51]), 0));
    }
    if packet.starts_with(opus::MAGIC) {
        let head = opus::Head::parse(packet)?;
        let mut params = AudioCodecParameters::new();
        params.for_codec(CODEC_ID_OPUS).with_extra_data(Box::from(packet));
        let decoder = opus::decoder(&params).map_err(|_| "Opus audio")?;
        return Ok((Codec::Opus(head.channels.into()), Some(decoder), head.pre_skip.into()));
    }
    Err(codec_name(packet))
}

fn decoder(codec: AudioCodecId, extra: &[u8]) -> Option<Box<dyn AudioDecoder>> {
    let mut params = AudioCodecParameters::new();
    params.for_codec(codec).with_extra_data(Box::from(extra));
    symphonia::default::get_codecs().make_audio_decoder(&params, &AudioDecoderOptions::default()).ok()
}

/// The name of a coding that is not decoded here, by the first packet of a stream.
fn codec_name(packet: &[u8]) -> &'static str {
    let all: [(&[u8], &str); 6] = [
        (b"Speex   ", "Speex audio"),
        (b"CELT    ", "CELT audio"),
        (b"PCM     ", "PCM audio in Ogg"),
        (b"fLaC", "FLAC audio in an Ogg of before 2004"),
        (b"\x80theora", "Theora video without Vorbis sound"),
        (b"fishead\0", "an Ogg without Vorbis sound"),
    ];
    let known = all.into_iter().find(|(magic, _)| packet.starts_with(magic));
    known.map_or("an unknown coding in Ogg", |(_, name)| name)
}
