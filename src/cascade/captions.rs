//! The translation side: drafts, the policy, and what is shown.
//!
//! While a segment is open, each change of its source asks for one short draft, and the policy
//! decides how much of it is shown. The rest of the draft is held. When only the frontier moves,
//! the policy judges the held draft again without the model. When the source grows, the translator
//! gets the held draft as a guess. A closed segment is translated to its end, as a continuation of
//! what is shown.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::checkpoint::{TargetSide, Untranslated};
use super::engines::{BoxError, Cost, Draft, DraftRequest, TooLong, Translate};
use super::event::{EventKind, Listen, SegmentId, Target};
use super::settings::Settings;
use super::transcript::ClosedSource;
use crate::policy::budget::{final_budget, partial_budget};
use crate::policy::schedule::Turn;
use crate::policy::{Committed, Hold, Proposal, SourceWord, TargetPolicy, Verdict, joined};
use crate::text::repetition::{cut_loop, longest_run};
use crate::text::seams::glue;
use crate::text::sentence::strip_final_marks;
use crate::text::{Language, Millis};

/// The most drafts for one change of an open segment. Another draft follows only when the one
/// before was used up.
const PARTIAL_DRAFTS: usize = 4;
/// The most drafts for one final translation. A sentence that needs more than one budget takes
/// several.
const FINAL_DRAFTS: usize = 4;

/// A closed segment that waits for its final translation.
#[derive(Debug)]
struct Waiting {
    source: ClosedSource,
    shown: Committed,
    /// The shown text and the drafts so far.
    accepted: String,
    drafts: usize,
}

impl Waiting {
    fn new(source: ClosedSource, shown: Committed) -> Waiting {
        Waiting { source, accepted: shown.as_str().to_owned(), shown, drafts: 0 }
    }
}

/// The translation of the open segment.
#[derive(Debug, Default)]
struct Open {
    shown: Committed,
    tentative: String,
    /// Number of source words that `shown` may rest on.
    rests_on: usize,
    /// The newest draft, kept so that the policy can judge it again.
    held: Option<Proposal>,
    /// Number of source words that were accessible when `held` was judged.
    heard_words: usize,
    /// Whether the stall limit had passed when `held` was judged.
    stalled: bool,
    /// Some token of `held` waits at the frontier, so the draft waits for more sound.
    waits: bool,
    /// The prompt does not fit the model, so no more drafts are requested.
    too_long: bool,
}

/// Results of one `partial` or `next_final` call, which may write no draft or several.
#[derive(Debug, Default)]
pub(super) struct Wrote {
    pub events: Vec<EventKind>,
    /// Tokens drafted.
    pub tokens: usize,
    pub cost: Cost,
}

