//! The header of one GGUF file, checked against the file.
//!
//! ```text
//! "GGUF"  u32 version  u64 tensors  u64 keys
//! key:     text key, u32 type, value               text = u64 length, bytes
//! tensor:  text name, u32 dimensions, u64 sizes[], u32 type, u64 offset in the data
//! zeros to a multiple of general.alignment, then the data
//! ```
//!
//! All is little-endian. The first size is the length of a row, so the sizes are the reverse of a
//! shape. Nothing is set aside for a count before the file is known to be long enough for it.
//! (docs/models.md, section 5.1)

use std::collections::BTreeSet;
use std::sync::Arc;

use safetensors::Dtype;

use super::blocks::Blocks;
use super::metadata::Metadata;
use super::reader::Reader;
use crate::weights::error::{CheckpointError, FETCH_AGAIN, shown};
use crate::weights::files::ByteSource;
use crate::weights::tensors::{Stored, TensorInfo};

const ALIGNMENT: &str = "general.alignment";
const DEFAULT_ALIGNMENT: u64 = 32;
/// The least bytes of a tensor's entry and of a key with its value.
const LEAST_TENSOR: u64 = 24;
const LEAST_KEY: u64 = 13;
const MAX_TENSORS: u64 = 1 << 16;
const MAX_KEYS: u64 = 1 << 16;
/// Other programs have room for 64 bytes with a zero at the end.
const MAX_NAME: u64 = 63;
const MAX_RANK: u32 = 4;

/// A header: the metadata, and the tensors in the order of the file, whose `shard` is 0.
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: Vec<(String, TensorInfo)>,
}

/// Reads and checks a header. Errors name the file, and the key or the tensor.
pub(super) async fn read(file: &Arc<str>, source: &dyn ByteSource) -> Result<Header, CheckpointError> {
    let mut reader = Reader::new(source, file);
    let magic = reader.take(4, "the first four bytes").await?.to_vec();
    if magic != b"GGUF" {
        return Err(reader.bad("is not a GGUF file: it does not begin with GGUF"));
    }
    match reader.u32("the version").await? {
        2 | 3 => {}
        big if (1..=3).contains(&big.swap_bytes()) => {
            return Err(reader.bad("is a big-endian GGUF file, which is not supported"));
        }
        version => return Err(reader.bad(format!("has GGUF's version {version}; only 2 and 3 are supported"))),
    }
    let (tensors, keys) = (reader.u64("the counts").await?, reader.u64("the counts").await?);
    let left = reader.left();
    if keys > MAX_KEYS || keys > left / LEAST_KEY {
        return Err(reader.bad(format!("claims {keys} keys, and {left} bytes follow")));
    }
    if tensors > MAX_TENSORS || tensors > left / LEAST_TENSOR {
        return Err(reader.bad(format!("claims {tensors} tensors, and {left} bytes follow")));
    }
    let metadata = Metadata::read(&mut reader, keys, file).await?;
    let alignment = metadata.whole(ALIGNMENT)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(metadata.wrong(ALIGNMENT, format_args!("{alignment} is not a power of two"), FETCH_AGAIN));
    }
    let mut names = BTreeSet::new();
    let mut infos = Vec::new();
    for at in 0..tensors {
        let (name, info) = read_tensor(&mut reader, at, file, alignment).await?;
        if !names.insert(name.clone()) {
            return Err(CheckpointError::tensor(file, shown(&name), "is listed twice", FETCH_AGAIN));
        }
        infos.push((name, info));
    }
    let begins = reader.position().next_multiple_of(alignment);
    place(&mut infos, begins, source.size())?;
    Ok(Header { metadata, tensors: infos })
}

