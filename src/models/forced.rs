//! Teacher forcing: the attention of every head while the model is fed a given translation. It is
//! used for calibration.

use std::sync::Arc;

use burn::tensor::{Tensor, Transaction};

use super::TextModel;
use crate::gpu::Compute;
use crate::nn::{ArmError, Capture, Head, MARGIN, RunError, SourceSpan, Tap};

/// The most tokens of a translation. A capture holds one row for each, and one more.
pub(crate) const LONGEST: usize = MARGIN - 1;

/// Every head of a model, armed.
pub(crate) struct Forced {
    model: Arc<dyn TextModel>,
    capture: Capture,
    compute: Compute,
}

impl Forced {
    pub(crate) fn new(model: Arc<dyn TextModel>, compute: Compute) -> Result<Self, ArmError> {
        let capture = model.arm(&heads(&*model), LONGEST + 1)?;
        Ok(Self { model, capture, compute })
    }

    /// [layers, heads per layer]
    pub(crate) fn shape(&self) -> [usize; 2] {
        self.model.shape()
    }

    /// The attention of the heads at the last position of `prompt` and at each position of `target`
    /// (1 to [`LONGEST`] ids, which follow the prompt): [L·H, 1 + R, N], with R ids in `target` and
    /// N = prompt + R. The values are probabilities on all N positions, zero on later ones.
    ///
    /// For target id i, row i + 1 is the query at the position where that id is the input, and row
    /// i is the query that predicts it. (docs/method.md, section 3.1)
    pub(crate) async fn attention(&mut self, prompt: &[u32], target: &[u32]) -> Result<Vec<f32>, RunError> {
        let len = prompt.len() + target.len();
        let ids: Vec<i32> = prompt.iter().chain(target).map(|id| *id as i32).collect();
        let ids = Tensor::from_ints(ids.as_slice(), &self.compute.device);
        let mut cache = self.model.cache();
        self.capture.restart(prompt.len() - 1);
        self.model.forward(ids, &mut cache, 1 + target.len(), &mut Tap::capturing(&mut self.capture))?;
        let span = SourceSpan { source: 0..len, prompt_len: len };
        let Some(replay) = self.model.replay(&self.capture, &cache, &span) else {
            return Ok(Vec::new());
        };
        let read = Transaction::default().register(replay.rows.swap_dims(0, 1)).execute_async().await?;
        self.compute.check()?;
        Ok(read.iter().flat_map(|rows| rows.iter::<f32>()).collect())
    }
}

/// Every head, layer by layer.
fn heads(model: &dyn TextModel) -> Vec<Head> {
    let [layers, heads] = model.shape();
    let of = |layer| (0..heads).map(move |head| Head { layer, head });
    (0..layers).flat_map(of).collect()
}
