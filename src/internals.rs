//! What the program, the tests and the benches use beyond the facade. None of it is part of the
//! crate's interface: it may change in any version.

#[cfg(not(target_arch = "wasm32"))]
pub use crate::faces::cli::main;

pub mod audio {
    pub use crate::audio::mel::{MelStream, log_mel};
}

pub mod cascade {
    pub use crate::cascade::rules::Rules;
}

pub mod engines {
    pub use crate::engines::on_models::{Alignment, Recognition, Translation};
}

pub mod models {
    pub use crate::models::{ModelConfig, TextModel};

    pub mod drafting {
        pub use crate::models::drafting::{Armed, Cost, Draft, Request, Translator};
    }

    pub mod gguf {
        pub use crate::models::gguf::present;
    }

    pub mod gemma3 {
        pub use crate::models::gemma3::config::{Gemma3Config, LayerType};
        pub use crate::models::gemma3::{Gemma3, frequencies};
    }

    pub mod gemma4 {
        pub use crate::models::gemma4::config::{Gemma4Config, Gemma4Layer, LayerType};
        pub use crate::models::gemma4::prompt::open as open_prompt;
        pub use crate::models::gemma4::{Gemma4, frequencies};
    }

    pub mod prompt {
        pub use crate::models::prompt::{LanguageName, Task, TranslationPrompt, Turn};
    }

    pub mod qwen3 {
        pub use crate::models::qwen3::Qwen3;
        pub use crate::models::qwen3::config::Qwen3Config;
    }

    pub mod qwen3_asr {
        pub use crate::models::qwen3_asr::aligner::ForcedAligner;
        pub use crate::models::qwen3_asr::audio_stream::AudioStream;
        pub use crate::models::qwen3_asr::audio_tower::rows_of;
        pub use crate::models::qwen3_asr::config::Qwen3AsrConfig;
        pub use crate::models::qwen3_asr::recognizer::Recognizer;
        pub use crate::models::qwen3_asr::{Qwen3Asr, timestamps, words};
    }
}

pub mod nn {
    pub use crate::nn::{
        ArmError, Cache, Capture, Head, Loader, MARGIN, PIECE, Precision, Rope, SourceSpan, Storage, Tap, Target,
        greedy,
    };
}

pub mod ops {
    pub use crate::ops::attend::{Attend, Base, attend, attend_all};
    pub use crate::ops::conv_halve::conv_halve;
    pub use crate::ops::gated::{Act, gated};
    pub use crate::ops::kv_store::kv_store;
    pub use crate::ops::layer_norm::layer_norm;
    pub use crate::ops::product::{
        Kernel, pack_half, product, product_half, product_half_with, product_with, unpack_half,
    };
    pub use crate::ops::qk_capture::{FirstRow, qk_capture};
    pub use crate::ops::qk_replay::{MASSES, QkReplay, Span, qk_replay};
    pub use crate::ops::quantized::Quantized;
    pub use crate::ops::rms_norm::rms_norm;
    pub use crate::ops::rope::rope;
}

pub mod policy {
    pub use crate::policy::heads::{Head, HeadSet};
}

pub mod text {
    pub use crate::text::units::written_units;
}

pub mod weights {
    pub use crate::weights::files::ReadFuture;
    pub use crate::weights::{Tokenizer, Weights};

    pub mod quants {
        pub use crate::weights::quants::{Bits, Form, Quants, Scales};
    }
}
