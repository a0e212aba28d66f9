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
use super::knobs::Knobs;
use super::tracker::Reading;
use super::{Hold, Proposal, Token, Verdict};
use crate::text::language::Language;
use crate::text::sentence::strip_final_marks;
use crate::text::units::{is_closed, unit_ends, unit_ends_at};

/// The first token that does not pass, and why. Drafting may stop there.
pub(crate) fn first_held(readings: &[Reading], frontier: &Frontier, knobs: &Knobs) -> Option<(usize, Hold)> {
    let held = |(at, reading): (usize, &Reading)| Some((at, holds(reading, frontier, knobs)?));
    readings.iter().enumerate().find_map(held)
}

/// Why a token with this reading does not pass; `None` if it passes.
pub(crate) fn holds(reading: &Reading, frontier: &Frontier, knobs: &Knobs) -> Option<Hold> {
    if frontier.is_final {
        return None;
    }
    let Some(position) = reading.position else {
        return Some(Hold::NoRow);
    };
    if !reading.mass.iter().all(|mass| mass.is_finite()) {
        return Some(Hold::NotFinite);
    }
    is_beyond(position, reading, frontier, knobs).then_some(Hold::Frontier)
}

/// The frontier rule: whether a token is beyond the frontier. In a stall, more accessible than
/// inaccessible mass is enough to pass: such a token rests more on accessible words than on others,
/// whatever its position. A token that looks at half a word at the end of the sound is beyond the
/// frontier, too, wherever smoothing puts its position: shown text that rests on half a word would
/// let its segment close within that word.
fn is_beyond(position: usize, reading: &Reading, frontier: &Frontier, knobs: &Knobs) -> bool {
    let [accessible, inaccessible, ..] = reading.mass;
    let soft_mass = if frontier.stalled { knobs.soft_mass.max(accessible) } else { knobs.soft_mass };
    let is_soft = inaccessible < soft_mass;
    let reach = frontier.columns.saturating_add(knobs.margin);
    let furthest = position.max(reading.peak.unwrap_or(0));
    let on_half_word = frontier.half_word.is_some_and(|column| furthest >= column);
    (position >= reach || on_half_word) && !is_soft
}

