//! The keys and values of one sequence: a [`LayerCache`] for every layer that owns any.

use burn::tensor::Device;

use super::kv_cache::{CachePlan, LayerCache};

/// Rows that go through the layers at once. A long prompt becomes many short submissions, because
/// drivers kill long ones.
pub const PIECE: usize = 256;
/// Positions that can always be taken back, whatever the sliding layers have dropped: enough for a
/// draft, the end of the turn and the prefix.
pub const MARGIN: usize = 256;

/// The shape of one layer's keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvShape {
    pub heads: usize,
    pub dim: usize,
    /// Keys that a row sees, its own included; None for a full layer.
    pub window: Option<usize>,
}

#[derive(Debug)]
pub struct Cache {
    /// One per layer that owns keys and values, in the order of the layers.
    pub(crate) owners: Vec<LayerCache>,
    capacity: usize,
}

impl Cache {
    /// `shapes`: those of the layers that own keys and values, in order. `margin`: positions that
    /// sliding layers can take back.
    pub(crate) fn new(
        capacity: usize,
        margin: usize,
        shapes: impl IntoIterator<Item = KvShape>,
        device: &Device,
    ) -> Self {
        let plan = CachePlan { capacity, piece: PIECE, margin };
        let layer = |KvShape { heads, dim, window }| LayerCache::new(plan, heads, dim, window, device);
        Self { owners: shapes.into_iter().map(layer).collect(), capacity }
    }

    /// The most positions of a sequence.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The number of positions held.
    pub fn end(&self) -> usize {
        self.owners.first().map_or(0, LayerCache::end)
    }

    /// Forgets every position from `end` on and returns the number of positions left. If that is
    /// impossible, everything is forgotten: a sliding layer has dropped keys that are needed again,
    /// or the sequence never reached `end`.
    pub fn roll_back(&mut self, end: usize) -> usize {
        if self.owners.iter().all(|owner| owner.can_roll_back(end)) {
            for owner in &mut self.owners {
                owner.roll_back(end).expect("every owner said that it can");
            }
            return end;
        }
        self.owners.iter_mut().for_each(LayerCache::clear);
        0
    }
}
