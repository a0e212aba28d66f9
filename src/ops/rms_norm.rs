//! RMSNorm: `y = x · (mean(x²) + eps)^-½ · w`, in f32, row by row.
//!
//! `x [R, H]`, `w [H]` → `[R, H]`. A model that multiplies by `1 + w` gives this sum as `w`. eps
//! comes from the checkpoint's config. (docs/models.md, sections 1.6, 2.2 and 3.4)
//!
//! The CPU has a plain loop: a decoding step has a hundred norms, and eight Burn ops each would
//! cost more than the arithmetic. The definition in Burn ops is in `tests/ops`.

use burn::backend::{Backend, Flex, backend_extension, tensor::FloatTensor};
use burn::tensor::{DType, Tensor, TensorData};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::launch::{Shader, launch, row_grid, row_lanes};

#[backend_extension(Cube, Flex)]
pub(crate) trait RmsNormBackend: Backend {
    fn rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
}

/// `x [R, H]`, `w [H]` → `[R, H]`.
pub fn rms_norm(x: Tensor<2>, w: Tensor<1>, eps: f64) -> Tensor<2> {
    debug_assert_eq!(x.dims()[1], w.dims()[0], "rms_norm: x {:?}, w {:?}", x.dims(), w.dims());
    let (x, w) = (x.into_dispatch(), w.into_dispatch());
    Tensor::from_dispatch(<burn::backend::Dispatch as RmsNormBackend>::rms_norm(x, w, eps))
}

impl RmsNormBackend for Flex {
    fn rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let (x, w) = (x.to_contiguous(), w.to_contiguous());
        let [r, h] = [x.layout().shape()[0], x.layout().shape()[1]];
        let (x, w) = (super::values(&x), super::values(&w));
        let mut out = Vec::with_capacity(r * h);
        for x in x.chunks_exact(h) {
            let scale = (super::dot(x, x) / h as f32 + eps as f32).sqrt().recip();
            out.extend(x.iter().zip(w).map(|(x, w)| x * scale * w));
        }
        FloatTensor::<Self>::from_data(TensorData::new(out, [r, h]))
    }
}

impl RmsNormBackend for CubeBackend {
    fn rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let (x, w) = (into_contiguous(x), into_contiguous(w));
        let [r, h] = [x.meta.shape()[0], x.meta.shape()[1]];
        let lanes = row_lanes(h);
        let (grid, rows) = row_grid(r);
        let shader = Shader {
            name: "rms_norm",
            text: include_str!("../../shaders/rms_norm.wgsl"),
            constants: vec![
                ("h", h.to_string()),
                ("eps", format!("{eps:e}")),
                ("lanes", lanes.to_string()),
                ("rows", rows),
            ],
        };
        launch(shader, lanes, grid, &[&x, &w], [r, h].into(), DType::F32)
    }
}
