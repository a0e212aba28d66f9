//! Deepgram's `GET /v1/listen`: sound goes in as it is spoken, results come out. With
//! `translate=de`, which Deepgram does not have, each result has a translation.
//!
//! | file | what it holds |
//! |---|---|
//! | `query` | what the query asks for |
//! | `results` | which results follow from a session's news |

mod query;
mod results;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::query::Asked;
use self::results::Results;
use super::App;
use super::feed::{Feed, FeedError, Listener, Speech};
use super::guard::Who;
use super::owned::Owned;
use super::reply::Problem;
use super::session::Follower;
use super::socket::{Incoming, Lost, TOKEN, Writer, limited, pump, split};

/// Without sound and `KeepAlive` for this long, the client is gone.
const IDLE: Duration = Duration::from_secs(30);

/// Codes with which the server closes a socket.
mod close {
    pub(super) const DONE: u16 = 1000;
    pub(super) const BAD: u16 = 1008;
    pub(super) const TOO_LARGE: u16 = 1009;
    pub(super) const FAILED: u16 = 1011;
    pub(super) const RESTARTING: u16 = 1012;
}

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Said {
    KeepAlive,
    Finalize,
    CloseStream,
}

/// `GET /v1/listen`.
pub(super) async fn listen(
    State(app): State<Arc<App>>,
    Extension(who): Extension<Who>,
    Query(pairs): Query<Vec<(String, String)>>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let asked = Asked::of(&pairs)?;
    (0..asked.ignored).for_each(|_| app.sessions.metrics.ignored("deepgram"));
    let wanted = app.sessions.usual(asked.from.unwrap_or(app.sessions.defaults.from), asked.to);
    app.sessions.check(&wanted)?;
    // What does not fit is refused before the socket is accepted.
    let session = Owned::open(&app, super::place(&app, &who)?, wanted, false, "deepgram").await?;
    let (listener, speech) = Listener::new(asked.silence());
    let feed = Feed::listening(session.shared(), asked.form, None, listener);
    let feed = feed.map_err(|error| Problem::bad("sample_rate", error.to_string()))?;
    let models = app.sessions.set.models().map(|(_, model)| super::pages::named(&model.name).to_owned()).collect();
    let results = Results::new(&asked, models);
    let follower = session.follow(0);
    let sessions = app.sessions.clone();
    let serve = move |socket| async move {
        let (reader, writer) = split(socket);
        let (sender, incoming) = mpsc::channel(1);
        let mut listening = Listening {
            app,
            session,
            feed,
            speech,
            follower,
            results,
            writer,
            closing: None,
            idle: Instant::now() + IDLE,
        };
        let over = tokio::select! {
            over = listening.run(incoming) => over,
            never = pump(reader, sender) => match never {},
        };
        let (code, reason) = over.unwrap_or((close::DONE, ""));
        listening.app.sessions.metrics.closed(code);
        listening.writer.close(code, reason).await;
    };
    Ok(limited(upgrade).protocols([TOKEN]).on_upgrade(move |socket| sessions.tracked(serve(socket))))
}

/// One socket and its session.
struct Listening {
    app: Arc<App>,
    session: Owned,
    feed: Feed,
    speech: mpsc::UnboundedReceiver<Speech>,
    follower: Follower,
    results: Results,
    writer: Writer,
    /// The code to close with when all is said; `None`: sound may come.
    closing: Option<u16>,
    idle: Instant,
}

