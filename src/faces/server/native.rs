//! The native protocol, `GET /v1/stream`: sound or text in, our own events out. `docs/serving.md`
//! describes it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocket;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, timeout};

use super::App;
use super::feed::{Feed, FeedError, Form};
use super::guard::Who;
use super::record::View;
use super::reply::Problem;
use super::session::{Follower, News, Owner, Session, Volatile, Wanted};
use super::socket::{Incoming, Lost, Reader, Writer, split};
use crate::audio::wav::{PcmSpec, SampleKind};
use crate::cascade::event::{Source, Target, Warning};
use crate::cascade::{Event, EventKind};
use crate::text::{Language, Millis};

/// The subprotocol's name.
pub(super) const SUBPROTOCOL: &str = "alignatt.v1";
/// The first message must come within this time.
const FIRST: Duration = Duration::from_secs(10);
/// A client that sends nothing for this long is gone. Silence is sound, too.
const IDLE: Duration = Duration::from_secs(60);
/// The least time between two acknowledgements.
const ACK: Duration = Duration::from_millis(500);
/// The largest context and list of terms, in bytes.
const LARGEST_CONTEXT: usize = 4 << 10;

/// Codes with which the server closes a socket.
mod close {
    pub(super) const DONE: u16 = 1000;
    /// For the metrics: the client has left, and nobody reads this.
    pub(super) const GONE: u16 = 1001;
    pub(super) const TOO_LARGE: u16 = 1009;
    pub(super) const FAILED: u16 = 1011;
    pub(super) const RESTARTING: u16 = 1012;
    pub(super) const TRY_LATER: u16 = 1013;
    pub(super) const BAD: u16 = 4400;
    pub(super) const NO_TOKEN: u16 = 4401;
    pub(super) const IDLE: u16 = 4408;
    pub(super) const TAKEN: u16 = 4409;
}

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Start(Box<Start>),
    /// Text of a session that takes text.
    Words {
        text: String,
        start_ms: u64,
        end_ms: u64,
    },
    Flush,
    End,
}

#[derive(Debug, Deserialize)]
struct Start {
    from: Option<Language>,
    /// Absent: the server's default. `null`: nothing is translated.
    #[serde(default, deserialize_with = "given")]
    to: Option<Option<Language>>,
    #[serde(default)]
    format: Format,
    policy: Option<String>,
    chunk_ms: Option<u64>,
    context: Option<String>,
    terms: Option<String>,
    #[serde(default)]
    history: usize,
    #[serde(default = "yes")]
    tentative: bool,
    #[serde(default)]
    listen: bool,
    resume: Option<Resume>,
    /// The resume token of a session whose viewers are to find this one, too.
    beside: Option<String>,
}

