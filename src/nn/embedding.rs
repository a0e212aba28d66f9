//! A token table that may be larger than one storage binding. It is kept in pieces of whole rows.
//!
//! table [V, H] → rows of ids [T] as [T, H]. The ids may still be on the device, so a draft needs
//! no readback to look up its next embedding. The same pieces serve as the tied output head.

use burn::tensor::{Int, Tensor};

use super::Weight;

/// Consecutive rows of the table; at least one piece.
#[derive(Clone, Debug)]
pub struct Embedding {
    pub pieces: Vec<Weight>,
}

impl Embedding {
    /// `ids [T]` → `[T, H]`.
    pub fn forward(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        if let [whole] = self.pieces.as_slice() {
            return whole.gather(ids);
        }
        // Each piece gives its own rows, and zeros for the rows of the others. The sum is the
        // table's rows.
        let mut first = 0;
        let mut parts = Vec::new();
        for piece in &self.pieces {
            let rows = piece.rows() as i64;
            let local = ids.clone() - first;
            let here = local.clone().greater_equal_scalar(0).int() * local.clone().lower_scalar(rows).int();
            parts.push(piece.gather(local.clamp(0, rows - 1)) * here.float().unsqueeze_dim::<2>(1));
            first += rows;
        }
        parts.into_iter().reduce(|sum, part| sum + part).expect("an embedding has at least one piece")
    }

    /// x [T, H] → logits [T, V]: the tied output head.
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        match self.pieces.as_slice() {
            [whole] => whole.product(x),
            pieces => Tensor::cat(pieces.iter().map(|piece| piece.product(x.clone())).collect(), 1),
        }
    }
}
