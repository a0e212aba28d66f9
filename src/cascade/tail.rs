//! Sound that waits to be heard ([`Inbox`]) and sound of the open segment ([`Tail`]).
//!
//! Positions are sample numbers since the stream began, so cuts are exact and times are absolute. A
//! tail without speech keeps only a short run-up, so silence costs no memory.

use std::collections::VecDeque;

use super::SAMPLE_RATE;
use super::stream::Activity;
use crate::text::Millis;

/// Sound kept before speech, so that its onset is not clipped: the detector needs up to 300 ms to
/// find speech in noise, and a word may begin softly.
pub(super) const RUN_UP: Millis = Millis(500);

/// Number of samples in `time`.
pub(super) fn samples_in(time: Millis) -> u64 {
    time.0.saturating_mul(u64::from(SAMPLE_RATE)) / 1000
}

/// Length of `samples`, rounded down.
pub(super) fn time_of(samples: u64) -> Millis {
    Millis(samples.saturating_mul(1000) / u64::from(SAMPLE_RATE))
}

/// Sound as it arrived.
#[derive(Debug)]
pub(super) struct Block {
    pub samples: Vec<f32>,
    pub activity: Activity,
    pub arrived: Millis,
}

/// Sound that waits.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    blocks: VecDeque<Block>,
    waiting: u64,
}

impl Inbox {
    /// Adds sound in blocks of at most `piece` samples.
    pub(super) fn push(&mut self, samples: &[f32], piece: u64, activity: Activity, arrived: Millis) {
        let piece = usize::try_from(piece).unwrap_or(usize::MAX).max(1);
        for part in samples.chunks(piece) {
            self.waiting += part.len() as u64;
            self.blocks.push_back(Block { samples: part.to_vec(), activity, arrived });
        }
    }

    pub(super) fn pop(&mut self) -> Option<Block> {
        let block = self.blocks.pop_front()?;
        self.waiting -= block.samples.len() as u64;
        Some(block)
    }

    /// Number of samples that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }
}

/// The sound of the open segment, from the last cut to what has been heard.
#[derive(Debug, Default)]
pub(super) struct Tail {
    samples: Vec<f32>,
    start: u64,
    /// Where the last block with speech ended.
    speech_end: u64,
    /// Where the sound ended that the recogniser processed last.
    recognized_end: u64,
}

impl Tail {
    /// The tail of a stream that is resumed, before its sound is pushed again.
    pub(super) fn from(start: u64) -> Tail {
        Tail { start, speech_end: start, recognized_end: start, ..Tail::default() }
    }

    pub(super) fn hear(&mut self, block: &Block) {
        self.samples.extend_from_slice(&block.samples);
        if block.activity != Activity::Silence {
            self.speech_end = self.end();
        }
        if !self.has_speech() {
            self.keep_run_up();
        }
    }

    pub(super) fn samples(&self) -> &[f32] {
        &self.samples
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.samples.len() as u64
    }

    pub(super) fn start_time(&self) -> Millis {
        time_of(self.start)
    }

    /// How far the stream has been heard.
    pub(super) fn end_time(&self) -> Millis {
        time_of(self.end())
    }

    pub(super) fn length(&self) -> Millis {
        time_of(self.samples.len() as u64)
    }

    /// Whether it contains speech, or sound of unknown activity.
    pub(super) fn has_speech(&self) -> bool {
        self.speech_end > self.start
    }

    /// Length of the silence at its end.
    pub(super) fn trailing_silence(&self) -> Millis {
        time_of(self.end() - self.speech_end.clamp(self.start, self.end()))
    }

    /// Whether it has sound that the recogniser has not processed.
    pub(super) fn has_news(&self) -> bool {
        self.end() > self.recognized_end
    }

    pub(super) fn recognized(&mut self) {
        self.recognized_end = self.end();
    }

    /// Notes that the tail contains words, whatever the detector said.
    pub(super) fn expect_speech(&mut self) {
        self.speech_end = self.speech_end.max(self.start + 1);
    }

    /// Drops the sound before `time`.
    pub(super) fn cut(&mut self, time: Millis) {
        let at = samples_in(time).clamp(self.start, self.end());
        self.samples.drain(..(at - self.start) as usize);
        self.start = at;
        if self.samples.capacity() > 4 * self.samples.len().max(4096) {
            self.samples.shrink_to(2 * self.samples.len());
        }
    }

    /// Drops all sound but a run-up without words. The run-up counts as silence.
    pub(super) fn clear(&mut self) {
        self.keep_run_up();
        self.cut(time_of(self.speech_end));
        self.speech_end = self.start;
    }

    fn keep_run_up(&mut self) {
        let keep = samples_in(RUN_UP).min(self.samples.len() as u64);
        self.cut(time_of(self.end() - keep));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::pieces::Pieces;
    use crate::audio::testing::sample;

    /// Whatever the detector needs to find speech, the tail holds it from its first sample on.
    #[test]
    fn the_first_word_is_whole() {
        for talk in ["talk-a", "talk-b", "talk-c"] {
            let json = format!("{}/samples/{talk}.json", env!("CARGO_MANIFEST_DIR"));
            let json: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
            let speech = sample(&format!("{talk}.flac"));
            for sentence in json["sentences"].as_array().unwrap() {
                let start = samples_in(Millis(sentence["start_ms"].as_u64().unwrap())) as usize;
                for before in [0, 1_600, 16_000, 80_000] {
                    let sound = [&vec![0.0; before], &speech[start..start + 16_000]].concat();
                    let mut tail = Tail::default();
                    let mut hear = |piece: crate::audio::pieces::Piece| {
                        let activity = Activity::of(piece.is_speech);
                        tail.hear(&Block { samples: piece.samples, activity, arrived: Millis::ZERO });
                        Ok::<(), ()>(())
                    };
                    let mut pieces = Pieces::new();
                    pieces.push(&sound, &mut hear).unwrap();
                    assert!(tail.has_speech() && tail.start <= before as u64, "{talk}, {before}: {}", tail.start);
                }
            }
        }
    }
}
