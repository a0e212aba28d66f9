//! OpenAI's realtime API, as far as it is about text: `GET /v1/realtime/translations` and
//! `GET /v1/realtime?intent=transcription`. Sound comes as base64 in JSON. Only committed text is
//! sent, so deltas are never taken back.
//!
//! | file | what it holds |
//! |---|---|
//! | `translation`, `transcription` | what the two kinds of sessions know and say |
//! | `secrets` | tokens that a page gets for one session |

mod secrets;
mod transcription;
mod translation;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(super) use self::secrets::{Caller, Secrets, known_caller};
use self::transcription::Transcription;
use self::translation::Translation;
use super::App;
use super::feed::{Feed, Form, Listener, Mark, Speech};
use super::guard::Who;
use super::http::small_body;
use super::owned::Owned;
use super::reply::Problem;
use super::secret::Secret;
use super::session::{Follower, News, Wanted};
use super::socket::{Incoming, Lost, Writer, pump, split};
use crate::audio::wav::PcmSpec;
use crate::text::{Language, Millis};

/// The subprotocol that browsers ask for.
const SUBPROTOCOL: &str = "realtime";
/// A client that says nothing for this long is gone. Between two pushes of a button it may be
/// silent.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// The largest prompt, in bytes.
const LARGEST_PROMPT: usize = 4 << 10;

/// Codes with which the server closes a socket.
mod close {
    pub(super) const DONE: u16 = 1000;
    pub(super) const TOO_LARGE: u16 = 1009;
    pub(super) const FAILED: u16 = 1011;
    pub(super) const RESTARTING: u16 = 1012;
    pub(super) const TRY_LATER: u16 = 1013;
}

/// What one kind of session knows, and how it says what was heard.
trait Protocol: Send {
    /// The whole session, as `session.created` has it.
    fn session(&self) -> Value;
    /// Takes the fields of a `session.update`. `live`: sound has come. After an error nothing has
    /// changed.
    fn update(&mut self, app: &App, session: &Value, live: bool) -> Result<(), Problem>;
    fn wanted(&self, app: &App) -> Result<Wanted, Problem>;
    fn pcm(&self) -> PcmSpec;
    /// After how much silence speech has ended; `None`: the client decides.
    fn silence(&self) -> Option<Millis>;
    /// The events that follow from news of the session.
    fn news(&mut self, news: &News) -> Vec<Value>;
    /// The events that follow from the beginning or the end of speech.
    fn speech(&mut self, speech: Speech) -> Vec<Value>;
    /// The client says that what it has sent is complete. `mark`: where that ends; `None`: nothing
    /// was sent.
    fn commit(&mut self, mark: Option<Mark>) -> Result<Vec<Value>, Problem>;
    /// The client takes back what it has sent.
    fn clear(&mut self, mark: Option<Mark>);
    /// The events at the end. `interrupted`: it is not what the client wanted.
    fn end(&mut self, interrupted: bool) -> Vec<Value>;
    /// Whether the client ends the session with a message.
    fn closes(&self) -> bool;
}

/// The two kinds of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Translation,
    Transcription,
}

impl Kind {
    fn start(self, app: &App, model: Option<String>) -> Box<dyn Protocol> {
        match self {
            Kind::Translation => Box::new(Translation::new(app, model)),
            Kind::Transcription => Box::new(Transcription::new(app, model)),
        }
    }
}

/// The query of a socket.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    model: Option<String>,
    intent: Option<String>,
}

/// `GET /v1/realtime/translations`.
pub(super) async fn translations(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    accept(app, caller, asked, Kind::Translation, upgrade)
}

