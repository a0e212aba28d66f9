//! Decodes a file packet by packet, and keeps its times right where packets are damaged or missing.

use std::ops::Range;

use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::codecs::audio::well_known::CODEC_ID_MP3;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::packet::Packet;
use symphonia::core::units::TimeBase;

use super::Source;
use super::packets::{
    Packets, is_system_fault, matroska_decoder, mp4_decoder, open_format, open_matroska, open_mp4, pick_track,
};
use crate::audio::downmix::Downmix;
use crate::audio::error::AudioError;
use crate::audio::matroska::{Matroska, SECOND};
use crate::audio::mel::SAMPLE_RATE;
use crate::audio::resample::Resampler;

/// A block is returned once it has this many samples (100 ms), or at the end.
const BLOCK: usize = SAMPLE_RATE as usize / 10;
/// A shorter hole in the time stamps of a file (in seconds) is a rounding error.
const MIN_HOLE: f64 = 0.02;
/// The same for Matroska. The time stamps of live recorders vary by tens of milliseconds.
const MIN_MATROSKA_HOLE: f64 = 0.1;
/// The longest silence that replaces one damaged packet, in seconds.
const MAX_PACKET: f64 = 10.0;
/// The number of packets at the start of a file of which one must be decoded. Otherwise the file is
/// refused.
const MAX_UNDECODED: u64 = 200;
/// A file is complete if less than this (in seconds) is missing at its end.
const END_SLACK: f64 = 0.05;
const LATE_CHOICE: &str = "its sound track must be chosen before it is read";
/// The maximum number of warnings about sound before its channels changed.
const MAX_EARLIER: usize = 8;

/// A file of coded packets that is being decoded.
pub(super) struct Coded {
    packets: Packets,
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
    time_base: Option<TimeBase>,
    /// The number of frames, if the file declares it exactly.
    declared: Option<u64>,
    duration: Option<f64>,
    /// Frames of the encoder delay that have not been dropped yet.
    skip: usize,
    rate: u32,
    resampler: Option<Resampler>,
    downmix: Option<Downmix>,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
    /// Where the next packet should begin, in the time base of the track.
    next_ts: Option<i64>,
    /// Frames decoded so far, silence included.
    frames: u64,
    /// Frames of silence that `frames` counts but that have not been returned yet.
    silent: u64,
    /// The packet after that silence.
    held: Option<Packet>,
    /// Total length of the damaged packets and holes that silence replaced.
    damaged_seconds: f64,
    /// Number of packets that could not be decoded.
    undecoded: u64,
    /// At least one packet was decoded.
    decoded: bool,
    /// Why the first of the undecoded packets could not be decoded.
    failure: Option<String>,
    ended: bool,
    /// Warnings about the sound before its channels changed.
    earlier: Vec<String>,
    /// Why reading stopped before the end of the file.
    stopped: Option<String>,
}

impl Coded {
    pub(super) fn open(source: Source, name: &str, head: &[u8]) -> Result<Self, AudioError> {
        let format = open_format(source, name, head)?;
        let (track, decoder) = pick_track(format.as_ref(), name)?;
        let params = decoder.codec_params();
        let mp3 = params.codec == CODEC_ID_MP3;
        let rate = params.sample_rate.unwrap_or(0);
        // ADTS, and MP3 without a tag, give only an estimate.
        let exact = match format.format_info().short_name {
            "mp1" | "mp2" | "mp3" => track.delay.is_some(),
            "aac" | "adts" => false,
            _ => true,
        };
        let of_frames = track.num_frames.filter(|_| rate > 0).map(|n| n as f64 / f64::from(rate));
        let duration = of_frames.or_else(|| {
            let time = track.time_base?.calc_duration(track.duration?)?;
            Some(time.as_secs_f64()).filter(|&s| s > 0.0)
        });
        Ok(Coded {
            track_id: track.id,
            time_base: track.time_base,
            declared: track.num_frames.filter(|&n| exact && n > 0),
            duration,
            skip: if mp3 { track.delay.unwrap_or(0) as usize } else { 0 },
            ..Coded::new(Packets::Other(format), decoder)
        })
    }

