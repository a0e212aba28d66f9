//! Connections that are lost and servers that die: nothing that was shown is lost, changed or shown
//! twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::of_command_line;
use super::server::{Client, Server, folder, pcm};
use crate::common::long;
use crate::dice::Dice;

/// What a viewer has on the screen, from the messages of one connection after another.
#[derive(Debug, Default)]
struct Screen {
    /// The text of each segment, source and target.
    segments: BTreeMap<(u64, &'static str), (String, bool)>,
    n: u64,
}

impl Screen {
    /// Takes a message. Committed text must only grow, and nothing follows a closed side.
    fn take(&mut self, message: &Value) {
        let side = match message["type"].as_str() {
            Some("source") => "source",
            Some("target") => "target",
            _ => return,
        };
        let text = match side {
            "source" => {
                let words = message["committed"].as_array().unwrap().iter();
                words.map(|word| format!("{} ", word["text"].as_str().unwrap())).collect()
            }
            _ => message["committed"].as_str().unwrap().to_owned(),
        };
        let (shown, over) = self.segments.entry((message["segment"].as_u64().unwrap(), side)).or_default();
        assert!(text.starts_with(shown.as_str()), "{shown:?} became {text:?}");
        assert!(!*over, "a closed side changed: {message}");
        *shown = text;
        *over = message["closed"] == true;
        if let Some(n) = message["n"].as_u64() {
            assert!(n == self.n || n == self.n + 1, "record {n} follows {}", self.n);
            self.n = n;
        }
    }

