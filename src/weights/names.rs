//! The names under which a model's tensors are stored. Source: docs/models.md, sections 1.3, 2.3.
//!
//! Prefixes have no dot at the end: `format!("{}.layers.{i}.fc1.weight", names.audio_tower)`.

use super::config::{Gemma4Config, ModelConfig};
use super::error::{CheckpointError, WRONG_MODEL, shown};
use super::safetensors::Weights;

/// Names of Qwen3-ASR and its aligner, in the original layout (`thinker.…`) or in transformers'
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QwenNames {
    /// Prefix of conv2d1..3, conv_out, layers.i, ln_post.
    pub audio_tower: &'static str,
    /// Prefix of the first projector, with weight and bias.
    pub proj1: &'static str,
    /// Prefix of the second projector, with weight and bias.
    pub proj2: &'static str,
    /// Prefix of embed_tokens, layers.i, norm.
    pub text_model: &'static str,
    /// The head's weight: `[vocab, H]` for the recogniser, `None` if it is tied;
    /// `[classify_num, H]` for the aligner.
    pub head: Option<&'static str>,
    /// Prefixes of tensors to skip: a tied head that is stored as well.
    pub skip: &'static [&'static str],
}

impl QwenNames {
    /// Detects the layout from the tensor names.
    ///
    /// Errors: the names match neither layout, or both; `config` is not one of Qwen3.
    pub fn detect(config: &ModelConfig, weights: &Weights) -> Result<QwenNames, CheckpointError> {
        let (aligner, tied) = match config {
            ModelConfig::Qwen3Asr(config) => (false, config.text_config.tie_word_embeddings),
            ModelConfig::Qwen3Aligner(_) => (true, false),
            ModelConfig::Gemma4(_) => {
                return Err(CheckpointError::file(
                    weights.label(),
                    "holds Gemma-4, not Qwen3-ASR",
                    "name a Qwen3-ASR folder here",
                ));
            }
        };
        let original = weights.names().any(|name| name.starts_with("thinker."));
        let own = weights.names().any(|name| name.starts_with("model.multi_modal_projector."));
        match (original, own) {
            (true, false) => Ok(QwenNames {
                audio_tower: "thinker.audio_tower",
                proj1: "thinker.audio_tower.proj1",
                proj2: "thinker.audio_tower.proj2",
                text_model: "thinker.model",
                head: (!tied).then_some("thinker.lm_head.weight"),
                skip: if tied { &["thinker.lm_head.weight"] } else { &[] },
            }),
            (false, true) => Ok(QwenNames {
                audio_tower: "model.audio_tower",
                proj1: "model.multi_modal_projector.linear_1",
                proj2: "model.multi_modal_projector.linear_2",
                text_model: "model.language_model",
                head: (!tied).then_some(if aligner { "score.weight" } else { "lm_head.weight" }),
                skip: if tied { &["lm_head.weight"] } else { &[] },
            }),
            _ => Err(unknown(weights, "thinker.… nor model.multi_modal_projector.…")),
        }
    }
}

/// Names of Gemma-4's text decoder, on its own or inside the multimodal release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmaNames {
    /// Prefix of embed_tokens, embed_tokens_per_layer, per_layer_model_projection, layers.i, norm.
    pub text_model: &'static str,
    /// Prefixes of tensors to skip: the other towers, and a tied head that is stored as well.
    pub skip: &'static [&'static str],
}

impl GemmaNames {
    /// Detects the export from the tensor names. Errors: the names match no known export.
    pub fn detect(weights: &Weights) -> Result<GemmaNames, CheckpointError> {
        let skip = &[
            "model.audio_tower.",
            "model.vision_tower.",
            "model.embed_audio.",
            "model.embed_vision.",
            "lm_head.weight",
        ];
        ["model.language_model", "model"]
            .into_iter()
            .find(|prefix| weights.contains(&format!("{prefix}.embed_tokens.weight")))
            .map(|text_model| GemmaNames { text_model, skip })
            .ok_or_else(|| unknown(weights, "model.language_model.embed_tokens.weight nor model.embed_tokens.weight"))
    }

    /// Marks the keys and values of shared layers as used. Full-precision releases contain them,
    /// but nothing reads them.
    pub fn ignore_shared_kv(&self, config: &Gemma4Config, weights: &Weights) {
        for layer in config.first_kv_shared_layer()..config.num_hidden_layers {
            for part in ["k_proj", "v_proj", "k_norm"] {
                weights.ignore(&format!("{}.layers.{layer}.self_attn.{part}.weight", self.text_model));
            }
        }
    }
}

fn unknown(weights: &Weights, expected: &str) -> CheckpointError {
    let first = weights.names().next().map_or("nothing at all".to_owned(), shown);
    CheckpointError::file(weights.label(), format!("has neither {expected}, but {first}"), WRONG_MODEL)
}
