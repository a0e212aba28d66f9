//! Qwen3-ASR and Qwen3-ForcedAligner: an audio tower whose rows become part of a Qwen3 decoder's
//! prompt. The decoder is [`Qwen3`].
//!
//! | file | what it is |
//! |---|---|
//! | `config`, `names` | what `config.json` says, and the names of the tensors |
//! | `gguf` | the same from a GGUF file |
//! | `prompt` | the fixed prompts of both models |
//! | `audio_tower` | mel → rows |
//! | `audio_stream` | rows of a growing sound |
//! | `recognizer` | sound → text, for a clip or a growing tail |
//! | `aligner` | sound and text → word times |
//! | `output` | how the recogniser's raw text is read |
//! | `words`, `timestamps` | the aligner's words, and the repair of its times |

pub(crate) mod aligner;
pub(crate) mod audio_stream;
pub(crate) mod audio_tower;
pub(crate) mod config;
pub(crate) mod gguf;
mod names;
pub(crate) mod output;
pub(crate) mod prompt;
pub(crate) mod recognizer;
pub mod timestamps;
pub mod words;

use burn::tensor::{Device, Int, Tensor};

use super::qwen3::config::Qwen3TextConfig;
use super::qwen3::{Part, Qwen3};
use crate::gpu::Compute;
use crate::nn::{Loader, Target};
use crate::weights::{CheckpointError, Files, Tokenizer, Weights};
use audio_tower::AudioTower;
use config::{AudioConfig, Qwen3AsrConfig};
use names::QwenNames;

/// The most positions of a sequence: enough for three minutes of sound with its text.
const CAPACITY: usize = 6144;

/// The recogniser's weights, tokenizer and end tokens. Any number of [`recognizer::Recognizer`]s
/// share them.
#[derive(Debug)]
pub struct Qwen3Asr {
    pub audio_tower: AudioTower,
    pub decoder: Qwen3,
    pub tokenizer: Tokenizer,
    eos: Vec<u32>,
    compute: Compute,
}

impl Qwen3Asr {
    /// Loads the model in `files`, whose configuration was read as `config` and whose tensors are
    /// `weights`.
    pub async fn load(
        files: &Files,
        weights: &Weights,
        config: &Qwen3AsrConfig,
        target: Target<'_>,
    ) -> Result<Self, CheckpointError> {
        let loader = Loader::new(weights, target);
        let names = QwenNames::of_recognizer(config, weights)?;
        let vocab = config.text_config.vocab_size;
        let (audio_tower, decoder) =
            load_parts(&loader, &names, &config.audio_config, &config.text_config, vocab).await?;
        let tokenizer = Tokenizer::open(files)?;
        tokenizer.fits(vocab)?;
        Ok(Self { audio_tower, decoder, tokenizer, eos: config.eos_token_id.clone(), compute: target.compute.clone() })
    }

    fn ids(&self, ids: &[u32]) -> Tensor<1, Int> {
        ids_on(ids, &self.compute.device)
    }
}

fn ids_on(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    Tensor::from_ints(ids.as_slice(), device)
}

/// Loads the tower and the decoder, by the names of the layout that the checkpoint has. `classes`:
/// the number of outputs of a head that is not tied.
async fn load_parts(
    loader: &Loader<'_>,
    names: &QwenNames,
    audio: &AudioConfig,
    text: &Qwen3TextConfig,
    classes: usize,
) -> Result<(AudioTower, Qwen3), CheckpointError> {
    let tower = AudioTower::load(loader, audio, names.audio_tower, [names.proj1, names.proj2]).await?;
    let capacity = CAPACITY.min(text.max_position_embeddings);
    let head = names.head.map(|head| (head, classes));
    let part = Part { model: names.text_model, head, capacity, sequence: "this sound with its text" };
    let decoder = Qwen3::load_part(loader, text, part).await?;
    loader.weights.refuse_unused(names.skip)?;
    Ok((tower, decoder))
}
