//! A session: sound or text in, numbered committed records out. It knows no wire protocol, and
//! every protocol is an adapter around it. A session outlives the connection that feeds it.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::device::{DeviceThread, Input, Job, Step};
use super::load::{Cost, Full, Load};
use super::log::Log;
use super::metrics::Metrics;
use super::record::{Commits, Record, View};
use super::secret::{Digest, Secret, short_code};
use crate::audio::pieces::{PIECE, Piece};
use crate::cascade::event::{End, Progress};
use crate::cascade::{Checkpoint, Event, EventKind, Position, SegmentId, Settings};
use crate::engines::load::{self, Direction};
use crate::engines::resident::ModelSet;
use crate::policy::PolicyKind;
use crate::text::{Context, Language, Millis};

/// The most sound that waits in a session, in pieces of 10 ms. A client that is further ahead is
/// not read from.
const BACKLOG: usize = 6_000;
/// The most inputs that wait for the device's thread.
const INPUTS: usize = BACKLOG;
/// The most sound in one input, in pieces.
const BLOCK: usize = 10;
/// Warnings that a client which connects late still gets.
const WARNINGS: usize = 8;
/// Sessions that have ended and whose captions can still be read.
const ENDED: usize = 256;
/// How long to wait before a record that could not be written is written again.
const RETRY: Duration = Duration::from_secs(1);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub from: Language,
    /// `None`: the session is only transcribed.
    pub to: Option<Language>,
    /// A policy by its name.
    pub policy: String,
    pub chunk_ms: Option<u64>,
    #[serde(default)]
    pub context: String,
    /// A term a line, with its translation if that is known.
    #[serde(default)]
    pub terms: String,
    #[serde(default)]
    pub history: usize,
    /// Words of a text instead of sound.
    #[serde(default)]
    pub text: bool,
}

/// The first line of a session's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Opening {
    pub id: String,
    pub wanted: Wanted,
    /// Digests of the token that resumes the session and of the one that only reads it.
    pub owner: Digest,
    pub viewer: Digest,
    /// The digest of the code of its short link.
    pub code: Digest,
    /// When it was opened, in milliseconds since 1970.
    pub opened_ms: u64,
}

/// A session as the viewers of its link see it.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    pub session: String,
    pub from: Language,
    pub to: Option<Language>,
    pub opened_ms: u64,
    /// Whether something may follow.
    pub live: bool,
}

impl Listed {
    fn new(opening: &Opening, log: &Log) -> Listed {
        Listed {
            session: opening.id.clone(),
            from: opening.wanted.from,
            to: opening.wanted.to,
            opened_ms: opening.opened_ms,
            live: !log.is_over(),
        }
    }
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the server is shutting down")]
    Draining,
    /// The request cannot be met on this server.
    #[error("{0}")]
    Bad(String),
    #[error("the device does not answer: {0}")]
    Device(String),
    #[error("the session cannot be written to the server's folder: {0}")]
    Log(std::io::Error),
}

/// What is not committed: it is replaced as a whole, and nothing of it is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Volatile {
    pub audio_ms: Millis,
    pub wall_ms: Millis,
    pub position: Position,
    /// Flushes that were done in this run.
    pub flushes: u64,
    pub source: Option<(SegmentId, String)>,
    pub target: Option<(SegmentId, String)>,
    pub progress: Option<Progress>,
    /// The newest warnings, with their numbers.
    pub warnings: VecDeque<(u64, String)>,
}

/// A session.
pub(super) struct Session {
    pub opening: Opening,
    pub settings: Settings,
    pub log: Log,
    volatile: watch::Sender<Arc<Volatile>>,
    /// `start` and `listen` events, for those who want them.
    details: broadcast::Sender<Arc<Event>>,
    /// The first event of this run.
    pub start: crate::cascade::event::Start,
    input: Mutex<Option<mpsc::Sender<Input>>>,
    /// The session stops at once and without an end: it goes on after a restart of the server, or
    /// nobody wants the rest.
    suspended: Arc<AtomicBool>,
    backlog: Arc<Semaphore>,
    /// Samples of the session's sound that have been taken in.
    received: AtomicU64,
    /// Flushes that were asked for in this run.
    flushes: AtomicU64,
    /// The number of the connection that feeds the session.
    owner: watch::Sender<u64>,
    /// Held by that connection.
    feeding: Arc<tokio::sync::Mutex<()>>,
}

