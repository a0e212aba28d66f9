//! Replay: the attention of draft rows on every key they could see, for the armed heads of one
//! layer.
//!
//! q     [R', S, D]     captured queries, of which the first R rows are used             f32
//! k     [C, Hkv, D]    the cache that the layer reads, up to the last row's own key     f32
//! heads `[S]` Int      which heads are armed; head h reads kv head h / group
//! →     [S, R, N + 2]  probabilities on the N source columns, then the mass on the rest of the
//!                      prompt and the mass on the draft; a row sums to 1
//!
//! The own key of row i is at cache row `first + i`. Row i sees what it saw in the layer: every
//! cache row j with `j ≤ first + i`. In sliding layers, it sees only those with
//! `j > first + i − window`. A source column that it doesn't see has probability 0. Softmax is in
//! f32 over the whole context. (docs/method.md, section 4.2; docs/models.md, section 2.5)
//!
//! On the CPU, replay runs once per token, and thirty Burn ops on tiny tensors would cost more than
//! the arithmetic. So the CPU has plain loops. The definition in Burn ops is in `tests/ops`, which
//! compares both the loops and the shader with it.

use burn::backend::{
    Backend, Flex, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{DType, Int, Tensor, TensorData};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::attend::Attend;
use super::launch::{Shader, launch};

/// Number of masses that follow the source columns of a row.
pub const MASSES: usize = 2;

/// The parameters of a layer's replay besides its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QkReplay {
    /// The layer's own attention.
    pub attend: Attend,
    /// Number of query heads that share one kv head.
    pub group: usize,
}

/// Where the captured rows, the source and the draft are, in rows of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The cache row of the first captured row's own key.
    pub first: usize,
    /// Number of captured rows, at least one.
    pub rows: usize,
    /// The cache row of the first source column; negative if the cache no longer holds it.
    pub source: isize,
    /// Number of source columns, at least one.
    pub columns: usize,
    /// The cache row where the draft begins, which is after the source.
    pub draft: isize,
}

#[backend_extension(Cube, Flex)]
pub(crate) trait QkReplayBackend: Backend {
    fn qk_replay(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        heads: IntTensor<Self>,
        on_device: IntTensor<Self>,
        span: Span,
        op: QkReplay,
    ) -> FloatTensor<Self>;
}

/// Replays `q [R', S, D]` on `k [C, Hkv, D]` → `[S, span.rows, span.columns + 2]`.
pub fn qk_replay(q: Tensor<3>, k: Tensor<3>, heads: Tensor<1, Int>, span: Span, op: QkReplay) -> Tensor<3> {
    debug_assert_eq!([q.dims()[1], q.dims()[2]], [heads.dims()[0], k.dims()[2]], "qk_replay: {span:?}");
    debug_assert!(span.rows <= q.dims()[0] && span.first + span.rows <= k.dims()[0], "qk_replay: {span:?}");
    debug_assert!(span.source + span.columns as isize <= span.draft, "{span:?}");
    let Span { first, source, columns, draft, .. } = span;
    let numbers = [first as i32, source as i32, columns as i32, draft as i32];
    let on_device = Tensor::<1, Int>::from_ints(numbers, &q.device());
    Tensor::from_dispatch(<burn::backend::Dispatch as QkReplayBackend>::qk_replay(
        q.into_dispatch(),
        k.into_dispatch(),
        heads.into_dispatch(),
        on_device.into_dispatch(),
        span,
        op,
    ))
}

impl QkReplayBackend for Flex {
    fn qk_replay(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        heads: IntTensor<Self>,
        _on_device: IntTensor<Self>,
        span: Span,
        op: QkReplay,
    ) -> FloatTensor<Self> {
        let (q, k) = (q.to_contiguous(), k.to_contiguous());
        let (armed, d, kv_heads) = (q.layout().shape()[1], q.layout().shape()[2], k.layout().shape()[1]);
        let kv_head: Vec<usize> = heads.into_data().iter::<i64>().map(|head| head as usize / op.group).collect();
        let (q, k) = (super::values(&q), super::values(&k));

        let width = span.columns + MASSES;
        let mut out = vec![0.0; armed * span.rows * width];
        let mut scores = vec![0.0; armed * (span.first + span.rows)];
        for row in 0..span.rows {
            let seen = span.first + row + 1;
            let start = op.attend.window.map_or(0, |window| seen.saturating_sub(window));
            let scores = &mut scores[..armed * (seen - start)];
            // The loop goes key by key, so that the cache is read once and in order.
            for (at, key) in k[start * kv_heads * d..seen * kv_heads * d].chunks_exact(kv_heads * d).enumerate() {
                for head in 0..armed {
                    let q = &q[(row * armed + head) * d..][..d];
                    scores[head * (seen - start) + at] =
                        op.attend.scale * super::dot(q, &key[kv_head[head] * d..][..d]);
                }
            }
            for (head, scores) in scores.chunks_exact_mut(seen - start).enumerate() {
                let (columns, masses) = out[(head * span.rows + row) * width..][..width].split_at_mut(span.columns);
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                scores.iter_mut().for_each(|score| *score = (*score - most).exp());
                let total: f32 = scores.iter().sum();
                for (key, part) in (start as isize..).zip(&*scores) {
                    let (prob, column) = (part / total, key - span.source);
                    match columns.get_mut(column as usize) {
                        Some(place) => *place = prob,
                        None => masses[usize::from(key >= span.draft)] += prob,
                    }
                }
            }
        }
        FloatTensor::<Self>::from_data(TensorData::new(out, [armed, span.rows, width]))
    }
}

impl QkReplayBackend for CubeBackend {
    fn qk_replay(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        heads: IntTensor<Self>,
        on_device: IntTensor<Self>,
        span: Span,
        op: QkReplay,
    ) -> FloatTensor<Self> {
        let (q, k, heads) = (into_contiguous(q), into_contiguous(k), into_contiguous(heads));
        let [armed, d, kv_heads] = [q.meta.shape()[1], q.meta.shape()[2], k.meta.shape()[1]];
        let shader = Shader {
            name: "qk_replay",
            text: include_str!("../../shaders/qk_replay.wgsl"),
            constants: vec![
                ("kv_heads", kv_heads.to_string()),
                ("group", op.group.to_string()),
                ("d", d.to_string()),
                ("scale", format!("{:e}", op.attend.scale)),
                ("window", op.attend.window.unwrap_or(0x7fff_ffff).to_string()),
            ],
        };
        let grid = [armed as u32, span.rows as u32, 1];
        let shape = [armed, span.rows, span.columns + MASSES];
        launch(shader, 64, grid, &[&q, &k, &heads, &on_device], shape.into(), DType::F32)
    }
}
