//! Operations of our own. Each is one `.rs` (shape checks, launch, the plain-Burn definition) and one
//! `.wgsl`; the definition runs on the CPU backend, the shader on wgpu, and a test holds the two together. What runs once
//! a token on very small tensors (capture, replay) is plain loops on the CPU instead.
//!
//! Callers see plain functions on `Tensor`. Shapes are checked by the callers' constructors and by
//! debug assertions here; a mismatch is a bug of ours, never of an input.

mod launch;

pub mod attend;
pub mod conv_halve;
pub mod gated;
pub mod kv_store;
pub mod layer_norm;
pub mod product;
pub mod qk_capture;
pub mod qk_replay;
pub mod rms_norm;
pub mod rope;

use burn::backend::{Flex, tensor::FloatTensor};
use burn::tensor::Tensor;

/// The CPU backend's own form of a tensor that a definition has computed on it.
fn primitive<const D: usize>(tensor: Tensor<D>) -> FloatTensor<Flex> {
    tensor.try_into_primitive::<Flex>().expect("Flex tensors in, a Flex tensor out")
}

/// The values of a contiguous tensor of the CPU backend, where they lie.
fn values(tensor: &FloatTensor<Flex>) -> &[f32] {
    tensor.as_slice().expect("a contiguous tensor of f32")
}
