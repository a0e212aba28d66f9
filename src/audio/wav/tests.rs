//! WAV streams made byte by byte, and the sound that is read from them.

use std::io::{self, Cursor, ErrorKind, Read};

use proptest::prelude::*;

use super::format::SampleKind;
use super::*;
use crate::audio::testing::fixture;

/// A pipe that delivers its bytes in pieces of the given lengths.
struct Pipe {
    bytes: Vec<u8>,
    at: usize,
    pieces: Vec<usize>,
    turn: usize,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            return Err(ErrorKind::Interrupted.into());
        }
        let piece = self.pieces[self.turn % self.pieces.len()].max(1);
        let len = piece.min(buf.len()).min(self.bytes.len() - self.at);
        buf[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

fn all<R: Read>(reader: &mut PcmReader<R>) -> Result<Vec<f32>, AudioError> {
    let mut out = Vec::new();
    while let Some(block) = reader.next_block()? {
        assert!(!block.is_empty());
        out.extend(block);
    }
    assert!(reader.next_block()?.is_none());
    Ok(out)
}

fn read(bytes: Vec<u8>) -> Result<Vec<f32>, AudioError> {
    all(&mut PcmReader::wav(Cursor::new(bytes), "standard input"))
}

fn chunk(id: &[u8; 4], body: &[u8], len: u32) -> Vec<u8> {
    [id.as_slice(), &len.to_le_bytes(), body].concat()
}

fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let align = channels * bits.div_ceil(8);
    let fields = [tag, channels];
    let mut body: Vec<u8> = fields.iter().flat_map(|f| f.to_le_bytes()).collect();
    body.extend(rate.to_le_bytes());
    body.extend((rate * u32::from(align)).to_le_bytes());
    body.extend(align.to_le_bytes());
    body.extend(bits.to_le_bytes());
    chunk(b"fmt ", &body, 16)
}

fn wav(fmt: &[u8], data: &[u8], riff_len: u32, data_len: u32) -> Vec<u8> {
    let head = chunk(b"RIFF", b"WAVE", riff_len);
    [&head, fmt, &chunk(b"data", data, data_len)].concat()
}

fn ramp(len: usize) -> (Vec<u8>, Vec<f32>) {
    let samples: Vec<i16> = (0..len).map(|i| (i as i16).wrapping_mul(77)).collect();
    (samples.iter().flat_map(|s| s.to_le_bytes()).collect(), samples.iter().map(|&s| f32::from(s) / 32_768.0).collect())
}

#[test]
fn raw_samples_are_not_changed() {
    let (bytes, want) = ramp(5_000);
    let raw = |bytes: &[u8]| all(&mut PcmReader::raw(Cursor::new(bytes), "pipe", PcmSpec::RAW).unwrap()).unwrap();
    assert_eq!(raw(&bytes), want);
    let spec = PcmSpec { rate: 8_000, channels: 2, kind: SampleKind::U8 };
    let mut reader = PcmReader::raw(Cursor::new(bytes), "pipe", spec).unwrap();
    assert_eq!(all(&mut reader).unwrap().len(), 10_000);
    assert_eq!(raw(&[0, 64, 9]), [0.5]);
}

#[test]
fn wrong_lengths() {
    let (bytes, want) = ramp(3_000);
    let fmt = format(1, 1, 16_000, 16);
    for (riff, data) in [
        (36 + 6_000, 6_000),
        (u32::MAX, u32::MAX),
        (0, 0),
        (36, 0),
        (0x7FFF_FFFF, 0x7FFF_FFDB),
        (0x8000_0024, 0x8000_0000),
    ] {
        let mut reader = PcmReader::wav(Cursor::new(wav(&fmt, &bytes, riff, data)), "pipe");
        assert_eq!(all(&mut reader).unwrap(), want, "{riff} {data}");
        assert_eq!(reader.warning(), None);
    }
    let mut reader = PcmReader::wav(Cursor::new(wav(&fmt, &bytes, 99_036, 99_000)), "talk.wav");
    assert_eq!(all(&mut reader).unwrap(), want);
    let warning = reader.warning().unwrap();
    assert_eq!(warning, "talk.wav: it ends early: 0.19 of 3.09 seconds are present");
}

