//! What a stream needs to go on elsewhere: plain data, taken between two steps.
//!
//! A checkpoint holds everything that was committed, on both sides, as far as later text depends on
//! it, and says from where the sound is needed again. It holds nothing tentative. What is lost is
//! what would have come a step earlier: the newest hypothesis and the newest draft, and with them
//! words on which two hypotheses agreed but which were not committed. Their sound is heard again.
//!
//! A checkpoint may come from a file or a network. [`Checkpoint::check`] refuses what no stream
//! would have written; whatever it accepts can be resumed.

use serde::{Deserialize, Serialize};

use super::event::{SegmentId, Word};
use super::settings::{MOST_HISTORY, Settings, SettingsError};
use super::tail::{samples_in, time_of};
use crate::policy::Committed;
use crate::text::Millis;
use crate::text::seams::normalize;

/// The most words of one segment.
const MOST_WORDS: usize = 4_000;
/// The most closed segments that wait for their translation.
const MOST_WAITING: usize = 1_000;
/// The most samples and closed words: so many that adding to them never overflows.
const MOST_COUNTED: u64 = 1 << 48;
/// The most closed segments, for the same reason.
const MOST_SEGMENTS: u32 = 1 << 31;
/// The most text in a checkpoint, in bytes. A usual one has less than a hundredth of it.
const MOST_TEXT: usize = 1 << 20;

/// A stream between two steps: what [`Cascade::resume`](super::Cascade::resume) goes on from. Times
/// and samples count from the beginning of the stream.
///
/// ```
/// # use alignatt::{Align, Cascade, Checkpoint, Clock, Recognize, Settings, Translate};
/// # fn moved<R: Recognize, A: Align, T: Translate>(
/// #     cascade: Cascade<R, A, T>, settings: Settings, clock: Clock, talk: &[f32],
/// # ) -> Result<Cascade<R, A, T>, Box<dyn std::error::Error>> {
/// let stored = serde_json::to_string(&cascade.checkpoint())?; // after each step
/// # let engines = cascade.into_engines();
/// // The program ends. Another one goes on:
/// let checkpoint: Checkpoint = serde_json::from_str(&stored)?;
/// let mut cascade = Cascade::resume(settings, engines, clock, &checkpoint)?;
/// cascade.push(&talk[checkpoint.tail_start as usize..], alignatt::Activity::Unknown);
/// # Ok(cascade)
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of the open segment. As many segments have closed.
    pub segment: SegmentId,
    /// How much sound has been heard, in samples (16 kHz). The time of a text is counted in the
    /// same way.
    pub heard: u64,
    /// Where the sound of the open segment begins, in samples: sound is pushed again from here on.
    /// For a text this is [`heard`](Checkpoint::heard).
    pub tail_start: u64,
    /// Committed words of the open segment.
    pub words: Vec<Word>,
    /// End of the last committed word, also where that is in a closed segment. No later word begins
    /// before it.
    pub floor_ms: Millis,
    /// Whether a `source` event was sent for the open segment.
    pub announced: bool,
    /// Number of words in closed segments. [`End`](super::event::End) counts them.
    pub closed_words: u64,
    /// The translation; absent where the stream is only transcribed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<TargetSide>,
}

/// The side of a [`Checkpoint`] that is about the translation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetSide {
    /// Shown text of the open segment.
    pub shown: Committed,
    /// How many source words of the open segment that text rests on. They need not be committed.
    pub rests_on: usize,
    /// Segments whose source is closed and whose translation is not, oldest first. The last of them
    /// is the one before the open segment.
    pub waiting: Vec<Untranslated>,
    /// The newest closed segments with their translations, oldest first; at most as many as
    /// `Settings::history` says.
    pub history: Vec<(String, String)>,
}

/// A closed segment that waits for its final translation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Untranslated {
    /// The segment.
    pub segment: SegmentId,
    /// Its words.
    pub words: Vec<Word>,
    /// What is shown of its translation.
    pub shown: Committed,
}

/// How far a stream has come, in samples (16 kHz) from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The end of the sound that has been processed.
    pub heard: u64,
    /// Where the sound of the open segment begins. Sound before it will never be needed again.
    pub tail_start: u64,
}

/// A stream cannot be resumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// The settings are invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The checkpoint is not one of a stream, or not of a stream with these settings.
    #[error("the checkpoint cannot be resumed: {0}")]
    Checkpoint(&'static str),
}

impl Checkpoint {
    /// How far the stream had come.
    pub fn position(&self) -> Position {
        Position { heard: self.heard, tail_start: self.tail_start }
    }

