//! Reads Matroska and WebM files: the packets of one sound track, each with its time.
//!
//! ```text
//! ebml    ids and lengths, none of which is trusted; bytes are only read forwards
//! track   Tracks: the sound tracks and their codings
//! Segment · Info · Tracks · Cluster (time · blocks) · Cluster · ..
//! ```
//!
//! A recorder of a browser writes a Segment and Clusters of unknown length, as it goes. So the file
//! is read as one sequence of elements, and a Cluster ends where the next one begins. Elements that
//! cannot follow there are damage. Reading goes on at the next Cluster, and its time says how much
//! is missing.
//!
//! Times are those of the file. Only a recording that begins later than [`MAX_BEGIN`] began within
//! a running stream, and its times count from its first sound.

mod ebml;
#[cfg(test)]
pub(super) mod tests;
mod track;

use std::collections::VecDeque;
use std::io::{self, Read};

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use self::ebml::{Bytes, Head, MAX_HEAD, children, float, head, int, number, uint};
pub(super) use self::track::Track;
use super::opus;

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TICK: u32 = 0x002A_D7B1;
const LENGTH: u32 = 0x4489;
const TRACKS: u32 = 0x1654_AE6B;
const CLUSTER: u32 = 0x1F43_B675;
const TIME: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const DISCARD: u32 = 0x75A2;
/// Elements that are skipped between Clusters: SeekHead, Cues, Chapters, Tags, Attachments.
const BETWEEN: [u32; 5] = [0x114D_9B74, 0x1C53_BB6B, 0x1043_A770, 0x1254_C367, 0x1941_A469];
/// Elements that are skipped anywhere: Void, CRC-32, Position, PrevSize, SilentTracks,
/// EncryptedBlock.
const WITHIN: [u32; 6] = [0xEC, 0xBF, 0xA7, 0xAB, 0x5854, 0xAF];

/// Times are in nanoseconds.
pub(super) const SECOND: u64 = 1_000_000_000;
/// The number of nanoseconds of a tick, if the file does not say it.
const DEFAULT_TICK: u64 = 1_000_000;
/// The maximum length of the list of tracks. A longer one has a damaged length.
const MAX_LIST: u64 = 1 << 24;
/// The maximum length of a block. A longer one has a damaged length.
const MAX_BLOCK: u64 = 1 << 24;
/// A sound that begins later than this began within a running stream.
const MAX_BEGIN: u64 = 60 * SECOND;
/// The longest hole. At a longer one, the clock was reset.
const MAX_HOLE: u64 = 3_600 * SECOND;

/// A Matroska file, and the sound track that is read.
pub(super) struct Matroska<R> {
    bytes: Bytes<R>,
    tracks: Vec<Track>,
    track: usize,
    /// The number of nanoseconds of a tick.
    tick: u64,
    seconds: Option<f64>,
    /// The end of the Segment, if it is known.
    end: Option<u64>,
    /// The time of the Cluster, in ticks.
    cluster: Option<u64>,
    /// The end of the Cluster, if it is known.
    cluster_end: Option<u64>,
    packets: VecDeque<Packet>,
    begun: bool,
    ended: bool,
    /// What is subtracted from the times of the file.
    shift: u64,
    /// The end of the last packet. None before the first.
    expected: Option<u64>,
    /// Something was damaged since the last packet.
    damaged: bool,
    lost: Lost,
}

/// What could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Nanoseconds that are missing where the file is damaged.
    pub(super) within: u64,
    /// The number of damaged places.
    pub(super) places: u64,
    /// True if the file ends within an element.
    pub(super) cut: bool,
    /// The number of times that the clock jumped ahead.
    pub(super) jumps: u64,
    /// The time of the stream at which the file begins, if the recording began within a running
    /// stream.
    pub(super) clock: u64,
    /// True if another recording follows, which was not read.
    pub(super) another: bool,
}

/// Why a file cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    Io(io::Error),
    /// The first elements are damaged, or there is no list of tracks before the sound.
    Damaged,
    /// There is no sound track.
    NoTrack,
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

impl<R: Read> Matroska<R> {
    /// Reads up to the first Cluster, and chooses the first track.
    pub(super) fn open(reader: R) -> Result<Matroska<R>, OpenError> {
        let mut this = Matroska {
            bytes: Bytes::new(reader),
            tracks: Vec::new(),
            track: 0,
            tick: DEFAULT_TICK,
            seconds: None,
            end: None,
            cluster: None,
            cluster_end: None,
            packets: VecDeque::new(),
            begun: false,
            ended: false,
            shift: 0,
            expected: None,
            damaged: false,
            lost: Lost::default(),
        };
        let mut list = None;
        loop {
            let head = match head(this.bytes.peek(MAX_HEAD)?) {
                Some(head) if head.id != CLUSTER => head,
                None if list.is_none() => return Err(OpenError::Damaged),
                _ => break,
            };
            if head.id == SEGMENT {
                this.end = this.end_of(head);
                this.bytes.skip(head.head_len as u64)?;
                continue;
            }
            let skipped = head.id == EBML || BETWEEN.contains(&head.id) || WITHIN.contains(&head.id);
            let len = head.len.filter(|&len| skipped || len <= MAX_LIST).ok_or(OpenError::Damaged)?;
            this.bytes.skip(head.head_len as u64)?;
            match head.id {
                INFO => this.info(len as usize)?,
                TRACKS => list = this.bytes.take(len as usize)?,
                _ if !skipped || !this.bytes.skip(len)? => return Err(OpenError::Damaged),
                _ => {}
            }
        }
        this.tracks = track::tracks(&list.ok_or(OpenError::Damaged)?);
        if this.tracks.is_empty() {
            return Err(OpenError::NoTrack);
        }
        Ok(this)
    }

