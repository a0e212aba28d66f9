//! The audio tower's convolution: `y = gelu(conv(x, w) + b)`, with a 3×3 kernel, stride 2 and
//! padding 1. It halves height and width, rounding up.
//!
//! x  [N, C, H, W]                                                          f32
//! w  [O, C, 3, 3], b `[O]`                                                 f32
//! →  [N, O, ⌈H/2⌉, ⌈W/2⌉]; GELU with erf                                   f32
//!
//! Without autotune, Burn's convolution computes one result per lane and needs the channels last,
//! which costs a copy there and back.

use burn::backend::{Backend, Flex, backend_extension, tensor::FloatTensor};
use burn::tensor::{DType, Tensor, activation, module::conv2d, ops::ConvOptions};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::launch::{Shader, launch};

#[backend_extension(Cube, Flex)]
pub(crate) trait ConvHalveBackend: Backend {
    fn conv_halve(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// `x [N, C, H, W]`, `w [O, C, 3, 3]`, `b [O]` → `[N, O, ⌈H/2⌉, ⌈W/2⌉]`.
pub fn conv_halve(x: Tensor<4>, w: Tensor<4>, b: Tensor<1>) -> Tensor<4> {
    debug_assert_eq!(w.dims(), [b.dims()[0], x.dims()[1], 3, 3], "conv_halve: x {:?}, b {:?}", x.dims(), b.dims());
    let (x, w, b) = (x.into_dispatch(), w.into_dispatch(), b.into_dispatch());
    Tensor::from_dispatch(<burn::backend::Dispatch as ConvHalveBackend>::conv_halve(x, w, b))
}

impl ConvHalveBackend for Flex {
    fn conv_halve(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, w) = (Tensor::<4>::from_primitive::<Flex>(x), Tensor::<4>::from_primitive::<Flex>(w));
        let b = Tensor::<1>::from_primitive::<Flex>(b);
        let halve = ConvOptions::new([2, 2], [1, 1], [1, 1], 1);
        super::primitive(activation::gelu(conv2d(x, w, Some(b), halve)))
    }
}

impl ConvHalveBackend for CubeBackend {
    fn conv_halve(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, w, b) = (into_contiguous(x), into_contiguous(w), into_contiguous(b));
        let [n, inputs, height, width] = [0, 1, 2, 3].map(|i| x.meta.shape()[i]);
        let outputs = w.meta.shape()[0];
        let [out_height, out_width] = [height.div_ceil(2), width.div_ceil(2)];
        let shader = Shader {
            name: "conv_halve",
            text: include_str!("../../shaders/conv_halve.wgsl"),
            constants: vec![
                ("inputs", inputs.to_string()),
                ("outputs", outputs.to_string()),
                ("height", height.to_string()),
                ("width", width.to_string()),
            ],
        };
        // A workgroup computes 32 channels of 8 strips of 4 columns, as in the shader.
        let strips = out_height * out_width.div_ceil(4);
        let grid = [outputs.div_ceil(32) as u32, strips.div_ceil(8) as u32, n as u32];
        launch(shader, 64, grid, &[&x, &w, &b], [n, outputs, out_height, out_width].into(), DType::F32)
    }
}
