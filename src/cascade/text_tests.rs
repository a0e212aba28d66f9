//! Tests of a stream whose source is text.

use proptest::prelude::*;

use super::checkpoint::Checkpoint;
use super::event::{Event, EventKind};
use super::fakes::{SharedLog, WordTranslator, closed, start_of, ticking, translator_for};
use super::resume_tests::check_parts;
use super::rules::Rules;
use super::settings::Settings;
use super::text_stream::{TextStream, TooManyWords};
use crate::text::units::source_words;
use crate::text::{Language, Millis};

fn settings(policy: &str) -> Settings {
    let policy = policy.parse().expect("a policy");
    Settings::new(Language::ENGLISH, Some(Language::GERMAN)).with_policy(policy)
}

fn stream(settings: Settings, log: &SharedLog) -> TextStream<WordTranslator> {
    let translator = translator_for(Language::GERMAN, &settings, log);
    TextStream::new(settings, translator, ticking()).expect("settings that fit")
}

/// Plays words with times, with a step whenever `step` more words are there. Returns the events,
/// after checking the rules.
fn play(settings: Settings, words: &[(String, u64, u64)], step: usize) -> Vec<Event> {
    let log = SharedLog::default();
    let mut stream = stream(settings, &log);
    let mut events = Vec::new();
    let mut emit = |event: Event| events.push(event);
    stream.start(start_of(&settings), &mut emit);
    pollster::block_on(async {
        for words in words.chunks(step.max(1)) {
            for (text, start, end) in words {
                stream.push(text, Millis(*start), Millis(*end)).expect("room");
            }
            let now = words.last().map_or(0, |word| word.2);
            stream.step(Millis(now), &mut emit).await.expect("a step");
            while stream.ready() {
                stream.step(Millis(now), &mut emit).await.expect("a step");
            }
        }
        stream.finish(&mut emit).await.expect("an end");
    });
    stream.end(&mut emit);
    Rules::check(&events).expect("the rules");
    events
}

/// The same words, one by one. The stream is broken off after every so many steps, with words that
/// were pushed and not taken, and resumed.
fn play_broken(settings: Settings, words: &[(String, u64, u64)], every: usize) -> Vec<Event> {
    let log = SharedLog::default();
    let mut stream = stream(settings, &log);
    let mut parts = vec![Vec::new()];
    stream.start(start_of(&settings), &mut |event| parts[0].push(event));
    let (mut at, mut steps) = (0, 0);
    while let Some((text, start, end)) = words.get(at) {
        stream.push(text, Millis(*start), Millis(*end)).expect("room");
        assert_eq!((stream.taken(), stream.waiting()), (at as u64, 1));
        at += 1;
        let newest = parts.last_mut().expect("a part");
        pollster::block_on(stream.step(Millis(*end), &mut |event| newest.push(event))).expect("a step");
        steps += 1;
        if steps % every == 0 {
            if let Some((text, start, end)) = words.get(at) {
                stream.push(text, Millis(*start), Millis(*end)).expect("room");
            }
            let json = serde_json::to_string(&stream.checkpoint()).expect("JSON");
            let checkpoint: Checkpoint = serde_json::from_str(&json).expect("a checkpoint");
            let translator = translator_for(Language::GERMAN, &settings, &log);
            stream = TextStream::resume(settings, translator, ticking(), &checkpoint).expect("it goes on");
            assert_eq!(stream.checkpoint(), checkpoint);
            assert_eq!((stream.taken(), stream.waiting()), (at as u64, 0));
            parts.push(Vec::new());
        }
    }
    let newest = parts.last_mut().expect("a part");
    pollster::block_on(stream.finish(&mut |event| newest.push(event))).expect("an end");
    stream.end(&mut |event| newest.push(event));
    check_parts(&parts).expect("the rules");
    parts.concat()
}

/// `text` said from 0, a word every 400 ms.
fn paced(text: &str) -> Vec<(String, u64, u64)> {
    let words = source_words(text).into_iter().zip(0..);
    words.map(|(word, at)| (word, at * 400, at * 400 + 400)).collect()
}

fn shown(events: &[Event]) -> Vec<(u64, String)> {
    let targets = events.iter().filter_map(|event| match &event.kind {
        EventKind::Target(target) if !target.delta.is_empty() => Some((event.audio_ms.0, target.delta.clone())),
        _ => None,
    });
    targets.collect()
}

