//! Scales floating-point samples in the range of 16-, 24- or 32-bit integers to the range of
//! floats.
//!
//! Some programs write integers as floats without dividing them. Then full scale is 32768 instead
//! of 1, which no model can use. The sound is judged second by second, from its first sample that
//! is not 0. The first second is held back until it was judged.
//!
//! ```text
//! in the range of integers   more than half of the samples that are not 0 are 1 or more, and
//!                            all of them are whole, or the peak is 64 or more
//! divided by                 2^15 for peaks below 2^17, 2^23 below 2^25, else 2^31
//! ```
//!
//! A recording of the usual scale may exceed 1, but not in most of its samples and not by 36 dB.

/// The maximum number of samples held back (16 MiB).
const MAX_HELD: usize = 4 << 20;
/// A peak of 2 to the power of this exceeds any recording of the usual scale.
const MIN_PEAK: usize = 6;
/// Values of 2 to the power of this, or more, are not samples of any scale.
const EXPONENTS: usize = 34;

/// Finds the scale of one stream of floats, and divides by it.
pub(super) struct FloatScale {
    /// The number of samples of a second, all channels together.
    second: usize,
    divisor: f32,
    /// The first seconds, until they are judged.
    held: Option<Vec<f32>>,
    judged: Judged,
    taken: u64,
    /// The number of samples that were passed on before the scale was found.
    found_at: Option<u64>,
}

/// Statistics of the samples of a second.
struct Judged {
    len: usize,
    nonzero: u64,
    /// Some samples were not whole numbers.
    fractions: bool,
    /// The number of samples in `[2^n, 2^(n + 1))`, by n.
    exponents: [u64; EXPONENTS],
}

enum Verdict {
    Usual,
    Divide(f32),
    /// There is nothing but 1 and -1: rounding noise of integers, or full scale of floats.
    Unsure,
}

impl FloatScale {
    pub(super) fn new(rate: u32, channels: usize) -> FloatScale {
        FloatScale {
            second: (rate as usize * channels).clamp(1, MAX_HELD),
            divisor: 1.0,
            held: Some(Vec::new()),
            judged: Judged::new(),
            taken: 0,
            found_at: None,
        }
    }

    /// Takes samples and appends those that are ready to `out`.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let mut rest = samples;
        if self.judged.len == 0 && self.held.as_ref().is_some_and(Vec::is_empty) {
            // A 0 is 0 in every scale.
            let zeros = rest.iter().take_while(|&&x| x == 0.0).count();
            out.extend(&rest[..zeros]);
            self.taken += zeros as u64;
            rest = &rest[zeros..];
        }
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(self.second - self.judged.len));
            self.judged.add(head);
            match &mut self.held {
                Some(held) => held.extend(head),
                None => out.extend(head.iter().map(|x| x / self.divisor)),
            }
            self.taken += head.len() as u64;
            rest = tail;
            if self.judged.len == self.second {
                self.judge(false, out);
            }
        }
    }

    /// Appends the samples that were held back to `out`.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        self.judge(true, out);
    }

    /// The fault of the scale, if there is one.
    pub(super) fn warning(&self) -> Option<String> {
        let at = self.found_at?;
        let bits = self.divisor.log2().round() as u32 + 1;
        let from = match at {
            0 => String::new(),
            at => format!(" from {:.0} s on", at as f64 / self.second as f64),
        };
        Some(format!("its floating-point samples have the range of {bits}-bit integers, and were scaled down{from}"))
    }

    fn judge(&mut self, last: bool, out: &mut Vec<f32>) {
        let verdict = self.judged.verdict();
        let room = self.held.as_ref().is_some_and(|held| held.len() + self.second <= MAX_HELD);
        self.judged.len = 0;
        if matches!(verdict, Verdict::Unsure) && room && !last {
            return;
        }
        if let Verdict::Divide(divisor) = verdict
            && divisor > self.divisor
        {
            self.divisor = divisor;
            let given = if self.held.is_some() { 0 } else { self.taken };
            self.found_at = self.found_at.or(Some(given));
        }
        self.judged = Judged::new();
        if let Some(held) = self.held.take() {
            out.extend(held.iter().map(|x| x / self.divisor));
        }
    }
}

impl Judged {
    fn new() -> Judged {
        Judged { len: 0, nonzero: 0, fractions: false, exponents: [0; EXPONENTS] }
    }

    fn add(&mut self, samples: &[f32]) {
        self.len += samples.len();
        for x in samples.iter().map(|x| x.abs()).filter(|&x| x > 0.0 && x < (1u64 << EXPONENTS) as f32) {
            self.nonzero += 1;
            self.fractions |= x.fract() != 0.0;
            if x >= 1.0 {
                self.exponents[(x.log2() as usize).min(EXPONENTS - 1)] += 1;
            }
        }
    }

