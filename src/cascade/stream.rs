//! The stream: sound in, events out, one step at a time.

use super::captions::{Captions, Wrote};
use super::engines::{Align, BoxError, Engines, Recognize, TooLong, Translate};
use super::event::{End, Event, EventKind, Progress, Start, Warning};
use super::meter::Meter;
use super::settings::{Settings, SettingsError};
use super::tail::{Inbox, Tail, samples_in, time_of};
use super::transcript::{Closing, Transcript, words_of};
use crate::text::Millis;
use crate::text::units::join_words;
use crate::text::word_times::{Timed, map_times};

/// How many times a failing call is tried before the stream goes on without it.
const TRIES: u32 = 3;
/// Shorter sound than this cannot contain a word, but it may contain the end of one.
const SHORTEST: Millis = Millis(200);

/// Wall time since any fixed moment. The caller passes it in because a browser has no `std::time`.
pub type Clock = Box<dyn Fn() -> Millis>;

/// What a voice activity detector says about a stretch of sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// There is speech, or sound that could be speech.
    Speech,
    /// There is no speech.
    Silence,
    /// No detector ran. The sound is treated as speech.
    #[default]
    Unknown,
}

impl Activity {
    /// Converts the result of a detector.
    pub fn of(is_speech: bool) -> Activity {
        if is_speech { Activity::Speech } else { Activity::Silence }
    }
}

/// One of the three models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The recogniser.
    Recognize,
    /// The aligner.
    Align,
    /// The translator.
    Translate,
}

/// A model failed. Committed text stays, and the stream may go on: the next step tries the same
/// work again. Work that fails three times, or does not fit its model, is skipped with a warning,
/// so that it does not block the stream.
#[derive(Debug, thiserror::Error)]
#[error("{} failed at {:.1} s", stage.name(), at.seconds())]
pub struct CascadeError {
    /// The model that failed.
    pub stage: Stage,
    /// How far the stream had been heard.
    pub at: Millis,
    /// The model's own error.
    pub source: BoxError,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Recognize => "speech recognition",
            Stage::Align => "word alignment",
            Stage::Translate => "translation",
        }
    }
}

/// Receives the events.
pub(super) type Emit<'a> = &'a mut dyn FnMut(Event);

/// One stream, from the first sound to the last caption.
///
/// ```text
/// cascade.start(..);
/// for each block of sound { cascade.push(..); while cascade.step(..).await? {} }
/// cascade.finish(..).await?;
/// cascade.end(..);
/// ```
pub struct Cascade<R, A, T> {
    settings: Settings,
    recognizer: R,
    aligner: A,
    captions: Option<Captions<T>>,
    inbox: Inbox,
    tail: Tail,
    transcript: Transcript,
    meter: Meter,
    /// Consecutive failures of each stage.
    failures: [u32; 3],
    clock: Clock,
    began: Millis,
    last_wall: Millis,
    words: u64,
    segments: u32,
    finished: bool,
}

impl<R: Recognize, A: Align, T: Translate> Cascade<R, A, T> {
    /// Creates a stream at time zero of both clocks. Fails if the settings are out of range or the
    /// translator has no target language.
    pub fn new(settings: Settings, engines: Engines<R, A, T>, clock: Clock) -> Result<Self, SettingsError> {
        settings.check()?;
        let captions = match (engines.translator, settings.target) {
            (None, _) => None,
            (Some(translator), Some(target)) => Some(Captions::new(translator, target, &settings)),
            (Some(_), None) => return Err(SettingsError::NoTarget),
        };
        let (mut recognizer, mut aligner) = (engines.recognizer, engines.aligner);
        recognizer.restart();
        aligner.restart();
        Ok(Cascade {
            settings,
            recognizer,
            aligner,
            captions,
            inbox: Inbox::default(),
            tail: Tail::default(),
            transcript: Transcript::default(),
            meter: Meter::default(),
            failures: [0; 3],
            began: clock(),
            last_wall: Millis::ZERO,
            clock,
            words: 0,
            segments: 0,
            finished: false,
        })
    }

    /// The settings of the stream.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends the first event.
    pub fn start(&mut self, start: Start, emit: Emit<'_>) {
        self.send(EventKind::Start(start), emit);
    }

