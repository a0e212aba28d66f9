//! A linear layer: `y = x Wᵀ + b`.

use burn::tensor::Tensor;

use super::Weight;

/// `weight [N, K]` as in the checkpoint; `bias [N]` or none.
#[derive(Clone, Debug)]
pub struct Linear {
    pub weight: Weight,
    pub bias: Option<Tensor<1>>,
}

impl Linear {
    /// `x [T, K]` → `[T, N]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = self.weight.product(x);
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        }
    }
}
