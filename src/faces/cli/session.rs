//! Runs one stream until its end or Ctrl-C: passes sound or text to the cascade and events to the
//! outputs.

use std::time::{Duration, Instant};

use super::error::CliError;
use super::interrupt;
use super::outputs::Outputs;
use super::sound::{self, Next, Sound, SoundItem};
use super::text_input::{NextPassage, TextOrigin, TypedText};
use crate::audio::error::AudioError;
use crate::cascade::event::Start;
use crate::cascade::{Align, Cascade, Engines, Event, Recognize, Settings, TextStream, Translate};
use crate::text::Millis;
use crate::text::passages::{TextWord, chunk_end};

/// How long to wait for sound before the view is drawn again and Ctrl-C is checked.
const TICK: Duration = Duration::from_millis(100);

/// The first events of a run.
pub(super) struct FirstEvents {
    pub start: Start,
    /// Warnings that follow directly after the start event.
    pub notes: Vec<String>,
}

/// Plays one sound from start to end. In every case the last event is `end`.
pub(super) async fn play<R: Recognize, A: Align, T: Translate>(
    engines: Engines<R, A, T>,
    settings: Settings,
    first: FirstEvents,
    sound: Sound,
    outputs: &mut Outputs,
) -> Result<(), CliError> {
    let began = Instant::now();
    let clock = Box::new(move || Millis::from(began.elapsed()));
    let mut cascade = Cascade::new(settings, engines, clock).map_err(CliError::of)?;
    let mut emit = |event: Event| outputs.show(&event);
    cascade.start(first.start, &mut emit);
    for note in first.notes {
        cascade.warn(note, &mut emit);
    }
    let mut outcome = stream(&mut cascade, &sound, began, outputs).await;
    if matches!(outcome, Ok(Ended::Whole | Ended::Damaged(_))) {
        let finished = cascade.finish(&mut |event| outputs.show(&event)).await;
        if let Err(error) = finished {
            outcome = Err(CliError::of(error));
        }
    }
    cascade.end(&mut |event| outputs.show(&event));
    match outcome {
        // The first failure is reported.
        Err(error) => Err(error),
        Ok(Ended::Interrupted) => outputs.check().and(Err(CliError::Interrupted)),
        Ok(Ended::Damaged(error)) => outputs.check().and(Err(CliError::Failed(sound::with_remedy(error)))),
        Ok(Ended::Whole) => outputs.check(),
    }
}

/// How the sound ended.
enum Ended {
    Whole,
    /// Reading failed on the way. The sound read before has been processed.
    Damaged(AudioError),
    Interrupted,
}

async fn stream<R: Recognize, A: Align, T: Translate>(
    cascade: &mut Cascade<R, A, T>,
    sound: &Sound,
    began: Instant,
    outputs: &mut Outputs,
) -> Result<Ended, CliError> {
    let mut pushed = Duration::ZERO;
    loop {
        if interrupt::requested() {
            return Ok(Ended::Interrupted);
        }
        let mut next = sound.next(TICK);
        // Takes in all sound that a live source has sent meanwhile.
        loop {
            match next {
                Next::Item(SoundItem::Piece(samples, activity)) => {
                    pushed += Duration::from_micros(
                        samples.len() as u64 * 1_000_000 / u64::from(crate::cascade::SAMPLE_RATE),
                    );
                    cascade.push(&samples, activity);
                }
                Next::Item(SoundItem::Warning(warning)) => cascade.warn(warning, &mut |event| outputs.show(&event)),
                Next::Item(SoundItem::Failed(error)) => return Ok(Ended::Damaged(error)),
                Next::Waiting => outputs.tick(),
                Next::End => return Ok(Ended::Whole),
            }
            let late = sound.live && began.elapsed() > pushed;
            if !late {
                break;
            }
            next = sound.try_next();
            if matches!(next, Next::Waiting | Next::End) {
                break;
            }
        }
        while !interrupt::requested() && cascade.step(&mut |event| outputs.show(&event)).await.map_err(CliError::of)? {
            outputs.check()?;
        }
        outputs.check()?;
    }
}

