//! A look inside a forward pass: keeps named intermediate tensors, or the queries of armed heads.
//! It costs nothing if it is off.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use super::{Capture, RunError};

/// Off, a list of intermediate tensors, or a capture that is being filled.
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

    /// Fails if the capture has no room for a pass over `positions` that returns the rows from
    /// `first_returned` on.
    pub(crate) fn check_room(&self, positions: Range<usize>, first_returned: usize) -> Result<(), RunError> {
        self.capture.as_ref().map_or(Ok(()), |capture| capture.check_room(positions, first_returned))
    }

    /// The next queries belong to the positions `position .. position + len`.
    pub(crate) fn begin_rows(&mut self, position: usize, len: usize) {
        if let Some(capture) = &mut self.capture {
            capture.begin_rows(position, len);
        }
    }

    /// Receives a layer's queries `[T, Hq, D]`, taken after norm and RoPE.
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

    /// Like [`Tap::keep`], for a tensor that is computed only to be kept.
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

    /// Reads back everything that was kept, in order. A name occurs once per pass through the
    /// layers.
    pub async fn read(self) -> Result<Vec<(String, TensorData)>, RunError> {
        let mut read = Vec::new();
        for (name, tensor) in self.kept.into_iter().flatten() {
            read.push((name, tensor.into_data_async().await?));
        }
        Ok(read)
    }
}
