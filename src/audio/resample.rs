//! Resamples mono sound of any rate to 16 kHz, as it arrives.
//!
//! Rates in a simple ratio to 16 kHz (all common ones) use rubato's FFT resampler, which keeps the
//! ratio exactly. Other rates use its windowed sinc. After [`Resampler::finish`], the output has
//! exactly `round(n * 16000 / rate)` samples. Sample `k` is the input at time `k / 16000`, because
//! the delay of the filter is removed. Neither depends on how the input was cut into blocks.

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, Fft, FixedAsync, FixedSync, Indexing, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};

use super::mel::SAMPLE_RATE;

/// The rates that [`Resampler::new`] accepts, in Hz.
pub(crate) const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// The number of samples of one FFT block at the lower of the two rates: 30 ms at 16 kHz.
const BLOCK: usize = 480;
/// The longest period of the ratio, in seconds of input, for which the FFT resampler is used.
const MAX_PERIOD: f64 = 0.1;

/// True for a number that sums and transforms of f32 can hold. Floating-point files may have values
/// of 32768 and more. A value of 1e30 comes from a damaged file.
pub(crate) fn is_valid(sample: f32) -> bool {
    sample.abs() <= 1e9
}

/// A streaming resampler of one channel to 16 kHz.
pub(crate) struct Resampler {
    /// None if the rate is 16 kHz.
    inner: Option<Box<dyn rubato::Resampler<f32>>>,
    rate: u32,
    pending: Vec<f32>,
    block: Vec<f32>,
    /// Output samples of the filter's delay that have not been dropped yet.
    skip: usize,
    /// The number of input samples.
    taken: u64,
    /// The number of output samples.
    given: u64,
}

/// The rate is not in [`RATES`], or no filter can be made for it.
#[derive(Debug, thiserror::Error)]
#[error("a sample rate of {0} Hz cannot be resampled; it must be between 1000 and 768000 Hz")]
pub(crate) struct RateError(pub u32);

impl Resampler {
    /// Makes a resampler from `rate` Hz to 16 kHz.
    pub(crate) fn new(rate: u32) -> Result<Self, RateError> {
        if !RATES.contains(&rate) {
            return Err(RateError(rate));
        }
        let inner = match rate {
            SAMPLE_RATE => None,
            _ => Some(filter(rate).map_err(|_| RateError(rate))?),
        };
        Ok(Resampler {
            block: vec![0.0; inner.as_ref().map_or(0, |r| r.output_frames_max())],
            skip: inner.as_ref().map_or(0, |r| r.output_delay()),
            inner,
            rate,
            pending: Vec::new(),
            taken: 0,
            given: 0,
        })
    }

    /// The rate of the input in Hz.
    pub(crate) fn rate(&self) -> u32 {
        self.rate
    }

    /// Takes samples and appends those that are ready, at 16 kHz, to `out`.
    ///
    /// Samples that are NaN, infinite or beyond 1e9 become 0. They would spoil their whole block.
    pub(crate) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += samples.len() as u64;
        if self.inner.is_none() {
            self.given = self.taken;
            out.extend(samples.iter().map(|&s| if is_valid(s) { s } else { 0.0 }));
            return;
        }
        let tame = samples.iter().map(|&s| if is_valid(s) { s } else { 0.0 });
        self.pending.extend(tame);
        let mut used = 0;
        while let Some(len) = self.next_len().filter(|len| self.pending.len() - used >= *len) {
            self.process(used, len, out);
            used += len;
        }
        self.pending.drain(..used);
    }

    /// Appends the rest, so that the output has `round(n * 16000 / rate)` samples. Then the
    /// resampler is as new.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) {
        let want = resampled_len(self.taken, self.rate);
        while let Some(len) = self.next_len().filter(|_| self.given < want) {
            self.pending.resize(len, 0.0);
            self.process(0, len, out);
            self.pending.clear();
        }
        if let Some(inner) = &mut self.inner {
            inner.reset();
            self.skip = inner.output_delay();
        }
        self.pending.clear();
        (self.taken, self.given) = (0, 0);
    }

    fn next_len(&self) -> Option<usize> {
        self.inner.as_ref().map(|r| r.input_frames_next())
    }

    /// Filters one block, `pending[from..from + len]`.
    fn process(&mut self, from: usize, len: usize, out: &mut Vec<f32>) {
        let want = resampled_len(self.taken, self.rate);
        let Some(inner) = &mut self.inner else { return };
        let frames = self.block.len();
        let got = SequentialSlice::new(&self.pending[from..from + len], 1, len)
            .ok()
            .zip(SequentialSlice::new_mut(&mut self.block, 1, frames).ok())
            .and_then(|(i, mut o)| inner.process_into_buffer(&i, &mut o, None::<&Indexing>).ok())
            // The filter gave the sizes, so this does not fail. If it did, the block would be
            // silent.
            .map_or_else(|| inner.output_frames_next().min(frames), |(_, n)| n);
        let skipped = self.skip.min(got);
        self.skip -= skipped;
        let room = want.saturating_sub(self.given).min((got - skipped) as u64);
        out.extend_from_slice(&self.block[skipped..skipped + room as usize]);
        self.given += room;
    }
}

