//! The Gemma-4 text decoder of E2B and E4B. (docs/models.md, section 2)
//!
//! 1. `ids [T]` → `x = E[ids]·√H`.
//! 2. Per-layer inputs ple [T, L, P], from a second table and a projection of x.
//! 3. L layers, with sliding and full attention in a pattern. The last ones read the keys and
//!    values of earlier layers, their owners.
//! 4. A final RMSNorm; logits = 30·tanh(x Eᵀ / 30).
//!
//! | file | what it is |
//! |---|---|
//! | `config`, `names` | what `config.json` says, and the names of the tensors |
//! | `gguf` | the same from a GGUF file |
//! | `prompt` | the translation prompt |
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
    ArmError, Cache, Capture, Embedding, Head, Linear, LoadError, Loader, MARGIN, Place, Replay, RmsNorm, Rope,
    RunError, SourceSpan, Tap, greedy, in_pieces,
};
use crate::weights::{CheckpointError, Files, Tokenizer};
use config::{Gemma4Config, LayerType};
use layer::Layer;
use names::GemmaNames;

#[derive(Debug)]
pub struct Gemma4 {
    embed_tokens: Embedding,
    embed_tokens_per_layer: Embedding,
    per_layer_model_projection: Linear,
    per_layer_projection_norm: RmsNorm,
    layers: Vec<Layer>,
    norm: RmsNorm,
    rope_sliding: Rope,
    rope_full: Rope,
    config: Gemma4Config,
    capacity: usize,
}

impl Gemma4 {
    /// Loads the text decoder of a checkpoint, which may be part of the multimodal release.
    /// `capacity`: the most positions of a sequence.
    pub async fn load(loader: &Loader<'_>, config: &Gemma4Config, capacity: usize) -> Result<Self, LoadError> {
        let names = GemmaNames::detect(loader.weights)?;
        let at = names.text_model;
        let (h, p, n, eps) =
            (config.hidden_size, config.hidden_size_per_layer_input, config.num_hidden_layers, config.rms_norm_eps);
        let mut layers = Vec::with_capacity(n);
        for layer in 0..n {
            layers.push(Layer::load(loader, config, at, layer).await?);
        }
        let device = &loader.compute.device;
        let rope = |kind| Rope::new(&frequencies(config, kind), capacity, device);
        let ple = format!("{at}.embed_tokens_per_layer");
        let model = Self {
            embed_tokens: loader.embedding(&format!("{at}.embed_tokens"), config.vocab_size, h).await?,
            embed_tokens_per_layer: loader.embedding(&ple, config.vocab_size_per_layer_input, n * p).await?,
            per_layer_model_projection: loader
                .linear(&format!("{at}.per_layer_model_projection"), n * p, h, false)
                .await?,
            per_layer_projection_norm: loader.rms_norm(&format!("{at}.per_layer_projection_norm"), p, eps).await?,
            layers,
            norm: loader.rms_norm(&format!("{at}.norm"), h, eps).await?,
            rope_sliding: rope(LayerType::Sliding),
            rope_full: rope(LayerType::Full),
            config: config.clone(),
            capacity,
        };
        names.ignore_shared_kv(config, loader.weights);
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
        let mut x = self.embed_tokens.forward(ids.clone()) * (self.config.hidden_size as f32).sqrt();
        tap.keep("embeds_scaled", None, &x);
        let mut ple = self.per_layer_inputs(ids, x.clone(), tap);
        for owner in &mut cache.owners {
            owner.reserve(len)?;
        }
        let mut places = self.places(cache, from, len);
        tap.begin_rows(from, len);
        for (at, layer) in self.layers.iter().enumerate() {
            if layer.owns().is_none() && x.dims()[0] > wanted {
                // No later layer writes keys, so only the rows that are returned have to go on.
                if wanted == 0 {
                    return Ok(None);
                }
                x = x.narrow(0, len - wanted, wanted);
                ple = ple.narrow(0, len - wanted, wanted);
                places = self.places(cache, from + len - wanted, wanted);
                tap.begin_rows(from + len - wanted, wanted);
            }
            let place = &places[usize::from(layer.kind == LayerType::Full)];
            let input = ple.clone().narrow(1, at, 1).squeeze_dim(1);
            x = layer.forward(x, input, place, &mut cache.owners[layer.source], tap);
            tap.keep("layer_out", Some(at), &x);
        }
        Ok(match wanted {
            0 => None,
            _ if wanted < x.dims()[0] => Some(self.norm.forward(x.narrow(0, len - wanted, wanted))),
            _ => Some(self.norm.forward(x)),
        })
    }

