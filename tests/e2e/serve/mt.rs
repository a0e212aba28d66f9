//! The MT protocol, as AlignAtt4LLM's clients speak it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use super::server::{Client, PATIENCE, Server};
use crate::run;

const TALK: [&str; 3] =
    ["The birds come back in spring.", "They sing in the garden every morning.", "The children like to hear them."];

/// A client that has said `init`, and the answer.
fn init(server: &Server, path: &str, more: Value) -> (Client, Value) {
    let mut client = server.websocket(path, &[]).unwrap();
    let mut message = json!({"type": "init", "protocol_version": 1, "source_lang": "en", "target_lang": "de"});
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.say(message);
    let answer = client.next().unwrap();
    (client, answer)
}

fn opened(server: &Server, more: Value) -> Client {
    let (client, answer) = init(server, "/mt", more);
    assert_eq!(answer["type"], "init_ok", "{answer}");
    client
}

/// The first `committed` words of `text`, a word every 400 ms, and the `tail` words behind them.
fn update(seq: i64, id: i64, text: &str, committed: usize, tail: usize) -> Value {
    let words: Vec<&str> = text.split(' ').collect();
    let row = |(at, word): (usize, &&str)| json!([word, at * 400, at * 400 + 300]);
    let open = words.iter().skip(committed).take(tail).map(|word| json!([word, null, null]));
    json!({
        "type": "update", "seq": seq, "utterance_id": id, "clock_ms": committed * 400 - 100, "is_final": false,
        "words": words.iter().enumerate().take(committed).map(row).collect::<Vec<_>>(),
        "tail": {"words": open.collect::<Vec<_>>()},
    })
}

fn last(seq: i64, id: i64, text: &str) -> Value {
    let mut update = update(seq, id, text, text.split(' ').count(), 0);
    update["is_final"] = true.into();
    update
}

fn text<'a>(answer: &'a Value, key: &str) -> &'a str {
    answer[key].as_str().unwrap_or_else(|| panic!("no {key} in {answer}"))
}

