//! Which heads follow the source: the translation score (TS) of every head, from teacher-forced
//! replays.
//!
//! In one sentence pair, the TS of a head is the share of the aligned target tokens whose attention
//! row peaks on a token of an aligned source word; a target token is aligned if its word is. The TS
//! is then the mean over pairs. The row of a token is the query of the position at which the token
//! is the *input*, and the peak is taken over all given columns. Memory is one layer of one pair,
//! plus a few numbers for each head. The pairs are also split into random halves: a head that only
//! one half prefers should not be trusted. Source: docs/method.md, section 3.1.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Only heads with a higher score follow the source.
pub(crate) const MIN_TS: f64 = 0.1;
/// The ranking is stable only if the scores of a leading head in the two halves differ by at most
/// this.
pub(crate) const MAX_DELTA: f64 = 0.03;
/// How many of the best heads are called leading.
const LEADERS: usize = 8;
/// How many times the pairs are split into halves.
const SPLITS: usize = 2;

/// What is needed to score the attention of one replayed pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PairMap {
    /// Length of an attention row: the whole context, as the definition of TS requires, or only the
    /// source span.
    pub columns: usize,
    /// The columns of the source span within a row.
    pub source: Range<usize>,
    /// For each column of `source`, the index of its word; `None` for bare punctuation.
    pub column_words: Vec<Option<usize>>,
    /// For each row, the unit of its target token; `None` for bare punctuation and for the token
    /// that ends the turn. If the row before the first token is included, the same rows can be
    /// scored in two ways: `[None, u0, u1]` takes the row where a token is the input (the
    /// definition of TS), and `[u0, u1, None]` the row whose query predicted it.
    pub token_units: Vec<Option<usize>>,
    /// The word alignment: pairs of (source word, target unit).
    pub links: Vec<(usize, usize)>,
}

/// Where the peak of a row is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peaks {
    /// Over the whole context, as TS is defined.
    Context,
    /// Within the source, as the gate takes it. A prompt with examples needs this: its rows also
    /// look at the examples.
    Source,
}

impl Peaks {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peaks::Context => "peaks over the whole context",
            Peaks::Source => "peaks within the source",
        }
    }
}

/// Why a replay cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CalibrationError {
    #[error("source columns {start}..{end} with {words} words do not fit into rows of {columns} columns")]
    Source { start: usize, end: usize, words: usize, columns: usize },
    #[error("there is no layer {layer}: the model has {layers}")]
    Layer { layer: usize, layers: usize },
    #[error("layer {layer} has {found} attention weights instead of {heads} heads x {rows} rows x {columns} columns")]
    Weights { layer: usize, found: usize, heads: usize, rows: usize, columns: usize },
    #[error("the replay lacks layer {layer}")]
    LayerMissing { layer: usize },
    #[error("a pair was scored for {found:?} layers and heads instead of {expected:?}")]
    Shape { found: [usize; 2], expected: [usize; 2] },
    #[error("no pair could be used: {skipped} had no aligned target token")]
    NoPairs { skipped: usize },
}

/// A row that is scored.
struct Scored {
    row: usize,
    /// The columns that count as a hit.
    columns: Vec<usize>,
    /// The unit translates no word at its own index.
    moved: bool,
}

/// Hits of one head in one pair.
#[derive(Clone, Copy, Default)]
struct Hits {
    /// Rows whose peak over all columns is an aligned source token.
    row: usize,
    /// Rows whose peak within the source span is an aligned source token.
    source: usize,
    /// The part of `source` that comes from moved units.
    moved: usize,
    /// Rows with NaN or infinity. They count as misses.
    non_finite: usize,
}

/// The hits of every head in one pair. The layers may be added in any order.
pub(crate) struct PairScore {
    heads: usize,
    rows: usize,
    columns: usize,
    source: Range<usize>,
    scored: Vec<Scored>,
    /// `[layers][heads]`; `None` for a layer that has not been added.
    layers: Vec<Option<Vec<Hits>>>,
}

