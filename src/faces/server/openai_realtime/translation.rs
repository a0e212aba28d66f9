//! A translation session: `session.output_transcript.delta`, and with it the source if the client
//! wants that.

use serde_json::{Value, json};

use super::{Protocol, expiry, field, immutable, language};
use crate::audio::wav::{PcmSpec, SampleKind};
use crate::faces::server::App;
use crate::faces::server::feed::{Mark, Speech};
use crate::faces::server::reply::Problem;
use crate::faces::server::running_text::RunningText;
use crate::faces::server::secret::Secret;
use crate::faces::server::session::{News, Wanted};
use crate::faces::subtitles::Side;
use crate::text::{Language, Millis};

/// `elapsed_ms` advances in steps of this.
const FRAME_MS: u64 = 200;

pub(super) struct Translation {
    id: String,
    model: String,
    asked: Asked,
    source: RunningText,
    target: RunningText,
}

/// What the client wants.
#[derive(Clone)]
struct Asked {
    from: Language,
    to: Option<Language>,
    /// `Some`: the source is sent, too. The value is the client's own.
    transcription: Value,
    noise_reduction: Value,
}

impl Translation {
    pub(super) fn new(app: &App, model: Option<String>) -> Translation {
        let defaults = &app.sessions.defaults;
        let asked =
            Asked { from: defaults.from, to: defaults.to, transcription: Value::Null, noise_reduction: Value::Null };
        Translation {
            id: Secret::new("sess").text,
            model: model.unwrap_or_else(|| "alignatt".to_owned()),
            asked,
            source: RunningText::default(),
            target: RunningText::default(),
        }
    }
}

impl Protocol for Translation {
    fn session(&self) -> Value {
        let Asked { to, transcription, noise_reduction, .. } = &self.asked;
        json!({
            "id": self.id,
            "type": "translation",
            "model": self.model,
            "expires_at": expiry(),
            "audio": {
                "input": {"transcription": transcription, "noise_reduction": noise_reduction},
                "output": {"language": to},
            },
        })
    }

    fn update(&mut self, app: &App, session: &Value, live: bool) -> Result<(), Problem> {
        let mut asked = self.asked.clone();
        if let Some(to) = language(field(session, &["audio", "output", "language"]), "session.audio.output.language")? {
            asked.to = Some(to);
        }
        if let Some(transcription) = field(session, &["audio", "input", "transcription"]) {
            asked.transcription = transcription.clone();
            let param = "session.audio.input.transcription.language";
            if let Some(from) = language(transcription.get("language"), param)? {
                asked.from = from;
            }
        }
        if let Some(noise_reduction) = field(session, &["audio", "input", "noise_reduction"]) {
            asked.noise_reduction = noise_reduction.clone();
        }
        if live && asked.to != self.asked.to {
            return Err(immutable("session.audio.output.language"));
        }
        if live && asked.from != self.asked.from {
            return Err(immutable("session.audio.input.transcription.language"));
        }
        if asked.to.is_some() {
            check(app, &asked)?;
        }
        self.asked = asked;
        Ok(())
    }

    fn wanted(&self, app: &App) -> Result<Wanted, Problem> {
        check(app, &self.asked)
    }

    fn pcm(&self) -> PcmSpec {
        PcmSpec { rate: 24_000, channels: 1, kind: SampleKind::S16 }
    }

    fn silence(&self) -> Option<Millis> {
        None
    }

    fn news(&mut self, news: &News) -> Vec<Value> {
        let News::Records(records) = news else { return Vec::new() };
        let mut events = Vec::new();
        for record in records {
            let elapsed = record.audio_ms.0 / FRAME_MS * FRAME_MS;
            let source = self.source.record(record, Side::Source);
            let target = self.target.record(record, Side::Target);
            if !source.is_empty() && !self.asked.transcription.is_null() {
                events.push(json!({"type": "session.input_transcript.delta", "delta": source, "elapsed_ms": elapsed}));
            }
            if !target.is_empty() {
                events.push(json!({"type": "session.output_transcript.delta", "delta": target, "elapsed_ms": elapsed}));
            }
        }
        events
    }

    fn speech(&mut self, _: Speech) -> Vec<Value> {
        Vec::new()
    }

    fn commit(&mut self, _: Option<Mark>) -> Result<Vec<Value>, Problem> {
        Ok(Vec::new())
    }

    fn clear(&mut self, _: Option<Mark>) {}

    fn end(&mut self, interrupted: bool) -> Vec<Value> {
        if interrupted { Vec::new() } else { vec![json!({"type": "session.closed"})] }
    }

    fn closes(&self) -> bool {
        true
    }
}

/// The session that the client wants, if there can be one.
fn check(app: &App, asked: &Asked) -> Result<Wanted, Problem> {
    let param = "session.audio.output.language";
    let to = asked.to.ok_or_else(|| Problem::bad(param, "the language to translate to is missing"))?;
    let wanted = app.sessions.usual(asked.from, Some(to));
    app.sessions.check(&wanted).map_err(|refused| Problem { param: Some(param), ..refused.into() })?;
    Ok(wanted)
}