    fn info(&mut self, len: usize) -> io::Result<()> {
        let info = self.bytes.take(len)?.unwrap_or_default();
        let find = |id: u32| children(&info).find(|&(other, _)| other == id).map(|(_, body)| body);
        self.tick = find(TICK).map(uint).filter(|&tick| tick > 0).unwrap_or(DEFAULT_TICK);
        let seconds = find(LENGTH).and_then(float).map(|ticks| ticks * self.tick as f64 / SECOND as f64);
        self.seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        Ok(())
    }

    /// The sound tracks, in the file's order.
    pub(super) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Chooses track `index`. False if packets were read before, because there is no way back.
    pub(super) fn choose(&mut self, index: usize) -> bool {
        self.track = if self.begun { self.track } else { index.min(self.tracks.len() - 1) };
        self.track == index
    }

    /// The index of the chosen track.
    pub(super) fn chosen(&self) -> usize {
        self.track
    }

    /// The length in seconds that the file declares.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.seconds
    }

    /// What could not be read so far.
    pub(super) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// The next packet, with its time. What its end trim says is not played.
    pub(super) fn next_packet(&mut self) -> io::Result<Option<Packet>> {
        self.begun = true;
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(Some(packet));
            }
            if self.ended {
                return Ok(None);
            }
            self.element()?;
        }
    }

    /// Reads an element, or its head if other elements are in it.
    fn element(&mut self) -> io::Result<()> {
        let at = self.bytes.at();
        if self.cluster_end.is_some_and(|end| at >= end) {
            (self.cluster, self.cluster_end) = (None, None);
        }
        let bytes = self.bytes.peek(MAX_HEAD)?;
        let (is_last, is_empty) = (bytes.len() < MAX_HEAD, bytes.is_empty());
        let Some(head) = head(bytes) else {
            self.lost.cut |= is_last && (!is_empty || self.end.is_some_and(|end| at < end));
            return if is_last { self.finish() } else { self.search() };
        };
        let end = self.end_of(head);
        let limit = self.cluster_end.or(self.end).unwrap_or(u64::MAX);
        let fits = head.len.is_some() && end.is_none_or(|end| end <= limit);
        let len = head.len.unwrap_or(0);
        match head.id {
            CLUSTER => {
                self.bytes.skip(head.head_len as u64)?;
                (self.cluster, self.cluster_end) = (None, end);
                Ok(())
            }
            TIME if fits && len <= 8 => {
                let time = self.content(head)?;
                self.cluster = time.map(|time| uint(&time));
                Ok(())
            }
            SIMPLE_BLOCK | GROUP if fits && len <= MAX_BLOCK && self.is_whole(head)? => {
                let content = self.content(head)?.unwrap_or_default();
                self.block_of(head.id, &content);
                Ok(())
            }
            id if WITHIN.contains(&id) && fits || BETWEEN.contains(&id) && head.len.is_some() => {
                if !self.bytes.skip(len.saturating_add(head.head_len as u64))? {
                    self.lost.cut = true;
                    self.finish()?;
                }
                Ok(())
            }
            EBML | SEGMENT => {
                self.lost.another = true;
                self.finish()
            }
            _ => self.search(),
        }
    }

    /// False if a Cluster begins within the element whose head comes next. Then the length of the
    /// element is damaged.
    fn is_whole(&mut self, head: Head) -> io::Result<bool> {
        if self.cluster_end.is_some() {
            return Ok(true);
        }
        let bytes = self.bytes.peek(head.head_len + head.len.unwrap_or(0) as usize)?;
        let mark = CLUSTER.to_be_bytes();
        Ok(!bytes.windows(MAX_HEAD + 1).any(|window| window.starts_with(&mark) && begins_cluster(window)))
    }

    /// The place at which an element ends whose head comes next.
    fn end_of(&self, head: Head) -> Option<u64> {
        head.len.map(|len| self.bytes.at().saturating_add(head.head_len as u64).saturating_add(len))
    }

    /// The content of an element. None if the file ends within it.
    fn content(&mut self, head: Head) -> io::Result<Option<Vec<u8>>> {
        self.bytes.skip(head.head_len as u64)?;
        let content = self.bytes.take(head.len.unwrap_or(0) as usize)?;
        if content.is_none() {
            self.lost.cut = true;
            self.finish()?;
        }
        Ok(content)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.ended = true;
        Ok(())
    }

    /// Skips damage up to the next Cluster.
    fn search(&mut self) -> io::Result<()> {
        self.note_damage();
        (self.cluster, self.cluster_end) = (None, None);
        self.bytes.skip(1)?;
        self.ended = !self.bytes.find(&CLUSTER.to_be_bytes())?;
        Ok(())
    }

    fn note_damage(&mut self) {
        self.damaged = true;
        self.lost.places += 1;
    }

    /// Reads a block or a group with a block.
    fn block_of(&mut self, id: u32, content: &[u8]) {
        if id == SIMPLE_BLOCK {
            return self.block(content, 0);
        }
        let discard = children(content).find(|&(id, _)| id == DISCARD).map_or(0, |(_, body)| int(body));
        if let Some((_, block)) = children(content).find(|&(id, _)| id == BLOCK) {
            self.block(block, u64::try_from(discard).unwrap_or(0));
        }
    }

    /// Reads the packets of a block. The last `discard` nanoseconds of it are not played.
    fn block(&mut self, block: &[u8], discard: u64) {
        let Some((number, len)) = number(block) else {
            return self.note_damage();
        };
        let track = &self.tracks[self.track];
        if number != Some(track.number) {
            return;
        }
        let (id, delay, packet_len) = (track.number as u32, track.delay, track.packet_len.min(SECOND));
        let is_opus = track.params.as_ref().is_some_and(|params| params.codec == CODEC_ID_OPUS);
        let (&[high, low, flags], body) = match block[len..].split_first_chunk() {
            Some(split) => split,
            None => return self.note_damage(),
        };
        let (Some(cluster), Some(packets)) = (self.cluster, packets(flags, body)) else {
            return self.note_damage();
        };
        let ticks = i128::from(cluster) + i128::from(i16::from_be_bytes([high, low]));
        let time = ticks.saturating_mul(i128::from(self.tick)).saturating_sub(i128::from(delay));
        let mut time = self.placed(u64::try_from(time.max(0)).unwrap_or(u64::MAX));
        for (at, data) in packets.iter().enumerate() {
            let len = match opus::frames(data) {
                Some(frames) if is_opus => frames as u64 * SECOND / u64::from(opus::RATE),
                _ => packet_len,
            };
            let pts = Timestamp::new(i64::try_from(time).unwrap_or(i64::MAX));
            let mut packet = Packet::new(id, pts, Duration::new(len), *data);
            packet.trim_end = Duration::new(if at + 1 == packets.len() { discard } else { 0 });
            self.packets.push_back(packet);
            time = time.saturating_add(len);
        }
        self.expected = self.expected.max(Some(time));
    }

    /// The time at which a block is played, by its time in the file.
    fn placed(&mut self, time: u64) -> u64 {
        if self.expected.is_none() && time > MAX_BEGIN {
            (self.shift, self.lost.clock) = (time, time);
        }
        let hole = time.saturating_sub(self.shift).saturating_sub(self.expected.unwrap_or(0));
        if hole > MAX_HOLE {
            self.shift = self.shift.saturating_add(hole);
            self.lost.jumps += 1;
        } else if std::mem::take(&mut self.damaged) {
            self.lost.within += hole;
        }
        time.saturating_sub(self.shift)
    }
}

