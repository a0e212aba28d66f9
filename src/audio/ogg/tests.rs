use std::io::Cursor;

use proptest::prelude::*;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};

use super::pages::crc;
use super::*;
use crate::audio::testing::fixture;

/// The number of pages before the first sound of [`small_pages`].
const HEADERS: usize = 3;

/// The maximum number of bytes of a page header with its lengths in [`small_pages`].
const HEADER_LEN: usize = 27 + 16;

fn file() -> Vec<u8> {
    std::fs::read(fixture("audio/stereo_44k.ogg")).unwrap()
}

/// The places of the pages, and the end.
fn places(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"OggS")).chain([bytes.len()]).collect()
}

/// The separate pages.
fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    places(bytes).windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect()
}

/// The packets of a file in which none continues on another page.
pub(in crate::audio) fn packets(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut pages = Pages::new(Cursor::new(bytes));
    let mut packets = Vec::new();
    while let Some(page) = pages.next().unwrap() {
        packets.extend(page.pieces);
    }
    packets
}

/// The file with one packet per page.
fn small_pages() -> Vec<u8> {
    let packets = packets(&file());
    let mut decoder = decoder(CODEC_ID_VORBIS, &[&packets[0][..], &packets[2]].concat()).unwrap();
    let (mut out, mut granule, end) = (Vec::new(), 0, last_granule(&mut Cursor::new(file())).unwrap().unwrap().1);
    for (sequence, packet) in packets.iter().enumerate() {
        if sequence >= HEADERS {
            let packet = Packet::new(0, Timestamp::ZERO, Duration::ZERO, packet.clone());
            granule += decoder.decode(&packet).unwrap().frames() as u64;
        }
        let last = sequence + 1 == packets.len();
        let flags = if sequence == 0 { 2 } else { u8::from(last) * 4 };
        out.extend(page_of(flags, if last { end } else { granule }, 7, sequence as u32, packet));
    }
    out
}

fn page_of(flags: u8, granule: u64, serial: u32, sequence: u32, packet: &[u8]) -> Vec<u8> {
    page_of_all(flags, granule, serial, sequence, &[packet.to_vec()])
}

/// A page with several packets, which must fit into it.
pub(in crate::audio) fn page_of_all(
    flags: u8,
    granule: u64,
    serial: u32,
    sequence: u32,
    packets: &[Vec<u8>],
) -> Vec<u8> {
    let lengths_of = |packet: &Vec<u8>| {
        let len = packet.len();
        (0..=len / 255).map(move |n| (len - n * 255).min(255) as u8).collect::<Vec<u8>>()
    };
    let lengths: Vec<u8> = packets.iter().flat_map(lengths_of).collect();
    let mut page = [b"OggS\0".as_slice(), &[flags], &granule.to_le_bytes(), &serial.to_le_bytes()].concat();
    page.extend(sequence.to_le_bytes());
    page.extend([0; 4]);
    page.push(lengths.len() as u8);
    page.extend(lengths);
    page.extend(packets.concat());
    sealed(page)
}

fn sealed(mut page: Vec<u8>) -> Vec<u8> {
    let sum = crc(&page).to_le_bytes();
    page[22..26].copy_from_slice(&sum);
    page
}

/// The same pages with another serial, and with other granules and numbers from page `from` on.
fn renumbered(bytes: &[u8], from: usize, granule: u64, sequence: u32, serial: u32) -> Vec<u8> {
    let mut pages = split(bytes);
    for (at, page) in pages.iter_mut().enumerate() {
        if at >= from {
            let old = u64::from_le_bytes(page[6..14].try_into().unwrap());
            page[6..14].copy_from_slice(&(old + granule).to_le_bytes());
            let old = u32::from_le_bytes(page[18..22].try_into().unwrap());
            page[18..22].copy_from_slice(&(old + sequence).to_le_bytes());
        }
        page[14..18].copy_from_slice(&serial.to_le_bytes());
        *page = sealed(std::mem::take(page));
    }
    pages.concat()
}

