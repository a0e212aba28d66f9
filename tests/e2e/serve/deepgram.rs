//! Deepgram's stream, spoken by hand.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Client, Ended, Server, pcm};
use crate::sample;

const RAW: &str = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";

fn transcript(message: &Value) -> &str {
    message["channel"]["alternatives"][0]["transcript"].as_str().unwrap()
}

fn finals(messages: &[Value]) -> Vec<&Value> {
    messages.iter().filter(|message| message["type"] == "Results" && message["is_final"] == true).collect()
}

fn text_of(messages: &[Value]) -> String {
    let texts: Vec<&str> = finals(messages).into_iter().map(transcript).filter(|text| !text.is_empty()).collect();
    texts.join(" ")
}

fn play(mut client: Client, sound: &[u8]) -> Ended {
    for part in sound.chunks(6_400) {
        client.send(part);
    }
    client.say(json!({"type": "CloseStream"}));
    client.rest()
}

fn of_command_line(name: &str, arguments: &[&str]) -> String {
    let talk = sample(name);
    let output = crate::run(&[arguments, &["--device", "cpu", talk.to_str().unwrap()]].concat());
    String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>().join(" ")
}

/// Final results follow one another without gaps, and never change.
fn check_ranges(messages: &[Value]) {
    let mut floor = 0.0;
    for message in messages.iter().filter(|message| message["type"] == "Results") {
        let (start, duration) = (message["start"].as_f64().unwrap(), message["duration"].as_f64().unwrap());
        assert!((start - floor).abs() < 1e-6 && duration >= 0.0, "{message} after {floor}");
        let words = message["channel"]["alternatives"][0]["words"].as_array().unwrap();
        let times: Vec<f64> =
            words.iter().flat_map(|word| [word["start"].as_f64().unwrap(), word["end"].as_f64().unwrap()]).collect();
        assert!(times.is_sorted() && times.iter().all(|&at| at <= start + duration + 1e-6), "{message}");
        if message["is_final"] == true {
            floor = start + duration;
        }
    }
}

#[test]
fn a_stream_gives_the_text_of_the_command_line() {
    let server = Server::start(&[]);
    let sound = pcm("talk-a.flac");
    let expected = of_command_line("talk-a.flac", &["transcribe"]);
    let ended = play(server.websocket(&format!("{RAW}&endpointing=false"), &[]).unwrap(), &sound);
    assert_eq!(ended.code, 1000);
    assert_eq!(text_of(&ended.messages), expected);
    check_ranges(&ended.messages);
    let (first, last) = (&ended.messages[0], ended.messages.last().unwrap());
    assert_eq!((&first["type"], &last["type"]), (&json!("Metadata"), &json!("Metadata")));
    assert!((last["duration"].as_f64().unwrap() - sound.len() as f64 / 32_000.0).abs() < 0.01);
    assert_eq!(last["request_id"].as_str().unwrap().len(), 36);
    assert!(last["created"].as_str().unwrap().starts_with("20"), "{last}");
    assert!(ended.messages.iter().all(|message| message["is_final"] != false), "no interim results");
    // A file as it is, and the empty message as the end.
    let path = "/v1/listen?endpointing=false";
    let mut file = server.websocket(path, &[("sec-websocket-protocol", "token, any")]).unwrap();
    for part in super::openai_rest::wav(16_000, 16, &sound).chunks(9_999) {
        file.send(part);
    }
    file.send(&[]);
    let ended = file.rest();
    assert_eq!((ended.code, text_of(&ended.messages)), (1000, expected));
}

