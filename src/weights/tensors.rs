//! The tensors of one checkpoint, read by byte range.
//!
//! The headers, of safetensors or of GGUF, have been checked against their files when this begins.
//! Tensors are read one at a time, or by rows, in pieces of [`PIECE`] bytes, so that the memory
//! needed beyond the result stays small for models of any size. Quantized tensors are read as their
//! integers, or unpacked piece by piece.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use half::{bf16, f16};
use safetensors::Dtype;

use super::error::{CheckpointError, FETCH_AGAIN, Remedy, WRONG_MODEL, shown};
use super::files::{ByteSource, Files};
use super::gguf::Blocks;
use super::quants::{BLOCK, Form, Quants, SCALES, SUFFIXES};
use super::safetensors::{INDEX_FILE, Index, SINGLE_FILE, read_header, read_index};

/// The most bytes read from a source at a time.
pub(crate) const PIECE: usize = 4 << 20;

/// What a header says about one tensor, checked against the file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    pub(crate) stored: Stored,
    /// Row-major; `[]` is a single number.
    pub shape: Vec<usize>,
    /// Full name of the file that contains the tensor, for messages.
    pub file: Arc<str>,
    pub(crate) shard: usize,
    /// Absolute position of the tensor's first byte in that file.
    pub(super) offset: u64,
    /// The scales of a tensor of [`Stored::Words`].
    pub(super) scales: Option<Arc<TensorInfo>>,
}

impl TensorInfo {
    /// The tensor's number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product() // checked when the header was read
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some rows (of the first dimension) as a tensor of their own.
    pub(crate) fn rows(&self, rows: Range<usize>) -> TensorInfo {
        let row: usize = self.shape.iter().skip(1).product();
        let before = self.stored.bytes_of((rows.start * row) as u64).unwrap_or(0); // rows are whole blocks
        let shape = std::iter::once(rows.len()).chain(self.shape.iter().skip(1).copied()).collect();
        TensorInfo { shape, offset: self.offset + before, ..self.clone() }
    }

    /// The tensor's size in its file, in bytes.
    pub fn bytes(&self) -> u64 {
        let scales = self.scales.as_ref().map_or(0, |scales| scales.bytes());
        self.stored.bytes_of(self.len() as u64).unwrap_or(0) + scales // checked when the header was read
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
    norms_hold_one: bool,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({}, {} tensors in {} files)", self.label, self.tensors.len(), self.shards.len())
    }
}

impl Weights {
    /// Reads the headers of `model.safetensors`, or of all shards that
    /// `model.safetensors.index.json` lists. Of a GGUF file, the header has been read already.
    ///
    /// Errors: neither file exists; a shard is missing or truncated; a header contradicts its file;
    /// the index and the shards disagree.
    pub async fn open(files: &Files) -> Result<Weights, CheckpointError> {
        if let Some(model) = files.as_gguf() {
            let (tensors, sources) = (model.tensors.clone(), model.sources.clone());
            return Ok(Weights::of_gguf(files.label(), tensors, sources, model.norms_hold_one));
        }
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
            norms_hold_one: false,
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
        weights.join_quantized()?;
        Ok(weights)
    }

    /// Makes one tensor of integers and their scales, under the name of the matrix.
    ///
    /// Errors: one of the two is missing; their shapes or types do not fit; there is another tensor
    /// of that name.
    fn join_quantized(&mut self) -> Result<(), CheckpointError> {
        for (form, suffix) in SUFFIXES {
            let matrices = self.tensors.keys().filter_map(|name| name.strip_suffix(suffix)).map(str::to_owned);
            for name in matrices.collect::<Vec<_>>() {
                let stored_as = format!("{name}{suffix}");
                let Some(quants) = self.tensors.remove(&stored_as) else { continue };
                let wrong = |what: String| CheckpointError::tensor(&quants.file, shown(&stored_as), what, FETCH_AGAIN);
                let Some(scales) = self.tensors.remove(&format!("{name}{SCALES}")) else {
                    return Err(wrong(format!("has no scales ({}{SCALES})", shown(&name))));
                };
                let k = match quants.shape[..] {
                    [_, words] => words.checked_mul(BLOCK / form.quant_words(BLOCK)),
                    _ => None,
                };
                let k = k.filter(|k| *k > 0 && k.is_multiple_of(form.unit()));
                let Some(k) = k else {
                    return Err(wrong(format!("has shape {:?}, which is not rows of whole blocks", quants.shape)));
                };
                let rows = quants.shape[0];
                if scales.shape[..] != [rows, form.scale_words(k)] || scales.shard != quants.shard {
                    return Err(wrong(format!("has {rows} rows of {k} numbers, but scales {:?}", scales.shape)));
                }
                let is_word = |info: &TensorInfo| matches!(info.stored, Stored::Plain(Dtype::I32 | Dtype::U32));
                if !is_word(&quants) || !is_word(&scales) {
                    return Err(wrong("is not of whole words (I32), or its scales are not".to_owned()));
                }
                if self.tensors.contains_key(&name) {
                    return Err(wrong(format!("{} is there as well", shown(&name))));
                }
                let info = TensorInfo {
                    stored: Stored::Words(form),
                    shape: vec![rows, k],
                    scales: Some(Arc::new(scales)),
                    ..quants.clone()
                };
                self.tensors.insert(name, info);
            }
        }
        Ok(())
    }

