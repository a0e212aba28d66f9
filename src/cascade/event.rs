//! The events that leave the cascade, one JSON object a line.
//!
//! Every event carries `audio_ms` (how much sound had been heard) and `wall_ms` (time since the
//! cascade was made or resumed); neither ever decreases. `type` names the kind. Field names are
//! stable: fields may be added, but none is renamed. These rules hold for every run, and the tests
//! check them:
//!
//! * segments are numbered from 0 without gaps, open in order, and each closes once;
//! * in a segment, `committed` only grows: the words of a `source` keep their text and times, and
//!   the new `committed` of a `target` is the former one + `delta`;
//! * word times are absolute, `start_ms <= end_ms`, and no word starts before the previous word has
//!   ended;
//! * after `closed: true` no event follows for that segment and side;
//! * `start` is first, `end` is last.
//!
//! A stream that is resumed from a checkpoint sends no second `start`. Its events follow those from
//! before, which have no `end`, and together they obey these rules as one run; only `wall_ms`
//! starts anew. Tentative text from before is void: a reader drops it until the next event. In
//! `progress` and `end`, segments and words are counted over the whole run, tokens and speeds since
//! the stream was resumed.
//!
//! Three events of one step. They are wrapped here; in the output each is on one line:
//!
//! ```json
//! {"audio_ms":1700,"wall_ms":1812,"type":"source","segment":0,
//!  "committed":[{"text":"Hi","start_ms":80,"end_ms":240}],"tentative":"everyone","closed":false}
//! {"audio_ms":1700,"wall_ms":1953,"type":"listen","segment":0,"source":["Hi","everyone"],
//!  "heard":1,"drafted":true,"tokens":[
//!   {"text":"Hallo","shown":true,"word":0,"mass":[0.71,0.02,0.2,0.07],"on":[[0,0.71],[1,0.02]]},
//!   {"text":" zusammen","shown":false,"why":"frontier","word":1,"mass":[0.1,0.6,0.2,0.1],
//!    "on":[[0,0.1],[1,0.6]]}]}
//! {"audio_ms":1700,"wall_ms":1954,"type":"target","segment":0,
//!  "delta":"Hallo","committed":"Hallo","tentative":"zusammen","closed":false}
//! ```

use serde::{Deserialize, Serialize};

use crate::policy::{Committed, Token};
use crate::text::{Language, Millis};

/// Number of a segment: 0, 1, 2, … in the order of their sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentId(pub u32);

impl SegmentId {
    /// The number of the segment that follows.
    pub fn next(self) -> SegmentId {
        SegmentId(self.0.saturating_add(1))
    }
}

/// A committed source word, with its punctuation. Times are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The word with its punctuation.
    pub text: String,
    /// When its sound begins.
    pub start_ms: Millis,
    /// When its sound ends.
    pub end_ms: Millis,
}

/// One event with its two times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Sound heard so far.
    pub audio_ms: Millis,
    /// Time since the cascade was made or resumed.
    pub wall_ms: Millis,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The stream begins.
    Start(Start),
    /// The source of a segment changed.
    Source(Source),
    /// The attention of a draft.
    Listen(Listen),
    /// The translation of a segment changed.
    Target(Target),
    /// A step has ended.
    Progress(Progress),
    /// Something the user should know.
    Warning(Warning),
    /// The stream has ended.
    End(End),
}

/// First event: the models, the device and the settings of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Version of the program.
    pub version: String,
    /// The language that is spoken.
    pub source_language: Language,
    /// Absent where nothing is translated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_language: Option<Language>,
    /// Name of the recogniser for people to read; absent where the source is text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asr: Option<String>,
    /// Name of the aligner; absent where the source is text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub aligner: Option<String>,
    /// Name of the translator; absent where nothing is translated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mt: Option<String>,
    /// Name of the device.
    pub device: String,
    /// The policy with its knobs; absent where nothing is translated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// Sound of one step, or time between two steps of a text.
    pub chunk_ms: Millis,
    /// Number of closed segments in a prompt; absent for 0.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub history: usize,
    /// SHA-256 of the context and terms; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_sha256: Option<String>,
    /// SHA-256 of the head set that the policy uses; absent where it uses none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub heads_sha256: Option<String>,
    /// Name of the sound or the text as the user gave it; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// SHA-256 of that file, in a run of `alignatt eval`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file_sha256: Option<String>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The source of a segment changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The segment.
    pub segment: SegmentId,
    /// All committed words of the segment so far.
    pub committed: Vec<Word>,
    /// The rest of the newest hypothesis: free to change.
    pub tentative: String,
    /// Whether the segment is complete: no later event changes it.
    pub closed: bool,
}