#[test]
fn interim_results_lead_to_final_ones() {
    let server = Server::start(&[]);
    let sound = pcm("talk-b.flac");
    let path = format!("{RAW}&interim_results=true&endpointing=false&translate=de");
    let ended = play(server.websocket(&path, &[]).unwrap(), &sound);
    check_ranges(&ended.messages);
    assert_eq!(text_of(&ended.messages), of_command_line("talk-b.flac", &["transcribe"]));
    let translations: Vec<&str> = finals(&ended.messages)
        .iter()
        .map(|message| message["channel"]["alternatives"][0]["translation"].as_str().unwrap())
        .filter(|text| !text.is_empty())
        .collect();
    assert_eq!(translations.join(" "), of_command_line("talk-b.flac", &["translate", "--to", "de"]));
    let interim: Vec<&Value> = ended.messages.iter().filter(|message| message["is_final"] == false).collect();
    assert!(interim.len() > 10 && interim.iter().any(|message| transcript(message).split(' ').count() > 5));
    assert!(ended.messages.iter().all(|message| message["speech_final"] != true), "it was turned off");
}

#[test]
fn the_end_of_speech_is_said() {
    let server = Server::start(&[]);
    let path = format!("{RAW}&interim_results=true&endpointing=1500&utterance_end_ms=2500&vad_events=true");
    let mut client = server.websocket(&path, &[]).unwrap();
    let talk = &pcm("talk-a.flac")[..32_000 * 12];
    let silence = vec![0; 32_000 * 5];
    for _ in 0..2 {
        for part in [talk, &silence].concat().chunks(3_200) {
            client.send(part);
        }
    }
    client.say(json!({"type": "CloseStream"}));
    let ended = client.rest();
    check_ranges(&ended.messages);
    let of = |kind: &str| ended.messages.iter().filter(|message| message["type"] == kind).count();
    let speech_finals = ended.messages.iter().filter(|message| message["speech_final"] == true).count();
    assert!(speech_finals >= 2 && of("SpeechStarted") == speech_finals, "{speech_finals} ends of speech");
    assert_eq!(of("UtteranceEnd"), 2);
    let end = ended.messages.iter().find(|message| message["type"] == "UtteranceEnd").unwrap();
    assert!((9.0..13.0).contains(&end["last_word_end"].as_f64().unwrap()), "{end}");
}

#[test]
fn finalize_brings_what_was_said_so_far() {
    let server = Server::start(&[]);
    let mut client = server.websocket(&format!("{RAW}&endpointing=false"), &[]).unwrap();
    let talk = pcm("talk-a.flac");
    for part in talk[..32_000 * 3].chunks(3_200) {
        client.send(part);
    }
    client.say(json!({"type": "Finalize"}));
    let result = loop {
        let result = client.next_of("Results");
        if result["from_finalize"] == true {
            break result;
        }
    };
    assert!(result["is_final"] == true && !transcript(&result).is_empty(), "{result}");
    // There is nothing more, and that is said, too.
    client.say(json!({"type": "Finalize"}));
    let empty = client.next_of("Results");
    assert_eq!((&empty["from_finalize"], transcript(&empty)), (&json!(true), ""));
    client.say(json!({"type": "CloseStream"}));
    assert_eq!(client.rest().code, 1000);
}

#[test]
fn what_is_wrong_is_said() {
    let server = Server::start(&[]);
    for query in [
        "encoding=opus&sample_rate=48000",
        "encoding=linear16",
        "encoding=linear16&sample_rate=1",
        "encoding=linear16&sample_rate=16000&channels=2",
        "language=multi",
        "translate=cs",
        "utterance_end_ms=1000",
        "callback=http://127.0.0.1:1/",
    ] {
        assert_eq!(server.websocket(&format!("/v1/listen?{query}"), &[]).err(), Some(400), "{query}");
    }
    let mut client = server.websocket(RAW, &[]).unwrap();
    for wrong in ["{", "[]", r#"{"type":"Configure"}"#] {
        client.socket.send(tungstenite::Message::text(wrong)).unwrap();
        let error = client.next_of("Error");
        assert!(error["variant"].is_string() && error["description"].is_string(), "{error}");
    }
    client.say(json!({"type": "KeepAlive"}));
    client.say(json!({"type": "CloseStream"}));
    assert_eq!(client.rest().code, 1000, "it went on");
    // No file at all.
    let mut text = server.websocket("/v1/listen", &[]).unwrap();
    text.send(b"I am a text, and nobody speaks in me.".repeat(100).as_slice());
    text.say(json!({"type": "CloseStream"}));
    let ended = text.rest();
    assert!(ended.messages.iter().any(|message| message["type"] == "Error"), "{:?}", ended.messages);
}