/// Reads one entry. The offset of the result is still that in the data.
async fn read_tensor(
    reader: &mut Reader<'_>,
    at: u64,
    file: &Arc<str>,
    alignment: u64,
) -> Result<(String, TensorInfo), CheckpointError> {
    let name = String::from_utf8(reader.text(MAX_NAME, "a tensor's name").await?.to_vec());
    let name = match name {
        Ok(name) if !name.is_empty() => name,
        _ => return Err(reader.bad(format!("the name of tensor {at} is empty or not UTF-8"))),
    };
    let wrong = |what: String| CheckpointError::tensor(file, shown(&name), what, FETCH_AGAIN);
    let rank = reader.u32("a tensor").await?;
    if rank > MAX_RANK {
        return Err(wrong(format!("has {rank} dimensions, but at most {MAX_RANK} are possible")));
    }
    let mut shape = Vec::new();
    for _ in 0..rank {
        shape.push(reader.u64("a tensor").await?);
    }
    let kind = reader.u32("a tensor").await?;
    let offset = reader.u64("a tensor").await?;
    let stored = stored(kind).map_err(&wrong)?;
    let row = shape.first().copied().unwrap_or(1);
    shape.reverse();
    let len = shape.iter().try_fold(1u64, |len, size| len.checked_mul(*size));
    let len = len.filter(|len| *len > 0 && usize::try_from(*len).is_ok());
    if len.is_none() {
        return Err(wrong(format!("shape {shape:?} is impossible")));
    }
    let values = stored.block().0 as u64;
    if !row.is_multiple_of(values) {
        return Err(wrong(format!("rows of {row} numbers are not whole blocks of {values}, as {stored} has them")));
    }
    if len.and_then(|len| stored.bytes_of(len)).is_none() {
        return Err(wrong(format!("shape {shape:?} of {stored} is impossible")));
    }
    if !offset.is_multiple_of(alignment) {
        return Err(wrong(format!("is at byte {offset} of the data, which is not a multiple of {alignment}")));
    }
    // Every size divides the checked product.
    let shape = shape.into_iter().map(|size| size as usize).collect();
    Ok((name, TensorInfo { stored, shape, file: file.clone(), shard: 0, offset, scales: None }))
}

/// The storage with this number. The error names types that are known but not read.
fn stored(kind: u32) -> Result<Stored, String> {
    Ok(match kind {
        0 => Stored::Plain(Dtype::F32),
        1 => Stored::Plain(Dtype::F16),
        30 => Stored::Plain(Dtype::BF16),
        2 => Stored::Blocks(Blocks::Q4_0),
        3 => Stored::Blocks(Blocks::Q4_1),
        6 => Stored::Blocks(Blocks::Q5_0),
        7 => Stored::Blocks(Blocks::Q5_1),
        8 => Stored::Blocks(Blocks::Q8_0),
        12 => Stored::Blocks(Blocks::Q4_K),
        13 => Stored::Blocks(Blocks::Q5_K),
        14 => Stored::Blocks(Blocks::Q6_K),
        _ => {
            let name = match kind {
                4 => "Q4_2 (removed from the format)",
                5 => "Q4_3 (removed from the format)",
                9 => "Q8_1",
                10 => "Q2_K",
                11 => "Q3_K",
                15 => "Q8_K",
                16 => "IQ2_XXS",
                17 => "IQ2_XS",
                18 => "IQ3_XXS",
                19 => "IQ1_S",
                20 => "IQ4_NL",
                21 => "IQ3_S",
                22 => "IQ2_S",
                23 => "IQ4_XS",
                24 => "I8",
                25 => "I16",
                26 => "I32",
                27 => "I64",
                28 => "F64",
                29 => "IQ1_M",
                34 => "TQ1_0",
                35 => "TQ2_0",
                39 => "MXFP4",
                _ => "unknown",
            };
            return Err(format!(
                "has the type {kind} ({name}); F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K are \
                 read"
            ));
        }
    })
}

/// Turns offsets in the data, which begins at `begins`, into positions in the file of `size` bytes.
/// Errors: a tensor is not wholly in the file, or lies on another.
fn place(tensors: &mut [(String, TensorInfo)], begins: u64, size: u64) -> Result<(), CheckpointError> {
    let mut spans = Vec::new();
    for (name, info) in tensors {
        let wrong = |what: String| CheckpointError::tensor(&info.file, shown(name), what, FETCH_AGAIN);
        let from = begins.checked_add(info.offset);
        let to = from.and_then(|from| from.checked_add(info.bytes()));
        match (from, to) {
            (Some(from), Some(to)) if to <= size => {
                info.offset = from;
                spans.push((from, to, name.as_str(), info.file.clone()));
            }
            _ => {
                let (from, bytes) = (info.offset, info.bytes());
                return Err(wrong(format!(
                    "has {bytes} bytes from byte {from} of the data, which end beyond the file of {size} bytes"
                )));
            }
        }
    }
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        None => Ok(()),
        Some(pair) => {
            let what = format!("overlaps the tensor {}", shown(pair[0].2));
            Err(CheckpointError::tensor(&pair[1].3, shown(pair[1].2), what, FETCH_AGAIN))
        }
    }
}
