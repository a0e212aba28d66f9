//! The configuration of a model (`config.json`), checked value by value.
//!
//! Fields have the names that the checkpoint uses. Everything that the forward pass relies on is
//! either a field here or checked and refused by name: a checkpoint that needs a feature that this
//! program lacks must not load and then give nonsense. Source: docs/models.md, sections 1.1-1.3,
//! 1.7, 2.1-2.4.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::{CheckpointError, FETCH_AGAIN, Remedy, WRONG_MODEL, shown};
use super::files::Files;

const CONFIG_FILE: &str = "config.json";
const GENERATION_FILE: &str = "generation_config.json";
const PREPROCESSOR_FILE: &str = "preprocessor_config.json";
const MAX_FILE: usize = 8 << 20;

const MAX_WIDTH: usize = 65_536;
const MAX_FFN: usize = 1 << 20;
const MAX_LAYERS: usize = 512;
const MAX_HEADS: usize = 1024;
const MAX_HEAD_DIM: usize = 4096;
const MAX_VOCAB: usize = 1 << 22;

/// A model folder's configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelConfig {
    Qwen3Asr(Qwen3AsrConfig),
    Qwen3Aligner(Qwen3AlignerConfig),
    Gemma4(Gemma4Config),
}

/// Qwen3-ASR: an audio tower and a Qwen3 decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen3AsrConfig {
    pub audio_config: AudioConfig,
    pub text_config: Qwen3TextConfig,
    pub audio_token_id: u32,
    /// Ids that end a transcript, from `generation_config.json` or `config.json`; never empty.
    pub eos_token_id: Vec<u32>,
}

/// Qwen3-ForcedAligner: the same network, with a head that classifies times.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen3AlignerConfig {
    pub audio_config: AudioConfig,
    pub text_config: Qwen3TextConfig,
    pub audio_token_id: u32,
    /// Rows of the head: classes of `timestamp_segment_time` each.
    pub classify_num: usize,
    pub timestamp_token_id: u32,
    /// Milliseconds per class.
    pub timestamp_segment_time: u32,
}

/// The audio tower of Qwen3-ASR.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioConfig {
    /// Always 128.
    pub num_mel_bins: usize,
    pub d_model: usize,
    pub encoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    /// Channels of the three convolutions.
    pub downsample_hidden_size: usize,
    /// Equal to the text model's `hidden_size`.
    pub output_dim: usize,
    /// Half a chunk, in mel frames; always 50.
    pub n_window: usize,
    /// Mel frames per attention window, a multiple of `2 * n_window`.
    pub n_window_infer: usize,
}

/// A Qwen3 decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen3TextConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    /// The head shares the embedding's weights; a stored `lm_head` is then a copy of them.
    pub tie_word_embeddings: bool,
}

/// The text decoder of Gemma-4 E2B and E4B.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemma4Config {
    pub vocab_size: usize,
    pub vocab_size_per_layer_input: usize,
    pub hidden_size: usize,
    /// Of the layers that own their keys and values; see [`Gemma4Layer::intermediate_size`] for the
    /// others.
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// Of sliding layers.
    pub num_key_value_heads: usize,
    /// Of full layers: `num_global_key_value_heads`, or `num_key_value_heads` if that is null.
    pub num_global_key_value_heads: usize,
    /// Of sliding layers.
    pub head_dim: usize,
    /// Of full layers.
    pub global_head_dim: usize,
    pub hidden_size_per_layer_input: usize,
    pub num_kv_shared_layers: usize,
    pub use_double_wide_mlp: bool,
    /// Keys that a row of a sliding layer sees, itself included.
    pub sliding_window: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    /// The cap `c` of `c * tanh(logits / c)`; `None` if logits are not capped.
    pub final_logit_softcapping: Option<f64>,
    pub rope_parameters: Gemma4Rope,
    pub layers: Vec<Gemma4Layer>,
    /// Ids that end an answer, from `generation_config.json` or `config.json`; never empty.
    pub eos_token_id: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemma4Rope {
    pub sliding_attention: RopeParameters,
    pub full_attention: RopeParameters,
}

/// Rotary frequencies: `inv_i = rope_theta^(-2i / head_dim)` for
/// `i < head_dim / 2 * partial_rotary_factor`, 0 for the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeParameters {
    pub rope_theta: f64,
    /// 1 for `rope_type: default`.
    pub partial_rotary_factor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerType {
    Sliding,
    Full,
}

/// One layer of Gemma-4, with every value that differs between layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemma4Layer {
    pub layer_type: LayerType,
    pub head_dim: usize,
    pub num_key_value_heads: usize,
    pub intermediate_size: usize,
    /// The layer whose keys and values this layer reads: itself, or, for a shared layer, the last
    /// owner of the same type.
    pub kv_source: usize,
}

impl Gemma4Config {
    /// The first layer without keys and values of its own; `num_hidden_layers` if all layers own
    /// theirs.
    pub fn first_kv_shared_layer(&self) -> usize {
        self.num_hidden_layers - self.num_kv_shared_layers
    }

    pub fn is_kv_shared(&self, layer: usize) -> bool {
        layer >= self.first_kv_shared_layer()
    }
}

impl ModelConfig {
    /// Reads `config.json`, and `generation_config.json` and `preprocessor_config.json` where they
    /// exist.
    ///
    /// Errors name the file and the field: a value that is missing, of the wrong type or absurd; a
    /// model type or a feature that is not supported.
    pub fn open(files: &Files) -> Result<ModelConfig, CheckpointError> {
        let config = files.json(CONFIG_FILE, MAX_FILE)?;
        let file = files.path(CONFIG_FILE);
        let root = Section::root(&file, &config)?;
        let generation_file = files.path(GENERATION_FILE);
        let generation = match files.has(GENERATION_FILE) {
            true => files.json(GENERATION_FILE, MAX_FILE)?,
            false => Value::Object(Map::new()),
        };
        let generation = Section::root(&generation_file, &generation)?;
        match root.text("model_type")? {
            "qwen3_asr" => {
                check_preprocessor(files)?;
                qwen3(&root, &generation)
            }
            "gemma4" => Ok(ModelConfig::Gemma4(gemma4(&root, &root.section("text_config")?, &generation)?)),
            "gemma4_text" => Ok(ModelConfig::Gemma4(gemma4(&root, &root, &generation)?)),
            other => Err(root.wrong(
                "model_type",
                format_args!("{} is not a model this program knows", shown(other)),
                WRONG_MODEL,
            )),
        }
    }

