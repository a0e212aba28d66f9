//! Files of every kind, whole and damaged, and the sound that is decoded from them.

use std::io::{self, Cursor, Seek};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::audio::testing::{fixture, read_wav};

/// Files that decode, and the tolerance of their length in seconds.
const GOOD: [(&str, f64); 27] = [
    ("ref_16k.wav", 0.0),
    ("stereo_22k.flac", 0.0),
    ("mono_44k.mp3", 0.06),
    ("stereo_44k.ogg", 0.01),
    ("aac_48k.m4a", 0.08),
    ("aac_44k.mp4", 0.08),
    ("aac_16k.aac", 0.2),
    ("aac_51.m4a", 0.08),
    ("aac_51_side.m4a", 0.08),
    ("aac_51.aac", 0.2),
    ("alac_32k.m4a", 0.0),
    ("video.mp4", 0.15),
    ("wav_extensible.wav", 0.0),
    ("wav_s16le.wav", 0.0),
    ("wav_u8.wav", 0.0),
    ("wav_s24le.wav", 0.0),
    ("wav_f64le.wav", 0.0),
    ("wav_mulaw.wav", 0.0),
    ("wav_alaw.wav", 0.0),
    ("opus.ogg", 0.0),
    ("opus.mp4", 0.02),
    ("opus.webm", 0.01),
    ("opus_51.mkv", 0.01),
    ("vorbis.webm", 0.02),
    ("aac.mkv", 0.1),
    ("mp3.mkv", 0.1),
    ("flac.mkv", 0.0),
];

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("audio/{name}"))).unwrap()
}

/// Decodes a whole file: its samples and its warning.
fn decode(bytes: Vec<u8>, name: &str) -> Result<(Vec<f32>, Option<String>), AudioError> {
    let mut file = AudioFile::from_source(Box::new(Cursor::new(bytes)), name.to_owned())?;
    let mut all = Vec::new();
    while let Some(block) = file.next_block()? {
        assert!(block.iter().all(|x| x.is_finite()));
        all.extend(block);
    }
    Ok((all, file.warning()))
}

/// The largest normalised correlation over lags of 0..=1200 samples, and its lag.
fn likeness(got: &[f32], want: &[f32]) -> (f64, usize) {
    (0..=1_200.min(got.len().saturating_sub(1)))
        .map(|lag| {
            let (mut ab, mut aa, mut bb) = (0.0, 1e-9_f64, 1e-9_f64);
            for (&a, &b) in got[lag..].iter().zip(want) {
                let (a, b) = (f64::from(a), f64::from(b));
                (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
            }
            (ab / (aa * bb).sqrt(), lag)
        })
        .fold((-1.0, 0), |best, x| if x.0 > best.0 { x } else { best })
}

#[test]
fn every_format_has_the_same_sound() {
    let want = read_wav(&fixture("audio/ref_16k.wav"));
    for (name, slack) in GOOD {
        let seconds = match name {
            "wav_extensible.wav" => 0.1,
            n if n.starts_with("wav_") => 0.2,
            _ => 0.3,
        };
        let duration = AudioFile::open(fixture(&format!("audio/{name}"))).unwrap().duration();
        let (got, warning) = decode(bytes_of(name), name).unwrap();
        let (same, lag) = likeness(&got, &want);
        println!(
            "{name}: {} samples, declared {duration:.3?} s, likeness {same:.4} at lag {lag}, warning {warning:?}",
            got.len()
        );
        assert_eq!(warning, None, "{name}");
        let length = got.len() as f64 / 16_000.0;
        assert!((length - seconds).abs() <= slack + 1e-3, "{name}: {length} s");
        let declared = duration.unwrap_or(length);
        assert!((declared - length).abs() <= slack + 1e-3, "{name}: {declared} s declared, {length} s read");
        assert!(same > 0.97, "{name}: {same}");
        let late = match name {
            // Only for Opus does the writer tell Matroska the delay of the encoder.
            "vorbis.webm" => 256,
            "mp3.mkv" => 1_105,
            name if name.contains("aac") || name.contains("video") => 1_100,
            _ => 1,
        };
        assert!(lag <= late, "{name}: {lag} samples late");
    }
}

/// Real speech in every form; see tools/real-speech/prepare.py.
#[test]
fn real_speech_in_every_form_has_the_same_sound() {
    let Some(folder) = std::env::var_os("ALIGNATT_SPEECH_FORMS") else {
        return eprintln!("NOT RUN: ALIGNATT_SPEECH_FORMS names no folder of prepared speech");
    };
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut compared = 0;
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let stem = name.split('.').next().unwrap();
        if name.ends_with(".safetensors") {
            continue;
        }
        let prepared = std::fs::read(path.with_file_name(format!("{stem}.safetensors"))).unwrap();
        let prepared = safetensors::SafeTensors::deserialize(&prepared).unwrap();
        let samples = prepared.tensor("samples").unwrap();
        let want: Vec<f32> =
            samples.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let (got, warning) = decode(std::fs::read(&path).unwrap(), name).unwrap();
        assert_eq!(warning, None, "{name}");
        // Coders add up to a frame at each end, and say so in most containers.
        let late = if name.contains("aac") || name.contains("mp3") { 2_400 } else { 16 };
        let longer = got.len() as i64 - want.len() as i64;
        assert!((-16..=2 * late as i64).contains(&longer), "{name}: {longer} samples longer");
        // A second from the middle is compared.
        let middle = want.len() / 2..(want.len() / 2 + 16_000).min(want.len());
        let end = (middle.end + 1_200).min(got.len());
        let (same, lag) = likeness(&got[middle.start..end], &want[middle]);
        println!("{name}: {longer} samples longer, likeness {same:.4} at lag {lag}");
        assert!(same > 0.97 && lag <= late, "{name}: {same} at {lag}");
        compared += 1;
    }
    assert!(compared > 0, "the folder holds prepared speech");
}

