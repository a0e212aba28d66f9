//! Gemma-3's configuration, checked value by value.
//!
//! Fields have the names that the checkpoint uses. Everything that the forward pass relies on is
//! either a field here or checked and refused by name. The first multimodal releases state only
//! what differs from the defaults of the reference's class, so a field that is absent has that
//! default, unless no release leaves it out. Source: docs/models.md, sections 3.1 and 3.2.

use serde_json::Value;

use crate::weights::error::{CheckpointError, FETCH_AGAIN, WRONG_MODEL, shown};
use crate::weights::section::{MAX_FFN, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, Section, eos};

/// The end id that the reference's class assumes.
const EOS: u32 = 1;
/// Every sixth layer is full where a configuration does not say which are.
const PATTERN: usize = 6;

/// The text decoder of Gemma-3.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemma3Config {
    /// Rows of the embedding; there may be fewer tokens.
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    /// Scores are scaled by its inverse square root. It is not always `head_dim`.
    pub query_pre_attn_scalar: f64,
    /// Keys that a row of a sliding layer sees, itself included.
    pub sliding_window: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_parameters: Gemma3Rope,
    pub layer_types: Vec<LayerType>,
    /// Ids that end an answer, from `generation_config.json` or `config.json`; never empty.
    pub eos_token_id: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemma3Rope {
    pub sliding_attention: RopeParameters,
    pub full_attention: RopeParameters,
}

/// Rotary frequencies `inv_i = rope_theta^(-2i / head_dim) / factor` over the whole head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeParameters {
    pub rope_theta: f64,
    /// 1 for `rope_type: default`.
    pub factor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerType {
    Sliding,
    Full,
}

impl Gemma3Config {
    /// The factor of the attention's scores.
    pub fn scale(&self) -> f32 {
        self.query_pre_attn_scalar.powf(-0.5) as f32
    }

    /// Keys that a row of this layer sees, its own included; None in a full layer.
    pub fn window(&self, layer: usize) -> Option<usize> {
        (self.layer_types[layer] == LayerType::Sliding).then_some(self.sliding_window)
    }

    pub fn rope(&self, kind: LayerType) -> RopeParameters {
        match kind {
            LayerType::Sliding => self.rope_parameters.sliding_attention,
            LayerType::Full => self.rope_parameters.full_attention,
        }
    }
}

/// Reads the text decoder's configuration. `text` is its section: `root` itself in a text-only
/// release.
pub(crate) fn read(root: &Section, text: &Section, generation: &Section) -> Result<Gemma3Config, CheckpointError> {
    text.one_of("model_type", "gemma3_text", &["gemma3_text"])?;
    text.one_of("hidden_activation", "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?;
    for flag in ["attention_bias", "use_bidirectional_attention"] {
        text.refuse_flag(flag)?;
    }
    for field in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(cap) = text.get(field) {
            return Err(text.wrong(
                field,
                format_args!("{} is not supported (only null)", shown(&cap.to_string())),
                WRONG_MODEL,
            ));
        }
    }
    for section in [root, text] {
        if !section.flag("tie_word_embeddings", true)? {
            return Err(section.wrong("tie_word_embeddings", "false is not supported", WRONG_MODEL));
        }
    }
    let vocab_size = text.count_or("vocab_size", 262_208, 2..=MAX_VOCAB)?;
    let num_hidden_layers = text.count("num_hidden_layers", 1..=MAX_LAYERS)?;
    let num_attention_heads = text.count_or("num_attention_heads", 8, 1..=MAX_HEADS)?;
    let num_key_value_heads = text.count_or("num_key_value_heads", 4, 1..=MAX_HEADS)?;
    text.groups("num_key_value_heads", num_attention_heads, num_key_value_heads)?;
    let head_dim = match text.get("head_dim") {
        None => 256,
        Some(_) => text.even("head_dim", 2..=MAX_HEAD_DIM)?,
    };
    let states_ends = [generation, root, text].iter().any(|section| section.get("eos_token_id").is_some());
    Ok(Gemma3Config {
        vocab_size,
        hidden_size: text.count("hidden_size", 1..=MAX_WIDTH)?,
        intermediate_size: text.count("intermediate_size", 1..=MAX_FFN)?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        query_pre_attn_scalar: text.number_or("query_pre_attn_scalar", 256.0, 1e-3..=1e6)?,
        sliding_window: text.count("sliding_window", 1..=1 << 24)?,
        max_position_embeddings: text.count_or("max_position_embeddings", 131_072, 1..=1 << 30)?,
        rms_norm_eps: text.number_or("rms_norm_eps", 1e-6, 1e-12..=1e-1)?,
        rope_parameters: rope(text)?,
        layer_types: layer_types(text, num_hidden_layers)?,
        eos_token_id: match states_ends {
            true => eos(&[generation, root, text], vocab_size)?,
            false => vec![EOS],
        },
    })
}

