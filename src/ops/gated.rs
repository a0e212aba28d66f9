//! Gated activation: `act(gate) · up`, the middle of the MLP in all models and of Gemma-4's
//! per-layer input.
//!
//! gate, up [T, I] → [T, I], f32. Qwen3 uses SiLU, Gemma the tanh form of GELU.

use burn::backend::{Backend, Flex, backend_extension, tensor::FloatTensor};
use burn::tensor::{DType, Tensor, activation};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::launch::{Shader, launch};

/// The activation function of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Silu,
    GeluTanh,
}

#[backend_extension(Cube, Flex)]
pub(crate) trait GatedBackend: Backend {
    fn gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, act: Act) -> FloatTensor<Self>;
}

/// `gate`, `up [T, I]` → `act(gate) · up [T, I]`.
pub fn gated(gate: Tensor<2>, up: Tensor<2>, act: Act) -> Tensor<2> {
    debug_assert_eq!(gate.dims(), up.dims(), "gated: gate {:?}, up {:?}", gate.dims(), up.dims());
    let (gate, up) = (gate.into_dispatch(), up.into_dispatch());
    Tensor::from_dispatch(<burn::backend::Dispatch as GatedBackend>::gated(gate, up, act))
}

impl GatedBackend for Flex {
    fn gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, act: Act) -> FloatTensor<Self> {
        let (gate, up) = (Tensor::<2>::from_primitive::<Flex>(gate), Tensor::<2>::from_primitive::<Flex>(up));
        let gate = match act {
            Act::Silu => activation::silu(gate),
            Act::GeluTanh => activation::gelu_approximate(gate),
        };
        super::primitive(gate * up)
    }
}

impl GatedBackend for CubeBackend {
    fn gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, act: Act) -> FloatTensor<Self> {
        let (gate, up) = (into_contiguous(gate), into_contiguous(up));
        let [t, i] = [gate.meta.shape()[0], gate.meta.shape()[1]];
        let shader = Shader {
            name: "gated",
            text: include_str!("../../shaders/gated.wgsl"),
            constants: vec![
                ("width", i.to_string()),
                (
                    "act",
                    match act {
                        Act::Silu => "silu",
                        Act::GeluTanh => "gelu_tanh",
                    }
                    .to_owned(),
                ),
            ],
        };
        launch(shader, 64, [i.div_ceil(64) as u32, t as u32, 1], &[&gate, &up], [t, i].into(), DType::F32)
    }
}