    fn verdict(&self) -> Verdict {
        let big: u64 = self.exponents.iter().sum();
        if 2 * big <= self.nonzero {
            return Verdict::Usual;
        }
        // One sample in a thousand may be wrong.
        let mut above = 0;
        let peak = (0..EXPONENTS).rev().find(|&n| {
            above += self.exponents[n];
            1_000 * above > self.nonzero
        });
        match peak.unwrap_or(0) {
            0 if !self.fractions => Verdict::Unsure,
            peak if self.fractions && peak < MIN_PEAK => Verdict::Usual,
            peak if peak < 17 => Verdict::Divide(32_768.0),
            peak if peak < 25 => Verdict::Divide(8_388_608.0),
            _ => Verdict::Divide(2_147_483_648.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: u32 = 8_000;

    /// Noise between -1 and 1, alternately loud and quiet.
    fn sound(len: usize) -> Vec<f32> {
        let mut state = 7u32;
        (0..len)
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 8) as f32 / 8_388_608.0 - 1.0) * (i as f32 * 0.001).sin().powi(2)
            })
            .collect()
    }

    fn scaled(samples: &[f32]) -> (Vec<f32>, Option<String>) {
        let mut scale = FloatScale::new(RATE, 1);
        let mut out = Vec::new();
        scale.push(samples, &mut out);
        scale.finish(&mut out);
        (out, scale.warning())
    }

    fn times(samples: &[f32], by: f32) -> Vec<f32> {
        samples.iter().map(|x| x * by).collect()
    }

    #[test]
    fn every_range_of_integers_is_found() {
        let sound = sound(20_000);
        for (by, bits) in [(32_768.0, "16-bit"), (8_388_608.0, "24-bit"), (2_147_483_648.0, "32-bit")] {
            for gain in [1.0, 0.5, 0.03] {
                // A quiet recording of 24 or 32 bits looks like a loud one of fewer bits.
                if gain < 0.1 && bits != "16-bit" {
                    continue;
                }
                let quiet = times(&sound, gain);
                let whole: Vec<f32> = quiet.iter().map(|x| (x * by).round()).collect();
                for samples in [times(&quiet, by), whole] {
                    let (got, warning) = scaled(&samples);
                    let error = got.iter().zip(&quiet).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(got.len() == quiet.len() && error < 1e-4, "{by} {gain}: {error}");
                    assert!(warning.unwrap().contains(bits));
                }
            }
        }
    }

    #[test]
    fn usual_floats_are_not_changed() {
        let sound = sound(20_000);
        let mut spoilt = sound.clone();
        spoilt[3_000..3_006].copy_from_slice(&[1e5, f32::NAN, f32::INFINITY, -1e9, 1e30, 2e6]);
        let square: Vec<f32> = (0..20_000).map(|i| if i / 20 % 2 == 0 { 1.0 } else { -1.0 }).collect();
        // Sound up to 30 dB above full scale, silence, and a single sample.
        for samples in
            [sound.clone(), times(&sound, 4.0), times(&sound, 30.0), spoilt, square, vec![0.0; 9_000], vec![0.7]]
        {
            let (got, warning) = scaled(&samples);
            assert!(got.iter().zip(&samples).all(|(a, b)| a.to_bits() == b.to_bits()) && got.len() == samples.len());
            assert_eq!(warning, None);
        }
    }

    #[test]
    fn a_quiet_beginning_does_not_hide_the_scale() {
        let loud = sound(20_000);
        let silence = vec![0.0; 30_000];
        let dither: Vec<f32> = (0..30_000).map(|i| [0.0, 1.0, 0.0, -1.0, 1.0][i % 5]).collect();
        for beginning in [silence, dither] {
            let (got, warning) = scaled(&[beginning.clone(), times(&loud, 32_768.0)].concat());
            assert!(got[..30_000].iter().all(|x| x.abs() < 1e-4));
            assert!(got[30_000..].iter().zip(&loud).all(|(a, b)| (a - b).abs() < 1e-4));
            assert!(warning.unwrap().ends_with("scaled down"));
        }
        // If the scale is found later, earlier samples stay as they were, and the warning gives the
        // time.
        let faint: Vec<f32> = (0..16_000).map(|i| (i as f32).sin() * 0.4).collect();
        let (got, warning) = scaled(&[faint, times(&loud, 32_768.0)].concat());
        assert!(got[24_001..].iter().all(|x| x.abs() <= 1.0));
        assert!(warning.unwrap().contains("from 3 s on"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pushes_do_not_matter(cuts in proptest::collection::vec(1usize..3_000, 1..12), by in 0usize..3) {
            let samples = [vec![0.0; 500], times(&sound(20_000), [1.0, 32_768.0, 8_388_608.0][by])].concat();
            let want = scaled(&samples);
            let (mut scale, mut out, mut rest) = (FloatScale::new(RATE, 1), Vec::new(), &samples[..]);
            for cut in cuts.iter().cycle() {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                scale.push(head, &mut out);
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            scale.finish(&mut out);
            prop_assert_eq!((out, scale.warning()), want);
        }
    }
}
