//! The engines on the real models: Qwen3-ASR, Qwen3-ForcedAligner and Gemma-4 behind the cascade's traits.

use std::sync::Arc;

use super::engines::{Align, BoxError, Draft, DraftRequest, Hypothesis, Recognize, TimedWord, Translate};
use crate::alignatt::{Language, Millis, Piece};
use crate::checkpoint::Detokenizer;
use crate::models::gemma4::prompt::Prompt;
use crate::models::gemma4::translator::Translator;
use crate::models::qwen3_asr::{Qwen3Asr, aligner::ForcedAligner, recognizer::Recognizer};

/// One stream's recogniser: keeps what is settled from call to call.
pub struct Recognition {
    model: Arc<Qwen3Asr>,
    current: Option<(Language, Recognizer)>,
}

impl Recognition {
    pub fn new(model: Arc<Qwen3Asr>) -> Self {
        Self { model, current: None }
    }
}

impl Recognize for Recognition {
    async fn transcribe(&mut self, tail: &[f32], language: Language) -> Result<Hypothesis, BoxError> {
        let recognizer = match self.current.take() {
            Some((of, recognizer)) if of == language => recognizer,
            _ => Recognizer::new(self.model.clone(), "", Some(language.english_name()))?,
        };
        let (_, recognizer) = self.current.insert((language, recognizer));
        if recognizer.samples_len() > tail.len() {
            recognizer.restart();
        }
        recognizer.push(&tail[recognizer.samples_len()..]);
        let heard = recognizer.transcribe().await?;
        Ok(Hypothesis { text: heard.text, tokens: heard.ids.len() })
    }

    fn restart(&mut self) {
        if let Some((_, recognizer)) = &mut self.current {
            recognizer.restart();
        }
    }
}

/// The aligner has no state of its own.
pub struct Alignment(pub Arc<ForcedAligner>);

impl Align for Alignment {
    async fn align(&mut self, tail: &[f32], text: &str, _: Language) -> Result<Vec<TimedWord>, BoxError> {
        let words = self.0.align(tail, text).await?;
        Ok(words
            .into_iter()
            .map(|word| TimedWord { text: word.text, start_ms: Millis(word.start_ms), end_ms: Millis(word.end_ms) })
            .collect())
    }
}

/// One stream's translator: the prompt of one direction on one cache.
pub struct Translation {
    prompt: Prompt,
    translator: Translator,
}

impl Translation {
    pub fn new(prompt: Prompt, translator: Translator) -> Self {
        Self { prompt, translator }
    }
}

impl Translate for Translation {
    async fn draft(&mut self, request: &DraftRequest<'_>) -> Result<Draft, BoxError> {
        let ids = self.prompt.ids(request.source, request.accepted)?;
        let draft = self.translator.draft(&ids, request.max_new_tokens).await?;
        let tokenizer = self.prompt.tokenizer();
        let continuation = tokenizer.decode(&draft.ids, true)?;
        let mut stream = Detokenizer::new(true);
        let pieces = draft.ids.iter().map(|id| Piece { text: stream.push(tokenizer, *id), evidence: None }).collect();
        Ok(Draft { continuation, tokens: draft.ids.len(), finished: draft.finished, pieces })
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.prompt.tokenizer().encode_plain(text).map_or(0, |ids| ids.len())
    }
}
