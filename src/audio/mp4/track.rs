//! A sound track: its coding, and the places and times of its samples.

use super::atoms::{be_u16, be_u32, be_u64, child, children, u32_table};
use super::coding::{Coding, coding};

/// A header with fewer ticks per second than this is damaged.
const MIN_TIMESCALE: u32 = 50;
/// The longest silence, in seconds, that time stamps may add beyond the declared length.
const MAX_EXTRA: u64 = 60;
/// The same for a file that declares no length, because it was written while it was recorded.
const MAX_UNDECLARED: u64 = 3_600;
/// The maximum number of edits.
const MAX_EDITS: u32 = 10_000;
/// The number of frames in one packet of uncompressed sound.
const PCM_FRAMES: u32 = 4_096;

/// A sound track.
pub(in crate::audio) struct Track {
    pub(super) id: u32,
    pub(in crate::audio) enabled: bool,
    pub(in crate::audio) coding: Coding,
    /// Ticks per second.
    pub(in crate::audio) timescale: u32,
    pub(super) edits: Vec<Edit>,
    pub(super) samples: Samples,
    /// The length in its own time that its header declares.
    pub(super) media_len: u64,
    /// True if the edit list is wrong, or if the lengths do not agree.
    pub(super) damaged: bool,
    /// The last possible tick: the end that the file declares, and some room.
    pub(super) latest: u64,
}

/// A span of the track's own time, and the time at which it is played, in ticks of the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) plays_at: u64,
}

/// One sample, or several of uncompressed sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: u64,
    pub(super) len: u64,
    /// The beginning in the track's own time.
    pub(super) begin: u64,
    pub(super) ticks: u64,
}

/// The sample tables.
#[derive(Clone, Default)]
pub(super) struct Samples {
    /// Runs of samples of the same length: the number of samples, and ticks per sample.
    times: Vec<(u32, u32)>,
    sizes: Sizes,
    /// The first chunk (from 1) of a run of chunks, and the number of samples in each of them.
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

/// Reads a `trak`. None if it is not sound, or if fields are missing that playing needs.
/// `movie_scale` is the time scale of the movie, and `movie_len` its length in that scale.
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
    if timescale < MIN_TIMESCALE {
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
        // All ones mean that the length is not known.
        len if len == u64::from(u32::MAX) || len == u64::MAX => 0,
        len => rescale(len, movie_scale, timescale),
    };
    let media_len = if media_len >= u64::from(u32::MAX) { 0 } else { media_len };
    // The second longest length is used, because one of them may be damaged.
    let mut declared = [media_len, scaled(shown_len), scaled(movie_len)];
    declared.sort_unstable();
    let extra = if declared[2] == 0 { MAX_UNDECLARED } else { MAX_EXTRA };
    let latest = declared[1].saturating_add(extra * u64::from(timescale));
    let edits = match child(trak, b"edts") {
        Some(edts) => child(edts, b"elst").and_then(|elst| edits(elst, movie_scale, timescale, latest)),
        None => Some(Vec::new()),
    };
    let differ = media_len > 0 && samples.ticks() > media_len.saturating_add(u64::from(timescale) / 10);
    let damaged = edits.is_none() || differ;
    let edits = edits.unwrap_or_default();
    Some(Track { id, enabled: tkhd.get(3)? & 1 != 0, coding, timescale, edits, samples, media_len, damaged, latest })
}

/// Converts `ticks` of one scale to another.
fn rescale(ticks: u64, from: u32, to: u32) -> u64 {
    let scaled = u128::from(ticks) * u128::from(to) / u128::from(from.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Reads the edit list. If it is empty, the track is played from its beginning to its end. None if
/// the list is wrong.
fn edits(elst: &[u8], movie_scale: u32, timescale: u32, latest: u64) -> Option<Vec<Edit>> {
    let long = elst.first() == Some(&1);
    let entry_len = if long { 20 } else { 12 };
    let count = be_u32(elst, 4).unwrap_or(0).min(MAX_EDITS);
    let entries = elst.get(8..).unwrap_or_default().chunks_exact(entry_len).take(count as usize);
    let (mut plays_at, mut all) = (0u64, Vec::new());
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
        let end = plays_at.saturating_add(ticks);
        if end > latest {
            // The list contradicts every length of the file.
            return None;
        }
        // An edit without media, or with a speed of 0, is silence.
        if let Ok(from) = u64::try_from(from)
            && speed != 0
        {
            // An edit without a length reaches to the end of the track.
            let to = if len == 0 { u64::MAX } else { from.saturating_add(ticks) };
            all.push(Edit { from, to, plays_at });
        }
        plays_at = end;
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

/// Reads sizes of 4, 8 or 16 bits each.
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

/// A position in the sample tables.
#[derive(Clone, Default)]
pub(super) struct Cursor {
    chunk: usize,
    /// The run of `chunks` that contains `chunk`.
    chunk_run: usize,
    in_chunk: u32,
    /// The number of bytes of the chunk before the next sample.
    offset: u64,
    sample: u32,
    time_run: usize,
    in_time_run: u32,
    begin: u64,
}

impl Samples {
    /// The length of the track in its own ticks.
    pub(super) fn ticks(&self) -> u64 {
        let runs = self.times.iter().map(|&(count, ticks)| u64::from(count) * u64::from(ticks));
        runs.fold(0, u64::saturating_add)
    }

    /// True if the tables have the same number of samples.
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

    /// The next sample. None if there are no more.
    pub(super) fn next(&self, cursor: &mut Cursor) -> Option<Sample> {
        // Find the chunk. A chunk without samples is skipped.
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
        // Find the length in ticks.
        let (in_run, ticks) = loop {
            let Some(&(count, ticks)) = self.times.get(cursor.time_run) else {
                // If the table is too short, the other samples are as long as the last one.
                break (u32::MAX, self.times.last()?.1);
            };
            if cursor.in_time_run < count {
                break (count - cursor.in_time_run, ticks);
            }
            (cursor.time_run, cursor.in_time_run) = (cursor.time_run + 1, 0);
        };
        // Find the number of bytes.
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
