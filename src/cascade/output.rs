//! What a stream of sound and a stream of text have in common: the translation of segments, the
//! counts of the last event, the clock, and what happens when a model fails.

use super::captions::{Captions, Wrote};
use super::checkpoint::{Checkpoint, Position};
use super::engines::{BoxError, TooLong, Translate};
use super::event::{End, Event, EventKind, Progress, Warning};
use super::meter::Meter;
use super::tail::time_of;
use super::transcript::{ClosedSource, Transcript};
use crate::text::Millis;

/// How many times a failing call is tried before the stream goes on without it.
const TRIES: u32 = 3;

/// Wall time since any fixed moment. The caller passes it in because a browser has no `std::time`.
pub type Clock = Box<dyn Fn() -> Millis>;

/// Receives the events.
pub(super) type Emit<'a> = &'a mut dyn FnMut(Event);

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

/// The part of a stream behind its source words. `heard` is how far the stream has been heard.
pub(super) struct Output<T> {
    /// `None`: the stream is only transcribed.
    pub captions: Option<Captions<T>>,
    meter: Meter,
    pub heard: Millis,
    /// Where the sound begins that this stream computes: zero, or where it was resumed.
    from: Millis,
    pub finished: bool,
    /// Whether open segments are translated.
    pub drafting: bool,
    /// Consecutive failures of each stage.
    failures: [u32; 3],
    clock: Clock,
    began: Millis,
    last_wall: Millis,
    words: u64,
    segments: u32,
}

impl<T: Translate> Output<T> {
    /// The output of a stream that begins now.
    pub(super) fn new(captions: Option<Captions<T>>, clock: Clock) -> Output<T> {
        Output {
            captions,
            meter: Meter::default(),
            heard: Millis::ZERO,
            from: Millis::ZERO,
            finished: false,
            drafting: true,
            failures: [0; 3],
            began: clock(),
            last_wall: Millis::ZERO,
            clock,
            words: 0,
            segments: 0,
        }
    }

    /// Goes on from a checkpoint that has passed its checks.
    pub(super) fn resume(&mut self, from: &Checkpoint) {
        self.heard = time_of(from.heard);
        self.from = time_of(from.tail_start);
        self.words = from.closed_words;
        self.segments = from.segment.0;
        if let (Some(captions), Some(target)) = (&mut self.captions, &from.target) {
            captions.resume(target.clone());
        }
    }

    /// A checkpoint of what `transcript` and the translation have committed.
    pub(super) fn checkpoint(&self, transcript: &Transcript, position: Position) -> Checkpoint {
        Checkpoint {
            heard: position.heard,
            tail_start: position.tail_start,
            closed_words: self.words,
            target: self.captions.as_ref().map(Captions::checkpoint),
            ..transcript.checkpoint()
        }
    }

    /// Number of words in closed segments.
    pub(super) fn closed_words(&self) -> u64 {
        self.words
    }

    pub(super) fn send(&mut self, kind: EventKind, emit: Emit<'_>) {
        let wall_ms = self.wall();
        emit(Event { audio_ms: self.heard, wall_ms, kind });
    }

    pub(super) fn warn(&mut self, message: String, emit: Emit<'_>) {
        self.send(EventKind::Warning(Warning { message }), emit);
    }

    /// Wall time since the stream began. It never goes back.
    pub(super) fn wall(&mut self) -> Millis {
        self.last_wall = self.last_wall.max((self.clock)() - self.began);
        self.last_wall
    }

    /// Number of source words that the shown text of the open segment may rest on.
    pub(super) fn rests_on(&self) -> usize {
        self.captions.as_ref().map_or(0, Captions::rests_on)
    }

    /// Counts the time since `began`, and the tokens that a model wrote in it.
    pub(super) fn spent(&mut self, stage: Stage, began: Millis, tokens: usize) {
        let spent = self.wall() - began;
        self.meter.add(stage, spent, tokens);
    }

    pub(super) fn succeeded(&mut self, stage: Stage) {
        self.failures[stage as usize] = 0;
    }

    /// Counts a failure. Returns the error if the call should be tried again; otherwise returns the
    /// reason as text.
    pub(super) fn give_up(&mut self, stage: Stage, source: BoxError) -> Result<String, CascadeError> {
        let failures = &mut self.failures[stage as usize];
        *failures += 1;
        if *failures < TRIES && !source.is::<TooLong>() {
            return Err(self.failed(stage, source));
        }
        *failures = 0;
        Ok(source.to_string())
    }

