//! WhisperLiveKit's protocol, `GET /asr`: samples in, the state of all captions out. Its page, its
//! test client and programs that speak to it can speak to this server.
//!
//! In full mode every message has all lines. In diff mode a line is sent once, when nothing of it
//! can change: WhisperLiveKit's clients append what a message brings, so a line that grows would be
//! there twice.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::Uri;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::App;
use super::feed::{Feed, FeedError, Form};
use super::guard::{Who, query_value};
use super::record::Commit;
use super::reply::Problem;
use super::session::{Follower, News, Session, Volatile, Wanted};
use super::socket::{self, Incoming, Reader, Writer, split};
use crate::audio::wav::{PcmSpec, SampleKind};
use crate::cascade::event::Progress;
use crate::cascade::{SAMPLE_RATE, SegmentId};
use crate::text::units::push_joined;
use crate::text::{Language, Millis};

/// The least time between two updates.
const PACE: Duration = Duration::from_millis(250);
/// What a step gave comes in two parts, and both go into one update.
const SETTLE: Duration = Duration::from_millis(10);
/// A client that sends nothing for this long is gone. Silence is sound, too.
const IDLE: Duration = Duration::from_secs(60);
/// How long a session without captions may be without sound before its client is told so.
const QUIET: Duration = Duration::from_secs(3);
/// How long a client may take to close the socket after the last message.
const FAREWELL: Duration = Duration::from_secs(5);
/// The most bytes of lines in a message; clients refuse messages of 1 MiB. The oldest are left out.
const MOST_LINES: usize = 512 << 10;
/// Bytes of a line without its texts.
const LINE_FRAME: usize = 120;
/// The length of a key for `?session=`.
const KEY: std::ops::RangeInclusive<usize> = 8..=256;

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
    pub(super) const IDLE: u16 = 4408;
    pub(super) const TAKEN: u16 = 4409;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Full,
    Diff,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::Diff => "diff",
        }
    }
}

/// What a client asks for in its query.
struct Asked {
    wanted: Wanted,
    mode: Mode,
    /// The name by which the client finds its session again.
    key: Option<String>,
}

impl Asked {
    fn of(uri: &Uri, app: &App) -> Result<Asked, Problem> {
        let defaults = &app.sessions.defaults;
        let language = |param: &'static str| {
            let code = query_value(uri, param).filter(|code| !matches!(code.as_str(), "" | "auto"));
            code.map(|code| code.parse::<Language>().map_err(|error| Problem::bad(param, error.to_string())))
                .transpose()
        };
        let mode = match query_value(uri, "mode").as_deref() {
            None | Some("full") => Mode::Full,
            Some("diff") => Mode::Diff,
            Some(_) => return Err(Problem::bad("mode", "the mode is full or diff")),
        };
        let key = query_value(uri, "session");
        if key.as_ref().is_some_and(|key| !KEY.contains(&key.len())) {
            return Err(Problem::bad("session", format!("a session's key has {} to {} bytes", KEY.start(), KEY.end())));
        }
        let wanted = Wanted {
            from: language("language")?.unwrap_or(defaults.from),
            to: language("target_language")?.or(defaults.to),
            policy: defaults.policy.to_string(),
            chunk_ms: None,
            context: defaults.context.clone(),
            terms: defaults.terms.clone(),
            history: 0,
            text: false,
        };
        Ok(Asked { wanted, mode, key })
    }
}