/// `GET /v1/realtime?intent=transcription`.
pub(super) async fn transcription(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    // A client secret says what it is for, and OpenAI's client for pages names only a model.
    let by_secret = caller.preset.as_ref().is_some_and(|preset| preset.kind == Kind::Transcription);
    if asked.intent.as_deref() != Some("transcription") && !by_secret {
        let what = "conversations are not served; use `intent=transcription`, or /v1/realtime/translations";
        return Err(Problem::bad("intent", what));
    }
    accept(app, caller, asked, Kind::Transcription, upgrade)
}

fn accept(
    app: Arc<App>,
    caller: Caller,
    asked: Asked,
    kind: Kind,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    if app.sessions.draining.is_cancelled() {
        return Err(super::session::Refused::Draining.into());
    }
    let mut protocol = kind.start(&app, asked.model);
    if let Some(preset) = &caller.preset {
        if preset.kind != kind {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "the client secret is for sessions of the other kind"));
        }
        protocol.update(&app, &preset.session, false)?;
    }
    let (who, sessions) = (caller.who, app.sessions.clone());
    let upgrade = super::socket::limited(upgrade).protocols([SUBPROTOCOL]);
    Ok(upgrade.on_upgrade(move |socket| sessions.tracked(serve(socket, app, who, protocol))))
}

/// `POST /v1/realtime/translations/client_secrets`.
pub(super) async fn translation_secret(
    State(app): State<Arc<App>>,
    Extension(who): Extension<Who>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    secrets::create(&app, &who, Kind::Translation, &small_body(body).await?).map(Json)
}

/// `POST /v1/realtime/client_secrets`.
pub(super) async fn transcription_secret(
    State(app): State<Arc<App>>,
    Extension(who): Extension<Who>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    secrets::create(&app, &who, Kind::Transcription, &small_body(body).await?).map(Json)
}

/// Serves one socket.
async fn serve(socket: WebSocket, app: Arc<App>, who: Who, protocol: Box<dyn Protocol>) {
    let (reader, writer) = split(socket);
    let (sender, mut incoming) = mpsc::channel(1);
    let mut conversation = Conversation { app, who, protocol, writer, live: None, closing: None };
    let over = tokio::select! {
        over = conversation.run(&mut incoming) => over,
        never = pump(reader.with_long_text(), sender) => match never {},
    };
    let (code, reason) = over.unwrap_or((close::DONE, ""));
    conversation.app.sessions.metrics.closed(code);
    conversation.writer.close(code, reason).await;
}

/// One socket and its session.
struct Conversation {
    app: Arc<App>,
    who: Who,
    protocol: Box<dyn Protocol>,
    writer: Writer,
    /// Opened with the first sound, because messages before it say what is wanted.
    live: Option<Live>,
    /// The code to close with when all is said; `None`: sound may come.
    closing: Option<u16>,
}

struct Live {
    session: Owned,
    feed: Feed,
    follower: Follower,
    speech: mpsc::UnboundedReceiver<Speech>,
}

