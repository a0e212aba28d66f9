//! Text models of every family: every stage and greedy ids. Results must be equal with and without
//! the cache, in pieces and in one pass, after a rollback, and past the window.

use std::ops::ControlFlow;
use std::sync::Arc;

use alignatt::internals::models::drafting::{Armed, Request, Translator};
use alignatt::internals::models::gemma3::{self, Gemma3};
use alignatt::internals::models::gemma4::{self, Gemma4};
use alignatt::internals::models::qwen3::Qwen3;
use alignatt::internals::models::{ModelConfig, TextModel};
use alignatt::internals::nn::{Loader, Precision, Rope, Storage, Tap, Target};
use alignatt::internals::weights::Weights;
use alignatt::{ByteSource, Compute, Files};
use burn::tensor::{Int, Tensor};

use crate::dice::Dice;
use crate::golden::{Golden, by_name, heads_first, probabilities};

/// A text model whose logits can be read.
pub trait Logits: TextModel {
    /// Normed rows [T, H] → logits [T, V].
    fn logits(&self, rows: Tensor<2>) -> Tensor<2>;
}

impl Logits for Gemma3 {
    fn logits(&self, rows: Tensor<2>) -> Tensor<2> {
        Gemma3::logits(self, rows)
    }
}

impl Logits for Gemma4 {
    fn logits(&self, rows: Tensor<2>) -> Tensor<2> {
        Gemma4::logits(self, rows)
    }
}

impl Logits for Qwen3 {
    fn logits(&self, rows: Tensor<2>) -> Tensor<2> {
        Qwen3::logits(self, rows)
    }
}

