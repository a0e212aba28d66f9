//! What the models share: layers with the checkpoint's weights, the key/value cache, capture and
//! replay of attention, the greedy choice. This room does not know which model it serves.

mod cache;
mod capture;
mod embedding;
mod kv_cache;
mod linear;
mod load;
mod norm;
mod pass;
mod rope;
mod storage;
mod tap;
mod weight;

pub(crate) use cache::KvShape;
pub use cache::{Cache, MARGIN, PIECE};
pub(crate) use capture::Replay;
pub use capture::{ArmError, Capture, Head, SourceSpan};
pub(crate) use embedding::Embedding;
pub(crate) use kv_cache::{LayerCache, RollBack};
pub(crate) use linear::Linear;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use load::KeptMatrix;
pub(crate) use load::{Kept, LoadError};
pub use load::{Loader, Target};
pub(crate) use norm::{LayerNorm, RmsNorm};
pub(crate) use pass::{Place, in_pieces};
pub use rope::Rope;
pub use storage::{Precision, Storage};
pub(crate) use storage::{Quant, Sensitivity};
pub use tap::Tap;
pub(crate) use weight::Weight;

use burn::tensor::{Int, Tensor};

use crate::gpu::{Compute, GpuError};

/// What can fail while a model runs.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the device failed while computing: {0}")]
    Device(String),
    #[error("{what} takes {needed} positions, but there is room for only {capacity}")]
    TooLong { what: &'static str, needed: usize, capacity: usize },
    /// A bug in this program: callers roll back no further than they keep.
    #[error(transparent)]
    RollBack(#[from] RollBack),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Checkpoint(#[from] LoadError),
}

impl From<burn::tensor::ExecutionError> for RunError {
    fn from(error: burn::tensor::ExecutionError) -> Self {
        RunError::Device(error.to_string())
    }
}

/// Concatenates the rows of `parts` [Tᵢ, H], of which there is at least one.
pub(crate) fn join(mut parts: Vec<Tensor<2>>) -> Tensor<2> {
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, 0),
    }
}

/// The index of the largest logit in every row: `[T, V]` → `[T]`, on the device, without a
/// readback.
pub fn greedy(logits: Tensor<2>) -> Tensor<1, Int> {
    logits.argmax(1).squeeze_dim(1)
}

/// Reads `ids` back from the device. Fails also if the device has reported an error outside of any
/// call since the last check, because what it has computed since then cannot be trusted.
pub(crate) async fn read_ids(ids: Tensor<1, Int>, compute: &Compute) -> Result<Vec<u32>, RunError> {
    let data = ids.into_data_async().await?;
    compute.check()?;
    Ok(data.iter::<i64>().map(|id| id as u32).collect())
}
