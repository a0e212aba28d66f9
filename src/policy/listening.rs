//! The attention of a draft's tokens, as the chosen heads of the model return it.
//!
//! A *row* is one draft token, a *column* one source token. Rows come in groups while a draft is
//! written; the columns stay the same. Values that are not finite are kept as they are, because the
//! gate stops at them. Source: docs/method.md, sections 2.2 and 4.2.

use std::ops::Range;

/// The attention of a draft's rows on the source's columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attention {
    /// Byte range of each source token in the source text, in order.
    pub columns: Vec<Range<usize>>,
    /// How many heads each row has.
    pub heads_len: usize,
    /// Probabilities `[row, head, column]`, row-major, from a softmax over the whole context.
    pub rows: Vec<f32>,
    /// For each row, its mass on the rest of the prompt and its mass on the draft; both are means
    /// over heads.
    pub rest: Vec<[f32; 2]>,
}

/// The error for sizes that do not fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{values} attention values for {rows} rows of {heads} heads and {columns} columns")]
pub struct AttentionError {
    pub values: usize,
    pub rows: usize,
    pub heads: usize,
    pub columns: usize,
}

impl Attention {
    /// The attention of a draft that has no rows yet.
    pub fn new(columns: Vec<Range<usize>>, heads_len: usize) -> Attention {
        Attention { columns, heads_len, rows: Vec::new(), rest: Vec::new() }
    }

    /// How many rows there are.
    pub fn rows_len(&self) -> usize {
        self.rest.len()
    }

    /// One head's probabilities on the columns, in one row. Empty if there is no such row or head.
    pub fn row(&self, row: usize, head: usize) -> &[f32] {
        let columns = self.columns.len();
        if head >= self.heads_len || row >= self.rows_len() {
            return &[];
        }
        let place = row.saturating_mul(self.heads_len).saturating_add(head);
        let start = place.saturating_mul(columns);
        self.rows.get(start..start.saturating_add(columns)).unwrap_or_default()
    }

    /// The masses of a row, each a mean over heads: on the first `accessible` columns, on the other
    /// columns, on the rest of the prompt, and on the draft. NaN if there is no such row, no head,
    /// or a value is missing.
    pub fn mass(&self, row: usize, accessible: usize) -> [f32; 4] {
        let Some(&[prompt, draft]) = self.rest.get(row) else {
            return [f32::NAN; 4];
        };
        let (mut heard, mut unheard) = (0.0, 0.0);
        for head in 0..self.heads_len {
            let columns = self.row(row, head);
            if columns.len() < self.columns.len() {
                return [f32::NAN; 4];
            }
            let (left, right) = columns.split_at(accessible.min(columns.len()));
            heard += left.iter().sum::<f32>();
            unheard += right.iter().sum::<f32>();
        }
        let heads = self.heads_len as f32;
        [heard / heads, unheard / heads, prompt, draft]
    }

    /// The attention of a row on each source word, as (index of the word, mean over heads). Words
    /// with less than 0.01 are left out. `words_through`: for each column, the number of words up
    /// to and including the last one that it touches (as in `Frontier`).
    pub fn on_words(&self, row: usize, words_through: &[usize]) -> Vec<(usize, f32)> {
        let words = words_through.iter().max().copied().unwrap_or(0);
        let mut masses = vec![0.0; words];
        for (column, through) in words_through.iter().enumerate() {
            let Some(word) = through.checked_sub(1) else {
                continue;
            };
            let mass: f32 = (0..self.heads_len).filter_map(|head| self.row(row, head).get(column)).sum();
            masses[word] += mass / self.heads_len as f32;
        }
        masses.into_iter().enumerate().filter(|(_, mass)| *mass >= 0.01).collect()
    }

    /// Appends the next rows of the same draft, in the layouts of [`Attention::rows`] and
    /// [`Attention::rest`]. If the sizes do not fit, it fails and appends nothing.
    pub fn append(&mut self, rows: &[f32], rest: &[[f32; 2]]) -> Result<(), AttentionError> {
        self.fits(rows, rest)?;
        self.rows.extend_from_slice(rows);
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    /// Drops the first `count` rows.
    #[cfg(test)]
    pub fn skip_rows(&mut self, count: usize) {
        let count = count.min(self.rows_len());
        let values = count.saturating_mul(self.heads_len).saturating_mul(self.columns.len()).min(self.rows.len());
        self.rows.drain(..values);
        self.rest.drain(..count);
    }

    fn fits(&self, rows: &[f32], rest: &[[f32; 2]]) -> Result<(), AttentionError> {
        let (heads, columns) = (self.heads_len, self.columns.len());
        let wanted = rest.len().checked_mul(heads).and_then(|n| n.checked_mul(columns));
        match wanted == Some(rows.len()) {
            true => Ok(()),
            false => Err(AttentionError { values: rows.len(), rows: rest.len(), heads, columns }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_heads() -> Attention {
        let mut attention = Attention::new(vec![0..3, 3..7, 7..8], 2);
        attention.append(&[0.5, 0.2, 0.1, 0.1, 0.4, 0.3], &[[0.15, 0.05]]).expect("sizes fit");
        attention
    }

    #[test]
    fn masses_are_means_over_heads() {
        let mass = two_heads().mass(0, 2);
        for (ours, want) in mass.iter().zip([0.6, 0.2, 0.15, 0.05]) {
            assert!((ours - want).abs() < 1e-6, "{mass:?}");
        }
        assert_eq!(two_heads().mass(0, 99)[1], 0.0);
        assert!(two_heads().mass(1, 2)[0].is_nan());
        assert!(Attention { rest: vec![[0.0, 0.0]], ..Attention::default() }.mass(0, 0)[0].is_nan());
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let mut attention = two_heads();
        let error = attention.append(&[0.1; 3], &[[0.0, 0.0]]).expect_err("one head is missing");
        assert_eq!(error.to_string(), "3 attention values for 1 rows of 2 heads and 3 columns");
        assert_eq!(attention, two_heads());
        attention.rows.pop();
        assert!(attention.row(0, 1).is_empty());
        assert!(attention.mass(0, 1)[1].is_nan(), "half a row is no row");
    }

    #[test]
    fn skipped_rows_are_gone_and_nan_stays() {
        let mut attention = two_heads();
        attention.append(&[f32::NAN; 6], &[[0.0, 0.0]]).expect("sizes fit");
        attention.skip_rows(1);
        assert_eq!(attention.rows_len(), 1);
        assert!(attention.mass(0, 1)[0].is_nan());
        attention.skip_rows(9);
        assert_eq!((attention.rows_len(), attention.rows.len()), (0, 0));
    }
}