/// `GET /asr`.
pub(super) async fn upgrade(
    State(app): State<Arc<App>>,
    axum::Extension(who): axum::Extension<Who>,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Response {
    let asked = Asked::of(&uri, &app);
    socket::limited(upgrade).protocols([socket::TOKEN]).on_upgrade(move |socket| async move {
        app.sessions.tracked(serve(socket, &app, &who, asked)).await;
    })
}

async fn serve(socket: WebSocket, app: &Arc<App>, who: &Who, asked: Result<Asked, Problem>) {
    let (reader, mut writer) = split(socket);
    let outcome = match asked {
        Ok(asked) => run(reader, &mut writer, app, who, asked).await,
        Err(problem) => Err(problem),
    };
    let (code, reason) = match outcome {
        Ok(over) => over,
        Err(problem) => {
            // Those that see no error must see a message.
            let mut error = json!({"type": "error", "error": problem.message});
            if let Some(after) = problem.retry_after_ms() {
                error["retry_after_ms"] = after.into();
            }
            let _ = writer.json(&error).await;
            (if problem.passes() { close::TRY_LATER } else { close::BAD }, problem.message)
        }
    };
    app.sessions.metrics.closed(code);
    writer.close(code, &reason).await;
}

/// Why a connection ends.
enum Over {
    /// All captions were sent. `failed`: the session ended before its client wanted it to.
    Done {
        failed: bool,
    },
    /// The client is gone, and may come back.
    Lost,
    /// The client says nothing.
    Idle,
    /// A message was too large.
    TooLarge,
    Taken,
    Draining,
    Failed(FeedError),
}

async fn run(
    reader: Reader,
    writer: &mut Writer,
    app: &Arc<App>,
    who: &Who,
    asked: Asked,
) -> Result<(u16, String), Problem> {
    let Asked { wanted, mode, key } = asked;
    let found_again = key.is_some();
    let session = session(app, who, wanted, key).await?;
    let mut owner = session.take().await;
    let before = session.length();
    let spec = PcmSpec { rate: SAMPLE_RATE, channels: 1, kind: SampleKind::S16 };
    let feed = Feed::new(session.clone(), Form::Raw(spec), owner.feeding());
    let feed = feed.map_err(|error| Problem::bad("sound", error.to_string()))?;
    let hello = json!({"type": "config", "useAudioWorklet": true, "mode": mode.name()});
    let over = if writer.json(&hello).await.is_err() {
        Over::Lost
    } else {
        let mut hearing = pin!(hear(reader, feed, session.clone()));
        let over = tokio::select! {
            over = &mut hearing => over,
            over = tell(mode, session.follow(0), writer, &session) => over,
            () = owner.replaced() => Over::Taken,
            () = app.sessions.draining.cancelled() => Over::Draining,
        };
        if matches!(over, Over::Done { .. }) {
            let _ = timeout(FAREWELL, hearing).await;
        }
        over
    };
    app.sessions.metrics.audio("whisperlivekit", session.length().saturating_sub(before));
    let (code, reason) = match over {
        Over::Done { failed: false } => return Ok((close::DONE, "the session has ended".to_owned())),
        Over::Done { failed: true } => return Ok((close::FAILED, "the session was interrupted".to_owned())),
        Over::Taken => return Ok((close::TAKEN, "another connection goes on with this session".to_owned())),
        Over::Lost => (close::GONE, String::new()),
        Over::Idle => (close::IDLE, "nothing came for a minute".to_owned()),
        Over::TooLarge => {
            let what = "a message has more than 1 MiB";
            let _ = writer.json(&json!({"type": "error", "error": what})).await;
            (close::TOO_LARGE, what.to_owned())
        }
        Over::Draining => (close::RESTARTING, "the server is restarting; connect again".to_owned()),
        Over::Failed(error) => (close::FAILED, error.to_string()),
    };
    if found_again {
        app.sessions.linger(session, owner);
    } else {
        // Nobody can come back to it.
        session.abandon();
        app.sessions.remove(&session);
    }
    Ok((code, reason))
}

/// The session with the client's key, or a new one.
async fn session(app: &Arc<App>, who: &Who, wanted: Wanted, key: Option<String>) -> Result<Arc<Session>, Problem> {
    let place = || app.place(who);
    let Some(key) = key else {
        return Ok(app.sessions.open(wanted, false, Some(&place)).await?);
    };
    let _searching = app.sessions.by_key.lock().await;
    let Some(session) = app.sessions.with_key(&key) else {
        return Ok(app.sessions.open_with_key(&key, wanted, &place).await?);
    };
    // What else is wanted are the server's options, which may have changed since.
    let languages = |wanted: &Wanted| (wanted.from, wanted.to);
    if languages(&session.opening.wanted) != languages(&wanted) {
        return Err(Problem::bad("session", "the session with this key has other languages"));
    }
    app.sessions.wake(&session, &place).await?;
    Ok(session)
}

/// Takes sound until the client is gone. An empty message is the end of it, and what follows that
/// is dropped.
async fn hear(mut reader: Reader, mut feed: Feed, session: Arc<Session>) -> Over {
    let mut over = false;
    match catch_up(&mut feed, &session).await {
        Ok(()) | Err(FeedError::Ended(_)) => {}
        Err(error) => return Over::Failed(error),
    }
    loop {
        let incoming = match reader.next_within(IDLE).await {
            Some(incoming) => incoming,
            // A client that has sent everything only waits.
            None if over => continue,
            None => return Over::Idle,
        };
        let outcome = match incoming {
            Incoming::Closed => return Over::Lost,
            Incoming::TooLong => return Over::TooLarge,
            Incoming::Text(_) => Ok(()),
            Incoming::Binary(_) if over => Ok(()),
            Incoming::Binary(bytes) if bytes.is_empty() => {
                over = true;
                let rest = feed.finish().await;
                let finished = session.finish().await;
                rest.and(finished.map_err(FeedError::from))
            }
            Incoming::Binary(bytes) => feed.push(bytes).await,
        };
        match outcome {
            // What ended the session is said with its last update.
            Ok(()) | Err(FeedError::Ended(_)) => {}
            Err(error) => return Over::Failed(error),
        }
    }
}

/// These clients do not send sound again after a restart of the server. Silence takes the place of
/// what they would have to repeat, so that what they send now is new.
async fn catch_up(feed: &mut Feed, session: &Session) -> Result<(), FeedError> {
    let heard = session.log.checkpoint().map_or(0, |checkpoint| checkpoint.heard);
    let second = axum::body::Bytes::from_static(&[0; 2 * SAMPLE_RATE as usize]);
    let mut missing = heard.saturating_sub(session.received());
    while missing > 0 {
        let now = missing.min(u64::from(SAMPLE_RATE));
        let bytes = usize::try_from(2 * now).unwrap_or_default();
        feed.push(second.slice(..bytes)).await?;
        missing -= now;
    }
    Ok(())
}

/// Sends updates until the session ends.
async fn tell(mode: Mode, mut follower: Follower, writer: &mut Writer, session: &Session) -> Over {
    let mut screen = Screen::new(mode, session.translates());
    let mut due = Instant::now();
    let mut changed = false;
    let mut quiet = Quiet { received: session.received(), since: Instant::now() };
    loop {
        let sent = tokio::select! {
            biased;
            () = tokio::time::sleep_until(due), if changed => {
                due = Instant::now() + PACE;
                // In diff mode a message may leave lines for the next one.
                let update = screen.update();
                changed = update.is_some();
                match update {
                    Some(update) => writer.json(&update).await,
                    None => Ok(()),
                }
            }
            news = follower.next() => {
                if !changed {
                    due = due.max(Instant::now() + SETTLE);
                }
                changed = true;
                match news {
                    Some(News::Records(records)) => {
                        records.iter().flat_map(|record| &record.commits).for_each(|commit| screen.take(commit));
                        Ok(())
                    }
                    Some(News::Volatile(now)) => {
                        screen.show(&now);
                        Ok(())
                    }
                    None => break,
                }
            }
            () = tokio::time::sleep_until(quiet.since + QUIET) => {
                changed |= screen.set_quiet(quiet.look(session));
                Ok(())
            }
            sent = writer.ping() => sent,
        };
        if sent.is_err() {
            return Over::Lost;
        }
    }
    while let Some(update) = screen.update() {
        if writer.json(&update).await.is_err() {
            return Over::Lost;
        }
    }
    match writer.json(&json!({"type": "ready_to_stop"})).await {
        Ok(()) => Over::Done { failed: screen.interrupted },
        Err(_) => Over::Lost,
    }
}

/// Whether sound comes.
struct Quiet {
    received: u64,
    since: Instant,
}

impl Quiet {
    /// Whether no sound has come since the last look, and none is left to be heard.
    fn look(&mut self, session: &Session) -> bool {
        let received = session.received();
        let chunk = session.chunk().unwrap_or_default().0 * u64::from(SAMPLE_RATE) / 1000;
        let quiet = received == self.received && received <= session.volatile().position.heard + chunk;
        *self = Quiet { received, since: Instant::now() };
        quiet
    }
}

/// The captions of one segment.
#[derive(Debug, Default)]
struct Caption {
    text: String,
    start: Millis,
    end: Millis,
    source_closed: bool,
    translation: String,
    target_closed: bool,
}

/// A line as the client reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    speaker: u32,
    text: String,
    start: String,
    end: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    translation: String,
}

