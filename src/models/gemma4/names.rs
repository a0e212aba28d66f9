//! The names under which Gemma-4's tensors are stored. Source: docs/models.md, section 2.3.
//!
//! Prefixes have no dot at the end: `format!("{}.layers.{i}.layer_scalar", names.text_model)`.

use super::config::Gemma4Config;
use crate::weights::{CheckpointError, Weights};

/// Names of Gemma-4's text decoder, on its own or inside the multimodal release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GemmaNames {
    /// Prefix of embed_tokens, embed_tokens_per_layer, per_layer_model_projection, layers.i, norm.
    pub text_model: &'static str,
    /// Prefixes of tensors to skip: the other towers, and a tied head that is stored as well.
    pub skip: &'static [&'static str],
}

impl GemmaNames {
    /// Detects the export from the tensor names. Errors: the names match no known export.
    pub(super) fn detect(weights: &Weights) -> Result<GemmaNames, CheckpointError> {
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
            .ok_or_else(|| {
                weights.other_layout("model.language_model.embed_tokens.weight nor model.embed_tokens.weight")
            })
    }

    /// Marks the keys and values of shared layers as used. Full-precision releases contain them,
    /// but nothing reads them.
    pub(super) fn ignore_shared_kv(&self, config: &Gemma4Config, weights: &Weights) {
        for layer in config.first_kv_shared_layer()..config.num_hidden_layers {
            for part in ["k_proj", "v_proj", "k_norm"] {
                weights.ignore(&format!("{}.layers.{layer}.self_attn.{part}.weight", self.text_model));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::ModelConfig;
    use crate::weights::testing::{fixture_files, now};

    #[test]
    fn tensor_names_of_the_multimodal_release() {
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
    }
}
