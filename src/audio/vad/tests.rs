//! The detector on samples and noises of the project, and on real speech where it is at hand:
//! `ALIGNATT_SPEECH=FOLDER cargo test --lib voice_detector_figures -- --nocapture` measures all
//! `.flac` files in it and its folders.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::audio::testing::{open, sample};

#[allow(unreachable_pub)] // other tests use the same files
#[path = "../../../tests/common/dice.rs"]
mod dice;
#[allow(unreachable_pub)]
#[path = "../../../tests/common/noises.rs"]
mod noises;

use dice::Dice;
use noises::{NOISES, noise};

/// The number of samples of a result (10 ms).
const STEP: usize = 160;
/// How long sound is kept before speech is found, in steps.
const RUN_UP: usize = 50;

/// The result after each 10 ms.
fn results(samples: &[f32]) -> Vec<bool> {
    let mut vad = Vad::new();
    let step = |samples: &[f32]| {
        vad.push(samples);
        vad.is_speech()
    };
    samples.chunks(STEP).map(step).collect()
}

fn share(results: &[bool]) -> f64 {
    results.iter().filter(|&&result| result).count() as f64 / results.len().max(1) as f64
}

/// When the words of a talk are spoken, in steps.
fn words(talk: &str) -> Vec<(usize, usize)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(format!("{talk}.json"));
    let talk: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let step = |time: &serde_json::Value| time.as_u64().unwrap() as usize / 10;
    talk["words"].as_array().unwrap().iter().map(|word| (step(&word["start_ms"]), step(&word["end_ms"]))).collect()
}

/// Where words are, each result of 10 ms. Gaps of up to 200 ms belong to the words.
fn spoken(words: &[(usize, usize)], len: usize) -> Vec<bool> {
    let mut spoken = vec![false; len];
    let mut before = 0;
    for &(start, end) in words {
        let from = if start <= before + 20 { before.min(start) } else { start };
        spoken[from.min(len)..end.min(len)].fill(true);
        before = end;
    }
    spoken
}

fn mixed(sound: &[f32], other: &[f32], gain: f32) -> Vec<f32> {
    sound.iter().zip(other.iter().cycle()).map(|(a, b)| a + gain * b).collect()
}

fn level(sound: &[f32]) -> f32 {
    (sound.iter().map(|s| s * s).sum::<f32>() / sound.len().max(1) as f32).sqrt()
}

/// Sound and, at 10 dB below it, noise.
fn noisy(sound: &[f32], noise: &[f32]) -> Vec<f32> {
    mixed(sound, noise, level(sound) / level(noise) / 10f32.sqrt())
}

/// What was found of speech that is known.
#[derive(Default)]
struct Figures {
    spoken: usize,
    missed: usize,
    unspoken: usize,
    found_wrongly: usize,
    /// From the beginning of speech after a pause of 500 ms until it was found, in steps.
    delays: Vec<usize>,
}

impl Figures {
    /// Adds a sound. Speech counts as found from the run-up on, because that is kept. Found is
    /// wrong further than the run-up before sound that may be speech, or 1.2 s after it.
    fn add(&mut self, spoken: &[bool], maybe: &[bool], found: &[bool]) {
        let len = spoken.len().min(found.len());
        let (spoken, found) = (&spoken[..len], &found[..len]);
        let any = |of: &[bool], from: usize, to: usize| of[from.min(len)..to.min(len)].contains(&true);
        for at in 0..len {
            if spoken[at] {
                self.spoken += 1;
                self.missed += usize::from(!any(found, at, at + RUN_UP + 1));
            } else if !any(maybe, at.saturating_sub(120), at + RUN_UP) {
                self.unspoken += 1;
                self.found_wrongly += usize::from(found[at]);
            }
            if spoken[at] && !any(spoken, at.saturating_sub(50), at) {
                self.delays.push(found[at..].iter().take_while(|found| !**found).count());
            }
        }
    }

    fn missed(&self) -> f64 {
        100.0 * self.missed as f64 / self.spoken.max(1) as f64
    }

    fn wrong(&self) -> f64 {
        100.0 * self.found_wrongly as f64 / self.unspoken.max(1) as f64
    }

    fn row(mut self, name: &str) -> String {
        self.delays.sort_unstable();
        let delay = |share: f64| self.delays.get((share * self.delays.len() as f64) as usize).map_or(0, |d| 10 * d);
        format!(
            "| {name} | {:.1} | {:.2} | {:.1} | {} | {} | {} |",
            self.spoken as f64 / 100.0,
            self.missed(),
            self.wrong(),
            delay(0.5),
            delay(0.9),
            self.delays.last().map_or(0, |last| 10 * last)
        )
    }
}

#[test]
fn silence_is_not_speech() {
    for sound in [0.0, 0.3, f32::NAN, f32::INFINITY, 1e-40] {
        assert_eq!(share(&results(&[sound; 160_000])), 0.0, "{sound}");
    }
    // Dither of 16 bits, and of 12 bits, to which the gain applies in full.
    let mut dice = Dice(1);
    for step in [32_768.0, 2_048.0] {
        let dither: Vec<f32> = (0..160_000).map(|_| dice.unit() / step).collect();
        assert_eq!(share(&results(&dither)), 0.0, "{step}");
    }
}

