//! MP4, M4A and QuickTime files: packets of one sound track, each with the time at which it is heard.
//!
//! ```text
//! atoms      lengths and names, none of them trusted
//! coding     stsd, esds, wave, pcmC       → what decodes the track
//! track      stts, stsc, stsz, stco, elst → where samples lie and when they are heard
//! fragment   moof: tfhd, tfdt, trun       → the same for a file that was written as it was recorded
//! ```
//!
//! Times are the file's: an edit list or a fragment's time may begin the sound late, leave holes in it, or cut
//! off an encoder's delay. What a damaged table hides is counted in [`Mp4::lost`], never passed over in silence.

mod atoms;
mod coding;
mod fragment;
#[cfg(test)]
mod tests;
mod track;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use symphonia::core::io::MediaSource;
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

pub(super) use atoms::is_mp4;
use atoms::{Bytes, be_u32, be_u64, child, children};
use fragment::{Defaults, Fragments};
pub(super) use track::Track;
use track::{Cursor, Edit, Sample, track};

/// A longer index is a broken length.
const MOST_INDEX: usize = 1 << 28;
/// A longer packet is a broken length.
const MOST_PACKET: u64 = 1 << 24;
/// More atoms than a file has that is not fragmented.
const MOST_ATOMS: usize = 10_000;
/// A decoder hears this much before the first tick that is wanted, in parts of a second.
const PREROLL: u64 = 10;
/// Bytes that are given at most, as a multiple of the file's length: tables may point to the same bytes.
const MOST_REPEATS: u64 = 16;

/// An MP4 file, open to read one of its sound tracks.
pub(super) struct Mp4 {
    bytes: Bytes,
    tracks: Vec<Track>,
    track: usize,
    /// What fragments of each track have where they do not say.
    defaults: Vec<(u32, Defaults)>,
    /// Spans of the track's time that are still to be heard, the present one first.
    edits: VecDeque<Edit>,
    cursor: Cursor,
    fragments: Option<Fragments>,
    movie_seconds: f64,
    bytes_left: u64,
    /// Ticks that the file speaks of behind its last sample.
    short: u64,
    lost: Lost,
}

/// What could not be had, in ticks of the track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Before sound that could be had.
    pub(super) within: u64,
    /// Behind the last sound that could be had.
    pub(super) at_end: u64,
    /// The file ends within an atom.
    pub(super) cut: bool,
    /// Parts of the index contradict themselves.
    pub(super) index: bool,
    /// The clock of a running stream when the file begins; times count from there.
    pub(super) clock: u64,
}

/// Why a file cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    Io(io::Error),
    /// There is no index (`moov`).
    NoIndex,
    /// There is one, and no sound track in it.
    NoTrack,
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

impl Mp4 {
    /// Finds the index and the sound tracks; the first of them is chosen.
    pub(super) fn open(source: Box<dyn MediaSource>) -> Result<Mp4, OpenError> {
        let mut bytes = Bytes::new(source)?;
        let (mut moov, mut first_moof, mut prefix) = (None, None, 0);
        let mut mdats: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        for _ in 0..MOST_ATOMS {
            let Some(atom) = bytes.top_atom(at)? else {
                break;
            };
            match &atom.kind {
                b"ftyp" if first_moof.is_none() && mdats.is_empty() => prefix = atom.at,
                b"moov" if moov.is_none() => {
                    let len = usize::try_from(atom.end - atom.body).unwrap_or(MOST_INDEX).min(MOST_INDEX);
                    moov = Some(bytes.read(atom.body, len)?);
                }
                b"moof" => first_moof = first_moof.or(Some(atom.at)),
                b"mdat" => mdats.push(atom.body..atom.end),
                _ => {}
            }
            if moov.is_some() && first_moof.is_some() {
                break;
            }
            at = atom.end;
        }
        let moov = moov.ok_or(OpenError::NoIndex)?;
        let movie = Movie::of(&moov);
        let traks = children(&moov).filter(|(kind, _)| kind == b"trak");
        let mut tracks: Vec<Track> = traks.filter_map(|(_, trak)| track(trak, movie.scale, movie.len)).collect();
        if tracks.is_empty() {
            return Err(OpenError::NoTrack);
        }
        // Bytes that were put before a finished file move its sound, not the offsets in its index.
        let within = |at: u64| mdats.iter().any(|mdat| mdat.contains(&at));
        let first = tracks.iter().filter_map(|track| track.samples.offsets.iter().min()).min().copied();
        if let Some(first) = first
            && !within(first)
            && within(first.saturating_add(prefix))
        {
            let offsets = tracks.iter_mut().flat_map(|track| &mut track.samples.offsets);
            offsets.for_each(|offset| *offset = offset.saturating_add(prefix));
        }
        let mut mp4 = Mp4 {
            bytes_left: bytes.len.saturating_mul(MOST_REPEATS),
            bytes,
            tracks,
            track: 0,
            defaults: movie.defaults,
            edits: VecDeque::new(),
            cursor: Cursor::default(),
            fragments: first_moof.map(Fragments::from),
            movie_seconds: movie.len as f64 / f64::from(movie.scale.max(1)),
            short: 0,
            lost: Lost::default(),
        };
        mp4.choose(0);
        Ok(mp4)
    }