#[test]
fn what_cannot_be_decoded_is_named() {
    let error = AudioFile::open(fixture("audio/wav_ima.wav")).err().unwrap().to_string();
    assert!(error.contains("wav_ima.wav") && error.contains("WAV coding 0x0011 with 4 bits"), "{error}");
    let message = |bytes: &[u8], name: &str| decode(bytes.to_vec(), name).unwrap_err().to_string();
    let text = message("Grüße aus Köln, this is no sound.\n".as_bytes(), "notes.wav");
    assert!(text.contains("notes.wav: this looks like text") && text.contains("FLAC"), "{text}");
    assert!(message(&[], "empty.mp3").contains("no bytes"));
    assert!(message(&[0; 3_000], "zeros.m4a").contains("this is not sound in a known format"));
    let mut silent = bytes_of("ref_16k.wav");
    silent.truncate(44);
    silent[4..8].copy_from_slice(&36u32.to_le_bytes());
    silent[40..44].copy_from_slice(&0u32.to_le_bytes());
    assert!(message(&silent, "silent.wav").contains("a header and no samples"));
    let missing = AudioFile::open("no/such/talk.wav").err().unwrap().to_string();
    assert!(missing.contains("no/such/talk.wav: cannot be opened"), "{missing}");
    let folder = AudioFile::open(env!("CARGO_MANIFEST_DIR")).err().unwrap().to_string();
    assert!(folder.contains("directory"), "{folder}");
    let mut cut = bytes_of("aac_44k.mp4");
    cut.truncate(900);
    assert!(message(&cut, "cut.mp4").contains("index is missing"));
}

#[test]
fn files_that_are_cut_off_are_read_with_a_warning() {
    for name in ["ref_16k.wav", "stereo_22k.flac", "mono_44k.mp3", "aac_48k.m4a", "alac_32k.m4a"] {
        let whole = decode(bytes_of(name), name).unwrap().0;
        let mut bytes = bytes_of(name);
        bytes.truncate(bytes.len() * 3 / 4);
        let (got, warning) = decode(bytes, name).unwrap();
        println!("{name}: {} of {} samples; {warning:?}", got.len(), whole.len());
        assert!(got.len() > whole.len() / 5 && got.len() < whole.len());
        assert!(warning.unwrap().contains(name));
        let same = got.iter().zip(&whole).take(got.len() / 2).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(same, "{name}");
    }
    // All sound of this file is on one page. Its complete packets are decoded.
    let mut bytes = bytes_of("stereo_44k.ogg");
    bytes.truncate(bytes.len() * 9 / 10);
    let (got, warning) = decode(bytes, "cut.ogg").unwrap();
    assert!((3_000..4_800).contains(&got.len()), "{}", got.len());
    assert!(warning.unwrap().starts_with("cut.ogg: it is cut off after 0.2"));
}

#[test]
fn a_damaged_packet_keeps_the_clock() {
    let name = "stereo_22k.flac";
    let whole = decode(bytes_of(name), name).unwrap().0;
    let mut bytes = bytes_of(name);
    for b in &mut bytes[12_000..12_200] {
        *b ^= 0xA5;
    }
    let (got, warning) = decode(bytes, name).unwrap();
    println!("{} of {} samples; {warning:?}", got.len(), whole.len());
    assert_eq!(got.len(), whole.len());
}

