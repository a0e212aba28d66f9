//! Mistakes that are easy to make with Gemma-3, made on purpose: each one must move the logits by
//! much more than rounding does, so that the comparison with the reference would notice it.

use std::collections::BTreeMap;
use std::sync::Arc;

use alignatt::gpu::Compute;
use alignatt::models::ModelConfig;
use alignatt::models::gemma3::config::{Gemma3Config, LayerType};
use alignatt::nn::{Precision, Tap};
use alignatt::weights::{ByteSource, Files};
use burn::tensor::{Int, Tensor};
use safetensors::SafeTensors;
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
    let golden = Golden::open(files, &compute.name);
    let ids: Vec<i32> = golden.ids("all_ids").iter().map(|id| *id as i32).collect();
    let (_, want) = golden.floats("logits");
    let top = want.iter().fold(0.0f32, |top, value| top.max(value.abs()));
    let stored = stored(files);
    let off = async |config: &Gemma3Config, stored: &Stored| {
        let files = folder(stored);
        let config = ModelConfig::Gemma3(config.clone());
        let Text { model, tolerance, .. } = Text::open(&files, &config, compute, Precision::F32, 256).await;
        let part = Tensor::<1, Int>::from_ints(ids.as_slice(), &compute.device);
        let rows = model.forward(part, &mut model.cache(), ids.len(), &mut Tap::off()).unwrap();
        let got: Vec<f32> = model.logits(rows).into_data_async().await.unwrap().iter().collect();
        let worst = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
        (worst / top, tolerance)
    };
    let (worst, tolerance) = off(right, &stored).await;
    assert!(worst <= tolerance, "{}: {worst} without a mistake", golden.label());

    let with = |change: &dyn Fn(&mut Gemma3Config)| {
        let mut config = right.clone();
        change(&mut config);
        config
    };
    let full = right.layer_types.iter().position(|kind| *kind == LayerType::Full).expect("a full layer");
    let last = right.num_hidden_layers - 1;
    let configs = [
        ("the scale is that of another width", with(&|c| c.query_pre_attn_scalar *= 1.25)),
        ("the window is one shorter", with(&|c| c.sliding_window -= 1)),
        ("the window is one longer", with(&|c| c.sliding_window += 1)),
        ("a full layer slides", with(&|c| c.layer_types[full] = LayerType::Sliding)),
        ("the layer before it is full", with(&|c| c.layer_types.swap(full, full - 1))),
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
    for (what, config) in &configs {
        let (worst, tolerance) = off(config, &stored).await;
        eprintln!("{what}: {worst}");
        assert!(worst > CLEARLY * tolerance, "{}: {what}: only {worst}", golden.label());
    }

    for ending in ["layernorm.weight", "q_norm.weight", "k_norm.weight", "model.norm.weight"] {
        let mut stored = stored.clone();
        let norms = stored.iter_mut().filter(|(name, _)| name.ends_with(ending));
        let count = norms.map(|(_, (_, values))| values.iter_mut().for_each(|value| *value -= 1.0)).count();
        let (worst, tolerance) = off(right, &stored).await;
        assert!(count > 0 && worst > CLEARLY * tolerance, "{}: {ending} without the 1: {worst}", golden.label());
    }
    for (one, other) in [
        ("input_layernorm", "post_attention_layernorm"),
        ("post_attention_layernorm", "pre_feedforward_layernorm"),
        ("pre_feedforward_layernorm", "post_feedforward_layernorm"),
        ("self_attn.q_norm", "self_attn.k_norm"),
        ("mlp.gate_proj", "mlp.up_proj"),
        ("self_attn.k_proj", "self_attn.v_proj"),
    ] {
        let (worst, tolerance) = off(right, &exchanged(&stored, one, other)).await;
        assert!(worst > CLEARLY * tolerance, "{}: {one} for {other}: {worst}", golden.label());
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

fn stored(files: &Files) -> Stored {
    let bytes = files.bytes("model.safetensors", 1 << 30).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (String, TensorView<'_>)| {
        let words = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        (name, (view.shape().to_vec(), words.collect()))
    };
    tensors.tensors().into_iter().map(read).collect()
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
