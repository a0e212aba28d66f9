//! The cascade's traits on the real models: Qwen3-ASR, Qwen3-ForcedAligner and the text models.

use std::sync::Arc;

use crate::cascade::engines::{
    Align, BoxError, Cost, Draft, DraftRequest, Hypothesis, Recognize, TimedWord, TooLong, Translate, Watch,
};
use crate::models::drafting::{self, Request, Translator};
use crate::models::prompt::{PromptIds, TranslationPrompt, Turn};
use crate::models::qwen3_asr::{Qwen3Asr, aligner::ForcedAligner, audio_stream::AudioStream, recognizer::Recognizer};
use crate::nn::RunError;
use crate::policy::budget::{FINAL_MOST, within_context};
use crate::policy::listening::Attention;
use crate::text::{Language, Millis};
use crate::weights::markup::erase_markup;
use crate::weights::{CheckpointError, Detokenizer};

/// The recogniser of one stream. It keeps settled values from call to call.
pub struct Recognition {
    model: Arc<Qwen3Asr>,
    context: String,
    current: Option<(Language, Recognizer)>,
}

impl Recognition {
    /// A recogniser that has heard nothing. Names and terms of `context` are recognised better; it
    /// may be empty.
    pub fn new(model: Arc<Qwen3Asr>, context: String) -> Self {
        Self { model, context, current: None }
    }
}

impl Recognize for Recognition {
    async fn transcribe(&mut self, tail: &[f32], language: Language) -> Result<Hypothesis, BoxError> {
        let mut recognizer = match self.current.take() {
            Some((of, recognizer)) if of == language => recognizer,
            _ => Recognizer::new(self.model.clone(), &self.context, Some(language.english_name()))?,
        };
        if recognizer.samples_len() > tail.len() {
            recognizer.restart();
        }
        recognizer.push(&tail[recognizer.samples_len()..]);
        // After an error, none of the kept values can be trusted, so the recogniser is not put
        // back.
        let heard = recognizer.transcribe().await.map_err(failed)?;
        self.current = Some((language, recognizer));
        Ok(Hypothesis { text: heard.text, tokens: heard.ids.len() })
    }

    fn restart(&mut self) {
        if let Some((_, recognizer)) = &mut self.current {
            recognizer.restart();
        }
    }
}

/// The aligner of one stream. It keeps the rows of settled sound.
pub struct Alignment {
    model: Arc<ForcedAligner>,
    sound: AudioStream,
}

impl Alignment {
    /// An aligner that has heard nothing.
    pub fn new(model: Arc<ForcedAligner>) -> Self {
        Self { model, sound: AudioStream::default() }
    }
}

impl Align for Alignment {
    async fn align(&mut self, tail: &[f32], text: &str, _: Language) -> Result<Vec<TimedWord>, BoxError> {
        if self.sound.samples_len() > tail.len() {
            self.sound.restart();
        }
        self.sound.push(&tail[self.sound.samples_len()..]);
        let words = self.model.align(&mut self.sound, text).await;
        if words.is_err() {
            // None of the kept rows can be trusted.
            self.sound.restart();
        }
        let words = words.map_err(failed)?;
        Ok(words
            .into_iter()
            .map(|word| TimedWord { text: word.text, start_ms: Millis(word.start_ms), end_ms: Millis(word.end_ms) })
            .collect())
    }

    fn restart(&mut self) {
        self.sound.restart();
    }
}

/// The translator of one stream: the prompt of one direction and one cache.
pub struct Translation {
    prompt: Box<dyn TranslationPrompt>,
    translator: Translator,
    heads_len: usize,
    last: Option<Last>,
}

/// The last draft. Its tokens after the accepted prefix are the guess for the next draft.
struct Last {
    accepted: String,
    ids: Vec<u32>,
    pieces: Vec<String>,
}

impl Translation {
    /// `heads_len`: the number of heads that `translator` was armed with.
    pub fn new(prompt: Box<dyn TranslationPrompt>, translator: Translator, heads_len: usize) -> Self {
        Self { prompt, translator, heads_len, last: None }
    }
}

impl Translation {
    /// The prompt with as many of the newest history turns as leave room for the longest draft. The
    /// budget of this draft does not matter, so all drafts of a segment have the same turns.
    fn fitting(&self, request: &DraftRequest<'_>) -> Result<PromptIds, CheckpointError> {
        let mut history = request.history;
        loop {
            let prompt = self.prompt.ids(&Turn { history, source: request.source, accepted: request.accepted })?;
            let room = within_context(FINAL_MOST, prompt.ids.len(), self.translator.capacity());
            match history {
                [_, newer @ ..] if room < FINAL_MOST => history = newer,
                _ => return Ok(prompt),
            }
        }
    }
}

/// Converts a model's error for the cascade.
fn failed(error: RunError) -> BoxError {
    match error {
        RunError::TooLong { needed, capacity, .. } => TooLong { needed, capacity }.into(),
        error => error.into(),
    }
}