/// The connection that feeds a session. Another one can take its place.
pub(super) struct Owner {
    number: u64,
    now: watch::Receiver<u64>,
    _feeding: tokio::sync::OwnedMutexGuard<()>,
}

impl Owner {
    /// Waits until another connection has taken the session.
    pub(super) async fn replaced(&mut self) {
        let number = self.number;
        // An error means that the session is gone, and then nobody can take it.
        if self.now.wait_for(|now| *now != number).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The session takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub(super) struct Ended;

impl Session {
    pub(super) fn id(&self) -> &str {
        &self.opening.id
    }

    pub(super) fn listed(&self) -> Listed {
        Listed::new(&self.opening, &self.log)
    }

    /// How much sound was taken in.
    pub(super) fn length(&self) -> Duration {
        Duration::from_millis(self.received() * 1000 / u64::from(crate::cascade::SAMPLE_RATE))
    }

    /// Whether the session has no end that its client asked for.
    pub(super) fn interrupted(&self) -> bool {
        let records = self.log.after(0);
        let ends = records.iter().rev().take(1).flat_map(|record| &record.commits);
        !ends.into_iter().any(|commit| matches!(commit, super::record::Commit::End(end) if !end.interrupted))
    }

    /// Stops at once, without an end.
    pub(super) fn abandon(&self) {
        self.suspended.store(true, Ordering::SeqCst);
        self.close_input();
    }

    pub(super) fn translates(&self) -> bool {
        self.settings.target.is_some()
    }

    /// Takes the session over for a connection. Whoever had it before is told.
    /// Returns when that one feeds it no more: what [`Session::received`] says then is where the
    /// new one goes on.
    pub(super) async fn take(&self) -> Owner {
        let mut number = 0;
        self.owner.send_modify(|now| {
            *now += 1;
            number = *now;
        });
        let feeding = self.feeding.clone().lock_owned().await;
        Owner { number, now: self.owner.subscribe(), _feeding: feeding }
    }

    /// Samples that have been taken in, from the start of the session.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Takes sound in. Waits while the session has a minute of it.
    pub(super) async fn push(&self, pieces: Vec<Piece>) -> Result<(), Ended> {
        let mut pieces = pieces.into_iter().peekable();
        while pieces.peek().is_some() {
            let block: Vec<Piece> = pieces.by_ref().take(BLOCK).collect();
            let samples: usize = block.iter().map(|piece| piece.samples.len()).sum();
            let share = u32::try_from(samples.div_ceil(PIECE)).unwrap_or(u32::MAX);
            let permit = self.backlog.clone().acquire_many_owned(share).await.map_err(|_| Ended)?;
            self.send(Input::Sound(block, permit)).await?;
            self.received.fetch_add(samples as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes text in.
    pub(super) async fn push_text(&self, text: String, start: Millis, end: Millis) -> Result<(), Ended> {
        self.send(Input::Text { text, start, end }).await
    }

    /// Closes the open segment now. Returns the number of this flush: 1, 2, 3, ….
    pub(super) async fn flush(&self) -> Result<u64, Ended> {
        self.send(Input::Flush).await?;
        Ok(self.flushes.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Nothing follows: the rest is computed, and the session ends.
    pub(super) async fn finish(&self) -> Result<(), Ended> {
        let outcome = self.send(Input::Finish).await;
        self.close_input();
        outcome
    }

    /// Stops taking input. A session that was not finished ends as interrupted.
    pub(super) fn close_input(&self) {
        *self.input.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn send(&self, input: Input) -> Result<(), Ended> {
        let sender = self.input.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.ok_or(Ended)?.send(input).await.map_err(|_| Ended)
    }

    /// Follows the session after record `after`.
    pub(super) fn follow(self: &Arc<Session>, after: u64) -> Follower {
        Follower {
            after,
            latest: self.log.latest(),
            volatile: self.volatile.subscribe(),
            over: false,
            session: self.clone(),
        }
    }

    /// The details of drafts from now on. A reader that is too slow loses some.
    pub(super) fn details(&self) -> broadcast::Receiver<Arc<Event>> {
        self.details.subscribe()
    }

    /// What is not committed, as it is now.
    pub(super) fn volatile(&self) -> Arc<Volatile> {
        self.volatile.borrow().clone()
    }
}

/// Reads a session: every record once and in order, and between them what is not committed.
pub(super) struct Follower {
    session: Arc<Session>,
    after: u64,
    latest: watch::Receiver<u64>,
    volatile: watch::Receiver<Arc<Volatile>>,
    over: bool,
}

/// What a follower reads.
pub(super) enum News {
    Records(Vec<Arc<Record>>),
    Volatile(Arc<Volatile>),
}

impl Follower {
    /// The next news; `None` after the last record.
    pub(super) async fn next(&mut self) -> Option<News> {
        while !self.over {
            let records = self.session.log.after(self.after);
            if let Some(last) = records.last() {
                self.after = last.n;
                self.over = last.is_end();
                return Some(News::Records(records));
            }
            tokio::select! {
                biased;
                changed = self.latest.changed() => changed.ok()?,
                changed = self.volatile.changed() => {
                    changed.ok()?;
                    // A record that was written before it comes before it.
                    if self.latest.has_changed().unwrap_or(false) {
                        self.volatile.mark_changed();
                        continue;
                    }
                    return Some(News::Volatile(self.volatile.borrow_and_update().clone()));
                }
            }
        }
        None
    }
}

/// All sessions of this server, and what opening one takes.
pub(super) struct Sessions {
    pub set: ModelSet,
    pub device: DeviceThread,
    pub load: Arc<Load>,
    pub metrics: Arc<Metrics>,
    pub defaults: Defaults,
    folder: Option<PathBuf>,
    linger: Duration,
    known: Mutex<Known>,
    tasks: TaskTracker,
    /// Held while a session is searched by its client's key and opened if there is none, so that
    /// two connections that come together get one session.
    pub by_key: tokio::sync::Mutex<()>,
    /// Set when the server shuts down.
    pub draining: CancellationToken,
}

/// What a session gets where its client says nothing.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub from: Language,
    pub to: Option<Language>,
    pub policy: PolicyKind,
    pub context: String,
    pub terms: String,
}

#[derive(Default)]
struct Known {
    sessions: HashMap<String, Arc<Session>>,
    /// Sessions of an earlier run that nobody has resumed yet.
    waiting: HashMap<String, super::log::Found>,
    ended: VecDeque<String>,
}

impl Known {
    /// All sessions, also those that nobody has resumed yet.
    fn openings(&self) -> impl Iterator<Item = (&Opening, &Log)> {
        let here = self.sessions.values().map(|session| (&session.opening, &session.log));
        here.chain(self.waiting.values().map(|found| (&found.opening, &found.log)))
    }
}

/// A session that was opened, with the secrets that its client gets.
pub(super) struct Opened {
    pub session: Arc<Session>,
    pub token: String,
    pub viewer: String,
    /// The code of its link; `None`: it shares the link of another session.
    pub code: Option<String>,
}

impl Sessions {
    pub(super) fn new(
        set: ModelSet,
        device: DeviceThread,
        load: Arc<Load>,
        metrics: Arc<Metrics>,
        defaults: Defaults,
        folder: Option<PathBuf>,
        linger: Duration,
    ) -> std::io::Result<Sessions> {
        let mut known = Known::default();
        if let Some(folder) = &folder {
            let (found, refused) = Log::find_all(folder)?;
            refused.iter().for_each(|why| tracing::warn!("{why}"));
            known.waiting = found.into_iter().map(|found| (found.opening.id.clone(), found)).collect();
        }
        let (tasks, draining) = (TaskTracker::new(), CancellationToken::new());
        let known = Mutex::new(known);
        let by_key = tokio::sync::Mutex::default();
        Ok(Sessions { set, device, load, metrics, defaults, folder, linger, known, tasks, by_key, draining })
    }

    /// What a session gets whose client says nothing but its languages.
    pub(super) fn usual(&self, from: Language, to: Option<Language>) -> Wanted {
        Wanted {
            from,
            to,
            policy: self.defaults.policy.to_string(),
            chunk_ms: None,
            context: self.defaults.context.clone(),
            terms: self.defaults.terms.clone(),
            history: 0,
            text: false,
        }
    }

    /// How many sessions have ended and can be read, and how many of an earlier run can go on.
    pub(super) fn kept(&self) -> (usize, usize) {
        let known = self.known();
        let over = known.waiting.values().filter(|found| found.log.is_over()).count();
        (known.ended.len() + over, known.waiting.len() - over)
    }

    /// Whether there can be such a session, if there is room.
    pub(super) fn check(&self, wanted: &Wanted) -> Result<(), Refused> {
        self.prepare(wanted).map(drop)
    }

    /// Opens a session.
    pub(super) async fn open(self: &Arc<Sessions>, wanted: Wanted, batch: bool) -> Result<Opened, Refused> {
        self.open_beside(wanted, batch, None).await
    }

    /// Opens a session that shares the link of the one with the resume token `beside`. Where that
    /// is not known, the session gets a link of its own.
    pub(super) async fn open_beside(
        self: &Arc<Sessions>,
        wanted: Wanted,
        batch: bool,
        beside: Option<&str>,
    ) -> Result<Opened, Refused> {
        let (token, viewer) = (Secret::new("rs"), Secret::new("vs"));
        let (link, code) = match beside.and_then(|token| self.link_of(token)) {
            Some(link) => (link, None),
            None => {
                let code = short_code();
                (Digest::of(&code), Some(code))
            }
        };
        let session = self.open_for(wanted, token.digest, viewer.digest, link, batch).await?;
        Ok(Opened { session, token: token.text, viewer: viewer.text, code })
    }

    async fn open_for(
        self: &Arc<Sessions>,
        wanted: Wanted,
        owner: Digest,
        viewer: Digest,
        code: Digest,
        batch: bool,
    ) -> Result<Arc<Session>, Refused> {
        let cost = self.admit(batch)?;
        let opening = Opening { id: Secret::new("s").text, wanted, owner, viewer, code, opened_ms: since_1970() };
        // A batch is a request and its answer; there is nothing to come back to.
        let folder = self.folder.as_deref().filter(|_| !batch);
        let made = self.prepare(&opening.wanted)?;
        let log = Log::create(&opening, folder).map_err(Refused::Log)?;
        let session = self.run(opening, made, log, None, batch, cost).await;
        session.inspect_err(|_| self.metrics.refused("bad"))
    }

    /// The session with the resume token `token`, to go on with. A session of an earlier run of the
    /// server is started again.
    pub(super) async fn resume(self: &Arc<Sessions>, token: &str) -> Result<Option<Arc<Session>>, Refused> {
        self.of_owner(&Digest::of(token)).await
    }

    /// Opens a session that its client finds again by a key of its own. Hold
    /// [`Sessions::by_key`] from the search to the opening.
    pub(super) async fn open_with_key(
        self: &Arc<Sessions>,
        key: &str,
        wanted: Wanted,
    ) -> Result<Arc<Session>, Refused> {
        // Nobody is told the code of its link.
        let link = Digest::of(&short_code());
        self.open_for(wanted, digest_of_key(key), Secret::new("vs").digest, link, false).await
    }

    /// The session that was opened with `key` and has not ended. One of an earlier run of the
    /// server is started again.
    pub(super) async fn with_key(self: &Arc<Sessions>, key: &str) -> Result<Option<Arc<Session>>, Refused> {
        Ok(self.of_owner(&digest_of_key(key)).await?.filter(|session| !session.log.is_over()))
    }

    /// The session of an owner; where it has several, one that has not ended.
    async fn of_owner(self: &Arc<Sessions>, owner: &Digest) -> Result<Option<Arc<Session>>, Refused> {
        let found = {
            let mut known = self.known();
            let mut own = known.sessions.values().filter(|session| session.opening.owner == *owner);
            let ended = match own.clone().find(|session| !session.log.is_over()) {
                Some(session) => return Ok(Some(session.clone())),
                None => own.next().cloned(),
            };
            let waiting = known.waiting.iter().filter(|(_, found)| found.opening.owner == *owner);
            let waiting = waiting.map(|(id, found)| (found.log.is_over(), id.clone())).min();
            match waiting {
                Some((over, id)) if !over || ended.is_none() => known.waiting.remove(&id),
                _ => return Ok(ended),
            }
        };
        let Some(found) = found else { return Ok(None) };
        if found.log.is_over() {
            return Ok(Some(self.finished(found)?));
        }
        let cost = match self.admit(false) {
            Ok(cost) => cost,
            Err(full) => {
                self.known().waiting.insert(found.opening.id.clone(), found);
                return Err(full);
            }
        };
        let made = self.prepare(&found.opening.wanted)?;
        let session = self.run(found.opening, made, found.log, found.checkpoint, false, cost).await?;
        Ok(Some(session))
    }

    /// The digest of the code of a session's link.
    fn link_of(&self, token: &str) -> Option<Digest> {
        let digest = Digest::of(token);
        let known = self.known();
        let found = known.openings().find(|(opening, _)| opening.owner == digest)?;
        Some(found.0.code.clone())
    }

    /// The sessions of the link with this code, in the order in which they were opened.
    pub(super) fn of_link(&self, code: &str) -> Vec<Listed> {
        let digest = Digest::of(code);
        let known = self.known();
        let here = known.openings().filter(|(opening, _)| opening.code == digest);
        let mut listed: Vec<Listed> = here.map(|(opening, log)| Listed::new(opening, log)).collect();
        listed.sort_by(|a, b| (a.opened_ms, &a.session).cmp(&(b.opened_ms, &b.session)));
        listed
    }

    /// A session by its id, also one that ended in an earlier run.
    pub(super) fn find(self: &Arc<Sessions>, id: &str) -> Option<Arc<Session>> {
        let found = {
            let mut known = self.known();
            if let Some(session) = known.sessions.get(id) {
                return Some(session.clone());
            }
            known.waiting.remove(id)?
        };
        if found.log.is_over() {
            return self.finished(found).ok();
        }
        self.known().waiting.insert(id.to_owned(), found);
        None
    }

    /// Forgets a session: ends it and deletes what was kept of it.
    pub(super) fn forget(&self, session: &Session) -> std::io::Result<()> {
        session.close_input();
        let mut known = self.known();
        known.sessions.remove(session.id());
        known.ended.retain(|id| id != session.id());
        session.log.forget()
    }

    /// Called when the connection of `owner` is gone: if none comes back, the session ends.
    pub(super) fn linger(self: &Arc<Sessions>, session: Arc<Session>, mut owner: Owner) {
        let (linger, draining, resumes) = (self.linger, self.draining.clone(), self.folder.is_some());
        self.tasks.spawn(async move {
            tokio::select! {
                () = owner.replaced() => {}
                () = tokio::time::sleep(linger) => session.close_input(),
                () = draining.cancelled() => stop(&session, resumes),
            }
        });
    }

    /// A connection that a shutdown waits for, so that its client is told.
    pub(super) fn tracked<F: Future>(&self, connection: F) -> impl Future<Output = F::Output> + use<F> {
        self.tasks.track_future(connection)
    }

    /// Waits until every session has ended, after [`Sessions::draining`] was set.
    pub(super) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Stops all sessions now.
    pub(super) fn stop_all(&self) {
        self.known().sessions.values().for_each(|session| stop(session, self.folder.is_some()));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on the device. `batch`: for work without deadlines.
    pub(super) fn admit(&self, batch: bool) -> Result<Cost, Refused> {
        if self.draining.is_cancelled() {
            self.metrics.refused("draining");
            return Err(Refused::Draining);
        }
        if batch {
            return Ok(Load::batch());
        }
        self.load.admit().map_err(|full| {
            self.metrics.refused("full");
            Refused::Full(full)
        })
    }

    /// Checks what a client wants.
    pub(super) fn prepare(&self, wanted: &Wanted) -> Result<Prepared, Refused> {
        let bad = |error: &dyn std::fmt::Display| Refused::Bad(error.to_string());
        let policy: PolicyKind = wanted.policy.parse().map_err(|error| bad(&error))?;
        let plain = Settings::new(wanted.from, wanted.to);
        let settings = Settings { history: wanted.history, ..plain.with_policy(policy) };
        let settings = wanted.chunk_ms.map_or(settings, |ms| settings.chunked(Millis(ms)));
        settings.check().map_err(|error| bad(&error))?;
        if wanted.text && wanted.to.is_none() {
            return Err(Refused::Bad("a text is translated, and no target language is given".to_owned()));
        }
        let direction = wanted.to.map(|to| Direction::new(wanted.from, to, policy));
        if let Some(direction) = &direction
            && !self.set.targets(direction.from, direction.heads_len).contains(&direction.to)
        {
            return Err(Refused::Bad(format!(
                "translation from {} into {} is not available on this server",
                direction.from, direction.to
            )));
        }
        let context = Context::new(&wanted.context, &wanted.terms)
            .map_err(|error| Refused::Bad(format!("in the list of terms, {error}")))?;
        Ok(Prepared { settings, direction, context })
    }

    async fn run(
        self: &Arc<Sessions>,
        opening: Opening,
        made: Prepared,
        log: Log,
        from: Option<Checkpoint>,
        batch: bool,
        cost: Cost,
    ) -> Result<Arc<Session>, Refused> {
        let Prepared { settings, direction, context } = made;
        let names = self.set.names(direction.as_ref(), &self.device.name);
        let start = load::start(&settings, &names);
        let (input, inputs) = mpsc::channel(INPUTS);
        let (steps, stepped) = mpsc::channel(4);
        let (opened, answer) = oneshot::channel();
        let suspended = Arc::new(AtomicBool::new(false));
        let received = from.as_ref().map_or(0, |from| from.tail_start);
        let session = Arc::new(Session {
            settings,
            start: start.clone(),
            log,
            volatile: watch::Sender::default(),
            details: broadcast::Sender::new(64),
            input: Mutex::new(Some(input)),
            suspended: suspended.clone(),
            backlog: Arc::new(Semaphore::new(BACKLOG)),
            received: AtomicU64::new(received),
            flushes: AtomicU64::new(0),
            owner: watch::Sender::default(),
            feeding: Arc::default(),
            opening,
        });
        let text = session.opening.wanted.text;
        let job = Job {
            settings,
            direction,
            context,
            start,
            notes: names.notes,
            text,
            batch,
            from,
            input: inputs,
            suspended,
            steps,
            opened,
            cost,
        };
        self.device.open(job).map_err(|error| Refused::Device(error.to_string()))?;
        match answer.await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                let _ = session.log.forget();
                return Err(Refused::Bad(why));
            }
            Err(_) => return Err(Refused::Device("its thread has ended".to_owned())),
        }
        self.known().sessions.insert(session.id().to_owned(), session.clone());
        let running = self.metrics.opened();
        let sessions = self.clone();
        let driven = session.clone();
        self.tasks.spawn(async move {
            drive(&driven, stepped, &sessions.metrics).await;
            sessions.ended(&driven);
            drop(running);
        });
        Ok(session)
    }

    /// A session of an earlier run that is over: only its captions can be read.
    fn finished(&self, found: super::log::Found) -> Result<Arc<Session>, Refused> {
        let Prepared { settings, direction, .. } = self.prepare(&found.opening.wanted)?;
        let names = self.set.names(direction.as_ref(), &self.device.name);
        let session = Arc::new(Session {
            settings,
            start: load::start(&settings, &names),
            log: found.log,
            volatile: watch::Sender::default(),
            details: broadcast::Sender::new(1),
            input: Mutex::new(None),
            suspended: Arc::default(),
            backlog: Arc::new(Semaphore::new(BACKLOG)),
            flushes: AtomicU64::new(0),
            received: AtomicU64::new(found.checkpoint.as_ref().map_or(0, |from| from.tail_start)),
            owner: watch::Sender::default(),
            feeding: Arc::default(),
            opening: found.opening,
        });
        self.known().sessions.insert(session.id().to_owned(), session.clone());
        self.ended(&session);
        Ok(session)
    }

    /// Keeps the captions of a session that has ended, and forgets those of the oldest one.
    fn ended(&self, session: &Session) {
        session.close_input();
        let mut known = self.known();
        if !known.sessions.contains_key(session.id()) {
            return; // forgotten meanwhile
        }
        known.ended.push_back(session.id().to_owned());
        while known.ended.len() > ENDED {
            let Some(id) = known.ended.pop_front() else { break };
            if let Some(session) = known.sessions.remove(&id)
                && let Err(error) = session.log.forget()
            {
                tracing::warn!("the log of a session cannot be deleted: {error}");
            }
        }
    }
}

fn since_1970() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A client's own key is no token that the native protocol would take.
fn digest_of_key(key: &str) -> Digest {
    Digest::of(&format!("key {key}"))
}

/// Stops a session: for good, or until the server is started again.
fn stop(session: &Session, resumes: bool) {
    session.suspended.store(resumes, Ordering::SeqCst);
    session.close_input();
}

pub(super) struct Prepared {
    pub settings: Settings,
    pub direction: Option<Direction>,
    pub context: Context,
}

/// Writes what the steps of a session commit, and then shows it.
async fn drive(session: &Session, mut steps: mpsc::Receiver<Step>, metrics: &Metrics) {
    let records = session.log.after(0);
    let mut view = View::new(session.translates());
    records.iter().for_each(|record| drop(view.apply(record)));
    let mut commits = Commits::after(&view);
    let mut n = records.last().map_or(0, |record| record.n);
    let mut warned = 0;
    let mut over = false;
    let mut checkpoint = session.log.checkpoint();
    while let Some(step) = steps.recv().await {
        let Step { events, checkpoint: now, position, flushes } = step;
        let new: Vec<_> = events.iter().filter_map(|event| commits.of(&event.kind)).collect();
        let (audio_ms, wall_ms) = events.last().map_or((Millis::ZERO, Millis::ZERO), |e| (e.audio_ms, e.wall_ms));
        if !new.is_empty() {
            n += 1;
            let record = Record { n, audio_ms, wall_ms, flushes: flushes.0, commits: new };
            over |= record.is_end();
            append(session, record, now.clone(), metrics).await;
        }
        checkpoint = Some(now);
        show(session, &events, (position, flushes.1), &mut warned, metrics);
    }
    if !over && !session.suspended.load(Ordering::SeqCst) {
        // The device's thread is gone, or gave up. Followers must not wait for ever.
        let end = super::record::Commit::End(End { interrupted: true, ..End::default() });
        let last = session.volatile();
        let record = Record {
            n: n + 1,
            audio_ms: last.audio_ms,
            wall_ms: last.wall_ms,
            flushes: last.flushes,
            commits: vec![end],
        };
        if let Some(checkpoint) = checkpoint {
            append(session, record, checkpoint, metrics).await;
        }
    }
}

/// Writes a record, however long that takes. Nothing of it is shown before.
async fn append(session: &Session, record: Record, checkpoint: Checkpoint, metrics: &Metrics) {
    let began = std::time::Instant::now();
    while let Err(error) = session.log.append(record.clone(), checkpoint.clone()).await {
        metrics.log_waits();
        tracing::warn!("a session's log cannot be written, and its captions wait: {error}");
        tokio::time::sleep(RETRY).await;
    }
    metrics.log_append(began.elapsed());
}

/// Shows what a step gave and did not commit.
fn show(session: &Session, events: &[Event], at: (Position, u64), warned: &mut u64, metrics: &Metrics) {
    let mut now = (*session.volatile()).clone();
    (now.position, now.flushes) = at;
    for event in events {
        (now.audio_ms, now.wall_ms) = (event.audio_ms, event.wall_ms);
        match &event.kind {
            EventKind::Source(source) => {
                now.source = (!source.closed).then(|| (source.segment, source.tentative.clone()));
            }
            EventKind::Target(target) => {
                now.target = (!target.closed).then(|| (target.segment, target.tentative.clone()));
            }
            EventKind::Progress(progress) => {
                metrics.step(progress);
                now.progress = Some(*progress);
            }
            EventKind::Warning(warning) => {
                *warned += 1;
                now.warnings.push_back((*warned, warning.message.clone()));
                while now.warnings.len() > WARNINGS {
                    now.warnings.pop_front();
                }
            }
            // Sent even if nobody listens.
            EventKind::Listen(_) => drop(session.details.send(Arc::new(event.clone()))),
            EventKind::Start(_) | EventKind::End(_) => {}
        }
    }
    session.volatile.send_replace(Arc::new(now));
}
