//! Tensors of one or several safetensors files, read by byte range.
//!
//! A file is 8 bytes of header length (little-endian), a JSON header
//! `{name: {dtype, shape, data_offsets}}`, then the data. [`Weights::open`] reads only the headers
//! and does not trust them: every size is checked against the file before anything is allocated.
//! Tensors are then read one at a time, or by rows, in pieces of [`PIECE`] bytes, so that the
//! memory needed beyond the result stays small for models of any size.
//!
//! The dtypes come from the `safetensors` crate. Its parser needs the whole file in memory, and if
//! two entries have the same name it silently uses the last one, so the header is parsed here.
//! Source: the format's README, <https://github.com/huggingface/safetensors>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use half::{bf16, f16};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

pub(crate) use safetensors::Dtype;

use super::error::{CheckpointError, FETCH_AGAIN, Remedy, WRONG_MODEL, shown};
use super::files::{ByteSource, Files, is_safe_name};

/// The weights, if they are in one file.
pub(crate) const SINGLE_FILE: &str = "model.safetensors";
/// The list of shards, if the weights are in several files.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

/// The most bytes read from a source at a time.
pub(crate) const PIECE: usize = 4 << 20;

const MAX_HEADER: u64 = 100_000_000;
/// The largest index that is read, in bytes.
pub(crate) const MAX_INDEX: usize = 64 << 20;
const MAX_TENSORS: usize = 1 << 17;
const MAX_SHARDS: usize = 1024;
const MAX_RANK: usize = 8;
const MAX_NAME: usize = 512;

/// What a header says about one tensor, checked against the file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    pub dtype: Dtype,
    /// Row-major; `[]` is a single number.
    pub shape: Vec<usize>,
    /// Full name of the file that contains the tensor, for messages.
    pub file: Arc<str>,
    shard: usize,
    /// Absolute position of the tensor's first byte in that file.
    offset: u64,
}

impl TensorInfo {
    /// The tensor's number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product() // checked when the header was read
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor's size in its file, in bytes.
    pub fn bytes(&self) -> u64 {
        (self.len() as u64 * self.dtype.bitsize() as u64).div_ceil(8)
    }
}

/// The tensors of one checkpoint.
///
/// Every read gives the shape that the model needs and marks the tensor as used.
/// [`Weights::refuse_unused`] then refuses a checkpoint that contains tensors that the model does
/// not know.
pub struct Weights {
    label: String,
    shards: Vec<Arc<dyn ByteSource>>,
    tensors: BTreeMap<String, TensorInfo>,
    used: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({}, {} tensors in {} files)", self.label, self.tensors.len(), self.shards.len())
    }
}

impl Weights {
    /// Reads the headers of `model.safetensors`, or of all shards that
    /// `model.safetensors.index.json` lists.
    ///
    /// Errors: neither file exists; a shard is missing or truncated; a header contradicts its file;
    /// the index and the shards disagree.
    pub async fn open(files: &Files) -> Result<Weights, CheckpointError> {
        if files.has(SINGLE_FILE) || !files.has(INDEX_FILE) {
            let source = files.source(SINGLE_FILE)?;
            return Weights::from_sources(files.label(), vec![(files.path(SINGLE_FILE), source)]).await;
        }
        let Index { tensors, shards } = read_index(files)?;
        let mut sources = Vec::with_capacity(shards.len());
        for shard in &shards {
            sources.push((files.path(shard), files.source(shard)?));
        }
        let weights = Weights::from_sources(files.label(), sources).await?;
        for (name, shard) in &tensors {
            let place = files.path(shard);
            match weights.tensors.get(name) {
                Some(info) if *info.file == *place => {}
                Some(info) => {
                    let what = format!("the index puts it in {shard}, it lies in {}", info.file);
                    return Err(CheckpointError::tensor(files.path(INDEX_FILE), shown(name), what, FETCH_AGAIN));
                }
                None => {
                    let what = "the index puts it here, but it is not in this file";
                    return Err(CheckpointError::tensor(place, shown(name), what, FETCH_AGAIN));
                }
            }
        }
        Ok(weights)
    }

