//! Mixes several channels to one: their mean, or the loudest channel where the mean would cancel.
//!
//! If one channel has inverted polarity (a wrongly soldered cable, a faulty adapter), the mean of a
//! stereo recording is silent, or only its noise is left. So the power of the sum is compared with
//! the sum of the powers, above the hum, in blocks of 100 ms:
//!
//! ```text
//! ratio = |x1 + .. + xn|² / (|x1|² + .. + |xn|²)    1: unrelated channels, or only one with sound
//!                                                   n: equal channels;  0: they cancel
//! the channels cancel      ratio < 0.05 in a block, or < 0.3 over about a second
//! they no longer cancel    ratio > 0.5 over about a second
//! ```
//!
//! Blocks are counted from the start of the sound, so the result does not depend on how the sound
//! was cut into pushes. Where nothing cancels, the output is the plain mean, to the last bit.

use super::resample::is_valid;

/// The number of blocks per second.
const BLOCKS: u32 = 10;
/// A change of the mix takes a second divided by this (10 ms), so that it does not click.
const FADE: u32 = 100;
/// The channels cancel if the ratio of a single block is below this,
const CANCELS_AT_ONCE: f64 = 0.05;
/// or if the ratio over about a second is below this.
const CANCELS: f64 = 0.3;
/// They no longer cancel if the ratio over about a second is above this.
const ADDS_UP: f64 = 0.5;
/// The weight of the powers so far when the powers of a block are added.
const MEMORY: f64 = 0.9;
/// A block with less power than this (-70 dB) is not judged.
const QUIET: f64 = 1e-7;
/// The loudest channel replaces the chosen one if its power is greater by this factor.
const MUCH_LOUDER: f64 = 4.0;
/// The cut-off frequency (Hz) of the high-pass filter. Hum and rumble below it are not judged.
const CUT_OFF: f64 = 200.0;

/// How one output sample is computed from a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mix {
    Mean,
    Only(usize),
}

impl Mix {
    fn of(self, frame: &[f32]) -> f32 {
        match self {
            Mix::Mean => frame.iter().sum::<f32>() / frame.len() as f32,
            Mix::Only(channel) => frame.get(channel).copied().unwrap_or(0.0),
        }
    }
}

/// Mixes one stream of frames to one channel.
pub(super) struct Downmix {
    rate: u32,
    channels: usize,
    mix: Mix,
    /// The samples of the block that is not full yet.
    waiting: Vec<f32>,
    /// The last input and output of the high-pass filter of each channel.
    filters: Vec<(f64, f64)>,
    /// The power of the sum, and the sum of the powers, over about a second.
    recent: (f64, f64),
    loud_blocks: u64,
    frames: u64,
    /// The number of frames for which one channel was used alone.
    alone: u64,
    /// The number of samples that were not numbers.
    broken: u64,
}

impl Downmix {
    /// `rate` and `channels` must not be 0.
    pub(super) fn new(rate: u32, channels: usize) -> Downmix {
        Downmix {
            rate: rate.max(1),
            channels: channels.max(1),
            mix: Mix::Mean,
            waiting: Vec::new(),
            filters: vec![(0.0, 0.0); channels],
            recent: (0.0, 0.0),
            loud_blocks: 0,
            frames: 0,
            alone: 0,
            broken: 0,
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Takes whole frames and appends the sound that is ready to `mono`. A single channel is
    /// appended at once.
    pub(super) fn push(&mut self, frames: &[f32], mono: &mut Vec<f32>) {
        if self.channels == 1 {
            self.put(frames, Mix::Mean, 0, mono);
            return;
        }
        let block = (self.rate / BLOCKS).max(1) as usize * self.channels;
        let mut rest = frames;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(block - self.waiting.len()));
            self.waiting.extend_from_slice(head);
            rest = tail;
            if self.waiting.len() == block {
                self.mix_block(mono);
            }
        }
    }

    /// Appends the rest to `mono`.
    pub(super) fn finish(&mut self, mono: &mut Vec<f32>) {
        if !self.waiting.is_empty() {
            self.mix_block(mono);
        }
    }

    /// Faults in the sound: the number of samples that were not numbers, and how long one channel
    /// was used alone, unless that was very short.
    pub(super) fn warnings(&self) -> Vec<String> {
        let broken = (self.broken > 0)
            .then(|| format!("{} samples were not numbers and were replaced with silence", self.broken));
        let long = self.alone * 2 >= u64::from(self.rate) || self.alone * 2 >= self.frames.max(1);
        let seconds = self.alone as f64 / f64::from(self.rate);
        let alone = long.then(|| {
            format!(
                "its channels cancel each other out (one has inverted polarity), so the louder one was used alone \
                 for {seconds:.2} seconds"
            )
        });
        alone.into_iter().chain(broken).collect()
    }

