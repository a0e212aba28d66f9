//! Computes the log-mel features of Qwen3-ASR, which are the input of the audio tower.
//!
//! ```text
//! samples [n] f32, 16 kHz mono
//!   zero-pad to 8000 · reflect-pad 200 · frames of 400 every 160, periodic Hann · |rFFT|²
//!   · 128 Slaney filters 0..8000 Hz · log10(max(x, 1e-10)) · floor at (max of the clip) - 8
//!   · (x + 4) / 4
//! → Mel [128, frames], frames = floor(max(n, 8000) / 160)
//! ```
//!
//! [`log_mel`] takes a whole clip, [`MelStream`] a clip that still grows. The features of a stream
//! always equal `log_mel` of all samples pushed so far, whatever the lengths of the pushes. They
//! are not causal: the floor follows the loudest bin of the whole clip, and the last frames mirror
//! the end.
//!
//! Products and sums are f64. Eight decades below a loud bin, the error of an f32 transform exceeds
//! the 1e-4 that parity allows. `benches/ops.rs` prints what it costs.
//!
//! Source: docs/models.md 1.4; WhisperFeatureExtractor of transformers 5.23.

use std::ops::Range;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// The sample rate of all sound that leaves this room.
pub(crate) const SAMPLE_RATE: u32 = 16_000;
/// The number of mel bins of a frame.
pub(crate) const MEL_BINS: usize = 128;
/// The number of samples between frames (10 ms).
pub(crate) const HOP: usize = 160;
/// The number of samples in the window of a frame (25 ms).
pub(crate) const WINDOW: usize = 400;
/// A shorter clip is padded with zeros to this many samples (0.5 s).
pub(crate) const MIN_SAMPLES: usize = 8_000;

const HALF: usize = WINDOW / 2;
const BINS: usize = WINDOW / 2 + 1;
const POWER_FLOOR: f64 = 1e-10;
const DYNAMIC_RANGE: f32 = 8.0;

/// Log-mel features, `[128, frames]` row-major by mel bin: `data[bin * frames + frame]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mel {
    /// The number of frames of 10 ms.
    pub frames: usize,
    /// `128 * frames` values, all frames of bin 0 first.
    pub data: Vec<f32>,
}

impl Mel {
    /// All frames of one mel bin, `[frames]`. Empty for a bin that does not exist.
    pub fn bin(&self, bin: usize) -> &[f32] {
        self.data.get(bin * self.frames..(bin + 1) * self.frames).unwrap_or(&[])
    }

    /// The frames of `range` as separate features, `[128, len]`. Frames that do not exist are left
    /// out.
    pub fn columns(&self, range: Range<usize>) -> Mel {
        let end = range.end.min(self.frames);
        let start = range.start.min(end);
        let data = (0..MEL_BINS).flat_map(|bin| self.bin(bin)[start..end].iter().copied()).collect();
        Mel { frames: end - start, data }
    }
}

/// Computes the features of a whole clip: samples `[n]` at 16 kHz → `[128, max(n, 8000) / 160]`.
///
/// Samples that are NaN or infinite count as 0. The level is not changed; see [`prepare_clip`].
pub fn log_mel(samples: &[f32]) -> Mel {
    let mut stream = MelStream::new();
    stream.push(samples);
    stream.features()
}

/// Prepares a clip as the reference does: if the peak is above 1, divides by it and clips to
/// `[-1, 1]`.
///
/// Samples that are NaN or infinite become 0. (In the reference, they turn the whole clip into
/// NaN.) Returns the number of these samples.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn prepare_clip(samples: &mut [f32]) -> usize {
    let mut broken = 0;
    let mut peak = 0.0f32;
    for s in samples.iter_mut() {
        if !s.is_finite() {
            *s = 0.0;
            broken += 1;
        }
        peak = peak.max(s.abs());
    }
    if peak > 1.0 {
        for s in samples.iter_mut() {
            *s = (*s / peak).clamp(-1.0, 1.0);
        }
    }
    broken
}