    /// The name of the model, for messages.
    pub fn family(&self) -> &'static str {
        match self {
            ModelConfig::Qwen3Asr(_) => "Qwen3-ASR",
            ModelConfig::Qwen3Aligner(_) => "Qwen3-ForcedAligner",
            ModelConfig::Gemma4(_) => "Gemma-4",
        }
    }
}

/// Checks `preprocessor_config.json`. The program computes the features in one way only; a release
/// that needs another must not load.
fn check_preprocessor(files: &Files) -> Result<(), CheckpointError> {
    if !files.has(PREPROCESSOR_FILE) {
        return Ok(());
    }
    let json = files.json(PREPROCESSOR_FILE, MAX_FILE)?;
    let file = files.path(PREPROCESSOR_FILE);
    let root = Section::root(&file, &json)?;
    for (field, value) in [("feature_size", 128), ("sampling_rate", 16_000), ("hop_length", 160), ("n_fft", 400)] {
        if root.get(field).is_some() {
            root.exactly(field, value, "the audio features are computed for this value only")?;
        }
    }
    Ok(())
}

/// Reads both layouts of Qwen3-ASR and its aligner: nested in `thinker_config` (original) or flat
/// (transformers' own).
fn qwen3(root: &Section, generation: &Section) -> Result<ModelConfig, CheckpointError> {
    let thinker = root.maybe_section("thinker_config")?;
    let core = thinker.as_ref().unwrap_or(root);
    let audio_config = audio(&core.section("audio_config")?)?;
    let text = core.section("text_config")?;
    let tied = [&text, core, root]
        .iter()
        .find_map(|section| section.get("tie_word_embeddings").map(|_| section.flag("tie_word_embeddings", true)));
    let text_config = qwen3_text(&text, tied.unwrap_or(Ok(thinker.is_none()))?)?;
    if audio_config.output_dim != text_config.hidden_size {
        let what = format!("{} is not text_config.hidden_size {}", audio_config.output_dim, text_config.hidden_size);
        return Err(core.wrong("audio_config.output_dim", what, FETCH_AGAIN));
    }
    let vocab = text_config.vocab_size;
    let audio_token_id = core.id("audio_token_id", vocab)?;
    if root.flag("token_classification_bias", false)? {
        return Err(root.wrong("token_classification_bias", "true is not supported", WRONG_MODEL));
    }
    // The top-level model_type is the same for both models; the aligner is recognised by its
    // classes.
    let classes = match (core.get("classify_num"), core.get("num_labels"), core.get("id2label")) {
        (Some(_), _, _) => Some(core.count("classify_num", 2..=MAX_WIDTH)?),
        (None, Some(_), _) => Some(core.count("num_labels", 2..=MAX_WIDTH)?),
        (None, None, Some(Value::Object(labels))) => Some(labels.len()),
        _ => None,
    };
    if let Some(classify_num) = classes {
        if !(2..=MAX_WIDTH).contains(&classify_num) {
            return Err(core.wrong("id2label", format_args!("{classify_num} classes"), FETCH_AGAIN));
        }
        return Ok(ModelConfig::Qwen3Aligner(Qwen3AlignerConfig {
            audio_config,
            text_config,
            audio_token_id,
            classify_num,
            timestamp_token_id: match core.get("timestamp_token_id") {
                Some(_) => core.id("timestamp_token_id", vocab)?,
                None => root.id("timestamp_token_id", vocab)?,
            },
            timestamp_segment_time: core.count_or("timestamp_segment_time", 80, 1..=10_000)? as u32,
        }));
    }
    if thinker.as_ref().and_then(|t| t.get("model_type")).and_then(Value::as_str) == Some("qwen3_forced_aligner") {
        return Err(core.wrong("classify_num", "is missing from an aligner", FETCH_AGAIN));
    }
    Ok(ModelConfig::Qwen3Asr(Qwen3AsrConfig {
        audio_config,
        text_config,
        audio_token_id,
        eos_token_id: eos(&[generation, root, core, &text], vocab)?,
    }))
}

fn audio(section: &Section) -> Result<AudioConfig, CheckpointError> {
    section.one_of("activation_function", "gelu", &["gelu"])?;
    section.refuse_flag("scale_embedding")?;
    section.exactly("num_mel_bins", 128, "the convolutions reduce exactly 128 mel bins to 16 rows")?;
    section.exactly("n_window", 50, "the count of 13 tokens a second holds for chunks of 2 x 50 frames only")?;
    let d_model = section.count("d_model", 4..=MAX_WIDTH)?;
    let encoder_attention_heads = section.count("encoder_attention_heads", 1..=MAX_HEADS)?;
    if !d_model.is_multiple_of(2) || !d_model.is_multiple_of(encoder_attention_heads) {
        return Err(section.wrong(
            "d_model",
            format_args!("{d_model} must be even and a multiple of {encoder_attention_heads} heads"),
            FETCH_AGAIN,
        ));
    }
    let n_window_infer = section.count("n_window_infer", 100..=1_000_000)?;
    if !n_window_infer.is_multiple_of(100) {
        return Err(section.wrong(
            "n_window_infer",
            format_args!("{n_window_infer} is not a multiple of a chunk's 100 frames"),
            FETCH_AGAIN,
        ));
    }
    Ok(AudioConfig {
        num_mel_bins: 128,
        d_model,
        encoder_layers: section.count("encoder_layers", 1..=MAX_LAYERS)?,
        encoder_attention_heads,
        encoder_ffn_dim: section.count("encoder_ffn_dim", 1..=MAX_FFN)?,
        downsample_hidden_size: section.count("downsample_hidden_size", 1..=MAX_WIDTH)?,
        output_dim: section.count("output_dim", 1..=MAX_WIDTH)?,
        n_window: 50,
        n_window_infer,
    })
}