    fn mix_block(&mut self, mono: &mut Vec<f32>) {
        let frames = std::mem::take(&mut self.waiting);
        let first = self.loud_blocks == 0;
        let mix = self.judge(&frames);
        // There is no sound before the first block, so it needs no fade.
        let fade = if mix == self.mix || first { 0 } else { (self.rate / FADE) as usize };
        self.put(&frames, mix, fade, mono);
        self.waiting = frames;
        self.waiting.clear();
    }

    /// Appends a block mixed by `mix`. Over the first `fade` frames, the mix changes gradually.
    fn put(&mut self, frames: &[f32], mix: Mix, fade: usize, mono: &mut Vec<f32>) {
        let old = std::mem::replace(&mut self.mix, mix);
        for (at, frame) in frames.chunks_exact(self.channels).enumerate() {
            let mut value = mix.of(frame);
            if at < fade {
                let share = (at + 1) as f32 / (fade + 1) as f32;
                value = old.of(frame) * (1.0 - share) + value * share;
            }
            self.broken += u64::from(!is_valid(value));
            mono.push(if is_valid(value) { value } else { 0.0 });
        }
        let len = (frames.len() / self.channels) as u64;
        self.frames += len;
        self.alone += if mix == Mix::Mean { 0 } else { len };
    }

