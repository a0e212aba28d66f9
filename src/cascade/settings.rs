//! Settings of a stream.

use crate::policy::PolicyKind;
use crate::text::{Language, Millis};

/// The recogniser has room for the text of fifty seconds of sound: a segment of this length and one
/// chunk more.
const LONGEST: Millis = Millis(40_000);
/// The most closed segments in a prompt.
pub(crate) const MOST_HISTORY: usize = 8;

/// Settings of one stream. [`Settings::new`] has the defaults of every face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The language that is spoken.
    pub source: Language,
    /// Required where there is a translator.
    pub target: Option<Language>,
    /// Sound of one step; the policy's own by default.
    pub chunk: Millis,
    /// A segment that comes close to this length is closed at a clause; at this length it is closed
    /// in any case. 20 s by default, 40 s at most, because the recogniser has no room for more.
    pub longest_segment: Millis,
    /// Silence that closes a segment, counted from where the voice detector says that speech has
    /// ended; 1.2 s by default.
    pub pause: Millis,
    /// How much of a draft is shown.
    pub policy: PolicyKind,
    /// Number of closed segments, with their translations, in a prompt; 0 by default, 8 at most.
    pub history: usize,
}

/// The settings are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The chunk.
    #[error("a chunk of {0} is out of range: use 100 to 10000 ms")]
    Chunk(Millis),
    /// The longest segment, and the chunk.
    #[error("a longest segment of {0} is out of range for chunks of {1}: use at least four chunks, at most {LONGEST}")]
    LongestSegment(Millis, Millis),
    /// The pause.
    #[error("a pause of {0} is out of range: use 200 to 60000 ms")]
    Pause(Millis),
    /// The history.
    #[error("a history of {0} is out of range: use 0 to {MOST_HISTORY}")]
    History(usize),
    /// There is a translator, and no language to translate into.
    #[error("a translator needs a target language")]
    NoTarget,
    /// The language to translate into.
    #[error("translation into {0} is not supported: use {known}", known = Language::TARGETS.map(Language::code).join(", "))]
    Target(Language),
}

impl Settings {
    /// The defaults of every face for this direction; `None`: the stream is only transcribed.
    pub fn new(source: Language, target: Option<Language>) -> Settings {
        Settings {
            source,
            target,
            chunk: PolicyKind::default().chunk(),
            longest_segment: Millis(20_000),
            pause: Millis(1_200),
            policy: PolicyKind::default(),
            history: 0,
        }
    }

    /// The same settings with another policy and that policy's own chunk.
    pub fn with_policy(self, policy: PolicyKind) -> Settings {
        Settings { policy, ..self }.chunked(policy.chunk())
    }

    /// The same settings with another chunk, and with a longest segment of at least four chunks.
    pub fn chunked(self, chunk: Millis) -> Settings {
        Settings { chunk, longest_segment: self.longest_segment.max(Millis(chunk.0.saturating_mul(4))), ..self }
    }

    /// Checks that every value is in its range.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !(100..=10_000).contains(&self.chunk.0) {
            return Err(SettingsError::Chunk(self.chunk));
        }
        if self.longest_segment.0 < 4 * self.chunk.0 || self.longest_segment > LONGEST {
            return Err(SettingsError::LongestSegment(self.longest_segment, self.chunk));
        }
        if !(200..=60_000).contains(&self.pause.0) {
            return Err(SettingsError::Pause(self.pause));
        }
        if self.history > MOST_HISTORY {
            return Err(SettingsError::History(self.history));
        }
        match self.target {
            Some(target) if !Language::TARGETS.contains(&target) => Err(SettingsError::Target(target)),
            _ => Ok(()),
        }
    }
}
