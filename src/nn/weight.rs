//! One matrix of weights on the device, `[N, K]` as in the checkpoint, in one of several storage
//! formats.

use burn::tensor::{Int, Tensor};

use crate::ops::product;
use crate::ops::quantized::Quantized;

#[derive(Clone, Debug)]
pub enum Weight {
    /// [N, K] f32.
    Dense(Tensor<2>),
    /// [N, K/2], two f16 per word (see [`product::pack_half`]).
    Half(Tensor<2, Int>),
    /// Small integers with scales.
    Quantized(Box<Quantized>),
}

impl Weight {
    /// The number of rows, N.
    pub fn rows(&self) -> usize {
        match self {
            Weight::Dense(w) => w.dims()[0],
            Weight::Half(w) => w.dims()[0],
            Weight::Quantized(w) => w.quants.dims()[0],
        }
    }

    /// `x [T, K]` → `x Wᵀ [T, N]`.
    pub fn product(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Weight::Dense(w) => product::product(x, w.clone()),
            Weight::Half(w) => product::product_half(x, w.clone()),
            Weight::Quantized(w) => w.product(x),
        }
    }

    /// The rows of `ids [T]`, which must be in range → `[T, K]` f32.
    pub fn gather(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Weight::Dense(w) => w.clone().select(0, ids),
            Weight::Half(w) => product::unpack_half(w.clone().select(0, ids)),
            Weight::Quantized(w) => w.gather(ids),
        }
    }
}
