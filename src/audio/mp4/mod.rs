//! Reads MP4, M4A and QuickTime files: the packets of one sound track, each with its time.
//!
//! ```text
//! atoms      lengths and names, none of which is trusted
//! coding     stsd, esds, wave, pcmC       → the coding of the track
//! track      stts, stsc, stsz, stco, elst → the places and times of the samples
//! fragment   moof: tfhd, tfdt, trun       → the same for a file written during the recording
//! ```
//!
//! Times are those of the file. An edit list or the time of a fragment may let the sound begin
//! late, leave holes in it, or remove the delay of an encoder. Sound that a damaged table hides is
//! counted in [`Mp4::lost`] and never dropped silently.

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
pub(super) use coding::aac_config;
use fragment::{Defaults, Fragments};
pub(super) use track::Track;
use track::{Cursor, Edit, Sample, track};

/// The maximum length of an index. A longer one has a damaged length.
const MAX_INDEX: usize = 1 << 28;
/// The maximum length of a packet. A longer one has a damaged length.
const MAX_PACKET: u64 = 1 << 24;
/// The maximum number of atoms at the top of a file without fragments.
const MAX_ATOMS: usize = 10_000;
/// The decoder gets a second divided by this before the first wanted tick.
const PREROLL: u64 = 10;
/// The maximum number of bytes to return, as a multiple of the length of the file. Tables may point
/// to the same bytes several times.
const MAX_REPEATS: u64 = 16;

/// An MP4 file, and the sound track that is read.
pub(super) struct Mp4 {
    bytes: Bytes,
    tracks: Vec<Track>,
    track: usize,
    /// The default values for the fragments of each track.
    defaults: Vec<(u32, Defaults)>,
    /// The remaining spans of the track's time that are played, the current one first.
    edits: VecDeque<Edit>,
    cursor: Cursor,
    fragments: Option<Fragments>,
    movie_seconds: f64,
    /// The number of bytes that may still be returned.
    bytes_left: u64,
    /// Ticks that the file declares after its last sample.
    short: u64,
    lost: Lost,
}

/// Sound that could not be read, in ticks of the track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Before sound that could be read.
    pub(super) within: u64,
    /// After the last sound that could be read.
    pub(super) at_end: u64,
    /// True if the file ends within an atom.
    pub(super) cut: bool,
    /// True if parts of the index contradict each other.
    pub(super) index: bool,
    /// The time of the stream at which the file begins, if the recording began within a running
    /// stream. Times count from there.
    pub(super) clock: u64,
}

/// Why a file cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    Io(io::Error),
    /// There is no index (`moov`).
    NoIndex,
    /// There is an index, but no sound track in it.
    NoTrack,
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