/// Computes the features of a clip that grows.
///
/// The log powers of a frame are computed once and kept as soon as all of its 400 samples are known
/// (128 f32 per frame). The frames at the end, which mirror it, and the floor are computed whenever
/// features are requested. Memory grows with the clip, so the caller must call
/// [`restart`](MelStream::restart) at a cut.
pub struct MelStream {
    analysis: Analysis,
    /// Log10 powers of the settled frames, `[settled, 128]`.
    settled: Vec<f32>,
    settled_max: f32,
    /// The newest samples. The first of them is sample `tail_at` of the clip.
    tail: Vec<f32>,
    tail_at: usize,
    /// The number of samples pushed since the start.
    len: usize,
}

impl Default for MelStream {
    fn default() -> Self {
        Self::new()
    }
}

impl MelStream {
    /// Makes an empty clip.
    pub fn new() -> Self {
        MelStream {
            analysis: Analysis::new(),
            settled: Vec::new(),
            settled_max: f32::NEG_INFINITY,
            tail: Vec::new(),
            tail_at: 0,
            len: 0,
        }
    }

    /// Drops the clip and keeps the tables.
    pub fn restart(&mut self) {
        self.settled.clear();
        self.settled_max = f32::NEG_INFINITY;
        self.tail.clear();
        self.tail_at = 0;
        self.len = 0;
    }

    /// Appends samples, 16 kHz mono. NaN and infinite ones count as 0.
    pub fn push(&mut self, samples: &[f32]) {
        let finite = samples.iter().map(|&s| if s.is_finite() { s } else { 0.0 });
        self.tail.extend(finite);
        self.len += samples.len();

        let mut next = self.settled_len();
        let mut window = [0.0f64; WINDOW];
        while frame_needs(next) <= self.len {
            fill_window(&mut window, next, self.len, |at| self.tail[at - self.tail_at]);
            let max = self.analysis.log_power(&mut window, &mut self.settled);
            self.settled_max = self.settled_max.max(max);
            next += 1;
        }
        self.drop_used(next);
    }

    /// The number of samples pushed since the start.
    pub fn samples_len(&self) -> usize {
        self.len
    }

    /// The number of frames of [`features`](Self::features) now: `max(samples, 8000) / 160`.
    pub fn frames(&self) -> usize {
        self.len.max(MIN_SAMPLES) / HOP
    }

    /// The number of frames, from the start, that more samples can change only through the floor.
    pub fn settled_len(&self) -> usize {
        self.settled.len() / MEL_BINS
    }

    /// The lower limit of the log powers of [`features`](Self::features). It rises with the loudest
    /// bin of the clip.
    pub fn floor(&mut self) -> f32 {
        self.ending().1 - DYNAMIC_RANGE
    }

    /// The features of all samples pushed so far, `[128, frames()]`.
    pub fn features(&mut self) -> Mel {
        self.features_of(0..self.frames())
    }

    /// The frames of `range` of [`features`](Self::features), for a caller that has used the
    /// earlier ones. Frames that do not exist are left out.
    pub fn features_of(&mut self, range: Range<usize>) -> Mel {
        let (ending, max) = self.ending();
        let end = range.end.min(self.frames());
        let start = range.start.min(end);
        let floor = max - DYNAMIC_RANGE;
        let frames = end - start;
        let settled_len = self.settled_len();
        let mut data = vec![0.0; MEL_BINS * frames];
        for frame in start..end {
            let row = match frame.checked_sub(settled_len) {
                None => &self.settled[frame * MEL_BINS..][..MEL_BINS],
                Some(late) => &ending[late * MEL_BINS..][..MEL_BINS],
            };
            for (bin, &x) in row.iter().enumerate() {
                data[bin * frames + frame - start] = (x.max(floor) + 4.0) / 4.0;
            }
        }
        Mel { frames, data }
    }

