//! Streams of utterances on the device's thread: updates wait in a mailbox, translations come out.

use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::device::Shared;
use super::load::{Cost, Strain};
use super::metrics::Running;
use super::session::{Prepared, Refused, Sessions, Wanted};
use super::turns::Deadline;
use crate::cascade::utterances::{Earlier, Mailbox, Translation, Update, Utterances};
use crate::cascade::{BoxError, Settings};
use crate::engines::load::Direction;
use crate::engines::on_models;
use crate::text::{Context, Millis};

/// What runs.
pub(super) struct Job {
    settings: Settings,
    direction: Direction,
    context: Context,
    most_words: usize,
    earlier: Earlier,
    inbox: Arc<Inbox>,
    answers: mpsc::Sender<Answer>,
    /// Told when the translator exists, or why it does not.
    opened: oneshot::Sender<Result<(), String>>,
    cost: Cost,
}

/// One stream, as a connection sees it. It ends when this is dropped.
pub(super) struct Stream {
    pub inbox: Arc<Inbox>,
    pub answers: mpsc::Receiver<Answer>,
    _running: Running,
}

/// What comes of an update.
pub(super) enum Answer {
    Translation(Translation),
    Failed { seq: Option<i64>, message: String },
}

/// Opens a stream. `most_words`, `earlier`: see [`Utterances`].
pub(super) async fn open(
    sessions: &Sessions,
    wanted: &Wanted,
    most_words: usize,
    earlier: Earlier,
    cost: Cost,
) -> Result<Stream, Refused> {
    let Prepared { settings, direction, context } = sessions.prepare(wanted)?;
    let direction = direction.ok_or_else(|| Refused::Bad("no target language is given".to_owned()))?;
    let inbox = Arc::<Inbox>::default();
    let (answers, answered) = mpsc::channel(4);
    let (opened, answer) = oneshot::channel();
    let job = Job { settings, direction, context, most_words, earlier, inbox: inbox.clone(), answers, opened, cost };
    sessions.device.open_utterances(job).map_err(|error| Refused::Device(error.to_string()))?;
    match answer.await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => return Err(Refused::Bad(why)),
        Err(_) => return Err(Refused::Device("its thread has ended".to_owned())),
    }
    Ok(Stream { inbox, answers: answered, _running: sessions.metrics.opened() })
}

/// The mailbox between a connection and the device's thread.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    came: Notify,
    room: Notify,
}

#[derive(Default)]
struct State {
    mailbox: Mailbox,
    /// When the oldest update came that no answer covers.
    since: Option<Instant>,
}

impl Inbox {
    /// Puts an update in. A final waits while too many others do.
    pub(super) async fn put(&self, update: Update) {
        while update.is_final && !self.state().mailbox.has_room() {
            self.room.notified().await;
        }
        let mut state = self.state();
        state.since.get_or_insert_with(Instant::now);
        state.mailbox.put(update);
        self.came.notify_one();
    }

    /// Waits until there is an update. Returns when the oldest came.
    async fn came(&self) -> Instant {
        loop {
            if let Some(since) = self.since() {
                return since;
            }
            self.came.notified().await;
        }
    }

    fn since(&self) -> Option<Instant> {
        self.state().since
    }

    fn take(&self) -> Option<Update> {
        let mut state = self.state();
        let update = state.mailbox.take();
        state.since = (!state.mailbox.is_empty()).then(Instant::now);
        self.room.notify_one();
        update
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs one stream until nobody reads its answers.
pub(super) async fn run(shared: Rc<Shared>, job: Job) {
    let Job { settings, direction, context, most_words, earlier, inbox, answers, opened, mut cost } = job;
    let mut utterances = match make(&shared, &settings, &direction, &context, most_words, earlier) {
        Ok(utterances) => utterances,
        Err(error) => return drop(opened.send(Err(error.to_string()))),
    };
    if opened.send(Ok(())).is_err() {
        return; // nobody waits for it any more
    }
    let mut before = Instant::now();
    loop {
        let since = tokio::select! {
            since = inbox.came() => since,
            () = answers.closed() => return,
        };
        let turn = shared.turns.wait(Deadline::At(since + Duration::from_millis(settings.chunk.0))).await;
        // What has come while this stream waited for its turn replaces older partials.
        let Some(update) = inbox.take() else { continue };
        utterances.set_drafting(shared.load.strain(Instant::now()) < Strain::FinalOnly);
        let began = Instant::now();
        let outcome = utterances.take(&update).await;
        drop(turn);
        // An update stands for the time since the one before.
        let chunk = settings.chunk.max(Millis::from(began - before));
        before = began;
        shared.spent(&mut cost, began.elapsed(), chunk);
        shared.load.lagged(&mut cost, since.elapsed(), settings.chunk, Instant::now());
        let answer = match outcome {
            Ok(translation) => Answer::Translation(translation),
            Err(error) => Answer::Failed { seq: update.seq, message: error.to_string() },
        };
        if answers.send(answer).await.is_err() {
            return;
        }
    }
}

fn make(
    shared: &Shared,
    settings: &Settings,
    direction: &Direction,
    context: &Context,
    most_words: usize,
    earlier: Earlier,
) -> Result<Utterances<on_models::Translation>, BoxError> {
    let translator = shared.resident.translation(direction, context)?;
    Ok(Utterances::new(settings, translator, most_words, earlier)?)
}
