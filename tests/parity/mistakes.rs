//! Mistakes that are easy to make with a family, made on purpose: each one must move the logits by
//! much more than rounding does, so that the comparison with the reference would notice it.

use std::collections::BTreeMap;
use std::sync::Arc;

use alignatt::internals::models::ModelConfig;
use alignatt::internals::models::gemma3::{Gemma3Config, LayerType};
use alignatt::internals::models::qwen3::Qwen3Config;
use alignatt::internals::nn::{Precision, Storage, Tap};
use alignatt::internals::weights::Weights;
use alignatt::{ByteSource, Compute, Files};
use burn::tensor::{Int, Tensor};
use safetensors::tensor::{Dtype, TensorView};

use crate::golden::Golden;
use crate::text::Text;

/// How many times the tolerance a mistake must move the logits, relative to the largest.
const CLEARLY: f32 = 10.0;

type Stored = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

pub async fn gemma3(files: &Files, config: &ModelConfig, compute: &Compute) {
    // What is computed is the same on every device.
    if compute.is_gpu() {
        return;
    }
    let ModelConfig::Gemma3(right) = config else { panic!("{config:?}") };
    let bench = Bench::open(files, config, compute).await;
    let with = |change: &dyn Fn(&mut Gemma3Config)| {
        let mut config = right.clone();
        change(&mut config);
        ModelConfig::Gemma3(config)
    };
    let full = right.layer_types.iter().position(|kind| *kind == LayerType::Full).unwrap_or(0);
    let last = right.num_hidden_layers - 1;
    let configs = [
        ("the scale is that of another width", with(&|c| c.query_pre_attn_scalar *= 1.25)),
        ("the window is one shorter", with(&|c| c.sliding_window -= 1)),
        ("the window is one longer", with(&|c| c.sliding_window += 1)),
        ("a full layer slides", with(&|c| c.layer_types[full] = LayerType::Sliding)),
        ("the layer before it is full", with(&|c| c.layer_types.swap(full, full.saturating_sub(1)))),
        ("the end of an incomplete group is full", with(&|c| c.layer_types[last] = LayerType::Full)),
        ("full layers have no factor", with(&|c| c.rope_parameters.full_attention.factor = 1.0)),
        (
            "sliding layers have the factor",
            with(&|c| c.rope_parameters.sliding_attention.factor = c.rope_parameters.full_attention.factor),
        ),
        (
            "all layers have the theta of full layers",
            with(&|c| c.rope_parameters.sliding_attention.rope_theta = c.rope_parameters.full_attention.rope_theta),
        ),
        (
            "all layers have the theta of sliding layers",
            with(&|c| c.rope_parameters.full_attention.rope_theta = c.rope_parameters.sliding_attention.rope_theta),
        ),
        ("the epsilon is larger", with(&|c| c.rms_norm_eps = 1e-2)),
    ];
    // In some models one of them is no mistake.
    let mistaken = configs.iter().filter(|(_, mistaken)| mistaken != config);
    assert!(mistaken.clone().count() >= 8, "{}", bench.golden.label());
    for (what, config) in mistaken {
        bench.notices(what, config, &bench.stored).await;
    }
    for ending in NORMS {
        bench.notices(&format!("{ending} without the 1"), config, &bench.added(ending, -1.0)).await;
    }
    for (one, other) in [
        ("input_layernorm", "post_attention_layernorm"),
        ("post_attention_layernorm", "pre_feedforward_layernorm"),
        ("pre_feedforward_layernorm", "post_feedforward_layernorm"),
        ("self_attn.q_norm", "self_attn.k_norm"),
        ("mlp.gate_proj", "mlp.up_proj"),
        ("self_attn.k_proj", "self_attn.v_proj"),
    ] {
        bench.notices(&format!("{one} for {other}"), config, &exchanged(&bench.stored, one, other)).await;
    }
}