    /// The log10 powers of the frames that are not settled, `[frames - settled, 128]`, and the
    /// maximum of the clip.
    fn ending(&mut self) -> (Vec<f32>, f32) {
        let padded_len = self.len.max(MIN_SAMPLES);
        let (first, frames) = (self.settled_len(), self.frames());
        let mut rows = Vec::with_capacity((frames - first) * MEL_BINS);
        let mut max = self.settled_max;
        let mut window = [0.0f64; WINDOW];
        for frame in first..frames {
            let sample = |at: usize| match at < self.len {
                true => self.tail[at - self.tail_at],
                false => 0.0,
            };
            fill_window(&mut window, frame, padded_len, sample);
            max = max.max(self.analysis.log_power(&mut window, &mut rows));
        }
        (rows, max)
    }

    /// Drops the samples that neither frame `next` nor a mirrored end needs.
    fn drop_used(&mut self, next: usize) {
        let keep_from = (next * HOP).saturating_sub(HALF);
        // Frames 0 and 1 mirror the start, so nothing is dropped before they are settled.
        if next >= 2 && keep_from > self.tail_at {
            self.tail.drain(..keep_from - self.tail_at);
            self.tail_at = keep_from;
        }
    }
}

/// The number of samples after which frame `frame` no longer depends on the end of the clip.
fn frame_needs(frame: usize) -> usize {
    // Frame 0 mirrors samples 1..=200 to its left.
    (frame * HOP + HALF).max(HALF + 1)
}

/// Copies samples `frame * 160 - 200 ..` of a clip of `len` samples, mirrored at both ends, into
/// the window.
fn fill_window(window: &mut [f64; WINDOW], frame: usize, len: usize, sample: impl Fn(usize) -> f32) {
    for (i, w) in window.iter_mut().enumerate() {
        let padded = frame * HOP + i;
        let at = match padded.checked_sub(HALF) {
            None => HALF - padded,
            Some(at) if at < len => at,
            Some(at) => 2 * (len - 1) - at,
        };
        *w = f64::from(sample(at));
    }
}

/// The Fourier transform and its tables.
struct Analysis {
    fft: Arc<dyn RealToComplex<f64>>,
    hann: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    filters: Vec<Filter>,
}

/// One mel filter: its weights from FFT bin `start` on. The others are zero.
struct Filter {
    start: usize,
    weights: Vec<f64>,
}

impl Analysis {
    fn new() -> Self {
        let fft = RealFftPlanner::<f64>::new().plan_fft_forward(WINDOW);
        let hann = (0..WINDOW).map(|i| 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / WINDOW as f64).cos()).collect();
        Analysis { hann, spectrum: fft.make_output_vec(), scratch: fft.make_scratch_vec(), filters: mel_filters(), fft }
    }

    /// Appends the 128 log10 powers of the samples of a window to `out`, and returns their maximum.
    /// The window is overwritten.
    fn log_power(&mut self, window: &mut [f64; WINDOW], out: &mut Vec<f32>) -> f32 {
        let silent = window.iter().all(|&x| x == 0.0);
        for (x, h) in window.iter_mut().zip(&self.hann) {
            *x *= h;
        }
        // The lengths are right by construction. A failure would make a silent frame.
        let done = !silent && self.fft.process_with_scratch(window, &mut self.spectrum, &mut self.scratch).is_ok();
        if !done {
            out.extend([POWER_FLOOR.log10() as f32; MEL_BINS]);
            return POWER_FLOOR.log10() as f32;
        }
        let mut power = [0.0f64; BINS];
        for (p, z) in power.iter_mut().zip(&self.spectrum) {
            *p = z.norm_sqr();
        }
        let mut max = f32::NEG_INFINITY;
        for filter in &self.filters {
            let bins = &power[filter.start..];
            let sum: f64 = filter.weights.iter().zip(bins).map(|(w, p)| w * p).sum();
            let log = sum.max(POWER_FLOOR).log10() as f32;
            max = max.max(log);
            out.push(log);
        }
        max
    }
}

