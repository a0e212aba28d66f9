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
//! | `latency` | when each unit was shown, in sound and on the wall |
//! | `resegment` | a long translation parted at the segments of its reference |
//! | `lag` | LongYAAL and LAAL |
//! | `policy` | the interface every target policy stands behind, and its baselines |

pub mod agreement;
pub mod budget;
pub mod emission;
pub mod lag;
pub mod language;
pub mod latency;
pub mod policy;
pub mod repetition;
pub mod resegment;
pub mod seams;
pub mod sentence;
pub mod time;
pub mod units;
pub mod word_times;

pub use emission::Committed;
pub use language::{Language, UnknownLanguage};
pub use policy::{Piece, PolicyKind, Proposal, SourceWord, TargetPolicy, Verdict};
pub use time::Millis;
