//! The models as the cascade sees them: three small traits. An implementation owns its prompts,
//! caches and devices. Futures need not be `Send`, because one stream runs on one thread (in a
//! browser, in one worker).
#![allow(async_fn_in_trait)] // no caller needs a `Send` bound

use std::ops::ControlFlow;

use crate::policy::listening::Attention;
use crate::text::{Language, Millis};

/// An error of a model, with the model's own message.
pub type BoxError = Box<dyn std::error::Error>;

/// An input does not fit a model. The same call would fail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it takes {needed} positions, and the model has {capacity}")]
pub struct TooLong {
    /// Positions that the input takes.
    pub needed: usize,
    /// Positions that the model has.
    pub capacity: usize,
}

/// The transcript of the open tail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hypothesis {
    /// The punctuated transcript; empty where there is no speech.
    pub text: String,
    /// Number of tokens that the recogniser wrote.
    pub tokens: usize,
}

/// Recogniser: sound to text.
pub trait Recognize {
    /// Transcribes `tail`, all samples (16 kHz, mono) of the open segment. It extends the tail of
    /// the previous call unless [`Recognize::restart`] came between, so an implementation may keep
    /// finished windows and caches.
    async fn transcribe(&mut self, tail: &[f32], language: Language) -> Result<Hypothesis, BoxError>;

    /// A new tail begins: drops what is kept of the last one.
    fn restart(&mut self);
}

/// A word as the aligner cleaned it. Times count from the start of the tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedWord {
    /// The word without its punctuation.
    pub text: String,
    /// When it begins in the tail.
    pub start_ms: Millis,
    /// When it ends in the tail.
    pub end_ms: Millis,
}

/// Aligner: text and its sound to word times.
pub trait Align {
    /// Returns times for the words of `text`, which is spoken in `tail` (16 kHz, mono). The aligner
    /// may clean, join or split words but must keep the letters in the order of `text`. The tail
    /// extends that of the previous call unless [`Align::restart`] came between.
    async fn align(&mut self, tail: &[f32], text: &str, language: Language) -> Result<Vec<TimedWord>, BoxError>;

    /// A new tail begins: drops what is kept of the last one.
    fn restart(&mut self);
}

/// Request for one draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftRequest<'a> {
    /// Earlier segments with their translations, oldest first. Where they do not all fit into the
    /// model's context, the oldest are left out.
    pub history: &'a [(String, String)],
    /// The source of one segment, as far as it is known.
    pub source: &'a str,
    /// The accepted prefix: the translation starts with exactly this text. It has no blank at its
    /// end and may be empty.
    pub accepted: &'a str,
    /// The most tokens to write. The model's context may allow fewer.
    pub max_new_tokens: usize,
    /// Whether the source is a whole segment. If not, it is still being spoken.
    pub source_is_final: bool,
}

/// A greedy continuation of the accepted prefix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The text that each token adds. Joined, the pieces are the text after the accepted prefix,
    /// with its leading blank if it has one.
    pub pieces: Vec<String>,
    /// The model ended the draft with a stop token; neither the limit nor the watcher did.
    pub finished: bool,
    /// The captured attention, at most one row per token; `None` where nothing was captured.
    pub attention: Option<Attention>,
    /// What the draft cost.
    pub cost: Cost,
}

/// Cost of drafts, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Positions computed: of prompts, of guesses, and of single tokens.
    pub computed: usize,
    /// Positions not computed: cached beginnings of prompts, and guessed tokens that the model
    /// confirmed.
    pub saved: usize,
    /// Number of times that the host waited for the device.
    pub readbacks: usize,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, more: Cost) {
        self.computed += more.computed;
        self.saved += more.saved;
        self.readbacks += more.readbacks;
    }
}

/// Called while a draft grows, some tokens at a time. Decides whether the draft goes on.
pub type Watch<'a> = &'a mut dyn FnMut(&Draft) -> ControlFlow<()>;

/// Translator: text to text.
pub trait Translate {
    /// Continues `request.accepted` as the translation of `request.source`. Earlier drafts, and the
    /// moment at which `watch` stopped them, change the cost but not the tokens. Ties are the
    /// exception: rows computed in another group may differ in the last bits of their logits. Fails
    /// with [`TooLong`] where the prompt does not fit even without history.
    async fn draft(&mut self, request: &DraftRequest<'_>, watch: Watch<'_>) -> Result<Draft, BoxError>;

    /// Number of tokens of `text` in this model's vocabulary, without special tokens.
    fn count_tokens(&self, text: &str) -> usize;
}

/// The three engines. Without a translator the cascade only transcribes.
pub struct Engines<R, A, T> {
    /// Sound to text.
    pub recognizer: R,
    /// Text and sound to word times.
    pub aligner: A,
    /// Text to text; `None`: the stream is only transcribed.
    pub translator: Option<T>,
}

impl<R, A, T> Engines<R, A, T> {
    /// The same engines by mutable reference, so that one stream after another can use them.
    pub fn lent(&mut self) -> Engines<&mut R, &mut A, &mut T> {
        Engines { recognizer: &mut self.recognizer, aligner: &mut self.aligner, translator: self.translator.as_mut() }
    }
}

impl<R: Recognize> Recognize for &mut R {
    async fn transcribe(&mut self, tail: &[f32], language: Language) -> Result<Hypothesis, BoxError> {
        (**self).transcribe(tail, language).await
    }

    fn restart(&mut self) {
        (**self).restart();
    }
}

impl<A: Align> Align for &mut A {
    async fn align(&mut self, tail: &[f32], text: &str, language: Language) -> Result<Vec<TimedWord>, BoxError> {
        (**self).align(tail, text, language).await
    }

    fn restart(&mut self) {
        (**self).restart();
    }
}

impl<T: Translate> Translate for &mut T {
    async fn draft(&mut self, request: &DraftRequest<'_>, watch: Watch<'_>) -> Result<Draft, BoxError> {
        (**self).draft(request, watch).await
    }

    fn count_tokens(&self, text: &str) -> usize {
        (**self).count_tokens(text)
    }
}

/// The translator type of a cascade that has no translator.
#[derive(Clone, Copy, Debug)]
pub enum NoTranslation {}

impl Translate for NoTranslation {
    async fn draft(&mut self, _: &DraftRequest<'_>, _: Watch<'_>) -> Result<Draft, BoxError> {
        match *self {}
    }

    fn count_tokens(&self, _: &str) -> usize {
        match *self {}
    }
}
