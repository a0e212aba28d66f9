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

use std::ops::Range;

use burn::backend::{
    Backend, Flex, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{DType, Int, Tensor, activation, s};
use burn_wgpu::{CubeBackend, into_contiguous};

use super::attend::{Attend, mask};
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
        let Span { first, rows, .. } = span;
        let q = Tensor::<3>::from_primitive::<Flex>(q).narrow(0, 0, rows);
        let k = Tensor::<3>::from_primitive::<Flex>(k);
        let heads = Tensor::<1, Int>::from_primitive::<Flex>(heads);
        let (armed, device) = (heads.dims()[0], k.device());

        // Rows of the cache that any of the draft's rows sees, and their probabilities [S, R, seen].
        let start = op.attend.window.map_or(0, |window| (first + 1).saturating_sub(window));
        let seen = first + rows - start;
        let k = k.narrow(0, start, seen).select(1, heads / op.group as i32);
        let scores = q.permute([1, 0, 2]).matmul(k.permute([1, 2, 0])) * op.attend.scale;
        let probs = activation::softmax(scores + mask(rows, seen, first - start, op.attend.window, &device), 2);

        // From here on places are counted from `start`; what lies outside of 0..seen has no mass.
        let within = |range: Range<isize>| {
            let clamp = |at: isize| at.clamp(0, seen as isize) as usize;
            Some(clamp(range.start)..clamp(range.end)).filter(|range| !range.is_empty())
        };
        let mass = |range: Range<isize>| match within(range) {
            Some(range) => probs.clone().narrow(2, range.start, range.len()).sum_dim(2),
            None => Tensor::zeros([armed, rows, 1], &device),
        };
        let source = span.source - start as isize;
        let (heard, end) = (source + span.accessible as isize, source + span.columns as isize);
        let draft = span.draft - start as isize;
        let mut columns = Tensor::zeros([armed, rows, span.columns], &device);
        if let Some(range) = within(source..end) {
            let at = (range.start as isize - source) as usize;
            let part = probs.clone().narrow(2, range.start, range.len());
            columns = columns.slice_assign(s![.., .., at..at + range.len()], part);
        }
        let rest = mass(0..source) + mass(end..draft);
        let all = vec![columns, mass(source..heard), mass(heard..end), rest, mass(draft..seen as isize)];
        super::primitive(Tensor::cat(all, 2))
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
