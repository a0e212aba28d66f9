//! Capture: copies the queries of the armed heads into the kept rows of a draft, in place.
//!
//! kept  [R, S, D]   armed queries so far, draft row by draft row                      f32
//! q     [T, Hq, D]  one pass's queries of the layer, after norm and RoPE              f32
//! heads `[S]` Int   which heads are armed
//! first `[1]` Int   the kept row of the pass's first row; rows before row 0 are left out
//! →     the same `kept`
//!
//! Like [`super::kv_store`], it writes into a buffer that only its caller holds. (docs/method.md,
//! section 4.1)

use burn::backend::{
    Backend, Flex, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Int, Tensor};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::launch::{Shader, launch_in_place};

/// The kept row that the first row of a pass goes to, on the host and on the device.
#[derive(Clone, Debug)]
pub struct FirstRow {
    /// Negative if the pass begins before the first row that is kept.
    pub row: isize,
    pub on_device: Tensor<1, Int>,
}

#[backend_extension(Cube, Flex)]
pub(crate) trait QkCaptureBackend: Backend {
    fn qk_capture(
        kept: FloatTensor<Self>,
        q: FloatTensor<Self>,
        heads: IntTensor<Self>,
        first: IntTensor<Self>,
        row: isize,
    ) -> FloatTensor<Self>;
}

/// Copies the `heads [S]` of `q [T, Hq, D]` into rows `first.row ..` of `kept [R, S, D]` → the same
/// `kept`.
pub fn qk_capture(kept: Tensor<3>, q: Tensor<3>, heads: Tensor<1, Int>, first: &FirstRow) -> Tensor<3> {
    debug_assert!(
        (1..=kept.dims()[0] as isize).contains(&(first.row + q.dims()[0] as isize)),
        "qk_capture: {:?} at {} of {:?}",
        q.dims(),
        first.row,
        kept.dims()
    );
    debug_assert_eq!([kept.dims()[1], kept.dims()[2]], [heads.dims()[0], q.dims()[2]], "qk_capture");
    Tensor::from_dispatch(<burn::backend::Dispatch as QkCaptureBackend>::qk_capture(
        kept.into_dispatch(),
        q.into_dispatch(),
        heads.into_dispatch(),
        first.on_device.clone().into_dispatch(),
        first.row,
    ))
}

impl QkCaptureBackend for Flex {
    fn qk_capture(
        mut kept: FloatTensor<Self>,
        q: FloatTensor<Self>,
        heads: IntTensor<Self>,
        _first: IntTensor<Self>,
        row: isize,
    ) -> FloatTensor<Self> {
        debug_assert!(kept.is_contiguous(), "qk_capture: the kept rows are a buffer of their own");
        let q = q.to_contiguous();
        let (all, d) = (q.layout().shape()[1], q.layout().shape()[2]);
        let heads: Vec<usize> = heads.into_data().iter::<i64>().map(|head| head as usize).collect();
        let from = kept.layout().start_offset() + row.max(0) as usize * heads.len() * d;
        let rows = super::values(&q).chunks_exact(all * d).skip(row.min(0).unsigned_abs());
        let armed = rows.flat_map(|row| heads.iter().map(|head| &row[head * d..][..d]));
        for (to, q) in kept.storage_mut()[from..].chunks_exact_mut(d).zip(armed) {
            to.copy_from_slice(q);
        }
        kept
    }
}

impl QkCaptureBackend for CubeBackend {
    fn qk_capture(
        kept: FloatTensor<Self>,
        q: FloatTensor<Self>,
        heads: IntTensor<Self>,
        first: IntTensor<Self>,
        _row: isize,
    ) -> FloatTensor<Self> {
        let (q, heads) = (into_contiguous(q), into_contiguous(heads));
        let [t, all, d] = [q.meta.shape()[0], q.meta.shape()[1], q.meta.shape()[2]];
        let shader = Shader {
            name: "qk_capture",
            text: include_str!("../../shaders/qk_capture.wgsl"),
            constants: vec![("heads", all.to_string()), ("d", d.to_string())],
        };
        let grid = [d.div_ceil(64) as u32, t as u32, heads.meta.shape()[0] as u32];
        launch_in_place(shader, 64, grid, &[&q, &heads, &first], kept)
    }
}
