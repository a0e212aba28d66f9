//! Speech to text with Qwen3-ASR, for a clip or for a growing tail.
//!
//! What is settled is computed once: the rows of the sound (`audio_stream`), and the decoder's keys
//! and values of the prompt up to the last finished window. The last transcript is the guess for
//! the next one. It is fed with the rest of the prompt in one pass, and the part that the model
//! would write again is kept, so that only new tokens are written one by one. Whatever the guess,
//! the ids are those of a fresh transcript, up to ties: rows that are computed together go through
//! another kernel, and their logits may differ in the last bits.

use std::sync::Arc;

use burn::tensor::{Int, Tensor};

use super::{
    Qwen3Asr,
    audio_stream::{AudioStream, Rows},
    audio_tower::rows_of,
    output,
    prompt::asr_prompt,
};
use crate::nn::{Cache, RunError, Tap, greedy, join, read_ids};

/// One transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub text: String,
    /// The language as forced, or as the model named it; empty if there was no speech.
    pub language: String,
    pub ids: Vec<u32>,
}

/// The most positions of a tail with its text, beside those of a context: about fifty seconds of
/// sound. A cascade's tail has at most 40 s.
const POSITIONS: usize = 1280;

/// The most tokens of a transcript: enough for the fastest speakers, and a limit for a model that
/// repeats itself.
fn budget(seconds: f64) -> usize {
    (24.0 + 12.0 * seconds) as usize
}

/// Transcribes one growing sound.
pub struct Recognizer {
    model: Arc<Qwen3Asr>,
    /// The ids of the prompt before the sound's rows; `after` has those after them.
    before: Vec<u32>,
    after: Vec<u32>,
    language: Option<String>,
    sound: AudioStream,
    cache: Cache,
    /// Ids of the last transcript of this sound.
    last: Vec<u32>,
}

impl Recognizer {
    /// `context` goes into the system turn. `language`: a name such as `English` that is forced on
    /// the transcript; with None the model names the language.
    pub fn new(model: Arc<Qwen3Asr>, context: &str, language: Option<&str>) -> Result<Self, RunError> {
        let prompt = asr_prompt(&model.tokenizer, context, 0, language, "")?;
        let context_len = model.tokenizer.encode_plain(context)?.len();
        Ok(Self {
            cache: model.decoder.cache_of(POSITIONS + context_len),
            model,
            before: prompt.ids[..prompt.audio.start].to_vec(),
            after: prompt.ids[prompt.audio.end..].to_vec(),
            language: language.map(str::to_owned),
            sound: AudioStream::default(),
            last: Vec::new(),
        })
    }

    /// Forgets the sound. The keys and values of the prompt before it are kept.
    pub fn restart(&mut self) {
        self.sound.restart();
        self.last.clear();
    }

    /// Appends sound: 16 kHz mono.
    pub fn push(&mut self, samples: &[f32]) {
        self.sound.push(samples);
    }

    /// The prompt's ids before the sound's rows and after them.
    pub fn prompt(&self) -> (&[u32], &[u32]) {
        (&self.before, &self.after)
    }

    /// Samples pushed since the start.
    pub fn samples_len(&self) -> usize {
        self.sound.samples_len()
    }

    /// The transcript of everything pushed so far.
    pub async fn transcribe(&mut self) -> Result<Heard, RunError> {
        let seconds = self.samples_len() as f64 / 16_000.0;
        let ids = self.greedy_ids(budget(seconds)).await?;
        let text = self.model.tokenizer.decode(&ids, true)?;
        let parsed = output::transcript(&text, self.language.as_deref());
        Ok(Heard { text: parsed.text, language: parsed.language, ids })
    }

    /// At most `budget` ids of the transcript of everything pushed so far, without the end token.
    pub async fn greedy_ids(&mut self, budget: usize) -> Result<Vec<u32>, RunError> {
        let guess = std::mem::take(&mut self.last);
        let mut rows = self.unfed();
        let prompt_len = self.cache.end() + rows.iter().map(|part| part.dims()[0]).sum::<usize>();
        // A model that repeats itself stops when the cache is full, and what it has written so far
        // is kept.
        let budget = budget.min(self.cache.capacity().saturating_sub(prompt_len));
        let guess = &guess[..guess.len().min(budget.saturating_sub(1))];
        if !guess.is_empty() {
            rows.push(self.embed(guess));
        }
        let chosen = self.feed(join(rows), 1 + guess.len())?;
        if budget == 0 {
            return Ok(Vec::new());
        }
        let group_len = self.model.compute.group_len();
        let mut ids = match guess {
            [] => self.group(chosen, group_len.min(budget)).await?,
            guess => {
                let mut ids = read_ids(chosen, &self.model.compute).await?;
                let right = guess.iter().zip(&ids).take_while(|(guessed, id)| guessed == id).count();
                ids.truncate(right + 1);
                self.cache.roll_back(prompt_len + right);
                ids
            }
        };
        let end = loop {
            let end = ids.iter().position(|id| self.model.eos.contains(id));
            if end.is_some() || ids.len() >= budget {
                break end.unwrap_or(budget);
            }
            let newest = self.embed(&ids[ids.len() - 1..]);
            let chosen = self.feed(newest, 1)?;
            ids.extend(self.group(chosen, group_len.min(budget - ids.len())).await?);
        };
        ids.truncate(end);
        self.last.clone_from(&ids);
        Ok(ids)
    }

    /// Rolls the cache back to what is settled → the rows of the prompt after that, in parts of
    /// width H.
    fn unfed(&mut self) -> Vec<Tensor<2>> {
        let before = self.before.len();
        let window = rows_of(self.model.audio_tower.window_frames());
        let held = self.cache.end().saturating_sub(before) / window;
        let Rows { kept, fresh } = self.sound.take(&self.model.audio_tower, held);
        let mut rows = Vec::new();
        if self.cache.end() < before {
            self.cache.roll_back(0);
            rows.push(self.embed(&self.before));
        } else {
            self.cache.roll_back(before + kept * window);
        }
        rows.extend(fresh);
        rows.push(self.embed(&self.after));
        rows
    }

    /// Feeds `x [T, H]` → the ids chosen after its last `rows` rows, [rows].
    fn feed(&mut self, x: Tensor<2>, rows: usize) -> Result<Tensor<1, Int>, RunError> {
        let decoder = &self.model.decoder;
        Ok(greedy(decoder.logits(decoder.rows(x, &mut self.cache, rows, &mut Tap::off())?)))
    }

    /// Queues what follows `chosen [1]` → `len` ids from one readback.
    async fn group(&mut self, chosen: Tensor<1, Int>, len: usize) -> Result<Vec<u32>, RunError> {
        let mut queued = vec![chosen];
        while queued.len() < len {
            let newest = self.model.decoder.embed(queued[queued.len() - 1].clone());
            queued.push(self.feed(newest, 1)?);
        }
        read_ids(Tensor::cat(queued, 0), &self.model.compute).await
    }

    fn embed(&self, ids: &[u32]) -> Tensor<2> {
        self.model.decoder.embed(self.model.ids(ids))
    }
}
