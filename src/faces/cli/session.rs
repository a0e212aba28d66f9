//! Runs one stream until its end or Ctrl-C: passes sound to the cascade and events to the outputs.

use std::time::{Duration, Instant};

use super::error::CliError;
use super::faces::Faces;
use super::interrupt;
use super::sound::{self, Heard, Next, Sound};
use crate::audio::error::AudioError;
use crate::cascade::event::Start;
use crate::cascade::{Align, Cascade, Engines, Event, Recognize, Settings, Translate};
use crate::text::Millis;

/// How long to wait for sound before the view is drawn again and Ctrl-C is checked.
const TICK: Duration = Duration::from_millis(100);

/// The first events of a run.
pub struct Opening {
    pub start: Start,
    /// Warnings that follow directly after the start event.
    pub notes: Vec<String>,
}

/// Plays one sound from start to end. In every case the last event is `end`.
pub async fn play<R: Recognize, A: Align, T: Translate>(
    engines: Engines<R, A, T>,
    settings: Settings,
    opening: Opening,
    sound: Sound,
    faces: &mut Faces,
) -> Result<(), CliError> {
    let began = Instant::now();
    let clock = Box::new(move || Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)));
    let mut cascade = Cascade::new(settings, engines, clock).map_err(CliError::of)?;
    let mut emit = |event: Event| faces.show(&event);
    cascade.start(opening.start, &mut emit);
    for note in opening.notes {
        cascade.warn(note, &mut emit);
    }
    let mut outcome = stream(&mut cascade, &sound, began, faces).await;
    if matches!(outcome, Ok(Ended::Whole | Ended::Damaged(_))) {
        let finished = cascade.finish(&mut |event| faces.show(&event)).await;
        if let Err(error) = finished {
            outcome = Err(CliError::of(error));
        }
    }
    cascade.end(&mut |event| faces.show(&event));
    match outcome {
        // The first failure is reported.
        Err(error) => Err(error),
        Ok(Ended::Interrupted) => faces.check().and(Err(CliError::Interrupted)),
        Ok(Ended::Damaged(error)) => faces.check().and(Err(CliError::Failed(sound::told(error)))),
        Ok(Ended::Whole) => faces.check(),
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
    faces: &mut Faces,
) -> Result<Ended, CliError> {
    let mut pushed = Duration::ZERO;
    loop {
        if interrupt::asked() {
            return Ok(Ended::Interrupted);
        }
        let mut next = sound.next(TICK);
        // Takes in all sound that a live source has sent meanwhile.
        loop {
            match next {
                Next::Heard(Heard::Piece(samples, activity)) => {
                    pushed += Duration::from_micros(
                        samples.len() as u64 * 1_000_000 / u64::from(crate::cascade::SAMPLE_RATE),
                    );
                    cascade.push(&samples, activity);
                }
                Next::Heard(Heard::Warning(warning)) => cascade.warn(warning, &mut |event| faces.show(&event)),
                Next::Heard(Heard::Failed(error)) => return Ok(Ended::Damaged(error)),
                Next::Waiting => faces.tick(),
                Next::End => return Ok(Ended::Whole),
            }
            let late = sound.live && began.elapsed() > pushed;
            if !late {
                break;
            }
            next = sound.at_once();
            if matches!(next, Next::Waiting | Next::End) {
                break;
            }
        }
        while !interrupt::asked() && cascade.step(&mut |event| faces.show(&event)).await.map_err(CliError::of)? {
            faces.check()?;
        }
        faces.check()?;
    }
}
