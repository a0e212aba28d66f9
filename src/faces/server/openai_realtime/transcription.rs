//! A transcription session. Its sound is parted into items: at pauses (`server_vad`), or where the
//! client commits. Each item has its deltas and its whole text.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{LARGEST_PROMPT, Protocol, expiry, field, immutable, language};
use crate::audio::wav::{PcmSpec, SampleKind};
use crate::cascade::SAMPLE_RATE;
use crate::faces::server::App;
use crate::faces::server::feed::{Mark, Speech};
use crate::faces::server::record::{Commit, Record};
use crate::faces::server::reply::Problem;
use crate::faces::server::running_text::RunningText;
use crate::faces::server::secret::Secret;
use crate::faces::server::session::{News, Wanted};
use crate::faces::subtitles::Side;
use crate::text::{Language, Millis};

/// An item has at least this much sound, in samples: 100 ms.
const SHORTEST: u64 = SAMPLE_RATE as u64 / 10;
/// Items that wait for their text. A client that commits faster than that is not a person who
/// speaks.
const MOST_ITEMS: usize = 1_000;

pub(super) struct Transcription {
    id: String,
    asked: Asked,
    /// Items without their whole text. Only the last can be open.
    items: VecDeque<Item>,
    /// The item before, as clients see them.
    previous: Option<String>,
    /// Samples up to the end of the newest item that is not open.
    ended: u64,
}

/// What the client wants.
#[derive(Clone)]
struct Asked {
    from: Language,
    /// The client's own `transcription`.
    transcription: Value,
    prompt: Option<String>,
    format: Format,
    /// `None`: the client commits.
    vad: Option<VoiceDetection>,
    noise_reduction: Value,
    include: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Pcm,
    MuLaw,
    ALaw,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct VoiceDetection {
    threshold: f64,
    prefix: Millis,
    silence: Millis,
}

impl Default for VoiceDetection {
    fn default() -> VoiceDetection {
        VoiceDetection { threshold: 0.5, prefix: Millis(300), silence: Millis(500) }
    }
}

/// A part of the sound.
struct Item {
    id: String,
    /// Where it begins, in samples.
    from: u64,
    /// Where it ends; `None`: it is open.
    mark: Option<Mark>,
    running: RunningText,
    text: String,
    /// Its sound was taken back.
    cleared: bool,
}

impl Transcription {
    pub(super) fn new(app: &App, model: Option<String>) -> Transcription {
        let asked = Asked {
            from: app.sessions.defaults.from,
            transcription: model.map_or(Value::Null, |model| json!({"model": model})),
            prompt: None,
            format: Format::Pcm,
            vad: Some(VoiceDetection::default()),
            noise_reduction: Value::Null,
            include: Value::Null,
        };
        Transcription { id: Secret::new("sess").text, asked, items: VecDeque::new(), previous: None, ended: 0 }
    }

    /// The item of what was committed behind `flushes` flushes.
    fn item_behind(&mut self, flushes: u64) -> &mut Item {
        let found = self.items.iter().position(|item| item.mark.is_none_or(|mark| mark.flush > flushes));
        let index = found.unwrap_or_else(|| self.begin_item());
        &mut self.items[index]
    }

    fn begin_item(&mut self) -> usize {
        self.items.push_back(Item {
            id: Secret::new("item").text,
            from: self.ended,
            mark: None,
            running: RunningText::default(),
            text: String::new(),
            cleared: false,
        });
        self.items.len() - 1
    }

    /// The open item. There is one after this.
    fn open_item(&mut self) -> &mut Item {
        let open = self.items.back().is_some_and(|item| item.mark.is_none());
        let index = if open { self.items.len() - 1 } else { self.begin_item() };
        &mut self.items[index]
    }

    /// Says what a record adds.
    fn record(&mut self, record: &Record) -> Vec<Value> {
        let mut events = self.complete(record.flushes);
        if !record.commits.iter().any(|commit| matches!(commit, Commit::Source { words, .. } if !words.is_empty())) {
            return events;
        }
        let item = self.item_behind(record.flushes);
        let delta = item.running.record(record, Side::Source);
        item.text.push_str(&delta);
        if !item.cleared {
            let kind = "conversation.item.input_audio_transcription.delta";
            events.push(json!({"type": kind, "item_id": item.id, "content_index": 0, "delta": delta}));
        }
        events
    }

    /// Completes the items whose sound was heard when `flushes` flushes were done.
    fn complete(&mut self, flushes: u64) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(item) = self.items.pop_front_if(|item| item.mark.is_some_and(|mark| mark.flush <= flushes)) {
            events.extend(completed(item));
        }
        events
    }

    /// Ends the open item.
    fn end_item(&mut self, mark: Mark) -> Vec<Value> {
        let previous = self.previous.clone();
        let item = self.open_item();
        item.mark = Some(mark);
        let id = item.id.clone();
        self.ended = mark.samples;
        self.previous = Some(id.clone());
        let item = json!({
            "id": id, "object": "realtime.item", "type": "message", "status": "completed", "role": "user",
            "content": [{"type": "input_audio", "transcript": null}],
        });
        vec![
            json!({"type": "input_audio_buffer.committed", "item_id": id, "previous_item_id": previous}),
            json!({"type": "conversation.item.added", "item": item, "previous_item_id": previous}),
            json!({"type": "conversation.item.done", "item": item, "previous_item_id": previous}),
        ]
    }
}

