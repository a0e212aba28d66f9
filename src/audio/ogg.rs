//! Ogg with Vorbis or FLAC: pages, their clock, and what is missing between them.
//!
//! ```text
//! page = "OggS" · flags · granule (frames up to its end) · serial · sequence · CRC · lengths · packets
//! ```
//!
//! A page is decoded as a whole, and its place follows from its granule: `granule - frames decoded`. Where
//! that is later than the end of the page before, something is missing, and silence stands for it. So a
//! page that is damaged (its CRC is wrong) or lost costs its own sound and nothing else.
//!
//! The sound begins at 0, whatever the first granule is: a recording of a running stream begins hours
//! after the stream. Only where pages are known to be missing between the headers and the first page, at
//! most [`LOST_AT_START`], silence stands for them.
//!
//! A chained file is a sequence of streams. Pages of other streams (video, a skeleton) are passed over.

use std::io::{ErrorKind, Read};

use symphonia::core::codecs::audio::well_known::{CODEC_ID_FLAC, CODEC_ID_VORBIS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use super::downmix::Downmix;
use super::error::AudioError;
use super::resample::Resampler;

/// Bytes of a page's header without its lengths.
const HEADER: usize = 27;
/// Bytes of the longest header.
const LONGEST_HEADER: usize = HEADER + 255;
/// Bytes of the longest page.
const LONGEST_PAGE: usize = HEADER + 255 + 255 * 255;
/// Bytes asked for in one read.
const READ_LEN: usize = 64 * 1024;
/// A packet may not be longer than this.
const LONGEST_PACKET: usize = 16 << 20;
/// A hole shorter than this (in seconds) is rounding.
const LEAST_HOLE: f64 = 0.02;
/// A hole longer than this (in seconds) is a clock that was set anew.
const LONGEST_HOLE: f64 = 3_600.0;
/// Pages that may be lost before the first one; more are a stream that was running already.
const LOST_AT_START: u32 = 2;
/// A block is given once it has this many samples (1 s).
const BLOCK: usize = 16_000;
/// Frames of silence made at once.
const SILENCE: u64 = 16_000;

#[derive(Clone)]
struct Page {
    continued: bool,
    first: bool,
    last: bool,
    granule: Option<u64>,
    serial: u32,
    sequence: u32,
    /// The CRC is right.
    sound: bool,
    /// The file ends within it.
    cut: bool,
    /// The packets' pieces; the last one may go on in the next page.
    pieces: Vec<Vec<u8>>,
    open: bool,
}

/// Reads pages one after the other.
struct Pages<R> {
    reader: R,
    buffer: Vec<u8>,
    ended: bool,
    /// The file ends within the header of a page.
    cut: bool,
}

impl<R: Read> Pages<R> {
    fn fill(&mut self) -> std::io::Result<()> {
        while !self.ended && self.buffer.len() < LONGEST_PAGE + 4 {
            let at = self.buffer.len();
            self.buffer.resize(at + READ_LEN, 0);
            match self.reader.read(&mut self.buffer[at..]) {
                Ok(len) => {
                    self.buffer.truncate(at + len);
                    self.ended = len == 0;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => self.buffer.truncate(at),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The next page; a damaged one too, if another page or the end stands where it says that it ends.
    fn next(&mut self) -> std::io::Result<Option<Page>> {
        loop {
            self.fill()?;
            let Some(at) = self.buffer.windows(4).position(|w| w == b"OggS") else {
                if self.ended {
                    self.buffer.clear();
                    return Ok(None);
                }
                let used = self.buffer.len() - 3;
                self.buffer.drain(..used);
                continue;
            };
            if at > 0 {
                self.buffer.drain(..at);
                continue;
            }
            let whole = parse(&self.buffer);
            if let Some((page, len)) = whole {
                // A page that reaches beyond the file is cut off, unless its length is damaged.
                let others = page.cut && self.buffer[4..].windows(4).any(|w| w == b"OggS");
                let rest = &self.buffer[len..];
                let followed = !others && (rest.is_empty() || rest.starts_with(b"OggS"));
                if page.sound || followed {
                    self.buffer.drain(..len);
                    return Ok(Some(page));
                }
            }
            self.cut |= self.buffer.len() < LONGEST_HEADER;
            self.buffer.drain(..4);
        }
    }
}

/// The page at the start of `bytes`, as far as it is there, and its length.
fn parse(bytes: &[u8]) -> Option<(Page, usize)> {
    let head = bytes.get(..HEADER)?;
    let le = |at: usize, len: usize| head[at..at + len].iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let lengths = bytes.get(HEADER..HEADER + usize::from(head[26]))?;
    let body = HEADER + lengths.len();
    let end = body + lengths.iter().map(|&n| usize::from(n)).sum::<usize>();
    let len = end.min(bytes.len());
    let cut = len < end;
    let (mut pieces, mut piece, mut at) = (Vec::new(), Vec::new(), body);
    for &n in lengths {
        let Some(part) = bytes.get(at..at + usize::from(n)) else {
            piece.clear();
            break;
        };
        piece.extend_from_slice(part);
        at += part.len();
        if n < 255 {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    let open = !piece.is_empty();
    if open {
        pieces.push(piece);
    }
    let flags = head[5];
    let page = Page {
        continued: flags & 1 != 0,
        first: flags & 2 != 0,
        last: flags & 4 != 0 && !cut,
        granule: Some(le(6, 8)).filter(|&granule| granule < 1 << 62 && !cut),
        serial: le(14, 4) as u32,
        sequence: le(18, 4) as u32,
        sound: !cut && head[4] == 0 && u64::from(crc(&bytes[..len])) == le(22, 4),
        cut,
        pieces,
        open,
    };
    Some((page, len))
}

/// Ogg's CRC-32 of a page, whose own CRC counts as 0.
fn crc(page: &[u8]) -> u32 {
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

/// One logical stream being decoded.
struct Stream {
    serial: u32,
    decoder: Option<Box<dyn AudioDecoder>>,
    /// Header packets: three of Vorbis, one of FLAC.
    headers: Vec<Vec<u8>>,
    vorbis: bool,
    partial: Vec<u8>,
    sequence: Option<u32>,
    /// Pages were damaged or missing since the last one that was decoded.
    gap: bool,
    /// The decoder does not know of the gap yet.
    interrupted: bool,
    lost_pages: u32,
    /// Frames up to the end of the last page, by its granule.
    position: Option<u64>,
    began_late: bool,
    last: bool,
}

/// An Ogg file being decoded.
pub(super) struct Ogg<R> {
    pages: Pages<R>,
    name: String,
    stream: Option<Stream>,
    /// Codings that are not decoded here, of the streams that began together.
    others: Vec<&'static str>,
    /// The last page began streams.
    beginning: bool,
    rate: u32,
    downmix: Option<Downmix>,
    resampler: Option<Resampler>,
    mono: Vec<f32>,
    silent: f64,
    damaged_pages: u64,
    damaged_packets: u64,
    unknown_pages: u64,
    header_damaged: bool,
    cut: bool,
    jumps: u64,
    ended: bool,
    notes: Vec<String>,
    given: u64,
}

impl<R: Read> Ogg<R> {
    /// Reads up to the first page of sound.
    pub(super) fn open(reader: R, name: &str) -> Result<Self, AudioError> {
        let mut ogg = Ogg {
            pages: Pages { reader, buffer: Vec::new(), ended: false, cut: false },
            name: name.into(),
            stream: None,
            others: Vec::new(),
            beginning: false,
            rate: 0,
            downmix: None,
            resampler: None,
            mono: Vec::new(),
            silent: 0.0,
            damaged_pages: 0,
            damaged_packets: 0,
            unknown_pages: 0,
            header_damaged: false,
            cut: false,
            jumps: 0,
            ended: false,
            notes: Vec::new(),
            given: 0,
        };
        let mut out = Vec::new();
        while ogg.stream.as_ref().is_none_or(|stream| stream.decoder.is_none()) {
            let Some(page) = ogg.pages.next().map_err(|e| ogg.read_error(e))? else {
                return Err(ogg.no_sound());
            };
            if !page.first && ogg.stream.is_none() && !ogg.others.is_empty() {
                return Err(ogg.no_sound());
            }
            ogg.page(page, &mut out)?;
        }
        Ok(ogg)
    }

    fn read_error(&self, source: std::io::Error) -> AudioError {
        AudioError::Read { name: self.name.clone(), source }
    }

    fn no_sound(&self) -> AudioError {
        let name = self.name.clone();
        let audio = self.others.iter().find(|codec| codec.ends_with("audio"));
        match audio.or(self.others.first()) {
            Some(codec) if self.stream.is_none() => AudioError::UnknownCodec { name, codec: (*codec).into() },
            _ => AudioError::Broken { name, what: "its Ogg header is damaged or cut off".into() },
        }
    }

    /// The next samples, 16 kHz mono.
    pub(super) fn next_block(&mut self) -> Result<Option<Vec<f32>>, AudioError> {
        let mut out = Vec::new();
        while out.len() < BLOCK && !self.ended {
            match self.pages.next() {
                Ok(Some(page)) => self.page(page, &mut out)?,
                Ok(None) => self.finish(&mut out),
                Err(e) => return Err(self.read_error(e)),
            }
        }
        self.given += out.len() as u64;
        Ok(Some(out).filter(|out| !out.is_empty()))
    }

    fn finish(&mut self, out: &mut Vec<f32>) {
        self.ended = true;
        self.cut |= self.pages.cut;
        self.end_stream();
        self.flush(out);
        if let Some(mut resampler) = self.resampler.take() {
            resampler.finish(out);
        }
    }

    /// What is to be said of a stream that is over.
    fn end_stream(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        if stream.decoder.is_none() {
            self.notes.push("a stream in it has a damaged header and was not read".into());
        } else if stream.gap {
            self.notes.push("its end is damaged; how much is missing there is not known".into());
        } else if !stream.last && !stream.began_late && !self.cut {
            self.notes.push("it has no end mark, so its end may be missing".into());
        }
    }

    fn page(&mut self, page: Page, out: &mut Vec<f32>) -> Result<(), AudioError> {
        if page.cut {
            self.cut = true;
        }
        if page.first && (page.sound || self.stream.is_none()) {
            if !self.beginning && self.stream.is_some() {
                self.end_stream();
                self.others.clear();
            }
            self.beginning = true;
            self.header_damaged |= !page.sound;
            self.begin(&page);
            return Ok(());
        }
        if self.beginning
            && self.stream.is_none()
            && let Some(codec) = self.others.first()
        {
            self.notes.push(format!("a part of it is {codec}, which is not decoded here"));
        }
        self.beginning = false;
        let expected = self.stream.as_ref().is_some_and(|stream| stream.serial == page.serial);
        if !expected && page.sound {
            let other = !self.others.is_empty();
            self.unknown_pages += u64::from(!other);
            return Ok(());
        }
        let Some(mut stream) = self.stream.take() else {
            return Ok(());
        };
        let result = self.page_of(&mut stream, page, out);
        self.stream = Some(stream);
        result
    }

    /// A stream begins, by its first packet.
    fn begin(&mut self, page: &Page) {
        let Some(packet) = page.pieces.first() else {
            return;
        };
        let vorbis = packet.starts_with(b"\x01vorbis");
        let flac = packet.starts_with(b"\x7fFLAC") && packet.len() >= 51;
        if !vorbis && !flac {
            self.others.extend(codec_name(packet));
            return;
        }
        if self.stream.is_some() {
            self.others.push("a second sound track");
            return;
        }
        let mut stream = Stream {
            serial: page.serial,
            decoder: None,
            headers: vec![packet.clone()],
            vorbis,
            partial: Vec::new(),
            sequence: Some(page.sequence),
            gap: false,
            interrupted: false,
            lost_pages: 0,
            position: None,
            began_late: false,
            last: false,
        };
        if flac {
            stream.decoder = decoder(false, &packet[17..51]);
        }
        self.stream = Some(stream);
    }

    /// A page of the stream that is decoded, or a damaged one that may be.
    fn page_of(&mut self, stream: &mut Stream, page: Page, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let in_header = stream.decoder.is_none();
        // A damaged page of the header may still be good enough; without it nothing can be decoded. Of the page
        // in which the file is cut off, the packets that are all there are good, too.
        if !page.sound && !in_header && !page.cut {
            self.damaged_pages += 1;
            (stream.gap, stream.interrupted) = (true, true);
            return Ok(());
        }
        self.header_damaged |= !page.sound && in_header;
        let step = stream.sequence.map_or(1, |last| page.sequence.wrapping_sub(last));
        stream.sequence = Some(page.sequence);
        if step > 1 && step < u32::MAX / 2 {
            (stream.gap, stream.interrupted) = (true, true);
            stream.lost_pages = stream.lost_pages.saturating_add(step - 1);
        }
        if stream.interrupted || !page.continued {
            stream.partial.clear();
        }
        if std::mem::take(&mut stream.interrupted)
            && let Some(decoder) = &mut stream.decoder
        {
            decoder.reset();
        }
        let headless = page.continued && stream.partial.is_empty();
        let count = page.pieces.len();
        let mut sound = Decoded::default();
        for (at, piece) in page.pieces.iter().enumerate() {
            if at == 0 && headless && !in_header {
                continue;
            }
            if stream.partial.len() + piece.len() > LONGEST_PACKET {
                stream.partial.clear();
                continue;
            }
            stream.partial.extend_from_slice(piece);
            if at + 1 == count && page.open {
                break;
            }
            let packet = std::mem::take(&mut stream.partial);
            self.damaged_packets += u64::from(!stream.packet(packet, &mut sound));
        }
        stream.last |= page.last;
        self.place(stream, &page, sound, out)
    }

    /// Puts a page's sound where its granule says, after silence where something is missing.
    fn place(&mut self, stream: &mut Stream, page: &Page, sound: Decoded, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let (rate, channels) = (sound.rate, sound.channels);
        if rate == 0 || channels == 0 {
            return Ok(());
        }
        self.in_shape(rate, channels, out)?;
        let len = (sound.samples.len() / channels) as u64;
        let seconds = |frames: u64| frames as f64 / f64::from(rate);
        let (mut skip, mut keep, mut hole) = (0, len, 0);
        match (page.granule, stream.position) {
            (None, position) => stream.position = position.map(|at| at + len),
            (Some(end), None) => {
                if end < len && page.last {
                    keep = end;
                } else if end < len {
                    skip = len - end;
                } else if stream.gap && stream.lost_pages <= LOST_AT_START {
                    hole = end - len;
                } else {
                    stream.began_late = end > len;
                }
                stream.position = Some(end);
            }
            (Some(end), Some(position)) => {
                let begin = end.saturating_sub(len);
                if end >= position && end < position + len && page.last {
                    keep = end - position;
                } else if begin > position && seconds(begin - position) > LONGEST_HOLE {
                    self.jumps += 1;
                } else if begin > position && (stream.gap || seconds(begin - position) >= LEAST_HOLE) {
                    hole = begin - position;
                }
                stream.position = Some(end);
            }
        }
        (stream.gap, stream.lost_pages) = (false, 0);
        if hole > 0 {
            self.silent += seconds(hole);
            self.silence(hole, out);
        }
        let kept = &sound.samples[skip.min(keep) as usize * channels..keep as usize * channels];
        self.mono.clear();
        if let (Some(downmix), Some(resampler)) = (&mut self.downmix, &mut self.resampler) {
            downmix.push(kept, &mut self.mono);
            resampler.push(&self.mono, out);
        }
        Ok(())
    }

    fn silence(&mut self, frames: u64, out: &mut Vec<f32>) {
        self.flush(out);
        let mut left = frames;
        while let Some(resampler) = &mut self.resampler
            && left > 0
        {
            let len = left.min(SILENCE);
            self.mono.clear();
            self.mono.resize(len as usize, 0.0);
            resampler.push(&self.mono, out);
            left -= len;
        }
    }

    /// Gives the sound that waits for the rest of its block.
    fn flush(&mut self, out: &mut Vec<f32>) {
        self.mono.clear();
        if let (Some(downmix), Some(resampler)) = (&mut self.downmix, &mut self.resampler) {
            downmix.finish(&mut self.mono);
            resampler.push(&self.mono, out);
        }
    }

    fn in_shape(&mut self, rate: u32, channels: usize, out: &mut Vec<f32>) -> Result<(), AudioError> {
        if self.rate == rate && self.downmix.as_ref().is_some_and(|d| d.channels() == channels) {
            return Ok(());
        }
        self.flush(out);
        if let Some(mut old) = self.resampler.take() {
            old.finish(out);
        }
        let old = self.downmix.replace(Downmix::new(rate, channels));
        self.notes.extend(old.and_then(|old| old.warning()));
        let error = |_| AudioError::Rate { name: self.name.clone(), rate };
        self.resampler = Some(Resampler::new(rate).map_err(error)?);
        self.rate = rate;
        Ok(())
    }

    pub(super) fn warning(&self) -> Option<String> {
        let mut all = Vec::new();
        if self.cut {
            all.push(format!("it is cut off after {:.2} seconds", self.given as f64 / 16_000.0));
        }
        if self.header_damaged {
            all.push("its header is damaged, and the sound may be wrong".into());
        }
        if self.silent > 0.0 {
            all.push(format!("{:.2} seconds are damaged or missing and were taken as silence", self.silent));
        } else if self.damaged_pages > 0 {
            all.push(format!("{} damaged parts were left out", self.damaged_pages));
        }
        if self.damaged_packets > 0 {
            all.push(format!("{} damaged packets were left out", self.damaged_packets));
        }
        if self.jumps > 0 {
            all.push(format!("its clock jumps ahead {} times, which was not followed", self.jumps));
        }
        if self.unknown_pages > 0 {
            all.push(format!("{} pages belong to no stream that it declares and were not read", self.unknown_pages));
        }
        all.extend(self.notes.iter().cloned());
        if let Some(downmix) = &self.downmix {
            all.extend(downmix.warning());
        }
        Some(format!("{}: {}", self.name, all.join("; "))).filter(|_| !all.is_empty())
    }
}

/// What the packets of a page decode to.
#[derive(Default)]
struct Decoded {
    samples: Vec<f32>,
    rate: u32,
    channels: usize,
}

impl Stream {
    /// Takes a whole packet; false if it is damaged.
    fn packet(&mut self, packet: Vec<u8>, sound: &mut Decoded) -> bool {
        let Some(decoder) = &mut self.decoder else {
            self.headers.push(packet);
            if let [ident, _, setup] = &self.headers[..] {
                self.decoder = decoder(true, &[&ident[..], setup].concat());
                return self.decoder.is_some();
            }
            return self.headers.len() < 3;
        };
        let sounds = match self.vorbis {
            true => packet.first().is_some_and(|b| b & 1 == 0),
            false => packet.first() == Some(&0xFF),
        };
        if !sounds {
            // A comment, or an empty packet.
            return true;
        }
        let Ok(buffer) = decoder.decode(&Packet::new(0, Timestamp::ZERO, Duration::ZERO, packet)) else {
            return false;
        };
        let spec = buffer.spec();
        (sound.rate, sound.channels) = (spec.rate(), spec.channels().count());
        let mut samples: Vec<f32> = Vec::new();
        buffer.copy_to_vec_interleaved(&mut samples);
        sound.samples.extend(samples);
        true
    }
}

fn decoder(vorbis: bool, extra: &[u8]) -> Option<Box<dyn AudioDecoder>> {
    let mut params = AudioCodecParameters::new();
    params.for_codec(if vorbis { CODEC_ID_VORBIS } else { CODEC_ID_FLAC }).with_extra_data(Box::from(extra));
    symphonia::default::get_codecs().make_audio_decoder(&params, &AudioDecoderOptions::default()).ok()
}

/// The coding of a stream that is not decoded here, by its first packet.
fn codec_name(packet: &[u8]) -> Option<&'static str> {
    let all: [(&[u8], &str); 7] = [
        (b"OpusHead", "Opus audio"),
        (b"Speex   ", "Speex audio"),
        (b"CELT    ", "CELT audio"),
        (b"PCM     ", "PCM audio in Ogg"),
        (b"\x80theora", "Theora video without Vorbis sound"),
        (b"fishead\0", "an Ogg without Vorbis sound"),
        (b"", "an unknown coding in Ogg"),
    ];
    all.into_iter().find(|(magic, _)| packet.starts_with(magic)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::fixture;
    use std::io::Cursor;

    fn file() -> Vec<u8> {
        std::fs::read(fixture("audio/stereo_44k.ogg")).unwrap()
    }

    /// Where pages begin.
    fn places(bytes: &[u8]) -> Vec<usize> {
        (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"OggS")).collect()
    }

    /// The file with one packet of sound in a page, as many pages as there are packets.
    fn small_pages() -> Vec<u8> {
        let mut pages = Pages { reader: Cursor::new(file()), buffer: Vec::new(), ended: false, cut: false };
        let (mut out, mut sequence, mut granule, mut before) = (Vec::new(), 0, 0, None);
        while let Some(page) = pages.next().unwrap() {
            for piece in page.pieces {
                let sound = piece[0] & 1 == 0;
                // Long and short blocks of this file: 2048 and 256.
                let block = if piece.len() > 60 { 2_048 } else { 256 };
                granule += before.filter(|_| sound).map_or(0, |before: u64| before / 4 + block / 4);
                before = Some(block).filter(|_| sound);
                let flags = if sequence == 0 { 2 } else { 0 };
                out.extend(page_of(flags, granule, page.serial, sequence, &piece));
                sequence += 1;
            }
        }
        out
    }

    fn page_of(flags: u8, granule: u64, serial: u32, sequence: u32, packet: &[u8]) -> Vec<u8> {
        let lengths: Vec<u8> = (0..=packet.len() / 255).map(|n| (packet.len() - n * 255).min(255) as u8).collect();
        let mut page = [b"OggS\0".as_slice(), &[flags], &granule.to_le_bytes(), &serial.to_le_bytes()].concat();
        page.extend(sequence.to_le_bytes());
        page.extend([0; 4]);
        page.push(lengths.len() as u8);
        page.extend(lengths);
        page.extend(packet);
        sealed(page)
    }

    fn sealed(mut page: Vec<u8>) -> Vec<u8> {
        let sum = crc(&page).to_le_bytes();
        page[22..26].copy_from_slice(&sum);
        page
    }

    fn decode(bytes: Vec<u8>) -> Result<(Vec<f32>, Option<String>), AudioError> {
        let mut ogg = Ogg::open(Cursor::new(bytes), "talk.ogg")?;
        let mut all = Vec::new();
        while let Some(block) = ogg.next_block()? {
            all.extend(block);
        }
        Ok((all, ogg.warning()))
    }

    #[test]
    fn a_whole_file_is_read_without_a_word() {
        let (got, warning) = decode(file()).unwrap();
        assert!((4_700..=4_810).contains(&got.len()), "{}", got.len());
        assert_eq!(warning, None);
        let (twice, warning) = decode([file(), file()].concat()).unwrap();
        assert_eq!((twice.len(), warning), (2 * got.len(), None));
    }

    #[test]
    fn a_stream_that_was_running_begins_at_zero() {
        let want = decode(file()).unwrap().0;
        let mut bytes = file();
        let places = places(&bytes);
        for (n, &at) in places.iter().enumerate() {
            let end = places.get(n + 1).copied().unwrap_or(bytes.len());
            let granule = u64::from_le_bytes(bytes[at + 6..at + 14].try_into().unwrap());
            if granule > 0 {
                bytes[at + 6..at + 14].copy_from_slice(&(granule + 441_000).to_le_bytes());
            }
            let page = sealed(bytes[at..end].to_vec());
            bytes[at..end].copy_from_slice(&page);
        }
        let (got, warning) = decode(bytes).unwrap();
        assert!(got.len().abs_diff(want.len()) < 300, "{} {}", got.len(), want.len());
        assert_eq!(warning, None);
    }

    #[test]
    fn a_damaged_page_is_silence_of_its_length() {
        let bytes = small_pages();
        let (want, _) = decode(bytes.clone()).unwrap();
        let places = places(&bytes);
        assert!(places.len() > 12, "{}", places.len());
        for n in 4..places.len() - 1 {
            let (at, end) = (places[n], places[n + 1]);
            // A bit anywhere in the page: its mark, granule, serial, lengths, packets.
            for by in [0, 5, 7, 15, 19, 23, 26, 27, 30, end - at - 1] {
                let mut damaged = bytes.clone();
                damaged[at + by] ^= 1;
                let (got, warning) = decode(damaged).unwrap();
                assert!(got.len().abs_diff(want.len()) <= 1, "page {n}, byte {by}: {} of {}", got.len(), want.len());
                assert!(warning.unwrap().contains("damaged"), "page {n}, byte {by}");
            }
            let (got, warning) = decode([&bytes[..at], &bytes[end..]].concat()).unwrap();
            assert!(got.len().abs_diff(want.len()) <= 1, "without page {n}");
            assert!(warning.unwrap().contains("missing"));
        }
    }

    #[test]
    fn a_cut_file_says_so_and_gives_what_is_there() {
        let bytes = small_pages();
        let whole = decode(bytes.clone()).unwrap().0.len();
        let sound_at = places(&bytes)[3];
        for end in (sound_at + 400..bytes.len()).step_by(97) {
            let Ok((got, warning)) = decode(bytes[..end].to_vec()) else {
                panic!("cut at {end}: refused");
            };
            assert!(got.len() <= whole);
            assert!(warning.is_some(), "cut at {end}");
        }
        assert!(decode(bytes[..sound_at - 10].to_vec()).is_err());
    }

    #[test]
    fn what_is_not_decoded_is_named() {
        for (packet, name) in [
            (b"OpusHead\x01\x01".as_slice(), "Opus audio"),
            (b"Speex   1.2", "Speex audio"),
            (b"\x80theora\x03", "Theora"),
            (b"fishead\0", "without Vorbis"),
        ] {
            let bytes = [page_of(2, 0, 7, 0, packet), page_of(0, 0, 7, 1, b"comment")].concat();
            let error = decode(bytes).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("ffmpeg"), "{error}");
        }
        let skeleton = page_of(2, 0, 6, 0, b"fishead\0");
        let speex = page_of(2, 0, 7, 0, b"Speex   1.2");
        let bytes = [skeleton.clone(), speex.clone(), page_of(0, 0, 7, 1, b"x")].concat();
        assert!(decode(bytes).unwrap_err().to_string().contains("Speex audio"));
        // Beside sound that is decoded, it is passed over; behind it, it is a warning.
        let (want, _) = decode(file()).unwrap();
        let (got, warning) = decode([skeleton, file()].concat()).unwrap();
        assert_eq!((got, warning), (want.clone(), None));
        let (got, warning) = decode([file(), speex, page_of(0, 0, 7, 1, b"x")].concat()).unwrap();
        assert_eq!(got, want);
        assert!(warning.unwrap().contains("Speex audio"));
    }
}
