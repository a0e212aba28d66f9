//! A track of sound: what it is coded in, where its samples lie, and when they are heard.

use super::atoms::{be_u16, be_u32, be_u64, child, children, u32_table};
use super::coding::{Coding, coding};

/// Fewer ticks of a second are too few for sound: the header is damaged.
const LEAST_TIMESCALE: u32 = 50;
/// Silence that time stamps may ask for beyond every length that the file tells, in seconds.
const UNTOLD_SILENCE: u64 = 60;
/// The same where the file tells no length, as one that was written while it was recorded.
const LATEST_UNTOLD: u64 = 3_600;
/// More edits than an editor makes.
const MOST_EDITS: u32 = 10_000;
/// Frames of uncompressed sound in one packet.
const PCM_FRAMES: u32 = 4_096;

/// A track of sound.
pub(in crate::audio) struct Track {
    pub(super) id: u32,
    pub(in crate::audio) enabled: bool,
    pub(in crate::audio) coding: Coding,
    /// Ticks of a second.
    pub(in crate::audio) timescale: u32,
    pub(super) edits: Vec<Edit>,
    pub(super) samples: Samples,
    /// The length of its own time as its header tells it.
    pub(super) media_len: u64,
    /// The edit list cannot be right, or the lengths do not agree.
    pub(super) damaged: bool,
    /// The last tick that the file speaks of, with some room.
    pub(super) latest: u64,
}

/// A span of the track's own time and when it is heard, in ticks of the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) heard_at: u64,
}

/// One sample, or several of uncompressed sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: u64,
    pub(super) len: u64,
    /// In the track's own time.
    pub(super) begin: u64,
    pub(super) ticks: u64,
}

/// The sample tables.
#[derive(Clone, Default)]
pub(super) struct Samples {
    /// Runs of samples of the same length in time.
    times: Vec<(u32, u32)>,
    sizes: Sizes,
    /// First chunk (from 1) and samples of a chunk from there on.
    chunks: Vec<(u32, u32)>,
    pub(super) offsets: Vec<u64>,
    frame_len: Option<u32>,
}

#[derive(Clone)]
enum Sizes {
    All { size: u32, count: u32 },
    Each(Vec<u32>),
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes::Each(Vec::new())
    }
}

/// Reads a `trak`. None: it is no sound, or says too little to be played. `movie_scale` and
/// `movie_len`: the movie's time scale and its length in it.
pub(super) fn track(trak: &[u8], movie_scale: u32, movie_len: u64) -> Option<Track> {
    let tkhd = child(trak, b"tkhd")?;
    let mdia = child(trak, b"mdia")?;
    if child(mdia, b"hdlr").and_then(|hdlr| hdlr.get(8..12)) != Some(b"soun") {
        return None;
    }
    let mdhd = child(mdia, b"mdhd")?;
    let (timescale, media_len) = match mdhd.first()? {
        1 => (be_u32(mdhd, 20)?, be_u64(mdhd, 24)?),
        _ => (be_u32(mdhd, 12)?, u64::from(be_u32(mdhd, 16)?)),
    };
    if timescale < LEAST_TIMESCALE {
        return None;
    }
    let (id, shown_len) = match tkhd.first()? {
        1 => (be_u32(tkhd, 20)?, be_u64(tkhd, 28)?),
        _ => (be_u32(tkhd, 12)?, u64::from(be_u32(tkhd, 20)?)),
    };
    let stbl = child(child(mdia, b"minf")?, b"stbl")?;
    let coding = coding(child(stbl, b"stsd")?, timescale)?;
    let samples = samples(stbl, coding.frame_len);
    let scaled = |len: u64| match len {
        // All ones: not known.
        len if len == u64::from(u32::MAX) || len == u64::MAX => 0,
        len => rescale(len, movie_scale, timescale),
    };
    let media_len = if media_len >= u64::from(u32::MAX) { 0 } else { media_len };
    // The second longest: one length alone may be damaged.
    let mut told = [media_len, scaled(shown_len), scaled(movie_len)];
    told.sort_unstable();
    let untold = if told[2] == 0 { LATEST_UNTOLD } else { UNTOLD_SILENCE };
    let latest = told[1].saturating_add(untold * u64::from(timescale));
    let edits = match child(trak, b"edts") {
        Some(edts) => child(edts, b"elst").and_then(|elst| edits(elst, movie_scale, timescale, latest)),
        None => Some(Vec::new()),
    };
    let differ = media_len > 0 && samples.ticks() > media_len.saturating_add(u64::from(timescale) / 10);
    let damaged = edits.is_none() || differ;
    let edits = edits.unwrap_or_default();
    Some(Track { id, enabled: tkhd.get(3)? & 1 != 0, coding, timescale, edits, samples, media_len, damaged, latest })
}