impl Protocol for Transcription {
    fn session(&self) -> Value {
        let Asked { from, transcription, format, vad, noise_reduction, include, prompt } = &self.asked;
        let format = match format {
            Format::Pcm => json!({"type": "audio/pcm", "rate": 24_000}),
            Format::MuLaw => json!({"type": "audio/pcmu"}),
            Format::ALaw => json!({"type": "audio/pcma"}),
        };
        let vad = vad.map(|vad| {
            json!({
                "type": "server_vad", "threshold": vad.threshold, "prefix_padding_ms": vad.prefix,
                "silence_duration_ms": vad.silence,
            })
        });
        let model = transcription.get("model").and_then(Value::as_str).unwrap_or("alignatt");
        json!({
            "id": self.id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "expires_at": expiry(),
            "audio": {"input": {
                "format": format,
                "transcription": {"model": model, "language": from, "prompt": prompt.as_deref().unwrap_or_default()},
                "noise_reduction": noise_reduction,
                "turn_detection": vad,
            }},
            "include": include,
        })
    }

    fn update(&mut self, app: &App, session: &Value, live: bool) -> Result<(), Problem> {
        if session.get("type").is_some_and(|kind| kind != "transcription") {
            return Err(Problem::bad("session.type", "the session is of type `transcription`"));
        }
        let mut asked = self.asked.clone();
        let Some(input) = field(session, &["audio", "input"]) else { return Ok(()) };
        if let Some(format) = input.get("format").filter(|format| !format.is_null()) {
            asked.format = format_of(format)?;
        }
        if let Some(transcription) = input.get("transcription").filter(|value| !value.is_null()) {
            asked.transcription = transcription.clone();
            let param = "session.audio.input.transcription.language";
            if let Some(from) = language(transcription.get("language"), param)? {
                asked.from = from;
            }
            if let Some(prompt) = transcription.get("prompt").and_then(Value::as_str) {
                if prompt.len() > LARGEST_PROMPT {
                    let what = format!("the prompt is longer than {LARGEST_PROMPT} bytes");
                    return Err(Problem::bad("session.audio.input.transcription.prompt", what));
                }
                asked.prompt = Some(prompt.to_owned()).filter(|prompt| !prompt.is_empty());
            }
        }
        if let Some(vad) = input.get("turn_detection") {
            asked.vad = vad_of(vad)?;
        }
        if let Some(noise_reduction) = input.get("noise_reduction") {
            asked.noise_reduction = noise_reduction.clone();
        }
        if let Some(include) = session.get("include") {
            asked.include = include.clone();
        }
        if live && asked.from != self.asked.from {
            return Err(immutable("session.audio.input.transcription.language"));
        }
        if live && asked.prompt != self.asked.prompt {
            return Err(immutable("session.audio.input.transcription.prompt"));
        }
        if live && asked.format != self.asked.format {
            return Err(immutable("session.audio.input.format"));
        }
        let checked = Transcription { asked, ..Transcription::new(app, None) };
        checked.wanted(app)?;
        self.asked = checked.asked;
        Ok(())
    }

    fn wanted(&self, app: &App) -> Result<Wanted, Problem> {
        let mut wanted = app.sessions.usual(self.asked.from, None);
        if let Some(prompt) = &self.asked.prompt {
            wanted.context.clone_from(prompt);
        }
        app.sessions.check(&wanted)?;
        Ok(wanted)
    }

    fn pcm(&self) -> PcmSpec {
        let (rate, kind) = match self.asked.format {
            Format::Pcm => (24_000, SampleKind::S16),
            Format::MuLaw => (8_000, SampleKind::MuLaw),
            Format::ALaw => (8_000, SampleKind::ALaw),
        };
        PcmSpec { rate, channels: 1, kind }
    }

    fn silence(&self) -> Option<Millis> {
        self.asked.vad.map(|vad| vad.silence)
    }

    fn news(&mut self, news: &News) -> Vec<Value> {
        match news {
            News::Records(records) => records.iter().flat_map(|record| self.record(record)).collect(),
            News::Volatile(now) => self.complete(now.flushes),
        }
    }

