//! The MT protocol, version 1: words of somebody else's recogniser in, their translation out. It is
//! that of AlignAtt4LLM's text server, so its clients can speak to this server. `/mt`, or any path
//! of a port of its own. `docs/serving.md` describes it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::App;
use super::guard::Who;
use super::reply::RETRY_MS;
use super::session::{Refused, Wanted};
use super::socket::{self, Incoming, Lost, Reader, Writer, split};
use super::utterances::{self, Answer, Inbox};
use crate::cascade::settings::MOST_HISTORY;
use crate::cascade::utterances::{Earlier, Update};
use crate::policy::PolicyKind;
use crate::policy::kind::Preset;
use crate::text::{Language, Millis};

/// The version that is spoken here.
const VERSION: i64 = 1;
/// `init` must come within this time.
const FIRST: Duration = Duration::from_secs(10);
/// The largest context and accepted text, in bytes.
const LARGEST_TEXT: usize = 4 << 10;

/// Codes with which the server closes a socket.
mod close {
    pub(super) const DONE: u16 = 1000;
    pub(super) const TOO_LARGE: u16 = 1009;
    pub(super) const FAILED: u16 = 1011;
    pub(super) const RESTARTING: u16 = 1012;
    pub(super) const TRY_LATER: u16 = 1013;
    pub(super) const BAD: u16 = 4400;
    pub(super) const IDLE: u16 = 4408;
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Init {
    protocol_version: i64,
    source_lang: Option<String>,
    target_lang: Option<String>,
    preset: Option<String>,
    overrides: Option<Map<String, Value>>,
    context_text: Option<String>,
    history: Option<Vec<(String, String)>>,
    accepted_target_prefix: Option<String>,
}

/// What a client says.
enum Said {
    Init(Box<Init>),
    Update(Box<Update>),
    /// It makes no sense, for this reason.
    Nonsense(String),
}

impl Said {
    fn of(text: &str) -> Said {
        let message: Value = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(_) => return Said::Nonsense("a message is not JSON".to_owned()),
        };
        let kind = message["type"].as_str().unwrap_or_default().to_owned();
        let said = match kind.as_str() {
            "init" => Init::deserialize(message).map(|init| Said::Init(Box::new(init))),
            "update" => Update::deserialize(message).map(|update| Said::Update(Box::new(update))),
            _ => return Said::Nonsense("the type of a message is init or update".to_owned()),
        };
        said.unwrap_or_else(|error| Said::Nonsense(format!("a message of type {kind} cannot be read: {error}")))
    }
}

/// An error, as the protocol says it.
struct Refusal {
    close: u16,
    code: &'static str,
    message: String,
    /// The directions that there are.
    supported: Option<Vec<String>>,
}

impl Refusal {
    fn new(close: u16, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { close, code, message: message.into(), supported: None }
    }

    fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(close::BAD, "bad_protocol", message)
    }

    fn json(&self) -> Value {
        let mut error = json!({"type": "error", "code": self.code, "message": self.message});
        if self.close == close::TRY_LATER {
            error["retry_after_ms"] = RETRY_MS.into();
        }
        if let Some(supported) = &self.supported {
            error["supported"] = json!(supported);
        }
        error
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        match refused {
            Refused::Full(_) | Refused::Draining | Refused::TooMany => {
                Refusal::new(close::TRY_LATER, "busy", refused.to_string())
            }
            Refused::Bad(message) => Refusal::bad(message),
            Refused::Device(_) | Refused::Log(_) => {
                Refusal::new(close::FAILED, "processing_failed", refused.to_string())
            }
        }
    }
}

/// `GET /mt`.
pub(super) async fn upgrade(
    State(app): State<Arc<App>>,
    axum::Extension(who): axum::Extension<Who>,
    upgrade: WebSocketUpgrade,
) -> Response {
    socket::limited(upgrade).protocols([socket::TOKEN]).on_upgrade(move |socket| async move {
        app.sessions.tracked(serve(socket, &app, &who)).await;
    })
}

async fn serve(socket: WebSocket, app: &Arc<App>, who: &Who) {
    let (reader, mut writer) = split(socket);
    let (code, reason) = match run(reader, &mut writer, app, who).await {
        Ok(over) => over,
        Err(refusal) => {
            // A peer that is gone needs no reason.
            let _ = writer.json(&refusal.json()).await;
            (refusal.close, refusal.message)
        }
    };
    app.sessions.metrics.closed(code);
    writer.close(code, &reason).await;
}

