//! One pass of new rows through a decoder: where the rows are, and how a long pass is cut.

use burn::tensor::{Int, Tensor};

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
    pub fn new(rope: &Rope, row: usize, from: usize, len: usize) -> Self {
        let on_device = Tensor::from_ints([row as i32], &rope.device());
        Self { rope: rope.at(from, len), base: Base { row, on_device } }
    }
}

/// Appends `ids [T]` to `cache` in pieces of at most [`PIECE`] rows → the `last` rows that `piece`
/// returns, [last, H]. `piece(ids, cache, back, tap)` runs one piece and returns its rows from
/// position `back` on, or None if it has no such rows.
///
/// Errors: [`RunError::TooLong`] if the cache has no room for `ids`, or the capture none for its
/// rows.
pub(crate) fn in_pieces(
    ids: Tensor<1, Int>,
    cache: &mut Cache,
    last: usize,
    tap: &mut Tap,
    mut piece: impl FnMut(Tensor<1, Int>, &mut Cache, usize, &mut Tap) -> Result<Option<Tensor<2>>, RunError>,
) -> Result<Tensor<2>, RunError> {
    let len = ids.dims()[0];
    let needed = cache.end() + len;
    if needed > cache.capacity() {
        return Err(RunError::TooLong { what: "this prompt with its draft", needed, capacity: cache.capacity() });
    }
    debug_assert!((1..=len).contains(&last), "{last} rows of {len}");
    tap.room(cache.end()..needed, needed - last)?;
    let mut parts = Vec::new();
    for from in (0..len).step_by(PIECE) {
        let ids = ids.clone().narrow(0, from, PIECE.min(len - from));
        parts.extend(piece(ids, cache, needed - last, tap)?);
    }
    Ok(join(parts))
}
