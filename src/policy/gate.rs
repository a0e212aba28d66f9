//! The gate: how much of a draft may be shown while its source is still being spoken.
//!
//! A token passes if it rests on accessible source words. The first token that does not pass stops
//! the draft, and what has passed is cut back to whole units:
//!
//! `pass t ⇔ finite(mass_t) ∧ (position_t < accessible + margin ∨ inaccessible mass_t < soft_mass)`
//!
//! If the sound ends within a word, a token that looks at that word passes by its mass alone. In a
//! stall, `soft_mass` is at least the token's accessible mass.
//!
//! Once the source is final, everything passes. Source: docs/method.md, sections 5.2 and 5.3.

use super::frontier::Frontier;
use super::listening::Attention;
use super::tracker::Track;
use crate::policy::target_policy::Hold;
use crate::text::language::Language;
use crate::text::sentence::strip_final_marks;
use crate::text::time::Millis;
use crate::text::units::{is_closed, unit_ends, unit_ends_at};

/// The settings of the `alignatt` policy. Each comment gives the default and the range. The
/// presets are [`Policy::low`], [`Policy::high`] and [`Policy::published`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How many heads are used: the best of the head set. Default 4; 1 to 64.
    pub heads_len: usize,
    /// How many columns beyond the frontier a position may lie on. Default 0, as published 1; 0 to
    /// 64.
    pub margin: usize,
    /// A token with less inaccessible mass than this passes, whatever its position. Default 0.03; 0
    /// (off) to 1.
    pub soft_mass: f32,
    /// Words that ended less than this ago are not accessible. Default 500 ms; 0 to 10 s.
    pub holdback: Millis,
    /// Only words that two hypotheses agree on are accessible, which is about one chunk later.
    /// Default `None` (auto): on for languages whose units are characters, see [`Policy::towards`].
    /// Chinese puts time, place, manner and clauses before what English says first. So more of the
    /// draft of half a sentence is in the wrong place, although it rests on words heard long ago.
    pub agreed_only: Option<bool>,
    /// Width of the median filter that smooths the rows before a position is taken, in columns.
    /// Default 7; 1 (off) to 63.
    pub filter_width: usize,
    /// How many units at the end of a draft are held if the model ended the draft itself. What is
    /// said next may belong before them, as it does before the verb of a German clause. A unit that
    /// the next, longer draft repeats is shown then.
    ///
    /// With 1, as published, the last unit is held in every draft that the gate did not stop (in
    /// Chinese only a unit that may continue, such as a run of letters). With more than 1, a
    /// character counts as half a unit. Default 2; 0 to 9.
    pub hold_last: usize,
    /// The longest wait at the frontier. After it, agreed words are accessible whatever their
    /// times, and a token passes if more of its mass is accessible than inaccessible. Default 4 s;
    /// `None`: no limit.
    pub stall: Option<Millis>,
    /// Most tokens in a draft of an open segment. Default 16; 1 to 160.
    pub draft_len: usize,
    /// Use the number of accessible tokens as the frontier, as published (docs/method.md, section
    /// 10, BUG-2). Default off.
    pub count_columns: bool,
}

impl Policy {
    /// For chunks of 850 ms. Positions stay behind the frontier. The last half second of sound and
    /// two units at the end of a draft are held. On the demo pack, these values had the best
    /// quality for their lag (`docs/results.md`).
    pub const fn low() -> Policy {
        Policy {
            heads_len: 4,
            margin: 0,
            soft_mass: 0.03,
            holdback: Millis(500),
            agreed_only: None,
            filter_width: 7,
            hold_last: 2,
            stall: Some(Millis(4000)),
            draft_len: 16,
            count_columns: false,
        }
    }

    /// The policy that tests are written for, independent of the presets.
    #[cfg(test)]
    pub const fn for_tests() -> Policy {
        Policy { margin: 1, holdback: Millis(250), hold_last: 1, agreed_only: Some(false), ..Policy::low() }
    }

    /// For chunks of 1500 ms. Waits for more sound after a word.
    pub const fn high() -> Policy {
        Policy { holdback: Millis(800), stall: Some(Millis(6000)), ..Policy::low() }
    }

