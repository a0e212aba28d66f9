//! Policy: what may be shown of a draft, and what is known of the source. Plain data in, plain data
//! out: no tensors, no I/O, no clock.
//!
//! | file | what it holds |
//! |---|---|
//! | `time` | `Millis`, the one clock |
//! | `language` | codes, English names, how a language separates its words |
//! | `units` | source words, target units and where one ends |
//! | `sentence` | sentence ends, with abbreviations and decimals |
//! | `agreement` | what two hypotheses agree on, and what goes on after the committed words |
//! | `word_times` | the aligner's words mapped back on ours |
//! | `seams` | where an accepted prefix meets its continuation |
//! | `repetition` | the guard against a looping draft |
//! | `budget` | how many tokens a draft may have |
//! | `emission` | text that only grows |
//! | `heads` | which heads of a model listen to the source, and how well |
//! | `listening` | the attention that a model hands over with its draft |
//! | `tracker` | the source position of each draft token |
//! | `frontier` | how far the source is heard and stable |
//! | `gate` | what of a draft may be shown, and why the rest is held |
//! | `stall` | how long the gate has let nothing pass |
//! | `schedule` | whether a draft is due |
//! | `preset` | the gate's settings by name |
//! | `calibration` | how well each head follows the source, from replayed sentence pairs |
//! | `word_aligner` | which word translates which, where nobody says |
//! | `heat_map` | the scores of all heads as a picture |
//! | `latency` | when each unit was shown, in sound and on the wall |
//! | `policy` | the interface every target policy stands behind, and the baselines |
//! | `align_att` | the policy that ties tracker, frontier, gate and stall together |
//! | `resegment` | a long translation parted at the segments of its reference |
//! | `lag` | LongYAAL and LAAL |

pub mod agreement;
pub mod align_att;
pub mod budget;
pub mod calibration;
pub mod emission;
pub mod frontier;
pub mod gate;
pub mod heads;
pub mod heat_map;
pub mod lag;
pub mod language;
pub mod latency;
pub mod listening;
pub mod policy;
pub mod preset;
pub mod repetition;
pub mod resegment;
pub mod schedule;
pub mod seams;
pub mod sentence;
pub mod stall;
pub mod time;
pub mod tracker;
pub mod units;
pub mod word_aligner;
pub mod word_times;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod defects;

pub use emission::Committed;
pub use language::{Language, UnknownLanguage};
pub use policy::{Hold, Judged, PolicyKind, Proposal, SourceWord, TargetPolicy, Verdict};
pub use time::Millis;
