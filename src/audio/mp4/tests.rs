//! MP4 files made byte by byte, and the sound that is read from them.

use std::io::Cursor;
use std::num::NonZero;

use proptest::prelude::*;

use crate::audio::decode::AudioFile;
use crate::audio::error::AudioError;
use crate::audio::testing::fixture;

/// The number of frames of a sample in these files: 10 ms at 16 kHz.
const FRAMES: usize = 160;

fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
}

fn numbers(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// Sound of `len` frames that is never silent and never repeats.
fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| 0.4 * (i as f32 * 0.05).sin() + 0.3 * ((i * i) as f32 * 1e-6).sin() + 0.1).collect()
}

fn s16be(sound: &[f32]) -> Vec<u8> {
    sound.iter().flat_map(|x| ((x * 32_767.0) as i16).to_be_bytes()).collect()
}

/// A track at 16 kHz mono.
#[derive(Clone)]
struct Plan {
    enabled: bool,
    entry: Vec<u8>,
    /// The edit list: lengths in milliseconds, and places in the track's own time.
    edits: Vec<(u32, i32)>,
    times: Vec<(u32, u32)>,
    size: u32,
    count: u32,
    data_at: u32,
    fragmented: bool,
}

/// A sample entry of version 0, or of version 1 with the number of bytes of a sample.
fn entry(kind: &[u8; 4], version: u16, bits: u16, inner: &[u8]) -> Vec<u8> {
    let mut body = [&[0, 0, 0, 0, 0, 0, 0, 1], &version.to_be_bytes()[..], &[0; 6], &[0, 1]].concat();
    body.extend(bits.to_be_bytes());
    body.extend([0; 4]);
    body.extend((16_000u32 << 16).to_be_bytes());
    if version == 1 {
        body.extend(numbers(&[1, u32::from(bits / 8), u32::from(bits / 8), 2]));
    }
    atom(kind, &[&body, inner])
}

/// A sample entry of version 2: `lpcm` of QuickTime with its flags.
fn lpcm(bits: u32, flags: u32) -> Vec<u8> {
    let head = [&[0, 0, 0, 0, 0, 0, 0, 1, 0, 2][..], &[0; 6], &[0, 3, 0, 16], &[0xFF, 0xFE, 0, 0], &[0, 1, 0, 0]];
    let mut body = head.concat();
    body.extend(72u32.to_be_bytes());
    body.extend(16_000f64.to_bits().to_be_bytes());
    body.extend(numbers(&[1, 0x7F00_0000, bits, flags, bits / 8, 1]));
    atom(b"lpcm", &[&body])
}

impl Plan {
    /// `count` samples of 16-bit big-endian sound.
    fn new(count: u32) -> Plan {
        Plan {
            enabled: true,
            entry: entry(b"twos", 0, 16, &[]),
            edits: Vec::new(),
            times: vec![(count * FRAMES as u32, 1)],
            size: 2,
            count: count * FRAMES as u32,
            data_at: 0,
            fragmented: false,
        }
    }

    fn ticks(&self) -> u32 {
        self.times.iter().map(|(count, ticks)| count * ticks).sum()
    }

