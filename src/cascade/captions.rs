//! The translation side: drafts, the policy, and what is shown.
//!
//! While a segment is open each change of its source asks for one short draft, and the policy says how much
//! of it may be shown. What it holds is kept: when only the frontier moves it is judged anew and no model is
//! asked, and when the source grows the translator tries it as a guess. A closed segment is translated to its
//! end, continuing what is shown.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::engines::{BoxError, Cost, Draft, DraftRequest, TooLong, Translate};
use super::event::{EventKind, Listen, SegmentId, Target, Token};
use super::settings::Settings;
use super::transcript::ClosedSource;
use crate::policy::budget::{final_budget, partial_budget};
use crate::policy::schedule::Turn;
use crate::policy::target_policy::joined;
use crate::policy::{Committed, Hold, Proposal, SourceWord, TargetPolicy, Verdict};
use crate::text::repetition::{cut_loop, longest_run};
use crate::text::seams::glue;
use crate::text::sentence::strip_final_marks;
use crate::text::{Language, Millis};

/// Most drafts for one change of an open segment: each goes on where the one before was used up.
const PARTIAL_DRAFTS: usize = 4;
/// Most drafts that one final translation may take: a sentence longer than one budget goes on.
const FINAL_DRAFTS: usize = 4;

/// A closed segment that waits for its final translation.
#[derive(Debug)]
struct Waiting {
    segment: SegmentId,
    words: Vec<SourceWord>,
    shown: Committed,
    /// What is shown and the drafts so far.
    accepted: String,
    drafts: usize,
}

/// The translation of the open segment.
#[derive(Debug, Default)]
struct Open {
    shown: Committed,
    tentative: String,
    /// Source words that `shown` may rest on.
    rests_on: usize,
    held: Option<Held>,
    /// Its prompt does not fit the model: no more drafts are asked for.
    too_long: bool,
}

/// A draft and what it was made of, for when it is judged again.
#[derive(Debug)]
struct Held {
    source: String,
    /// Source words that counted as heard when it was judged.
    heard_words: usize,
    /// The wait at the frontier was over when it was judged.
    stalled: bool,
    /// What was shown when it was written.
    accepted: String,
    /// `accepted` and the draft as one text.
    candidate: String,
    /// Where each of the draft's tokens ends in `candidate`.
    ends: Vec<usize>,
    /// Something in it waits for more to be heard.
    waits: bool,
    draft: Draft,
}

/// What a turn of the translator brought.
#[derive(Debug, Default)]
pub(super) struct Wrote {
    pub events: Vec<EventKind>,
    /// Tokens drafted.
    pub tokens: usize,
    pub cost: Cost,
}

/// Translator, policy and what is shown of each segment that isn't finished.
pub(super) struct Captions<T> {
    translator: T,
    policy: Box<dyn TargetPolicy>,
    source: Language,
    target: Language,
    /// The newest closed segments with their translations, oldest first.
    history: VecDeque<(String, String)>,
    history_len: usize,
    open: Open,
    waiting: VecDeque<Waiting>,
}

impl<T: Translate> Captions<T> {
    pub fn new(translator: T, target: Language, settings: &Settings) -> Captions<T> {
        Captions {
            translator,
            policy: settings.policy.build(target),
            source: settings.source,
            target,
            history: VecDeque::new(),
            history_len: settings.history,
            open: Open::default(),
            waiting: VecDeque::new(),
        }
    }

    pub fn into_translator(self) -> T {
        self.translator
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
        self.waiting.push_back(Waiting {
            segment: closed.segment,
            words: closed.source_words(),
            accepted: open.shown.as_str().to_owned(),
            shown: open.shown,
            drafts: 0,
        });
    }

