//! Gemma-4 as a GGUF file. The part of a head that turns in full layers is in a table of factors.
//! (docs/models.md, section 5.4)

use serde_json::{Value, json};

use crate::models::gemma3::gguf::PARTS;
use crate::models::gguf::{Described, Keys, Names, TOWERS, qkv, rows, vocabulary};
use crate::weights::error::WRONG_MODEL;
use crate::weights::gguf::{Gguf, Style};
use crate::weights::section::{MAX_HEAD_DIM, MAX_WIDTH};
use crate::weights::{CheckpointError, Weights};

const PATTERN: &str = "attention.sliding_window_pattern";
/// Factors by which the frequencies of full layers are divided.
const ROPE_FACTORS: &str = "rope_freqs.weight";
/// The factor of pairs that do not turn.
const NEVER: f32 = 1e30;

/// The tensors that are in no layer.
const WHOLE: [(&str, &str); 3] = [
    ("per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight"),
    ("per_layer_model_proj.weight", "model.per_layer_model_projection.weight"),
    ("per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight"),
];

pub(crate) async fn describe(gguf: &Gguf) -> Result<Described, CheckpointError> {
    let keys = Keys::new(gguf, "gemma4");
    let layers = keys.layers()?;
    let (full, sliding) = (keys.head_dim("")?, keys.head_dim("_swa")?);
    let heads = keys.same("attention.head_count", layers)?;
    let key = keys.key(PATTERN);
    let slides = keys.metadata.flags_by_layer(&key, layers)?.ok_or_else(|| keys.metadata.missing(&key))?;
    let kv_heads = keys.by_layer("attention.head_count_kv", layers)?;
    // All sliding layers have the same number of heads, and all full ones.
    let of = |wanted: bool| -> Result<Option<u64>, CheckpointError> {
        let mut all = kv_heads.iter().zip(&slides).filter(|(_, slides)| **slides == wanted).map(|(heads, _)| *heads);
        let first = all.next();
        match all.all(|heads| Some(heads) == first) {
            true => Ok(first),
            false => Err(keys.wrong("attention.head_count_kv", "differs among layers of one kind")),
        }
    };
    let (full_heads, sliding_heads) = (of(false)?, of(true)?);
    let shared = keys.count_or("attention.shared_kv_layers", 0, layers)? as usize;
    let (width, double) = widths(&keys, layers, shared)?;
    let kind = |slides: &bool| if *slides { "sliding_attention" } else { "full_attention" };
    let rest = json!({
        "model_type": "gemma4_text",
        "intermediate_size": width,
        "use_double_wide_mlp": double,
        "num_key_value_heads": sliding_heads.or(full_heads),
        "num_global_key_value_heads": full_heads.or(sliding_heads),
        "head_dim": sliding,
        "global_head_dim": full,
        "hidden_size_per_layer_input": keys.count("embedding_length_per_layer_input", MAX_WIDTH)?,
        "vocab_size_per_layer_input": rows(gguf, WHOLE[0].0)?,
        "num_kv_shared_layers": shared,
        "sliding_window": keys.count("attention.sliding_window", 1 << 24)?,
        "layer_types": slides.iter().map(kind).collect::<Vec<_>>(),
        "rope_parameters": {
            "full_attention": {
                "rope_type": "proportional",
                "rope_theta": keys.need_number("rope.freq_base")?,
                "partial_rotary_factor": turning_part(gguf, full as usize).await?,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": keys.need_number("rope.freq_base_swa")?},
        },
        "tie_word_embeddings": !gguf.tensors.contains_key("output.weight"),
    });
    if !keys.rope_scaling()?.is_null() {
        return Err(keys.wrong("rope.scaling.type", "no scaling is supported"));
    }
    let mut config = keys.decoder(gguf)?;
    config.extend(rest.as_object().cloned().unwrap_or_default());
    let parts = [
        &PARTS[..],
        &[
            ("layer_output_scale", "layer_scalar"),
            ("inp_gate", "per_layer_input_gate"),
            ("proj", "per_layer_projection"),
            ("post_norm", "post_per_layer_input_norm"),
        ],
    ]
    .concat();
    let dim = |layer: usize| if slides.get(layer) == Some(&true) { sliding } else { full };
    let skip = [TOWERS, &[ROPE_FACTORS]].concat();
    let names = Names {
        prefix: "model",
        parts: &parts,
        whole: &WHOLE,
        skip: &skip,
        qkv: &|layer| qkv(heads, *kv_heads.get(layer)?, dim(layer)),
    };
    Ok(Described {
        config: Value::Object(config),
        tensors: names.apply(gguf)?,
        vocabulary: vocabulary(gguf, Style::Gemma)?,
        norms_hold_one: false,
    })
}

/// The width of the MLP of layers with keys of their own, and whether the other layers have twice
/// that. Errors: it differs otherwise.
fn widths(keys: &Keys<'_>, layers: usize, shared: usize) -> Result<(u64, bool), CheckpointError> {
    const NAME: &str = "feed_forward_length";
    let all = keys.by_layer(NAME, layers)?;
    let (own, others) = all.split_at(layers - shared);
    let Some(width) = own.first().copied() else { return Err(keys.wrong(NAME, "no layer has keys of its own")) };
    let double = others.first().is_some_and(|other| *other != width);
    let expected = if double { width.checked_mul(2) } else { Some(width) };
    match own.iter().all(|own| *own == width) && others.iter().all(|other| Some(*other) == expected) {
        true => Ok((width, double)),
        false => Err(keys.wrong(NAME, "differs by layer in a way that is not supported")),
    }
}

/// The share of a head that turns in full layers: its first pairs have the factor 1, the others a
/// factor so large that they stand still. Errors: the factors are missing or others.
async fn turning_part(gguf: &Gguf, head_dim: usize) -> Result<f64, CheckpointError> {
    let file = &gguf.metadata.file;
    if head_dim > MAX_HEAD_DIM || !gguf.tensors.contains_key(ROPE_FACTORS) {
        return Err(CheckpointError::tensor(file, ROPE_FACTORS, "is missing", WRONG_MODEL));
    }
    let factors = Weights::of_gguf(file, gguf.tensors.clone(), gguf.sources.clone(), false)
        .read_f32(ROPE_FACTORS, &[head_dim / 2])
        .await?;
    let turning = factors.iter().take_while(|factor| **factor == 1.0).count();
    match factors[turning..].iter().all(|factor| *factor == NEVER) {
        true => Ok(turning as f64 / factors.len().max(1) as f64),
        false => Err(CheckpointError::tensor(file, ROPE_FACTORS, "holds other factors than 1 and 1e30", WRONG_MODEL)),
    }
}