/// Decides how much of `draft` may be shown. The words that the tokens attend to are left empty.
///
/// `readings`: one for each of the first tokens; the last token of a draft that ran into its limit
/// has none. `agreed`: how many bytes of the candidate, from the first, the draft of a shorter
/// source has as well.
pub(crate) fn gate(
    draft: &Proposal,
    readings: &[Reading],
    agreed: usize,
    frontier: &Frontier,
    knobs: &Knobs,
) -> Verdict {
    let texts = draft.token_texts();
    let text = texts.concat();
    let ends = ends_of(&texts);
    let len = texts.len();
    let accepted_len = draft.accepted.len();
    let readings = &readings[..readings.len().min(len)];
    let first = first_held(readings, frontier, knobs);
    let passed = if frontier.is_final { len } else { first.map_or(readings.len(), |(at, _)| at) };
    let stop = first.map(|(_, stop)| stop).or((passed < len).then_some(Hold::NoRow));

    let mut kept = len;
    let mut show_len = text.len();
    if !frontier.is_final {
        kept = whole_units(draft, &text, &ends, passed, first.is_some(), knobs);
        if draft.finished && knobs.hold_last > 1 {
            let settled = ends.iter().rposition(|&end| end <= agreed.saturating_sub(accepted_len)).unwrap_or(0);
            let settled = last_unit_at(&text, &ends[..=settled], draft.target);
            kept = kept.min(before_last_units(&text, &ends, knobs.hold_last, draft.target).max(settled));
        }
        show_len = ends[kept];
        // A sentence-final mark at the end of the draft ends the source heard so far, not the
        // sentence.
        if strip_final_marks(&text[show_len..]).is_empty() {
            show_len = strip_final_marks(&text[..show_len]).len();
        }
    }
    let mut shown = (0..=kept).rev().find(|&tokens| ends[tokens] <= show_len).unwrap_or(0);
    while !frontier.is_final && shown > 0 && texts[shown - 1].is_empty() {
        shown -= 1; // half a character is not shown
    }
    let why = |at: usize| match at {
        _ if at < shown => None,
        _ if at < passed => Some(Hold::OpenUnit), // or a final mark, which waits
        _ if at == passed => stop,
        _ => Some(Hold::AfterHeld),
    };
    let token = |(at, text): (usize, &&str)| Token {
        text: (*text).to_owned(),
        shown: at < shown,
        why: why(at),
        word: readings.get(at).and_then(|reading| frontier.words_through.get(reading.peak?)?.checked_sub(1)),
        mass: readings.get(at).map_or([0.0; 4], |reading| reading.mass),
        attention: Vec::new(),
    };
    Verdict {
        show_len: accepted_len + show_len,
        rests_on: if frontier.is_final { frontier.words } else { rests_on(&readings[..kept], frontier, knobs) },
        heard: frontier.words,
        tokens: texts.iter().enumerate().map(token).collect(),
    }
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
fn whole_units(draft: &Proposal, text: &str, ends: &[usize], passed: usize, was_stopped: bool, knobs: &Knobs) -> usize {
    let len = draft.ends.len();
    let next_is_known = was_stopped || (passed < len && knobs.hold_last == 0);
    let is_whole = match next_is_known {
        true => unit_ends_at(text, ends[passed], draft.target),
        false => {
            let ended = draft.finished && passed == len && knobs.hold_last == 0;
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
fn rests_on(readings: &[Reading], frontier: &Frontier, knobs: &Knobs) -> usize {
    let word = |reading: &Reading| {
        let position = reading.peak?;
        let side = usize::from(position >= frontier.columns);
        if reading.mass[side] < knobs.soft_mass.min(STRAY) {
            return None;
        }
        frontier.words_through.get(position).copied()
    };
    readings.iter().filter_map(word).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::listening::Attention;
    use crate::policy::tracker::Tracker;
    use proptest::prelude::*;

    const DE: Language = Language::GERMAN;

    fn at(position: usize, inaccessible: f32) -> Reading {
        let mass = [0.9 - inaccessible, inaccessible, 0.05, 0.05];
        Reading { position: Some(position), peak: Some(position), mass }
    }

    fn frontier(columns: usize) -> Frontier {
        Frontier { words: columns, columns, words_through: (1..=9).collect(), ..Frontier::default() }
    }

    fn judged(texts: &[&str], readings: &[Reading], knobs: &Knobs, finished: bool, target: Language) -> Verdict {
        gate(&Proposal::of_texts(texts, finished, target), readings, 0, &frontier(4), knobs)
    }

    /// The text that is shown of a draft whose tokens all pass.
    fn all_pass(texts: &[&str], hold_last: usize, finished: bool, target: Language) -> String {
        let knobs = Knobs { hold_last, ..Knobs::for_tests() };
        let verdict = judged(texts, &vec![at(0, 0.0); texts.len()], &knobs, finished, target);
        texts.concat()[..verdict.show_len].to_owned()
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
        let half = judged(&["我", "", ""], &[at(0, 0.0); 3], &Knobs::for_tests(), false, zh);
        assert_eq!((half.shown(), half.show_len), (1, 3));
    }

    #[test]
    fn what_stayed_when_more_came_is_held_no_longer() {
        let texts = [" Das", " ist", " ein", " Wort", "."];
        let show = |agreed| {
            let draft = Proposal::of_texts(&texts, true, DE);
            let knobs = Knobs { hold_last: 3, ..Knobs::for_tests() };
            let verdict = gate(&draft, &[at(0, 0.0); 5], agreed, &frontier(4), &knobs);
            texts.concat()[..verdict.show_len].to_owned()
        };
        assert_eq!(show(0), " Das");
        assert_eq!(show(" Das ist".len()), " Das ist");
        assert_eq!(show(" Das ist ei".len()), " Das ist");
        assert_eq!(show(" Das ist ein Wort".len()), " Das ist ein", "the last word may go on");
    }

    #[test]
    fn no_margin_reaches_into_half_a_word() {
        let knobs = Knobs { margin: 3, ..Knobs::for_tests() };
        let half = Frontier { half_word: Some(4), ..frontier(4) };
        assert_eq!(first_held(&[at(3, 0.5), at(4, 0.5)], &half, &knobs), Some((1, Hold::Frontier)));
        assert_eq!(first_held(&[at(3, 0.5), at(4, 0.5)], &frontier(4), &knobs), None);
    }

    #[test]
    fn a_look_at_half_a_word_is_held_wherever_smoothing_puts_it() {
        let smoothed = |inaccessible| Reading { peak: Some(4), ..at(2, inaccessible) };
        let half = Frontier { half_word: Some(4), ..frontier(4) };
        let knobs = Knobs { soft_mass: 0.03, ..Knobs::for_tests() };
        assert_eq!(first_held(&[smoothed(0.5)], &half, &knobs), Some((0, Hold::Frontier)));
        assert_eq!(first_held(&[smoothed(0.01)], &half, &knobs), None, "next to nothing of it is there");
        assert_eq!(first_held(&[smoothed(0.5)], &frontier(4), &knobs), None);
    }

    #[test]
    fn every_token_says_why_it_is_held() {
        let readings = [at(0, 0.0), at(1, 0.0), at(7, 0.5), at(1, 0.0)];
        let verdict = judged(&[" wir", " prü", "fen", " den", " Pfad"], &readings, &Knobs::for_tests(), false, DE);
        let held: Vec<_> = verdict.tokens.iter().map(|token| token.why).collect();
        let after = Some(Hold::AfterHeld);
        let expected = [None, Some(Hold::OpenUnit), Some(Hold::Frontier), after, after];
        assert_eq!(held, expected);
        assert_eq!((verdict.passed(), verdict.shown(), verdict.show_len, verdict.rests_on), (2, 1, 4, 1));
        assert_eq!((verdict.tokens[2].word, verdict.tokens[4].word), (Some(7), None));
        assert_eq!(verdict.tokens[4].mass, [0.0; 4]);
    }

    #[test]
    fn a_last_token_without_a_row_still_closes_the_word_before_it() {
        let readings = [at(0, 0.0); 2];
        let shown_at_once = Knobs { hold_last: 0, ..Knobs::for_tests() };
        assert_eq!(judged(&[" gut", "es", " Wet"], &readings, &shown_at_once, false, DE).shown(), 2);
        assert_eq!(judged(&[" gut", "es", " Wet"], &readings, &Knobs::published(), false, DE).shown(), 0);
        assert_eq!(judged(&[" gut"], &[], &Knobs::for_tests(), true, DE).stop(), Some(Hold::NoRow));
    }

    #[test]
    fn what_is_not_a_number_is_not_shown() {
        let mut reading = at(0, 0.0);
        reading.mass[2] = f32::INFINITY;
        let verdict = judged(&[" gut"], &[reading], &Knobs::for_tests(), true, DE);
        assert_eq!((verdict.show_len, verdict.stop()), (0, Some(Hold::NotFinite)));
        // Each of the four masses alone, on either side of the frontier, in a stall and outside
        // one.
        for (part, position, stalled) in (0..4).flat_map(|part| [(part, 1, false), (part, 7, false), (part, 7, true)]) {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut reading = at(position, 0.0);
                reading.mass[part] = value;
                let frontier = Frontier { stalled, ..frontier(4) };
                let held = first_held(&[reading], &frontier, &Knobs::for_tests());
                assert_eq!(held, Some((0, Hold::NotFinite)), "{value} in mass {part} at {position}");
            }
        }
    }

    #[test]
    fn a_stall_ends_with_what_rests_mostly_on_words_heard() {
        let stalled = Frontier { stalled: true, ..frontier(4) };
        assert_eq!(
            first_held(&[at(6, 0.029), at(6, 0.03)], &frontier(4), &Knobs::for_tests()),
            Some((1, Hold::Frontier))
        );
        let readings = [at(6, 0.3), at(6, 0.5)];
        assert_eq!(first_held(&readings, &frontier(4), &Knobs::for_tests()), Some((0, Hold::Frontier)));
        assert_eq!(first_held(&readings, &stalled, &Knobs::for_tests()), Some((1, Hold::Frontier)));
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
        knobs: &Knobs,
        finished: bool,
        target: Language,
    ) -> Verdict {
        let mut tracker = Tracker::new(knobs.filter_width);
        let readings = tracker.follow(attention, frontier.columns);
        let draft = Proposal::of_texts(texts, finished, target);
        gate(&draft, readings, draft.candidate.len() / 2, frontier, knobs)
    }

    fn knob_sets() -> impl Strategy<Value = Knobs> {
        let presets = prop_oneof![Just(Knobs::low()), Just(Knobs::high()), Just(Knobs::published())];
        (presets, 0_usize..4).prop_map(|(preset, hold_last)| Knobs { hold_last, ..preset })
    }

    proptest! {
        #[test]
        fn shown_tokens_are_a_prefix_of_whole_units(
            draft in draft(), at in 0_usize..9, knobs in knob_sets(), finished: bool, chinese: bool, stalled: bool,
        ) {
            let target = if chinese { Language::CHINESE } else { DE };
            let frontier = Frontier { stalled, ..frontier(at) };
            let verdict = shown(&draft, &frontier, &knobs, finished, target);
            let text = draft.1.concat();
            prop_assert_eq!(verdict.tokens.len(), draft.1.len());
            prop_assert!(verdict.shown() <= verdict.passed() && verdict.passed() <= draft.1.len());
            prop_assert!(verdict.tokens.iter().enumerate().all(|(at, t)| t.shown == (at < verdict.shown()) && t.shown == t.why.is_none()));
            let (left, right) = text.split_at(verdict.show_len);
            prop_assert!(
                left.is_empty() || unit_ends_at(&text, left.len(), target) || is_closed(left, target)
                    || (strip_final_marks(right).is_empty() && (finished || !right.is_empty())),
                "{:?} | {:?}", left, right
            );
            let finite = |token: &Token| token.mass.iter().all(|mass| mass.is_finite());
            prop_assert!(verdict.shown() <= draft.0.rows_len());
            prop_assert!(verdict.tokens[..verdict.shown()].iter().all(finite));
        }

        #[test]
        fn more_frontier_never_shows_less(
            draft in draft(), (a, b) in (0_usize..9, 0_usize..9), knobs in knob_sets(), finished: bool, chinese: bool,
        ) {
            let target = if chinese { Language::CHINESE } else { DE };
            let less = shown(&draft, &frontier(a.min(b)), &knobs, finished, target);
            let more = shown(&draft, &frontier(a.max(b)), &knobs, finished, target);
            prop_assert!(less.show_len <= more.show_len && less.passed() <= more.passed());
            let stalled = Frontier { stalled: true, ..frontier(a) };
            let stalled = shown(&draft, &stalled, &knobs, finished, target);
            prop_assert!(shown(&draft, &frontier(a), &knobs, finished, target).show_len <= stalled.show_len);
        }

        #[test]
        fn a_final_source_shows_all(draft in draft(), knobs in knob_sets(), finished: bool) {
            let whole = Frontier { is_final: true, ..frontier(3) };
            let verdict = shown(&draft, &whole, &knobs, finished, DE);
            prop_assert_eq!(verdict.show_len, draft.1.concat().len());
            prop_assert_eq!((verdict.shown(), verdict.stop()), (draft.1.len(), None));
        }
    }
}
