//! Sound of any block length in pieces of 10 ms, each with what the voice detector makes of it.

use super::mel::SAMPLE_RATE;
use super::vad::Vad;

/// Samples of a piece: short, so that a chunk is as long as it was asked for.
pub const PIECE: usize = SAMPLE_RATE as usize / 100;

/// Some sound, at most [`PIECE`] samples at 16 kHz.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub samples: Vec<f32>,
    /// It could be speech.
    pub is_sound: bool,
}

/// Cuts a stream.
pub struct Pieces {
    rest: Vec<f32>,
    vad: Vad,
}

impl Default for Pieces {
    fn default() -> Self {
        Self::new()
    }
}

impl Pieces {
    pub fn new() -> Pieces {
        Pieces { rest: Vec::new(), vad: Vad::new() }
    }

    /// Takes 16 kHz mono samples in, gives every whole piece to `give` and stops where that fails.
    pub fn push<E>(&mut self, samples: &[f32], give: &mut dyn FnMut(Piece) -> Result<(), E>) -> Result<(), E> {
        self.rest.extend_from_slice(samples);
        let whole = self.rest.len() / PIECE * PIECE;
        let ready: Vec<f32> = self.rest.drain(..whole).collect();
        ready.chunks(PIECE).try_for_each(|samples| give(self.piece(samples)))
    }

    /// The sound is over: gives what is left, if anything.
    pub fn finish<E>(&mut self, give: &mut dyn FnMut(Piece) -> Result<(), E>) -> Result<(), E> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() { Ok(()) } else { give(self.piece(&rest)) }
    }

    fn piece(&mut self, samples: &[f32]) -> Piece {
        self.vad.push(samples);
        Piece { samples: samples.to_vec(), is_sound: self.vad.is_sound() }
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
