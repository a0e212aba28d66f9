//! A talk that has been played: its events, and when each unit of its translation was shown.

use std::io;
use std::path::Path;

use super::super::error::{CliError, one_line};
use super::super::text_file::{LINE_BYTES, TextError, TextLines};
use crate::cascade::event::{End, Start};
use crate::cascade::rules::Rules;
use crate::cascade::{Event, EventKind};
use crate::measure::latency::{Stamps, computation_aware};
use crate::text::units::written_units;
use crate::text::{Language, Millis};

/// The data of a talk that a report needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Played {
    pub start: Start,
    pub end: End,
    /// Length of the sound heard.
    pub length: Millis,
    /// Units of the translation, with their punctuation.
    pub units: Vec<String>,
    /// Delay of each unit: the sound heard when it was shown.
    pub delays: Vec<Millis>,
    /// Delay of each unit with computing time, by [`computation_aware`].
    pub elapsed: Vec<Millis>,
    /// Wall clock of each unit, in a run that did not wait for sound.
    pub wall: Vec<Millis>,
}

/// The events of a talk are not those of one whole run.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlayedError {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("line {0} is not an event: {1}")]
    NotAnEvent(usize, serde_json::Error),
    #[error(transparent)]
    Broken(#[from] crate::cascade::rules::BrokenRule),
    #[error("the run was interrupted")]
    Interrupted,
    #[error("nothing was translated in the run")]
    NoTarget,
}

impl Played {
    /// Reads the events in the file at `path`; `None` where there is no file.
    pub(super) fn read(path: &Path) -> Result<Option<Played>, CliError> {
        let played = match TextLines::open(path, LINE_BYTES) {
            Err(TextError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            lines => lines.map_err(PlayedError::from).and_then(events).and_then(|events| Played::of(&events)),
        };
        played.map(Some).map_err(|error| unreadable(path, error))
    }

    /// Extracts the shown units from `events`, which must be those of one whole run and obey its
    /// rules.
    pub(super) fn of(events: &[Event]) -> Result<Played, PlayedError> {
        Rules::check(events)?;
        let (Some(Event { kind: EventKind::Start(start), .. }), Some(last)) = (events.first(), events.last()) else {
            return Err(PlayedError::Interrupted);
        };
        let EventKind::End(end) = &last.kind else { return Err(PlayedError::Interrupted) };
        if end.interrupted {
            return Err(PlayedError::Interrupted);
        }
        let language = start.target_language.ok_or(PlayedError::NoTarget)?;
        let mut played = Played {
            start: start.clone(),
            end: *end,
            length: last.audio_ms,
            units: Vec::new(),
            delays: Vec::new(),
            elapsed: Vec::new(),
            wall: Vec::new(),
        };
        played.gather(events, language);
        // SimulEval's definition: sound heard plus all computing time before.
        let clock: Vec<Millis> = played.delays.iter().zip(&played.wall).map(|(&heard, &wall)| heard + wall).collect();
        played.elapsed = computation_aware(&played.delays, &clock);
        Ok(played)
    }

    fn gather(&mut self, events: &[Event], language: Language) {
        let mut stamps = Stamps::new(language);
        for event in events {
            let EventKind::Target(target) = &event.kind else { continue };
            stamps.update(target.committed.as_str(), event.audio_ms, event.wall_ms);
            if target.closed {
                self.units.extend(written_units(target.committed.as_str(), language));
                self.delays.extend(stamps.units().iter().map(|unit| unit.delay));
                self.wall.extend(stamps.units().iter().map(|unit| unit.elapsed));
                stamps = Stamps::new(language);
            }
        }
    }

    /// Computing time over the whole sound, in seconds.
    pub(super) fn computing_seconds(&self) -> f64 {
        self.end.rtf * self.length.seconds()
    }
}

fn events<R: io::BufRead>(mut lines: TextLines<R>) -> Result<Vec<Event>, PlayedError> {
    let mut events = Vec::new();
    for number in 1.. {
        let Some(line) = lines.next_line()? else { break };
        events.push(serde_json::from_slice(line).map_err(|error| PlayedError::NotAnEvent(number, error))?);
    }
    Ok(events)
}

fn unreadable(path: &Path, error: PlayedError) -> CliError {
    let message = format!("{}: {}; delete it to have the talk played again", path.display(), one_line(&error));
    CliError::Failed(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cascade::SegmentId;
    use crate::cascade::event::{Source, Target};
    use crate::policy::Committed;

    fn at(audio: u64, wall: u64, kind: EventKind) -> Event {
        Event { audio_ms: Millis(audio), wall_ms: Millis(wall), kind }
    }

    fn target(former: &str, delta: &str, closed: bool) -> EventKind {
        let mut committed = Committed::default();
        committed.extend(former);
        committed.extend(delta);
        let (segment, tentative) = (SegmentId(0), String::new());
        EventKind::Target(Target { segment, delta: delta.to_owned(), committed, tentative, closed })
    }

    fn run(language: &str, interrupted: bool) -> Vec<Event> {
        let line = format!(
            r#"{{"audio_ms":0,"wall_ms":0,"type":"start","version":"0","source_language":"en","target_language":"{language}","asr":"a","aligner":"b","device":"cpu","chunk_ms":850}}"#
        );
        let source = Source { segment: SegmentId(0), committed: Vec::new(), tentative: String::new(), closed: true };
        let end = End { segments: 1, rtf: 0.5, interrupted, ..End::default() };
        let mut events: Vec<Event> = serde_json::from_str(&line).into_iter().collect();
        events.extend([
            at(1000, 200, target("", "Das", false)),
            at(2000, 500, EventKind::Source(source)),
            at(2000, 700, target("Das", ", gut .", true)),
            at(2000, 700, EventKind::End(end)),
        ]);
        events
    }

    #[test]
    fn units_with_their_times() {
        let played = Played::of(&run("de", false));
        let Ok(played) = played else { panic!("{played:?}") };
        assert_eq!(played.units, ["Das,", "gut."]);
        assert_eq!(played.delays, [Millis(1000), Millis(2000)]);
        assert_eq!(played.wall, [Millis(200), Millis(700)]);
        // 1000 + 200; 2000 + the 500 ms computed in between.
        assert_eq!(played.elapsed, [Millis(1200), Millis(2500)]);
        assert_eq!(played.computing_seconds(), 1.0);
        let chinese = Played::of(&run("zh", false)).map(|played| played.units.concat());
        assert_eq!(chinese.ok().as_deref(), Some("Das,gut."));
    }

    #[test]
    fn an_incomplete_run_is_an_error() {
        assert!(matches!(Played::of(&run("de", true)), Err(PlayedError::Interrupted)));
        let events = run("de", false);
        assert!(matches!(Played::of(&events[..4]), Err(PlayedError::Broken(_))));
        assert!(matches!(Played::of(&[]), Err(PlayedError::Broken(_))));
    }
}
