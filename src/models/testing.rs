//! Helpers for the tests of configurations: those of the fixtures, changed and read again.

use serde_json::Value;

use super::config::{CONFIG_FILE, GENERATION_FILE, ModelConfig};
use super::prompt::{LanguageName, Task};
use crate::weights::CheckpointError;
use crate::weights::testing::{fixture, memory};

/// The `config.json` of a fixture.
pub(crate) fn raw(model: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(model).join(CONFIG_FILE)).unwrap()).unwrap()
}

/// Reads a folder with this `config.json`.
pub(crate) fn parse(config: &Value) -> Result<ModelConfig, CheckpointError> {
    let generation = br#"{"eos_token_id": [1, 10, 8]}"#;
    ModelConfig::open(&memory(&[(CONFIG_FILE, config.to_string().as_bytes()), (GENERATION_FILE, generation)]))
}

/// Cases: the model, the pointer to a value of its `config.json`, what is put there, and what the
/// error says.
pub(crate) fn refused(cases: &[(&str, &str, Value, &str)]) {
    for (model, pointer, value, expected) in cases {
        let mut config = raw(model);
        *config.pointer_mut(pointer).unwrap() = value.clone();
        let message = parse(&config).expect_err(pointer).to_string();
        assert!(message.starts_with("memory/config.json: ") && message.contains(expected), "{pointer}: {message}");
    }
}

/// Translation from English, without a context.
pub(crate) fn task(code: &str) -> Task<'_> {
    let english = match code {
        "de" => "German",
        "it" => "Italian",
        "zh" => "Chinese",
        other => other,
    };
    let source = LanguageName { english: "English", code: "en" };
    Task { source, target: LanguageName { english, code }, context: "" }
}