/// How a socket is closed.
type Over = (u16, &'static str);

impl Conversation {
    /// Runs until the socket is to be closed.
    async fn run(&mut self, incoming: &mut mpsc::Receiver<Incoming>) -> Result<Over, Lost> {
        let created = json!({"type": "session.created", "session": self.protocol.session()});
        self.send(vec![created]).await?;
        let draining = self.app.sessions.draining.clone();
        let mut idle = Instant::now() + IDLE;
        loop {
            let over = tokio::select! {
                biased;
                news = next_news(&mut self.live) => match news {
                    Some(news) => {
                        let events = self.protocol.news(&news);
                        self.send(events).await?;
                        None
                    }
                    None => Some(self.end().await?),
                },
                message = incoming.recv() => {
                    idle = Instant::now() + IDLE;
                    match message {
                        None | Some(Incoming::Closed) => return Err(Lost),
                        Some(message) => self.take(message).await?,
                    }
                },
                () = draining.cancelled(), if self.closing.is_none() => {
                    self.finish(close::RESTARTING).await
                }
                () = tokio::time::sleep_until(idle) => Some((close::DONE, "nothing came for ten minutes")),
                sent = self.writer.ping() => {
                    sent?;
                    None
                }
            };
            if let Some(over) = over {
                return Ok(over);
            }
        }
    }

    /// Takes one message of the client.
    async fn take(&mut self, message: Incoming) -> Result<Option<Over>, Lost> {
        let text = match message {
            Incoming::Text(text) => text,
            Incoming::TooLong => {
                let problem = Problem::bad("event", "a message is longer than 1 MiB; send less sound at a time");
                self.send(vec![error(&problem, None)]).await?;
                return Ok(Some((close::TOO_LARGE, "a message is longer than 1 MiB")));
            }
            Incoming::Binary(_) | Incoming::Closed => {
                let problem = Problem::bad("event", "messages are JSON text; sound comes in them, in base64");
                self.send(vec![error(&problem, None)]).await?;
                return Ok(None);
            }
        };
        let said: Said = match serde_json::from_str(&text) {
            Ok(said) => said,
            Err(why) => {
                let problem = Problem::bad("event", format!("a message cannot be read: {why}"));
                self.send(vec![error(&problem, None)]).await?;
                return Ok(None);
            }
        };
        let id = said.event_id.clone();
        match self.handle(said).await {
            Ok(Reply::Events(events)) => {
                self.send(events).await?;
                Ok(None)
            }
            Ok(Reply::Close(code)) => Ok(self.finish(code).await),
            Err(problem) => {
                self.send(vec![error(&problem, id.as_deref())]).await?;
                let later = problem.passes().then_some((close::TRY_LATER, "try again later"));
                Ok(later.filter(|_| self.live.is_none()))
            }
        }
    }

    async fn handle(&mut self, said: Said) -> Result<Reply, Problem> {
        match said.kind.as_str() {
            "session.update" => {
                let session = said.session.ok_or_else(|| Problem::bad("session", "`session` is missing"))?;
                self.protocol.update(&self.app, &session, self.live.is_some())?;
                if let Some(live) = &self.live {
                    live.feed.set_silence(self.protocol.silence());
                }
                Ok(Reply::Events(vec![json!({"type": "session.updated", "session": self.protocol.session()})]))
            }
            "session.input_audio_buffer.append" | "input_audio_buffer.append" => {
                let sound = said.audio.ok_or_else(|| Problem::bad("audio", "`audio` is missing"))?;
                let sound = STANDARD.decode(sound.trim_end());
                let sound = sound.map_err(|why| Problem::bad("audio", format!("the sound is not base64: {why}")))?;
                self.append(sound).await.map(Reply::Events)
            }
            "input_audio_buffer.commit" if !self.protocol.closes() => {
                let mark = self.flush().await?;
                self.protocol.commit(mark).map(Reply::Events)
            }
            "input_audio_buffer.clear" if !self.protocol.closes() => {
                let mark = self.flush().await?;
                self.protocol.clear(mark);
                Ok(Reply::Events(vec![json!({"type": "input_audio_buffer.cleared"})]))
            }
            "session.close" if self.protocol.closes() => Ok(Reply::Close(close::DONE)),
            _ => Err(Problem {
                code: Some("invalid_value"),
                ..Problem::bad("type", "a message of this type has no meaning here")
            }),
        }
    }

    async fn append(&mut self, sound: Vec<u8>) -> Result<Vec<Value>, Problem> {
        if sound.is_empty() || self.closing.is_some() {
            return Ok(Vec::new());
        }
        if self.live.is_none() {
            self.live = Some(self.open().await?);
        }
        let Some(live) = &mut self.live else { return Ok(Vec::new()) };
        // A session that has ended says so to its follower.
        let _ = live.feed.push(sound.into()).await;
        Ok(self.spoken())
    }

    /// The events of speech that began or ended in the sound.
    fn spoken(&mut self) -> Vec<Value> {
        let Some(live) = &mut self.live else { return Vec::new() };
        let mut events = Vec::new();
        while let Ok(speech) = live.speech.try_recv() {
            events.extend(self.protocol.speech(speech));
        }
        events
    }

    async fn open(&mut self) -> Result<Live, Problem> {
        let wanted = self.protocol.wanted(&self.app)?;
        let place = super::place(&self.app, &self.who)?;
        let session = Owned::open(&self.app, place, wanted, false, "openai_realtime").await?;
        let (listener, speech) = Listener::new(self.protocol.silence());
        let feed = Feed::listening(session.shared(), Form::Raw(self.protocol.pcm()), None, listener);
        let feed = feed.map_err(|error| Problem::bad("session", error.to_string()))?;
        let follower = session.follow(0);
        Ok(Live { session, feed, follower, speech })
    }

    /// Closes what is open in the session, if there is one.
    async fn flush(&mut self) -> Result<Option<Mark>, Problem> {
        match &mut self.live {
            Some(live) => live.feed.flush().await.map(Some).map_err(|_| super::jobs::interrupted()),
            None => Ok(None),
        }
    }

    /// No more sound: the rest is computed and said, and then the socket closes with `code`.
    async fn finish(&mut self, code: u16) -> Option<Over> {
        if self.closing.is_some() {
            return None;
        }
        self.closing = Some(code);
        match &mut self.live {
            Some(live) => {
                // A session that has ended says so to its follower.
                let _ = live.feed.finish().await;
                let _ = live.session.finish().await;
                None
            }
            None => self.end().await.ok(),
        }
    }

    /// Says the end.
    async fn end(&mut self) -> Result<Over, Lost> {
        let interrupted = self.closing.is_none() || self.live.as_ref().is_some_and(|live| live.session.interrupted());
        let mut events = self.spoken();
        events.extend(self.protocol.end(interrupted));
        if interrupted {
            events.push(error(&super::jobs::interrupted(), None));
        }
        self.send(events).await?;
        Ok(match self.closing {
            Some(code) if !interrupted => (code, if code == close::DONE { "" } else { "the server is restarting" }),
            _ => (close::FAILED, "the session was interrupted"),
        })
    }

    /// Sends events, each with an id of its own.
    async fn send(&mut self, events: Vec<Value>) -> Result<(), Lost> {
        for mut event in events {
            event["event_id"] = Secret::new("event").text.into();
            self.writer.json(&event).await?;
        }
        Ok(())
    }
}

async fn next_news(live: &mut Option<Live>) -> Option<News> {
    match live {
        Some(live) => live.follower.next().await,
        None => std::future::pending().await,
    }
}

/// What a client says.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    event_id: Option<String>,
    session: Option<Value>,
    audio: Option<String>,
}

enum Reply {
    Events(Vec<Value>),
    Close(u16),
}

/// An `error` event. `id`: the event of the client that it is about.
fn error(problem: &Problem, id: Option<&str>) -> Value {
    let mut event = problem.json();
    event["type"] = "error".into();
    event["error"]["event_id"] = id.into();
    if let Some(after) = problem.retry_after_ms() {
        event["error"]["retry_after_ms"] = after.into();
    }
    event
}

/// A value of a `session`: absent, `null`, or something.
fn field<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

/// The language in a field, if it is given.
fn language(value: Option<&Value>, param: &'static str) -> Result<Option<Language>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(code)) => {
            code.parse::<Language>().map(Some).map_err(|error| Problem::bad(param, error.to_string()))
        }
        Some(_) => Err(Problem::bad(param, "a language is a text, such as \"de\"")),
    }
}

fn immutable(param: &'static str) -> Problem {
    let what = "this cannot change once sound has come; open another session";
    Problem { code: Some("immutable"), ..Problem::bad(param, what) }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// When a session expires. It does not, but clients want a time.
fn expiry() -> u64 {
    now() + 365 * 24 * 60 * 60
}
