//! The source position of each draft token: the column that the heads look at more than they
//! usually do.
//!
//! Some columns attract attention all the time. So each row of a head is compared with the head's
//! earlier rows (z-score) and smoothed along the source (median filter), and its peak is taken. The
//! position is the lower median over heads. Source: docs/method.md, section 5.1.
//!
//! A median filter moves a peak that is narrower than half of the filter to a column that the token
//! never looked at. For the decision this is on the safe side. Which word a token rests on is read
//! from the rows before they are smoothed.

use super::listening::Attention;

/// The least standard deviation that a z-score divides by.
const LEAST_STD: f64 = 1e-6;
/// Width of the widest median filter, in columns.
const WIDEST: usize = 63;
/// The least probability of a column that a token can rest on. A column below it is no peak,
/// however unusual its value is.
const LEAST_LOOK: f32 = 0.03;

/// What the heads say of one draft token. Columns are given by their indices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// The column from the smoothed rows, which is compared with the frontier. `None` if there is
    /// no head or no column.
    pub position: Option<usize>,
    /// The column from the unsmoothed rows, which the token rests on. `None` also if it looks at no
    /// column.
    pub peak: Option<usize>,
    /// Mass on the accessible columns, on the inaccessible ones, on the rest of the prompt, and on
    /// the draft. NaN where values are missing.
    pub mass: [f32; 4],
}

/// Tracks the tokens of one draft. Rows may come in groups: the statistics of earlier rows are
/// kept.
#[derive(Clone, Debug)]
pub(crate) struct Tracker {
    filter_width: usize,
    readings: Vec<Reading>,
    /// For each head and column, `[head, column]`, the mean over the rows so far and the sum of
    /// squared distances from it (Welford).
    habit: Vec<(f64, f64)>,
}

impl Tracker {
    /// `filter_width` is in columns and limited to 1 to 63; 1 does not smooth.
    pub(crate) fn new(filter_width: usize) -> Tracker {
        Tracker { filter_width: filter_width.clamp(1, WIDEST), readings: Vec::new(), habit: Vec::new() }
    }

    /// Takes the rows that are new in `attention` and returns the readings of all its rows. The
    /// first `accessible` columns are accessible; their number stays the same within a draft. Costs
    /// O(rows x heads x columns x filter width) for the new rows.
    pub(crate) fn follow(&mut self, attention: &Attention, accessible: usize) -> &[Reading] {
        let columns = attention.columns.len();
        self.habit.resize(attention.heads_len.saturating_mul(columns).min(attention.rows.len()), (0.0, 0.0));
        for row in self.readings.len()..attention.rows_len() {
            let heads = attention.heads_len.min(self.habit.len());
            let (mut smoothed, mut sharp) = (Vec::with_capacity(heads), Vec::with_capacity(heads));
            for (head, habit) in self.habit.chunks_exact_mut(columns.max(1)).enumerate() {
                let values = attention.row(row, head);
                let unusual: Vec<f64> = match row {
                    0 | 1 => values.iter().map(|&value| f64::from(value)).collect(),
                    _ => values.iter().zip(&*habit).map(|(&value, habit)| z_score(value, *habit, row)).collect(),
                };
                smoothed.extend(peak(&median_filter(&unusual, self.filter_width)));
                sharp.extend(peak_where(&unusual, |column| values[column] >= LEAST_LOOK));
                for (&value, (mean, squares)) in values.iter().zip(habit) {
                    let before = f64::from(value) - *mean;
                    *mean += before / (row + 1) as f64;
                    *squares += before * (f64::from(value) - *mean);
                }
            }
            self.readings.push(Reading {
                position: lower_median(&mut smoothed),
                peak: lower_median(&mut sharp),
                mass: attention.mass(row, accessible),
            });
        }
        &self.readings
    }
}

/// How many population standard deviations `value` lies above the mean of `count` rows.
fn z_score(value: f32, (mean, squares): (f64, f64), count: usize) -> f64 {
    (f64::from(value) - mean) / (squares / count as f64).sqrt().max(LEAST_STD)
}

/// The lower median of the `width` values around each value; the values at the edges are repeated.
fn median_filter(values: &[f64], width: usize) -> Vec<f64> {
    let last = values.len().saturating_sub(1);
    let mut window = Vec::with_capacity(width);
    let median_at = |at: usize| {
        window.clear();
        window.extend((at..at + width).map(|i| values[i.saturating_sub(width / 2).min(last)]));
        *window.select_nth_unstable_by((width - 1) / 2, f64::total_cmp).1
    };
    (0..values.len()).map(median_at).collect()
}

/// The index of the greatest value; the first of equals.
fn peak(values: &[f64]) -> Option<usize> {
    peak_where(values, |_| true)
}

