//! OpenAI's realtime sessions, spoken by hand: translations, and transcription with and without a
//! voice detector.

use serde_json::{Value, json};

use super::openai_rest::exchange;
use super::server::{Client, Ended, Server, folder, pcm};

/// A talk at 24 kHz: between two samples a third is put by a straight line.
pub(super) fn at_24_khz(sound: &[u8]) -> Vec<u8> {
    let samples: Vec<i32> = sound.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]).into()).collect();
    let count = samples.len() * 3 / 2;
    let value = |at: usize| {
        let (before, part) = (at * 2 / 3, (at * 2 % 3) as i32);
        let (left, right) = (samples[before], samples[(before + 1).min(samples.len() - 1)]);
        ((left * (3 - part) + right * part) / 3) as i16
    };
    (0..count).flat_map(|at| value(at).to_le_bytes()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let value = group.iter().fold(0u32, |value, &byte| value << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let letter = LETTERS[(value >> (18 - 6 * at) & 63) as usize].into();
            text.push(if at <= group.len() { letter } else { '=' });
        }
    }
    text
}

/// Sends sound as messages of 200 ms.
fn append(client: &mut Client, kind: &str, sound: &[u8]) {
    for part in sound.chunks(9_600) {
        client.say(json!({"type": kind, "audio": base64(part)}));
    }
}

fn deltas(messages: &[Value], kind: &str) -> String {
    let of_kind = messages.iter().filter(|message| message["type"] == kind);
    of_kind.map(|message| message["delta"].as_str().unwrap()).collect()
}

/// What the command line writes about sound at 24 kHz, in one line.
fn command_line(arguments: &[&str], sound: &[u8]) -> String {
    let (_keep, folder) = folder();
    let path = folder.join("talk.wav");
    std::fs::write(&path, super::openai_rest::wav(24_000, 16, sound)).unwrap();
    let output = crate::run(&[arguments, &["--device", "cpu", path.to_str().unwrap()]].concat());
    String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>().join(" ")
}

fn wants(language: &str) -> Value {
    json!({"type": "session.update", "event_id": "mine", "session": {"audio": {
        "output": {"language": language}, "input": {"transcription": {"model": "any"}},
    }}})
}

