//! Rotary position embedding, split-half (`rotate_half`).
//!
//! x    [T, N, D]    heads of one projection                           f32
//! cos  [T, D/2]     one row per position; 1 where nothing rotates     f32
//! sin  [T, D/2]     0 where nothing rotates                           f32
//! →    [T, N, D]    (a, b) → (a cos − b sin, b cos + a sin) for `a = x[i]`, `b = x[i + D/2]`
//!
//! The CPU has a plain loop, as for norms. The definition in Burn ops is in `tests/ops`.

use burn::backend::{Backend, Flex, backend_extension, tensor::FloatTensor};
use burn::tensor::{DType, Tensor, TensorData};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::launch::{Shader, launch};

#[backend_extension(Cube, Flex)]
pub(crate) trait RopeBackend: Backend {
    fn rope(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// `x [T, N, D]`, `cos` and `sin [T, D/2]` → `[T, N, D]`.
pub fn rope(x: Tensor<3>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<3> {
    debug_assert_eq!([x.dims()[0], x.dims()[2]], [cos.dims()[0], 2 * cos.dims()[1]], "rope: x {:?}", x.dims());
    let (x, cos, sin) = (x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch());
    Tensor::from_dispatch(<burn::backend::Dispatch as RopeBackend>::rope(x, cos, sin))
}

impl RopeBackend for Flex {
    fn rope(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, cos, sin) = (x.to_contiguous(), cos.to_contiguous(), sin.to_contiguous());
        let [t, n, d] = [x.layout().shape()[0], x.layout().shape()[1], x.layout().shape()[2]];
        let (x, cos, sin) = (super::values(&x), super::values(&cos), super::values(&sin));
        let half = d / 2;
        let mut out = x.to_vec();
        for (row, x) in out.chunks_exact_mut(n * d).enumerate() {
            let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
            for head in x.chunks_exact_mut(d) {
                let (low, high) = head.split_at_mut(half);
                for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
        FloatTensor::<Self>::from_data(TensorData::new(out, [t, n, d]))
    }
}

impl RopeBackend for CubeBackend {
    fn rope(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, cos, sin) = (into_contiguous(x), into_contiguous(cos), into_contiguous(sin));
        let [t, n, d] = [x.meta.shape()[0], x.meta.shape()[1], x.meta.shape()[2]];
        let shader = Shader {
            name: "rope",
            text: include_str!("../../shaders/rope.wgsl"),
            constants: vec![("half", (d / 2).to_string())],
        };
        let grid = [(d / 2).div_ceil(64) as u32, n as u32, t as u32];
        launch(shader, 64, grid, &[&x, &cos, &sin], [t, n, d].into(), DType::F32)
    }
}
