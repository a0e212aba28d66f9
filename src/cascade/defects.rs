//! One test for each published defect that shows only when the policy runs in a stream
//! (docs/method.md, section 10), and tests of the rules that hold words back. Defects of the policy
//! alone are tested in `policy/defects.rs`.
//!
//! The fake translator attends to the word that it translates, so the tests know to the millisecond
//! when a word may be shown.

use std::cell::RefCell;
use std::rc::Rc;

use super::engines::Engines;
use super::event::{Event, EventKind, Listen, SegmentId, Target};
use super::fakes::*;
use super::rules::Rules;
use super::settings::Settings;
use super::stream::{Activity, Cascade};
use crate::policy::{Hold, PolicyKind};
use crate::text::units::source_words;
use crate::text::{Language, Millis};

/// One column is one position: nothing is smoothed, and nothing passes beyond the frontier.
const EXACT: &str = "alignatt:margin=0,soft-mass=0,filter=1,stall=off";

/// Where a test names no other values, it uses a holdback of 250 ms, one unit held at the end of a
/// draft and a margin of one column, whatever the presets are.
fn with(policy: &str, chunk: u64) -> Settings {
    let policy = match policy.split_once(':') {
        Some(("alignatt", knobs)) if !knobs.starts_with("high") => {
            format!("alignatt:margin=1,holdback=250,hold-last=1,{knobs}")
        }
        _ => policy.to_owned(),
    };
    let policy: PolicyKind = policy.parse().unwrap_or_else(|error| panic!("{error}"));
    Settings { policy, ..Settings::new(Language::ENGLISH, Some(Language::GERMAN)) }.chunked(Millis(chunk))
}

fn targets(events: &[Event]) -> impl Iterator<Item = (Millis, &Target)> {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Target(target) => Some((event.audio_ms, target)),
        _ => None,
    })
}

fn listens(events: &[Event]) -> impl Iterator<Item = (Millis, &Listen)> {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Listen(listen) => Some((event.audio_ms, listen)),
        _ => None,
    })
}

/// Growth of segments while they were open: when, and how many words were shown then.
fn growth(events: &[Event]) -> Vec<(Millis, usize)> {
    let grew = targets(events).filter(|(_, target)| !target.closed && !target.delta.is_empty());
    grew.map(|(at, target)| (at, source_words(target.committed.as_str()).len())).collect()
}

/// A run whose recogniser returns `hypotheses`, one per step of 850 ms. The aligner and the
/// translator work as usual.
fn misheard(talk: &Talk, hypotheses: &[&str], settings: Settings) -> Vec<Event> {
    let log = SharedLog::default();
    let hypotheses = hypotheses.iter().map(|text| (*text).to_owned()).collect();
    let engines = Engines {
        recognizer: Scripted(Rc::new(RefCell::new(Script { hypotheses, ..Script::default() }))),
        aligner: TalkAligner(talk.clone(), log.clone()),
        translator: Some(translator_for(Language::GERMAN, &settings, &log)),
    };
    let steps = hypotheses_len(&engines.recognizer);
    let Ok(mut cascade) = Cascade::new(settings, engines, ticking()) else { panic!("settings are right") };
    let mut events = Vec::new();
    let mut emit = |event: Event| events.push(event);
    cascade.start(start_of(&settings), &mut emit);
    for step in 0..steps as u64 {
        cascade.push(&sound(Millis(step * 850), Millis(step * 850 + 850)), Activity::Speech);
        assert!(matches!(pollster::block_on(cascade.step(&mut emit)), Ok(true)));
    }
    assert!(pollster::block_on(cascade.finish(&mut emit)).is_ok());
    cascade.end(&mut emit);
    assert_eq!(Rules::check(&events), Ok(()));
    events
}

fn hypotheses_len(recognizer: &Scripted) -> usize {
    recognizer.0.borrow().hypotheses.len()
}

fn pairs(closed: &[(String, String)]) -> Vec<(&str, &str)> {
    closed.iter().map(|(source, target)| (source.as_str(), target.as_str())).collect()
}

