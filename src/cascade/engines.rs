//! The models as the cascade sees them: three small traits. Whoever implements them owns prompts, caches
//! and devices. Futures need not be `Send`: one stream runs on one thread (and in a browser's worker).
#![allow(async_fn_in_trait)] // no caller needs a `Send` bound

use crate::alignatt::{Language, Millis, Piece};

/// Whatever went wrong in a model, with its own message.
pub type BoxError = Box<dyn std::error::Error>;

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
    /// or split, as long as their letters stand in the order of `text`.
    async fn align(&mut self, tail: &[f32], text: &str, language: Language) -> Result<Vec<TimedWord>, BoxError>;
}

/// One draft to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftRequest<'a> {
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
    /// The text behind the accepted prefix, with its leading blank if there is one.
    pub continuation: String,
    /// Tokens written.
    pub tokens: usize,
    /// The model ended it (a stop token), not the limit.
    pub finished: bool,
    /// Its tokens, with evidence where attention was captured; may be empty for policies that need none.
    pub pieces: Vec<Piece>,
}

/// Text to text.
pub trait Translate {
    /// Continues `request.accepted` as the translation of `request.source`.
    async fn draft(&mut self, request: &DraftRequest<'_>) -> Result<Draft, BoxError>;

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
}

impl<T: Translate> Translate for &mut T {
    async fn draft(&mut self, request: &DraftRequest<'_>) -> Result<Draft, BoxError> {
        (**self).draft(request).await
    }

    fn count_tokens(&self, text: &str) -> usize {
        (**self).count_tokens(text)
    }
}

/// The translator's type where there is none.
#[derive(Clone, Copy, Debug)]
pub enum NoTranslation {}

impl Translate for NoTranslation {
    async fn draft(&mut self, _: &DraftRequest<'_>) -> Result<Draft, BoxError> {
        match *self {}
    }

    fn count_tokens(&self, _: &str) -> usize {
        match *self {}
    }
}
