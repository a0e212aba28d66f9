//! The thread that owns a device and its models. All sessions run on it as local tasks, one step at
//! a time, the most urgent first. Nothing else touches an engine, and no socket or file is touched
//! here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::LocalSet;

use super::load::{Cost, Load, Strain};
use super::pace::Pace;
use super::text::Text;
use super::turns::{Deadline, Turns};
use super::utterances;
use crate::audio::pieces::Piece;
use crate::cascade::event::Start;
use crate::cascade::{Activity, BoxError, Cascade, Checkpoint, Event, Position, SAMPLE_RATE, Settings, TextStream};
use crate::engines::load::{Direction, ModelEngines};
use crate::engines::on_models::Translation;
use crate::engines::resident::{ModelSet, Resident};
use crate::gpu::DeviceChoice;
use crate::text::{Context, Millis};

/// What a session takes in.
pub(super) enum Input {
    /// Sound, with its share of the session's backlog.
    Sound(Vec<Piece>, OwnedSemaphorePermit),
    /// Text that is said or written from `start` to `end`, in stream time.
    Text { text: String, start: Millis, end: Millis, permit: OwnedSemaphorePermit },
    /// Close the open segment now.
    Flush,
    /// Nothing follows. Without it, a session whose input is dropped ends as interrupted.
    Finish,
}

/// What a step gave.
pub(super) struct Step {
    pub events: Vec<Event>,
    /// The state that the stream can be resumed from.
    pub checkpoint: Checkpoint,
    /// How far the stream is.
    pub position: Position,
    /// Flushes that were done before this step, and with it.
    pub flushes: (u64, u64),
}

/// What runs.
pub(super) struct Job {
    pub settings: Settings,
    pub direction: Option<Direction>,
    pub context: Context,
    pub start: Start,
    pub notes: Vec<String>,
    /// Words of a text instead of sound.
    pub text: bool,
    /// No one waits for single words: the work fills gaps, chunk by chunk.
    pub batch: bool,
    pub from: Option<Checkpoint>,
    pub input: mpsc::Receiver<Input>,
    /// Set where the session stops at once and without an end: it goes on after a restart, or
    /// nobody wants the rest.
    pub suspended: Arc<AtomicBool>,
    pub steps: mpsc::Sender<Step>,
    /// Told when the engines exist, or why they do not.
    pub opened: oneshot::Sender<Result<(), String>>,
    pub cost: Cost,
}

enum Command {
    Open(Box<Job>),
    OpenUtterances(Box<utterances::Job>),
    /// A pass through the device, to see that it lives.
    Beat(oneshot::Sender<Result<(), String>>),
}

/// The handle to the thread.
#[derive(Clone)]
pub(super) struct DeviceThread {
    commands: mpsc::UnboundedSender<Command>,
    pub name: Arc<str>,
    /// Nanoseconds that the thread has spent in steps.
    pub busy_ns: Arc<AtomicU64>,
}

/// The thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device's thread has ended")]
pub(super) struct Gone;

impl DeviceThread {
    /// Opens the device and loads the models, on a new thread. `report` is called on that thread.
    pub(super) fn start(
        set: ModelSet,
        device: DeviceChoice,
        load: Arc<Load>,
        mut report: impl FnMut(&str, u64, u64) + Send + 'static,
    ) -> Result<DeviceThread, BoxError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ready, loaded) = std::sync::mpsc::channel::<Result<String, String>>();
        let busy_ns = Arc::new(AtomicU64::new(0));
        let busy = busy_ns.clone();
        let main = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.to_string()))),
            };
            LocalSet::new().block_on(&runtime, async move {
                let opened = open(&set, device, &mut report).await;
                drop(report); // nothing more is loaded
                let resident = match opened {
                    Ok(resident) => resident,
                    Err(error) => return drop(ready.send(Err(error.to_string()))),
                };
                let _ = ready.send(Ok(resident.compute().name.clone()));
                let at_once = if resident.compute().is_gpu() { 2 } else { 1 };
                let shared = Shared { turns: Turns::new(at_once), resident, busy, load };
                run(Rc::new(shared), receiver).await;
            });
        };
        std::thread::Builder::new().name("device".to_owned()).spawn(main)?;
        let name = loaded.recv().map_err(|_| Gone)??;
        Ok(DeviceThread { commands, name: name.into(), busy_ns })
    }

    pub(super) fn open(&self, job: Job) -> Result<(), Gone> {
        self.commands.send(Command::Open(Box::new(job))).map_err(|_| Gone)
    }

    pub(super) fn open_utterances(&self, job: utterances::Job) -> Result<(), Gone> {
        self.commands.send(Command::OpenUtterances(Box::new(job))).map_err(|_| Gone)
    }

    /// Waits for a pass through the device.
    pub(super) async fn beat(&self) -> Result<(), String> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Beat(sender)).map_err(|_| Gone.to_string())?;
        receiver.await.map_err(|_| Gone.to_string())?
    }
}

