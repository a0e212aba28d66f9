//! GGUF: one file that holds a model's weights, often quantized, its configuration and its
//! tokenizer. (docs/models.md, section 5)
//!
//! | file | what it is |
//! |---|---|
//! | `reader` | a header read in pieces of bounded size |
//! | `header` | the header, checked against its file |
//! | `metadata` | keys and values |
//! | `blocks` | quantized numbers and their unpacking |
//! | `vocabulary` | the tokenizer that the metadata describes |
//! | `names` | which files belong together |
//!
//! This room knows the format, not what a family calls its keys and tensors: `models/gguf.rs` makes
//! a [`Model`] of a [`Gguf`], which then stands in [`Files`] like any other checkpoint.

mod blocks;
mod header;
mod metadata;
pub(crate) mod names;
mod reader;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use blocks::Blocks;
pub(crate) use metadata::Metadata;
pub(crate) use vocabulary::{Style, Vocabulary};

use super::error::{CheckpointError, FETCH_AGAIN, shown};
use super::files::{ByteSource, Files};
use super::tensors::TensorInfo;

/// The headers of a GGUF file, or of all parts of a split one.
pub(crate) struct Gguf {
    pub metadata: Metadata,
    /// By the names that the file has.
    pub tensors: BTreeMap<String, TensorInfo>,
    pub sources: Vec<Arc<dyn ByteSource>>,
}

/// A GGUF file in the form of a checkpoint.
pub(crate) struct Model {
    /// By the names of the checkpoint that the file was made from.
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
    pub(crate) sources: Vec<Arc<dyn ByteSource>>,
    pub(crate) vocabulary: Vocabulary,
    /// Whether the norms that multiply by `1 + w` are stored as `1 + w`.
    pub(crate) norms_hold_one: bool,
}

impl Gguf {
    /// Reads the headers of the file `name` of a model, with all its parts.
    ///
    /// Errors: a part is missing; a header is wrong; the parts do not belong together.
    pub(crate) async fn open(files: &Files, name: &str) -> Result<Gguf, CheckpointError> {
        let parts = names::parts(name);
        let (mut first, mut tensors, mut sources) = (None, BTreeMap::new(), Vec::new());
        for (shard, part) in parts.iter().enumerate() {
            let (file, source) = (Arc::<str>::from(files.path(part)), files.source(part)?);
            let header = header::read(&file, source.as_ref()).await?;
            check_part(&header.metadata, shard, parts.len())?;
            for (name, mut info) in header.tensors {
                info.shard = shard;
                if let Some(other) = tensors.insert(name.clone(), info) {
                    let what = format!("is in {} as well", other.file);
                    return Err(CheckpointError::tensor(file, shown(&name), what, FETCH_AGAIN));
                }
            }
            first.get_or_insert(header.metadata);
            sources.push(source);
        }
        let metadata = first.ok_or_else(|| CheckpointError::file(files.path(name), "has no parts", FETCH_AGAIN))?;
        let total = metadata.whole(TENSORS)?.filter(|_| parts.len() > 1);
        if total.is_some_and(|total| total != tensors.len() as u64) {
            let what = format!("there are {} tensors in all parts", tensors.len());
            return Err(metadata.wrong(TENSORS, what, FETCH_AGAIN));
        }
        Ok(Gguf { metadata, tensors, sources })
    }
}

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// Errors: the keys of a split file say that this is another part than number `shard` of `count`.
fn check_part(metadata: &Metadata, shard: usize, count: usize) -> Result<(), CheckpointError> {
    let (number, of) = (metadata.whole(NUMBER)?.unwrap_or(0), metadata.whole(COUNT)?.unwrap_or(1).max(1));
    if (number, of) == (shard as u64, count as u64) {
        return Ok(());
    }
    let what = format!("is part {} of {of}, but it is used as part {} of {count}", number.saturating_add(1), shard + 1);
    Err(CheckpointError::file(&metadata.file, what, "keep all parts of a split file in one folder, under their names"))
}