    fn failed(&self, stage: Stage, source: BoxError) -> CascadeError {
        CascadeError { stage, at: self.heard, source }
    }

    /// Sends the source of a closed segment and takes the segment over for its final translation.
    pub(super) fn close(&mut self, closed: &ClosedSource, emit: Emit<'_>) {
        self.count(closed, emit);
        if let Some(captions) = &mut self.captions {
            captions.close(closed);
        }
    }

    fn count(&mut self, closed: &ClosedSource, emit: Emit<'_>) {
        self.send(closed.event(), emit);
        self.segments += 1;
        self.words += closed.words.len() as u64;
    }

    /// Writes the final translations of closed segments, then drafts for the open one.
    pub(super) async fn translate(&mut self, transcript: &Transcript, emit: Emit<'_>) -> Result<(), CascadeError> {
        while self.translate_closed(emit).await? {}
        self.draft(transcript, emit).await
    }

    /// Whether closed segments wait for their final translation.
    pub(super) fn has_closed(&self) -> bool {
        self.captions.as_ref().is_some_and(Captions::has_waiting)
    }

    /// Writes the final translation of the oldest closed segment. Returns false where none waits.
    pub(super) async fn translate_closed(&mut self, emit: Emit<'_>) -> Result<bool, CascadeError> {
        let heard = self.heard;
        let Some(captions) = &mut self.captions else {
            return Ok(false);
        };
        let began = (self.clock)() - self.began;
        let mut wrote = Wrote::default();
        let outcome = captions.next_final(heard, &mut wrote).await;
        self.wrote(wrote, began, emit);
        match outcome {
            Ok(true) => self.succeeded(Stage::Translate),
            Ok(false) => return Ok(false),
            Err(source) => {
                let why = self.give_up(Stage::Translate, source)?;
                let Some((segment, closed)) = self.captions.as_mut().and_then(Captions::give_up) else {
                    return Ok(false);
                };
                self.warn(format!("segment {} is not fully translated: {why}", segment.0), emit);
                self.send(closed, emit);
            }
        }
        Ok(true)
    }

    /// Writes drafts for the open segment.
    pub(super) async fn draft(&mut self, transcript: &Transcript, emit: Emit<'_>) -> Result<(), CascadeError> {
        let heard = self.heard;
        let Some(captions) = self.captions.as_mut().filter(|_| self.drafting) else {
            return Ok(());
        };
        let began = (self.clock)() - self.began;
        let words = transcript.draft_source(captions.rests_on());
        let mut wrote = Wrote::default();
        let outcome = captions.partial(transcript.segment(), &words, heard, &mut wrote).await;
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

    /// Begins to count the time of a step. Returns the wall time.
    pub(super) fn begin_step(&mut self) -> Millis {
        self.meter.begin_step();
        self.wall()
    }

    /// Adds the computing time of a step that began at `began`, and sends its timing if it had
    /// input. `arrived` is when the oldest input arrived.
    pub(super) fn end_step(
        &mut self,
        began: Millis,
        arrived: Option<Millis>,
        tail_ms: Millis,
        waiting_ms: Millis,
        emit: Emit<'_>,
    ) {
        let ended = self.wall();
        self.meter.add_computing(ended - began);
        let Some(arrived) = arrived else { return };
        let lag_ms = ended - arrived;
        let progress = Progress { lag_ms, tail_ms, waiting_ms, ..self.meter.progress(self.heard - self.from) };
        self.send(EventKind::Progress(progress), emit);
    }

    /// Closes the segments that are still open with their committed text, and sends the last event.
    /// No model is called.
    pub(super) fn end(&mut self, transcript: &mut Transcript, emit: Emit<'_>) {
        let open = transcript.abandon();
        if let Some(closed) = &open {
            self.count(closed, emit);
        }
        let left = match &mut self.captions {
            Some(captions) => captions.abandon(open.map(|closed| closed.segment)),
            None => Vec::new(),
        };
        for event in left {
            self.send(event, emit);
        }
        let end = End {
            segments: self.segments,
            words: self.words,
            recognized_tokens: self.meter.recognized_tokens,
            drafted_tokens: self.meter.drafted_tokens,
            computed_tokens: self.meter.translating.computed as u64,
            saved_tokens: self.meter.translating.saved as u64,
            readbacks: self.meter.translating.readbacks as u64,
            rtf: self.meter.rtf(self.heard - self.from),
            tokens_per_second: self.meter.tokens_per_second(),
            interrupted: !self.finished,
        };
        self.send(EventKind::End(end), emit);
    }
}
