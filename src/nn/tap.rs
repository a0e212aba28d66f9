//! Seeing inside a forward pass: named intermediate tensors, kept when asked for, or the queries of armed heads;
//! at no cost otherwise.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use super::{Capture, RunError};

/// Off, a list of what went by, or a capture that fills.
#[derive(Debug, Default)]
pub struct Tap<'a> {
    kept: Option<Vec<(String, Tensor<1>)>>,
    capture: Option<&'a mut Capture>,
}

impl Tap<'static> {
    pub fn off() -> Self {
        Self::default()
    }

    pub fn on() -> Self {
        Self { kept: Some(Vec::new()), capture: None }
    }
}

impl<'a> Tap<'a> {
    /// Keeps the queries that `capture` is armed for.
    pub fn capturing(capture: &'a mut Capture) -> Self {
        Self { kept: None, capture: Some(capture) }
    }

    /// Err unless the capture has room for a pass over `positions` that gives back those from `back` on.
    pub(crate) fn room(&self, positions: Range<usize>, back: usize) -> Result<(), RunError> {
        self.capture.as_ref().map_or(Ok(()), |capture| capture.room(positions, back))
    }

    /// Rows at `position .. position + len` go by from here on.
    pub(crate) fn stand(&mut self, position: usize, len: usize) {
        if let Some(capture) = &mut self.capture {
            capture.stand(position, len);
        }
    }

    /// A layer's queries `[T, Hq, D]`, after norm and RoPE.
    pub(crate) fn queries(&mut self, layer: usize, q: &Tensor<3>) {
        self.keep("q_post_rope", Some(layer), q);
        if let Some(capture) = &mut self.capture {
            capture.keep(layer, q);
        }
    }

    /// Keeps `tensor` as `name` or, in a layer, `name.layer`.
    pub fn keep<const D: usize>(&mut self, name: &str, layer: Option<usize>, tensor: &Tensor<D>) {
        self.keep_with(name, layer, || tensor.clone());
    }

    /// The same for what is computed to be kept and for nothing else.
    pub fn keep_with<const D: usize>(&mut self, name: &str, layer: Option<usize>, make: impl FnOnce() -> Tensor<D>) {
        let Some(kept) = &mut self.kept else { return };
        let name = match layer {
            Some(layer) => format!("{name}.{layer}"),
            None => name.to_owned(),
        };
        let tensor = make();
        let len = tensor.shape().num_elements();
        kept.push((name, tensor.reshape([len])));
    }

    /// Everything kept, read back, in order of keeping; a name comes once for every forward pass.
    pub async fn read(self) -> Result<Vec<(String, TensorData)>, RunError> {
        let mut read = Vec::new();
        for (name, tensor) in self.kept.into_iter().flatten() {
            read.push((name, tensor.into_data_async().await?));
        }
        Ok(read)
    }
}
