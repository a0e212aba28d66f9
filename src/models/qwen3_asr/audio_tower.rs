//! The audio tower of Qwen3-ASR: log-mel in, rows for the decoder out.
//!
//! 1. The mel [128, F] is cut into chunks of 100 frames. Each chunk goes alone through three
//!    convolutions of stride 2 and becomes 13 rows.
//! 2. Sinusoids are added. Their positions restart in every chunk.
//! 3. Pre-LN layers follow, with attention inside windows of 13 · n_window_infer/100 rows (8 s).
//! 4. ln_post, proj1, GELU and proj2 give [T, output_dim].
//!
//! A full chunk has 13 rows; a rest of n frames has h(h(h(n))), with h(n) = ⌊(n−1)/2⌋ + 1. Windows
//! do not see one another, so the rows of a window whose frames are settled never change.
//! (docs/models.md, section 1.5)

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::config::AudioConfig;
use crate::audio::mel::{MEL_BINS, Mel};
use crate::nn::{LayerNorm, Linear, LoadError, Loader, Tap, join};
use crate::ops::{
    attend::{Base, attend_all},
    conv_halve::conv_halve,
};

/// Mel frames per chunk. The formula for the row count holds for this size only.
pub(crate) const CHUNK: usize = 100;
const ROWS_A_CHUNK: usize = 13;
/// Chunks that are convolved at once. This bounds the memory for a long clip.
const BATCH: usize = 8;

#[derive(Debug)]
pub struct AudioTower {
    conv2d1: Conv,
    conv2d2: Conv,
    conv2d3: Conv,
    conv_out: Linear,
    /// [13, d_model]
    positions: Tensor<2>,
    layers: Vec<Layer>,
    ln_post: LayerNorm,
    proj1: Linear,
    proj2: Linear,
    window_chunks: usize,
    /// Row 0: the attention of a window begins at its first row.
    origin: Base,
    device: Device,
}

#[derive(Debug)]
struct Conv {
    weight: Tensor<4>,
    bias: Tensor<1>,
}

#[derive(Debug)]
struct Layer {
    self_attn_layer_norm: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    final_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
}

/// The number of rows for `frames` mel frames.
pub fn rows_of(frames: usize) -> usize {
    let half = |n: usize| (n - 1) / 2 + 1;
    let rest = match frames % CHUNK {
        0 => 0,
        n => half(half(half(n))),
    };
    ROWS_A_CHUNK * (frames / CHUNK) + rest
}

impl AudioTower {
    /// `prefix`: the prefix of the tower's tensors. `proj1`, `proj2`: the names of the two
    /// projections.
    pub async fn load(
        loader: &Loader<'_>,
        config: &AudioConfig,
        prefix: &str,
        [proj1, proj2]: [&str; 2],
    ) -> Result<Self, LoadError> {
        const EPS: f64 = 1e-5;
        let (d, c, ffn) = (config.d_model, config.downsample_hidden_size, config.encoder_ffn_dim);
        let conv = async |name: &str, inputs: usize| -> Result<Conv, LoadError> {
            let weight = loader.tensor(&format!("{prefix}.{name}.weight"), [c, inputs, 3, 3]).await?;
            Ok(Conv { weight, bias: loader.tensor(&format!("{prefix}.{name}.bias"), [c]).await? })
        };
        let mut layers = Vec::with_capacity(config.encoder_layers);
        for i in 0..config.encoder_layers {
            let at = format!("{prefix}.layers.{i}.");
            let attn = async |name: &str| loader.linear(&format!("{at}self_attn.{name}"), d, d, true).await;
            layers.push(Layer {
                self_attn_layer_norm: loader.layer_norm(&format!("{at}self_attn_layer_norm"), d, EPS).await?,
                q_proj: attn("q_proj").await?,
                k_proj: attn("k_proj").await?,
                v_proj: attn("v_proj").await?,
                out_proj: attn("out_proj").await?,
                final_layer_norm: loader.layer_norm(&format!("{at}final_layer_norm"), d, EPS).await?,
                fc1: loader.linear(&format!("{at}fc1"), ffn, d, true).await?,
                fc2: loader.linear(&format!("{at}fc2"), d, ffn, true).await?,
                heads: config.encoder_attention_heads,
            });
        }
        // The 128 mel bins are halved three times.
        let columns = c * (MEL_BINS / 8);
        Ok(Self {
            conv2d1: conv("conv2d1", 1).await?,
            conv2d2: conv("conv2d2", c).await?,
            conv2d3: conv("conv2d3", c).await?,
            conv_out: loader.linear(&format!("{prefix}.conv_out"), d, columns, false).await?,
            positions: sinusoids(d, &loader.compute.device),
            layers,
            ln_post: loader.layer_norm(&format!("{prefix}.ln_post"), d, EPS).await?,
            proj1: loader.linear(proj1, d, d, true).await?,
            proj2: loader.linear(proj2, config.output_dim, d, true).await?,
            window_chunks: config.n_window_infer / CHUNK,
            origin: Base { row: 0, on_device: Tensor::from_ints([0], &loader.compute.device) },
            device: loader.compute.device.clone(),
        })
    }

    /// Mel frames of one attention window.
    pub fn window_frames(&self) -> usize {
        self.window_chunks * CHUNK
    }