    fn lines(&self, of: &str) -> Vec<&str> {
        let lines = self.segments.iter().filter(|((_, side), _)| *side == of);
        lines.map(|(_, (text, _))| text.trim_end()).filter(|text| !text.is_empty()).collect()
    }
}

/// Reads until `samples` were acknowledged or `most` messages came.
fn read_some(client: &mut Client, screen: &mut Screen, most: usize) {
    for _ in 0..most {
        match client.next() {
            Ok(message) => screen.take(&message),
            Err(_) => return,
        }
    }
}

/// The session's place in its sound, from the first message of a connection.
fn resume(server: &Server, token: &str, after: u64) -> Option<(Client, usize)> {
    let mut client = server.client(json!({"resume": {"token": token, "after": after}}));
    let hello = client.next().ok()?;
    let from = hello["from_sample"].as_u64()?;
    Some((client, from as usize * 2))
}

#[test]
fn a_lost_connection_changes_nothing() {
    let server = Server::start(&["--to", "de"]);
    let talk = pcm("talk-a.flac");
    let mut screen = Screen::default();
    let mut client = server.client(json!({}));
    let token = client.next_of("session")["token"].as_str().unwrap().to_owned();
    let mut sent = 0;
    for cut in [400_000, 650_000, 651_000, 1_100_000] {
        client.send(&talk[sent..cut]);
        read_some(&mut client, &mut screen, 5);
        drop(client); // without a farewell
        (client, sent) = resume(&server, &token, screen.n).unwrap();
    }
    let ended = client.play(&talk[sent..]);
    assert_eq!(ended.code, 1000);
    ended.messages.iter().for_each(|message| screen.take(message));
    let (source, target) = of_command_line("talk-a.flac");
    assert_eq!(screen.lines("target"), target);
    assert_eq!(screen.lines("source").join(" "), source.join(" "));
}

/// A session belongs to one connection. The newest has it.
#[test]
fn the_newest_connection_has_the_session() {
    let server = Server::start(&["--to", "de"]);
    let mut first = server.client(json!({}));
    let token = first.next_of("session")["token"].as_str().unwrap().to_owned();
    let (mut second, _) = resume(&server, &token, 0).unwrap();
    assert_eq!(first.rest().code, 4409);
    second.say(json!({"type": "end"}));
    assert_eq!(second.rest().code, 1000);
    let mut third = server.client(json!({"resume": {"token": "rs_00000000000000000000000000000000"}}));
    assert_eq!(third.rest().code, 4401);
    third = server.client(json!({"resume": {"token": token, "after": 0}}));
    let ended = third.rest();
    assert_eq!(ended.messages.last().unwrap()["type"], "end", "a session that is over can still be read");
}

/// The server is killed at random moments, and started again. The client goes on each time.
#[test]
fn a_killed_server_loses_nothing_that_was_shown() {
    let (_keep, state) = folder();
    let state = state.to_str().unwrap();
    let talk = pcm("talk-a.flac");
    let (source, _) = of_command_line("talk-a.flac");
    let mut dice = Dice(7);
    for round in 0..if long() { 25 } else { 1 } {
        let mut screen = Screen::default();
        let mut server = Server::start(&["--to", "de", "--state", state]);
        let mut client = server.client(json!({}));
        let token = client.next_of("session")["token"].as_str().unwrap().to_owned();
        let mut sent = 0;
        for _ in 0..2 {
            let until = (sent + 64_000 + 2 * dice.below(300_000)).min(talk.len());
            for part in talk[sent..until].chunks(6_400) {
                client.send(part);
            }
            read_some(&mut client, &mut screen, 3 + dice.below(12));
            std::thread::sleep(Duration::from_millis(dice.below(300) as u64));
            server.kill();
            read_some(&mut client, &mut screen, usize::MAX);
            server = Server::start(&["--to", "de", "--state", state]);
            (client, sent) = resume(&server, &token, screen.n).expect("the session is in the folder");
        }
        let ended = client.play(&talk[sent..]);
        assert_eq!(ended.code, 1000, "round {round}");
        ended.messages.iter().for_each(|message| screen.take(message));
        let heard = screen.lines("source").join(" ");
        let (ours, theirs) = (crate::words(&heard), crate::words(&source.join(" ")));
        let share = crate::errors(&ours, &theirs);
        assert!(share <= 0.05, "round {round}: {share} of the words differ:\n{heard}\n{}", source.join(" "));
    }
}

/// The newest acknowledgement among messages: what lies before is not kept by the client.
fn kept_from(messages: &[Value]) -> u64 {
    messages.iter().filter_map(|message| message["keep_from"].as_u64()).max().unwrap_or(0)
}

/// What a client need not keep is never asked for again, also after a silence in which nothing is
/// committed.
#[test]
fn sound_that_need_not_be_kept_is_never_asked_for() {
    let (_keep, state) = folder();
    let state = state.to_str().unwrap();
    let mut server = Server::start(&["--to", "de", "--state", state]);
    let mut client = server.client(json!({}));
    let token = client.next_of("session")["token"].as_str().unwrap().to_owned();
    let talk = pcm("talk-c.flac");
    client.send(&talk[..320_000]);
    // Two minutes of silence.
    for _ in 0..120 {
        client.send(&[0; 32_000]);
    }
    let mut acknowledged = 0;
    while acknowledged < 100 * 16_000 {
        acknowledged = client.next_of("ack")["keep_from"].as_u64().unwrap();
    }
    server.kill();
    let mut rest = Vec::new();
    while let Ok(message) = client.next() {
        rest.push(message);
    }
    let kept = acknowledged.max(kept_from(&rest));
    let server = Server::start(&["--to", "de", "--state", state]);
    let (client, sent) = resume(&server, &token, 0).unwrap();
    assert!(sent as u64 / 2 >= kept, "sound from {} on is asked for, and {kept} was acknowledged", sent / 2);
    assert_eq!(client.play(&talk[..64_000]).code, 1000);
}

/// After a restart the captions can be read before anybody goes on with the session. A session that
/// nobody goes on with ends.
#[test]
fn a_session_that_nobody_resumes_can_be_read_and_ends() {
    let (_keep, state) = folder();
    let arguments = ["--to", "de", "--state", state.to_str().unwrap()];
    let mut server = Server::start(&arguments);
    let mut client = server.client(json!({}));
    let hello = client.next_of("session");
    let mut screen = Screen::default();
    client.send(&pcm("talk-a.flac")[..600_000]);
    while !screen.segments.values().any(|(_, closed)| *closed) {
        screen.take(&client.next().unwrap());
    }
    server.kill();
    let server = Server::start(&[&arguments[..], &["--linger", "2"]].concat());
    let path = |file: &str| {
        let (id, viewer) = (hello["session"].as_str().unwrap(), hello["viewer"].as_str().unwrap());
        format!("/v1/sessions/{id}/{file}?token={viewer}")
    };
    let (status, captions) = server.get(&path("captions.txt"));
    let first = screen.lines("target")[0];
    assert_eq!(status, 200);
    assert!(captions.contains(first), "{first:?} is not in {captions:?}");
    // The feed ends when the session does.
    let (status, events) = server.get(&path("events"));
    assert_eq!(status, 200);
    assert!(events.contains("event: end") && events.contains(r#""interrupted":true"#), "{events}");
    // Who has read the end already is not kept waiting.
    let last = events.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap();
    for after in [last, "999999"] {
        let (status, events) = server.get(&format!("{}&after={after}", path("events")));
        assert!(status == 200 && !events.contains("event:"), "{events}");
    }
    let (status, _) = server.request(&format!(
        "DELETE {}token={} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\r\n",
        path("").replace("/?", "?").split("token").next().unwrap(),
        hello["token"].as_str().unwrap(),
        server.port
    ));
    assert_eq!(status, 204);
    let files = std::fs::read_dir(&state).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.filter(|name| name.ends_with(".jsonl")).count(), 0);
}

/// A session that this server cannot go on with stays in the folder for one that can.
#[test]
fn a_session_that_cannot_go_on_is_kept() {
    let (_keep, state) = folder();
    let arguments = ["--state", state.to_str().unwrap(), "--to", "de"];
    let mut server = Server::start(&arguments);
    let mut client = server.client(json!({}));
    let token = client.next_of("session")["token"].as_str().unwrap().to_owned();
    let talk = pcm("talk-c.flac");
    client.send(&talk[..320_000]);
    while client.next_of("source")["committed"].as_array().unwrap().is_empty() {}
    server.kill();
    // There is one place, and it is taken.
    let mut server = Server::start(&[&arguments[..], &["--sessions", "1"]].concat());
    let mut other = server.client(json!({}));
    other.next_of("session");
    let mut refused = server.client(json!({"resume": {"token": token}}));
    assert_eq!(refused.rest().code, 1013);
    server.kill();
    let server = Server::start(&arguments);
    // Two connections at once: one of them has it, and neither hears that there is none.
    std::thread::scope(|scope| {
        let both: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| server.client(json!({"resume": {"token": token}})).next().unwrap()["type"].clone()))
            .collect();
        both.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), "session"));
    });
    let (client, sent) = resume(&server, &token, 0).unwrap();
    assert_eq!(client.play(&talk[sent..]).code, 1000);
}

