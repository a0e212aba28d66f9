//! Quantized matrices in the form in which they are computed with: small integers and their scales,
//! in two arrays of whole words. (docs/quantization.md)
//!
//! quants [N, K·bits/32] i32   rows one after another, K in order
//! scales [N, S]         i32   what turns a row's integers into numbers
//!
//! A block is 32 integers in a row. In 8 bits, byte j of word i of a block is integer 4i + j,
//! signed. In 4 bits, the low half of byte j of word i is integer 4i + j, and the high half is
//! integer 16 + 4i + j, unsigned.
//!
//! | [`Scales`] | S | words | number |
//! |---|---|---|---|
//! | `One` | ⌈K/64⌉ | f16 s of two blocks | s·q; in 4 bits s·(q − 8) |
//! | `Floor` | K/32 | f16 s, f16 m of a block | s·q + m |
//! | `Steps32` | 5·K/256 | f16 d, f16 dmin; 8 times u8 step, u8 floor | (d·step)·q − dmin·floor |
//! | `Steps16` | 5·K/256 | f16 d, 0; 16 times i8 step | (d·step)·q |
//!
//! The low half of a word comes first. Every product and sum is rounded to f32 on its own, so all
//! programs that follow the table get the same bits. The integers of a GGUF file fit these forms
//! exactly.

use half::f16;

/// Integers that share a word of scales, or half of one.
pub(crate) const BLOCK: usize = 32;
/// Numbers that share a group of [`SUPER_WORDS`] words of scales.
pub(crate) const SUPER_BLOCK: usize = 256;
/// Words of scales of a super-block: one with the factors, four with the steps.
pub(crate) const SUPER_WORDS: usize = 5;

/// Bits of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bits {
    /// 0 to 15.
    Four,
    /// -128 to 127.
    Eight,
}

/// What turns integers into numbers; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scales {
    /// One factor a block.
    One,
    /// A factor and a number to add a block.
    Floor,
    /// Steps and floors of blocks, with common factors.
    Steps32,
    /// Steps of half blocks, with a common factor.
    Steps16,
}

/// The forms that this program quantizes to, with the ending of the name under which a safetensors
/// file has the integers of a matrix.
pub(crate) const SUFFIXES: [(Form, &str); 2] = [(Form::Q8, ".q8"), (Form::Q4, ".q4")];
/// The ending of the name under which such a file has the scales of a quantized matrix.
pub(crate) const SCALES: &str = ".scales";

/// How a matrix is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// The size of an integer.
    pub bits: Bits,
    /// What turns integers into numbers.
    pub scales: Scales,
}

impl Form {
    /// What numbers are quantized to in 8 bits.
    pub const Q8: Form = Form { bits: Bits::Eight, scales: Scales::One };
    /// What numbers are quantized to in 4 bits.
    pub const Q4: Form = Form { bits: Bits::Four, scales: Scales::One };

    /// The ending of the name under which a safetensors file has the integers of a matrix; see
    /// [`SUFFIXES`].
    pub(crate) fn suffix(self) -> Option<&'static str> {
        SUFFIXES.iter().find(|(form, _)| *form == self).map(|(_, suffix)| *suffix)
    }

    /// Rows must be a whole number of this many integers.
    pub fn unit(self) -> usize {
        match self.scales {
            Scales::One | Scales::Floor => BLOCK,
            Scales::Steps32 | Scales::Steps16 => SUPER_BLOCK,
        }
    }

    /// Words of integers of a row of `k`.
    pub fn quant_words(self, k: usize) -> usize {
        match self.bits {
            Bits::Four => k / 8,
            Bits::Eight => k / 4,
        }
    }

    /// Words of scales of a row of `k`.
    pub fn scale_words(self, k: usize) -> usize {
        match self.scales {
            Scales::One => k.div_ceil(2 * BLOCK),
            Scales::Floor => k / BLOCK,
            Scales::Steps32 | Scales::Steps16 => k / SUPER_BLOCK * SUPER_WORDS,
        }
    }

    /// Bytes of a row of `k`.
    pub fn row_bytes(self, k: usize) -> usize {
        4 * (self.quant_words(k) + self.scale_words(k))
    }

    /// What is taken from an integer before it is scaled.
    pub fn offset(self) -> i32 {
        if self == Form::Q4 { 8 } else { 0 }
    }
}

/// Rows of a quantized matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Quants {
    /// How the rows are quantized.
    pub form: Form,
    /// Integers of a row; a multiple of [`Form::unit`].
    pub k: usize,
    /// [N, K·bits/32]
    pub quants: Vec<i32>,
    /// [N, S]
    pub scales: Vec<i32>,
}