/// A talk word by word, as a recogniser commits it.
#[test]
fn translations_grow_with_their_utterance() {
    let server = Server::start(&[]);
    let (mut client, hello) = init(&server, "/mt", json!({}));
    let expected = json!({
        "type": "init_ok", "protocol_version": 1, "direction": "en-de", "preset": "alignatt",
        "model": "the demo pack's mt",
    });
    assert_eq!(hello, expected);
    let (mut seq, mut before_the_end) = (0, 0);
    for (id, sentence) in (5..).zip(TALK) {
        let len = sentence.split(' ').count();
        let mut shown = String::new();
        for committed in 1..=len {
            seq += 1;
            client.say(update(seq, id, sentence, committed, 2));
            let answer = client.next().unwrap();
            assert_eq!((answer["seq"].as_i64(), answer["utterance_id"].as_i64()), (Some(seq), Some(id)), "{answer}");
            assert_eq!(answer["final"], false);
            shown.push_str(text(&answer, "committed_delta"));
            assert_eq!(shown, text(&answer, "committed_text"));
            assert!(answer["stop_reason"].is_null() || answer["stop_reason"].is_string());
            let covered = answer["covered_source_units"].as_u64().unwrap_or(0);
            assert!(covered as usize <= committed, "text that rests on the tail: {answer}");
        }
        before_the_end += usize::from(!shown.is_empty());
        seq += 1;
        client.say(last(seq, id, sentence));
        let end = client.next().unwrap();
        assert_eq!(
            (&end["final"], &end["forced_final"], &end["committed_delta"]),
            (&json!(true), &json!(false), &json!(""))
        );
        assert!(text(&end, "committed_text").starts_with(&shown), "{shown:?} became {end}");
        assert!(!text(&end, "committed_text").is_empty());
    }
    assert!(before_the_end > 0, "nothing was shown before an end");
    // A client that goes away frees its place.
    drop(client);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = server.get("/metrics").1;
        if metrics.contains("alignatt_sessions{state=\"running\"} 0\n") && metrics.contains("alignatt_slots_used 0\n") {
            break;
        }
        assert!(Instant::now() < deadline, "{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whole utterances have the translation of the command line.
#[test]
fn whole_utterances_are_translated_as_a_text() {
    let server = Server::start(&[]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), TALK.map(|line| format!("{line}\n")).concat()).unwrap();
    let path = file.path().to_str().unwrap();
    let arguments = ["translate", "--to", "de", "--device", "cpu", "--policy", "offline", "--text", path];
    let output = String::from_utf8(run(&arguments).stdout).unwrap();
    let expected: Vec<&str> = output.lines().collect();
    assert_eq!(expected.len(), TALK.len());
    let mut client = opened(&server, json!({}));
    let mut ours = Vec::new();
    for (id, sentence) in (0..).zip(TALK) {
        client.say(last(id, id, sentence));
        ours.push(text(&client.next().unwrap(), "committed_text").to_owned());
    }
    assert_eq!(ours, expected);
}

/// A client that sends faster than the server translates gets an answer to its finals and to its
/// newest partial, and none that speaks of an utterance that is over.
#[test]
fn partials_give_way() {
    let server = Server::start(&[]);
    let mut client = opened(&server, json!({}));
    let mut seq = 0;
    for (id, sentence) in (0..).zip(TALK) {
        for committed in 1..=sentence.split(' ').count() {
            seq += 1;
            client.say(update(seq, id, sentence, committed, 2));
        }
        seq += 1;
        client.say(if id < 2 { last(seq, id, sentence) } else { update(seq, id, sentence, 3, 0) });
    }
    let mut over = -1;
    let mut answers = 0;
    loop {
        let answer = client.next().unwrap();
        answers += 1;
        let id = answer["utterance_id"].as_i64().unwrap();
        assert!(id > over, "utterance {over} is over: {answer}");
        if answer["final"] == true {
            assert_eq!(id, over + 1, "finals come in order");
            over = id;
        }
        if answer["seq"] == seq {
            break;
        }
    }
    assert_eq!(over, 1, "both finals were answered");
    assert!(answers < seq, "{answers} answers to {seq} updates");
}

/// A client that was cut off brings along what it knows.
#[test]
fn a_client_that_comes_back_goes_on() {
    let mut server = Server::start(&[]);
    let mut client = opened(&server, json!({}));
    client.say(last(1, 0, TALK[0]));
    let first = client.next().unwrap();
    let mut shown = String::new();
    let mut committed = 1;
    while shown.is_empty() && committed < 7 {
        committed += 1;
        client.say(update(2, 1, TALK[1], committed, 2));
        shown = text(&client.next().unwrap(), "committed_text").to_owned();
    }
    assert!(!shown.is_empty());
    server.kill();
    assert!(client.next().is_err());
    let server = Server::start(&[]);
    let mut client = opened(
        &server,
        json!({
            "history": [[TALK[0], first["committed_text"]]],
            "accepted_target_prefix": shown,
            "overrides": {"max_history_utterances": 2, "translation_alignatt_hold_back_target_units": 1},
            "context_text": "Birds",
        }),
    );
    client.say(update(1, 1, TALK[1], committed, 2));
    let again = client.next().unwrap();
    assert_eq!(format!("{shown}{}", text(&again, "committed_delta")), text(&again, "committed_text"));
    client.say(last(2, 1, TALK[1]));
    let end = client.next().unwrap();
    assert!(text(&end, "committed_text").starts_with(text(&again, "committed_text")), "{end}");
}

#[test]
fn what_is_wrong_is_said_and_the_connection_stays() {
    let server = Server::start(&[]);
    let mut client = server.websocket("/mt", &[]).unwrap();
    let says = |client: &mut Client, message: &str, part: &str| {
        client.socket.send(Message::text(message)).unwrap();
        let error = client.next().unwrap();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("bad_protocol")), "{message}");
        assert!(text(&error, "message").contains(part), "{message}: {error}");
    };
    says(&mut client, "{", "not JSON");
    says(&mut client, r#"{"type":"flush"}"#, "init or update");
    says(&mut client, &update(1, 0, TALK[0], 2, 0).to_string(), "before init");
    client.send(&[1, 2, 3]);
    client.say(json!({"type": "init", "protocol_version": 1, "target_lang": "DE", "preset": "gemma_low_latency"}));
    let hello = client.next().unwrap();
    assert_eq!((&hello["direction"], &hello["preset"]), (&json!("en-de"), &json!("gemma_low_latency")));
    says(&mut client, r#"{"type":"init","protocol_version":1}"#, "has been initialized");
    says(&mut client, r#"{"type":"update","words":"all"}"#, "cannot be read");
    client.send(&[0; 4_000]);
    client.say(last(7, 0, TALK[0]));
    assert_eq!(client.next().unwrap()["seq"], 7);
    client.socket.send(Message::text(" ".repeat(70_000))).unwrap();
    let ended = client.rest();
    assert_eq!((ended.code, &ended.messages[0]["code"]), (1009, &json!("bad_protocol")));
}

#[test]
fn what_cannot_be_served_is_refused() {
    let server = Server::start(&["--sessions", "1"]);
    for (more, code) in [
        (json!({"protocol_version": 2}), "bad_protocol"),
        (json!({"preset": "quick"}), "bad_protocol"),
        (json!({"overrides": {"partial_max_new_tokens": 0}}), "bad_protocol"),
        (json!({"context_text": "x".repeat(5_000)}), "bad_protocol"),
        (json!({"target_lang": "cs"}), "unsupported_direction"),
        (json!({"target_lang": "en"}), "unsupported_direction"),
        (json!({"target_lang": null}), "unsupported_direction"),
        (json!({"source_lang": "xx"}), "unsupported_direction"),
    ] {
        let deadline = Instant::now() + PATIENCE;
        let (mut client, error) = loop {
            match init(&server, "/mt", more.clone()) {
                // The place of the one before is freed in a moment.
                (_, busy) if busy["code"] == "busy" => assert!(Instant::now() < deadline, "{busy}"),
                refused => break refused,
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{more}");
        if code == "unsupported_direction" {
            let supported = error["supported"].as_array().unwrap();
            assert!(supported.contains(&json!("en-de")) && !supported.contains(&json!("en-en")), "{error}");
        }
        assert_eq!(client.rest().code, 4400, "{more}");
    }
    let deadline = Instant::now() + PATIENCE;
    let first = loop {
        match init(&server, "/mt", json!({})) {
            (client, answer) if answer["type"] == "init_ok" => break client,
            (_, error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    // Without a word of the client.
    let refused = server.websocket("/mt", &[]).unwrap().rest();
    let error = &refused.messages[0];
    assert_eq!((refused.code, &error["code"]), (1013, &json!("busy")));
    assert!(text(error, "message").contains("at capacity (1 sessions)"), "{error}");
    drop(first);
}

/// A client that never ends its utterances is helped.
#[test]
fn long_utterances_are_ended() {
    let server = Server::start(&["--max-utterance-words", "4"]);
    let mut client = opened(&server, json!({}));
    client.say(update(1, 0, TALK[0], 4, 1));
    assert_eq!(client.next().unwrap()["final"], false);
    client.say(update(2, 0, TALK[0], 5, 1));
    let forced = client.next().unwrap();
    assert_eq!((&forced["final"], &forced["forced_final"]), (&json!(true), &json!(true)));
    client.say(update(3, 1, TALK[1], 2, 1));
    assert_eq!((client.next().unwrap()["final"].as_bool(), 1), (Some(false), 1));
}

/// A port of its own serves the protocol at any path, with the same checks.
#[cfg(unix)]
#[test]
fn the_protocol_has_a_port_of_its_own() {
    let mut server = Server::start(&["--mt-port", "0"]);
    let said = server.said.lock().unwrap().clone();
    let (_, address) = said.split_once("the MT protocol is at ws://127.0.0.1:").unwrap();
    let port = server.port;
    server.port = address.split('/').next().unwrap().parse().unwrap();
    for path in ["/", "/any/path", "/asr"] {
        let (_, answer) = init(&server, path, json!({}));
        assert_eq!(answer["type"], "init_ok", "{path}");
    }
    assert_eq!(server.websocket("/", &[("origin", "http://evil.example")]).err(), Some(403));
    assert_ne!(server.get("/readyz").0, 200);
    let (mut client, _) = init(&server, "/", json!({}));
    server.port = port;
    assert_eq!(server.get("/readyz").0, 200);
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(client.rest().code, 1012);
}
