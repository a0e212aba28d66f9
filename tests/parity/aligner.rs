//! Qwen3-ForcedAligner: logits at every position, classes, and word times after the split into
//! words and the repair of times.

use alignatt::internals::audio::log_mel;
use alignatt::internals::models::ModelConfig;
use alignatt::internals::models::qwen3_asr::{AudioStream, ForcedAligner, words};
use alignatt::internals::nn::{Tap, Target};
use alignatt::internals::weights::Weights;
use alignatt::{Compute, Files};

use crate::asr::wav;
use crate::golden::Golden;

const TOLERANCE: f32 = 1e-4;

pub async fn check(files: &Files, config: &ModelConfig, compute: &Compute) {
    let ModelConfig::Qwen3Aligner(config) = config else { panic!("{config:?}") };
    let model =
        ForcedAligner::load(files, &Weights::open(files).await.unwrap(), config, Target::new(compute)).await.unwrap();
    let golden = Golden::open(files, &compute.name);
    let report = files.json("report.json", 1 << 20).unwrap();
    let text = report["text"].as_str().unwrap();
    let samples = wav(files, "clip");

    let words = words::split(text);
    let audio = model.audio_tower.forward(&log_mel(&samples), &mut Tap::off());
    let prompt = model.prompt(audio.dims()[0], &words).unwrap();
    let x = model.sequence(&prompt, audio.clone());
    assert_eq!(prompt.ids, golden.ids("input_ids"), "{}", golden.label());
    let logits: Vec<f32> = model.logits(x).unwrap().into_data_async().await.unwrap().iter().collect();
    golden.close("logits", &logits, TOLERANCE);
    golden.same("timestamp_argmax", &model.classes(&prompt, audio).await.unwrap());

    let words = model.align(&mut AudioStream::of(&samples), text).await.unwrap();
    // Sound that arrives in chunks, with the tower's rows read in between.
    let mut growing = AudioStream::default();
    for chunk in samples.chunks(6_000) {
        growing.push(chunk);
        growing.rows(&model.audio_tower);
    }
    assert_eq!(model.align(&mut growing, text).await.unwrap(), words, "{}: a growing sound", golden.label());
    let want: Vec<_> = report["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let ms = |key: &str| (item[key].as_f64().unwrap() * 1000.0).round() as u64;
            (item["text"].as_str().unwrap().to_owned(), ms("start_time"), ms("end_time"))
        })
        .collect();
    let got: Vec<_> = words.into_iter().map(|word| (word.text, word.start_ms, word.end_ms)).collect();
    assert_eq!(got, want, "{}", golden.label());
    golden.finish();
}
