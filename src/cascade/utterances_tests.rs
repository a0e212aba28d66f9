//! Streams of utterances with fake engines.

use serde_json::{Value, json};

use super::fakes::{SharedLog, WordTranslator, translator_for};
use super::settings::Settings;
use super::utterances::{Earlier, Mailbox, Translation, Update, Utterances};
use crate::policy::PolicyKind;
use crate::policy::kind::Preset;
use crate::policy::knobs::Knobs;
use crate::text::{Language, Millis};

fn settings(knobs: Knobs) -> Settings {
    let policy = PolicyKind::AlignAtt(Preset::Low, knobs);
    Settings::new(Language::ENGLISH, Some(Language::GERMAN)).with_policy(policy)
}

/// Committed words are accessible at once, and nothing is held at the end of a draft.
fn at_once() -> Knobs {
    Knobs { holdback: Millis::ZERO, hold_last: 0, ..Knobs::low() }
}

fn stream_with(knobs: Knobs, earlier: Earlier) -> (Utterances<WordTranslator>, SharedLog) {
    let log = SharedLog::default();
    let settings = Settings { history: 2, ..settings(knobs) };
    let translator = translator_for(Language::GERMAN, &settings, &log);
    match Utterances::new(&settings, translator, 4, earlier) {
        Ok(stream) => (stream, log),
        Err(error) => panic!("{error}"),
    }
}

fn stream() -> (Utterances<WordTranslator>, SharedLog) {
    stream_with(at_once(), Earlier::default())
}

/// An update whose committed words take 400 ms each.
fn update(id: i64, committed: &str, tail: &str) -> Update {
    let row = |(at, word): (usize, &str)| json!([word, at * 500, at * 500 + 400]);
    let words: Vec<Value> = committed.split_whitespace().enumerate().map(row).collect();
    let tail: Vec<Value> = tail.split_whitespace().map(|word| json!([word, null, null])).collect();
    let clock = words.len() as f64 * 500.0;
    let update = json!({"seq": 7, "utterance_id": id, "words": words, "tail": {"words": tail}, "clock_ms": clock});
    serde_json::from_value(update).unwrap_or_default()
}

fn last(id: i64, committed: &str) -> Update {
    Update { is_final: true, ..update(id, committed, "") }
}