    /// Sends a warning at this point among the events.
    pub fn warn(&mut self, message: String, emit: Emit<'_>) {
        self.send(EventKind::Warning(Warning { message }), emit);
    }

    /// Takes in samples (16 kHz, mono, in -1..1), any number of them. `activity` is the voice
    /// detector's result for them. Nothing is computed before the next step.
    pub fn push(&mut self, samples: &[f32], activity: Activity) {
        let arrived = self.wall();
        let piece = samples_in(self.settings.chunk);
        self.inbox.push(samples, piece, activity, arrived);
    }

    /// Whether at least one chunk waits, so that a step has work to do.
    pub fn ready(&self) -> bool {
        self.inbox.waiting() >= samples_in(self.settings.chunk)
    }

    /// Length of the sound that waits. It grows where computing is slower than the sound.
    pub fn waiting(&self) -> Millis {
        time_of(self.inbox.waiting())
    }

    /// Processes the waiting sound if there is at least one chunk, and sends the events that follow
    /// from it. A caller that is late has all of it processed in one step, up to a pause or the
    /// longest segment. Returns false if less than a chunk waited.
    pub async fn step(&mut self, emit: Emit<'_>) -> Result<bool, CascadeError> {
        if !self.ready() {
            return Ok(false);
        }
        self.cycle(false, emit).await?;
        Ok(true)
    }

    /// Ends the stream: processes the rest of the sound, closes the open segment and writes its
    /// final translation. Call [`Cascade::end`] afterwards. After an error, `finish` may be called
    /// again.
    pub async fn finish(&mut self, emit: Emit<'_>) -> Result<(), CascadeError> {
        loop {
            let last = !self.ready();
            self.cycle(last, emit).await?;
            if last && self.inbox.waiting() == 0 {
                self.finished = true;
                return Ok(());
            }
        }
    }

    /// Returns the engines when the stream is over.
    pub fn into_engines(self) -> Engines<R, A, T> {
        let translator = self.captions.map(Captions::into_translator);
        Engines { recognizer: self.recognizer, aligner: self.aligner, translator }
    }

    /// Sends the last event. Segments that are still open (after an error, or where the stream was
    /// stopped without [`Cascade::finish`]) close with their committed text. No model is called.
    pub fn end(&mut self, emit: Emit<'_>) {
        let open = self.transcript.abandon();
        if let Some(closed) = &open {
            self.send(closed.event(), emit);
            self.segments += 1;
            self.words += closed.words.len() as u64;
        }
        let left = match &mut self.captions {
            Some(captions) => captions.abandon(open.map(|closed| closed.segment)),
            None => Vec::new(),
        };
        for event in left {
            self.send(event, emit);
        }
        let heard = self.tail.end_time();
        let end = End {
            segments: self.segments,
            words: self.words,
            recognized_tokens: self.meter.recognized_tokens,
            drafted_tokens: self.meter.drafted_tokens,
            computed_tokens: self.meter.translating.computed as u64,
            saved_tokens: self.meter.translating.saved as u64,
            readbacks: self.meter.translating.readbacks as u64,
            rtf: self.meter.rtf(heard),
            tokens_per_second: self.meter.tokens_per_second(),
            interrupted: !self.finished,
        };
        self.send(EventKind::End(end), emit);
    }

    async fn cycle(&mut self, last: bool, emit: Emit<'_>) -> Result<(), CascadeError> {
        let began = self.wall();
        self.meter.begin_step();
        let oldest = self.take_waiting();
        let last = last && self.inbox.waiting() == 0;
        let outcome = self.work(last, emit).await;
        let ended = self.wall();
        self.meter.add_computing(ended - began);
        if oldest.is_some() {
            let progress = Progress {
                lag_ms: ended - oldest.unwrap_or(began),
                tail_ms: self.tail.length(),
                waiting_ms: self.waiting(),
                ..self.meter.progress(self.tail.end_time())
            };
            self.send(EventKind::Progress(progress), emit);
        }
        outcome
    }