    /// Checks that a stream could have written it: sizes, the order of word times, the numbers of
    /// segments. Reads all of it once.
    pub fn check(&self) -> Result<(), ResumeError> {
        self.check_sizes()?;
        self.check_words()?;
        rule(self.tail_start <= self.heard, "its tail begins after the sound heard")?;
        rule(self.closed_words == 0 || self.segment.0 > 0, "it counts closed words without a closed segment")?;
        rule(self.announced || self.words.is_empty(), "its open segment has words and was not announced")?;
        self.target.as_ref().map_or(Ok(()), |target| self.check_target(target))
    }

    /// Checks it for a stream of sound with these settings.
    pub(super) fn check_for(&self, settings: &Settings, translates: bool) -> Result<(), ResumeError> {
        self.check()?;
        let longest = samples_in(settings.longest_segment + settings.chunk);
        rule(self.heard - self.tail_start <= longest, "its tail is longer than the settings allow")?;
        rule(translates || self.target.is_none(), "it has a translation, and there is no translator")?;
        rule(!translates || self.target.is_some() || self.is_new(), "it has no translation to go on with")
    }

    /// Whether nothing was committed or announced.
    fn is_new(&self) -> bool {
        self.segment == SegmentId(0) && !self.announced
    }

    fn check_sizes(&self) -> Result<(), ResumeError> {
        rule(self.heard <= MOST_COUNTED && self.closed_words <= MOST_COUNTED, "its counts are out of range")?;
        rule(self.segment.0 <= MOST_SEGMENTS, "its segment number is out of range")?;
        rule(self.words.len() <= MOST_WORDS, "its open segment has too many words")?;
        rule(self.text_len() <= MOST_TEXT, "its texts are too long")?;
        let Some(target) = &self.target else { return Ok(()) };
        rule(target.waiting.len() <= MOST_WAITING, "too many of its segments wait")?;
        rule(target.waiting.iter().all(|left| left.words.len() <= MOST_WORDS), "a segment has too many words")?;
        rule(target.rests_on <= MOST_WORDS, "its text rests on too many words")?;
        rule(target.history.len() <= MOST_HISTORY, "its history is too long")
    }

    fn check_target(&self, target: &TargetSide) -> Result<(), ResumeError> {
        let waiting = &target.waiting;
        let numbers = waiting.iter().rev().map(|left| left.segment.0);
        rule(numbers.eq((0..self.segment.0).rev().take(waiting.len())), "its segments have a gap")?;
        let closed_len: usize = waiting.iter().map(|left| left.words.len()).sum();
        rule(self.closed_words >= closed_len as u64, "it counts fewer words than it has")?;
        let shown = waiting.iter().map(|left| &left.shown).chain([&target.shown]);
        rule(shown.clone().all(is_shown_text), "its shown text is not as a stream shows it")?;
        rule(shown.skip(1).all(Committed::is_empty), "text is shown before its turn")?;
        rule(!target.shown.is_empty() || target.rests_on == 0, "nothing is shown, and it rests on words")?;
        rule(self.announced || target.shown.is_empty(), "its open segment has text and was not announced")
    }

    fn check_words(&self) -> Result<(), ResumeError> {
        let waiting = self.target.iter().flat_map(|target| &target.waiting);
        let mut floor = Millis::ZERO;
        for word in waiting.flat_map(|left| &left.words).chain(&self.words) {
            rule(is_word(&word.text), "a word is empty or has blanks")?;
            rule(floor <= word.start_ms && word.start_ms <= word.end_ms, "its words are out of order")?;
            floor = word.end_ms;
        }
        rule(self.words.is_empty() || floor == self.floor_ms, "its last word does not end at its floor")?;
        rule(floor <= self.floor_ms, "a word ends after its floor")?;
        rule(self.floor_ms <= time_of(self.heard), "a word ends after the sound heard")
    }

    fn text_len(&self) -> usize {
        let of_words = |words: &[Word]| words.iter().map(|word| word.text.len()).sum::<usize>();
        let of_target = |target: &TargetSide| {
            let waiting = target.waiting.iter().map(|left| of_words(&left.words) + left.shown.as_str().len());
            let history = target.history.iter().map(|(source, translation)| source.len() + translation.len());
            target.shown.as_str().len() + waiting.sum::<usize>() + history.sum::<usize>()
        };
        of_words(&self.words) + self.target.as_ref().map_or(0, of_target)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Whether a translation can go on from `shown`: joining it with a continuation must not change it.
fn is_shown_text(shown: &Committed) -> bool {
    normalize(shown.as_str()) == shown.as_str() && !shown.as_str().contains(char::is_control)
}

fn rule(holds: bool, what: &'static str) -> Result<(), ResumeError> {
    if holds { Ok(()) } else { Err(ResumeError::Checkpoint(what)) }
}