/// Samples of any size do not disturb what follows for long.
#[test]
fn speech_is_found_after_broken_sound() {
    let talk = &sample("talk-a.flac")[13_000..];
    for broken in [f32::NAN, f32::MAX, f32::MIN_POSITIVE, -1e9] {
        let sound = [&vec![broken; 20_000][..], &talk[..160_000]].concat();
        let found = results(&sound)[125..].iter().position(|&found| found);
        assert!(found.is_some_and(|at| at <= RUN_UP), "{broken}: {found:?}");
    }
}

#[test]
fn noises_are_not_speech() {
    let seconds = if std::env::var_os("LONG").is_some() { 600 } else { 30 };
    for name in NOISES {
        let sound = noise(name, seconds);
        for gain in [1.0, 0.03] {
            let quiet: Vec<f32> = sound.iter().map(|sample| gain * sample).collect();
            assert_eq!(share(&results(&quiet)), 0.0, "{name}, {gain}");
        }
    }
}

#[test]
fn speech_is_found_when_quiet_and_in_noise() {
    for talk in ["talk-a", "talk-b", "talk-c"] {
        let speech = sample(&format!("{talk}.flac"));
        let spoken = spoken(&words(talk), speech.len() / STEP);
        for gain in [1.0, 0.1, 0.001] {
            let quiet: Vec<f32> = speech.iter().map(|sample| gain * sample).collect();
            let mut figures = Figures::default();
            figures.add(&spoken, &spoken, &results(&quiet));
            assert!(
                figures.missed() < 1.0 && figures.found_wrongly < 50,
                "{}",
                figures.row(&format!("{talk} x {gain}"))
            );
        }
        for name in NOISES {
            let mut figures = Figures::default();
            figures.add(&spoken, &spoken, &results(&noisy(&speech, &noise(name, 10))));
            assert!(
                figures.missed() < 3.0 && figures.found_wrongly < 50,
                "{}",
                figures.row(&format!("{talk}, {name}"))
            );
        }
    }
}

#[test]
fn two_speakers_at_once_are_speech() {
    let (one, other) = (sample("talk-a.flac"), sample("talk-b.flac"));
    let both = &mixed(&one, &other, 1.0)[..other.len()];
    let either = [words("talk-a"), words("talk-b")].map(|words| spoken(&words, both.len() / STEP));
    let spoken: Vec<bool> = either[0].iter().zip(&either[1]).map(|(a, b)| a | b).collect();
    let mut figures = Figures::default();
    figures.add(&spoken, &spoken, &results(both));
    assert!(figures.missed() < 1.0, "{}", figures.row("both"));
}