async fn run(mut reader: Reader, writer: &mut Writer, app: &Arc<App>, who: &Who) -> Result<(u16, String), Refusal> {
    // A client takes its place when it connects, as the protocol wants it.
    let _place = app.sessions.place(&|| app.place(who))?;
    let cost = app.sessions.admit(false)?;
    let restarting = || (close::RESTARTING, "the server is restarting; connect again".to_owned());
    let first = tokio::select! {
        first = first(&mut reader, writer) => first?,
        () = app.sessions.draining.cancelled() => return Ok(restarting()),
    };
    let Some(init) = first else { return Ok((close::DONE, String::new())) };
    let Asked { wanted, earlier, preset } = asked(app, init)?;
    let direction = format!("{}-{}", wanted.from, wanted.to.map_or("", Language::code));
    let mut stream = utterances::open(&app.sessions, &wanted, app.most_words, earlier, cost).await?;
    let model = app.sessions.set.mt.as_ref().map(|mt| super::pages::named(&mt.name));
    let hello = json!({
        "type": "init_ok", "protocol_version": VERSION, "direction": direction, "preset": preset, "model": model,
    });
    if writer.json(&hello).await.is_err() {
        return Ok((close::DONE, String::new()));
    }
    let (says, mut said) = mpsc::channel(4);
    let inbox = stream.inbox.clone();
    tokio::select! {
        over = hear(reader, &inbox, says) => over,
        over = tell(&mut stream.answers, writer, &mut said) => over,
        () = app.sessions.draining.cancelled() => Ok(restarting()),
    }
}

/// Waits for `init`; `None` where the client goes away.
async fn first(reader: &mut Reader, writer: &mut Writer) -> Result<Option<Init>, Refusal> {
    let until = Instant::now() + FIRST;
    loop {
        let late = |_| Refusal::new(close::IDLE, "bad_protocol", "no init came within 10 s");
        let text = match timeout_at(until, reader.next()).await.map_err(late)? {
            Incoming::Closed => return Ok(None),
            Incoming::TooLong => return Err(too_long()),
            Incoming::Binary(_) => continue,
            Incoming::Text(text) => text,
        };
        let why = match Said::of(&text) {
            Said::Init(init) => return Ok(Some(*init)),
            Said::Update(_) => "an update before init".to_owned(),
            Said::Nonsense(why) => why,
        };
        if writer.json(&Refusal::bad(why).json()).await.is_err() {
            return Ok(None);
        }
    }
}

fn too_long() -> Refusal {
    Refusal::new(close::TOO_LARGE, "bad_protocol", "a message is longer than 64 KiB")
}

/// Takes updates until the client is gone.
async fn hear(mut reader: Reader, inbox: &Inbox, says: mpsc::Sender<Refusal>) -> Result<(u16, String), Refusal> {
    loop {
        let why = match reader.next().await {
            Incoming::Closed => return Ok((close::DONE, String::new())),
            Incoming::TooLong => return Err(too_long()),
            Incoming::Binary(_) => continue,
            Incoming::Text(text) => match Said::of(&text) {
                Said::Update(update) => {
                    inbox.put(*update).await;
                    continue;
                }
                Said::Init(_) => "the session has been initialized".to_owned(),
                Said::Nonsense(why) => why,
            },
        };
        // The other half is gone only with this one.
        let _ = says.send(Refusal::bad(why)).await;
    }
}

/// Sends translations until the client or the device is gone.
async fn tell(
    answers: &mut mpsc::Receiver<Answer>,
    writer: &mut Writer,
    said: &mut mpsc::Receiver<Refusal>,
) -> Result<(u16, String), Refusal> {
    loop {
        let sent = tokio::select! {
            biased;
            Some(refusal) = said.recv() => writer.json(&refusal.json()).await,
            answer = answers.recv() => match answer {
                Some(Answer::Translation(translation)) => writer.json(&translation).await,
                Some(Answer::Failed { seq, message }) => {
                    let error = json!({"type": "error", "code": "processing_failed", "seq": seq, "message": message});
                    writer.json(&error).await
                }
                None => return Err(Refusal::new(close::FAILED, "processing_failed", "the device's thread has ended")),
            },
            sent = writer.ping() => sent,
        };
        if let Err(Lost) = sent {
            return Ok((close::DONE, String::new()));
        }
    }
}

