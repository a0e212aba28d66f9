//! Measures of a run: how late each unit was shown.
//!
//! | file | what it holds |
//! |---|---|
//! | `latency` | when each unit was shown, in the sound's time and in wall time |
//! | `lag` | LongYAAL and LAAL |
//! | `resegment` | a long translation split at the segments of its reference |
//! | `moses` | the rules by which words are split before they are compared |
//!
//! Invariant: plain data in, plain data out.

pub(crate) mod lag;
pub(crate) mod latency;
pub(crate) mod moses;
pub(crate) mod resegment;