    /// The tensors of a GGUF file, whose `shard` is an index into `sources`.
    pub(crate) fn of_gguf(
        label: &str,
        tensors: BTreeMap<String, TensorInfo>,
        sources: Vec<Arc<dyn ByteSource>>,
        norms_hold_one: bool,
    ) -> Weights {
        let used = Mutex::new(BTreeSet::new());
        Weights { label: label.to_owned(), shards: sources, tensors, used, norms_hold_one }
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
        self.tensors.values().map(TensorInfo::bytes).sum()
    }

    /// The numbers of all tensors together.
    pub(crate) fn numbers(&self) -> u64 {
        self.tensors.values().map(|info| info.len() as u64).sum()
    }

    /// Whether any tensor is quantized.
    pub(crate) fn is_quantized(&self) -> bool {
        self.tensors.values().any(|info| !matches!(info.stored, Stored::Plain(_)))
    }

    /// Whether the norms that multiply by `1 + w` are stored as `1 + w`, as GGUF files have them,
    /// and not as w.
    pub(crate) fn norms_hold_one(&self) -> bool {
        self.norms_hold_one
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

    /// Reads rows of a matrix as integers with scales: those that the file has, if it is quantized
    /// there, otherwise quantized to `form`. The matrix must have rows of whole units of the form;
    /// see [`Weights::form`]. Errors: as for [`Weights::read_rows_f16`].
    pub(crate) async fn read_rows_quants(
        &self,
        name: &str,
        [n, k]: [usize; 2],
        rows: Range<usize>,
        form: Form,
    ) -> Result<Quants, CheckpointError> {
        if let Some(info) = self.tensors.get(name)
            && let Stored::Words(stored) = info.stored
        {
            let first = rows.start * k;
            let quants = self.read_words(info, name, &[n, k], rows, stored).await?;
            if stored == form {
                return Ok(quants);
            }
            let (numbers, mut anew) = (quants.unpack(), Quants::new(form, k));
            anew.quantize(&numbers).map_err(|at| too_large(info, name, first + at, numbers[at]))?;
            return Ok(anew);
        }
        let mut quants = Quants::new(form, k);
        quants.reserve(rows.len());
        self.pieces(name, &[n, k], Some(rows), async |info, first, bytes| {
            if let Stored::Blocks(kind) = info.stored
                && kind.form() == form
            {
                let before = quants.scales.len();
                kind.repack(bytes, &mut quants);
                if quants.are_finite_from(before) {
                    return Ok(());
                }
                // All numbers of a block are like its scale, so the search below finds one.
            }
            let mut values = Vec::new();
            f32::append(&mut values, info.stored, bytes);
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(not_finite(info, name, first + at, values[at]));
            }
            quants.quantize(&values).map_err(|at| too_large(info, name, first + at, values[at]))
        })
        .await?;
        Ok(quants)
    }

