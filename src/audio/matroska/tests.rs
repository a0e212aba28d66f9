use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::audio::decode::AudioFile;
use crate::audio::ogg::tests::harm;
use crate::audio::opus::tests::packets as opus_packets;
use crate::audio::testing::fixture;

/// A length that is not known.
const UNKNOWN: [u8; 8] = [1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect()
}

fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let len = (1u32 << 28 | content.len() as u32).to_be_bytes();
    [&id_bytes(id), len.as_slice(), content].concat()
}

fn unknown(id: u32, content: &[u8]) -> Vec<u8> {
    [&id_bytes(id), UNKNOWN.as_slice(), content].concat()
}

fn entry(number: u8, kind: u8, codec: &str, private: &[u8]) -> Vec<u8> {
    let fields = [
        element(0xD7, &[number]),
        element(0x83, &[kind]),
        element(0x86, codec.as_bytes()),
        element(0x63A2, private),
        element(0xE1, &element(0xB5, &48_000f32.to_be_bytes())),
    ];
    element(0xAE, &fields.concat())
}

/// The head of a file: everything before the first Cluster.
fn start(entries: &[Vec<u8>]) -> Vec<u8> {
    let ebml = element(EBML, &element(0x4282, b"webm"));
    let inside = [element(INFO, &element(TICK, &[0x0F, 0x42, 0x40])), element(TRACKS, &entries.concat())].concat();
    [ebml, unknown(SEGMENT, &inside)].concat()
}

fn block(track: u8, time: i16, flags: u8, body: &[u8]) -> Vec<u8> {
    let time = time.to_be_bytes();
    [&[0x80 | track, time[0], time[1], flags], body].concat()
}

fn time(ticks: u64) -> Vec<u8> {
    element(TIME, &ticks.to_be_bytes())
}

/// The header of Opus and its packets of 20 ms.
fn opus() -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut packets = opus_packets("opus.ogg");
    let sound = packets.split_off(2);
    (packets.swap_remove(0), sound)
}

/// A file as a browser records it, with `clusters` clusters of one fixture each (320 ms), the first
/// of which begins at `at` ms.
pub(in crate::audio) fn recorded(clusters: u64, at: u64) -> Vec<u8> {
    let (head, sound) = opus();
    let mut file = start(&[entry(1, 2, "A_OPUS", &head)]);
    for n in 0..clusters {
        file.extend(unknown(CLUSTER, &cluster(&sound, at + n * 320)));
    }
    file
}

fn cluster(sound: &[Vec<u8>], at: u64) -> Vec<u8> {
    let blocks =
        sound.iter().enumerate().flat_map(|(n, data)| element(SIMPLE_BLOCK, &block(1, n as i16 * 20, 0x80, data)));
    [time(at), blocks.collect()].concat()
}

fn decode(bytes: Vec<u8>) -> Result<(Vec<f32>, Option<String>), String> {
    let file = AudioFile::from_source(Box::new(Cursor::new(bytes)), "talk.webm".to_owned());
    let mut file = file.map_err(|e| e.to_string())?;
    let mut all = Vec::new();
    while let Some(block) = file.next_block().map_err(|e| e.to_string())? {
        assert!(block.len() < 16_000 * 4, "{} samples at once", block.len());
        all.extend(block);
    }
    Ok((all, file.warning()))
}

/// The number of samples of `clusters` whole clusters.
fn len_of(clusters: usize) -> usize {
    (clusters * 16 * 960 - 312) / 3
}

#[track_caller]
fn assert_length(got: &[f32], want: usize) {
    assert!(got.len().abs_diff(want) <= 1, "{} of {want} samples", got.len());
}

#[test]
fn a_recording_of_a_browser_is_read() {
    let (got, warning) = decode(recorded(3, 0)).unwrap();
    assert_eq!(warning, None);
    assert_length(&got, len_of(3));
    // Known lengths give the same.
    let (head, sound) = opus();
    let mut clusters = Vec::new();
    for n in 0..3 {
        clusters.extend(element(CLUSTER, &[vec![0xEC, 0x82, 7, 7], cluster(&sound, n * 320)].concat()));
    }
    let inside = [element(TRACKS, &entry(1, 2, "A_OPUS", &head)), clusters, element(BETWEEN[1], &[0; 40])].concat();
    let file = [element(EBML, &element(0x4282, b"matroska")), element(SEGMENT, &inside)].concat();
    assert!(decode(file.clone()).unwrap() == (got, None));
    // It is cut off.
    for cut in 1..12 {
        let (_, warning) = decode(file[..file.len() - cut * 100].to_vec()).unwrap();
        assert!(warning.unwrap().contains("it ends early, after 0."), "{cut}");
    }
}

