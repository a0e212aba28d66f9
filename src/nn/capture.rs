//! Captures the queries of the armed heads while a draft is written, and replays their attention
//! afterwards.
//!
//! A capture keeps the queries of the heads it was armed with, in one preallocated buffer per
//! layer, from the position given to [`Capture::restart`] on. Queries of earlier positions are not
//! kept. The keys are read from the cache when the draft is replayed. A pass that begins inside the
//! kept rows replaces them from there on, as it does in the cache. (docs/method.md, section 4;
//! docs/models.md, section 2.5)

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};

use super::{LayerCache, MARGIN, RunError};
use crate::ops::attend::Attend;
use crate::ops::qk_capture::{FirstRow, qk_capture};
use crate::ops::qk_replay::{MASSES, QkReplay, Span, qk_replay};

/// One attention head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head {
    pub layer: usize,
    pub head: usize,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "({}, {})", self.layer, self.head)
    }
}

/// A set of heads, or a number of rows, that cannot be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    #[error("there is no attention head {head}: the model has {layers} layers of {heads} heads, counted from 0")]
    OutOfRange { head: Head, layers: usize, heads: usize },
    #[error("attention head {0} is given twice")]
    Twice(Head),
    #[error("a capture of {rows} rows is not possible; it takes 1 to {most}")]
    Rows { rows: usize, most: usize },
}

/// The queries of the armed heads for the rows of one draft.
#[derive(Debug)]
pub struct Capture {
    /// In the order in which they were armed, which is the order of the results.
    heads: Vec<Head>,
    layers: Vec<Armed>,
    /// The index of each armed head among the heads of all layers; None if the order is the same.
    order: Option<Tensor<1, Int>>,
    /// Query heads per layer.
    query_heads: usize,
    /// Rows that the buffers have room for.
    rows: usize,
    /// Position of row 0.
    from: usize,
    len: usize,
    /// Where the rows of the current pass go; None if they are not kept.
    first: Option<FirstRow>,
    device: Device,
}

#[derive(Debug)]
struct Armed {
    layer: usize,
    /// `[S]`, ascending.
    heads: Tensor<1, Int>,
    /// [R, S, D]
    q: Tensor<3>,
}

/// Which positions of the prompt hold the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpan {
    /// Positions of the source columns.
    pub source: Range<usize>,
    /// The length of the prompt, which is the position where the draft begins.
    pub prompt_len: usize,
}

/// The attention of the armed heads, on the device.
#[derive(Clone, Debug)]
pub struct Replay {
    /// [R, S, N]: probabilities on the source columns.
    pub rows: Tensor<3>,
    /// [R, S, 2]: the masses on the rest of the prompt and on the draft. With the columns they sum
    /// to 1.
    pub mass: Tensor<3>,
}

impl Capture {
    /// `dims`: the head dimension of every layer. `query_heads`: query heads per layer.
    ///
    /// Errors: no row, or more rows than [`MARGIN`]; a head that does not exist, or one that is
    /// given twice.
    pub(crate) fn new(
        heads: &[Head],
        rows: usize,
        dims: &[usize],
        query_heads: usize,
        device: &Device,
    ) -> Result<Self, ArmError> {
        // Beyond the margin, a sliding layer's cache may have dropped keys that a row saw.
        if !(1..=MARGIN).contains(&rows) {
            return Err(ArmError::Rows { rows, most: MARGIN });
        }
        let mut seen = BTreeSet::new();
        for head in heads {
            if head.layer >= dims.len() || head.head >= query_heads {
                return Err(ArmError::OutOfRange { head: *head, layers: dims.len(), heads: query_heads });
            }
            if !seen.insert(*head) {
                return Err(ArmError::Twice(*head));
            }
        }
        let mut by_layer: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
        for head in &seen {
            by_layer.entry(head.layer).or_default().push(head.head as i32);
        }
        let layers = by_layer.into_iter().map(|(layer, armed)| Armed {
            layer,
            q: Tensor::zeros([rows, armed.len(), dims[layer]], device),
            heads: Tensor::from_ints(armed.as_slice(), device),
        });
        let order: Vec<i32> = heads.iter().map(|head| seen.range(..head).count() as i32).collect();
        Ok(Self {
            heads: heads.to_vec(),
            layers: layers.collect(),
            order: (!order.is_sorted()).then(|| Tensor::from_ints(order.as_slice(), device)),
            query_heads,
            rows,
            from: 0,
            len: 0,
            first: None,
            device: device.clone(),
        })
    }

