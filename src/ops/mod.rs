//! Our own operations (ops). Each has one `.rs` file (shape checks, launch, and the definition in
//! plain Burn ops) and one `.wgsl` file. The definition runs on the CPU backend and the shader on
//! wgpu, and a test compares the two. Ops that run many times per token on small tensors (norms,
//! rotation, capture, replay) are plain loops on the CPU instead, and their definition is in the
//! test.
//!
//! Callers see plain functions on `Tensor`. Shapes are checked by the callers' constructors, and by
//! debug assertions here. A mismatch is a bug in this program, never a fault of the input.

mod launch;

pub(crate) mod attend;
pub(crate) mod conv_halve;
pub(crate) mod gated;
pub(crate) mod kv_store;
pub(crate) mod layer_norm;
pub(crate) mod product;
pub(crate) mod qk_capture;
pub(crate) mod qk_replay;
pub(crate) mod quantized;
mod quantized_cpu;
pub(crate) mod rms_norm;
pub(crate) mod rope;

use burn::backend::{Flex, tensor::FloatTensor};
use burn::tensor::Tensor;

/// Converts a tensor that a definition has computed into the CPU backend's own form.
fn primitive<const D: usize>(tensor: Tensor<D>) -> FloatTensor<Flex> {
    tensor.try_into_primitive::<Flex>().expect("Flex tensors in, a Flex tensor out")
}

/// Borrows the values of a contiguous tensor of the CPU backend.
fn values(tensor: &FloatTensor<Flex>) -> &[f32] {
    tensor.as_slice().expect("a contiguous tensor of f32")
}

/// The dot product, in four independent sums. It matches slice patterns, because in the development
/// profile iterators are calls and took most of a replay.
fn dot(mut a: &[f32], mut b: &[f32]) -> f32 {
    let [mut sum_0, mut sum_1, mut sum_2, mut sum_3] = [0.0; 4];
    while let ([a0, a1, a2, a3, a_left @ ..], [b0, b1, b2, b3, b_left @ ..]) = (a, b) {
        sum_0 += a0 * b0;
        sum_1 += a1 * b1;
        sum_2 += a2 * b2;
        sum_3 += a3 * b3;
        (a, b) = (a_left, b_left);
    }
    while let ([a0, a_left @ ..], [b0, b_left @ ..]) = (a, b) {
        sum_0 += a0 * b0;
        (a, b) = (a_left, b_left);
    }
    (sum_0 + sum_1) + (sum_2 + sum_3)
}
