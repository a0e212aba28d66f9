//! Cuts sound into pieces of 10 ms, each with the result of the voice detector.

use super::mel::SAMPLE_RATE;
use super::vad::Vad;

/// The number of samples of a piece. It is short, so that chunks get the requested length.
pub(crate) const PIECE: usize = SAMPLE_RATE as usize / 100;

/// At most [`PIECE`] samples at 16 kHz.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    pub samples: Vec<f32>,
    /// The voice detector found speech.
    pub is_speech: bool,
}

/// Cuts one stream.
pub(crate) struct Pieces {
    rest: Vec<f32>,
    vad: Vad,
}

impl Default for Pieces {
    fn default() -> Self {
        Self::new()
    }
}

impl Pieces {
    pub(crate) fn new() -> Pieces {
        Pieces { rest: Vec::new(), vad: Vad::new() }
    }

    /// Takes samples, 16 kHz mono, and passes every whole piece to `emit`. Stops if `emit` fails.
    pub(crate) fn push<E>(&mut self, samples: &[f32], emit: &mut dyn FnMut(Piece) -> Result<(), E>) -> Result<(), E> {
        self.rest.extend_from_slice(samples);
        let whole = self.rest.len() / PIECE * PIECE;
        let ready: Vec<f32> = self.rest.drain(..whole).collect();
        ready.chunks(PIECE).try_for_each(|samples| emit(self.piece(samples)))
    }

    /// Passes the rest of the sound to `emit`, if there is any.
    pub(crate) fn finish<E>(&mut self, emit: &mut dyn FnMut(Piece) -> Result<(), E>) -> Result<(), E> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() { Ok(()) } else { emit(self.piece(&rest)) }
    }

    fn piece(&mut self, samples: &[f32]) -> Piece {
        self.vad.push(samples);
        Piece { samples: samples.to_vec(), is_speech: self.vad.is_speech() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_any_length_give_the_same_pieces() {
        let sound: Vec<f32> = (0..2_000).map(|i| (i as f32 * 0.3).sin()).collect();
        let cut = |block: usize| {
            let (mut pieces, mut all) = (Pieces::new(), Vec::new());
            let mut give = |piece| {
                all.push(piece);
                Ok::<(), ()>(())
            };
            for samples in sound.chunks(block) {
                pieces.push(samples, &mut give).unwrap();
            }
            pieces.finish(&mut give).unwrap();
            all
        };
        let whole = cut(2_000);
        assert_eq!(whole.len(), 13);
        assert_eq!(whole.iter().flat_map(|piece| piece.samples.clone()).collect::<Vec<_>>(), sound);
        assert!([1, 7, 160, 161].iter().all(|&block| cut(block) == whole));
    }
}