#[test]
fn several_packets_in_a_block_are_read_in_each_way() {
    let (head, sound) = opus();
    let want = decode(recorded(1, 0)).unwrap().0;
    let three: Vec<&[u8]> = sound.iter().take(3).map(Vec::as_slice).collect();
    let lens: Vec<usize> = three.iter().map(|packet| packet.len()).collect();
    assert!(lens.iter().all(|&len| len < 255), "{lens:?}");
    let xiph = [&[2, lens[0] as u8, lens[1] as u8], &three.concat()[..]].concat();
    let first = (0x4000 | lens[0] as u16).to_be_bytes();
    let change = (0x4000 | (lens[1] as i32 - lens[0] as i32 + 0x1FFF) as u16).to_be_bytes();
    let differences = [&[2], &first[..], &change, &three.concat()].concat();
    for (flags, body) in [(0x82, xiph), (0x86, differences)] {
        let mut blocks = element(SIMPLE_BLOCK, &block(1, 0, flags, &body));
        for (n, data) in sound.iter().enumerate().skip(3) {
            blocks.extend(element(SIMPLE_BLOCK, &block(1, n as i16 * 20, 0x80, data)));
        }
        let file = [start(&[entry(1, 2, "A_OPUS", &head)]), unknown(CLUSTER, &[time(0), blocks].concat())].concat();
        assert!(decode(file).unwrap() == (want.clone(), None));
    }
    // Equal lengths, and what is damaged.
    assert_eq!(packets(0x84, &[1, 7, 7, 8, 8]), Some(vec![&[7, 7][..], &[8, 8]]));
    assert_eq!(packets(0x00, &[9]), Some(vec![&[9][..]]));
    for (flags, body) in [
        (4, &[1, 7, 7, 7][..]),
        (4, &[]),
        (2, &[1, 9, 0]),
        (2, &[1, 255]),
        (6, &[1, 0xFF, 1]),
        (6, &[2, 0x81, 0x81, 0, 0]),
        (6, &[255, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE]),
    ] {
        assert_eq!(packets(flags, body), None, "{flags} {body:?}");
    }
}

#[test]
fn what_the_file_says_about_its_begin_and_end_is_followed() {
    let (head, sound) = opus();
    let delay = element(0x56AA, &6_500_000u32.to_be_bytes());
    let mut fields = entry(1, 2, "A_OPUS", &head).split_off(5);
    fields.extend(delay);
    let head_of_file = start(&[element(0xAE, &fields)]);
    let (last, others) = sound.split_last().unwrap();
    let mut content = cluster(others, 0);
    let inside = [element(BLOCK, &block(1, 300, 0, last)), element(DISCARD, &13_500_000i32.to_be_bytes())].concat();
    content.extend(element(GROUP, &inside));
    let (got, warning) = decode([head_of_file, unknown(CLUSTER, &content)].concat()).unwrap();
    assert_eq!(warning, None);
    assert_length(&got, len_of(1) - 216);
    assert!(got[..4_000] == decode(recorded(1, 0)).unwrap().0[..4_000]);
}

