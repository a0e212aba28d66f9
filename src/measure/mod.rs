//! Measures of a run: how late each unit was shown.
//!
//! | file | what it holds |
//! |---|---|
//! | `latency` | when each unit was shown, in the sound's time and in wall time |
//! | `lag` | LongYAAL and LAAL |
//! | `resegment` | a long translation split at the segments of its reference |
//!
//! Invariant: plain data in, plain data out.

pub mod lag;
pub mod latency;
pub mod resegment;