/// What a client asks for.
struct Asked {
    wanted: Wanted,
    earlier: Earlier,
    /// The name of the policy as the client gave it, or else the server's.
    preset: String,
}

fn asked(app: &App, init: Init) -> Result<Asked, Refusal> {
    if init.protocol_version != VERSION {
        return Err(Refusal::bad(format!("the protocol_version must be {VERSION}")));
    }
    let defaults = &app.sessions.defaults;
    let named = |language: &Option<String>, default: Option<Language>| match language {
        Some(code) => code.parse().map(Some),
        None => Ok(default),
    };
    let from = named(&init.source_lang, Some(defaults.from));
    let to = named(&init.target_lang, defaults.to);
    let preset = init.preset.filter(|name| !name.trim().is_empty());
    let base = match &preset {
        Some(name) => policy_named(name).map_err(Refusal::bad)?,
        None => defaults.policy,
    };
    let overrides = init.overrides.unwrap_or_default();
    let settings = Chosen::of(base, &overrides).map_err(Refusal::bad)?;
    overrides.keys().filter(|name| !HONOURED.contains(&name.as_str())).for_each(|_| app.sessions.metrics.ignored("mt"));
    let (Ok(Some(from)), Ok(Some(to))) = (from, to) else {
        return Err(unsupported(app, settings.policy));
    };
    if from == to || !app.sessions.set.targets(from, settings.policy.heads_len()).contains(&to) {
        return Err(unsupported(app, settings.policy));
    }
    let context = init.context_text.filter(|text| !text.trim().is_empty());
    let accepted = init.accepted_target_prefix.unwrap_or_default();
    if context.as_ref().is_some_and(|text| text.len() > LARGEST_TEXT) || accepted.len() > LARGEST_TEXT {
        return Err(Refusal::bad(format!("context_text and accepted_target_prefix have at most {LARGEST_TEXT} bytes")));
    }
    let wanted = Wanted {
        from,
        to: Some(to),
        policy: settings.policy.to_string(),
        chunk_ms: None,
        context: context.unwrap_or_else(|| defaults.context.clone()),
        terms: defaults.terms.clone(),
        history: settings.history,
        text: true,
    };
    let earlier = Earlier { history: init.history.unwrap_or_default(), accepted };
    Ok(Asked { wanted, earlier, preset: preset.unwrap_or_else(|| defaults.policy.to_string()) })
}

fn unsupported(app: &App, policy: PolicyKind) -> Refusal {
    let mut supported = Vec::new();
    for from in Language::codes().filter_map(|code| code.parse::<Language>().ok()) {
        let targets = app.sessions.set.targets(from, policy.heads_len());
        supported.extend(targets.iter().filter(|to| **to != from).map(|to| format!("{from}-{to}")));
    }
    let message = "this direction is not available on this server";
    Refusal { supported: Some(supported), ..Refusal::new(close::BAD, "unsupported_direction", message) }
}

/// The policy that a client names: one of ours, or a preset of AlignAtt4LLM's.
fn policy_named(name: &str) -> Result<PolicyKind, String> {
    let preset = match name.trim() {
        "gemma_low_latency" | "main_low_latency" => Preset::Low,
        "gemma_high_latency" | "main_high_latency" => Preset::High,
        name => return name.parse().map_err(|error: crate::policy::kind::UnknownPolicy| error.to_string()),
    };
    Ok(PolicyKind::AlignAtt(preset, preset.knobs()))
}

/// The overrides that have a counterpart here. All others are ignored.
const HONOURED: [&str; 5] = [
    "translation_alignatt_inaccessible_ms",
    "translation_alignatt_border_margin",
    "translation_alignatt_hold_back_target_units",
    "partial_max_new_tokens",
    "max_history_utterances",
];

/// A policy with a client's overrides.
#[derive(Debug, PartialEq)]
struct Chosen {
    policy: PolicyKind,
    history: usize,
}

