//! WhisperLiveKit's protocol, `/asr`, as its clients use it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use super::of_command_line;
use super::server::{Client, PATIENCE, Server, folder, pcm};
use crate::{events, shown};

/// A client that rebuilds the lines as WhisperLiveKit's own does.
struct Asr {
    client: Client,
    lines: Vec<Value>,
    updates: Vec<Value>,
}

impl Asr {
    /// Connects as soon as the device has room.
    fn connect(server: &Server, query: &str) -> Asr {
        let mode = if query.contains("mode=diff") { "diff" } else { "full" };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = server.websocket(&format!("/asr{query}"), &[]).unwrap();
            let first = client.next().unwrap();
            if first == json!({"type": "config", "useAudioWorklet": true, "mode": mode}) {
                return Asr { client, lines: Vec::new(), updates: Vec::new() };
            }
            assert!(first["error"].as_str().is_some_and(|why| why.contains("busy")), "{first}");
            assert!(Instant::now() < deadline, "{first}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Takes the next message. False after the last one.
    fn read(&mut self) -> bool {
        let message = self.client.next().expect("the last message is ready_to_stop");
        match message["type"].as_str() {
            Some("ready_to_stop") => return false,
            Some("diff") => {
                self.lines.extend(message["new_lines"].as_array().into_iter().flatten().cloned());
                assert_eq!(message["n_lines"], self.lines.len(), "{message}");
                assert_eq!(message["seq"], self.updates.len() + 1);
            }
            kind => {
                assert!(kind.is_none() || kind == Some("snapshot"), "{message}");
                self.lines = message["lines"].as_array().unwrap().clone();
            }
        }
        self.updates.push(message);
        true
    }

    fn send(&mut self, sound: &[u8]) {
        sound.chunks(16_000).for_each(|part| self.client.send(part));
    }

    /// Ends the sound and reads all that follows.
    fn finish(mut self) -> Asr {
        self.client.send(&[]);
        while self.read() {}
        self
    }

    fn side(&self, side: &str) -> Vec<&str> {
        self.lines.iter().map(|line| line[side].as_str().unwrap_or_default()).collect()
    }

    fn last(&self) -> &Value {
        self.updates.last().unwrap()
    }
}

#[test]
fn both_modes_give_the_text_of_the_command_line() {
    let server = Server::start(&["--to", "de"]);
    let talk = pcm("talk-b.flac");
    let talk = &talk[..32_000 * 16];
    let (_keep, folder) = super::server::folder();
    let file = folder.join("beginning.wav");
    std::fs::write(&file, super::openai_rest::wav(16_000, 16, talk)).unwrap();
    let arguments = ["--device", "cpu", "--format", "jsonl", file.to_str().unwrap()];
    let expected = shown(&events(&[&["translate", "--to", "de"][..], &arguments].concat()));
    for query in ["", "?mode=diff&language=en&target_language=de"] {
        let mut client = Asr::connect(&server, query);
        let began = Instant::now();
        client.client.socket.send(Message::text("a text is ignored")).unwrap();
        client.send(talk);
        client.client.send(&[]);
        client.send(&talk[..32_000]);
        let mut client = client.finish();
        let elapsed = began.elapsed().as_secs_f64();
        assert_eq!(client.side("text").join(" "), expected.0.join(" "));
        assert_eq!(client.side("translation"), expected.1);
        assert!(client.lines.iter().all(|line| line["speaker"] == 1));
        assert!(client.lines[0]["start"].as_str().unwrap().starts_with("0:00:0"), "{}", client.lines[0]);
        let last = client.last();
        assert_eq!((&last["status"], &last["buffer_transcription"]), (&json!("active_transcription"), &json!("")));
        let most = elapsed * 4.0 + 3.0;
        assert!((client.updates.len() as f64) < most, "{} updates in {elapsed} s", client.updates.len());
        assert_eq!(client.client.rest().code, 1000);
    }
    // Without translation the text is that of `transcribe`.
    let server = Server::start(&[]);
    let mut client = Asr::connect(&server, "");
    client.send(talk);
    let transcript = shown(&events(&[&["transcribe"][..], &arguments].concat())).0.join(" ");
    assert_eq!(client.finish().side("text").join(" "), transcript);
}

/// While somebody speaks, committed text only grows, and what is open follows it with its blank.
#[test]
fn captions_come_while_the_talk_goes_on() {
    let server = Server::start(&["--to", "de"]);
    let talk = pcm("talk-c.flac");
    let mut client = Asr::connect(&server, "");
    for part in talk.chunks(16_000) {
        client.client.send(part);
        std::thread::sleep(Duration::from_millis(100));
    }
    let client = client.finish();
    let text = |update: &Value| {
        let lines = update["lines"].as_array().unwrap().iter();
        lines.map(|line| line["text"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert!(client.updates.len() > 5, "{}", client.updates.len());
    for pair in client.updates.windows(2) {
        let (before, after) = (text(&pair[0]), text(&pair[1]));
        assert!(after.starts_with(&before), "{before:?} became {after:?}");
    }
    let open = client.updates.iter().filter(|update| !text(update).is_empty());
    let buffers: Vec<&str> = open.map(|update| update["buffer_transcription"].as_str().unwrap()).collect();
    assert!(buffers.iter().any(|buffer| !buffer.is_empty()));
    assert!(buffers.iter().all(|buffer| buffer.is_empty() || buffer.starts_with(' ')), "{buffers:?}");
}

/// A page that is cut off reconnects to the same address, and goes on.
#[test]
fn a_key_in_the_address_resumes_the_session() {
    let server = Server::start(&["--to", "de"]);
    let talk = pcm("talk-a.flac");
    let expected = of_command_line("talk-a.flac");
    let query = "?session=room-17-monday";
    let half = talk.len() / 4 * 2;
    let mut first = Asr::connect(&server, query);
    first.send(&talk[..half]);
    while first.lines.is_empty() {
        assert!(first.read());
    }
    drop(first);
    let mut second = Asr::connect(&server, "?session=room-17-monday&mode=diff");
    second.send(&talk[half..]);
    let second = second.finish();
    // What the first connection had of a piece of 10 ms is gone.
    let heard: Vec<String> = second.side("text").join(" ").split(' ').map(str::to_owned).collect();
    let errors = crate::score::errors(&heard, &expected.0);
    assert!(errors < 0.05, "{errors} of the words differ: {heard:?}");
    assert_eq!(second.lines.len(), expected.1.len());
    // The session is over, so the key begins a new one.
    assert_eq!(Asr::connect(&server, query).finish().side("text"), [""; 0]);
    // The newest connection has the session.
    let mut third = Asr::connect(&server, query);
    let fourth = Asr::connect(&server, query);
    assert_eq!(third.client.rest().code, 4409);
    let other = server.websocket("/asr?session=room-17-monday&target_language=it", &[]).unwrap().rest();
    assert_eq!(other.code, 4400);
    assert!(other.messages[0]["error"].as_str().unwrap().contains("other languages"));
    fourth.finish();
}

/// Without a key nobody can come back, so the session ends with its connection.
#[test]
fn a_session_without_a_key_ends_with_its_connection() {
    let server = Server::start(&["--to", "de", "--sessions", "1"]);
    for _ in 0..3 {
        let mut client = Asr::connect(&server, "");
        client.send(&[0; 32_000]);
        assert!(client.read());
        drop(client);
        server.wait_until_idle(std::time::Duration::from_secs(10));
    }
}

/// After a restart the captions of before are there, and what is said then is heard.
#[cfg(unix)]
#[test]
fn a_restart_keeps_the_captions() {
    let (_keep, state) = folder();
    let arguments = ["--to", "de", "--state", state.to_str().unwrap()];
    let talk = pcm("talk-a.flac");
    let (source, _) = of_command_line("talk-a.flac");
    let mut server = Server::start(&arguments);
    let mut client = Asr::connect(&server, "?session=room-17-monday");
    client.send(&talk[..talk.len() / 4 * 2]);
    while client.lines.len() < 3 {
        assert!(client.read());
    }
    assert_eq!(server.terminate(), Some(0));
    let known = loop {
        match client.client.next() {
            Ok(update) => client.lines = update["lines"].as_array().unwrap().clone(),
            Err(code) => break (code, client.side("text").join(" ")),
        }
    };
    assert_eq!(known.0, 1012);
    // The server's other options do not matter.
    let server = Server::start(&[&arguments[..], &["--policy", "alignatt:high"]].concat());
    let mut client = Asr::connect(&server, "?session=room-17-monday");
    client.send(&talk[talk.len() / 4 * 2..]);
    let client = client.finish();
    let text = client.side("text").join(" ");
    assert!(text.starts_with(&known.1), "{:?} became {text:?}", known.1);
    let ours: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let errors = crate::score::errors(&ours, &source);
    // Sound that was on its way is gone.
    assert!(errors < 0.5, "{errors} of the words differ:\n{text}\n{}", source.join(" "));
    assert_eq!(ours.last(), source.last());
}

#[test]
fn what_is_wrong_with_the_address_is_said() {
    let server = Server::start(&["--to", "de", "--sessions", "1"]);
    for (query, part) in [
        ("?language=xx", "xx"),
        ("?target_language=cs", "cs"),
        ("?mode=both", "full or diff"),
        ("?session=short", "8 to 256"),
    ] {
        let refused = server.websocket(&format!("/asr{query}"), &[]).unwrap().rest();
        assert_eq!((refused.code, &refused.messages[0]["type"]), (4400, &json!("error")), "{query}");
        let message = refused.messages[0]["error"].as_str().unwrap();
        assert!(message.contains(part), "{query}: {message}");
    }
    let first = Asr::connect(&server, "?language=auto&target_language=");
    let refused = server.websocket("/asr", &[]).unwrap().rest();
    assert_eq!(refused.code, 1013);
    assert!(refused.messages[0]["error"].as_str().unwrap().contains("capacity"));
    first.finish();
}

/// A microphone that is mute is noticed.
#[test]
fn a_session_without_sound_says_so() {
    let server = Server::start(&[]);
    let mut client = Asr::connect(&server, "");
    assert!(client.read());
    while client.last()["status"] != "no_audio_detected" {
        assert!(client.read());
    }
    client.send(&[0; 32_000]);
    while client.last()["status"] != "active_transcription" {
        assert!(client.read());
    }
    client.finish();
}
