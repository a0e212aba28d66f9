//! Compares the demo pack with transformers on the same weights: prompts, greedy ids, texts,
//! aligner classes.
//!
//! The references come with the models (`tools/demo-pack`): bf16 weights computed in f32, greedy.
//! If the two best logits of a case came closer than [`TIE`] at some step, either may win: such a
//! case is left out and counted.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alignatt::internals::audio::log_mel;
use alignatt::internals::models::ModelConfig;
use alignatt::internals::models::drafting::{Armed, Request, Translator};
use alignatt::internals::models::gemma4::{Gemma4, open_prompt};
use alignatt::internals::models::prompt::{LanguageName, Task, TranslationPrompt, Turn};
use alignatt::internals::models::qwen3_asr::{ForcedAligner, Qwen3Asr, Recognizer, timestamps, words};
use alignatt::internals::nn::{Loader, Tap, Target};
use alignatt::internals::weights::{Tokenizer, Weights};
use alignatt::{AudioFile, Compute, Files};
use serde_json::Value;

use crate::common::long;

const TIE: f64 = 1e-3;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn expected(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(at(path)).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn sound(path: &Path) -> Vec<f32> {
    let mut file = AudioFile::open(path).unwrap();
    let mut samples = Vec::new();
    while let Some(block) = file.next_block().unwrap() {
        samples.extend(block);
    }
    samples
}

pub async fn translation(compute: &Compute) {
    let files = Files::folder(at("models/demo/mt")).unwrap();
    let ModelConfig::Gemma4(config) = ModelConfig::open(&files).unwrap() else { panic!("not Gemma-4") };
    let weights = Weights::open(&files).await.unwrap();
    let model = Gemma4::load(&Loader::new(&weights, Target::new(compute)), &config, 1024).await.unwrap();
    let tokenizer = Arc::new(Tokenizer::open(&files).unwrap());
    let mut translator =
        Translator::new(Arc::new(model), config.eos_token_id.clone(), Armed::default(), 4, compute.clone()).unwrap();
    let expected = expected("tests/fixtures/demo_mt/expected.json");
    let cases = expected["cases"].as_array().unwrap();
    assert!(cases.len() >= 60);
    let mut ties = 0;
    // Software adapters take two seconds a case, so a third of them must do.
    let every = if compute.is_gpu() && !long() { 3 } else { 1 };
    let chosen: Vec<&Value> = cases.iter().step_by(every).collect();
    for case in &chosen {
        let code = case["lang"].as_str().unwrap();
        let english = match code {
            "de" => "German",
            "it" => "Italian",
            "zh" => "Chinese",
            other => other,
        };
        let source = LanguageName { english: "English", code: "en" };
        let task = Task { source, target: LanguageName { english, code }, context: "" };
        let prompt = open_prompt(&files, tokenizer.clone(), &task).unwrap();
        let (source, accepted) = (case["source"].as_str().unwrap(), case["accepted"].as_str().unwrap());
        let prompt = prompt.ids(&Turn { history: &[], source, accepted }).unwrap();
        assert_eq!(prompt.ids, ids(&case["prompt_ids"]), "{case}");
        if case["min_margin"].as_f64().unwrap() < TIE {
            ties += 1;
            continue;
        }
        let mut want = ids(&case["output_ids"]);
        if want.last().is_some_and(|id| config.eos_token_id.contains(id)) {
            want.pop();
        }
        let request = Request { prompt: &prompt.ids, budget: 80, ..Request::default() };
        let draft = translator.draft(&request, &mut |_| ControlFlow::Continue(())).await.unwrap();
        assert_eq!(draft.ids, want, "{} on {}", case["text"], compute.name);
    }
    eprintln!("{} cases on {}, {ties} of them ties", chosen.len(), compute.name);
    assert!(ties * 10 < chosen.len());
}

pub async fn speech(compute: &Compute) {
    let folder = at("tests/fixtures/demo_asr");
    let expected = expected("tests/fixtures/demo_asr/expected.json");
    let files = Files::folder(at("models/demo/asr")).unwrap();
    let ModelConfig::Qwen3Asr(config) = ModelConfig::open(&files).unwrap() else { panic!("not Qwen3-ASR") };
    let model = Arc::new(
        Qwen3Asr::load(&files, &Weights::open(&files).await.unwrap(), &config, Target::new(compute)).await.unwrap(),
    );
    let mut compared = 0;
    for (clip, case) in expected["asr"].as_object().unwrap() {
        let samples = sound(&folder.join(case["file"].as_str().unwrap()));
        for (form, language) in [("forced_english", Some("English")), ("free", None)] {
            let want = &case[form];
            if want["smallest_margin"].as_f64().unwrap() < TIE {
                continue;
            }
            let mut recognizer = Recognizer::new(model.clone(), "", language).unwrap();
            recognizer.push(&samples);
            let mut ids = ids(&want["ids"]);
            let ended = ids.last().is_some_and(|id| config.eos_token_id.contains(id));
            ids.truncate(ids.len() - usize::from(ended));
            assert_eq!(recognizer.greedy_ids(96).await.unwrap(), ids, "{clip}, {form}, on {}", compute.name);
            compared += 1;
        }
    }
    assert!(compared >= 4, "only {compared} clips were no ties");

    let files = Files::folder(at("models/demo/aligner")).unwrap();
    let ModelConfig::Qwen3Aligner(config) = ModelConfig::open(&files).unwrap() else { panic!("not an aligner") };
    let aligner = ForcedAligner::load(&files, &Weights::open(&files).await.unwrap(), &config, Target::new(compute))
        .await
        .unwrap();
    for (clip, case) in expected["aligner"].as_object().unwrap() {
        let samples = sound(&folder.join(case["file"].as_str().unwrap()));
        let spoken: Vec<&str> = case["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let words = words::split(&spoken.join(" "));
        let audio = aligner.audio_tower.forward(&log_mel(&samples), &mut Tap::off());
        let prompt = aligner.prompt(audio.dims()[0], &words).unwrap();
        assert_eq!(prompt.ids, ids(&case["ids"]), "{clip} on {}", compute.name);
        if case["smallest_margin"].as_f64().unwrap() < TIE {
            continue;
        }
        let classes = aligner.classes(&prompt, audio).await.unwrap();
        assert_eq!(classes, ids(&case["classes"]), "{clip} on {}", compute.name);
        let times: Vec<i64> = classes.iter().map(|class| i64::from(*class) * 80).collect();
        let want: Vec<i64> = case["times_ms"].as_array().unwrap().iter().map(|t| t.as_i64().unwrap()).collect();
        assert_eq!(timestamps::repair(&times), want, "{clip} on {}", compute.name);
    }
}