/// Newer files have `rope_parameters` by kind of layer, older ones `rope_scaling`, which holds for
/// full layers only. Both have the thetas beside them, unless `rope_parameters` holds them, too.
fn rope(text: &Section) -> Result<Gemma3Rope, CheckpointError> {
    const THETA: std::ops::RangeInclusive<f64> = 1.0..=1e12;
    let mut sliding_attention =
        RopeParameters { rope_theta: text.number_or("rope_local_base_freq", 1e4, THETA)?, factor: 1.0 };
    let mut full_attention = RopeParameters { rope_theta: text.number_or("rope_theta", 1e6, THETA)?, factor: 1.0 };
    let scaling = text.maybe_section("rope_scaling")?;
    if let Some(scaling) = &scaling {
        full_attention.factor = factor(scaling)?;
    }
    if let Some(rope) = text.maybe_section("rope_parameters")? {
        let (sliding, full) = (rope.section("sliding_attention")?, rope.section("full_attention")?);
        sliding.one_of("rope_type", "default", &["default"])?;
        sliding_attention.rope_theta = sliding.number_or("rope_theta", sliding_attention.rope_theta, THETA)?;
        full_attention.rope_theta = full.number_or("rope_theta", full_attention.rope_theta, THETA)?;
        let old = full_attention.factor;
        full_attention.factor = factor(&full)?;
        if scaling.is_some() && full_attention.factor != old {
            return Err(text.wrong("rope_scaling", "contradicts rope_parameters.full_attention", FETCH_AGAIN));
        }
    }
    Ok(Gemma3Rope { sliding_attention, full_attention })
}

/// The factor by which the frequencies of full layers are divided.
fn factor(rope: &Section) -> Result<f64, CheckpointError> {
    // The first releases wrote `type`.
    let field = if rope.get("rope_type").is_none() && rope.get("type").is_some() { "type" } else { "rope_type" };
    rope.one_of(field, "default", &["default", "linear"])?;
    match rope.get(field).and_then(Value::as_str) {
        Some("linear") => rope.number("factor", 1e-3..=1e6),
        _ => Ok(1.0),
    }
}