    /// Reads rows of a matrix that is stored as integers and scales.
    async fn read_words(
        &self,
        info: &TensorInfo,
        name: &str,
        expect_shape: &[usize],
        rows: Range<usize>,
        form: Form,
    ) -> Result<Quants, CheckpointError> {
        let mut words = [Vec::new(), Vec::new()];
        self.pieces(name, expect_shape, Some(rows.clone()), async |_, _, bytes| {
            words[0].extend(bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word)));
            Ok(())
        })
        .await?;
        if let Some(scales) = &info.scales {
            self.pieces_of(scales, name, rows, async |_, _, bytes| {
                words[1].extend(bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word)));
                Ok(())
            })
            .await?;
        }
        let [quants, scales] = words;
        let quants = Quants::from_words(form, info.shape[1], quants, scales);
        match quants.are_finite_from(0) {
            true => Ok(quants),
            false => Err(CheckpointError::tensor(&info.file, name, "has a scale that is not a number", FETCH_AGAIN)),
        }
    }

    /// The form in which a file has the rows of a matrix, if it is quantized there.
    pub(crate) fn form(&self, name: &str) -> Option<Form> {
        match self.tensors.get(name)?.stored {
            Stored::Blocks(kind) => Some(kind.form()),
            Stored::Words(form) => Some(form),
            Stored::Plain(_) => None,
        }
    }

    /// Hands the bytes of a whole tensor to `each`, as they are in the file. The tensor must not be
    /// quantized.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) async fn read_bytes(
        &self,
        name: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let shape = self.tensors.get(name).map(|info| info.shape.clone()).unwrap_or_default();
        self.pieces(name, &shape, None, async |_, _, bytes| each(bytes)).await
    }

    async fn read<T: Number>(
        &self,
        name: &str,
        expect_shape: &[usize],
        rows: Option<Range<usize>>,
    ) -> Result<Vec<T>, CheckpointError> {
        let mut out: Vec<T> = Vec::new();
        if let Some(info) = self.tensors.get(name)
            && let Stored::Words(form) = info.stored
        {
            let rows = rows.unwrap_or(0..info.shape[0]);
            let first = rows.start * info.shape[1];
            let numbers = self.read_words(info, name, expect_shape, rows, form).await?.unpack();
            T::append_numbers(&mut out, &numbers);
            return match out.iter().position(|value| !value.is_finite()) {
                Some(bad) => Err(not_finite(info, name, first + bad, numbers[bad])),
                None => Ok(out),
            };
        }
        let count = rows.as_ref().map_or(expect_shape.first().copied().unwrap_or(1), Range::len);
        let len = expect_shape.iter().skip(1).fold(count, |len, size| len.saturating_mul(*size));
        self.pieces(name, expect_shape, rows, async |info, first, bytes| {
            let wrong = |what: String, remedy: Remedy| CheckpointError::tensor(&info.file, name, what, remedy);
            let (values, width) = info.stored.block();
            let done = out.len();
            if done == 0 && out.try_reserve_exact(len).is_err() {
                let what = format!("{len} numbers do not fit in memory");
                return Err(wrong(what, "close other programs, or use a smaller model".into()));
            }
            T::append(&mut out, info.stored, bytes);
            let Some(bad) = out[done..].iter().position(|value| !value.is_finite()) else { return Ok(()) };
            let mut block = Vec::with_capacity(values);
            f32::append(&mut block, info.stored, &bytes[bad / values * width..][..width]);
            Err(not_finite(info, name, first + bad, block[bad % values]))
        })
        .await?;
        Ok(out)
    }

    /// Checks the shape and the rows that are asked for, marks the tensor as used, and hands its
    /// bytes to `each` in pieces of whole rows or blocks, with the number of the piece's first
    /// element.
    async fn pieces(
        &self,
        name: &str,
        expect_shape: &[usize],
        rows: Option<Range<usize>>,
        each: impl AsyncFnMut(&TensorInfo, usize, &[u8]) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
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
        if let Stored::Plain(dtype) = info.stored
            && !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
        {
            let what = format!("has dtype {dtype}, only F32, F16 and BF16 are read");
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
        self.pieces_of(info, name, rows, each).await
    }

    /// The same for rows of `info`, which has been checked.
    async fn pieces_of(
        &self,
        info: &TensorInfo,
        name: &str,
        rows: Range<usize>,
        mut each: impl AsyncFnMut(&TensorInfo, usize, &[u8]) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let wrong = |what: String, remedy: Remedy| CheckpointError::tensor(&info.file, name, what, remedy);
        let row_len: usize = info.shape.iter().skip(1).product();
        // A row is a whole number of blocks: the header was checked for it.
        let (values, width) = info.stored.block();
        let most = match info.stored {
            Stored::Plain(_) | Stored::Words(_) => PIECE / width * values,
            // Numbers that are unpacked are kept beside the result for a moment.
            Stored::Blocks(_) => PIECE / size_of::<f32>(),
        };
        // Pieces of whole rows, as long as a row is not larger than a piece.
        let most = if row_len <= most { most / row_len.max(1) * row_len } else { most / values * values };
        let source = &self.shards[info.shard];
        let (mut first, end) = (rows.start * row_len, rows.end * row_len);
        while first < end {
            let piece = (end - first).min(most) / values * width;
            let at = info.offset + (first / values * width) as u64;
            let bytes = source.read(at, piece).await.map_err(|error| {
                CheckpointError::io(format_args!("{} (tensor {name}, byte {at})", info.file), error, FETCH_AGAIN)
            })?;
            if bytes.len() != piece {
                return Err(wrong(format!("{} bytes came instead of {piece} at byte {at}", bytes.len()), FETCH_AGAIN));
            }
            each(info, first, &bytes).await?;
            first += piece / width * values;
        }
        Ok(())
    }
}

