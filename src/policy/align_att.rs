//! The `alignatt` policy: shows the draft tokens that rest on accessible source words.
//!
//! It combines the parts of this room: the frontier says how much of the source is accessible, the
//! tracker which column each token looks at, and the gate what may be shown. The stall limits how
//! long a draft can be held.

use super::frontier::{Frontier, Source};
use super::gate::{gate, holds};
use super::knobs::Knobs;
use super::listening::Attention;
use super::stall::Stall;
use super::tracker::{Reading, Tracker};
use super::{Proposal, SourceWord, TargetPolicy, Verdict, joined};
use crate::text::sentence::strip_final_marks;
use crate::text::time::Millis;

/// Drafting goes on for this many tokens after the first held one. They are seldom shown as they
/// are, but they lengthen the guess that the next draft starts from, and they show the reader where
/// the sentence goes.
const LOOK_AHEAD: usize = 4;

/// The policy with its state. It judges one segment after another.
#[derive(Clone, Debug)]
pub(crate) struct AlignAtt {
    knobs: Knobs,
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
    fn agreed(&mut self, proposal: &Proposal) -> usize {
        let source = joined(&proposal.source);
        let source = strip_final_marks(&source);
        if proposal.source.len() > self.words && source != self.source {
            self.before = std::mem::take(&mut self.text);
        }
        source.clone_into(&mut self.source);
        self.words = proposal.source.len();
        self.text.clone_from(&proposal.candidate);
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
    fn new(knobs: &Knobs) -> UnderWay {
        UnderWay { tracker: Tracker::new(knobs.filter_width), rows_read: 0, first_held: None }
    }
}

impl AlignAtt {
    /// The policy at the start of a segment. `knobs` should have passed [`Knobs::check`].
    pub(crate) fn new(knobs: Knobs) -> AlignAtt {
        AlignAtt { knobs, stall: Stall::default(), drafts: Drafts::default(), under_way: UnderWay::new(&knobs) }
    }

    fn frontier(&self, proposal: &Proposal, attention: &Attention) -> Frontier {
        let source = Source {
            words: &proposal.source,
            columns: &attention.columns,
            heard: proposal.heard,
            is_final: proposal.source_is_final,
        };
        Frontier::new(&source, &self.knobs, self.stall.is_over(proposal.heard, &self.knobs))
    }
}

impl TargetPolicy for AlignAtt {
    fn judge(&mut self, proposal: &Proposal) -> Verdict {
        let accepted_len = proposal.accepted.len();
        // Without attention it is unknown what a token rests on, so nothing more is shown.
        let Some(attention) = &proposal.attention else {
            return Verdict { show_len: accepted_len, ..Verdict::default() };
        };
        let frontier = self.frontier(proposal, attention);
        let mut tracker = Tracker::new(self.knobs.filter_width);
        let readings = tracker.follow(attention, frontier.columns);
        let agreed = if proposal.source_is_final { 0 } else { self.drafts.agreed(proposal) };
        let mut verdict = gate(proposal, readings, agreed, &frontier, &self.knobs);
        for (row, token) in verdict.tokens.iter_mut().enumerate() {
            token.attention = attention.on_words(row, &frontier.words_through);
        }
        if !proposal.source_is_final {
            self.stall.observe(verdict.show_len, verdict.stop(), proposal.heard);
        }
        verdict
    }

    fn heard_words(&self, source: &[SourceWord], heard: Millis) -> usize {
        let source = Source { words: source, columns: &[], heard, is_final: false };
        Frontier::new(&source, &self.knobs, self.stall.is_over(heard, &self.knobs)).words
    }

    fn is_stalled(&self, heard: Millis) -> bool {
        self.stall.is_over(heard, &self.knobs)
    }

    fn draft_begins(&mut self) {
        self.under_way = UnderWay::new(&self.knobs);
    }

    fn enough(&mut self, so_far: &Proposal) -> bool {
        let Some(attention) = &so_far.attention else {
            return false;
        };
        let frontier = self.frontier(so_far, attention);
        let UnderWay { tracker, rows_read, first_held } = &mut self.under_way;
        let readings = tracker.follow(attention, frontier.columns);
        let stops = |(_, reading): &(usize, &Reading)| holds(reading, &frontier, &self.knobs).is_some();
        if first_held.is_none() {
            *first_held = readings.iter().enumerate().skip(*rows_read).find(stops).map(|(row, _)| row);
        }
        *rows_read = readings.len();
        first_held.is_some_and(|at| readings.len() >= at + LOOK_AHEAD)
    }

    fn draft_len(&self) -> usize {
        self.knobs.draft_len
    }

    fn segment_closed(&mut self) {
        self.stall = Stall::default();
        self.drafts = Drafts::default();
    }

    fn wants_times(&self) -> bool {
        true
    }
}
