//! What can be wrong with a checkpoint. Every message names the file and the field or tensor, and says the mend.

use std::fmt::Display;

/// The mend for a file that is damaged or incomplete.
pub(crate) const FETCH_AGAIN: &str = "fetch it again with `alignatt models fetch <owner/name>`";
/// The mend for a checkpoint that this program does not know.
pub(crate) const WRONG_MODEL: &str = "use a Qwen3-ASR, Qwen3-ForcedAligner or Gemma-4 E2B/E4B checkpoint as published";

/// An error of this room. [`CheckpointError::code`] is stable and meant for programs, the text is meant for people.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file that must be there is not.
    #[error("{file} is missing in {place}: {mend}")]
    Missing { file: String, place: String, mend: String },
    /// The operating system (or the network, for a remote source) refused a read or a write.
    #[error("{file}: {source}: {mend}")]
    Io { file: String, source: std::io::Error, mend: String },
    /// A file is damaged, truncated, or not what its name says.
    #[error("{file}: {what}: {mend}")]
    File { file: String, what: String, mend: String },
    /// A tensor is missing, extra, or of another shape, dtype or content than the model needs.
    #[error("{file}: tensor {tensor}: {what}: {mend}")]
    Tensor { file: String, tensor: String, what: String, mend: String },
    /// A configuration value is missing, absurd, or asks for something that is not supported.
    #[error("{file}: {field}: {what}: {mend}")]
    Config { file: String, field: String, what: String, mend: String },
    /// A text cannot be turned into tokens, or tokens into text.
    #[error("{file}: {what}: {mend}")]
    Tokenizer { file: String, what: String, mend: String },
    /// A chat template cannot be read or rendered.
    #[error("{file}: {what}: {mend}")]
    Template { file: String, what: String, mend: String },
    /// What the user named is neither a folder nor a Hub id.
    #[error("{name}: {what}: {mend}")]
    Source { name: String, what: String, mend: String },
    /// The Hub refuses the repository: gated, private, or a bad token.
    #[error("{repo}: the Hub answered {status}: {mend}")]
    Gated { repo: String, status: u16, mend: String },
    /// The Hub does not know the repository, the revision or the file.
    #[error("{repo}: {what}: {mend}")]
    NotFound { repo: String, what: String, mend: String },
    /// The Hub cannot be reached, or the connection broke too often.
    #[error("{repo}: {what}: {mend}")]
    Network { repo: String, what: String, mend: String },
}

impl CheckpointError {
    /// A stable word for programs (the browser puts it in `Error.code`).
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "checkpoint-file-missing",
            Self::Io { .. } => "checkpoint-io",
            Self::File { .. } => "checkpoint-file",
            Self::Tensor { .. } => "checkpoint-tensor",
            Self::Config { .. } => "checkpoint-config",
            Self::Tokenizer { .. } => "checkpoint-tokenizer",
            Self::Template { .. } => "checkpoint-template",
            Self::Source { .. } => "model-source",
            Self::Gated { .. } => "hub-gated",
            Self::NotFound { .. } => "hub-not-found",
            Self::Network { .. } => "hub-network",
        }
    }

    pub(crate) fn io(file: impl Display, source: std::io::Error, mend: impl Display) -> Self {
        Self::Io { file: file.to_string(), source, mend: mend.to_string() }
    }

    pub(crate) fn file(file: impl Display, what: impl Display, mend: impl Display) -> Self {
        Self::File { file: file.to_string(), what: what.to_string(), mend: mend.to_string() }
    }

    pub(crate) fn tensor(file: impl Display, tensor: impl Display, what: impl Display, mend: impl Display) -> Self {
        Self::Tensor {
            file: file.to_string(),
            tensor: tensor.to_string(),
            what: what.to_string(),
            mend: mend.to_string(),
        }
    }

    pub(crate) fn config(file: impl Display, field: impl Display, what: impl Display, mend: impl Display) -> Self {
        Self::Config {
            file: file.to_string(),
            field: field.to_string(),
            what: what.to_string(),
            mend: mend.to_string(),
        }
    }

    pub(crate) fn tokenizer(file: impl Display, what: impl Display, mend: impl Display) -> Self {
        Self::Tokenizer { file: file.to_string(), what: what.to_string(), mend: mend.to_string() }
    }
}

/// A piece of foreign text in a message: one line, at most 80 characters, so that a hostile file cannot flood the screen.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}
