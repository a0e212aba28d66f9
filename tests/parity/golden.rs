//! The reference's tensors, and comparisons with them by name until none is left.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use alignatt::Files;
use alignatt::internals::models::ModelConfig;
use safetensors::{Dtype, SafeTensors};

pub struct Golden {
    label: String,
    floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ints: BTreeMap<String, Vec<i64>>,
    left: RefCell<BTreeSet<String>>,
}

pub fn kind(config: &ModelConfig) -> &'static str {
    match config {
        ModelConfig::Qwen3Asr(_) => "qwen3_asr",
        ModelConfig::Qwen3Aligner(_) => "qwen3_aligner",
        ModelConfig::Gemma3(_) => "gemma3",
        ModelConfig::Gemma4(_) => "gemma4",
        ModelConfig::Qwen3(_) => "qwen3",
    }
}

impl Golden {
    pub fn open(files: &Files, device: &str) -> Self {
        let bytes = files.bytes("golden.safetensors", 1 << 30).unwrap();
        Self::parse(&bytes, format!("{} on {device}", files.label()))
    }

    /// The tensors of a file of another name.
    pub fn read(path: &Path, label: &str) -> Self {
        Self::parse(&std::fs::read(path).unwrap(), label.to_owned())
    }

    fn parse(bytes: &[u8], label: String) -> Self {
        let tensors = SafeTensors::deserialize(bytes).unwrap();
        let (mut floats, mut ints) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in tensors.tensors() {
            let words = view.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            match view.dtype() {
                Dtype::F32 => {
                    floats.insert(name, (view.shape().to_vec(), words.map(f32::from_le_bytes).collect()));
                }
                Dtype::I32 => {
                    ints.insert(name, words.map(|b| i64::from(i32::from_le_bytes(b))).collect());
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        let left = floats.keys().chain(ints.keys()).cloned().collect();
        Self { label, floats, ints, left: RefCell::new(left) }
    }

    pub fn has(&self, name: &str) -> bool {
        self.floats.contains_key(name) || self.ints.contains_key(name)
    }

    /// An integer tensor of the reference; marks it as compared.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        self.left.borrow_mut().remove(name);
        self.ints.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.label)).clone()
    }

    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.ints(name).into_iter().map(|id| id as u32).collect()
    }

    /// Shape and values of a float tensor of the reference; marks it as compared.
    pub fn floats(&self, name: &str) -> (Vec<usize>, &[f32]) {
        self.left.borrow_mut().remove(name);
        let (shape, values) = self.floats.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.label));
        (shape.clone(), values)
    }

    /// Panics where `got` differs from the reference by more than `tolerance` times the reference's
    /// largest value (at least 1).
    pub fn close(&self, name: &str, got: &[f32], tolerance: f32) {
        let (_, want) = self.floats(name);
        self.close_to(name, got, want, tolerance);
    }

    pub fn close_to(&self, name: &str, got: &[f32], want: &[f32], tolerance: f32) {
        assert_eq!(got.len(), want.len(), "{}: {name} has another size", self.label);
        let top = want.iter().fold(1.0f32, |top, v| top.max(v.abs()));
        assert!(want.iter().any(|v| *v != 0.0), "{}: {name} is all zeros in the reference", self.label);
        let worst = got
            .iter()
            .zip(want)
            .map(|(g, w)| (g - w).abs())
            .fold(0.0f32, |a, b| if b > a || b.is_nan() { b } else { a });
        assert!(worst <= tolerance * top, "{}: {name} is off by {worst} (largest value {top})", self.label);
    }

    pub fn same(&self, name: &str, got: &[u32]) {
        assert_eq!(got, self.ids(name), "{}: {name}", self.label);
    }

    /// The names that have not been compared yet.
    pub fn left(&self) -> Vec<String> {
        self.left.borrow().iter().cloned().collect()
    }

    /// Panics unless every tensor of the file has been compared.
    pub fn finish(&self) {
        assert_eq!(self.left(), Vec::<String>::new(), "{}: golden tensors that nothing was compared with", self.label);
    }

    pub fn label(&self) -> &str {
        &self.label
    }
}

/// What a tap recorded, by name; tensors of the same name are concatenated.
pub fn by_name(kept: Vec<(String, burn::tensor::TensorData)>) -> BTreeMap<String, Vec<f32>> {
    let mut all: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for (name, data) in kept {
        all.entry(name).or_default().extend(data.iter::<f32>());
    }
    all
}

/// Transposes [T, N, D] to [N, T, D], the reference's order.
pub fn heads_first(values: &[f32], heads: usize, dim: usize) -> Vec<f32> {
    let rows = values.len() / (heads * dim);
    let mut out = Vec::with_capacity(values.len());
    for head in 0..heads {
        for row in 0..rows {
            let at = (row * heads + head) * dim;
            out.extend_from_slice(&values[at..at + dim]);
        }
    }
    out
}

/// Attention probabilities [T, T] of one head from q and k `[T, D]`, causal, with an optional
/// window.
pub fn probabilities(q: &[f32], k: &[f32], dim: usize, scale: f32, window: Option<usize>) -> Vec<f32> {
    let rows = q.len() / dim;
    let mut all = vec![0.0; rows * rows];
    for i in 0..rows {
        let first = window.map_or(0, |window| (i + 1).saturating_sub(window));
        let dot = |j: usize| (0..dim).map(|d| q[i * dim + d] * k[j * dim + d]).sum::<f32>() * scale;
        let scores: Vec<f32> = (first..=i).map(dot).collect();
        let top = scores.iter().copied().fold(f32::MIN, f32::max);
        let total: f32 = scores.iter().map(|s| (s - top).exp()).sum();
        for (j, score) in (first..=i).zip(scores) {
            all[i * rows + j] = (score - top).exp() / total;
        }
    }
    all
}
