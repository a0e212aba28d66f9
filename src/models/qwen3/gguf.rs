//! Qwen3 as a GGUF file. (docs/models.md, section 5.4)

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::models::gguf::{Described, Keys, Names, qkv, vocabulary};
use crate::weights::CheckpointError;
use crate::weights::gguf::{Gguf, Style};
use crate::weights::tensors::TensorInfo;

pub(crate) fn describe(gguf: &Gguf) -> Result<Described, CheckpointError> {
    let keys = Keys::new(gguf, "qwen3");
    let mut config = decoder(&keys, gguf)?;
    config.insert("model_type".to_owned(), "qwen3".into());
    config.insert("rope_scaling".to_owned(), keys.rope_scaling()?);
    // A head that is tied may be stored as well, perhaps quantized otherwise. It is used as it is.
    config.insert("tie_word_embeddings".to_owned(), (!gguf.tensors.contains_key("output.weight")).into());
    Ok(Described {
        config: Value::Object(config),
        tensors: tensors(&keys, gguf, "model", "lm_head.weight")?,
        vocabulary: vocabulary(gguf, Style::Qwen)?,
        norms_hold_one: false,
    })
}

/// The configuration of a decoder, which may be a part of a larger model.
pub(crate) fn decoder(keys: &Keys<'_>, gguf: &Gguf) -> Result<Map<String, Value>, CheckpointError> {
    let layers = keys.layers()?;
    let mut config = keys.decoder(gguf)?;
    let rest = json!({
        "intermediate_size": keys.same("feed_forward_length", layers)?,
        "num_key_value_heads": keys.same("attention.head_count_kv", layers)?,
        "head_dim": keys.head_dim("")?,
        "rope_theta": keys.need_number("rope.freq_base")?,
    });
    config.extend(rest.as_object().cloned().unwrap_or_default());
    const WINDOW: &str = "attention.sliding_window";
    if keys.metadata.whole(&keys.key(WINDOW))?.is_some_and(|window| window > 0) {
        return Err(keys.wrong(WINDOW, "is not supported"));
    }
    Ok(config)
}

/// The tensors of a decoder with the prefix of its checkpoint. `head`: the name of the head.
pub(crate) fn tensors(
    keys: &Keys<'_>,
    gguf: &Gguf,
    prefix: &str,
    head: &str,
) -> Result<BTreeMap<String, TensorInfo>, CheckpointError> {
    let layers = keys.layers()?;
    let (heads, kv_heads) = (keys.same("attention.head_count", layers)?, keys.same("attention.head_count_kv", layers)?);
    let dim = keys.head_dim("")?;
    let names = Names {
        prefix,
        parts: &[("ffn_norm", "post_attention_layernorm")],
        whole: &[("output.weight", head)],
        skip: &[],
        qkv: &|_| qkv(heads, kv_heads, dim),
    };
    names.apply(gguf)
}
