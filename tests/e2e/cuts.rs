//! No word of the sound is lost and none is shown twice. The samples are cut at random.
//!
//! What a recogniser makes of a cut depends on where the cut begins and ends, and the recogniser
//! errs. So each cut is compared with what the same models make of it at once (`transcribe` in
//! steps of ten seconds), and both are compared with the transcript. Apart from words that the cut
//! splits, hearing it in steps may get at most one word in ten more wrong.

use std::path::Path;

use super::score::{errors, words};
use super::{sample, shown, talk, wav};

/// Each cut: the talk, where the cut begins and ends as shares of the talk, and the chunk in ms.
const CUTS: [(&str, f64, f64, &str); 6] = [
    ("talk-a", 0.13, 0.47, "300"),
    ("talk-a", 0.58, 0.91, "1500"),
    ("talk-b", 0.21, 0.55, "850"),
    ("talk-b", 0.66, 1.0, "300"),
    ("talk-c", 0.0, 0.34, "850"),
    ("talk-c", 0.37, 0.72, "2500"),
];

#[test]
fn a_piece_of_a_talk_keeps_its_words() {
    let folder = tempfile::tempdir().unwrap();
    for (at, (name, from, to, chunk)) in CUTS.into_iter().enumerate() {
        let samples = samples(&sample(&format!("{name}.flac")));
        let place = |share: f64| (share * samples.len() as f64) as usize;
        let path = folder.path().join(format!("{at}.wav"));
        std::fs::write(&path, wav(&samples[place(from)..place(to)])).unwrap();
        let heard = |chunk: &str| {
            let path = path.to_str().unwrap();
            let arguments = ["transcribe", path, "--format", "jsonl", "--device", "cpu", "--chunk-ms", chunk];
            words(&shown(&super::events(&arguments)).0.join(" "))
        };
        let (in_steps, at_once) = (heard(chunk), heard("10000"));
        let said = said(name, place(from), place(to));
        let off = errors(&in_steps, &said);
        let whole_off = errors(&at_once, &said);
        eprintln!("{name} {from}-{to} by {chunk}: {:.1} % in steps, {:.1} % at once", 100.0 * off, 100.0 * whole_off);
        assert!(off <= whole_off + 0.1, "{name} {from}-{to}: {in_steps:?}, at once {at_once:?}, said {said:?}");
        let count = |words: &[String]| words.len() as isize;
        let gap = count(&in_steps) - count(&said);
        assert!(gap.unsigned_abs() <= 2 + said.len() / 10, "{name} {from}-{to}: {gap} words too many: {in_steps:?}");
    }
}

fn samples(path: &Path) -> Vec<f32> {
    let mut sound = alignatt::AudioFile::open(path).unwrap();
    let mut samples = Vec::new();
    while let Some(block) = sound.next_block().unwrap() {
        samples.extend(block);
    }
    samples
}

/// The words whose middle lies between two samples.
fn said(name: &str, from: usize, to: usize) -> Vec<String> {
    let talk = talk(name);
    let said = talk["words"].as_array().unwrap().iter().filter(|word| {
        let time = |key: &str| word[key].as_u64().unwrap() as usize;
        (from..to).contains(&(8 * (time("start_ms") + time("end_ms"))))
    });
    let texts: Vec<&str> = said.map(|word| word["text"].as_str().unwrap()).collect();
    words(&texts.join(" "))
}