/// What an update has besides its lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Rest {
    status: &'static str,
    buffer_transcription: String,
    /// There is no diarization.
    buffer_diarization: &'static str,
    buffer_translation: String,
    remaining_time_transcription: f64,
    remaining_time_transcription_processing: f64,
    remaining_time_transcription_policy: f64,
    remaining_time_diarization: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// All that a client shows, and what it was sent of that.
struct Screen {
    mode: Mode,
    translates: bool,
    captions: BTreeMap<SegmentId, Caption>,
    tentative_source: Option<(SegmentId, String)>,
    tentative_target: Option<(SegmentId, String)>,
    progress: Progress,
    /// No sound has come for a while.
    quiet: bool,
    interrupted: bool,
    /// Messages sent.
    messages: u64,
    /// Commits that were taken, and how many of them the last message knew.
    commits: u64,
    sent_commits: u64,
    sent_rest: Option<Rest>,
    /// Lines that the client has, in diff mode.
    lines: usize,
    /// The segment from which on lines were not sent, in diff mode.
    next: SegmentId,
}

impl Screen {
    fn new(mode: Mode, translates: bool) -> Screen {
        Screen {
            mode,
            translates,
            captions: BTreeMap::new(),
            tentative_source: None,
            tentative_target: None,
            progress: Progress::default(),
            quiet: false,
            interrupted: false,
            messages: 0,
            commits: 0,
            sent_commits: 0,
            sent_rest: None,
            lines: 0,
            next: SegmentId(0),
        }
    }

