//! Grouped-query attention in two forms: causal attention of new rows on a key/value cache, with an
//! optional sliding window; and attention of rows that all see one another.
//!
//! q     [T, Hq, D]     queries, after norm and RoPE                 f32
//! k, v  [C, Hkv, D]    the cache; rows after the last query's own key are not read      f32
//! base  `[1]` Int      cache row of the first query's own key       (also known to the host)
//! →     [T, Hq, D]                                                  f32
//!
//! In the causal form, query t sees every cache row j with `j ≤ base + t`. In sliding layers, it
//! sees only those with `j > base + t − window`. Query head h reads kv head h / (Hq/Hkv). Softmax
//! is in f32. In the other form C = T, and every query sees every row.

use burn::backend::{
    Backend, Flex, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{DType, Int, Tensor, activation};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::launch::{Shader, launch};

/// The parameters of a layer's attention besides its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attend {
    /// The factor of the scores.
    pub scale: f32,
    /// Keys that a row sees, its own included; None in full layers.
    pub window: Option<usize>,
}

/// The cache row of the first new row, on the host and on the device.
#[derive(Clone, Debug)]
pub struct Base {
    pub row: usize,
    pub on_device: Tensor<1, Int>,
}

#[backend_extension(Cube, Flex)]
pub(crate) trait AttendBackend: Backend {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        base: IntTensor<Self>,
        row: usize,
        op: Attend,
        causal: bool,
    ) -> FloatTensor<Self>;
}

/// Causal attention of `q [T, Hq, D]` on the cache `k`, `v [C, Hkv, D]` → `[T, Hq, D]`. The own
/// keys of the queries are at cache rows `base.row ..`.
pub fn attend(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, base: &Base, op: Attend) -> Tensor<3> {
    debug_assert!(q.dims()[1].is_multiple_of(k.dims()[1]), "attend: q {:?}, k {:?}", q.dims(), k.dims());
    debug_assert!(base.row + q.dims()[0] <= k.dims()[0], "attend: {} + {:?} past {:?}", base.row, q.dims(), k.dims());
    run(q, k, v, base, op, true)
}

/// `q [T, Hq, D]` on `k`, `v [T, Hkv, D]` → `[T, Hq, D]`, where every row sees every row. `origin`
/// is row 0.
pub fn attend_all(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, origin: &Base, scale: f32) -> Tensor<3> {
    debug_assert!(q.dims()[1].is_multiple_of(k.dims()[1]), "attend_all: q {:?}, k {:?}", q.dims(), k.dims());
    debug_assert!(q.dims()[0] == k.dims()[0] && origin.row == 0, "attend_all: q {:?}, k {:?}", q.dims(), k.dims());
    run(q, k, v, origin, Attend { scale, window: None }, false)
}

fn run(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, base: &Base, op: Attend, causal: bool) -> Tensor<3> {
    Tensor::from_dispatch(<burn::backend::Dispatch as AttendBackend>::attend(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        base.on_device.clone().into_dispatch(),
        base.row,
        op,
        causal,
    ))
}

impl AttendBackend for Flex {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        _base: IntTensor<Self>,
        row: usize,
        op: Attend,
        causal: bool,
    ) -> FloatTensor<Self> {
        let q = Tensor::<3>::from_primitive::<Flex>(q);
        let [t, heads, d] = q.dims();
        let first = op.window.map_or(0, |window| (row + 1).saturating_sub(window));
        let seen = row + t - first;
        let keep = |cache: FloatTensor<Flex>| Tensor::<3>::from_primitive::<Flex>(cache).narrow(0, first, seen);
        let (k, v) = (keep(k), keep(v));
        let kv_heads = k.dims()[1];
        let group = heads / kv_heads;

        // One product per kv head, with the queries of its group stacked:
        // [Hkv, G*T, D] x [Hkv, D, S].
        let q = q.reshape([t, kv_heads, group, d]).permute([1, 2, 0, 3]).reshape([kv_heads, group * t, d]);
        let scores = q.matmul(k.permute([1, 2, 0])) * op.scale;
        let scores = scores.reshape([kv_heads * group, t, seen]);
        // A single row sees all keys that are left.
        let scores = match causal && t > 1 {
            true => scores + mask(t, seen, row - first, op.window, &v.device()),
            false => scores,
        };
        let probs = activation::softmax(scores, 2).reshape([kv_heads, group * t, seen]);
        let out = probs.matmul(v.permute([1, 0, 2])).reshape([kv_heads, group, t, d]);
        super::primitive(out.permute([2, 0, 1, 3]).reshape([t, heads, d]))
    }
}

/// [1, T, S]: 0 where query t sees key j, otherwise a large negative number.
fn mask(t: usize, seen: usize, base: usize, window: Option<usize>, device: &burn::tensor::Device) -> Tensor<3> {
    let visible = |row: usize, j: usize| j <= base + row && window.is_none_or(|window| j + window > base + row);
    let values: Vec<f32> =
        (0..t).flat_map(|row| (0..seen).map(move |j| if visible(row, j) { 0.0 } else { -1e30 })).collect();
    Tensor::from_data(burn::tensor::TensorData::new(values, [1, t, seen]), device)
}

impl AttendBackend for CubeBackend {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        base: IntTensor<Self>,
        _row: usize,
        op: Attend,
        causal: bool,
    ) -> FloatTensor<Self> {
        let (q, k, v) = (into_contiguous(q), into_contiguous(k), into_contiguous(v));
        let [t, heads, d] = [q.meta.shape()[0], q.meta.shape()[1], q.meta.shape()[2]];
        let kv_heads = k.meta.shape()[1];
        // A decoding step has one row. The rows of a prompt go four to a workgroup and share its
        // loads, if that takes at most 16 KiB of shared memory.
        let rows = if t == 1 || d > 512 { 1 } else { 4 };
        let [values, indices, query, offsets, of_row] = match rows {
            1 => ["f32", "u32", "q[at + i]", "0u", "values"],
            _ => [
                "vec4<f32>",
                "vec4<u32>",
                "vec4<f32>(q[at + i], q[at1 + i], q[at2 + i], q[at3 + i])",
                "vec4<u32>(0u, 1u, 2u, 3u)",
                "values[t]",
            ],
        };
        // A lane computes one output column at a time. Lanes beyond the head's dimension would only
        // wait.
        let lanes: u32 = if d <= 32 { 32 } else { 64 };
        let shader = Shader {
            name: "attend",
            text: include_str!("../../shaders/attend.wgsl"),
            constants: vec![
                ("heads", heads.to_string()),
                ("kv_heads", kv_heads.to_string()),
                ("d", d.to_string()),
                ("lanes", lanes.to_string()),
                ("per_lane", d.div_ceil(lanes as usize).to_string()),
                ("rows", rows.to_string()),
                ("values", values.into()),
                ("indices", indices.into()),
                ("query", query.into()),
                ("offsets", offsets.into()),
                ("of_row", of_row.into()),
                ("scale", format!("{:e}", op.scale)),
                ("window", op.window.unwrap_or(0x7fff_ffff).to_string()),
                ("causal", causal.to_string()),
            ],
        };
        // The grid's y is the row count, so the shader learns it without a parameter.
        let grid = [heads as u32, t as u32, 1];
        launch(shader, lanes, grid, &[&q, &k, &v, &base], [t, heads, d].into(), DType::F32)
    }
}