    /// The settings that the paper's system was scored with, including BUG-2 (docs/method.md,
    /// section 10). Source: docs/method.md, section 5.7.
    pub const fn published() -> Policy {
        Policy {
            heads_len: 4,
            margin: 1,
            soft_mass: 0.03,
            holdback: Millis::ZERO,
            agreed_only: Some(false),
            filter_width: 7,
            hold_last: 1,
            stall: None,
            draft_len: 16,
            count_columns: true,
        }
    }

    /// The policy with `agreed_only` set for translation into `target`, if it was `None`.
    pub fn towards(self, target: Language) -> Policy {
        Policy { agreed_only: Some(self.agreed_only.unwrap_or(target.counts_characters())), ..self }
    }

    /// Checks the ranges. The error names the first setting that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        let ranges = [
            ("heads", (1..=64).contains(&self.heads_len), "1 to 64"),
            ("margin", self.margin <= 64, "0 to 64 tokens"),
            ("soft mass", (0.0..=1.0).contains(&self.soft_mass), "0 to 1"),
            ("holdback", self.holdback <= Millis(10_000), "0 to 10000 ms"),
            ("hold last", self.hold_last <= 9, "0 to 9 units"),
            ("filter width", (1..=63).contains(&self.filter_width), "1 to 63 tokens"),
            ("draft length", (1..=160).contains(&self.draft_len), "1 to 160 tokens"),
        ];
        match ranges.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, range)) => Err(PolicyError { field, range }),
            None => Ok(()),
        }
    }
}

impl Policy {
    /// The knobs by name, with their values as a user sets and reads them.
    fn knobs(&self) -> [(&'static str, String); 10] {
        let on = |on: bool| if on { "on" } else { "off" }.to_owned();
        [
            ("heads", self.heads_len.to_string()),
            ("margin", self.margin.to_string()),
            ("soft-mass", self.soft_mass.to_string()),
            ("holdback", self.holdback.0.to_string()),
            ("agreed-only", self.agreed_only.map_or("auto".to_owned(), on)),
            ("filter", self.filter_width.to_string()),
            ("hold-last", self.hold_last.to_string()),
            ("stall", self.stall.map_or("off".to_owned(), |limit| limit.0.to_string())),
            ("draft", self.draft_len.to_string()),
            ("count-columns", on(self.count_columns)),
        ]
    }

    /// The policy with the knobs in `text` set, for example `holdback=500,margin=0`. The error says
    /// what is wrong with `text`.
    pub fn with(mut self, text: &str) -> Result<Policy, String> {
        for knob in text.split(',').filter(|knob| !knob.is_empty()) {
            let wrong = |what: &str| format!("`{knob}` {what}");
            let (name, value) = knob.split_once('=').ok_or_else(|| wrong("is not of the form KNOB=VALUE"))?;
            let switch = || match value {
                "on" => Some(true),
                "off" => Some(false),
                _ => None,
            };
            let set = match name {
                "heads" => value.parse().map(|n| self.heads_len = n).ok(),
                "margin" => value.parse().map(|n| self.margin = n).ok(),
                "soft-mass" => value.parse().map(|mass| self.soft_mass = mass).ok(),
                "holdback" => value.parse().map(|ms| self.holdback = Millis(ms)).ok(),
                "agreed-only" => {
                    let on = if value == "auto" { Some(None) } else { switch().map(Some) };
                    on.map(|on| self.agreed_only = on)
                }
                "filter" => value.parse().map(|n| self.filter_width = n).ok(),
                "hold-last" => value.parse().map(|n| self.hold_last = n).ok(),
                "stall" => {
                    let limit = if value == "off" { Ok(None) } else { value.parse().map(|ms| Some(Millis(ms))) };
                    limit.map(|limit| self.stall = limit).ok()
                }
                "draft" => value.parse().map(|n| self.draft_len = n).ok(),
                "count-columns" => switch().map(|on| self.count_columns = on),
                _ => {
                    let names = Policy::low().knobs().map(|(name, _)| name).join(", ");
                    return Err(wrong(&format!("is no knob: there are {names}")));
                }
            };
            set.ok_or_else(|| wrong("has a value that does not fit"))?;
        }
        self.check().map_err(|error| error.to_string())?;
        Ok(self)
    }

    /// The knobs whose values differ from those of `other`, in the format that [`Policy::with`]
    /// reads.
    pub fn differs_from(&self, other: &Policy) -> String {
        let ours = self.knobs().into_iter().zip(other.knobs()).filter(|(ours, theirs)| ours != theirs);
        ours.map(|((name, value), _)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    }
}

/// The error for a setting that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy's {field} is out of range: use {range}")]
pub struct PolicyError {
    pub field: &'static str,
    pub range: &'static str,
}

/// What the attention of one draft token says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The position that is compared with the frontier, and the column that the token rests on.
    pub track: Track,
    /// Mass on the accessible columns, on the inaccessible ones, on the rest of the prompt, and on
    /// the draft.
    pub mass: [f32; 4],
}

impl Reading {
    /// The reading of one row of `attention`.
    pub fn new(attention: &Attention, row: usize, track: Track, frontier: &Frontier) -> Reading {
        Reading { track, mass: attention.mass(row, frontier.columns) }
    }
}

/// The reading of each row. `tracks` come from [`super::tracker::Tracker`].
pub fn readings(attention: &Attention, tracks: &[Track], frontier: &Frontier) -> Vec<Reading> {
    let rows = tracks.iter().enumerate();
    rows.map(|(row, &track)| Reading::new(attention, row, track, frontier)).collect()
}

/// A draft as the gate sees it.
#[derive(Clone, Copy, Debug)]
pub struct DraftView<'a> {
    /// The text that each token adds; empty for a token that is only part of a character.
    pub texts: &'a [&'a str],
    /// One for each of the first tokens. The last token of a draft that ran into its limit has
    /// none.
    pub readings: &'a [Reading],
    /// The model ended the draft itself, and `texts` is all of it.
    pub finished: bool,
    /// How many bytes of the joined texts, from the first, the draft of a shorter source has as
    /// well.
    pub agreed: usize,
    pub target: Language,
}