fn open(bytes: Vec<u8>) -> Result<Ogg<Cursor<Vec<u8>>>, AudioError> {
    let last = last_granule(&mut Cursor::new(&bytes)).unwrap();
    Ogg::open(Cursor::new(bytes), "talk.ogg", last)
}

fn decode(bytes: Vec<u8>) -> Result<(Vec<f32>, Option<String>), AudioError> {
    let mut ogg = open(bytes)?;
    let mut all = Vec::new();
    while let Some(block) = ogg.next_block()? {
        assert!(block.len() < 16_000 * 60, "{} samples at once", block.len());
        all.extend(block);
    }
    Ok((all, ogg.warning()))
}

#[track_caller]
fn assert_length(got: &[f32], want: usize) {
    assert!(got.len().abs_diff(want) <= 1, "{} of {want} samples", got.len());
}

#[test]
fn a_whole_file_is_read_without_a_warning() {
    for bytes in [file(), small_pages()] {
        let (got, warning) = decode(bytes.clone()).unwrap();
        assert!((4_700..=4_810).contains(&got.len()), "{}", got.len());
        assert_eq!(warning, None);
        let declared = open(bytes.clone()).unwrap().seconds().unwrap();
        assert!((declared * 16_000.0 - got.len() as f64).abs() <= 1.0, "{declared}");
        // A chain of two.
        let (twice, warning) = decode([bytes.clone(), bytes.clone()].concat()).unwrap();
        assert_eq!(warning, None);
        assert_length(&twice, 2 * got.len());
        let other = renumbered(&bytes, usize::MAX, 0, 0, 9);
        let (twice, warning) = decode([bytes.clone(), other].concat()).unwrap();
        assert_eq!(warning, None);
        assert_length(&twice, 2 * got.len());
        // After other bytes, and before a tag.
        let (tagged, warning) = decode([b"junk", &bytes[..], b"TAG", &[0; 125]].concat()).unwrap();
        assert_eq!((tagged, warning), (got, None));
    }
}

#[test]
fn a_stream_that_was_running_begins_at_zero() {
    let bytes = small_pages();
    let want = decode(bytes.clone()).unwrap().0.len();
    for (granule, sequence, says) in [
        // Its clock begins later, and no page is missing. This needs no warning.
        (441_000, 0, None),
        (441_000_000_000, 0, None),
        // The recording of a running stream lacks pages.
        (441_000, 50, Some("its clock begins at 10 seconds; times count from its first sound")),
        (441_000_000, 70_000, Some("its clock begins at 10000 seconds")),
    ] {
        let late = renumbered(&bytes, HEADERS, granule, sequence, 7);
        let (got, warning) = decode(late.clone()).unwrap();
        assert_length(&got, want);
        match says {
            Some(says) => assert!(warning.unwrap().contains(says)),
            None => assert_eq!(warning, None),
        }
        let declared = open(late.clone()).unwrap().seconds().unwrap();
        assert!((declared * 16_000.0 - want as f64).abs() <= 1.0, "{declared}");
        // The recording of a stream needs no end mark.
        let mut pages = split(&late);
        pages.pop();
        let warning = decode(pages.concat()).unwrap().1.unwrap_or_default();
        assert!(!warning.contains("end"), "{warning}");
    }
}

