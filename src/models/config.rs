//! The configuration of a model folder. Here is the one match on families; what a family's files
//! say is read in its own folder.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::family::TextFamily;
use super::{gemma3, gemma4, qwen3, qwen3_asr};
use crate::weights::Files;
use crate::weights::error::{CheckpointError, WRONG_MODEL, shown};
use crate::weights::section::{MAX_FILE, Section};
use gemma3::config::Gemma3Config;
use gemma4::config::Gemma4Config;
use qwen3::config::Qwen3Config;
use qwen3_asr::config::{AsrOrAligner, Qwen3AlignerConfig, Qwen3AsrConfig};

pub(super) const CONFIG_FILE: &str = "config.json";
pub(super) const GENERATION_FILE: &str = "generation_config.json";

/// The models that this program can load, as a remedy in messages.
pub(crate) const SUPPORTED: &str =
    "use a Qwen3-ASR, Qwen3-ForcedAligner, Gemma-3, Gemma-4 E2B/E4B or Qwen3 checkpoint as published";

/// A model folder's configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelConfig {
    Qwen3Asr(Qwen3AsrConfig),
    Qwen3Aligner(Qwen3AlignerConfig),
    Gemma3(Gemma3Config),
    Gemma4(Gemma4Config),
    Qwen3(Qwen3Config),
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
            "qwen3_asr" => Ok(match qwen3_asr::config::read(files, &root, &generation)? {
                AsrOrAligner::Asr(config) => ModelConfig::Qwen3Asr(config),
                AsrOrAligner::Aligner(config) => ModelConfig::Qwen3Aligner(config),
            }),
            "gemma3" => {
                gemma3::config::read(&root, &root.section("text_config")?, &generation).map(ModelConfig::Gemma3)
            }
            "gemma3_text" => gemma3::config::read(&root, &root, &generation).map(ModelConfig::Gemma3),
            "gemma4" => {
                gemma4::config::read(&root, &root.section("text_config")?, &generation).map(ModelConfig::Gemma4)
            }
            "gemma4_text" => gemma4::config::read(&root, &root, &generation).map(ModelConfig::Gemma4),
            "qwen3" => qwen3::config::read(&root, &generation).map(ModelConfig::Qwen3),
            other => Err(root.wrong(
                "model_type",
                format_args!("{} is not a model this program knows", shown(other)),
                WRONG_MODEL,
            )),
        }
    }

    /// The configuration as that of a text model; itself if it is not one.
    pub(crate) fn into_text(self) -> Result<Arc<dyn TextFamily>, Box<ModelConfig>> {
        match self {
            ModelConfig::Gemma3(config) => Ok(Arc::new(config)),
            ModelConfig::Gemma4(config) => Ok(Arc::new(config)),
            ModelConfig::Qwen3(config) => Ok(Arc::new(config)),
            other => Err(Box::new(other)),
        }
    }

    /// The name of the model, for messages.
    pub fn family(&self) -> &'static str {
        match self {
            ModelConfig::Qwen3Asr(_) => "Qwen3-ASR",
            ModelConfig::Qwen3Aligner(_) => "Qwen3-ForcedAligner",
            ModelConfig::Gemma3(config) => config.family(),
            ModelConfig::Gemma4(config) => config.family(),
            ModelConfig::Qwen3(config) => config.family(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::models::testing::{parse, raw, refused};
    use crate::weights::section::MAX_LAYERS;
    use crate::weights::testing::{fixture, memory};

    const MODELS: [&str; 9] = [
        "qwen3_asr",
        "qwen3_asr/hf",
        "qwen3_aligner",
        "qwen3_aligner/hf",
        "gemma3_like",
        "gemma3_mm_like",
        "gemma4_e2b_like",
        "gemma4_e4b_like",
        "qwen3_like",
    ];

    #[test]
    fn absurd_and_unsupported_values_are_named() {
        refused(&[
            ("qwen3_asr", "/model_type", json!("llama"), "model_type: llama is not a model this program knows"),
            ("qwen3_asr", "/model_type", json!(null), "model_type: is missing"),
        ]);
        let message = ModelConfig::open(&memory(&[(CONFIG_FILE, b"[]")])).unwrap_err().to_string();
        assert!(message.contains("memory/config.json: is not a JSON object"), "{message}");
        let deep = "[".repeat(1_000_000);
        assert!(ModelConfig::open(&memory(&[(CONFIG_FILE, deep.as_bytes())])).is_err());
        assert!(
            ModelConfig::open(&memory(&[])).unwrap_err().to_string().starts_with("config.json is missing in memory")
        );
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
        fn odd_values_never_panic_and_never_grow(which in 0usize..9, at in any::<prop::sample::Index>(), also in any::<prop::sample::Index>(), a in odd(), b in odd()) {
            let mut config = raw(MODELS[which]);
            let mut all = Vec::new();
            pointers(&config, "", &mut all);
            for (at, value) in [(at, a), (also, b)] {
                if let Some(place) = config.pointer_mut(&all[at.index(all.len())]) {
                    *place = value;
                }
            }
            let config = parse(&config);
            if let Ok(ModelConfig::Qwen3(config)) = &config {
                prop_assert!(config.text.num_hidden_layers <= MAX_LAYERS && config.text.head_dim > 0);
            }
            if let Ok(ModelConfig::Gemma3(config)) = &config {
                let layers = config.layer_types.len();
                prop_assert!(layers == config.num_hidden_layers && layers <= MAX_LAYERS && config.head_dim > 0);
            }
            if let Ok(ModelConfig::Gemma4(config)) = config {
                prop_assert!(config.layers.len() == config.num_hidden_layers && config.num_hidden_layers <= MAX_LAYERS);
                prop_assert!(config.layers.iter().enumerate().all(|(at, layer)| layer.kv_source <= at && layer.head_dim > 0));
            }
        }

        #[test]
        fn mutated_bytes_never_panic(which in 0usize..9, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = std::fs::read(fixture(MODELS[which]).join(CONFIG_FILE)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = ModelConfig::open(&memory(&[(CONFIG_FILE, &bytes)]));
        }
    }
}