/// (docs/method.md, section 10, BUG-6) The source does not change while the speaker takes a breath.
/// Held text is shown once its words are accessible, after the text shown before, and no model is
/// called.
#[test]
fn a_kept_draft_is_shown_when_only_the_frontier_moves() {
    let talk = Talk::spoken("The cat sat on the mat", 1_000, 120);
    for policy in ["alignatt:margin=0,filter=1", "alignatt:margin=0,filter=1,hold-last=0"] {
        let log = SharedLog::default();
        let mut cascade = cascade_for(&talk, with(policy, 200), &log);
        let mut events = Vec::new();
        let mut drafted_at = Vec::new();
        cascade.start(start_of(cascade.settings()), &mut |event| events.push(event));
        for at in (0..2_600).step_by(200) {
            let activity = if (1_000..1_680).contains(&at) { Activity::Speech } else { Activity::Silence };
            cascade.push(&sound(Millis(at), Millis(at + 200)), activity);
            let before = log.borrow().drafts.len();
            assert!(pollster::block_on(cascade.step(&mut |event| events.push(event))).is_ok());
            drafted_at.extend((log.borrow().drafts.len() > before).then_some(Millis(at + 200)));
        }
        let kept = listens(&events).find(|(_, listen)| !listen.drafted).map(|(at, _)| at);
        assert_eq!(kept, Some(Millis(2_000)), "{policy}: the last word ends at 1680 ms");
        assert!(kept.is_some_and(|at| !drafted_at.contains(&at)), "{policy}: no model was asked: {drafted_at:?}");
        assert_eq!(listens(&events).filter(|(_, listen)| listen.drafted).count(), drafted_at.len());
        let (before, after): (Vec<_>, Vec<_>) = targets(&events).partition(|(at, _)| Some(*at) < kept);
        assert_eq!(before.last().map(|(_, target)| target.committed.as_str()), Some("THE CAT SAT ON"), "{policy}");
        let behind = if policy.ends_with("hold-last=0") { " THE MAT" } else { " THE" };
        assert_eq!(after.first().map(|(at, target)| (*at, target.delta.as_str())), Some((Millis(2_000), behind)));
        assert_eq!(log.borrow().drafts.last().map(|draft| draft.1.as_str()), Some("THE CAT SAT"), "it had a beginning");
    }
}

/// Prefill leak: text was shown whose source turns out to belong to the second sentence.
#[test]
fn a_segment_does_not_close_before_the_words_that_its_text_rests_on() {
    let talk = Talk::spoken("It works. That holds. Then it ends.", 0, 300);
    let hypotheses = [
        "It worked",
        "It works that holds",
        "It works. That holds. Then it",
        "It works. That holds. Then it",
        "Then it ends.",
    ];
    // A token that passes only for its soft mass ties the text to its word, too.
    for policy in [EXACT, "alignatt:margin=0,filter=1,soft-mass=0.9"] {
        let events = misheard(&talk, &hypotheses, with(policy, 850));
        assert_eq!(growth(&events).get(1).map(|grown| grown.1), Some(3), "{policy}: {:?}", growth(&events));
        let closed = closed(&events);
        assert_eq!(
            pairs(&closed),
            [("It works. That holds.", "IT WORKS THAT HOLDS."), ("Then it ends.", "THEN IT ENDS.")],
            "{policy}: no word is swallowed and none comes twice"
        );
    }
}

/// Session-wide append guard: the text shown of a segment is not the beginning of its final
/// translation. The next segment is still translated while it is spoken.
#[test]
fn a_final_translation_that_diverges_does_not_mute_the_next_segment() {
    let talk = Talk::spoken("I scream for it. We all scream for some.", 0, 300);
    let hypotheses =
        ["Ice cream for", "I scream for it.", "I scream for it. We all", "We all scream", "We all scream for some."];
    let events = misheard(&talk, &hypotheses, with(EXACT, 850));
    let closed = closed(&events);
    assert_eq!(
        pairs(&closed),
        [("I scream for it.", "ICE CREAM FOR IT."), ("We all scream for some.", "WE ALL SCREAM FOR SOME.")]
    );
    let next = targets(&events).find(|(_, target)| target.segment == SegmentId(1) && !target.delta.is_empty());
    assert!(next.is_some_and(|(_, target)| !target.closed && target.committed.as_str().starts_with("WE")), "{next:?}");
}