/// The gate's decision on one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fate {
    pub reading: Option<Reading>,
    /// Why the token is held; `None` if it is shown.
    pub held: Option<Hold>,
}

/// The gate's decision on a draft.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    pub tokens: Vec<Fate>,
    /// How many tokens passed, before the cut to whole units.
    pub passed: usize,
    /// How many tokens are shown completely.
    pub shown: usize,
    /// How many bytes of the tokens' joined text are shown. The shown part may end with a blank.
    pub show_len: usize,
    /// What stopped the first token that did not pass.
    pub stop: Option<Hold>,
    /// How many source words the shown text may rest on. The segment must not close before the last
    /// of them.
    pub rests_on: usize,
}

/// The first token that does not pass, and why. Drafting may stop there.
pub fn first_held(readings: &[Reading], frontier: &Frontier, policy: &Policy) -> Option<(usize, Hold)> {
    let held = |(at, reading): (usize, &Reading)| Some((at, holds(reading, frontier, policy)?));
    readings.iter().enumerate().find_map(held)
}

/// Why a token with this reading does not pass; `None` if it passes.
pub fn holds(reading: &Reading, frontier: &Frontier, policy: &Policy) -> Option<Hold> {
    if frontier.is_final {
        return None;
    }
    let Some(position) = reading.track.position else {
        return Some(Hold::NoRow);
    };
    if !reading.mass.iter().all(|mass| mass.is_finite()) {
        return Some(Hold::NotFinite);
    }
    is_beyond(position, reading, frontier, policy).then_some(Hold::Frontier)
}

/// The frontier rule: whether a token is beyond the frontier. In a stall, more accessible than
/// inaccessible mass is enough to pass: such a token rests more on accessible words than on others,
/// whatever its position. A token that looks at half a word at the end of the sound is beyond the
/// frontier, too, wherever smoothing puts its position: shown text that rests on half a word would
/// let its segment close within that word.
fn is_beyond(position: usize, reading: &Reading, frontier: &Frontier, policy: &Policy) -> bool {
    let [accessible, inaccessible, ..] = reading.mass;
    let soft_mass = if frontier.stalled { policy.soft_mass.max(accessible) } else { policy.soft_mass };
    let is_soft = inaccessible < soft_mass;
    let reach = frontier.columns.saturating_add(policy.margin);
    let furthest = position.max(reading.track.peak.unwrap_or(0));
    let on_half_word = frontier.half_word.is_some_and(|column| furthest >= column);
    (position >= reach || on_half_word) && !is_soft
}