    fn trak(&self, id: u32) -> Vec<u8> {
        let flags = if self.enabled { 3 } else { 2 };
        let len = match self.edits.iter().map(|edit| edit.0).sum() {
            0 => self.ticks() / 16,
            len => len,
        };
        let tkhd = atom(b"tkhd", &[&numbers(&[flags, 0, 0, id, 0, len]), &[0; 60]]);
        let mdhd = atom(b"mdhd", &[&numbers(&[0, 0, 0, 16_000, self.ticks(), 0])]);
        let hdlr = atom(b"hdlr", &[&[0; 8], b"soun", &[0; 13]]);
        let pairs: Vec<u32> = self.times.iter().flat_map(|&(count, ticks)| [count, ticks]).collect();
        let chunks = u32::from(!self.fragmented);
        let stbl = atom(
            b"stbl",
            &[
                &atom(b"stsd", &[&numbers(&[0, 1]), &self.entry]),
                &atom(b"stts", &[&numbers(&[0, self.times.len() as u32]), &numbers(&pairs)]),
                &atom(b"stsc", &[&numbers(&[0, chunks]), &numbers(&[1, self.count, 1][..3 * chunks as usize])]),
                &atom(b"stsz", &[&numbers(&[0, self.size, self.count])]),
                &atom(b"stco", &[&numbers(&[0, chunks]), &numbers(&[self.data_at][..chunks as usize])]),
            ],
        );
        let mdia = atom(b"mdia", &[&mdhd, &hdlr, &atom(b"minf", &[&stbl])]);
        let list: Vec<u8> = self.edits.iter().flat_map(|&(len, from)| numbers(&[len, from as u32, 0x1_0000])).collect();
        let elst = atom(b"elst", &[&numbers(&[0, self.edits.len() as u32]), &list]);
        let edts = if self.edits.is_empty() { Vec::new() } else { atom(b"edts", &[&elst]) };
        atom(b"trak", &[&tkhd, &edts, &mdia])
    }
}

fn moov(plans: &[Plan]) -> Vec<u8> {
    let longest = plans.iter().map(|plan| plan.ticks() / 16).max().unwrap_or(0);
    let edited = plans.iter().map(|plan| plan.edits.iter().map(|edit| edit.0).sum()).max().unwrap_or(0);
    let mvhd = atom(b"mvhd", &[&numbers(&[0, 0, 0, 1_000, longest.max(edited)]), &[0; 80]]);
    let traks: Vec<u8> = plans.iter().zip(1..).flat_map(|(plan, id)| plan.trak(id)).collect();
    let trex = atom(b"trex", &[&numbers(&[0, 1, 1, FRAMES as u32, 2 * FRAMES as u32, 0])]);
    let mvex = if plans.iter().any(|plan| plan.fragmented) { atom(b"mvex", &[&trex]) } else { Vec::new() };
    atom(b"moov", &[&mvhd, &traks, &mvex])
}

/// A file of `before`, the sound of each track, and the index.
fn file(before: &[u8], mut plans: Vec<Plan>, data: &[Vec<u8>]) -> Vec<u8> {
    let mut at = before.len() as u32 + 8;
    for (plan, data) in plans.iter_mut().zip(data) {
        plan.data_at = at;
        at += data.len() as u32;
    }
    [before.to_vec(), atom(b"mdat", &[&data.concat()]), moov(&plans)].concat()
}

fn ftyp() -> Vec<u8> {
    atom(b"ftyp", &[b"isom", &[0; 4], b"isom"])
}

/// A fragmented file. Each fragment has a time and ten samples or fewer.
fn fragmented(fragments: &[(u32, &[f32])]) -> Vec<u8> {
    let plan = Plan { count: 0, times: Vec::new(), fragmented: true, ..Plan::new(1) };
    let mut all = [ftyp(), moov(&[plan])].concat();
    for (begin, sound) in fragments {
        let moof = |offset: u32| {
            let tfhd = atom(b"tfhd", &[&numbers(&[0x02_0000, 1])]);
            let tfdt = atom(b"tfdt", &[&numbers(&[0, *begin])]);
            let count = (sound.len() / FRAMES) as u32;
            let sizes = vec![2 * FRAMES as u32; count as usize];
            let trun = atom(b"trun", &[&numbers(&[0x201, count, offset]), &numbers(&sizes)]);
            atom(b"moof", &[&atom(b"mfhd", &[&numbers(&[0, 1])]), &atom(b"traf", &[&tfhd, &tfdt, &trun])])
        };
        all.extend(moof(moof(0).len() as u32 + 8));
        all.extend(atom(b"mdat", &[&s16be(sound)]));
    }
    all
}

type Heard = (Vec<f32>, Option<String>);