#[test]
fn a_damaged_page_is_silence_of_its_length() {
    let bytes = small_pages();
    let want = decode(bytes.clone()).unwrap().0.len();
    let places = places(&bytes);
    let pages = places.len() - 1;
    assert!(pages > 12, "{pages}");
    for n in HEADERS..pages - 1 {
        let (at, end) = (places[n], places[n + 1]);
        // A bit in each part of the page: its mark, version, flags, granule, serial, sequence, CRC,
        // lengths, packets.
        for by in [0, 4, 5, 7, 15, 19, 23, 26, 27, 30, end - at - 1] {
            let mut damaged = bytes.clone();
            damaged[at + by] ^= 1;
            let (got, warning) = decode(damaged).unwrap();
            assert!(got.len().abs_diff(want) <= 1, "page {n}, byte {by}: {} of {want}", got.len());
            assert!(warning.unwrap().contains("seconds are damaged"), "page {n}, byte {by}");
        }
        let (got, warning) = decode([&bytes[..at], &bytes[end..]].concat()).unwrap();
        assert!(got.len().abs_diff(want) <= 1, "without page {n}");
        assert!(warning.unwrap().contains("missing"));
    }
    // Many pages, from the first sound on.
    for last in [HEADERS + 4, pages - 3] {
        let mut overwritten = bytes.clone();
        overwritten[places[HEADERS]..places[last]].fill(0x55);
        let mut flipped = bytes.clone();
        (HEADERS..last).for_each(|n| flipped[places[n] + 40] ^= 4);
        for damaged in [overwritten, flipped] {
            let (got, warning) = decode(damaged).unwrap();
            assert_length(&got, want);
            let lost = u64::from_le_bytes(bytes[places[last - 1] + 6..][..8].try_into().unwrap()) * 16_000 / 44_100;
            // The filter of the resampler spreads sound a little to earlier samples.
            assert!(lost > 300 && got[..lost as usize - 200].iter().all(|x| x.abs() < 1e-3));
            assert!(warning.unwrap().contains("seconds are damaged"));
        }
    }
}