    /// The same for sources that are already open: `(name for messages, bytes)` of each file.
    pub async fn from_sources(
        label: &str,
        sources: Vec<(String, Arc<dyn ByteSource>)>,
    ) -> Result<Weights, CheckpointError> {
        let mut weights = Weights {
            label: label.to_owned(),
            shards: Vec::new(),
            tensors: BTreeMap::new(),
            used: Mutex::new(BTreeSet::new()),
        };
        for (shard, (file, source)) in sources.into_iter().enumerate() {
            let file: Arc<str> = file.into();
            for (name, mut info) in read_header(&file, source.as_ref()).await? {
                info.shard = shard;
                if let Some(other) = weights.tensors.get(&name) {
                    let what = format!("is in {} as well", other.file);
                    return Err(CheckpointError::tensor(file, shown(&name), what, FETCH_AGAIN));
                }
                weights.tensors.insert(name, info);
            }
            weights.shards.push(source);
        }
        Ok(weights)
    }

    /// Where the checkpoint is, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// All tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What the header says about a tensor; `None` if there is no such tensor. Does not mark it as
    /// used.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The size of all tensors together, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.values().map(|info| bytes_of(info.dtype, info.len() as u64).unwrap_or(0)).sum()
    }

    /// Reads a whole tensor as f32, row-major.
    ///
    /// Errors: the tensor is missing; its shape is not `expect_shape`; its dtype is not F32, F16 or
    /// BF16; a value is not finite; a read fails.
    pub async fn read_f32(&self, name: &str, expect_shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        self.read(name, expect_shape, None).await
    }

    /// Reads the rows `rows` (of the first dimension) of a tensor as f32:
    /// `rows.len() * product(expect_shape[1..])` numbers. Errors: as for [`Weights::read_f32`].
    pub async fn read_rows_f32(
        &self,
        name: &str,
        expect_shape: &[usize],
        rows: Range<usize>,
    ) -> Result<Vec<f32>, CheckpointError> {
        self.read(name, expect_shape, Some(rows)).await
    }

    /// Reads rows of a tensor as f16, rounded to nearest, ties to even. Errors: as for
    /// [`Weights::read_f32`]; a value does not fit f16 (above 65504). Such a value is refused, not
    /// saturated: the model must read that tensor as f32.
    pub async fn read_rows_f16(
        &self,
        name: &str,
        expect_shape: &[usize],
        rows: Range<usize>,
    ) -> Result<Vec<f16>, CheckpointError> {
        self.read(name, expect_shape, Some(rows)).await
    }

    /// Marks a tensor as used without reading it, because the model knows it and does not need it.
    pub fn ignore(&self, name: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// Names of tensors that were neither read nor ignored and start with none of `skip_prefixes`.
    pub fn unused(&self, skip_prefixes: &[&str]) -> Vec<&str> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.names()
            .filter(|name| !used.contains(*name) && !skip_prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .collect()
    }

    /// Errors: [`Weights::unused`] is not empty. Then a part of the checkpoint would silently have
    /// no effect.
    pub fn refuse_unused(&self, skip_prefixes: &[&str]) -> Result<(), CheckpointError> {
        let unused = self.unused(skip_prefixes);
        let Some(first) = unused.first() else { return Ok(()) };
        let file = self.tensors.get(*first).map_or("", |info| &info.file);
        let others = match unused.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} others, such as {})", shown(unused[unused.len() - 1])),
        };
        let what = format!("this model has no such tensor{others}");
        Err(CheckpointError::tensor(file, shown(first), what, WRONG_MODEL))
    }

    /// The error for tensor names that match no layout which the model can have. `expected`: "A nor
    /// B".
    pub(crate) fn other_layout(&self, expected: &str) -> CheckpointError {
        let first = self.names().next().map_or("nothing at all".to_owned(), shown);
        CheckpointError::file(&self.label, format!("has neither {expected}, but {first}"), WRONG_MODEL)
    }

    async fn read<T: Number>(
        &self,
        name: &str,
        expect_shape: &[usize],
        rows: Option<Range<usize>>,
    ) -> Result<Vec<T>, CheckpointError> {
        let Some(info) = self.tensors.get(name) else {
            let what = format!("is missing; shape {expect_shape:?} is needed");
            return Err(CheckpointError::tensor(&self.label, name, what, WRONG_MODEL));
        };
        self.ignore(name);
        let wrong = |what: String, remedy: Remedy| CheckpointError::tensor(&info.file, name, what, remedy);
        if info.shape != expect_shape {
            let what = format!("has shape {:?}, config.json asks for {expect_shape:?}", info.shape);
            return Err(wrong(what, "the weights and config.json must come from the same model".into()));
        }
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let what = format!("has dtype {}, only F32, F16 and BF16 are read", info.dtype);
            return Err(wrong(what, "use the full-precision release of the model".into()));
        }
        let row_count = info.shape.first().copied().unwrap_or(1);
        let rows = rows.unwrap_or(0..row_count);
        if rows.start > rows.end || rows.end > row_count {
            return Err(wrong(
                format!("has {row_count} rows, rows {rows:?} are asked for"),
                "this is a mistake of the caller".into(),
            ));
        }
        let row_len: usize = info.shape.iter().skip(1).product();
        let (start, len) = (rows.start * row_len, (rows.end - rows.start) * row_len);
        let mut out: Vec<T> = Vec::new();
        if out.try_reserve_exact(len).is_err() {
            return Err(wrong(
                format!("{len} numbers do not fit in memory"),
                "close other programs, or use a smaller model".into(),
            ));
        }
        let width = info.dtype.bitsize() / 8;
        let source = &self.shards[info.shard];
        while out.len() < len {
            let piece = (len - out.len()).min(PIECE / width) * width;
            let at = info.offset + ((start + out.len()) * width) as u64;
            let bytes = source.read(at, piece).await.map_err(|error| {
                CheckpointError::io(format_args!("{} (tensor {name}, byte {at})", info.file), error, FETCH_AGAIN)
            })?;
            if bytes.len() != piece {
                return Err(wrong(format!("{} bytes came instead of {piece} at byte {at}", bytes.len()), FETCH_AGAIN));
            }
            let done = out.len();
            T::append(&mut out, info.dtype, &bytes);
            if let Some(bad) = out[done..].iter().position(|value| !value.is_finite()) {
                let stored = widen(info.dtype, &bytes[bad * width..(bad + 1) * width]);
                let what = format!("number {} is {stored}", start + done + bad);
                return Err(if stored.is_finite() {
                    wrong(format!("{what}, which does not fit f16"), Remedy::UseCpu)
                } else {
                    wrong(what, FETCH_AGAIN)
                });
            }
        }
        Ok(out)
    }
}

