//! The models: one folder a family, fields named as in the checkpoints. They know nothing of policy.
//!
//! | file | what it is |
//! |---|---|
//! | `drafting` | greedy drafts with any [`TextModel`] |
//! | `forced` | attention of every head while a given translation is fed |
//! | `gemma4` | the Gemma-4 text decoder |
//! | `qwen3_asr` | Qwen3-ASR and Qwen3-ForcedAligner |

pub mod drafting;
pub mod forced;
pub mod gemma4;
pub mod qwen3_asr;

use burn::tensor::{Int, Tensor};

use crate::nn::{ArmError, Cache, Capture, Head, Replay, RunError, SourceSpan, Tap};

/// A decoder of text, as drafting and calibration use it: which family it is stays in its folder.
pub trait TextModel: std::fmt::Debug {
    /// [layers, attention heads a layer]
    fn shape(&self) -> [usize; 2];

    /// Positions of the longest sequence.
    fn capacity(&self) -> usize;

    /// An empty cache.
    fn cache(&self) -> Cache;

    /// Appends `ids [T]` to `cache` → its `last` rows, normed, [last, H]. `last` is at least one:
    /// layers that own no keys run for these rows alone. A capture keeps the queries of every row at
    /// its first position or later; all of these must be among the rows asked for.
    ///
    /// Errors: [`RunError::TooLong`] where the cache has no room for `ids`.
    fn forward(
        &self,
        ids: Tensor<1, Int>,
        cache: &mut Cache,
        last: usize,
        tap: &mut Tap,
    ) -> Result<Tensor<2>, RunError>;

    /// Normed rows [T, H] → the most likely id after each, `[T]`, on the device.
    fn choose(&self, rows: Tensor<2>) -> Tensor<1, Int>;

    /// A capture of `heads`, with room for `rows` rows: a draft, with all that is queued past its end.
    ///
    /// Errors: a head that the model does not have, or more rows than [`crate::nn::MARGIN`].
    fn arm(&self, heads: &[Head], rows: usize) -> Result<Capture, ArmError>;

    /// What the captured rows attended to, from the keys that `cache` holds. `cache` is the one they
    /// were computed on, rolled back no further than their end. None where there is no head, no row or
    /// no source.
    fn replay(&self, capture: &Capture, cache: &Cache, span: &SourceSpan) -> Option<Replay>;
}
