//! Long audio into pieces that a model can take, cut where it is quietest.
//!
//! As Qwen3-ASR's own code cuts (specs/models.md 1.7): a piece aims at the longest allowed length; within ± some seconds of
//! that point the quietest 100 ms are looked for, and the cut is at the smallest sample among them. So a piece may be
//! longer than the limit by that search range. The texts of the pieces are joined without a space.

use std::ops::Range;

use super::mel::SAMPLE_RATE;

/// How to cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitOptions {
    /// Length that a piece aims at, in seconds; audio up to this is not cut.
    pub max_seconds: f64,
    /// The quiet place is looked for this far to either side, in seconds.
    pub search_seconds: f64,
    /// Length of the quiet window, in milliseconds.
    pub window_ms: f64,
}

impl SplitOptions {
    /// Recognition: 1200 s.
    pub const RECOGNITION: SplitOptions = SplitOptions { max_seconds: 1_200.0, search_seconds: 5.0, window_ms: 100.0 };
    /// Recognition with word times: 180 s.
    pub const ALIGNMENT: SplitOptions = SplitOptions { max_seconds: 180.0, ..Self::RECOGNITION };

    fn samples(seconds: f64) -> usize {
        (seconds * f64::from(SAMPLE_RATE)) as usize
    }

    /// The first cut in samples `[n]` (16 kHz mono) that begin a piece, or None where all of it is one piece.
    ///
    /// For a stream: the cut is right as soon as `samples` holds `max_seconds + search_seconds`.
    pub fn first_cut(&self, samples: &[f32]) -> Option<usize> {
        let longest = Self::samples(self.max_seconds).max(1);
        if samples.len() <= longest {
            return None;
        }
        let search = Self::samples(self.search_seconds).max(1);
        let window = Self::samples(self.window_ms / 1_000.0).max(4);
        let left = longest.saturating_sub(search);
        let right = (longest + search).min(samples.len());
        let cut = match right - left > window {
            true => left + quietest(&samples[left..right], window),
            false => longest,
        };
        Some(cut.clamp(1, samples.len()))
    }
}

/// Pieces of samples `[n]` (16 kHz mono): ranges that follow each other and cover all of it; one where it is short.
pub fn split(samples: &[f32], options: &SplitOptions) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while let Some(cut) = options.first_cut(&samples[start..]) {
        pieces.push(start..start + cut);
        start += cut;
    }
    pieces.push(start..samples.len());
    pieces
}

/// The smallest sample within the window of least total magnitude; the first of several.
fn quietest(samples: &[f32], window: usize) -> usize {
    let size = |x: f32| f64::from(x.abs());
    let mut sum: f64 = samples[..window].iter().map(|&x| size(x)).sum();
    let (mut best, mut best_at) = (sum, 0);
    for at in 1..=samples.len() - window {
        sum += size(samples[at + window - 1]) - size(samples[at - 1]);
        // Sums that differ by rounding only are equal: the first stays.
        if sum < best - 1e-9 {
            (best, best_at) = (sum, at);
        }
    }
    let mut least = best_at;
    for at in best_at..best_at + window {
        if samples[at].abs() < samples[least].abs() {
            least = at;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::{fixture, read_wav};

    #[test]
    fn equals_the_reference() {
        let text = std::fs::read_to_string(fixture("text/text_golden.json")).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cases = golden["split_audio"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let samples = read_wav(&fixture(&format!("text/{}", case["wav"].as_str().unwrap())));
            let number = |key: &str| case[key].as_f64().unwrap();
            let options = SplitOptions {
                max_seconds: number("max_chunk_sec"),
                search_seconds: number("search_expand_sec"),
                window_ms: number("min_window_ms"),
            };
            let pieces = split(&samples, &options);
            // The reference pads short pieces to 0.5 s, which is the features' affair here.
            let lengths: Vec<u64> = pieces.iter().map(|p| p.len().max(8_000) as u64).collect();
            let offsets: Vec<f64> = pieces.iter().map(|p| p.start as f64 / 16_000.0).collect();
            let want: Vec<u64> =
                case["chunk_lengths"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
            assert_eq!(lengths, want, "{}", case["wav"]);
            for (got, want) in offsets.iter().zip(case["offsets"].as_array().unwrap()) {
                assert!((got - want.as_f64().unwrap()).abs() < 1e-9);
            }
            assert_eq!(pieces.last().unwrap().end, samples.len());
        }
    }

    #[test]
    fn pieces_cover_everything_once() {
        let tiny = SplitOptions { max_seconds: 0.0, search_seconds: 0.0, window_ms: 0.0 };
        let short = SplitOptions { max_seconds: 0.01, ..SplitOptions::RECOGNITION };
        for len in [0, 1, 2, 50, 161, 4_000] {
            let samples: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
            for options in [tiny, short, SplitOptions::ALIGNMENT] {
                let pieces = split(&samples, &options);
                assert_eq!(pieces[0].start, 0);
                assert!(pieces.windows(2).all(|w| w[0].end == w[1].start && !w[0].is_empty()));
                assert_eq!(pieces.last().unwrap().end, len);
            }
        }
        // Silence: the first of equal places.
        let pieces = split(&[0.0; 48_000], &SplitOptions { max_seconds: 2.0, search_seconds: 0.5, window_ms: 100.0 });
        assert_eq!(pieces, [0..24_000, 24_000..48_000]);
    }
}
