//! Seeing inside a forward pass: named intermediate tensors, kept when asked for, at no cost otherwise.

use burn::tensor::{Tensor, TensorData};

use super::RunError;

/// Off, or a list of what went by.
#[derive(Debug, Default)]
pub struct Tap {
    kept: Option<Vec<(String, Tensor<1>)>>,
}

impl Tap {
    pub fn off() -> Self {
        Self { kept: None }
    }

    pub fn on() -> Self {
        Self { kept: Some(Vec::new()) }
    }

    /// Keeps `tensor` as `name` or, in a layer, `name.layer`.
    pub fn keep<const D: usize>(&mut self, name: &str, layer: Option<usize>, tensor: &Tensor<D>) {
        let Some(kept) = &mut self.kept else { return };
        let name = match layer {
            Some(layer) => format!("{name}.{layer}"),
            None => name.to_owned(),
        };
        kept.push((name, tensor.clone().reshape([tensor.shape().num_elements()])));
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
