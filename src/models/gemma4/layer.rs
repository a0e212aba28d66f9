//! One Gemma-4 layer: attention, MLP and per-layer input. The first two have a norm before and
//! after, the per-layer input only after. (docs/models.md, section 2.2)
//!
//! x [T, H], ple [T, P] → [T, H]:
//!
//! 1. `x += RMS(o_proj(attention(RMS(x))))`
//! 2. `x += RMS(down(gelu(gate·h)·up·h))`, with `h = RMS(x)`
//! 3. `x += RMS(projection(gelu(gate·x)·ple))`
//! 4. `x *= layer_scalar`

use burn::tensor::Tensor;

use super::config::{Gemma4Config, Gemma4Layer, LayerType};
use crate::nn::{KvShape, LayerCache, Linear, LoadError, Loader, Place, RmsNorm, Tap};
use crate::ops::{
    attend::{Attend, attend},
    gated::{Act, gated},
};

#[derive(Debug)]
pub(super) struct Layer {
    pub kind: LayerType,
    /// None in a shared layer, which reads the keys and values of its owner.
    own: Option<Own>,
    /// The index of the cache that this layer reads: its own, or that of the last owner of its
    /// kind.
    pub source: usize,
    at: usize,
    head_dim: usize,
    window: Option<usize>,
    input_layernorm: RmsNorm,
    q_proj: Linear,
    q_norm: RmsNorm,
    o_proj: Linear,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    post_feedforward_layernorm: RmsNorm,
    per_layer_input_gate: Linear,
    per_layer_projection: Linear,
    post_per_layer_input_norm: RmsNorm,
    /// [1]: scales the whole residual stream.
    layer_scalar: Tensor<1>,
}

/// The key and value projections of an owner.
#[derive(Debug)]
struct Own {
    k_proj: Linear,
    v_proj: Linear,
    k_norm: RmsNorm,
    /// Has no weight.
    v_norm: RmsNorm,
    shape: KvShape,
}

impl Layer {
    pub(super) async fn load(
        loader: &Loader<'_>,
        config: &Gemma4Config,
        prefix: &str,
        at: usize,
    ) -> Result<Self, LoadError> {
        let Gemma4Layer { layer_type: kind, head_dim: d, intermediate_size: ffn, .. } = config.layers[at];
        let heads = config.layers[at].num_key_value_heads;
        let (h, p, eps) = (config.hidden_size, config.hidden_size_per_layer_input, config.rms_norm_eps);
        let q = config.num_attention_heads * d;
        let here = format!("{prefix}.layers.{at}.");
        let linear = async |name: &str, n, k| loader.linear(&format!("{here}{name}"), n, k, false).await;
        let norm = async |name: &str, size| loader.rms_norm(&format!("{here}{name}"), size, eps).await;
        let window = (kind == LayerType::Sliding).then_some(config.sliding_window);
        let own = match config.is_kv_shared(at) {
            true => None,
            false => Some(Own {
                k_proj: linear("self_attn.k_proj", heads * d, h).await?,
                v_proj: linear("self_attn.v_proj", heads * d, h).await?,
                k_norm: norm("self_attn.k_norm", d).await?,
                v_norm: RmsNorm::unit(d, eps, &loader.compute.device),
                shape: KvShape { heads, dim: d, window },
            }),
        };
        Ok(Self {
            kind,
            own,
            // The owners are the first layers and each has one cache, so the index of a source
            // layer is also that of its cache.
            source: config.layers[at].kv_source,
            at,
            head_dim: d,
            window,
            input_layernorm: norm("input_layernorm", h).await?,
            q_proj: linear("self_attn.q_proj", q, h).await?,
            q_norm: norm("self_attn.q_norm", d).await?,
            o_proj: linear("self_attn.o_proj", h, q).await?,
            post_attention_layernorm: norm("post_attention_layernorm", h).await?,
            pre_feedforward_layernorm: norm("pre_feedforward_layernorm", h).await?,
            gate_proj: linear("mlp.gate_proj", ffn, h).await?,
            up_proj: linear("mlp.up_proj", ffn, h).await?,
            down_proj: linear("mlp.down_proj", h, ffn).await?,
            post_feedforward_layernorm: norm("post_feedforward_layernorm", h).await?,
            per_layer_input_gate: linear("per_layer_input_gate", p, h).await?,
            per_layer_projection: linear("per_layer_projection", h, p).await?,
            post_per_layer_input_norm: norm("post_per_layer_input_norm", h).await?,
            layer_scalar: loader.tensor(&format!("{here}layer_scalar"), [1]).await?,
        })
    }

    /// The shape of this layer's own keys and values; None in a shared layer.
    pub(super) fn owns(&self) -> Option<KvShape> {
        self.own.as_ref().map(|own| own.shape)
    }

    /// The scale and the window of this layer's attention.
    pub(super) fn attention(&self) -> Attend {
        Attend { scale: 1.0, window: self.window }
    }

    /// x [T, H], ple [T, P] → [T, H]. `cache` is this layer's own, or that of its owner.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        ple: Tensor<2>,
        place: &Place,
        cache: &mut LayerCache,
        tap: &mut Tap,
    ) -> Tensor<2> {
        let h = self.input_layernorm.forward(x.clone());
        let x = x + self.post_attention_layernorm.forward(self.attend(h, place, cache, tap));

        let h = self.pre_feedforward_layernorm.forward(x.clone());
        let h = gated(self.gate_proj.forward(h.clone()), self.up_proj.forward(h), Act::GeluTanh);
        let x = x + self.post_feedforward_layernorm.forward(self.down_proj.forward(h));

        let g = gated(self.per_layer_input_gate.forward(x.clone()), ple, Act::GeluTanh);
        let x = x + self.post_per_layer_input_norm.forward(self.per_layer_projection.forward(g));
        x * self.layer_scalar.clone().unsqueeze()
    }

    /// h [T, H] → [T, H]. If this layer is an owner, its keys and values are appended to `cache`
    /// first.
    fn attend(&self, h: Tensor<2>, place: &Place, cache: &mut LayerCache, tap: &mut Tap) -> Tensor<2> {
        let (t, d) = (h.dims()[0], self.head_dim);
        let heads = |y: Tensor<2>| {
            let n = y.dims()[1] / d;
            y.reshape([t, n, d])
        };
        let q = place.rope.apply(self.q_norm.forward_heads(heads(self.q_proj.forward(h.clone()))));
        tap.queries(self.at, &q);
        if let Some(own) = &self.own {
            let k = place.rope.apply(own.k_norm.forward_heads(heads(own.k_proj.forward(h.clone()))));
            let v = own.v_norm.forward_heads(heads(own.v_proj.forward(h)));
            tap.keep("k_post_rope", Some(self.at), &k);
            tap.keep("v_normed", Some(self.at), &v);
            cache.push(k, v, &place.base);
        }
        let attended = attend(q, cache.keys(), cache.values(), &place.base, self.attention());
        let [_, n, d] = attended.dims();
        self.o_proj.forward(attended.reshape([t, n * d]))
    }
}
