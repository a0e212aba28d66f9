//! The `alignatt` policy: shows the words that rest on what has been heard.
//!
//! Ties the parts together: the frontier says how far the source is heard, the tracker where each token listens, the
//! gate what may be shown, and the stall that nothing is held for ever.

use super::frontier::{Frontier, Source};
use super::gate::{DraftView, Policy, Reading, first_held, gate, readings};
use super::listening::Attention;
use super::policy::{Judged, Proposal, SourceWord, TargetPolicy, Verdict};
use super::stall::Stall;
use super::time::Millis;
use super::tracker::Tracker;

/// Tokens written behind the first that is held: seldom shown as they stand, but tried as a guess when more has
/// been heard, and the reader sees where the sentence goes.
const LOOK_AHEAD: usize = 4;

/// One segment after another.
#[derive(Clone, Debug)]
pub struct AlignAtt {
    policy: Policy,
    stall: Stall,
}

impl AlignAtt {
    pub fn new(policy: Policy) -> AlignAtt {
        AlignAtt { policy, stall: Stall::default() }
    }

    fn look(&self, proposal: &Proposal<'_>, attention: &Attention) -> (Frontier, Vec<Reading>) {
        let source = Source {
            words: proposal.source,
            columns: &attention.columns,
            heard: proposal.heard,
            is_final: proposal.source_is_final,
        };
        let frontier = Frontier::new(&source, &self.policy, self.stall.is_over(proposal.heard, &self.policy));
        let mut tracker = Tracker::new(self.policy.filter_width);
        let readings = readings(attention, tracker.follow(attention), &frontier);
        (frontier, readings)
    }
}

impl TargetPolicy for AlignAtt {
    fn judge(&mut self, proposal: &Proposal<'_>) -> Verdict {
        let accepted_len = proposal.accepted.len();
        // Without attention nothing is known to rest on anything.
        let Some(attention) = proposal.attention else {
            return Verdict { show_len: accepted_len, ..Verdict::default() };
        };
        let (frontier, readings) = self.look(proposal, attention);
        let texts = proposal.token_texts();
        let view =
            DraftView { texts: &texts, readings: &readings, finished: proposal.finished, target: proposal.target };
        let decision = gate(&view, &frontier, &self.policy);
        if !proposal.source_is_final {
            self.stall.observe(accepted_len + decision.show_len, &decision, proposal.heard);
        }
        let tokens = decision.tokens.iter().map(|fate| Judged {
            held: fate.held,
            word: fate.reading.and_then(|reading| frontier.words_through.get(reading.position?)?.checked_sub(1)),
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

    fn enough(&self, so_far: &Proposal<'_>) -> bool {
        let Some(attention) = so_far.attention else {
            return false;
        };
        let (frontier, readings) = self.look(so_far, attention);
        first_held(&readings, &frontier, &self.policy).is_some_and(|(at, _)| readings.len() >= at + LOOK_AHEAD)
    }

    fn draft_len(&self) -> usize {
        self.policy.draft_len
    }

    fn segment_closed(&mut self) {
        self.stall = Stall::default();
    }

    fn wants_times(&self) -> bool {
        true
    }
}
