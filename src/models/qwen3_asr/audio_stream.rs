//! The tower's rows of a sound that grows, each computed once where it can be.
//!
//! Kept from call to call: mel frames that no longer change, the rows of finished attention windows, and the convolved
//! chunks of the open window, whose layers alone run anew. Finished rows stay as they were even where louder sound later
//! raises the floor of the whole clip's features: there, and only there, a growing sound may be heard otherwise than
//! the same in one piece. Chunks of the open window are convolved anew when the floor rises. (models, section 1.5)

use burn::tensor::Tensor;

use super::audio_tower::{AudioTower, CHUNK, rows_of};
use crate::audio::mel::MelStream;
use crate::nn::{Tap, join};

#[derive(Default)]
pub struct AudioStream {
    mel: MelStream,
    finished: Vec<Tensor<2>>,
    /// Settled chunks of the open window, one or more a tensor.
    convolved: Vec<Tensor<2>>,
    convolved_len: usize,
    /// The floor of the features that `convolved` was made of.
    floor: f32,
}

impl AudioStream {
    /// A sound that is all there.
    pub fn of(samples: &[f32]) -> Self {
        let mut stream = Self::default();
        stream.push(samples);
        stream
    }

    /// Forgets the sound.
    pub fn restart(&mut self) {
        self.mel.restart();
        self.finished.clear();
        self.forget_open();
    }

    /// More sound: 16 kHz mono.
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

    /// Rows of every window that has been finished, each `[rows_of(window), output_dim]`.
    pub fn finished(&self) -> &[Tensor<2>] {
        &self.finished
    }

    /// Takes in what was pushed → the rows behind the finished windows, `[_, output_dim]`, if there are any.
    pub fn open_rows(&mut self, tower: &AudioTower) -> Option<Tensor<2>> {
        let floor = self.mel.floor();
        if floor != self.floor {
            self.forget_open();
            self.floor = floor;
        }
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
            self.forget_open();
            self.finished.push(rows);
        }
        let from = self.finished.len() * window + self.convolved_len * CHUNK;
        let mut parts = self.convolved.clone();
        if from < self.mel.frames() {
            let mel = self.mel.features_of(from..self.mel.frames());
            parts.push(tower.convolve(&mel, &mut Tap::off()));
        }
        (!parts.is_empty()).then(|| tower.encode(join(parts), &mut Tap::off()))
    }

    /// Rows of everything pushed so far, `[rows_len(), output_dim]`.
    pub fn rows(&mut self, tower: &AudioTower) -> Tensor<2> {
        let open = self.open_rows(tower);
        join(self.finished.iter().cloned().chain(open).collect())
    }

    fn forget_open(&mut self) {
        self.convolved.clear();
        self.convolved_len = 0;
    }
}
