//! The translation prompt in Gemma-4's chat layout.
//!
//! ```text
//! system   what to do, the languages; the context, if there is one
//! user, model   … the turns before, as pairs
//! user     "English speech:\n" ⟨source⟩
//! model    ⟨accepted⟩ …
//! ```
//!
//! The source is the end of the last user turn and its columns are found by token offsets, so no text in it can be
//! taken for something else. Everything before the source is the same for a whole stream (with turns: for a whole
//! segment) and the source only grows within a segment, so the cache keeps what it has.

use std::ops::Range;
use std::sync::Arc;

use crate::checkpoint::chat::{self, ChatOptions, ChatTemplate, Message};
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

/// What one prompt says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn<'a> {
    /// Sources and translations that came before, oldest first.
    pub history: &'a [(String, String)],
    pub source: &'a str,
    /// Opens the translation.
    pub accepted: &'a str,
}

/// A prompt as the model reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptIds {
    pub ids: Vec<u32>,
    /// The columns that hold the source: positions in `ids`.
    pub source: Range<usize>,
    /// The bytes of the (trimmed) source in each of these columns.
    pub columns: Vec<Range<usize>>,
    /// The columns that hold the accepted beginning, at the end of `ids`, and its bytes in each of them.
    pub accepted: Range<usize>,
    pub accepted_columns: Vec<Range<usize>>,
}

impl Prompt {
    /// `source` and `target` are English names: `English`, `German`. `context` (a title, names, terms) goes into the
    /// system turn; empty: none. The layout is the release's own, from `files`.
    pub fn new(
        files: &Files,
        tokenizer: Arc<Tokenizer>,
        source: &str,
        target: &str,
        context: &str,
    ) -> Result<Self, CheckpointError> {
        let mut system = format!(
            "Translate live speech from {source} into {target}. Give only the translation of what has been said so \
             far, and continue the translation that has begun."
        );
        if !context.trim().is_empty() {
            system.push_str(" Use what follows only for names and terms that are spoken.\n\n");
            system.push_str(context.trim());
        }
        let template = ChatTemplate::open(files)?.unwrap_or_else(ChatTemplate::gemma4);
        Ok(Self { template, tokenizer, system, header: format!("{source} speech:\n") })
    }

    /// The whole prompt as ids. None of its texts can smuggle in a control token.
    pub fn ids(&self, turn: &Turn<'_>) -> Result<PromptIds, CheckpointError> {
        let said = |source: &str| Message::user(format!("{}{source}", self.header));
        let mut messages = vec![Message::system(&self.system)];
        for (source, translation) in turn.history {
            messages.extend([said(source), Message::assistant(translation)]);
        }
        let source = turn.source.trim();
        messages.push(said(source));
        let options = ChatOptions { prefix: turn.accepted, ..ChatOptions::default() };
        let prompt = self.template.encode(&self.tokenizer, &messages, &options)?;
        // A layout that leaves the turn out has no source to look at.
        let end = prompt.contents.last().and_then(|turn| turn.as_ref()).map_or(0, |turn| turn.end);
        let (at, columns) = columns_of(&prompt, end.saturating_sub(source.len())..end);
        let (accepted, accepted_columns) = columns_of(&prompt, prompt.prefix.clone());
        Ok(PromptIds { ids: prompt.ids(), source: at, columns, accepted, accepted_columns })
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// The columns that hold the bytes `text` of a prompt, and which of these bytes each holds.
fn columns_of(prompt: &chat::Prompt, text: Range<usize>) -> (Range<usize>, Vec<Range<usize>>) {
    let at = prompt.columns(text.clone());
    let within = |byte: usize| byte.clamp(text.start, text.end) - text.start;
    let bytes = prompt.tokens[at.clone()].iter().map(|token| within(token.start)..within(token.end)).collect();
    (at, bytes)
}
