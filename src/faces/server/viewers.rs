//! For those who only read a session: its events as server-sent events, and its captions as a file.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::guard::Who;
use super::record::{Record, View};
use super::reply::Problem;
use super::secret::Digest;
use super::session::{Follower, News, Session};
use crate::cascade::{Event, EventKind};
use crate::faces::subtitles::{Kind, Side, Subtitles};
use crate::text::units::{join_words, push_joined};

/// The most records that are made into events at once: a viewer that comes late, or does not read,
/// takes little memory.
const BATCH: usize = 64;
/// How often a feed without news says that it lives.
const PING: Duration = Duration::from_secs(15);

/// The query of a viewer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    token: Option<String>,
    #[serde(default)]
    after: u64,
    #[serde(default)]
    tentative: u8,
    side: Option<String>,
}

/// The session, if the request may read it: with the session's own token, that of its viewers, the
/// code of its link, or one of the server.
fn readable(app: &Arc<App>, id: &str, asked: &Asked, who: Option<&Who>) -> Result<Arc<Session>, Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "there is no such session, or its token is missing");
    let session = app.sessions.find(id).ok_or_else(unknown)?;
    let by_token = asked.token.as_deref().map(Digest::of);
    let opening = &session.opening;
    let own = by_token.is_some_and(|given| [&opening.viewer, &opening.owner, &opening.code].contains(&&given));
    let of_server = matches!(who, Some(Who::Token(_)));
    if own || of_server { Ok(session) } else { Err(unknown()) }
}

/// `GET /v1/sessions/{id}/events`: `source`, `target` and `end` events from after record `after`
/// (or `Last-Event-ID`) on. Events of records that are read together are merged. The last of them
/// has the number of the newest record as its id, so whoever is cut off before it gets all of them
/// again; as `committed` is the whole text of a segment, an event that comes twice changes nothing.
/// With `tentative=1` also `tentative` events, which have no id.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    who: Option<axum::Extension<Who>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = readable(&app, &id, &asked, who.as_deref())?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last.unwrap_or(asked.after);
    let stream = feed(session, after, asked.tentative != 0);
    let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(PING).text("ping"));
    Ok(([(CACHE_CONTROL, "no-cache"), (axum::http::HeaderName::from_static("x-accel-buffering"), "no")], sse)
        .into_response())
}

struct Reading {
    follower: Follower,
    view: View,
    tentative: bool,
    records: VecDeque<Arc<Record>>,
    ready: VecDeque<Message>,
}

fn feed(session: Arc<Session>, after: u64, tentative: bool) -> impl Stream<Item = Result<Message, Infallible>> {
    let mut view = View::new(session.translates());
    session.log.after(0).iter().take_while(|record| record.n <= after).for_each(|record| drop(view.apply(record)));
    let (records, ready) = Default::default();
    let reading = Reading { follower: session.follow(after), view, tentative, records, ready };
    unfold(reading, |mut reading| async move {
        loop {
            if let Some(message) = reading.ready.pop_front() {
                return Some((Ok(message), reading));
            }
            reading.read().await?;
        }
    })
}

impl Reading {
    /// Waits for news. `None` after the last.
    async fn read(&mut self) -> Option<()> {
        if !self.records.is_empty() {
            self.tell_records();
            return Some(());
        }
        match self.follower.next().await? {
            News::Records(records) => self.records = records.into(),
            News::Volatile(now) if self.tentative => {
                let side = |of: &Option<(crate::cascade::SegmentId, String)>| {
                    of.as_ref().map(|(segment, text)| json!({"segment": segment, "text": text}))
                };
                let value = json!({"audio_ms": now.audio_ms, "source": side(&now.source), "target": side(&now.target)});
                self.put(Message::default().event("tentative"), &value);
            }
            News::Volatile(_) => {}
        }
        Some(())
    }

    fn tell_records(&mut self) {
        let (mut events, mut newest) = (Vec::new(), 0);
        let count = self.records.len().min(BATCH);
        for record in self.records.drain(..count) {
            newest = record.n;
            for kind in self.view.apply(&record) {
                merge(&mut events, Event { audio_ms: record.audio_ms, wall_ms: record.wall_ms, kind });
            }
        }
        let last = events.len().saturating_sub(1);
        for (at, event) in events.iter().enumerate() {
            let message = Message::default().event(match &event.kind {
                EventKind::Source(_) => "source",
                EventKind::Target(_) => "target",
                _ => "end",
            });
            self.put(if at == last { message.id(newest.to_string()) } else { message }, event);
        }
    }

    fn put(&mut self, message: Message, value: &impl serde::Serialize) {
        // Only plain data is sent.
        if let Ok(message) = message.json_data(value) {
            self.ready.push_back(message);
        }
    }
}