impl Quants {
    /// No rows yet.
    pub fn new(form: Form, k: usize) -> Self {
        assert!(k.is_multiple_of(form.unit()), "{form:?}: rows of {k}");
        Self { form, k, quants: Vec::new(), scales: Vec::new() }
    }

    /// Whole rows from their words.
    pub fn from_words(form: Form, k: usize, quants: Vec<i32>, scales: Vec<i32>) -> Self {
        let whole = Self { quants, scales, ..Self::new(form, k) };
        assert_eq!(whole.quants.len(), whole.rows() * form.quant_words(k), "{form:?}: rows of {k}");
        assert_eq!(whole.scales.len(), whole.rows() * form.scale_words(k), "{form:?}: rows of {k}");
        whole
    }

    /// Makes room for `rows` more rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.quants.reserve_exact(rows * self.form.quant_words(self.k));
        self.scales.reserve_exact(rows * self.form.scale_words(self.k));
    }

    /// N.
    pub fn rows(&self) -> usize {
        self.quants.len() / self.form.quant_words(self.k)
    }

    /// Appends the integers of the next block.
    pub(crate) fn push(&mut self, block: &[i8; BLOCK]) {
        match self.form.bits {
            Bits::Eight => self.quants.extend(block.as_chunks().0.iter().map(|four| word(*four))),
            Bits::Four => {
                let (low, high) = (&block.as_chunks::<4>().0[..4], &block.as_chunks::<4>().0[4..]);
                let both = low.iter().zip(high).map(|(low, high)| word(*low) & 0x0f0f0f0f | word(*high) << 4);
                self.quants.extend(both);
            }
        }
    }

    /// Appends the scale of the next block, before its integers.
    pub(crate) fn push_one(&mut self, scale: f16) {
        let bits = i32::from(scale.to_bits());
        let block = self.quants.len() / self.form.quant_words(BLOCK) % (self.k / BLOCK);
        if block.is_multiple_of(2) {
            self.scales.push(bits);
        } else if let Some(last) = self.scales.last_mut() {
            *last |= bits << 16;
        }
    }

    /// Appends the words of scales of the next block or super-block.
    pub(crate) fn push_scales(&mut self, words: &[i32]) {
        self.scales.extend(words);
    }

    /// Quantizes `values`, which are whole rows, to [`Form::Q8`] or [`Form::Q4`], and appends them.
    /// Returns the place of a value whose scale does not fit f16, if there is one.
    pub fn quantize(&mut self, values: &[f32]) -> Result<(), usize> {
        for (at, block) in values.as_chunks::<BLOCK>().0.iter().enumerate() {
            let largest = (0..BLOCK).max_by(|a, b| block[*a].abs().total_cmp(&block[*b].abs())).unwrap_or(0);
            let steps = match self.form.bits {
                // The number that is largest by magnitude becomes -8, which has no positive twin.
                Bits::Four => -8.0,
                Bits::Eight => 127.0 * block[largest].signum(),
            };
            let scale = block[largest] / steps;
            let half = f16::from_f32(scale);
            if !half.is_finite() {
                return Err(at * BLOCK + largest);
            }
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            self.push_one(half);
            self.push(&block.map(|value| match self.form.bits {
                Bits::Four => (value * inverse + 8.5).floor().clamp(0.0, 15.0) as i8,
                Bits::Eight => (value * inverse).round() as i8,
            }));
        }
        Ok(())
    }

    /// Whether all words of scales from `first` on are finite. Then all numbers are.
    pub(crate) fn are_finite_from(&self, first: usize) -> bool {
        let is_finite = |bits: i32| f16::from_bits(bits as u16).is_finite();
        let both = |word: &i32| is_finite(*word) && is_finite(*word >> 16);
        match self.form.scales {
            Scales::One | Scales::Floor => self.scales[first..].iter().all(both),
            // The other words are steps, which are integers.
            _ => self.scales[first..].iter().step_by(SUPER_WORDS).all(both),
        }
    }

    /// All numbers, row by row.
    pub fn unpack(&self) -> Vec<f32> {
        let [words, scales] = [self.form.quant_words(self.k), self.form.scale_words(self.k)];
        let mut out = Vec::with_capacity(self.rows() * self.k);
        for (quants, scales) in self.quants.chunks_exact(words).zip(self.scales.chunks_exact(scales)) {
            unpack_row(self.form, quants, scales, &mut out);
        }
        out
    }
}

fn word(bytes: [i8; 4]) -> i32 {
    i32::from_le_bytes(bytes.map(i8::cast_unsigned))
}