#[test]
fn sentences_are_segments_and_translation_begins_before_their_end() {
    let words = paced("Dr. Smith says that the cat sat on the mat. It slept.");
    let events = play(settings("alignatt"), &words, 2);
    let expected = [
        ("Dr. Smith says that the cat sat on the mat.", "DR. SMITH SAYS THAT THE CAT SAT ON THE MAT."),
        ("It slept.", "IT SLEPT."),
    ];
    assert_eq!(closed(&events), expected.map(|(source, target)| (source.to_owned(), target.to_owned())));
    let first = shown(&events).first().cloned().expect("text");
    assert!(first.0 < 2_000, "{first:?}: five words had been said");
}

/// Text is not misheard: the words of a step can be translated in that step, without a holdback.
#[test]
fn the_last_word_counts_at_once() {
    let events = play(settings("alignatt:hold-last=0"), &paced("we see the cat"), 1);
    let shown = shown(&events);
    assert_eq!(shown[0], (400, "WE".to_owned()));
    assert_eq!(shown[1], (800, " SEE".to_owned()));
}

#[test]
fn a_pause_closes_a_segment_whether_a_word_follows_or_not() {
    let mut words = paced("we see the cat");
    words.extend(paced("the dog").into_iter().map(|(text, start, end)| (text, start + 2_800, end + 2_800)));
    let texts = |events: &[Event]| closed(events).into_iter().map(|(source, _)| source).collect::<Vec<_>>();
    for step in [1, 3, 10] {
        assert_eq!(texts(&play(settings("alignatt"), &words, step)), ["we see the cat", "the dog"], "{step}");
    }
    let log = SharedLog::default();
    let mut stream = stream(settings("alignatt"), &log);
    let mut sources = Vec::new();
    stream.push("we see", Millis(0), Millis(800)).expect("room");
    for now in [800, 1_999, 2_000] {
        let mut events = Vec::new();
        pollster::block_on(stream.step(Millis(now), &mut |event| events.push(event))).expect("a step");
        sources.push(events.iter().any(|event| matches!(&event.kind, EventKind::Source(source) if source.closed)));
    }
    assert_eq!(sources, [false, false, true]);
}

#[test]
fn a_text_without_sentence_ends_is_cut() {
    let long: Vec<String> = (0..200).map(|at| format!("w{at}{}", if at == 65 { "," } else { "" })).collect();
    let events = play(settings("alignatt"), &paced(&long.join(" ")), 3);
    let lengths: Vec<usize> = closed(&events).iter().map(|(source, _)| source_words(source).len()).collect();
    assert_eq!(lengths, [66, 80, 54]);
}

#[test]
fn several_words_share_their_time_by_their_letters() {
    let events = play(settings("offline"), &[("a  bcd".to_owned(), 1_000, 1_400)], 1);
    let words = events.iter().find_map(|event| match &event.kind {
        EventKind::Source(source) => Some(source.committed.clone()),
        _ => None,
    });
    let times: Vec<_> = words.expect("words").iter().map(|word| (word.start_ms.0, word.end_ms.0)).collect();
    assert_eq!(times, [(1_000, 1_100), (1_100, 1_400)]);
}

#[test]
fn what_waits_is_bounded() {
    let log = SharedLog::default();
    let mut stream = stream(settings("alignatt"), &log);
    let text = "word ".repeat(9_000);
    assert_eq!(stream.push(&text, Millis(0), Millis(1)), Ok(()));
    assert_eq!(stream.push(&text, Millis(0), Millis(1)), Err(TooManyWords));
    assert_eq!(stream.push("word", Millis(0), Millis(1)), Ok(()));
    let mut empty = self::stream(settings("alignatt"), &log);
    assert_eq!(empty.push(&"word ".repeat(12_000), Millis(0), Millis(1)), Ok(()), "one text is never too long");
}

/// However much text comes at once, a step takes and translates little of it. What is shown is the
/// same as without steps.
#[test]
fn a_step_is_bounded() {
    let text = "Yes. ".repeat(2_000) + &"we see the cat, ".repeat(100) + "and that is all. It slept";
    let play = |steps: bool| {
        let log = SharedLog::default();
        let mut stream = stream(settings("alignatt"), &log);
        let mut events = Vec::new();
        stream.start(start_of(&settings("alignatt")), &mut |event| events.push(event));
        stream.push(&text, Millis(0), Millis(60_000)).expect("room");
        while steps && stream.ready() {
            let (taken, seen) = (stream.taken(), events.len());
            pollster::block_on(stream.step(Millis(60_000), &mut |event| events.push(event))).expect("a step");
            assert!(stream.taken() - taken <= 80, "{} words in a step", stream.taken() - taken);
            let targets = events[seen..].iter().filter(|event| matches!(&event.kind, EventKind::Target(t) if t.closed));
            assert!(targets.count() <= 4);
            assert!(stream.checkpoint().check().is_ok());
        }
        pollster::block_on(stream.finish(&mut |event| events.push(event))).expect("an end");
        stream.end(&mut |event| events.push(event));
        Rules::check(&events).expect("the rules");
        let drafts: Vec<String> = log.borrow().drafts.iter().filter(|draft| !draft.2).map(|d| d.0.clone()).collect();
        (closed(&events), drafts)
    };
    let (stepped, drafts) = play(true);
    let (whole, none) = play(false);
    assert_eq!(stepped, whole);
    assert!(drafts.iter().all(|source| source == "It slept"), "{drafts:?}");
    assert_eq!(none, Vec::<String>::new());
    let sources: Vec<&str> = stepped.iter().map(|(source, _)| source.as_str()).collect();
    assert_eq!(sources.join(" "), text);
}