/// Two servers would write into the same files.
#[test]
fn a_folder_belongs_to_one_server() {
    let (_keep, state) = folder();
    let _server = Server::start(&["--to", "de", "--state", state.to_str().unwrap()]);
    let second =
        crate::run(&["serve", "--device", "cpu", "--listen", "127.0.0.1:0", "--state", state.to_str().unwrap()]);
    crate::refused(&second, 1, &["used by another server"]);
}

/// A server that is asked to end tells its clients to come back, closes what is open, and ends
/// well.
#[cfg(unix)]
#[test]
fn a_server_that_ends_lets_its_sessions_end() {
    let mut server = Server::start(&["--to", "de"]);
    let mut client = server.client(json!({}));
    client.next_of("session");
    client.send(&pcm("talk-a.flac")[..200_000]);
    client.next_of("progress");
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(client.rest().code, 1012);
}

/// A server that is asked to end while it loads its models ends at once. The later it is asked, the
/// farther it has come, until it serves.
#[cfg(unix)]
#[test]
fn a_server_that_loads_ends_at_once() {
    let (mut codes, mut delay) = (Vec::new(), 10);
    loop {
        let arguments = ["serve", "--to", "de", "--device", "cpu", "--listen", "127.0.0.1:0"];
        let mut process = crate::alignatt(&arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        // SAFETY: `kill` sends a signal to a process that is our child and was not waited for.
        unsafe { libc::kill(process.id().cast_signed(), libc::SIGTERM) };
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                let _ = process.kill();
                panic!("asked after {delay} ms, it goes on");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // At its very beginning the signal itself ends it, and once it serves it ends well.
        codes.push(status.code());
        if status.code() == Some(0) {
            break;
        }
        assert!(matches!(status.code(), None | Some(130)), "asked after {delay} ms, it ended with {status}");
        delay = delay * 13 / 10;
    }
    assert!(codes.contains(&Some(130)), "{codes:?}");
}

/// With a folder, a session goes on after the server was asked to end.
#[cfg(unix)]
#[test]
fn a_restart_is_not_the_end_of_a_session() {
    let (_keep, state) = folder();
    let state = state.to_str().unwrap();
    let talk = pcm("talk-b.flac");
    let mut server = Server::start(&["--to", "de", "--state", state]);
    let mut screen = Screen::default();
    let mut client = server.client(json!({}));
    let token = client.next_of("session")["token"].as_str().unwrap().to_owned();
    client.send(&talk[..400_000]);
    read_some(&mut client, &mut screen, 8);
    assert_eq!(server.terminate(), Some(0));
    read_some(&mut client, &mut screen, usize::MAX);
    let server = Server::start(&["--to", "de", "--state", state]);
    let (client, sent) = resume(&server, &token, screen.n).unwrap();
    assert!(sent > 0 && sent <= 400_000, "{sent}");
    let ended = client.play(&talk[sent..]);
    ended.messages.iter().for_each(|message| screen.take(message));
    let (heard, expected) = (screen.lines("source").join(" "), of_command_line("talk-b.flac").0.join(" "));
    assert!(crate::errors(&crate::words(&heard), &crate::words(&expected)) < 0.1, "{heard}\n{expected}");
}

/// A client may be back before the server has noticed that it was gone, and what it sent before is
/// still arriving. No sound counts twice.
#[test]
fn a_client_that_comes_back_at_once_sends_no_sound_twice() {
    let server = Server::start(&["--to", "de"]);
    let talk = pcm("talk-b.flac");
    let mut client = server.client(json!({}));
    let token = client.next_of("session")["token"].as_str().unwrap().to_owned();
    let (mut sent, mut former) = (0, Vec::new());
    for at in 0..12 {
        let until = talk.len().min(sent + 100_000 + at * 10_000);
        for part in talk[sent..until].chunks(6_400) {
            client.send(part);
        }
        let (again, from) = resume(&server, &token, 0).unwrap();
        former.push(std::mem::replace(&mut client, again));
        assert!(from <= until, "the server has {from} bytes of {until}");
        sent = from;
    }
    let ended = client.play(&talk[sent..]);
    let heard = ended.messages.last().unwrap()["audio_ms"].as_u64().unwrap();
    let said = talk.len() as u64 / 32;
    assert!(heard.abs_diff(said) <= 10, "heard {heard} ms of {said} ms");
}
