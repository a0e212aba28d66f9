//! The translation prompt in Gemma-4's chat layout.
//!
//! A fixed system turn that names the languages; a user turn whose last lines are the source; the model's turn,
//! opened and holding what has been accepted so far. Everything before the source is the same for a whole stream,
//! and the source only grows within a segment, so the cache keeps what it has.

use std::sync::Arc;

use crate::checkpoint::chat::{ChatOptions, ChatTemplate, Message};
use crate::checkpoint::{CheckpointError, Files, Tokenizer};

/// The prompt of one direction.
#[derive(Clone, Debug)]
pub struct Prompt {
    template: ChatTemplate,
    tokenizer: Arc<Tokenizer>,
    system: String,
    /// Stands before the source.
    header: String,
}

impl Prompt {
    /// `source` and `target` are English names: `English`, `German`. The layout is the release's own, from `files`.
    pub fn new(files: &Files, tokenizer: Arc<Tokenizer>, source: &str, target: &str) -> Result<Self, CheckpointError> {
        let system = format!(
            "Translate live speech from {source} into {target}. Give only the translation of what has been said so \
             far, and continue the translation that has begun."
        );
        let template = ChatTemplate::open(files)?.unwrap_or_else(ChatTemplate::gemma4);
        Ok(Self { template, tokenizer, system, header: format!("{source} speech:\n") })
    }

    /// The whole prompt as ids. Neither text can smuggle in a control token.
    pub fn ids(&self, source: &str, accepted: &str) -> Result<Vec<u32>, CheckpointError> {
        let messages = [Message::system(&self.system), Message::user(format!("{}{source}", self.header))];
        let options = ChatOptions { prefix: accepted, ..ChatOptions::default() };
        Ok(self.template.encode(&self.tokenizer, &messages, &options)?.ids())
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}