#[test]
fn nothing_is_an_error() {
    let fmt = format(1, 1, 16_000, 16);
    let message = |bytes: Vec<u8>| read(bytes).unwrap_err().to_string();
    assert!(message(Vec::new()).contains("standard input: there is no sound in it (it has no bytes)"));
    assert!(message(vec![1]).contains("this is not a WAV"));
    let mut raw = PcmReader::raw(Cursor::new(Vec::new()), "standard input", PcmSpec::RAW).unwrap();
    assert!(all(&mut raw).unwrap_err().to_string().contains("no bytes"));
    let empty = wav(&fmt, &[], 36, 0);
    assert!(message(empty.clone()).contains("a header and no samples"));
    for more in [chunk(b"LIST", &[7; 100], 100), chunk(b"cue ", &[0; 28], 28), empty.clone()] {
        assert!(message([empty.clone(), more].concat()).contains("a header and no samples"));
    }
}

/// Reads from a pipe and from a source of known length, and asserts that both give the same.
fn both_ways(bytes: &[u8]) -> (Vec<f32>, Option<String>) {
    let mut pipe = PcmReader::wav(Cursor::new(bytes), "talk.wav");
    let got = all(&mut pipe).unwrap();
    let mut file = PcmReader::wav_of_len(Cursor::new(bytes), "talk.wav", Some(bytes.len() as u64));
    assert_eq!(all(&mut file).unwrap(), got);
    assert_eq!(file.warning(), pipe.warning());
    (got, pipe.warning())
}

#[test]
fn a_killed_recorder_is_read_whatever_its_first_samples_are() {
    // Silence in A-law is 0x55, which is the letter U. 0xD5 is not a letter.
    let silence = [[0x55u8; 2_000], [0xD5; 2_000], [b' '; 2_000]];
    for data in silence {
        for (riff, len) in [(36, 0), (0, 0), (u32::MAX, u32::MAX), (0x8000_0024, 0x8000_0000)] {
            let (got, warning) = both_ways(&wav(&format(6, 1, 16_000, 8), &data, riff, len));
            assert_eq!((got.len(), warning), (2_000, None), "{riff} {len} {}", data[0]);
        }
    }
    let (bytes, want) = ramp(3_000);
    for (fmt, data, want) in [
        (format(1, 1, 16_000, 16), [b"fact now".as_slice(), &bytes].concat(), None),
        (format(1, 1, 16_000, 16), [b"OK!?\0\0\xFF\xFF".as_slice(), &bytes].concat(), Some(&want)),
    ] {
        // Letters begin a chunk only if a possible length follows.
        let got = read(wav(&fmt, &data, 36, 0));
        match want {
            Some(want) => assert_eq!(got.unwrap()[4..], want[..]),
            None => assert!(got.is_err()),
        }
    }
}

#[test]
fn chunks_after_the_samples_are_no_sound() {
    let (bytes, want) = ramp(3_000);
    let (odd, _) = (vec![0x20u8; 3_001], ());
    let unknown = chunk(b"ab7 ", &[9; 30], 30);
    let list = chunk(b"LIST", &[7; 100], 100);
    let cut = chunk(b"id3 ", &[7; 50], 5_000);
    let zeros = vec![0; 20_000];
    for more in [&list, &unknown, &[unknown.clone(), list.clone()].concat(), &cut, &[list.clone(), zeros].concat()] {
        let file = [wav(&format(1, 1, 16_000, 16), &bytes, 6_036, 6_000), more.clone()].concat();
        assert_eq!(both_ways(&file), (want.clone(), None));
        for pad in [vec![], vec![0]] {
            let file = [wav(&format(7, 1, 16_000, 8), &odd, 36, 3_001), pad, more.clone()].concat();
            let (got, warning) = both_ways(&file);
            assert_eq!((got.len(), warning), (3_001, None));
        }
    }
    let junk = [wav(&format(1, 1, 16_000, 16), &bytes, 6_036, 6_000), list, vec![200; 9_000]].concat();
    let (got, warning) = both_ways(&junk);
    assert_eq!(got, want);
    assert_eq!(warning.unwrap(), "talk.wav: 9000 bytes after the sound were not read");
}

