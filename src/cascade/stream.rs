//! The stream: sound in, events out, one step at a time.

use super::captions::Captions;
use super::checkpoint::{Checkpoint, Position, ResumeError};
use super::engines::{Align, Engines, Recognize, Translate};
use super::event::{EventKind, Start};
use super::output::{CascadeError, Clock, Emit, Output, Stage};
use super::settings::{Settings, SettingsError};
use super::tail::{Inbox, RUN_UP, Tail, samples_in, time_of};
use super::transcript::{Closing, Transcript, words_of};
use crate::text::Millis;
use crate::text::units::join_words;
use crate::text::word_times::{Timed, map_times};

/// Shorter sound than this cannot contain a word, but it may contain the end of one.
const SHORTEST: Millis = Millis(200);

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
    inbox: Inbox,
    tail: Tail,
    /// Where the sound ends that was heard before the stream was resumed. The tail is heard again
    /// up to there in one step.
    heard_before: u64,
    transcript: Transcript,
    output: Output<T>,
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
            inbox: Inbox::default(),
            tail: Tail::default(),
            heard_before: 0,
            transcript: Transcript::default(),
            output: Output::new(captions, clock),
        })
    }

    /// Creates a stream that goes on from `checkpoint`, which [`Cascade::checkpoint`] gave for a
    /// stream with the same settings.
    ///
    /// The caller pushes sound from `checkpoint.tail_start` on. It sends no [`Cascade::start`]: the
    /// events follow those from before, whose tentative text is void. What is committed stays as it
    /// is, segments and times go on, and only wall time starts anew. The first step waits until
    /// more sound is there than had been heard. Text after what is committed may differ from what
    /// an unbroken stream would have written.
    pub fn resume(
        settings: Settings,
        engines: Engines<R, A, T>,
        clock: Clock,
        checkpoint: &Checkpoint,
    ) -> Result<Self, ResumeError> {
        let translates = engines.translator.is_some();
        let mut cascade = Cascade::new(settings, engines, clock)?;
        checkpoint.check_for(&settings, translates)?;
        cascade.transcript.resume(checkpoint);
        cascade.output.resume(checkpoint);
        cascade.tail = Tail::from(checkpoint.tail_start);
        cascade.heard_before = checkpoint.heard;
        // A tail without speech is shorter.
        let had_speech = time_of(checkpoint.heard - checkpoint.tail_start) > RUN_UP;
        if had_speech || !checkpoint.words.is_empty() {
            cascade.tail.expect_speech();
        }
        Ok(cascade)
    }

    /// What [`Cascade::resume`] needs to go on from here: all that has been committed so far. Take
    /// it between two steps, also after one that failed. Sound that waits for a step is not in it.
    pub fn checkpoint(&self) -> Checkpoint {
        self.output.checkpoint(&self.transcript, self.position())
    }

    /// How far the stream has come. Sound before `tail_start` will never be needed again.
    pub fn position(&self) -> Position {
        Position { heard: self.tail.end().max(self.heard_before), tail_start: self.tail.start() }
    }

    /// The settings of the stream.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends the first event.
    pub fn start(&mut self, start: Start, emit: Emit<'_>) {
        self.output.send(EventKind::Start(start), emit);
    }

    /// Whether open segments are translated, too (as in a new stream), or only closed ones. A
    /// caller that falls behind saves the drafts of open segments.
    pub fn set_drafting(&mut self, drafting: bool) {
        self.output.drafting = drafting;
    }

    /// Sends a warning at this point among the events.
    pub fn warn(&mut self, message: String, emit: Emit<'_>) {
        self.output.warn(message, emit);
    }

    /// Takes in samples (16 kHz, mono, in -1..1), any number of them. `activity` is the voice
    /// detector's result for them. Nothing is computed before the next step.
    pub fn push(&mut self, samples: &[f32], activity: Activity) {
        let arrived = self.output.wall();
        let piece = samples_in(self.settings.chunk);
        let known = self.unheard().saturating_sub(self.inbox.waiting());
        let (again, new) = samples.split_at(samples.len().min(usize::try_from(known).unwrap_or(usize::MAX)));
        self.inbox.push(again, piece, activity, arrived);
        self.inbox.push(new, piece, activity, arrived);
    }

    /// Whether at least one chunk waits, so that a step has work to do.
    pub fn ready(&self) -> bool {
        self.inbox.waiting() >= samples_in(self.settings.chunk) + self.unheard()
    }

    /// Number of samples that were heard before the stream was resumed and have not been heard
    /// again.
    fn unheard(&self) -> u64 {
        self.heard_before.saturating_sub(self.tail.end())
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
        self.flush(emit).await?;
        self.output.finished = true;
        Ok(())
    }

    /// Processes all sound that waits, closes the open segment and writes its final translation.
    /// The stream goes on with the next sound. After an error, `flush` may be called again.
    pub async fn flush(&mut self, emit: Emit<'_>) -> Result<(), CascadeError> {
        loop {
            let last = !self.ready();
            self.cycle(last, emit).await?;
            if last && self.inbox.waiting() == 0 {
                return Ok(());
            }
        }
    }

    /// Returns the engines when the stream is over.
    pub fn into_engines(self) -> Engines<R, A, T> {
        let translator = self.output.captions.map(Captions::into_translator);
        Engines { recognizer: self.recognizer, aligner: self.aligner, translator }
    }

    /// Sends the last event. Segments that are still open (after an error, or where the stream was
    /// stopped without [`Cascade::finish`]) close with their committed text. No model is called.
    pub fn end(&mut self, emit: Emit<'_>) {
        self.output.end(&mut self.transcript, emit);
    }

    async fn cycle(&mut self, last: bool, emit: Emit<'_>) -> Result<(), CascadeError> {
        let began = self.output.begin_step();
        let oldest = self.take_waiting();
        self.output.heard = self.output.heard.max(self.tail.end_time());
        let last = last && self.inbox.waiting() == 0;
        let outcome = self.work(last, emit).await;
        self.output.end_step(began, oldest, self.tail.length(), self.waiting(), emit);
        outcome
    }

    /// Moves waiting sound to the tail, up to a pause or the longest segment. Moves nothing where
    /// the tail is that long already because the previous step failed, so the tail does not outgrow
    /// the recogniser. Sound that was heard before the stream was resumed moves in any case,
    /// because committed words may lie in it. Returns the arrival time of the oldest sound that was
    /// moved.
    fn take_waiting(&mut self) -> Option<Millis> {
        let mut oldest = None;
        while self.unheard() > 0 || self.tail.length() < self.settings.longest_segment && !self.pausing() {
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
        self.output.translate(&self.transcript, emit).await
    }

    /// Recognises the tail if it has new sound. Returns false if the recogniser keeps failing on
    /// it, or if it does not fit.
    async fn recognize(&mut self, emit: Emit<'_>) -> Result<bool, CascadeError> {
        let too_short = self.tail.length() < SHORTEST && self.transcript.word_count() == 0;
        if !self.tail.has_news() || too_short {
            return Ok(true);
        }
        let began = self.output.wall();
        let heard = match self.recognizer.transcribe(self.tail.samples(), self.settings.source).await {
            Ok(heard) => heard,
            Err(source) => {
                let why = self.output.give_up(Stage::Recognize, source)?;
                let (from, to) = (self.tail.start_time().seconds(), self.tail.end_time().seconds());
                self.warn(format!("the sound from {from:.1} to {to:.1} s is not fully transcribed: {why}"), emit);
                return Ok(false);
            }
        };
        self.output.succeeded(Stage::Recognize);
        self.output.spent(Stage::Recognize, began, heard.tokens);
        let words = words_of(&heard.text);
        let times = if self.transcript.departs(&words) { self.align(&words, emit).await? } else { Vec::new() };
        self.tail.recognized();
        self.transcript.hear(&words, &times);
        Ok(true)
    }

    /// Commits words, closes segments, cuts the tail, and sends the source events.
    async fn settle(&mut self, closing: Closing, emit: Emit<'_>) -> Result<(), CascadeError> {
        let wants_times = self.output.captions.as_ref().is_some_and(Captions::wants_times);
        let times = if self.transcript.has_new(closing) || wants_times && self.transcript.word_count() > 0 {
            self.align(&self.transcript.word_list(), emit).await?
        } else {
            Vec::new()
        };
        self.transcript.set_times(&times);
        let rests_on = self.output.rests_on();
        let heard = self.tail.end_time();
        let settled = self.transcript.settle(closing, &times, rests_on, heard);
        for closed in &settled.closed {
            self.output.close(closed, emit);
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
            self.output.send(event, emit);
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
        if self.tail.samples().is_empty() {
            return Ok(vec![(self.tail.end_time(), self.tail.end_time()); words.len()]);
        }
        let began = self.output.wall();
        let text = join_words(words.iter().map(String::as_str));
        let aligned = match self.aligner.align(self.tail.samples(), &text, self.settings.source).await {
            Ok(aligned) => {
                self.output.succeeded(Stage::Align);
                aligned
            }
            Err(source) => {
                let why = self.output.give_up(Stage::Align, source)?;
                let at = self.tail.start_time().seconds();
                self.warn(format!("the times of the words from {at:.1} s on are estimated: {why}"), emit);
                Vec::new()
            }
        };
        self.output.spent(Stage::Align, began, 0);
        let timed: Vec<Timed<'_>> =
            aligned.iter().map(|w| Timed { text: &w.text, start: w.start_ms, end: w.end_ms }).collect();
        let start = self.tail.start_time();
        let times = map_times(words, &timed, self.tail.length());
        Ok(times.into_iter().map(|(from, to)| (start + from, start + to)).collect())
    }
}
