//! Gemma-3-270M (base, Q4_K_M), whose weights nobody here trained: its tokens, its greedy ids, the
//! rows of its layers and the attention of four heads, against the reference in f32 on the same
//! weights. `tools/real/fetch` puts the file where this finds it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use alignatt::internals::models::ModelConfig;
use alignatt::internals::models::drafting::{Armed, Request, Translator};
use alignatt::internals::models::gguf::present;
use alignatt::internals::nn::{Precision, Storage, Tap};
use alignatt::internals::weights::Tokenizer;
use alignatt::{Compute, Files};
use burn::tensor::{Int, Tensor};
use serde_json::Value;

use crate::golden::{Golden, by_name, heads_first};
use crate::text::Text;

const FILE: &str = "gemma-3-270m-q4_k_m.gguf";

/// The heads whose attention is recorded: layer and head.
const HEADS: [(usize, usize); 4] = [(3, 3), (5, 3), (11, 3), (12, 0)];

/// The model's file, if it has been fetched. Otherwise a line says so.
fn file() -> Option<PathBuf> {
    let cache = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/alignatt/real"));
    let folder = std::env::var_os("ALIGNATT_REAL").map(PathBuf::from).or_else(cache)?;
    let file = folder.join(FILE);
    if !file.is_file() {
        eprintln!("NOT RUN: {FILE} is not there (tools/real/fetch), so no real model was checked");
        return None;
    }
    Some(file)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gemma3_270m").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The files of the model, once it has been fetched.
pub async fn files() -> Option<Files> {
    Some(present(&Files::gguf_file(file()?).unwrap()).await.unwrap())
}

/// Odd texts become the tokens of the published tokenizer, which the file does not contain.
pub fn tokens(files: &Files) {
    let tokenizer = Tokenizer::open(files).unwrap();
    let texts = json("tokens.json");
    for case in texts.as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), ids(&case["ids"]), "{text:?}");
        assert_eq!(tokenizer.decode(&ids(&case["ids"]), false).unwrap(), case["decoded"].as_str().unwrap(), "{text:?}");
    }
    let prompts = json("golden.json");
    for case in prompts["prompts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let (bos, rest) = (tokenizer.token_id("<bos>").unwrap(), tokenizer.encode(text).unwrap());
        assert_eq!([&[bos], &rest[..]].concat(), ids(&case["ids"]), "{text:?}");
    }
}

/// All prompts; on a software adapter, where a token takes seconds, one of each kind.
pub async fn check(files: &Files, compute: &Compute) {
    let is_slow = compute.adapter.as_ref().is_some_and(|adapter| adapter.is_software());
    let mut kinds = BTreeSet::new();
    let began = std::time::Instant::now();
    let config = ModelConfig::open(files).unwrap();
    let storage = Storage::plain(Precision::F32).keeping_quants();
    let text = Text::open(files, &config, compute, storage, 1024).await;
    eprintln!("{}: loaded in {:.1} s", compute.name, began.elapsed().as_secs_f64());
    layers(&text, compute).await;
    eprintln!("{}: layers and heads, {:.1} s", compute.name, began.elapsed().as_secs_f64());
    let prompts = json("golden.json");
    let mut translator = Translator::new(text.model.clone(), Vec::new(), Armed::default(), 4, compute.clone()).unwrap();
    for case in prompts["prompts"].as_array().unwrap() {
        if !kinds.insert(case["kind"].as_str().unwrap()) && is_slow {
            continue;
        }
        let (prompt, want) = (ids(&case["ids"]), ids(&case["f32"]["greedy"]));
        let request = Request { prompt: &prompt, budget: want.len(), ..Request::default() };
        let draft = translator.draft(&request, &mut |_| ControlFlow::Continue(())).await.unwrap();
        assert_eq!(draft.ids, want, "{}: {}", compute.name, case["text"]);
        if is_slow {
            eprintln!("{}: a prompt of {} tokens, {:.1} s", case["kind"], prompt.len(), began.elapsed().as_secs_f64());
        }
    }
    eprintln!("{}: {:.1} s", compute.name, began.elapsed().as_secs_f64());
}

