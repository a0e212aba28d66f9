//! `alignatt serve` from outside: sessions, viewers, tokens, resuming, shutting down, and what
//! others have tried on servers of this kind.

mod attacks;
mod deepgram;
mod mt;
mod openai_realtime;
mod openai_rest;
mod pages;
mod resume;
mod server;
mod wlk;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Server, closed, pcm};

use crate::{events, sample, shown};

/// What the command line gives for a sample talk.
fn of_command_line(talk: &str) -> (Vec<String>, Vec<String>) {
    let talk = sample(talk);
    shown(&events(&["translate", "--to", "de", "--device", "cpu", "--format", "jsonl", talk.to_str().unwrap()]))
}

/// A client that sends a whole file gets what the command line gives for it.
#[test]
fn a_session_gives_the_text_of_the_command_line() {
    let server = Server::start(&["--to", "de"]);
    let ended = server.client(json!({})).play(&pcm("talk-a.flac"));
    let expected = of_command_line("talk-a.flac");
    assert_eq!(ended.code, 1000);
    assert_eq!(closed(&ended.messages), expected);
    assert_eq!(ended.messages[0]["type"], "session");
    assert_eq!(ended.messages[1]["type"], "start");
    assert_eq!(ended.messages.last().unwrap()["type"], "end");
    assert_eq!(ended.messages.last().unwrap()["interrupted"], false);
    let numbers: Vec<u64> = ended.messages.iter().filter_map(|message| message["n"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1), "{numbers:?}");
    // Those who only read see the same, also afterwards.
    let id = ended.messages[0]["session"].as_str().unwrap();
    let viewer = ended.messages[0]["viewer"].as_str().unwrap();
    let (status, text) = server.get(&format!("/v1/sessions/{id}/captions.txt?token={viewer}"));
    assert_eq!((status, text), (200, expected.1.iter().map(|line| format!("{line}\n")).collect()));
    let (status, feed) = server.get(&format!("/v1/sessions/{id}/events?token={viewer}"));
    assert_eq!(status, 200);
    let last = expected.1.last().unwrap();
    assert!(feed.contains(last.as_str()) && feed.contains("event: end"), "{feed}");
    for wrong in ["", "?token=vs_00000000000000000000000000000000"] {
        assert_eq!(server.get(&format!("/v1/sessions/{id}/captions.txt{wrong}")).0, 404);
        assert_eq!(server.get(&format!("/v1/sessions/{id}/events{wrong}")).0, 404);
    }
    let delete = |token: &str| {
        let port = server.port;
        server.request(&format!(
            "DELETE /v1/sessions/{id}?token={token} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"
        ))
    };
    assert_eq!(delete(viewer).0, 403, "viewers only read");
    assert_eq!(delete(ended.messages[0]["token"].as_str().unwrap()).0, 204);
    assert_eq!(server.get(&format!("/v1/sessions/{id}/captions.txt?token={viewer}")).0, 404);
}

/// Several sessions at a time, in two directions and one without translation, keep apart.
#[test]
fn sessions_keep_apart() {
    let server = Server::start(&["--to", "de"]);
    let talk = pcm("talk-b.flac");
    let play = |start: Value| server.client(start).play(&talk);
    let (german, chinese, english) = std::thread::scope(|scope| {
        let chinese = scope.spawn(|| play(json!({"to": "zh"})));
        let english = scope.spawn(|| play(json!({"to": null})));
        (play(json!({})), chinese.join().unwrap(), english.join().unwrap())
    });
    let expected = of_command_line("talk-b.flac");
    assert_eq!(closed(&german.messages), expected);
    assert_eq!(closed(&english.messages), (expected.0.clone(), Vec::new()));
    let (source, target) = closed(&chinese.messages);
    assert_eq!(source, expected.0);
    assert_eq!(target.len(), expected.1.len());
    assert!(target.iter().all(|line| line.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))), "{target:?}");
}

