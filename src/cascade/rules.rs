//! A checker for the rules of [`super::event`], which the events of every run obey. The events of a
//! stream that was resumed are checked as one run: those from before, without their `end`, and
//! those from after.

use super::event::{Event, EventKind, Listen, SegmentId, Source, Target, Word};
use crate::policy::Committed;
use crate::text::Millis;

/// An event broke a rule, which `what` describes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {at}: {what}")]
pub struct BrokenRule {
    /// Number of the event, from 0.
    pub at: usize,
    pub what: String,
}

/// One side of the open segment.
#[derive(Debug, Default)]
struct Side<T> {
    segment: SegmentId,
    committed: T,
}

/// Checks the events of a run one by one.
#[derive(Debug, Default)]
pub struct Rules {
    seen: usize,
    audio: Millis,
    wall: Millis,
    ended: bool,
    source: Side<Vec<Word>>,
    target: Side<Committed>,
    last_word_end: Millis,
    targets: bool,
}

impl Rules {
    /// Checks the events of a whole run.
    pub fn check<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<(), BrokenRule> {
        let mut rules = Rules::default();
        for event in events {
            rules.observe(event)?;
        }
        rules.finish()
    }

    /// The rules for the events of a stream that is resumed from `checkpoint`.
    #[cfg(test)]
    pub(crate) fn after(checkpoint: &super::checkpoint::Checkpoint) -> Rules {
        let mut target = Side { segment: checkpoint.segment, committed: Committed::default() };
        if let Some(side) = &checkpoint.target {
            target.committed = side.shown.clone();
            if let Some(oldest) = side.waiting.first() {
                target = Side { segment: oldest.segment, committed: oldest.shown.clone() };
            }
        }
        Rules {
            seen: 1,
            audio: super::tail::time_of(checkpoint.heard),
            source: Side { segment: checkpoint.segment, committed: checkpoint.words.clone() },
            target,
            last_word_end: checkpoint.floor_ms,
            targets: checkpoint.target.is_some(),
            ..Rules::default()
        }
    }

    /// Checks the next event.
    pub fn observe(&mut self, event: &Event) -> Result<(), BrokenRule> {
        let at = self.seen;
        let outcome = self.judge(event);
        self.seen += 1;
        outcome.map_err(|what| BrokenRule { at, what })
    }

    /// The stream was resumed here: wall time starts anew, and nothing else does.
    pub fn resumed(&mut self) {
        self.wall = Millis::ZERO;
    }

    /// Checks that the run is complete. Call it after the last event.
    pub fn finish(&self) -> Result<(), BrokenRule> {
        let broken = |what: &str| Err(BrokenRule { at: self.seen, what: what.to_owned() });
        if !self.ended {
            return broken("no end event");
        }
        if self.targets && self.target.segment != self.source.segment {
            return broken("a segment's translation never closed");
        }
        if !self.source.committed.is_empty() || !self.target.committed.is_empty() {
            return broken("a segment never closed");
        }
        Ok(())
    }

    fn judge(&mut self, event: &Event) -> Result<(), String> {
        rule(!self.ended, || "an event after the end".to_owned())?;
        rule(event.audio_ms >= self.audio, || "audio time went back".to_owned())?;
        rule(event.wall_ms >= self.wall, || "wall time went back".to_owned())?;
        (self.audio, self.wall) = (event.audio_ms, event.wall_ms);
        let is_start = matches!(event.kind, EventKind::Start(_));
        rule(is_start == (self.seen == 0), || "start is not the first event, or not alone".to_owned())?;
        match &event.kind {
            EventKind::Start(start) => self.targets = start.target_language.is_some(),
            EventKind::Source(source) => self.judge_source(source)?,
            EventKind::Listen(listen) => self.judge_listen(listen)?,
            EventKind::Target(target) => self.judge_target(target)?,
            EventKind::Progress(_) | EventKind::Warning(_) => {}
            EventKind::End(end) => {
                self.ended = true;
                rule(end.segments == self.source.segment.0, || "wrong count of segments".to_owned())?;
            }
        }
        Ok(())
    }

    fn judge_source(&mut self, source: &Source) -> Result<(), String> {
        rule(source.segment == self.source.segment, || format!("segment {} is not open", source.segment.0))?;
        rule(source.committed.starts_with(&self.source.committed), || "a committed word was changed".to_owned())?;
        for word in &source.committed[self.source.committed.len()..] {
            rule(word.start_ms >= self.last_word_end, || {
                format!("`{}` starts before the word before it ends", word.text)
            })?;
            rule(word.end_ms >= word.start_ms, || format!("`{}` ends before it starts", word.text))?;
            rule(word.end_ms <= self.audio, || format!("`{}` ends after the sound heard", word.text))?;
            self.last_word_end = word.end_ms;
        }
        self.source.committed.clone_from(&source.committed);
        if source.closed {
            rule(source.tentative.is_empty(), || "a closed source has a tentative rest".to_owned())?;
            self.source = Side { segment: source.segment.next(), committed: Vec::new() };
        }
        Ok(())
    }

    fn judge_listen(&self, listen: &Listen) -> Result<(), String> {
        let words = listen.source.len();
        rule(listen.segment == self.target.segment, || format!("a draft of segment {}, not open", listen.segment.0))?;
        rule(listen.heard <= words, || "more words heard than there are".to_owned())?;
        let places =
            listen.tokens.iter().flat_map(|t| t.word.into_iter().chain(t.attention.iter().map(|&(word, _)| word)));
        rule(places.into_iter().all(|word| word < words), || "a token rests on a word that isn't there".to_owned())?;
        rule(listen.tokens.iter().all(|t| t.shown == t.why.is_none()), || "a held token without a reason".to_owned())
    }

    fn judge_target(&mut self, target: &Target) -> Result<(), String> {
        rule(self.targets, || "a translation where none was announced".to_owned())?;
        rule(target.segment == self.target.segment, || {
            format!("translation of segment {} is not open", target.segment.0)
        })?;
        let mut grown = self.target.committed.clone();
        grown.extend(&target.delta);
        rule(grown == target.committed, || "committed is not the former committed + delta".to_owned())?;
        self.target.committed = grown;
        if target.closed {
            rule(target.tentative.is_empty(), || "a closed translation has a tentative rest".to_owned())?;
            rule(target.segment < self.source.segment, || "a translation closed before its source".to_owned())?;
            self.target = Side { segment: target.segment.next(), committed: Committed::default() };
        } else {
            rule(target.segment == self.source.segment, || "a draft for a segment that is not open".to_owned())?;
        }
        Ok(())
    }
}

fn rule(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