/// `layer_types` says it layer by layer; without it, every n-th layer is full.
fn layer_types(text: &Section, layers: usize) -> Result<Vec<LayerType>, CheckpointError> {
    let Some(types) = text.get("layer_types") else {
        let field = ["sliding_window_pattern", "_sliding_window_pattern"].into_iter().find(|f| text.get(f).is_some());
        let pattern = field.map_or(Ok(PATTERN), |field| text.count(field, 1..=MAX_LAYERS))?;
        let kind = |at: usize| if (at + 1).is_multiple_of(pattern) { LayerType::Full } else { LayerType::Sliding };
        return Ok((0..layers).map(kind).collect());
    };
    let Some(types) = types.as_array().filter(|types| types.len() == layers) else {
        return Err(text.wrong("layer_types", format_args!("must list the types of {layers} layers"), FETCH_AGAIN));
    };
    let kind = |(at, name): (usize, &Value)| match name.as_str() {
        Some("sliding_attention") => Ok(LayerType::Sliding),
        Some("full_attention") => Ok(LayerType::Full),
        _ => Err(text.wrong(
            &format!("layer_types[{at}]"),
            format_args!("{} is not supported", shown(&name.to_string())),
            WRONG_MODEL,
        )),
    };
    types.iter().enumerate().map(kind).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::ModelConfig;
    use crate::models::testing::{parse, raw, refused};
    use crate::weights::testing::{fixture_files, memory};

    fn gemma(config: &Value) -> Gemma3Config {
        match parse(config).unwrap() {
            ModelConfig::Gemma3(config) => config,
            other => panic!("{other:?}"),
        }
    }

    /// The numbers of the full layers.
    fn full(config: &Gemma3Config) -> Vec<usize> {
        (0..config.num_hidden_layers).filter(|at| config.layer_types[*at] == LayerType::Full).collect()
    }

    /// The first multimodal releases: what the class's defaults do not say.
    fn sparse() -> Value {
        json!({
            "model_type": "gemma3",
            "eos_token_id": [1, 106],
            "text_config": {
                "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10_240,
                "num_hidden_layers": 34, "sliding_window": 1024,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            },
            "vision_config": {"hidden_size": 1152},
        })
    }

    #[test]
    fn every_field_of_a_text_only_release() {
        let config = match ModelConfig::open(&fixture_files("gemma3_like")).unwrap() {
            ModelConfig::Gemma3(config) => config,
            other => panic!("{other:?}"),
        };
        let sliding = LayerType::Sliding;
        let expected = Gemma3Config {
            vocab_size: 368,
            hidden_size: 64,
            intermediate_size: 96,
            num_hidden_layers: 8,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 32,
            query_pre_attn_scalar: 32.0,
            sliding_window: 8,
            max_position_embeddings: 4096,
            rms_norm_eps: 1e-6,
            rope_parameters: Gemma3Rope {
                sliding_attention: RopeParameters { rope_theta: 1e4, factor: 1.0 },
                full_attention: RopeParameters { rope_theta: 1e6, factor: 8.0 },
            },
            layer_types: vec![sliding, sliding, sliding, sliding, sliding, LayerType::Full, sliding, sliding],
            eos_token_id: vec![1, 7],
        };
        assert_eq!(config, expected);
        assert_eq!((config.window(4), config.window(5)), (Some(8), None));
        assert_eq!(config.scale(), 32f32.powf(-0.5));
    }

    #[test]
    fn a_multimodal_release_and_its_defaults() {
        let config = gemma(&raw("gemma3_mm_like"));
        assert_eq!((config.vocab_size, config.query_pre_attn_scalar, config.head_dim), (376, 24.0, 16));
        assert_eq!((config.sliding_window, full(&config)), (11, vec![5]));
        assert_eq!(config.rope_parameters.full_attention, RopeParameters { rope_theta: 1e6, factor: 8.0 });
        assert_eq!(config.rope_parameters.sliding_attention, RopeParameters { rope_theta: 1e4, factor: 1.0 });

        let config = gemma(&sparse());
        assert_eq!((config.vocab_size, config.num_attention_heads, config.num_key_value_heads), (262_208, 8, 4));
        assert_eq!((config.head_dim, config.query_pre_attn_scalar), (256, 256.0));
        assert_eq!((config.max_position_embeddings, config.rms_norm_eps), (131_072, 1e-6));
        assert_eq!(full(&config), [5, 11, 17, 23, 29]);
        assert_eq!(config.rope_parameters.full_attention, RopeParameters { rope_theta: 1e6, factor: 8.0 });
        // No field is null in the releases, but null means the default, too.
        let mut nulls = sparse();
        nulls["text_config"]["head_dim"] = json!(null);
        nulls["text_config"]["final_logit_softcapping"] = json!(null);
        assert_eq!(gemma(&nulls), config);
    }

    #[test]
    fn which_layers_are_full() {
        let mut config = raw("gemma3_like");
        config.as_object_mut().unwrap().remove("sliding_window_pattern");
        assert_eq!(full(&gemma(&config)), [5], "six is the default");
        for field in ["sliding_window_pattern", "_sliding_window_pattern"] {
            let mut config = config.clone();
            config[field] = json!(3);
            assert_eq!(full(&gemma(&config)), [2, 5], "{field}");
            config[field] = json!(1);
            assert_eq!(full(&gemma(&config)).len(), 8, "{field}");
        }
        let mut types = vec!["sliding_attention"; 8];
        types[1] = "full_attention";
        config["layer_types"] = json!(types);
        config["_sliding_window_pattern"] = json!(6);
        assert_eq!(full(&gemma(&config)), [1], "layer_types wins");
    }

    #[test]
    fn the_ways_to_write_the_rotation() {
        let rope = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
            let mut config = raw("gemma3_like");
            change(config.as_object_mut().unwrap());
            let rope = gemma(&config).rope_parameters;
            let pair = |of: RopeParameters| (of.rope_theta, of.factor);
            (pair(rope.sliding_attention), pair(rope.full_attention))
        };
        let plain = ((1e4, 1.0), (1e6, 1.0));
        let scaled = ((1e4, 1.0), (1e6, 8.0));
        assert_eq!(rope(&|_| {}), scaled);
        assert_eq!(rope(&|c| drop(c.insert("rope_scaling".into(), json!({"type": "linear", "factor": 8}))),), scaled);
        assert_eq!(rope(&|c| drop(c.insert("rope_scaling".into(), json!(null)))), plain);
        assert_eq!(
            rope(&|c| drop(c.insert("rope_scaling".into(), json!({"rope_type": "default", "factor": 4})))),
            plain
        );
        assert_eq!(rope(&|c| c.retain(|key, _| !key.starts_with("rope_"))), plain, "the class's defaults");
        let newer = |full: Value, sliding: Value| {
            rope(&|c| {
                c.remove("rope_scaling");
                c.insert("rope_theta".into(), json!(5e5));
                c.insert("rope_local_base_freq".into(), json!(5e3));
                c.insert("rope_parameters".into(), json!({"full_attention": full, "sliding_attention": sliding}));
            })
        };
        let (linear, default) = (json!({"rope_type": "linear", "factor": 4.0}), json!({"rope_type": "default"}));
        assert_eq!(newer(linear, default.clone()), ((5e3, 1.0), (5e5, 4.0)), "the outer thetas");
        assert_eq!(newer(json!({}), default), ((5e3, 1.0), (5e5, 1.0)));
        assert_eq!(
            newer(
                json!({"rope_type": "linear", "factor": 4.0, "rope_theta": 2e5}),
                json!({"rope_type": "default", "rope_theta": 2e3})
            ),
            ((2e3, 1.0), (2e5, 4.0)),
            "the inner thetas win"
        );
    }

    #[test]
    fn end_ids() {
        let open = |config: &Value, generation: Option<&[u8]>| {
            let config = config.to_string();
            let mut files = vec![("config.json", config.as_bytes())];
            files.extend(generation.map(|bytes| ("generation_config.json", bytes)));
            match ModelConfig::open(&memory(&files)).unwrap() {
                ModelConfig::Gemma3(config) => config.eos_token_id,
                other => panic!("{other:?}"),
            }
        };
        let mut config = sparse();
        assert_eq!(open(&config, None), [1, 106]);
        assert_eq!(open(&config, Some(br#"{"eos_token_id": [106, 1]}"#)), [106, 1]);
        config.as_object_mut().unwrap().remove("eos_token_id");
        assert_eq!(open(&config, Some(b"{}")), [1], "the class's default");
    }

    #[test]
    fn absurd_and_unsupported_values_are_named() {
        let flat = "gemma3_like";
        let mm = "gemma3_mm_like";
        refused(&[
            (flat, "/final_logit_softcapping", json!(30.0), "final_logit_softcapping: 30.0 is not supported"),
            (flat, "/attn_logit_softcapping", json!(50), "attn_logit_softcapping: 50 is not supported"),
            (flat, "/attention_bias", json!(true), "attention_bias: true is not supported"),
            (
                mm,
                "/text_config/use_bidirectional_attention",
                json!(true),
                "text_config.use_bidirectional_attention: true is not supported",
            ),
            (flat, "/hidden_activation", json!("silu"), "hidden_activation: \\\"silu\\\" is not supported"),
            (mm, "/text_config/model_type", json!("gemma2"), "text_config.model_type: \\\"gemma2\\\" is not supported"),
            (mm, "/text_config", json!(null), "text_config: is missing"),
            (flat, "/hidden_size", json!(null), "hidden_size: is missing"),
            (flat, "/intermediate_size", json!(0), "intermediate_size: 0 is not"),
            (flat, "/num_hidden_layers", json!(1e9), "num_hidden_layers: 1000000000.0 is not"),
            (flat, "/num_hidden_layers", json!(513), "num_hidden_layers: 513 is not"),
            (flat, "/sliding_window", json!(null), "sliding_window: is missing"),
            (flat, "/sliding_window", json!(0), "sliding_window: 0 is not"),
            (flat, "/vocab_size", json!(1), "vocab_size: 1 is not"),
            (flat, "/num_attention_heads", json!(-4), "num_attention_heads: -4 is not"),
            (flat, "/num_key_value_heads", json!(3), "num_key_value_heads: 3 does not divide num_attention_heads 4"),
            (flat, "/head_dim", json!(31), "head_dim: 31 is not even"),
            (flat, "/query_pre_attn_scalar", json!(0), "query_pre_attn_scalar: 0 is not"),
            (flat, "/max_position_embeddings", json!("long"), "max_position_embeddings: \\\"long\\\" is not"),
            (flat, "/rms_norm_eps", json!(1), "rms_norm_eps: 1 is not"),
            (flat, "/rope_theta", json!(0.5), "rope_theta: 0.5 is not"),
            (flat, "/rope_local_base_freq", json!(true), "rope_local_base_freq: true is not"),
            (flat, "/rope_scaling", json!("yarn"), "rope_scaling: \\\"yarn\\\" is not an object"),
            (flat, "/rope_scaling/rope_type", json!("yarn"), "rope_scaling.rope_type: \\\"yarn\\\" is not supported"),
            (flat, "/rope_scaling", json!({"type": "dynamic"}), "rope_scaling.type: \\\"dynamic\\\" is not supported"),
            (flat, "/rope_scaling/factor", json!(0), "rope_scaling.factor: 0 is not"),
            (flat, "/rope_scaling", json!({"rope_type": "linear"}), "rope_scaling.factor: is missing"),
            (
                mm,
                "/text_config/rope_parameters/sliding_attention/rope_type",
                json!("linear"),
                "rope_parameters.sliding_attention.rope_type: \\\"linear\\\" is not supported",
            ),
            (
                mm,
                "/text_config/rope_parameters/full_attention",
                json!(null),
                "rope_parameters.full_attention: is missing",
            ),
            (flat, "/sliding_window_pattern", json!(0), "sliding_window_pattern: 0 is not"),
            (
                mm,
                "/text_config/layer_types",
                json!(["full_attention"]),
                "text_config.layer_types: must list the types of 7 layers",
            ),
            (
                mm,
                "/text_config/layer_types/3",
                json!("chunked_attention"),
                "text_config.layer_types[3]: \\\"chunked_attention\\\" is not supported",
            ),
        ]);
        let mut both = raw(mm);
        both["text_config"]["rope_scaling"] = json!({"rope_type": "linear", "factor": 4.0});
        let message = parse(&both).unwrap_err().to_string();
        assert!(message.contains("text_config.rope_scaling: contradicts rope_parameters"), "{message}");
        both["text_config"]["rope_scaling"]["factor"] = json!(8.0);
        assert_eq!(gemma(&both), gemma(&raw(mm)));
        for at in ["", "text_config"] {
            let mut untied = raw(mm);
            let section = if at.is_empty() { &mut untied } else { &mut untied[at] };
            section["tie_word_embeddings"] = json!(false);
            let message = parse(&untied).unwrap_err().to_string();
            assert!(message.contains("tie_word_embeddings: false is not supported"), "{message}");
        }
    }

    #[test]
    fn published_sizes() {
        // 270M: `layer_types` beside `_sliding_window_pattern`.
        let types: Vec<&str> =
            (1..=18).map(|at| if at % 6 == 0 { "full_attention" } else { "sliding_attention" }).collect();
        let config = gemma(&json!({
            "model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "query_pre_attn_scalar": 256,
            "sliding_window": 512, "max_position_embeddings": 32768, "vocab_size": 262144,
            "_sliding_window_pattern": 6, "layer_types": types, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "rope_scaling": null, "use_bidirectional_attention": false, "eos_token_id": 1,
        }));
        assert_eq!((full(&config), config.scale()), (vec![5, 11, 17], 1.0 / 16.0));
        assert_eq!(config.rope_parameters.full_attention, RopeParameters { rope_theta: 1e6, factor: 1.0 });
        // 27B: the scale is not the head's dimension.
        let mut large = sparse();
        for (field, value) in [
            ("hidden_size", 5376),
            ("num_hidden_layers", 62),
            ("num_attention_heads", 32),
            ("num_key_value_heads", 16),
            ("head_dim", 128),
            ("query_pre_attn_scalar", 168),
        ] {
            large["text_config"][field] = json!(value);
        }
        let config = gemma(&large);
        assert_eq!((config.scale(), full(&config).len()), (168f32.powf(-0.5), 10));
    }
}
