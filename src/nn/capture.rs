//! Capture: the queries of the armed heads while a draft is written, and their attention replayed afterwards.
//!
//! A capture keeps the queries of every position from [`Capture::restart`]'s on, for the heads it was armed with,
//! in one preallocated buffer a layer; keys are read from the cache when the draft is replayed. What passes before
//! that position is not kept, and a pass that begins inside the kept rows replaces them from there on, as it does
//! in the cache. (alignatt4llm, section 4; models, section 2.5)

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};

use super::{LayerCache, RunError};
use crate::ops::attend::Attend;
use crate::ops::qk_capture::{First, qk_capture};
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
    #[error("attention head {head}: the model has {layers} layers of {heads} heads, counted from 0")]
    OutOfRange { head: Head, layers: usize, heads: usize },
    #[error("attention head {0} is given twice")]
    Twice(Head),
    #[error("a capture of {rows} rows; it takes 1 to {most}")]
    Rows { rows: usize, most: usize },
}

/// The queries of the armed heads for the rows of one draft.
#[derive(Debug)]
pub struct Capture {
    /// As armed, which is the order of the results.
    heads: Vec<Head>,
    layers: Vec<Armed>,
    /// Where each armed head lies among the layers' heads; None where the order is the same.
    order: Option<Tensor<1, Int>>,
    /// Query heads of a layer.
    query_heads: usize,
    /// Rows there is room for.
    rows: usize,
    /// Position of row 0.
    from: usize,
    len: usize,
    /// Where the rows of the pass under way go; None where they are not kept.
    first: Option<First>,
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
    /// Where the draft begins.
    pub prompt_len: usize,
}

/// What the armed heads attended to, on the device.
#[derive(Clone, Debug)]
pub struct Replay {
    /// [R, S, N]: probabilities on the source columns.
    pub rows: Tensor<3>,
    /// [R, S, 2]: the rest of the prompt, and the draft. With the columns they sum to 1.
    pub mass: Tensor<3>,
}

impl Capture {
    /// `dims`: the head dimension of every layer; `query_heads`: heads of a layer.
    pub(crate) fn new(
        heads: &[Head],
        rows: usize,
        dims: &[usize],
        query_heads: usize,
        device: &Device,
    ) -> Result<Self, ArmError> {
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

    /// Forgets all rows; from now on those at `from` and later are kept.
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

    /// Err unless there is room for the rows of a pass over `positions`, of which those from `back` on are wanted:
    /// all that are captured, since a capture must not change what is computed.
    pub(super) fn room(&self, positions: Range<usize>, back: usize) -> Result<(), RunError> {
        let (captured, needed) = (positions.start.max(self.from), positions.end.saturating_sub(self.from));
        debug_assert!(needed == 0 || back <= captured, "rows from {captured} are captured, from {back} wanted");
        debug_assert!(needed == 0 || captured <= self.from + self.len, "rows before {captured} are missing");
        if needed > self.rows {
            return Err(RunError::TooLong { what: "a draft whose attention is kept", needed, capacity: self.rows });
        }
        Ok(())
    }

    /// Rows at `position .. position + len` go through the layers now.
    pub(super) fn stand(&mut self, position: usize, len: usize) {
        let row = position as isize - self.from as isize;
        let end = (position + len).saturating_sub(self.from);
        self.len = end;
        self.first = (end > 0 && !self.layers.is_empty())
            .then(|| First { row, on_device: Tensor::from_ints([row as i32], &self.device) });
    }

    /// The armed heads of one layer's queries `q [T, Hq, D]`, after norm and RoPE.
    pub(super) fn keep(&mut self, layer: usize, q: &Tensor<3>) {
        let Some(first) = &self.first else { return };
        let Some(armed) = self.layers.iter_mut().find(|armed| armed.layer == layer) else { return };
        armed.q.inplace(|kept| qk_capture(kept, q.clone(), armed.heads.clone(), first));
    }

    /// The attention of every kept row. `of(layer)`: the cache that a layer reads and how it attends. None where
    /// there is nothing to tell: no head, no row or no source.
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
