//! One translation from first sound to last caption.
//!
//! ```text
//! push ─► Inbox ─► Tail ─► recognizer ─► Transcript ─► aligner ─► Source events
//!                  cut ◄── segment closes ──┤
//!                                           └─► Captions: drafts ─► policy ─► Target events
//! ```
//!
//! The caller pushes sound and calls [`Cascade::step`]; each step hears all that is waiting, so a caller
//! who is late catches up by taking more at once. Everything leaves as [`event::Event`]s through the
//! caller's closure, as soon as it is known. The models stand behind three traits in [`engines`]; nothing
//! here knows tensors, files or sockets, and time comes from a [`Clock`] that is handed in.
//!
//! | file | what it holds |
//! |---|---|
//! | `event` | what leaves: one JSON object a line |
//! | `rules` | what must hold of a run's events, as a checker |
//! | `engines` | the models as the cascade sees them |
//! | `settings` | languages, chunk, limits, policy |
//! | `tail` | sound that waits, and sound of the open segment |
//! | `transcript` | words of the open segment, and where a segment closes |
//! | `captions` | drafts, the policy, what is shown |
//! | `stream` | the step that ties them together |
//! | `meter` | lag, real-time factor, tokens a second |

mod captions;
pub mod engines;
pub mod event;
mod meter;
pub mod rules;
pub mod settings;
mod stream;
mod tail;
mod transcript;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod defects;
#[cfg(test)]
pub(crate) mod fakes;
#[cfg(test)]
mod no_word_lost;
#[cfg(test)]
mod tests;

pub use engines::{
    Align, BoxError, Draft, DraftRequest, Engines, Hypothesis, NoTranslation, Recognize, TimedWord, TooLong, Translate,
};
pub use event::{Event, EventKind, SegmentId, Word};
pub use settings::{Settings, SettingsError};
pub use stream::{Activity, Cascade, CascadeError, Clock, Stage};

/// Samples a second of all sound in here.
pub const SAMPLE_RATE: u32 = 16_000;