/// A number type as which weights can be read.
trait Number: Copy {
    /// Appends `bytes`, which are little-endian numbers of `dtype` (F32, F16 or BF16).
    fn append(out: &mut Vec<Self>, dtype: Dtype, bytes: &[u8]);
    fn is_finite(self) -> bool;
}

impl Number for f32 {
    fn append(out: &mut Vec<f32>, dtype: Dtype, bytes: &[u8]) {
        match dtype {
            Dtype::F32 => out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Dtype::F16 => out.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
            _ => out.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
        }
    }

    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
}

impl Number for f16 {
    fn append(out: &mut Vec<f16>, dtype: Dtype, bytes: &[u8]) {
        match dtype {
            Dtype::F32 => out.extend(bytes.as_chunks().0.iter().map(|b| f16::from_f32(f32::from_le_bytes(*b)))),
            Dtype::F16 => out.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b))),
            _ => out.extend(bytes.as_chunks().0.iter().map(|b| f16::from_f32(bf16::from_le_bytes(*b).to_f32()))),
        }
    }

    fn is_finite(self) -> bool {
        f16::is_finite(self)
    }
}

/// One stored number as f32, for messages.
fn widen(dtype: Dtype, bytes: &[u8]) -> f32 {
    let mut one = Vec::with_capacity(1);
    f32::append(&mut one, dtype, bytes);
    one.first().copied().unwrap_or(f32::NAN)
}