fn rest(mut file: AudioFile) -> Result<Heard, AudioError> {
    let mut all = Vec::new();
    while let Some(block) = file.next_block()? {
        all.extend(block);
    }
    Ok((all, file.warning()))
}

fn open(bytes: Vec<u8>) -> Result<AudioFile, AudioError> {
    AudioFile::from_source(Box::new(Cursor::new(bytes)), "talk.mp4".to_owned())
}

fn hear(bytes: Vec<u8>) -> Heard {
    rest(open(bytes).unwrap()).unwrap()
}

/// Asserts that `got` is `want`, apart from the rounding of 8 bits.
#[track_caller]
fn same(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.02, "{worst}");
}

#[test]
fn uncompressed_sound_of_every_kind_and_order_is_heard() {
    let sound = wave(1_600);
    let coded = |bits: u32, float: bool, little: bool, signed: bool| -> Vec<u8> {
        let one = |&x: &f32| {
            let mut bytes = match (bits, float) {
                (32, true) => x.to_be_bytes().to_vec(),
                (64, true) => f64::from(x).to_be_bytes().to_vec(),
                _ => {
                    let value = (f64::from(x) * f64::from(i32::MAX)) as i32;
                    let value = if signed { value } else { value ^ i32::MIN };
                    value.to_be_bytes()[..bits as usize / 8].to_vec()
                }
            };
            if little {
                bytes.reverse();
            }
            bytes
        };
        sound.iter().flat_map(one).collect()
    };
    let enda = |little: u16| atom(b"wave", &[&atom(b"enda", &[&little.to_be_bytes()])]);
    let pcmc = |little: u8, bits: u8| atom(b"pcmC", &[&[0, 0, 0, 0, little, bits]]);
    let cases = [
        (entry(b"twos", 0, 16, &[]), 16, false, false, true),
        (entry(b"twos", 0, 8, &[]), 8, false, false, true),
        (entry(b"sowt", 1, 16, &[]), 16, false, true, true),
        (entry(b"raw ", 0, 8, &[]), 8, false, false, false),
        (entry(b"in24", 1, 24, &[]), 24, false, false, true),
        (entry(b"in24", 1, 24, &enda(0)), 24, false, false, true),
        (entry(b"in24", 1, 24, &enda(1)), 24, false, true, true),
        (entry(b"in32", 1, 32, &enda(0)), 32, false, false, true),
        (entry(b"in32", 1, 32, &enda(1)), 32, false, true, true),
        (entry(b"fl32", 1, 32, &[]), 32, true, false, true),
        (entry(b"fl32", 1, 32, &enda(1)), 32, true, true, true),
        (entry(b"fl64", 1, 64, &enda(0)), 64, true, false, true),
        (entry(b"fl64", 1, 64, &enda(1)), 64, true, true, true),
        (entry(b"ipcm", 0, 24, &pcmc(0, 24)), 24, false, false, true),
        (entry(b"ipcm", 0, 16, &pcmc(1, 16)), 16, false, true, true),
        (entry(b"fpcm", 0, 32, &pcmc(0, 32)), 32, true, false, true),
        (entry(b"fpcm", 0, 64, &pcmc(1, 64)), 64, true, true, true),
        (lpcm(24, 4 + 2 + 8), 24, false, false, true),
        (lpcm(24, 4 + 8), 24, false, true, true),
        (lpcm(16, 2 + 8), 16, false, false, false),
        (lpcm(32, 1 + 2 + 8), 32, true, false, true),
        (lpcm(64, 1 + 8), 64, true, true, true),
    ];
    for (entry, bits, float, little, signed) in cases {
        println!("{} {bits} bits, float {float}, little {little}", String::from_utf8_lossy(&entry[4..8]));
        let plan = Plan { entry, size: bits / 8, ..Plan::new(10) };
        let (got, warning) = hear(file(&ftyp(), vec![plan], &[coded(bits, float, little, signed)]));
        same(&got, &sound);
        assert_eq!(warning, None);
    }
}