/// Converts to Slaney's mel scale: linear to 1 kHz, then logarithmic.
fn hz_to_mel(hz: f64) -> f64 {
    match hz < 1000.0 {
        true => 3.0 * hz / 200.0,
        false => 15.0 + (hz / 1000.0).ln() * 27.0 / 6.4f64.ln(),
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    match mel < 15.0 {
        true => 200.0 * mel / 3.0,
        false => 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp(),
    }
}

/// Makes 128 triangles between 130 points, equally spaced in mel over 0..8000 Hz, each of unit area
/// (Slaney normalisation).
fn mel_filters() -> Vec<Filter> {
    let top = hz_to_mel(f64::from(SAMPLE_RATE) / 2.0);
    let point = |i: usize| mel_to_hz(top * i as f64 / (MEL_BINS + 1) as f64);
    let bin_hz = f64::from(SAMPLE_RATE) / WINDOW as f64;
    (0..MEL_BINS)
        .map(|m| {
            let (left, centre, right) = (point(m), point(m + 1), point(m + 2));
            let weight = |bin: usize| {
                let hz = bin as f64 * bin_hz;
                let up = (hz - left) / (centre - left);
                let down = (right - hz) / (right - centre);
                up.min(down).max(0.0) * 2.0 / (right - left)
            };
            let start = (0..BINS).find(|&b| weight(b) > 0.0).unwrap_or(0);
            let weights = (start..BINS).map(weight).take_while(|&w| w > 0.0).collect();
            Filter { start, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::{fixture, read_wav};
    use proptest::prelude::*;

    /// The plain definition: pad, direct DFT, dense filters, floor.
    fn by_definition(samples: &[f32]) -> Mel {
        let mut x: Vec<f64> = samples.iter().map(|&s| f64::from(s)).collect();
        x.resize(x.len().max(MIN_SAMPLES), 0.0);
        let n = x.len() as isize;
        let mirrored = |i: isize| {
            let i = i.abs();
            x[(if i < n { i } else { 2 * (n - 1) - i }) as usize]
        };
        let frames = x.len() / HOP;
        let filters = mel_filters();
        let mut log = vec![0.0f64; MEL_BINS * frames];
        for frame in 0..frames {
            let window: Vec<f64> = (0..WINDOW)
                .map(|i| {
                    let hann = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / 400.0).cos();
                    hann * mirrored((frame * HOP + i) as isize - 200)
                })
                .collect();
            let power: Vec<f64> = (0..BINS)
                .map(|k| {
                    let (mut re, mut im) = (0.0, 0.0);
                    for (i, w) in window.iter().enumerate() {
                        let a = std::f64::consts::TAU * ((k * i) % WINDOW) as f64 / 400.0;
                        re += w * a.cos();
                        im -= w * a.sin();
                    }
                    re * re + im * im
                })
                .collect();
            for (m, f) in filters.iter().enumerate() {
                let sum: f64 = f.weights.iter().enumerate().map(|(i, w)| w * power[f.start + i]).sum();
                log[m * frames + frame] = sum.max(1e-10).log10();
            }
        }
        let max = log.iter().copied().fold(f64::MIN, f64::max);
        let data = log.iter().map(|&x| ((x.max(max - 8.0) + 4.0) / 4.0) as f32).collect();
        Mel { frames, data }
    }

    fn largest_difference(a: &Mel, b: &Mel) -> f32 {
        assert_eq!(a.frames, b.frames);
        assert_eq!(a.data.len(), b.data.len());
        a.data.iter().zip(&b.data).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
    }

    fn noise(len: usize, seed: u32, level: f32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                level * ((state >> 8) as f32 / 8_388_608.0 - 1.0)
            })
            .collect()
    }

    #[test]
    fn equals_the_reference_on_the_fixtures() {
        let bytes = std::fs::read(fixture("qwen3_asr/golden.safetensors")).unwrap();
        let golden = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for clip in ["long", "exact", "odd", "short", "tiny"] {
            let view = golden.tensor(&format!("{clip}.mel")).unwrap();
            let data: Vec<f32> =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let want = Mel { frames: view.shape()[1], data };
            let got = log_mel(&read_wav(&fixture(&format!("qwen3_asr/{clip}.wav"))));
            let difference = largest_difference(&got, &want);
            println!("{clip}: {} frames, largest difference {difference:.1e}", got.frames);
            assert!(difference < 1e-4, "{clip}: {difference}");
        }
    }

    /// Real speech; see tools/real-speech/prepare.py.
    #[test]
    fn real_speech_equals_the_reference() {
        let Some(folder) = std::env::var_os("ALIGNATT_SPEECH_FORMS") else {
            return eprintln!("NOT RUN: ALIGNATT_SPEECH_FORMS names no folder of prepared speech");
        };
        let mut clips = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|end| end != "safetensors") {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let values = |name: &str| -> Vec<f32> {
                let data = file.tensor(name).unwrap().data();
                data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            };
            let want = Mel { frames: file.tensor("mel").unwrap().shape()[1], data: values("mel") };
            let mut stream = MelStream::new();
            values("samples").chunks(13_600).for_each(|chunk| stream.push(chunk));
            let got = stream.features();
            let difference = largest_difference(&got, &want);
            println!("{}: {} frames, largest difference {difference:.1e}", path.display(), got.frames);
            assert!(difference < 1e-4, "{}: {difference}", path.display());
            clips += 1;
        }
        assert!(clips > 0, "the folder holds prepared speech");
    }

    #[test]
    fn equals_the_definition_at_awkward_lengths() {
        for len in [0, 1, 159, 200, 201, 399, 7_959, 7_960, 7_961, 7_999, 8_000, 8_001, 8_039, 8_159, 8_160, 9_999] {
            let samples = noise(len, len as u32, 0.3);
            let difference = largest_difference(&log_mel(&samples), &by_definition(&samples));
            assert!(difference < 2e-6, "{len} samples: {difference}");
        }
    }

    #[test]
    fn silence_and_broken_samples() {
        let silent = log_mel(&[0.0; 16_000]);
        assert_eq!(silent.frames, 100);
        assert!(silent.data.iter().all(|&x| x == -1.5));
        let mut broken = noise(16_000, 3, 0.1);
        let mut repaired = broken.clone();
        for (i, x) in [(5, f32::NAN), (700, f32::INFINITY), (15_999, f32::NEG_INFINITY)] {
            (broken[i], repaired[i]) = (x, 0.0);
        }
        assert_eq!(log_mel(&broken), log_mel(&repaired));
        assert_eq!(prepare_clip(&mut broken), 3);
        assert_eq!(broken, repaired);
        assert!(log_mel(&[f32::MAX; 9_000]).data.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn a_loud_clip_is_divided_by_its_peak() {
        let mut clip = vec![0.5, -4.0, 2.0];
        assert_eq!(prepare_clip(&mut clip), 0);
        assert_eq!(clip, [0.125, -1.0, 0.5]);
        let mut quiet = vec![0.5, -1.0];
        prepare_clip(&mut quiet);
        assert_eq!(quiet, [0.5, -1.0]);
    }

    #[test]
    fn columns_are_cut_to_what_there_is() {
        let mel = log_mel(&noise(16_000, 9, 0.2));
        let part = mel.columns(90..200);
        assert_eq!(part.frames, 10);
        assert_eq!(part.bin(127), &mel.bin(127)[90..100]);
        assert_eq!(mel.columns(300..400).data.len(), 0);
        assert!(mel.bin(128).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_stream_equals_its_whole_at_every_point(
            chunks in proptest::collection::vec((0usize..2_400, 0.0f32..1.0), 1..12),
            seed in 0u32..1_000,
        ) {
            let mut stream = MelStream::new();
            stream.push(&noise(5_000, 77, 1.0));
            stream.restart();
            let mut whole: Vec<f32> = Vec::new();
            for (i, (len, level)) in chunks.into_iter().enumerate() {
                let chunk = noise(len, seed + i as u32, level * level);
                whole.extend(&chunk);
                stream.push(&chunk);
                prop_assert_eq!(stream.samples_len(), whole.len());
                let got = stream.features();
                prop_assert_eq!(&got, &log_mel(&whole));
                prop_assert!(stream.tail.len() < 2_400 + 2 * WINDOW);
                let from = got.frames / 3;
                prop_assert_eq!(stream.features_of(from..usize::MAX), got.columns(from..usize::MAX));
            }
            let difference = largest_difference(&stream.features(), &by_definition(&whole));
            prop_assert!(difference < 2e-6, "{}", difference);
        }
    }
}
