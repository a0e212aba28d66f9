//! Finds the parts of a stream that could be speech.
//!
//! This is not a speech detector, but a cautious energy detector. It reports silence only where the
//! level stays near a noise floor that it has observed for a while. Recognition can be skipped
//! there, and silence at the beginning can be trimmed. In doubt it reports sound. Music and tones
//! that get louder and quieter are sound to it. Noise at a constant level becomes silence after
//! about 3 s.
//!
//! ```text
//! 20 ms frames → level of the first difference (removes hum and DC, emphasises consonants), in dB
//!   floor = the lowest 100 ms mean of the last 3 s, by 8 sub-windows
//!           (minimum statistics, Martin 2001)
//!   sound where level > floor + 5 dB and > -84 dB, and for 800 ms after it
//! ```
//!
//! Memory is constant. The result does not depend on how the samples were cut into pushes.

/// The number of samples of a frame (20 ms).
const FRAME: usize = 320;

/// A detector for one stream.
#[derive(Clone, Debug)]
pub struct Vad {
    /// The energy of the frame that is not full yet.
    energy: f64,
    /// The number of samples in that frame.
    filled: usize,
    previous: f32,
    /// The number of frames judged.
    frames: u64,
    /// The levels (dB) of the last frames, for their mean.
    recent: [f32; SMOOTH],
    /// The lowest smoothed level of each finished sub-window, oldest first.
    minima: [f32; SUB_WINDOWS],
    /// The lowest smoothed level of the current sub-window.
    current: f32,
    current_len: usize,
    /// The last frame above the threshold.
    last_loud: Option<u64>,
    sounding: bool,
}

/// The number of frames whose mean level is tracked for the floor (100 ms).
const SMOOTH: usize = 5;
const SUB_WINDOWS: usize = 8;
/// The number of frames of a sub-window. 8 sub-windows are 3 s.
const SUB_WINDOW: usize = 19;
/// A level this far above the floor could be speech.
const MARGIN_DB: f32 = 5.0;
/// A level of the first difference below this is silence (full scale is 0 dB). The rounding noise
/// of 16 bits is -98 dB.
const QUIET_DB: f32 = -84.0;
/// The maximum of the floor. Speech that never pauses must not become its own floor.
const MAX_FLOOR_DB: f32 = -30.0;
/// The number of frames that are sound after the last loud one (800 ms), because words end softly
/// and have pauses between them.
const AFTER: u64 = 40;

impl Default for Vad {
    fn default() -> Self {
        Self::new()
    }
}

impl Vad {
    /// Makes a detector for a new stream.
    pub fn new() -> Self {
        Vad {
            energy: 0.0,
            filled: 0,
            previous: 0.0,
            frames: 0,
            recent: [QUIET_DB; SMOOTH],
            minima: [QUIET_DB; SUB_WINDOWS],
            current: f32::INFINITY,
            current_len: 0,
            last_loud: None,
            sounding: false,
        }
    }

    /// Takes samples, 16 kHz mono. NaN and infinite ones count as 0. A stream begins with silence.
    pub fn push(&mut self, samples: &[f32]) {
        for &sample in samples {
            let sample = if sample.is_finite() { sample } else { 0.0 };
            let step = f64::from(sample - self.previous);
            self.previous = sample;
            self.energy += step * step;
            self.filled += 1;
            if self.filled == FRAME {
                let level = 10.0 * (self.energy / FRAME as f64 + 1e-12).log10() as f32;
                self.energy = 0.0;
                self.filled = 0;
                self.judge(level);
            }
        }
    }

    /// True if the newest sample is part of sound.
    pub fn is_sound(&self) -> bool {
        self.sounding
    }

    /// The noise floor: a level of the first difference in dB.
    fn floor_db(&self) -> f32 {
        let lowest = self.minima.iter().fold(self.current, |a, &b| a.min(b));
        lowest.clamp(QUIET_DB - MARGIN_DB, MAX_FLOOR_DB)
    }

    fn judge(&mut self, level: f32) {
        let frame = self.frames;
        let loud = level > (self.floor_db() + MARGIN_DB).max(QUIET_DB);
        self.track(level);
        self.frames += 1;
        if loud {
            self.last_loud = Some(frame);
            self.sounding = true;
        } else if self.last_loud.is_none_or(|last| frame - last >= AFTER) {
            self.sounding = false;
        }
    }