#[test]
fn a_file_may_begin_with_any_atom() {
    let sound = wave(1_600);
    let data = [s16be(&sound)];
    let plan = Plan::new(10);
    for before in [
        Vec::new(),
        atom(b"wide", &[]),
        [atom(b"free", &[&[7; 900]]), ftyp()].concat(),
        [atom(b"skip", &[]), atom(b"wide", &[])].concat(),
        [atom(b"uuid", &[&[9; 16]]), ftyp()].concat(),
        [atom(b"junk", &[b"some"]), ftyp()].concat(),
        [atom(b"Xyz1", &[b"some"]), atom(b"free", &[]), ftyp()].concat(),
    ] {
        let (got, warning) = hear(file(&before, vec![plan.clone()], &data));
        same(&got, &sound);
        assert_eq!(warning, None);
    }
    // The index comes before the sound.
    let index_len = moov(std::slice::from_ref(&plan)).len() as u32;
    let index = moov(&[Plan { data_at: index_len + 8, ..plan.clone() }]);
    same(&hear([index, atom(b"mdat", &[&data[0]])].concat()).0, &sound);
    // Bytes are inserted before a finished file, whose index keeps its offsets.
    let late = [atom(b"free", &[&[0; 8]]), file(&ftyp(), vec![plan], &data)].concat();
    let (got, warning) = hear(late);
    same(&got, &sound);
    assert_eq!(warning, None);
    // Other files are not recognised as MP4.
    let text = open(b"Text that is free and wide and long enough to be read.".to_vec()).err().unwrap();
    assert!(text.to_string().contains("looks like text"), "{text}");
}

#[test]
fn an_edit_list_begins_late_drops_what_is_before_and_cuts_the_end() {
    let sound = wave(16_000);
    let data = [s16be(&sound)];
    let with =
        |edits: &[(u32, i32)]| hear(file(&ftyp(), vec![Plan { edits: edits.to_vec(), ..Plan::new(100) }], &data));
    let (got, warning) = with(&[(3_000, -1), (1_000, 0)]);
    assert_eq!(warning, None);
    assert!(got[..48_000].iter().all(|&x| x == 0.0));
    same(&got[48_000..], &sound);
    let (got, warning) = with(&[(250, -1), (500, 1_024)]);
    assert_eq!(warning, None);
    assert!(got[..4_000].iter().all(|&x| x == 0.0));
    same(&got[4_000..], &sound[1_024..9_024]);
    // Silence in the middle, and later sound of the track first.
    let (got, warning) = with(&[(100, 8_000), (200, -1), (100, 0)]);
    assert_eq!(warning, None);
    same(&got[..1_600], &sound[8_000..9_600]);
    assert!(got[1_600..4_800].iter().all(|&x| x == 0.0));
    same(&got[4_800..], &sound[..1_600]);
    // An edit without a length is all of the track.
    same(&with(&[(0, 160)]).0, &sound[160..]);
}

#[test]
fn a_list_that_contradicts_the_file_is_ignored_with_a_warning() {
    let sound = wave(1_600);
    let plan = Plan { edits: vec![(1_000, -1), (100, 0)], ..Plan::new(10) };
    let mut bytes = file(&ftyp(), vec![plan], &[s16be(&sound)]);
    let at = bytes.windows(4).position(|kind| kind == b"elst").unwrap() + 12;
    bytes[at] = 0x20;
    let (got, warning) = hear(bytes);
    same(&got, &sound);
    assert!(warning.unwrap().contains("its index is damaged"));
}

