//! LayerNorm: `y = (x − mean(x)) · (var(x) + eps)^-½ · w + b`, in f32, row by row. The audio tower
//! uses it.
//!
//! `x [R, H]`, `w [H]`, `b [H]` → `[R, H]`. The variance is that of the H values themselves
//! (divided by H), not an estimate.

use burn::backend::{Backend, Flex, backend_extension, tensor::FloatTensor};
use burn::tensor::{DType, Tensor};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::launch::{Shader, launch, row_grid, row_lanes};

#[backend_extension(Cube, Flex)]
pub(crate) trait LayerNormBackend: Backend {
    fn layer_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
}

/// `x [R, H]`, `w [H]`, `b [H]` → `[R, H]`.
pub fn layer_norm(x: Tensor<2>, w: Tensor<1>, b: Tensor<1>, eps: f64) -> Tensor<2> {
    debug_assert_eq!(x.dims()[1], w.dims()[0], "layer_norm: x {:?}, w {:?}", x.dims(), w.dims());
    debug_assert_eq!(w.dims(), b.dims(), "layer_norm: w {:?}, b {:?}", w.dims(), b.dims());
    let (x, w, b) = (x.into_dispatch(), w.into_dispatch(), b.into_dispatch());
    Tensor::from_dispatch(<burn::backend::Dispatch as LayerNormBackend>::layer_norm(x, w, b, eps))
}

impl LayerNormBackend for Flex {
    fn layer_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let x = Tensor::<2>::from_primitive::<Flex>(x);
        let (w, b) = (Tensor::<1>::from_primitive::<Flex>(w), Tensor::<1>::from_primitive::<Flex>(b));
        let centred = x.clone() - x.mean_dim(1);
        let scale = (centred.clone().square().mean_dim(1) + eps).sqrt().recip();
        super::primitive(centred * scale * w.unsqueeze() + b.unsqueeze())
    }
}

impl LayerNormBackend for CubeBackend {
    fn layer_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let (x, w, b) = (into_contiguous(x), into_contiguous(w), into_contiguous(b));
        let [r, h] = [x.meta.shape()[0], x.meta.shape()[1]];
        let lanes = row_lanes(h);
        let (grid, rows) = row_grid(r);
        let shader = Shader {
            name: "layer_norm",
            text: include_str!("../../shaders/layer_norm.wgsl"),
            constants: vec![
                ("h", h.to_string()),
                ("eps", format!("{eps:e}")),
                ("lanes", lanes.to_string()),
                ("rows", rows),
            ],
        };
        launch(shader, lanes, grid, &[&x, &w, &b], [r, h].into(), DType::F32)
    }
}
