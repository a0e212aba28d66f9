//! The Qwen3 decoder, as Qwen3-ASR and the forced aligner use it. (docs/models.md, section 1.6)
//!
//! x [T, H] goes through the layers, a final RMSNorm and the head. In each layer:
//!
//! 1. RMSNorm; q, k, v; RMSNorm of each head of q and k; then RoPE (split-half, over the whole
//!    head).
//! 2. Causal attention with grouped heads, scale D^-½; residual.
//! 3. RMSNorm; SwiGLU; residual.
//!
//! The checkpoint's MRoPE has three rows of positions. They are equal here, so it is ordinary RoPE.

use burn::tensor::{Int, Tensor};

use crate::nn::{
    Cache, Embedding, KvShape, LayerCache, Linear, LoadError, Loader, PIECE, RmsNorm, Rope, RunError, Tap, join,
};
use crate::ops::{
    attend::{Attend, Base, attend},
    gated::{Act, gated},
};
use crate::weights::config::Qwen3TextConfig;

#[derive(Debug)]
pub struct Decoder {
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// None if the head is tied to the embedding.
    head: Option<Embedding>,
    rope: Rope,
    capacity: usize,
    kv_heads: usize,
    head_dim: usize,
}

#[derive(Debug)]
struct Layer {
    input_layernorm: RmsNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    post_attention_layernorm: RmsNorm,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    head_dim: usize,
}

fn too_long(needed: usize, capacity: usize) -> RunError {
    RunError::TooLong { what: "this sound with its text", needed, capacity }
}

impl Decoder {
    /// `model`: the prefix of the text model's tensors. `head`: the name of an output head that is
    /// not tied, and the number of its classes. `capacity`: the most positions of a sequence.
    pub async fn load(
        loader: &Loader<'_>,
        config: &Qwen3TextConfig,
        model: &str,
        head: Option<(&str, usize)>,
        capacity: usize,
    ) -> Result<Self, LoadError> {
        let (h, d, ffn, eps) = (config.hidden_size, config.head_dim, config.intermediate_size, config.rms_norm_eps);
        let (q, kv) = (config.num_attention_heads * d, config.num_key_value_heads * d);
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for i in 0..config.num_hidden_layers {
            let at = format!("{model}.layers.{i}.");
            let linear = async |name: &str, n, k| loader.linear(&format!("{at}{name}"), n, k, false).await;
            let norm = async |name: &str, size| loader.rms_norm(&format!("{at}{name}"), size, eps).await;
            layers.push(Layer {
                input_layernorm: norm("input_layernorm", h).await?,
                q_proj: linear("self_attn.q_proj", q, h).await?,
                k_proj: linear("self_attn.k_proj", kv, h).await?,
                v_proj: linear("self_attn.v_proj", kv, h).await?,
                o_proj: linear("self_attn.o_proj", h, q).await?,
                q_norm: norm("self_attn.q_norm", d).await?,
                k_norm: norm("self_attn.k_norm", d).await?,
                post_attention_layernorm: norm("post_attention_layernorm", h).await?,
                gate_proj: linear("mlp.gate_proj", ffn, h).await?,
                up_proj: linear("mlp.up_proj", ffn, h).await?,
                down_proj: linear("mlp.down_proj", h, ffn).await?,
                head_dim: d,
            });
        }
        let head = match head {
            Some((name, classes)) => Some(loader.table(name, classes, h).await?),
            None => None,
        };
        Ok(Self {
            embed_tokens: loader.embedding(&format!("{model}.embed_tokens"), config.vocab_size, h).await?,
            layers,
            norm: loader.rms_norm(&format!("{model}.norm"), h, eps).await?,
            head,
            rope: Rope::new(&Rope::frequencies(config.rope_theta, d, d / 2), capacity, &loader.compute.device),
            capacity,
            kv_heads: config.num_key_value_heads,
            head_dim: d,
        })
    }

    /// An empty cache of at most `positions` positions.
    pub fn cache(&self, positions: usize) -> Cache {
        let capacity = positions.min(self.capacity);
        let shape = KvShape { heads: self.kv_heads, dim: self.head_dim, window: None };
        Cache::new(capacity, 0, self.layers.iter().map(|_| shape), &self.rope.device())
    }

    /// Fails with [`RunError::TooLong`] if a sequence cannot have that many positions.
    pub fn room_for(&self, positions: usize) -> Result<(), RunError> {
        if positions > self.capacity {
            return Err(too_long(positions, self.capacity));
        }
        Ok(())
    }

    /// `ids [T]`, which must be in the vocabulary → `[T, H]`.
    pub fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        self.embed_tokens.forward(ids)
    }

    /// Appends `x [T, H]` to `cache` → the last layer's rows, normed, `[T, H]`. Fails with
    /// [`RunError::TooLong`] if the cache has no room for them.
    pub fn forward(&self, x: Tensor<2>, cache: &mut Cache, tap: &mut Tap) -> Result<Tensor<2>, RunError> {
        let rows = x.dims()[0];
        let needed = cache.end() + rows;
        if needed > cache.capacity() {
            return Err(too_long(needed, cache.capacity()));
        }
        let pieces = (0..rows).step_by(PIECE).map(|from| {
            let x = x.clone().narrow(0, from, PIECE.min(rows - from));
            self.piece(x, cache, tap)
        });
        Ok(join(pieces.collect()))
    }

    fn piece(&self, mut x: Tensor<2>, cache: &mut Cache, tap: &mut Tap) -> Tensor<2> {
        let (from, rows) = (cache.end(), x.dims()[0]);
        let rope = self.rope.at(from, rows);
        let base = Base { row: from, on_device: Tensor::from_ints([from as i32], &x.device()) };
        for (i, (layer, cache)) in self.layers.iter().zip(&mut cache.owners).enumerate() {
            x = layer.forward(x, &rope, &base, cache, i, tap);
            tap.keep("layer_out", Some(i), &x);
        }
        self.norm.forward(x)
    }

    /// Normed rows [T, H] → logits [T, V or classes].
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.head {
            Some(head) => head.logits(x),
            None => self.embed_tokens.logits(x),
        }
    }
}

impl Layer {
    /// x [T, H] → [T, H].
    fn forward(
        &self,
        x: Tensor<2>,
        rope: &Rope,
        base: &Base,
        cache: &mut LayerCache,
        at: usize,
        tap: &mut Tap,
    ) -> Tensor<2> {
        let t = x.dims()[0];
        let heads = |y: Tensor<2>| {
            let n = y.dims()[1] / self.head_dim;
            y.reshape([t, n, self.head_dim])
        };
        let h = self.input_layernorm.forward(x.clone());
        let q = rope.apply(self.q_norm.forward_heads(heads(self.q_proj.forward(h.clone()))));
        let k = rope.apply(self.k_norm.forward_heads(heads(self.k_proj.forward(h.clone()))));
        let v = heads(self.v_proj.forward(h));
        tap.keep("q_post_rope", Some(at), &q);
        tap.keep("k_post_rope", Some(at), &k);
        cache.push(k, v, base);
        let scale = (self.head_dim as f32).powf(-0.5);
        let attended = attend(q, cache.keys(), cache.values(), base, Attend { scale, window: None });
        let [_, n, d] = attended.dims();
        let x = x + self.o_proj.forward(attended.reshape([t, n * d]));

        let h = self.post_attention_layernorm.forward(x.clone());
        let h = gated(self.gate_proj.forward(h.clone()), self.up_proj.forward(h), Act::Silu);
        x + self.down_proj.forward(h)
    }
}
