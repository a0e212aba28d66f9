//! The models as the cascade sees them: three small traits. Whoever implements them owns prompts, caches
//! and devices. Futures need not be `Send`: one stream runs on one thread (and in a browser's worker).
#![allow(async_fn_in_trait)] // no caller needs a `Send` bound

use std::ops::ControlFlow;

use crate::policy::listening::Attention;
use crate::text::{Language, Millis};

/// Whatever went wrong in a model, with its own message.
pub type BoxError = Box<dyn std::error::Error>;

/// An input that does not fit a model. The same call would fail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it takes {needed} positions, and the model has {capacity}")]
pub struct TooLong {
    pub needed: usize,
    pub capacity: usize,
}

/// What a recognizer makes of the open tail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hypothesis {
    /// The transcript, punctuated; empty where there is no speech.
    pub text: String,
    /// Tokens written to get it.
    pub tokens: usize,
}

/// Speech to text.
pub trait Recognize {
    /// Transcribes `tail`: all 16 kHz mono samples of the open segment. It extends the tail of the previous
    /// call unless [`Recognize::restart`] came between, so finished windows and caches can be kept.
    async fn transcribe(&mut self, tail: &[f32], language: Language) -> Result<Hypothesis, BoxError>;

    /// The next tail begins anew: drop what is kept of the last one.
    fn restart(&mut self);
}

/// A word as the aligner cleaned it, with its times from the start of the tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedWord {
    pub text: String,
    pub start_ms: Millis,
    pub end_ms: Millis,
}

/// Text and its sound to word times.
pub trait Align {
    /// Times for the words of `text`, which is spoken in `tail` (16 kHz mono). Words may be cleaned, joined
    /// or split, as long as their letters stand in the order of `text`. The tail extends that of the previous call
    /// unless [`Align::restart`] came between.
    async fn align(&mut self, tail: &[f32], text: &str, language: Language) -> Result<Vec<TimedWord>, BoxError>;

    /// The next tail begins anew: drop what is kept of the last one.
    fn restart(&mut self);
}

/// One draft to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftRequest<'a> {
    /// Segments that came before with their translations, oldest first. Where they do not all fit the model's context,
    /// the oldest are left out.
    pub history: &'a [(String, String)],
    /// The source of one segment, as far as it is known.
    pub source: &'a str,
    /// Opens the translation, verbatim; without a blank at its end; may be empty.
    pub accepted: &'a str,
    /// Most tokens to write. The model's context may allow fewer.
    pub max_new_tokens: usize,
    /// The source is a whole segment; otherwise it is still being spoken.
    pub source_is_final: bool,
}

/// A greedy continuation of the accepted prefix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The text that each token adds; together the text behind the accepted prefix, with its leading blank if
    /// there is one.
    pub pieces: Vec<String>,
    /// The model ended it (a stop token), not the limit and not the watcher.
    pub finished: bool,
    /// What the model looked at, where that was captured: at most a row a token.
    pub attention: Option<Attention>,
    pub cost: Cost,
}

/// What drafts took, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Positions computed: of prompts, of guesses tried, and one by one.
    pub computed: usize,
    /// Positions that were not: prompts' known beginnings, and held tokens confirmed rather than drafted anew.
    pub saved: usize,
    /// Times that the host waited for the device.
    pub readbacks: usize,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, more: Cost) {
        self.computed += more.computed;
        self.saved += more.saved;
        self.readbacks += more.readbacks;
    }
}

impl Draft {
    pub fn continuation(&self) -> String {
        self.pieces.concat()
    }
}

/// Sees a draft grow, some tokens at a time, and says whether it is to go on.
pub type Watch<'a> = &'a mut dyn FnMut(&Draft) -> ControlFlow<()>;

/// Text to text.
pub trait Translate {
    /// Continues `request.accepted` as the translation of `request.source`. Which drafts came before, and when
    /// `watch` broke them off, changes the cost and not the tokens, up to ties: rows that are computed in another
    /// group may differ in the last bits of their logits. A prompt that has no room even without history is
    /// [`TooLong`].
    async fn draft(&mut self, request: &DraftRequest<'_>, watch: Watch<'_>) -> Result<Draft, BoxError>;

    /// Tokens of `text` in this model's vocabulary, without special tokens.
    fn count_tokens(&self, text: &str) -> usize;
}

/// The three together. Without a translator the cascade transcribes.
pub struct Engines<R, A, T> {
    pub recognizer: R,
    pub aligner: A,
    pub translator: Option<T>,
}

impl<R, A, T> Engines<R, A, T> {
    /// The same engines, lent: for one stream after another.
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

/// The translator's type where there is none.
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
