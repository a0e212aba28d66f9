//! What a session has committed, as numbered records. A record is written after a step, so what one
//! step commits is kept together. Folding all records gives every caption that was ever shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cascade::event::{End, Source, Target};
use crate::cascade::{EventKind, SegmentId, Word};
use crate::policy::Committed;
use crate::text::Millis;

/// What one step committed. Records are numbered 1, 2, 3, … over the whole session, also where it
/// was resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub n: u64,
    /// Sound heard when the step ended.
    pub audio_ms: Millis,
    /// Wall time of the stream when the step ended.
    pub wall_ms: Millis,
    /// Flushes that were done before the step, in this run.
    #[serde(default)]
    pub flushes: u64,
    pub commits: Vec<Commit>,
}

/// One thing that was committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "side", rename_all = "snake_case")]
pub(super) enum Commit {
    /// Words of the source that are new. `closed`: no word of the segment follows.
    Source { segment: SegmentId, words: Vec<Word>, closed: bool },
    /// Text that follows the translation so far.
    Target { segment: SegmentId, delta: String, closed: bool },
    /// The session is over.
    End(End),
}

/// Finds what events commit beyond the records before.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// Number of committed words of each segment whose source is open.
    words: BTreeMap<SegmentId, usize>,
}

impl Commits {
    /// Continues after `view`, the records before.
    pub(super) fn after(view: &View) -> Commits {
        let open = view.segments.iter().filter(|(_, caption)| !caption.source_closed);
        Commits { words: open.map(|(segment, caption)| (*segment, caption.words.len())).collect() }
    }

    /// What an event commits; `None` where that is nothing.
    pub(super) fn of(&mut self, event: &EventKind) -> Option<Commit> {
        match event {
            EventKind::Source(source) => {
                let known = self.words.entry(source.segment).or_default();
                let words: Vec<Word> = source.committed.iter().skip(*known).cloned().collect();
                *known += words.len();
                if source.closed {
                    self.words.remove(&source.segment);
                }
                let news = source.closed || !words.is_empty();
                news.then_some(Commit::Source { segment: source.segment, words, closed: source.closed })
            }
            EventKind::Target(target) => {
                let news = target.closed || !target.delta.is_empty();
                let Target { segment, delta, closed, .. } = target.clone();
                news.then_some(Commit::Target { segment, delta, closed })
            }
            EventKind::End(end) => Some(Commit::End(*end)),
            EventKind::Start(_) | EventKind::Listen(_) | EventKind::Progress(_) | EventKind::Warning(_) => None,
        }
    }
}

/// The captions of one segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Caption {
    pub words: Vec<Word>,
    pub source_closed: bool,
    pub target: Committed,
    pub target_closed: bool,
}

/// The captions of the segments that are not closed on both sides, as the records say.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub segments: BTreeMap<SegmentId, Caption>,
    /// Whether the session translates. If not, a segment is complete when its source closes.
    translates: bool,
}

impl View {
    pub(super) fn new(translates: bool) -> View {
        View { segments: BTreeMap::new(), translates }
    }

    /// Takes the next record and returns what it committed as events without tentative text.
    /// Segments that it completes are forgotten.
    pub(super) fn apply(&mut self, record: &Record) -> Vec<EventKind> {
        record.commits.iter().map(|commit| self.take(commit)).collect()
    }

    fn take(&mut self, commit: &Commit) -> EventKind {
        match commit {
            Commit::Source { segment, words, closed } => {
                let caption = self.segments.entry(*segment).or_default();
                caption.words.extend_from_slice(words);
                caption.source_closed |= closed;
                let committed = caption.words.clone();
                self.forget_complete(*segment);
                let tentative = String::new();
                EventKind::Source(Source { segment: *segment, committed, tentative, closed: *closed })
            }
            Commit::Target { segment, delta, closed } => {
                let caption = self.segments.entry(*segment).or_default();
                let text = format!("{}{delta}", caption.target.as_str());
                caption.target.grow_to(&text);
                caption.target_closed |= closed;
                let committed = caption.target.clone();
                self.forget_complete(*segment);
                let (delta, tentative) = (delta.clone(), String::new());
                EventKind::Target(Target { segment: *segment, delta, committed, tentative, closed: *closed })
            }
            Commit::End(end) => EventKind::End(*end),
        }
    }

    fn forget_complete(&mut self, segment: SegmentId) {
        let complete =
            self.segments.get(&segment).is_some_and(|c| c.source_closed && (c.target_closed || !self.translates));
        if complete {
            self.segments.remove(&segment);
        }
    }
}

impl Record {
    /// Whether it is the last one.
    pub(super) fn is_end(&self) -> bool {
        self.commits.iter().any(|commit| matches!(commit, Commit::End(_)))
    }
}