/// `ticks` of one scale in another.
fn rescale(ticks: u64, from: u32, to: u32) -> u64 {
    let scaled = u128::from(ticks) * u128::from(to) / u128::from(from.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// The edit list as spans; empty: the track is heard from its beginning to its end. None: it cannot be right.
fn edits(elst: &[u8], movie_scale: u32, timescale: u32, latest: u64) -> Option<Vec<Edit>> {
    let long = elst.first() == Some(&1);
    let entry_len = if long { 20 } else { 12 };
    let count = be_u32(elst, 4).unwrap_or(0).min(MOST_EDITS);
    let entries = elst.get(8..).unwrap_or_default().chunks_exact(entry_len).take(count as usize);
    let (mut heard_at, mut all) = (0u64, Vec::new());
    for entry in entries {
        let read = if long {
            be_u64(entry, 0).zip(be_u64(entry, 8).map(|t| t as i64)).zip(be_u16(entry, 16))
        } else {
            let short = be_u32(entry, 0).map(u64::from).zip(be_u32(entry, 4).map(|t| i64::from(t as i32)));
            short.zip(be_u16(entry, 8))
        };
        let Some(((len, from), speed)) = read else {
            break;
        };
        let ticks = rescale(len, movie_scale, timescale);
        let end = heard_at.saturating_add(ticks);
        if end > latest {
            // The list contradicts every length of the file.
            return None;
        }
        // An edit of no media, or one that stands still, is silence.
        if let Ok(from) = u64::try_from(from)
            && speed != 0
        {
            // No length: up to the track's end.
            let to = if len == 0 { u64::MAX } else { from.saturating_add(ticks) };
            all.push(Edit { from, to, heard_at });
        }
        heard_at = end;
    }
    Some(all)
}

fn samples(stbl: &[u8], frame_len: Option<u32>) -> Samples {
    let mut samples = Samples { frame_len, ..Samples::default() };
    for (kind, table) in children(stbl) {
        let count = be_u32(table, 4).unwrap_or(0);
        match &kind {
            b"stts" => {
                let numbers: Vec<u32> = u32_table(table, 8, count.saturating_mul(2)).collect();
                samples.times = numbers.as_chunks().0.iter().map(|&[run, ticks]| (run, ticks)).collect();
            }
            b"stsc" => {
                let numbers: Vec<u32> = u32_table(table, 8, count.saturating_mul(3)).collect();
                samples.chunks = numbers.as_chunks().0.iter().map(|&[first, each, _]| (first, each)).collect();
            }
            b"stsz" => {
                let of_table = be_u32(table, 8).unwrap_or(0);
                samples.sizes = match count {
                    0 => Sizes::Each(u32_table(table, 12, of_table).collect()),
                    size => Sizes::All { size, count: of_table },
                };
            }
            b"stz2" => samples.sizes = Sizes::Each(compact_sizes(table)),
            b"stco" => samples.offsets = u32_table(table, 8, count).map(u64::from).collect(),
            b"co64" => {
                let numbers: Vec<u32> = u32_table(table, 8, count.saturating_mul(2)).collect();
                let pairs = numbers.as_chunks().0.iter();
                samples.offsets = pairs.map(|&[high, low]| u64::from(high) << 32 | u64::from(low)).collect();
            }
            _ => {}
        }
    }
    samples
}

/// Sizes of 4, 8 or 16 bits each.
fn compact_sizes(stz2: &[u8]) -> Vec<u32> {
    let count = be_u32(stz2, 8).unwrap_or(0) as usize;
    let bytes = stz2.get(12..).unwrap_or_default();
    match stz2.get(7) {
        Some(4) => bytes.iter().flat_map(|&b| [u32::from(b >> 4), u32::from(b & 15)]).take(count).collect(),
        Some(8) => bytes.iter().take(count).map(|&b| u32::from(b)).collect(),
        Some(16) => bytes.as_chunks().0.iter().take(count).map(|&b| u32::from(u16::from_be_bytes(b))).collect(),
        _ => Vec::new(),
    }
}

/// Where in the tables reading is.
#[derive(Clone, Default)]
pub(super) struct Cursor {
    chunk: usize,
    /// The run of `chunks` that `chunk` is in.
    chunk_run: usize,
    in_chunk: u32,
    /// Bytes of the chunk before the next sample.
    offset: u64,
    sample: u32,
    time_run: usize,
    in_time_run: u32,
    begin: u64,
}

impl Samples {
    /// The length of the track's own time in ticks.
    pub(super) fn ticks(&self) -> u64 {
        let runs = self.times.iter().map(|&(count, ticks)| u64::from(count) * u64::from(ticks));
        runs.fold(0, u64::saturating_add)
    }

    /// Whether the tables speak of the same number of samples.
    pub(super) fn agree(&self) -> bool {
        let sized = match &self.sizes {
            Sizes::All { count, .. } => u64::from(*count),
            Sizes::Each(sizes) => sizes.len() as u64,
        };
        let timed: u64 = self.times.iter().map(|&(count, _)| u64::from(count)).sum();
        let ends =
            self.chunks.iter().skip(1).map(|&(first, _)| u64::from(first)).chain([self.offsets.len() as u64 + 1]);
        let runs = self.chunks.iter().zip(ends);
        let in_run = |(&(first, each), end): (&(u32, u32), u64)| end.saturating_sub(first.into()) * u64::from(each);
        let placed = runs.map(in_run).fold(0, u64::saturating_add);
        sized == timed && sized == placed
    }

    /// The next sample. None: there are no more.
    pub(super) fn next(&self, cursor: &mut Cursor) -> Option<Sample> {
        // Which chunk: a chunk without samples is passed over.
        let in_chunk = loop {
            let first = cursor.chunk as u64 + 1;
            while self.chunks.get(cursor.chunk_run + 1).is_some_and(|next| u64::from(next.0) <= first) {
                cursor.chunk_run += 1;
            }
            let each = self.chunks.get(cursor.chunk_run)?.1;
            if cursor.in_chunk < each {
                break each - cursor.in_chunk;
            }
            (cursor.chunk, cursor.in_chunk, cursor.offset) = (cursor.chunk + 1, 0, 0);
            self.offsets.get(cursor.chunk)?;
        };
        let chunk_at = *self.offsets.get(cursor.chunk)?;
        // How long it is heard.
        let (in_run, ticks) = loop {
            let Some(&(count, ticks)) = self.times.get(cursor.time_run) else {
                // The table is too short: what follows is as long as what came last.
                break (u32::MAX, self.times.last()?.1);
            };
            if cursor.in_time_run < count {
                break (count - cursor.in_time_run, ticks);
            }
            (cursor.time_run, cursor.in_time_run) = (cursor.time_run + 1, 0);
        };
        // How many bytes.
        let left = match &self.sizes {
            Sizes::All { count, .. } => count.saturating_sub(cursor.sample),
            Sizes::Each(sizes) => u32::try_from(sizes.len()).unwrap_or(u32::MAX).saturating_sub(cursor.sample),
        };
        let (several, size) = match (self.frame_len, &self.sizes) {
            (Some(frame), _) => (in_chunk.min(in_run).min(left).min(PCM_FRAMES), frame),
            (None, Sizes::All { size, .. }) => (left.min(1), *size),
            (None, Sizes::Each(sizes)) => (left.min(1), sizes.get(cursor.sample as usize).copied().unwrap_or(0)),
        };
        if several == 0 {
            return None;
        }
        let sample = Sample {
            at: chunk_at.saturating_add(cursor.offset),
            len: u64::from(several) * u64::from(size),
            begin: cursor.begin,
            ticks: u64::from(several) * u64::from(ticks),
        };
        cursor.in_chunk += several;
        cursor.sample += several;
        cursor.in_time_run = cursor.in_time_run.saturating_add(several);
        cursor.offset = cursor.offset.saturating_add(sample.len);
        cursor.begin = cursor.begin.saturating_add(sample.ticks);
        Some(sample)
    }
}