    /// Takes what was committed. Tentative text of that side is void; what is new follows at once.
    fn take(&mut self, commit: &Commit) {
        self.commits += 1;
        match commit {
            Commit::Source { segment, words, closed } => {
                let caption = self.captions.entry(*segment).or_default();
                if caption.text.is_empty() {
                    caption.start = words.first().map_or(caption.start, |word| word.start_ms);
                }
                caption.end = words.last().map_or(caption.end, |word| word.end_ms);
                words.iter().for_each(|word| push_joined(&mut caption.text, &word.text));
                caption.source_closed |= closed;
                self.tentative_source = None;
            }
            Commit::Target { segment, delta, closed } => {
                let caption = self.captions.entry(*segment).or_default();
                caption.translation.push_str(delta);
                caption.target_closed |= closed;
                self.tentative_target = None;
            }
            Commit::End(end) => self.interrupted = end.interrupted,
        }
    }

    fn show(&mut self, now: &Volatile) {
        self.tentative_source.clone_from(&now.source);
        self.tentative_target.clone_from(&now.target);
        self.progress = now.progress.unwrap_or(self.progress);
    }

    /// Returns whether that changes what is shown.
    fn set_quiet(&mut self, quiet: bool) -> bool {
        std::mem::replace(&mut self.quiet, quiet) != quiet
    }

    /// The next message; `None` where the client knows everything.
    fn update(&mut self) -> Option<Value> {
        match self.mode {
            Mode::Full => self.full(),
            Mode::Diff => self.diff(),
        }
    }

    /// All lines. The open segment's committed text is the last of them.
    fn full(&mut self) -> Option<Value> {
        let shown: Vec<(SegmentId, &Caption)> =
            self.captions.iter().filter(|(_, caption)| !caption.text.is_empty()).map(|(s, c)| (*s, c)).collect();
        let from = shown.last().map_or(SegmentId(0), |(segment, _)| segment.next());
        let rest = self.rest(from, from);
        if self.sent_commits == self.commits && self.sent_rest.as_ref() == Some(&rest) {
            return None;
        }
        let newest = &shown[shown.len() - fitting(shown.iter().rev())..];
        let lines: Vec<Line> = newest.iter().map(|(_, caption)| caption.line()).collect();
        let mut message = fields(&rest);
        message["lines"] = json!(lines);
        self.sent(rest);
        Some(message)
    }