#[test]
fn a_hole_in_the_times_is_silence_of_its_length() {
    let sound = wave(3_200);
    let plan = Plan { times: vec![(1_599, 1), (1, 64_001), (1_600, 1)], ..Plan::new(20) };
    let (got, warning) = hear(file(&ftyp(), vec![plan], &[s16be(&sound)]));
    assert_eq!(warning, None);
    assert_eq!(got.len(), 64_000 + 3_200);
    same(&got[..1_600], &sound[..1_600]);
    assert!(got[1_600..65_600].iter().all(|&x| x == 0.0));
    same(&got[65_600..], &sound[1_600..]);
}

#[test]
fn the_enabled_track_is_heard_and_another_can_be_chosen() {
    let (first, second) = (wave(1_600), wave(3_200));
    let plans = vec![Plan { enabled: false, ..Plan::new(10) }, Plan::new(20)];
    let bytes = file(&ftyp(), plans, &[s16be(&first), s16be(&second)]);
    let track = |n| NonZero::new(n).unwrap();
    let plain = open(bytes.clone()).unwrap();
    assert_eq!((plain.track(), plain.tracks()), (2, 2));
    let (got, warning) = rest(plain).unwrap();
    same(&got, &second);
    assert_eq!(warning, None);
    let mut chosen = open(bytes.clone()).unwrap();
    chosen.choose_track(track(1)).unwrap();
    assert_eq!(chosen.track(), 1);
    same(&rest(chosen).unwrap().0, &first);
    let refused = open(bytes).unwrap().choose_track(track(3)).unwrap_err();
    assert!(matches!(refused, AudioError::NoTrack { track: 3, tracks: 2, .. }));
    // A track that cannot be decoded is skipped.
    let plans =
        vec![Plan { entry: entry(b"samr", 0, 16, &[]), ..Plan::new(10) }, Plan { enabled: false, ..Plan::new(20) }];
    let mut file = open(file(&ftyp(), plans, &[s16be(&first), s16be(&second)])).unwrap();
    assert_eq!(file.track(), 2);
    assert!(file.choose_track(track(1)).unwrap_err().to_string().contains("AMR"));
}

/// An `mp4a` entry with a configuration of AAC.
fn mp4a(config: &[u8]) -> Vec<u8> {
    let len = config.len() as u8;
    let config = [&[0x05, len][..], config].concat();
    let decoder = [&[0x04, 13 + config.len() as u8, 0x40, 0x15][..], &[0; 11], &config].concat();
    let esds = [&[0, 0, 0, 0, 0x03, 3 + decoder.len() as u8, 0, 1, 0][..], &decoder].concat();
    entry(b"mp4a", 0, 16, &atom(b"esds", &[&esds]))
}

#[test]
fn what_aac_is_decoded_and_what_is_refused() {
    let opened = |config: &[u8]| {
        let plan = Plan { entry: mp4a(config), size: 100, count: 10, times: vec![(10, 1_024)], ..Plan::new(1) };
        open(file(&ftyp(), vec![plan], &[vec![0; 1_000]]))
    };
    // AAC-LC, stereo at 44.1 kHz; HE-AAC of both kinds, 22.05 kHz below 44.1.
    for config in
        [&[0x12, 0x10][..], &[0x2B, 0x92, 0x08, 0x00], &[0xEB, 0x8A, 0x08, 0x00], &[0x13, 0x90, 0x56, 0xE5, 0xA0]]
    {
        opened(config).unwrap();
    }
    // AAC-LC with 6 and 8 channels.
    opened(&[0x12, 0x30]).unwrap();
    opened(&[0x12, 0x38]).unwrap();
    // AAC Main with 6 and 2 channels.
    let six = opened(&[0x0A, 0x30]).err().unwrap().to_string();
    assert!(six.contains("AAC with 6 channels is not decoded here"), "{six}");
    assert!(opened(&[0x0A, 0x10]).err().unwrap().to_string().contains("is not decoded here"));
}

