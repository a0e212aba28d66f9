//! How weights are kept on the device, and how a user asks for it. (docs/quantization.md)

use std::fmt;
use std::str::FromStr;

use crate::weights::quants::{BLOCK, Form};

/// How numbers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    F32,
    /// Two bytes per weight. Sums are accumulated in f32.
    F16,
    /// Blocks of 32 integers of 8 bits with a scale: 8.5 bits per weight.
    Q8,
    /// Blocks of 32 integers of 4 bits with a scale: 4.5 bits per weight.
    Q4,
}

impl Precision {
    fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Q8 => "q8",
            Precision::Q4 => "q4",
        }
    }
}

/// How the matrices of a model are kept on the device. Rows that cannot be divided into blocks are
/// kept in f16 instead of Q8 or Q4, and rows of odd length in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The matrices of the layers.
    pub layers: Precision,
    /// The embedding and the output head.
    pub tables: Precision,
    /// Whether matrices that are quantized in their file are kept as they are there.
    pub keeps_quants: bool,
}

impl Storage {
    /// Every matrix in `precision`, whatever its file has.
    pub fn plain(precision: Precision) -> Self {
        Self { layers: precision, tables: precision, keeps_quants: false }
    }

    /// Whether it has small integers for all matrices.
    pub(crate) fn quantizes(self) -> bool {
        [self.layers, self.tables].iter().all(|precision| matches!(precision, Precision::Q8 | Precision::Q4))
    }

    /// The same, but matrices that are quantized in their file are kept as they are there.
    pub fn keeping_quants(self) -> Self {
        Self { keeps_quants: true, ..self }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layers == self.tables {
            true => f.write_str(self.layers.name()),
            false => write!(f, "{}/{}", self.layers.name(), self.tables.name()),
        }
    }
}

/// What a user asks for: `auto`, one of `f16`, `q8` and `q4`, or two of them, for the layers and
/// for the tables: `q4/q8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quant {
    /// By the size of the model and the memory of the device; see [`Quant::storage`].
    #[default]
    Auto,
    /// Whatever the model's file has.
    Chosen(Storage),
}

/// A model with fewer weights gains nothing from being quantized.
const SMALL_MODEL: u64 = 100_000_000;
/// A model with fewer weights loses too much in 4 bits: of 768 greedy tokens of Gemma-3-270M, 68
/// come before the first that differs, against 722 in 8 bits.
const FOUR_BIT_MODEL: u64 = 2_000_000_000;

/// Weights whose scales in 8 bits are whole words.
const EVEN: usize = 2 * BLOCK;

/// What is quantized, for [`Quant::storage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensitivity {
    /// A model that hears: 4 bits cost it words.
    High,
    /// A model that translates. Its output head is kept in 8 bits.
    Low,
}

impl Quant {
    /// How a model of `weights` numbers is kept on a device with `memory` bytes, if that is known.
    ///
    /// `auto` keeps what a file has quantized. Of other files, it quantizes large models: those
    /// that hear to 8 bits; the layers of those that translate to 8 bits where they have fewer than
    /// two billion weights or this takes at most a quarter of the memory, otherwise to 4. A GPU has
    /// f16 for the rest, the CPU f32, in which it computes.
    pub fn storage(self, weights: u64, sensitivity: Sensitivity, is_gpu: bool, memory: Option<u64>) -> Storage {
        let computed = |precision| match precision {
            Precision::F16 if !is_gpu => Precision::F32,
            other => other,
        };
        let storage = match self {
            Quant::Chosen(storage) => storage,
            Quant::Auto if weights < SMALL_MODEL => Storage::plain(Precision::F16).keeping_quants(),
            Quant::Auto => {
                let in_eight = weights / EVEN as u64 * Form::Q8.row_bytes(EVEN) as u64;
                let fits = memory.is_some_and(|memory| in_eight <= memory / 4);
                let in_four = sensitivity == Sensitivity::Low && weights >= FOUR_BIT_MODEL && !fits;
                let layers = if in_four { Precision::Q4 } else { Precision::Q8 };
                Storage { layers, ..Storage::plain(Precision::Q8).keeping_quants() }
            }
        };
        Storage { layers: computed(storage.layers), tables: computed(storage.tables), ..storage }
    }
}

/// The text is not a [`Quant`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a way to keep weights; use auto, f16, q8, q4, or one for the layers and one for the tables: q4/q8"
)]
pub struct ParseQuantError(String);

impl FromStr for Quant {
    type Err = ParseQuantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let precision = |name: &str| match name.trim().to_ascii_lowercase().as_str() {
            "f16" => Some(Precision::F16),
            "q8" => Some(Precision::Q8),
            "q4" => Some(Precision::Q4),
            _ => None,
        };
        if text.trim().eq_ignore_ascii_case("auto") {
            return Ok(Quant::Auto);
        }
        let (layers, tables) = text.split_once('/').unwrap_or((text, text));
        match (precision(layers), precision(tables)) {
            (Some(layers), Some(tables)) => Ok(Quant::Chosen(Storage { layers, tables, keeps_quants: false })),
            _ => Err(ParseQuantError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_parsed() {
        assert_eq!("auto".parse(), Ok(Quant::Auto));
        assert_eq!("Q8".parse(), Ok(Quant::Chosen(Storage::plain(Precision::Q8))));
        let Ok(Quant::Chosen(two)) = "q4/q8".parse() else { panic!() };
        assert_eq!((two.layers, two.tables, two.to_string().as_str()), (Precision::Q4, Precision::Q8, "q4/q8"));
        for wrong in ["", "q5", "q4/", "/q8", "q4/q8/q8", "auto/q4", "f32"] {
            assert!(wrong.parse::<Quant>().unwrap_err().to_string().contains(&format!("`{wrong}`")));
        }
    }

    #[test]
    fn large_models_are_quantized_by_memory() {
        let of = |weights, sensitivity, is_gpu, memory: Option<u64>| {
            let storage = Quant::Auto.storage(weights, sensitivity, is_gpu, memory);
            assert!(storage.keeps_quants);
            storage.to_string()
        };
        let (small, large, gigabyte) = (50_000_000, 8_000_000_000, 1 << 30);
        assert_eq!(of(small, Sensitivity::Low, true, None), "f16");
        assert_eq!(of(small, Sensitivity::Low, false, None), "f32");
        assert_eq!(of(large, Sensitivity::High, true, Some(8 * gigabyte)), "q8");
        assert_eq!(of(large, Sensitivity::Low, true, Some(24 * gigabyte)), "q4/q8");
        assert_eq!(of(large, Sensitivity::Low, true, Some(80 * gigabyte)), "q8");
        assert_eq!(of(large, Sensitivity::Low, false, None), "q4/q8");
        assert_eq!(of(1_700_000_000, Sensitivity::Low, false, None), "q8");
        let chosen: Quant = "f16".parse().unwrap();
        assert_eq!(chosen.storage(large, Sensitivity::Low, false, None), Storage::plain(Precision::F32));
    }
}
