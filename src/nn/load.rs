//! Loads a checkpoint's tensors into layers on the device, in pieces of bounded size.
//!
//! At most [`UPLOAD`] bytes of a tensor are read at once, and only a few such pieces are on the
//! host at a time. Tables (embeddings, output heads) that are larger than the adapter binds in one
//! piece are kept in several. Every other matrix of the published models is under 128 MiB.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData, kind::Basic, s};

use super::{Embedding, LayerNorm, Linear, Precision, RmsNorm, Storage, Weight};
use crate::gpu::Compute;
use crate::ops::product::pack_half;
use crate::ops::quantized::Quantized;
use crate::weights::quants::Form;
use crate::weights::{CheckpointError, Weights};

/// Bytes of f32 that are read, converted and uploaded at once.
const UPLOAD: usize = 32 << 20;

pub(crate) type LoadError = CheckpointError;

/// Receives the progress of loading: the bytes of weights read so far, and all bytes of weights.
pub(crate) type Progress<'a> = &'a dyn Fn(u64, u64);

/// Where a model's weights are loaded to, how they are kept there, and where progress is reported.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub compute: &'a Compute,
    pub storage: Storage,
    pub progress: Progress<'a>,
    /// Receives what was loaded, if that is asked for.
    pub kept: Option<&'a RefCell<Kept>>,
}

/// What a model has read of its checkpoint.
#[derive(Debug, Default)]
pub struct Kept {
    /// The names of all tensors.
    pub names: BTreeSet<String>,
    /// How the matrices are kept.
    pub matrices: BTreeMap<String, KeptMatrix>,
    /// Bytes of the matrices on the device.
    pub bytes: u64,
}

impl<'a> Target<'a> {
    /// Weights in f32 on the device of `compute`, without reports of progress.
    pub fn new(compute: &'a Compute) -> Self {
        Self { compute, storage: Storage::plain(Precision::F32), progress: &|_, _| {}, kept: None }
    }
}

/// Loads layers by the names of the checkpoint.
pub struct Loader<'a> {
    pub weights: &'a Weights,
    pub compute: &'a Compute,
    storage: Storage,
    progress: Progress<'a>,
    read: Cell<u64>,
    kept: Option<&'a RefCell<Kept>>,
    /// Bytes read since the runtime's queue was last flushed.
    queued: Cell<u64>,
}

impl<'a> Loader<'a> {
    pub fn new(weights: &'a Weights, target: Target<'a>) -> Self {
        let Target { compute, storage, progress, kept } = target;
        Self { weights, compute, storage, progress, read: Cell::new(0), kept, queued: Cell::new(0) }
    }

    /// Counts the bytes that were read of `name`: `part` of `whole` equal parts. Once much has been
    /// read, flushes the runtime's queue, because uploads wait there, each with its bytes.
    fn count_read(&self, name: &str, part: usize, whole: usize) {
        if let Some(kept) = self.kept {
            kept.borrow_mut().names.insert(name.to_owned());
        }
        let bytes = self.weights.info(name).map_or(0, |info| info.bytes()) * part as u64 / whole.max(1) as u64;
        self.read.set(self.read.get() + bytes);
        self.queued.set(self.queued.get() + bytes);
        if self.queued.get() >= UPLOAD as u64 / 2 {
            self.queued.set(0);
            // A device that fails here reports it again at the end of loading.
            let _ = self.compute.device.flush();
        }
        (self.progress)(self.read.get(), self.weights.total_bytes());
    }

    /// A small tensor, read in one piece, in f32.
    pub async fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, LoadError> {
        let values = self.weights.read_f32(name, &shape).await?;
        self.count_read(name, 1, 1);
        Ok(Tensor::from_data(TensorData::new(values, shape), &self.compute.device))
    }

    /// `{name}.weight [n, k]` and, with `bias`, `{name}.bias [n]`.
    pub async fn linear(&self, name: &str, n: usize, k: usize, bias: bool) -> Result<Linear, LoadError> {
        let name_of_weight = format!("{name}.weight");
        let kind = self.kind(&name_of_weight, k, self.storage.layers);
        let weight = self.rows(&name_of_weight, [n, k], 0..n, kind).await?;
        let bias = match bias {
            true => Some(self.tensor(&format!("{name}.bias"), [n]).await?),
            false => None,
        };
        Ok(Linear { weight, bias })
    }

    /// The table `{name}.weight [v, h]`, in as many pieces as the device's binding limit requires.
    pub async fn embedding(&self, name: &str, v: usize, h: usize) -> Result<Embedding, LoadError> {
        self.table(&format!("{name}.weight"), v, h).await
    }