    /// The sound tracks, in the file's order.
    pub(super) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Reads track `index` from its beginning.
    pub(super) fn choose(&mut self, index: usize) {
        self.track = index.min(self.tracks.len() - 1);
        let track = &self.tracks[self.track];
        let mut edits = VecDeque::from(track.edits.clone());
        if self.fragments.is_some() {
            // The list was written before the fragments: it says where they begin, not where they end.
            edits.truncate(1);
            edits.iter_mut().for_each(|edit| edit.to = u64::MAX);
        } else if edits.iter().all(|edit| edit.from >= track.samples.ticks()) {
            edits.clear();
        }
        if edits.is_empty() {
            edits.push_back(Edit { from: 0, to: u64::MAX, heard_at: 0 });
        }
        self.lost = Lost::default();
        if self.fragments.is_none() {
            let ticks = track.samples.ticks();
            let wanted = edits.iter().map(|edit| edit.to).max().unwrap_or(0).min(track.media_len);
            self.lost.index = track.damaged || !track.samples.agree();
            self.short = wanted.saturating_sub(ticks);
        }
        (self.edits, self.cursor) = (edits, Cursor::default());
    }

    /// The index of the chosen track.
    pub(super) fn chosen(&self) -> usize {
        self.track
    }

    /// Ticks of a second in the chosen track.
    pub(super) fn timescale(&self) -> u32 {
        self.tracks[self.track].timescale
    }

    /// When the chosen track ends as the file tells it, in seconds.
    pub(super) fn seconds(&self) -> Option<f64> {
        if self.fragments.is_some() {
            return Some(self.movie_seconds).filter(|&seconds| seconds > 0.0);
        }
        let track = &self.tracks[self.track];
        let ends =
            self.edits.iter().map(|edit| edit.heard_at + edit.to.min(track.samples.ticks()).saturating_sub(edit.from));
        Some(ends.max()? as f64 / f64::from(track.timescale))
    }

    /// What could not be had so far.
    pub(super) fn lost(&self) -> Lost {
        let mut lost = self.lost.clone();
        lost.at_end += self.short;
        if let Some(fragments) = &self.fragments {
            lost.within += fragments.lost;
            lost.index |= fragments.damaged;
            lost.cut |= fragments.cut;
            lost.clock = fragments.clock;
        }
        lost
    }

