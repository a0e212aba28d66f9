//! A session: sound or text in, numbered committed records out. It knows no wire protocol, and
//! every protocol is an adapter around it. A session outlives the connection that feeds it.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::device::{DeviceThread, Input, Job, Step};
use super::guard::{Place, Who};
use super::load::{Cost, Full, Load};
use super::log::{self, Log};
use super::metrics::Metrics;
use super::pages::named;
use super::record::{Commits, Record, View};
use super::secret::{Digest, Secret, short_code};
use crate::audio::pieces::{PIECE, Piece};
use crate::cascade::event::{End, Progress, Start};
use crate::cascade::transcript::words_of;
use crate::cascade::{Checkpoint, Event, EventKind, Position, SAMPLE_RATE, SegmentId, Settings};
use crate::engines::load::{self, Direction};
use crate::engines::resident::ModelSet;
use crate::policy::PolicyKind;
use crate::text::{Context, Language, Millis};

/// The most sound that waits in a session, in pieces of 10 ms. A client that is further ahead is
/// not read from.
const BACKLOG: usize = 6_000;
/// A piece of this backlog holds so many bytes of text.
const TEXT_IN_PIECE: usize = 64;
/// The most inputs that wait for the device's thread.
const INPUTS: usize = BACKLOG;
/// The most sound in one input, in pieces.
const BLOCK: usize = 10;
/// Warnings that a client which connects late still gets.
const WARNINGS: usize = 8;
/// Sessions that have ended and whose captions can still be read.
const ENDED: usize = 256;
/// How far a stream moves on without committing anything, in samples, before its state is kept.
const KEEP_AFTER: u64 = 10 * SAMPLE_RATE as u64;
/// How often sessions are looked for that nobody touched for a day.
const PURGE: Duration = Duration::from_secs(60 * 60);
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

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the server is shutting down")]
    Draining,
    #[error("this client has as many sessions as it may have")]
    TooMany,
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

impl Volatile {
    fn warn(&mut self, message: String) {
        let number = self.warnings.back().map_or(0, |(number, _)| *number) + 1;
        self.warnings.push_back((number, message));
        while self.warnings.len() > WARNINGS {
            self.warnings.pop_front();
        }
    }
}

/// A session. One of an earlier run of the server does not run until its client resumes it.
pub(super) struct Session {
    pub opening: Opening,
    pub log: Log,
    volatile: watch::Sender<Arc<Volatile>>,
    /// `start` and `listen` events, for those who want them.
    details: broadcast::Sender<Arc<Event>>,
    /// The first event of its run; empty before that. A session that has run never runs again.
    start: OnceLock<Start>,
    /// Held while the session begins to run, or ends without that.
    waking: tokio::sync::Mutex<()>,
    input: Mutex<Option<mpsc::Sender<Input>>>,
    /// The session stops at once and without an end: it goes on after a restart of the server, or
    /// nobody wants the rest.
    suspended: Arc<AtomicBool>,
    backlog: Arc<Semaphore>,
    /// Samples of the session's sound that have been taken in, or words of its text.
    received: AtomicU64,
    /// Flushes that were asked for in this run.
    flushes: AtomicU64,
    /// The number of the connection that feeds the session.
    owner: watch::Sender<u64>,
    /// Held by that connection.
    feeding: Arc<tokio::sync::Mutex<()>>,
    /// The session's place among those of its client, until it ends.
    place: Mutex<Option<Place>>,
}

/// Kept by whatever feeds a session. The next connection waits until all of these are dropped.
pub(super) type FeedingGuard = Arc<tokio::sync::OwnedMutexGuard<()>>;

/// Finds a place for another session of a client; `None`: it has as many as it may have.
pub(super) type FindPlace<'a> = &'a (dyn Fn() -> Option<Place> + Send + Sync);

/// The connection that feeds a session. Another one can take its place.
pub(super) struct Owner {
    watch: Watch,
    feeding: FeedingGuard,
}

/// Sees when another connection takes the session.
struct Watch {
    number: u64,
    now: watch::Receiver<u64>,
}

impl Owner {
    /// For what feeds the session on behalf of the connection.
    pub(super) fn feeding(&self) -> FeedingGuard {
        self.feeding.clone()
    }

