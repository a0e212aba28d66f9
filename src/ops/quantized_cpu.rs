//! Products with quantized weights on the CPU, over all cores.
//!
//! A few rows of x: each row of the weight is read once. Its integers become f32 in registers, and
//! the sum of a block is scaled once. That is little enough arithmetic to keep up with memory: a
//! decoding step takes as long as reading the weights (docs/measurements.md).
//!
//! Many rows of x: panels of the weight are unpacked, and Burn's product computes with them.
//!
//! The loops are written once, on vectors of 8 ([`Lanes`]). On x86-64 with AVX2 these are the
//! processor's own, through `pulp`, which makes them safe. Elsewhere they are arrays, from which
//! the compiler makes what it can.

use std::ops::Range;

use burn::backend::{Flex, tensor::FloatTensor};
use burn::tensor::{Tensor, TensorData};
use pulp::{Arch, NullaryFnOnce};

use super::quantized::adds_floors;
use crate::weights::quants::{BLOCK, Bits, Form, SUPER_BLOCK, SUPER_WORDS, Scales};

/// The most rows of x that share one reading of the weight's integers.
const FEW_ROWS: usize = 8;
/// The most rows of x that are computed without unpacking.
const MOST_FEW: usize = 4 * FEW_ROWS;
/// Rows of a panel.
const PANEL: usize = 128;
/// Pieces of a weight that cores take one after another.
const PIECES: usize = 64;
/// The fewest rows of a piece.
const LEAST_PIECE: usize = 16;
/// Numbers of a vector.
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
    if t <= MOST_FEW { few_rows(x, w, t) } else { many_rows(x, w, t) }
}

/// → `[N, K]`.
pub(super) fn unpack(w: &Matrix) -> Vec<f32> {
    let mut out = vec![0.0; w.n * w.k];
    vectorized(Unpack { w, rows: 0..w.n, out: &mut out });
    out
}

fn few_rows(x: &[f32], w: &Matrix, t: usize) -> Vec<f32> {
    // [N, T]: every core writes a piece of its own.
    let mut turned = vec![0.0; w.n * t];
    let sums: Vec<f32> = match adds_floors(w.form) {
        true => x.chunks_exact(BLOCK).map(|block| block.iter().sum()).collect(),
        false => Vec::new(),
    };
    let piece = w.n.div_ceil(PIECES).max(LEAST_PIECE);
    in_pieces(&mut turned, piece * t, w.n * w.k, |first, out| {
        vectorized(Few { x, sums: &sums, w, t, first: first / t, out });
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
        vectorized(Unpack { w, rows: rows.clone(), out: &mut panel });
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
///
/// The calling thread takes pieces like the others. So it need not sleep and be woken for every
/// product, and a core that is late only takes fewer.
#[cfg(not(target_arch = "wasm32"))]
fn in_pieces<T: Send>(out: &mut [T], size: usize, numbers: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    use std::sync::{Mutex, PoisonError};

    /// Numbers of a weight below which other cores are not worth waking.
    const SMALL: usize = 1 << 19;

    let cores = if numbers < SMALL { 1 } else { rayon::current_num_threads() };
    let pieces = Mutex::new(out.chunks_mut(size).enumerate());
    let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take = || {
        while let Some((at, piece)) = next() {
            work(at * size, piece);
        }
    };
    rayon::in_place_scope(|scope| {
        (1..cores).for_each(|_| scope.spawn(|_| take()));
        take();
    });
}

/// A browser's worker has one core.
#[cfg(target_arch = "wasm32")]
fn in_pieces<T>(out: &mut [T], size: usize, _numbers: usize, work: impl Fn(usize, &mut [T])) {
    out.chunks_mut(size).enumerate().for_each(|(at, piece)| work(at * size, piece));
}

/// Vectors of 8 numbers.
trait Lanes: Copy {
    type Vector: Copy;
    fn splat(self, value: f32) -> Self::Vector;
    fn load(self, values: &[f32; LANES]) -> Self::Vector;
    fn store(self, vector: Self::Vector) -> [f32; LANES];
    /// `a·b + c`
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    fn signed(self, bytes: [u8; LANES]) -> Self::Vector;
    fn unsigned(self, bytes: [u8; LANES]) -> Self::Vector;
    /// The two f16 of each word, the low one first. They are finite.
    fn halves(self, words: [i32; LANES / 2]) -> Self::Vector;
}

/// Vectors as arrays.
#[derive(Clone, Copy)]
struct Arrays;

impl Lanes for Arrays {
    type Vector = [f32; LANES];

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> [f32; LANES] {
        *values
    }

    #[inline(always)]
    fn store(self, vector: [f32; LANES]) -> [f32; LANES] {
        vector
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; LANES], b: [f32; LANES], mut c: [f32; LANES]) -> [f32; LANES] {
        for lane in 0..LANES {
            c[lane] += a[lane] * b[lane];
        }
        c
    }

    #[inline(always)]
    fn signed(self, bytes: [u8; LANES]) -> [f32; LANES] {
        bytes.map(|byte| f32::from(byte.cast_signed()))
    }

    #[inline(always)]
    fn unsigned(self, bytes: [u8; LANES]) -> [f32; LANES] {
        bytes.map(f32::from)
    }

    #[inline(always)]
    fn halves(self, words: [i32; LANES / 2]) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        for (two, word) in out.as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *two = [half(word), half(word >> 16)];
        }
        out
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{__m128i, __m256};

    use pulp::{cast, x86::V3};

    use super::{LANES, Lanes};

    impl Lanes for V3 {
        type Vector = __m256;

        #[inline(always)]
        fn splat(self, value: f32) -> __m256 {
            self.avx._mm256_set1_ps(value)
        }

        #[inline(always)]
        fn load(self, values: &[f32; LANES]) -> __m256 {
            cast(*values)
        }

        #[inline(always)]
        fn store(self, vector: __m256) -> [f32; LANES] {
            cast(vector)
        }

        #[inline(always)]
        fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            self.fma._mm256_fmadd_ps(a, b, c)
        }

        #[inline(always)]
        fn signed(self, bytes: [u8; LANES]) -> __m256 {
            self.avx._mm256_cvtepi32_ps(self.avx2._mm256_cvtepi8_epi32(low(bytes)))
        }

        #[inline(always)]
        fn unsigned(self, bytes: [u8; LANES]) -> __m256 {
            self.avx._mm256_cvtepi32_ps(self.avx2._mm256_cvtepu8_epi32(low(bytes)))
        }

        #[inline(always)]
        fn halves(self, words: [i32; LANES / 2]) -> __m256 {
            // As `half` does it.
            let bits = self.avx2._mm256_cvtepu16_epi32(cast(words));
            let magnitude = self.avx2._mm256_and_si256(bits, self.avx._mm256_set1_epi32(0x7fff));
            let shifted: __m256 = cast(self.avx2._mm256_slli_epi32::<13>(magnitude));
            let scaled = self.avx._mm256_mul_ps(shifted, self.splat(f32::from_bits(0x7780_0000)));
            let sign = self.avx2._mm256_and_si256(bits, self.avx._mm256_set1_epi32(0x8000));
            let sign: __m256 = cast(self.avx2._mm256_slli_epi32::<16>(sign));
            self.avx._mm256_or_ps(scaled, sign)
        }
    }

    /// The bytes in the low half of a vector.
    #[inline(always)]
    fn low(bytes: [u8; LANES]) -> __m128i {
        cast([u64::from_le_bytes(bytes), 0])
    }
}

