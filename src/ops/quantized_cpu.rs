//! Products with quantized weights on the CPU, over all cores.
//!
//! A few rows of x: each row of the weight is read once. Its integers become f32 in registers, and
//! a block's sum is scaled once. That is enough arithmetic to keep up with memory: a decoding step
//! is as slow as its weights are large.
//!
//! Many rows of x: panels of the weight are unpacked, and Burn's product computes with them.
//!
//! The loops are plain. `pulp` compiles them for the vector instructions that the processor has.

use std::array::from_fn;
use std::ops::Range;

use burn::backend::{Flex, tensor::FloatTensor};
use burn::tensor::{Tensor, TensorData};
use pulp::{Arch, NullaryFnOnce};

use crate::weights::quants::{BLOCK, Bits, Form, SUPER_BLOCK, SUPER_WORDS, Scales};

/// The most rows of x that share one reading of the weight's integers.
const FEW_ROWS: usize = 8;
/// Rows of a panel.
const PANEL: usize = 128;
/// Numbers of a weight below which other cores are not worth waking.
const SMALL: usize = 1 << 16;
/// Lanes of a sum.
const LANES: usize = 8;

/// A borrowed [`super::quantized::Quantized`].
pub(super) struct Matrix<'a> {
    pub quants: &'a [i32],
    pub scales: &'a [i32],
    pub form: Form,
    pub n: usize,
    pub k: usize,
}

/// `x [T, K]` → `x Wᵀ [T, N]`.
pub(super) fn product(x: &[f32], w: &Matrix) -> Vec<f32> {
    let t = x.len() / w.k;
    if t <= 2 * FEW_ROWS { few_rows(x, w, t) } else { many_rows(x, w, t) }
}

/// → `[N, K]`.
pub(super) fn unpack(w: &Matrix) -> Vec<f32> {
    let mut out = vec![0.0; w.n * w.k];
    Arch::new().dispatch(Unpack { w, rows: 0..w.n, out: &mut out });
    out
}

fn few_rows(x: &[f32], w: &Matrix, t: usize) -> Vec<f32> {
    // [N, T]: every core writes a piece of its own.
    let mut turned = vec![0.0; w.n * t];
    let sums: Vec<f32> = match w.form.has_floor() {
        true => x.chunks_exact(BLOCK).map(|block| block.iter().sum()).collect(),
        false => Vec::new(),
    };
    in_pieces(&mut turned, 16 * t, w.n * w.k, |first, out| {
        Arch::new().dispatch(Few { x, sums: &sums, w, t, first: first / t, out });
    });
    if t == 1 {
        return turned;
    }
    let mut out = vec![0.0; w.n * t];
    for (column, values) in turned.chunks_exact(t).enumerate() {
        for (row, value) in values.iter().enumerate() {
            out[row * w.n + column] = *value;
        }
    }
    out
}

fn many_rows(x: &[f32], w: &Matrix, t: usize) -> Vec<f32> {
    let flex = |values: Vec<f32>, shape: [usize; 2]| {
        Tensor::<2>::from_primitive::<Flex>(FloatTensor::<Flex>::from_data(TensorData::new(values, shape)))
    };
    let shared = flex(x.to_vec(), [t, w.k]);
    let panels: Vec<Range<usize>> = (0..w.n).step_by(PANEL).map(|from| from..w.n.min(from + PANEL)).collect();
    let mut parts: Vec<Vec<f32>> = vec![Vec::new(); panels.len()];
    in_pieces(&mut parts, 1, w.n * w.k, |at, parts| {
        let rows = panels[at].clone();
        let mut panel = vec![0.0; rows.len() * w.k];
        Arch::new().dispatch(Unpack { w, rows: rows.clone(), out: &mut panel });
        let y = shared.clone().matmul(flex(panel, [rows.len(), w.k]).transpose());
        parts[0] = y.into_data().try_into_vec().expect("a product of f32 is f32");
    });
    let mut out = vec![0.0; t * w.n];
    for (rows, part) in panels.into_iter().zip(parts) {
        for (row, values) in part.chunks_exact(rows.len()).enumerate() {
            out[row * w.n + rows.start..][..rows.len()].copy_from_slice(values);
        }
    }
    out
}

/// Calls `work` with pieces of `out` of `size` elements and the place of their first, on all cores
/// if the weight has many numbers.
#[cfg(not(target_arch = "wasm32"))]
fn in_pieces<T: Send>(out: &mut [T], size: usize, numbers: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    use rayon::prelude::*;

    match numbers < SMALL {
        true => out.chunks_mut(size).enumerate().for_each(|(at, piece)| work(at * size, piece)),
        false => out.par_chunks_mut(size).enumerate().for_each(|(at, piece)| work(at * size, piece)),
    }
}