    /// Judges the open segment's draft again where only the frontier has moved, and writes a new one where its source
    /// has changed. On an error `wrote` has what came before it.
    pub async fn partial(
        &mut self,
        segment: SegmentId,
        words: &[SourceWord],
        heard: Millis,
        wrote: &mut Wrote,
    ) -> Result<(), BoxError> {
        let text = joined(words);
        let source = strip_final_marks(&text);
        let now = (source, self.policy.heard_words(words, heard));
        let before = self.open.held.as_ref().map_or(("", 0), |held| (held.source.as_str(), held.heard_words));
        let same_source = before.0 == source;
        let stall_ended = self.policy.is_stalled(heard) && self.open.held.as_ref().is_some_and(|held| !held.stalled);
        match Turn::new(before, now) {
            Turn::Empty => return Ok(()),
            Turn::Unchanged if !(stall_ended && same_source) => return Ok(()),
            Turn::Unchanged | Turn::FrontierAdvanced if same_source => {
                wrote.events.extend(self.judge(segment, words, heard, false));
                if !self.used_up() {
                    return Ok(());
                }
            }
            Turn::Initial | Turn::Rebased | Turn::Unchanged | Turn::FrontierAdvanced | Turn::Extended => {}
        }
        for _ in 0..PARTIAL_DRAFTS {
            if self.open.too_long {
                break;
            }
            match self.draft(words, heard, wrote).await {
                // What is wrong is told when the segment closes.
                Err(error) if error.is::<TooLong>() => self.open.too_long = true,
                outcome => outcome?,
            }
            wrote.events.extend(self.judge(segment, words, heard, true));
            if !self.used_up() {
                break;
            }
        }
        Ok(())
    }

