//! Movie fragments (`moof`). The samples of a fragment lie in the `mdat` after it.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use super::atoms::{Bytes, Kind, be_u32, be_u64, child, children, is_tiled};
use super::track::{Sample, Track};

/// The maximum number of samples of a fragment.
const MAX_SAMPLES: usize = 1_000_000;
/// The maximum length of a `moof`. A longer one has a damaged length.
const MAX_MOOF: u64 = 1 << 26;
/// If the first fragment begins later than this (in seconds), the recording began within a running
/// stream.
const MAX_BEGIN: u64 = 3_600;
/// The longest hole between fragments, in seconds. At a longer one, the clock was reset.
const MAX_HOLE: u64 = 24 * 3_600;
/// The longest hole before the last fragment, in seconds. No other fragment confirms its time.
const MAX_LAST_HOLE: u64 = 60;

/// The kinds of atoms in a `traf`. Any other kind is a damaged name.
const IN_TRAF: [&Kind; 12] =
    [b"tfhd", b"tfdt", b"trun", b"sdtp", b"subs", b"saiz", b"saio", b"senc", b"sbgp", b"sgpd", b"uuid", b"free"];

/// The fragments of a file. They are read as needed.
#[derive(Default)]
pub(super) struct Fragments {
    /// The place of the next `moof`.
    next_at: Option<u64>,
    /// The fragment after the current one. It confirms the time of the current one.
    ahead: Option<Fragment>,
    samples: VecDeque<Sample>,
    /// The time, in the track's own ticks, at which the next fragment should begin.
    expected: u64,
    /// The difference to add to the times of fragments after their clock was reset.
    shift: i128,
    begun: bool,
    /// Data before the next fragment could not be read.
    broken: bool,
    /// Ticks that could not be read.
    pub(super) lost: u64,
    /// Tables contradicted each other or could not be read.
    pub(super) damaged: bool,
    /// The last atom reaches beyond the end of the file.
    pub(super) cut: bool,
    /// The time of the stream at which the file begins, if the recording began within a running
    /// stream.
    pub(super) clock: u64,
}

impl From<u64> for Fragments {
    /// `at` is the place of the first `moof`.
    fn from(at: u64) -> Fragments {
        Fragments { next_at: Some(at), ..Fragments::default() }
    }
}

impl Fragments {
    /// The next sample of `track`.
    pub(super) fn next(
        &mut self,
        bytes: &mut Bytes,
        track: &Track,
        ids: &[u32],
        defaults: Defaults,
    ) -> io::Result<Option<Sample>> {
        loop {
            if let Some(sample) = self.samples.pop_front() {
                return Ok(Some(sample));
            }
            if !self.begun {
                self.ahead = self.read(bytes, track, ids, defaults)?;
            }
            let Some(mut present) = self.ahead.take() else {
                return Ok(None);
            };
            self.ahead = self.read(bytes, track, ids, defaults)?;
            if let Some((begin, next)) = present.begin.zip(self.ahead.as_ref().and_then(|next| next.begin)) {
                present.fit(begin, next);
            }
            if self.ahead.is_none() {
                present.limit(MAX_LAST_HOLE * u64::from(track.timescale));
            }
            let begin = self.begin(&present, u64::from(track.timescale));
            self.begun = true;
            self.damaged |= present.damaged;
            self.expected = begin.saturating_add(present.ticks);
            let placed = |sample: Sample| Sample { begin: begin.saturating_add(sample.begin), ..sample };
            self.samples = present.samples.into_iter().map(placed).collect();
        }
    }

    /// The time at which a fragment begins, in the track's own ticks. It is the declared time,
    /// unless the next fragment contradicts it.
    fn begin(&mut self, present: &Fragment, scale: u64) -> u64 {
        let expected = self.expected;
        let Some(declared) = present.begin else {
            return expected;
        };
        let step = i128::from(declared) + self.shift - i128::from(expected);
        let (late, near) = (u64::try_from(step).unwrap_or(0), step.unsigned_abs() <= u128::from(scale));
        let confirmed = match self.ahead.as_ref().and_then(|next| next.begin) {
            // The next one begins at the end of this one, or later.
            Some(next) => next + scale >= declared.saturating_add(present.ticks) && (step > 0 || next >= declared),
            None => late <= MAX_LAST_HOLE * scale,
        };
        if !near && !confirmed {
            self.damaged = true;
            return expected;
        }
        let longest = if self.begun { MAX_HOLE } else { MAX_BEGIN };
        if late > longest * scale || (step < 0 && !near) {
            // The clock was reset, or it is that of a running stream. The sound continues without a
            // hole.
            if !self.begun {
                self.clock = declared;
            }
            self.shift -= step;
            return expected;
        }
        if present.after_damage {
            self.lost = self.lost.saturating_add(late);
        }
        expected.saturating_add(late)
    }