#[test]
fn a_damaged_header_is_refused_and_a_damaged_comment_is_not() {
    let bytes = small_pages();
    let want = decode(bytes.clone()).unwrap();
    let places = places(&bytes);
    for (n, header) in places.windows(2).take(HEADERS).enumerate() {
        for at in header[0] + HEADER_LEN..header[1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            match decode(damaged) {
                Ok(got) => assert!(n == 1 && got == want, "page {n}, byte {at}"),
                Err(error) => {
                    assert!(n != 1, "page {n}, byte {at}");
                    assert!(error.to_string().contains("its Ogg header is damaged"), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_page_that_comes_twice_is_read_once() {
    let mut pages = split(&small_pages());
    let want = decode(pages.concat()).unwrap();
    for at in HEADERS + 1..pages.len() {
        pages.insert(at, pages[at].clone());
        assert_eq!(decode(pages.concat()).unwrap(), want);
        pages.remove(at);
    }
}

#[test]
fn a_file_that_is_cut_off_is_read_with_a_warning() {
    let bytes = small_pages();
    let whole = decode(bytes.clone()).unwrap().0.len();
    let places = places(&bytes);
    let sound_at = places[HEADERS + 2];
    for end in (sound_at..bytes.len()).step_by(7).chain(places[HEADERS + 2..places.len() - 1].iter().copied()) {
        let (got, warning) = decode(bytes[..end].to_vec()).unwrap();
        assert!(got.len() <= whole, "cut at {end}");
        let warning = warning.unwrap();
        assert!(
            warning.contains("it is cut off after 0.") || warning.contains("no end mark"),
            "cut at {end}: {warning}"
        );
    }
    assert!(decode(bytes[..places[HEADERS - 1] + 20].to_vec()).is_err());
}

#[test]
fn sound_that_is_lost_at_the_end_is_reported() {
    let bytes = small_pages();
    let places = places(&bytes);
    let last = places.len() - 2;
    for by in [0, 5, 7, 19, 26, 27, 40] {
        let mut damaged = bytes.clone();
        damaged[places[last] + by] ^= 1;
        assert!(decode(damaged).unwrap().1.is_some(), "byte {by}");
    }
    let mut damaged = bytes.clone();
    damaged[places[last - 2]..].fill(0);
    assert!(decode(damaged).unwrap().1.unwrap().contains("its end is damaged"));
    // The second stream of a chain cannot be read.
    let other = renumbered(&bytes, usize::MAX, 0, 0, 9);
    let mut headless = other.clone();
    headless[40] ^= 1;
    let (got, warning) = decode([&bytes[..], &headless].concat()).unwrap();
    assert_length(&got, decode(bytes.clone()).unwrap().0.len());
    assert!(warning.unwrap().contains("pages belong to no stream that it declares"));
    let mut mute = other.clone();
    mute[places[2] + 3_000..places[2] + 3_010].fill(0);
    mute.drain(places[2] + 300..places[2] + 340);
    let (_, warning) = decode([&bytes[..], &mute].concat()).unwrap();
    assert!(warning.unwrap().contains("damaged header"));
}

#[test]
fn a_clock_that_jumps_costs_no_memory() {
    let bytes = small_pages();
    let want = decode(bytes.clone()).unwrap().0.len();
    let (hour, minutes) = (44_100 * 3_600, 44_100 * 600);
    let (got, warning) = decode(renumbered(&bytes, HEADERS + 5, 2 * hour, 0, 7)).unwrap();
    assert_length(&got, want);
    assert!(warning.unwrap().contains("its clock jumps ahead 1 times"));
    let (got, warning) = decode(renumbered(&bytes, HEADERS + 5, minutes, 0, 7)).unwrap();
    assert_length(&got, want + 16_000 * 600);
    assert!(warning.unwrap().contains("600.00 seconds are damaged or missing"));
}

#[test]
fn other_streams_are_skipped() {
    let video = |flags, sequence| page_of(flags, u64::from(sequence), 5, sequence, b"\x80theora frame");
    let sound = split(&small_pages());
    let want = decode(sound.concat()).unwrap();
    let mut pages = vec![video(2, 0)];
    for (n, page) in sound.into_iter().enumerate() {
        pages.extend([page, video(0, n as u32 + 1)]);
    }
    // The first pages of all streams come first.
    pages.swap(0, 1);
    assert_eq!(decode(pages.concat()).unwrap(), want);
    // Damage in the other stream loses no sound.
    for at in (8..pages.len() - 2).filter(|&at| pages[at].windows(6).any(|w| w == b"theora")) {
        let mut damaged = pages.clone();
        damaged[at][35] ^= 1;
        assert_eq!(decode(damaged.concat()).unwrap(), want, "page {at}");
    }
}

#[test]
fn what_is_not_decoded_is_named() {
    for (packet, name) in [
        (b"OpusHead\x01\x01".as_slice(), "Opus audio"),
        (b"Speex   1.2", "Speex audio"),
        (b"\x80theora\x03", "Theora"),
        (b"fishead\0", "without Vorbis"),
        (b"something", "an unknown coding"),
    ] {
        let bytes = [page_of(2, 0, 7, 0, packet), page_of(0, 0, 7, 1, b"comment")].concat();
        let error = decode(bytes).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("is not decoded here"), "{error}");
    }
    let skeleton = page_of(2, 0, 6, 0, b"fishead\0");
    let speex = page_of(2, 0, 9, 0, b"Speex   1.2");
    let bytes = [skeleton.clone(), speex.clone(), page_of(0, 0, 9, 1, b"x")].concat();
    assert!(decode(bytes).unwrap_err().to_string().contains("Speex audio"));
    // Beside sound that is decoded, it is skipped. After that sound, it is a warning.
    let (want, _) = decode(file()).unwrap();
    let (got, warning) = decode([skeleton, file()].concat()).unwrap();
    assert_eq!((got, warning), (want.clone(), None));
    let (got, warning) = decode([file(), speex, page_of(0, 0, 9, 1, b"x")].concat()).unwrap();
    assert_eq!(got, want);
    assert!(warning.unwrap().contains("Speex audio"));
    // Two sound tracks at once: the first is decoded.
    let bytes = small_pages();
    let (first, second) = (split(&bytes), split(&renumbered(&bytes, usize::MAX, 0, 0, 9)));
    let both = first.iter().zip(&second).flat_map(|(a, b)| [&a[..], b]).collect::<Vec<_>>().concat();
    let (got, warning) = decode(both).unwrap();
    assert_eq!(got, decode(bytes).unwrap().0);
    assert!(warning.unwrap().contains("another sound track"));
}

/// FLAC in Ogg, with one frame per page.
fn flac() -> (Vec<u8>, usize) {
    let bytes = std::fs::read(fixture("audio/stereo_22k.flac")).unwrap();
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes.clone())), MediaSourceStreamOptions::default());
    let (format, metadata) = Default::default();
    let mut reader = symphonia::default::get_probe().probe(&Hint::new(), stream, format, metadata).unwrap();
    let Some(CodecParameters::Audio(params)) = &reader.tracks()[0].codec_params else { panic!("no sound") };
    let rate = params.sample_rate.unwrap();
    let head = [b"\x7fFLAC\x01\0\0\x01fLaC\0\0\0\x22".as_slice(), &bytes[8..42]].concat();
    let mut out = page_of(2, 0, 3, 0, &head);
    out.extend(page_of(0, 0, 3, 1, b"\x84\0\0\x08\0\0\0\0\0\0\0\0"));
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_packet().unwrap() {
        packets.push(packet);
    }
    let mut granule = 0;
    for (n, packet) in packets.iter().enumerate() {
        granule += packet.dur.get();
        let flags = u8::from(n + 1 == packets.len()) * 4;
        out.extend(page_of(flags, granule, 3, n as u32 + 2, &packet.data));
    }
    (out, (granule as f64 * 16_000.0 / f64::from(rate)).round() as usize)
}

#[test]
fn flac_in_ogg_is_read() {
    let (bytes, want) = flac();
    let (got, warning) = decode(bytes.clone()).unwrap();
    assert_eq!(warning, None);
    assert_length(&got, want);
    let pages = split(&bytes);
    let (got, warning) = decode([pages[..3].concat(), pages[4..].concat()].concat()).unwrap();
    assert_length(&got, want);
    assert!(warning.unwrap().contains("seconds are damaged or missing"));
}

/// Opus in Ogg, with one packet per page. The packets are those of a fixture, `times` times over,
/// and `end` frames are cut off at the end.
fn opus_pages(head: &[u8], times: usize, end: u64) -> Vec<u8> {
    let all = packets(&std::fs::read(fixture("audio/opus.ogg")).unwrap());
    let sound: Vec<&Vec<u8>> = (0..times).flat_map(|_| &all[2..]).collect();
    let mut out = [page_of(2, 0, 7, 0, head), page_of(0, 0, 7, 1, &all[1])].concat();
    let mut granule = 0;
    for (n, packet) in sound.iter().enumerate() {
        granule += opus::frames(packet).unwrap() as u64;
        let last = n + 1 == sound.len();
        let at = if last { granule - end } else { granule };
        out.extend(page_of(u8::from(last) * 4, at, 7, n as u32 + 2, packet));
    }
    out
}

fn opus_head() -> Vec<u8> {
    packets(&std::fs::read(fixture("audio/opus.ogg")).unwrap()).swap_remove(0)
}

/// The number of samples for so many frames of Opus.
fn of_opus(frames: u64) -> usize {
    (frames / 3) as usize
}

#[test]
fn opus_begins_after_its_pre_skip_and_ends_at_its_granule() {
    let (want, warning) = decode(std::fs::read(fixture("audio/opus.ogg")).unwrap()).unwrap();
    assert_eq!((want.len(), warning), (4_800, None));
    // The same in small pages.
    let whole = opus_pages(&opus_head(), 1, 0);
    let frames = 16 * 960;
    let (got, warning) = decode(whole.clone()).unwrap();
    assert_eq!(warning, None);
    assert_length(&got, of_opus(frames - 312));
    assert!(got[..4_000] == want[..4_000]);
    let declared = open(whole.clone()).unwrap().seconds().unwrap();
    assert!((declared * 48_000.0 - (frames - 312) as f64).abs() < 1.0, "{declared}");
    let (got, _) = decode(opus_pages(&opus_head(), 1, 700)).unwrap();
    assert_length(&got, of_opus(frames - 312 - 700));
    // Two streams in a chain have a pre-skip each.
    let (got, warning) = decode([whole.clone(), whole].concat()).unwrap();
    assert_eq!(warning, None);
    assert_length(&got, 2 * of_opus(frames - 312));
    let mut head = opus_head();
    head[10..12].copy_from_slice(&9_600u16.to_le_bytes());
    assert_length(&decode(opus_pages(&head, 1, 0)).unwrap().0, of_opus(frames - 9_600));
    // All of it is pre-skip.
    head[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(decode(opus_pages(&head, 1, 0)).unwrap().0.is_empty());
}

#[test]
fn the_gain_of_opus_is_applied() {
    let (want, _) = decode(opus_pages(&opus_head(), 1, 0)).unwrap();
    let mut head = opus_head();
    head[16..18].copy_from_slice(&(-1_541i16).to_le_bytes());
    let (got, _) = decode(opus_pages(&head, 1, 0)).unwrap();
    assert!(got.iter().zip(&want).all(|(half, whole)| (half * 2.0 - whole).abs() < 1e-4));
    head[16..18].copy_from_slice(&i16::MAX.to_le_bytes());
    let (got, _) = decode(opus_pages(&head, 1, 0)).unwrap();
    assert!(got.iter().all(|x| x.abs() < 2.0));
}

#[test]
fn damage_to_opus_is_silence_of_its_length() {
    let bytes = opus_pages(&opus_head(), 3, 0);
    let want = decode(bytes.clone()).unwrap().0;
    let pages = split(&bytes);
    for n in 2..pages.len() - 1 {
        // A page is missing, or its CRC is wrong.
        let mut flipped = bytes.clone();
        flipped[places(&bytes)[n] + 30] ^= 1;
        for damaged in [[pages[..n].concat(), pages[n + 1..].concat()].concat(), flipped] {
            let (got, warning) = decode(damaged).unwrap();
            assert_length(&got, want.len());
            assert!(warning.unwrap().contains("0.0"), "page {n}");
        }
        // A packet cannot be decoded, but its first byte tells its length.
        let mut pages = pages.clone();
        let granule = u64::from_le_bytes(pages[n][6..14].try_into().unwrap());
        let toc = pages[n][28] & !3 | 1;
        let flags = pages[n][5];
        pages[n] = page_of(flags, granule, 7, n as u32, &[toc & 0x87 | 0x60, 1, 2, 3]);
        let (got, warning) = decode(pages.concat()).unwrap();
        assert_length(&got, want.len());
        let says = warning.unwrap();
        assert!(says.contains("0.02 seconds are damaged or missing and were replaced with silence"), "{says}");
    }
    // A hole of a second, which the encoder left.
    let mut later = renumbered(&bytes, 10, 48_000, 0, 7);
    let (got, _) = decode(later.clone()).unwrap();
    assert_length(&got, want.len() + 16_000);
    later = renumbered(&bytes, 2, 48_000 * 50, 100, 7);
    assert_length(&decode(later).unwrap().0, want.len());
}

#[test]
fn hours_of_empty_opus_come_in_small_blocks() {
    let pages = 12;
    let page: Vec<Vec<u8>> = vec![vec![0x83, 48]; 255];
    let mut bytes = [page_of(2, 0, 7, 0, &opus_head()), page_of(0, 0, 7, 1, b"OpusTags")].concat();
    for n in 1..=pages {
        bytes.extend(page_of_all(0, n * 255 * 5_760, 7, n as u32 + 1, &page));
    }
    assert!(bytes.len() < 10_000);
    let mut ogg = open(bytes).unwrap();
    let (mut len, mut longest) = (0, 0);
    while let Some(block) = ogg.next_block().unwrap() {
        (len, longest) = (len + block.len(), longest.max(block.len()));
    }
    assert_eq!(len, of_opus(pages * 255 * 5_760 - 312));
    // A page is decoded as a whole.
    assert!(longest <= 31 * 16_000, "{longest}");
}

/// Damage to the bytes of a file.
#[derive(Clone, Debug)]
pub(in crate::audio) enum Harm {
    Flip(usize, u8),
    Fill(usize, usize, u8),
    Remove(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

pub(in crate::audio) fn harm() -> impl Strategy<Value = Harm> {
    let at = 0usize..20_000;
    prop_oneof![
        4 => (at.clone(), 0u8..8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        1 => (at.clone(), 1usize..3_000, any::<u8>()).prop_map(|(at, len, with)| Harm::Fill(at, len, with)),
        1 => (at.clone(), 1usize..3_000).prop_map(|(at, len)| Harm::Remove(at, len)),
        1 => (at.clone(), 1usize..3_000).prop_map(|(at, len)| Harm::Repeat(at, len)),
        1 => at.prop_map(Harm::Cut),
    ]
}

impl Harm {
    /// Damages `bytes`, and returns the first place that changes.
    pub(in crate::audio) fn apply(&self, bytes: &mut Vec<u8>) -> usize {
        let all = bytes.len().max(1);
        let range = |at: usize, len: usize| at % all..(at % all + len).min(bytes.len());
        let place = match *self {
            Harm::Flip(at, _) | Harm::Fill(at, ..) | Harm::Remove(at, _) | Harm::Repeat(at, _) | Harm::Cut(at) => {
                at % all
            }
        };
        match *self {
            Harm::Flip(at, bit) => bytes.iter_mut().skip(at % all).take(1).for_each(|byte| *byte ^= 1 << bit),
            Harm::Fill(at, len, with) => {
                let range = range(at, len);
                bytes[range].fill(with);
            }
            Harm::Remove(at, len) => {
                let range = range(at, len);
                bytes.drain(range);
            }
            Harm::Repeat(at, len) => {
                let piece = bytes[range(at, len)].to_vec();
                bytes.splice(at % all..at % all, piece);
            }
            Harm::Cut(at) => bytes.truncate(at % all),
        }
        place
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_opus_is_decoded_or_refused(harms in proptest::collection::vec(harm(), 1..5), small in any::<bool>()) {
        let whole = if small { opus_pages(&opus_head(), 4, 0) } else { std::fs::read(fixture("audio/opus_modes.ogg")).unwrap() };
        let want = decode(whole.clone()).unwrap().0;
        let mut bytes = whole;
        harms.iter().for_each(|harm| { harm.apply(&mut bytes); });
        if let Ok((got, warning)) = decode(bytes) {
            prop_assert!(got.len() <= 3 * want.len() + 16_000, "{} samples", got.len());
            // A stream of a chain that comes twice is no damage.
            prop_assert!(!small || warning.is_some() || got == want, "{} of {} samples", got.len(), want.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn sound_that_damage_removes_is_reported(harms in proptest::collection::vec(harm(), 1..4), small in any::<bool>()) {
        let whole = if small { small_pages() } else { file() };
        let want = decode(whole.clone()).unwrap().0;
        let mut bytes = whole;
        let sound_at = places(&bytes)[HEADERS];
        let first = harms.iter().map(|harm| harm.apply(&mut bytes)).min();
        let decoded = decode(bytes);
        // Damage after the headers is never a reason to refuse the file.
        prop_assert!(decoded.is_ok() || !small || first < Some(sound_at), "{:?}", decoded.err());
        if let Ok((got, warning)) = decoded {
            prop_assert!(got.len() <= 3 * want.len() + 16_000, "{} samples", got.len());
            prop_assert!(warning.is_some() || got == want, "{} of {} samples and no warning", got.len(), want.len());
        }
    }
}
