//! Checkpoints: the files of one model, its tensors by byte range, its tokenizer and its prompts.
//!
//! This room reads what others have published, so everything in it is input that may be wrong.
//! Errors name the file, the field or the tensor, and what may help; nothing panics, and nothing is
//! allocated because a file asks for it.
//!
//! | file | what it is |
//! |---|---|
//! | [`files`] | the files of one model: a folder, the embedded demo pack, a remote store |
//! | [`safetensors`] | tensors of one or many safetensors files, read by byte range |
//! | [`config`] | `config.json` and its companions, checked value by value |
//! | [`names`] | under which names the tensors of each layout are stored |
//! | [`tokenizer`] | text to tokens and back |
//! | [`markup`] | control strings in what a model has written |
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
