//! Checkpoints: where a model comes from, what its files say, and its weights by byte range.
//!
//! This room reads what others have published, so everything in it is input that may be wrong. Errors name the file,
//! the field or the tensor, and what may help; nothing panics, and nothing is allocated because a file asks for it.
//!
//! | file | what it is |
//! |---|---|
//! | [`files`] | the files of one model: a folder, the embedded demo pack, a remote store |
//! | [`safetensors`] | tensors of one or many safetensors files, read by byte range |
//! | [`config`] | `config.json` and its companions, checked value by value |
//! | [`names`] | under which names the tensors of each layout are stored |
//! | [`tokenizer`] | text to tokens and back |
//! | [`chat`] | prompts: chat templates, and the fixed prompts of Qwen3-ASR |
//! | `source`, `hub` | a folder or a Hub id; fetching into the Hub's cache (native only) |
//! | `environment`, `network` | settings of the Hub; proxies and certificates (native only) |
//! | `model_files` | which files of a repository belong to a model (native only) |

pub mod chat;
pub mod config;
#[cfg(not(target_arch = "wasm32"))]
mod environment;
pub mod error;
pub mod files;
#[cfg(not(target_arch = "wasm32"))]
pub mod hub;
#[cfg(not(target_arch = "wasm32"))]
mod model_files;
pub mod names;
#[cfg(not(target_arch = "wasm32"))]
mod network;
pub mod safetensors;
#[cfg(not(target_arch = "wasm32"))]
pub mod source;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokenizer;

pub use chat::{ChatOptions, ChatTemplate, Message, Prompt};
pub use config::ModelConfig;
pub use error::{CheckpointError, Remedy};
pub use files::{ByteSource, Files};
#[cfg(not(target_arch = "wasm32"))]
pub use hub::Hub;
pub use names::{GemmaNames, QwenNames};
pub use safetensors::{TensorInfo, Weights};
#[cfg(not(target_arch = "wasm32"))]
pub use source::ModelSource;
pub use tokenizer::{Detokenizer, TokenSpan, Tokenizer};
