//! The names under which Gemma-3's tensors are stored. Source: docs/models.md, section 3.3.

use crate::weights::{CheckpointError, Weights};

/// The prefixes of the text decoder, without a dot at the end: in a multimodal release, in an
/// export under the names that the reference has in memory, and in a text-only release.
const TEXT_MODEL: [&str; 3] = ["language_model.model", "model.language_model", "model"];

/// Names of Gemma-3's text decoder, on its own or inside a multimodal release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GemmaNames {
    /// Prefix of embed_tokens, layers.i, norm.
    pub text_model: &'static str,
    /// Prefixes of tensors to skip: the images' part, and a tied head that is stored as well.
    pub skip: &'static [&'static str],
}

impl GemmaNames {
    /// Detects the layout from the tensor names. Errors: the names match no known layout.
    pub(super) fn detect(weights: &Weights) -> Result<GemmaNames, CheckpointError> {
        let skip = &[
            "vision_tower.",
            "multi_modal_projector.",
            "model.vision_tower.",
            "model.multi_modal_projector.",
            "lm_head.weight",
            "language_model.lm_head.weight",
        ];
        TEXT_MODEL
            .into_iter()
            .find(|prefix| weights.contains(&format!("{prefix}.embed_tokens.weight")))
            .map(|text_model| GemmaNames { text_model, skip })
            .ok_or_else(|| {
                weights.other_layout(
                    "language_model.model.embed_tokens.weight, model.language_model.embed_tokens.weight nor \
                     model.embed_tokens.weight",
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::weights::testing::{fixture_files, now, safetensors_file};

    fn weights(names: &[&str]) -> Weights {
        let tensor = |name: &&str| format!(r#""{name}": {{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}"#);
        let header = format!("{{{}}}", names.iter().map(tensor).collect::<Vec<_>>().join(", "));
        let file: Arc<dyn crate::weights::ByteSource> = Arc::new(safetensors_file(&header, &[]));
        now(Weights::from_sources("memory", vec![("model.safetensors".to_owned(), file)])).unwrap()
    }

    #[test]
    fn the_three_layouts_of_names() {
        for (folder, expected) in [("gemma3_like", "model"), ("gemma3_mm_like", "language_model.model")] {
            let files = fixture_files(folder);
            let weights = now(Weights::open(&files)).unwrap();
            let names = GemmaNames::detect(&weights).unwrap();
            assert_eq!(names.text_model, expected);
            let left = weights.unused(names.skip);
            assert!(!left.is_empty() && left.iter().all(|name| name.starts_with(&format!("{expected}."))), "{left:?}");
        }
        let export = weights(&[
            "lm_head.weight",
            "model.language_model.embed_tokens.weight",
            "model.multi_modal_projector.mm_input_projection_weight",
            "model.vision_tower.vision_model.head.weight",
        ]);
        let names = GemmaNames::detect(&export).unwrap();
        assert_eq!(names.text_model, "model.language_model");
        assert_eq!(export.unused(names.skip), ["model.language_model.embed_tokens.weight"]);
        let message = GemmaNames::detect(&weights(&["transformer.wte.weight"])).unwrap_err().to_string();
        assert!(message.contains("model.embed_tokens.weight"), "{message}");
    }
}
