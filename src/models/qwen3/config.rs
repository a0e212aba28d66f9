//! Qwen3's configuration, checked value by value.
//!
//! Fields have the names that the checkpoint uses. Everything that the forward pass relies on is
//! either a field here or checked and refused by name: a checkpoint that needs a feature that this
//! program lacks must not load and then give nonsense. Source: docs/models.md, sections 1.6 and
//! 4.1.

use crate::weights::error::{CheckpointError, FETCH_AGAIN, WRONG_MODEL, shown};
use crate::weights::section::{MAX_FFN, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, Section, eos};

/// The network of a text model.
const NETWORK: &str = "Qwen3ForCausalLM";

/// A Qwen3 text model.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen3Config {
    pub text: Qwen3TextConfig,
    /// Ids that end an answer, from `generation_config.json` or `config.json`; never empty.
    pub eos_token_id: Vec<u32>,
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

/// Reads the configuration of a text model.
pub(crate) fn read(root: &Section, generation: &Section) -> Result<Qwen3Config, CheckpointError> {
    if let Some(networks) = root.get("architectures") {
        let known = networks.as_array().is_some_and(|names| names.iter().any(|name| name == NETWORK));
        if !known {
            let what = format_args!("{} is not supported (only {NETWORK})", shown(&networks.to_string())).to_string();
            return Err(root.wrong("architectures", what, WRONG_MODEL));
        }
    }
    // The reference's class has a head of its own unless the configuration says otherwise.
    let text = decoder(root, root.flag("tie_word_embeddings", false)?, &["default"])?;
    let eos_token_id = eos(&[generation, root], text.vocab_size)?;
    Ok(Qwen3Config { text, eos_token_id })
}

/// Reads the configuration of a decoder in `section`. `ropes`: the types of rotary embeddings that
/// the model may name.
pub(crate) fn decoder(
    section: &Section,
    tie_word_embeddings: bool,
    ropes: &[&str],
) -> Result<Qwen3TextConfig, CheckpointError> {
    section.one_of("hidden_act", "silu", &["silu"])?;
    section.refuse_flag("attention_bias")?;
    section.refuse_flag("use_sliding_window")?;
    for field in ["num_experts", "num_local_experts"] {
        section.refuse_moe(field)?;
    }
    for field in ["partial_rotary_factor", "quantization_config"] {
        refuse(section, field)?;
    }
    let num_hidden_layers = section.count("num_hidden_layers", 1..=MAX_LAYERS)?;
    check_layer_types(section, num_hidden_layers)?;
    let num_attention_heads = section.count("num_attention_heads", 1..=MAX_HEADS)?;
    let num_key_value_heads = section.count("num_key_value_heads", 1..=MAX_HEADS)?;
    section.groups("num_key_value_heads", num_attention_heads, num_key_value_heads)?;
    Ok(Qwen3TextConfig {
        vocab_size: section.count("vocab_size", 2..=MAX_VOCAB)?,
        hidden_size: section.count("hidden_size", 1..=MAX_WIDTH)?,
        intermediate_size: section.count("intermediate_size", 1..=MAX_FFN)?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim: section.even("head_dim", 2..=MAX_HEAD_DIM)?,
        max_position_embeddings: section.count_or("max_position_embeddings", 65_536, 1..=1 << 30)?,
        rms_norm_eps: section.number_or("rms_norm_eps", 1e-6, 1e-12..=1e-1)?,
        rope_theta: rope_theta(section, ropes)?,
        tie_word_embeddings,
    })
}

/// The rotary base: `rope_theta`, or that of the `rope_parameters` that newer exports have.
/// `rope_scaling` of Qwen3-ASR carries mrope's sections. They have no effect for audio and text,
/// where mrope's three rows of positions are equal.
fn rope_theta(section: &Section, ropes: &[&str]) -> Result<f64, CheckpointError> {
    const RANGE: std::ops::RangeInclusive<f64> = 1.0..=1e12;
    let mut theta = section.get("rope_theta").map(|_| section.number("rope_theta", RANGE)).transpose()?;
    for name in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = section.maybe_section(name)? else { continue };
        rope.one_of("rope_type", "default", ropes)?;
        rope.one_of("type", "default", ropes)?;
        for field in ["factor", "partial_rotary_factor"] {
            refuse(&rope, field)?;
        }
        if rope.get("rope_theta").is_none() {
            continue;
        }
        let inner = rope.number("rope_theta", RANGE)?;
        if theta.is_some_and(|outer| outer != inner) {
            return Err(rope.wrong("rope_theta", format_args!("{inner} is not the rope_theta beside it"), FETCH_AGAIN));
        }
        theta = Some(inner);
    }
    theta.ok_or_else(|| section.wrong("rope_theta", "is missing", FETCH_AGAIN))
}

