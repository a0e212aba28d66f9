//! The stream of a source that is text: words with times in, events out. There is no recogniser and
//! no aligner. Everything behind the source words is the same as for sound.

use std::collections::VecDeque;

use super::captions::Captions;
use super::checkpoint::{Checkpoint, Position, ResumeError};
use super::engines::Translate;
use super::event::{EventKind, Start};
use super::output::{CascadeError, Clock, Emit, Output};
use super::settings::{Settings, SettingsError};
use super::tail::samples_in;
use super::transcript::{Closing, Transcript, words_of};
use crate::text::Millis;
use crate::text::passages::spread;

/// A segment of this many words closes at a clause.
const LONG: usize = 60;
/// A segment of this many words closes in any case.
const LONGEST: usize = 80;
/// The most words that wait for a step, except where one text alone has more. A caller that gives
/// more has them wait in its own hands.
const MOST_WAITING: usize = 10_000;
/// The most words that a step takes: as many as the longest segment has, because a step with such a
/// segment takes that long in any case.
const MOST_TAKEN: usize = LONGEST;
/// The most final translations that a step writes. Words that are said in one chunk close fewer
/// segments.
const MOST_CLOSED: u32 = 4;

/// A word that waits for a step.
struct Waiting {
    text: String,
    start: Millis,
    end: Millis,
    /// Wall time of its arrival.
    arrived: Millis,
}

/// One stream of text, from the first word to the last caption.
///
/// A word of a text is certain: it is committed as soon as it is there, and a translation may rest
/// on it. Segments close at sentence ends, at pauses between the words' times, and where they are
/// long.
///
/// ```text
/// text.start(..);
/// for each word { text.push(..)?; while text.ready() { text.step(now, ..).await?; } }
/// text.finish(..).await?;
/// text.end(..);
/// ```
pub struct TextStream<T> {
    settings: Settings,
    waiting: VecDeque<Waiting>,
    transcript: Transcript,
    /// Times of the words of the open segment.
    times: Vec<(Millis, Millis)>,
    /// End time of the newest word that was pushed.
    pushed_end: Millis,
    output: Output<T>,
}

/// More words would wait than a stream keeps. None of the text was taken: call [`TextStream::step`]
/// first. A text is never too long where no words wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_WAITING} words wait for their translation")]
pub struct TooManyWords;

impl<T: Translate> TextStream<T> {
    /// Creates a stream at time zero of both clocks. `settings.chunk` and
    /// `settings.longest_segment` concern sound only.
    ///
    /// Errors: the settings are out of range, or name no target language.
    pub fn new(settings: Settings, translator: T, clock: Clock) -> Result<Self, SettingsError> {
        settings.check()?;
        let target = settings.target.ok_or(SettingsError::NoTarget)?;
        Ok(TextStream {
            settings,
            waiting: VecDeque::new(),
            transcript: Transcript::of_text(),
            times: Vec::new(),
            pushed_end: Millis::ZERO,
            output: Output::new(Some(Captions::new(translator, target, &settings)), clock),
        })
    }

    /// Creates a stream that goes on from `checkpoint`, which [`TextStream::checkpoint`] gave for
    /// a stream with the same settings. The caller pushes the words again that had not been taken:
    /// those behind the first [`TextStream::taken`]. The rest is as in
    /// [`Cascade::resume`](super::Cascade::resume).
    pub fn resume(
        settings: Settings,
        translator: T,
        clock: Clock,
        checkpoint: &Checkpoint,
    ) -> Result<Self, ResumeError> {
        let mut stream = TextStream::new(settings, translator, clock)?;
        checkpoint.check_for(&settings, true)?;
        stream.transcript.resume(checkpoint);
        stream.output.resume(checkpoint);
        stream.times = checkpoint.words.iter().map(|word| (word.start_ms, word.end_ms)).collect();
        stream.pushed_end = checkpoint.floor_ms;
        Ok(stream)
    }

    /// What [`TextStream::resume`] needs to go on from here. Take it between two steps. Words that
    /// wait for a step are not in it.
    pub fn checkpoint(&self) -> Checkpoint {
        let heard = samples_in(self.output.heard);
        self.output.checkpoint(&self.transcript, Position { heard, tail_start: heard })
    }

    /// Number of words that have been taken, from the first word of the text. They are never needed
    /// again.
    pub fn taken(&self) -> u64 {
        self.output.closed_words() + self.transcript.word_count() as u64
    }

    /// Number of words that wait for a step.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
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

    /// Takes in text that is said or written from `start` to `end`, in stream time. Several words
    /// share that time by their lengths. Times that go back are moved behind the words before.
    /// Nothing is computed before the next step.
    pub fn push(&mut self, text: &str, start: Millis, end: Millis) -> Result<(), TooManyWords> {
        let words = words_of(text);
        if !self.waiting.is_empty() && self.waiting.len() + words.len() > MOST_WAITING {
            return Err(TooManyWords);
        }
        let arrived = self.output.wall();
        let start = start.max(self.pushed_end);
        let end = end.max(start);
        for (text, start, end) in spread(words, start, end) {
            self.pushed_end = end;
            self.waiting.push_back(Waiting { text, start, end, arrived });
        }
        Ok(())
    }