/// Appends the numbers of one row.
fn unpack_row(form: Form, quants: &[i32], scales: &[i32], out: &mut Vec<f32>) {
    let mut integers = Vec::new();
    for block in quants.chunks_exact(form.quant_words(BLOCK)) {
        match form.bits {
            Bits::Eight => integers.extend(block.iter().flat_map(|word| word.to_le_bytes()).map(|q| q.cast_signed())),
            Bits::Four => {
                let bytes = || block.iter().flat_map(|word| word.to_le_bytes());
                integers.extend(bytes().map(|byte| (byte & 15) as i8).chain(bytes().map(|byte| (byte >> 4) as i8)));
            }
        }
    }
    for (group, integers) in integers.chunks(form.group()).enumerate() {
        let (scale, floor) = form.scale(scales, group);
        let offset = form.offset();
        out.extend(integers.iter().map(|q| {
            let scaled = scale * (i32::from(*q) - offset) as f32;
            if form.has_floor() { scaled + floor } else { scaled }
        }));
    }
}

impl Form {
    /// Integers that share a scale.
    pub fn group(self) -> usize {
        if self.scales == Scales::Steps16 { 16 } else { BLOCK }
    }

    /// Whether something is added to the scaled integers.
    pub fn has_floor(self) -> bool {
        matches!(self.scales, Scales::Floor | Scales::Steps32)
    }

    /// The scale of a group of a row, and what is added to its scaled integers.
    pub fn scale(self, row: &[i32], group: usize) -> (f32, f32) {
        let halves = |word: i32| (half(word), half(word >> 16));
        let byte = |words: &[i32], at: usize| words[1 + at / 4].to_le_bytes()[at % 4];
        match self.scales {
            Scales::One => {
                let (even, odd) = halves(row[group / 2]);
                (if group.is_multiple_of(2) { even } else { odd }, 0.0)
            }
            Scales::Floor => halves(row[group]),
            Scales::Steps32 => {
                let words = &row[group / 8 * SUPER_WORDS..][..SUPER_WORDS];
                let (step, floor) = (byte(words, group % 8 * 2), byte(words, group % 8 * 2 + 1));
                let (d, dmin) = halves(words[0]);
                (d * f32::from(step), -(dmin * f32::from(floor)))
            }
            Scales::Steps16 => {
                let words = &row[group / 16 * SUPER_WORDS..][..SUPER_WORDS];
                (half(words[0]) * f32::from(byte(words, group % 16).cast_signed()), 0.0)
            }
        }
    }
}

/// The f16 in the low half of a word.
fn half(word: i32) -> f32 {
    f16::from_bits(word as u16).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_quantized_by_their_largest() {
        let mut values = [0.0f32; 2 * BLOCK];
        values[3] = -2.0; // becomes 0 in 4 bits: 8 steps below
        values[4] = 1.0;
        values[5] = 0.1;
        values[BLOCK + 1] = 1.27;
        values[BLOCK + 2] = -0.625; // -62.5 steps
        let mut four = Quants::new(Form::Q4, 2 * BLOCK);
        four.quantize(&values).unwrap();
        assert_eq!((four.rows(), four.quants.len(), four.scales.len()), (1, 8, 1));
        let unpacked = four.unpack();
        assert_eq!(&unpacked[..7], &[0.0, 0.0, 0.0, -2.0, 1.0, 0.0, 0.0]);
        let mut eight = Quants::new(Form::Q8, 2 * BLOCK);
        eight.quantize(&values).unwrap();
        let unpacked = eight.unpack();
        assert_eq!(unpacked[3], -127.0 * f16::from_f32(2.0 / 127.0).to_f32());
        let step = f16::from_f32(0.01).to_f32();
        assert_eq!(&unpacked[BLOCK..BLOCK + 3], &[0.0, 127.0 * step, -63.0 * step]);
    }

    #[test]
    fn an_odd_number_of_blocks_leaves_half_a_word() {
        let mut quants = Quants::new(Form::Q8, BLOCK);
        quants.quantize(&[1.0; 3 * BLOCK]).unwrap();
        assert_eq!((quants.rows(), quants.scales.len()), (3, 3));
        assert!(quants.unpack().iter().all(|value| (value - 1.0).abs() < 1e-3));
    }

    #[test]
    fn a_number_without_a_scale_is_found() {
        let mut values = [0.0; 2 * BLOCK];
        values[BLOCK + 7] = 1e9;
        assert_eq!(Quants::new(Form::Q8, BLOCK).quantize(&values), Err(BLOCK + 7));
        assert_eq!(Quants::new(Form::Q4, 2 * BLOCK).quantize(&values), Err(BLOCK + 7));
    }
}