async fn open(
    set: &ModelSet,
    device: DeviceChoice,
    report: &mut dyn FnMut(&str, u64, u64),
) -> Result<Resident, BoxError> {
    let (compute, refused) = crate::selftest::open(device).await?;
    refused.iter().for_each(|why| tracing::warn!("{why}"));
    Resident::load(set, compute, report).await
}

/// What all sessions of the device share.
pub(super) struct Shared {
    pub turns: Rc<Turns>,
    pub resident: Resident,
    busy: Arc<AtomicU64>,
    pub load: Arc<Load>,
}

impl Shared {
    /// Counts the time of a step that stands for `chunk` of a stream.
    pub(super) fn spent(&self, cost: &mut Cost, spent: Duration, chunk: Millis) {
        self.busy.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.load.step(cost, spent, chunk);
    }
}

async fn run(shared: Rc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    tokio::task::spawn_local(shared.turns.clone().give());
    while let Some(command) = commands.recv().await {
        let shared = shared.clone();
        match command {
            Command::Open(job) => tokio::task::spawn_local(session(shared, *job)),
            Command::OpenUtterances(job) => tokio::task::spawn_local(utterances::run(shared, *job)),
            Command::Beat(answer) => tokio::task::spawn_local(async move {
                let _turn = shared.turns.wait(Deadline::At(Instant::now())).await;
                let alive = shared.resident.compute().wait_idle().await;
                let _ = answer.send(alive.map_err(|error| error.to_string()));
            }),
        };
    }
}

fn length_of(samples: u64) -> Duration {
    Duration::from_micros(samples * 1_000_000 / u64::from(SAMPLE_RATE))
}

/// Number of samples in `time`.
fn samples_in(time: Millis) -> u64 {
    u64::from(SAMPLE_RATE) * time.0 / 1000
}

/// A stream of sound or of text.
enum Stream {
    Sound(Box<Cascade<crate::engines::on_models::Recognition, crate::engines::on_models::Alignment, Translation>>),
    Text(Box<Text<Translation>>),
}

/// Runs one session until its end.
async fn session(shared: Rc<Shared>, job: Job) {
    let Job { settings, direction, context, start, notes, text, batch, from, input, suspended, steps, opened, cost } =
        job;
    let began = Instant::now();
    let resumed = from.as_ref().map_or(0, |from| from.tail_start);
    let made = make(&shared.resident, settings, direction.as_ref(), &context, text, from.clone(), began);
    let mut stream = match made {
        Ok(stream) => stream,
        Err(error) => return drop(opened.send(Err(error.to_string()))),
    };
    if opened.send(Ok(())).is_err() {
        return; // nobody waits for it any more
    }
    let events = Rc::new(RefCell::new(Vec::new()));
    if from.is_none() {
        let mut emit = |event: Event| events.borrow_mut().push(event);
        stream.start(start, &mut emit);
        notes.into_iter().for_each(|note| stream.warn(note, &mut emit));
    }
    let mut session = Session {
        shared,
        cost,
        batch,
        began,
        chunk: settings.chunk,
        pace: Pace::new(from.is_some()),
        pushed: resumed,
        resumed,
        held: VecDeque::new(),
        held_len: 0,
        strain: Strain::None,
        waited_for: settings.chunk,
        arrived: None,
        input,
        next: None,
        over: None,
    };
    let mut flushes = 0;
    if send(&steps, &stream, &events, (0, 0)).await.is_err() {
        return;
    }
    loop {
        let todo = session.wait(&mut stream).await;
        if suspended.load(Ordering::SeqCst) {
            return;
        }
        if let Some(warning) = session.follow_strain(&mut stream) {
            stream.warn(warning.to_owned(), &mut |event| events.borrow_mut().push(event));
        }
        let deadline = session.deadline();
        let turn = session.shared.turns.wait(deadline).await;
        session.catch_up(&mut stream, todo);
        let step_began = Instant::now();
        let mut emit = |event: Event| events.borrow_mut().push(event);
        let outcome = match todo {
            Todo::Step => stream.step(&mut emit).await,
            Todo::Flush => stream.flush(&mut emit).await,
            Todo::Finish => stream.finish(&mut emit).await,
            Todo::Stop => stream.flush(&mut emit).await,
        };
        let before = flushes;
        flushes += u64::from(todo == Todo::Flush);
        let spent = step_began.elapsed();
        drop(turn);
        session.spent(spent, &stream);
        if let Err(error) = outcome {
            // The stream may go on. What keeps failing is skipped with a warning of its own.
            stream.warn(format!("{error}: {}", error.source), &mut |event| events.borrow_mut().push(event));
            if matches!(todo, Todo::Finish | Todo::Stop) && session.try_again() {
                continue;
            }
        }
        if matches!(todo, Todo::Finish | Todo::Stop) {
            stream.end(&mut |event| events.borrow_mut().push(event));
            let _ = send(&steps, &stream, &events, (before, flushes)).await;
            return;
        }
        if send(&steps, &stream, &events, (before, flushes)).await.is_err() {
            return;
        }
    }
}