    /// Moves waiting sound to the tail, up to a pause or the longest segment. Moves nothing where
    /// the tail is that long already because the previous step failed, so the tail does not outgrow
    /// the recogniser. Returns the arrival time of the oldest sound that was moved.
    fn take_waiting(&mut self) -> Option<Millis> {
        let mut oldest = None;
        while self.tail.length() < self.settings.longest_segment && !self.pausing() {
            let Some(block) = self.inbox.pop() else {
                break;
            };
            self.tail.hear(&block);
            oldest.get_or_insert(block.arrived);
        }
        oldest
    }

    fn pausing(&self) -> bool {
        self.tail.has_speech() && self.tail.trailing_silence() >= self.settings.pause
    }

    async fn work(&mut self, last: bool, emit: Emit<'_>) -> Result<(), CascadeError> {
        let closing = if last || self.pausing() {
            Closing::All
        } else if self.tail.length() >= self.settings.longest_segment {
            // Whatever the word times are, a long segment drops at least a quarter of its sound.
            Closing::Long { give_up: self.tail.end_time() - Millis(self.settings.longest_segment.0 / 4 * 3) }
        } else if self.tail.length().0 >= self.settings.longest_segment.0 / 4 * 3 {
            Closing::Clauses
        } else {
            Closing::Sentences
        };
        let was_heard = !self.tail.has_speech() || self.recognize(emit).await?;
        // Sound that the recogniser keeps failing on, or that does not fit it, is dropped. Words
        // known before it close.
        let closing = if was_heard { closing } else { Closing::All };
        self.settle(closing, emit).await?;
        self.translate(emit).await
    }

    /// Recognises the tail if it has new sound. Returns false if the recogniser keeps failing on
    /// it, or if it does not fit.
    async fn recognize(&mut self, emit: Emit<'_>) -> Result<bool, CascadeError> {
        let too_short = self.tail.length() < SHORTEST && self.transcript.word_count() == 0;
        if !self.tail.has_news() || too_short {
            return Ok(true);
        }
        let began = self.wall();
        let heard = match self.recognizer.transcribe(self.tail.samples(), self.settings.source).await {
            Ok(heard) => heard,
            Err(source) => {
                let why = self.give_up(Stage::Recognize, source)?;
                let (from, to) = (self.tail.start_time().seconds(), self.tail.end_time().seconds());
                self.warn(format!("the sound from {from:.1} to {to:.1} s is not fully transcribed: {why}"), emit);
                return Ok(false);
            }
        };
        self.failures[Stage::Recognize as usize] = 0;
        self.spent(Stage::Recognize, began, heard.tokens);
        let words = words_of(&heard.text);
        let times = if self.transcript.departs(&words) { self.align(&words, emit).await? } else { Vec::new() };
        self.tail.recognized();
        self.transcript.hear(&words, &times);
        Ok(true)
    }

    /// Counts a failure. Returns the error if the call should be tried again; otherwise returns the
    /// reason as text.
    fn give_up(&mut self, stage: Stage, source: BoxError) -> Result<String, CascadeError> {
        let failures = &mut self.failures[stage as usize];
        *failures += 1;
        if *failures < TRIES && !source.is::<TooLong>() {
            return Err(self.failed(stage, source));
        }
        *failures = 0;
        Ok(source.to_string())
    }

    /// Commits words, closes segments, cuts the tail, and sends the source events.
    async fn settle(&mut self, closing: Closing, emit: Emit<'_>) -> Result<(), CascadeError> {
        let wants_times = self.captions.as_ref().is_some_and(Captions::wants_times);
        let times = if self.transcript.has_new(closing) || wants_times && self.transcript.word_count() > 0 {
            self.align(&self.transcript.word_list(), emit).await?
        } else {
            Vec::new()
        };
        self.transcript.set_times(&times);
        let rests_on = self.captions.as_ref().map_or(0, Captions::rests_on);
        let heard = self.tail.end_time();
        let settled = self.transcript.settle(closing, &times, rests_on, heard);
        for closed in &settled.closed {
            self.send(closed.event(), emit);
            self.segments += 1;
            self.words += closed.words.len() as u64;
            if let Some(captions) = &mut self.captions {
                captions.close(closed);
            }
        }
        match closing {
            Closing::All => {
                self.tail.clear();
                self.restart_engines();
            }
            Closing::Long { give_up } => {
                self.tail.cut(settled.cut.unwrap_or(give_up));
                self.restart_engines();
            }
            Closing::Sentences | Closing::Clauses => {
                if let Some(cut) = settled.cut {
                    self.tail.cut(cut);
                    self.restart_engines();
                }
            }
        }
        if self.transcript.word_count() > 0 {
            self.tail.expect_speech();
        }
        if let Some(event) = self.transcript.announce() {
            self.send(event, emit);
        }
        Ok(())
    }