#[test]
fn a_translation_grows_to_the_text_of_the_command_line() {
    let server = Server::start(&[]);
    let sound = at_24_khz(&pcm("talk-a.flac"));
    let mut client = server.websocket("/v1/realtime/translations?model=gpt-realtime-translate", &[]).unwrap();
    let created = client.next().unwrap();
    assert_eq!(
        (created["type"].as_str(), created["session"]["type"].as_str()),
        (Some("session.created"), Some("translation"))
    );
    assert!(created["session"]["id"].as_str().unwrap().starts_with("sess_"));
    assert!(created["session"]["expires_at"].is_u64() && created["session"]["model"] == "gpt-realtime-translate");
    client.say(wants("de"));
    let updated = client.next_of("session.updated");
    assert_eq!(updated["session"]["audio"]["output"]["language"], "de");
    append(&mut client, "session.input_audio_buffer.append", &sound);
    client.say(wants("it"));
    client.say(json!({"type": "session.close"}));
    let ended = client.rest();
    assert_eq!(ended.code, 1000);
    assert_eq!(ended.messages.last().unwrap()["type"], "session.closed");
    let target = deltas(&ended.messages, "session.output_transcript.delta");
    assert_eq!(target, command_line(&["translate", "--to", "de"], &sound));
    let source = deltas(&ended.messages, "session.input_transcript.delta");
    assert_eq!(source, command_line(&["transcribe"], &sound));
    let errors: Vec<&Value> = ended.messages.iter().filter(|message| message["type"] == "error").collect();
    assert_eq!(errors.len(), 1, "the language cannot change once sound has come");
    assert_eq!((&errors[0]["error"]["code"], &errors[0]["error"]["event_id"]), (&json!("immutable"), &json!("mine")));
    let ids: std::collections::BTreeSet<&str> =
        ended.messages.iter().map(|message| message["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), ended.messages.len(), "each event has an id of its own");
    let elapsed: Vec<u64> = ended.messages.iter().filter_map(|message| message["elapsed_ms"].as_u64()).collect();
    assert!(elapsed.is_sorted() && elapsed.iter().all(|ms| ms % 200 == 0) && elapsed.len() > 5);
}

/// A message that is wrong is answered, and the session goes on.
#[test]
fn wrong_messages_are_answered_one_by_one() {
    let server = Server::start(&[]);
    let mut client = server.websocket("/v1/realtime/translations", &[]).unwrap();
    client.next_of("session.created");
    let mut refused = |message: &str, param: &str| {
        client.socket.send(tungstenite::Message::text(message)).unwrap();
        let error = client.next_of("error");
        assert_eq!(
            (error["error"]["type"].as_str(), error["error"]["param"].as_str()),
            (Some("invalid_request_error"), Some(param)),
            "{message}: {error}"
        );
    };
    refused("{", "event");
    refused("[]", "event");
    refused(r#"{"type":"response.create"}"#, "type");
    refused(r#"{"type":"input_audio_buffer.commit"}"#, "type");
    refused(r#"{"type":"session.update"}"#, "session");
    refused(&wants("klingon").to_string(), "session.audio.output.language");
    refused(&wants("cs").to_string(), "session.audio.output.language");
    refused(r#"{"type":"session.input_audio_buffer.append"}"#, "audio");
    refused(r#"{"type":"session.input_audio_buffer.append","audio":"%"}"#, "audio");
    let sound = json!({"type": "session.input_audio_buffer.append", "audio": base64(&[0; 9_600])});
    refused(&sound.to_string(), "session.audio.output.language");
    client.send(&[0; 100]);
    assert_eq!(client.next_of("error")["error"]["param"], "event");
    client.say(wants("de"));
    client.next_of("session.updated");
    client.say(sound);
    client.say(json!({"type": "session.close"}));
    assert_eq!(client.rest().code, 1000);
    // Nothing came, so there is nothing to wait for.
    let mut silent = server.websocket("/v1/realtime/translations", &[]).unwrap();
    silent.say(json!({"type": "session.close"}));
    let ended = silent.rest();
    assert_eq!((ended.code, ended.messages.len()), (1000, 2));
    assert_eq!(server.websocket("/v1/realtime?model=gpt-realtime", &[]).err(), Some(400), "no conversations");
}

/// A full server says so, and when there is room again the same request is served.
#[test]
fn a_full_server_closes_with_try_again_later() {
    let server = Server::start(&["--to", "de", "--sessions", "1"]);
    let open = || {
        let mut client = server.websocket("/v1/realtime/translations", &[]).unwrap();
        append(&mut client, "session.input_audio_buffer.append", &[0; 9_600]);
        client
    };
    let mut first = open();
    first.next_of("session.created");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let ended = open().rest();
    assert_eq!(ended.code, 1013);
    let error = &ended.messages[1]["error"];
    assert_eq!(error["code"], "at_capacity");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| ms >= 1_000), "{error}");
    drop(first);
}

/// A client of a server that shuts down gets what was still being heard.
#[cfg(unix)]
#[test]
fn a_shutdown_waits_for_the_last_text() {
    let mut server = Server::start(&[]);
    let mut client = transcription(&server, &Value::Null);
    let sound = at_24_khz(&pcm("talk-a.flac")[..32_000 * 12]);
    append(&mut client, "input_audio_buffer.append", &sound);
    client.next_of("conversation.item.input_audio_transcription.delta");
    assert_eq!(server.terminate(), Some(0));
    let ended = client.rest();
    assert_eq!(ended.code, 1012);
    let last = ended.messages.last().unwrap();
    assert_eq!(last["type"], COMPLETED);
    assert!(last["transcript"].as_str().unwrap().len() > 10, "{last}");
}

fn post(server: &Server, path: &str, body: &Value, token: &str) -> super::openai_rest::Answer {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        server.port,
        body.len()
    );
    exchange(server, &[head.as_bytes(), body.as_bytes()])
}

/// A page gets a secret for one kind of session, and needs no token of the server.
#[test]
fn a_client_secret_opens_its_kind_of_session_and_nothing_else() {
    let (_keep, server) = Server::start_with_token("", &[]);
    let path = "/v1/realtime/translations/client_secrets";
    let session = json!({"session": {"model": "gpt-realtime-translate", "audio": {"output": {"language": "de"}}}});
    assert_eq!(post(&server, path, &session, "wrong-token-of-twenty").status, 401);
    let answer = post(&server, path, &session, "a-token-of-twenty-chars");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let secret = answer["value"].as_str().unwrap();
    assert!(secret.starts_with("ek_") && answer["expires_at"].is_u64());
    assert_eq!(answer["session"]["audio"]["output"]["language"], "de");
    for wrong in [
        json!({"expires_after": {"anchor": "created_at", "seconds": 9}}),
        json!({"session": {"audio": {"output": {"language": "xx"}}}}),
        json!([]),
    ] {
        assert_eq!(post(&server, path, &wrong, "a-token-of-twenty-chars").status, 400, "{wrong}");
    }
    let protocols = format!("realtime, openai-insecure-api-key.{secret}");
    let mut client = server.websocket("/v1/realtime/translations", &[("sec-websocket-protocol", &protocols)]).unwrap();
    assert_eq!(client.next_of("session.created")["session"]["audio"]["output"]["language"], "de");
    let authorization = format!("Bearer {secret}");
    let with = |path: &str, secret: &str| server.websocket(path, &[("authorization", secret)]).err();
    assert_eq!(with("/v1/realtime/translations", &authorization), None);
    assert_eq!(with("/v1/realtime?intent=transcription", &authorization), Some(401));
    assert_eq!(with("/v1/stream", &authorization), Some(401));
    assert_eq!(with("/v1/listen", &authorization), Some(401));
    assert_eq!(with("/v1/realtime/translations", &authorization.replace("ek_", "ek_A")), Some(401));
    assert_eq!(post(&server, path, &session, secret).status, 401, "a secret makes no secrets");
}

/// OpenAI's client for pages names only a model beside the secret, which says the rest.
#[test]
fn a_client_secret_says_that_the_session_is_a_transcription() {
    let server = Server::start(&[]);
    let session = json!({"session": {"type": "transcription", "audio": {"input": {
        "transcription": {"model": "any", "language": "en"}, "turn_detection": {"type": "semantic_vad"},
    }}}});
    let answer = post(&server, "/v1/realtime/client_secrets", &session, "none").json();
    let protocols = format!("realtime, openai-insecure-api-key.{}", answer["value"].as_str().unwrap());
    let headers = [("sec-websocket-protocol", protocols.as_str())];
    let mut client = server.websocket("/v1/realtime?model=gpt-4o-transcribe", &headers).unwrap();
    let created = client.next_of("session.created");
    assert_eq!(created["session"]["type"], "transcription");
    assert_eq!(created["session"]["audio"]["input"]["turn_detection"]["type"], "server_vad");
    assert_eq!(server.websocket("/v1/realtime?model=gpt-4o-transcribe", &[]).err(), Some(400));
}

fn transcription(server: &Server, turn_detection: &Value) -> Client {
    let mut client = server.websocket("/v1/realtime?intent=transcription", &[]).unwrap();
    let created = client.next_of("session.created");
    assert_eq!(created["session"]["type"], "transcription");
    client.say(json!({"type": "session.update", "session": {"type": "transcription", "audio": {"input": {
        "format": {"type": "audio/pcm", "rate": 24_000},
        "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
        "turn_detection": turn_detection,
    }}}}));
    let updated = client.next_of("session.updated");
    assert_eq!(updated["session"]["audio"]["input"]["turn_detection"].is_null(), turn_detection.is_null());
    client
}

const COMPLETED: &str = "conversation.item.input_audio_transcription.completed";

/// Reads until `count` items are complete.
fn until_complete(client: &mut Client, count: usize) -> Vec<Value> {
    let mut messages = Vec::new();
    while messages.iter().filter(|message: &&Value| message["type"] == COMPLETED).count() < count {
        messages.push(client.next().unwrap());
    }
    messages
}

/// The whole texts of the items, in order; each equals its deltas.
fn transcripts(messages: &[Value]) -> Vec<(String, String)> {
    let completed = messages.iter().filter(|message| message["type"] == COMPLETED);
    completed
        .map(|message| {
            let id = message["item_id"].as_str().unwrap();
            let own: Vec<Value> = messages.iter().filter(|other| other["item_id"] == id).cloned().collect();
            let joined = deltas(&own, "conversation.item.input_audio_transcription.delta");
            assert_eq!(message["transcript"], joined, "{id}");
            (id.to_owned(), joined)
        })
        .collect()
}

#[test]
fn a_transcription_ends_where_the_client_commits() {
    let server = Server::start(&[]);
    let sound = at_24_khz(&pcm("talk-a.flac"));
    let mut client = transcription(&server, &Value::Null);
    client.say(json!({"type": "input_audio_buffer.commit"}));
    assert_eq!(client.next_of("error")["error"]["code"], "input_audio_buffer_commit_empty");
    append(&mut client, "input_audio_buffer.append", &sound);
    client.say(json!({"type": "input_audio_buffer.commit"}));
    // The next item begins right behind it.
    let second = &sound[..24_000 * 2 * 10];
    append(&mut client, "input_audio_buffer.append", second);
    client.say(json!({"type": "input_audio_buffer.commit"}));
    // What is taken back is not transcribed.
    append(&mut client, "input_audio_buffer.append", second);
    client.say(json!({"type": "input_audio_buffer.clear"}));
    append(&mut client, "input_audio_buffer.append", second);
    client.say(json!({"type": "input_audio_buffer.commit"}));
    let messages = until_complete(&mut client, 3);
    let items = transcripts(&messages);
    assert_eq!(items[0].1, command_line(&["transcribe"], &sound));
    assert!(items[1].1.len() > 30 && items[0].1.starts_with(&items[1].1[..20]), "{items:?}");
    assert!(items[2].1.len() > 30, "{items:?}");
    let committed: Vec<&Value> =
        messages.iter().filter(|message| message["type"] == "input_audio_buffer.committed").collect();
    assert_eq!(committed.len(), 3);
    assert_eq!(committed[0]["previous_item_id"], Value::Null);
    for at in 1..3 {
        assert_eq!(committed[at]["previous_item_id"], committed[at - 1]["item_id"]);
    }
    let ids: Vec<&str> = committed.iter().map(|message| message["item_id"].as_str().unwrap()).collect();
    assert_eq!(ids, items.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>());
    let usage = &messages.iter().find(|message| message["type"] == COMPLETED).unwrap()["usage"];
    let seconds = sound.len() as f64 / 48_000.0;
    assert!((usage["seconds"].as_f64().unwrap() - seconds).abs() < 0.1, "{usage} of {seconds}");
}

#[test]
fn a_transcription_is_parted_at_silences() {
    let server = Server::start(&[]);
    let talk = at_24_khz(&pcm("talk-a.flac")[..32_000 * 12]);
    let mut client = transcription(&server, &json!({"type": "server_vad", "silence_duration_ms": 3_000}));
    let silence = vec![0; 48_000 * 5];
    for _ in 0..2 {
        append(&mut client, "input_audio_buffer.append", &talk);
        append(&mut client, "input_audio_buffer.append", &silence);
    }
    let messages = until_complete(&mut client, 2);
    let items = transcripts(&messages);
    assert!(items.iter().all(|(_, text)| text.len() > 30), "{items:?}");
    // Of each item, in this order.
    for (id, _) in &items {
        let own = |message: &&Value| message["item_id"] == id.as_str() || message["item"]["id"] == id.as_str();
        let kinds: Vec<&str> = messages
            .iter()
            .filter(own)
            .map(|message| message["type"].as_str().unwrap())
            .filter(|kind| !kind.ends_with(".delta"))
            .collect();
        let expected = [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            COMPLETED,
        ];
        assert_eq!(kinds, expected);
    }
    let stopped: Vec<u64> = messages
        .iter()
        .filter(|message| message["type"] == "input_audio_buffer.speech_stopped")
        .map(|message| message["audio_end_ms"].as_u64().unwrap())
        .collect();
    assert!((9_000..13_000).contains(&stopped[0]) && (26_000..30_000).contains(&stopped[1]), "{stopped:?}");
}

/// A message that is longer than a socket takes is refused with a reason.
#[test]
fn messages_that_are_too_long_are_refused() {
    let server = Server::start(&["--to", "de"]);
    let mut client = server.websocket("/v1/realtime/translations", &[]).unwrap();
    client.next_of("session.created");
    let whole = json!({"type": "session.input_audio_buffer.append", "audio": "A".repeat(900_000)});
    client.say(whole);
    let long = json!({"type": "session.input_audio_buffer.append", "audio": "A".repeat(3 << 20)});
    // The server may close before all of it is sent.
    let _ = client.socket.send(tungstenite::Message::text(long.to_string()));
    let Ended { messages, code } = client.rest();
    assert!(code == 1009 || code == 0, "{code}");
    assert!(messages.iter().all(|message| message["type"] != "session.closed"));
    assert_eq!(server.get("/readyz").0, 200);
}
