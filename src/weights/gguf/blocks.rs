//! Quantized numbers: blocks of small integers with scales, and how they become [`Quants`].
//!
//! | type | numbers | bytes | layout | number |
//! |---|---|---|---|---|
//! | Q8_0 | 32 | 34 | d, i8 q\[32\] | d·q |
//! | Q4_0 | 32 | 18 | d, nibbles\[16\] | d·(x − 8) |
//! | Q4_1 | 32 | 20 | d, m, nibbles\[16\] | d·x + m |
//! | Q5_0 | 32 | 22 | d, high bits u32, nibbles\[16\] | d·(x − 16) |
//! | Q5_1 | 32 | 24 | d, m, high bits u32, nibbles\[16\] | d·x + m |
//! | Q4_K | 256 | 144 | d, dmin, 6-bit scales\[12\], nibbles\[128\] | (d·sc)·x − (dmin·mn) |
//! | Q5_K | 256 | 176 | d, dmin, 6-bit scales\[12\], high bits\[32\], nibbles\[128\] | the same |
//! | Q6_K | 256 | 210 | low nibbles\[128\], high pairs\[64\], i8 sc\[16\], d | (d·sc)·(x − 32) |
//!
//! d, m and dmin are f16. Every product and sum is rounded to f32 on its own, so the results equal
//! those of other programs bit for bit. Low nibbles are the first half of a group, high nibbles the
//! second. Source: docs/models.md, section 5.3.

use std::array::from_fn;

use half::f16;

use crate::weights::quants::{Bits, Form, Quants, Scales};

/// The type of a quantized tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(non_camel_case_types)] // the names that the format has
pub(crate) enum Blocks {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

impl Blocks {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Blocks::Q4_0 => "Q4_0",
            Blocks::Q4_1 => "Q4_1",
            Blocks::Q5_0 => "Q5_0",
            Blocks::Q5_1 => "Q5_1",
            Blocks::Q8_0 => "Q8_0",
            Blocks::Q4_K => "Q4_K",
            Blocks::Q5_K => "Q5_K",
            Blocks::Q6_K => "Q6_K",
        }
    }

    /// The numbers of a block.
    pub(crate) fn values(self) -> usize {
        match self {
            Blocks::Q4_K | Blocks::Q5_K | Blocks::Q6_K => 256,
            _ => 32,
        }
    }

    /// The bytes of a block.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Blocks::Q4_0 => 18,
            Blocks::Q4_1 => 20,
            Blocks::Q5_0 => 22,
            Blocks::Q5_1 => 24,
            Blocks::Q8_0 => 34,
            Blocks::Q4_K => 144,
            Blocks::Q5_K => 176,
            Blocks::Q6_K => 210,
        }
    }

    /// The form whose integers and scales are exactly those of the blocks.
    pub(crate) fn form(self) -> Form {
        let (bits, scales) = match self {
            Blocks::Q4_0 => (Bits::Four, Scales::One),
            Blocks::Q4_1 => (Bits::Four, Scales::Floor),
            Blocks::Q5_0 | Blocks::Q8_0 => (Bits::Eight, Scales::One),
            Blocks::Q5_1 => (Bits::Eight, Scales::Floor),
            Blocks::Q4_K => (Bits::Four, Scales::Steps32),
            Blocks::Q5_K => (Bits::Eight, Scales::Steps32),
            Blocks::Q6_K => (Bits::Eight, Scales::Steps16),
        };
        Form { bits, scales }
    }

    /// Appends the numbers of `bytes`, which are whole blocks.
    pub(crate) fn unpack(self, bytes: &[u8], out: &mut Vec<f32>) {
        if bytes.is_empty() {
            return;
        }
        let mut quants = Quants::new(self.form(), bytes.len() / self.bytes() * self.values());
        self.repack(bytes, &mut quants);
        out.append(&mut quants.unpack());
    }

    /// Appends `bytes`, which are whole blocks, to `out`, which has the form of the blocks.
    pub(crate) fn repack(self, bytes: &[u8], out: &mut Quants) {
        match self {
            Blocks::Q4_0 => bytes.as_chunks().0.iter().for_each(|block| q4_0(block, out)),
            Blocks::Q4_1 => bytes.as_chunks().0.iter().for_each(|block| q4_1(block, out)),
            Blocks::Q5_0 => bytes.as_chunks().0.iter().for_each(|block| q5_0(block, out)),
            Blocks::Q5_1 => bytes.as_chunks().0.iter().for_each(|block| q5_1(block, out)),
            Blocks::Q8_0 => bytes.as_chunks().0.iter().for_each(|block| q8_0(block, out)),
            Blocks::Q4_K => bytes.as_chunks().0.iter().for_each(|block| q4_k(block, out)),
            Blocks::Q5_K => bytes.as_chunks().0.iter().for_each(|block| q5_k(block, out)),
            Blocks::Q6_K => bytes.as_chunks().0.iter().for_each(|block| q6_k(block, out)),
        }
    }
}