    /// The lines that are complete and that the client does not have. The first message leaves out
    /// those before the newest that fit; a later one leaves the rest to the next.
    fn diff(&mut self) -> Option<Value> {
        let first = self.messages == 0;
        let complete = self.captions.range(self.next..).take_while(|(_, caption)| self.is_complete(caption));
        let mut new: Vec<(SegmentId, &Caption)> = complete.map(|(segment, caption)| (*segment, caption)).collect();
        let open = new.last().map_or(self.next, |(segment, _)| segment.next());
        let most = if first { fitting(new.iter().rev()) } else { fitting(new.iter()) };
        if first {
            new.drain(..new.len() - most);
        } else {
            new.truncate(most);
        }
        let next = new.last().map_or(self.next, |(segment, _)| segment.next());
        let lines: Vec<Line> = new.iter().filter(|(_, c)| !c.text.is_empty()).map(|(_, c)| c.line()).collect();
        let rest = self.rest(next, open);
        if next == self.next && self.sent_rest.as_ref() == Some(&rest) {
            return None;
        }
        self.lines += lines.len();
        self.next = next;
        let mut message = fields(&rest);
        message["type"] = if first { "snapshot" } else { "diff" }.into();
        message["seq"] = (self.messages + 1).into();
        if first {
            message["lines"] = json!(lines);
        } else {
            message["n_lines"] = self.lines.into();
            if !lines.is_empty() {
                message["new_lines"] = json!(lines);
            }
        }
        self.sent(rest);
        Some(message)
    }

    fn sent(&mut self, rest: Rest) {
        self.messages += 1;
        self.sent_commits = self.commits;
        self.sent_rest = Some(rest);
    }

    fn is_complete(&self, caption: &Caption) -> bool {
        caption.source_closed && (caption.target_closed || !self.translates)
    }

    /// All but the lines. The segments before `lined` have some; those from `open` on will not have
    /// one soon, so all of their text is in the buffers.
    fn rest(&self, lined: SegmentId, open: SegmentId) -> Rest {
        let before = self.captions.range(..lined).rev().find(|(_, caption)| !caption.text.is_empty());
        let has_line = before.is_some();
        let none = Caption::default();
        let (last, before) = before.map_or((None, &none), |(segment, caption)| (Some(*segment), caption));
        let (mut source, mut target) = (before.text.clone(), before.translation.clone());
        for caption in self.captions.range(open..).map(|(_, caption)| caption) {
            push_joined(&mut source, &caption.text);
            push_joined(&mut target, &caption.translation);
        }
        if let Some((_, text)) = &self.tentative_source {
            push_joined(&mut source, text);
        }
        if let Some((segment, text)) =
            self.tentative_target.as_ref().filter(|(segment, _)| *segment >= open || Some(*segment) == last)
        {
            // It follows what is committed of its segment directly.
            let follows = self.captions.get(segment).is_some_and(|caption| !caption.translation.is_empty());
            if follows { target.push_str(text) } else { push_joined(&mut target, text) }
        }
        Rest {
            status: match (self.interrupted, self.quiet && !has_line && source.is_empty()) {
                (true, _) => "error",
                (false, true) => "no_audio_detected",
                (false, false) => "active_transcription",
            },
            // A page sets the buffers behind the last line as they are, so they begin with the
            // blank.
            buffer_transcription: source.split_off(before.text.len()),
            buffer_diarization: "",
            buffer_translation: target.split_off(before.translation.len()),
            remaining_time_transcription: self.progress.waiting_ms.seconds(),
            remaining_time_transcription_processing: self.progress.waiting_ms.seconds(),
            remaining_time_transcription_policy: self.progress.tail_ms.seconds(),
            remaining_time_diarization: 0.0,
            error: self.interrupted.then_some("the session was interrupted"),
        }
    }
}

/// How many captions, from the first of `captions`, fit into a message; at least one.
fn fitting<'a>(captions: impl Iterator<Item = &'a (SegmentId, &'a Caption)>) -> usize {
    let mut size = 0;
    let mut fits = |at: usize, caption: &Caption| {
        size += caption.size();
        size <= MOST_LINES || at == 0
    };
    captions.enumerate().take_while(|(at, (_, caption))| fits(*at, caption)).count()
}