    /// `mel [128, F]`, F ≥ 1 → `[rows_of(F), output_dim]`. Windows are counted from the first mel
    /// frame.
    pub fn forward(&self, mel: &Mel, tap: &mut Tap) -> Tensor<2> {
        let windows = (0..mel.frames).step_by(self.window_frames()).map(|from| {
            let x = self.convolve(&mel.columns(from..mel.frames.min(from + self.window_frames())), tap);
            self.encode(x, tap)
        });
        join(windows.collect())
    }

    /// Runs the layers on one convolved window: `x [S, d_model]` → `[S, output_dim]`.
    pub(super) fn encode(&self, mut x: Tensor<2>, tap: &mut Tap) -> Tensor<2> {
        tap.keep("encoder_in", None, &x);
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, &self.origin, i, tap);
            tap.keep("encoder_layer", Some(i), &x);
        }
        let x = self.ln_post.forward(x);
        tap.keep("ln_post", None, &x);
        let x = self.proj2.forward(activation::gelu(self.proj1.forward(x)));
        tap.keep("audio_embeds", None, &x);
        x
    }

    /// Convolves whole chunks and at most one shorter rest: `mel [128, F]` → `[rows_of(F),
    /// d_model]`, with the positions added. Chunks do not see one another.
    pub(super) fn convolve(&self, mel: &Mel, tap: &mut Tap) -> Tensor<2> {
        let chunks = mel.frames.div_ceil(CHUNK);
        let parts = (0..chunks)
            .step_by(BATCH)
            .map(|from| self.convolve_chunks(mel, from..chunks.min(from + BATCH), tap))
            .collect();
        join(parts).narrow(0, 0, rows_of(mel.frames))
    }

    fn convolve_chunks(&self, mel: &Mel, chunks: std::ops::Range<usize>, tap: &mut Tap) -> Tensor<2> {
        let count = chunks.len();
        let mut padded = vec![0.0; count * MEL_BINS * CHUNK];
        for (i, chunk) in chunks.enumerate() {
            let frames = chunk * CHUNK..mel.frames.min((chunk + 1) * CHUNK);
            for bin in 0..MEL_BINS {
                let at = (i * MEL_BINS + bin) * CHUNK;
                padded[at..at + frames.len()].copy_from_slice(&mel.bin(bin)[frames.clone()]);
            }
        }
        let x = Tensor::<4>::from_data(TensorData::new(padded, [count, 1, MEL_BINS, CHUNK]), &self.device);
        let x = self.conv2d1.forward(x);
        tap.keep("conv2d1_gelu", None, &x);
        let x = self.conv2d3.forward(self.conv2d2.forward(x));
        tap.keep("conv2d3_gelu", None, &x);
        let [_, c, f, t] = x.dims();
        let x = x.permute([0, 3, 1, 2]).reshape([count * t, c * f]);
        let x = self.conv_out.forward(x);
        tap.keep("conv_out", None, &x);
        x + self.positions.clone().repeat_dim(0, count)
    }
}

impl Conv {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv_halve(x, self.weight.clone(), self.bias.clone())
    }
}

impl Layer {
    /// x [S, d] of one window → [S, d].
    fn forward(&self, x: Tensor<2>, origin: &Base, at: usize, tap: &mut Tap) -> Tensor<2> {
        let h = self.self_attn_layer_norm.forward(x.clone());
        let x = x + self.attention(h, origin, at, tap);
        let h = self.final_layer_norm.forward(x.clone());
        x + self.fc2.forward(activation::gelu(self.fc1.forward(h)))
    }

    /// x [S, d] of one window → [S, d]. Every row sees every row.
    fn attention(&self, x: Tensor<2>, origin: &Base, at: usize, tap: &mut Tap) -> Tensor<2> {
        let [s, d] = x.dims();
        let head_dim = d / self.heads;
        let scale = (head_dim as f32).powf(-0.5);
        let heads = |y: Tensor<2>| y.reshape([s, self.heads, head_dim]);
        let q = heads(self.q_proj.forward(x.clone()));
        let k = heads(self.k_proj.forward(x.clone()));
        let v = heads(self.v_proj.forward(x));
        tap.keep_with("enc_attn_probs", Some(at), || {
            let (q, k) = (q.clone().swap_dims(0, 1), k.clone().swap_dims(0, 1));
            activation::softmax(q.matmul(k.transpose()) * scale, 2)
        });
        self.out_proj.forward(attend_all(q, k, v, origin, scale).reshape([s, d]))
    }
}

/// [13, d]: sines in the first half of the columns, cosines in the second.
fn sinusoids(d: usize, device: &Device) -> Tensor<2> {
    let half = d / 2;
    let step = 10_000f64.ln() / (half - 1) as f64;
    let mut values = Vec::with_capacity(ROWS_A_CHUNK * d);
    for position in 0..ROWS_A_CHUNK {
        let angle = |k: usize| position as f64 * (-(k as f64) * step).exp();
        values.extend((0..half).map(|k| angle(k).sin() as f32));
        values.extend((0..half).map(|k| angle(k).cos() as f32));
    }
    Tensor::from_data(TensorData::new(values, [ROWS_A_CHUNK, d]), device)
}
