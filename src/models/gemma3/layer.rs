//! One Gemma-3 layer: attention and MLP, each with a norm before and after. (docs/models.md,
//! section 3.4)
//!
//! x [T, H] → [T, H]:
//!
//! 1. `x += RMS(o_proj(attention(RMS(x))))`
//! 2. `x += RMS(down(gelu(gate·h)·up·h))`, with `h = RMS(x)`

use burn::tensor::Tensor;

use super::config::{Gemma3Config, LayerType};
use crate::nn::{KvShape, LayerCache, Linear, LoadError, Loader, Place, RmsNorm, Tap};
use crate::ops::{
    attend::{Attend, attend},
    gated::{Act, gated},
};

#[derive(Debug)]
pub(super) struct Layer {
    pub kind: LayerType,
    pub shape: KvShape,
    pub attention: Attend,
    at: usize,
    input_layernorm: RmsNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    post_feedforward_layernorm: RmsNorm,
}

impl Layer {
    pub(super) async fn load(
        loader: &Loader<'_>,
        config: &Gemma3Config,
        prefix: &str,
        at: usize,
    ) -> Result<Self, LoadError> {
        let (h, d, ffn, eps) = (config.hidden_size, config.head_dim, config.intermediate_size, config.rms_norm_eps);
        let (q, kv) = (config.num_attention_heads * d, config.num_key_value_heads * d);
        let here = format!("{prefix}.layers.{at}.");
        let linear = async |name: &str, n, k| loader.linear(&format!("{here}{name}"), n, k, false).await;
        let norm = async |name: &str, size| loader.rms_norm_plus_one(&format!("{here}{name}"), size, eps).await;
        let window = config.window(at);
        Ok(Self {
            kind: config.layer_types[at],
            shape: KvShape { heads: config.num_key_value_heads, dim: d, window },
            attention: Attend { scale: config.scale(), window },
            at,
            input_layernorm: norm("input_layernorm", h).await?,
            q_proj: linear("self_attn.q_proj", q, h).await?,
            k_proj: linear("self_attn.k_proj", kv, h).await?,
            v_proj: linear("self_attn.v_proj", kv, h).await?,
            o_proj: linear("self_attn.o_proj", h, q).await?,
            q_norm: norm("self_attn.q_norm", d).await?,
            k_norm: norm("self_attn.k_norm", d).await?,
            post_attention_layernorm: norm("post_attention_layernorm", h).await?,
            pre_feedforward_layernorm: norm("pre_feedforward_layernorm", h).await?,
            gate_proj: linear("mlp.gate_proj", ffn, h).await?,
            up_proj: linear("mlp.up_proj", ffn, h).await?,
            down_proj: linear("mlp.down_proj", h, ffn).await?,
            post_feedforward_layernorm: norm("post_feedforward_layernorm", h).await?,
        })
    }

    /// x [T, H] → [T, H]. The keys and values of the rows are appended to `cache`.
    pub(super) fn forward(&self, x: Tensor<2>, place: &Place, cache: &mut LayerCache, tap: &mut Tap) -> Tensor<2> {
        let h = self.input_layernorm.forward(x.clone());
        let x = x + self.post_attention_layernorm.forward(self.attend(h, place, cache, tap));

        let h = self.pre_feedforward_layernorm.forward(x.clone());
        let h = gated(self.gate_proj.forward(h.clone()), self.up_proj.forward(h), Act::GeluTanh);
        x + self.post_feedforward_layernorm.forward(self.down_proj.forward(h))
    }

    /// h [T, H] → [T, H].
    fn attend(&self, h: Tensor<2>, place: &Place, cache: &mut LayerCache, tap: &mut Tap) -> Tensor<2> {
        let (t, d) = (h.dims()[0], self.shape.dim);
        let heads = |y: Tensor<2>| {
            let n = y.dims()[1] / d;
            y.reshape([t, n, d])
        };
        let q = place.rope.apply(self.q_norm.forward_heads(heads(self.q_proj.forward(h.clone()))));
        let k = place.rope.apply(self.k_norm.forward_heads(heads(self.k_proj.forward(h.clone()))));
        let v = heads(self.v_proj.forward(h));
        tap.queries(self.at, &q);
        tap.keep("k_post_rope", Some(self.at), &k);
        cache.push(k, v, &place.base);
        let attended = attend(q, cache.keys(), cache.values(), &place.base, self.attention);
        let [_, n, d] = attended.dims();
        self.o_proj.forward(attended.reshape([t, n * d]))
    }
}