/// Decides how much of `draft` may be shown.
pub fn gate(draft: &DraftView<'_>, frontier: &Frontier, policy: &Policy) -> Decision {
    let text = draft.texts.concat();
    let ends = ends_of(draft.texts);
    let len = draft.texts.len();
    let readings = &draft.readings[..draft.readings.len().min(len)];
    let first = first_held(readings, frontier, policy);
    let passed = if frontier.is_final { len } else { first.map_or(readings.len(), |(at, _)| at) };
    let stop = first.map(|(_, stop)| stop).or((passed < len).then_some(Hold::NoRow));

    let mut kept = len;
    let mut show_len = text.len();
    if !frontier.is_final {
        kept = whole_units(draft, &text, &ends, passed, first.is_some(), policy);
        if draft.finished && policy.hold_last > 1 {
            let settled = ends.iter().rposition(|&end| end <= draft.agreed).unwrap_or(0);
            let settled = last_unit_at(&text, &ends[..=settled], draft.target);
            kept = kept.min(before_last_units(&text, &ends, policy.hold_last, draft.target).max(settled));
        }
        show_len = ends[kept];
        // A sentence-final mark at the end of the draft ends the source heard so far, not the
        // sentence.
        if strip_final_marks(&text[show_len..]).is_empty() {
            show_len = strip_final_marks(&text[..show_len]).len();
        }
    }
    let mut shown = (0..=kept).rev().find(|&tokens| ends[tokens] <= show_len).unwrap_or(0);
    while !frontier.is_final && shown > 0 && draft.texts[shown - 1].is_empty() {
        shown -= 1; // half a character is not shown
    }
    let fate = |at: usize| Fate {
        reading: readings.get(at).copied(),
        held: match at {
            _ if at < shown => None,
            _ if at < passed => Some(Hold::OpenUnit), // or a final mark, which waits
            _ if at == passed => stop,
            _ => Some(Hold::Behind),
        },
    };
    let rests_on = if frontier.is_final { frontier.words } else { rests_on(&readings[..kept], frontier, policy) };
    Decision { tokens: (0..len).map(fate).collect(), passed, shown, show_len, stop, rests_on }
}

/// The length in bytes of the joined text of the first 0, 1, 2 … tokens.
fn ends_of(texts: &[&str]) -> Vec<usize> {
    let mut ends = vec![0];
    for text in texts {
        ends.push(ends[ends.len() - 1] + text.len());
    }
    ends
}

/// How many of the first `passed` tokens make up whole units. If the next token is known, it shows
/// whether the last unit is whole. At the end of the draft, the last unit is whole if the model
/// ended the draft there and `hold_last` is 0, or if the unit is complete whatever follows
/// ([`is_closed`]).
fn whole_units(
    draft: &DraftView<'_>,
    text: &str,
    ends: &[usize],
    passed: usize,
    was_stopped: bool,
    policy: &Policy,
) -> usize {
    let len = draft.texts.len();
    let next_is_known = was_stopped || (passed < len && policy.hold_last == 0);
    let is_whole = match next_is_known {
        true => unit_ends_at(text, ends[passed], draft.target),
        false => {
            let ended = draft.finished && passed == len && policy.hold_last == 0;
            ended || is_closed(&text[..ends[passed]], draft.target)
        }
    };
    if is_whole { passed } else { last_unit_at(text, &ends[..passed], draft.target) }
}

/// How many tokens lie before the last `units` units of a draft. A character counts as half a unit.
fn before_last_units(text: &str, ends: &[usize], units: usize, target: Language) -> usize {
    let held = if target.counts_characters() { 2 * units } else { units };
    let unit_ends = unit_ends(strip_final_marks(text), target);
    let most = unit_ends.len().checked_sub(held + 1).map_or(0, |last| unit_ends[last]);
    ends.iter().rposition(|&end| end <= most).unwrap_or(0)
}