    pub(super) fn open_mp4(source: Source, name: &str) -> Result<Self, AudioError> {
        let (mp4, decoder) = open_mp4(source, name)?;
        let duration = mp4.seconds();
        Ok(Coded { duration, ..Coded::new(Packets::Mp4(Box::new(mp4)), decoder) })
    }

    pub(super) fn open_matroska(source: Source, name: &str) -> Result<Self, AudioError> {
        let (matroska, decoder) = open_matroska(source, name)?;
        let duration = matroska.seconds();
        let skip = matroska.tracks()[matroska.chosen()].skip;
        let this = Coded { duration, ..Coded::new(Packets::Matroska(Box::new(matroska)), decoder) };
        Ok(Coded { skip: this.frames_of(skip), ..this })
    }

    fn new(packets: Packets, decoder: Box<dyn AudioDecoder>) -> Self {
        Coded {
            packets,
            track_id: 0,
            time_base: None,
            declared: None,
            duration: None,
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

    /// The number of sound tracks in the file.
    pub(super) fn tracks(&self) -> usize {
        match &self.packets {
            Packets::Mp4(mp4) => mp4.tracks().len(),
            Packets::Matroska(matroska) => matroska.tracks().len(),
            Packets::Other(_) => 1,
        }
    }

    /// The index of the sound track that is decoded.
    pub(super) fn track(&self) -> usize {
        match &self.packets {
            Packets::Mp4(mp4) => mp4.chosen(),
            Packets::Matroska(matroska) => matroska.chosen(),
            Packets::Other(_) => 0,
        }
    }

    /// The length in seconds that the file declares.
    pub(super) fn duration(&self) -> Option<f64> {
        self.duration
    }

    /// Decodes sound track `index` instead, from its beginning.
    pub(super) fn choose_track(&mut self, index: usize, name: &str) -> Result<(), AudioError> {
        match &mut self.packets {
            Packets::Mp4(mp4) => {
                self.decoder = mp4_decoder(mp4, index, name)?;
                mp4.choose(index);
                self.duration = mp4.seconds();
            }
            Packets::Matroska(matroska) => {
                let decoder = matroska_decoder(matroska, index, name)?;
                if !matroska.choose(index) {
                    return Err(AudioError::Broken { name: name.into(), what: LATE_CHOICE.into() });
                }
                let skip = matroska.tracks()[index].skip;
                self.rate = decoder.codec_params().sample_rate.unwrap_or(0);
                self.decoder = decoder;
                self.skip = self.frames_of(skip);
            }
            Packets::Other(_) => {}
        }
        Ok(())
    }

    fn frames_of(&self, seconds: f64) -> usize {
        (seconds * f64::from(self.rate)).round() as usize
    }

    /// Returns the next samples, 16 kHz mono. None at the end.
    pub(super) fn next_block(&mut self, name: &str) -> Result<Option<Vec<f32>>, AudioError> {
        let mut out = Vec::new();
        while out.len() < BLOCK && (!self.ended || self.silent > 0) {
            if self.silent > 0 {
                self.push_silence(name, &mut out)?;
                continue;
            }
            if let Some(packet) = self.held.take() {
                self.decode(&packet, name, &mut out)?;
                continue;
            }
            match self.packets.next() {
                Ok(Some(packet)) if !matches!(self.packets, Packets::Other(_)) => {
                    self.wait_for(&packet);
                    self.held = Some(packet);
                }
                Ok(Some(packet)) if packet.track_id == self.track_id => {
                    self.fill_hole(&packet);
                    self.held = Some(packet);
                }
                Ok(Some(_)) => {}
                Ok(None) => self.ended = true,
                Err(SymphoniaError::IoError(source)) if self.is_fault(&source) => {
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

    /// True if the source could not be read. Symphonia also makes errors of this kind where a file
    /// ends.
    fn is_fault(&self, e: &std::io::Error) -> bool {
        matches!(self.packets, Packets::Matroska(_)) || is_system_fault(e)
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
        self.set_format(rate, channels, name, out)?;
        let skipped = self.skip.min(self.interleaved.len() / channels);
        self.skip -= skipped;
        let frames = self.interleaved.len() / channels;
        let kept = match &self.packets {
            Packets::Mp4(_) => self.trimmed(packet, frames),
            Packets::Matroska(_) => {
                let after = self.frames_of(self.seconds(packet.trim_end.get()));
                skipped..frames.saturating_sub(after).max(skipped)
            }
            Packets::Other(_) => skipped..frames,
        };
        self.frames += kept.len() as u64;
        self.mono.clear();
        if let (Some(downmix), Some(resampler)) = (&mut self.downmix, &mut self.resampler) {
            downmix.push(&self.interleaved[kept.start * channels..kept.end * channels], &mut self.mono);
            resampler.push(&self.mono, out);
        }
        Ok(())
    }

    /// The frames of a decoded packet that its trims leave.
    fn trimmed(&self, packet: &Packet, len: usize) -> Range<usize> {
        let frames = |ticks: u64| (self.seconds(ticks) * f64::from(self.rate)).round() as usize;
        let begin = frames(packet.trim_start.get()).min(len);
        match packet.trim_end.get() {
            0 => begin..len,
            _ => begin..begin.saturating_add(frames(packet.dur.get())).min(len),
        }
    }

    /// Replaces a packet that cannot be decoded with silence of its length.
    fn replace(&mut self, packet: &Packet, why: SymphoniaError, name: &str) -> Result<(), AudioError> {
        if matches!(why, SymphoniaError::ResetRequired) {
            self.decoder.reset();
        }
        self.undecoded += 1;
        self.failure.get_or_insert_with(|| why.to_string());
        if !self.decoded && self.undecoded >= MAX_UNDECODED {
            return Err(self.undecodable(name));
        }
        let seconds = self.seconds(packet.dur.get()).min(MAX_PACKET);
        if seconds > 0.0 {
            self.damaged_seconds += seconds;
            self.add_silence((seconds * f64::from(self.rate)).round() as u64);
        }
        Ok(())
    }

    /// Appends the sound that waits for the rest of its block in the mixer.
    fn flush(&mut self, out: &mut Vec<f32>) {
        self.mono.clear();
        if let (Some(downmix), Some(resampler)) = (&mut self.downmix, &mut self.resampler) {
            downmix.finish(&mut self.mono);
            resampler.push(&self.mono, out);
        }
    }

    /// Makes sure that the mixer is for `channels` and the resampler for `rate`.
    fn set_format(&mut self, rate: u32, channels: usize, name: &str, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let same = self.rate == rate && self.downmix.as_ref().is_some_and(|d| d.channels() == channels);
        if !same {
            self.flush(out);
            let old = self.downmix.replace(Downmix::new(rate, channels));
            for warning in old.iter().flat_map(Downmix::warnings) {
                if self.earlier.len() < MAX_EARLIER && !self.earlier.contains(&warning) {
                    self.earlier.push(warning);
                }
            }
        }
        self.set_rate(rate, name, out)
    }

    /// Makes sure that the resampler is for `rate`. A chained stream may change the rate.
    fn set_rate(&mut self, rate: u32, name: &str, out: &mut Vec<f32>) -> Result<(), AudioError> {
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

    /// Adds silence where the time stamps jump ahead, because damaged packets were not found. The
    /// declared length is never exceeded.
    fn fill_hole(&mut self, packet: &Packet) {
        let begin = packet.pts.get();
        let expected = self.next_ts.unwrap_or(begin);
        let end = begin.saturating_add(i64::try_from(packet.dur.get()).unwrap_or(0));
        self.next_ts = Some(end.max(expected));
        let hole = u64::try_from(begin.saturating_sub(expected)).unwrap_or(0);
        let seconds = self.seconds(hole);
        if seconds < MIN_HOLE {
            return;
        }
        let room = self.declared.map_or(0, |n| n.saturating_sub(self.frames));
        let frames = ((seconds * f64::from(self.rate)).round() as u64).min(room);
        self.damaged_seconds += frames as f64 / f64::from(self.rate.max(1));
        self.add_silence(frames);
    }

    /// Adds silence up to the time at which the packet of an MP4 or a Matroska file begins.
    fn wait_for(&mut self, packet: &Packet) {
        let begin = self.seconds(u64::try_from(packet.pts.get()).unwrap_or(0));
        let hole = begin - self.frames as f64 / f64::from(self.rate.max(1));
        let min = if matches!(self.packets, Packets::Mp4(_)) { MIN_HOLE } else { MIN_MATROSKA_HOLE };
        if hole >= min {
            self.add_silence((hole * f64::from(self.rate)).round() as u64);
        }
    }

    /// Adds silence before the next packet. It is returned in blocks.
    fn add_silence(&mut self, frames: u64) {
        self.silent = self.silent.saturating_add(frames);
        self.frames = self.frames.saturating_add(frames);
    }

    /// Appends at most a second of the silence that was added.
    fn push_silence(&mut self, name: &str, out: &mut Vec<f32>) -> Result<(), AudioError> {
        self.flush(out);
        self.set_rate(self.rate, name, out)?;
        let len = self.silent.min(u64::from(self.rate));
        self.silent -= len;
        self.mono.clear();
        self.mono.resize(len as usize, 0.0);
        if let Some(resampler) = &mut self.resampler {
            resampler.push(&self.mono, out);
        }
        Ok(())
    }

    /// Converts ticks of the time base of the track to seconds.
    fn seconds(&self, ticks: u64) -> f64 {
        match &self.packets {
            Packets::Mp4(mp4) => return ticks as f64 / f64::from(mp4.timescale()),
            Packets::Matroska(_) => return ticks as f64 / SECOND as f64,
            Packets::Other(_) => {}
        }
        self.time_base.map_or(0.0, |b| ticks as f64 * f64::from(b.numer.get()) / f64::from(b.denom.get()))
    }

    /// The faults of a Matroska file, `present` seconds of which were read.
    fn matroska_faults(&self, matroska: &Matroska<Source>, present: f64) -> Vec<String> {
        let lost = matroska.lost();
        let mut all = Vec::new();
        if self.ended && lost.cut {
            all.push(format!("it ends early, after {present:.2} seconds"));
        }
        if lost.clock > 0 {
            let begin = self.seconds(lost.clock);
            all.push(format!("its clock begins at {begin:.0} seconds; times count from its first sound"));
        }
        if lost.jumps > 0 {
            all.push(format!("its clock jumps ahead {} times, and the jumps were ignored", lost.jumps));
        }
        if lost.places > 0 {
            all.push(format!("it is damaged in {} places", lost.places));
        }
        if lost.another {
            all.push("another recording follows in it, which was not read".into());
        }
        all
    }

    /// The faults found so far.
    pub(super) fn warning(&self, name: &str) -> Option<String> {
        let mut all = Vec::new();
        let rate = f64::from(self.rate.max(1));
        let present = self.frames as f64 / rate;
        let declared = self.declared.map_or(0.0, |n| n as f64 / rate);
        if self.ended && self.rate > 0 && declared - present > END_SLACK {
            all.push(format!("it ends early: {present:.2} of {declared:.2} seconds are present"));
        }
        if let Some(why) = &self.stopped {
            all.push(format!("reading stopped after {present:.2} seconds ({why})"));
        }
        let mut damaged_seconds = self.damaged_seconds;
        if let Packets::Mp4(mp4) = &self.packets {
            let lost = mp4.lost();
            let missing = self.seconds(lost.at_end);
            if self.ended && missing > END_SLACK {
                all.push(format!("it ends early: {present:.2} of {:.2} seconds are present", present + missing));
            } else if self.ended && lost.cut {
                all.push(format!("it ends early, after {present:.2} seconds"));
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
        if let Packets::Matroska(matroska) = &self.packets {
            all.extend(self.matroska_faults(matroska, present));
            damaged_seconds += self.seconds(matroska.lost().within);
        }
        if damaged_seconds > 0.0 {
            all.push(format!("{damaged_seconds:.2} seconds are damaged and were replaced with silence"));
        }
        all.extend(self.earlier.iter().cloned());
        all.extend(self.downmix.iter().flat_map(Downmix::warnings));
        Some(format!("{name}: {}", all.join("; "))).filter(|_| !all.is_empty())
    }
}
