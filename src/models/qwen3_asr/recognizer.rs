//! Speech to text with Qwen3-ASR, for a clip or for a tail that grows.
//!
//! What is settled is computed once: mel frames, the rows of finished attention windows, and the decoder's keys and
//! values of the prompt up to them. A call feeds only what has changed since the last one. Finished rows stay as they
//! were even where louder sound later raises the floor of the whole clip's features: there, and only there, a growing
//! tail may be heard otherwise than the same sound in one piece.

use std::sync::Arc;

use burn::tensor::{Int, Tensor};

use super::{Qwen3Asr, audio_tower::rows_of, decoder::Cache, output};
use crate::audio::mel::MelStream;
use crate::checkpoint::chat::asr_prompt;
use crate::nn::{RunError, Tap, greedy, join, read_ids};

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub text: String,
    /// As the model named it, or as it was forced; empty when it heard no speech.
    pub language: String,
    pub ids: Vec<u32>,
}

/// Positions of a tail with its text: about fifty seconds of sound. A cascade's tail is 40 s at most.
const POSITIONS: usize = 1280;

/// Tokens a transcript may have: what the fastest speakers need, and an end for a model that repeats itself.
fn budget(seconds: f64) -> usize {
    (24.0 + 12.0 * seconds) as usize
}

/// One sequence of sound on its way to text.
pub struct Recognizer {
    model: Arc<Qwen3Asr>,
    /// The prompt's ids before the sound's rows and after them.
    before: Vec<u32>,
    after: Vec<u32>,
    language: Option<String>,
    mel: MelStream,
    /// Rows of the windows whose frames no longer change.
    finished: Vec<Tensor<2>>,
    cache: Cache,
    /// Positions in `cache` that later calls can keep.
    settled: usize,
}

impl Recognizer {
    /// `language`: a name such as `English` that the transcript is forced to, or None to let the model say.
    pub fn new(model: Arc<Qwen3Asr>, context: &str, language: Option<&str>) -> Result<Self, RunError> {
        let prompt = asr_prompt(&model.tokenizer, context, 0, language, "")?;
        Ok(Self {
            cache: model.decoder.cache(POSITIONS),
            model,
            before: prompt.ids[..prompt.audio.start].to_vec(),
            after: prompt.ids[prompt.audio.end..].to_vec(),
            language: language.map(str::to_owned),
            mel: MelStream::new(),
            finished: Vec::new(),
            settled: 0,
        })
    }

    /// Forgets the sound; the prompt's keys and values stay.
    pub fn restart(&mut self) {
        self.mel.restart();
        self.finished.clear();
        self.settled = self.settled.min(self.before.len());
    }

    /// More sound: 16 kHz mono.
    pub fn push(&mut self, samples: &[f32]) {
        self.mel.push(samples);
    }

    /// The prompt's ids before the sound's rows and after them.
    pub fn prompt(&self) -> (&[u32], &[u32]) {
        (&self.before, &self.after)
    }

    /// Samples pushed since the start.
    pub fn samples_len(&self) -> usize {
        self.mel.samples_len()
    }

    /// The transcript of everything pushed so far.
    pub async fn transcribe(&mut self) -> Result<Heard, RunError> {
        let seconds = self.samples_len() as f64 / 16_000.0;
        let ids = self.greedy_ids(budget(seconds)).await?;
        let text = self.model.tokenizer.decode(&ids, true)?;
        let parsed = output::parse(&text, self.language.as_deref());
        Ok(Heard { text: parsed.text, language: parsed.language, ids })
    }

    /// At most `budget` ids of the transcript of everything pushed so far, without the end token.
    pub async fn greedy_ids(&mut self, budget: usize) -> Result<Vec<u32>, RunError> {
        let first = self.prefill(&mut Tap::off())?;
        self.generate(first, budget).await
    }

    /// Feeds what has changed; → the normed row after the prompt's last token, [1, H].
    fn prefill(&mut self, tap: &mut Tap) -> Result<Tensor<2>, RunError> {
        let window = self.model.audio_tower.window_frames();
        while self.mel.settled_len() >= (self.finished.len() + 1) * window {
            let from = self.finished.len() * window;
            let mel = self.mel.features_of(from..from + window);
            self.finished.push(self.model.audio_tower.forward(&mel, tap));
        }
        let from = self.finished.len() * window;
        let frames = self.mel.frames();
        let before = self.before.len();

        // Settled rows first; the tail's will be replaced, so the cache is kept up to them only.
        self.cache.roll_back(self.settled.min(self.cache.end()));
        let mut rows = Vec::new();
        if self.cache.end() < before {
            self.cache.roll_back(0);
            rows.push(self.embed(&self.before));
        }
        let held = (self.cache.end().max(before) - before) / rows_of(window);
        rows.extend(self.finished[held..].iter().cloned());
        self.settled = before + self.finished.len() * rows_of(window);
        if from < frames {
            let mel = self.mel.features_of(from..frames);
            rows.push(self.model.audio_tower.forward(&mel, tap));
        }
        rows.push(self.embed(&self.after));
        let x = join(rows);
        let hidden = self.model.decoder.forward(x, &mut self.cache, tap)?;
        let last = hidden.dims()[0] - 1;
        Ok(hidden.narrow(0, last, 1))
    }

    fn embed(&self, ids: &[u32]) -> Tensor<2> {
        self.model.decoder.embed(self.model.ids(ids))
    }

    /// Greedy ids from the row after the prompt on, without the end token. Ids stay on the device inside a group.
    async fn generate(&mut self, first: Tensor<2>, budget: usize) -> Result<Vec<u32>, RunError> {
        let group_len = self.model.compute.group_len();
        // A model that repeats itself ends with the cache, with what it has written so far.
        let budget = budget.min(self.cache.room() / group_len * group_len);
        let mut hidden = first;
        let mut ids = Vec::new();
        if budget == 0 {
            return Ok(ids);
        }
        loop {
            let mut group: Vec<Tensor<1, Int>> = Vec::new();
            while group.len() < group_len {
                let id = greedy(self.model.decoder.logits(hidden.clone()));
                group.push(id.clone());
                hidden = self.model.decoder.forward(self.model.decoder.embed(id), &mut self.cache, &mut Tap::off())?;
            }
            for id in read_ids(Tensor::cat(group, 0), &self.model.compute).await? {
                if self.model.eos.contains(&id) {
                    return Ok(ids);
                }
                ids.push(id);
                if ids.len() == budget {
                    return Ok(ids);
                }
            }
        }
    }
}