    /// The table `name [v, h]`, as in [`Loader::embedding`]. An output head may be as large as an
    /// embedding.
    pub async fn table(&self, name: &str, v: usize, h: usize) -> Result<Embedding, LoadError> {
        let kind = self.kind(name, h, self.storage.tables);
        let rows = (self.compute.max_binding() / kind.row_bytes(h) as u64).clamp(1, v as u64) as usize;
        let mut pieces = Vec::new();
        for from in (0..v).step_by(rows) {
            pieces.push(self.rows(name, [v, h], from..v.min(from + rows), kind).await?);
        }
        Ok(Embedding { pieces })
    }

    pub async fn rms_norm(&self, name: &str, size: usize, eps: f64) -> Result<RmsNorm, LoadError> {
        Ok(RmsNorm::new(self.tensor(&format!("{name}.weight"), [size]).await?, eps))
    }

    /// A norm that multiplies by `1 + w`, as in Gemma-3. Safetensors store w, GGUF files 1 + w.
    pub async fn rms_norm_plus_one(&self, name: &str, size: usize, eps: f64) -> Result<RmsNorm, LoadError> {
        let stored = self.tensor(&format!("{name}.weight"), [size]).await?;
        Ok(RmsNorm::new(if self.weights.norms_hold_one() { stored } else { stored + 1.0 }, eps))
    }

    pub async fn layer_norm(&self, name: &str, size: usize, eps: f64) -> Result<LayerNorm, LoadError> {
        let weight = self.tensor(&format!("{name}.weight"), [size]).await?;
        let bias = self.tensor(&format!("{name}.bias"), [size]).await?;
        Ok(LayerNorm::new(weight, bias, eps))
    }

    /// How rows of `k` weights of the matrix `name` are kept, where `precision` is asked for.
    fn kind(&self, name: &str, k: usize, precision: Precision) -> KeptMatrix {
        if self.storage.keeps_quants
            && let Some(form) = self.weights.form(name)
        {
            return KeptMatrix::Quantized(form);
        }
        match precision {
            Precision::Q8 if k.is_multiple_of(Form::Q8.unit()) => KeptMatrix::Quantized(Form::Q8),
            Precision::Q4 if k.is_multiple_of(Form::Q4.unit()) => KeptMatrix::Quantized(Form::Q4),
            // Pairs can be packed only in rows of even length.
            Precision::F16 | Precision::Q8 | Precision::Q4 if k.is_multiple_of(2) => KeptMatrix::Half,
            _ => KeptMatrix::Dense,
        }
    }

    /// The rows `range` of the matrix `name [n, k]`.
    async fn rows(
        &self,
        name: &str,
        [n, k]: [usize; 2],
        range: Range<usize>,
        kind: KeptMatrix,
    ) -> Result<Weight, LoadError> {
        let device = &self.compute.device;
        if let Some(kept) = self.kept {
            let mut kept = kept.borrow_mut();
            kept.bytes += (range.len() * kind.row_bytes(k)) as u64;
            kept.matrices.insert(name.to_owned(), kind);
        }
        match kind {
            KeptMatrix::Dense => {
                let read = async |rows: Range<usize>| -> Result<[Tensor<2>; 1], LoadError> {
                    let values = self.weights.read_rows_f32(name, &[n, k], rows.clone()).await?;
                    self.count_read(name, rows.len(), n);
                    Ok([Tensor::from_data(TensorData::new(values, [rows.len(), k]), device)])
                };
                let [whole] = in_parts(range, k, read).await?;
                Ok(Weight::Dense(whole))
            }
            KeptMatrix::Half => {
                let read = async |rows: Range<usize>| -> Result<[Tensor<2, Int>; 1], LoadError> {
                    let words = pack_half(&self.weights.read_rows_f16(name, &[n, k], rows.clone()).await?);
                    self.count_read(name, rows.len(), n);
                    Ok([Tensor::from_data(TensorData::new(words, [rows.len(), k / 2]), device)])
                };
                let [whole] = in_parts(range, k, read).await?;
                Ok(Weight::Half(whole))
            }
            KeptMatrix::Quantized(form) => {
                let read = async |rows: Range<usize>| -> Result<[Tensor<2, Int>; 2], LoadError> {
                    let part = self.weights.read_rows_quants(name, [n, k], rows.clone(), form).await?;
                    self.count_read(name, rows.len(), n);
                    let Quantized { quants, scales, .. } = Quantized::new(part, device);
                    Ok([quants, scales])
                };
                let [quants, scales] = in_parts(range, k, read).await?;
                Ok(Weight::Quantized(Box::new(Quantized { quants, scales, form, k })))
            }
        }
    }
}