    fn speech(&mut self, speech: Speech) -> Vec<Value> {
        let Some(vad) = self.asked.vad else { return Vec::new() };
        match speech {
            Speech::Began { at } => {
                let id = self.open_item().id.clone();
                let start = at.0.saturating_sub(vad.prefix.0);
                vec![json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": start, "item_id": id})]
            }
            Speech::Ended { at, mark: Some(mark) } => {
                let id = self.open_item().id.clone();
                let stopped = json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at, "item_id": id});
                let mut events = vec![stopped];
                events.extend(self.end_item(mark));
                events
            }
            Speech::Ended { mark: None, .. } => Vec::new(),
        }
    }

    fn commit(&mut self, mark: Option<Mark>) -> Result<Vec<Value>, Problem> {
        let Some(mark) = mark.filter(|mark| mark.samples >= self.ended + SHORTEST) else {
            let what = "there is less than 100 ms of sound to commit";
            return Err(Problem {
                code: Some("input_audio_buffer_commit_empty"),
                ..Problem::new(axum::http::StatusCode::BAD_REQUEST, what)
            });
        };
        if self.items.len() >= MOST_ITEMS {
            return Err(Problem::new(axum::http::StatusCode::TOO_MANY_REQUESTS, "too many items wait for their text"));
        }
        Ok(self.end_item(mark))
    }

    fn clear(&mut self, mark: Option<Mark>) {
        if let Some(mark) = mark {
            let item = self.open_item();
            (item.mark, item.cleared) = (Some(mark), true);
            self.ended = mark.samples;
        }
    }

    fn end(&mut self, interrupted: bool) -> Vec<Value> {
        let items = std::mem::take(&mut self.items);
        let whole = |item: Item| match interrupted {
            true => failed(item),
            false => completed(item),
        };
        items.into_iter().filter_map(whole).collect()
    }

    fn closes(&self) -> bool {
        false
    }
}

fn completed(item: Item) -> Option<Value> {
    let length = item.mark.map_or(0, |mark| mark.samples - item.from);
    let seconds = Millis(length * 1000 / u64::from(SAMPLE_RATE)).seconds();
    (!item.cleared).then(|| {
        json!({
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": item.id, "content_index": 0, "transcript": item.text,
            "usage": {"type": "duration", "seconds": seconds},
        })
    })
}

fn failed(item: Item) -> Option<Value> {
    let error = super::super::jobs::interrupted().json()["error"].take();
    (!item.cleared).then(|| {
        json!({
            "type": "conversation.item.input_audio_transcription.failed",
            "item_id": item.id, "content_index": 0, "error": error,
        })
    })
}

fn format_of(format: &Value) -> Result<Format, Problem> {
    // The former form of this field is its name alone.
    let name = format.as_str().or_else(|| format.get("type").and_then(Value::as_str)).unwrap_or_default();
    let rate = format.get("rate").filter(|rate| !rate.is_null());
    match name {
        "audio/pcm" | "pcm16" if rate.is_none_or(|rate| rate == 24_000) => Ok(Format::Pcm),
        "audio/pcmu" | "g711_ulaw" => Ok(Format::MuLaw),
        "audio/pcma" | "g711_alaw" => Ok(Format::ALaw),
        _ => Err(Problem::bad(
            "session.audio.input.format",
            "the sound is audio/pcm at 24000 Hz, audio/pcmu or audio/pcma",
        )),
    }
}

/// How speech is detected; `None`: the client commits. Nothing here knows whether a sentence makes
/// sense yet, so `semantic_vad` becomes `server_vad` with its usual silence, whatever its
/// `eagerness`.
fn vad_of(vad: &Value) -> Result<Option<VoiceDetection>, Problem> {
    let param = "session.audio.input.turn_detection";
    if vad.is_null() {
        return Ok(None);
    }
    let usual = VoiceDetection::default();
    match vad.get("type").filter(|kind| !kind.is_null()).map(Value::as_str) {
        None | Some(Some("server_vad")) => {}
        Some(Some("semantic_vad")) => return Ok(Some(usual)),
        Some(_) => return Err(Problem::bad(param, "turn detection is `server_vad`, `semantic_vad` or null")),
    }
    let millis = |name: &str, usual: Millis| match vad.get(name) {
        None | Some(Value::Null) => Ok(usual),
        Some(value) => {
            let given = value.as_u64().filter(|ms| *ms <= 60_000).map(Millis);
            given.ok_or_else(|| Problem::bad(param, format!("`{name}` is a number of milliseconds, at most 60000")))
        }
    };
    let threshold = vad.get("threshold").and_then(Value::as_f64).unwrap_or(usual.threshold);
    let (prefix, silence) = (millis("prefix_padding_ms", usual.prefix)?, millis("silence_duration_ms", usual.silence)?);
    Ok(Some(VoiceDetection { threshold, prefix, silence }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_turn_detection_are_told_apart() {
        let usual = VoiceDetection::default();
        assert_eq!(vad_of(&Value::Null).unwrap(), None);
        assert_eq!(vad_of(&json!({})).unwrap(), Some(usual));
        let asked = vad_of(&json!({"type": "server_vad", "silence_duration_ms": 900})).unwrap();
        assert_eq!(asked, Some(VoiceDetection { silence: Millis(900), ..usual }));
        assert_eq!(vad_of(&json!({"type": "semantic_vad", "eagerness": "high"})).unwrap(), Some(usual));
        for wrong in [
            json!({"type": "none"}),
            json!({"type": 7}),
            json!({"type": "server_vad", "silence_duration_ms": 60_001}),
            json!({"type": "server_vad", "prefix_padding_ms": -1}),
        ] {
            let problem = vad_of(&wrong).unwrap_err();
            assert_eq!(problem.param, Some("session.audio.input.turn_detection"), "{wrong}");
        }
    }
}
