//! Gemma-3 as a GGUF file. Which layers are full, and what scales the scores, is not in the file.
//! (docs/models.md, section 5.4)

use serde_json::{Value, json};

use crate::models::gguf::{Described, Keys, Names, TOWERS, qkv, vocabulary};
use crate::weights::CheckpointError;
use crate::weights::gguf::{Gguf, Style};
use crate::weights::section::MAX_FFN;

/// Every sixth layer is full.
const PATTERN: u64 = 6;
/// The number of layers of the 27B model, whose scores are scaled by hidden size / heads.
const LAYERS_27B: usize = 62;

/// The parts of a layer beside those of all decoders.
pub(crate) const PARTS: [(&str, &str); 3] = [
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

pub(crate) fn describe(gguf: &Gguf) -> Result<Described, CheckpointError> {
    let keys = Keys::new(gguf, "gemma3");
    let layers = keys.layers()?;
    let (head_dim, kv_heads) = (keys.head_dim("")?, keys.same("attention.head_count_kv", layers)?);
    let mut config = keys.decoder(gguf)?;
    let heads = keys.same("attention.head_count", layers)?;
    let scalar = match layers {
        LAYERS_27B => keys.count("embedding_length", MAX_FFN)? as f64 / heads.max(1) as f64,
        _ => head_dim as f64,
    };
    let scaling = keys.rope_scaling()?;
    let window = keys.count_or("attention.sliding_window", 0, 1 << 24)?;
    let rest = json!({
        "model_type": "gemma3_text",
        "intermediate_size": keys.same("feed_forward_length", layers)?,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "query_pre_attn_scalar": scalar,
        // Where there is none, no layer slides.
        "sliding_window": window.max(1),
        "layer_types": layer_types(&keys, layers, window)?,
        "rope_theta": keys.number("rope.freq_base")?.unwrap_or(1e6),
        "rope_local_base_freq": keys.number("rope.freq_base_swa")?.unwrap_or(1e4),
        "rope_scaling": scaling,
        "tie_word_embeddings": !gguf.tensors.contains_key("output.weight"),
    });
    config.extend(rest.as_object().cloned().unwrap_or_default());
    let names =
        Names { prefix: "model", parts: &PARTS, whole: &[], skip: TOWERS, qkv: &|_| qkv(heads, kv_heads, head_dim) };
    Ok(Described {
        config: Value::Object(config),
        tensors: names.apply(gguf)?,
        vocabulary: vocabulary(gguf, Style::Gemma)?,
        norms_hold_one: true,
    })
}

/// The pattern is a number, one flag for each layer, or the rule of all published models.
fn layer_types(keys: &Keys<'_>, layers: usize, window: u64) -> Result<Vec<&'static str>, CheckpointError> {
    const NAME: &str = "attention.sliding_window_pattern";
    let key = keys.key(NAME);
    let slides: Vec<bool> = if window == 0 {
        vec![false; layers]
    } else if keys.metadata.get(&key).is_none() || keys.metadata.whole(&key).is_ok() {
        let pattern = keys.metadata.whole(&key)?.unwrap_or(PATTERN);
        (1..=layers as u64).map(|layer| !layer.is_multiple_of(pattern)).collect()
    } else {
        keys.metadata.flags_by_layer(&key, layers)?.unwrap_or_default()
    };
    let kind = |slides: bool| if slides { "sliding_attention" } else { "full_attention" };
    Ok(slides.into_iter().map(kind).collect())
}
