//! Whole files: a request brings one, and its answer is what was said. Jobs have no deadlines. They
//! run in the gaps beside live sessions, a few at a time, and a bounded number waits.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::App;
use super::feed::{self, FeedError};
use super::guard::{self, Who};
use super::owned::Owned;
use super::reply::Problem;
use super::session::{Follower, News, Wanted};
use super::spool::{Disk, Kept, Taken};
use crate::audio::decode::AudioFile;
use crate::audio::error::AudioError;
use crate::text::Millis;

/// Jobs that run at a time. A second one computes while the first waits for the device.
const RUNNING: usize = 2;
/// The most jobs at a time: running, waiting, or still being uploaded.
const WAITING: usize = 64;
/// How many of the largest files the disk holds.
const FILES: u64 = 4;

/// The jobs of a server.
pub(super) struct Jobs {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
    pub disk: Disk,
    /// The largest upload, in bytes.
    pub max_upload: u64,
    /// The most sound in a file.
    max_length: Millis,
}

/// A place among the jobs. Dropping it frees the place.
pub(super) struct Place {
    job: OwnedSemaphorePermit,
    client: guard::Place,
}

/// A file that can be decoded.
pub(super) struct Sound {
    file: AudioFile,
    taken: Taken,
}

/// A job that runs. Dropping it ends it.
pub(super) struct Job {
    pub session: Owned,
    follower: Follower,
    /// How the decoding ends, until that is known.
    decoded: Option<oneshot::Receiver<Result<Option<String>, FeedError>>>,
    /// What the decoder warns of.
    warning: Option<String>,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Jobs {
    pub(super) fn new(max_upload: u64, max_length: Millis) -> Jobs {
        Jobs {
            places: Arc::new(Semaphore::new(WAITING)),
            running: Arc::new(Semaphore::new(RUNNING)),
            disk: Disk::new(max_upload.saturating_mul(FILES)),
            max_upload,
            max_length,
        }
    }

    /// A place for a job, before anything of its request is read.
    pub(super) fn place(&self, app: &App, who: &Who) -> Result<Place, Problem> {
        let client = super::place(app, who)?;
        let job = self.places.clone().try_acquire_owned().map_err(|_| {
            app.sessions.metrics.refused("queue");
            let what = "as many requests wait as may wait; try again later";
            Problem { code: Some("at_capacity"), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, what) }
        })?;
        Ok(Place { job, client })
    }
}

impl Sound {
    /// Reads the header of a file, so that what is not sound is refused before it waits.
    pub(super) async fn open(kept: Kept) -> Result<Sound, Problem> {
        let Kept { source, taken } = kept;
        let opened = tokio::task::spawn_blocking(move || AudioFile::from_source(source, feed::NAME.to_owned()));
        let file = opened.await.map_err(|_| undecodable())?.map_err(|error| of_sound(&error))?;
        Ok(Sound { file, taken })
    }
}

impl Job {
    /// Waits for its turn and starts.
    pub(super) async fn start(app: &Arc<App>, wanted: Wanted, sound: Sound, place: Place) -> Result<Job, Problem> {
        let running = app.jobs.running.clone().acquire_owned().await;
        // They are never closed.
        let running = running.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no jobs are run"))?;
        let session = Owned::open(app, place.client, wanted, true, "openai").await?;
        let (sender, decoded) = oneshot::channel();
        let (own, runtime, most) = (session.shared(), tokio::runtime::Handle::current(), app.jobs.max_length);
        tokio::task::spawn_blocking(move || {
            let Sound { file, taken } = sound;
            let outcome = feed::decode(file, own, &runtime, Some(most));
            drop(taken);
            let _ = sender.send(outcome);
        });
        let follower = session.follow(0);
        Ok(Job { session, follower, decoded: Some(decoded), warning: None, _permits: [place.job, running] })
    }

    /// The next news of the session; `None` when all of the file was heard.
    pub(super) async fn next(&mut self) -> Result<Option<News>, Problem> {
        loop {
            let Some(decoded) = &mut self.decoded else {
                return Ok(self.follower.next().await);
            };
            tokio::select! {
                outcome = decoded => {
                    self.decoded = None;
                    self.warning = outcome.map_err(|_| undecodable())?.map_err(of_feed)?;
                    // A session that has ended says so to its follower.
                    let _ = self.session.finish().await;
                }
                news = self.follower.next() => return Ok(news),
            }
        }
    }

    /// Waits for the end.
    pub(super) async fn run(&mut self) -> Result<(), Problem> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// What the user should know about the result.
    pub(super) fn warnings(&self) -> Vec<String> {
        let volatile = self.session.volatile();
        self.warning.iter().chain(volatile.warnings.iter().map(|(_, message)| message)).cloned().collect()
    }
}

fn of_feed(error: FeedError) -> Problem {
    match error {
        FeedError::Sound(error) => of_sound(&error),
        FeedError::TooLong { .. } => Problem {
            param: Some("file"),
            code: Some("too_long"),
            ..Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        },
        FeedError::Ended(_) => interrupted(),
    }
}

/// The session ended before its sound did.
pub(super) fn interrupted() -> Problem {
    Problem { code: Some("interrupted"), ..Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the work was interrupted") }
}

fn undecodable() -> Problem {
    Problem { param: Some("file"), ..Problem::new(StatusCode::BAD_REQUEST, "the file cannot be decoded") }
}

fn of_sound(error: &AudioError) -> Problem {
    let status = match error {
        AudioError::UnknownFormat { .. } | AudioError::UnknownCodec { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        AudioError::Open { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    Problem { param: Some("file"), ..Problem::new(status, error.to_string()) }
}