/// Adds an event, or lets an earlier one of the same segment and side become it.
fn merge(events: &mut Vec<Event>, event: Event) {
    let same = |earlier: &&mut Event| match (&earlier.kind, &event.kind) {
        (EventKind::Source(a), EventKind::Source(b)) => a.segment == b.segment,
        (EventKind::Target(a), EventKind::Target(b)) => a.segment == b.segment,
        _ => false,
    };
    let Some(earlier) = events.iter_mut().find(same) else {
        events.push(event);
        return;
    };
    let before = match &mut earlier.kind {
        EventKind::Target(target) => std::mem::take(&mut target.delta),
        _ => String::new(),
    };
    *earlier = event;
    if let EventKind::Target(target) = &mut earlier.kind {
        target.delta.insert_str(0, &before);
    }
}

/// `GET /v1/sessions/{id}/captions.FORM`: what is closed so far, as `vtt`, `srt`, `txt` or `jsonl`.
pub(super) async fn captions(
    State(app): State<Arc<App>>,
    Path((id, file)): Path<(String, String)>,
    Query(asked): Query<Asked>,
    who: Option<axum::Extension<Who>>,
) -> Result<Response, Problem> {
    let form = file.strip_prefix("captions.").unwrap_or_default();
    let session = readable(&app, &id, &asked, who.as_deref())?;
    let side = match asked.side.as_deref() {
        None if session.translates() => Side::Target,
        None | Some("source") => Side::Source,
        Some("target") if session.translates() => Side::Target,
        Some(_) => return Err(Problem::bad("side", "side is source or target, and this session may have only one")),
    };
    let (kind, text) = match form {
        "vtt" => ("text/vtt; charset=utf-8", subtitles(&session, Kind::Vtt, side)),
        "srt" => ("application/x-subrip; charset=utf-8", subtitles(&session, Kind::Srt, side)),
        "txt" => ("text/plain; charset=utf-8", plain(&session, side)),
        "jsonl" => ("application/jsonl; charset=utf-8", lines(&session)),
        _ => return Err(Problem::new(StatusCode::NOT_FOUND, "captions come as vtt, srt, txt or jsonl")),
    };
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], text).into_response())
}

/// All committed events of a session.
fn replay(session: &Session) -> impl Iterator<Item = Event> {
    let mut view = View::new(session.translates());
    session.log.after(0).into_iter().flat_map(move |record| {
        let (audio_ms, wall_ms) = (record.audio_ms, record.wall_ms);
        view.apply(&record).into_iter().map(move |kind| Event { audio_ms, wall_ms, kind })
    })
}

/// The captions of a session as subtitles.
pub(super) fn subtitles(session: &Session, kind: Kind, side: Side) -> String {
    let mut subtitles = Subtitles::new(kind, side);
    replay(session).for_each(|event| subtitles.event(&event));
    subtitles.finish();
    subtitles.take_text()
}

/// The closed captions of a session, a segment a line.
fn plain(session: &Session, side: Side) -> String {
    let mut text = String::new();
    for event in replay(session) {
        let line = match (event.kind, side) {
            (EventKind::Source(source), Side::Source) if source.closed => {
                join_words(source.committed.iter().map(|word| word.text.as_str()))
            }
            (EventKind::Target(target), Side::Target) if target.closed => target.committed.as_str().to_owned(),
            _ => continue,
        };
        if !line.is_empty() {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

fn lines(session: &Session) -> String {
    let mut text = String::new();
    for event in replay(session) {
        // Only plain data is written.
        if let Ok(line) = serde_json::to_string(&event) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// All text of one side in one line.
pub(super) fn whole_text(session: &Session, side: Side) -> String {
    let mut text = String::new();
    for line in plain(session, side).lines() {
        push_joined(&mut text, line);
    }
    text
}

/// `GET /v1/sessions/{id}`: its languages, and whether something may follow.
pub(super) async fn listed(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    who: Option<axum::Extension<Who>>,
) -> Result<Response, Problem> {
    let session = readable(&app, &id, &asked, who.as_deref())?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(session.listed())).into_response())
}

/// `DELETE /v1/sessions/{id}`: ends the session and forgets all of it.
pub(super) async fn forget(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    who: Option<axum::Extension<Who>>,
) -> Result<StatusCode, Problem> {
    let session = readable(&app, &id, &asked, who.as_deref())?;
    let owns = asked.token.as_deref().map(Digest::of).is_some_and(|given| given == session.opening.owner);
    if !owns && !matches!(who.as_deref(), Some(Who::Token(_))) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "the token of viewers only reads"));
    }
    let failed = |error: std::io::Error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    app.sessions.forget(session).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}