fn take(stream: &mut Utterances<WordTranslator>, update: &Update) -> Value {
    let translation: Result<Translation, _> = pollster::block_on(stream.take(update));
    match translation {
        Ok(translation) => serde_json::to_value(translation).unwrap_or_default(),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// What an answer says is committed, new, and still open.
fn texts(answer: &Value) -> [&str; 3] {
    ["committed_text", "committed_delta", "buffer_text"].map(|field| answer[field].as_str().unwrap_or("(none)"))
}

#[test]
fn words_of_the_tail_are_drafted_and_held() {
    let (mut stream, log) = stream();
    let first = take(&mut stream, &update(3, "the birds", "come back"));
    assert_eq!(texts(&first), ["THE BIRDS", "THE BIRDS", "COME BACK"]);
    assert_eq!((&first["utterance_id"], &first["covered_source_units"]), (&json!(3), &json!(2)));
    assert_eq!(first["stop_reason"], "alignatt:source_frontier");
    let asked = log.borrow().drafts.len();
    let second = take(&mut stream, &update(3, "the birds come", "back."));
    assert_eq!(texts(&second), ["THE BIRDS COME", " COME", "BACK"], "a final mark is not part of the source");
    assert_eq!(second["stop_reason"], "alignatt:commit_fast_path");
    assert_eq!(log.borrow().drafts.len(), asked, "no model was asked");
    let third = take(&mut stream, &update(3, "the birds come", "back."));
    assert_eq!(texts(&third), ["THE BIRDS COME", "", "BACK"]);
    assert_eq!(third["stop_reason"], Value::Null, "nothing was judged");
    // Only a tail: nothing of it is accessible.
    let (mut stream, _) = self::stream();
    assert_eq!(texts(&take(&mut stream, &update(0, "", "the birds come")))[0], "");
    assert_eq!(texts(&take(&mut stream, &update(0, "", ""))), ["", "", "THE BIRDS COME"]);
}

/// A policy that holds the newest words back does so here, too.
#[test]
fn words_that_have_just_ended_can_be_held() {
    let (mut stream, _) = stream_with(Knobs { holdback: Millis(600), ..at_once() }, Earlier::default());
    assert_eq!(texts(&take(&mut stream, &update(0, "the birds come", "")))[0], "THE BIRDS");
    let later = Update { clock_ms: Some(9_000.0), ..update(0, "the birds come", "") };
    assert_eq!(texts(&take(&mut stream, &later)), ["THE BIRDS COME", " COME", ""]);
    // The clock never goes back.
    let earlier = Update { clock_ms: Some(-1e300), ..update(0, "the birds come back", "") };
    assert_eq!(texts(&take(&mut stream, &earlier))[0], "THE BIRDS COME BACK");
}

#[test]
fn an_utterance_ends_where_its_caller_says() {
    let (mut stream, log) = stream();
    take(&mut stream, &update(0, "the birds", "come"));
    let end = take(&mut stream, &last(0, "the birds come."));
    assert_eq!(texts(&end), ["THE BIRDS COME.", "", ""]);
    assert_eq!(
        (&end["final"], &end["forced_final"], &end["covered_source_units"]),
        (&json!(true), &json!(false), &Value::Null)
    );
    assert!(end.get("stop_reason").is_none());
    let asked = log.borrow().drafts.last().cloned();
    assert_eq!(
        asked,
        Some(("the birds come.".to_owned(), "THE BIRDS".to_owned(), true)),
        "it goes on from what is shown"
    );
    let next = take(&mut stream, &update(1, "they", ""));
    assert_eq!((texts(&next)[0], &next["utterance_id"]), ("THEY", &json!(1)));
    // An end without words, and one of an utterance that was never open.
    assert_eq!(texts(&take(&mut stream, &last(1, "")))[0], "THEY");
    assert_eq!(texts(&take(&mut stream, &last(9, "it sings.")))[0], "IT SINGS.");
}

#[test]
fn an_utterance_that_grows_too_long_is_ended() {
    let (mut stream, log) = stream();
    assert_eq!(take(&mut stream, &update(0, "one two three four", "five"))["final"], false);
    let forced = take(&mut stream, &update(0, "one two three four five", "six"));
    assert_eq!((&forced["final"], &forced["forced_final"]), (&json!(true), &json!(true)));
    assert_eq!(texts(&forced)[0], "ONE TWO THREE FOUR FIVE");
    assert!(!log.borrow().drafts.iter().any(|(source, ..)| source.contains("six")), "the tail is dropped");
    assert_eq!(texts(&take(&mut stream, &update(1, "six", ""))), ["SIX", "SIX", ""]);
}

#[test]
fn another_utterance_leaves_the_open_one() {
    let (mut stream, _) = stream();
    take(&mut stream, &update(0, "the birds", ""));
    let next = take(&mut stream, &update(1, "they sing", ""));
    assert_eq!(texts(&next), ["THEY SING", "THEY SING", ""]);
    assert_eq!(texts(&take(&mut stream, &last(1, "they sing.")))[0], "THEY SING.");
}

/// A caller that comes back gets only what is new.
#[test]
fn a_stream_goes_on_from_what_was_shown() {
    let history = (0..4).map(|at| (format!("source {at}"), format!("ZIEL {at}"))).collect();
    let earlier = Earlier { history, accepted: " THE BIRDS ".to_owned() };
    let (mut stream, log) = stream_with(at_once(), earlier);
    let first = take(&mut stream, &update(5, "the birds come", ""));
    assert_eq!(texts(&first), ["THE BIRDS COME", " COME", ""]);
    assert_eq!(log.borrow().drafts[0].1, "THE BIRDS");
    // Text that nobody here has shown: it stays as it is, and the end has the whole translation.
    let earlier = Earlier { accepted: "THE  BIRDS".to_owned(), ..Earlier::default() };
    let (mut stream, _) = stream_with(at_once(), earlier);
    assert_eq!(texts(&take(&mut stream, &update(5, "the birds come", ""))), ["THE  BIRDS", "", ""]);
    assert_eq!(texts(&take(&mut stream, &last(5, "the birds come")))[0], "THE BIRDS COME");
}

/// After a failure the same update may come again, and nothing that was shown is lost.
#[test]
fn a_failure_ends_nothing() {
    let (mut stream, log) = stream();
    take(&mut stream, &update(0, "the birds", ""));
    log.borrow_mut().fails_in = Some(0);
    assert!(take(&mut stream, &update(0, "the birds come", "")).get("error").is_some());
    assert_eq!(texts(&take(&mut stream, &update(0, "the birds come", ""))), ["THE BIRDS COME", " COME", ""]);
    for _ in 0..4 {
        log.borrow_mut().fails_in = Some(0);
        assert!(take(&mut stream, &last(0, "the birds come back.")).get("error").is_some());
    }
    assert_eq!(texts(&take(&mut stream, &last(0, "the birds come back.")))[0], "THE BIRDS COME BACK.");
    let asked = log.borrow().drafts.last().cloned().unwrap_or_default();
    assert_eq!(asked.1, "THE BIRDS COME");
}

#[test]
fn a_final_takes_stale_partials_away() {
    let mut mailbox = Mailbox::default();
    let seq = |seq: i64, update: Update| Update { seq: Some(seq), ..update };
    let served = |mailbox: &mut Mailbox| {
        let mut served = Vec::new();
        while let Some(update) = mailbox.take() {
            served.push(update.seq.unwrap_or_default());
        }
        served
    };
    mailbox.put(seq(1, update(0, "the", "")));
    mailbox.put(seq(2, last(0, "the birds")));
    assert_eq!(served(&mut mailbox), [2]);
    mailbox.put(seq(3, update(2, "the", "")));
    mailbox.put(seq(4, last(1, "the birds")));
    mailbox.put(seq(5, last(2, "they")));
    mailbox.put(seq(6, update(3, "it", "")));
    mailbox.put(seq(7, update(3, "it sings", "")));
    assert_eq!(served(&mut mailbox), [4, 5, 7]);
    assert!(mailbox.is_empty() && mailbox.has_room());
    (0..100).for_each(|at| mailbox.put(seq(at, last(at, "the"))));
    assert!(!mailbox.has_room());
}