    /// Updates the minima. The floor is the lowest smoothed level of the last 8 sub-windows.
    fn track(&mut self, level: f32) {
        self.recent.rotate_left(1);
        self.recent[SMOOTH - 1] = level;
        let mean = self.recent.iter().sum::<f32>() / SMOOTH as f32;
        self.current = self.current.min(mean);
        self.current_len += 1;
        if self.current_len == SUB_WINDOW {
            self.minima.rotate_left(1);
            self.minima[SUB_WINDOWS - 1] = self.current;
            self.current = f32::INFINITY;
            self.current_len = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::{fixture, read_wav};
    use proptest::prelude::*;

    fn noise(seconds: f64, level: f32, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..(seconds * 16_000.0) as usize)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                level * ((state >> 8) as f32 / 8_388_608.0 - 1.0)
            })
            .collect()
    }

    /// Sound is counted from this long before it is found, because it may begin softly.
    const ONSET: f64 = 0.3;

    /// Spans of sound in seconds.
    fn spans(samples: &[f32]) -> Vec<(f64, f64)> {
        let mut vad = Vad::new();
        let mut spans: Vec<(f64, f64)> = Vec::new();
        for (at, frame) in samples.chunks(FRAME).enumerate() {
            let began = !vad.is_sound();
            vad.push(frame);
            let begin = (at * FRAME) as f64 / 16_000.0;
            let end = begin + frame.len() as f64 / 16_000.0;
            let before = spans.last().map_or(0.0, |span| span.1);
            match (vad.is_sound(), spans.last_mut()) {
                (true, Some(span)) if !began => span.1 = end,
                (true, _) => spans.push(((begin - ONSET).max(before), end)),
                (false, _) => {}
            }
        }
        spans
    }

    #[test]
    fn silence_is_silent() {
        assert!(spans(&[0.0; 160_000]).is_empty());
        // The same holds for dither and for broken samples.
        assert!(spans(&noise(10.0, 1.0 / 32_768.0, 1)).is_empty());
        assert!(spans(&[f32::NAN; 48_000]).is_empty());
        // DC is sound only where it begins.
        assert_eq!(spans(&[0.3; 160_000]), [(0.0, 0.8)]);
    }

    #[test]
    fn constant_noise_becomes_silence() {
        for level in [0.001, 0.01, 0.03] {
            let found = spans(&noise(20.0, level, 7));
            assert!(matches!(found[..], [(0.0, end)] if end < 5.0), "{level}: {found:?}");
        }
    }

    #[test]
    fn a_tone_is_sound_at_first() {
        let tone: Vec<f32> = (0..160_000).map(|i| 0.1 * (i as f32 * 0.17).sin()).collect();
        let found = spans(&tone);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, 0.0);
    }

    #[test]
    fn clips_of_speech_are_sound() {
        for clip in ["qwen3_asr/long", "qwen3_asr/exact", "qwen3_asr/odd", "qwen3_asr/short", "qwen3_aligner/clip"] {
            let speech = read_wav(&fixture(&format!("{clip}.wav")));
            let found = spans(&speech);
            let total: f64 = found.iter().map(|s| s.1 - s.0).sum();
            println!("{clip}: {found:.2?} of {:.2} s", speech.len() as f64 / 16_000.0);
            assert!(total > 0.9 * speech.len() as f64 / 16_000.0, "{clip}: {found:?}");
        }
    }

    #[test]
    fn speech_is_found_in_noise_and_when_quiet() {
        let speech = read_wav(&fixture("qwen3_asr/long.wav"));
        let seconds = speech.len() as f64 / 16_000.0;
        // The gain of the speech and the level of the noise: down to -40 dB, and to 10 dB above the
        // noise.
        for (gain, level) in [(1.0, 0.0), (0.1, 0.0), (0.01, 0.0), (1.0, 0.02), (0.3, 0.005), (0.05, 0.001)] {
            let mut all = noise(30.0, level, 3);
            for (i, s) in speech.iter().enumerate() {
                all[160_000 + i] += gain * s;
            }
            let found = spans(&all);
            println!("gain {gain}, noise {level}: {found:.2?}");
            let (from, to) = (10.0, 10.0 + seconds);
            let covered: f64 = found.iter().map(|s| (s.1.min(to) - s.0.max(from)).max(0.0)).sum();
            assert!(covered > 0.9 * seconds, "gain {gain}, noise {level}: {found:?}");
            let outside: f64 = found.iter().map(|s| s.1 - s.0).sum::<f64>() - covered;
            assert!(outside < 6.0, "gain {gain}, noise {level}: {found:?}");
        }
    }

    #[test]
    fn speech_that_never_pauses_stays_sound() {
        let speech = read_wav(&fixture("qwen3_asr/long.wav"));
        let talk: Vec<f32> = speech.iter().copied().cycle().take(60 * 16_000).collect();
        let found = spans(&talk);
        let total: f64 = found.iter().map(|s| s.1 - s.0).sum();
        assert!(total > 57.0, "{found:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn pushes_do_not_matter(cuts in proptest::collection::vec(1usize..5_000, 1..40)) {
            let mut all = noise(4.0, 0.001, 5);
            all.extend(read_wav(&fixture("qwen3_asr/odd.wav")));
            all.extend(noise(4.0, 0.001, 9));
            let mut whole = Vad::new();
            let want: Vec<bool> = all
                .iter()
                .map(|sample| {
                    whole.push(&[*sample]);
                    whole.is_sound()
                })
                .collect();
            prop_assert!(want.contains(&true) && want.contains(&false));
            let (mut vad, mut at) = (Vad::new(), 0);
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(all.len());
                vad.push(&all[at..end]);
                prop_assert_eq!(vad.is_sound(), want[end - 1]);
                at = end;
                if at == all.len() {
                    break;
                }
            }
        }
    }
}