/// `opus_modes.flac` is what libopus 1.3 decoded from `opus_modes.ogg`, a chain of three streams:
/// SILK, hybrid, and CELT with two channels. Over the sample talks at 24 and 64 kbit/s, our samples
/// at 48 kHz have the same number and the same places, and their signal to noise ratio against
/// libopus is 75 dB or more; in SILK they are equal.
#[test]
fn opus_is_decoded_as_by_the_reference() {
    let (want, _) = decode(bytes_of("opus_modes.flac"), "opus_modes.flac").unwrap();
    let (got, warning) = decode(bytes_of("opus_modes.ogg"), "opus_modes.ogg").unwrap();
    assert_eq!((got.len(), warning), (want.len(), None));
    let noise: f32 = got.iter().zip(&want).map(|(a, b)| (a - b) * (a - b)).sum();
    let signal: f32 = want.iter().map(|x| x * x).sum();
    let ratio = 10.0 * (signal / noise).log10();
    println!("{ratio:.1} dB");
    assert!(ratio > 70.0, "{ratio} dB");
}

#[test]
fn a_recording_of_a_browser_is_decoded() {
    let want = read_wav(&fixture("audio/ref_16k.wav"));
    let (got, warning) = decode(bytes_of("recorder.webm"), "recorder.webm").unwrap();
    assert_eq!(warning, None);
    let found = (0..got.len()).step_by(800).map(|at| likeness(&got[at..], &want[..2_400]).0).fold(0.0, f64::max);
    assert!(found > 0.9, "{found}");
}

/// A source that cannot be seeked and gives at most a few bytes at once.
struct Pipe {
    bytes: Cursor<Vec<u8>>,
    most: usize,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = into.len().min(self.most);
        self.bytes.read(&mut into[..len])
    }
}

/// A source whose bytes come over a channel. It waits for them.
struct Live(Receiver<Vec<u8>>, Cursor<Vec<u8>>);

impl Read for Live {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.1.read(into)? {
                0 => match self.0.recv() {
                    Ok(bytes) => self.1 = Cursor::new(bytes),
                    Err(_) => return Ok(0),
                },
                len => return Ok(len),
            }
        }
    }
}

/// A source that only reads.
struct ReadOnly<R>(std::sync::Mutex<R>);

impl<R: Read> Read for ReadOnly<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.get_mut().unwrap().read(into)
    }
}

impl<R> Seek for ReadOnly<R> {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        panic!("it must not be seeked");
    }
}

impl<R: Read + Send> MediaSource for ReadOnly<R> {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}

fn from_stream(reader: impl Read + Send + 'static, name: &str) -> Result<(Vec<f32>, Option<String>), AudioError> {
    let mut file = AudioFile::from_source(Box::new(ReadOnly(reader.into())), name.to_owned())?;
    let mut all = Vec::new();
    while let Some(block) = file.next_block()? {
        all.extend(block);
    }
    Ok((all, file.warning()))
}

#[test]
fn a_stream_gives_the_same_sound_as_a_file() {
    let more = ["opus_modes.ogg", "recorder.webm", "wav_f32le.wav"];
    for name in GOOD.iter().map(|g| g.0).chain(more) {
        let want = decode(bytes_of(name), name).unwrap();
        for most in [1, 700, usize::MAX] {
            let pipe = Pipe { bytes: Cursor::new(bytes_of(name)), most };
            let got = from_stream(pipe, name);
            if name.ends_with(".mp4") || name.ends_with(".m4a") {
                let error = got.unwrap_err().to_string();
                assert!(error.contains("this is MP4, which must be a file"), "{error}");
                continue;
            }
            assert!(got.unwrap() == want, "{name}, {most} bytes at once");
        }
    }
    // Behind a tag.
    let tag = [b"ID3\x04\0\0\0\0\x02\0".as_slice(), &[0xFF; 256]].concat();
    for name in ["mono_44k.mp3", "aac_16k.aac", "ref_16k.wav"] {
        let bytes = [tag.clone(), tag.clone(), bytes_of(name)].concat();
        let got = from_stream(Pipe { bytes: Cursor::new(bytes), most: 9 }, name).unwrap();
        assert!(got == decode(bytes_of(name), name).unwrap(), "{name}");
    }
}

