//! The stall: how long the shown text has not grown because of the frontier.

use super::gate::{Decision, Policy};
use crate::policy::target_policy::Hold;
use crate::text::time::Millis;

/// Follows the drafts of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    since: Option<Millis>,
    shown_len: usize,
}

impl Stall {
    /// Whether the wait at the frontier has reached the policy's limit by `heard`.
    pub fn is_over(&self, heard: Millis, policy: &Policy) -> bool {
        match (self.since, policy.stall) {
            (Some(since), Some(limit)) => heard - since >= limit,
            _ => false,
        }
    }

    /// Records the decision on a draft at `heard`. `shown_len` is how many bytes of the segment's
    /// translation are shown, by this draft and the earlier ones. The wait begins with the first
    /// decision that shows nothing more because of the frontier. It ends when the text grows, or
    /// when something other than the frontier stops the draft.
    pub fn observe(&mut self, shown_len: usize, decision: &Decision, heard: Millis) {
        let waits = shown_len <= self.shown_len && decision.stop == Some(Hold::Frontier);
        self.since = if waits { self.since.or(Some(heard)) } else { None };
        self.shown_len = self.shown_len.max(shown_len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_counted_from_the_first_held_draft() {
        let policy = Policy { stall: Some(Millis(3000)), ..Policy::for_tests() };
        let held = Decision { stop: Some(Hold::Frontier), ..Decision::default() };
        let mut stall = Stall::default();
        stall.observe(3, &held, Millis(500));
        assert_eq!(stall.since, None, "it grew");
        stall.observe(3, &held, Millis(1000));
        stall.observe(3, &held, Millis(3000));
        assert!(!stall.is_over(Millis(3999), &policy));
        assert!(stall.is_over(Millis(4000), &policy));
        assert!(!stall.is_over(Millis(9000), &Policy::published()));
        stall.observe(8, &held, Millis(4000));
        assert!(!stall.is_over(Millis(9000), &policy));
        stall.observe(8, &held, Millis(5000));
        stall.observe(8, &Decision { stop: Some(Hold::NotFinite), ..held }, Millis(6000));
        assert_eq!(stall.since, None);
    }
}