/// The error for `number`, which is number `at` of a tensor: it is not finite, or at least not
/// where f16 is read.
fn not_finite(info: &TensorInfo, name: &str, at: usize, number: f32) -> CheckpointError {
    let (what, remedy) = match number.is_finite() {
        true => (", which does not fit f16", Remedy::UseCpu),
        false => ("", FETCH_AGAIN),
    };
    CheckpointError::tensor(&info.file, name, format!("number {at} is {number}{what}"), remedy)
}

/// The error for `number`, which is number `at` of a tensor: its scale would not fit f16.
fn too_large(info: &TensorInfo, name: &str, at: usize, number: f32) -> CheckpointError {
    let what = format!("number {at} is {number}, which is too large to be quantized");
    CheckpointError::tensor(&info.file, name, what, FETCH_AGAIN)
}

/// A number type as which weights can be read.
trait Number: Copy {
    /// Appends `bytes`, which are whole blocks of `stored`: little-endian numbers in F32, F16 or
    /// BF16, or quantized ones.
    fn append(out: &mut Vec<Self>, stored: Stored, bytes: &[u8]);
    fn append_numbers(out: &mut Vec<Self>, numbers: &[f32]);
    fn is_finite(self) -> bool;
}

impl Number for f32 {
    fn append(out: &mut Vec<f32>, stored: Stored, bytes: &[u8]) {
        match stored {
            Stored::Blocks(kind) => kind.unpack(bytes, out),
            Stored::Plain(Dtype::F32) => out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Stored::Plain(Dtype::F16) => {
                out.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()))
            }
            Stored::Plain(_) => out.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
            // Without their scales, words are no numbers; `read` takes another way.
            Stored::Words(_) => {}
        }
    }

    fn append_numbers(out: &mut Vec<f32>, numbers: &[f32]) {
        out.extend(numbers);
    }

    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
}

impl Number for f16 {
    fn append(out: &mut Vec<f16>, stored: Stored, bytes: &[u8]) {
        if let Stored::Plain(Dtype::F16) = stored {
            out.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b)));
            return;
        }
        let mut wide = Vec::new();
        f32::append(&mut wide, stored, bytes);
        f16::append_numbers(out, &wide);
    }

    fn append_numbers(out: &mut Vec<f16>, numbers: &[f32]) {
        out.extend(numbers.iter().map(|number| f16::from_f32(*number)));
    }

    fn is_finite(self) -> bool {
        f16::is_finite(self)
    }
}

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Number by number.
    Plain(Dtype),
    /// Quantized, in blocks with scales.
    Blocks(Blocks),
    /// Quantized, integers and scales apart.
    Words(Form),
}

