//! Keys and values of one layer, preallocated, rolled back by setting a length.
//!
//! k, v [C, Hkv, D], f32. A full layer keeps every position: row = position. A sliding layer keeps the
//! window and a margin: when its rows run out, the last `window - 1 + margin` move to the front (one copy
//! every so often), so that up to `margin` positions can always be taken back with all the keys that
//! their window reaches.

use burn::tensor::{Device, Tensor, s};

use crate::ops::{attend::Base, kv_store::kv_store};

/// How a cache is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// Positions a full layer holds.
    pub capacity: usize,
    /// Most rows pushed at once (a piece of prefill).
    pub piece: usize,
    /// Positions a sliding layer can take back.
    pub margin: usize,
}

/// A sliding layer no longer holds what going back to this position needs; the prompt must be fed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {0} is further back than the sliding window's margin")]
pub struct RollBack(pub usize);

#[derive(Debug)]
pub struct LayerCache {
    k: Tensor<3>,
    v: Tensor<3>,
    /// Absolute position of row 0.
    start: usize,
    /// Rows in use.
    len: usize,
    /// Rows that survive a move to the front; None in full layers, which never move.
    keep: Option<Keep>,
}

#[derive(Clone, Copy, Debug)]
struct Keep {
    window: usize,
    margin: usize,
}

impl LayerCache {
    /// `window`: keys a row sees, itself included; None for a full layer.
    pub fn new(plan: CachePlan, heads: usize, dim: usize, window: Option<usize>, device: &Device) -> Self {
        let rows = match window {
            Some(window) => (2 * (window + plan.margin) + plan.piece).min(plan.capacity),
            None => plan.capacity,
        };
        // Zeroed, so that no row ever holds a NaN: 0 x NaN would reach a sum.
        let zeros = || Tensor::zeros([rows, heads, dim], device);
        let keep = window.map(|window| Keep { window, margin: plan.margin });
        Self { k: zeros(), v: zeros(), start: 0, len: 0, keep }
    }

    /// One past the last position held.
    pub fn end(&self) -> usize {
        self.start + self.len
    }

    /// The first position held.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The cache row of a position that is about to be, or has been, pushed.
    pub fn row(&self, position: usize) -> usize {
        position - self.start
    }

    /// All rows, used or not: [C, Hkv, D].
    pub fn keys(&self) -> Tensor<3> {
        self.k.clone()
    }

    pub fn values(&self) -> Tensor<3> {
        self.v.clone()
    }

    /// Makes room for `rows` more. Called before `row` is asked for.
    pub fn reserve(&mut self, rows: usize) {
        if self.len + rows <= self.k.dims()[0] {
            return;
        }
        let kept = self.keep.map_or(0, |keep| (keep.window - 1 + keep.margin).min(self.len));
        let from = self.len - kept;
        for cache in [&mut self.k, &mut self.v] {
            let tail = cache.clone().narrow(0, from, kept);
            cache.inplace(|whole| whole.slice_assign(s![0..kept], tail));
        }
        self.start += from;
        self.len = kept;
    }

    /// Appends `k`, `v [T, Hkv, D]` at the end, whose row `base` names. `reserve(T)` has been called.
    pub fn push(&mut self, k: Tensor<3>, v: Tensor<3>, base: &Base) {
        debug_assert_eq!(base.row, self.len);
        self.len += k.dims()[0];
        self.k.inplace(|cache| kv_store(cache, k, base));
        self.v.inplace(|cache| kv_store(cache, v, base));
    }

    /// Forgets every position from `end` on. Err, with nothing changed, when a sliding layer has already
    /// dropped keys that the next position would see.
    pub fn roll_back(&mut self, end: usize) -> Result<(), RollBack> {
        let first_needed = self.keep.map_or(0, |keep| (end + 1).saturating_sub(keep.window));
        if end > self.end() || first_needed < self.start {
            return Err(RollBack(end));
        }
        self.len = end - self.start;
        Ok(())
    }

    /// Whether `roll_back(end)` would succeed.
    pub fn can_roll_back(&self, end: usize) -> bool {
        let first_needed = self.keep.map_or(0, |keep| (end + 1).saturating_sub(keep.window));
        end <= self.end() && first_needed >= self.start && end >= self.start
    }

    /// Empties the cache.
    pub fn clear(&mut self) {
        self.start = 0;
        self.len = 0;
    }
}
