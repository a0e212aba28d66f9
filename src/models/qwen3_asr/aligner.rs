//! Word times with Qwen3-ForcedAligner: one forward pass over sound and words, without generation.
//!
//! `<|audio_start|>` sound `<|audio_end|>` w₁ `<timestamp><timestamp>` w₂ ... : at each timestamp
//! the class with the largest logit, times 80 ms, is the start or the end of a word.
//! (docs/models.md, section 1.8)

use burn::tensor::Tensor;

use super::{
    audio_stream::AudioStream,
    audio_tower::AudioTower,
    config::Qwen3AlignerConfig,
    ids_on, load_parts,
    names::QwenNames,
    prompt::{AudioPrompt, aligner_prompt},
    timestamps, words,
};
use crate::gpu::Compute;
use crate::models::qwen3::Qwen3;
use crate::nn::{Loader, RunError, Tap, Target, greedy, join, read_ids};
use crate::weights::{CheckpointError, Files, Tokenizer, Weights};

/// One word and its times, in ms from the first sample of the sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlignedWord {
    pub text: String,
    pub start_ms: u64,
    pub end_ms: u64,
}

#[derive(Debug)]
pub struct ForcedAligner {
    pub audio_tower: AudioTower,
    decoder: Qwen3,
    tokenizer: Tokenizer,
    /// Milliseconds per class.
    segment_ms: u64,
    compute: Compute,
}

impl ForcedAligner {
    /// Loads the model in `files`, whose configuration was read as `config` and whose tensors are
    /// `weights`.
    pub async fn load(
        files: &Files,
        weights: &Weights,
        config: &Qwen3AlignerConfig,
        target: Target<'_>,
    ) -> Result<Self, CheckpointError> {
        let loader = Loader::new(weights, target);
        let names = QwenNames::of_aligner(weights)?;
        let (audio_tower, decoder) =
            load_parts(&loader, &names, &config.audio_config, &config.text_config, config.classify_num).await?;
        let tokenizer = Tokenizer::open(files)?;
        tokenizer.fits(config.text_config.vocab_size)?;
        Ok(Self {
            audio_tower,
            decoder,
            segment_ms: u64::from(config.timestamp_segment_time),
            tokenizer,
            compute: target.compute.clone(),
        })
    }

    /// The times of the words of `text` in `sound`. They are repaired, so they never run backwards.
    /// Words that consist of punctuation only are left out.
    ///
    /// Errors: [`RunError::TooLong`] if sound and words exceed the decoder's capacity; errors of
    /// the device.
    pub async fn align(&self, sound: &mut AudioStream, text: &str) -> Result<Vec<AlignedWord>, RunError> {
        let words = words::split(text);
        if words.is_empty() || sound.samples_len() == 0 {
            return Ok(Vec::new());
        }
        // This comes first, so that a prompt that is too long does not cost a run of the tower.
        let prompt = self.prompt(sound.rows_len(), &words)?;
        let classes = self.classes(&prompt, sound.rows(&self.audio_tower)).await?;
        let stamps: Vec<i64> = classes.iter().map(|class| i64::from(*class) * self.segment_ms as i64).collect();
        let repaired = timestamps::repair(&stamps);
        let pairs = repaired.chunks_exact(2);
        Ok(words
            .into_iter()
            .zip(pairs)
            .map(|(text, pair)| AlignedWord { text, start_ms: pair[0].max(0) as u64, end_ms: pair[1].max(0) as u64 })
            .collect())
    }

    /// The whole prompt for the words and a sound of `rows` rows of the tower. Fails if it exceeds
    /// the decoder's capacity.
    pub fn prompt(&self, rows: usize, words: &[String]) -> Result<AudioPrompt, RunError> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let prompt = aligner_prompt(&self.tokenizer, rows, &words)?;
        self.decoder.room_for(prompt.ids.len())?;
        Ok(prompt)
    }

    /// The embeddings of `prompt`, with the tower's rows `audio [T, H]` in their place → [S, H].
    pub fn sequence(&self, prompt: &AudioPrompt, audio: Tensor<2>) -> Tensor<2> {
        let embed = |ids: &[u32]| self.decoder.embed(ids_on(ids, &self.compute.device));
        let before = embed(&prompt.ids[..prompt.audio.start]);
        let after = embed(&prompt.ids[prompt.audio.end..]);
        join(vec![before, audio, after])
    }

    /// x [S, H] → logits [S, classes].
    pub fn logits(&self, x: Tensor<2>) -> Result<Tensor<2>, RunError> {
        let hidden = self.forward(x)?;
        Ok(self.decoder.logits(hidden))
    }

    fn forward(&self, x: Tensor<2>) -> Result<Tensor<2>, RunError> {
        let rows = x.dims()[0];
        let mut cache = self.decoder.cache_of(rows);
        self.decoder.rows(x, &mut cache, rows, &mut Tap::off())
    }

    /// The class at every timestamp: start and end of each word in turn.
    pub async fn classes(&self, prompt: &AudioPrompt, audio: Tensor<2>) -> Result<Vec<u32>, RunError> {
        let hidden = self.forward(self.sequence(prompt, audio))?;
        let columns: Vec<i32> = prompt.timestamps.iter().map(|at| *at as i32).collect();
        let stamped = hidden.select(0, Tensor::from_ints(columns.as_slice(), &self.compute.device));
        read_ids(greedy(self.decoder.logits(stamped)), &self.compute).await
    }
}
