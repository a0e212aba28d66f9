//! The network of the voice detector: Silero VAD 6.2 (16 kHz), on the CPU.
//!
//! ```text
//! frame: 64 samples of the frame before · 512 samples · the last 64 mirrored
//!   4 Fourier transforms of 256 samples every 128, periodic Hann window → magnitudes [4, 129]
//!   conv1 129 → 128 · conv2 128 → 64, stride 2 · conv3 64 → 64, stride 2 · conv4 64 → 128
//!     each over 3 steps, zeros outside, rectified                        → [1, 128]
//!   LSTM cell, 128 units, state h and c kept from frame to frame         → h [128]
//!   rectified · product with final_conv · sigmoid                        → probability
//! ```
//!
//! 355,000 products a frame of 32 ms. `models/vad` says where the weights come from,
//! `tools/voice-detector/golden.py` made the values that the test compares with.

use std::sync::LazyLock;

use half::f16;
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use safetensors::SafeTensors;

/// The number of samples that a probability is about (32 ms).
pub(super) const FRAME: usize = 512;
/// The number of samples before a frame that the network sees as well.
const CONTEXT: usize = 64;
/// Samples of a transform, and between transforms.
const WINDOW: usize = 256;
const HOP: usize = 128;
const UNITS: usize = 128;

/// One stream through the network.
#[derive(Clone, Debug)]
pub(super) struct SpeechModel {
    context: [f32; CONTEXT],
    h: [f32; UNITS],
    c: [f32; UNITS],
}

impl SpeechModel {
    pub(super) fn new() -> SpeechModel {
        SpeechModel { context: [0.0; CONTEXT], h: [0.0; UNITS], c: [0.0; UNITS] }
    }

    /// The probability that the frame is speech. All samples the network sees are multiplied by
    /// `gain`, which may differ from frame to frame.
    pub(super) fn probability(&mut self, frame: &[f32; FRAME], gain: f32) -> f32 {
        let network = &*NETWORK;
        let mut samples = [0.0; CONTEXT + FRAME + CONTEXT];
        samples[..CONTEXT].copy_from_slice(&self.context);
        samples[CONTEXT..CONTEXT + FRAME].copy_from_slice(frame);
        for past in 0..CONTEXT {
            samples[CONTEXT + FRAME + past] = samples[CONTEXT + FRAME - 2 - past];
        }
        samples.iter_mut().for_each(|sample| *sample *= gain);
        self.context.copy_from_slice(&frame[FRAME - CONTEXT..]);

        let mut steps = network.spectrum.magnitudes(&samples);
        for conv in &network.convs {
            steps = conv.forward(&steps);
        }
        network.lstm.step(&steps[0], &mut self.h, &mut self.c);
        let rectified = self.h.iter().map(|h| h.max(0.0));
        let sum: f32 = rectified.zip(&network.final_conv).map(|(h, weight)| h * weight).sum();
        sigmoid(sum + network.final_bias)
    }
}

/// The weights are unpacked once for all streams.
static NETWORK: LazyLock<Network> = LazyLock::new(Network::open);

struct Network {
    spectrum: Spectrum,
    convs: [Conv; 4],
    lstm: Lstm,
    final_conv: Vec<f32>,
    final_bias: f32,
}

impl Network {
    fn open() -> Network {
        // The file is part of the program, so it is whole.
        let file = SafeTensors::deserialize(include_bytes!("../../models/vad/model.safetensors"))
            .expect("the voice detector's weights are readable");
        let tensor = |name: &str| -> Vec<f32> {
            let tensor = file.tensor(name).expect("the voice detector's weights are complete");
            tensor.data().chunks_exact(2).map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()).collect()
        };
        let conv =
            |name: &str, stride| Conv::new(&tensor(&format!("{name}.weight")), tensor(&format!("{name}.bias")), stride);
        let biases = tensor("lstm_cell.bias_ih").into_iter().zip(tensor("lstm_cell.bias_hh"));
        Network {
            spectrum: Spectrum::new(),
            convs: [conv("conv1", 1), conv("conv2", 2), conv("conv3", 2), conv("conv4", 1)],
            lstm: Lstm {
                input: Matrix::new(&tensor("lstm_cell.weight_ih"), 4 * UNITS, 1, 0),
                hidden: Matrix::new(&tensor("lstm_cell.weight_hh"), 4 * UNITS, 1, 0),
                bias: biases.map(|(of_input, of_hidden)| of_input + of_hidden).collect(),
            },
            final_conv: tensor("final_conv.weight"),
            final_bias: tensor("final_conv.bias")[0],
        }
    }
}

/// The Fourier transform of 256 samples under a Hann window.
struct Spectrum {
    window: Vec<f32>,
    transform: std::sync::Arc<dyn RealToComplex<f32>>,
}

impl Spectrum {
    fn new() -> Spectrum {
        let hann = |at: usize| 0.5 - 0.5 * (std::f64::consts::TAU * at as f64 / WINDOW as f64).cos();
        Spectrum {
            window: (0..WINDOW).map(|at| hann(at) as f32).collect(),
            transform: RealFftPlanner::new().plan_fft_forward(WINDOW),
        }
    }