impl PairScore {
    /// Prepares the scores of a pair for a model with `layers` layers of `heads` heads. Fails if
    /// the source span does not fit into a row or does not match `column_words`.
    pub(crate) fn new(layers: usize, heads: usize, map: &PairMap) -> Result<PairScore, CalibrationError> {
        let Range { start, end } = map.source;
        let words = map.column_words.len();
        if end > map.columns || start.checked_add(words) != Some(end) {
            return Err(CalibrationError::Source { start, end, words, columns: map.columns });
        }
        let hits_of = |unit: usize| -> Vec<usize> {
            let linked = |word: usize| map.links.contains(&(word, unit));
            (start..end).zip(&map.column_words).filter(|(_, w)| w.is_some_and(linked)).map(|(at, _)| at).collect()
        };
        let scored = (map.token_units.iter().enumerate())
            .filter_map(|(row, unit)| {
                let unit = (*unit)?;
                Some(Scored { row, columns: hits_of(unit), moved: !map.links.contains(&(unit, unit)) })
            })
            .filter(|scored| !scored.columns.is_empty())
            .collect();
        Ok(PairScore {
            heads,
            rows: map.token_units.len(),
            columns: map.columns,
            source: map.source.clone(),
            scored,
            layers: vec![None; layers],
        })
    }

    /// How many target tokens are scored. If there are none, the pair need not be replayed.
    pub(crate) fn aligned_tokens(&self) -> usize {
        self.scored.len()
    }

    /// Scores the attention of one layer: `weights` is `[heads, rows, columns]`, row-major. Fails
    /// if there is no such layer or if the size does not fit.
    pub(crate) fn add_layer(&mut self, layer: usize, weights: &[f32]) -> Result<(), CalibrationError> {
        let (heads, rows, columns, layers) = (self.heads, self.rows, self.columns, self.layers.len());
        if layer >= layers {
            return Err(CalibrationError::Layer { layer, layers });
        }
        let expected = heads.checked_mul(rows).and_then(|n| n.checked_mul(columns));
        if expected != Some(weights.len()) {
            return Err(CalibrationError::Weights { layer, found: weights.len(), heads, rows, columns });
        }
        let head_hits = |head: usize| {
            let mut hits = Hits::default();
            for Scored { row, columns: aligned, moved } in &self.scored {
                let from = (head * rows + row) * columns;
                let row = &weights[from..from + columns];
                if row.iter().any(|w| !w.is_finite()) {
                    hits.non_finite += 1;
                    continue;
                }
                hits.row += usize::from(aligned.contains(&peak(row)));
                let in_source = aligned.contains(&(self.source.start + peak(&row[self.source.clone()])));
                hits.source += usize::from(in_source);
                hits.moved += usize::from(in_source && *moved);
            }
            hits
        };
        let hits = (0..heads).map(head_hits).collect();
        self.layers[layer] = Some(hits);
        Ok(())
    }
}

/// The index of the greatest weight; the first of equals.
fn peak(row: &[f32]) -> usize {
    row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (at, &w)| if w > best.1 { (at, w) } else { best }).0
}

/// The shares of hits of one head, summed over the pairs so far.
#[derive(Clone, Copy, Default)]
struct Sums {
    ts: f64,
    source: f64,
    /// Hits at moved units.
    moved: usize,
    /// The part of `ts` that comes from the first half of each split.
    first: [f64; SPLITS],
}

/// The scores of every head, accumulated pair by pair.
pub(crate) struct Calibration {
    shape: [usize; 2],
    peaks: Peaks,
    /// `[layers · heads]`, layer by layer.
    sums: Vec<Sums>,
    pairs: usize,
    first: [usize; SPLITS],
    skipped: usize,
    aligned_tokens: usize,
    moved_tokens: usize,
    non_finite_rows: usize,
}

impl Calibration {
    /// Starts without pairs, for a model with `layers` layers of `heads` heads. `peaks`: what the
    /// heads are ranked by.
    pub(crate) fn new(layers: usize, heads: usize, peaks: Peaks) -> Calibration {
        Calibration {
            shape: [layers, heads],
            peaks,
            sums: vec![Sums::default(); layers.saturating_mul(heads)],
            pairs: 0,
            first: [0; SPLITS],
            skipped: 0,
            aligned_tokens: 0,
            moved_tokens: 0,
            non_finite_rows: 0,
        }
    }

