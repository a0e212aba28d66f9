//! Normalisations with their weights.

use burn::tensor::{Device, Tensor};

use crate::ops::{layer_norm::layer_norm, rms_norm::rms_norm};

/// `x · rms(x)⁻¹ · w` over the last dimension.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor<1>,
    eps: f64,
}

impl RmsNorm {
    /// `weight [H]`.
    pub fn new(weight: Tensor<1>, eps: f64) -> Self {
        Self { weight, eps }
    }

    /// The norm without a weight, as Gemma-4 applies it to its values.
    pub fn unit(size: usize, eps: f64, device: &Device) -> Self {
        Self { weight: Tensor::ones([size], device), eps }
    }

    /// `x [T, H]` → `[T, H]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        rms_norm(x, self.weight.clone(), self.eps)
    }

    /// Norms each head by itself: `x [T, N, D]` → `[T, N, D]`, weight `[D]`.
    pub fn forward_heads(&self, x: Tensor<3>) -> Tensor<3> {
        let [t, n, d] = x.dims();
        self.forward(x.reshape([t * n, d])).reshape([t, n, d])
    }
}

/// LayerNorm with weight and bias `[H]`, as in the audio tower.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
}

impl LayerNorm {
    pub fn new(weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Self {
        Self { weight, bias, eps }
    }

    /// `x [T, H]` → `[T, H]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x, self.weight.clone(), self.bias.clone(), self.eps)
    }
}