    /// The next fragment that has samples of `track`.
    fn read(
        &mut self,
        bytes: &mut Bytes,
        track: &Track,
        ids: &[u32],
        defaults: Defaults,
    ) -> io::Result<Option<Fragment>> {
        let mut after_damage = false;
        while let Some(moof_at) = self.next_at.take() {
            after_damage |= std::mem::take(&mut self.broken);
            let Some(moof) = bytes.top_atom(moof_at)? else {
                break;
            };
            // Everything before the next `moof` belongs to this one.
            let (mut at, mut data) = (moof.end, None);
            while let Some(atom) = bytes.top_atom(at)? {
                self.broken |= atom.damaged || atom.at != at;
                self.cut |= atom.end > bytes.len && matches!(&atom.kind, b"moof" | b"mdat");
                if atom.kind == *b"moof" {
                    self.next_at = Some(atom.at);
                    break;
                }
                if atom.kind == *b"mdat" {
                    data = data.or(Some(atom.body));
                }
                at = atom.end;
            }
            let content = bytes.read(moof.body, (moof.end - moof.body).min(MAX_MOOF) as usize)?;
            let end = self.next_at.unwrap_or(at);
            let data = data.unwrap_or(moof.end).min(end)..end;
            let found = fragment(&content, moof.at, track.id, ids, defaults, data);
            if !found.samples.is_empty() {
                return Ok(Some(Fragment { after_damage, ..found }));
            }
            after_damage |= found.damaged;
        }
        self.damaged |= after_damage || self.broken;
        Ok(None)
    }
}

/// Default values for the samples of a track, for fragments that do not give them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Defaults {
    pub(super) ticks: u32,
    pub(super) size: u32,
}

/// The samples of one track in a fragment. Their times count from the beginning of the fragment.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    /// The declared beginning, in the track's own ticks.
    pub(super) begin: Option<u64>,
    pub(super) samples: Vec<Sample>,
    pub(super) ticks: u64,
    /// Its tables contradict each other.
    pub(super) damaged: bool,
    /// Data between the previous fragment and this one could not be read.
    after_damage: bool,
}

impl Fragment {
    /// Sets the length of samples that are longer than `longest` to 0, in a fragment that no other
    /// one confirms.
    fn limit(&mut self, longest: u64) {
        self.ticks = 0;
        for sample in &mut self.samples {
            if sample.ticks > longest {
                (sample.ticks, self.damaged) = (0, true);
            }
            sample.begin = self.ticks;
            self.ticks = self.ticks.saturating_add(sample.ticks);
        }
    }

    /// Shortens its samples if the fragment that begins at `next` contradicts them.
    fn fit(&mut self, begin: u64, next: u64) {
        let Some(room) = next.checked_sub(begin) else {
            return;
        };
        let each = room / (self.samples.len() as u64).max(1);
        if each == 0 || self.ticks <= room + 2 * each {
            return;
        }
        self.damaged = true;
        self.ticks = room;
        for (sample, i) in self.samples.iter_mut().zip(0..) {
            (sample.begin, sample.ticks) = (i * each, each);
        }
    }
}