#[test]
fn fragments_keep_their_times() {
    let sound = wave(6_400);
    let [a, b, c, d] = [&sound[..1_600], &sound[1_600..3_200], &sound[3_200..4_800], &sound[4_800..]];
    let (got, warning) = hear(fragmented(&[(0, a), (1_600, b), (3_200, c)]));
    same(&got, &sound[..4_800]);
    assert_eq!(warning, None);
    // The first fragment begins at 3 s, and 4 s are missing before the third.
    let (got, warning) = hear(fragmented(&[(48_000, a), (49_600, b), (115_200, c), (116_800, d)]));
    assert_eq!(warning, None);
    assert_eq!(got.len(), 118_400);
    same(&got[48_000..51_200], &sound[..3_200]);
    assert!(got[51_200..115_200].iter().all(|&x| x == 0.0));
    same(&got[115_200..], &sound[3_200..]);
    // A recording of a running stream.
    let (got, warning) = hear(fragmented(&[(3_000_000_000, a), (3_000_001_600, b)]));
    same(&got, &sound[..3_200]);
    assert!(warning.unwrap().contains("clock begins at 187500 seconds"));
    // Two joined recordings: the clock starts again.
    let (got, warning) = hear(fragmented(&[(32_000, a), (33_600, b), (0, c), (1_600, d)]));
    same(&got[32_000..], &sound);
    assert_eq!(warning, None);
}

#[test]
fn a_damaged_fragment_loses_only_its_own_sound_and_is_reported() {
    let sound = wave(6_400);
    let pieces: Vec<(u32, &[f32])> = sound.chunks(1_600).zip(0..).map(|(piece, i)| (1_600 * i, piece)).collect();
    let whole = fragmented(&pieces);
    let moofs: Vec<usize> = (0..whole.len() - 4).filter(|&at| &whole[at..at + 4] == b"moof").collect();
    for (what, at) in [("length and name", 0..4), ("moof's length", 0..0), ("traf's name", 24..28)] {
        let mut bytes = whole.clone();
        for i in at.clone() {
            bytes[moofs[2] + i] ^= 0xA5;
        }
        bytes[moofs[2] - 2] ^= if at.start == 0 { 0x40 } else { 0 };
        let (got, warning) = hear(bytes);
        println!("{what}: {warning:?}");
        assert_eq!(got.len(), 6_400, "{what}");
        same(&got[..3_200], &sound[..3_200]);
        same(&got[4_800..], &sound[4_800..]);
        if got[3_200..4_800].iter().all(|&x| x == 0.0) {
            assert!(warning.unwrap().contains("0.10 seconds are damaged"), "{what}");
        } else {
            same(&got, &sound);
        }
    }
    // A time that contradicts the fragments around it.
    let mut bytes = whole.clone();
    let tfdt = (moofs[2]..).find(|&at| &bytes[at..at + 4] == b"tfdt").unwrap();
    bytes[tfdt + 9] ^= 0x40;
    let (got, warning) = hear(bytes);
    same(&got, &sound);
    assert!(warning.unwrap().contains("its index is damaged"));
    // Cut off within the last fragment.
    let (got, warning) = hear(whole[..whole.len() - 2_000].to_vec());
    same(&got, &sound[..got.len()]);
    let warning = warning.unwrap();
    assert!(warning.contains("it ends early") && warning.contains("of 0.40 seconds"), "{warning}");
}

fn aac() -> Vec<u8> {
    std::fs::read(fixture("audio/aac_48k.m4a")).unwrap()
}

/// Where the content of the first atom of a kind begins.
fn content_of(bytes: &[u8], kind: &[u8; 4]) -> usize {
    bytes.windows(4).rposition(|window| window == kind).unwrap() + 4
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*bytes[at..].first_chunk().unwrap())
}