/// A stream may begin with a word, and a word may follow silence, noise or another sound at once.
#[test]
fn no_first_word_is_missed() {
    for talk in ["talk-a", "talk-b", "talk-c"] {
        let speech = sample(&format!("{talk}.flac"));
        for (start, _) in words(talk).into_iter().step_by(7) {
            let rest = &speech[start * STEP..];
            let rest = &rest[..rest.len().min(32_000)];
            for before in [Vec::new(), vec![0.0; 48_000], noise("room", 3), noise("keys", 3)] {
                let found = results(&[&before[..], rest].concat());
                let delay = found[before.len() / STEP..].iter().position(|&found| found);
                assert!(delay.is_some_and(|delay| delay <= RUN_UP), "{talk} at {start}0 ms: {delay:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn pushes_do_not_matter(cuts in proptest::collection::vec(1usize..5_000, 1..40)) {
        let all = [&sample("talk-a.flac")[..100_000], &[0.0; 30_000]].concat();
        let mut whole = Vad::new();
        let mut want = Vec::new();
        for sample in &all {
            whole.push(&[*sample]);
            want.push(whole.is_speech());
        }
        prop_assert!(want.contains(&true) && want.contains(&false));
        let (mut vad, mut at) = (Vad::new(), 0);
        for cut in cuts.iter().cycle() {
            let end = (at + cut).min(all.len());
            vad.push(&all[at..end]);
            prop_assert_eq!(vad.is_speech(), want[end - 1]);
            at = end;
            if at == all.len() {
                break;
            }
        }
    }
}

/// All sounds in a folder and its folders, in order.
fn sounds_in(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let is_sound = |path: &Path| path.extension().is_some_and(|end| ["flac", "ogg", "wav"].iter().any(|e| end == *e));
    entries
        .into_iter()
        .flat_map(|path| match path.is_dir() {
            true => sounds_in(&path),
            false if is_sound(&path) => vec![path],
            false => Vec::new(),
        })
        .collect()
}

/// Where a clean recording is not quieter than 32 dB below its loud parts: each 10 ms. Parts under
/// 80 ms are not speech, gaps of up to 200 ms are.
fn loud(sound: &[f32]) -> Vec<bool> {
    let levels: Vec<f32> = sound.chunks(STEP).map(|step| 20.0 * (level(step) + 1e-6).log10()).collect();
    let smooth = |at: usize| {
        let near = &levels[at.saturating_sub(2)..(at + 3).min(levels.len())];
        near.iter().sum::<f32>() / near.len() as f32
    };
    let mut sorted = levels.clone();
    sorted.sort_by(f32::total_cmp);
    let at = |share: f32| sorted[(share * (sorted.len() - 1) as f32) as usize];
    let threshold = (at(0.95) - 32.0).max(at(0.05) + 6.0);
    let mut loud: Vec<bool> = (0..levels.len()).map(|step| smooth(step) > threshold).collect();
    fill(&mut loud, true, 8);
    fill(&mut loud, false, 20);
    loud
}

/// When the sentences of a sound are spoken, in steps, if a manifest in its folder says so.
fn sentences(path: &Path) -> Vec<(usize, usize)> {
    let Ok(manifest) = std::fs::read_to_string(path.with_file_name("manifest.jsonl")) else { return Vec::new() };
    let lines = manifest.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ours = |line: &serde_json::Value| line["sound"].as_str() == path.file_name().unwrap().to_str();
    let step = |time: &serde_json::Value| time.as_u64().unwrap() as usize / 10;
    let of_line = |line: serde_json::Value| line["sentences"].as_array().unwrap().clone();
    lines.filter(ours).flat_map(of_line).map(|s| (step(&s["start_ms"]), step(&s["end_ms"]))).collect()
}

/// Inverts runs of `value` that are shorter than `least`.
fn fill(steps: &mut [bool], value: bool, least: usize) {
    let mut at = 0;
    while at < steps.len() {
        let run = steps[at..].iter().take_while(|step| **step == steps[at]).count();
        if steps[at] == value && run < least {
            steps[at..at + run].fill(!value);
        }
        at += run;
    }
}

/// Prints what is missed and wrongly found of the samples, of clean real speech, and of both in
/// noise, and how much of other real sounds is found to be speech.
#[test]
fn voice_detector_figures() {
    let Some(folder) = std::env::var_os("ALIGNATT_SPEECH") else {
        return eprintln!("NOT RUN: ALIGNATT_SPEECH names no folder of real speech");
    };
    let mut talks: Vec<(Vec<f32>, Vec<bool>, Vec<bool>)> = ["talk-a", "talk-b", "talk-c"]
        .map(|talk| (sample(&format!("{talk}.flac")), words(talk)))
        .map(|(sound, words)| (spoken(&words, sound.len() / STEP), sound))
        .map(|(spoken, sound)| (sound, spoken.clone(), spoken))
        .into();
    println!("| file | s | is speech, % |");
    for path in sounds_in(Path::new(&folder)) {
        let sound = open(&path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        println!("| {name} | {:.1} | {:.1} |", sound.len() as f64 / 16_000.0, 100.0 * share(&results(&sound)));
        // The other clips are not clean: their loud parts are not only speech.
        if ["fleurs", "mcif", "jfk", "voxpopuli"].iter().any(|part| path.to_string_lossy().contains(part)) {
            let maybe = loud(&sound);
            let mut spoken = maybe.clone();
            let told = sentences(&path);
            if !told.is_empty() {
                let is_told =
                    |at: &usize| told.iter().any(|(start, end)| (start.saturating_sub(20)..end + 20).contains(at));
                spoken.iter_mut().enumerate().for_each(|(at, spoken)| *spoken &= is_told(&at));
            }
            talks.push((sound, spoken, maybe));
        }
    }
    println!("| speech | s of speech | missed, % | wrongly found, % | delay, ms: median | nine tenths | most |");
    type Change = fn(&[f32]) -> Vec<f32>;
    let conditions: [(&str, Change); 6] = [
        ("as it is", |sound| sound.to_vec()),
        ("20 dB quieter", |sound| sound.iter().map(|sample| 0.1 * sample).collect()),
        ("fan at 10 dB", |sound| noisy(sound, &noise("fan", 20))),
        ("music at 10 dB", |sound| noisy(sound, &noise("music", 20))),
        ("applause at 10 dB", |sound| noisy(sound, &noise("applause", 20))),
        ("keys at 10 dB", |sound| noisy(sound, &noise("keys", 20))),
    ];
    for (name, change) in conditions {
        let mut figures = Figures::default();
        talks.iter().for_each(|(sound, spoken, maybe)| figures.add(spoken, maybe, &results(&change(sound))));
        assert!(figures.missed() < 5.0, "{name}: {}", figures.missed());
        println!("{}", figures.row(name));
    }
    println!("| noise | is speech, % |");
    for name in NOISES {
        println!("| {name}, 120 s | {:.1} |", 100.0 * share(&results(&noise(name, 120))));
    }
    let talk = &talks[0].0;
    let began = std::time::Instant::now();
    results(talk);
    println!("cost: {:.3} % of real time", 1_600_000.0 * began.elapsed().as_secs_f64() / talk.len() as f64);
}