#[test]
fn sound_after_the_declared_samples_is_read() {
    let (bytes, want) = ramp(6_000);
    let fmt = format(1, 1, 16_000, 16);
    for declared in [2, 5_000, 5_001, 11_000] {
        let (got, warning) = both_ways(&wav(&fmt, &bytes, 36 + declared, declared));
        assert_eq!(got, want);
        match declared {
            // Less than 0.1 s is padding.
            11_000 => assert_eq!(warning, None),
            _ => assert!(warning.unwrap().contains("and 0.38 seconds were read")),
        }
    }
    // Zeros are padding, too, however many.
    let padded = [wav(&fmt, &bytes, 12_036, 12_000), vec![0; 8_000]].concat();
    let (got, warning) = both_ways(&padded);
    assert_eq!((got.len(), warning), (10_000, None));
    // Another WAV, of the same coding or of another one.
    let one = wav(&fmt, &bytes, 12_036, 12_000);
    let list = chunk(b"LIST", &[7; 100], 100);
    let (got, warning) = both_ways(&[one.clone(), list, one.clone()].concat());
    assert_eq!((got, warning), ([want.clone(), want.clone()].concat(), None));
    let other = wav(&format(7, 2, 8_000, 8), &[0xFF; 4_000], 4_036, 4_000);
    let (got, warning) = both_ways(&[one.clone(), other].concat());
    assert_eq!((got.len(), warning), (6_000 + 4_000, None));
    assert_eq!(got[..6_000], want);
    // After sound, a WAV that cannot be decoded is a warning and not an error.
    let adpcm = wav(&format(2, 1, 8_000, 4), &[0x11; 400], 436, 400);
    let (got, warning) = both_ways(&[one.clone(), adpcm].concat());
    assert_eq!(got, want);
    assert!(warning.unwrap().contains("was not read"));
    let cut = wav(&fmt, &bytes[..4_000], 12_036, 12_000);
    let (got, warning) = both_ways(&[one, cut].concat());
    assert_eq!(got.len(), 8_000);
    assert_eq!(warning.unwrap(), "talk.wav: it ends early: 0.50 of 0.75 seconds are present");
}

/// A WAV of more than 4 GiB that is never in memory.
struct Long {
    head: Vec<u8>,
    tail: Vec<u8>,
    len: u64,
    at: u64,
}

impl Read for Long {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let tail_at = self.len - self.tail.len() as u64;
        let piece = match self.at {
            at if at < self.head.len() as u64 => &self.head[at as usize..],
            at if at >= tail_at => &self.tail[(at - tail_at) as usize..],
            at => {
                let len = (tail_at - at).min(buf.len() as u64) as usize;
                buf[..len].fill(0);
                self.at += len as u64;
                return Ok(len);
            }
        };
        let len = piece.len().min(buf.len());
        buf[..len].copy_from_slice(&piece[..len]);
        self.at += len as u64;
        Ok(len)
    }
}

#[test]
fn a_length_of_more_than_32_bits_is_known_from_the_file() {
    // 4 GiB and 1000 frames of 64 channels of 8 bytes, at 1 kHz, then a chunk.
    let data_len = (1u64 << 32) + 512_000;
    let mut head = wav(&format(3, 64, 1_000, 64), &[], 36, 512_000);
    head.extend(0.5f64.to_le_bytes());
    let tail = chunk(b"LIST", &[7; 100], 100);
    let len = 44 + data_len + tail.len() as u64;
    let mut reader = PcmReader::wav_of_len(Long { head, tail, len, at: 0 }, "long.wav", Some(len));
    reader.read_header().unwrap();
    // Decoding the rest of such a file takes a minute, so only its end is checked.
    assert_eq!(reader.declared_frames(), Some(1_000));
    reader.next_block().unwrap();
    while reader.declared_frames().is_some() {
        reader.next_block().unwrap();
    }
    let State::Samples { left: Some(left) } = reader.state else { panic!("the length is not known") };
    assert_eq!(reader.position() + left, 44 + data_len);
}

