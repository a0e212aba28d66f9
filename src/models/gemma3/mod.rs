//! The Gemma-3 text decoder: 270M, 1B, 4B and larger, and models that were trained from them, such
//! as TranslateGemma and MiLMMT-46. (docs/models.md, section 3)
//!
//! 1. `ids [T]` → `x = E[ids]·√H`.
//! 2. L layers, five sliding ones and a full one in turn, each with keys and values of its own.
//! 3. A final RMSNorm; logits = x Eᵀ.
//!
//! The residual stream reaches 1e5 in the published models, so it stays f32.
//!
//! | file | what it is |
//! |---|---|
//! | `config`, `names` | what `config.json` says, and the names of the tensors |
//! | `gguf` | the same from a GGUF file |
//! | `prompt` | the translation prompts |
//! | `layer` | one layer |

pub(crate) mod config;
pub(crate) mod gguf;
mod layer;
mod names;
pub(crate) mod prompt;

use std::sync::Arc;

use burn::tensor::{Int, Tensor};

use super::family::{Loading, Sizes, TextFamily};
use super::prompt::{Task, TranslationPrompt};
use super::{DRAFTED, TextModel};
use crate::nn::{
    ArmError, Cache, Capture, Embedding, Head, LoadError, Loader, MARGIN, Place, Replay, RmsNorm, Rope, RunError,
    SourceSpan, Tap, greedy, in_pieces,
};
use crate::weights::{CheckpointError, Files, Tokenizer};
use config::{Gemma3Config, LayerType};
use layer::Layer;
use names::GemmaNames;

#[derive(Debug)]
pub struct Gemma3 {
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    rope_sliding: Rope,
    rope_full: Rope,
    config: Gemma3Config,
    capacity: usize,
}

impl Gemma3 {
    /// Loads the text decoder of a checkpoint, which may be part of a multimodal release.
    /// `capacity`: the most positions of a sequence.
    pub async fn load(loader: &Loader<'_>, config: &Gemma3Config, capacity: usize) -> Result<Self, LoadError> {
        let names = GemmaNames::detect(loader.weights)?;
        let at = names.text_model;
        let (h, eps) = (config.hidden_size, config.rms_norm_eps);
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            layers.push(Layer::load(loader, config, at, layer).await?);
        }
        let rope = |kind| Rope::new(&frequencies(config, kind), capacity, &loader.compute.device);
        let model = Self {
            embed_tokens: loader.embedding(&format!("{at}.embed_tokens"), config.vocab_size, h).await?,
            layers,
            norm: loader.rms_norm_plus_one(&format!("{at}.norm"), h, eps).await?,
            rope_sliding: rope(LayerType::Sliding),
            rope_full: rope(LayerType::Full),
            config: config.clone(),
            capacity,
        };
        loader.weights.refuse_unused(names.skip)?;
        Ok(model)
    }

    /// Runs one piece of ids [T] through the layers → its normed rows from position `back` on; None
    /// if it has no such rows.
    fn piece(
        &self,
        ids: Tensor<1, Int>,
        cache: &mut Cache,
        back: usize,
        tap: &mut Tap,
    ) -> Result<Option<Tensor<2>>, RunError> {
        let (from, len) = (cache.end(), ids.dims()[0]);
        let wanted = (from + len).saturating_sub(back).min(len);
        let mut x = self.embed_tokens.forward(ids) * (self.config.hidden_size as f32).sqrt();
        tap.keep("embeds_scaled", None, &x);
        for owner in &mut cache.owners {
            owner.reserve(len)?;
        }
        let [sliding, full] = self.places(cache, from, len);
        tap.begin_rows(from, len);
        for (at, (layer, cache)) in self.layers.iter().zip(&mut cache.owners).enumerate() {
            let place = match layer.kind {
                LayerType::Sliding => &sliding,
                LayerType::Full => &full,
            };
            x = layer.forward(x, place, cache, tap);
            tap.keep("layer_out", Some(at), &x);
        }
        Ok((wanted > 0).then(|| self.norm.forward(x.narrow(0, len - wanted, wanted))))
    }

    /// The places of rows `from..from + len`, for sliding and for full layers.
    fn places(&self, cache: &Cache, from: usize, len: usize) -> [Place; 2] {
        let place = |kind: LayerType, rope: &Rope| {
            let owner = self.layers.iter().zip(&cache.owners).find(|(layer, _)| layer.kind == kind);
            Place::new(rope, owner.map_or(0, |(_, owner)| owner.row(from)), from, len)
        };
        [place(LayerType::Sliding, &self.rope_sliding), place(LayerType::Full, &self.rope_full)]
    }

    /// Normed rows [T, H] → logits [T, V].
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        self.embed_tokens.logits(x)
    }

    pub fn config(&self) -> &Gemma3Config {
        &self.config
    }
}

impl TextModel for Gemma3 {
    fn shape(&self) -> [usize; 2] {
        [self.config.num_hidden_layers, self.config.num_attention_heads]
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn cache(&self) -> Cache {
        let shapes = self.layers.iter().map(|layer| layer.shape);
        Cache::new(self.capacity, MARGIN, shapes, &self.rope_full.device())
    }

    fn forward(
        &self,
        ids: Tensor<1, Int>,
        cache: &mut Cache,
        last: usize,
        tap: &mut Tap,
    ) -> Result<Tensor<2>, RunError> {
        let len = ids.dims()[0];
        in_pieces(DRAFTED, len, cache, last, tap, |rows, cache, back, tap| {
            self.piece(ids.clone().narrow(0, rows.start, rows.len()), cache, back, tap)
        })
    }

    fn choose(&self, rows: Tensor<2>) -> Tensor<1, Int> {
        greedy(self.logits(rows))
    }

    fn arm(&self, heads: &[Head], rows: usize) -> Result<Capture, ArmError> {
        let dims = vec![self.config.head_dim; self.config.num_hidden_layers];
        Capture::new(heads, rows, &dims, self.config.num_attention_heads, &self.rope_full.device())
    }

    fn replay(&self, capture: &Capture, cache: &Cache, span: &SourceSpan) -> Option<Replay> {
        capture.replay(span, |layer| (&cache.owners[layer], self.layers[layer].attention))
    }
}

impl TextFamily for Gemma3Config {
    fn family(&self) -> &'static str {
        "Gemma-3"
    }

    fn sizes(&self) -> Sizes {
        Sizes { layers: self.num_hidden_layers, heads: self.num_attention_heads, hidden: self.hidden_size }
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn max_positions(&self) -> usize {
        self.max_position_embeddings
    }

    fn eos(&self) -> &[u32] {
        &self.eos_token_id
    }

    fn load<'a>(&'a self, loader: &'a Loader<'a>, capacity: usize) -> Loading<'a> {
        Box::pin(async move { Ok(Arc::new(Gemma3::load(loader, self, capacity).await?) as Arc<dyn TextModel>) })
    }

    fn prompt(
        &self,
        files: &Files,
        tokenizer: Arc<Tokenizer>,
        task: &Task<'_>,
    ) -> Result<Box<dyn TranslationPrompt>, CheckpointError> {
        prompt::open(files, tokenizer, task)
    }
}

/// The rotary frequencies of one kind of layer, D/2 of them.
pub fn frequencies(config: &Gemma3Config, kind: LayerType) -> Vec<f32> {
    let (rope, dim) = (config.rope(kind), config.head_dim);
    let mut inverse = Rope::frequencies(rope.rope_theta, dim, dim / 2);
    inverse.iter_mut().for_each(|inverse| *inverse /= rope.factor as f32);
    inverse
}