    /// Samples [640] → magnitudes [4][129].
    fn magnitudes(&self, samples: &[f32]) -> Vec<Vec<f32>> {
        let mut bins = vec![Complex::new(0.0, 0.0); WINDOW / 2 + 1];
        let windows = samples.windows(WINDOW).step_by(HOP);
        windows
            .map(|samples| {
                let mut windowed: Vec<f32> = samples.iter().zip(&self.window).map(|(s, w)| s * w).collect();
                // The lengths are the ones that the transform was planned for.
                self.transform.process(&mut windowed, &mut bins).expect("the lengths are right");
                bins.iter().map(|bin| (bin.re * bin.re + bin.im * bin.im).sqrt()).collect()
            })
            .collect()
    }
}

/// A convolution over three steps.
struct Conv {
    taps: [Matrix; 3],
    bias: Vec<f32>,
    stride: usize,
}

impl Conv {
    /// From the checkpoint's weight [outputs, inputs, 3].
    fn new(weight: &[f32], bias: Vec<f32>, stride: usize) -> Conv {
        let tap = |tap| Matrix::new(weight, bias.len(), 3, tap);
        Conv { taps: [tap(0), tap(1), tap(2)], bias, stride }
    }

    /// Steps [n][inputs] → [n / stride][outputs], rectified. Steps outside are zeros.
    fn forward(&self, steps: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let at_step = |at: usize| {
            let mut sums = self.bias.clone();
            for (tap, matrix) in self.taps.iter().enumerate() {
                if let Some(step) = (at + tap).checked_sub(1).and_then(|at| steps.get(at)) {
                    matrix.add_product(step, &mut sums);
                }
            }
            sums.iter_mut().for_each(|sum| *sum = sum.max(0.0));
            sums
        };
        (0..steps.len()).step_by(self.stride).map(at_step).collect()
    }
}

struct Lstm {
    input: Matrix,
    hidden: Matrix,
    /// Of the input, forget, cell and output gates, 128 each.
    bias: Vec<f32>,
}

impl Lstm {
    fn step(&self, x: &[f32], h: &mut [f32; UNITS], c: &mut [f32; UNITS]) {
        let mut gates = self.bias.clone();
        self.input.add_product(x, &mut gates);
        self.hidden.add_product(h, &mut gates);
        for unit in 0..UNITS {
            let gate = |which: usize| gates[which * UNITS + unit];
            c[unit] = sigmoid(gate(1)) * c[unit] + sigmoid(gate(0)) * gate(2).tanh();
            h[unit] = sigmoid(gate(3)) * c[unit].tanh();
        }
    }
}

/// How many inputs are multiplied in one pass over the outputs. A pass reads and writes each sum
/// once, so a pass for each input would be bound by memory.
const GROUP: usize = 4;

/// A matrix in groups of [`GROUP`] inputs: [groups][outputs][GROUP]. The last group is filled with
/// zeros.
struct Matrix(Vec<Vec<[f32; GROUP]>>);

impl Matrix {
    /// From a weight [outputs, inputs, taps]: the matrix of one tap.
    fn new(weight: &[f32], outputs: usize, taps: usize, tap: usize) -> Matrix {
        let inputs = weight.len() / outputs / taps;
        let value = |output: usize, input: usize| match input < inputs {
            true => weight[(output * inputs + input) * taps + tap],
            false => 0.0,
        };
        let group =
            |first: usize| (0..outputs).map(|output| std::array::from_fn(|i| value(output, first + i))).collect();
        Matrix((0..inputs).step_by(GROUP).map(group).collect())
    }

    /// Adds the product with `x` [inputs] to `sums` [outputs].
    fn add_product(&self, x: &[f32], sums: &mut [f32]) {
        for (x, rows) in x.chunks(GROUP).zip(&self.0) {
            let mut group = [0.0; GROUP];
            group[..x.len()].copy_from_slice(x);
            let [x0, x1, x2, x3] = group;
            for (sum, [w0, w1, w2, w3]) in sums.iter_mut().zip(rows) {
                *sum += (w0 * x0 + w1 * x1) + (w2 * x2 + w3 * x3);
            }
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::{fixture, sample};

    /// The reference computes with f32 weights, these are f16.
    #[test]
    fn probabilities_equal_the_reference() {
        let golden = std::fs::read(fixture("vad/golden.json")).unwrap();
        let golden: Vec<f32> = serde_json::from_slice(&golden).unwrap();
        assert!(golden.len() == 250 && golden.iter().any(|&p| p > 0.99) && golden.iter().any(|&p| p < 0.01));
        let talk = sample("talk-a.flac");
        let mut model = SpeechModel::new();
        let mut worst = 0.0f32;
        for (frame, want) in talk.as_chunks::<FRAME>().0.iter().zip(&golden) {
            worst = worst.max((model.probability(frame, 1.0) - want).abs());
        }
        println!("the largest difference is {worst}");
        assert!(worst < 0.003, "{worst}");
    }

    #[test]
    fn the_gain_counts_for_the_whole_window() {
        let talk = sample("talk-a.flac");
        let (mut plain, mut quiet) = (SpeechModel::new(), SpeechModel::new());
        for frame in talk.as_chunks::<FRAME>().0.iter().take(60) {
            // A power of two, so that both see the same numbers.
            let half = frame.map(|sample| sample / 2.0);
            assert_eq!(plain.probability(frame, 1.0), quiet.probability(&half, 2.0));
        }
    }
}