/// The same among the indices for which `counts` is true.
fn peak_where(values: &[f64], counts: impl Fn(usize) -> bool) -> Option<usize> {
    let mut best = None;
    for (at, &value) in values.iter().enumerate().filter(|(at, _)| counts(*at)) {
        if best.is_none_or(|b: usize| value > values[b]) {
            best = Some(at);
        }
    }
    best
}

/// The middle value, or the smaller of the two middle ones.
pub(crate) fn lower_median(values: &mut [usize]) -> Option<usize> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attention(rows: &[f32], heads: usize, columns: usize) -> Attention {
        let rest = vec![[0.0, 0.0]; rows.len() / (heads * columns).max(1)];
        Attention { columns: vec![0..1; columns], heads_len: heads, rows: rows.to_vec(), rest }
    }

    fn positions(width: usize, attention: &Attention) -> Vec<Option<usize>> {
        Tracker::new(width).follow(attention, 0).iter().map(|reading| reading.position).collect()
    }

    #[test]
    fn a_plateau_peaks_at_its_first_column() {
        assert_eq!(median_filter(&[0.0, 0.0, 9.0, 0.0, 0.0], 3), [0.0; 5]);
        assert_eq!(median_filter(&[1.0, 2.0, 3.0], 7), [1.0, 2.0, 3.0]);
        assert_eq!(median_filter(&[3.0, 1.0, 2.0], 2), [3.0, 1.0, 1.0]);
        assert_eq!(median_filter(&[], 7), [0.0; 0]);
        assert_eq!(peak(&[1.0, 5.0, 5.0]), Some(1));
        assert_eq!(lower_median(&mut [3, 9, 1, 7]), Some(3));
        assert_eq!(lower_median(&mut []), None);
    }

    #[test]
    fn a_column_that_always_draws_attention_is_seen_through() {
        let rows = [0.8, 0.1, 0.1, 0.7, 0.2, 0.1, 0.75, 0.15, 0.6];
        assert_eq!(positions(1, &attention(&rows, 1, 3)), [Some(0), Some(0), Some(2)]);
    }

    #[test]
    fn a_sharp_peak_is_where_the_token_rests() {
        // The third token looks at column 5 only; a median filter of seven columns removes that
        // peak.
        let mut rows = vec![0.01; 3 * 9];
        (rows[0], rows[9 + 1], rows[2 * 9 + 5]) = (0.9, 0.9, 0.9);
        let mut tracker = Tracker::new(7);
        let readings = tracker.follow(&attention(&rows, 1, 9), 0);
        assert_ne!(readings[2].position, Some(5), "smoothed away");
        assert_eq!(readings.iter().map(|reading| reading.peak).collect::<Vec<_>>(), [Some(0), Some(1), Some(5)]);
        // An unusual value in a column that no row looks at is not a peak.
        let rows = [0.5, 1e-7, 0.4, 1e-7, 0.45, 1e-3, 0.01, 0.01];
        assert_eq!(Tracker::new(7).follow(&attention(&rows, 1, 2), 0).last().expect("a row").peak, None);
        assert_eq!(Tracker::new(7).follow(&attention(&rows[..6], 1, 2), 0)[2].peak, Some(0));
    }

    #[test]
    fn nothing_and_nonsense_do_no_harm() {
        assert!(Tracker::new(7).follow(&Attention::default(), 0).is_empty());
        let no_columns = Attention { heads_len: 4, rest: vec![[0.0, 0.0]; 2], ..Attention::default() };
        let mut tracker = Tracker::new(7);
        let readings = tracker.follow(&no_columns, 0);
        assert_eq!(readings.iter().map(|r| (r.position, r.peak)).collect::<Vec<_>>(), [(None, None); 2]);
        let huge = Attention { heads_len: usize::MAX, rest: vec![[0.0, 0.0]; 3], ..attention(&[0.1; 4], 1, 4) };
        assert_eq!(Tracker::new(0).follow(&huge, 0).len(), 3);
        assert!(huge.mass(2, 1)[0].is_nan());
        assert_eq!(Tracker::new(7).follow(&attention(&[f32::NAN; 12], 2, 3), 0).len(), 2);
    }

    proptest! {
        #[test]
        fn rows_in_groups_are_rows_at_once(
            (heads, columns) in (1_usize..4, 1_usize..9), at in 0_usize..6, width in 1_usize..9,
            values in proptest::collection::vec(0.0_f32..1.0, 6 * 3 * 8),
        ) {
            let whole = attention(&values[..6 * heads * columns], heads, columns);
            let at_once = Tracker::new(width).follow(&whole, columns / 2).to_vec();
            let mut first = whole.clone();
            first.rows.truncate(at * heads * columns);
            first.rest.truncate(at);
            let mut tracker = Tracker::new(width);
            prop_assert_eq!(tracker.follow(&first, columns / 2), &at_once[..at]);
            prop_assert_eq!(tracker.follow(&whole, columns / 2), &at_once[..]);
        }
    }
}
