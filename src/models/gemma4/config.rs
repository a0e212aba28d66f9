//! Gemma-4's configuration, checked value by value.
//!
//! Fields have the names that the checkpoint uses. Everything that the forward pass relies on is
//! either a field here or checked and refused by name: a checkpoint that needs a feature that this
//! program lacks must not load and then give nonsense. Source: docs/models.md, sections 2.1-2.4.

use serde_json::Value;

use crate::weights::error::{CheckpointError, FETCH_AGAIN, WRONG_MODEL, shown};
use crate::weights::section::{MAX_FFN, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, Section, eos};

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

/// Reads the text decoder's configuration. `text` is its section: `root` itself in a text-only
/// export.
pub(crate) fn read(root: &Section, text: &Section, generation: &Section) -> Result<Gemma4Config, CheckpointError> {
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
    layers(text, &mut config)?;
    Ok(config)
}

/// Fills in the values that differ by layer, from `global_head_dim` and
/// `num_global_key_value_heads`, or from the `per_layer_config` that transformers 5.15 and later
/// write instead.
fn layers(text: &Section, config: &mut Gemma4Config) -> Result<(), CheckpointError> {
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
        for key in per_layer.keys() {
            let at = key.parse::<usize>().ok().filter(|at| *at < config.num_hidden_layers);
            let Some(at) = at else { return Err(per_layer.wrong(&shown(key), "is not a layer", FETCH_AGAIN)) };
            let layer = per_layer.section(key)?;
            for field in layer.keys() {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::ModelConfig;
    use crate::models::testing::{parse, raw, refused};
    use crate::weights::testing::fixture_files;

    fn gemma(config: &Value) -> Gemma4Config {
        match parse(config).unwrap() {
            ModelConfig::Gemma4(config) => config,
            other => panic!("{other:?}"),
        }
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
        refused(&[
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
        ]);
    }
}
