//! Finds the parts of a stream that are speech.
//!
//! ```text
//! frames of 512 samples (32 ms)
//!   digital silence → not speech; 256 ms of it reset the network, and cost nothing from then on
//!   gain: a quiet stream is raised to a usual level, by the loudest frame of the last seconds
//!   network (`speech_model`) → probability of speech
//!   speech begins at 0.5, lasts while it is 0.35, and for 800 ms after that
//! ```
//!
//! Fans, music without a voice, applause and keys are not speech. A voice in music is. Memory is
//! constant. The result does not depend on how the samples were cut into pushes.

use super::speech_model::{FRAME, SpeechModel};

/// From this probability on, a frame begins speech.
const BEGINS: f32 = 0.5;
/// From this probability on, a frame continues speech.
const LASTS: f32 = 0.35;
/// The number of frames that are speech after the last one that the network found (800 ms), because
/// words end softly and have pauses between them.
const AFTER: u32 = 25;
/// How long speech lasts after the network has found the last of it.
pub(crate) const AFTER_SPEECH_MS: u64 = AFTER as u64 * FRAME as u64 / 16;

/// The largest sample of digital silence: rounding and dither move samples of 16 bits by one step.
const SILENT: f32 = 1.5 / 32_768.0;
/// The number of silent frames (256 ms) after which the network begins anew with the next sound. It
/// hears that much of a silence, because words end in it.
const SILENT_FRAMES: u32 = 8;

/// The level (root of the mean square) to which quiet sound is raised. The network needs it: it
/// finds almost nothing of speech that peaks at -70 dB.
const USUAL_LEVEL: f64 = 0.1;
/// The largest gain, 40 dB.
const MAX_GAIN: f64 = 100.0;
/// What remains of the loudest level after a frame: it falls by 3 dB a second.
const LEVEL_DECAY: f64 = 0.989;
/// Samples of floating-point sound beyond this are clipped. The level of what remains is finite.
const MAX_SAMPLE: f32 = 1e3;

/// A detector for one stream.
#[derive(Clone, Debug)]
pub struct Vad {
    frame: [f32; FRAME],
    /// The number of samples in `frame`.
    filled: usize,
    model: SpeechModel,
    /// The level of the loudest frame, falling slowly.
    level: f64,
    /// The number of silent frames since the last sound, at most [`SILENT_FRAMES`].
    silent: u32,
    /// The number of frames that are still speech.
    left: u32,
}

impl Default for Vad {
    fn default() -> Self {
        Self::new()
    }
}

impl Vad {
    /// Makes a detector for a new stream.
    pub fn new() -> Self {
        Vad { frame: [0.0; FRAME], filled: 0, model: SpeechModel::new(), level: 0.0, silent: SILENT_FRAMES, left: 0 }
    }

    /// Takes samples, 16 kHz mono. NaN and infinite ones count as 0. A stream begins with silence.
    pub fn push(&mut self, samples: &[f32]) {
        for &sample in samples {
            self.frame[self.filled] = if sample.is_finite() { sample.clamp(-MAX_SAMPLE, MAX_SAMPLE) } else { 0.0 };
            self.filled += 1;
            if self.filled == FRAME {
                self.filled = 0;
                self.judge();
            }
        }
    }

    /// True if the newest sample is part of speech. Up to 32 ms of samples are not judged yet.
    pub fn is_speech(&self) -> bool {
        self.left > 0
    }

    fn judge(&mut self) {
        let is_speech = self.probability() >= if self.is_speech() { LASTS } else { BEGINS };
        // The frame itself, and those after it.
        self.left = if is_speech { 1 + AFTER } else { self.left.saturating_sub(1) };
    }

    fn probability(&mut self) -> f32 {
        let squares: f64 = self.frame.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum();
        self.level = (self.level * LEVEL_DECAY).max((squares / FRAME as f64).sqrt());
        let is_silent = self.frame.iter().all(|sample| sample.abs() <= SILENT);
        self.silent = if is_silent { (self.silent + 1).min(SILENT_FRAMES) } else { 0 };
        if self.silent == SILENT_FRAMES {
            self.model = SpeechModel::new();
            return 0.0;
        }
        let gain = (USUAL_LEVEL / self.level).clamp(1.0, MAX_GAIN);
        self.model.probability(&self.frame, gain as f32)
    }
}

#[cfg(test)]
mod tests;