/// Greedy ids with weights that are kept in other ways than the file's: how many of the prompts get
/// the reference's ids, and how many tokens agree before the first that differs. Unpacked weights
/// must give all of them.
pub async fn rounded(files: &Files, compute: &Compute) {
    let config = ModelConfig::open(files).unwrap();
    let prompts = json("golden.json");
    let prompts = prompts["prompts"].as_array().unwrap();
    for (layers, tables) in [
        (Precision::F32, Precision::F32),
        (Precision::Q8, Precision::Q8),
        (Precision::Q4, Precision::Q8),
        (Precision::Q4, Precision::Q4),
    ] {
        let storage = Storage { layers, tables, keeps_quants: false };
        let text = Text::open(files, &config, compute, storage, 1024).await;
        let mut translator =
            Translator::new(text.model.clone(), Vec::new(), Armed::default(), 4, compute.clone()).unwrap();
        let (mut same, mut agreed, mut all) = (0, 0, 0);
        for case in prompts {
            let (prompt, want) = (ids(&case["ids"]), ids(&case["f32"]["greedy"]));
            let request = Request { prompt: &prompt, budget: want.len(), ..Request::default() };
            let draft = translator.draft(&request, &mut |_| ControlFlow::Continue(())).await.unwrap();
            same += usize::from(draft.ids == want);
            agreed += draft.ids.iter().zip(&want).take_while(|(got, want)| got == want).count();
            all += want.len();
        }
        eprintln!("{storage}: {same} of {} prompts, {agreed} of {all} tokens", prompts.len());
        assert!(layers != Precision::F32 || same == prompts.len(), "{storage}");
        // In 4 bits so small a model goes its own way soon (docs/quantization.md).
        let percent = if layers == Precision::Q4 { 5 } else { 80 };
        assert!(agreed * 100 >= all * percent, "{storage}: {agreed} of {all}");
    }
}

/// The rows of every layer, the attention of some heads and the largest logits, of a prompt and of
/// one that is longer than the window.
async fn layers(text: &Text, compute: &Compute) {
    let golden = Golden::read(&golden("layers.safetensors"), &compute.name);
    for name in ["en_de", "long"] {
        let ids = golden.ids(&format!("{name}.ids"));
        let input: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let input = Tensor::<1, Int>::from_ints(input.as_slice(), &compute.device);
        let mut tap = Tap::on();
        let rows = text.model.forward(input, &mut text.model.cache(), 1, &mut tap).unwrap();
        let logits: Vec<f32> = text.model.logits(rows).into_data_async().await.unwrap().iter().collect();
        let kept = by_name(tap.read().await.unwrap());

        let last = |values: &[f32], like: usize| values[values.len() - like..].to_vec();
        let embeds = format!("{name}.embeds_scaled_last_rows");
        golden.close(&embeds, &last(&kept["embeds_scaled"], golden.floats(&embeds).1.len()), 1e-5);
        let outs = format!("{name}.layer_out_last_rows");
        let (shape, want) = golden.floats(&outs);
        let one = shape[1] * shape[2];
        for layer in 0..shape[0] {
            let got = last(&kept[&format!("layer_out.{layer}")], one);
            golden.close_to(&format!("{name}.layer_out.{layer}"), &got, &want[layer * one..][..one], 1e-4);
        }
        for (layer, head) in HEADS.into_iter().filter(|_| name == "en_de") {
            let of = &text.layers[layer];
            let q = heads_first(&kept[&format!("q_post_rope.{layer}")], text.heads, of.dim);
            let k = heads_first(&kept[&format!("k_post_rope.{layer}")], of.kv_heads, of.dim);
            golden.close(&format!("{name}.probs.{layer}.{head}"), &text.probabilities(layer, head, &q, &k), 1e-4);
        }
        let top = golden.ids(&format!("{name}.top50_ids"));
        let got: Vec<f32> = top.iter().map(|id| logits[*id as usize]).collect();
        golden.close(&format!("{name}.top50_logits"), &got, 1e-4);
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(logits[top[0] as usize], most, "{}: {name}", golden.label());
    }
    golden.finish();
}