/// The translation of a segment changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The segment.
    pub segment: SegmentId,
    /// The text that this event adds.
    pub delta: String,
    /// All shown text of the segment, `delta` included.
    pub committed: Committed,
    /// The rest of the newest draft, which follows directly after `committed`: free to change.
    pub tentative: String,
    /// Whether the segment is complete: no later event changes it.
    pub closed: bool,
}

/// The attention of a draft, token by token. It comes before the [`Target`] that it explains, and
/// only where attention was captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listen {
    /// The segment.
    pub segment: SegmentId,
    /// The source words that were in the prompt, in order.
    pub source: Vec<String>,
    /// How many of these words, counted from the first, were accessible.
    pub heard: usize,
    /// False: a held draft was judged again because more sound had been heard. No model was called.
    pub drafted: bool,
    /// The tokens of the draft, in order.
    pub tokens: Vec<Token>,
}

/// Timing of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Wall time from the arrival of this step's oldest sound to its last result.
    pub lag_ms: Millis,
    /// Computing time over heard sound since the start. Below 1 the program keeps up.
    pub rtf: f64,
    /// Tokens of the recogniser and the translator per second that they took, since the start.
    pub tokens_per_second: f64,
    /// Length of the tail, the sound of the open segment.
    pub tail_ms: Millis,
    /// Length of the sound that waits for a step.
    pub waiting_ms: Millis,
    /// Time that this step spent in each model.
    pub recognize_ms: Millis,
    /// Time that this step spent in the aligner.
    pub align_ms: Millis,
    /// Time that this step spent in the translator.
    pub translate_ms: Millis,
}

/// A problem that the user should know about. The stream goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The message, as one sentence.
    pub message: String,
}

/// Last event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Number of closed segments.
    pub segments: u32,
    /// Number of committed source words.
    pub words: u64,
    /// Number of tokens written by the recogniser and by the translator.
    pub recognized_tokens: u64,
    /// Number of tokens that the translator wrote.
    pub drafted_tokens: u64,
    /// Positions that the translator computed, and positions that it did not have to compute:
    /// cached beginnings of prompts, and guessed tokens that the model confirmed.
    #[serde(default)]
    pub computed_tokens: u64,
    /// Positions that the translator did not have to compute.
    #[serde(default)]
    pub saved_tokens: u64,
    /// Number of times that the host waited for the device while translating.
    #[serde(default)]
    pub readbacks: u64,
    /// Computing time over heard sound.
    pub rtf: f64,
    /// Tokens of recogniser and translator per second that they took.
    pub tokens_per_second: f64,
    /// The stream was stopped early, or a model failed: the last segment may be incomplete.
    pub interrupted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_what_the_page_says() {
        let event = Event {
            audio_ms: Millis(1700),
            wall_ms: Millis(1812),
            kind: EventKind::Source(Source {
                segment: SegmentId(0),
                committed: vec![Word { text: "Hi".to_owned(), start_ms: Millis(80), end_ms: Millis(240) }],
                tentative: "everyone".to_owned(),
                closed: false,
            }),
        };
        let line = r#"{"audio_ms":1700,"wall_ms":1812,"type":"source","segment":0,"committed":[{"text":"Hi","start_ms":80,"end_ms":240}],"tentative":"everyone","closed":false}"#;
        assert_eq!(serde_json::to_string(&event).ok().as_deref(), Some(line));
        assert_eq!(serde_json::from_str::<Event>(line).ok(), Some(event));
        let listen = r#"{"audio_ms":1700,"wall_ms":1812,"type":"listen","segment":0,"source":["Hi"],"heard":1,"drafted":true,"tokens":[{"text":"Hallo","shown":true,"word":0,"mass":[0.9,0.0,0.1,0.0],"attention":[[0,0.9]]}]}"#;
        let parsed: Option<Event> = serde_json::from_str(listen).ok();
        assert_eq!(parsed.and_then(|e| serde_json::to_string(&e).ok()).as_deref(), Some(listen));
        let start = r#"{"audio_ms":0,"wall_ms":0,"type":"start","version":"0.1.0","source_language":"en","asr":"a","aligner":"b","device":"cpu","chunk_ms":850}"#;
        let parsed: Option<Event> = serde_json::from_str(start).ok();
        assert_eq!(parsed.and_then(|e| serde_json::to_string(&e).ok()).as_deref(), Some(start));
    }
}
