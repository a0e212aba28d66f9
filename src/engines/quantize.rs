//! Writes a model with quantized weights: a folder that loads without any conversion.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::Dtype;

use super::load::{self, ModelFiles, Report};
use crate::cascade::BoxError;
use crate::gpu::Compute;
use crate::nn::{Kept, KeptMatrix};
use crate::weights::quants::{Form, Quants, SCALES};
use crate::weights::safetensors::SINGLE_FILE;
use crate::weights::safetensors_writer::{Entry, write_header};
use crate::weights::tensors::Stored;
use crate::weights::{CheckpointError, Weights};

/// Numbers of a matrix that are quantized at once.
const PART: usize = 8 << 20;

/// Writes `model` into the folder `to`, which is made: what the model reads of its weights, with
/// the matrices as `model.quant` says, and its other files as they are. Returns the size of the
/// weights.
///
/// The model is loaded on the CPU first. So it is known to be complete, and what it does not read
/// is left out. Errors: the model cannot be loaded; it comes from a GGUF file; a file cannot be
/// written; `to` holds weights already.
pub(crate) async fn quantize(model: &ModelFiles, to: &Path, report: Report<'_>) -> Result<u64, BoxError> {
    let Some(folder) = model.files.as_folder() else {
        return Err(format!("{} is a GGUF file, whose weights are kept as they are", model.name).into());
    };
    fs::create_dir_all(to).map_err(|error| named(to, &error))?;
    let target = to.join(SINGLE_FILE);
    if target.exists() {
        return Err(format!("{} is there already", target.display()).into());
    }
    let weights = Weights::open(&model.files).await?;
    let kept = load::kept(model, &weights, &Compute::cpu(), report).await?;
    copy_others(folder, &model.files.names(), to)?;
    // A file that was not written to its end must not look like one that was.
    let unfinished = to.join(format!("{SINGLE_FILE}.part"));
    let written = write(&weights, &kept, &unfinished, report).await;
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    let bytes = written?;
    fs::rename(&unfinished, &target).map_err(|error| named(&target, &error))?;
    Ok(bytes)
}

fn named(path: &Path, error: &io::Error) -> BoxError {
    format!("{}: {error}", path.display()).into()
}

/// Copies every file but the weights.
fn copy_others(folder: &Path, names: &[String], to: &Path) -> Result<(), BoxError> {
    for name in names {
        let is_weight =
            name.contains(".safetensors") || [".bin", ".gguf", ".pt", ".pth"].iter().any(|end| name.ends_with(end));
        if !is_weight {
            let to = to.join(name);
            fs::copy(folder.join(name), &to).map_err(|error| named(&to, &error))?;
        }
    }
    Ok(())
}

/// One tensor of the source, and the form to which it is quantized.
struct Tensor<'a> {
    name: &'a str,
    shape: &'a [usize],
    /// With the ending of its name in the file.
    form: Option<(Form, &'static str)>,
}

async fn write(weights: &Weights, kept: &Kept, path: &Path, report: Report<'_>) -> Result<u64, BoxError> {
    let mut tensors = Vec::new();
    for name in &kept.names {
        let Some(info) = weights.info(name) else { continue };
        let form = match kept.matrices.get(name) {
            Some(KeptMatrix::Quantized(form)) => form.suffix().map(|suffix| (*form, suffix)),
            _ => None,
        };
        tensors.push(Tensor { name, shape: &info.shape, form });
    }
    let entries: Vec<Entry> = tensors.iter().flat_map(|tensor| entries(weights, tensor)).collect();
    let all = entries.iter().map(|entry| entry.bytes).sum();
    let mut out = BufWriter::new(File::create(path).map_err(|error| named(path, &error))?);
    let failed = |error: io::Error| named(path, &error);
    write_header(&entries, &mut out).map_err(failed)?;
    let mut done = 0;
    for tensor in &tensors {
        match (tensor.form, tensor.shape) {
            (Some((form, _)), &[n, k]) => {
                let mut scales = Vec::new();
                let step = (PART / k).max(1);
                for from in (0..n).step_by(step) {
                    let rows = from..n.min(from + step);
                    let Quants { quants, scales: part, .. } =
                        weights.read_rows_quants(tensor.name, [n, k], rows, form).await?;
                    write_words(&quants, &mut out).map_err(failed)?;
                    done += 4 * quants.len() as u64;
                    report("writing", done, all);
                    scales.extend(part);
                }
                write_words(&scales, &mut out).map_err(failed)?;
                done += 4 * scales.len() as u64;
            }
            _ => {
                let written = weights.read_bytes(tensor.name, |bytes| {
                    done += bytes.len() as u64;
                    out.write_all(bytes)
                        .map_err(|error| CheckpointError::io(path.display(), error, "make room on the disk"))
                });
                written.await?;
                report("writing", done, all);
            }
        }
    }
    out.flush().map_err(failed)?;
    out.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
    Ok(all)
}

/// The tensors of the file that hold one of the source.
fn entries(weights: &Weights, tensor: &Tensor) -> Vec<Entry> {
    let name = tensor.name;
    match (tensor.form, tensor.shape) {
        (Some((form, suffix)), &[n, k]) => {
            let words = |suffix: &str, words: usize| Entry {
                name: format!("{name}{suffix}"),
                dtype: Dtype::I32,
                shape: vec![n, words],
                bytes: 4 * (n * words) as u64,
            };
            vec![words(suffix, form.quant_words(k)), words(SCALES, form.scale_words(k))]
        }
        _ => {
            let info = weights.info(name);
            let dtype = match info.map(|info| info.stored) {
                Some(Stored::Plain(dtype)) => dtype,
                _ => Dtype::F32,
            };
            let bytes = info.map_or(0, |info| info.bytes());
            vec![Entry { name: name.to_owned(), dtype, shape: tensor.shape.to_vec(), bytes }]
        }
    }
}

fn write_words(words: &[i32], out: &mut dyn Write) -> io::Result<()> {
    words.chunks(1 << 16).try_for_each(|words| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        out.write_all(&bytes)
    })
}
