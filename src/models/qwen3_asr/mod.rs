//! Qwen3-ASR and Qwen3-ForcedAligner: an audio tower whose rows become part of a Qwen3 decoder's
//! prompt.
//!
//! | file | what it is |
//! |---|---|
//! | `audio_tower` | mel → rows |
//! | `audio_stream` | rows of a growing sound |
//! | `decoder` | rows and ids → logits, with its cache |
//! | `recognizer` | sound → text, for a clip or a growing tail |
//! | `aligner` | sound and text → word times |
//! | `output` | how the recogniser's raw text is read |
//! | `words`, `timestamps` | the aligner's words, and the repair of its times |

pub mod aligner;
pub mod audio_stream;
pub mod audio_tower;
pub mod decoder;
pub mod output;
pub mod recognizer;
pub mod timestamps;
pub mod words;

use burn::tensor::{Device, Int, Tensor};

use crate::gpu::Compute;
use crate::nn::{Loader, Target};
use crate::weights::config::{AudioConfig, ModelConfig, Qwen3AsrConfig, Qwen3TextConfig};
use crate::weights::{CheckpointError, Files, QwenNames, Tokenizer, Weights};
use audio_tower::AudioTower;
use decoder::Decoder;

/// The most positions of a sequence: enough for three minutes of sound with its text.
const CAPACITY: usize = 6144;

/// The recogniser's weights, tokenizer and end tokens. Any number of [`recognizer::Recognizer`]s
/// share them.
#[derive(Debug)]
pub struct Qwen3Asr {
    pub audio_tower: AudioTower,
    pub decoder: Decoder,
    pub tokenizer: Tokenizer,
    eos: Vec<u32>,
    compute: Compute,
}

impl Qwen3Asr {
    /// Loads the model in `files`, whose configuration was read as `config`.
    pub async fn load(files: &Files, config: &Qwen3AsrConfig, target: Target<'_>) -> Result<Self, CheckpointError> {
        let weights = Weights::open(files).await?;
        let loader = Loader::new(&weights, target);
        let names = QwenNames::detect(&ModelConfig::Qwen3Asr(config.clone()), &weights)?;
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
) -> Result<(AudioTower, Decoder), CheckpointError> {
    let tower = AudioTower::load(loader, audio, names.audio_tower, [names.proj1, names.proj2]).await?;
    let capacity = CAPACITY.min(text.max_position_embeddings);
    let decoder =
        Decoder::load(loader, text, names.text_model, names.head.map(|head| (head, classes)), capacity).await?;
    loader.weights.refuse_unused(names.skip)?;
    Ok((tower, decoder))
}
