//! Qwen3-ASR: mel, tower, decoder, prompts and greedy text. Results must be equal with and without
//! the cache, in pieces and in one pass, and after a rollback.

use std::sync::Arc;

use alignatt::internals::audio::log_mel;
use alignatt::internals::models::ModelConfig;
use alignatt::internals::models::qwen3_asr::{Qwen3Asr, Qwen3AsrConfig, Recognizer};
use alignatt::internals::nn::{Tap, Target};
use alignatt::internals::weights::Weights;
use alignatt::{Compute, Files};
use burn::tensor::{Int, Tensor};

use crate::dice::Dice;
use crate::golden::{Golden, by_name, heads_first, probabilities};

const TOLERANCE: f32 = 1e-4;

fn config(config: &ModelConfig) -> &Qwen3AsrConfig {
    match config {
        ModelConfig::Qwen3Asr(config) => config,
        other => panic!("{other:?}"),
    }
}

pub fn wav(files: &Files, clip: &str) -> Vec<f32> {
    let bytes = files.bytes(&format!("{clip}.wav"), 1 << 26).unwrap();
    // A header of 44 bytes, then s16le 16 kHz mono: all fixtures have this form.
    bytes[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect()
}

pub async fn check(files: &Files, model_config: &ModelConfig, compute: &Compute) {
    let config = config(model_config);
    let model = Arc::new(
        Qwen3Asr::load(files, &Weights::open(files).await.unwrap(), config, Target::new(compute)).await.unwrap(),
    );
    let golden = Golden::open(files, &compute.name);
    let report = files.json("report.json", 1 << 20).unwrap();
    for (clip, case) in report["cases"].as_object().unwrap() {
        check_clip(files, config, &model, &golden, clip, case).await;
    }
    golden.ints("selected_heads");
    golden.finish();
}

/// The same weights in transformers' own layout give the same greedy ids.
pub async fn check_other_layout(files: &Files, _: &ModelConfig, compute: &Compute) {
    let folder = files.as_folder().unwrap().join("hf");
    if !folder.is_dir() {
        return;
    }
    let golden = Golden::open(files, &compute.name);
    // The tokenizer files exist only beside the original layout.
    let staged = tempfile::tempdir().unwrap();
    for from in [files.as_folder().unwrap(), &folder] {
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), staged.path().join(entry.file_name())).unwrap();
        }
    }
    let other = Files::folder(staged.path()).unwrap();
    let read = ModelConfig::open(&other).unwrap();
    let model = Arc::new(
        Qwen3Asr::load(&other, &Weights::open(&other).await.unwrap(), config(&read), Target::new(compute))
            .await
            .unwrap(),
    );
    let report = files.json("report.json", 1 << 20).unwrap();
    for (clip, case) in report["cases"].as_object().unwrap() {
        let heard = transcribe(&model, case, &wav(files, clip), golden.ids(&format!("{clip}.greedy_ids")).len()).await;
        golden.same(&format!("{clip}.greedy_ids"), &heard);
    }
}

/// Greedy ids from the recogniser itself, as many as the reference has.
async fn transcribe(model: &Arc<Qwen3Asr>, case: &serde_json::Value, samples: &[f32], len: usize) -> Vec<u32> {
    let (context, language) = options(case);
    let mut recognizer = Recognizer::new(model.clone(), context, language).unwrap();
    recognizer.push(samples);
    recognizer.greedy_ids(len).await.unwrap()
}

pub fn options(case: &serde_json::Value) -> (&str, Option<&str>) {
    let language = case["kwargs"]["language"].as_str().map(|language| match language {
        "de" => "German",
        "en" => "English",
        "zh" => "Chinese",
        name => name,
    });
    (case["kwargs"]["prompt"].as_str().unwrap_or(""), language)
}

