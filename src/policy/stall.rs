//! The stall: how long the shown text has not grown because of the frontier.

use super::Hold;
use super::knobs::Knobs;
use crate::text::time::Millis;

/// Follows the drafts of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stall {
    since: Option<Millis>,
    shown_len: usize,
}

impl Stall {
    /// Whether the wait at the frontier has reached the policy's limit by `heard`.
    pub(crate) fn is_over(&self, heard: Millis, knobs: &Knobs) -> bool {
        match (self.since, knobs.stall) {
            (Some(since), Some(limit)) => heard - since >= limit,
            _ => false,
        }
    }

    /// Records the verdict on a draft at `heard`. `shown_len` is how many bytes of the segment's
    /// translation are shown, by this draft and the earlier ones; `stop` is what stopped the draft.
    /// The wait begins with the first verdict that shows nothing more because of the frontier. It
    /// ends when the text grows, or when something other than the frontier stops the draft.
    pub(crate) fn observe(&mut self, shown_len: usize, stop: Option<Hold>, heard: Millis) {
        let waits = shown_len <= self.shown_len && stop == Some(Hold::Frontier);
        self.since = if waits { self.since.or(Some(heard)) } else { None };
        self.shown_len = self.shown_len.max(shown_len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_counted_from_the_first_held_draft() {
        let knobs = Knobs { stall: Some(Millis(3000)), ..Knobs::for_tests() };
        let held = Some(Hold::Frontier);
        let mut stall = Stall::default();
        stall.observe(3, held, Millis(500));
        assert_eq!(stall.since, None, "it grew");
        stall.observe(3, held, Millis(1000));
        stall.observe(3, held, Millis(3000));
        assert!(!stall.is_over(Millis(3999), &knobs));
        assert!(stall.is_over(Millis(4000), &knobs));
        assert!(!stall.is_over(Millis(9000), &Knobs::published()));
        stall.observe(8, held, Millis(4000));
        assert!(!stall.is_over(Millis(9000), &knobs));
        stall.observe(8, held, Millis(5000));
        stall.observe(8, Some(Hold::NotFinite), Millis(6000));
        assert_eq!(stall.since, None);
    }
}