    /// Adds a pair. `pair_at` is its index in the file and decides which halves it belongs to, so
    /// the same file gives the same report. A pair without an aligned token is only counted as
    /// skipped. Fails if the model's shape differs or a layer is missing.
    pub(crate) fn add(&mut self, pair_at: usize, pair: &PairScore) -> Result<(), CalibrationError> {
        let found = [pair.layers.len(), pair.heads];
        if found != self.shape {
            return Err(CalibrationError::Shape { found, expected: self.shape });
        }
        if pair.scored.is_empty() {
            self.skipped += 1;
            return Ok(());
        }
        if let Some(layer) = pair.layers.iter().position(Option::is_none) {
            return Err(CalibrationError::LayerMissing { layer });
        }
        let in_first: [bool; SPLITS] = std::array::from_fn(|split| in_first_half(pair_at, split));
        let all = pair.scored.len() as f64;
        for (sums, hits) in self.sums.iter_mut().zip(pair.layers.iter().flatten().flatten()) {
            let share = match self.peaks {
                Peaks::Context => hits.row,
                Peaks::Source => hits.source,
            } as f64
                / all;
            sums.ts += share;
            sums.source += hits.source as f64 / all;
            sums.moved += hits.moved;
            for split in (0..SPLITS).filter(|&split| in_first[split]) {
                sums.first[split] += share;
            }
            self.non_finite_rows += hits.non_finite;
        }
        for (count, first) in self.first.iter_mut().zip(in_first) {
            *count += usize::from(first);
        }
        self.pairs += 1;
        self.aligned_tokens += pair.scored.len();
        self.moved_tokens += pair.scored.iter().filter(|scored| scored.moved).count();
        Ok(())
    }

    /// The scores over all pairs so far. Fails if there is no scored pair.
    pub(crate) fn scores(&self) -> Result<HeadScores, CalibrationError> {
        if self.pairs == 0 {
            return Err(CalibrationError::NoPairs { skipped: self.skipped });
        }
        let [layers, heads_per_layer] = self.shape;
        let mean = |sum: f64| sum / self.pairs as f64;
        let ts: Vec<f64> = self.sums.iter().map(|sums| mean(sums.ts)).collect();
        let heads = (ranked(&ts).into_iter().filter(|&at| ts[at] > MIN_TS))
            .map(|at| HeadScore {
                layer: at / heads_per_layer,
                head: at % heads_per_layer,
                ts: ts[at],
                source_ts: mean(self.sums[at].source),
                moved_ts: (self.moved_tokens > 0).then(|| self.sums[at].moved as f64 / self.moved_tokens as f64),
            })
            .collect();
        Ok(HeadScores {
            layers,
            heads_per_layer,
            pairs: self.pairs,
            skipped_pairs: self.skipped,
            aligned_tokens: self.aligned_tokens,
            moved_tokens: self.moved_tokens,
            non_finite_rows: self.non_finite_rows,
            heads,
            stability: (0..SPLITS).map(|split| self.stability(split, &ts)).collect(),
            ts_matrix: ts.chunks(heads_per_layer.max(1)).map(<[f64]>::to_vec).collect(),
        })
    }

    fn stability(&self, split: usize, ts: &[f64]) -> Stability {
        let pairs = [self.first[split], self.pairs - self.first[split]];
        if pairs.contains(&0) {
            return Stability { pairs, max_delta: None, same_top_4: false, same_top_8: false, stable: false };
        }
        let first: Vec<f64> = self.sums.iter().map(|sums| sums.first[split] / pairs[0] as f64).collect();
        let second: Vec<f64> = self.sums.iter().map(|sums| (sums.ts - sums.first[split]) / pairs[1] as f64).collect();
        let delta = ranked(ts).into_iter().take(LEADERS).map(|at| (first[at] - second[at]).abs()).fold(0.0, f64::max);
        let top = |ts: &[f64], k: usize| {
            let mut best = ranked(ts);
            best.truncate(k);
            best.sort_unstable();
            best
        };
        let same = |k: usize| top(&first, k) == top(&second, k);
        let same_top_8 = same(LEADERS);
        let stable = same_top_8 && delta <= MAX_DELTA;
        Stability { pairs, max_delta: Some(delta), same_top_4: same(4), same_top_8, stable }
    }
}

/// The indices of the heads, highest score first; of equal scores, the lower layer and head first.
fn ranked(ts: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ts.len()).collect();
    order.sort_by(|&a, &b| ts[b].total_cmp(&ts[a]));
    order
}

/// Whether a pair belongs to the first half of a split. A fair coin: the last step of SplitMix64.
fn in_first_half(pair_at: usize, split: usize) -> bool {
    let mut z = (pair_at as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add((split as u64) << 32);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) & 1 == 0
}

