//! The Qwen3 decoder: 0.6B to 4B as text models, and the decoder of Qwen3-ASR and the forced
//! aligner. (docs/models.md, sections 1.6 and 4)
//!
//! 1. `ids [T]` → `x = E[ids]`. In Qwen3-ASR some of the rows are those of the sound.
//! 2. L layers, all full, each with keys and values of its own.
//! 3. A final RMSNorm; logits = x Wᵀ, where W is E or a head of its own.
//!
//! Qwen3-ASR's MRoPE has three rows of positions. They are equal here, so it is ordinary RoPE.
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
mod prompt;

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
use config::{Qwen3Config, Qwen3TextConfig};
use layer::Layer;
use names::{HEAD, TEXT_MODEL};

#[derive(Debug)]
pub struct Qwen3 {
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// None if the head is tied to the embedding.
    lm_head: Option<Embedding>,
    rope: Rope,
    config: Qwen3TextConfig,
    /// The most positions of a sequence.
    capacity: usize,
    /// What a sequence is, for messages.
    sequence: &'static str,
}

/// The part of a checkpoint that is a Qwen3 decoder, and what it is used for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    /// The prefix of the decoder's tensors.
    pub model: &'a str,
    /// The name of a head that is not tied, and the number of its rows.
    pub head: Option<(&'a str, usize)>,
    /// The most positions of a sequence.
    pub capacity: usize,
    /// What a sequence is, for messages.
    pub sequence: &'static str,
}

impl Qwen3 {
    /// Loads a text model. `capacity`: the most positions of a sequence.
    pub async fn load(loader: &Loader<'_>, config: &Qwen3Config, capacity: usize) -> Result<Self, LoadError> {
        let text = &config.text;
        let head = (!text.tie_word_embeddings).then_some((HEAD, text.vocab_size));
        let part = Part { model: TEXT_MODEL, head, capacity, sequence: DRAFTED };
        let model = Self::load_part(loader, text, part).await?;
        // The copy of a tied head is not read.
        loader.weights.refuse_unused(&[HEAD])?;
        Ok(model)
    }

    /// Loads a decoder that may be a part of a larger model.
    pub(crate) async fn load_part(
        loader: &Loader<'_>,
        config: &Qwen3TextConfig,
        part: Part<'_>,
    ) -> Result<Self, LoadError> {
        let Part { model: at, head, capacity, sequence } = part;
        let (h, d) = (config.hidden_size, config.head_dim);
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            layers.push(Layer::load(loader, config, at, layer).await?);
        }
        let lm_head = match head {
            Some((name, rows)) => Some(loader.table(name, rows, h).await?),
            None => None,
        };
        Ok(Self {
            embed_tokens: loader.embedding(&format!("{at}.embed_tokens"), config.vocab_size, h).await?,
            layers,
            norm: loader.rms_norm(&format!("{at}.norm"), h, config.rms_norm_eps).await?,
            lm_head,
            rope: Rope::new(&Rope::frequencies(config.rope_theta, d, d / 2), capacity, &loader.compute.device),
            config: config.clone(),
            capacity,
            sequence,
        })
    }

    /// An empty cache of at most `positions` positions.
    pub fn cache_of(&self, positions: usize) -> Cache {
        let shapes = self.layers.iter().map(Layer::owns);
        Cache::new(positions.min(self.capacity), MARGIN, shapes, &self.rope.device())
    }

    /// Fails with [`RunError::TooLong`] if a sequence cannot have that many positions.
    pub(crate) fn room_for(&self, positions: usize) -> Result<(), RunError> {
        match positions > self.capacity {
            true => Err(RunError::TooLong { what: self.sequence, needed: positions, capacity: self.capacity }),
            false => Ok(()),
        }
    }

    /// `ids [T]`, which must be in the vocabulary → `[T, H]`.
    pub fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        self.embed_tokens.forward(ids)
    }

    /// Appends `x [T, H]` to `cache` → its `last` rows, normed, [last, H]. `last` is at least one.
    ///
    /// Errors: [`RunError::TooLong`] if the cache has no room for `x`, or the capture none for its
    /// rows.
    pub fn rows(&self, x: Tensor<2>, cache: &mut Cache, last: usize, tap: &mut Tap) -> Result<Tensor<2>, RunError> {
        let len = x.dims()[0];
        in_pieces(self.sequence, len, cache, last, tap, |rows, cache, back, tap| {
            Ok(self.piece(x.clone().narrow(0, rows.start, rows.len()), cache, back, tap))
        })
    }

    /// Runs one piece x [T, H] through the layers → its normed rows from position `back` on; None
    /// if it has no such rows.
    fn piece(&self, mut x: Tensor<2>, cache: &mut Cache, back: usize, tap: &mut Tap) -> Option<Tensor<2>> {
        let (from, len) = (cache.end(), x.dims()[0]);
        // All layers are full, so a position is its row.
        let place = Place::new(&self.rope, from, from, len);
        tap.begin_rows(from, len);
        for (at, (layer, cache)) in self.layers.iter().zip(&mut cache.owners).enumerate() {
            x = layer.forward(x, &place, cache, tap);
            tap.keep("layer_out", Some(at), &x);
        }
        let wanted = (from + len).saturating_sub(back).min(len);
        match wanted {
            0 => None,
            _ if wanted < len => Some(self.norm.forward(x.narrow(0, len - wanted, wanted))),
            _ => Some(self.norm.forward(x)),
        }
    }

    /// Normed rows [T, H] → logits [T, V], or one for each class of the head.
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).logits(x)
    }
}

impl TextModel for Qwen3 {
    fn shape(&self) -> [usize; 2] {
        [self.config.num_hidden_layers, self.config.num_attention_heads]
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn cache(&self) -> Cache {
        self.cache_of(self.capacity)
    }

    fn forward(
        &self,
        ids: Tensor<1, Int>,
        cache: &mut Cache,
        last: usize,
        tap: &mut Tap,
    ) -> Result<Tensor<2>, RunError> {
        let x = self.embed(ids);
        tap.keep("embeds", None, &x);
        self.rows(x, cache, last, tap)
    }

    fn choose(&self, rows: Tensor<2>) -> Tensor<1, Int> {
        greedy(self.logits(rows))
    }

    fn arm(&self, heads: &[Head], rows: usize) -> Result<Capture, ArmError> {
        let dims = vec![self.config.head_dim; self.config.num_hidden_layers];
        Capture::new(heads, rows, &dims, self.config.num_attention_heads, &self.rope.device())
    }

    fn replay(&self, capture: &Capture, cache: &Cache, span: &SourceSpan) -> Option<Replay> {
        capture.replay(span, |layer| (&cache.owners[layer], self.layers[layer].attention()))
    }
}

impl TextFamily for Qwen3Config {
    fn family(&self) -> &'static str {
        "Qwen3"
    }

    fn sizes(&self) -> Sizes {
        let Qwen3TextConfig { num_hidden_layers, num_attention_heads, hidden_size, .. } = self.text;
        Sizes { layers: num_hidden_layers, heads: num_attention_heads, hidden: hidden_size }
    }

    fn vocab_size(&self) -> usize {
        self.text.vocab_size
    }

    fn max_positions(&self) -> usize {
        self.text.max_position_embeddings
    }

    fn eos(&self) -> &[u32] {
        &self.eos_token_id
    }

    fn load<'a>(&'a self, loader: &'a Loader<'a>, capacity: usize) -> Loading<'a> {
        Box::pin(async move { Ok(Arc::new(Qwen3::load(loader, self, capacity).await?) as Arc<dyn TextModel>) })
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