/// A text is translated without a recogniser.
#[test]
fn a_session_takes_text() {
    let server = Server::start(&[]);
    let mut client = server.client(json!({"to": "de", "format": {"encoding": "text"}}));
    client.next_of("session");
    for (at, word) in "The birds come back in spring. They sing.".split(' ').enumerate() {
        let start = at as u64 * 400;
        client.say(json!({"type": "words", "text": word, "start_ms": start, "end_ms": start + 300}));
    }
    client.send(&[0; 640]);
    assert_eq!(client.next_of("error")["message"], "this session takes text, not sound");
    client.say(json!({"type": "end"}));
    let ended = client.rest();
    let (source, target) = closed(&ended.messages);
    assert_eq!(source.join(" "), "The birds come back in spring. They sing.");
    assert_eq!(target.len(), 2, "{target:?}");
    assert_eq!(ended.code, 1000);
    let metrics = server.get("/metrics").1;
    assert!(
        metrics.contains("alignatt_audio_seconds_total{protocol=\"native\"} 0.0\n"),
        "a text is no sound: {metrics}"
    );
}

/// A client of a text that was cut off learns how many of its words are with the server.
#[test]
fn a_text_goes_on_after_a_lost_connection() {
    let (_keep, state) = server::folder();
    let arguments = ["--state", state.to_str().unwrap()];
    let mut server = Server::start(&arguments);
    let text = "The birds come back in spring. They sing in the morning. We hear them in the garden.";
    let words: Vec<&str> = text.split(' ').collect();
    let say = |client: &mut server::Client, words: &[&str], first: usize| {
        for (at, word) in words.iter().enumerate() {
            let start = (first + at) as u64 * 400;
            client.say(json!({"type": "words", "text": word, "start_ms": start, "end_ms": start + 300}));
        }
    };
    let start = json!({"to": "de", "format": {"encoding": "text"}});
    let mut client = server.client(start.clone());
    let token = client.next_of("session")["token"].clone();
    say(&mut client, &words[..4], 0);
    while client.next_of("ack")["words"] != 4 {}
    drop(client);
    let mut again = start.clone();
    again["resume"] = json!({"token": token});
    let mut client = server.client(again.clone());
    assert_eq!(client.next_of("session")["from_word"], 4);
    say(&mut client, &words[4..8], 4);
    while client.next_of("ack")["keep_from"].as_u64().unwrap() < 6 {}
    server.kill();
    let server = Server::start(&arguments);
    let mut client = server.client(again);
    let from = client.next_of("session")["from_word"].as_u64().unwrap() as usize;
    assert!((6..=8).contains(&from), "{from}");
    say(&mut client, &words[from..], from);
    client.say(json!({"type": "end"}));
    let ended = client.rest();
    assert_eq!(closed(&ended.messages).0.join(" "), text);
    assert_eq!(ended.code, 1000);
}

/// Ten minutes of silence are not the end of a session, and the speech behind it is heard.
#[test]
fn silence_is_not_idleness() {
    let server = Server::start(&["--to", "de"]);
    let mut client = server.client(json!({}));
    for _ in 0..600 {
        client.send(&[0; 32_000]);
    }
    let ended = client.play(&pcm("talk-c.flac"));
    let heard = closed(&ended.messages).0.join(" ");
    let expected = of_command_line("talk-c.flac").0.join(" ");
    // Chunks lie elsewhere in the talk, so single words may differ.
    assert!(crate::errors(&crate::words(&heard), &crate::words(&expected)) < 0.3, "{heard}\n{expected}");
    let first = ended.messages.iter().find(|message| message["type"] == "source").unwrap();
    assert!(first["audio_ms"].as_u64().unwrap() > 600_000, "nothing is heard in silence: {first}");
}

/// Pings are a sign of life: a client that says nothing, because its microphone is off, keeps its
/// session.
#[test]
fn pings_are_no_idleness() {
    if !crate::common::long() {
        return;
    }
    let server = Server::start(&["--to", "de"]);
    let mut client = server.client(json!({}));
    client.next_of("session");
    for _ in 0..9 {
        std::thread::sleep(Duration::from_secs(10));
        client.socket.send(tungstenite::Message::Ping(Default::default())).unwrap();
    }
    assert_eq!(client.play(&pcm("talk-c.flac")[..96_000]).code, 1000);
}

/// A flush closes the open segment, and the session goes on.
#[test]
fn a_flush_closes_the_open_segment() {
    let server = Server::start(&["--to", "de"]);
    let talk = pcm("talk-a.flac");
    let mut client = server.client(json!({}));
    client.send(&talk[..32_000 * 3]);
    client.say(json!({"type": "flush"}));
    let closing = loop {
        let message = client.next_of("target");
        if message["closed"] == true {
            break message;
        }
    };
    assert_eq!(closing["segment"], 0);
    client.say(json!({"type": "end"}));
    let ended = client.rest();
    assert_eq!(ended.code, 1000);
    assert_eq!(ended.messages.last().unwrap()["type"], "end");
}

