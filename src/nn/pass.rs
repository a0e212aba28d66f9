//! One pass of new rows through a decoder: where the rows are, and how a long pass is cut.

use std::ops::Range;

use burn::tensor::Tensor;

use super::{Cache, PIECE, Rope, RunError, Tap, join};
use crate::ops::attend::Base;

/// The positions of a pass's rows in one kind of layer: their rotation, and the cache row of the
/// first one.
#[derive(Debug)]
pub(crate) struct Place {
    pub rope: Rope,
    pub base: Base,
}

impl Place {
    /// The place of positions `from..from + len`, whose first cache row is `row`.
    pub(crate) fn new(rope: &Rope, row: usize, from: usize, len: usize) -> Self {
        let on_device = Tensor::from_ints([row as i32], &rope.device());
        Self { rope: rope.at(from, len), base: Base { row, on_device } }
    }
}

/// Appends `len` rows to `cache` in pieces of at most [`PIECE`] rows → the `last` rows that `piece`
/// returns, [last, H]. `piece(rows, cache, back, tap)` runs some of the rows, counted from 0, and
/// returns those from position `back` on, or None if it has no such rows.
///
/// Errors: [`RunError::TooLong`] if the cache has no room for the rows, or the capture none for
/// those that it keeps. `sequence` is what does not fit, in words.
pub(crate) fn in_pieces(
    sequence: &'static str,
    len: usize,
    cache: &mut Cache,
    last: usize,
    tap: &mut Tap,
    mut piece: impl FnMut(Range<usize>, &mut Cache, usize, &mut Tap) -> Result<Option<Tensor<2>>, RunError>,
) -> Result<Tensor<2>, RunError> {
    let needed = cache.end() + len;
    if needed > cache.capacity() {
        return Err(RunError::TooLong { what: sequence, needed, capacity: cache.capacity() });
    }
    debug_assert!((1..=len).contains(&last), "{last} rows of {len}");
    tap.check_room(cache.end()..needed, needed - last)?;
    let mut parts = Vec::new();
    for from in (0..len).step_by(PIECE) {
        parts.extend(piece(from..len.min(from + PIECE), cache, needed - last, tap)?);
    }
    Ok(join(parts))
}
