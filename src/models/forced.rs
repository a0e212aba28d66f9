//! Teacher forcing: where every head listens while the model is given a translation, for calibration.

use std::sync::Arc;

use burn::tensor::{Tensor, Transaction};

use super::TextModel;
use crate::gpu::Compute;
use crate::nn::{ArmError, Capture, Head, MARGIN, RunError, SourceSpan, Tap};

/// Most tokens of a translation: a capture holds a row for each, and one more.
pub const LONGEST: usize = MARGIN - 1;

/// Every head of a model, armed.
pub struct Forced {
    model: Arc<dyn TextModel>,
    capture: Capture,
    compute: Compute,
}

impl Forced {
    pub fn new(model: Arc<dyn TextModel>, compute: Compute) -> Result<Self, ArmError> {
        let capture = model.arm(&heads(&*model), LONGEST + 1)?;
        Ok(Self { model, capture, compute })
    }

    /// [layers, heads]
    pub fn shape(&self) -> [usize; 2] {
        self.model.shape()
    }

    /// What the heads attend to at the last position of `prompt` and at each of `target` (1 to [`LONGEST`] ids, which
    /// follow it): [L·H, 1 + R, N] probabilities on all N = prompt + R positions, zero on those to come. Row i + 1
    /// is the query at the position where target id i is the input, row i the one that predicts it.
    /// (specs/alignatt4llm.md 3.1)
    pub async fn attention(&mut self, prompt: &[u32], target: &[u32]) -> Result<Vec<f32>, RunError> {
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
