//! One matrix of weights on the device, `[N, K]` as in the checkpoint, in one of several storage
//! formats.

use burn::tensor::{Int, Tensor};

use crate::ops::product;
use crate::ops::quantized::Quantized;

/// How numbers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    F32,
    /// Two bytes per weight. Sums are accumulated in f32.
    F16,
    /// Blocks of 32 integers of 8 bits with a scale: 8.5 bits per weight.
    Q8,
    /// Blocks of 32 integers of 4 bits with a scale: 4.5 bits per weight.
    Q4,
}

/// How the matrices of a model are kept on the device. Rows that cannot be divided into blocks are
/// kept in f16 instead of Q8 or Q4, and rows of odd length in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The matrices of the layers.
    pub layers: Precision,
    /// The embedding and the output head.
    pub tables: Precision,
    /// Whether matrices that are quantized in their file are kept as they are there.
    pub keeps_quants: bool,
}

impl Storage {
    /// Every matrix in `precision`, whatever its file has.
    pub fn plain(precision: Precision) -> Self {
        Self { layers: precision, tables: precision, keeps_quants: false }
    }

    /// The same, but matrices that are quantized in their file are kept as they are there.
    pub fn keeping_quants(self) -> Self {
        Self { keeps_quants: true, ..self }
    }
}

#[derive(Clone, Debug)]
pub enum Weight {
    /// [N, K] f32.
    Dense(Tensor<2>),
    /// [N, K/2], two f16 per word (see [`product::pack_half`]).
    Half(Tensor<2, Int>),
    /// Small integers with scales.
    Quantized(Quantized),
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
