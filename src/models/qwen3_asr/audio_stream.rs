//! The tower's rows of a growing sound, each computed only once where possible.
//!
//! Kept from call to call: settled mel frames, the rows of finished attention windows, and the
//! convolved chunks of the open window, for which only the layers run again. A sound louder than
//! everything before it raises the floor of the whole clip's features. Then all rows and chunks are
//! computed again, so that they always equal those of the same sound in one piece. (docs/models.md,
//! sections 1.4 and 1.5)

use burn::tensor::Tensor;

use super::audio_tower::{AudioTower, CHUNK, rows_of};
use crate::audio::mel::MelStream;
use crate::nn::{Tap, join};

#[derive(Default)]
pub struct AudioStream {
    mel: MelStream,
    /// Rows of finished windows, each `[rows_of(window), output_dim]`.
    finished: Vec<Tensor<2>>,
    /// Settled chunks of the open window, one or more per tensor.
    convolved: Vec<Tensor<2>>,
    convolved_len: usize,
    /// The feature floor with which `finished` and `convolved` were computed.
    floor: f32,
}

/// The rows of a sound that the caller does not have.
pub struct Rows {
    /// How many of the finished windows that the caller holds are still valid.
    pub kept: usize,
    /// The finished windows after those, then the open window if there is one; each [rows,
    /// output_dim].
    pub fresh: Vec<Tensor<2>>,
}

impl AudioStream {
    /// A complete sound: 16 kHz mono.
    pub fn of(samples: &[f32]) -> Self {
        let mut stream = Self::default();
        stream.push(samples);
        stream
    }

    /// Forgets the sound.
    pub fn restart(&mut self) {
        self.mel.restart();
        self.forget();
    }

    /// Appends sound: 16 kHz mono.
    pub fn push(&mut self, samples: &[f32]) {
        self.mel.push(samples);
    }

    /// Samples pushed since the start.
    pub fn samples_len(&self) -> usize {
        self.mel.samples_len()
    }

    /// Rows of everything pushed so far.
    pub fn rows_len(&self) -> usize {
        rows_of(self.mel.frames())
    }

    /// Processes the pushed sound. `held`: for how many of the windows that the previous call
    /// finished the caller already has the rows; a larger number counts as all of them. Returns the
    /// rest.
    pub fn take(&mut self, tower: &AudioTower, held: usize) -> Rows {
        let floor = self.mel.floor();
        if floor != self.floor {
            self.forget();
            self.floor = floor;
        }
        let kept = self.finished.len().min(held);
        let window = tower.window_frames();
        loop {
            let start = self.finished.len() * window;
            let settled = self.mel.settled_len().saturating_sub(start).min(window) / CHUNK;
            if settled > self.convolved_len {
                let mel = self.mel.features_of(start + self.convolved_len * CHUNK..start + settled * CHUNK);
                self.convolved.push(tower.convolve(&mel, &mut Tap::off()));
                self.convolved_len = settled;
            }
            if settled * CHUNK < window {
                break;
            }
            let rows = tower.encode(join(std::mem::take(&mut self.convolved)), &mut Tap::off());
            self.convolved_len = 0;
            self.finished.push(rows);
        }
        let from = self.finished.len() * window + self.convolved_len * CHUNK;
        let mut parts = self.convolved.clone();
        if from < self.mel.frames() {
            let mel = self.mel.features_of(from..self.mel.frames());
            parts.push(tower.convolve(&mel, &mut Tap::off()));
        }
        let open = (!parts.is_empty()).then(|| tower.encode(join(parts), &mut Tap::off()));
        Rows { kept, fresh: self.finished[kept..].iter().cloned().chain(open).collect() }
    }

    /// Rows of everything pushed so far, `[rows_len(), output_dim]`.
    pub fn rows(&mut self, tower: &AudioTower) -> Tensor<2> {
        join(self.take(tower, 0).fresh)
    }

    fn forget(&mut self) {
        self.finished.clear();
        self.convolved.clear();
        self.convolved_len = 0;
    }
}