async fn send(
    steps: &mpsc::Sender<Step>,
    stream: &Stream,
    events: &RefCell<Vec<Event>>,
    flushes: (u64, u64),
) -> Result<(), Gone> {
    let events = events.take();
    let step = Step { events, checkpoint: stream.checkpoint(), position: stream.position(), flushes };
    steps.send(step).await.map_err(|_| Gone)
}

fn make(
    resident: &Resident,
    settings: Settings,
    direction: Option<&Direction>,
    context: &Context,
    text: bool,
    from: Option<Checkpoint>,
    began: Instant,
) -> Result<Stream, BoxError> {
    let clock = Box::new(move || Millis::from(began.elapsed()));
    if text {
        let direction = direction.ok_or("a text is translated, and no target language is given")?;
        let translator = resident.translation(direction, context)?;
        let stream = match from {
            Some(from) => TextStream::resume(settings, translator, clock, &from)?,
            None => TextStream::new(settings, translator, clock)?,
        };
        return Ok(Stream::Text(Box::new(Text::new(stream))));
    }
    let engines: ModelEngines = resident.engines(direction, context)?;
    let cascade = match from {
        Some(from) => Cascade::resume(settings, engines, clock, &from)?,
        None => Cascade::new(settings, engines, clock)?,
    };
    Ok(Stream::Sound(Box::new(cascade)))
}

/// What a session does with its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    Step,
    Flush,
    Finish,
    /// The input was dropped.
    Stop,
}

/// How a session takes its input.
struct Session {
    shared: Rc<Shared>,
    cost: Cost,
    batch: bool,
    began: Instant,
    chunk: Millis,
    pace: Pace,
    /// Samples pushed to the stream, counted from its beginning; `resumed` of them before this run.
    pushed: u64,
    resumed: u64,
    /// Sound that has arrived and is not pushed yet. The last piece of an input has the share of
    /// the whole input. A piece is short, so that chunks have exactly the length that was asked
    /// for.
    held: VecDeque<(Piece, Option<OwnedSemaphorePermit>)>,
    /// Samples of `held`.
    held_len: u64,
    /// What the session leaves out.
    strain: Strain,
    /// The sound that the newest step waited for.
    waited_for: Millis,
    /// When the oldest sound that no step has processed arrived.
    arrived: Option<Instant>,
    input: mpsc::Receiver<Input>,
    /// What was asked for while a step was being prepared: it follows the sound that is held.
    next: Option<Todo>,
    /// How the session ends when all of its sound is processed.
    over: Option<Todo>,
}

impl Session {
    /// Waits until there is work.
    async fn wait(&mut self, stream: &mut Stream) -> Todo {
        loop {
            self.push_chunk(stream);
            if stream.ready() {
                return Todo::Step;
            }
            // The sound before it is processed chunk by chunk, as it would be without a flush.
            if let Some(next) = self.next.take() {
                return next;
            }
            if let Some(over) = self.over {
                return over;
            }
            match self.input.recv().await {
                Some(input) => {
                    if let Some(todo) = self.take(input, stream) {
                        return todo;
                    }
                }
                None => self.over = Some(Todo::Stop),
            }
        }
    }