fn qwen3_text(section: &Section, tie_word_embeddings: bool) -> Result<Qwen3TextConfig, CheckpointError> {
    section.one_of("hidden_act", "silu", &["silu"])?;
    section.refuse_flag("attention_bias")?;
    section.refuse_flag("use_sliding_window")?;
    for field in ["num_experts", "num_local_experts"] {
        section.refuse_moe(field)?;
    }
    let mut rope_theta = section.get("rope_theta").map(|_| section.number("rope_theta", 1.0..=1e12)).transpose()?;
    // `rope_scaling` carries mrope's sections. They have no effect for audio and text, where
    // mrope's three rows of positions are equal.
    for name in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = section.maybe_section(name)? else { continue };
        rope.one_of("rope_type", "default", &["default", "mrope"])?;
        rope.one_of("type", "default", &["default", "mrope"])?;
        if rope_theta.is_none() && rope.get("rope_theta").is_some() {
            rope_theta = Some(rope.number("rope_theta", 1.0..=1e12)?);
        }
    }
    let Some(rope_theta) = rope_theta else { return Err(section.wrong("rope_theta", "is missing", FETCH_AGAIN)) };
    let num_attention_heads = section.count("num_attention_heads", 1..=MAX_HEADS)?;
    let num_key_value_heads = section.count("num_key_value_heads", 1..=MAX_HEADS)?;
    section.groups("num_key_value_heads", num_attention_heads, num_key_value_heads)?;
    Ok(Qwen3TextConfig {
        vocab_size: section.count("vocab_size", 2..=MAX_VOCAB)?,
        hidden_size: section.count("hidden_size", 1..=MAX_WIDTH)?,
        intermediate_size: section.count("intermediate_size", 1..=MAX_FFN)?,
        num_hidden_layers: section.count("num_hidden_layers", 1..=MAX_LAYERS)?,
        num_attention_heads,
        num_key_value_heads,
        head_dim: section.even("head_dim", 2..=MAX_HEAD_DIM)?,
        max_position_embeddings: section.count_or("max_position_embeddings", 65_536, 1..=1 << 30)?,
        rms_norm_eps: section.number_or("rms_norm_eps", 1e-6, 1e-12..=1e-1)?,
        rope_theta,
        tie_word_embeddings,
    })
}

fn gemma4(root: &Section, text: &Section, generation: &Section) -> Result<Gemma4Config, CheckpointError> {
    text.one_of("hidden_activation", "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?;
    for flag in ["attention_k_eq_v", "enable_moe_block", "attention_bias"] {
        text.refuse_flag(flag)?;
    }
    for field in ["num_experts", "top_k_experts", "moe_intermediate_size"] {
        text.refuse_moe(field)?;
    }
    if !text.flag("tie_word_embeddings", true)? || !root.flag("tie_word_embeddings", true)? {
        return Err(text.wrong("tie_word_embeddings", "false is not supported", WRONG_MODEL));
    }
    match text.get("use_bidirectional_attention") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::String(kind)) if kind == "vision" => {} // among image tokens only, which this program never uses
        Some(other) => {
            return Err(text.wrong(
                "use_bidirectional_attention",
                format_args!("{} is not supported", shown(&other.to_string())),
                WRONG_MODEL,
            ));
        }
    }
    let rope = text.section("rope_parameters")?;
    let (full, sliding) = (rope.section("full_attention")?, rope.section("sliding_attention")?);
    full.one_of("rope_type", "proportional", &["proportional"])?;
    sliding.one_of("rope_type", "default", &["default"])?;
    let rope_parameters = Gemma4Rope {
        sliding_attention: RopeParameters {
            rope_theta: sliding.number("rope_theta", 1.0..=1e12)?,
            partial_rotary_factor: 1.0,
        },
        full_attention: RopeParameters {
            rope_theta: full.number("rope_theta", 1.0..=1e12)?,
            partial_rotary_factor: full.number_or("partial_rotary_factor", 1.0, 0.0..=1.0)?,
        },
    };
    let vocab_size = text.count("vocab_size", 2..=MAX_VOCAB)?;
    let num_hidden_layers = text.count("num_hidden_layers", 1..=MAX_LAYERS)?;
    let final_logit_softcapping = match text.get("final_logit_softcapping") {
        None => None,
        Some(_) => Some(text.number("final_logit_softcapping", 1e-3..=1e6)?),
    };
    let mut config = Gemma4Config {
        vocab_size,
        vocab_size_per_layer_input: text.count_or("vocab_size_per_layer_input", vocab_size, vocab_size..=MAX_VOCAB)?,
        hidden_size: text.count("hidden_size", 1..=MAX_WIDTH)?,
        intermediate_size: text.count("intermediate_size", 1..=MAX_FFN)?,
        num_hidden_layers,
        num_attention_heads: text.count("num_attention_heads", 1..=MAX_HEADS)?,
        num_key_value_heads: text.count("num_key_value_heads", 1..=MAX_HEADS)?,
        num_global_key_value_heads: 0,
        head_dim: text.even("head_dim", 2..=MAX_HEAD_DIM)?,
        global_head_dim: 0,
        hidden_size_per_layer_input: text.count("hidden_size_per_layer_input", 1..=MAX_WIDTH)?,
        num_kv_shared_layers: text.count_or("num_kv_shared_layers", 0, 0..=num_hidden_layers - 1)?,
        use_double_wide_mlp: text.flag("use_double_wide_mlp", false)?,
        sliding_window: text.count("sliding_window", 1..=1 << 24)?,
        max_position_embeddings: text.count_or("max_position_embeddings", 131_072, 1..=1 << 30)?,
        rms_norm_eps: text.number_or("rms_norm_eps", 1e-6, 1e-12..=1e-1)?,
        final_logit_softcapping,
        rope_parameters,
        layers: Vec::new(),
        eos_token_id: eos(&[generation, root, text], vocab_size)?,
    };
    text.groups("num_key_value_heads", config.num_attention_heads, config.num_key_value_heads)?;
    gemma4_layers(text, &mut config)?;
    Ok(config)
}