    /// Whether words wait for a step, or closed segments for their translation.
    pub fn ready(&self) -> bool {
        !self.waiting.is_empty() || self.output.has_closed()
    }

    /// Translates what has been pushed, as much of it as one step may hold; whether there is more,
    /// [`TextStream::ready`] says. `now` is how far the stream has come; the words' times may be
    /// ahead of it. A pause before `now` closes the open segment.
    ///
    /// Errors: see [`CascadeError`]. The stream may go on with the next step.
    pub async fn step(&mut self, now: Millis, emit: Emit<'_>) -> Result<(), CascadeError> {
        self.cycle(now, false, emit).await
    }

    /// Ends the stream: translates all words, closes the open segment and writes its final
    /// translation. Call [`TextStream::end`] afterwards. After an error, `finish` may be called
    /// again.
    pub async fn finish(&mut self, emit: Emit<'_>) -> Result<(), CascadeError> {
        self.flush(emit).await?;
        self.output.finished = true;
        Ok(())
    }

    /// Translates all words, closes the open segment and writes its final translation. The stream
    /// goes on with the next word. After an error, `flush` may be called again. A caller that does
    /// other things between two steps calls [`TextStream::step`] while the stream is ready, and
    /// this at the end.
    pub async fn flush(&mut self, emit: Emit<'_>) -> Result<(), CascadeError> {
        loop {
            self.cycle(self.output.heard, true, emit).await?;
            if !self.ready() {
                return Ok(());
            }
        }
    }

    /// Sends the last event. Segments that are still open (after an error, or where the stream was
    /// stopped without [`TextStream::finish`]) close with their shown text. No model is called.
    pub fn end(&mut self, emit: Emit<'_>) {
        self.output.end(&mut self.transcript, emit);
    }

    /// Returns the translator when the stream is over.
    pub fn into_translator(self) -> Option<T> {
        self.output.captions.map(Captions::into_translator)
    }

    async fn cycle(&mut self, now: Millis, last: bool, emit: Emit<'_>) -> Result<(), CascadeError> {
        let began = self.output.begin_step();
        // Where the translator fails or is slow, closed segments wait, and words behind them wait,
        // too: so the number of such segments is bounded.
        let arrived = if self.output.has_closed() { None } else { self.take_waiting(emit) };
        if self.waiting.is_empty() {
            self.output.heard = self.output.heard.max(now);
            if last || self.is_pause(self.output.heard) {
                self.settle(Closing::All, emit);
            }
        }
        if let Some(event) = self.transcript.announce() {
            self.output.send(event, emit);
        }
        let outcome = self.translate(emit).await;
        self.output.end_step(began, arrived, Millis::ZERO, Millis::ZERO, emit);
        outcome
    }

    /// Writes the final translations of closed segments, then drafts for the open one. A segment
    /// whose next words are there already gets no draft, so what is shown does not depend on where
    /// a step ends.
    async fn translate(&mut self, emit: Emit<'_>) -> Result<(), CascadeError> {
        for _ in 0..MOST_CLOSED {
            if !self.output.translate_closed(emit).await? {
                break;
            }
        }
        if self.ready() {
            return Ok(());
        }
        self.output.draft(&self.transcript, emit).await
    }

    /// Commits waiting words one by one, so that a pause between two of them is noticed; at most as
    /// many as one step may hold. Returns when the oldest of them arrived.
    fn take_waiting(&mut self, emit: Emit<'_>) -> Option<Millis> {
        let arrived = self.waiting.front().map(|word| word.arrived);
        let first = self.transcript.segment();
        for _ in 0..MOST_TAKEN {
            if self.transcript.segment().0 - first.0 >= MOST_CLOSED {
                break;
            }
            let Some(word) = self.waiting.pop_front() else { break };
            if self.is_pause(word.start) {
                self.settle(Closing::All, emit);
            }
            self.output.heard = self.output.heard.max(word.end);
            self.transcript.append(word.text);
            self.times.push((word.start, word.end));
            let closing = match self.times.len() {
                LONGEST.. => Closing::Long { give_up: Millis::ZERO },
                LONG.. => Closing::Clauses,
                _ => Closing::Sentences,
            };
            self.settle(closing, emit);
        }
        arrived
    }

    /// Whether nothing was said for the length of a pause before `time`.
    fn is_pause(&self, time: Millis) -> bool {
        self.times.last().is_some_and(|&(_, end)| time - end >= self.settings.pause)
    }

    /// Commits all words, and closes segments as far as `closing` allows.
    fn settle(&mut self, closing: Closing, emit: Emit<'_>) {
        let (rests_on, heard) = (self.output.rests_on(), self.output.heard);
        self.transcript.agree_on_all();
        let settled = self.transcript.settle(closing, &self.times, rests_on, heard);
        for closed in &settled.closed {
            self.times.drain(..closed.words.len().min(self.times.len()));
            self.output.close(closed, emit);
        }
        if !settled.closed.is_empty() {
            // The words behind the closed segments.
            self.transcript.agree_on_all();
            self.transcript.settle(Closing::Sentences, &self.times, 0, heard);
        }
    }
}