    /// Takes an input in. Returns what it asks for at once.
    fn take(&mut self, input: Input, stream: &mut Stream) -> Option<Todo> {
        match input {
            Input::Sound(pieces, permit) => {
                self.arrived.get_or_insert_with(Instant::now);
                self.hold(pieces, permit);
                None
            }
            Input::Text { text, start, end, permit } => {
                stream.hold_text(text, start, end, permit);
                None
            }
            Input::Flush => Some(Todo::Flush),
            Input::Finish => {
                self.over = Some(Todo::Finish);
                None
            }
        }
    }

    /// Pushes held sound until a chunk is ready. Under strain a chunk is longer.
    fn push_chunk(&mut self, stream: &mut Stream) {
        if stream.ready() {
            return;
        }
        self.waited_for = self.strain.chunk(self.chunk);
        if self.strain >= Strain::LongChunks && self.over.is_none() {
            let chunk = samples_in(self.waited_for);
            if self.held_len < chunk {
                return;
            }
            let until = self.pushed + chunk;
            while self.pushed < until && self.push_oldest(stream) {}
        }
        while !stream.ready() && self.push_oldest(stream) {}
    }

    fn hold(&mut self, pieces: Vec<Piece>, permit: OwnedSemaphorePermit) {
        for piece in pieces {
            self.held_len += piece.samples.len() as u64;
            self.held.push_back((piece, None));
        }
        if let Some((_, last)) = self.held.back_mut() {
            *last = Some(permit);
        }
    }

    /// Leaves out more or less where the device's strain has changed. Returns what to tell the
    /// client.
    fn follow_strain(&mut self, stream: &mut Stream) -> Option<&'static str> {
        let no_hurry = self.batch || self.pace.is_ahead();
        let now = if no_hurry { Strain::None } else { self.shared.load.strain(Instant::now()) };
        let before = std::mem::replace(&mut self.strain, now);
        if now == before {
            return None;
        }
        stream.set_drafting(now < Strain::FinalOnly);
        Some(match now {
            Strain::None => "the server keeps up again",
            Strain::LongChunks => "the server is behind: captions come in longer steps",
            Strain::FinalOnly | Strain::Closed => "the server is behind: sentences are translated when they end",
        })
    }

    fn push_oldest(&mut self, stream: &mut Stream) -> bool {
        let Some((piece, _permit)) = self.held.pop_front() else { return false };
        let len = piece.samples.len() as u64;
        self.held_len -= len;
        self.pushed += len;
        stream.push(&piece.samples, Activity::of(piece.is_speech));
        true
    }

    /// Where somebody speaks and the stream is late, the step takes all whole chunks that have
    /// come. A flush and the end take everything.
    fn catch_up(&mut self, stream: &mut Stream, todo: Todo) {
        // What comes behind a flush is not part of it, and waits.
        while todo == Todo::Step
            && self.next.is_none()
            && let Ok(input) = self.input.try_recv()
        {
            self.next = self.take(input, stream);
        }
        let now = self.began.elapsed();
        if todo == Todo::Step {
            self.pace.look(self.played() + length_of(self.held_len), length_of(self.held_len), now);
        }
        let due = self.pace.spoken(self.played()) + Duration::from_millis(self.chunk.0);
        let late = !self.batch && !self.pace.is_ahead() && now > due;
        let chunk = samples_in(self.chunk);
        let take = match todo {
            Todo::Step if late => self.held_len / chunk * chunk,
            Todo::Step => 0,
            Todo::Flush | Todo::Finish | Todo::Stop => self.held_len,
        };
        let until = self.pushed + take;
        while self.pushed < until && self.push_oldest(stream) {}
    }

    /// Length of the sound of this run that was pushed.
    fn played(&self) -> Duration {
        length_of(self.pushed - self.resumed)
    }

    /// One chunk after the sound arrived. If sound comes faster than real time: one chunk after it
    /// would have been spoken.
    fn deadline(&self) -> Deadline {
        if self.batch {
            return Deadline::Never;
        }
        let arrived = self.arrived.unwrap_or_else(Instant::now);
        let spoken = self.began + self.pace.spoken(self.played());
        Deadline::At(arrived.max(spoken) + Duration::from_millis(self.waited_for.0))
    }

    /// Counts the time of a step.
    fn spent(&mut self, spent: Duration, stream: &Stream) {
        if !self.batch
            && !self.pace.is_ahead()
            && let Some(arrived) = self.arrived
        {
            self.shared.load.lagged(&mut self.cost, arrived.elapsed(), self.waited_for, Instant::now());
        }
        // A text has no sound that could be late.
        let waits = !self.held.is_empty() || matches!(stream, Stream::Sound(stream) if stream.ready());
        self.arrived = waits.then(Instant::now);
        self.shared.spent(&mut self.cost, spent, self.waited_for);
    }

    /// Whether a failed end is tried again. The stream itself gives up what fails three times.
    fn try_again(&mut self) -> bool {
        self.cost.failures += 1;
        self.cost.failures < 8
    }
}

