//! Policies: how much of a draft may be shown, given what has been heard.
//!
//! | file | what it holds |
//! |---|---|
//! | `target_policy` | the interface of every policy, the policies by name, and the baselines |
//! | `align_att` | the AlignAtt policy: it ties tracker, frontier, gate and stall together |
//! | `heads` | which attention heads of a model follow the source, and how well |
//! | `listening` | the attention that a model hands over with its draft |
//! | `tracker` | the source position that each draft token attends to |
//! | `frontier` | how far the source is heard and stable |
//! | `gate` | which tokens of a draft may be shown, and why the others are held |
//! | `stall` | how long the gate has let nothing pass |
//! | `schedule` | whether a draft is due |
//! | `budget` | how many tokens a draft may have |
//! | `preset` | the gate's settings by name |
//! | `emission` | shown text, which only grows |
//!
//! Invariant: plain data in, plain data out; no tensors, no I/O, no clock.

pub mod align_att;
pub mod budget;
pub mod emission;
pub mod frontier;
pub mod gate;
pub mod heads;
pub mod listening;
pub mod preset;
pub mod schedule;
pub mod stall;
pub mod target_policy;
pub mod tracker;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod defects;

pub use emission::Committed;
pub use target_policy::{Hold, Judged, PolicyKind, Proposal, SourceWord, TargetPolicy, Verdict};