/// An update without its lines.
fn fields(rest: &Rest) -> Value {
    // Only plain data is sent.
    serde_json::to_value(rest).unwrap_or_default()
}

impl Caption {
    /// Bytes of the line in a message, about.
    fn size(&self) -> usize {
        LINE_FRAME + self.text.len() + self.translation.len()
    }

    fn line(&self) -> Line {
        Line {
            speaker: 1,
            text: self.text.clone(),
            start: clock(self.start),
            end: clock(self.end),
            translation: self.translation.clone(),
        }
    }
}

/// `H:MM:SS.cc`.
fn clock(time: Millis) -> String {
    let hundredths = (time.0 + 5) / 10;
    let (minutes, hundredths) = (hundredths / 6_000, hundredths % 6_000);
    format!("{}:{:02}:{:02}.{:02}", minutes / 60, minutes % 60, hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cascade::Word;
    use crate::cascade::event::End;

    fn source(segment: u32, text: &str, closed: bool) -> Commit {
        let words = text.split_whitespace().zip(u64::from(segment) * 10..);
        let word = |(text, at): (&str, u64)| {
            let start_ms = Millis(at * 300);
            Word { text: text.to_owned(), start_ms, end_ms: start_ms + Millis(250) }
        };
        Commit::Source { segment: SegmentId(segment), words: words.map(word).collect(), closed }
    }

    fn target(segment: u32, delta: &str, closed: bool) -> Commit {
        Commit::Target { segment: SegmentId(segment), delta: delta.to_owned(), closed }
    }

    fn tentative(source: Option<(u32, &str)>, target: Option<(u32, &str)>) -> Volatile {
        let side = |side: Option<(u32, &str)>| side.map(|(segment, text)| (SegmentId(segment), text.to_owned()));
        Volatile { source: side(source), target: side(target), ..Volatile::default() }
    }

    /// The commits of a talk of two sentences, step by step, with what is tentative after each.
    fn talk() -> Vec<(Vec<Commit>, Volatile)> {
        vec![
            (vec![], tentative(Some((0, "Birds come")), None)),
            (vec![source(0, "Birds", false)], tentative(Some((0, "come back.")), Some((0, "Vögel")))),
            (vec![source(0, "come back.", true)], tentative(Some((1, "They")), Some((0, "Vögel")))),
            (vec![target(0, "Vögel kommen.", true)], tentative(Some((1, "They sing.")), Some((1, "Sie")))),
            (
                vec![source(1, "They", false), target(1, "Sie", false)],
                tentative(Some((1, "sing.")), Some((1, " singen"))),
            ),
            (vec![source(1, "sing.", true), target(1, " singen.", true)], tentative(None, None)),
        ]
    }

    fn screen(mode: Mode) -> Screen {
        Screen::new(mode, true)
    }

    fn step(screen: &mut Screen, (commits, now): &(Vec<Commit>, Volatile)) -> Value {
        commits.iter().for_each(|commit| screen.take(commit));
        screen.show(now);
        screen.update().unwrap_or_default()
    }

    /// What a page shows of an update: lines with the buffers behind the last one.
    fn page(update: &Value) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut lines: Vec<(String, String)> = Vec::new();
        for line in update["lines"].as_array().into_iter().flatten() {
            lines.push((text(&line["text"]), text(&line["translation"])));
        }
        if lines.is_empty() {
            lines.push(Default::default());
        }
        if let Some((source, target)) = lines.last_mut() {
            source.push_str(&text(&update["buffer_transcription"]));
            target.push_str(&text(&update["buffer_translation"]));
        }
        lines
    }

    #[test]
    fn the_open_segment_is_the_last_line_and_the_rest_is_in_the_buffers() {
        let mut screen = screen(Mode::Full);
        let shown: Vec<_> = talk().iter().map(|now| page(&step(&mut screen, now))).collect();
        let pair = |source: &str, target: &str| (source.to_owned(), target.to_owned());
        assert_eq!(shown[0], [pair("Birds come", "")]);
        assert_eq!(shown[1], [pair("Birds come back.", "Vögel")]);
        assert_eq!(shown[2], [pair("Birds come back. They", "Vögel")]);
        assert_eq!(shown[3], [pair("Birds come back. They sing.", "Vögel kommen. Sie")]);
        assert_eq!(shown[4], [pair("Birds come back.", "Vögel kommen."), pair("They sing.", "Sie singen")]);
        assert_eq!(shown[5], [pair("Birds come back.", "Vögel kommen."), pair("They sing.", "Sie singen.")]);
        assert!(screen.update().is_none(), "nothing is new");
    }

    /// What the client has after each message is what `n_lines` says, and a line never changes.
    #[test]
    fn a_client_that_appends_is_always_in_step() {
        let mut screen = screen(Mode::Diff);
        let mut lines: Vec<Value> = Vec::new();
        let mut messages = Vec::new();
        for now in &talk() {
            let message = step(&mut screen, now);
            assert_eq!(message["seq"], messages.len() + 1);
            let first = messages.is_empty();
            assert_eq!(message["type"], if first { "snapshot" } else { "diff" });
            let new = message[if first { "lines" } else { "new_lines" }].as_array().cloned().unwrap_or_default();
            lines.extend(new);
            if !first {
                assert_eq!(message["n_lines"], lines.len());
            }
            let all = json!({"lines": lines, "buffer_transcription": message["buffer_transcription"]});
            messages.push((message, page(&all)));
        }
        assert_eq!(messages[2].1[0].0, "Birds come back. They", "closed on one side only: not a line yet");
        assert_eq!(messages[2].0["n_lines"], 0);
        assert_eq!(messages[4].0["buffer_transcription"], " They sing.");
        assert_eq!(messages[4].0["buffer_translation"], " Sie singen");
        let last = json!({
            "speaker": 1, "text": "They sing.", "start": "0:00:03.00", "end": "0:00:03.25", "translation": "Sie singen.",
        });
        assert_eq!(lines[1..], [last]);
    }

    #[test]
    fn a_message_never_outgrows_what_clients_take() {
        let long = "word ".repeat(10_000);
        let commits: Vec<Commit> =
            (0..40).flat_map(|segment| [source(segment, &long, true), target(segment, "Wort", true)]).collect();
        for mode in [Mode::Full, Mode::Diff] {
            let mut screen = screen(mode);
            commits.iter().for_each(|commit| screen.take(commit));
            let first = screen.update().unwrap_or_default();
            assert!(first.to_string().len() < 1 << 20, "{}", first.to_string().len());
            let lines = first["lines"].as_array().map_or(0, Vec::len);
            assert!((5..40).contains(&lines), "{lines}");
            assert!(screen.update().is_none());
        }
        // Lines that came at once come in several messages.
        let mut screen = screen(Mode::Diff);
        screen.show(&tentative(Some((0, "word")), None));
        let mut lines = screen.update().map_or(0, |first| first["lines"].as_array().map_or(0, Vec::len));
        commits.iter().for_each(|commit| screen.take(commit));
        while let Some(message) = screen.update() {
            assert!(message.to_string().len() < 1 << 20);
            lines += message["new_lines"].as_array().map_or(0, Vec::len);
            assert_eq!(message["n_lines"], lines);
        }
        assert_eq!(lines, 40);
    }

    #[test]
    fn times_statuses_and_scripts() {
        assert_eq!(clock(Millis(3_904)), "0:00:03.90");
        assert_eq!(clock(Millis(36_061_996)), "10:01:02.00");
        let mut screen = screen(Mode::Full);
        assert!(screen.set_quiet(true));
        assert_eq!(screen.update().unwrap_or_default()["status"], "no_audio_detected");
        screen.take(&source(0, "我们", false));
        screen.show(&tentative(Some((0, "好")), None));
        let update = screen.update().unwrap_or_default();
        assert_eq!(update["status"], "active_transcription", "there are captions");
        assert_eq!(update["buffer_transcription"], "好", "no blank between these");
        assert!(update.get("error").is_none());
        screen.take(&Commit::End(End { interrupted: true, ..End::default() }));
        let update = screen.update().unwrap_or_default();
        assert_eq!((&update["status"], update["error"].is_string()), (&json!("error"), true));
    }
}