/// The last index of `ends` at which a unit of `text` ends. `ends` are the byte offsets after 0, 1,
/// 2 … tokens, so the index is a number of tokens.
pub(super) fn last_unit_at(text: &str, ends: &[usize], target: Language) -> usize {
    ends.iter().rposition(|&end| unit_ends_at(text, end, target)).unwrap_or(0)
}

/// A token whose mass is below this rests on no word, even if a larger `soft_mass` lets it pass.
const STRAY: f32 = 0.03;

/// The number of source words up to the last one that these tokens rest on. A peak counts only if
/// the columns on its side of the frontier carry enough mass: a token that passed because it has
/// little mass on an inaccessible word does not rest on that word.
fn rests_on(readings: &[Reading], frontier: &Frontier, policy: &Policy) -> usize {
    let word = |reading: &Reading| {
        let position = reading.track.peak?;
        let side = usize::from(position >= frontier.columns);
        if reading.mass[side] < policy.soft_mass.min(STRAY) {
            return None;
        }
        frontier.words_through.get(position).copied()
    };
    readings.iter().filter_map(word).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tracker::Tracker;
    use proptest::prelude::*;

    const DE: Language = Language::GERMAN;

    fn at(position: usize, inaccessible: f32) -> Reading {
        let track = Track { position: Some(position), peak: Some(position) };
        Reading { track, mass: [0.9 - inaccessible, inaccessible, 0.05, 0.05] }
    }

    fn frontier(columns: usize) -> Frontier {
        Frontier { words: columns, columns, words_through: (1..=9).collect(), ..Frontier::default() }
    }

    fn judged(texts: &[&str], readings: &[Reading], policy: &Policy, finished: bool, target: Language) -> Decision {
        gate(&DraftView { texts, readings, finished, agreed: 0, target }, &frontier(4), policy)
    }

    /// The text that is shown of a draft whose tokens all pass.
    fn all_pass(texts: &[&str], hold_last: usize, finished: bool, target: Language) -> String {
        let policy = Policy { hold_last, ..Policy::for_tests() };
        let decision = judged(texts, &vec![at(0, 0.0); texts.len()], &policy, finished, target);
        texts.concat()[..decision.show_len].to_owned()
    }

    #[test]
    fn the_end_of_a_draft_that_nothing_stopped() {
        let (zh, sentence) = (Language::CHINESE, [" Das", " ist", " gut", "."]);
        assert_eq!(all_pass(&sentence, 0, true, DE), " Das ist gut");
        assert_eq!(all_pass(&sentence, 0, false, DE), " Das ist");
        assert_eq!(all_pass(&sentence, 1, true, DE), " Das ist");
        assert_eq!(all_pass(&sentence[2..], 0, false, DE), "");
        assert_eq!(all_pass(&["大家", "好。"], 1, true, zh), "大家好");
        assert_eq!(all_pass(&["我用", "GP", "T"], 0, false, zh), "我用");
        assert_eq!(all_pass(&["我用", "GP", "T"], 1, true, zh), "我用");
        assert_eq!(all_pass(&["我用", "GP", "T"], 0, true, zh), "我用GPT");
        let half = judged(&["我", "", ""], &[at(0, 0.0); 3], &Policy::for_tests(), false, zh);
        assert_eq!((half.shown, half.show_len), (1, 3));
    }

    #[test]
    fn what_stayed_when_more_came_is_held_no_longer() {
        let texts = [" Das", " ist", " ein", " Wort", "."];
        let show = |agreed| {
            let draft = DraftView { texts: &texts, readings: &[at(0, 0.0); 5], finished: true, agreed, target: DE };
            texts.concat()[..gate(&draft, &frontier(4), &Policy { hold_last: 3, ..Policy::for_tests() }).show_len]
                .to_owned()
        };
        assert_eq!(show(0), " Das");
        assert_eq!(show(" Das ist".len()), " Das ist");
        assert_eq!(show(" Das ist ei".len()), " Das ist");
        assert_eq!(show(" Das ist ein Wort".len()), " Das ist ein", "the last word may go on");
    }

    #[test]
    fn no_margin_reaches_into_half_a_word() {
        let policy = Policy { margin: 3, ..Policy::for_tests() };
        let half = Frontier { half_word: Some(4), ..frontier(4) };
        assert_eq!(first_held(&[at(3, 0.5), at(4, 0.5)], &half, &policy), Some((1, Hold::Frontier)));
        assert_eq!(first_held(&[at(3, 0.5), at(4, 0.5)], &frontier(4), &policy), None);
    }

    #[test]
    fn a_look_at_half_a_word_is_held_wherever_smoothing_puts_it() {
        let smoothed = |inaccessible| {
            let track = Track { position: Some(2), peak: Some(4) };
            Reading { track, ..at(2, inaccessible) }
        };
        let half = Frontier { half_word: Some(4), ..frontier(4) };
        let policy = Policy { soft_mass: 0.03, ..Policy::for_tests() };
        assert_eq!(first_held(&[smoothed(0.5)], &half, &policy), Some((0, Hold::Frontier)));
        assert_eq!(first_held(&[smoothed(0.01)], &half, &policy), None, "next to nothing of it is there");
        assert_eq!(first_held(&[smoothed(0.5)], &frontier(4), &policy), None);
    }

    #[test]
    fn every_token_says_why_it_is_held() {
        let readings = [at(0, 0.0), at(1, 0.0), at(7, 0.5), at(1, 0.0)];
        let decision = judged(&[" wir", " prü", "fen", " den", " Pfad"], &readings, &Policy::for_tests(), false, DE);
        let held: Vec<_> = decision.tokens.iter().map(|token| token.held).collect();
        let expected = [None, Some(Hold::OpenUnit), Some(Hold::Frontier), Some(Hold::Behind), Some(Hold::Behind)];
        assert_eq!(held, expected);
        assert_eq!((decision.passed, decision.shown, decision.show_len, decision.rests_on), (2, 1, 4, 1));
        assert_eq!(decision.tokens[4].reading, None);
    }

    #[test]
    fn a_last_token_without_a_row_still_closes_the_word_before_it() {
        let readings = [at(0, 0.0); 2];
        let shown_at_once = Policy { hold_last: 0, ..Policy::for_tests() };
        assert_eq!(judged(&[" gut", "es", " Wet"], &readings, &shown_at_once, false, DE).shown, 2);
        assert_eq!(judged(&[" gut", "es", " Wet"], &readings, &Policy::published(), false, DE).shown, 0);
        assert_eq!(judged(&[" gut"], &[], &Policy::for_tests(), true, DE).stop, Some(Hold::NoRow));
    }

    #[test]
    fn what_is_not_a_number_is_not_shown() {
        let mut reading = at(0, 0.0);
        reading.mass[2] = f32::INFINITY;
        let decision = judged(&[" gut"], &[reading], &Policy::for_tests(), true, DE);
        assert_eq!((decision.show_len, decision.stop), (0, Some(Hold::NotFinite)));
        // Each of the four masses alone, on either side of the frontier, in a stall and outside
        // one.
        for (part, position, stalled) in (0..4).flat_map(|part| [(part, 1, false), (part, 7, false), (part, 7, true)]) {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut reading = at(position, 0.0);
                reading.mass[part] = value;
                let frontier = Frontier { stalled, ..frontier(4) };
                let held = first_held(&[reading], &frontier, &Policy::for_tests());
                assert_eq!(held, Some((0, Hold::NotFinite)), "{value} in mass {part} at {position}");
            }
        }
    }

    #[test]
    fn a_stall_ends_with_what_rests_mostly_on_words_heard() {
        let stalled = Frontier { stalled: true, ..frontier(4) };
        assert_eq!(
            first_held(&[at(6, 0.029), at(6, 0.03)], &frontier(4), &Policy::for_tests()),
            Some((1, Hold::Frontier))
        );
        let readings = [at(6, 0.3), at(6, 0.5)];
        assert_eq!(first_held(&readings, &frontier(4), &Policy::for_tests()), Some((0, Hold::Frontier)));
        assert_eq!(first_held(&readings, &stalled, &Policy::for_tests()), Some((1, Hold::Frontier)));
    }

    const TEXTS: [&str; 16] =
        [" wir", " prü", "fen", ".", " den", "", "好", "，", "CM", "U", " 3", ".5", "。", "\n", " ", "我是"];

    prop_compose! {
        fn draft()(columns in 0_usize..7, heads in 0_usize..4, rows in 0_usize..9)(
            values in proptest::collection::vec(
                prop_oneof![12 => 0.0_f32..1.0, 12 => 0.0_f32..0.01, 1 => Just(f32::NAN)], columns * heads * rows),
            rest in proptest::collection::vec(0.0_f32..0.5, rows),
            texts in proptest::collection::vec(proptest::sample::select(&TEXTS[..]), 0..10),
            columns in Just(columns), heads in Just(heads),
        ) -> (Attention, Vec<&'static str>) {
            let rest = rest.into_iter().map(|mass| [mass, 0.1]).collect();
            (Attention { columns: vec![0..1; columns], heads_len: heads, rows: values, rest }, texts)
        }
    }

    fn shown(
        (attention, texts): &(Attention, Vec<&str>),
        frontier: &Frontier,
        policy: &Policy,
        finished: bool,
        target: Language,
    ) -> Decision {
        let mut tracker = Tracker::new(policy.filter_width);
        let readings = readings(attention, tracker.follow(attention), frontier);
        let agreed = texts.concat().len() / 2;
        gate(&DraftView { texts, readings: &readings, finished, agreed, target }, frontier, policy)
    }

    fn policies() -> impl Strategy<Value = Policy> {
        let presets = prop_oneof![Just(Policy::low()), Just(Policy::high()), Just(Policy::published())];
        (presets, 0_usize..4).prop_map(|(preset, hold_last)| Policy { hold_last, ..preset })
    }

    proptest! {
        #[test]
        fn shown_tokens_are_a_prefix_of_whole_units(
            draft in draft(), at in 0_usize..9, policy in policies(), finished: bool, chinese: bool, stalled: bool,
        ) {
            let target = if chinese { Language::CHINESE } else { DE };
            let frontier = Frontier { stalled, ..frontier(at) };
            let decision = shown(&draft, &frontier, &policy, finished, target);
            let text = draft.1.concat();
            prop_assert_eq!(decision.tokens.len(), draft.1.len());
            prop_assert!(decision.shown <= decision.passed && decision.passed <= draft.1.len());
            prop_assert!(decision.tokens.iter().enumerate().all(|(at, t)| t.held.is_none() == (at < decision.shown)));
            let (left, right) = text.split_at(decision.show_len);
            prop_assert!(
                left.is_empty() || unit_ends_at(&text, left.len(), target) || is_closed(left, target)
                    || (strip_final_marks(right).is_empty() && (finished || !right.is_empty())),
                "{:?} | {:?}", left, right
            );
            let finite = |fate: &Fate| fate.reading.is_some_and(|r| r.mass.iter().all(|mass| mass.is_finite()));
            prop_assert!(decision.tokens[..decision.shown].iter().all(finite));
        }

        #[test]
        fn more_frontier_never_shows_less(
            draft in draft(), (a, b) in (0_usize..9, 0_usize..9), policy in policies(), finished: bool, chinese: bool,
        ) {
            let target = if chinese { Language::CHINESE } else { DE };
            let less = shown(&draft, &frontier(a.min(b)), &policy, finished, target);
            let more = shown(&draft, &frontier(a.max(b)), &policy, finished, target);
            prop_assert!(less.show_len <= more.show_len && less.passed <= more.passed);
            let stalled = Frontier { stalled: true, ..frontier(a) };
            let stalled = shown(&draft, &stalled, &policy, finished, target);
            prop_assert!(shown(&draft, &frontier(a), &policy, finished, target).show_len <= stalled.show_len);
        }

        #[test]
        fn a_final_source_shows_all(draft in draft(), policy in policies(), finished: bool) {
            let whole = Frontier { is_final: true, ..frontier(3) };
            let decision = shown(&draft, &whole, &policy, finished, DE);
            prop_assert_eq!(decision.show_len, draft.1.concat().len());
            prop_assert_eq!((decision.shown, decision.stop), (draft.1.len(), None));
        }
    }
}