/// Where the translator fails, closed segments do not pile up.
#[test]
fn words_wait_for_a_translator_that_fails() {
    let log = SharedLog::default();
    let mut stream = stream(settings("alignatt"), &log);
    stream.push(&"Yes. ".repeat(100), Millis(0), Millis(1_000)).expect("room");
    let mut taken = Vec::new();
    for fails in [Some(0), Some(0), None, None] {
        log.borrow_mut().fails_in = fails;
        let outcome = pollster::block_on(stream.step(Millis(1_000), &mut |_| {}));
        assert_eq!(outcome.is_err(), fails.is_some());
        taken.push(stream.taken());
    }
    assert_eq!(taken, [4, 4, 4, 8]);
}

#[test]
fn a_failure_keeps_the_text() {
    let log = SharedLog::default();
    log.borrow_mut().fails_in = Some(0);
    let mut stream = stream(settings("alignatt"), &log);
    let mut events = Vec::new();
    let mut emit = |event: Event| events.push(event);
    stream.start(start_of(&settings("alignatt")), &mut emit);
    stream.push("We see the cat.", Millis(0), Millis(1_600)).expect("room");
    let error = pollster::block_on(stream.step(Millis(1_600), &mut emit)).expect_err("the device was lost");
    assert_eq!(error.to_string(), "translation failed at 1.6 s");
    pollster::block_on(stream.finish(&mut emit)).expect("the second try");
    stream.end(&mut emit);
    Rules::check(&events).expect("the rules");
    assert_eq!(closed(&events), [("We see the cat.".to_owned(), "WE SEE THE CAT.".to_owned())]);
}

#[test]
fn a_text_that_is_broken_ends_like_one_that_is_not() {
    let text = "Dr. Smith says that the cat sat on the mat, and nobody knows why. It slept. So did we";
    let mut words = paced(text);
    words.extend(paced("in the sun").into_iter().map(|(text, start, end)| (text, start + 12_000, end + 12_000)));
    for policy in ["alignatt", "alignatt:high", "local-agreement", "hold-n", "offline"] {
        let unbroken = play(settings(policy), &words, 1);
        for every in 1..words.len() {
            let broken = play_broken(settings(policy), &words, every);
            assert_eq!(closed(&broken), closed(&unbroken), "{policy}, every {every}");
            let (Some(EventKind::End(end)), said) = (broken.last().map(|event| &event.kind), words.len()) else {
                panic!("no end")
            };
            assert_eq!((end.segments, end.words), (4, said as u64));
        }
    }
}

proptest! {
    /// Any words, times, steps and policies: the rules hold, and every word is in a closed segment
    /// once.
    #[test]
    fn no_word_is_lost(
        words in prop::collection::vec(("[a-zA-Z3]{1,4}[.,?!]{0,3}", 0_u64..4_000, 0_u64..3_000), 0..120),
        step in 1_usize..30,
        policy in prop::sample::select(vec!["alignatt", "alignatt:high", "ref", "local-agreement", "hold-n", "offline"]),
        every in prop::option::of(1_usize..9),
    ) {
        let mut now = 0;
        let timed = words.iter().map(|(text, gap, length)| {
            // Times may go back.
            let start = (now + gap).saturating_sub(1_000);
            now = now.max(start + length);
            (text.clone(), start, start + length)
        });
        let timed: Vec<(String, u64, u64)> = timed.collect();
        let events = match every {
            Some(every) => play_broken(settings(policy), &timed, every),
            None => play(settings(policy), &timed, step),
        };
        let heard: Vec<String> = closed(&events).iter().flat_map(|(source, _)| source_words(source)).collect();
        let said: Vec<String> = words.iter().flat_map(|(text, _, _)| source_words(text)).collect();
        prop_assert_eq!(heard, said);
    }
}