/// True if a Cluster begins here, whose first element is its time.
fn begins_cluster(bytes: &[u8]) -> bool {
    head(bytes).is_some_and(|cluster| bytes.get(cluster.head_len) == Some(&(TIME as u8)))
}

/// The packets of a block by its flags. None if their lengths are damaged.
fn packets(flags: u8, body: &[u8]) -> Option<Vec<&[u8]>> {
    let lacing = flags >> 1 & 3;
    if lacing == 0 {
        return Some(vec![body]);
    }
    let (&count, mut rest) = body.split_first()?;
    let before_last = usize::from(count);
    let mut lens: Vec<usize> = Vec::new();
    match lacing {
        1 => {
            for _ in 0..before_last {
                let mut len = 0;
                loop {
                    let (&byte, after) = rest.split_first()?;
                    (len, rest) = (len + usize::from(byte), after);
                    if byte < u8::MAX {
                        break;
                    }
                }
                lens.push(len);
            }
        }
        2 => {
            let each = rest.len() / (before_last + 1);
            if each * (before_last + 1) != rest.len() {
                return None;
            }
            lens = vec![each; before_last];
        }
        // The first length, and then differences.
        _ => {
            let mut last = 0i64;
            for at in 0..before_last {
                let (value, len) = number(rest)?;
                let value = i64::try_from(value?).ok()?;
                rest = &rest[len..];
                let change = if at == 0 { value } else { value - ((1 << (7 * len - 1)) - 1) };
                last = last.checked_add(change)?;
                lens.push(usize::try_from(last).ok()?);
            }
        }
    }
    let mut packets = Vec::new();
    for len in lens {
        let (packet, after) = rest.split_at_checked(len)?;
        packets.push(packet);
        rest = after;
    }
    packets.push(rest);
    Some(packets)
}