/// The result of a calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeadScores {
    pub layers: usize,
    pub heads_per_layer: usize,
    /// How many pairs were scored. The score of each head is the mean over all of them.
    pub pairs: usize,
    /// How many pairs had no aligned target token.
    pub skipped_pairs: usize,
    pub aligned_tokens: usize,
    /// The aligned target tokens whose unit translates no word at its own index. A guess word by
    /// word gets none of them right.
    pub moved_tokens: usize,
    /// Rows with NaN or infinity, over all heads. They count as misses.
    pub non_finite_rows: usize,
    /// Heads with a TS above [`MIN_TS`], best first.
    pub heads: Vec<HeadScore>,
    pub stability: Vec<Stability>,
    /// The TS of every head: `[layers][heads]`.
    pub ts_matrix: Vec<Vec<f64>>,
}

/// A head with its translation score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeadScore {
    pub layer: usize,
    pub head: usize,
    pub ts: f64,
    /// The TS with peaks taken within the source span, as the gate takes them at run time.
    pub source_ts: f64,
    /// The share of the moved tokens at which the head peaks rightly within the source; `None` if
    /// there are none.
    pub moved_ts: Option<f64>,
}

/// How well two random halves of the pairs agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stability {
    pub pairs: [usize; 2],
    /// The greatest difference between the halves in the score of one of the eight leading heads;
    /// `None` if a half is empty.
    pub max_delta: Option<f64>,
    pub same_top_4: bool,
    pub same_top_8: bool,
    /// The same eight heads lead in both halves, and `max_delta` is at most [`MAX_DELTA`].
    pub stable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The context is "p S0 S0 , S1 t t". Columns 1..5 are the source. There are three target
    /// tokens, of which the last is punctuation.
    fn map() -> PairMap {
        PairMap {
            columns: 7,
            source: 1..5,
            column_words: vec![Some(0), Some(0), None, Some(1)],
            token_units: vec![Some(0), Some(1), None],
            links: vec![(1, 0), (0, 1)],
        }
    }

    /// The attention of one layer, with one head for each list of peaks.
    fn weights(heads: &[[usize; 3]]) -> Vec<f32> {
        let row = |peak: usize| (0..7).map(move |at| if at == peak { 0.9 } else { 0.01 + at as f32 / 100.0 });
        heads.iter().flatten().flat_map(|&peak| row(peak)).collect()
    }

    #[test]
    fn peaks_on_aligned_words_are_hits() {
        let mut pair = PairScore::new(1, 4, &map()).unwrap();
        assert_eq!(pair.aligned_tokens(), 2);
        // Four heads: both rows hit; one hits; both peak on the prompt (within the source the peak
        // is S1, and one row hits); the rows peak on a comma and on the other word.
        pair.add_layer(0, &weights(&[[4, 1, 0], [4, 4, 0], [0, 0, 0], [3, 4, 0]])).unwrap();
        let mut all = Calibration::new(1, 4, Peaks::Context);
        all.add(0, &pair).unwrap();
        let scores = all.scores().unwrap();
        assert_eq!(scores.ts_matrix, [[1.0, 0.5, 0.0, 0.0]]);
        assert_eq!((scores.pairs, scores.aligned_tokens), (1, 2));
        let heads: Vec<_> = scores.heads.iter().map(|h| (h.layer, h.head, h.ts, h.source_ts)).collect();
        assert_eq!(heads, [(0, 0, 1.0, 1.0), (0, 1, 0.5, 0.5)]);
        assert_eq!(all.sums[2].source, 0.5);
        // By peaks within the source, the third head is as good as the second.
        let mut within = Calibration::new(1, 4, Peaks::Source);
        within.add(0, &pair).unwrap();
        assert_eq!(within.scores().unwrap().ts_matrix, [[1.0, 0.5, 0.5, 0.0]]);
        assert!(scores.stability.iter().all(|s| s.max_delta.is_none() && !s.stable));
    }

    #[test]
    fn words_out_of_order_are_counted_apart() {
        let scores = |links: Vec<(usize, usize)>, peaks: [usize; 3]| {
            let mut pair = PairScore::new(1, 1, &PairMap { links, ..map() }).unwrap();
            pair.add_layer(0, &weights(&[peaks])).unwrap();
            let mut all = Calibration::new(1, 1, Peaks::Context);
            all.add(0, &pair).unwrap();
            let scores = all.scores().unwrap();
            (scores.moved_tokens, scores.heads[0].moved_ts)
        };
        assert_eq!(scores(vec![(1, 0), (0, 1)], [4, 1, 0]), (2, Some(1.0)));
        assert_eq!(scores(vec![(1, 0), (0, 1)], [4, 4, 0]), (2, Some(0.5)));
        assert_eq!(scores(vec![(0, 0), (1, 1)], [1, 4, 0]), (0, None), "a guess word by word is right");
        assert_eq!(scores(vec![(0, 0), (0, 1)], [1, 1, 0]), (1, Some(1.0)));
    }

    #[test]
    fn of_equal_weights_the_first_is_the_peak() {
        assert_eq!(peak(&[0.1, 0.4, 0.4]), 1);
        assert_eq!(peak(&[]), 0);
    }

    #[test]
    fn a_score_is_the_mean_over_pairs_and_not_over_tokens() {
        let mut all = Calibration::new(1, 1, Peaks::Context);
        let mut pair = PairScore::new(1, 1, &map()).unwrap();
        pair.add_layer(0, &weights(&[[4, 1, 0]])).unwrap();
        all.add(0, &pair).unwrap();
        let one_token = PairMap { links: vec![(1, 0)], ..map() };
        let mut pair = PairScore::new(1, 1, &one_token).unwrap();
        pair.add_layer(0, &weights(&[[0, 0, 0]])).unwrap();
        all.add(1, &pair).unwrap();
        assert_eq!(all.scores().unwrap().ts_matrix, [[0.5]]);
    }

    #[test]
    fn stable_if_both_halves_agree() {
        let mut same = Calibration::new(2, 8, Peaks::Context);
        let mut divided = Calibration::new(2, 8, Peaks::Context);
        for pair_at in 0..400 {
            let mut pair = PairScore::new(2, 8, &map()).unwrap();
            let odd = if in_first_half(pair_at, 0) { [4, 1, 0] } else { [0, 0, 0] };
            pair.add_layer(0, &weights(&[[4, 1, 0]; 8])).unwrap();
            pair.add_layer(1, &weights(&[[0, 0, 0]; 8])).unwrap();
            same.add(pair_at, &pair).unwrap();
            pair.add_layer(0, &weights(&[odd; 8])).unwrap();
            divided.add(pair_at, &pair).unwrap();
        }
        let stability = same.scores().unwrap().stability;
        assert_eq!(stability.len(), SPLITS);
        assert!(stability.iter().all(|s| s.stable && s.same_top_4 && s.pairs.iter().all(|&n| n > 150)));
        assert_ne!(stability[0].pairs, stability[1].pairs, "the splits differ");
        let first = &divided.scores().unwrap().stability[0];
        assert!(!first.stable && first.max_delta == Some(1.0));
    }

    #[test]
    fn a_replay_that_does_not_fit_is_refused() {
        let wrong = PairMap { source: 1..9, ..map() };
        assert!(matches!(PairScore::new(1, 1, &wrong), Err(CalibrationError::Source { .. })));
        let wrong = PairMap { source: Range { start: 5, end: 1 }, ..map() };
        assert!(matches!(PairScore::new(1, 1, &wrong), Err(CalibrationError::Source { .. })));
        let mut pair = PairScore::new(2, 1, &map()).unwrap();
        assert!(matches!(pair.add_layer(2, &[]), Err(CalibrationError::Layer { layer: 2, layers: 2 })));
        assert!(matches!(pair.add_layer(0, &[0.0]), Err(CalibrationError::Weights { found: 1, .. })));
        pair.add_layer(0, &weights(&[[0; 3]])).unwrap();
        let mut all = Calibration::new(2, 1, Peaks::Context);
        assert_eq!(all.add(0, &pair), Err(CalibrationError::LayerMissing { layer: 1 }));
        assert!(matches!(Calibration::new(1, 1, Peaks::Context).add(0, &pair), Err(CalibrationError::Shape { .. })));
        let unlinked = PairScore::new(2, 1, &PairMap { links: vec![], ..map() }).unwrap();
        all.add(1, &unlinked).unwrap();
        assert_eq!(all.scores(), Err(CalibrationError::NoPairs { skipped: 1 }));
    }

    #[test]
    fn rows_that_are_not_numbers_are_missed_and_counted() {
        let mut pair = PairScore::new(1, 1, &map()).unwrap();
        let mut rows = weights(&[[4, 1, 0]]);
        rows[6] = f32::NAN;
        pair.add_layer(0, &rows).unwrap();
        let mut all = Calibration::new(1, 1, Peaks::Context);
        all.add(0, &pair).unwrap();
        let scores = all.scores().unwrap();
        assert_eq!((scores.non_finite_rows, scores.ts_matrix), (1, vec![vec![0.5]]));
    }
}
