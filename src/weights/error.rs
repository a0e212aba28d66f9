//! Errors about checkpoints. Every message names the file and the field or tensor. What the user
//! can do about it is a [`Remedy`]; each face prints it in terms of its own commands.

use std::fmt::{self, Display};

/// The remedy for a file that is damaged or incomplete.
pub(crate) const FETCH_AGAIN: Remedy = Remedy::FetchAgain;
/// The remedy for a checkpoint that this program does not support.
pub(crate) const WRONG_MODEL: Remedy = Remedy::UseSupportedModel;

/// What the user can do about an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Fetch the model again: one of its files is damaged or missing.
    FetchAgain,
    /// Use a model that this program supports, as it was published.
    UseSupportedModel,
    /// Compute on the CPU, in f32.
    UseCpu,
    /// See which models are in the cache.
    ListModels,
    /// A remedy that is the same for every face; it is part of the message.
    Words(String),
}

impl From<&str> for Remedy {
    fn from(words: &str) -> Remedy {
        Remedy::Words(words.to_owned())
    }
}

impl From<String> for Remedy {
    fn from(words: String) -> Remedy {
        Remedy::Words(words)
    }
}

/// The end of a message. Remedies that the face phrases itself are left out.
impl Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::Words(words) => write!(f, "; {words}"),
            Remedy::FetchAgain | Remedy::UseSupportedModel | Remedy::UseCpu | Remedy::ListModels => Ok(()),
        }
    }
}

/// An error about a checkpoint or the Hub.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say what the fields are
pub enum CheckpointError {
    /// A required file does not exist.
    #[error("{file} is missing in {place}{remedy}")]
    Missing { file: String, place: String, remedy: Remedy },
    /// The operating system (or the network, for a remote source) refused a read or a write.
    #[error("{file}: {source}{remedy}")]
    Io { file: String, source: std::io::Error, remedy: Remedy },
    /// A file is damaged, truncated, or not what its name says.
    #[error("{file}: {what}{remedy}")]
    File { file: String, what: String, remedy: Remedy },
    /// A tensor is missing or extra, or has another shape, dtype or content than the model needs.
    #[error("{file}: tensor {tensor}: {what}{remedy}")]
    Tensor { file: String, tensor: String, what: String, remedy: Remedy },
    /// A configuration value is missing or out of range, or needs a feature that is not supported.
    #[error("{file}: {field}: {what}{remedy}")]
    Config { file: String, field: String, what: String, remedy: Remedy },
    /// A text cannot be turned into tokens, or tokens cannot be turned into text.
    #[error("{file}: {what}{remedy}")]
    Tokenizer { file: String, what: String, remedy: Remedy },
    /// A chat template cannot be read or rendered.
    #[error("{file}: {what}{remedy}")]
    Template { file: String, what: String, remedy: Remedy },
    /// The model named by the user is neither a folder nor a Hub id.
    #[error("{name}: {what}{remedy}")]
    Source { name: String, what: String, remedy: Remedy },
    /// An environment variable (or the stored token) has an unusable value.
    #[error("{name}: {what}{remedy}")]
    Environment { name: String, what: String, remedy: Remedy },
    /// The Hub refuses access to the repository: it is gated or private, or the token is not valid.
    #[error("{repo}: the Hub answered {status}{remedy}")]
    Gated { repo: String, status: u16, remedy: Remedy },
    /// The Hub does not know the repository, the revision or the file.
    #[error("{repo}: {what}{remedy}")]
    NotFound { repo: String, what: String, remedy: Remedy },
    /// The Hub cannot be reached, or the connection broke too often.
    #[error("{repo}: {what}{remedy}")]
    Network { repo: String, what: String, remedy: Remedy },
}

impl CheckpointError {
    /// What the user can do about the error.
    pub fn remedy(&self) -> &Remedy {
        match self {
            Self::Missing { remedy, .. }
            | Self::Io { remedy, .. }
            | Self::File { remedy, .. }
            | Self::Tensor { remedy, .. }
            | Self::Config { remedy, .. }
            | Self::Tokenizer { remedy, .. }
            | Self::Template { remedy, .. }
            | Self::Source { remedy, .. }
            | Self::Environment { remedy, .. }
            | Self::Gated { remedy, .. }
            | Self::NotFound { remedy, .. }
            | Self::Network { remedy, .. } => remedy,
        }
    }

    /// The file, folder or name that the error is about.
    pub fn place(&self) -> &str {
        match self {
            Self::Missing { place, .. } => place,
            Self::Io { file, .. }
            | Self::File { file, .. }
            | Self::Tensor { file, .. }
            | Self::Config { file, .. }
            | Self::Tokenizer { file, .. }
            | Self::Template { file, .. } => file,
            Self::Source { name, .. } | Self::Environment { name, .. } => name,
            Self::Gated { repo, .. } | Self::NotFound { repo, .. } | Self::Network { repo, .. } => repo,
        }
    }

    pub(crate) fn io(file: impl Display, source: std::io::Error, remedy: impl Into<Remedy>) -> Self {
        Self::Io { file: file.to_string(), source, remedy: remedy.into() }
    }

    pub(crate) fn file(file: impl Display, what: impl Display, remedy: impl Into<Remedy>) -> Self {
        Self::File { file: file.to_string(), what: what.to_string(), remedy: remedy.into() }
    }

    pub(crate) fn tensor(
        file: impl Display,
        tensor: impl Display,
        what: impl Display,
        remedy: impl Into<Remedy>,
    ) -> Self {
        Self::Tensor {
            file: file.to_string(),
            tensor: tensor.to_string(),
            what: what.to_string(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn config(
        file: impl Display,
        field: impl Display,
        what: impl Display,
        remedy: impl Into<Remedy>,
    ) -> Self {
        Self::Config { file: file.to_string(), field: field.to_string(), what: what.to_string(), remedy: remedy.into() }
    }

    pub(crate) fn tokenizer(file: impl Display, what: impl Display, remedy: impl Into<Remedy>) -> Self {
        Self::Tokenizer { file: file.to_string(), what: what.to_string(), remedy: remedy.into() }
    }
}

/// Foreign text for a message: one line of at most 80 characters, so that a hostile file cannot
/// flood the screen.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}