/// What does not fit is refused at once and says when to come again; a place that is freed is
/// given.
#[test]
fn a_full_server_refuses_at_once() {
    let server = Server::start(&["--to", "de", "--sessions", "1"]);
    let mut first = server.client(json!({}));
    first.next_of("session");
    let began = Instant::now();
    let refused = server.client(json!({})).rest();
    assert_eq!(refused.code, 1013);
    assert_eq!(refused.messages[0]["code"], "at_capacity");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    first.say(json!({"type": "end"}));
    first.rest();
    let deadline = Instant::now() + server::PATIENCE;
    while server.client(json!({})).next().unwrap()["type"] != "session" {
        assert!(Instant::now() < deadline, "the place is not freed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Health, readiness, models and metrics.
#[test]
fn the_server_says_how_it_is() {
    let server = Server::start(&["--to", "de"]);
    server.client(json!({})).play(&pcm("talk-c.flac")[..320_000]);
    assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    assert!(server.get("/health").1.contains(r#""ready":true"#));
    assert!(server.get("/v1/models").1.contains("the demo pack's mt"));
    server.wait_until_idle(server::PATIENCE);
    let (status, metrics) = server.get("/metrics");
    assert_eq!(status, 200);
    for name in [
        "alignatt_sessions_opened_total 1\n",
        "alignatt_sessions{state=\"ended\"} 1\n",
        "alignatt_session_seconds_count 1\n",
        "alignatt_slots 16\n",
        "alignatt_lag_seconds_count",
        "alignatt_ws_closed_total{code=\"1000\"} 1\n",
        "alignatt_http_requests_total{route=\"/readyz\",status=\"200\"} 1\n",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    assert!(!metrics.contains("alignatt_log_append_seconds_count 0\n"), "records were written:\n{metrics}");
}

/// No metric names a link that somebody asked for, and a client that leaves is not one that was
/// idle.
#[test]
fn metrics_tell_nothing_of_clients() {
    let server = Server::start(&["--to", "de"]);
    assert_eq!(server.get("/w/k7qm2xwrp9").0, 200);
    assert_eq!(server.get("/some/secret.php").0, 404);
    let mut client = server.client(json!({}));
    client.next_of("session");
    drop(client);
    let deadline = Instant::now() + server::PATIENCE;
    let metrics = loop {
        let metrics = server.get("/metrics").1;
        if metrics.contains("alignatt_ws_closed_total{") {
            break metrics;
        }
        assert!(Instant::now() < deadline, "{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(metrics.contains("alignatt_ws_closed_total{code=\"1001\"} 1\n"), "{metrics}");
    assert!(metrics.contains("{route=\"/w/{code}\",status=\"200\"} 1\n"), "{metrics}");
    assert!(metrics.contains("{route=\"other\",status=\"404\"} 1\n"), "{metrics}");
    assert!(!metrics.contains("k7qm2xwrp9") && !metrics.contains("secret"), "{metrics}");
}

/// Clients learn the name of a model that is a folder of the server's computer, and not where it
/// lies.
#[test]
fn models_have_names_without_folders() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/mt");
    let server = Server::start(&["--to", "de", "--mt", folder.to_str().unwrap()]);
    for path in ["/v1/models", "/v1/about"] {
        let (status, answer) = server.get(path);
        assert!(status == 200 && answer.contains("\"mt\""), "{path}: {answer}");
        assert!(!answer.contains("models/demo"), "{path}: {answer}");
    }
}

/// All routes that the description has are there.
#[test]
fn described_routes_answer() {
    let server = Server::start(&[]);
    let (status, description) = server.get("/openapi.json");
    assert_eq!(status, 200);
    let description: Value = serde_json::from_str(&description).unwrap();
    let paths = description["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{id}", "s_0").replace("{file}", "captions.txt");
            let path = path.replace("{code}", "0000").replace("{name}", "watch.js");
            let (status, answer) = server.request(&format!(
                "{} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                method.to_uppercase(),
                server.port
            ));
            let unknown = status == 404 && answer.contains("there is nothing at this address");
            assert!(status != 405 && status != 0 && !unknown, "{method} {path}: {status} {answer}");
        }
    }
}
