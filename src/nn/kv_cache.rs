//! Keys and values of one layer. The memory is preallocated, and setting a length rolls it back.
//!
//! k, v [C, Hkv, D], f32. A full layer keeps every position: row = position. A sliding layer keeps
//! the window and a margin. When its rows run out, the last `window - 1 + margin` of them move to
//! the front (a rare copy). So up to `margin` positions can always be taken back, with all the keys
//! that their window reaches.

use burn::tensor::{Device, Tensor, s};

use super::RunError;
use crate::ops::{attend::Base, kv_store::kv_store};

/// The sizes that determine a cache's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CachePlan {
    /// Positions that a full layer holds.
    pub capacity: usize,
    /// The most rows that are pushed at once (a piece of prefill).
    pub piece: usize,
    /// Positions that a sliding layer can take back.
    pub margin: usize,
}

/// A sliding layer no longer holds the keys that rolling back to this position needs. The prompt
/// must be fed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache cannot roll back to position {0}: a sliding layer no longer has its keys")]
pub struct RollBack(pub usize);

#[derive(Debug)]
pub(crate) struct LayerCache {
    k: Tensor<3>,
    v: Tensor<3>,
    /// Absolute position of row 0.
    start: usize,
    /// Rows in use.
    len: usize,
    /// What a sliding layer keeps when its rows move to the front; None in full layers, which never
    /// move.
    keep: Option<Keep>,
}

#[derive(Clone, Copy, Debug)]
struct Keep {
    window: usize,
    margin: usize,
}

impl LayerCache {
    /// `window`: keys that a row sees, its own included; None for a full layer.
    pub(crate) fn new(plan: CachePlan, heads: usize, dim: usize, window: Option<usize>, device: &Device) -> Self {
        let rows = match window {
            Some(window) => (2 * (window + plan.margin) + plan.piece).min(plan.capacity),
            None => plan.capacity,
        };
        // Zeroed, so that no unused row holds a NaN: 0 x NaN would spoil a sum.
        let zeros = || Tensor::zeros([rows, heads, dim], device);
        let keep = window.map(|window| Keep { window, margin: plan.margin });
        Self { k: zeros(), v: zeros(), start: 0, len: 0, keep }
    }

    /// One past the last position held.
    pub(crate) fn end(&self) -> usize {
        self.start + self.len
    }

    /// The first position held.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The cache row of a position that has been pushed or is pushed next.
    pub(crate) fn row(&self, position: usize) -> usize {
        position - self.start
    }

    /// The keys [C, Hkv, D], unused rows included.
    pub(crate) fn keys(&self) -> Tensor<3> {
        self.k.clone()
    }

    pub(crate) fn values(&self) -> Tensor<3> {
        self.v.clone()
    }

    /// Makes room for `rows` more rows. It is called before `row`, since it may move rows. Fails,
    /// with nothing changed, if there is no room: a full layer drops nothing, and a sliding layer
    /// only what no row sees any more.
    pub(crate) fn reserve(&mut self, rows: usize) -> Result<(), RunError> {
        let capacity = self.k.dims()[0];
        if self.len + rows <= capacity {
            return Ok(());
        }
        let kept = self.keep.map_or(self.len, |keep| (keep.window - 1 + keep.margin).min(self.len));
        if kept + rows > capacity {
            return Err(RunError::TooLong { what: "a sequence", needed: kept + rows, capacity });
        }
        let from = self.len - kept;
        for cache in [&mut self.k, &mut self.v] {
            let tail = cache.clone().narrow(0, from, kept);
            cache.inplace(|whole| whole.slice_assign(s![0..kept], tail));
        }
        self.start += from;
        self.len = kept;
        Ok(())
    }

    /// Appends `k`, `v [T, Hkv, D]` at the end, which is row `base.row`. There must be room for
    /// them; in a sliding layer `reserve(T)` has made it.
    pub(crate) fn push(&mut self, k: Tensor<3>, v: Tensor<3>, base: &Base) {
        debug_assert_eq!(base.row, self.len);
        self.len += k.dims()[0];
        self.k.inplace(|cache| kv_store(cache, k, base));
        self.v.inplace(|cache| kv_store(cache, v, base));
    }