impl Mp4 {
    /// Finds the index and the sound tracks, and chooses the first track.
    pub(super) fn open(source: Box<dyn MediaSource>) -> Result<Mp4, OpenError> {
        let mut bytes = Bytes::new(source)?;
        let (mut moov, mut first_moof, mut prefix) = (None, None, 0);
        let mut mdats: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        for _ in 0..MAX_ATOMS {
            let Some(atom) = bytes.top_atom(at)? else {
                break;
            };
            match &atom.kind {
                b"ftyp" if first_moof.is_none() && mdats.is_empty() => prefix = atom.at,
                b"moov" if moov.is_none() => {
                    let len = usize::try_from(atom.end - atom.body).unwrap_or(MAX_INDEX).min(MAX_INDEX);
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
        // Bytes that were inserted before a finished file move its sound, but not the offsets in
        // its index.
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
            bytes_left: bytes.len.saturating_mul(MAX_REPEATS),
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

    /// Chooses track `index`, and reads it from its beginning.
    pub(super) fn choose(&mut self, index: usize) {
        self.track = index.min(self.tracks.len() - 1);
        let track = &self.tracks[self.track];
        let mut edits = VecDeque::from(track.edits.clone());
        if self.fragments.is_some() {
            // The list was written before the fragments. It tells where they begin, not where they
            // end.
            edits.truncate(1);
            edits.iter_mut().for_each(|edit| edit.to = u64::MAX);
        } else if edits.iter().all(|edit| edit.from >= track.samples.ticks()) {
            edits.clear();
        }
        if edits.is_empty() {
            edits.push_back(Edit { from: 0, to: u64::MAX, plays_at: 0 });
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

    /// The ticks per second of the chosen track.
    pub(super) fn timescale(&self) -> u32 {
        self.tracks[self.track].timescale
    }

    /// The end of the chosen track that the file declares, in seconds.
    pub(super) fn seconds(&self) -> Option<f64> {
        if self.fragments.is_some() {
            return Some(self.movie_seconds).filter(|&seconds| seconds > 0.0);
        }
        let track = &self.tracks[self.track];
        let ends =
            self.edits.iter().map(|edit| edit.plays_at + edit.to.min(track.samples.ticks()).saturating_sub(edit.from));
        Some(ends.max()? as f64 / f64::from(track.timescale))
    }

    /// The sound that could not be read so far.
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

    /// The next packet, with its time. Its trims are the parts of it that are not played.
    pub(super) fn next_packet(&mut self) -> io::Result<Option<Packet>> {
        while let Some((edit, sample)) = self.next_sample()? {
            let end = sample.begin.saturating_add(sample.ticks);
            let preroll = u64::from(self.timescale()) / PREROLL;
            if end.saturating_add(preroll) <= edit.from {
                continue;
            }
            let before = edit.from.saturating_sub(sample.begin).min(sample.ticks);
            let after = end.saturating_sub(edit.to).min(sample.ticks - before);
            let played = sample.ticks - before - after;
            let data = match sample.at.checked_add(sample.len) {
                Some(end) if end <= self.bytes.len && sample.len <= MAX_PACKET.min(self.bytes_left) => {
                    self.bytes.read(sample.at, sample.len as usize)?
                }
                _ => Vec::new(),
            };
            if data.is_empty() || data.len() as u64 != sample.len {
                self.lost.at_end += played;
                continue;
            }
            self.bytes_left -= sample.len;
            self.lost.within += std::mem::take(&mut self.lost.at_end);
            let latest = if self.fragments.is_some() { u64::MAX } else { self.tracks[self.track].latest };
            let plays_at = edit.plays_at.saturating_add(sample.begin.saturating_sub(edit.from)).min(latest);
            let pts = Timestamp::new(i64::try_from(plays_at).unwrap_or(i64::MAX));
            let mut packet = Packet::new(self.tracks[self.track].id, pts, Duration::new(played), data);
            (packet.trim_start, packet.trim_end) = (Duration::new(before), Duration::new(after));
            return Ok(Some(packet));
        }
        Ok(None)
    }

    /// The next sample, and the span of the track's time in which it is played.
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
            // The span has ended. The next one may lie before it, or begin within the same sample.
            self.edits.pop_front();
            self.cursor = match self.edits.front() {
                Some(next) if sample.is_some_and(|sample| next.from >= sample.begin) => before,
                _ => Cursor::default(),
            };
        }
        Ok(None)
    }
}

/// The values in the index for the whole file.
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
        // All ones mean that the length is not known.
        let known = |len: &u64| *len != 0 && *len != u64::from(u32::MAX) && *len != u64::MAX;
        let len = mehd.filter(known).or(len.filter(known)).unwrap_or(0);
        let trex = children(mvex).filter(|(kind, _)| kind == b"trex").filter_map(|(_, trex)| {
            let defaults = Defaults { ticks: be_u32(trex, 12)?, size: be_u32(trex, 16)? };
            Some((be_u32(trex, 4)?, defaults))
        });
        Movie { scale: scale.unwrap_or(0), len, defaults: trex.collect() }
    }
}