/// Stale partial after final: a held draft ends with its segment, even where the next segment has
/// the same words.
#[test]
fn nothing_comes_of_a_segment_after_its_last_caption() {
    let talk = Talk::spoken("We sing now", 500, 250).then(Talk::spoken("We sing now", 5_000, 250));
    for policy in ["alignatt", "alignatt:high", EXACT, "local-agreement", "hold-n:1"] {
        let (events, log) = run(&talk, with(policy, 250), 9_000, 250);
        let mut done = None;
        for event in &events {
            let of = match &event.kind {
                EventKind::Target(target) => target.segment,
                EventKind::Listen(listen) => listen.segment,
                _ => continue,
            };
            assert!(done.is_none_or(|done| of > done), "{policy}: {event:?} after segment {done:?} was closed");
            if matches!(&event.kind, EventKind::Target(target) if target.closed) {
                done = Some(of);
            }
        }
        assert_eq!(pairs(&closed(&events)), [("We sing now", "WE SING NOW"); 2], "{policy}");
        let anew = log.borrow().drafts.iter().filter(|draft| draft.0.starts_with("We") && draft.1.is_empty()).count();
        assert!(anew >= 2, "{policy}: the second segment is drafted from its own beginning");
        let shown_early = targets(&events).filter(|(_, target)| !target.closed && !target.delta.is_empty());
        let segments: Vec<SegmentId> = shown_early.map(|(_, target)| target.segment).collect();
        assert!(segments.contains(&SegmentId(0)) && segments.contains(&SegmentId(1)), "{policy}: {segments:?}");
    }
    // The whole text of a segment comes at once, like that of the segment before.
    let talk = Talk::spoken("We sing", 900, 200).then(Talk::spoken("We sing", 5_150, 200));
    for policy in ["alignatt", EXACT, "local-agreement", "hold-n:1"] {
        let (events, log) = run(&talk, with(policy, 850), 9_000, 850);
        assert_eq!(pairs(&closed(&events)), [("We sing", "WE SING"); 2], "{policy}");
        let afresh = log.borrow().drafts.iter().filter(|draft| draft.1.is_empty() && !draft.2).count();
        assert_eq!(afresh, 2, "{policy}: {:?}", log.borrow().drafts);
    }
}

/// (docs/method.md, section 10, BUG-1) After the first sentence, every word counted as accessible.
/// Here, the same words are held and shown at the same times of their sentence, wherever in the
/// stream it is spoken.
#[test]
fn the_frontier_is_the_same_in_every_segment() {
    let text = "The cat, you know, sat on the mat, and the dog slept.";
    let starts = [1_000, 61_000, 121_000];
    let talk = starts.into_iter().fold(Talk::default(), |talk, start| talk.then(Talk::spoken(text, start, 300)));
    for policy in ["alignatt:filter=1", "alignatt:high,filter=1", "alignatt:filter=1,holdback=2000,stall=1200", EXACT] {
        let (events, _) = run(&talk, with(policy, 500), 130_000, 500);
        assert_eq!(pairs(&closed(&events)).len(), 3);
        let pattern = |segment: usize| {
            let of = SegmentId(segment as u32);
            let drafts = listens(&events).filter(|(_, listen)| listen.segment == of);
            let drafts: Vec<_> = drafts
                .map(|(at, listen)| {
                    let tokens: Vec<_> = listen.tokens.iter().map(|t| (t.text.clone(), t.why, t.word)).collect();
                    (at - Millis(starts[segment]), listen.source.clone(), listen.heard, listen.drafted, tokens)
                })
                .collect();
            let shown = targets(&events).filter(|(_, target)| target.segment == of);
            let shown: Vec<_> = shown.map(|(at, t)| (at - Millis(starts[segment]), t.delta.clone())).collect();
            (drafts, shown)
        };
        let first = pattern(0);
        let held = first.0.iter().flat_map(|draft| &draft.4).filter(|token| token.1 == Some(Hold::Frontier));
        assert!(held.count() > 4, "{policy}: words were held");
        assert_eq!(pattern(1), first, "{policy}");
        assert_eq!(pattern(2), first, "{policy}");
    }
}

