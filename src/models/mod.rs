//! The models: one folder per family, with fields named as in the checkpoints. This room knows
//! nothing about policy.
//!
//! | file | what it is |
//! |---|---|
//! | `config` | the configuration of a model folder: the one match on families |
//! | `gguf` | GGUF files as checkpoints: the match on their architectures |
//! | `family` | what a family of text models brings: its configuration, network and prompt |
//! | `prompt` | the translation prompt as a conversation |
//! | `drafting` | greedy drafts with any [`TextModel`] |
//! | `forced` | attention of every head while a given translation is fed |
//! | `gemma3`, `gemma4` | the text decoders of Gemma-3 and Gemma-4 |
//! | `qwen3` | the Qwen3 decoder, a text model or a part of Qwen3-ASR |
//! | `qwen3_asr` | Qwen3-ASR and Qwen3-ForcedAligner |

pub(crate) mod config;
pub(crate) mod drafting;
pub(crate) mod family;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod forced;
pub(crate) mod gemma3;
pub(crate) mod gemma4;
pub(crate) mod gguf;
pub(crate) mod prompt;
pub(crate) mod qwen3;
pub(crate) mod qwen3_asr;
#[cfg(test)]
pub(crate) mod testing;

use burn::tensor::{Int, Tensor};

pub use config::ModelConfig;

use crate::nn::{ArmError, Cache, Capture, Head, Replay, RunError, SourceSpan, Tap};

/// What a sequence of a text model is, for messages.
const DRAFTED: &str = "this prompt with its draft";

/// A text decoder as drafting and calibration use it. What belongs to one family stays in that
/// family's folder.
pub trait TextModel: std::fmt::Debug {
    /// [layers, attention heads per layer]
    fn shape(&self) -> [usize; 2];

    /// The most positions of a sequence.
    fn capacity(&self) -> usize;

    /// An empty cache.
    fn cache(&self) -> Cache;

    /// Appends `ids [T]` to `cache` → its `last` rows, normed, [last, H]. `last` is at least one.
    /// Layers that own no keys run for these rows only. A capture keeps the queries of every row
    /// from its first position on, and all of these rows must be among those returned.
    ///
    /// Errors: [`RunError::TooLong`] if the cache has no room for `ids`, or the capture none for
    /// its rows.
    fn forward(
        &self,
        ids: Tensor<1, Int>,
        cache: &mut Cache,
        last: usize,
        tap: &mut Tap,
    ) -> Result<Tensor<2>, RunError>;

    /// Normed rows [T, H] → the most likely id after each, `[T]`, on the device.
    fn choose(&self, rows: Tensor<2>) -> Tensor<1, Int>;

    /// A capture of `heads`, with room for `rows` rows: those of a draft and of everything that is
    /// queued past its end.
    ///
    /// Errors: no row, or more rows than [`crate::nn::MARGIN`]; a head that the model does not
    /// have, or one that is given twice.
    fn arm(&self, heads: &[Head], rows: usize) -> Result<Capture, ArmError>;

    /// The attention of the captured rows on the keys that `cache` holds. `cache` must be the one
    /// on which they were computed, and must not have been rolled back beyond their end. None if
    /// there is no head, no row or no source.
    fn replay(&self, capture: &Capture, cache: &Cache, span: &SourceSpan) -> Option<Replay>;
}
