//! Qwen3-ASR and its aligner as two GGUF files: the decoder, and the tower that hears. The ids of
//! control tokens and the tower's windows are in neither. (docs/models.md, section 5.6)

use serde_json::{Value, json};

use crate::models::gguf::{Described, Keys, rows, vocabulary};
use crate::models::qwen3;
use crate::weights::CheckpointError;
use crate::weights::error::{WRONG_MODEL, shown};
use crate::weights::gguf::{Gguf, Style};
use crate::weights::section::{MAX_FFN, MAX_HEADS, MAX_LAYERS, MAX_WIDTH};
use crate::weights::tensors::TensorInfo;

/// The tower's prefix in a checkpoint.
const TOWER: &str = "thinker.audio_tower";
/// What the published models have: mel frames of half a chunk, and of a window.
const WINDOW: usize = 50;
const WINDOW_INFER: usize = 800;
/// Milliseconds of one of the aligner's classes.
const SEGMENT_TIME: usize = 80;

/// Parts of the tower's layers: GGUF's name, and the checkpoint's.
const PARTS: [(&str, &str); 8] = [
    ("ln1", "self_attn_layer_norm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_out", "self_attn.out_proj"),
    ("ln2", "final_layer_norm"),
    ("ffn_up", "fc1"),
    ("ffn_down", "fc2"),
];

/// The parts of the tower that are in no layer.
const WHOLE: [(&str, &str); 7] = [
    ("a.conv2d.1", "conv2d1"),
    ("a.conv2d.2", "conv2d2"),
    ("a.conv2d.3", "conv2d3"),
    ("a.conv_out", "conv_out"),
    ("a.post_ln", "ln_post"),
    ("mm.a.mlp.1", "proj1"),
    ("mm.a.mlp.2", "proj2"),
];

/// A model that classifies has another number of rows in its head than tokens: the aligner.
pub(crate) fn describe(gguf: &Gguf, tower: &Gguf) -> Result<Described, CheckpointError> {
    let keys = Keys::new(gguf, "qwen3vl");
    let vocabulary = vocabulary(gguf, Style::Qwen)?;
    let mut text = qwen3::gguf::decoder(&keys, gguf)?;
    // Its sections have no effect for sound and text, and nothing else may scale the rotation.
    text.insert("rope_scaling".to_owned(), keys.rope_scaling()?);
    let mut tensors = qwen3::gguf::tensors(&keys, gguf, "thinker.model", "thinker.lm_head.weight")?;
    for (name, mut info) in tower_tensors(tower) {
        info.shard += gguf.sources.len();
        tensors.insert(name, info);
    }
    let head = match gguf.tensors.contains_key("output.weight") {
        true => Some(rows(gguf, "output.weight")?),
        false => None,
    };
    let mut thinker = json!({
        "audio_config": audio(tower)?,
        "audio_token_id": vocabulary.require("<|audio_pad|>")?,
        "tie_word_embeddings": head.is_none(),
    });
    if let Some(classes) = head.filter(|head| text.get("vocab_size") != Some(&Value::from(*head))) {
        thinker["classify_num"] = classes.into();
        thinker["timestamp_token_id"] = vocabulary.require("<timestamp>")?.into();
        thinker["timestamp_segment_time"] = SEGMENT_TIME.into();
    }
    thinker["text_config"] = Value::Object(text);
    let config = json!({"model_type": "qwen3_asr", "thinker_config": thinker});
    Ok(Described { config, tensors, vocabulary, norms_hold_one: false })
}

/// `audio_config` as a checkpoint has it. Errors: the tower is that of another model.
fn audio(tower: &Gguf) -> Result<Value, CheckpointError> {
    let keys = Keys::new(tower, "clip");
    if keys.metadata.flag(&keys.key("has_audio_encoder"))? != Some(true) {
        return Err(keys.wrong("has_audio_encoder", "is not true, and a tower that hears is needed"));
    }
    let audio = keys.key("audio.projector_type");
    let kind = match keys.metadata.text(&audio)? {
        Some(kind) => Some(kind),
        None => keys.metadata.text(&keys.key("projector_type"))?,
    };
    if kind != Some("qwen3a") {
        let what = format!("{} is not qwen3a, the tower of Qwen3-ASR", shown(kind.unwrap_or("nothing")));
        return Err(keys.wrong("audio.projector_type", what));
    }
    let eps = keys.need_number("audio.attention.layer_norm_epsilon")?;
    if eps != 1e-5 {
        return Err(keys.wrong("audio.attention.layer_norm_epsilon", format_args!("{eps} is not 1e-5")));
    }
    let Some([channels, ..]) = tower.tensors.get("a.conv2d.1.weight").map(|info| &info.shape[..]) else {
        let missing = CheckpointError::tensor(&tower.metadata.file, "a.conv2d.1.weight", "is missing", WRONG_MODEL);
        return Err(missing);
    };
    Ok(json!({
        "num_mel_bins": keys.count("audio.num_mel_bins", MAX_WIDTH)?,
        "d_model": keys.count("audio.embedding_length", MAX_WIDTH)?,
        "encoder_layers": keys.count("audio.block_count", MAX_LAYERS)?,
        "encoder_attention_heads": keys.count("audio.attention.head_count", MAX_HEADS)?,
        "encoder_ffn_dim": keys.count("audio.feed_forward_length", MAX_FFN)?,
        "downsample_hidden_size": channels,
        "output_dim": keys.count("audio.projection_dim", MAX_WIDTH)?,
        "n_window": WINDOW,
        "n_window_infer": WINDOW_INFER,
    }))
}

/// The tower's tensors by the checkpoint's names. Positions are computed. A tensor that is not
/// known keeps its name, so that loading refuses it by that.
fn tower_tensors(tower: &Gguf) -> Vec<(String, TensorInfo)> {
    let renamed = |name: &str| {
        let (stem, kind) = name.rsplit_once('.')?;
        if let Some((_, to)) = WHOLE.iter().find(|(from, _)| *from == stem) {
            return Some(format!("{TOWER}.{to}.{kind}"));
        }
        let (layer, part) = stem.strip_prefix("a.blk.")?.split_once('.')?;
        let (_, to) = PARTS.iter().find(|(from, _)| *from == part)?;
        Some(format!("{TOWER}.layers.{layer}.{to}.{kind}"))
    };
    let mut out = Vec::new();
    for (name, info) in tower.tensors.iter().filter(|(name, _)| *name != "a.position_embd.weight") {
        let mut info = info.clone();
        // The biases of convolutions are stored as [C, 1, 1].
        if let [channels, 1, 1] = info.shape[..]
            && name.ends_with(".bias")
        {
            info.shape = vec![channels];
        }
        out.push((renamed(name).unwrap_or_else(|| name.clone()), info));
    }
    out
}
