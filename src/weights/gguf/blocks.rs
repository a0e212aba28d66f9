//! Quantized numbers: blocks of small integers with scales, and their unpacking.
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

use half::f16;

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

    /// Appends the numbers of `bytes`, which are whole blocks.
    pub(crate) fn unpack(self, bytes: &[u8], out: &mut Vec<f32>) {
        out.reserve(bytes.len() / self.bytes() * self.values());
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
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The nibbles of 16 bytes: all low ones, then all high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// The 32 fifth bits at `at`, one for each number, each as 16 or 0.
fn fifth_bits(block: &[u8], at: usize) -> impl Iterator<Item = u8> {
    let bits = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    (0..32).map(move |number| ((bits >> number & 1) as u8) << 4)
}

fn q4_0(block: &[u8; 18], out: &mut Vec<f32>) {
    let d = half(block, 0);
    out.extend(nibbles(&block[2..]).map(|x| d * (f32::from(x) - 8.0)));
}

fn q4_1(block: &[u8; 20], out: &mut Vec<f32>) {
    let (d, m) = (half(block, 0), half(block, 2));
    out.extend(nibbles(&block[4..]).map(|x| d * f32::from(x) + m));
}

fn q5_0(block: &[u8; 22], out: &mut Vec<f32>) {
    let d = half(block, 0);
    out.extend(nibbles(&block[6..]).zip(fifth_bits(block, 2)).map(|(x, high)| d * (f32::from(x | high) - 16.0)));
}

fn q5_1(block: &[u8; 24], out: &mut Vec<f32>) {
    let (d, m) = (half(block, 0), half(block, 2));
    out.extend(nibbles(&block[8..]).zip(fifth_bits(block, 4)).map(|(x, high)| d * f32::from(x | high) + m));
}

fn q8_0(block: &[u8; 34], out: &mut Vec<f32>) {
    let d = half(block, 0);
    out.extend(block[2..].iter().map(|q| d * f32::from(q.cast_signed())));
}

/// The scale and the minimum of one of eight groups, 6 bits each, from the 12 bytes `s`.
fn scale_and_minimum(s: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = match group {
        0..4 => (s[group] & 63, s[group + 4] & 63),
        _ => {
            let both = s[group + 4];
            (both & 15 | s[group - 4] >> 6 << 4, both >> 4 | s[group] >> 6 << 4)
        }
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4_k(block: &[u8; 144], out: &mut Vec<f32>) {
    k_groups(&block[..16], None, &block[16..], out);
}

fn q5_k(block: &[u8; 176], out: &mut Vec<f32>) {
    k_groups(&block[..16], Some(&block[16..48]), &block[48..], out);
}

/// Eight groups of 32 numbers. Two groups share 32 bytes of `low`: the low nibbles, then the high
/// ones. Bit g of `high[l]` is the fifth bit of number l of group g.
fn k_groups(scales: &[u8], high: Option<&[u8]>, low: &[u8], out: &mut Vec<f32>) {
    let (d, dmin) = (half(scales, 0), half(scales, 2));
    for group in 0..8 {
        let (scale, minimum) = scale_and_minimum(&scales[4..], group);
        let (scale, minimum) = (d * scale, dmin * minimum);
        let bytes = &low[group / 2 * 32..][..32];
        out.extend(bytes.iter().enumerate().map(|(at, byte)| {
            let low = if group.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
            let high = high.map_or(0, |high| (high[at] >> group & 1) << 4);
            scale * f32::from(low | high) - minimum
        }));
    }
}

/// Two halves of 128 numbers, each in four runs of 32, with a scale for every 16 numbers.
fn q6_k(block: &[u8; 210], out: &mut Vec<f32>) {
    let d = half(block, 208);
    for upper in 0..2 {
        let (low, high) = (&block[upper * 64..][..64], &block[128 + upper * 32..][..32]);
        let scales = &block[192 + upper * 8..][..8];
        for run in 0..4 {
            out.extend((0..32).map(|at| {
                let byte = low[run % 2 * 32 + at];
                let nibble = if run < 2 { byte & 15 } else { byte >> 4 };
                let x = nibble | (high[at] >> (2 * run) & 3) << 4;
                let scale = d * f32::from(scales[run * 2 + at / 16].cast_signed());
                scale * (f32::from(x) - 32.0)
            }));
        }
    }
}
