//! Runs one stream until its end or Ctrl-C: passes sound to the cascade and events to the outputs.

use std::time::{Duration, Instant};

use super::error::CliError;
use super::interrupt;
use super::outputs::Outputs;
use super::sound::{self, Next, Sound, SoundItem};
use crate::audio::error::AudioError;
use crate::cascade::event::Start;
use crate::cascade::{Align, Cascade, Engines, Event, Recognize, Settings, Translate};
use crate::text::Millis;

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