/// A browser's worker has one core.
#[cfg(target_arch = "wasm32")]
fn in_pieces<T>(out: &mut [T], size: usize, _numbers: usize, work: impl Fn(usize, &mut [T])) {
    out.chunks_mut(size).enumerate().for_each(|(at, piece)| work(at * size, piece));
}

/// Rows of the weight from `first` on, times `t` rows of x.
struct Few<'a> {
    /// [T, K]
    x: &'a [f32],
    /// [T, K/32]: the sum of each block of x, where the form has floors.
    sums: &'a [f32],
    w: &'a Matrix<'a>,
    t: usize,
    first: usize,
    /// [rows, T]
    out: &'a mut [f32],
}

impl NullaryFnOnce for Few<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Few { x, sums, w, t, first, out } = self;
        let mut scales = RowScales::new(w);
        for (row, out) in (first..).zip(out.chunks_exact_mut(t)) {
            let quants = w.row(row);
            scales.read(w, row);
            for (from, out) in (0..).step_by(FEW_ROWS).zip(out.chunks_mut(FEW_ROWS)) {
                let x = &x[from * w.k..][..out.len() * w.k];
                match out.len() {
                    1 => sums_of::<1>(x, quants, w, &scales.scales, out),
                    2 => sums_of::<2>(x, quants, w, &scales.scales, out),
                    3 => sums_of::<3>(x, quants, w, &scales.scales, out),
                    4 => sums_of::<4>(x, quants, w, &scales.scales, out),
                    5 => sums_of::<5>(x, quants, w, &scales.scales, out),
                    6 => sums_of::<6>(x, quants, w, &scales.scales, out),
                    7 => sums_of::<7>(x, quants, w, &scales.scales, out),
                    _ => sums_of::<8>(x, quants, w, &scales.scales, out),
                }
            }
            if w.form.has_floor() {
                let blocks = w.k / BLOCK;
                for (value, sums) in out.iter_mut().zip(sums.chunks_exact(blocks)) {
                    *value += scales.floors.iter().zip(sums).map(|(floor, sum)| floor * sum).sum::<f32>();
                }
            }
        }
    }
}

/// Some rows of the weight as f32.
struct Unpack<'a> {
    w: &'a Matrix<'a>,
    rows: Range<usize>,
    /// [rows, K]
    out: &'a mut [f32],
}

impl NullaryFnOnce for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Unpack { w, rows, out } = self;
        let mut scales = RowScales::new(w);
        let group = w.form.group();
        for (row, out) in rows.zip(out.chunks_exact_mut(w.k)) {
            let quants = w.row(row);
            scales.read(w, row);
            for (at, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                let block = numbers(quants, w.form, at);
                let floor = if w.form.has_floor() { scales.floors[at] } else { 0.0 };
                if group == BLOCK {
                    let scale = scales.scales[at];
                    (0..BLOCK).for_each(|i| out[i] = scale * block[i] + floor);
                } else {
                    let [low, high] = [scales.scales[2 * at], scales.scales[2 * at + 1]];
                    (0..BLOCK / 2).for_each(|i| out[i] = low * block[i]);
                    (BLOCK / 2..BLOCK).for_each(|i| out[i] = high * block[i]);
                }
            }
        }
    }
}

impl Matrix<'_> {
    /// The words of a row's integers.
    #[inline(always)]
    fn row(&self, row: usize) -> &[i32] {
        let words = self.form.quant_words(self.k);
        &self.quants[row * words..][..words]
    }
}

/// The integers of block `at` of a row as f32.
#[inline(always)]
fn numbers(quants: &[i32], form: Form, at: usize) -> [f32; BLOCK] {
    match form.bits {
        Bits::Eight => {
            let words: &[i32; BLOCK / 4] = quants[at * BLOCK / 4..][..BLOCK / 4].try_into().unwrap_or(&[0; BLOCK / 4]);
            let bytes: [i8; BLOCK] = bytemuck::cast(*words);
            bytes.map(f32::from)
        }
        Bits::Four => {
            let words: &[i32; BLOCK / 8] = quants[at * BLOCK / 8..][..BLOCK / 8].try_into().unwrap_or(&[0; BLOCK / 8]);
            let bytes: [u8; BLOCK / 2] = bytemuck::cast(*words);
            let offset = form.offset() as f32;
            from_fn(|i| {
                let nibble = if i < BLOCK / 2 { bytes[i] & 15 } else { bytes[i - BLOCK / 2] >> 4 };
                f32::from(nibble) - offset
            })
        }
    }
}