    /// Writes a draft for the open segment and holds it.
    async fn draft(&mut self, words: &[SourceWord], heard: Millis, wrote: &mut Wrote) -> Result<(), BoxError> {
        let text = joined(words);
        let source = strip_final_marks(&text);
        let accepted = self.open.shown.as_str().to_owned();
        let request = DraftRequest {
            history: self.history.make_contiguous(),
            source,
            accepted: &accepted,
            max_new_tokens: partial_budget(self.translator.count_tokens(source), self.policy.draft_len()),
            source_is_final: false,
        };
        let run = longest_run(source, self.source);
        self.policy.draft_begins();
        let (policy, target) = (&mut self.policy, self.target);
        let mut watch = |draft: &Draft| {
            let candidate = Candidate::new(&accepted, draft, run, target);
            let view = candidate.proposal(&accepted, draft, words, heard, target);
            if policy.enough(&view) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let draft = self.translator.draft(&request, &mut watch).await?;
        let Candidate { text: candidate, ends, finished, .. } = Candidate::new(&accepted, &draft, run, target);
        wrote.tokens += draft.pieces.len();
        wrote.cost += draft.cost;
        let draft = Draft { finished, ..draft };
        let source = source.to_owned();
        let (heard_words, stalled, waits) = (0, false, false);
        self.open.held = Some(Held { source, heard_words, stalled, accepted, candidate, ends, waits, draft });
        Ok(())
    }

    /// Whether all that was drafted could be used: the model has more to say.
    fn used_up(&self) -> bool {
        self.open.held.as_ref().is_some_and(|held| {
            let grew = self.open.shown.as_str().len() > held.accepted.len();
            !held.draft.finished && grew && !held.waits
        })
    }

    /// Asks the policy about the held draft and shows what it lets through.
    fn judge(&mut self, segment: SegmentId, words: &[SourceWord], heard: Millis, drafted: bool) -> Vec<EventKind> {
        let Some(held) = &mut self.open.held else {
            return Vec::new();
        };
        let stalled = self.policy.is_stalled(heard);
        let verdict = self.policy.judge(&held.proposal(words, heard, self.target, false));
        held.heard_words = self.policy.heard_words(words, heard);
        held.stalled = stalled;
        // A policy that doesn't judge tokens asks for one draft a turn.
        held.waits = verdict.tokens.is_empty() || verdict.tokens.iter().any(|t| t.held == Some(Hold::Frontier));
        let proposal = held.proposal(words, heard, self.target, false);
        let shown_len = self.open.shown.as_str().len();
        let show = clamp_to_char(&held.candidate, verdict.show_len.max(shown_len));
        let delta = self.open.shown.grow_to(show.trim_end());
        if !delta.is_empty() {
            self.open.rests_on = self.open.rests_on.max(verdict.rests_on.min(words.len()));
        }
        let tentative = held.candidate.get(self.open.shown.as_str().len()..).unwrap_or_default();
        let news = !delta.is_empty() || tentative != self.open.tentative;
        self.open.tentative = tentative.to_owned();
        let mut events = Vec::new();
        if drafted || !delta.is_empty() {
            events.extend(listen(segment, &proposal, &verdict, drafted));
        }
        if news {
            events.push(EventKind::Target(Target {
                segment,
                delta,
                committed: self.open.shown.clone(),
                tentative: self.open.tentative.clone(),
                closed: false,
            }));
        }
        events
    }

    /// Translates the oldest closed segment to its end; false where none waits. On an error the segment goes on waiting
    /// with what was reached, and `wrote` has what came before it.
    pub async fn next_final(&mut self, heard: Millis, wrote: &mut Wrote) -> Result<bool, BoxError> {
        let Some(waiting) = self.waiting.front_mut() else {
            return Ok(false);
        };
        let source = joined(&waiting.words);
        let run = longest_run(&source, self.source);
        while !source.is_empty() && waiting.drafts < FINAL_DRAFTS {
            let request = DraftRequest {
                history: self.history.make_contiguous(),
                source: &source,
                accepted: &waiting.accepted,
                max_new_tokens: final_budget(self.translator.count_tokens(&source)),
                source_is_final: true,
            };
            let draft = self.translator.draft(&request, &mut |_| ControlFlow::Continue(())).await?;
            waiting.drafts += 1;
            wrote.tokens += draft.pieces.len();
            wrote.cost += draft.cost;
            let candidate = Candidate::new(&waiting.accepted, &draft, run, self.target);
            if draft.attention.is_some() {
                let proposal = Proposal {
                    finished: draft.finished,
                    source_is_final: true,
                    ..candidate.proposal(&waiting.accepted, &draft, &waiting.words, heard, self.target)
                };
                let verdict = self.policy.judge(&proposal);
                wrote.events.extend(listen(waiting.segment, &proposal, &verdict, true));
            }
            let grew = candidate.text.len() > waiting.accepted.len();
            waiting.accepted = candidate.text;
            if candidate.finished || candidate.looping || !grew {
                break;
            }
        }
        if let Some((shown, closed)) = self.close_oldest() {
            self.remember(source, &shown);
            wrote.events.push(closed);
        }
        Ok(true)
    }

    /// Closes the oldest segment that waits with what was reached of its translation: its model fails.
    pub fn give_up(&mut self) -> Option<(SegmentId, EventKind)> {
        let segment = self.waiting.front()?.segment;
        self.close_oldest().map(|(_, closed)| (segment, closed))
    }

    fn close_oldest(&mut self) -> Option<(Committed, EventKind)> {
        let Waiting { segment, mut shown, accepted, .. } = self.waiting.pop_front()?;
        let delta = shown.grow_to(accepted.trim_end());
        Some((shown.clone(), closed_event(segment, delta, shown)))
    }

    fn remember(&mut self, source: String, translation: &Committed) {
        self.history.push_back((source, translation.as_str().to_owned()));
        while self.history.len() > self.history_len {
            self.history.pop_front();
        }
    }

    /// Closes everything that waits, and the open segment, as it stands: no model is asked.
    pub fn abandon(&mut self, open: Option<SegmentId>) -> Vec<EventKind> {
        let mut events = Vec::new();
        for waiting in self.waiting.drain(..) {
            let Waiting { segment, shown, .. } = waiting;
            events.push(closed_event(segment, String::new(), shown));
        }
        let left = std::mem::take(&mut self.open);
        if let Some(segment) = open {
            events.push(closed_event(segment, String::new(), left.shown));
        }
        events
    }
}

impl Held {
    fn proposal<'a>(
        &'a self,
        words: &'a [SourceWord],
        heard: Millis,
        target: Language,
        source_is_final: bool,
    ) -> Proposal<'a> {
        Proposal {
            accepted: &self.accepted,
            candidate: &self.candidate,
            ends: &self.ends,
            finished: self.draft.finished,
            attention: self.draft.attention.as_ref(),
            source: words,
            source_is_final,
            heard,
            target,
        }
    }
}