#[test]
fn times_are_kept() {
    let (head, sound) = opus();
    let with = |clusters: &[(u64, usize)]| {
        let mut file = start(&[entry(1, 2, "A_OPUS", &head)]);
        for &(at, len) in clusters {
            file.extend(unknown(CLUSTER, &cluster(&sound[..len], at)));
        }
        decode(file).unwrap()
    };
    // The time stamps of a recorder vary a little, and its clock may be ahead.
    let (got, warning) = with(&[(0, 16), (350, 16), (610, 16), (960, 16)]);
    assert_eq!(warning, None);
    assert_length(&got, len_of(4));
    // A pause is silence.
    let (got, warning) = with(&[(0, 16), (2_000, 16)]);
    assert_eq!(warning, None);
    assert_length(&got, 32_000 + 16 * 320);
    assert!(got[7_000..31_000].iter().all(|x| x.abs() < 1e-3) && got[32_200..].iter().any(|x| x.abs() > 0.01));
    // It begins late, or within a running stream.
    let (got, _) = with(&[(3_000, 16)]);
    assert_length(&got, 48_000 + len_of(1));
    let (got, warning) = with(&[(600_000, 16), (600_320, 16)]);
    assert_length(&got, len_of(2));
    assert!(warning.unwrap().contains("its clock begins at 600 seconds"));
    // Its clock was reset.
    let (got, warning) = with(&[(0, 16), (9_000_000, 16), (9_000_320, 16), (640, 16)]);
    assert_length(&got, len_of(4));
    assert!(warning.unwrap().contains("jumps ahead 1 times"));
}

#[test]
fn damage_costs_one_cluster() {
    let whole = recorded(4, 0);
    let want = decode(whole.clone()).unwrap().0;
    let places: Vec<usize> = (0..whole.len()).filter(|&at| whole[at..].starts_with(&CLUSTER.to_be_bytes())).collect();
    // The id of a block, its length, the track, and the id of a cluster.
    for (at, byte) in [(23 + 12, 0xA4), (24 + 12, 0), (25, 0xFF), (28, 0x77), (0, 0)] {
        let mut damaged = whole.clone();
        damaged[places[1] + at] = byte;
        let (got, warning) = decode(damaged).unwrap();
        println!("{at}: {} of {}; {warning:?}", got.len(), want.len());
        assert!(got.len().abs_diff(want.len()) <= 105, "byte {at}: {} of {}", got.len(), want.len());
    }
    let mut filled = whole.clone();
    filled[places[1] + 30..places[2] + 10].fill(0x55);
    let (got, warning) = decode(filled).unwrap();
    // The file has no codec delay, so its times are late by the pre-skip.
    assert_length(&got, want.len() + 104);
    let says = warning.unwrap();
    assert!(says.contains("it is damaged in 1 places") && says.contains("seconds are damaged"), "{says}");
    // A packet that cannot be decoded is silence of its length.
    let (head, mut sound) = opus();
    sound[5] = vec![sound[5][0] & 0x84 | 0x61, 1, 2, 3];
    let file = [start(&[entry(1, 2, "A_OPUS", &head)]), unknown(CLUSTER, &cluster(&sound, 0))].concat();
    let (got, warning) = decode(file).unwrap();
    assert_length(&got, len_of(1));
    assert!(warning.unwrap().contains("0.02 seconds are damaged and were replaced with silence"));
    // Another recording follows.
    let (got, warning) = decode([whole.clone(), whole].concat()).unwrap();
    assert!(got == want);
    assert!(warning.unwrap().contains("another recording follows"));
}

#[test]
fn other_tracks_are_skipped_and_a_track_can_be_chosen() {
    let (head, sound) = opus();
    let entries = [
        entry(1, 1, "V_VP8", b""),
        entry(2, 2, "A_AC3", b""),
        entry(3, 2, "A_OPUS", &head),
        entry(4, 2, "A_OPUS", &head),
    ];
    let mut content = time(0);
    for (n, data) in sound.iter().enumerate() {
        let at = n as i16 * 20;
        content.extend(element(SIMPLE_BLOCK, &block(1, at, 0x80, &[7; 3_000])));
        content.extend(element(GROUP, &element(BLOCK, &block(3, at, 0, data))));
        if n % 2 == 0 {
            content.extend(element(SIMPLE_BLOCK, &block(4, at, 0x80, data)));
        }
    }
    let file = [start(&entries), unknown(CLUSTER, &content)].concat();
    assert!(decode(file.clone()).unwrap().0 == decode(recorded(1, 0)).unwrap().0);
    let mut open = AudioFile::from_source(Box::new(Cursor::new(file)), "talk.mkv".to_owned()).unwrap();
    assert_eq!((open.tracks(), open.track()), (3, 2));
    let error = open.choose_track(1.try_into().unwrap()).unwrap_err().to_string();
    assert!(error.contains("Dolby AC-3 audio is not decoded here"), "{error}");
    open.choose_track(3.try_into().unwrap()).unwrap();
    assert_eq!(open.track(), 3);
    open.next_block().unwrap().unwrap();
    let error = open.choose_track(2.try_into().unwrap()).unwrap_err().to_string();
    assert!(error.contains("must be chosen before"), "{error}");
}