    /// Waits until another connection has taken the session.
    pub(super) async fn replaced(&mut self) {
        self.watch.replaced().await;
    }
}

impl Watch {
    async fn replaced(&mut self) {
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
    /// A session that does not run yet.
    fn new(opening: Opening, log: Log) -> Session {
        Session {
            // Nothing is taken in before it runs, and it runs from the newest checkpoint.
            received: AtomicU64::new(log.kept(|newest| received(newest, opening.wanted.text))),
            opening,
            log,
            volatile: watch::Sender::default(),
            details: broadcast::Sender::new(64),
            start: OnceLock::new(),
            waking: tokio::sync::Mutex::default(),
            input: Mutex::new(None),
            suspended: Arc::default(),
            backlog: Arc::new(Semaphore::new(BACKLOG)),
            flushes: AtomicU64::new(0),
            owner: watch::Sender::default(),
            feeding: Arc::default(),
            place: Mutex::new(None),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.opening.id
    }

    pub(super) fn listed(&self) -> Listed {
        Listed {
            session: self.opening.id.clone(),
            from: self.opening.wanted.from,
            to: self.opening.wanted.to,
            opened_ms: self.opening.opened_ms,
            live: !self.log.is_over(),
        }
    }

    /// Whether it runs, or has run.
    fn has_run(&self) -> bool {
        self.start.get().is_some()
    }

    /// The first event of this run.
    pub(super) fn start(&self) -> Option<&Start> {
        self.start.get()
    }

    /// How much sound a step takes; `None` where the session does not run.
    pub(super) fn chunk(&self) -> Option<Millis> {
        Some(self.start.get()?.chunk_ms)
    }

    /// How much sound was taken in. A text has none.
    pub(super) fn length(&self) -> Duration {
        if self.opening.wanted.text {
            return Duration::ZERO;
        }
        Duration::from_millis(self.received() * 1000 / u64::from(SAMPLE_RATE))
    }

    /// Keeps the session's place among those of its client until it ends.
    fn hold(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// Gives the place up, if it is one of `who`'s and no connection has the session.
    fn give_up_place(&self, who: &Who) -> Option<Place> {
        let _feeding = self.feeding.try_lock().ok()?;
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take_if(|place| place.is_of(who))
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
        self.opening.wanted.to.is_some()
    }

    /// Takes the session over for a connection, and tells the former one. Waits until nothing feeds
    /// the session for that one any more. From then on [`Session::received`] is where the new one
    /// goes on.
    pub(super) async fn take(&self) -> Owner {
        let mut number = 0;
        self.owner.send_modify(|now| {
            *now += 1;
            number = *now;
        });
        let feeding = self.feeding.clone().lock_owned().await;
        Owner { watch: Watch { number, now: self.owner.subscribe() }, feeding: Arc::new(feeding) }
    }

    /// Samples that have been taken in, from the start of the session; in a session of text, words.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// What lies before it will never be needed again: samples, or words of a text.
    pub(super) fn keep_from(&self) -> u64 {
        self.log.kept(|newest| received(newest, self.opening.wanted.text))
    }

    /// Whether a checkpoint is `by` samples or more ahead of what was kept.
    fn needs_keeping(&self, checkpoint: &Checkpoint, by: u64) -> bool {
        self.log.kept(|newest| checkpoint.tail_start >= newest.map_or(0, |newest| newest.tail_start) + by)
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

    /// Takes text in. Waits while much of it is waiting.
    pub(super) async fn push_text(&self, text: String, start: Millis, end: Millis) -> Result<(), Ended> {
        let words = words_of(&text).len() as u64;
        let share = u32::try_from(text.len().div_ceil(TEXT_IN_PIECE).clamp(1, BACKLOG)).unwrap_or(u32::MAX);
        let permit = self.backlog.clone().acquire_many_owned(share).await.map_err(|_| Ended)?;
        self.send(Input::Text { text, start, end, permit }).await?;
        self.received.fetch_add(words, Ordering::Relaxed);
        Ok(())
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

    /// Follows the session after record `after`, or after the newest one, if that is earlier.
    pub(super) fn follow(self: &Arc<Session>, after: u64) -> Follower {
        let latest = self.log.latest();
        let newest = *latest.borrow();
        Follower {
            after: after.min(newest),
            latest,
            volatile: self.volatile.subscribe(),
            over: after >= newest && self.log.is_over(),
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
    /// The lock on that folder.
    _lock: Option<File>,
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
    /// All sessions: those that run, those of an earlier run of the server that nobody has resumed,
    /// and those that are over.
    sessions: HashMap<String, Arc<Session>>,
    /// Those that are over, oldest first.
    ended: VecDeque<String>,
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
        let lock = folder.as_deref().map(log::lock).transpose()?;
        if let Some(folder) = &folder {
            let (mut found, refused) = Log::find_all(folder)?;
            refused.iter().for_each(|why| tracing::warn!("{why}"));
            found.sort_by_key(|found| found.opening.opened_ms);
            for log::Found { opening, log } in found {
                let session = Session::new(opening, log);
                if session.log.is_over() {
                    known.ended.push_back(session.id().to_owned());
                }
                known.sessions.insert(session.id().to_owned(), Arc::new(session));
            }
        }
        Ok(Sessions {
            set,
            device,
            load,
            metrics,
            defaults,
            folder,
            _lock: lock,
            linger,
            known: Mutex::new(known),
            tasks: TaskTracker::new(),
            by_key: tokio::sync::Mutex::default(),
            draining: CancellationToken::new(),
        })
    }

    /// Looks after the sessions of earlier runs: those that nobody resumes end, and those that
    /// nobody has touched for a day are deleted. Call it when clients can come.
    pub(super) fn look_after(self: &Arc<Sessions>) {
        let all: Vec<_> = self.known().sessions.values().cloned().collect();
        for session in all.into_iter().filter(|session| !session.log.is_over()) {
            let sessions = self.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(sessions.linger) => sessions.end_unless_resumed(&session).await,
                    () = sessions.draining.cancelled() => {}
                }
            });
        }
        let sessions = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PURGE).await;
                sessions.purge();
            }
        });
    }

    /// Ends a session of an earlier run as interrupted, unless somebody has resumed it.
    async fn end_unless_resumed(&self, session: &Arc<Session>) {
        let _waking = session.waking.lock().await;
        if session.has_run() || session.log.is_over() {
            return;
        }
        let records = session.log.after(0);
        let last = records.last().map_or((0, Millis::ZERO, Millis::ZERO), |last| (last.n, last.audio_ms, last.wall_ms));
        append(session, interruption(last.0 + 1, last.1, last.2, 0), None, &self.metrics).await;
        self.ended(session);
    }

    /// Forgets sessions that are over and that nobody touched for a day.
    fn purge(&self) {
        let old: Vec<_> = {
            let mut known = self.known();
            let old = |session: &Session| session.log.is_over() && session.log.is_old();
            let gone: Vec<_> =
                known.sessions.extract_if(|_, session| old(session)).map(|(_, session)| session).collect();
            known.ended.retain(|id| gone.iter().all(|session| session.id() != id));
            gone
        };
        delete(old);
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
        let waiting = known.sessions.values().filter(|session| !session.has_run() && !session.log.is_over());
        (known.ended.len(), waiting.count())
    }

    /// Whether there can be such a session, if there is room.
    pub(super) fn check(&self, wanted: &Wanted) -> Result<(), Refused> {
        self.prepare(wanted).map(drop)
    }

    /// Opens a session that lives as long as its connection, and of which nothing is kept. `batch`:
    /// it has no deadlines. `place`: `None` where the caller has the session's place.
    pub(super) async fn open(
        self: &Arc<Sessions>,
        wanted: Wanted,
        batch: bool,
        place: Option<FindPlace<'_>>,
    ) -> Result<Arc<Session>, Refused> {
        let opening = Opening::new(wanted, Digest::of(&short_code()), Digest::of(&short_code()));
        self.open_as(opening, batch, None, place).await
    }

    /// Opens a session that shares the link of the one with the resume token `beside`. Where that
    /// is not known, the session gets a link of its own.
    pub(super) async fn open_beside(
        self: &Arc<Sessions>,
        wanted: Wanted,
        beside: Option<&str>,
        place: FindPlace<'_>,
    ) -> Result<Opened, Refused> {
        let token = Secret::new("rs");
        let viewer = Secret::new("vs");
        let (link, code) = match beside.and_then(|token| self.link_of(token)) {
            Some(link) => (link, None),
            None => {
                let code = short_code();
                (Digest::of(&code), Some(code))
            }
        };
        let opening = Opening { viewer: viewer.digest, ..Opening::new(wanted, token.digest, link) };
        let session = self.open_as(opening, false, self.folder.clone(), Some(place)).await?;
        Ok(Opened { session, token: token.text, viewer: viewer.text, code })
    }

    async fn open_as(
        self: &Arc<Sessions>,
        opening: Opening,
        batch: bool,
        folder: Option<PathBuf>,
        place: Option<FindPlace<'_>>,
    ) -> Result<Arc<Session>, Refused> {
        let made = self.prepare(&opening.wanted).inspect_err(|_| self.metrics.refused("bad"))?;
        let place = place.map(|place| self.place(place)).transpose()?;
        let cost = self.admit(batch)?;
        let made_log = tokio::task::spawn_blocking(move || {
            Log::create(&opening, folder.as_deref()).map(|log| (opening, log)).map_err(Refused::Log)
        });
        let (opening, log) = made_log.await.map_err(|error| Refused::Log(std::io::Error::other(error)))??;
        let session = Arc::new(Session::new(opening, log));
        if let Some(place) = place {
            session.hold(place);
        }
        match self.run(&session, made, batch, cost).await {
            Ok(()) => Ok(session),
            Err(error) => {
                self.metrics.refused("bad");
                delete(vec![session]);
                Err(error)
            }
        }
    }

    /// A place for another session of a client.
    pub(super) fn place(&self, find: FindPlace<'_>) -> Result<Place, Refused> {
        find().ok_or_else(|| {
            self.metrics.refused("client");
            Refused::TooMany
        })
    }

    /// The place of the oldest session of a client that no connection has. That session ends.
    pub(super) fn place_of_idle(&self, who: &Who) -> Option<Place> {
        let known = self.known();
        let mut all: Vec<_> = known.sessions.values().collect();
        all.sort_by_key(|session| session.opening.opened_ms);
        let (session, place) = all.into_iter().find_map(|session| Some((session, session.give_up_place(who)?)))?;
        session.close_input();
        Some(place)
    }

    /// The session with the resume token `token`, to go on with. A session of an earlier run of the
    /// server is started again. `text`: the client sends text, not sound.
    pub(super) async fn resume(
        self: &Arc<Sessions>,
        token: &str,
        text: bool,
        place: FindPlace<'_>,
    ) -> Result<Option<Arc<Session>>, Refused> {
        let Some(session) = self.of_owner(&Digest::of(token)) else { return Ok(None) };
        if session.opening.wanted.text != text {
            return Err(Refused::Bad("a session goes on with what it began with: sound or text".to_owned()));
        }
        self.wake(&session, place).await?;
        Ok(Some(session))
    }

    /// Opens a session that its client finds again by a key of its own. Hold
    /// [`Sessions::by_key`] from the search to the opening.
    pub(super) async fn open_with_key(
        self: &Arc<Sessions>,
        key: &str,
        wanted: Wanted,
        place: FindPlace<'_>,
    ) -> Result<Arc<Session>, Refused> {
        // Nobody is told the code of its link.
        let opening = Opening::new(wanted, digest_of_key(key), Digest::of(&short_code()));
        self.open_as(opening, false, self.folder.clone(), Some(place)).await
    }

    /// The session that was opened with `key` and has not ended. It may have to be woken.
    pub(super) fn with_key(&self, key: &str) -> Option<Arc<Session>> {
        self.of_owner(&digest_of_key(key)).filter(|session| !session.log.is_over())
    }

    /// The session of an owner; where it has several, one that has not ended.
    fn of_owner(&self, owner: &Digest) -> Option<Arc<Session>> {
        let known = self.known();
        let own = known.sessions.values().filter(|session| session.opening.owner == *owner);
        own.min_by_key(|session| session.log.is_over()).cloned()
    }

    /// Lets a session of an earlier run go on. Nothing changes where it is over or runs already. If
    /// it cannot run now, it can be woken later.
    pub(super) async fn wake(
        self: &Arc<Sessions>,
        session: &Arc<Session>,
        place: FindPlace<'_>,
    ) -> Result<(), Refused> {
        let _waking = session.waking.lock().await;
        if session.has_run() || session.log.is_over() {
            return Ok(());
        }
        let made = self.prepare(&session.opening.wanted)?;
        let place = self.place(place)?;
        let cost = self.admit(false)?;
        self.run(session, made, false, cost).await?;
        session.hold(place);
        Ok(())
    }

    /// The digest of the code of a session's link.
    fn link_of(&self, token: &str) -> Option<Digest> {
        Some(self.of_owner(&Digest::of(token))?.opening.code.clone())
    }

    /// The sessions of the link with this code, in the order in which they were opened.
    pub(super) fn of_link(&self, code: &str) -> Vec<Listed> {
        let digest = Digest::of(code);
        let known = self.known();
        let here = known.sessions.values().filter(|session| session.opening.code == digest);
        let mut listed: Vec<Listed> = here.map(|session| session.listed()).collect();
        listed.sort_by(|a, b| (a.opened_ms, &a.session).cmp(&(b.opened_ms, &b.session)));
        listed
    }

    /// A session by its id, also one of an earlier run.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.known().sessions.get(id).cloned()
    }

    /// Ends a session that nobody can find any more.
    pub(super) fn remove(&self, session: &Session) {
        session.close_input();
        let mut known = self.known();
        known.sessions.remove(session.id());
        known.ended.retain(|id| id != session.id());
    }

    /// Forgets a session: ends it and deletes what was kept of it.
    pub(super) async fn forget(&self, session: Arc<Session>) -> std::io::Result<()> {
        self.remove(&session);
        tokio::task::spawn_blocking(move || session.log.forget()).await.map_err(std::io::Error::other)?
    }

    /// Called when the connection of `owner` is gone: if none comes back, the session ends.
    pub(super) fn linger(self: &Arc<Sessions>, session: Arc<Session>, owner: Owner) {
        let Owner { mut watch, feeding } = owner;
        drop(feeding); // nobody feeds it now
        let (linger, draining, resumes) = (self.linger, self.draining.clone(), self.folder.is_some());
        self.tasks.spawn(async move {
            tokio::select! {
                () = watch.replaced() => {}
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

    /// Lets a session run, from its newest checkpoint. If it cannot, it is as it was.
    async fn run(
        self: &Arc<Sessions>,
        session: &Arc<Session>,
        made: Prepared,
        batch: bool,
        cost: Cost,
    ) -> Result<(), Refused> {
        let Prepared { settings, direction, context } = made;
        let names = self.set.names(direction.as_ref(), &self.device.name);
        let mut start = load::start(&settings, &names);
        // Clients need not know where the models lie.
        for model in [&mut start.asr, &mut start.aligner, &mut start.mt].into_iter().flatten() {
            *model = named(model).to_owned();
        }
        let (input, inputs) = mpsc::channel(INPUTS);
        let (steps, stepped) = mpsc::channel(4);
        let (opened, answer) = oneshot::channel();
        let from = session.log.checkpoint();
        let job = Job {
            settings,
            direction,
            context,
            start: start.clone(),
            notes: names.notes,
            text: session.opening.wanted.text,
            batch,
            from,
            input: inputs,
            suspended: session.suspended.clone(),
            steps,
            opened,
            cost,
        };
        self.device.open(job).map_err(|error| Refused::Device(error.to_string()))?;
        match answer.await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(Refused::Bad(why)),
            Err(_) => return Err(Refused::Device("its thread has ended".to_owned())),
        }
        *session.input.lock().unwrap_or_else(PoisonError::into_inner) = Some(input);
        let _ = session.start.set(start);
        self.known().sessions.insert(session.id().to_owned(), session.clone());
        let running = self.metrics.opened();
        let (sessions, driven) = (self.clone(), session.clone());
        self.tasks.spawn(async move {
            drive(&driven, stepped, &sessions.metrics).await;
            sessions.ended(&driven);
            drop(running);
        });
        Ok(())
    }

    /// Keeps the captions of a session that has ended, and forgets those of the oldest one.
    fn ended(&self, session: &Session) {
        session.close_input();
        session.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut gone = Vec::new();
        {
            let mut known = self.known();
            if !known.sessions.contains_key(session.id()) {
                return; // forgotten meanwhile
            }
            known.ended.push_back(session.id().to_owned());
            while known.ended.len() > ENDED {
                let Some(id) = known.ended.pop_front() else { break };
                gone.extend(known.sessions.remove(&id));
            }
        }
        delete(gone);
    }
}

impl Opening {
    fn new(wanted: Wanted, owner: Digest, code: Digest) -> Opening {
        let viewer = Secret::new("vs").digest;
        Opening { id: Secret::new("s").text, wanted, owner, viewer, code, opened_ms: since_1970() }
    }
}

/// Deletes what was kept of sessions, on a thread that may wait for the disk.
fn delete(sessions: Vec<Arc<Session>>) {
    if sessions.is_empty() {
        return;
    }
    tokio::task::spawn_blocking(move || {
        for session in sessions {
            if let Err(error) = session.log.forget() {
                tracing::warn!("the log of a session cannot be deleted: {error}");
            }
        }
    });
}

/// What was taken in before a checkpoint and is not needed again: samples, or words of a text.
fn received(from: Option<&Checkpoint>, text: bool) -> u64 {
    from.map_or(0, |from| if text { from.closed_words + from.words.len() as u64 } else { from.tail_start })
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
    let mut over = false;
    let mut newest = None;
    while let Some(step) = steps.recv().await {
        let Step { events, checkpoint, position, flushes } = step;
        let new: Vec<_> = events.iter().filter_map(|event| commits.of(&event.kind)).collect();
        let (audio_ms, wall_ms) = events.last().map_or((Millis::ZERO, Millis::ZERO), |e| (e.audio_ms, e.wall_ms));
        if !new.is_empty() {
            n += 1;
            let record = Record { n, audio_ms, wall_ms, flushes: flushes.0, commits: new };
            over |= record.is_end();
            append(session, record, Some(checkpoint.clone()), metrics).await;
        } else if session.needs_keeping(&checkpoint, KEEP_AFTER) {
            keep(session, checkpoint.clone(), metrics).await;
        }
        newest = Some(checkpoint);
        show(session, &events, (position, flushes.1), metrics);
    }
    if over {
        return;
    }
    if session.suspended.load(Ordering::SeqCst) {
        if let Some(newest) = newest.filter(|newest| session.needs_keeping(newest, 1)) {
            keep(session, newest, metrics).await;
        }
        return;
    }
    // The device's thread is gone, or gave up. Followers must not wait for ever.
    let last = session.volatile();
    append(session, interruption(n + 1, last.audio_ms, last.wall_ms, last.flushes), newest, metrics).await;
}

/// The last record of a session that was interrupted.
fn interruption(n: u64, audio_ms: Millis, wall_ms: Millis, flushes: u64) -> Record {
    let end = super::record::Commit::End(End { interrupted: true, ..End::default() });
    Record { n, audio_ms, wall_ms, flushes, commits: vec![end] }
}

/// Writes a record, however long that takes. Nothing of it is shown before.
async fn append(session: &Session, record: Record, checkpoint: Option<Checkpoint>, metrics: &Metrics) {
    let began = std::time::Instant::now();
    let mut stuck = None;
    while let Err(error) = session.log.append(record.clone(), checkpoint.clone()).await {
        metrics.log_waits();
        tracing::warn!("a session's log cannot be written, and its captions wait: {error}");
        if stuck.is_none() {
            stuck = Some(metrics.log_is_stuck());
            let mut now = (*session.volatile()).clone();
            now.warn("the server cannot write this session's log: captions wait until it can".to_owned());
            session.volatile.send_replace(Arc::new(now));
        }
        tokio::time::sleep(RETRY).await;
    }
    metrics.log_append(began.elapsed());
}

/// Keeps the state of a stream, if that is possible now. Until it is, clients keep more sound.
async fn keep(session: &Session, checkpoint: Checkpoint, metrics: &Metrics) {
    if let Err(error) = session.log.keep(checkpoint).await {
        metrics.log_waits();
        tracing::warn!("a session's log cannot be written: {error}");
    }
}

/// Shows what a step gave and did not commit.
fn show(session: &Session, events: &[Event], at: (Position, u64), metrics: &Metrics) {
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
                now.warn(warning.message.clone());
            }
            // Sent even if nobody listens.
            EventKind::Listen(_) => drop(session.details.send(Arc::new(event.clone()))),
            EventKind::Start(_) | EventKind::End(_) => {}
        }
    }
    session.volatile.send_replace(Arc::new(now));
}