    /// The places of rows `from..from + len`, for sliding and for full layers.
    fn places(&self, cache: &Cache, from: usize, len: usize) -> [Place; 2] {
        let place = |kind: LayerType, rope: &Rope| {
            let owners = self.layers.iter().filter(|layer| layer.owns().is_some());
            let row =
                owners.zip(&cache.owners).find(|(layer, _)| layer.kind == kind).map_or(0, |(_, owner)| owner.row(from));
            Place::new(rope, row, from, len)
        };
        [place(LayerType::Sliding, &self.rope_sliding), place(LayerType::Full, &self.rope_full)]
    }

    /// ids [T], x0 [T, H] → [T, L, P].
    fn per_layer_inputs(&self, ids: Tensor<1, Int>, x0: Tensor<2>, tap: &mut Tap) -> Tensor<3> {
        let (h, p, l) =
            (self.config.hidden_size, self.config.hidden_size_per_layer_input, self.config.num_hidden_layers);
        let t = ids.dims()[0];
        let token = self.embed_tokens_per_layer.forward(ids) * (p as f32).sqrt();
        tap.keep("ple_token_scaled", None, &token);
        let context = self.per_layer_model_projection.forward(x0) * (h as f32).powf(-0.5);
        let context = self.per_layer_projection_norm.forward(context.reshape([t * l, p]));
        let ple = (context.reshape([t, l, p]) + token.reshape([t, l, p])) * 0.5f32.sqrt();
        tap.keep("ple_final", None, &ple);
        ple
    }

    /// Normed rows [T, H] → logits [T, V].
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        let logits = self.embed_tokens.logits(x);
        match self.config.final_logit_softcapping {
            Some(cap) => (logits / cap).tanh() * cap, // `cap` is f64; Burn accepts that for f32 tensors
            None => logits,
        }
    }

    pub fn config(&self) -> &Gemma4Config {
        &self.config
    }
}

impl TextModel for Gemma4 {
    fn shape(&self) -> [usize; 2] {
        [self.config.num_hidden_layers, self.config.num_attention_heads]
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn cache(&self) -> Cache {
        let shapes = self.layers.iter().filter_map(Layer::owns);
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
        let dims: Vec<usize> = self.config.layers.iter().map(|layer| layer.head_dim).collect();
        Capture::new(heads, rows, &dims, self.config.num_attention_heads, &self.rope_full.device())
    }

    fn replay(&self, capture: &Capture, cache: &Cache, span: &SourceSpan) -> Option<Replay> {
        capture.replay(span, |layer| {
            let layer = &self.layers[layer];
            (&cache.owners[layer.source], layer.attention())
        })
    }
}

impl TextFamily for Gemma4Config {
    fn family(&self) -> &'static str {
        "Gemma-4"
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
        Box::pin(async move { Ok(Arc::new(Gemma4::load(loader, self, capacity).await?) as Arc<dyn TextModel>) })
    }

    fn prompt(
        &self,
        files: &Files,
        tokenizer: Arc<Tokenizer>,
        task: &Task<'_>,
    ) -> Result<Box<dyn TranslationPrompt>, CheckpointError> {
        Ok(Box::new(prompt::open(files, tokenizer, task)?))
    }
}

/// The rotary frequencies of one kind of layer, D/2 of them. The exponents of "proportional"
/// frequencies are taken over the whole head, although only a part of it is rotated.
pub fn frequencies(config: &Gemma4Config, kind: LayerType) -> Vec<f32> {
    let (rope, dim) = match kind {
        LayerType::Sliding => (config.rope_parameters.sliding_attention, config.head_dim),
        LayerType::Full => (config.rope_parameters.full_attention, config.global_head_dim),
    };
    let rotated = (rope.partial_rotary_factor * dim as f64 / 2.0) as usize;
    Rope::frequencies(rope.rope_theta, dim, rotated)
}