/// The translator, the policy, and the shown text of each unfinished segment.
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
    pub(super) fn new(translator: T, target: Language, settings: &Settings) -> Captions<T> {
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

    /// Goes on from a translation that has passed its checks.
    pub(super) fn resume(&mut self, from: TargetSide) {
        self.open = Open { shown: from.shown, rests_on: from.rests_on, ..Open::default() };
        let waiting =
            |left: Untranslated| Waiting::new(ClosedSource { segment: left.segment, words: left.words }, left.shown);
        self.waiting = from.waiting.into_iter().map(waiting).collect();
        let surplus = from.history.len().saturating_sub(self.history_len);
        self.history = from.history.into_iter().skip(surplus).collect();
    }

    /// What is shown, and what waits. Drafts that are not shown are left out.
    pub(super) fn checkpoint(&self) -> TargetSide {
        let waiting = |left: &Waiting| Untranslated {
            segment: left.source.segment,
            words: left.source.words.clone(),
            shown: left.shown.clone(),
        };
        TargetSide {
            shown: self.open.shown.clone(),
            rests_on: self.open.rests_on,
            waiting: self.waiting.iter().map(waiting).collect(),
            history: self.history.iter().cloned().collect(),
        }
    }

    pub(super) fn into_translator(self) -> T {
        self.translator
    }

    pub(super) fn rests_on(&self) -> usize {
        self.open.rests_on
    }

    pub(super) fn wants_times(&self) -> bool {
        self.policy.wants_times()
    }

    /// Whether closed segments wait for their final translation.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes over a closed segment. The first segment to close is the open one and keeps its shown
    /// text.
    pub(super) fn close(&mut self, closed: &ClosedSource) {
        let open = std::mem::take(&mut self.open);
        self.policy.segment_closed();
        self.waiting.push_back(Waiting::new(closed.clone(), open.shown));
    }

    /// Judges the draft of the open segment again where only the frontier has moved. Writes a new
    /// draft where the source has changed. After an error, `wrote` holds the results from before
    /// the error.
    pub(super) async fn partial(
        &mut self,
        segment: SegmentId,
        words: &[SourceWord],
        heard: Millis,
        wrote: &mut Wrote,
    ) -> Result<(), BoxError> {
        let text = joined(words);
        let source = strip_final_marks(&text);
        let now = (source, self.policy.heard_words(words, heard));
        let held = self.open.held.as_ref();
        let held_text = held.map(|held| joined(&held.source)).unwrap_or_default();
        let before = (strip_final_marks(&held_text), held.map_or(0, |_| self.open.heard_words));
        let same_source = before.0 == source;
        let stall_ended = held.is_some() && !self.open.stalled && self.policy.is_stalled(heard);
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
                // The warning is sent when the segment closes.
                Err(error) if error.is::<TooLong>() => {
                    self.open.too_long = true;
                    break;
                }
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
            let (proposal, _) = propose(&accepted, draft.clone(), words, heard, run, target);
            if policy.enough(&proposal) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let draft = self.translator.draft(&request, &mut watch).await?;
        wrote.tokens += draft.pieces.len();
        wrote.cost += draft.cost;
        self.open.held = Some(propose(&accepted, draft, words, heard, run, target).0);
        Ok(())
    }

    /// Whether all of the draft could be shown and the model has more to say.
    fn used_up(&self) -> bool {
        self.open.held.as_ref().is_some_and(|held| {
            let grew = self.open.shown.as_str().len() > held.accepted.len();
            !held.finished && grew && !self.open.waits
        })
    }

    /// Asks the policy about the held draft and shows what the policy passes.
    fn judge(&mut self, segment: SegmentId, words: &[SourceWord], heard: Millis, drafted: bool) -> Vec<EventKind> {
        let Some(held) = &mut self.open.held else {
            return Vec::new();
        };
        held.source = words.to_vec();
        held.heard = heard;
        self.open.stalled = self.policy.is_stalled(heard);
        let verdict = self.policy.judge(held);
        self.open.heard_words = self.policy.heard_words(words, heard);
        // A policy that does not judge single tokens gets one draft per change.
        self.open.waits = verdict.tokens.is_empty() || verdict.tokens.iter().any(|t| t.why == Some(Hold::Frontier));
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
            events.extend(listen(segment, held, verdict, drafted));
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

    /// Writes the final translation of the oldest closed segment; returns false where none waits.
    /// After an error the segment keeps waiting with the drafts so far, and `wrote` holds the
    /// results from before the error.
    pub(super) async fn next_final(&mut self, heard: Millis, wrote: &mut Wrote) -> Result<bool, BoxError> {
        let Some(waiting) = self.waiting.front_mut() else {
            return Ok(false);
        };
        let words = waiting.source.source_words();
        let source = joined(&words);
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
            let (mut proposal, looping) = propose(&waiting.accepted, draft, &words, heard, run, self.target);
            proposal.source_is_final = true;
            if proposal.attention.is_some() {
                let verdict = self.policy.judge(&proposal);
                wrote.events.extend(listen(waiting.source.segment, &proposal, verdict, true));
            }
            let grew = proposal.candidate.len() > waiting.accepted.len();
            waiting.accepted = proposal.candidate;
            if proposal.finished || looping || !grew {
                break;
            }
        }
        if let Some((shown, closed)) = self.close_oldest() {
            self.remember(source, &shown);
            wrote.events.push(closed);
        }
        Ok(true)
    }

    /// Closes the oldest waiting segment with the drafts so far, because the
    /// model keeps failing or the prompt does not fit it.
    pub(super) fn give_up(&mut self) -> Option<(SegmentId, EventKind)> {
        let segment = self.waiting.front()?.source.segment;
        self.close_oldest().map(|(_, closed)| (segment, closed))
    }

    /// Opens the newest closed segment again, with what is shown of it.
    #[cfg(any(feature = "server", test))]
    pub(super) fn reopen(&mut self) {
        if let Some(waiting) = self.waiting.pop_back() {
            self.open = Open { shown: waiting.shown, ..Open::default() };
        }
    }

    fn close_oldest(&mut self) -> Option<(Committed, EventKind)> {
        let Waiting { source, mut shown, accepted, .. } = self.waiting.pop_front()?;
        let delta = shown.grow_to(accepted.trim_end());
        Some((shown.clone(), closed_event(source.segment, delta, shown)))
    }

    fn remember(&mut self, source: String, translation: &Committed) {
        if source.is_empty() {
            return;
        }
        self.history.push_back((source, translation.as_str().to_owned()));
        while self.history.len() > self.history_len {
            self.history.pop_front();
        }
    }

    /// Closes all waiting segments and the open one with what is shown. No model is called.
    pub(super) fn abandon(&mut self, open: Option<SegmentId>) -> Vec<EventKind> {
        let mut events = Vec::new();
        for waiting in self.waiting.drain(..) {
            events.push(closed_event(waiting.source.segment, String::new(), waiting.shown));
        }
        let left = std::mem::take(&mut self.open);
        if let Some(segment) = open {
            events.push(closed_event(segment, String::new(), left.shown));
        }
        events
    }
}

