//! The translation side: drafts, the policy, and what is shown.
//!
//! While a segment is open each change of its source asks for one short draft, and the policy says how much
//! of it may be shown. A closed segment is translated to its end, continuing what is shown.

use std::collections::VecDeque;

use super::engines::{BoxError, DraftRequest, Translate};
use super::event::{EventKind, SegmentId, Target};
use super::settings::Settings;
use super::transcript::ClosedSource;
use crate::alignatt::budget::draft_budget;
use crate::alignatt::repetition::{cut_loop, longest_run};
use crate::alignatt::seams::glue;
use crate::alignatt::sentence::strip_final_marks;
use crate::alignatt::units::join_words;
use crate::alignatt::{Committed, Language, Millis, Proposal, SourceWord, TargetPolicy};

/// Most drafts that one final translation may take: a sentence longer than one budget goes on.
const FINAL_DRAFTS: usize = 4;

/// A closed segment that waits for its final translation.
#[derive(Debug)]
struct Waiting {
    segment: SegmentId,
    source: String,
    shown: Committed,
}

/// The translation of the open segment.
#[derive(Debug, Default)]
struct Open {
    shown: Committed,
    tentative: String,
    /// Source words that `shown` may rest on.
    rests_on: usize,
    /// The source of the last draft.
    drafted: Option<String>,
}

/// Translator, policy and what is shown of each segment that isn't finished.
pub(super) struct Captions<T> {
    translator: T,
    policy: Box<dyn TargetPolicy>,
    source: Language,
    target: Language,
    open: Open,
    waiting: VecDeque<Waiting>,
}

impl<T: Translate> Captions<T> {
    pub fn new(translator: T, target: Language, settings: &Settings) -> Captions<T> {
        Captions {
            translator,
            policy: settings.policy.build(),
            source: settings.source,
            target,
            open: Open::default(),
            waiting: VecDeque::new(),
        }
    }

    pub fn rests_on(&self) -> usize {
        self.open.rests_on
    }

    pub fn wants_times(&self) -> bool {
        self.policy.wants_times()
    }

    /// Takes a closed segment over. The first one to close is the open one, with all that is shown of it.
    pub fn close(&mut self, closed: &ClosedSource) {
        let open = std::mem::take(&mut self.open);
        self.policy.segment_closed();
        self.waiting.push_back(Waiting { segment: closed.segment, source: closed.text(), shown: open.shown });
    }

    /// Drafts the open segment if its source has changed. Returns the event and the tokens written.
    pub async fn partial(
        &mut self,
        segment: SegmentId,
        words: &[SourceWord],
        heard: Millis,
    ) -> Result<(Option<EventKind>, usize), BoxError> {
        let text = join_words(words.iter().map(|w| w.text.as_str()));
        let source = strip_final_marks(&text);
        if source.is_empty() || self.open.drafted.as_deref() == Some(source) {
            return Ok((None, 0));
        }
        let accepted = self.open.shown.as_str();
        let request = DraftRequest {
            source,
            accepted,
            max_new_tokens: draft_budget(self.translator.count_tokens(source), false),
            source_is_final: false,
        };
        let draft = self.translator.draft(&request).await?;
        let candidate = continued(accepted, &draft.continuation);
        let run = longest_run(source, self.source);
        let (candidate, finished) = match cut_loop(&candidate, accepted.len(), run, self.target) {
            Some(kept) => (kept.to_owned(), false),
            None => (candidate, draft.finished),
        };
        let verdict = self.policy.judge(&Proposal {
            accepted,
            candidate: &candidate,
            finished,
            pieces: &draft.pieces,
            source: words,
            heard,
            target: self.target,
        });
        let show = clamp_to_char(&candidate, verdict.show_len.max(accepted.len()));
        let delta = self.open.shown.grow_to(show.trim_end());
        if !delta.is_empty() {
            self.open.rests_on = self.open.rests_on.max(verdict.rests_on.min(words.len()));
        }
        let tentative = candidate.get(self.open.shown.as_str().len()..).unwrap_or_default();
        let news = !delta.is_empty() || tentative != self.open.tentative;
        self.open.tentative = tentative.to_owned();
        self.open.drafted = Some(source.to_owned());
        let event = news.then(|| {
            EventKind::Target(Target {
                segment,
                delta,
                committed: self.open.shown.clone(),
                tentative: self.open.tentative.clone(),
                closed: false,
            })
        });
        Ok((event, draft.tokens))
    }

    /// Translates the oldest closed segment to its end. Returns its event and the tokens written, or `None`
    /// where none waits. On an error the segment goes on waiting with what was reached.
    pub async fn next_final(&mut self) -> Result<Option<(EventKind, usize)>, BoxError> {
        let Some(waiting) = self.waiting.front() else {
            return Ok(None);
        };
        let source = &waiting.source;
        let shown_len = waiting.shown.as_str().len();
        let run = longest_run(source, self.source);
        let mut candidate = waiting.shown.as_str().to_owned();
        let mut tokens = 0;
        for _ in 0..FINAL_DRAFTS {
            if source.is_empty() {
                break;
            }
            let request = DraftRequest {
                source,
                accepted: &candidate,
                max_new_tokens: draft_budget(self.translator.count_tokens(source), true),
                source_is_final: true,
            };
            let draft = self.translator.draft(&request).await?;
            tokens += draft.tokens;
            let longer = continued(&candidate, &draft.continuation);
            if let Some(kept) = cut_loop(&longer, shown_len, run, self.target) {
                candidate = kept.trim_end().to_owned();
                break;
            }
            let grew = longer.len() > candidate.len();
            candidate = longer;
            if draft.finished || !grew {
                break;
            }
        }
        let segment = waiting.segment;
        let mut shown = self.waiting.pop_front().map(|w| w.shown).unwrap_or_default();
        let delta = shown.grow_to(&candidate);
        Ok(Some((closed_event(segment, delta, shown), tokens)))
    }

    /// Closes everything that waits, and the open segment, as it stands: no model is asked.
    pub fn abandon(&mut self, open: Option<SegmentId>) -> Vec<EventKind> {
        let mut events = Vec::new();
        for waiting in self.waiting.drain(..) {
            events.push(closed_event(waiting.segment, String::new(), waiting.shown));
        }
        let left = std::mem::take(&mut self.open);
        if let Some(segment) = open {
            events.push(closed_event(segment, String::new(), left.shown));
        }
        events
    }
}

/// `accepted` and its continuation on one line, without control characters; `accepted` alone where they
/// can't be joined without changing it.
fn continued(accepted: &str, continuation: &str) -> String {
    let line: String = continuation
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && *c != char::REPLACEMENT_CHARACTER)
        .collect();
    let text = glue(accepted, &line);
    if text.starts_with(accepted) { text } else { accepted.to_owned() }
}

fn clamp_to_char(text: &str, len: usize) -> &str {
    let mut len = len.min(text.len());
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}

fn closed_event(segment: SegmentId, delta: String, committed: Committed) -> EventKind {
    EventKind::Target(Target { segment, delta, committed, tentative: String::new(), closed: true })
}
