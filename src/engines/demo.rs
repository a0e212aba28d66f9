//! The demo pack: three small models that are part of the program, so that it works right after the
//! build. They show that the program runs on your computer; they say nothing about translation
//! quality (`tools/demo-pack/README.md`).

use crate::weights::Files;

/// Speech recognition: Qwen3-ASR's architecture.
pub(crate) fn asr() -> Files {
    Files::embedded(
        "the demo pack's asr",
        &[
            ("config.json", include_bytes!("../../models/demo/asr/config.json")),
            ("generation_config.json", include_bytes!("../../models/demo/asr/generation_config.json")),
            ("preprocessor_config.json", include_bytes!("../../models/demo/asr/preprocessor_config.json")),
            ("chat_template.json", include_bytes!("../../models/demo/asr/chat_template.json")),
            ("vocab.json", include_bytes!("../../models/demo/asr/vocab.json")),
            ("merges.txt", include_bytes!("../../models/demo/asr/merges.txt")),
            ("tokenizer_config.json", include_bytes!("../../models/demo/asr/tokenizer_config.json")),
            ("model.safetensors", include_bytes!("../../models/demo/asr/model.safetensors")),
        ],
    )
}

/// Word times: Qwen3-ForcedAligner's architecture.
pub(crate) fn aligner() -> Files {
    Files::embedded(
        "the demo pack's aligner",
        &[
            ("config.json", include_bytes!("../../models/demo/aligner/config.json")),
            ("preprocessor_config.json", include_bytes!("../../models/demo/aligner/preprocessor_config.json")),
            ("vocab.json", include_bytes!("../../models/demo/aligner/vocab.json")),
            ("merges.txt", include_bytes!("../../models/demo/aligner/merges.txt")),
            ("tokenizer_config.json", include_bytes!("../../models/demo/aligner/tokenizer_config.json")),
            ("model.safetensors", include_bytes!("../../models/demo/aligner/model.safetensors")),
        ],
    )
}

/// Translation from English into German, Italian and Chinese: Gemma-4's architecture.
pub(crate) fn mt() -> Files {
    Files::embedded(
        "the demo pack's mt",
        &[
            ("config.json", include_bytes!("../../models/demo/mt/config.json")),
            ("generation_config.json", include_bytes!("../../models/demo/mt/generation_config.json")),
            ("chat_template.jinja", include_bytes!("../../models/demo/mt/chat_template.jinja")),
            ("tokenizer.json", include_bytes!("../../models/demo/mt/tokenizer.json")),
            ("tokenizer_config.json", include_bytes!("../../models/demo/mt/tokenizer_config.json")),
            ("heads.en-de.json", include_bytes!("../../models/demo/mt/heads.en-de.json")),
            ("heads.en-it.json", include_bytes!("../../models/demo/mt/heads.en-it.json")),
            ("heads.en-zh.json", include_bytes!("../../models/demo/mt/heads.en-zh.json")),
            ("model.safetensors", include_bytes!("../../models/demo/mt/model.safetensors")),
        ],
    )
}
