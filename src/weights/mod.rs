//! Checkpoints: the files of one model, its tensors by byte range, its tokenizer and its template.
//!
//! This room reads what others have published, so all its input may be wrong. Errors name the file,
//! the field or the tensor, and the remedy. Nothing panics, and no size in a file is trusted for an
//! allocation.
//!
//! | file | what it is |
//! |---|---|
//! | [`files`] | the files of one model: a folder, the embedded demo pack, a remote store |
//! | [`tensors`] | the tensors of a checkpoint, read by byte range |
//! | [`safetensors`] | the headers of one or several safetensors files |
//! | `safetensors_writer` | writes such a file |
//! | [`gguf`] | GGUF files: weights, often quantized, with configuration and tokenizer |
//! | [`quants`] | quantized matrices: small integers and their scales |
//! | `section` | `config.json` and its companions, read value by value |
//! | [`tokenizer`] | text to tokens and back |
//! | `bpe` | tokenizers built from their parts |
//! | `vocab_files` | a tokenizer from `vocab.json` and `merges.txt` |
//! | [`markup`] | control strings in a model's output |
//! | [`template`] | chat templates: a conversation as text and tokens |
//!
//! Invariant: nothing here knows a model family, or what a model computes.

mod bpe;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod gguf;
pub(crate) mod markup;
pub(crate) mod quants;
pub(crate) mod safetensors;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod safetensors_writer;
pub(crate) mod section;
pub(crate) mod template;
pub(crate) mod tensors;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tokenizer;
mod vocab_files;

pub use error::{CheckpointError, Remedy};
#[cfg(any(target_arch = "wasm32", test))]
pub(crate) use files::ByteSource;
pub(crate) use files::Files;
pub use tensors::Weights;
pub use tokenizer::Tokenizer;
pub(crate) use tokenizer::{Detokenizer, TokenSpan};