/// A file under the name that its encoding has.
#[test]
fn a_file_may_be_named_as_an_encoding() {
    let server = Server::start(&[]);
    let path = "/v1/listen?encoding=flac&sample_rate=16000&endpointing=false";
    let mut client = server.websocket(path, &[]).unwrap();
    for part in std::fs::read(sample("talk-b.flac")).unwrap().chunks(9_999) {
        client.send(part);
    }
    client.say(json!({"type": "CloseStream"}));
    let ended = client.rest();
    assert_eq!((ended.code, text_of(&ended.messages)), (1000, of_command_line("talk-b.flac", &["transcribe"])));
}

/// A client of a server that shuts down gets what was still being heard.
#[cfg(unix)]
#[test]
fn a_shutdown_waits_for_the_last_result() {
    let mut server = Server::start(&[]);
    let mut client = server.websocket(&format!("{RAW}&endpointing=false&interim_results=true"), &[]).unwrap();
    for part in pcm("talk-a.flac")[..32_000 * 3].chunks(3_200) {
        client.send(part);
    }
    while transcript(&client.next_of("Results")).is_empty() {}
    assert_eq!(server.terminate(), Some(0));
    let ended = client.rest();
    assert_eq!(ended.code, 1012);
    assert!(!text_of(&ended.messages).is_empty(), "the open segment has no final result: {:?}", ended.messages);
    assert_eq!(ended.messages.last().unwrap()["type"], "Metadata");
}

/// A browser gives up a socket whose server takes none of the subprotocols that it offers, so the
/// one before its token is taken everywhere.
#[test]
fn a_token_in_the_subprotocols_is_answered() {
    use std::io::{Read, Write};
    let (_keep, server) = Server::start_with_token("", &["--to", "de"]);
    let taken = |path: &str, offered: &str| {
        let mut socket = server.socket();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             sec-websocket-protocol: {offered}\r\n\r\n",
            server.port
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() > 0 {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{path}: {head}");
        let taken = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        taken.map(str::to_owned)
    };
    for path in ["/v1/stream", "/asr", "/mt", RAW] {
        assert_eq!(taken(path, "token, a-token-of-twenty-chars").as_deref(), Some("token"), "{path}");
    }
    let both = taken("/v1/stream", "token, a-token-of-twenty-chars, alignatt.v1");
    assert_eq!(both.as_deref(), Some("alignatt.v1"));
}

/// A full server refuses before the socket is accepted.
#[test]
fn a_full_server_refuses_before_the_upgrade() {
    let server = Server::start(&["--sessions", "1"]);
    let first = server.websocket(RAW, &[]).unwrap();
    assert_eq!(server.websocket(RAW, &[]).err(), Some(503));
    drop(first);
    let deadline = Instant::now() + super::server::PATIENCE;
    while server.websocket(RAW, &[]).is_err() {
        assert!(Instant::now() < deadline, "the place is not freed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Silence on the wire is the end, unless the client says that it lives.
#[test]
fn a_client_that_says_nothing_is_cut_off() {
    let server = Server::start(&[]);
    let mut silent = server.websocket(RAW, &[]).unwrap();
    let began = Instant::now();
    let mut alive = server.websocket(RAW, &[]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4 {
                std::thread::sleep(Duration::from_secs(10));
                alive.say(json!({"type": "KeepAlive"}));
            }
            alive.say(json!({"type": "CloseStream"}));
            assert_eq!(alive.rest().code, 1000);
        });
        let ended = silent.rest();
        assert_eq!((ended.code, &ended.messages[1]["variant"]), (1011, &json!("NET-0001")));
        assert!((25..40).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    });
}