pub async fn qwen3(files: &Files, config: &ModelConfig, compute: &Compute) {
    // What is computed is the same on every device.
    if compute.is_gpu() {
        return;
    }
    let ModelConfig::Qwen3(right) = config else { panic!("{config:?}") };
    let bench = Bench::open(files, config, compute).await;
    let with = |change: &dyn Fn(&mut Qwen3Config)| {
        let mut config = right.clone();
        change(&mut config);
        ModelConfig::Qwen3(config)
    };
    let configs = [
        ("the theta is that of other releases", with(&|c| c.text.rope_theta *= 5.0)),
        ("the epsilon is larger", with(&|c| c.text.rms_norm_eps = 1e-2)),
    ];
    for (what, config) in &configs {
        bench.notices(what, config, &bench.stored).await;
    }
    for ending in NORMS {
        bench.notices(&format!("{ending} with a 1 too much"), config, &bench.added(ending, 1.0)).await;
    }
    for (one, other) in [
        ("input_layernorm", "post_attention_layernorm"),
        ("self_attn.q_norm", "self_attn.k_norm"),
        ("mlp.gate_proj", "mlp.up_proj"),
        ("self_attn.k_proj", "self_attn.v_proj"),
    ] {
        bench.notices(&format!("{one} for {other}"), config, &exchanged(&bench.stored, one, other)).await;
    }
}

/// The endings of the names of a decoder's norms.
const NORMS: [&str; 4] = ["layernorm.weight", "q_norm.weight", "k_norm.weight", "model.norm.weight"];

/// A fixture, and what the reference says of it.
struct Bench<'a> {
    golden: Golden,
    ids: Vec<i32>,
    stored: Stored,
    compute: &'a Compute,
}

impl<'a> Bench<'a> {
    /// Opens a fixture. Panics if the model is wrong without a mistake.
    async fn open(files: &Files, config: &ModelConfig, compute: &'a Compute) -> Self {
        let golden = Golden::open(files, &compute.name);
        let ids = golden.ids("all_ids").iter().map(|id| *id as i32).collect();
        let bench = Self { golden, ids, stored: stored(files).await, compute };
        let (worst, tolerance) = bench.off(config, &bench.stored).await;
        assert!(worst <= tolerance, "{}: {worst} without a mistake", bench.golden.label());
        bench
    }

    /// How far the logits of a model are from the reference's, and how far they may be; both
    /// relative to the largest.
    async fn off(&self, config: &ModelConfig, stored: &Stored) -> (f32, f32) {
        let files = folder(stored);
        let Text { model, tolerance, .. } =
            Text::open(&files, config, self.compute, Storage::plain(Precision::F32), 256).await;
        let part = Tensor::<1, Int>::from_ints(self.ids.as_slice(), &self.compute.device);
        let rows = model.forward(part, &mut model.cache(), self.ids.len(), &mut Tap::off()).unwrap();
        let got: Vec<f32> = model.logits(rows).into_data_async().await.unwrap().iter().collect();
        let (_, want) = self.golden.floats("logits");
        let top = want.iter().fold(0.0f32, |top, value| top.max(value.abs()));
        let worst = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
        (worst / top, tolerance)
    }

    /// Panics unless the mistake `what` moves the logits clearly.
    async fn notices(&self, what: &str, config: &ModelConfig, stored: &Stored) {
        let (worst, tolerance) = self.off(config, stored).await;
        eprintln!("{what}: {worst}");
        assert!(worst > CLEARLY * tolerance, "{}: {what}: only {worst}", self.golden.label());
    }

    /// The tensors, with `value` added to those whose names end like this.
    fn added(&self, ending: &str, value: f32) -> Stored {
        let mut stored = self.stored.clone();
        let found = stored.iter_mut().filter(|(name, _)| name.ends_with(ending));
        let count = found.map(|(_, (_, values))| values.iter_mut().for_each(|weight| *weight += value)).count();
        assert!(count > 0, "{}: no {ending}", self.golden.label());
        stored
    }
}

/// The tensors, with those of two names exchanged in every layer.
fn exchanged(stored: &Stored, one: &str, other: &str) -> Stored {
    let renamed = |name: &String| match name {
        name if name.contains(one) => name.replace(one, other),
        name => name.replace(other, one),
    };
    stored.iter().map(|(name, values)| (renamed(name), values.clone())).collect()
}

async fn stored(files: &Files) -> Stored {
    let weights = Weights::open(files).await.unwrap();
    let mut stored = Stored::new();
    for name in weights.names() {
        let shape = weights.info(name).unwrap().shape.clone();
        let values = weights.read_f32(name, &shape).await.unwrap();
        stored.insert(name.to_owned(), (shape, values));
    }
    stored
}

/// A model folder that holds these tensors.
fn folder(stored: &Stored) -> Files {
    let bytes: Vec<Vec<u8>> =
        stored.values().map(|(_, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = stored
        .iter()
        .zip(&bytes)
        .map(|((name, (shape, _)), bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let file: Arc<dyn ByteSource> = Arc::new(safetensors::serialize(views, None).unwrap());
    Files::remote("changed", Vec::new(), vec![("model.safetensors".to_owned(), file)])
}