const LONG: &str = "Well, the old cat, you know, sat on the red mat, and the dog of our neighbours slept for a while";

/// No word is shown before the holdback after its end has passed, whatever marks stand between the
/// words. Soon after that it is shown.
#[test]
fn words_of_the_last_moment_are_held_back() {
    let talk = Talk::spoken(LONG, 700, 230);
    for holdback in [0, 250, 900] {
        for hold_last in ["1", "0"] {
            if (holdback, hold_last) == (0, "0") {
                continue; // half a word at the end of the sound would be shown
            }
            let settings = with(&format!("{EXACT},holdback={holdback},hold-last={hold_last}"), 300);
            let (events, _) = run(&talk, settings, 8_000, 300);
            let grown = growth(&events);
            let early = grown.iter().map(|&(at, words)| at.0 as i64 - (talk.words[words - 1].2.0 + holdback) as i64);
            let least = early.min();
            assert!(least.is_some_and(|least| (0..300).contains(&least)), "holdback {holdback}: {least:?}, {grown:?}");
            // The delay is at most one chunk and the word that is always held.
            let latest = grown.windows(2).map(|pair| {
                let (at, words) = (pair[1].0, pair[0].1);
                at.0 as i64 - (talk.words[words].2.0 + holdback) as i64
            });
            assert!(latest.max().is_some_and(|latest| latest < 300 + 230), "holdback {holdback}: {grown:?}");
        }
    }
}

#[test]
fn soft_mass_and_margin_reach_over_the_frontier() {
    let talk = Talk::spoken(LONG, 700, 230);
    let ahead_of_time = |knobs: &str| {
        let (events, _) = run(&talk, with(&format!("{EXACT},holdback=900,{knobs}"), 300), 8_000, 300);
        growth(&events).iter().any(|&(at, words)| at < talk.words[words - 1].2 + Millis(900))
    };
    assert!(!ahead_of_time("soft-mass=0.5"), "what listens to an unheard word has 0.8 there");
    assert!(ahead_of_time("soft-mass=0.9"));
    assert!(ahead_of_time("margin=1"));
}

/// No word is accessible for ten seconds. Without a stall limit nothing is shown before the end.
/// With a limit, the agreed words are shown each time that it has passed, and not earlier.
#[test]
fn a_wait_at_the_frontier_ends_at_its_limit() {
    let talk = Talk::spoken(&LONG.replace(',', ""), 700, 350);
    let grown = |stall: &str| {
        let (events, _) = run(&talk, with(&format!("{EXACT},holdback=10000,stall={stall}"), 300), 8_700, 300);
        let first_held = listens(&events).next().map_or(Millis::ZERO, |(at, _)| at);
        let grown: Vec<Millis> = growth(&events).into_iter().map(|(at, _)| at).collect();
        (first_held, grown)
    };
    assert_eq!(grown("off").1, []);
    for stall in [1_000, 2_000, 3_500] {
        let (first_held, grown) = grown(&stall.to_string());
        let moments: Vec<Millis> = [first_held].into_iter().chain(grown).collect();
        assert!(moments.len() > 2, "shown more than once: {moments:?}");
        for pair in moments.windows(2) {
            let wait = (pair[1] - pair[0]).0;
            assert!((stall..=stall + 900).contains(&wait), "limit {stall}: {moments:?}");
        }
    }
}