/// All layers must be full.
fn check_layer_types(section: &Section, layers: usize) -> Result<(), CheckpointError> {
    let Some(types) = section.get("layer_types") else { return Ok(()) };
    let Some(types) = types.as_array().filter(|types| types.len() == layers) else {
        return Err(section.wrong("layer_types", format_args!("must list the types of {layers} layers"), FETCH_AGAIN));
    };
    match types.iter().position(|name| name != "full_attention") {
        Some(at) => Err(section.wrong(
            &format!("layer_types[{at}]"),
            format_args!("{} is not supported", shown(&types[at].to_string())),
            WRONG_MODEL,
        )),
        None => Ok(()),
    }
}

/// Errors: the field has a value, which would change the network.
fn refuse(section: &Section, field: &str) -> Result<(), CheckpointError> {
    match section.get(field) {
        None => Ok(()),
        Some(value) if value.as_f64() == Some(1.0) => Ok(()),
        Some(value) => {
            Err(section.wrong(field, format_args!("{} is not supported", shown(&value.to_string())), WRONG_MODEL))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::models::ModelConfig;
    use crate::models::testing::{parse, raw, refused};
    use crate::weights::testing::fixture_files;

    const MODEL: &str = "qwen3_like";

    fn qwen(config: &Value) -> Qwen3Config {
        match parse(config).unwrap() {
            ModelConfig::Qwen3(config) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_field_is_read() {
        let ModelConfig::Qwen3(config) = ModelConfig::open(&fixture_files(MODEL)).unwrap() else { panic!() };
        let text = Qwen3TextConfig {
            vocab_size: 336,
            hidden_size: 64,
            intermediate_size: 96,
            num_hidden_layers: 5,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 32,
            max_position_embeddings: 40_960,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            tie_word_embeddings: true,
        };
        assert_eq!(config, Qwen3Config { text, eos_token_id: vec![318, 316] });
    }

    /// Without `generation_config.json` the end ids are those of `config.json`.
    #[test]
    fn the_ends_of_an_answer() {
        let read = |config: &Value| {
            let (file, empty) = ("config.json".to_owned(), json!({}));
            read(&Section::root(&file, config).unwrap(), &Section::root(&file, &empty).unwrap())
        };
        let mut config = raw(MODEL);
        assert_eq!(read(&config).unwrap().eos_token_id, [318]);
        config["eos_token_id"] = json!([318, 316]);
        assert_eq!(read(&config).unwrap().eos_token_id, [318, 316]);
        config["eos_token_id"] = json!(336);
        let message = read(&config).unwrap_err().to_string();
        assert!(message.contains("eos_token_id: must be ids below 336"), "{message}");
    }

    #[test]
    fn a_head_is_tied_only_where_the_configuration_says_so() {
        let mut config = raw(MODEL);
        for (value, tied) in [(json!(true), true), (json!(false), false), (json!(null), false)] {
            config["tie_word_embeddings"] = value;
            assert_eq!(qwen(&config).text.tie_word_embeddings, tied);
        }
        config.as_object_mut().unwrap().remove("tie_word_embeddings");
        assert!(!qwen(&config).text.tie_word_embeddings);
    }

    #[test]
    fn the_ways_to_write_the_rotary_base_agree() {
        let published = raw(MODEL);
        let expected = qwen(&published);
        let mut newer = published.clone();
        newer["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 1_000_000.0});
        assert_eq!(qwen(&newer), expected, "both");
        newer.as_object_mut().unwrap().remove("rope_theta");
        assert_eq!(qwen(&newer), expected, "the newer form alone");
        newer["rope_theta"] = json!(5e6);
        let message = parse(&newer).unwrap_err().to_string();
        assert!(message.contains("rope_parameters.rope_theta: 1000000 is not the rope_theta beside it"), "{message}");
        // Full layers may be listed.
        let mut listed = published.clone();
        listed["layer_types"] = json!(vec!["full_attention"; 5]);
        assert_eq!(qwen(&listed), expected);
    }

    #[test]
    fn published_sizes() {
        for (hidden, ffn, layers, heads, theta, positions, tied) in [
            (1024, 3072, 28, 16, 1e6, 40_960, true),
            (2048, 6144, 28, 16, 1e6, 40_960, true),
            (2560, 9728, 36, 32, 1e6, 40_960, true),
            (2560, 9728, 36, 32, 5e6, 262_144, true),
            (4096, 12_288, 36, 32, 1e6, 40_960, false),
        ] {
            let config = json!({
                "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
                "bos_token_id": 151_643, "eos_token_id": 151_645, "head_dim": 128, "hidden_act": "silu",
                "hidden_size": hidden, "initializer_range": 0.02, "intermediate_size": ffn,
                "max_position_embeddings": positions, "max_window_layers": layers, "model_type": "qwen3",
                "num_attention_heads": heads, "num_hidden_layers": layers, "num_key_value_heads": 8,
                "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": theta, "sliding_window": null,
                "tie_word_embeddings": tied, "torch_dtype": "bfloat16", "use_cache": true,
                "use_sliding_window": false, "vocab_size": 151_936,
            });
            let config = qwen(&config);
            assert_eq!(config.text.rope_theta, theta);
            assert_eq!(config.text.max_position_embeddings, positions);
            assert_eq!(config.text.tie_word_embeddings, tied);
        }
    }

    #[test]
    fn absurd_and_unsupported_values_are_named() {
        let cases = [
            ("architectures", json!(["Qwen3ForSequenceClassification"]), "is not supported (only Qwen3ForCausalLM)"),
            ("architectures", json!("Qwen3ForCausalLM"), "architectures: \\\"Qwen3ForCausalLM\\\" is not supported"),
            ("vocab_size", json!(1u64 << 40), "vocab_size: 1099511627776 is not"),
            ("hidden_size", json!(0), "hidden_size: 0 is not"),
            ("intermediate_size", json!("96"), "intermediate_size: \\\"96\\\" is not"),
            ("num_hidden_layers", json!(100_000), "num_hidden_layers: 100000 is not"),
            ("num_attention_heads", json!(null), "num_attention_heads: is missing"),
            ("num_key_value_heads", json!(3), "num_key_value_heads: 3 does not divide num_attention_heads 4"),
            ("head_dim", json!(15), "head_dim: 15 is not even"),
            ("max_position_embeddings", json!(-1), "max_position_embeddings: -1 is not"),
            ("rms_norm_eps", json!(1), "rms_norm_eps: 1 is not"),
            ("rope_theta", json!(null), "rope_theta: is missing"),
            ("rope_theta", json!(0.5), "rope_theta: 0.5 is not"),
            ("hidden_act", json!("gelu"), "hidden_act: \\\"gelu\\\" is not supported"),
            ("attention_bias", json!(true), "attention_bias: true is not supported"),
            ("use_sliding_window", json!(true), "use_sliding_window: true is not supported"),
            ("tie_word_embeddings", json!(1), "tie_word_embeddings: 1 is not true or false"),
            (
                "rope_scaling",
                json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}),
                "rope_scaling.rope_type: \\\"yarn\\\" is not supported (only default)",
            ),
            ("rope_scaling", json!({"type": "linear", "factor": 2.0}), "rope_scaling.type: \\\"linear\\\""),
            ("rope_scaling", json!({"rope_type": "mrope"}), "rope_scaling.rope_type: \\\"mrope\\\""),
            ("rope_scaling", json!({"factor": 4.0}), "rope_scaling.factor: 4.0 is not supported"),
            ("rope_scaling", json!("yarn"), "rope_scaling: \\\"yarn\\\" is not an object"),
        ];
        refused(
            &cases
                .map(|(field, value, message)| (MODEL, format!("/{field}"), value, message))
                .each_ref()
                .map(|(model, pointer, value, message)| (*model, pointer.as_str(), value.clone(), *message)),
        );
        for (field, value, expected) in [
            ("num_experts", json!(128), "num_experts: 128: mixtures of experts are not supported"),
            ("layer_types", json!(["full_attention"]), "layer_types: must list the types of 5 layers"),
            (
                "layer_types",
                json!(["full_attention", "sliding_attention", "full_attention", "full_attention", "full_attention"]),
                "layer_types[1]: \\\"sliding_attention\\\" is not supported",
            ),
            ("partial_rotary_factor", json!(0.5), "partial_rotary_factor: 0.5 is not supported"),
            ("quantization_config", json!({"quant_method": "fp8"}), "quantization_config: {"),
            (
                "rope_parameters",
                json!({"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.25}),
                "rope_parameters.partial_rotary_factor: 0.25 is not supported",
            ),
        ] {
            let mut config = raw(MODEL);
            config[field] = value;
            let message = parse(&config).expect_err(field).to_string();
            assert!(message.starts_with("memory/config.json: ") && message.contains(expected), "{field}: {message}");
        }
    }
}