/// The size of `len` numbers in bytes; `None` if it overflows or is not a whole number of bytes.
fn bytes_of(dtype: Dtype, len: u64) -> Option<u64> {
    let bits = len.checked_mul(dtype.bitsize() as u64)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// The contents of an index: the shard of every tensor, and the shards in order.
pub(crate) struct Index {
    pub tensors: BTreeMap<String, String>,
    pub shards: BTreeSet<String>,
}

impl Index {
    /// Parses the text of an index. A shard must be in the same folder or below it; the error names
    /// any other.
    pub(crate) fn parse(json: &[u8]) -> Result<Index, String> {
        #[derive(Deserialize)]
        struct Json {
            weight_map: BTreeMap<String, String>,
        }
        let json: Json = serde_json::from_slice(json).map_err(|error| shown(&error.to_string()))?;
        let shards: BTreeSet<String> = json.weight_map.values().cloned().collect();
        if shards.is_empty() || shards.len() > MAX_SHARDS {
            return Err(format!("weight_map names {} files", shards.len()));
        }
        match shards.iter().find(|shard| !is_safe_name(shard) || !shard.ends_with(".safetensors")) {
            Some(shard) => {
                Err(format!("weight_map: {} is not the name of a safetensors file of the model", shown(shard)))
            }
            None => Ok(Index { tensors: json.weight_map, shards }),
        }
    }
}

/// Reads the index of a model's files. All shards must exist.
fn read_index(files: &Files) -> Result<Index, CheckpointError> {
    let index = Index::parse(&files.bytes(INDEX_FILE, MAX_INDEX)?)
        .map_err(|what| CheckpointError::file(files.path(INDEX_FILE), what, FETCH_AGAIN))?;
    match index.shards.iter().find(|shard| !files.has(shard)) {
        Some(shard) => Err(CheckpointError::Missing {
            file: format!("{}, which {INDEX_FILE} lists,", shown(shard)),
            place: files.label().to_owned(),
            remedy: FETCH_AGAIN,
        }),
        None => Ok(index),
    }
}

/// Reads and checks one header. The caller fills in `shard`.
async fn read_header(file: &Arc<str>, source: &dyn ByteSource) -> Result<Vec<(String, TensorInfo)>, CheckpointError> {
    let size = source.size();
    let bad = |what: String| CheckpointError::file(file, what, FETCH_AGAIN);
    let io = |error| CheckpointError::io(file, error, FETCH_AGAIN);
    if size < 8 {
        return Err(bad(format!("is {size} bytes long, which is too short for a safetensors file")));
    }
    let head = source.read(0, 8).await.map_err(io)?;
    let len = match <[u8; 8]>::try_from(head) {
        Ok(head) => u64::from_le_bytes(head),
        Err(head) => return Err(bad(format!("{} bytes were read instead of 8", head.len()))),
    };
    if len > MAX_HEADER || len > size - 8 {
        return Err(bad(format!(
            "claims a header of {len} bytes in a file of {size}; it is truncated or not a safetensors file"
        )));
    }
    let mut header = Vec::new();
    while (header.len() as u64) < len {
        let piece = ((len - header.len() as u64) as usize).min(PIECE);
        let bytes = source.read(8 + header.len() as u64, piece).await.map_err(io)?;
        if bytes.len() != piece {
            return Err(bad(format!("{} bytes of the header were read instead of {piece}", bytes.len())));
        }
        header.extend_from_slice(&bytes);
    }
    let header: Header =
        serde_json::from_slice(&header).map_err(|error| bad(format!("header: {}", shown_long(&error.to_string()))))?;
    check_layout(file, size, 8 + len, header)
}

/// Checks every entry against the file: size = shape x dtype, inside the file, no overlap, no gap,
/// nothing after the last one.
fn check_layout(
    file: &Arc<str>,
    size: u64,
    base: u64,
    header: Header,
) -> Result<Vec<(String, TensorInfo)>, CheckpointError> {
    let data = size - base;
    let mut spans = Vec::with_capacity(header.0.len());
    for (name, entry) in &header.0 {
        let wrong = |what: String| CheckpointError::tensor(file, shown(name), what, FETCH_AGAIN);
        let [start, end] = entry.data_offsets;
        let shape = &entry.shape.0;
        let len = shape.iter().try_fold(1u64, |len, dim| len.checked_mul(*dim as u64));
        let bytes = len.filter(|len| usize::try_from(*len).is_ok()).and_then(|len| bytes_of(entry.dtype, len));
        let Some(bytes) = bytes else {
            return Err(wrong(format!("shape {shape:?} of {} is impossible", entry.dtype)));
        };
        if start > end || end > data {
            return Err(wrong(format!(
                "is at bytes {start}..{end} of {data}; the file is truncated or its header is wrong"
            )));
        }
        if end - start != bytes {
            return Err(wrong(format!(
                "shape {shape:?} of {} takes {bytes} bytes, but the header gives it {}",
                entry.dtype,
                end - start
            )));
        }
        spans.push((start, end, name));
    }
    spans.sort_unstable();
    let mut at = 0;
    for (start, end, name) in spans {
        if start != at {
            let what = if start < at { "overlaps the tensor before it" } else { "follows a gap" };
            return Err(CheckpointError::tensor(
                file,
                shown(name),
                format!("{what} (byte {start}, expected {at})"),
                FETCH_AGAIN,
            ));
        }
        at = end;
    }
    if at != data {
        return Err(CheckpointError::file(file, format!("{} bytes follow the last tensor", data - at), FETCH_AGAIN));
    }
    let info = |entry: Entry| TensorInfo {
        dtype: entry.dtype,
        shape: entry.shape.0,
        file: file.clone(),
        shard: 0,
        offset: base + entry.data_offsets[0],
    };
    Ok(header.0.into_iter().map(|(name, entry)| (name, info(entry))).collect())
}

fn shown_long(text: &str) -> String {
    text.chars().take(300).flat_map(char::escape_debug).collect()
}

/// A parsed header. Names are unique and bounded; `__metadata__` is dropped.
struct Header(BTreeMap<String, Entry>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Shape,
    data_offsets: [u64; 2],
}

struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if name.len() > MAX_NAME || tensors.len() >= MAX_TENSORS {
                        return Err(A::Error::custom(format_args!(
                            "too many tensors or too long a name at {}",
                            shown(&name)
                        )));
                    }
                    let entry: Entry = map
                        .next_value()
                        .map_err(|error| A::Error::custom(format_args!("tensor {}: {error}", shown(&name))))?;
                    if tensors.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("tensor {} is listed twice", shown(&name))));
                    }
                    tensors.insert(name, entry);
                }
                Ok(Header(tensors))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        struct Dims;
        impl<'de> Visitor<'de> for Dims {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "at most {MAX_RANK} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    if dims.len() == MAX_RANK {
                        return Err(A::Error::invalid_length(dims.len() + 1, &self));
                    }
                    dims.push(dim);
                }
                Ok(Shape(dims))
            }
        }
        deserializer.deserialize_seq(Dims)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fixture, fixture_files, memory, now, safetensors_file};
    use super::*;
    use proptest::prelude::*;

    fn open(header: &str, data: &[u8]) -> Result<Weights, CheckpointError> {
        now(Weights::open(&memory(&[(SINGLE_FILE, &safetensors_file(header, data))])))
    }

    fn refused(header: &str, data: &[u8]) -> String {
        let error = open(header, data).expect_err("must be refused");
        let message = error.to_string();
        assert!(message.starts_with("memory/model.safetensors: "), "{message}");
        assert_eq!(error.remedy(), &FETCH_AGAIN, "{message}");
        message
    }

    #[test]
    fn reads_every_dtype_whole_and_by_rows() {
        let values = [1.0f32, -2.5, 0.25, 3.0, 65504.0, -0.0];
        let mut data = Vec::new();
        values.iter().for_each(|v| data.extend(v.to_le_bytes()));
        values.iter().for_each(|v| data.extend(f16::from_f32(*v).to_le_bytes()));
        values.iter().for_each(|v| data.extend(bf16::from_f32(*v).to_le_bytes()));
        let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},
            "b":{"dtype":"F16","shape":[3,2],"data_offsets":[24,36]},"c":{"dtype":"BF16","shape":[3,2],"data_offsets":[36,48]}}  "#;
        let weights = open(header, &data).unwrap();
        for name in ["a", "b"] {
            assert_eq!(now(weights.read_f32(name, &[3, 2])).unwrap(), values);
            assert_eq!(now(weights.read_rows_f32(name, &[3, 2], 1..3)).unwrap(), values[2..]);
            assert_eq!(now(weights.read_rows_f16(name, &[3, 2], 0..3)).unwrap(), values.map(f16::from_f32));
        }
        assert_eq!(now(weights.read_rows_f32("c", &[3, 2], 0..2)).unwrap(), values[..4]);
        assert!(now(weights.read_rows_f32("c", &[3, 2], 1..1)).unwrap().is_empty());
        assert_eq!(weights.unused(&[]), Vec::<&str>::new());
        // 65504 becomes 65536 in bf16, which does not fit f16.
        let message = now(weights.read_rows_f16("c", &[3, 2], 0..3)).unwrap_err().to_string();
        assert!(message.contains("tensor c: number 4 is 65536, which does not fit f16"), "{message}");
        let message = now(weights.read_rows_f32("c", &[3, 2], 2..4)).unwrap_err().to_string();
        assert!(message.contains("3 rows"), "{message}");
    }

    #[test]
    fn pieces_join_without_a_seam() {
        let len = PIECE / 2 + 7; // more than two pieces as f32, more than one as bf16
        let data: Vec<u8> = (0..len).flat_map(|i| ((i % 251) as f32).to_le_bytes()).collect();
        let weights =
            open(&format!(r#"{{"a":{{"dtype":"F32","shape":[{len}],"data_offsets":[0,{}]}}}}"#, len * 4), &data)
                .unwrap();
        let whole = now(weights.read_f32("a", &[len])).unwrap();
        assert!(whole.iter().enumerate().all(|(i, v)| *v == (i % 251) as f32));
        let tail = now(weights.read_rows_f32("a", &[len], 5..len)).unwrap();
        assert_eq!(tail, whole[5..]);
    }

    #[test]
    fn scalars_and_empty_tensors() {
        let header = r#"{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]}}"#;
        let weights = open(header, &2.0f32.to_le_bytes()).unwrap();
        assert_eq!(now(weights.read_f32("s", &[])).unwrap(), [2.0]);
        assert!(now(weights.read_f32("e", &[0, 7])).unwrap().is_empty());
    }

    #[test]
    fn the_model_is_held_to_what_it_asks_for() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"i":{"dtype":"I64","shape":[1],"data_offsets":[8,16]},
            "tower.x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[16,20]}}"#;
        let mut data = 1.0f32.to_le_bytes().to_vec();
        data.extend(f32::NAN.to_le_bytes());
        data.extend([0; 12]);
        let weights = open(header, &data).unwrap();
        let fail = |name: &str, shape: &[usize]| now(weights.read_f32(name, shape)).unwrap_err().to_string();
        assert!(fail("b", &[2]).contains("memory: tensor b: is missing; shape [2] is needed"), "{}", fail("b", &[2]));
        assert!(fail("a", &[1, 2]).contains("model.safetensors: tensor a: has shape [2], config.json asks for [1, 2]"));
        assert!(fail("i", &[1]).contains("has dtype I64, only F32, F16 and BF16 are read"));
        assert!(fail("a", &[2]).contains("tensor a: number 1 is NaN"));
        assert_eq!(weights.unused(&[]), ["tower.x"]);
        assert!(weights.refuse_unused(&["tower."]).is_ok());
        let message = weights.refuse_unused(&[]).unwrap_err().to_string();
        assert!(message.contains("tensor tower.x: this model has no such tensor"), "{message}");
    }

    #[test]
    fn lying_headers_are_refused_by_name() {
        let a = |shape: &str, from: u64, to: u64| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
        };
        assert!(
            refused(&a("[3]", 0, 8), &[0; 8])
                .contains("tensor a: shape [3] of F32 takes 12 bytes, but the header gives it 8")
        );
        assert!(refused(&a("[2]", 0, 8), &[0; 7]).contains("tensor a: is at bytes 0..8 of 7; the file is truncated"));
        assert!(refused(&a("[2]", 8, 0), &[0; 8]).contains("tensor a: is at bytes 8..0"));
        assert!(refused(&a("[1]", 4, 8), &[0; 8]).contains("follows a gap"));
        assert!(refused(&a("[1]", 0, 4), &[0; 8]).contains("4 bytes follow the last tensor"));
        assert!(refused(&a("[4294967296,4294967296,4]", 0, 8), &[0; 8]).contains("is impossible"));
        assert!(refused(&a("[18446744073709551615,2]", 0, 8), &[0; 8]).contains("tensor a: shape"));
        assert!(refused(&a("[99999999999999999999]", 0, 8), &[0; 8]).contains("tensor a: "));
        assert!(refused(&a("[-1]", 0, 8), &[0; 8]).contains("tensor a: "));
        assert!(
            refused(&a("[1,1,1,1,1,1,1,1,2]", 0, 8), &[0; 8])
                .contains("tensor a: invalid length 9, expected at most 8 dimensions")
        );
        assert!(refused(&a("[2]", 0, 8).replace("F32", "Q4_K"), &[0; 8]).contains("tensor a: unknown variant `Q4_K`"));
        assert!(
            refused(&a("[2]", 0, 8).replace("shape", "shapes"), &[0; 8]).contains("tensor a: unknown field `shapes`")
        );
        let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        assert!(refused(twice, &[0; 8]).contains("tensor a is listed twice"));
        let over = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
        assert!(refused(over, &[0; 12]).contains("tensor b: overlaps the tensor before it"));
        assert!(refused("[]", &[]).contains("an object of tensors"));
        assert!(refused(&"[".repeat(100_000), &[]).contains("header: "));
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(1 << 20));
        assert!(refused(&long, &[]).len() < 600);
    }

    #[test]
    fn lying_lengths_are_refused_before_anything_is_allocated() {
        for len in [9u64, 1 << 26, 1 << 40, u64::MAX, MAX_HEADER + 1] {
            let mut file = len.to_le_bytes().to_vec();
            file.push(b'{');
            let message = now(Weights::open(&memory(&[(SINGLE_FILE, &file)]))).unwrap_err().to_string();
            assert!(message.contains(&format!("claims a header of {len} bytes in a file of 9")), "{message}");
        }
        let message = now(Weights::open(&memory(&[(SINGLE_FILE, b"short")]))).unwrap_err().to_string();
        assert!(message.contains("is 5 bytes long, which is too short"), "{message}");
    }

    #[test]
    fn a_sharded_checkpoint() {
        let shard = |name: &str, value: f32| {
            let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
            safetensors_file(&header, &value.to_le_bytes())
        };
        let index = |text: &str| format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{{{text}}}}}"#).into_bytes();
        let (one, two) = (shard("a", 1.0), shard("b", 2.0));
        let good = index(r#""a":"1.safetensors","b":"2.safetensors""#);
        let open = |index: &[u8], files: &[(&str, &[u8])]| {
            now(Weights::open(&memory(&[&[(INDEX_FILE, index)], files].concat())))
        };
        let weights = open(&good, &[("1.safetensors", &one), ("2.safetensors", &two)]).unwrap();
        assert_eq!(now(weights.read_f32("b", &[1])).unwrap(), [2.0]);
        assert_eq!(&*weights.info("a").unwrap().file, "memory/1.safetensors");
        assert_eq!(weights.total_bytes(), 8);

        let fail = |index: &[u8], files: &[(&str, &[u8])]| open(index, files).unwrap_err().to_string();
        let message = fail(&good, &[("1.safetensors", &one)]);
        assert_eq!(message, format!("2.safetensors, which {INDEX_FILE} lists, is missing in memory"));
        let message = fail(&good, &[("1.safetensors", &one), ("2.safetensors", &two[..two.len() - 1])]);
        assert!(message.contains("memory/2.safetensors: tensor b: is at bytes 0..4 of 3"), "{message}");
        for outside in ["../1", "/1", "a/../1", "a//1", "a\\\\1", "C:1", "./1"] {
            let message = fail(&index(&format!(r#""a":"{outside}.safetensors""#)), &[("1.safetensors", &one)]);
            assert!(message.contains("is not the name of a safetensors file of the model"), "{outside}: {message}");
        }
        let below = index(r#""a":"part one/1.safetensors""#);
        assert!(open(&below, &[("part one/1.safetensors", &one)]).is_ok());
        let message = fail(&index(r#""a":"1.safetensors","c":"1.safetensors""#), &[("1.safetensors", &one)]);
        assert!(message.contains("memory/1.safetensors: tensor c: the index puts it here"), "{message}");
        let message = fail(&good, &[("1.safetensors", &two), ("2.safetensors", &one)]);
        assert!(message.contains("tensor a: the index puts it in 1.safetensors"), "{message}");
        let message = fail(&good, &[("1.safetensors", &one), ("2.safetensors", &one)]);
        assert!(message.contains("memory/2.safetensors: tensor a: is in memory/1.safetensors as well"), "{message}");
        assert!(fail(&index(""), &[]).contains("weight_map names 0 files"));
        let message = now(Weights::open(&memory(&[]))).unwrap_err().to_string();
        assert_eq!(message, "model.safetensors is missing in memory");
    }

    #[test]
    fn fixtures_open_from_disk_and_agree_with_their_two_layouts() {
        for model in ["qwen3_asr", "qwen3_aligner", "gemma4_e2b_like", "gemma4_e4b_like"] {
            let weights = now(Weights::open(&fixture_files(model))).unwrap();
            assert!(weights.names().count() > 60);
            for name in weights.names() {
                let info = weights.info(name).unwrap();
                assert_eq!(now(weights.read_f32(name, &info.shape)).unwrap().len(), info.len());
            }
            assert!(weights.refuse_unused(&[]).is_ok());
        }
        let ours = now(Weights::open(&fixture_files("qwen3_asr"))).unwrap();
        let theirs = now(Weights::open(&fixture_files("qwen3_asr/hf"))).unwrap();
        let read = |weights: &Weights, name: &str| now(weights.read_f32(name, &[328, 48])).unwrap();
        assert_eq!(
            read(&ours, "thinker.model.embed_tokens.weight"),
            read(&theirs, "model.language_model.embed_tokens.weight")
        );
    }

    fn real_header() -> Vec<u8> {
        let file = std::fs::read(fixture("gemma4_e4b_like").join(SINGLE_FILE)).unwrap();
        let len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        file[..8 + len].to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), len in 0u64..500) {
            let _ = now(Weights::open(&memory(&[(SINGLE_FILE, &bytes)])));
            let mut framed = len.to_le_bytes().to_vec();
            framed.extend(&bytes);
            let _ = now(Weights::open(&memory(&[(SINGLE_FILE, &framed)])));
        }

        #[test]
        fn mutated_headers_never_panic(at in 8usize..9000, byte in any::<u8>(), cut in 0usize..40_000, drop in any::<bool>()) {
            let mut file = real_header();
            let at = at.min(file.len() - 1);
            file[at] = byte;
            if drop { file.truncate(cut.min(file.len())); } else { file.resize(file.len() + 970_552, 0); }
            if let Ok(weights) = now(Weights::open(&memory(&[(SINGLE_FILE, &file)]))) {
                for name in weights.names() {
                    let info = weights.info(name).unwrap();
                    prop_assert!(info.len() as u64 <= file.len() as u64);
                    let _ = now(weights.read_f32(name, &info.shape));
                }
            }
        }
    }
}