/// The number of samples at 16 kHz for `len` samples at `rate`: `round(len * 16000 / rate)`.
pub(crate) fn resampled_len(len: u64, rate: u32) -> u64 {
    let rate = u128::from(rate.max(1));
    ((2 * u128::from(len) * u128::from(SAMPLE_RATE) + rate) / (2 * rate)) as u64
}

fn filter(rate: u32) -> Result<Box<dyn rubato::Resampler<f32>>, rubato::ResamplerConstructionError> {
    let common = gcd(rate, SAMPLE_RATE);
    let (unit_in, unit_out) = ((rate / common) as usize, (SAMPLE_RATE / common) as usize);
    if unit_in as f64 <= MAX_PERIOD * f64::from(rate) {
        // An even number of periods makes the delay a whole number of samples at both rates.
        let periods = 2 * BLOCK.div_ceil(2 * unit_in.min(unit_out));
        let block = periods * unit_in;
        let fft = Fft::new(rate as usize, SAMPLE_RATE as usize, block, 1, 1, FixedSync::Both)?;
        return Ok(Box::new(fft));
    }
    let ratio = f64::from(SAMPLE_RATE) / f64::from(rate);
    let parameters = SincInterpolationParameters {
        sinc_len: (128.0 * (1.0 / ratio).max(1.0)).ceil() as usize,
        f_cutoff: 0.95,
        interpolation: SincInterpolationType::Cubic,
        oversampling_factor: 128,
        window: WindowFunction::BlackmanHarris2,
    };
    let sinc = Async::new_sinc(ratio, 1.0, &parameters, 1_024, 1, FixedAsync::Input)?;
    Ok(Box::new(sinc))
}

fn gcd(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Resamples a whole clip: samples `[n]` at `rate` → `[round(n * 16000 / rate)]` at 16 kHz.
    fn resample(samples: &[f32], rate: u32) -> Result<Vec<f32>, RateError> {
        let mut resampler = Resampler::new(rate)?;
        let mut out = Vec::new();
        resampler.push(samples, &mut out);
        resampler.finish(&mut out);
        Ok(out)
    }

    fn tone(hz: f64, rate: u32, len: usize) -> Vec<f32> {
        let step = std::f64::consts::TAU * hz / f64::from(rate);
        (0..len).map(|i| (0.5 * (step * i as f64).sin()) as f32).collect()
    }

    /// Common rates, and odd ones that use the sinc.
    const SOME_RATES: [u32; 16] = [
        8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 37_800, 44_100, 48_000, 88_200, 96_000, 192_000, 44_101,
        15_999, 7_919,
    ];

    #[test]
    fn a_tone_stays_where_it_is_in_time() {
        for rate in SOME_RATES {
            for hz in [300.0, 1_000.0, 3_000.0] {
                let len = rate as usize + 137;
                let got = resample(&tone(hz, rate, len), rate).unwrap();
                assert_eq!(got.len() as u64, resampled_len(len as u64, rate));
                let want = tone(hz, SAMPLE_RATE, got.len());
                let middle = 1_600..got.len() - 1_600;
                let error =
                    got[middle.clone()].iter().zip(&want[middle]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                println!("{rate} Hz, tone {hz}: largest error {error:.1e}");
                // The delay of the sinc is rounded to a whole output sample.
                let bound = if [44_101, 15_999, 7_919].contains(&rate) { 0.6 } else { 1e-3 };
                assert!(error < bound, "{rate} Hz, tone {hz}: {error}");
            }
        }
    }

    #[test]
    fn what_16_khz_cannot_hold_is_gone() {
        for (rate, hz) in [(48_000, 9_000.0), (44_100, 12_000.0), (44_101, 9_500.0), (192_000, 40_000.0)] {
            let got = resample(&tone(hz, rate, rate as usize), rate).unwrap();
            let left = got[1_600..14_400].iter().fold(0.0f32, |m, x| m.max(x.abs()));
            println!("{rate} Hz, tone {hz}: {left:.1e} left");
            assert!(left < 5e-4, "{rate} Hz, tone {hz}: {left}");
        }
    }

    #[test]
    fn lengths_are_exact() {
        for rate in SOME_RATES {
            for len in [0, 1, 2, 159, 1_000, 4_410, 48_001] {
                let got = resample(&tone(440.0, rate, len), rate).unwrap();
                let want = (len as f64 * 16_000.0 / f64::from(rate)).round() as usize;
                assert_eq!(got.len(), want, "{len} samples at {rate} Hz");
            }
        }
        for rate in [0, 1, 999, 768_001, u32::MAX] {
            assert!(Resampler::new(rate).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn blocks_do_not_matter(
            at in 0..SOME_RATES.len(),
            cuts in proptest::collection::vec(0usize..5_000, 1..8),
        ) {
            let rate = SOME_RATES[at];
            let len = cuts.iter().sum();
            let samples = tone(523.0, rate, len);
            let mut resampler = Resampler::new(rate).unwrap();
            let whole = resample(&samples, rate).unwrap();
            for round in 0..2 {
                let (mut out, mut rest) = (Vec::new(), &samples[..]);
                for &cut in &cuts {
                    let (head, tail) = rest.split_at(cut);
                    resampler.push(head, &mut out);
                    rest = tail;
                }
                resampler.finish(&mut out);
                prop_assert_eq!(&out, &whole, "round {}", round);
            }
        }
    }
}