    /// Forgets every position from `end` on. Fails, with nothing changed, if a sliding layer has
    /// already dropped keys that the next position would see, or if `end` is beyond the last
    /// position.
    pub(crate) fn roll_back(&mut self, end: usize) -> Result<(), RollBack> {
        if !self.can_roll_back(end) {
            return Err(RollBack(end));
        }
        self.len = end - self.start;
        Ok(())
    }

    /// Whether `roll_back(end)` would succeed.
    pub(crate) fn can_roll_back(&self, end: usize) -> bool {
        let first_needed = self.keep.map_or(0, |keep| (end + 1).saturating_sub(keep.window));
        end <= self.end() && first_needed >= self.start && end >= self.start
    }

    /// Empties the cache.
    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache with one head of one column. The key at each position is the position itself.
    fn cache(capacity: usize, window: Option<usize>) -> LayerCache {
        let plan = CachePlan { capacity, piece: 4, margin: 3 };
        LayerCache::new(plan, 1, 1, window, &Device::flex())
    }

    fn push(cache: &mut LayerCache, rows: usize) -> Result<(), RunError> {
        cache.reserve(rows)?;
        let from = cache.end();
        let keys: Vec<f32> = (from..from + rows).map(|position| position as f32).collect();
        let keys = Tensor::<1>::from_floats(keys.as_slice(), &cache.k.device()).reshape([rows, 1, 1]);
        let row = cache.row(from);
        let base = Base { row, on_device: Tensor::from_ints([row as i32], &cache.k.device()) };
        cache.push(keys.clone(), keys, &base);
        Ok(())
    }

    fn held(cache: &LayerCache) -> Vec<usize> {
        let keys = cache.keys().into_data();
        keys.iter::<f32>().map(|position| position as usize).take(cache.len).collect()
    }

    #[test]
    fn a_full_layer_that_is_full_drops_nothing() {
        let mut cache = cache(6, None);
        push(&mut cache, 4).unwrap();
        let error = push(&mut cache, 3).unwrap_err();
        assert!(matches!(error, RunError::TooLong { needed: 7, capacity: 6, .. }), "{error}");
        assert_eq!((cache.start(), held(&cache)), (0, (0..4).collect()));
        push(&mut cache, 2).unwrap();
        assert_eq!((cache.start(), held(&cache)), (0, (0..6).collect()));
        assert!(push(&mut cache, 1).is_err());
        cache.roll_back(2).unwrap();
        push(&mut cache, 4).unwrap();
        assert_eq!(held(&cache), (0..6).collect::<Vec<_>>());
    }

    #[test]
    fn a_sliding_layer_keeps_its_window_and_its_margin() {
        let window = 5;
        let mut cache = cache(1000, Some(window));
        for _ in 0..40 {
            push(&mut cache, 3).unwrap();
            assert_eq!(held(&cache), (cache.start()..cache.end()).collect::<Vec<_>>());
            assert!(cache.start() == 0 || cache.start() + window - 1 + 3 <= cache.end());
        }
        assert!(cache.start() > 0);
        let capacity = cache.k.dims()[0];
        assert!(push(&mut cache, capacity).is_err(), "more rows than it can hold beside its window");
        assert_eq!(held(&cache), (cache.start()..cache.end()).collect::<Vec<_>>());
    }

    #[test]
    fn rolling_back_succeeds_exactly_when_it_can() {
        for window in [None, Some(1), Some(5)] {
            let mut cache = cache(1000, window);
            for rows in [4, 3, 2, 4, 4, 4, 1, 3, 4, 2] {
                push(&mut cache, rows).unwrap();
            }
            let end = cache.end();
            assert!((end - 3..=end).all(|to| cache.can_roll_back(to)), "{window:?}: within the margin");
            for to in (0..=end + 2).rev() {
                let (can, before) = (cache.can_roll_back(to), held(&cache));
                match cache.roll_back(to) {
                    Ok(()) => {
                        assert!(can, "{window:?}: {to} of {end}");
                        assert_eq!(held(&cache), (cache.start()..to).collect::<Vec<_>>());
                    }
                    Err(RollBack(at)) => {
                        assert!(!can && at == to, "{window:?}: {to} of {end}");
                        assert_eq!(held(&cache), before);
                    }
                }
            }
        }
    }
}