#[test]
fn rf64_has_a_long_length() {
    let (bytes, want) = ramp(300);
    let mut sizes = Vec::new();
    for n in [700u64, 600, 300] {
        sizes.extend(n.to_le_bytes());
    }
    let mut file = chunk(b"RF64", b"WAVE", u32::MAX);
    file.extend(chunk(b"ds64", &sizes, 24));
    file.extend(format(1, 1, 16_000, 16));
    file.extend(chunk(b"data", &bytes, u32::MAX));
    file.extend(chunk(b"LIST", &[7; 50], 50));
    let mut reader = PcmReader::wav(Cursor::new(file), "long.wav");
    assert_eq!(all(&mut reader).unwrap(), want);
    assert_eq!(reader.declared_frames(), Some(300));
}

#[test]
fn every_coding_has_the_same_sound() {
    let names = ["s16le", "u8", "s24le", "s32le", "f32le", "f64le", "alaw", "mulaw"];
    let file = |name: &str| std::fs::read(fixture(&format!("audio/wav_{name}.wav"))).unwrap();
    let want = read(file("s16le")).unwrap();
    assert_eq!(want.len(), 3_200);
    for name in names {
        let got = read(file(name)).unwrap();
        assert_eq!(got.len(), want.len(), "{name}");
        let error = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name}: largest difference {error:.1e}");
        let bound = match name {
            "u8" | "alaw" | "mulaw" => 0.02,
            _ => 1e-4,
        };
        assert!(error < bound, "{name}: {error}");
    }
}

#[test]
fn channels_are_averaged_and_invalid_floats_are_silenced() {
    let frames: [[f32; 2]; 4] = [[0.5, -0.25], [f32::NAN, 0.1], [1.5, 0.5], [f32::INFINITY, 0.0]];
    let data: Vec<u8> = frames.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    let mut reader = PcmReader::wav(Cursor::new(wav(&format(3, 2, 16_000, 32), &data, 0, 32)), "f.wav");
    assert_eq!(all(&mut reader).unwrap(), [0.125, 0.0, 1.0, 0.0]);
    assert!(reader.warning().unwrap().contains("2 samples were not numbers"));
}

#[test]
fn what_cannot_be_used_is_named() {
    let message = |bytes: Vec<u8>| read(bytes).unwrap_err().to_string();
    let head = chunk(b"RIFF", b"WAVE", 36);
    assert!(message(b"RIFF".to_vec()).contains("standard input: it ends before its samples begin"));
    assert!(message(head.clone()).contains("ends before its samples"));
    assert!(message([head.clone(), chunk(b"data", &[0; 20], 20)].concat()).contains("no format"));
    assert!(message([head.clone(), chunk(b"fmt ", &[1; 8], 8)].concat()).contains("too short"));
    let odd = |tag, channels, rate, bits| message(wav(&format(tag, channels, rate, bits), &[0; 64], 100, 64));
    assert!(odd(17, 1, 16_000, 4).contains("WAV coding 0x0011 with 4 bits is not decoded here"));
    assert!(odd(1, 0, 16_000, 16).contains("0 channels"));
    assert!(odd(1, 200, 16_000, 16).contains("200 channels"));
    assert!(odd(1, 1, 0, 16).contains("0 Hz"));
    assert!(odd(1, 1, 2_000_000_000, 16).contains("2000000000 Hz"));
    let mp3 = message(std::fs::read(fixture("audio/mono_44k.mp3")).unwrap());
    assert!(mp3.contains("this is not a WAV"), "{mp3}");
}

#[test]
fn a_block_comes_as_soon_as_its_bytes() {
    let (bytes, want) = ramp(1_000);
    let pipe = Pipe { bytes, at: 0, pieces: vec![640], turn: 0 };
    let mut reader = PcmReader::raw(pipe, "pipe", PcmSpec::RAW).unwrap();
    assert_eq!(reader.next_block().unwrap().unwrap(), want[..320]);
    assert_eq!(reader.next_block().unwrap().unwrap(), want[320..640]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn pieces_do_not_matter(pieces in proptest::collection::vec(1usize..700, 1..9), at in 0usize..4) {
        let name = ["wav_s16le.wav", "wav_extensible.wav", "wav_u8.wav", "ref_16k.wav"][at];
        let bytes = std::fs::read(fixture(&format!("audio/{name}"))).unwrap();
        let want = read(bytes.clone()).unwrap();
        let pipe = Pipe { bytes, at: 0, pieces, turn: 0 };
        prop_assert_eq!(all(&mut PcmReader::wav(pipe, name)).unwrap(), want);
    }
}