#[test]
fn a_stream_that_is_not_sound_is_refused() {
    let message = |bytes: &[u8]| from_stream(Cursor::new(bytes.to_vec()), "standard input").unwrap_err().to_string();
    assert!(message(b"").contains("there is no sound in it (it has no bytes)"));
    assert!(message(b"ID3\x04\0\0\0\0\0\x01!").contains("nothing follows its ID3 tag"));
    assert!(message(b"Good morning, everyone.").contains("looks like text"));
    assert!(message(&[0; 2_000]).contains("does not begin as sound in a known format"));
    assert!(message(b"FORM\0\0\0\0AIFF").contains("this is AIFF; known are WAV"));
    assert!(message(&[0xFF; 2_000]).contains("does not begin as sound in a known format"));
}

/// The samples that come out when `bytes` have arrived and the source then waits.
fn samples_of(bytes: Vec<u8>, enough: usize) -> usize {
    let (source, receiver) = channel();
    let (sender, blocks) = channel();
    source.send(bytes).unwrap();
    let live = Live(receiver, Cursor::new(Vec::new()));
    std::thread::spawn(move || {
        let mut file = AudioFile::from_source(Box::new(ReadOnly(live.into())), "live".to_owned()).unwrap();
        while let Ok(Some(block)) = file.next_block() {
            if sender.send(block.len()).is_err() {
                return;
            }
        }
    });
    let mut len = 0;
    while len < enough
        && let Ok(more) = blocks.recv_timeout(Duration::from_secs(20))
    {
        len += more;
    }
    drop(source);
    len
}

#[test]
fn sound_comes_while_a_stream_is_waiting() {
    let repeated = |name: &str, times: usize| bytes_of(name).repeat(times);
    let talk = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/talk-a.flac")).unwrap();
    let parts = |bytes: &[u8], n: usize| bytes[..bytes.len() * n / 8].to_vec();
    for (name, bytes) in [
        ("webm", crate::audio::matroska::tests::recorded(12, 0)),
        ("opus", repeated("opus.ogg", 12)),
        ("vorbis", repeated("stereo_44k.ogg", 12)),
        ("flac", talk[..300_000].to_vec()),
        ("mp3", repeated("mono_44k.mp3", 12)),
        ("adts", repeated("aac_16k.aac", 12)),
        ("wav", [&bytes_of("ref_16k.wav")[..44], &repeated("ref_16k.wav", 12)].concat()),
    ] {
        for n in [5, 8] {
            let part = parts(&bytes, n);
            let whole = decode(part.clone(), name).unwrap().0.len();
            assert!(whole > 24_000, "{name}: {whole}");
            let got = samples_of(part, whole - 16_000);
            println!("{name}: at least {got} of {whole} samples");
            assert!(got >= whole - 16_000, "{name}: {got} of {whole} samples");
        }
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Flips, overwrites, removes, repeats or cuts off bytes.
fn mangle(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(6) {
        let len = bytes.len();
        // Damage to headers has the largest effect.
        let at = match dice.below(2) {
            0 => dice.below(len),
            _ => dice.below(len.min(300)),
        };
        match dice.below(6) {
            0 | 1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes[at] = [0, 255, 127, 128][dice.below(4)],
            3 => bytes.truncate(at.max(1)),
            4 => {
                let end = (at + dice.below(40)).min(len);
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let end = (at + 1 + dice.below(40)).min(len.max(2) - 1);
                bytes.drain(at.min(end)..end);
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

#[test]
fn no_input_makes_it_panic_or_run_away() {
    let rounds: usize = match std::env::var("ALIGNATT_FUZZ_ROUNDS") {
        Ok(n) => n.parse().unwrap(),
        Err(_) => 40,
    };
    let others = ["opus_modes.ogg", "recorder.webm", "wav_ima.wav", "wav_f32le.wav", "wav_s32le.wav"];
    let (mut decoded, mut refused) = (0, 0);
    for (seed, name) in GOOD.iter().map(|g| g.0).chain(others).enumerate() {
        let original = bytes_of(name);
        let mut dice = Dice(seed as u64 + 1);
        for round in 0..rounds {
            let mut bytes = original.clone();
            mangle(&mut bytes, &mut dice);
            let len = bytes.len();
            match decode(bytes, name) {
                Ok((got, _)) => {
                    assert!(got.len() < 16_000 * 120, "{name} {round}: {} from {len} bytes", got.len());
                    decoded += 1;
                }
                Err(e) => {
                    assert!(e.to_string().contains(name));
                    refused += 1;
                }
            }
        }
    }
    println!("{decoded} decoded, {refused} refused");
    assert!(decoded > 0 && refused > 0);
}