#[test]
fn a_packet_that_cannot_be_decoded_is_silence_and_the_rest_is_heard() {
    let whole = aac();
    let (want, warning) = hear(whole.clone());
    assert_eq!(warning, None);
    let (stsz, stco) = (content_of(&whole, b"stsz"), content_of(&whole, b"stco"));
    let fifth: u32 = (0..5).map(|i| number(&whole, stsz + 12 + 4 * i)).sum();
    let at = (number(&whole, stco + 8) + fifth) as usize;
    // A coupling channel and a program description are not implemented in the decoder.
    for first in [0x40, 0xA0] {
        let mut bytes = whole.clone();
        bytes[at] = first;
        let (got, warning) = hear(bytes);
        assert_eq!(got.len(), want.len());
        // Noise that AAC only describes depends on the packets before it.
        let last = want.len() - 2_000;
        let power = |sound: &mut dyn Iterator<Item = f32>| sound.map(|x| x * x).sum::<f32>();
        let off = power(&mut got[last..].iter().zip(&want[last..]).map(|(a, b)| a - b));
        let of = power(&mut want[last..].iter().copied());
        assert!(off < 0.05 * of, "{off} of {of}");
        assert!(warning.unwrap().contains("0.02 seconds are damaged and were replaced with silence"));
    }
    // None of them can be decoded.
    let mut bytes = whole.clone();
    let mut at = number(&whole, stco + 8) as usize;
    for i in 0..number(&whole, stsz + 8) as usize {
        bytes[at] = 0x40;
        at += number(&whole, stsz + 12 + 4 * i) as usize;
    }
    let refused = rest(open(bytes).unwrap()).unwrap_err().to_string();
    assert!(refused.contains("none of its sound can be decoded"), "{refused}");
}

#[test]
fn a_time_scale_of_twice_the_rate_is_no_early_end() {
    // HE-AAC is like this: its container counts frames of the full rate, and its core has half as
    // many.
    let (want, _) = hear(aac());
    let mut bytes = aac();
    let (mdhd, stts, elst) = (content_of(&bytes, b"mdhd"), content_of(&bytes, b"stts"), content_of(&bytes, b"elst"));
    let runs = number(&bytes, stts + 4) as usize;
    let places = [mdhd + 12, mdhd + 16, elst + 12].into_iter().chain((0..runs).map(|i| stts + 12 + 8 * i));
    for at in places {
        let doubled = 2 * number(&bytes, at);
        bytes[at..at + 4].copy_from_slice(&doubled.to_be_bytes());
    }
    let (got, warning) = hear(bytes);
    same(&got, &want);
    assert_eq!(warning, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However a file is damaged, decoding ends, and the sound is not longer than the file can
    /// declare.
    #[test]
    fn damage_neither_panics_nor_runs_away(
        base in 0usize..4,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let sound = wave(3_200);
        let edited = Plan { edits: vec![(200, -1), (100, 160)], ..Plan::new(20) };
        let mut bytes = match base {
            0 => file(&ftyp(), vec![edited], &[s16be(&sound)]),
            1 => fragmented(&[(0, &sound[..1_600]), (1_600, &sound[1_600..])]),
            2 => file(&[], vec![Plan::new(10), Plan::new(10)], &[s16be(&sound[..1_600]), s16be(&sound[1_600..])]),
            _ => aac(),
        };
        // Half of the damage hits the atoms of the index.
        let index = bytes.windows(4).position(|kind| kind == b"moov").unwrap();
        let sound = content_of(&bytes, b"mdat")..index - 4;
        let mut in_sound = base != 1 && cut.is_none();
        for (at, value, in_index) in flips {
            let from = if in_index { index } else { 0 };
            let at = from + at.index(bytes.len() - from);
            in_sound &= sound.contains(&at);
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let opened = open(bytes);
        // Damage to the sound alone is never a reason to refuse the file.
        prop_assert!(opened.is_ok() || !in_sound, "{:?}", opened.err());
        if let Ok(mut file) = opened {
            let mut len = 0;
            while let Ok(Some(block)) = file.next_block() {
                prop_assert!(block.len() < 16_000 * 12, "a block of {} samples", block.len());
                len += block.len();
                prop_assert!(len < 16_000 * 4_000, "{len} samples");
            }
        }
    }
}