    /// The next packet with the time at which it is heard; what is not to be heard of it is in its trims.
    pub(super) fn next_packet(&mut self) -> io::Result<Option<Packet>> {
        while let Some((edit, sample)) = self.next_sample()? {
            let end = sample.begin.saturating_add(sample.ticks);
            let preroll = u64::from(self.timescale()) / PREROLL;
            if end.saturating_add(preroll) <= edit.from {
                continue;
            }
            let before = edit.from.saturating_sub(sample.begin).min(sample.ticks);
            let behind = end.saturating_sub(edit.to).min(sample.ticks - before);
            let heard = sample.ticks - before - behind;
            let data = match sample.at.checked_add(sample.len) {
                Some(end) if end <= self.bytes.len && sample.len <= MOST_PACKET.min(self.bytes_left) => {
                    self.bytes.read(sample.at, sample.len as usize)?
                }
                _ => Vec::new(),
            };
            if data.is_empty() || data.len() as u64 != sample.len {
                self.lost.at_end += heard;
                continue;
            }
            self.bytes_left -= sample.len;
            self.lost.within += std::mem::take(&mut self.lost.at_end);
            let latest = if self.fragments.is_some() { u64::MAX } else { self.tracks[self.track].latest };
            let heard_at = edit.heard_at.saturating_add(sample.begin.saturating_sub(edit.from)).min(latest);
            let pts = Timestamp::new(i64::try_from(heard_at).unwrap_or(i64::MAX));
            let mut packet = Packet::new(self.tracks[self.track].id, pts, Duration::new(heard), data);
            (packet.trim_start, packet.trim_end) = (Duration::new(before), Duration::new(behind));
            return Ok(Some(packet));
        }
        Ok(None)
    }

    /// The next sample, and the span of the track's time that it is heard in.
    fn next_sample(&mut self) -> io::Result<Option<(Edit, Sample)>> {
        while let Some(&edit) = self.edits.front() {
            let track = &self.tracks[self.track];
            let before = self.cursor.clone();
            let sample = match track.samples.next(&mut self.cursor) {
                Some(sample) => Some(sample),
                None => match &mut self.fragments {
                    Some(fragments) => {
                        let ids: Vec<u32> = self.tracks.iter().map(|track| track.id).collect();
                        let defaults = self.defaults.iter().find(|(id, _)| *id == track.id);
                        let defaults = defaults.map(|(_, defaults)| *defaults).unwrap_or_default();
                        fragments.next(&mut self.bytes, track, &ids, defaults)?
                    }
                    None => None,
                },
            };
            if let Some(sample) = sample
                && sample.begin < edit.to
            {
                return Ok(Some((edit, sample)));
            }
            // The span is over. The next one may lie before it, or begin within the same sample.
            self.edits.pop_front();
            self.cursor = match self.edits.front() {
                Some(next) if sample.is_some_and(|sample| next.from >= sample.begin) => before,
                _ => Cursor::default(),
            };
        }
        Ok(None)
    }
}

/// What the index says of the whole file.
struct Movie {
    scale: u32,
    len: u64,
    defaults: Vec<(u32, Defaults)>,
}

impl Movie {
    fn of(moov: &[u8]) -> Movie {
        let mvhd = child(moov, b"mvhd").unwrap_or_default();
        let (scale, len) = match mvhd.first() {
            Some(1) => (be_u32(mvhd, 20), be_u64(mvhd, 24)),
            _ => (be_u32(mvhd, 12), be_u32(mvhd, 16).map(u64::from)),
        };
        let mvex = child(moov, b"mvex").unwrap_or_default();
        let mehd = child(mvex, b"mehd").and_then(|mehd| match mehd.first()? {
            1 => be_u64(mehd, 4),
            _ => be_u32(mehd, 4).map(u64::from),
        });
        // All ones: not known.
        let known = |len: &u64| *len != 0 && *len != u64::from(u32::MAX) && *len != u64::MAX;
        let len = mehd.filter(known).or(len.filter(known)).unwrap_or(0);
        let trex = children(mvex).filter(|(kind, _)| kind == b"trex").filter_map(|(_, trex)| {
            let defaults = Defaults { ticks: be_u32(trex, 12)?, size: be_u32(trex, 16)? };
            Some((be_u32(trex, 4)?, defaults))
        });
        Movie { scale: scale.unwrap_or(0), len, defaults: trex.collect() }
    }
}