#[test]
fn what_is_not_read_is_named() {
    let (head, _) = opus();
    let mut ambisonics = head.clone();
    ambisonics[18] = 2;
    let mut packed = entry(1, 2, "A_OPUS", &head).split_off(5);
    packed.extend(element(0x6D80, b""));
    let cluster = unknown(CLUSTER, &time(0));
    for (list, says) in [
        (entry(1, 2, "A_OPUS", &ambisonics), "channel mapping family other than 0 and 1 is not decoded"),
        (entry(1, 2, "A_OPUS", b""), "damaged header"),
        (entry(1, 2, "A_VORBIS", b"\x02\x1e"), "Vorbis audio with a damaged header"),
        (entry(1, 2, "A_WHAT\n", b""), r"its audio coding (A_WHAT\n)"),
        (element(0xAE, &packed), "compressed or encrypted"),
        (entry(1, 1, "V_VP9", b""), "there is no audio track"),
        (Vec::new(), "there is no audio track"),
    ] {
        let error = decode([start(&[list]), cluster.clone()].concat()).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let only_head = start(&[entry(1, 2, "A_OPUS", &head)]);
    assert!(decode(only_head.clone()).unwrap_err().contains("a header and no samples"));
    assert!(decode(only_head[..30].to_vec()).unwrap_err().contains("damaged or cut off"));
    assert!(decode([&element(EBML, b"")[..], &cluster].concat()).unwrap_err().contains("damaged or cut off"));
}

#[test]
fn endless_elements_take_no_memory() {
    // Every length is larger than what follows.
    let (head, _) = opus();
    let huge = |id: u32| [&id_bytes(id), [1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0].as_slice()].concat();
    for id in [SIMPLE_BLOCK, GROUP, TIME, CLUSTER, BETWEEN[0], WITHIN[0], 0x99] {
        let file =
            [start(&[entry(1, 2, "A_OPUS", &head)]), unknown(CLUSTER, &time(0)), huge(id), vec![0; 100_000]].concat();
        let mut matroska = Matroska::open(Cursor::new(file)).unwrap();
        while matroska.next_packet().unwrap().is_some() {}
        assert!(matroska.lost.cut || matroska.lost.places > 0, "{id:x}");
    }
    for id in [INFO, TRACKS, EBML] {
        assert!(matches!(Matroska::open(Cursor::new(huge(id))), Err(OpenError::Damaged)));
    }
}

#[test]
fn numbers() {
    assert_eq!(number(&[0x81]), Some((Some(1), 1)));
    assert_eq!(number(&[0x40, 0x02, 9]), Some((Some(2), 2)));
    assert_eq!(number(&UNKNOWN), Some((None, 8)));
    assert_eq!(number(&[0x40]), None);
    assert_eq!(number(&[0]), None);
    assert_eq!((int(&[0xFF]), int(&[0x01, 0x00]), int(&[]), int(&[0x80, 0, 0, 0, 0, 0, 0, 0])), (-1, 256, 0, i64::MIN));
    assert_eq!(ebml::head(&[0xA3, 0x82]), Some(Head { id: 0xA3, len: Some(2), head_len: 2 }));
    assert_eq!(ebml::head(&[0x08, 0x82]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damaged_files_are_read_or_refused(harms in proptest::collection::vec(harm(), 1..5), at in 0usize..5) {
        let mut bytes = match at {
            0 => recorded(4, 0),
            at => std::fs::read(fixture(["audio/recorder.webm", "audio/opus_51.mkv", "audio/vorbis.webm", "audio/aac.mkv"][at - 1])).unwrap(),
        };
        harms.iter().for_each(|harm| { harm.apply(&mut bytes); });
        if let Ok((got, _)) = decode(bytes) {
            // A damaged time may be an hour ahead.
            prop_assert!(got.len() <= 16_000 * 3_600 * 3, "{} samples", got.len());
        }
    }
}