    /// Chooses the mix for a block.
    fn judge(&mut self, frames: &[f32]) -> Mix {
        let keep = 1.0 / (1.0 + std::f64::consts::TAU * CUT_OFF / f64::from(self.rate));
        let mut powers = vec![0.0; self.channels];
        let mut of_sum = 0.0;
        for frame in frames.chunks_exact(self.channels) {
            let mut sum = 0.0;
            for ((&x, (last, high)), power) in frame.iter().zip(&mut self.filters).zip(&mut powers) {
                let x = if is_valid(x) { f64::from(x) } else { 0.0 };
                *high = keep * (*high + x - *last);
                *last = x;
                *power += *high * *high;
                sum += *high;
            }
            of_sum += sum * sum;
        }
        let sum_of: f64 = powers.iter().sum();
        let len = (frames.len() / self.channels).max(1) as f64;
        if sum_of / len < QUIET {
            return self.mix;
        }
        self.loud_blocks += 1;
        self.recent = (self.recent.0 * MEMORY + of_sum, self.recent.1 * MEMORY + sum_of);
        let recent = self.recent.0 / self.recent.1;
        let loudest =
            powers.iter().enumerate().fold(0, |best, (at, power)| if *power > powers[best] { at } else { best });
        match self.mix {
            Mix::Mean => {
                let lasting = self.loud_blocks >= u64::from(BLOCKS) && recent < CANCELS;
                if of_sum / sum_of >= CANCELS_AT_ONCE && !lasting {
                    return Mix::Mean;
                }
                // When the channels will add up again does not depend on the sound so far.
                self.recent = (of_sum, sum_of);
                Mix::Only(loudest)
            }
            Mix::Only(_) if recent > ADDS_UP => Mix::Mean,
            Mix::Only(chosen) if powers[loudest] > MUCH_LOUDER * powers[chosen] => Mix::Only(loudest),
            Mix::Only(chosen) => Mix::Only(chosen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: u32 = 16_000;

    /// Noise that gets louder and quieter like syllables, without hum.
    fn speech(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut low = 0.0;
        (0..len)
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let white = (state >> 8) as f32 / 8_388_608.0 - 1.0;
                low = 0.7 * low + 0.3 * white;
                0.5 * low * (i as f32 * 0.0015).sin().abs()
            })
            .collect()
    }

    fn frames(channels: &[Vec<f32>]) -> Vec<f32> {
        (0..channels[0].len()).flat_map(|at| channels.iter().map(move |channel| channel[at])).collect()
    }

    fn scaled(samples: &[f32], by: f32) -> Vec<f32> {
        samples.iter().map(|x| x * by).collect()
    }

    fn mixed(channels: &[Vec<f32>]) -> (Vec<f32>, Vec<String>) {
        let mut downmix = Downmix::new(RATE, channels.len());
        let mut mono = Vec::new();
        downmix.push(&frames(channels), &mut mono);
        downmix.finish(&mut mono);
        (mono, downmix.warnings())
    }

    fn mean(channels: &[Vec<f32>]) -> Vec<f32> {
        frames(channels).chunks_exact(channels.len()).map(|frame| Mix::Mean.of(frame)).collect()
    }

    fn power(samples: &[f32]) -> f32 {
        samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32
    }

    #[test]
    fn ordinary_channels_are_averaged_to_the_last_bit() {
        let (a, b) = (speech(50_000, 1), speech(50_000, 2));
        let hum: Vec<f32> = (0..50_000).map(|i| 0.02 * (i as f32 * 0.0196).sin()).collect();
        let with = |x: &[f32], y: &[f32], by: f32| x.iter().zip(y).map(|(x, y)| x + by * y).collect::<Vec<_>>();
        let silent = vec![0.0; 50_000];
        let late: Vec<f32> = silent[..40].iter().chain(&a[..49_960]).copied().collect();
        for channels in [
            vec![a.clone(), a.clone()],
            vec![a.clone(), b.clone()],
            vec![a.clone(), silent.clone()],
            vec![a.clone(), late],
            vec![with(&a, &hum, 1.0), with(&a, &hum, -1.0)],
            // The side signal is louder than the middle. This is wide stereo, and nothing is lost.
            vec![with(&a, &b, 1.2), with(&a, &b, -1.2)],
            vec![a.clone(), scaled(&a, -0.4)],
            // 5.1 with sound only in the centre, and six unrelated channels.
            [&silent, &silent, &a, &silent, &silent, &silent].map(Clone::clone).to_vec(),
            (0..6).map(|seed| speech(50_000, seed + 9)).collect(),
            vec![silent.clone(), silent.clone()],
        ] {
            let (mono, warnings) = mixed(&channels);
            assert_eq!(mono, mean(&channels));
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }

    #[test]
    fn channels_that_cancel_leave_the_louder_one() {
        let (a, noise) = (speech(50_000, 3), speech(50_000, 4));
        let minus = |by: f32, with: f32| a.iter().zip(&noise).map(|(x, n)| -by * x + with * n).collect::<Vec<_>>();
        let silent = vec![0.0; 50_000];
        for channels in [
            vec![a.clone(), minus(1.0, 0.0)],
            vec![minus(0.9, 0.0), a.clone()],
            vec![a.clone(), minus(0.8, 0.0)],
            vec![a.clone(), minus(1.0, 0.1)],
            vec![a.clone(), minus(1.0, 0.0), silent.clone(), silent],
        ] {
            let (mono, warnings) = mixed(&channels);
            assert_eq!(mono.len(), a.len());
            // All of the sound is present, from its first block on.
            for (at, (got, want)) in mono.chunks(4_000).zip(a.chunks(4_000)).enumerate() {
                assert!(power(got) > 0.6 * power(want), "{at}: {} of {}", power(got), power(want));
            }
            assert!(matches!(&warnings[..], [one] if one.contains("inverted polarity")), "{warnings:?}");
        }
    }

    #[test]
    fn a_change_on_the_way_is_followed_without_a_click() {
        let a: Vec<f32> = (0..96_000).map(|i| 0.4 * (i as f32 * 0.2).sin()).collect();
        let turned = |from: usize, to: usize| {
            let other = |(i, x): (usize, &f32)| if (from..to).contains(&i) { -0.9 * x } else { *x };
            a.iter().enumerate().map(other).collect::<Vec<_>>()
        };
        let (mono, warnings) = mixed(&[a.clone(), turned(32_000, 64_000)]);
        assert_eq!(warnings.len(), 1);
        assert!(mono[..32_000] == a[..32_000]);
        assert!(mono[32_160..].iter().zip(&a[32_160..]).all(|(got, want)| (got - want).abs() < 1e-6));
        let step = |s: &[f32]| s.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        // The mean is already silent where the fade starts. That step is in the input.
        assert!(step(&mono[32_001..]) <= step(&a) * 1.01, "{} {}", step(&mono[32_001..]), step(&a));
        // Speech on the other channel alone is used at once.
        let quiet = vec![0.0; 32_000];
        let left = [&a[..32_000], &quiet].concat();
        let right = [&turned(0, 32_000)[..32_000], &a[..32_000]].concat();
        let (mono, _) = mixed(&[left, right]);
        assert!(mono[32_200..].chunks(1_600).all(|block| power(block) > 0.01));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pushes_do_not_matter(cuts in proptest::collection::vec(0usize..3_000, 1..12), gain in -1.0f32..1.0) {
            let a = speech(20_000, 5);
            let channels = [a.clone(), scaled(&a, gain)];
            let want = mixed(&channels);
            let all = frames(&channels);
            let (mut downmix, mut mono, mut rest) = (Downmix::new(RATE, 2), Vec::new(), &all[..]);
            for cut in cuts.iter().cycle() {
                let (head, tail) = rest.split_at((2 * cut + 2).min(rest.len()));
                downmix.push(head, &mut mono);
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            downmix.finish(&mut mono);
            prop_assert_eq!((mono, downmix.warnings()), want);
        }
    }
}