/// Plays one text from start to end. In every case the last event is `end`. With `realtime`, the
/// words of a file come when they would have been said.
pub(super) async fn play_text<T: Translate>(
    translator: T,
    settings: Settings,
    first: FirstEvents,
    text: TextOrigin,
    realtime: bool,
    outputs: &mut Outputs,
) -> Result<(), CliError> {
    let began = Instant::now();
    let clock = Box::new(move || Millis::from(began.elapsed()));
    let mut stream = TextStream::new(settings, translator, clock).map_err(CliError::of)?;
    stream.start(first.start, &mut |event| outputs.show(&event));
    for note in first.notes {
        stream.warn(note, &mut |event| outputs.show(&event));
    }
    let mut outcome = match text {
        TextOrigin::File(words) => file_text(&mut stream, &words, realtime.then_some(began), outputs).await,
        TextOrigin::Stdin => typed_text(&mut stream, began, outputs).await,
    };
    if outcome.is_ok()
        && let Err(error) = stream.finish(&mut |event| outputs.show(&event)).await
    {
        outcome = Err(CliError::of(error));
    }
    stream.end(&mut |event| outputs.show(&event));
    match outcome? {
        Some(wrong) => outputs.check().and(Err(wrong)),
        None => outputs.check(),
    }
}

/// Plays `words` in steps of a chunk; in real time since `began` where that is given.
async fn file_text<T: Translate>(
    stream: &mut TextStream<T>,
    words: &[TextWord],
    began: Option<Instant>,
    outputs: &mut Outputs,
) -> Result<Option<CliError>, CliError> {
    let chunk = stream.settings().chunk;
    let mut words = words.iter().peekable();
    while let Some(next) = words.peek() {
        let now = chunk_end(next.end, chunk);
        while began.is_some_and(|began| Millis::from(began.elapsed()) < now) && !interrupt::requested() {
            std::thread::sleep(TICK.min(Duration::from_millis(chunk.0)));
            outputs.tick();
        }
        if interrupt::requested() {
            return Err(CliError::Interrupted);
        }
        while let Some(word) = words.next_if(|word| word.end <= now) {
            stream.push(&word.text, word.start, word.end).map_err(CliError::of)?;
        }
        translate_pushed(stream, now, outputs).await?;
    }
    Ok(None)
}

/// Translates what was pushed, in as many steps as that takes.
async fn translate_pushed<T: Translate>(
    stream: &mut TextStream<T>,
    now: Millis,
    outputs: &mut Outputs,
) -> Result<(), CliError> {
    loop {
        stream.step(now, &mut |event| outputs.show(&event)).await.map_err(CliError::of)?;
        outputs.check()?;
        if !stream.ready() {
            return Ok(());
        }
        if interrupt::requested() {
            return Err(CliError::Interrupted);
        }
    }
}

/// Translates standard input as it comes. A passage without times is said when it arrives. Where
/// reading fails on the way, the text before is translated, and the failure is returned.
async fn typed_text<T: Translate>(
    stream: &mut TextStream<T>,
    began: Instant,
    outputs: &mut Outputs,
) -> Result<Option<CliError>, CliError> {
    let typed = TypedText::start();
    let (mut now, mut timed) = (Millis::ZERO, false);
    loop {
        if interrupt::requested() {
            return Err(CliError::Interrupted);
        }
        match typed.next(TICK) {
            NextPassage::Passage(passage) => {
                timed |= passage.times.is_some();
                let arrived = Millis::from(began.elapsed());
                let (start, end) = passage.times.unwrap_or((arrived, arrived));
                now = now.max(end);
                stream.push(&passage.text, start, end).map_err(CliError::of)?;
            }
            NextPassage::Waiting => outputs.tick(),
            NextPassage::Failed(error) => return Ok(Some(CliError::of(error))),
            NextPassage::End => return Ok(None),
        }
        // The clock of a text that brings its times is its own.
        if !timed {
            now = now.max(Millis::from(began.elapsed()));
        }
        translate_pushed(stream, now, outputs).await?;
    }
}