/// Reads the samples of track `id` in the fragment whose `moof` lies at `at`. Its sound lies within
/// `data`. `ids` are all tracks of the file. A single unknown id is taken for `id`.
pub(super) fn fragment(moof: &[u8], at: u64, id: u32, ids: &[u32], defaults: Defaults, data: Range<u64>) -> Fragment {
    let mut found = Fragment::default();
    let trafs: Vec<&[u8]> = children(moof).filter(|(kind, _)| kind == b"traf").map(|(_, traf)| traf).collect();
    let id_of = |traf: &[u8]| child(traf, b"tfhd").and_then(|tfhd| be_u32(tfhd, 4));
    let present = trafs.iter().any(|traf| id_of(traf) == Some(id));
    found.damaged = trafs.is_empty() || !is_tiled(moof) || !trafs.iter().all(|traf| is_tiled(traf));
    // The end of the data of the previous `traf`.
    let mut data_end = at;
    for traf in trafs {
        let mine = match id_of(traf) {
            Some(of) if present => of == id,
            Some(of) => !ids.contains(&of),
            None => !present && ids.len() == 1,
        };
        found.damaged |= mine && !present;
        let mut other = Fragment::default();
        found.damaged |= mine && !children(traf).all(|(kind, _)| IN_TRAF.contains(&&kind));
        let into = if mine { &mut found } else { &mut other };
        data_end = runs(traf, at, data_end, defaults, &data, into);
    }
    found
}

/// Reads the runs of a `traf`, and returns the end of their data.
fn runs(traf: &[u8], at: u64, before: u64, trex: Defaults, data: &Range<u64>, into: &mut Fragment) -> u64 {
    let tfhd = child(traf, b"tfhd").unwrap_or_default();
    let flags = be_u32(tfhd, 0).unwrap_or(0) & 0xFF_FFFF;
    let (mut field, mut base, mut defaults) = (8, before, trex);
    if flags & 0x02_0000 != 0 {
        base = at;
    }
    if flags & 1 != 0 {
        base = be_u64(tfhd, field).unwrap_or(base);
        field += 8;
    }
    field += if flags & 2 != 0 { 4 } else { 0 };
    if flags & 8 != 0 {
        defaults.ticks = be_u32(tfhd, field).unwrap_or(trex.ticks);
        field += 4;
    }
    if flags & 0x10 != 0 {
        defaults.size = be_u32(tfhd, field).unwrap_or(trex.size);
    }
    if into.begin.is_none() {
        into.begin = child(traf, b"tfdt").and_then(|tfdt| match tfdt.first()? {
            1 => be_u64(tfdt, 4),
            _ => be_u32(tfdt, 4).map(u64::from),
        });
    }
    let mut end = base;
    for (_, trun) in children(traf).filter(|(kind, _)| kind == b"trun") {
        end = run(trun, base, end, defaults, data, into);
    }
    end
}

/// Reads a run, and returns the end of its data. The data begins at `end` if the run gives no
/// place.
fn run(trun: &[u8], base: u64, end: u64, defaults: Defaults, data: &Range<u64>, into: &mut Fragment) -> u64 {
    let (Some(flags), Some(count)) = (be_u32(trun, 0), be_u32(trun, 4)) else {
        into.damaged = true;
        return end;
    };
    let mut row_at = 8;
    let mut start = end;
    if flags & 1 != 0 {
        let offset = be_u32(trun, row_at).unwrap_or(0) as i32;
        start = base.saturating_add_signed(i64::from(offset));
        row_at += 4;
    }
    row_at += if flags & 4 != 0 { 4 } else { 0 };
    let (has_ticks, has_size) = (flags & 0x100 != 0, flags & 0x200 != 0);
    let row_len = 4 * (flags >> 8 & 0xF).count_ones() as usize;
    let rows = trun.get(row_at..).unwrap_or_default();
    let count = match row_len {
        0 => count as usize,
        // The length of the atom is as reliable as the count.
        len => {
            into.damaged |= rows.len() / len != count as usize;
            rows.len() / len
        }
    };
    if !data.contains(&start) {
        into.damaged |= flags & 1 != 0;
        start = if data.contains(&end) { end } else { data.start };
    }
    let mut at = start;
    for i in 0..count {
        let mut field = i * row_len;
        let (mut ticks, mut size) = (defaults.ticks, defaults.size);
        if has_ticks {
            ticks = be_u32(rows, field).unwrap_or(ticks);
            field += 4;
        }
        if has_size {
            size = be_u32(rows, field).unwrap_or(size);
        }
        if into.samples.len() >= MAX_SAMPLES || (row_len == 0 && at >= data.end) {
            into.damaged = true;
            break;
        }
        let len = u64::from(size);
        into.samples.push(Sample { at, len, begin: into.ticks, ticks: u64::from(ticks) });
        at = at.saturating_add(len);
        into.ticks = into.ticks.saturating_add(u64::from(ticks));
    }
    at
}
