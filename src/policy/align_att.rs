//! The `alignatt` policy: shows the draft tokens that rest on accessible source words.
//!
//! It combines the parts of this room: the frontier says how much of the source is accessible, the
//! tracker which column each token looks at, and the gate what may be shown. The stall limits how
//! long a draft can be held.

use super::frontier::{Frontier, Source};
use super::gate::{DraftView, Policy, Reading, gate, holds, readings};
use super::listening::Attention;
use super::stall::Stall;
use super::tracker::{Track, Tracker};
use crate::policy::target_policy::{Judged, Proposal, SourceWord, TargetPolicy, Verdict, joined};
use crate::text::sentence::strip_final_marks;
use crate::text::time::Millis;

/// Drafting goes on for this many tokens after the first held one. They are seldom shown as they
/// are, but they lengthen the guess that the next draft starts from, and they show the reader where
/// the sentence goes.
const LOOK_AHEAD: usize = 4;

/// The policy with its state. It judges one segment after another.
#[derive(Clone, Debug)]
pub struct AlignAtt {
    policy: Policy,
    stall: Stall,
    drafts: Drafts,
    under_way: UnderWay,
}

/// The drafts of the open segment so far.
#[derive(Clone, Debug, Default)]
struct Drafts {
    source: String,
    words: usize,
    text: String,
    /// The newest candidate text that was drafted from a source with fewer words.
    before: String,
}

impl Drafts {
    /// Records the proposal's candidate text. Returns how many bytes of it, from the first, the
    /// newest draft of a shorter source has as well; this is a character boundary.
    fn agreed(&mut self, proposal: &Proposal<'_>) -> usize {
        let source = joined(proposal.source);
        let source = strip_final_marks(&source);
        if proposal.source.len() > self.words && source != self.source {
            self.before = std::mem::take(&mut self.text);
        }
        source.clone_into(&mut self.source);
        self.words = proposal.source.len();
        proposal.candidate.clone_into(&mut self.text);
        let same = self.before.bytes().zip(self.text.bytes()).take_while(|(a, b)| a == b).count();
        (0..=same).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0)
    }
}

/// The draft that is being written. Each of its rows is read once.
#[derive(Clone, Debug)]
struct UnderWay {
    tracker: Tracker,
    rows_read: usize,
    first_held: Option<usize>,
}

impl UnderWay {
    fn new(policy: &Policy) -> UnderWay {
        UnderWay { tracker: Tracker::new(policy.filter_width), rows_read: 0, first_held: None }
    }
}

impl AlignAtt {
    /// The policy at the start of a segment. `policy` should have passed [`Policy::check`].
    pub fn new(policy: Policy) -> AlignAtt {
        AlignAtt { policy, stall: Stall::default(), drafts: Drafts::default(), under_way: UnderWay::new(&policy) }
    }

    fn frontier(&self, proposal: &Proposal<'_>, attention: &Attention) -> Frontier {
        let source = Source {
            words: proposal.source,
            columns: &attention.columns,
            heard: proposal.heard,
            is_final: proposal.source_is_final,
        };
        Frontier::new(&source, &self.policy, self.stall.is_over(proposal.heard, &self.policy))
    }
}

impl TargetPolicy for AlignAtt {
    fn judge(&mut self, proposal: &Proposal<'_>) -> Verdict {
        let accepted_len = proposal.accepted.len();
        // Without attention it is unknown what a token rests on, so nothing more is shown.
        let Some(attention) = proposal.attention else {
            return Verdict { show_len: accepted_len, ..Verdict::default() };
        };
        let frontier = self.frontier(proposal, attention);
        let readings = readings(attention, Tracker::new(self.policy.filter_width).follow(attention), &frontier);
        let agreed = match proposal.source_is_final {
            true => 0,
            false => self.drafts.agreed(proposal).saturating_sub(accepted_len),
        };
        let texts = proposal.token_texts();
        let (finished, target) = (proposal.finished, proposal.target);
        let view = DraftView { texts: &texts, readings: &readings, finished, agreed, target };
        let decision = gate(&view, &frontier, &self.policy);
        if !proposal.source_is_final {
            self.stall.observe(accepted_len + decision.show_len, &decision, proposal.heard);
        }
        let tokens = decision.tokens.iter().map(|fate| Judged {
            held: fate.held,
            word: fate.reading.and_then(|reading| frontier.words_through.get(reading.track.peak?)?.checked_sub(1)),
            mass: fate.reading.map_or([0.0; 4], |reading| reading.mass),
        });
        Verdict {
            show_len: accepted_len + decision.show_len,
            rests_on: decision.rests_on,
            heard: frontier.words,
            tokens: tokens.collect(),
        }
    }

    fn heard_words(&self, source: &[SourceWord], heard: Millis) -> usize {
        let source = Source { words: source, columns: &[], heard, is_final: false };
        Frontier::new(&source, &self.policy, self.stall.is_over(heard, &self.policy)).words
    }

    fn is_stalled(&self, heard: Millis) -> bool {
        self.stall.is_over(heard, &self.policy)
    }

    fn draft_begins(&mut self) {
        self.under_way = UnderWay::new(&self.policy);
    }

    fn enough(&mut self, so_far: &Proposal<'_>) -> bool {
        let Some(attention) = so_far.attention else {
            return false;
        };
        let frontier = self.frontier(so_far, attention);
        let UnderWay { tracker, rows_read, first_held } = &mut self.under_way;
        let tracks = tracker.follow(attention);
        let stops = |(row, track): &(usize, &Track)| {
            holds(&Reading::new(attention, *row, **track, &frontier), &frontier, &self.policy).is_some()
        };
        if first_held.is_none() {
            *first_held = tracks.iter().enumerate().skip(*rows_read).find(stops).map(|(row, _)| row);
        }
        *rows_read = tracks.len();
        first_held.is_some_and(|at| tracks.len() >= at + LOOK_AHEAD)
    }

    fn draft_len(&self) -> usize {
        self.policy.draft_len
    }

    fn segment_closed(&mut self) {
        self.stall = Stall::default();
        self.drafts = Drafts::default();
    }

    fn wants_times(&self) -> bool {
        true
    }
}