/// Joins the shown text and a draft. A draft that repeats itself is cut at the repetition; also
/// returns whether this one was.
fn propose(
    accepted: &str,
    draft: Draft,
    words: &[SourceWord],
    heard: Millis,
    longest_run: usize,
    target: Language,
) -> (Proposal, bool) {
    let mut candidate = continued(accepted, &draft.pieces.concat());
    let ends = token_ends(&candidate, accepted.len(), &draft.pieces);
    let cut = cut_loop(&candidate, accepted.len(), longest_run, target).map(|kept| kept.trim_end().len());
    candidate.truncate(cut.unwrap_or(candidate.len()));
    let proposal = Proposal {
        accepted: accepted.to_owned(),
        ends: ends.into_iter().map(|end| end.min(candidate.len())).collect(),
        candidate,
        finished: draft.finished && cut.is_none(),
        attention: draft.attention,
        source: words.to_vec(),
        source_is_final: false,
        heard,
        target,
    };
    (proposal, cut.is_some())
}

/// Where each of `pieces` ends in `candidate`. The first `accepted_len` bytes of `candidate` are
/// the accepted prefix. Joining changes blanks and may drop words at the front that were shown
/// already, so visible characters are counted from the end.
fn token_ends(candidate: &str, accepted_len: usize, pieces: &[String]) -> Vec<usize> {
    let visible = |c: &char| !c.is_whitespace() && !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
    let mut left: usize = pieces.iter().map(|piece| piece.chars().filter(visible).count()).sum();
    // places[n]: the end of the text that has n visible characters after it
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

/// The attention of a draft as a `listen` event; `None` where no attention was captured.
fn listen(segment: SegmentId, proposal: &Proposal, verdict: Verdict, drafted: bool) -> Option<EventKind> {
    proposal.attention.as_ref()?;
    Some(EventKind::Listen(Listen {
        segment,
        source: proposal.source.iter().map(|word| word.text.clone()).collect(),
        heard: verdict.heard,
        drafted,
        tokens: verdict.tokens,
    }))
}

/// `accepted` and its continuation on one line, without control characters. Returns `accepted`
/// alone where joining would change it.
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::cascade::engines::Watch;
    use crate::cascade::event::Word;

    /// Writes the drafts of a script, one per call. `None` makes the call fail.
    struct Scripted(VecDeque<Option<(&'static str, bool)>>, Rc<RefCell<Vec<String>>>);

    impl Translate for Scripted {
        async fn draft(&mut self, request: &DraftRequest<'_>, _: Watch<'_>) -> Result<Draft, BoxError> {
            self.1.borrow_mut().push(request.accepted.to_owned());
            match self.0.pop_front().flatten() {
                Some((text, finished)) => Ok(Draft { pieces: vec![text.to_owned()], finished, ..Draft::default() }),
                None => Err("the device is busy".into()),
            }
        }

        fn count_tokens(&self, text: &str) -> usize {
            text.len()
        }
    }

    /// Holds everything and counts how often it is asked. Its stall limit passes at five seconds.
    struct Holding(Rc<RefCell<usize>>);

    impl TargetPolicy for Holding {
        fn judge(&mut self, proposal: &Proposal) -> Verdict {
            *self.0.borrow_mut() += 1;
            Verdict { show_len: proposal.accepted.len(), ..Verdict::default() }
        }

        fn is_stalled(&self, heard: Millis) -> bool {
            heard >= Millis(5_000)
        }

        fn segment_closed(&mut self) {}
    }

    fn captions(drafts: &[Option<(&'static str, bool)>]) -> (Captions<Scripted>, Rc<RefCell<Vec<String>>>) {
        let asked = Rc::new(RefCell::new(Vec::new()));
        let settings = Settings::new(Language::ENGLISH, Some(Language::GERMAN));
        let script = Scripted(drafts.iter().copied().collect(), asked.clone());
        (Captions::new(script, Language::GERMAN, &settings), asked)
    }

    #[test]
    fn a_wait_that_ends_without_a_new_word_is_judged_once_more() {
        let (mut captions, asked) = captions(&[Some(("Ja", true))]);
        let judged = Rc::new(RefCell::new(0));
        captions.policy = Box::new(Holding(judged.clone()));
        let words = [SourceWord { text: "Yes".to_owned(), end: Some(Millis(900)), committed: true, certain: false }];
        let mut counts = Vec::new();
        for heard in [1_000, 2_000, 4_999, 5_000, 6_000] {
            let mut wrote = Wrote::default();
            let step = captions.partial(SegmentId(0), &words, Millis(heard), &mut wrote);
            assert!(pollster::block_on(step).is_ok());
            counts.push(*judged.borrow());
        }
        assert_eq!(counts, [1, 1, 1, 2, 2]);
        assert_eq!(asked.borrow().len(), 1, "no model is asked for it");
    }

    #[test]
    fn a_final_translation_goes_on_from_the_draft_before_a_failure() {
        let drafts = [Some(("Eins", false)), None, Some((" zwei.", true))];
        let (mut captions, asked) = captions(&drafts);
        let word = Word { text: "One.".to_owned(), start_ms: Millis(0), end_ms: Millis(300) };
        captions.close(&ClosedSource { segment: SegmentId(0), words: vec![word] });
        let mut wrote = Wrote::default();
        assert!(pollster::block_on(captions.next_final(Millis(900), &mut wrote)).is_err());
        assert_eq!(wrote.tokens, 1, "what the first draft took is known");
        assert!(matches!(pollster::block_on(captions.next_final(Millis(900), &mut wrote)), Ok(true)));
        assert_eq!(wrote.tokens, 2);
        assert_eq!(*asked.borrow(), ["", "Eins", "Eins"], "the first draft is not asked for again");
        assert!(matches!(&wrote.events[..], [EventKind::Target(t)] if t.committed.as_str() == "Eins zwei."));
    }
}
