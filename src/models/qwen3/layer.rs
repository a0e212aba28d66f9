//! One Qwen3 layer. (docs/models.md, section 1.6)
//!
//! x [T, H] → [T, H]:
//!
//! 1. `x += o_proj(attention(RMS(x)))`, where each head of q and k goes through an RMSNorm and RoPE
//!    (split-half, over the whole head). Attention is causal, with grouped heads and scale D^-½.
//! 2. `x += down(silu(gate·h)·up·h)`, with `h = RMS(x)`.
//!
//! `post_attention_layernorm` is the norm before the MLP.

use burn::tensor::Tensor;

use super::config::Qwen3TextConfig;
use crate::nn::{KvShape, LayerCache, Linear, LoadError, Loader, Place, RmsNorm, Tap};
use crate::ops::{
    attend::{Attend, attend},
    gated::{Act, gated},
};

#[derive(Debug)]
pub(super) struct Layer {
    at: usize,
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
    kv_heads: usize,
    head_dim: usize,
}

impl Layer {
    pub(super) async fn load(
        loader: &Loader<'_>,
        config: &Qwen3TextConfig,
        prefix: &str,
        at: usize,
    ) -> Result<Self, LoadError> {
        let (h, d, ffn, eps) = (config.hidden_size, config.head_dim, config.intermediate_size, config.rms_norm_eps);
        let (q, kv) = (config.num_attention_heads * d, config.num_key_value_heads * d);
        let here = format!("{prefix}.layers.{at}.");
        let linear = async |name: &str, n, k| loader.linear(&format!("{here}{name}"), n, k, false).await;
        let norm = async |name: &str, size| loader.rms_norm(&format!("{here}{name}"), size, eps).await;
        Ok(Self {
            at,
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
            kv_heads: config.num_key_value_heads,
            head_dim: d,
        })
    }

    /// The shape of this layer's keys and values.
    pub(super) fn owns(&self) -> KvShape {
        KvShape { heads: self.kv_heads, dim: self.head_dim, window: None }
    }

    /// The scale of this layer's attention, which has no window.
    pub(super) fn attention(&self) -> Attend {
        Attend { scale: (self.head_dim as f32).powf(-0.5), window: None }
    }

    /// x [T, H] → [T, H]. The keys and values are appended to `cache` first.
    pub(super) fn forward(&self, x: Tensor<2>, place: &Place, cache: &mut LayerCache, tap: &mut Tap) -> Tensor<2> {
        let t = x.dims()[0];
        let heads = |y: Tensor<2>| {
            let n = y.dims()[1] / self.head_dim;
            y.reshape([t, n, self.head_dim])
        };
        let h = self.input_layernorm.forward(x.clone());
        let q = place.rope.apply(self.q_norm.forward_heads(heads(self.q_proj.forward(h.clone()))));
        let k = place.rope.apply(self.k_norm.forward_heads(heads(self.k_proj.forward(h.clone()))));
        let v = heads(self.v_proj.forward(h));
        tap.queries(self.at, &q);
        tap.keep("k_post_rope", Some(self.at), &k);
        cache.push(k, v, &place.base);
        let attended = attend(q, cache.keys(), cache.values(), &place.base, self.attention());
        let [_, n, d] = attended.dims();
        let x = x + self.o_proj.forward(attended.reshape([t, n * d]));

        let h = self.post_attention_layernorm.forward(x.clone());
        let h = gated(self.gate_proj.forward(h.clone()), self.up_proj.forward(h), Act::Silu);
        x + self.down_proj.forward(h)
    }
}