/// Something to compute on vectors.
trait Work {
    fn on<L: Lanes>(self, lanes: L);
}

/// Computes on the best vectors that the processor has.
fn vectorized(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    if let Some(lanes) = pulp::x86::V3::try_new() {
        return lanes.vectorize(On { lanes, work });
    }
    Arch::new().dispatch(On { lanes: Arrays, work });
}

struct On<L, W> {
    lanes: L,
    work: W,
}

impl<L: Lanes, W: Work> NullaryFnOnce for On<L, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.work.on(self.lanes);
    }
}

/// Rows of the weight from `first` on, times `t` rows of x.
struct Few<'a> {
    /// [T, K]
    x: &'a [f32],
    /// [T, K/32]: the sum of each block of x, where there are floors.
    sums: &'a [f32],
    w: &'a Matrix<'a>,
    t: usize,
    first: usize,
    /// [rows, T]
    out: &'a mut [f32],
}

impl Work for Few<'_> {
    #[inline(always)]
    fn on<L: Lanes>(self, lanes: L) {
        let Few { x, sums, w, t, first, out } = self;
        let mut scales = RowScales::new(w);
        for (row, out) in (first..).zip(out.chunks_exact_mut(t)) {
            let quants = w.row(row);
            scales.read(lanes, w, row);
            match (w.form.bits, w.form.group()) {
                (Bits::Four, _) => products::<L, FOUR>(lanes, x, quants, w.k, &scales.scales, out),
                (Bits::Eight, BLOCK) => products::<L, EIGHT>(lanes, x, quants, w.k, &scales.scales, out),
                (Bits::Eight, _) => products::<L, EIGHT_HALVES>(lanes, x, quants, w.k, &scales.scales, out),
            }
            if !scales.floors.is_empty() {
                for (value, sums) in out.iter_mut().zip(sums.chunks_exact(scales.floors.len())) {
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

impl Work for Unpack<'_> {
    #[inline(always)]
    fn on<L: Lanes>(self, lanes: L) {
        let Unpack { w, rows, out } = self;
        let mut scales = RowScales::new(w);
        let (groups, halves) = (BLOCK / w.form.group(), BLOCK / LANES / 2);
        for (row, out) in rows.zip(out.chunks_exact_mut(w.k)) {
            let quants = w.row(row);
            scales.read(lanes, w, row);
            for (at, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                let block = match w.form.bits {
                    Bits::Four => integers::<L, FOUR>(lanes, quants, at),
                    Bits::Eight => integers::<L, EIGHT>(lanes, quants, at),
                };
                let of_block = &scales.scales[at * groups..][..groups];
                let (low, high) = (lanes.splat(of_block[0]), lanes.splat(of_block[groups - 1]));
                let floor = lanes.splat(scales.floors.get(at).copied().unwrap_or(0.0));
                for (part, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    let scale = if part < halves { low } else { high };
                    *out = lanes.store(lanes.mul_add(scale, block[part], floor));
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

/// Blocks of 4 bits with a scale each.
const FOUR: u8 = 0;
/// Blocks of 8 bits with a scale each.
const EIGHT: u8 = 1;
/// Blocks of 8 bits with a scale for each half.
const EIGHT_HALVES: u8 = 2;

/// Words of a block.
const fn words_of(kind: u8) -> usize {
    if kind == FOUR { BLOCK / 8 } else { BLOCK / 4 }
}

/// The integers of block `at` of a row, without their offset.
#[inline(always)]
fn integers<L: Lanes, const KIND: u8>(lanes: L, quants: &[i32], at: usize) -> [L::Vector; BLOCK / LANES] {
    let two = |words: &[i32], first: usize| bytemuck::cast::<[i32; 2], [u8; LANES]>([words[first], words[first + 1]]);
    if KIND == FOUR {
        let words = &quants[at * (BLOCK / 8)..][..BLOCK / 8];
        let both = [u64::from_le_bytes(two(words, 0)), u64::from_le_bytes(two(words, 2))];
        let part = |bytes: u64| lanes.unsigned((bytes & 0x0f0f_0f0f_0f0f_0f0f).to_le_bytes());
        [part(both[0]), part(both[1]), part(both[0] >> 4), part(both[1] >> 4)]
    } else {
        let words = &quants[at * (BLOCK / 4)..][..BLOCK / 4];
        let part = |first| lanes.signed(two(words, first));
        [part(0), part(2), part(4), part(6)]
    }
}

/// The products of the rows of x, one for each of `out`, with one row of the weight, without its
/// floors.
#[inline(always)]
fn products<L: Lanes, const KIND: u8>(lanes: L, x: &[f32], quants: &[i32], k: usize, scales: &[f32], out: &mut [f32]) {
    for (from, out) in (0..).step_by(FEW_ROWS).zip(out.chunks_mut(FEW_ROWS)) {
        let x = &x[from * k..][..out.len() * k];
        match out.len() {
            1 => sums_of::<L, KIND, 1>(lanes, x, quants, k, scales, out),
            2 => sums_of::<L, KIND, 2>(lanes, x, quants, k, scales, out),
            3 => sums_of::<L, KIND, 3>(lanes, x, quants, k, scales, out),
            4 => sums_of::<L, KIND, 4>(lanes, x, quants, k, scales, out),
            5 => sums_of::<L, KIND, 5>(lanes, x, quants, k, scales, out),
            6 => sums_of::<L, KIND, 6>(lanes, x, quants, k, scales, out),
            7 => sums_of::<L, KIND, 7>(lanes, x, quants, k, scales, out),
            _ => sums_of::<L, KIND, 8>(lanes, x, quants, k, scales, out),
        }
    }
}

/// The same for `T` rows.
#[inline(always)]
fn sums_of<L: Lanes, const KIND: u8, const T: usize>(
    lanes: L,
    x: &[f32],
    quants: &[i32],
    k: usize,
    scales: &[f32],
    out: &mut [f32],
) {
    let blocks = k / BLOCK;
    let mut rows: [&[[f32; BLOCK]]; T] = [&[]; T];
    for (row, x) in rows.iter_mut().zip(x.chunks_exact(k)) {
        *row = &x.as_chunks().0[..blocks];
    }
    let (quants, scales) =
        (&quants[..blocks * words_of(KIND)], &scales[..blocks * (1 + usize::from(KIND == EIGHT_HALVES))]);
    let mut totals = [lanes.splat(0.0); T];
    for at in 0..blocks {
        let block = integers::<L, KIND>(lanes, quants, at);
        for (x, total) in rows.iter().zip(&mut totals) {
            let x = x[at].as_chunks::<LANES>().0;
            let low = lanes.mul_add(block[0], lanes.load(&x[0]), lanes.splat(0.0));
            let low = lanes.mul_add(block[1], lanes.load(&x[1]), low);
            let (scale, from) = if KIND == EIGHT_HALVES {
                *total = lanes.mul_add(lanes.splat(scales[2 * at]), low, *total);
                (scales[2 * at + 1], lanes.splat(0.0))
            } else {
                (scales[at], low)
            };
            let high = lanes.mul_add(block[2], lanes.load(&x[2]), from);
            let high = lanes.mul_add(block[3], lanes.load(&x[3]), high);
            *total = lanes.mul_add(lanes.splat(scale), high, *total);
        }
    }
    for (out, total) in out.iter_mut().zip(totals) {
        let lanes = lanes.store(total);
        let half = [lanes[0] + lanes[4], lanes[1] + lanes[5], lanes[2] + lanes[6], lanes[3] + lanes[7]];
        *out = (half[0] + half[2]) + (half[1] + half[3]);
    }
}

/// The scales of one row as f32.
struct RowScales {
    /// One a group, then as many more as fill the last vector.
    scales: Vec<f32>,
    /// One a block, where there are floors.
    floors: Vec<f32>,
}

impl RowScales {
    fn new(w: &Matrix) -> Self {
        let floors = if adds_floors(w.form) { w.k / BLOCK } else { 0 };
        let scales = (w.k / w.form.group()).next_multiple_of(LANES);
        Self { scales: vec![0.0; scales], floors: vec![0.0; floors] }
    }

    /// The same numbers as [`Form::scale`] gives one by one, with the offset of Q4 as a floor.
    #[inline(always)]
    fn read<L: Lanes>(&mut self, lanes: L, w: &Matrix, row: usize) {
        let words = w.form.scale_words(w.k);
        let row = &w.scales[row * words..][..words];
        match w.form.scales {
            Scales::One => {
                let (whole, rest) = row.as_chunks::<{ LANES / 2 }>();
                let mut words = [0; LANES / 2];
                for (word, last) in words.iter_mut().zip(rest) {
                    *word = *last;
                }
                let vectors = self.scales.as_chunks_mut::<LANES>().0;
                for (vector, words) in vectors.iter_mut().zip(whole.iter().chain([&words])) {
                    *vector = lanes.store(lanes.halves(*words));
                }
                let offset = -w.form.offset() as f32;
                for (floor, scale) in self.floors.iter_mut().zip(&self.scales) {
                    *floor = offset * scale;
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
                for (scales, words) in
                    self.scales.as_chunks_mut::<16>().0.iter_mut().zip(row.as_chunks::<SUPER_WORDS>().0)
                {
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
    use crate::weights::quants::Quants;

    /// Elsewhere than on x86-64 only arrays are used, so they are tested here as well.
    #[test]
    fn arrays_compute_what_vectors_compute() {
        for bits in [Bits::Four, Bits::Eight] {
            for scales in [Scales::One, Scales::Floor, Scales::Steps32, Scales::Steps16] {
                let (form, n, k, t) = (Form { bits, scales }, 3, SUPER_BLOCK, 11);
                if bits == Bits::Four && form.group() != BLOCK {
                    continue; // no format has this form
                }
                let word = |i: usize| (i as i32).wrapping_mul(0x2c1b_3c6d) & 0x3fff_1fff;
                let quants = (0..n * form.quant_words(k)).map(|i| (i as i32).wrapping_mul(0x2c1b_3c6d)).collect();
                let scales = (0..n * form.scale_words(k)).map(word).collect();
                let rows = Quants::from_words(form, k, quants, scales);
                let w = Matrix { quants: &rows.quants, scales: &rows.scales, form, n, k };
                let x: Vec<f32> = (0..t * k).map(|i| (i % 23) as f32 - 11.0).collect();
                let sums: Vec<f32> = x.chunks_exact(BLOCK).map(|block| block.iter().sum()).collect();
                let (mut few, mut all) = (vec![0.0; n * t], vec![0.0; n * k]);
                Few { x: &x, sums: &sums, w: &w, t, first: 0, out: &mut few }.on(Arrays);
                Unpack { w: &w, rows: 0..n, out: &mut all }.on(Arrays);
                let near = |a: &[f32], b: &[f32]| {
                    let largest = b.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                    assert!(largest > 0.0 && a.len() == b.len());
                    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * largest)
                };
                assert!(near(&all, &rows.unpack()), "{form:?}");
                let product = product(&x, &w);
                let turned: Vec<f32> = (0..t * n).map(|i| few[i % n * t + i / n]).collect();
                assert!(near(&turned, &product), "{form:?}");
            }
        }
    }

    #[test]
    fn every_finite_half_is_read() {
        for bits in (0..=u16::MAX).filter(|bits| half::f16::from_bits(*bits).is_finite()) {
            assert_eq!(half(i32::from(bits)).to_bits(), half::f16::from_bits(bits).to_f32().to_bits(), "{bits:#x}");
        }
    }
}
