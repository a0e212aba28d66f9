//! Checkpoints: the files of one model, its tensors by byte range, its tokenizer and its prompts.
//!
//! This room reads what others have published, so all its input may be wrong. Errors name the file,
//! the field or the tensor, and the remedy. Nothing panics, and no size in a file is trusted for an
//! allocation.
//!
//! | file | what it is |
//! |---|---|
//! | [`files`] | the files of one model: a folder, the embedded demo pack, a remote store |
//! | [`safetensors`] | tensors of one or several safetensors files, read by byte range |
//! | [`config`] | `config.json` and its companions, checked value by value |
//! | [`names`] | the names under which each layout stores its tensors |
//! | [`tokenizer`] | text to tokens and back |
//! | [`markup`] | control strings in a model's output |
//! | [`chat`] | prompts: chat templates, and the fixed prompts of Qwen3-ASR |
//!
//! Invariant: nothing here knows what a model computes.

pub mod chat;
pub mod config;
pub mod error;
pub mod files;
pub mod markup;
pub mod names;
pub mod safetensors;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokenizer;

pub use chat::{ChatOptions, ChatTemplate, Message, Prompt};
pub use config::ModelConfig;
pub use error::{CheckpointError, Remedy};
pub use files::{ByteSource, Files};
pub use names::{GemmaNames, QwenNames};
pub use safetensors::{TensorInfo, Weights};
pub use tokenizer::{Detokenizer, TokenSpan, Tokenizer};