/// How the rows of a matrix are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeptMatrix {
    /// f32
    Dense,
    /// f16
    Half,
    /// Small integers with scales.
    Quantized(Form),
}

impl KeptMatrix {
    /// Bytes of a row of `k`.
    fn row_bytes(self, k: usize) -> usize {
        match self {
            KeptMatrix::Dense => 4 * k,
            KeptMatrix::Half => 2 * k,
            KeptMatrix::Quantized(form) => form.row_bytes(k),
        }
    }
}

/// Reads the rows `range` of a matrix with `k` columns in parts of at most [`UPLOAD`] bytes of f32,
/// and assembles the `P` tensors that each part consists of on the device.
async fn in_parts<K: Basic, const P: usize>(
    range: Range<usize>,
    k: usize,
    read: impl AsyncFn(Range<usize>) -> Result<[Tensor<2, K>; P], LoadError>,
) -> Result<[Tensor<2, K>; P], LoadError> {
    let step = (UPLOAD / (4 * k)).max(1);
    let first = read(range.start..range.end.min(range.start + step)).await?;
    if range.len() <= step {
        return Ok(first);
    }
    let mut wholes = first.map(|first| {
        let mut whole = Tensor::empty([range.len(), first.dims()[1]], &first.device());
        whole.inplace(|whole| whole.slice_assign(s![0..step], first));
        whole
    });
    for from in range.clone().step_by(step).skip(1) {
        let parts = read(from..range.end.min(from + step)).await?;
        let at = from - range.start;
        for (whole, part) in wholes.iter_mut().zip(parts) {
            whole.inplace(|whole| whole.slice_assign(s![at..at + part.dims()[0]], part));
        }
    }
    Ok(wholes)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use burn::tensor::Device;

    use super::*;
    use crate::weights::quants::Quants;
    use crate::weights::testing::{memory, safetensors_file};

    #[test]
    #[allow(clippy::single_range_in_vec_init)] // the vector of one range is meant
    fn parts_are_assembled_in_order() {
        // A part may have two rows of this many columns.
        let k = UPLOAD / 8;
        for (range, expected) in [(3..5, vec![3..5]), (3..8, vec![3..5, 5..7, 7..8]), (0..4, vec![0..2, 2..4])] {
            let parts = RefCell::new(Vec::new());
            let read = async |rows: Range<usize>| {
                let values: Vec<f32> = rows.clone().map(|row| row as f32).collect();
                parts.borrow_mut().push(rows);
                Ok([Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).unsqueeze_dim::<2>(1)])
            };
            let [whole] = pollster::block_on(in_parts(range.clone(), k, read)).unwrap();
            let whole = whole.into_data();
            assert_eq!(parts.into_inner(), expected);
            assert_eq!(whole.iter::<f32>().collect::<Vec<_>>(), range.map(|row| row as f32).collect::<Vec<_>>());
        }
    }

    /// Tables in pieces and matrices in parts hold what [`Quants::quantize`] makes of their rows;
    /// rows that cannot be divided into blocks are kept in f16.
    #[test]
    fn matrices_are_kept_as_asked() {
        let (n, k) = (5, 96);
        let values: Vec<f32> = (0..n * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let header = format!(
            r#"{{"a.weight":{{"dtype":"F32","shape":[{n},{k}],"data_offsets":[0,{len}]}},"b.weight":{{"dtype":"F32","shape":[{},{}],"data_offsets":[{len},{}]}}}}"#,
            n * 2,
            k / 2,
            2 * bytes.len(),
            len = bytes.len()
        );
        let file = safetensors_file(&header, &[bytes.clone(), bytes].concat());
        let files = memory(&[("model.safetensors", &file)]);
        let weights = pollster::block_on(Weights::open(&files)).unwrap();
        let compute = Compute::cpu();
        for (precision, form) in [(Precision::Q8, Form::Q8), (Precision::Q4, Form::Q4)] {
            let target = Target { storage: Storage::plain(precision), ..Target::new(&compute) };
            let loader = Loader::new(&weights, target);
            let table = pollster::block_on(loader.embedding("a", n, k)).unwrap();
            let mut want = Quants::new(form, k);
            want.quantize(&values).unwrap();
            let ids = Tensor::<1, Int>::from_ints([4, 0, 1, 2, 3], &compute.device);
            let rows: Vec<f32> = table.forward(ids).into_data().iter::<f32>().collect();
            let all = want.unpack();
            assert_eq!(rows[..k], all[4 * k..]);
            assert_eq!(rows[k..], all[..4 * k]);
            let odd = pollster::block_on(loader.linear("b", n * 2, k / 2, false)).unwrap();
            assert!(matches!(odd.weight, Weight::Half(_)), "{:?}", odd.weight);
        }
    }
}