impl Chosen {
    fn of(base: PolicyKind, overrides: &Map<String, Value>) -> Result<Chosen, String> {
        let number = |name: &str| match overrides.get(name) {
            None | Some(Value::Null) => Ok(None),
            // As a float, because clients also write whole numbers as 250.0.
            Some(value) => match value.as_f64().filter(|number| (0.0..1e9).contains(number)) {
                Some(number) => Ok(Some(number.round() as u64)),
                None => Err(format!("the override {name} is not a number of that kind")),
            },
        };
        let [inaccessible, margin, hold_last, draft_len, history] = HONOURED.map(number);
        let count = |number: Option<u64>| number.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let history = count(history?).unwrap_or(0).min(MOST_HISTORY);
        let (inaccessible, margin, hold_last, draft_len) =
            (inaccessible?, count(margin?), count(hold_last?), count(draft_len?));
        let PolicyKind::AlignAtt(_, mut knobs) = base else {
            return Ok(Chosen { policy: base, history });
        };
        // The client's committed words are accessible at once, unless it wants otherwise.
        knobs.holdback = inaccessible.map_or(Millis::ZERO, Millis);
        knobs.margin = margin.unwrap_or(knobs.margin);
        knobs.hold_last = hold_last.unwrap_or(knobs.hold_last);
        knobs.draft_len = draft_len.unwrap_or(knobs.draft_len);
        knobs.check().map_err(|error| error.to_string())?;
        // Under this name, every knob that differs is part of the policy's text.
        Ok(Chosen { policy: PolicyKind::AlignAtt(Preset::Low, knobs), history })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(base: &str, overrides: Value) -> Result<String, String> {
        let overrides = overrides.as_object().cloned().unwrap_or_default();
        let chosen = Chosen::of(policy_named(base)?, &overrides)?;
        assert_eq!(chosen.policy.to_string().parse(), Ok(chosen.policy), "it goes through its text");
        Ok(format!("{} {}", chosen.policy, chosen.history))
    }

    #[test]
    fn overrides_set_knobs() {
        assert_eq!(chosen("alignatt", json!({})).as_deref(), Ok("alignatt:holdback=0 0"));
        let names = json!({
            "translation_alignatt_inaccessible_ms": 250.0,
            "translation_alignatt_border_margin": 2,
            "translation_alignatt_hold_back_target_units": 0,
            "partial_max_new_tokens": 24,
            "max_history_utterances": 99,
            "translation_alignatt_min_emit_target_units": 3,
            "mt_vllm_gpu_memory_utilization": 0.9,
        });
        let all = "alignatt:margin=2,holdback=250,hold-last=0,draft=24 8";
        assert_eq!(chosen("gemma_low_latency", names).as_deref(), Ok(all));
        let high = chosen("main_high_latency", json!({})).unwrap_or_default();
        assert_eq!(high, "alignatt:holdback=0,stall=6000 0");
        assert!(chosen("ref", json!({})).is_ok_and(|policy| policy.contains("count-columns=on")));
        assert_eq!(chosen("offline", json!({"partial_max_new_tokens": 4})).as_deref(), Ok("offline 0"));
        assert!(chosen("quick", json!({})).is_err());
        for wrong in [json!("two"), json!(-1), json!(900), json!(1e300), json!([1])] {
            assert!(chosen("alignatt", json!({"translation_alignatt_border_margin": wrong})).is_err(), "{wrong}");
        }
    }

    #[test]
    fn messages_are_read_or_refused() {
        let update = r#"{"type":"update","seq":1,"utterance_id":0,"words":[["Hello",0,400.5],["you",null,null],["all"]],
            "tail":null,"clock_ms":null,"is_final":false,"more":[]}"#;
        assert!(matches!(Said::of(update), Said::Update(update) if update.words.len() == 3));
        let init = r#"{"type":"init","protocol_version":1,"history":[["a","b"]],"overrides":null}"#;
        assert!(matches!(Said::of(init), Said::Init(init) if init.protocol_version == 1));
        for nonsense in [
            "",
            "[]",
            "{}",
            r#"{"type":"flush"}"#,
            r#"{"type":"update","words":[[1,2,3]]}"#,
            r#"{"type":"update","words":[[]]}"#,
            r#"{"type":"update","words":[["a","b"]]}"#,
            r#"{"type":"update","seq":"x"}"#,
            r#"{"type":"init","history":[["a"]]}"#,
        ] {
            assert!(matches!(Said::of(nonsense), Said::Nonsense(_)), "{nonsense}");
        }
    }
}
