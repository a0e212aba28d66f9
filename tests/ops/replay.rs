//! The replay in three forms: its definition in Burn ops (in this file), the CPU's loops, and the
//! WGSL.

use std::ops::Range;

use alignatt::internals::ops::{Attend, MASSES, QkReplay, Span, qk_replay};
use burn::tensor::{Device, Int, Tensor, TensorData, activation, s};

use crate::{SHAPES, Values, close, dice::Dice, on_adapters, some_of, vec};

/// Replays `q [R', S, D]` on `k [C, Hkv, D]` → `[S, R, N + 2]`, on any device.
fn definition(q: Tensor<3>, k: Tensor<3>, heads: Tensor<1, Int>, span: Span, op: QkReplay) -> Tensor<3> {
    let Span { first, rows, .. } = span;
    let (armed, device) = (heads.dims()[0], k.device());

    // The cache rows that any row of the draft sees, and their probabilities [S, R, seen].
    let start = op.attend.window.map_or(0, |window| (first + 1).saturating_sub(window));
    let seen = first + rows - start;
    let k = k.narrow(0, start, seen).select(1, heads / op.group as i32);
    let scores = q.narrow(0, 0, rows).permute([1, 0, 2]).matmul(k.permute([1, 2, 0])) * op.attend.scale;
    let probs = activation::softmax(scores + mask(rows, seen, first - start, op.attend.window, &device), 2);

    // From here on positions are relative to `start`; those outside of 0..seen have no mass.
    let within = |range: Range<isize>| {
        let clamp = |at: isize| at.clamp(0, seen as isize) as usize;
        Some(clamp(range.start)..clamp(range.end)).filter(|range| !range.is_empty())
    };
    let mass = |range: Range<isize>| match within(range) {
        Some(range) => probs.clone().narrow(2, range.start, range.len()).sum_dim(2),
        None => Tensor::zeros([armed, rows, 1], &device),
    };
    let source = span.source - start as isize;
    let end = source + span.columns as isize;
    let draft = span.draft - start as isize;
    let mut columns = Tensor::zeros([armed, rows, span.columns], &device);
    if let Some(range) = within(source..end) {
        let at = (range.start as isize - source) as usize;
        let part = probs.clone().narrow(2, range.start, range.len());
        columns = columns.slice_assign(s![.., .., at..at + range.len()], part);
    }
    let rest = mass(0..source) + mass(end..draft);
    Tensor::cat(vec![columns, rest, mass(draft..seen as isize)], 2)
}

/// [1, R, seen]: 0 where row i sees column j, otherwise a large negative number.
fn mask(rows: usize, seen: usize, base: usize, window: Option<usize>, device: &Device) -> Tensor<3> {
    let visible = |row: usize, j: usize| j <= base + row && window.is_none_or(|window| j + window > base + row);
    let values: Vec<f32> =
        (0..rows).flat_map(|row| (0..seen).map(move |j| if visible(row, j) { 0.0 } else { -1e30 })).collect();
    Tensor::from_data(TensorData::new(values, [1, rows, seen]), device)
}

/// The replay of one draft, with NaN wherever nothing may be read.
struct Case {
    q: Values<3>,
    k: Values<3>,
    heads: Vec<i32>,
    span: Span,
    op: QkReplay,
}

impl Case {
    fn random(dice: &mut Dice) -> Case {
        let (kv, group) = (1 + dice.below(3), 1 + dice.below(4));
        let d = [1 + dice.below(140), 256, 512][dice.below(3)];
        let heads = some_of(dice, kv * group);
        let (rows, first, after) = (1 + dice.below(20), dice.below(300), dice.below(9));
        let window = [None, Some(1 + dice.below(40)), Some(1 + dice.below(300))][dice.below(3)];
        // The draft begins at, before or directly after the first captured row; the source may lie
        // before the cache.
        let draft = first as isize + 1 - dice.below(12) as isize;
        let columns = 1 + dice.below(90);
        let source = draft - dice.below(12) as isize - columns as isize;
        let span = Span { first, rows, source, columns, draft };
        let room = rows + dice.below(5);
        let mut q = Values::random(dice, [room, heads.len(), d]);
        q.values[rows * heads.len() * d..].fill(f32::NAN);
        let mut k = Values::random(dice, [first + rows + after, kv, d]);
        let hidden = window.map_or(0, |window| (first + 1).saturating_sub(window));
        k.values[..hidden * kv * d].fill(f32::NAN);
        k.values[(first + rows) * kv * d..].fill(f32::NAN);
        let op = QkReplay { attend: Attend { scale: 1.0 / (d as f32).sqrt(), window }, group };
        Case { q, k, heads, span, op }
    }

    fn heads(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_ints(self.heads.as_slice(), device)
    }

    fn defined(&self, device: &Device) -> Vec<f32> {
        vec(definition(self.q.on(device), self.k.on(device), self.heads(device), self.span, self.op))
    }

    /// The op's results, on plain tensors and on views.
    fn replayed(&self, device: &Device) -> [Vec<f32>; 2] {
        let shape = [self.heads.len(), self.span.rows, self.span.columns + MASSES];
        [(self.q.on(device), self.k.on(device)), (self.q.view_on(device), self.k.view_on(device))].map(|(q, k)| {
            // Memory that the result may be placed in holds NaN.
            drop(vec(Tensor::<3>::full(shape, f32::NAN, device)));
            let out = qk_replay(q, k, self.heads(device), self.span, self.op);
            assert_eq!(out.dims(), shape);
            vec(out)
        })
    }

    fn name(&self) -> String {
        format!("qk_replay of {:?} on {:?}, {:?}, {:?}", self.heads, self.k.shape, self.op, self.span)
    }

    /// Checks that every row sums to 1.
    fn check(&self, out: &[f32]) {
        for row in out.chunks_exact(self.span.columns + MASSES) {
            let total: f32 = row.iter().sum();
            assert!((total - 1.0).abs() < 1e-5, "{}: {total}", self.name());
        }
    }
}

#[test]
fn loops_equal_the_definition_and_read_nothing_else() {
    let cpu = Device::flex();
    let mut dice = Dice(10);
    for _ in 0..4 * SHAPES {
        let case = Case::random(&mut dice);
        let want = case.defined(&cpu);
        case.check(&want);
        for got in case.replayed(&cpu) {
            close(&case.name(), got, want.clone());
        }
    }
}

#[test]
fn the_shader_equals_the_definition_and_reads_nothing_else() {
    on_adapters(9, |dice, cpu, gpu, name| {
        let case = Case::random(dice);
        let want = case.defined(cpu);
        for got in case.replayed(gpu) {
            case.check(&got);
            close(&format!("{name}: {}", case.name()), got, want.clone());
        }
    });
}
