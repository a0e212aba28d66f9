//! Live translation of one stream, from the first sound to the last caption.
//!
//! ```text
//! push ─► Inbox ─► Tail ─► recogniser ─► Transcript ─► aligner ─► Source events
//!                  cut ◄── segment closes ──┤
//!                                           └─► Captions: drafts ─► policy ─► Target events
//! ```
//!
//! The caller pushes sound and calls [`Cascade::step`]. Each step processes all sound that waits,
//! so a caller that is late catches up by taking more at once. Every result leaves as an
//! [`event::Event`] through the caller's closure, as soon as it is known. The models implement the
//! three traits in [`engines`]. Nothing here knows tensors, files or sockets, and the caller passes
//! in the [`Clock`].
//!
//! | file | what it holds |
//! |---|---|
//! | `event` | the events that leave the cascade: one JSON object a line |
//! | `rules` | a checker for the rules that the events of a run obey |
//! | `engines` | the models as the cascade sees them |
//! | `settings` | languages, chunk, limits, policy |
//! | `tail` | sound that waits, and sound of the open segment |
//! | `transcript` | words of the open segment, and where a segment closes |
//! | `captions` | drafts, the policy, what is shown |
//! | `output` | what streams of sound and of text share: translation, failures, the clock |
//! | `checkpoint` | what a stream needs to go on elsewhere |
//! | `stream` | the step that ties them together |
//! | `text_stream` | the same for a source that is text: no recogniser, no aligner |
//! | `utterances` | the same for a source that somebody else recognises, as whole states |
//! | `meter` | lag, real-time factor, tokens a second |

mod captions;
mod checkpoint;
pub(crate) mod engines;
pub mod event;
mod meter;
mod output;
pub(crate) mod rules;
pub(crate) mod settings;
mod stream;
mod tail;
mod text_stream;
pub(crate) mod transcript;
#[cfg(any(feature = "server", test))]
pub(crate) mod utterances;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod defects;
#[cfg(test)]
pub(crate) mod fakes;
#[cfg(test)]
mod no_word_lost;
#[cfg(test)]
mod real_hypotheses;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
#[cfg(test)]
mod utterances_tests;

pub use checkpoint::{Checkpoint, Position, ResumeError, TargetSide, Untranslated};
pub(crate) use engines::{Align, BoxError, DraftRequest, Engines, Recognize, Translate};
pub(crate) use event::{Event, EventKind, SegmentId, Word};
pub use output::{CascadeError, Clock, Stage};
pub use settings::{Settings, SettingsError};
pub use stream::{Activity, Cascade};
pub use text_stream::{TextStream, TooManyWords};

/// Sample rate of all sound in this module, in Hz.
pub const SAMPLE_RATE: u32 = 16_000;