async fn check_clip(
    files: &Files,
    config: &Qwen3AsrConfig,
    model: &Arc<Qwen3Asr>,
    golden: &Golden,
    clip: &str,
    case: &serde_json::Value,
) {
    let named = |name: &str| format!("{clip}.{name}");
    let samples = wav(files, clip);
    let mel = log_mel(&samples);
    golden.close_to(&named("mel"), &mel.data, golden.floats(&named("mel")).1, 1e-4);

    // The tower.
    let mut tap = Tap::on();
    let audio = model.audio_tower.forward(&mel, &mut tap);
    let kept = by_name(tap.read().await.unwrap());
    let mut boundaries = vec![0i64];
    for window in (0..mel.frames).step_by(model.audio_tower.window_frames()) {
        let frames = model.audio_tower.window_frames().min(mel.frames - window);
        boundaries.push(boundaries.last().unwrap() + alignatt::internals::models::qwen3_asr::rows_of(frames) as i64);
    }
    assert_eq!(boundaries, golden.ints(&named("cu_seqlens")), "{}: {clip}", golden.label());
    for (name, values) in &kept {
        match name.as_str() {
            "conv2d1_gelu" if golden.has(&named("conv2d1_gelu.last_chunk")) => {
                let (shape, _) = golden.floats(&named("conv2d1_gelu.last_chunk"));
                let len: usize = shape.iter().product();
                golden.close(&named("conv2d1_gelu.last_chunk"), &values[values.len() - len..], TOLERANCE);
            }
            "enc_attn_probs.0" if golden.has(&named("enc_attn_probs_layer0_window0")) => {
                let (shape, _) = golden.floats(&named("enc_attn_probs_layer0_window0"));
                let len: usize = shape.iter().product();
                golden.close(&named("enc_attn_probs_layer0_window0"), &values[..len], TOLERANCE);
            }
            name if golden.has(&named(name)) => golden.close(&named(name), values, TOLERANCE),
            _ => {}
        }
    }

    // The prompt, from the text layout.
    let ids = golden.ids(&named("input_ids"));
    let (context, language) = options(case);
    let layout = Recognizer::new(model.clone(), context, language).unwrap();
    let (before, after) = layout.prompt();
    let rows = audio.dims()[0];
    let pads = vec![config.audio_token_id; rows];
    assert_eq!([before, pads.as_slice(), after].concat(), ids, "{}: {clip} prompt", golden.label());

    // The decoder over prompt and continuation in one piece.
    let greedy_ids = golden.ids(&named("greedy_ids"));
    let device = audio.device();
    let embed = |ids: &[u32]| {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        model.decoder.embed(Tensor::<1, Int>::from_ints(ids.as_slice(), &device))
    };
    let continued = [after, greedy_ids.as_slice()].concat();
    let x = Tensor::cat(vec![embed(before), audio, embed(&continued)], 0);
    let mut tap = Tap::on();
    tap.keep("inputs_embeds", None, &x);
    let hidden = model.decoder.rows(x.clone(), &mut model.decoder.cache_of(512), x.dims()[0], &mut tap).unwrap();
    let logits = model.decoder.logits(hidden);
    tap.keep("logits", None, &logits);
    let full: Vec<f32> = logits.into_data_async().await.unwrap().iter().collect();
    let kept = by_name(tap.read().await.unwrap());
    let text = &config.text_config;
    let mut transposed = std::collections::BTreeMap::new();
    for (name, values) in kept {
        let values = match name.split('.').next() {
            Some("q_post_rope") => heads_first(&values, text.num_attention_heads, text.head_dim),
            Some("k_post_rope") => heads_first(&values, text.num_key_value_heads, text.head_dim),
            _ => values,
        };
        if golden.has(&named(&name)) {
            golden.close(&named(&name), &values, TOLERANCE);
        }
        transposed.insert(name, values);
    }
    for head in golden.ints("selected_heads").chunks_exact(2) {
        let (layer, head) = (head[0] as usize, head[1] as usize);
        let name = named(&format!("probs.{layer}.{head}"));
        if golden.has(&name) {
            let one = (ids.len() + greedy_ids.len()) * text.head_dim;
            let group = text.num_attention_heads / text.num_key_value_heads;
            let q = &transposed[&format!("q_post_rope.{layer}")][head * one..][..one];
            let k = &transposed[&format!("k_post_rope.{layer}")][head / group * one..][..one];
            let scale = (text.head_dim as f32).powf(-0.5);
            golden.close(&name, &probabilities(q, k, text.head_dim, scale, None), TOLERANCE);
        }
    }
    let v = text.vocab_size;
    let from = (ids.len() - 1) * v;
    golden.close(&named("greedy_step_logits"), &full[from..from + greedy_ids.len() * v], TOLERANCE);

    // Greedy ids, one token at a time from the cache.
    let taken = transcribe(model, case, &samples, greedy_ids.len()).await;
    golden.same(&named("greedy_ids"), &taken);

    // The same logits in pieces, with detours that are rolled back.
    let mut dice = Dice(7);
    let mut cache = model.decoder.cache_of(512);
    let mut pieces: Vec<f32> = Vec::new();
    let total = x.dims()[0];
    while cache.end() < total {
        let at = cache.end();
        let detour = 1 + dice.below(5.min(total));
        let from = dice.below(total - detour + 1);
        model.decoder.rows(x.clone().narrow(0, from, detour), &mut cache, detour, &mut Tap::off()).unwrap();
        cache.roll_back(at);
        let len = (1 + dice.below(24)).min(total - at);
        let hidden = model.decoder.rows(x.clone().narrow(0, at, len), &mut cache, len, &mut Tap::off()).unwrap();
        let logits = model.decoder.logits(hidden).into_data_async().await.unwrap();
        pieces.extend(logits.iter::<f32>());
    }
    golden.close_to(&format!("{clip}: logits in pieces"), &pieces, &full, TOLERANCE);

    // A growing tail: every call sees all the sound so far, and the last call sees the whole clip.
    // The recogniser uses the ids of the call before as a guess; the result must not depend on
    // whether the guess is right, nor on its length.
    let mut growing = Recognizer::new(model.clone(), context, language).unwrap();
    for chunk in samples.chunks(6_000) {
        growing.push(chunk);
        let len = 1 + dice.below(2 * greedy_ids.len());
        growing.greedy_ids(len).await.unwrap();
    }
    let last = growing.greedy_ids(greedy_ids.len()).await.unwrap();
    assert_eq!(last, greedy_ids, "{}: {clip} as a growing tail", golden.label());
    for len in [1, greedy_ids.len().div_ceil(2), greedy_ids.len()] {
        let again = growing.greedy_ids(len).await.unwrap();
        assert_eq!(again, greedy_ids[..len.min(greedy_ids.len())], "{}: {clip} once more", golden.label());
    }
}