/// A text model of any family, with what its configuration says of its attention.
pub struct Text {
    pub model: Arc<dyn Logits>,
    pub vocab: usize,
    /// Query heads of every layer.
    pub heads: usize,
    pub layers: Vec<Layer>,
    /// The names of the reference's rotary tables, and our frequencies.
    ropes: Vec<(&'static str, Vec<f32>)>,
    /// The largest difference, relative to the largest value.
    pub tolerance: f32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    pub dim: usize,
    pub kv_heads: usize,
    /// The layer whose keys this one reads.
    pub kv_source: usize,
    pub scale: f32,
    /// None in a full layer.
    pub window: Option<usize>,
}

impl Text {
    pub async fn open(
        files: &Files,
        config: &ModelConfig,
        compute: &Compute,
        storage: Storage,
        capacity: usize,
    ) -> Self {
        let weights = Weights::open(files).await.unwrap();
        let loader = Loader::new(&weights, Target { storage, ..Target::new(compute) });
        match config {
            ModelConfig::Gemma3(config) => {
                use gemma3::LayerType;
                let layer = |at| Layer {
                    dim: config.head_dim,
                    kv_heads: config.num_key_value_heads,
                    kv_source: at,
                    scale: config.scale(),
                    window: config.window(at),
                };
                let rope = |kind| gemma3::frequencies(config, kind);
                Text {
                    model: Arc::new(Gemma3::load(&loader, config, capacity).await.unwrap()),
                    vocab: config.vocab_size,
                    heads: config.num_attention_heads,
                    layers: (0..config.num_hidden_layers).map(layer).collect(),
                    ropes: vec![
                        ("rope.sliding_attention", rope(LayerType::Sliding)),
                        ("rope.full_attention", rope(LayerType::Full)),
                    ],
                    tolerance: 1e-4,
                }
            }
            ModelConfig::Gemma4(config) => {
                use gemma4::{Gemma4Layer, LayerType};
                let layer = |layer: &Gemma4Layer| Layer {
                    dim: layer.head_dim,
                    kv_heads: layer.num_key_value_heads,
                    kv_source: layer.kv_source,
                    scale: 1.0,
                    window: (layer.layer_type == LayerType::Sliding).then_some(config.sliding_window),
                };
                let rope = |kind| gemma4::frequencies(config, kind);
                Text {
                    model: Arc::new(Gemma4::load(&loader, config, capacity).await.unwrap()),
                    vocab: config.vocab_size,
                    heads: config.num_attention_heads,
                    layers: config.layers.iter().map(layer).collect(),
                    ropes: vec![
                        ("rope.sliding_attention", rope(LayerType::Sliding)),
                        ("rope.full_attention", rope(LayerType::Full)),
                    ],
                    tolerance: 1e-3,
                }
            }
            ModelConfig::Qwen3(config) => {
                let text = &config.text;
                let layer = |at| Layer {
                    dim: text.head_dim,
                    kv_heads: text.num_key_value_heads,
                    kv_source: at,
                    scale: (text.head_dim as f32).powf(-0.5),
                    window: None,
                };
                Text {
                    model: Arc::new(Qwen3::load(&loader, config, capacity).await.unwrap()),
                    vocab: text.vocab_size,
                    heads: text.num_attention_heads,
                    layers: (0..text.num_hidden_layers).map(layer).collect(),
                    ropes: vec![("rope", Rope::frequencies(text.rope_theta, text.head_dim, text.head_dim / 2))],
                    tolerance: 1e-4,
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// The attention of one head from the queries and keys of its layers, `heads_first`.
    pub fn probabilities(&self, layer: usize, head: usize, q: &[f32], k: &[f32]) -> Vec<f32> {
        let Layer { dim, kv_heads, scale, window, .. } = self.layers[layer];
        let one = q.len() / self.heads;
        let group = self.heads / kv_heads;
        probabilities(&q[head * one..][..one], &k[head / group * one..][..one], dim, scale, window)
    }
}

pub async fn check(files: &Files, config: &ModelConfig, compute: &Compute) {
    let text = Text::open(files, config, compute, Storage::plain(Precision::F32), 1024).await;
    let (model, tolerance) = (text.model.clone(), text.tolerance);
    let golden = Golden::open(files, &compute.name);
    let device = &compute.device;
    let tensor = |ids: &[u32]| {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        Tensor::<1, Int>::from_ints(ids.as_slice(), device)
    };
    let all = golden.ids("all_ids");
    let prompt = golden.ids("input_ids");
    let (rows, v) = (all.len(), text.vocab);

    // One pass over everything.
    let mut tap = Tap::on();
    let hidden = model.forward(tensor(&all), &mut model.cache(), all.len(), &mut tap).unwrap();
    let logits = model.logits(hidden);
    tap.keep("logits", None, &logits);
    let kept = by_name(tap.read().await.unwrap());
    let mut transposed = std::collections::BTreeMap::new();
    for (name, values) in kept {
        let layer = name.split('.').nth(1).and_then(|layer| layer.parse::<usize>().ok());
        let values = match (name.split('.').next(), layer) {
            (Some("q_post_rope"), Some(layer)) => heads_first(&values, text.heads, text.layers[layer].dim),
            (Some("k_post_rope" | "v_normed"), Some(layer)) => {
                heads_first(&values, text.layers[layer].kv_heads, text.layers[layer].dim)
            }
            _ => values,
        };
        if golden.has(&name) {
            golden.close(&name, &values, tolerance);
        }
        transposed.insert(name, values);
    }
    let full = &transposed["logits"];

    for head in golden.ints("selected_heads").chunks_exact(2) {
        let (layer, head) = (head[0] as usize, head[1] as usize);
        let q = &transposed[&format!("q_post_rope.{layer}")];
        let k = &transposed[&format!("k_post_rope.{}", text.layers[layer].kv_source)];
        golden.close(&format!("probs.{layer}.{head}"), &text.probabilities(layer, head, q, k), tolerance);
    }
    for (name, frequencies) in &text.ropes {
        let rope = Rope::new(frequencies, rows, device);
        let (cos, sin) = rope.tables();
        for (part, table) in [("cos", cos), ("sin", sin)] {
            // The reference stores every frequency twice, once for each half.
            let whole = Tensor::cat(vec![table.clone(), table], 1).into_data_async().await.unwrap();
            golden.close(&format!("{name}.{part}"), &whole.iter::<f32>().collect::<Vec<_>>(), tolerance);
        }
    }

    // Greedy: logits step by step, and the translator's own loop.
    let greedy = golden.ids("greedy_ids");
    golden.close("greedy_step_logits", &full[(prompt.len() - 1) * v..(rows - 1) * v], tolerance);
    for group in [1, 5] {
        let mut translator =
            Translator::new(model.clone(), Vec::new(), Armed::default(), group, compute.clone()).unwrap();
        let mut draft = async |prompt: &[u32], budget| {
            let request = Request { prompt, budget, ..Request::default() };
            translator.draft(&request, &mut |_| ControlFlow::Continue(())).await.unwrap()
        };
        let first = draft(&prompt, greedy.len()).await;
        assert_eq!(first.ids, greedy, "{} in groups of {group}", golden.label());
        // Again with a warm cache, and after a prompt that differs from the middle on.
        let again = draft(&prompt, greedy.len()).await;
        assert_eq!((again.ids, again.cost.prefilled), (greedy.clone(), 1), "{}", golden.label());
        let mut other = prompt.clone();
        let middle = other.len() / 2;
        other[middle] = (other[middle] + 1) % v as u32;
        draft(&other, 3).await;
        assert_eq!(draft(&prompt, greedy.len()).await.ids, greedy, "{}", golden.label());
    }
    // A budget that ends inside a group gives the same ids, and does not count as the end of the
    // turn.
    for budget in 1..greedy.len().min(12) {
        let eos = vec![greedy[greedy.len() / 2]];
        let by_group = async |group| {
            let mut translator =
                Translator::new(model.clone(), eos.clone(), Armed::default(), group, compute.clone()).unwrap();
            let request = Request { prompt: &prompt, budget, ..Request::default() };
            let draft = translator.draft(&request, &mut |_| ControlFlow::Continue(())).await.unwrap();
            (draft.ids, draft.finished)
        };
        assert_eq!(by_group(8).await, by_group(1).await, "{} budget {budget}", golden.label());
    }
    // The length of the short prompt is not recorded: its logits must be those of some prefix.
    if golden.has("short.logits_last") {
        let (_, short) = golden.floats("short.logits_last");
        let distance = |row: &[f32]| row.iter().zip(short).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let nearest = full.chunks_exact(v).map(distance).fold(f32::MAX, f32::min);
        assert!(nearest < tolerance * 30.0, "{}: short.logits_last is {nearest} from any row", golden.label());
    }

    // In pieces, each after a detour that is rolled back, far past the sliding window.
    let mut dice = Dice(11);
    let long: Vec<u32> = all.iter().cycle().take(5 * rows).copied().collect();
    let whole = model.forward(tensor(&long), &mut model.cache(), long.len(), &mut Tap::off()).unwrap();
    let whole: Vec<f32> = model.logits(whole).into_data_async().await.unwrap().iter().collect();
    let mut cache = model.cache();
    let mut at = 0;
    while at < long.len() {
        let detour: Vec<u32> = (0..1 + dice.below(40)).map(|_| dice.below(v) as u32).collect();
        model.forward(tensor(&detour), &mut cache, 1, &mut Tap::off()).unwrap();
        assert_eq!(cache.roll_back(at), at, "{}", golden.label());
        let len = (1 + dice.below(60)).min(long.len() - at);
        let out = model.forward(tensor(&long[at..at + len]), &mut cache, 1, &mut Tap::off()).unwrap();
        let out: Vec<f32> = model.logits(out).into_data_async().await.unwrap().iter().collect();
        at += len;
        golden.close_to(&format!("logits in pieces, at {at}"), &out, &whole[(at - 1) * v..at * v], tolerance);
    }
    golden.finish();
}

/// A head of its own is used where the configuration says that it is not tied, and only there. The
/// model is tied and stores a copy of its head, which is doubled here.
pub async fn check_head(files: &Files, config: &ModelConfig, compute: &Compute) {
    let ModelConfig::Qwen3(model) = config else { panic!("{config:?}") };
    let stored = Weights::open(files).await.unwrap().contains("lm_head.weight");
    if !model.text.tie_word_embeddings || !stored {
        eprintln!("{}: its head is not a stored copy", files.label());
        return;
    }
    let golden = Golden::open(files, &compute.name);
    let ids: Vec<i32> = golden.ids("all_ids").iter().map(|id| *id as i32).collect();
    let (_, want) = golden.floats("logits");
    let mut weights = files.bytes("model.safetensors", 1 << 30).unwrap();
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let names: serde_json::Value = serde_json::from_slice(&weights[8..header]).unwrap();
    let offset = |at: usize| header + names["lm_head.weight"]["data_offsets"][at].as_u64().unwrap() as usize;
    for value in weights[offset(0)..offset(1)].chunks_exact_mut(4) {
        let doubled = 2.0 * f32::from_le_bytes((&*value).try_into().unwrap());
        value.copy_from_slice(&doubled.to_le_bytes());
    }
    let mut config = files.json("config.json", 1 << 20).unwrap();
    for (tied, factor) in [(true, 1.0), (false, 2.0)] {
        config["tie_word_embeddings"] = serde_json::json!(tied);
        let small = vec![("config.json".to_owned(), config.to_string().into_bytes())];
        let source: Arc<dyn ByteSource> = Arc::new(weights.clone());
        let files = Files::remote("doubled", small, vec![("model.safetensors".to_owned(), source)]);
        let config = ModelConfig::open(&files).unwrap();
        let Text { model, .. } = Text::open(&files, &config, compute, Storage::plain(Precision::F32), 1024).await;
        let part = Tensor::<1, Int>::from_ints(ids.as_slice(), &compute.device);
        let rows = model.forward(part, &mut model.cache(), ids.len(), &mut Tap::off()).unwrap();
        let got: Vec<f32> = model.logits(rows).into_data_async().await.unwrap().iter().collect();
        let want: Vec<f32> = want.iter().map(|value| value * factor).collect();
        golden.close_to(&format!("logits, tied {tied}"), &got, &want, 1e-4);
    }
}

/// Weights in fewer bits give logits near the reference: the root of the mean square of the error
/// is a small part of that of the logits. The weights of these fixtures are random numbers, which
/// suffer more from rounding than trained ones.
pub async fn check_rounded(files: &Files, config: &ModelConfig, compute: &Compute) {
    let golden = Golden::open(files, &compute.name);
    let ids: Vec<i32> = golden.ids("all_ids").iter().map(|id| *id as i32).collect();
    let (_, want) = golden.floats("logits");
    for (precision, tolerance) in [(Precision::F16, 0.03), (Precision::Q8, 0.25), (Precision::Q4, 0.9)] {
        let storage = Storage::plain(precision);
        let Text { model, .. } = Text::open(files, config, compute, storage, 1024).await;
        let mut cache = model.cache();
        let mut got: Vec<f32> = Vec::new();
        // Three passes: many rows, then 15, then 5.
        for part in [&ids[..ids.len() - 20], &ids[ids.len() - 20..ids.len() - 5], &ids[ids.len() - 5..]] {
            let (len, part) = (part.len(), Tensor::<1, Int>::from_ints(part, &compute.device));
            let out = model.forward(part, &mut cache, len, &mut Tap::off()).unwrap();
            got.extend(model.logits(out).into_data_async().await.unwrap().iter::<f32>());
        }
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let error = square(&mut got.iter().zip(want).map(|(got, want)| got - want)) / square(&mut want.iter().copied());
        assert!(error <= tolerance, "{}: logits in {storage} are off by {error:.3} of their size", golden.label());
        assert!(error > 0.0, "{}: {storage} changes nothing", golden.label());
    }
}
