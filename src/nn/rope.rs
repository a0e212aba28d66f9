//! Rotary tables: the cosines and sines of every position that a cache can hold, computed once.

use burn::tensor::{Device, Tensor, TensorData};

use crate::ops::rope::rope;

/// `cos`, `sin [P, D/2]` for positions 0..P.
#[derive(Clone, Debug)]
pub struct Rope {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rope {
    /// Tables for `positions` positions. `inverse [D/2]`: the frequencies; a pair with frequency 0
    /// is not rotated. Angles are products in f32, as in the reference.
    pub fn new(inverse: &[f32], positions: usize, device: &Device) -> Self {
        let angle = |p: usize| inverse.iter().map(move |f| p as f32 * f);
        let table = |of: fn(f32) -> f32| {
            let values: Vec<f32> = (0..positions).flat_map(|p| angle(p).map(of)).collect();
            Tensor::from_data(TensorData::new(values, [positions, inverse.len()]), device)
        };
        Self { cos: table(f32::cos), sin: table(f32::sin) }
    }

    /// Frequencies `theta^(-2i/dim)` for the first `rotated` of `dim / 2` pairs, 0 for the rest.
    pub fn frequencies(theta: f64, dim: usize, rotated: usize) -> Vec<f32> {
        (0..dim / 2).map(|i| if i < rotated { theta.powf(-2.0 * i as f64 / dim as f64) as f32 } else { 0.0 }).collect()
    }

    /// The rows of positions `from..from + len`.
    pub fn at(&self, from: usize, len: usize) -> Self {
        Self { cos: self.cos.clone().narrow(0, from, len), sin: self.sin.clone().narrow(0, from, len) }
    }

    /// `x [T, N, D]` → `[T, N, D]`, rotated by the T rows of this table.
    pub fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        rope(x, self.cos.clone(), self.sin.clone())
    }

    /// cos and sin, [P, D/2].
    pub fn tables(&self) -> (Tensor<2>, Tensor<2>) {
        (self.cos.clone(), self.sin.clone())
    }

    pub fn device(&self) -> Device {
        self.cos.device()
    }
}