    /// The armed heads, in the order of the results.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Forgets all rows. From now on the rows of position `from` and later are kept.
    pub fn restart(&mut self, from: usize) {
        self.from = from;
        self.len = 0;
    }

    /// Position of the first row kept.
    pub fn from(&self) -> usize {
        self.from
    }

    /// Rows kept.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fails if a pass over `positions` has more rows than the buffers. `first_returned` is the
    /// position of the first row that the pass returns. Captured rows must be among the returned
    /// ones: otherwise capturing would change what is computed.
    pub(super) fn check_room(&self, positions: Range<usize>, first_returned: usize) -> Result<(), RunError> {
        let (captured, needed) = (positions.start.max(self.from), positions.end.saturating_sub(self.from));
        debug_assert!(
            needed == 0 || first_returned <= captured,
            "rows from {captured} are captured, but those from {first_returned} are returned"
        );
        debug_assert!(needed == 0 || captured <= self.from + self.len, "rows before {captured} are missing");
        if needed > self.rows {
            return Err(RunError::TooLong { what: "a draft whose attention is kept", needed, capacity: self.rows });
        }
        Ok(())
    }

    /// The next queries belong to the positions `position .. position + len`.
    pub(super) fn begin_rows(&mut self, position: usize, len: usize) {
        let row = position as isize - self.from as isize;
        let end = (position + len).saturating_sub(self.from);
        self.len = end;
        self.first = (end > 0 && !self.layers.is_empty())
            .then(|| FirstRow { row, on_device: Tensor::from_ints([row as i32], &self.device) });
    }

    /// Keeps the armed heads of one layer's queries `q [T, Hq, D]`, taken after norm and RoPE.
    pub(super) fn keep(&mut self, layer: usize, q: &Tensor<3>) {
        let Some(first) = &self.first else { return };
        let Some(armed) = self.layers.iter_mut().find(|armed| armed.layer == layer) else { return };
        armed.q.inplace(|kept| qk_capture(kept, q.clone(), armed.heads.clone(), first));
    }

    /// The attention of every kept row. `of(layer)`: the cache that a layer reads, and its
    /// attention. None if there is no head, no row or no source.
    pub(crate) fn replay<'a>(
        &self,
        span: &SourceSpan,
        of: impl Fn(usize) -> (&'a LayerCache, Attend),
    ) -> Option<Replay> {
        let columns = span.source.len();
        if self.layers.is_empty() || self.len == 0 || columns == 0 {
            return None;
        }
        let replay = |armed: &Armed| {
            let (cache, attend) = of(armed.layer);
            let oldest = attend.window.map_or(0, |window| (self.from + 1).saturating_sub(window));
            let end = self.from + self.len;
            debug_assert!(cache.start() <= oldest && end <= cache.end(), "keys {oldest} .. {end} are not all there");
            let row = |position: usize| position as isize - cache.start() as isize;
            let span = Span {
                first: cache.row(self.from),
                rows: self.len,
                source: row(span.source.start),
                columns,
                draft: row(span.prompt_len),
            };
            let keys = cache.keys();
            let op = QkReplay { attend, group: self.query_heads / keys.dims()[1] };
            qk_replay(armed.q.clone(), keys, armed.heads.clone(), span, op)
        };
        let mut all: Vec<Tensor<3>> = self.layers.iter().map(replay).collect();
        let all = if all.len() == 1 { all.remove(0) } else { Tensor::cat(all, 0) };
        let all = match &self.order {
            Some(order) => all.select(0, order.clone()),
            None => all,
        };
        let all = all.swap_dims(0, 1);
        Some(Replay { rows: all.clone().narrow(2, 0, columns), mass: all.narrow(2, columns, MASSES) })
    }
}