/// Fills in the values that differ by layer, from `global_head_dim` and
/// `num_global_key_value_heads`, or from the `per_layer_config` that transformers 5.15 and later
/// write instead.
fn gemma4_layers(text: &Section, config: &mut Gemma4Config) -> Result<(), CheckpointError> {
    let types = text.get("layer_types").and_then(Value::as_array);
    let Some(types) = types.filter(|types| types.len() == config.num_hidden_layers) else {
        let what = format!("must list the types of {} layers", config.num_hidden_layers);
        return Err(text.wrong("layer_types", what, FETCH_AGAIN));
    };
    let mut layer_types = Vec::with_capacity(types.len());
    for (at, name) in types.iter().enumerate() {
        layer_types.push(match name.as_str() {
            Some("sliding_attention") => LayerType::Sliding,
            Some("full_attention") => LayerType::Full,
            _ => {
                return Err(text.wrong(
                    &format!("layer_types[{at}]"),
                    format_args!("{} is not supported", shown(&name.to_string())),
                    WRONG_MODEL,
                ));
            }
        });
    }
    let global = |field: &str, max: usize| text.get(field).map(|_| text.count(field, 1..=max)).transpose();
    let (global_head_dim, global_kv_heads) =
        (global("global_head_dim", MAX_HEAD_DIM)?, global("num_global_key_value_heads", MAX_HEADS)?);
    // A file may contain both, as long as they agree.
    let mut by_layer = vec![(None, None); config.num_hidden_layers];
    if let Some(per_layer) = text.maybe_section("per_layer_config")? {
        for key in per_layer.map.keys() {
            let at = key.parse::<usize>().ok().filter(|at| *at < config.num_hidden_layers);
            let Some(at) = at else { return Err(per_layer.wrong(&shown(key), "is not a layer", FETCH_AGAIN)) };
            let layer = per_layer.section(key)?;
            for field in layer.map.keys() {
                match field.as_str() {
                    "head_dim" => by_layer[at].0 = Some(layer.count("head_dim", 1..=MAX_HEAD_DIM)?),
                    "num_key_value_heads" => by_layer[at].1 = Some(layer.count("num_key_value_heads", 1..=MAX_HEADS)?),
                    _ => return Err(layer.wrong(&shown(field), "is not known to differ by layer", WRONG_MODEL)),
                }
            }
        }
    }
    let first_shared = config.first_kv_shared_layer();
    for (at, layer_type) in layer_types.iter().copied().enumerate() {
        let (base_dim, base_heads) = match layer_type {
            LayerType::Sliding => (config.head_dim, config.num_key_value_heads),
            LayerType::Full => {
                (global_head_dim.unwrap_or(config.head_dim), global_kv_heads.unwrap_or(config.num_key_value_heads))
            }
        };
        let head_dim = by_layer[at].0.unwrap_or(base_dim);
        let num_key_value_heads = by_layer[at].1.unwrap_or(base_heads);
        if !head_dim.is_multiple_of(2) {
            return Err(text.wrong(
                "global_head_dim",
                format_args!("{head_dim} in layer {at} must be even"),
                FETCH_AGAIN,
            ));
        }
        text.groups("num_global_key_value_heads", config.num_attention_heads, num_key_value_heads)?;
        if let Some(other) = config.layers.iter().find(|other| other.layer_type == layer_type)
            && (other.head_dim, other.num_key_value_heads) != (head_dim, num_key_value_heads)
        {
            let what = format!(
                "layer {at} differs from the other layers of its type (head_dim {head_dim}, {num_key_value_heads} heads)"
            );
            return Err(text.wrong("per_layer_config", what, WRONG_MODEL));
        }
        let shared = at >= first_shared;
        let kv_source = match shared {
            false => at,
            true => match layer_types[..first_shared].iter().rposition(|owner| *owner == layer_type) {
                Some(owner) => owner,
                None => {
                    return Err(text.wrong(
                        "num_kv_shared_layers",
                        format_args!("layer {at} has no layer of its type to share with"),
                        FETCH_AGAIN,
                    ));
                }
            },
        };
        let intermediate_size = config.intermediate_size * if shared && config.use_double_wide_mlp { 2 } else { 1 };
        config.layers.push(Gemma4Layer { layer_type, head_dim, num_key_value_heads, intermediate_size, kv_source });
    }
    let full = config.layers.iter().find(|layer| layer.layer_type == LayerType::Full);
    config.global_head_dim = full.map_or(config.head_dim, |layer| layer.head_dim);
    config.num_global_key_value_heads = full.map_or(config.num_key_value_heads, |layer| layer.num_key_value_heads);
    if let Some(sliding) = config.layers.iter().find(|layer| layer.layer_type == LayerType::Sliding) {
        config.head_dim = sliding.head_dim;
        config.num_key_value_heads = sliding.num_key_value_heads;
    }
    Ok(())
}

/// The first list of end ids found in `sections`.
fn eos(sections: &[&Section], vocab: usize) -> Result<Vec<u32>, CheckpointError> {
    for section in sections {
        let one = |id: &Value| id.as_u64().filter(|id| *id < vocab as u64).map(|id| id as u32);
        let ids = match section.get("eos_token_id") {
            None => continue,
            Some(Value::Array(ids)) if ids.len() <= 64 => ids.iter().map(one).collect(),
            Some(id) => one(id).map(|id| vec![id]),
        };
        return match ids.filter(|ids: &Vec<u32>| !ids.is_empty()) {
            Some(ids) => Ok(ids),
            None => Err(section.wrong("eos_token_id", format_args!("must be ids below {vocab}"), FETCH_AGAIN)),
        };
    }
    // The published Qwen3-ASR always ships generation_config.json. Without end ids a transcript
    // would never end.
    let last = sections[0];
    Err(last.wrong("eos_token_id", "is missing here and in config.json", FETCH_AGAIN))
}

