//! Replay: the attention of draft rows on all they could see, for the armed heads of one layer.
//!
//! q     [R', S, D]     captured queries, of which the first R rows are used     f32
//! k     [C, Hkv, D]    the cache that the layer reads; nothing past the last row's own key is read
//! heads `[S]` Int      which heads are armed; head h reads kv head h / group
//! →     [S, R, N + 4]  probabilities on the N source columns, then the four masses: accessible
//!                      columns, inaccessible ones, the rest of the prompt, the draft; these sum to 1
//!
//! Row i stands at cache row `first + i` and sees rows j with `j ≤ first + i`, and `j > first + i − window` in
//! sliding layers, as the layer did. A source column that it doesn't see has probability 0. Softmax in f32 over
//! the whole context. (alignatt4llm, section 4.2; models, section 2.5)
//!
//! On the CPU it runs once a token, where thirty Burn ops on tiny tensors cost more than the arithmetic: plain loops
//! stand here, and the definition in Burn ops stands in `tests/ops`, against which both are held.

use burn::backend::{
    Backend, Flex, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{DType, Int, Tensor, TensorData};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::attend::Attend;
use super::launch::{Shader, launch};

/// Masses that follow the source columns of a row.
pub const MASSES: usize = 4;

/// What a layer's replay is made of besides its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QkReplay {
    /// The layer's own attention.
    pub attend: Attend,
    /// Query heads that share one kv head.
    pub group: usize,
}

/// The draft's rows and the parts of the context, in rows of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where the first captured row's own key lies.
    pub first: usize,
    /// Captured rows, at least one.
    pub rows: usize,
    /// Where the first source column lies; negative where the cache no longer holds it.
    pub source: isize,
    /// Source columns, at least one.
    pub columns: usize,
    /// How many of them, from the first, are accessible.
    pub accessible: usize,
    /// Where the draft begins, which is after the source.
    pub draft: isize,
}

#[backend_extension(Cube, Flex)]
pub trait QkReplayBackend: Backend {
    fn qk_replay(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        heads: IntTensor<Self>,
        on_device: IntTensor<Self>,
        span: Span,
        op: QkReplay,
    ) -> FloatTensor<Self>;
}

/// `q [R', S, D]` on `k [C, Hkv, D]` → `[S, span.rows, span.columns + 4]`.
pub fn qk_replay(q: Tensor<3>, k: Tensor<3>, heads: Tensor<1, Int>, span: Span, op: QkReplay) -> Tensor<3> {
    debug_assert_eq!([q.dims()[1], q.dims()[2]], [heads.dims()[0], k.dims()[2]], "qk_replay: {span:?}");
    debug_assert!(span.rows <= q.dims()[0] && span.first + span.rows <= k.dims()[0], "qk_replay: {span:?}");
    debug_assert!(span.source + span.columns as isize <= span.draft && span.accessible <= span.columns, "{span:?}");
    let Span { first, source, columns, accessible, draft, .. } = span;
    let numbers = [first as i32, source as i32, columns as i32, accessible as i32, draft as i32];
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

        let mut out = vec![0.0; armed * span.rows * (span.columns + MASSES)];
        let mut probs = Vec::with_capacity(span.first + span.rows);
        for (place, out) in out.chunks_exact_mut(span.columns + MASSES).enumerate() {
            let (head, row) = (place / span.rows, place % span.rows);
            let q = &q[(row * armed + head) * d..][..d];
            let seen = span.first + row + 1;
            let start = op.attend.window.map_or(0, |window| seen.saturating_sub(window));

            let score = |key: usize| op.attend.scale * dot(q, &k[(key * kv_heads + kv_head[head]) * d..][..d]);
            probs.clear();
            probs.extend((start..seen).map(score));
            let most = probs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            probs.iter_mut().for_each(|score| *score = (*score - most).exp());
            let total: f32 = probs.iter().sum();

            let (columns, masses) = out.split_at_mut(span.columns);
            for (key, part) in (start as isize..).zip(&probs) {
                let (prob, column) = (part / total, key - span.source);
                let mass = match columns.get_mut(column as usize) {
                    Some(place) => {
                        *place = prob;
                        usize::from(column as usize >= span.accessible)
                    }
                    None => 2 + usize::from(key >= span.draft),
                };
                masses[mass] += prob;
            }
        }
        FloatTensor::<Self>::from_data(TensorData::new(out, [armed, span.rows, span.columns + MASSES]))
    }
}

/// In eight sums side by side, which the compiler makes one instruction of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let left: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f32>() + left
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