impl Last {
    /// The tokens after `accepted`, if `accepted` ends at the end of a token; else none.
    fn behind(&self, accepted: &str) -> &[u32] {
        let mut text = self.accepted.clone();
        let mut shown = 0;
        while text.trim() != accepted {
            let Some(piece) = self.pieces.get(shown) else { return &[] };
            text.push_str(piece);
            shown += 1;
        }
        // The accepted text has no blank at its ends, so a token of blanks alone still belongs to
        // the guess. A base model begins a translation with a blank.
        self.ids.get(shown..).unwrap_or_default()
    }
}

impl Translate for Translation {
    async fn draft(&mut self, request: &DraftRequest<'_>, watch: Watch<'_>) -> Result<Draft, BoxError> {
        let prompt = self.fitting(request)?;
        let last = self.last.take();
        let guess = last.as_ref().map_or(&[][..], |last| last.behind(request.accepted));
        let tokenizer = self.prompt.tokenizer();
        let mut spelling = Detokenizer::new(true);
        let attention = (self.heads_len > 0).then(|| Attention::new(prompt.columns.clone(), self.heads_len));
        let mut seen = Draft { attention, ..Draft::default() };
        let wanted =
            Request { prompt: &prompt.ids, source: prompt.source.clone(), guess, budget: request.max_new_tokens };
        let draft = {
            let mut watching = |draft: &drafting::Draft| {
                seen.pieces.extend(draft.ids[seen.pieces.len()..].iter().map(|id| spelling.push(tokenizer, *id)));
                take_rows(&mut seen, &draft.attention);
                watch(&seen)
            };
            self.translator.draft(&wanted, &mut watching).await.map_err(failed)?
        };
        seen.pieces.extend(draft.ids[seen.pieces.len()..].iter().map(|id| spelling.push(tokenizer, *id)));
        if let Some(last) = seen.pieces.last_mut() {
            last.push_str(&spelling.finish());
        }
        take_rows(&mut seen, &draft.attention);
        erase_markup(&mut seen.pieces);
        let cost = draft.cost;
        self.last =
            Some(Last { accepted: request.accepted.to_owned(), pieces: seen.pieces.clone(), ids: draft.ids.clone() });
        Ok(Draft {
            pieces: seen.pieces,
            finished: draft.finished,
            attention: seen.attention,
            cost: Cost {
                computed: cost.prefilled + cost.guessed + cost.stepped,
                saved: cost.cached + cost.confirmed,
                readbacks: cost.readbacks,
            },
        })
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.prompt.tokenizer().encode_plain(text).map_or(0, |ids| ids.len())
    }
}

/// Copies the attention rows that are new since the last call.
fn take_rows(seen: &mut Draft, rows: &drafting::Attention) {
    if let Some(attention) = &mut seen.attention {
        let fits = attention.append(&rows.rows[attention.rows.len()..], &rows.rest[attention.rest.len()..]);
        debug_assert_eq!(fits, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A draft that continues `accepted`. Its ids count from 0.
    fn last(accepted: &str, pieces: &[&str]) -> Last {
        Last {
            accepted: accepted.to_owned(),
            ids: (0..pieces.len() as u32).collect(),
            pieces: pieces.iter().map(|piece| (*piece).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_not_shown_yet_is_the_guess() {
        let draft = last("Das", &[" ist", " ein", " Ent", "wurf", "."]);
        assert_eq!(draft.behind("Das"), [0, 1, 2, 3, 4], "nothing of it is shown");
        assert_eq!(draft.behind("Das ist ein"), [2, 3, 4]);
        assert_eq!(draft.behind("Das ist ein Ent"), [3, 4], "a token need not be a word");
        assert_eq!(draft.behind("Das ist ein Entwurf."), [0; 0], "all of it is shown");
        assert_eq!(last("", &["Das", " ist"]).behind(""), [0, 1]);
        assert_eq!(last("Das", &[]).behind("Das"), [0; 0]);
    }

    #[test]
    fn no_guess_where_the_shown_text_does_not_end_with_a_token() {
        let draft = last("Das", &[" ist", " Entwurf", "."]);
        for accepted in ["Das ist Ent", "Das i", "Das war", "Da", "", "Das ist Entwurf. Und", "Dies ist"] {
            assert_eq!(draft.behind(accepted), [0; 0], "{accepted:?}");
        }
        // Joining removed a blank that the tokens have.
        assert_eq!(last("Ja", &[" ,", " gut"]).behind("Ja,"), [0; 0]);
    }

    #[test]
    fn blank_tokens_are_still_to_come() {
        let draft = last("Das", &[" ", "ist", "\n", " gut"]);
        assert_eq!(draft.behind("Das"), [0, 1, 2, 3]);
        assert_eq!(draft.behind("Das ist"), [2, 3]);
        assert_eq!(last("", &["  ", "Das"]).behind(""), [0, 1]);
        assert_eq!(last("", &[" Das", " ist", " gut"]).behind("Das"), [1, 2]);
        // A token may end with its blank.
        assert_eq!(last("", &["Das ", "ist ", "gut"]).behind("Das"), [1, 2]);
        // Half a character has no text. It stays with the half that has.
        assert_eq!(last("我", &["", "们", "好"]).behind("我"), [0, 1, 2]);
        assert_eq!(last("我", &["", "们", "好"]).behind("我们"), [2]);
    }
}
