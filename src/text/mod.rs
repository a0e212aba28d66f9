//! Plain text in, plain data out: what a language's words, units and sentences are.
//!
//! | file | what it holds |
//! |---|---|
//! | `language` | codes, English names, how a language separates its words |
//! | `context` | what a talk is about: free text, names and terms |
//! | `passages` | a source text line by line: JSON, subtitles, plain |
//! | `time` | `Millis`, the one clock |
//! | `units` | source words, target units, and where a unit ends |
//! | `sentence` | sentence ends, with abbreviations and decimals |
//! | `seams` | how an accepted prefix and its continuation are joined |
//! | `repetition` | finds a text that loops, and cuts the loop |
//! | `agreement` | the words that two hypotheses agree on |
//! | `word_times` | the aligner's words mapped back to the recogniser's |
//!
//! Invariant: nothing here knows models, policies or files.

pub(crate) mod agreement;
pub(crate) mod context;
pub(crate) mod language;
pub(crate) mod passages;
pub(crate) mod repetition;
pub(crate) mod seams;
pub(crate) mod sentence;
pub(crate) mod time;
pub(crate) mod units;
pub(crate) mod word_times;

pub use context::{Context, TermsError};
pub use language::Language;
pub use time::Millis;