impl Stored {
    /// Numbers and bytes of a block; a number that is not quantized is a block of its own.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Stored::Plain(dtype) => (1, dtype.bitsize().div_ceil(8)),
            Stored::Blocks(kind) => (kind.values(), kind.bytes()),
            Stored::Words(form) => (BLOCK, 4 * form.quant_words(BLOCK)),
        }
    }

    /// The size of `len` numbers in bytes; `None` if it overflows or is not a whole number of
    /// bytes or blocks.
    pub(crate) fn bytes_of(self, len: u64) -> Option<u64> {
        match self {
            Stored::Plain(dtype) => {
                let bits = len.checked_mul(dtype.bitsize() as u64)?;
                bits.is_multiple_of(8).then_some(bits / 8)
            }
            Stored::Blocks(kind) => {
                let blocks = len.is_multiple_of(kind.values() as u64).then_some(len / kind.values() as u64)?;
                blocks.checked_mul(kind.bytes() as u64)
            }
            Stored::Words(form) => {
                let blocks = len.is_multiple_of(BLOCK as u64).then_some(len / BLOCK as u64)?;
                blocks.checked_mul(4 * form.quant_words(BLOCK) as u64)
            }
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stored::Plain(dtype) => dtype.fmt(f),
            Stored::Blocks(kind) => f.write_str(kind.name()),
            Stored::Words(form) => f.write_str(form.suffix().unwrap_or("words").trim_start_matches('.')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::testing::{memory, now, safetensors_file};

    /// A file with the integers of `[2, 64]` in 8 bits; `entries` are its other tensors, in order.
    fn open(quants: &str, entries: &[(&str, &str, &str)], scales: &[i32]) -> Result<Weights, CheckpointError> {
        let mut header = format!(r#"{{"a.q8":{{{quants},"data_offsets":[0,128]}}"#);
        let mut from = 128;
        for (name, dtype, shape) in entries {
            let bytes = 4 * shape.split(',').map(|size| size.parse::<usize>().unwrap()).product::<usize>();
            let to = from + bytes;
            header += &format!(r#","{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{from},{to}]}}"#);
            from = to;
        }
        header += "}";
        let mut data = vec![3u8; 128];
        data.extend(scales.iter().flat_map(|word| word.to_le_bytes()));
        data.resize(from, 0);
        now(Weights::open(&memory(&[("model.safetensors", &safetensors_file(&header, &data))])))
    }

    const QUANTS: &str = r#""dtype":"I32","shape":[2,16]"#;

    #[test]
    fn integers_and_their_scales_are_one_matrix() {
        // Blocks with scales of 1, 2, 0.5 and 0.
        let weights = open(QUANTS, &[("a.scales", "I32", "2,1")], &[0x4000_3c00, 0x0000_3800]).unwrap();
        let info = weights.info("a").unwrap();
        assert_eq!((&info.shape[..], info.bytes(), weights.total_bytes()), (&[2, 64][..], 136, 136));
        let values = now(weights.read_f32("a", &[2, 64])).unwrap();
        let of = |value: f32| [value; 32];
        assert_eq!(values, [of(3.0), of(6.0), of(1.5), of(0.0)].concat());
        assert_eq!(now(weights.read_rows_f32("a", &[2, 64], 1..2)).unwrap(), values[64..]);
        assert!(now(weights.read_rows_f16("a", &[2, 64], 0..1)).unwrap().iter().all(|value| value.to_f32() >= 3.0));
        let quants = now(weights.read_rows_quants("a", [2, 64], 1..2, Form::Q8)).unwrap();
        assert_eq!((quants.rows(), quants.scales), (1, vec![0x0000_3800]));
        let anew = now(weights.read_rows_quants("a", [2, 64], 0..2, Form::Q4)).unwrap();
        assert!(anew.unpack().iter().zip(&values).all(|(got, want)| (got - want).abs() <= 1e-2));
        assert_eq!(weights.unused(&[]), Vec::<&str>::new());
        assert!(now(weights.read_f32("a", &[2, 32])).unwrap_err().to_string().contains("has shape [2, 64]"));
    }

    #[test]
    fn integers_without_fitting_scales_are_refused() {
        let scales = ("a.scales", "I32", "2,1");
        for (quants, entries, reason) in [
            (QUANTS, vec![], "has no scales"),
            (QUANTS, vec![("a.scales", "I32", "2,2")], "but scales [2, 2]"),
            (QUANTS, vec![("a.scales", "I32", "1,1")], "but scales [1, 1]"),
            (QUANTS, vec![("a.scales", "F32", "2,1")], "is not of whole words"),
            (QUANTS, vec![scales, ("a", "F32", "2,64")], "a is there as well"),
            (QUANTS, vec![scales, ("a.q4", "I32", "2,8")], "a.q4: has no scales"),
            (r#""dtype":"F32","shape":[2,16]"#, vec![scales], "is not of whole words"),
            (r#""dtype":"I32","shape":[32]"#, vec![scales], "not rows of whole blocks"),
            (r#""dtype":"I32","shape":[8,4]"#, vec![scales], "not rows of whole blocks"),
        ] {
            let error = open(quants, &entries, &[]).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}: {reason}");
        }
        let nan = open(QUANTS, &[scales], &[0x3c00_3c00, 0x7e00_3c00]).unwrap();
        let error = now(nan.read_f32("a", &[2, 64])).unwrap_err().to_string();
        assert!(error.contains("a scale that is not a number"), "{error}");
        // A number beyond f16 is refused by its place, as in other files.
        let large = open(QUANTS, &[scales], &[0x3c00_3c00, 0x7bff_3c00]).unwrap();
        assert_eq!(now(large.read_f32("a", &[2, 64])).unwrap()[96], 3.0 * 65504.0);
        let error = now(large.read_rows_f16("a", &[2, 64], 1..2)).unwrap_err().to_string();
        assert!(error.contains("number 96 is 196512, which does not fit f16"), "{error}");
    }
}