/// What is shown and a draft as one text.
struct Candidate {
    text: String,
    /// Where each token of the draft ends in it.
    ends: Vec<usize>,
    /// The model ended it, and it does not loop.
    finished: bool,
    /// It repeats itself, and was cut there.
    looping: bool,
}

impl Candidate {
    fn new(accepted: &str, draft: &Draft, longest_run: usize, target: Language) -> Candidate {
        let mut text = continued(accepted, &draft.continuation());
        let ends = token_ends(&text, accepted.len(), &draft.pieces);
        let looping = cut_loop(&text, accepted.len(), longest_run, target).map(|kept| kept.trim_end().len());
        text.truncate(looping.unwrap_or(text.len()));
        let ends = ends.into_iter().map(|end| end.min(text.len())).collect();
        let looping = looping.is_some();
        Candidate { text, ends, finished: draft.finished && !looping, looping }
    }

    fn proposal<'a>(
        &'a self,
        accepted: &'a str,
        draft: &'a Draft,
        source: &'a [SourceWord],
        heard: Millis,
        target: Language,
    ) -> Proposal<'a> {
        Proposal {
            accepted,
            candidate: &self.text,
            ends: &self.ends,
            finished: self.finished,
            attention: draft.attention.as_ref(),
            source,
            source_is_final: false,
            heard,
            target,
        }
    }
}

/// Where each of `pieces` ends in `candidate`, whose first `accepted_len` bytes were there before. Joining changes
/// blanks, and may drop words at the front that were shown already, so letters are counted from the end.
fn token_ends(candidate: &str, accepted_len: usize, pieces: &[String]) -> Vec<usize> {
    let visible = |c: &char| !c.is_whitespace() && !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
    let mut left: usize = pieces.iter().map(|piece| piece.chars().filter(visible).count()).sum();
    // places[n]: where the text ends that leaves n visible characters behind it
    let mut places = vec![candidate.len()];
    places.extend(candidate.char_indices().rev().filter(|(_, c)| visible(c)).map(|(at, _)| at));
    let mut ends = Vec::with_capacity(pieces.len());
    for piece in pieces {
        left -= piece.chars().filter(visible).count();
        let end = places.get(left).copied().unwrap_or(0);
        ends.push(candidate[..end].trim_end().len().max(accepted_len));
    }
    ends
}

/// What was heard while a draft was written, as an event; none where nothing was captured.
fn listen(segment: SegmentId, proposal: &Proposal<'_>, verdict: &Verdict, drafted: bool) -> Option<EventKind> {
    let attention = proposal.attention?;
    let judged = verdict.tokens.iter().zip(proposal.token_texts()).enumerate();
    let tokens = judged.map(|(row, (judged, text))| Token {
        text: text.to_owned(),
        shown: judged.held.is_none(),
        why: judged.held.map(|why| why.name().to_owned()),
        word: judged.word,
        mass: judged.mass,
        on: proposal.words_listened_to(attention, row),
    });
    Some(EventKind::Listen(Listen {
        segment,
        source: proposal.source.iter().map(|word| word.text.clone()).collect(),
        heard: verdict.heard,
        drafted,
        tokens: tokens.collect(),
    }))
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