impl Stream {
    fn start(&mut self, start: Start, emit: &mut dyn FnMut(Event)) {
        match self {
            Stream::Sound(stream) => stream.start(start, emit),
            Stream::Text(text) => text.stream.start(start, emit),
        }
    }

    fn warn(&mut self, message: String, emit: &mut dyn FnMut(Event)) {
        match self {
            Stream::Sound(stream) => stream.warn(message, emit),
            Stream::Text(text) => text.stream.warn(message, emit),
        }
    }

    /// Whether open segments are translated, too.
    fn set_drafting(&mut self, drafting: bool) {
        match self {
            Stream::Sound(stream) => stream.set_drafting(drafting),
            Stream::Text(text) => text.stream.set_drafting(drafting),
        }
    }

    fn ready(&self) -> bool {
        match self {
            Stream::Sound(stream) => stream.ready(),
            Stream::Text(text) => text.ready(),
        }
    }

    fn push(&mut self, samples: &[f32], activity: Activity) {
        if let Stream::Sound(stream) = self {
            stream.push(samples, activity);
        }
    }

    fn hold_text(&mut self, text: String, start: Millis, end: Millis, permit: OwnedSemaphorePermit) {
        if let Stream::Text(stream) = self {
            stream.hold(text, start, end, permit);
        }
    }

    async fn step(&mut self, emit: &mut dyn FnMut(Event)) -> Result<(), crate::cascade::CascadeError> {
        match self {
            Stream::Sound(stream) => stream.step(emit).await.map(drop),
            Stream::Text(text) => text.step(emit).await,
        }
    }

    async fn flush(&mut self, emit: &mut dyn FnMut(Event)) -> Result<(), crate::cascade::CascadeError> {
        match self {
            Stream::Sound(stream) => stream.flush(emit).await,
            Stream::Text(text) => text.stream.flush(emit).await,
        }
    }

    async fn finish(&mut self, emit: &mut dyn FnMut(Event)) -> Result<(), crate::cascade::CascadeError> {
        match self {
            Stream::Sound(stream) => stream.finish(emit).await,
            Stream::Text(text) => text.stream.finish(emit).await,
        }
    }

    fn end(&mut self, emit: &mut dyn FnMut(Event)) {
        match self {
            Stream::Sound(stream) => stream.end(emit),
            Stream::Text(text) => text.stream.end(emit),
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        match self {
            Stream::Sound(stream) => stream.checkpoint(),
            Stream::Text(text) => text.stream.checkpoint(),
        }
    }

    fn position(&self) -> Position {
        match self {
            Stream::Sound(stream) => stream.position(),
            Stream::Text(text) => text.stream.checkpoint().position(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a device was asked.
    pub(in super::super) struct Questions(mpsc::UnboundedReceiver<Command>);

    impl Questions {
        /// Answers the oldest question.
        pub(in super::super) async fn answer(&mut self) {
            match self.0.recv().await {
                Some(Command::Beat(answer)) => answer.send(Ok(())).unwrap(),
                _ => panic!("something else was asked"),
            }
        }
    }

    impl DeviceThread {
        /// A device that never answers by itself.
        pub(in super::super) fn silent() -> (DeviceThread, Questions) {
            let (commands, questions) = mpsc::unbounded_channel();
            (DeviceThread { commands, name: "silent".into(), busy_ns: Arc::default() }, Questions(questions))
        }
    }
}
