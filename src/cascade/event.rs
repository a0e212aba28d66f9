//! What leaves the cascade: typed events, one JSON object a line.
//!
//! Every event carries `audio_ms` (how much sound had been heard) and `wall_ms` (time since the cascade was
//! made); neither ever goes back. `type` names the kind. Field names are stable: fields may be added,
//! none is renamed. What must hold, and what the tests hold to:
//!
//! * segments are numbered from 0 without gaps, open in order, and each closes once;
//! * in a segment `committed` only grows: words of a `source` keep text and times, and a `target`'s former
//!   `committed` + `delta` is its new `committed`;
//! * word times are absolute, `start_ms <= end_ms`, and no word starts before the one before it has ended;
//! * after `closed: true` nothing more comes of that segment and side;
//! * `start` is first, `end` is last.
//!
//! ```json
//! {"audio_ms":1700,"wall_ms":1812,"type":"source","segment":0,"committed":[{"text":"Hi","start_ms":80,"end_ms":240}],"tentative":"everyone","closed":false}
//! {"audio_ms":1700,"wall_ms":1953,"type":"listen","segment":0,"source":["Hi","everyone"],"heard":1,"drafted":true,"tokens":[{"text":"Hallo","shown":true,"word":0,"mass":[0.71,0.02,0.2,0.07],"on":[[0,0.71],[1,0.02]]},{"text":" zusammen","shown":false,"why":"frontier","word":1,"mass":[0.1,0.6,0.2,0.1],"on":[[0,0.1],[1,0.6]]}]}
//! {"audio_ms":1700,"wall_ms":1954,"type":"target","segment":0,"delta":"Hallo","committed":"Hallo","tentative":"zusammen","closed":false}
//! ```

use serde::{Deserialize, Serialize};

use crate::policy::Committed;
use crate::text::{Language, Millis};

/// A segment's number: 0, 1, 2, … in the order of their sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentId(pub u32);

impl SegmentId {
    pub fn next(self) -> SegmentId {
        SegmentId(self.0.saturating_add(1))
    }
}

/// A committed source word, with its punctuation. Times are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    pub text: String,
    pub start_ms: Millis,
    pub end_ms: Millis,
}

/// One event with its two times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Sound heard so far.
    pub audio_ms: Millis,
    /// Time since the cascade was made.
    pub wall_ms: Millis,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    Start(Start),
    Source(Source),
    Listen(Listen),
    Target(Target),
    Progress(Progress),
    Warning(Warning),
    End(End),
}

/// First event: what runs, and on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Of the program.
    pub version: String,
    pub source_language: Language,
    /// Absent where nothing is translated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_language: Option<Language>,
    /// The recognizer, as a person would name it.
    pub asr: String,
    pub aligner: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mt: Option<String>,
    pub device: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    pub chunk_ms: Millis,
    /// Closed segments that a prompt brings along; absent for none.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub history: usize,
    /// SHA-256 of the context that the translator was given; absent for none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_sha256: Option<String>,
    /// SHA-256 of the head set that the policy asks; absent where it asks none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub heads_sha256: Option<String>,
    /// The sound, as it was named; absent where it has no name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// SHA-256 of the sound's file, in a run of `alignatt eval`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file_sha256: Option<String>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The source of a segment changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub segment: SegmentId,
    /// Words that stay, all of the segment's so far.
    pub committed: Vec<Word>,
    /// The rest of the newest hypothesis: free to change.
    pub tentative: String,
    pub closed: bool,
}

/// The translation of a segment changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub segment: SegmentId,
    /// What this event adds.
    pub delta: String,
    /// All that is shown of the segment, `delta` included.
    pub committed: Committed,
    /// The rest of the newest draft, to be set directly behind `committed`: free to change.
    pub tentative: String,
    pub closed: bool,
}

/// Where the model listened while it wrote a draft, token by token. Comes before the [`Target`] it explains, and only
/// where attention was captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listen {
    pub segment: SegmentId,
    /// The source words that were in the prompt, in order.
    pub source: Vec<String>,
    /// How many of them, from the first, counted as heard.
    pub heard: usize,
    /// False: an earlier draft judged anew because more had been heard; no model was asked.
    pub drafted: bool,
    pub tokens: Vec<Token>,
}

/// One token of a draft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub text: String,
    /// Shown now, or held.
    pub shown: bool,
    /// Why it is held; absent where it is shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// The source word it rests on, by its place in `source`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub word: Option<usize>,
    /// Attention on source words heard, on the others, on the rest of the prompt, on the draft.
    #[serde(serialize_with = "rounded", deserialize_with = "or_nan")]
    pub mass: [f32; 4],
    /// Attention on single source words, by their place, where it is 0.01 at least.
    #[serde(serialize_with = "rounded_pairs")]
    pub on: Vec<(usize, f32)>,
}

/// JSON knows no number that is none: it is null there.
fn or_nan<'de, D: serde::Deserializer<'de>>(from: D) -> Result<[f32; 4], D::Error> {
    Ok(<[Option<f32>; 4]>::deserialize(from)?.map(|value| value.unwrap_or(f32::NAN)))
}

/// Three decimals are what a reader can use.
fn rounded<S: serde::Serializer>(values: &[f32; 4], to: S) -> Result<S::Ok, S::Error> {
    values.map(three_decimals).serialize(to)
}

fn rounded_pairs<S: serde::Serializer>(values: &[(usize, f32)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(|&(word, mass)| (word, three_decimals(mass))))
}

fn three_decimals(value: f32) -> f64 {
    (f64::from(value) * 1000.0).round() / 1000.0
}

/// How a step went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Wall time from the arrival of this step's oldest sound to its last result.
    pub lag_ms: Millis,
    /// Computing time over sound heard, since the start: below 1 keeps up.
    pub rtf: f64,
    /// Tokens written by recognizer and translator over the time they took, since the start.
    pub tokens_per_second: f64,
    /// Sound held for the open segment.
    pub tail_ms: Millis,
    /// Sound that waits to be heard.
    pub waiting_ms: Millis,
    /// This step's time in each model.
    pub recognize_ms: Millis,
    pub align_ms: Millis,
    pub translate_ms: Millis,
}

/// Something the reader should know and the stream goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub message: String,
}

/// Last event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Segments closed.
    pub segments: u32,
    /// Source words committed.
    pub words: u64,
    /// Tokens the recognizer and the translator wrote.
    pub recognized_tokens: u64,
    pub drafted_tokens: u64,
    /// Positions the translator computed, and those it did not have to: known beginnings of prompts, and held tokens
    /// confirmed rather than drafted anew.
    #[serde(default)]
    pub computed_tokens: u64,
    #[serde(default)]
    pub saved_tokens: u64,
    /// Times that the host waited for the device while translating.
    #[serde(default)]
    pub readbacks: u64,
    pub rtf: f64,
    pub tokens_per_second: f64,
    /// The stream was broken off, or a model failed: the last segment may be incomplete.
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
        let start = r#"{"audio_ms":0,"wall_ms":0,"type":"start","version":"0.1.0","source_language":"en","asr":"a","aligner":"b","device":"cpu","chunk_ms":850}"#;
        let parsed: Option<Event> = serde_json::from_str(start).ok();
        assert_eq!(parsed.and_then(|e| serde_json::to_string(&e).ok()).as_deref(), Some(start));
    }
}
