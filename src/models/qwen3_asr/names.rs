//! The names under which the tensors of Qwen3-ASR and its aligner are stored. Source:
//! docs/models.md, section 1.3.
//!
//! Prefixes have no dot at the end: `format!("{}.layers.{i}.fc1.weight", names.audio_tower)`.

use super::config::Qwen3AsrConfig;
use crate::weights::{CheckpointError, Weights};

/// Names of Qwen3-ASR and its aligner, in the original layout (`thinker.…`) or in transformers'
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QwenNames {
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
    /// The recogniser's names. Errors: as for [`QwenNames::detect`].
    pub(super) fn of_recognizer(config: &Qwen3AsrConfig, weights: &Weights) -> Result<QwenNames, CheckpointError> {
        QwenNames::detect(config.text_config.tie_word_embeddings, "lm_head.weight", weights)
    }

    /// The aligner's names. Errors: as for [`QwenNames::detect`].
    pub(super) fn of_aligner(weights: &Weights) -> Result<QwenNames, CheckpointError> {
        QwenNames::detect(false, "score.weight", weights)
    }

    /// Detects the layout from the tensor names. `own_head` is the head's name in transformers'
    /// layout.
    ///
    /// Errors: the names match neither layout, or both.
    fn detect(tied: bool, own_head: &'static str, weights: &Weights) -> Result<QwenNames, CheckpointError> {
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
                head: (!tied).then_some(own_head),
                skip: if tied { &["lm_head.weight"] } else { &[] },
            }),
            _ => Err(weights.other_layout("thinker.… nor model.multi_modal_projector.…")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::ModelConfig;
    use crate::weights::testing::{fixture_files, now};

    #[test]
    fn tensor_names_of_both_layouts() {
        let detect = |model: &str| {
            let files = fixture_files(model);
            let weights = now(Weights::open(&files)).unwrap();
            let names = match ModelConfig::open(&files).unwrap() {
                ModelConfig::Qwen3Asr(config) => QwenNames::of_recognizer(&config, &weights).unwrap(),
                ModelConfig::Qwen3Aligner(_) => QwenNames::of_aligner(&weights).unwrap(),
                other => panic!("{other:?}"),
            };
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

        let ModelConfig::Qwen3Asr(config) = ModelConfig::open(&fixture_files("qwen3_asr")).unwrap() else { panic!() };
        let weights = now(Weights::open(&fixture_files("gemma4_e2b_like"))).unwrap();
        let message = QwenNames::of_recognizer(&config, &weights).unwrap_err().to_string();
        assert!(message.contains("has neither thinker.… nor model.multi_modal_projector.…, but model."), "{message}");
    }
}
