//! A family of text models: what its configuration says and makes.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use super::TextModel;
use super::prompt::{Task, TranslationPrompt};
use crate::nn::{LoadError, Loader};
use crate::weights::{CheckpointError, Files, Tokenizer};

/// A model that is being loaded.
pub(crate) type Loading<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn TextModel>, LoadError>> + 'a>>;

/// The sizes by which a model without a name is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub layers: usize,
    /// Attention heads per layer.
    pub heads: usize,
    /// Width of the residual stream.
    pub hidden: usize,
}

/// The configuration of a text model.
pub(crate) trait TextFamily: Debug {
    /// The name of the family, for messages.
    fn family(&self) -> &'static str;

    fn sizes(&self) -> Sizes;

    /// Rows of the embedding.
    fn vocab_size(&self) -> usize;

    /// The most positions that the model was made for.
    fn max_positions(&self) -> usize;

    /// The ids that end an answer; never empty.
    fn eos(&self) -> &[u32];

    /// Loads the model. `capacity`: the most positions of a sequence.
    fn load<'a>(&'a self, loader: &'a Loader<'a>, capacity: usize) -> Loading<'a>;

    /// The model's translation prompt, with the chat layout in `files`, or else the family's own.
    ///
    /// Errors: the chat layout cannot be read or used.
    fn prompt(
        &self,
        files: &Files,
        tokenizer: Arc<Tokenizer>,
        task: &Task<'_>,
    ) -> Result<Box<dyn TranslationPrompt>, CheckpointError>;
}