/// The f16 at `at`.
fn half(block: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([block[at], block[at + 1]])
}

/// The word with two f16, the first in its low half.
fn halves(low: f16, high: f16) -> i32 {
    (u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16).cast_signed()
}

/// Number `at` of the nibbles of 16 bytes: all low ones, then all high ones.
fn nibble(bytes: &[u8], at: usize) -> i8 {
    (if at < 16 { bytes[at] & 15 } else { bytes[at - 16] >> 4 }).cast_signed()
}

/// The fifth bit of number `at` as 16 or 0, from the 32 bits at the beginning of `bytes`.
fn fifth_bit(bytes: &[u8], at: usize) -> i8 {
    (bytes[at / 8] >> (at % 8) & 1).cast_signed() << 4
}

fn q4_0(block: &[u8; 18], out: &mut Quants) {
    out.push_one(half(block, 0));
    out.push(&from_fn(|at| nibble(&block[2..], at)));
}

fn q4_1(block: &[u8; 20], out: &mut Quants) {
    out.push_scales(&[halves(half(block, 0), half(block, 2))]);
    out.push(&from_fn(|at| nibble(&block[4..], at)));
}

fn q5_0(block: &[u8; 22], out: &mut Quants) {
    out.push_one(half(block, 0));
    out.push(&from_fn(|at| (nibble(&block[6..], at) | fifth_bit(&block[2..], at)) - 16));
}

fn q5_1(block: &[u8; 24], out: &mut Quants) {
    out.push_scales(&[halves(half(block, 0), half(block, 2))]);
    out.push(&from_fn(|at| nibble(&block[8..], at) | fifth_bit(&block[4..], at)));
}

fn q8_0(block: &[u8; 34], out: &mut Quants) {
    out.push_one(half(block, 0));
    out.push(&from_fn(|at| block[2 + at].cast_signed()));
}

/// The step and the floor of one of eight groups, 6 bits each, from the 12 bytes `s`.
fn step_and_floor(s: &[u8], group: usize) -> [u8; 2] {
    match group {
        0..4 => [s[group] & 63, s[group + 4] & 63],
        _ => {
            let both = s[group + 4];
            [both & 15 | s[group - 4] >> 6 << 4, both >> 4 | s[group] >> 6 << 4]
        }
    }
}

fn q4_k(block: &[u8; 144], out: &mut Quants) {
    k_groups(&block[..16], None, &block[16..], out);
}

fn q5_k(block: &[u8; 176], out: &mut Quants) {
    k_groups(&block[..16], Some(&block[16..48]), &block[48..], out);
}

/// Eight groups of 32 numbers. Two groups share 32 bytes of `low`: the low nibbles, then the high
/// ones. Bit g of `high[l]` is the fifth bit of number l of group g.
fn k_groups(scales: &[u8], high: Option<&[u8]>, low: &[u8], out: &mut Quants) {
    let steps: [[u8; 2]; 8] = from_fn(|group| step_and_floor(&scales[4..], group));
    let words = steps.as_chunks::<2>().0.iter().map(|[a, b]| i32::from_le_bytes([a[0], a[1], b[0], b[1]]));
    out.push_scales(&[halves(half(scales, 0), half(scales, 2))]);
    words.for_each(|word| out.push_scales(&[word]));
    for group in 0..8 {
        let bytes = &low[group / 2 * 32..][..32];
        out.push(&from_fn(|at| {
            let low = if group.is_multiple_of(2) { bytes[at] & 15 } else { bytes[at] >> 4 };
            let high = high.map_or(0, |high| (high[at] >> group & 1) << 4);
            (low | high).cast_signed()
        }));
    }
}

/// Two halves of 128 numbers, each in four runs of 32, with a scale for every 16 numbers.
fn q6_k(block: &[u8; 210], out: &mut Quants) {
    out.push_scales(&[halves(half(block, 208), f16::ZERO)]);
    block[192..208].as_chunks().0.iter().for_each(|steps| out.push_scales(&[i32::from_le_bytes(*steps)]));
    for upper in 0..2 {
        let (low, high) = (&block[upper * 64..][..64], &block[128 + upper * 32..][..32]);
        for run in 0..4 {
            out.push(&from_fn(|at| {
                let byte = low[run % 2 * 32 + at];
                let nibble = if run < 2 { byte & 15 } else { byte >> 4 };
                (nibble | (high[at] >> (2 * run) & 3) << 4).cast_signed() - 32
            }));
        }
    }
}