/// How a socket is closed.
type Over = (u16, &'static str);

impl Listening {
    /// Runs until the socket is to be closed.
    async fn run(&mut self, mut incoming: mpsc::Receiver<Incoming>) -> Result<Over, Lost> {
        self.say(vec![self.results.metadata(Duration::ZERO)]).await?;
        let draining = self.app.sessions.draining.clone();
        loop {
            tokio::select! {
                biased;
                Some(speech) = self.speech.recv() => {
                    let messages = self.results.speech(speech);
                    self.say(messages).await?;
                }
                news = self.follower.next() => match news {
                    Some(news) => {
                        // What the feed said before this is known first.
                        while let Ok(speech) = self.speech.try_recv() {
                            let messages = self.results.speech(speech);
                            self.say(messages).await?;
                        }
                        let messages = self.results.news(&news);
                        self.say(messages).await?;
                    }
                    None => return self.end().await,
                },
                message = incoming.recv() => {
                    if let Some(over) = self.take(message.unwrap_or(Incoming::Closed)).await? {
                        return Ok(over);
                    }
                }
                () = draining.cancelled(), if self.closing.is_none() => self.finish(close::RESTARTING).await?,
                () = tokio::time::sleep_until(self.idle), if self.closing.is_none() => {
                    let what = "neither sound nor a KeepAlive message came for 30 seconds";
                    self.say(vec![self.results.error("NET-0001", what)]).await?;
                    return Ok((close::FAILED, "NET-0001"));
                }
                sent = self.writer.ping() => sent?,
            }
        }
    }

    /// Takes one message of the client.
    async fn take(&mut self, message: Incoming) -> Result<Option<Over>, Lost> {
        match message {
            Incoming::Closed => return Err(Lost),
            Incoming::TooLong => {
                self.say(vec![self.results.error("DATA-0000", "a message is too long")]).await?;
                return Ok(Some((close::TOO_LARGE, "a message is too long")));
            }
            Incoming::Binary(_) if self.closing.is_some() => {}
            // The end, as clients said it before there was CloseStream.
            Incoming::Binary(bytes) if bytes.is_empty() => self.finish(close::DONE).await?,
            Incoming::Binary(bytes) => {
                self.idle = Instant::now() + IDLE;
                if let Err(FeedError::Sound(error)) = self.feed.push(bytes).await {
                    self.say(vec![self.results.error("DATA-0000", &error.to_string())]).await?;
                    return Ok(Some((close::BAD, "DATA-0000")));
                }
            }
            Incoming::Text(text) => match serde_json::from_str(&text) {
                Ok(Said::KeepAlive) => self.idle = Instant::now() + IDLE,
                Ok(Said::Finalize) if self.closing.is_none() => {
                    // A session that has ended says so to its follower.
                    if let Ok(mark) = self.feed.flush().await {
                        self.results.finalize(mark);
                    }
                }
                Ok(Said::CloseStream) => self.finish(close::DONE).await?,
                Ok(Said::Finalize) => {}
                Err(error) => {
                    let what = format!("a message cannot be read: {error}");
                    self.say(vec![self.results.error("DATA-0001", &what)]).await?;
                }
            },
        }
        Ok(None)
    }

    /// No more sound: the rest is computed and said, and then the socket closes with `code`.
    async fn finish(&mut self, code: u16) -> Result<(), Lost> {
        if self.closing.is_some() {
            return Ok(());
        }
        self.closing = Some(code);
        if let Err(FeedError::Sound(error)) = self.feed.finish().await {
            self.say(vec![self.results.error("DATA-0000", &error.to_string())]).await?;
        }
        // A session that has ended says so to its follower.
        let _ = self.session.finish().await;
        Ok(())
    }

    /// Says the end.
    async fn end(&mut self) -> Result<Over, Lost> {
        let interrupted = self.closing.is_none() || self.session.interrupted();
        let mut messages = self.results.end(self.session.length().into());
        if interrupted {
            messages.push(self.results.error("NET-0000", "the session was interrupted"));
        }
        messages.push(self.results.metadata(self.session.length()));
        self.say(messages).await?;
        Ok(match self.closing {
            Some(code) if !interrupted => (code, if code == close::DONE { "" } else { "the server is restarting" }),
            _ => (close::FAILED, "the session was interrupted"),
        })
    }

    async fn say(&mut self, messages: Vec<Value>) -> Result<(), Lost> {
        for message in messages {
            self.writer.json(&message).await?;
        }
        Ok(())
    }
}

/// Seconds, as results have times.
fn seconds(time: crate::text::Millis) -> Value {
    json!(time.seconds())
}