/// An object of a JSON file, with its file and path for messages.
struct Section<'a> {
    file: &'a str,
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    fn root(file: &'a str, value: &'a Value) -> Result<Section<'a>, CheckpointError> {
        match value.as_object() {
            Some(map) => Ok(Section { file, path: String::new(), map }),
            None => Err(CheckpointError::file(file, "is not a JSON object", FETCH_AGAIN)),
        }
    }

    fn wrong(&self, field: &str, what: impl std::fmt::Display, remedy: impl Into<Remedy>) -> CheckpointError {
        CheckpointError::config(self.file, format_args!("{}{field}", self.path), what, remedy)
    }

    /// The value of a field; `None` if it is absent or null.
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn need(&self, field: &str) -> Result<&'a Value, CheckpointError> {
        self.get(field).ok_or_else(|| self.wrong(field, "is missing", FETCH_AGAIN))
    }

    fn not(&self, field: &str, kind: impl std::fmt::Display) -> CheckpointError {
        let value = self.map.get(field).unwrap_or(&Value::Null);
        self.wrong(field, format_args!("{} is not {kind}", shown(&value.to_string())), FETCH_AGAIN)
    }

    fn section(&self, field: &str) -> Result<Section<'a>, CheckpointError> {
        let map = self.need(field)?.as_object().ok_or_else(|| self.not(field, "an object"))?;
        Ok(Section { file: self.file, path: format!("{}{}.", self.path, shown(field)), map })
    }

    fn maybe_section(&self, field: &str) -> Result<Option<Section<'a>>, CheckpointError> {
        self.get(field).map(|_| self.section(field)).transpose()
    }

    fn text(&self, field: &str) -> Result<&'a str, CheckpointError> {
        self.need(field)?.as_str().ok_or_else(|| self.not(field, "a text"))
    }

    fn count(&self, field: &str, range: RangeInclusive<usize>) -> Result<usize, CheckpointError> {
        let value = self.need(field)?.as_u64().and_then(|value| usize::try_from(value).ok());
        let bounds = format_args!("a whole number from {} to {}", range.start(), range.end()).to_string();
        value.filter(|value| range.contains(value)).ok_or_else(|| self.not(field, bounds))
    }

    fn count_or(&self, field: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize, CheckpointError> {
        self.get(field).map_or(Ok(default), |_| self.count(field, range))
    }

    fn even(&self, field: &str, range: RangeInclusive<usize>) -> Result<usize, CheckpointError> {
        let value = self.count(field, range)?;
        if value.is_multiple_of(2) { Ok(value) } else { Err(self.not(field, "even, as rotary embeddings need")) }
    }

    fn number(&self, field: &str, range: RangeInclusive<f64>) -> Result<f64, CheckpointError> {
        let value = self.need(field)?.as_f64().filter(|value| range.contains(value));
        value.ok_or_else(|| self.not(field, format_args!("a number from {} to {}", range.start(), range.end())))
    }

    fn number_or(&self, field: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64, CheckpointError> {
        self.get(field).map_or(Ok(default), |_| self.number(field, range))
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool, CheckpointError> {
        self.get(field).map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.not(field, "true or false")))
    }

    fn id(&self, field: &str, vocab: usize) -> Result<u32, CheckpointError> {
        Ok(self.count(field, 0..=vocab - 1)? as u32)
    }

    fn exactly(&self, field: &str, value: u64, reason: &str) -> Result<(), CheckpointError> {
        match self.need(field)?.as_u64() == Some(value) {
            true => Ok(()),
            false => Err(self.wrong(
                field,
                format_args!("{} is not {value}: {reason}", shown(&self.map[field].to_string())),
                WRONG_MODEL,
            )),
        }
    }

    fn one_of(&self, field: &str, default: &str, known: &[&str]) -> Result<(), CheckpointError> {
        let value = self.get(field).map_or(Some(default), Value::as_str);
        match value.is_some_and(|value| known.contains(&value)) {
            true => Ok(()),
            false => Err(self.wrong(
                field,
                format_args!("{} is not supported (only {})", shown(&self.map[field].to_string()), known.join(", ")),
                WRONG_MODEL,
            )),
        }
    }

    fn refuse_flag(&self, field: &str) -> Result<(), CheckpointError> {
        match self.flag(field, false)? {
            false => Ok(()),
            true => Err(self.wrong(field, "true is not supported", WRONG_MODEL)),
        }
    }

    fn refuse_moe(&self, field: &str) -> Result<(), CheckpointError> {
        match self.get(field) {
            None => Ok(()),
            Some(value) if value.as_u64() == Some(0) => Ok(()),
            Some(value) => Err(self.wrong(
                field,
                format_args!("{}: mixtures of experts are not supported", shown(&value.to_string())),
                WRONG_MODEL,
            )),
        }
    }

    fn groups(&self, field: &str, heads: usize, kv_heads: usize) -> Result<(), CheckpointError> {
        match heads.is_multiple_of(kv_heads) {
            true => Ok(()),
            false => Err(self.wrong(
                field,
                format_args!("{kv_heads} does not divide num_attention_heads {heads}"),
                FETCH_AGAIN,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::{GemmaNames, QwenNames};
    use super::super::safetensors::Weights;
    use super::super::testing::{fixture, fixture_files, memory, now};
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const MODELS: [&str; 6] =
        ["qwen3_asr", "qwen3_asr/hf", "qwen3_aligner", "qwen3_aligner/hf", "gemma4_e2b_like", "gemma4_e4b_like"];

    fn raw(model: &str) -> Value {
        serde_json::from_slice(&std::fs::read(fixture(model).join(CONFIG_FILE)).unwrap()).unwrap()
    }

    fn parse(config: &Value) -> Result<ModelConfig, CheckpointError> {
        let generation = br#"{"eos_token_id": [1, 10, 8]}"#;
        ModelConfig::open(&memory(&[(CONFIG_FILE, config.to_string().as_bytes()), (GENERATION_FILE, generation)]))
    }

    fn gemma(config: &Value) -> Gemma4Config {
        match parse(config).unwrap() {
            ModelConfig::Gemma4(config) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_layouts_of_qwen_say_the_same() {
        let open = |model: &str| ModelConfig::open(&fixture_files(model)).unwrap();
        let (ModelConfig::Qwen3Asr(ours), ModelConfig::Qwen3Asr(theirs)) = (open("qwen3_asr"), open("qwen3_asr/hf"))
        else {
            panic!()
        };
        assert_eq!((&ours.audio_config, &ours.text_config), (&theirs.audio_config, &theirs.text_config));
        assert_eq!((ours.audio_token_id, &ours.eos_token_id[..]), (theirs.audio_token_id, &[316, 318][..]));
        assert_eq!(theirs.eos_token_id, ours.eos_token_id);
        assert_eq!(ours.text_config.rope_theta, 1e6);
        assert!(ours.text_config.tie_word_embeddings);
        assert_eq!((ours.audio_config.d_model, ours.audio_config.n_window_infer), (32, 200));

        let (ModelConfig::Qwen3Aligner(ours), ModelConfig::Qwen3Aligner(theirs)) =
            (open("qwen3_aligner"), open("qwen3_aligner/hf"))
        else {
            panic!()
        };
        assert_eq!((&ours.audio_config, &ours.text_config), (&theirs.audio_config, &theirs.text_config));
        assert_eq!((ours.classify_num, ours.timestamp_token_id, ours.timestamp_segment_time), (60, 323, 80));
        assert_eq!((theirs.classify_num, theirs.timestamp_token_id, theirs.timestamp_segment_time), (60, 323, 80));
        assert!(!ours.text_config.tie_word_embeddings);
    }

    #[test]
    fn tensor_names_of_both_layouts() {
        let detect = |model: &str| {
            let files = fixture_files(model);
            let (config, weights) = (ModelConfig::open(&files).unwrap(), now(Weights::open(&files)).unwrap());
            let names = QwenNames::detect(&config, &weights).unwrap();
            for tensor in [
                format!("{}.conv_out.weight", names.audio_tower),
                format!("{}.bias", names.proj1),
                format!("{}.weight", names.proj2),
                format!("{}.layers.1.mlp.up_proj.weight", names.text_model),
            ] {
                assert!(weights.contains(&tensor), "{model}: {tensor}");
            }
            assert!(names.head.is_none_or(|head| weights.contains(head)));
            let left: Vec<String> = weights.unused(names.skip).iter().map(|name| (*name).to_owned()).collect();
            assert!(!left.iter().any(|name| name.contains("lm_head") && names.head.is_none()));
            names
        };
        assert_eq!(detect("qwen3_asr").skip, ["thinker.lm_head.weight"]);
        assert_eq!(detect("qwen3_asr/hf").audio_tower, "model.audio_tower");
        assert_eq!(detect("qwen3_aligner").head, Some("thinker.lm_head.weight"));
        assert_eq!(detect("qwen3_aligner/hf").head, Some("score.weight"));

        let files = fixture_files("gemma4_e2b_like");
        let weights = now(Weights::open(&files)).unwrap();
        let names = GemmaNames::detect(&weights).unwrap();
        assert_eq!(names.text_model, "model.language_model");
        assert!(weights.unused(names.skip).iter().all(|name| name.starts_with("model.language_model.")));
        let ModelConfig::Gemma4(config) = ModelConfig::open(&files).unwrap() else { panic!() };
        names.ignore_shared_kv(&config, &weights);
        let left = weights.unused(names.skip);
        assert!(left.contains(&"model.language_model.layers.5.self_attn.k_proj.weight"));
        assert!(!left.contains(&"model.language_model.layers.6.self_attn.k_proj.weight"));
        let message = QwenNames::detect(&ModelConfig::open(&fixture_files("qwen3_asr")).unwrap(), &weights)
            .unwrap_err()
            .to_string();
        assert!(message.contains("has neither thinker.… nor model.multi_modal_projector.…, but model."), "{message}");
    }

    #[test]
    fn gemma_layers() {
        let config = gemma(&raw("gemma4_e2b_like"));
        assert_eq!((config.first_kv_shared_layer(), config.num_hidden_layers), (6, 10));
        let sources: Vec<usize> = config.layers.iter().map(|layer| layer.kv_source).collect();
        assert_eq!(sources, [0, 1, 2, 3, 4, 5, 5, 5, 5, 4]);
        let widths: Vec<usize> = config.layers.iter().map(|layer| layer.intermediate_size).collect();
        assert_eq!(widths, [80, 80, 80, 80, 80, 80, 160, 160, 160, 160]);
        assert_eq!((config.layers[3].head_dim, config.layers[4].head_dim, config.global_head_dim), (16, 32, 32));
        assert_eq!((config.num_global_key_value_heads, config.final_logit_softcapping), (1, Some(30.0)));
        assert_eq!(
            config.rope_parameters.full_attention,
            RopeParameters { rope_theta: 1e6, partial_rotary_factor: 0.25 }
        );
        assert_eq!(config.eos_token_id, [1, 10, 8]);
        assert!(
            matches!(ModelConfig::open(&fixture_files("gemma4_e4b_like")).unwrap(), ModelConfig::Gemma4(c) if c.eos_token_id == [1, 10, 8])
        );
    }

    #[test]
    fn the_ways_to_write_a_gemma_config_agree() {
        let published = raw("gemma4_e2b_like");
        let expected = gemma(&published);
        // The layout that transformers 5.23 saves for the same model.
        let mut by_layer = published.clone();
        let text = by_layer["text_config"].as_object_mut().unwrap();
        text.remove("global_head_dim");
        text.remove("num_global_key_value_heads");
        text.insert("per_layer_config".into(), json!({"04": {"head_dim": 32}, "9": {"head_dim": 32}}));
        assert_eq!(gemma(&by_layer), expected);
        // A text-only export.
        let mut flat = published["text_config"].clone();
        flat["eos_token_id"] = json!(1);
        assert_eq!(gemma(&flat), expected);
        // Contradictions.
        by_layer["text_config"]["per_layer_config"] = json!({"4": {"head_dim": 32}});
        assert!(parse(&by_layer).unwrap_err().to_string().contains("text_config.per_layer_config: layer 9 differs"));
        by_layer["text_config"]["per_layer_config"] = json!({"10": {"head_dim": 32}});
        assert!(parse(&by_layer).unwrap_err().to_string().contains("text_config.per_layer_config.10: is not a layer"));
        by_layer["text_config"]["per_layer_config"] = json!({"4": {"sliding_window": 32}});
        assert!(
            parse(&by_layer)
                .unwrap_err()
                .to_string()
                .contains("text_config.per_layer_config.4.sliding_window: is not known")
        );
    }

    #[test]
    fn published_sizes() {
        let types = |period: usize, count: usize| -> Vec<&str> {
            (0..count).map(|at| if (at + 1) % period == 0 { "full_attention" } else { "sliding_attention" }).collect()
        };
        let mut e4b = raw("gemma4_e4b_like");
        let text = &mut e4b["text_config"];
        for (field, value) in [
            ("vocab_size", 262_144),
            ("vocab_size_per_layer_input", 262_144),
            ("hidden_size", 2560),
            ("intermediate_size", 10_240),
            ("num_hidden_layers", 42),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 2),
            ("head_dim", 256),
            ("global_head_dim", 512),
            ("hidden_size_per_layer_input", 256),
            ("num_kv_shared_layers", 18),
            ("sliding_window", 512),
        ] {
            text[field] = json!(value);
        }
        text["layer_types"] = json!(types(6, 42));
        let config = gemma(&e4b);
        assert_eq!(config.first_kv_shared_layer(), 24);
        assert!((24..42).all(|at| config.layers[at].kv_source == if (at + 1) % 6 == 0 { 23 } else { 22 }));
        e4b["text_config"]["num_hidden_layers"] = json!(35);
        e4b["text_config"]["num_kv_shared_layers"] = json!(20);
        e4b["text_config"]["layer_types"] = json!(types(5, 35));
        let config = gemma(&e4b);
        assert_eq!((config.layers[15].kv_source, config.layers[19].kv_source), (13, 14));
    }

    #[test]
    fn absurd_and_unsupported_values_are_named() {
        let cases = [
            ("qwen3_asr", "/model_type", json!("llama"), "model_type: llama is not a model this program knows"),
            ("qwen3_asr", "/model_type", json!(null), "model_type: is missing"),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/n_window",
                json!(100),
                "thinker_config.audio_config.n_window: 100 is not 50: the count of 13",
            ),
            ("qwen3_asr", "/thinker_config/audio_config/num_mel_bins", json!(80), "num_mel_bins: 80 is not 128"),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/encoder_attention_heads",
                json!(0),
                "0 is not a whole number from 1 to 1024",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/encoder_attention_heads",
                json!(5),
                "audio_config.d_model: 32 must be even and a multiple of 5",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/activation_function",
                json!("relu"),
                "activation_function: \\\"relu\\\" is not supported",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/scale_embedding",
                json!(true),
                "scale_embedding: true is not supported",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/n_window_infer",
                json!(250),
                "n_window_infer: 250 is not a multiple",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/output_dim",
                json!(64),
                "audio_config.output_dim: 64 is not text_config.hidden_size 48",
            ),
            (
                "qwen3_asr",
                "/thinker_config/text_config/num_hidden_layers",
                json!(100_000),
                "num_hidden_layers: 100000 is not",
            ),
            ("qwen3_asr", "/thinker_config/text_config/hidden_size", json!(-3), "hidden_size: -3 is not"),
            ("qwen3_asr", "/thinker_config/text_config/hidden_size", json!(1e30), "hidden_size: 1e+30 is not"),
            ("qwen3_asr", "/thinker_config/text_config/head_dim", json!(15), "head_dim: 15 is not even"),
            (
                "qwen3_asr",
                "/thinker_config/text_config/num_key_value_heads",
                json!(3),
                "num_key_value_heads: 3 does not divide num_attention_heads 4",
            ),
            (
                "qwen3_asr",
                "/thinker_config/text_config/vocab_size",
                json!(1u64 << 40),
                "vocab_size: 1099511627776 is not",
            ),
            (
                "qwen3_asr",
                "/thinker_config/text_config/attention_bias",
                json!(true),
                "attention_bias: true is not supported",
            ),
            (
                "qwen3_asr",
                "/thinker_config/text_config/rope_scaling/rope_type",
                json!("yarn"),
                "rope_scaling.rope_type: \\\"yarn\\\" is not supported",
            ),
            ("qwen3_asr", "/thinker_config/text_config/rope_theta", json!(null), "text_config.rope_theta: is missing"),
            (
                "qwen3_asr",
                "/thinker_config/audio_token_id",
                json!(328),
                "audio_token_id: 328 is not a whole number from 0 to 327",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config",
                json!([1]),
                "thinker_config.audio_config: [1] is not an object",
            ),
            ("qwen3_aligner", "/thinker_config/classify_num", json!(1), "classify_num: 1 is not"),
            ("qwen3_aligner", "/thinker_config/classify_num", json!(null), "classify_num: is missing from an aligner"),
            ("qwen3_aligner", "/thinker_config/timestamp_segment_time", json!(0), "timestamp_segment_time: 0 is not"),
            (
                "gemma4_e2b_like",
                "/text_config/enable_moe_block",
                json!(true),
                "text_config.enable_moe_block: true is not supported",
            ),
            ("gemma4_e2b_like", "/text_config/num_experts", json!(128), "num_experts: 128: mixtures of experts"),
            (
                "gemma4_e2b_like",
                "/text_config/attention_k_eq_v",
                json!(true),
                "attention_k_eq_v: true is not supported",
            ),
            (
                "gemma4_e2b_like",
                "/text_config/use_bidirectional_attention",
                json!("all"),
                "use_bidirectional_attention: \\\"all\\\" is not supported",
            ),
            (
                "gemma4_e2b_like",
                "/text_config/hidden_activation",
                json!("silu"),
                "hidden_activation: \\\"silu\\\" is not supported (only gelu_pytorch_tanh)",
            ),
            (
                "gemma4_e2b_like",
                "/text_config/tie_word_embeddings",
                json!(false),
                "tie_word_embeddings: false is not supported",
            ),
            (
                "gemma4_e2b_like",
                "/text_config/layer_types",
                json!(["full_attention"]),
                "layer_types: must list the types of 10 layers",
            ),
            (
                "gemma4_e2b_like",
                "/text_config/layer_types/3",
                json!("chunked"),
                "text_config.layer_types[3]: \\\"chunked\\\" is not supported",
            ),
            ("gemma4_e2b_like", "/text_config/num_kv_shared_layers", json!(10), "num_kv_shared_layers: 10 is not"),
            (
                "gemma4_e2b_like",
                "/text_config/num_kv_shared_layers",
                json!(8),
                "num_kv_shared_layers: layer 4 has no layer of its type",
            ),
            (
                "gemma4_e2b_like",
                "/text_config/hidden_size_per_layer_input",
                json!(0),
                "hidden_size_per_layer_input: 0 is not",
            ),
            (
                "gemma4_e2b_like",
                "/text_config/final_logit_softcapping",
                json!(0.0),
                "final_logit_softcapping: 0.0 is not",
            ),
            (
                "gemma4_e2b_like",
                "/text_config/rope_parameters/full_attention/rope_type",
                json!("default"),
                "full_attention.rope_type: \\\"default\\\" is not supported",
            ),
            ("gemma4_e2b_like", "/text_config/rope_parameters", json!(null), "text_config.rope_parameters: is missing"),
            (
                "gemma4_e2b_like",
                "/text_config/global_head_dim",
                json!(33),
                "global_head_dim: 33 in layer 4 must be even",
            ),
            ("gemma4_e2b_like", "/text_config/sliding_window", json!("many"), "sliding_window: \\\"many\\\" is not"),
        ];
        for (model, pointer, value, expected) in cases {
            let mut config = raw(model);
            *config.pointer_mut(pointer).unwrap() = value;
            let message = parse(&config).expect_err(pointer).to_string();
            assert!(message.starts_with("memory/config.json: ") && message.contains(expected), "{pointer}: {message}");
        }
        let message = ModelConfig::open(&memory(&[(CONFIG_FILE, b"[]")])).unwrap_err().to_string();
        assert!(message.contains("memory/config.json: is not a JSON object"), "{message}");
        let deep = "[".repeat(1_000_000);
        assert!(ModelConfig::open(&memory(&[(CONFIG_FILE, deep.as_bytes())])).is_err());
        assert!(
            ModelConfig::open(&memory(&[])).unwrap_err().to_string().starts_with("config.json is missing in memory")
        );
        let mut asr = raw("qwen3_asr");
        asr["x"] = json!(1);
        let pre: &[u8] = br#"{"feature_size": 80}"#;
        let message =
            ModelConfig::open(&memory(&[(CONFIG_FILE, asr.to_string().as_bytes()), (PREPROCESSOR_FILE, pre)]))
                .unwrap_err()
                .to_string();
        assert!(message.starts_with("memory/preprocessor_config.json: feature_size: 80 is not 128"), "{message}");
        let message = ModelConfig::open(&memory(&[(CONFIG_FILE, asr.to_string().as_bytes())])).unwrap_err().to_string();
        assert!(message.contains("eos_token_id: is missing here and in config.json"), "{message}");
    }

    /// Collects the pointers of all values of a JSON tree.
    fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
        out.push(at.to_owned());
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), out)),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), out))
            }
            _ => {}
        }
    }

    fn odd() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!(null)),
            Just(json!(0)),
            Just(json!(-1)),
            Just(json!(1e308)),
            Just(json!(u64::MAX)),
            Just(json!("")),
            Just(json!([])),
            Just(json!({})),
            Just(json!(true)),
            Just(json!(3)),
            Just(json!([[[]]])),
            Just(json!({"99": {"head_dim": 0}})),
            any::<u64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            (0u64..100_000).prop_map(|n| json!(n)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn odd_values_never_panic_and_never_grow(which in 0usize..6, at in any::<prop::sample::Index>(), also in any::<prop::sample::Index>(), a in odd(), b in odd()) {
            let mut config = raw(MODELS[which]);
            let mut all = Vec::new();
            pointers(&config, "", &mut all);
            for (at, value) in [(at, a), (also, b)] {
                if let Some(place) = config.pointer_mut(&all[at.index(all.len())]) {
                    *place = value;
                }
            }
            if let Ok(ModelConfig::Gemma4(config)) = parse(&config) {
                prop_assert!(config.layers.len() == config.num_hidden_layers && config.num_hidden_layers <= MAX_LAYERS);
                prop_assert!(config.layers.iter().enumerate().all(|(at, layer)| layer.kv_source <= at && layer.head_dim > 0));
            }
        }

        #[test]
        fn mutated_bytes_never_panic(which in 0usize..6, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = std::fs::read(fixture(MODELS[which]).join(CONFIG_FILE)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = ModelConfig::open(&memory(&[(CONFIG_FILE, &bytes)]));
        }
    }
}