/// A field that is there, even if it is `null`.
fn given<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<Option<Language>>, D::Error> {
    Option::deserialize(field).map(Some)
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
struct Resume {
    token: String,
    #[serde(default)]
    after: u64,
}

#[derive(Debug, Deserialize)]
struct Format {
    encoding: Encoding,
    #[serde(default = "usual_rate")]
    rate: u32,
    #[serde(default = "mono")]
    channels: u16,
}

fn usual_rate() -> u32 {
    16_000
}

fn mono() -> u16 {
    1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    S16le,
    F32le,
    Container,
    /// Words instead of sound.
    Text,
}

impl Default for Format {
    fn default() -> Format {
        Format { encoding: Encoding::S16le, rate: usual_rate(), channels: mono() }
    }
}

impl Format {
    fn form(&self) -> Option<Form> {
        let raw = |kind| Form::Raw(PcmSpec { rate: self.rate, channels: self.channels, kind });
        match self.encoding {
            Encoding::S16le => Some(raw(SampleKind::S16)),
            Encoding::F32le => Some(raw(SampleKind::F32)),
            Encoding::Container => Some(Form::Container),
            Encoding::Text => None,
        }
    }
}

/// Serves one socket.
pub(super) async fn serve(socket: WebSocket, app: Arc<App>, who: Who) {
    let (mut reader, mut writer) = split(socket);
    let (code, reason) = match begin(&mut reader, &app, &who).await {
        Ok(begun) => run(begun, reader, &mut writer, &app).await,
        Err(Refusal { code, problem }) => {
            let _ = writer.json(&error_of(&problem)).await;
            (code, problem.message)
        }
    };
    app.sessions.metrics.closed(code);
    writer.close(code, &reason).await;
}

/// A session, and how it is fed and read.
struct Begun {
    session: Arc<Session>,
    owner: Owner,
    feed: Option<Feed>,
    follower: Follower,
    view: View,
    hello: Value,
    tentative: bool,
    listen: Option<broadcast::Receiver<Arc<Event>>>,
}

struct Refusal {
    code: u16,
    problem: Problem,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        let code = match problem.status {
            _ if problem.passes() => close::TRY_LATER,
            status if status.is_server_error() => close::FAILED,
            _ => close::BAD,
        };
        Refusal { code, problem }
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal { code: close::BAD, problem: Problem::bad("start", message) }
}

/// Reads the first message and opens a session, or goes on with one.
async fn begin(reader: &mut Reader, app: &Arc<App>, who: &Who) -> Result<Begun, Refusal> {
    let start = match timeout(FIRST, reader.next()).await {
        Err(_) => return Err(Refusal { code: close::IDLE, ..bad("no `start` came within 10 s") }),
        Ok(Incoming::Text(text)) => match serde_json::from_str::<Said>(&text) {
            Ok(Said::Start(start)) => start,
            Ok(_) => return Err(bad("the first message must be `start`")),
            Err(error) => return Err(bad(format!("the first message is not a `start`: {error}"))),
        },
        Ok(_) => return Err(bad("the first message must be `start`, as text")),
    };
    let form = start.format.form();
    if let Some(form) = form {
        form.check().map_err(|error| bad(error.to_string()))?;
    }
    let place = || app.place(who);
    let (session, mut hello, after) = match &start.resume {
        Some(resume) => {
            let found = app.sessions.resume(&resume.token, form.is_none(), &place).await.map_err(Problem::from)?;
            let Some(session) = found else {
                let problem = Problem::bad("resume", "this session is not known here, or it was forgotten");
                return Err(Refusal { code: close::NO_TOKEN, problem });
            };
            let hello = json!({
                "type": "session", "session": session.id(), "after": resume.after, "limits": limits(),
            });
            (session, hello, resume.after)
        }
        None => {
            let wanted = wanted(app, &start, form.is_none())?;
            let opened = app.sessions.open_beside(wanted, start.beside.as_deref(), &place).await;
            let opened = opened.map_err(Problem::from)?;
            // The viewers' page, relative to the server's address. A session beside another one
            // shares that one's.
            let link = opened.code.map(|code| format!("w/{code}"));
            let hello = json!({
                "type": "session", "session": opened.session.id(), "token": opened.token, "viewer": opened.viewer,
                "link": link, "after": 0, "limits": limits(),
            });
            (opened.session, hello, 0)
        }
    };
    // Whoever fed the session before has stopped, so nothing is counted behind this.
    let owner = session.take().await;
    let unit = if form.is_none() { "from_word" } else { "from_sample" };
    hello[unit] = session.received().into();
    let feed = match form.map(|form| Feed::new(session.clone(), form, owner.feeding())).transpose() {
        Ok(feed) => feed,
        Err(error) => {
            app.sessions.linger(session, owner);
            return Err(bad(error.to_string()));
        }
    };
    // The follower sends the records after `after`; the view must know those before.
    let mut view = View::new(session.translates());
    session.log.after(0).iter().take_while(|record| record.n <= after).for_each(|record| drop(view.apply(record)));
    Ok(Begun {
        owner,
        feed,
        follower: session.follow(after),
        view,
        hello,
        tentative: start.tentative,
        listen: start.listen.then(|| session.details()),
        session,
    })
}

fn limits() -> Value {
    json!({"max_backlog_ms": 60_000})
}

/// What the client asks for, with the server's defaults.
fn wanted(app: &App, start: &Start, text: bool) -> Result<Wanted, Problem> {
    let defaults = &app.sessions.defaults;
    let own = |given: &Option<String>, default: &String| given.clone().unwrap_or_else(|| default.clone());
    let (context, terms) = (own(&start.context, &defaults.context), own(&start.terms, &defaults.terms));
    for (name, given) in [("context", &start.context), ("terms", &start.terms)] {
        if given.as_ref().is_some_and(|given| given.len() > LARGEST_CONTEXT) {
            return Err(Problem::bad(name, format!("{name} is longer than {LARGEST_CONTEXT} bytes")));
        }
    }
    Ok(Wanted {
        from: start.from.unwrap_or(defaults.from),
        to: start.to.unwrap_or(defaults.to),
        policy: start.policy.clone().unwrap_or_else(|| defaults.policy.to_string()),
        chunk_ms: start.chunk_ms,
        context,
        terms,
        history: start.history,
        text,
    })
}

/// Why a connection ends.
enum Over {
    /// The session has ended, and all of it was sent. `failed`: it ended before its client wanted
    /// it to.
    Done {
        failed: bool,
    },
    /// The client is gone, and may come back.
    Lost,
    /// The client says nothing.
    Idle,
    Taken,
    Draining,
    Closing(u16, Problem),
}

async fn run(begun: Begun, reader: Reader, writer: &mut Writer, app: &Arc<App>) -> (u16, String) {
    let Begun { session, mut owner, feed, mut follower, mut view, hello, tentative, mut listen } = begun;
    let before = session.length();
    let over = match writer.json(&hello).await {
        Err(Lost) => Over::Lost,
        Ok(()) => {
            let (says, mut said) = mpsc::channel::<Problem>(4);
            let hearing = hear(reader, feed, session.clone(), says);
            let telling = tell(&mut follower, &mut view, writer, tentative, &mut listen, &mut said, &session);
            tokio::select! {
                over = hearing => over,
                over = telling => over,
                () = owner.replaced() => Over::Taken,
                () = app.sessions.draining.cancelled() => Over::Draining,
            }
        }
    };
    app.sessions.metrics.audio("native", session.length().saturating_sub(before));
    match over {
        Over::Done { failed: false } => (close::DONE, "the session has ended".to_owned()),
        Over::Done { failed: true } => (close::FAILED, "the session was interrupted".to_owned()),
        Over::Lost => {
            app.sessions.linger(session, owner);
            (close::GONE, String::new())
        }
        Over::Idle => {
            app.sessions.linger(session, owner);
            (close::IDLE, "nothing came for a minute".to_owned())
        }
        Over::Taken => (close::TAKEN, "another connection goes on with this session".to_owned()),
        Over::Draining => {
            app.sessions.linger(session, owner);
            (close::RESTARTING, "the server is restarting; connect again".to_owned())
        }
        Over::Closing(code, problem) => {
            let _ = writer.json(&error_of(&problem)).await;
            app.sessions.linger(session, owner);
            (code, problem.message)
        }
    }
}

/// Takes what the client sends until it is gone. Returns only where the connection must end.
async fn hear(mut reader: Reader, mut feed: Option<Feed>, session: Arc<Session>, says: mpsc::Sender<Problem>) -> Over {
    let mut over = false;
    loop {
        let incoming = match reader.next_within(IDLE).await {
            Some(incoming) => incoming,
            // A client that has sent everything only waits.
            None if over => continue,
            None => return Over::Idle,
        };
        let outcome = match incoming {
            Incoming::Closed => return Over::Lost,
            Incoming::TooLong => {
                return Over::Closing(
                    close::TOO_LARGE,
                    Problem::bad("message", "a message is longer than 64 KiB, or than 1 MiB of sound"),
                );
            }
            Incoming::Binary(bytes) if bytes.is_empty() || over => Ok(()),
            Incoming::Binary(bytes) => match &mut feed {
                Some(feed) => feed.push(bytes).await,
                None => {
                    let _ = says.try_send(Problem::bad("message", "this session takes text, not sound"));
                    Ok(())
                }
            },
            Incoming::Text(text) => match serde_json::from_str::<Said>(&text) {
                Ok(Said::Flush) => match &mut feed {
                    Some(feed) => feed.flush().await.map(drop).map_err(FeedError::from),
                    None => session.flush().await.map(drop).map_err(FeedError::from),
                },
                Ok(Said::End) if over => Ok(()),
                Ok(Said::End) => {
                    over = true;
                    let rest = match &mut feed {
                        Some(feed) => feed.finish().await,
                        None => Ok(()),
                    };
                    // The session ends in any case, also where its last sound is damaged.
                    let finished = session.finish().await;
                    rest.and(finished.map_err(FeedError::from))
                }
                Ok(Said::Words { text, start_ms, end_ms }) if feed.is_none() => {
                    session.push_text(text, Millis(start_ms), Millis(end_ms)).await.map_err(FeedError::from)
                }
                Ok(Said::Words { .. } | Said::Start(_)) => {
                    let _ = says.try_send(Problem::bad("message", "this message has no meaning here"));
                    Ok(())
                }
                Err(error) => {
                    let _ = says.try_send(Problem::bad("message", format!("a message cannot be read: {error}")));
                    Ok(())
                }
            },
        };
        match outcome {
            // What ended the session is said with its last event.
            Ok(()) | Err(FeedError::Ended(_)) => {}
            Err(error) if over => {
                let _ = says.try_send(Problem::bad("sound", error.to_string()));
            }
            Err(error) => {
                // What was decoded before is translated to its end.
                let _ = session.finish().await;
                over = true;
                let _ = says.try_send(Problem::bad("sound", error.to_string()));
            }
        }
    }
}

/// Sends events until the session ends.
async fn tell(
    follower: &mut Follower,
    view: &mut View,
    writer: &mut Writer,
    tentative: bool,
    listen: &mut Option<broadcast::Receiver<Arc<Event>>>,
    said: &mut mpsc::Receiver<Problem>,
    session: &Session,
) -> Over {
    let mut shown = Shown::new();
    let mut failed = false;
    if let Some(start) = session.start() {
        let kind = EventKind::Start(start.clone());
        let start = Event { audio_ms: Millis::ZERO, wall_ms: Millis::ZERO, kind };
        if writer.json(&start).await.is_err() {
            return Over::Lost;
        }
    }
    loop {
        let sent = tokio::select! {
            biased;
            Some(problem) = said.recv() => writer.json(&error_of(&problem)).await,
            event = next_detail(listen) => writer.json(&*event).await,
            news = follower.next() => match news {
                None => return Over::Done { failed },
                Some(News::Records(records)) => {
                    let mut sent = Ok(());
                    for record in records {
                        let (audio_ms, wall_ms) = (record.audio_ms, record.wall_ms);
                        for kind in view.apply(&record) {
                            failed |= matches!(&kind, EventKind::End(end) if end.interrupted);
                            if sent.is_ok() {
                                sent = writer.json(&numbered(Event { audio_ms, wall_ms, kind }, record.n)).await;
                            }
                        }
                    }
                    sent
                }
                Some(News::Volatile(now)) => shown.send(&now, view, writer, tentative, session).await,
            },
            () = shown.due() => shown.acknowledge(writer, session).await,
            sent = writer.ping() => sent,
        };
        if sent.is_err() {
            return Over::Lost;
        }
    }
}

async fn next_detail(listen: &mut Option<broadcast::Receiver<Arc<Event>>>) -> Arc<Event> {
    let Some(receiver) = listen else { return std::future::pending().await };
    loop {
        match receiver.recv().await {
            Ok(event) => return event,
            // Too slow: some are lost.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// What the client was shown last of what is not committed.
struct Shown {
    source: Option<(u32, String)>,
    target: Option<(u32, String)>,
    warned: u64,
    progress_at: Millis,
    acknowledged: Option<Instant>,
    /// An acknowledgement was put off.
    owed: bool,
}

impl Shown {
    fn new() -> Shown {
        Shown { source: None, target: None, warned: 0, progress_at: Millis::ZERO, acknowledged: None, owed: false }
    }

    /// Waits until an acknowledgement that was put off is due. A client may wait for it before it
    /// sends more, so the last one must not be missing.
    async fn due(&self) {
        match self.acknowledged.filter(|_| self.owed) {
            Some(last) => tokio::time::sleep_until(last + ACK).await,
            None => std::future::pending().await,
        }
    }

    async fn acknowledge(&mut self, writer: &mut Writer, session: &Session) -> Result<(), Lost> {
        (self.acknowledged, self.owed) = (Some(Instant::now()), false);
        let unit = if session.opening.wanted.text { "words" } else { "samples" };
        writer.json(&json!({"type": "ack", unit: session.received(), "keep_from": session.keep_from()})).await
    }

    async fn send(
        &mut self,
        now: &Volatile,
        view: &View,
        writer: &mut Writer,
        tentative: bool,
        session: &Session,
    ) -> Result<(), Lost> {
        let event = |kind| Event { audio_ms: now.audio_ms, wall_ms: now.wall_ms, kind };
        let warned = self.warned;
        for (number, message) in now.warnings.iter().filter(|(number, _)| *number > warned) {
            self.warned = *number;
            writer.json(&event(EventKind::Warning(Warning { message: message.clone() }))).await?;
        }
        if tentative {
            let source = now.source.clone().map(|(segment, text)| (segment.0, text));
            if let Some((segment, text)) = now.source.clone().filter(|_| source != self.source) {
                let committed = view.segments.get(&segment).map_or_else(Vec::new, |caption| caption.words.clone());
                let kind = EventKind::Source(Source { segment, committed, tentative: text, closed: false });
                writer.json(&event(kind)).await?;
            }
            self.source = source;
            let target = now.target.clone().map(|(segment, text)| (segment.0, text));
            if let Some((segment, text)) = now.target.clone().filter(|_| target != self.target) {
                let committed =
                    view.segments.get(&segment).map_or_else(Default::default, |caption| caption.target.clone());
                let (delta, closed) = (String::new(), false);
                let kind = EventKind::Target(Target { segment, delta, committed, tentative: text, closed });
                writer.json(&event(kind)).await?;
            }
            self.target = target;
        }
        if let Some(progress) = now.progress.filter(|_| now.audio_ms > self.progress_at) {
            self.progress_at = now.audio_ms;
            writer.json(&event(EventKind::Progress(progress))).await?;
        }
        if self.acknowledged.is_some_and(|last| last.elapsed() < ACK) {
            self.owed = true;
            return Ok(());
        }
        self.acknowledge(writer, session).await
    }
}

/// An event with the number of its record.
fn numbered(event: Event, n: u64) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("n".to_owned(), n.into());
    }
    value
}

fn error_of(problem: &Problem) -> Value {
    let code = problem.code.unwrap_or("bad");
    let mut error = json!({"type": "error", "code": code, "param": problem.param, "message": problem.message});
    if let Some(after) = problem.retry_after_ms() {
        error["retry_after_ms"] = after.into();
    }
    error
}