/// The products of `T` rows of x with one row of the weight, without its floors.
#[inline(always)]
fn sums_of<const T: usize>(x: &[f32], quants: &[i32], w: &Matrix, scales: &[f32], out: &mut [f32]) {
    let mut totals = [[0.0f32; LANES]; T];
    let group = w.form.group();
    for at in 0..w.k / BLOCK {
        let block = numbers(quants, w.form, at);
        for (t, total) in totals.iter_mut().enumerate() {
            let Some(x) = x[t * w.k + at * BLOCK..].first_chunk::<BLOCK>() else { return };
            if group == BLOCK {
                add_scaled::<BLOCK>(total, scales[at], &block, x, 0);
            } else {
                add_scaled::<{ BLOCK / 2 }>(total, scales[2 * at], &block, x, 0);
                add_scaled::<{ BLOCK / 2 }>(total, scales[2 * at + 1], &block, x, BLOCK / 2);
            }
        }
    }
    for (out, total) in out.iter_mut().zip(&totals) {
        let half: [f32; 4] = from_fn(|i| total[i] + total[i + 4]);
        *out = (half[0] + half[2]) + (half[1] + half[3]);
    }
}

/// `total += scale · (block · x)` over `LEN` numbers from `from` on, lane by lane.
#[inline(always)]
fn add_scaled<const LEN: usize>(
    total: &mut [f32; LANES],
    scale: f32,
    block: &[f32; BLOCK],
    x: &[f32; BLOCK],
    from: usize,
) {
    let mut sum = [0.0f32; LANES];
    for at in (from..from + LEN).step_by(LANES) {
        for lane in 0..LANES {
            sum[lane] += block[at + lane] * x[at + lane];
        }
    }
    for lane in 0..LANES {
        total[lane] += scale * sum[lane];
    }
}

/// The scales of one row as f32.
struct RowScales {
    /// One a group.
    scales: Vec<f32>,
    /// One a block, where the form has floors.
    floors: Vec<f32>,
}

impl RowScales {
    fn new(w: &Matrix) -> Self {
        let floors = if w.form.has_floor() { w.k / BLOCK } else { 0 };
        Self { scales: vec![0.0; w.k / w.form.group()], floors: vec![0.0; floors] }
    }

    /// The same numbers as [`Form::scale`] gives one by one.
    #[inline(always)]
    fn read(&mut self, w: &Matrix, row: usize) {
        let words = w.form.scale_words(w.k);
        let row = &w.scales[row * words..][..words];
        match w.form.scales {
            Scales::One => {
                for (two, word) in self.scales.chunks_mut(2).zip(row) {
                    two[0] = half(*word);
                    if let [_, odd] = two {
                        *odd = half(*word >> 16);
                    }
                }
            }
            Scales::Floor => {
                for ((scale, floor), word) in self.scales.iter_mut().zip(&mut self.floors).zip(row) {
                    (*scale, *floor) = (half(*word), half(*word >> 16));
                }
            }
            Scales::Steps32 => {
                let groups = self.scales.as_chunks_mut::<{ SUPER_BLOCK / BLOCK }>().0.iter_mut();
                let floors = self.floors.as_chunks_mut::<{ SUPER_BLOCK / BLOCK }>().0.iter_mut();
                for ((scales, floors), words) in groups.zip(floors).zip(row.as_chunks::<SUPER_WORDS>().0) {
                    let (d, dmin) = (half(words[0]), half(words[0] >> 16));
                    for at in 0..8 {
                        let step = words[1 + at / 2] >> (16 * (at % 2));
                        scales[at] = d * (step & 255) as f32;
                        floors[at] = -(dmin * (step >> 8 & 255) as f32);
                    }
                }
            }
            Scales::Steps16 => {
                for (scales, words) in self.scales.as_chunks_mut::<16>().0.iter_mut().zip(row.as_chunks::<SUPER_WORDS>().0) {
                    let d = half(words[0]);
                    for (at, scale) in scales.iter_mut().enumerate() {
                        *scale = d * (words[1 + at / 4] << (24 - 8 * (at % 4)) >> 24) as f32;
                    }
                }
            }
        }
    }
}

/// The f16 in the low half of a word, which is finite. Shifted into the place of an f32's exponent,
/// it is too small by 2^112; that also holds for subnormal numbers.
#[inline(always)]
fn half(word: i32) -> f32 {
    let bits = word.cast_unsigned();
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_is_read() {
        for bits in (0..=u16::MAX).filter(|bits| half::f16::from_bits(*bits).is_finite()) {
            assert_eq!(half(i32::from(bits)).to_bits(), half::f16::from_bits(bits).to_f32().to_bits(), "{bits:#x}");
        }
    }
}