    /// Tells the engines that a new tail begins.
    fn restart_engines(&mut self) {
        self.recognizer.restart();
        self.aligner.restart();
    }

    /// Absolute times for `words`, which are spoken in the tail. Where the aligner keeps failing on
    /// them, the words share the tail evenly.
    async fn align(&mut self, words: &[String], emit: Emit<'_>) -> Result<Vec<(Millis, Millis)>, CascadeError> {
        let began = self.wall();
        let text = join_words(words.iter().map(String::as_str));
        let aligned = match self.aligner.align(self.tail.samples(), &text, self.settings.source).await {
            Ok(aligned) => {
                self.failures[Stage::Align as usize] = 0;
                aligned
            }
            Err(source) => {
                let why = self.give_up(Stage::Align, source)?;
                let at = self.tail.start_time().seconds();
                self.warn(format!("the times of the words from {at:.1} s on are estimated: {why}"), emit);
                Vec::new()
            }
        };
        self.spent(Stage::Align, began, 0);
        let timed: Vec<Timed<'_>> =
            aligned.iter().map(|w| Timed { text: &w.text, start: w.start_ms, end: w.end_ms }).collect();
        let start = self.tail.start_time();
        let times = map_times(words, &timed, self.tail.length());
        Ok(times.into_iter().map(|(from, to)| (start + from, start + to)).collect())
    }

    /// Writes the final translations of closed segments, then drafts for the open one.
    async fn translate(&mut self, emit: Emit<'_>) -> Result<(), CascadeError> {
        let heard = self.tail.end_time();
        while let Some(captions) = &mut self.captions {
            let began = (self.clock)() - self.began;
            let mut wrote = Wrote::default();
            let outcome = captions.next_final(heard, &mut wrote).await;
            self.wrote(wrote, began, emit);
            match outcome {
                Ok(true) => self.failures[Stage::Translate as usize] = 0,
                Ok(false) => break,
                Err(source) => {
                    let why = self.give_up(Stage::Translate, source)?;
                    let Some((segment, closed)) = self.captions.as_mut().and_then(Captions::give_up) else { break };
                    self.warn(format!("segment {} is not fully translated: {why}", segment.0), emit);
                    self.send(closed, emit);
                }
            }
        }
        let Some(captions) = &mut self.captions else {
            return Ok(());
        };
        let began = (self.clock)() - self.began;
        let words = self.transcript.draft_source(captions.rests_on());
        let mut wrote = Wrote::default();
        let outcome = captions.partial(self.transcript.segment(), &words, heard, &mut wrote).await;
        self.wrote(wrote, began, emit);
        outcome.map_err(|source| self.failed(Stage::Translate, source))
    }

    fn wrote(&mut self, wrote: Wrote, began: Millis, emit: Emit<'_>) {
        if wrote.tokens > 0 {
            self.spent(Stage::Translate, began, wrote.tokens);
        }
        self.meter.translating += wrote.cost;
        for event in wrote.events {
            self.send(event, emit);
        }
    }

    fn wall(&mut self) -> Millis {
        self.last_wall = self.last_wall.max((self.clock)() - self.began);
        self.last_wall
    }

    fn spent(&mut self, stage: Stage, began: Millis, tokens: usize) {
        let spent = self.wall() - began;
        self.meter.add(stage, spent, tokens);
    }

    fn failed(&self, stage: Stage, source: BoxError) -> CascadeError {
        CascadeError { stage, at: self.tail.end_time(), source }
    }

    fn send(&mut self, kind: EventKind, emit: Emit<'_>) {
        let wall_ms = self.wall();
        emit(Event { audio_ms: self.tail.end_time(), wall_ms, kind });
    }
}
