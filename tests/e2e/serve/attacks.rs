//! What was reported of other servers: pages of other origins, missing tokens, slow and endless
//! requests, clients that vanish, and text in logs.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use super::server::{Client, Server, folder, pcm};
use crate::common::long;

/// Every path that takes a WebSocket.
const SOCKETS: &[&str] =
    &["/v1/stream", "/asr", "/mt", "/v1/listen", "/v1/realtime/translations", "/v1/realtime?intent=transcription"];

#[test]
fn pages_of_other_origins_are_refused_before_the_upgrade() {
    let server = Server::start(&["--to", "de", "--allow-origin", "https://talks.example"]);
    let port = server.port;
    for path in SOCKETS {
        let own = format!("http://127.0.0.1:{port}");
        assert!(server.websocket(path, &[("origin", &own)]).is_ok(), "{path}");
        assert!(server.websocket(path, &[("origin", "https://talks.example")]).is_ok(), "{path}");
        let suffix = format!("http://127.0.0.1:{port}.evil.example");
        for origin in ["http://evil.example", "null", &suffix, "https://talks.example.evil.example"] {
            assert_eq!(server.websocket(path, &[("origin", origin)]).err(), Some(403), "{path} from {origin}");
        }
    }
    let hosts = ["evil.example", "127.0.0.1.evil.example", ""];
    for host in hosts {
        let (status, _) = server.request(&format!("GET /readyz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
        assert_eq!(status, 403, "{host}");
    }
}

/// A page that has its own name resolve to a server which is open to its network names that name as
/// host and as origin. The server's own names are its addresses.
#[test]
fn an_open_server_is_not_called_by_the_name_of_a_page() {
    let server = Server::start_with("0.0.0.0:0", &["--to", "de", "--open"], &[]);
    let port = server.port;
    for (host, expected) in [
        (format!("evil.example:{port}"), 403),
        ("evil.example".to_owned(), 403),
        (format!("192.168.1.5.evil.example:{port}"), 403),
        (format!("127.0.0.1:{port}"), 200),
        (format!("192.168.1.5:{port}"), 200),
        (format!("localhost:{port}"), 200),
    ] {
        let origin = format!("origin: http://{host}");
        let ask =
            |line: &str| server.request(&format!("{line}\r\nhost: {host}\r\n{origin}\r\nconnection: close\r\n\r\n"));
        assert_eq!(ask("GET /readyz HTTP/1.1").0, expected, "{host}");
        let made = ask("POST /v1/realtime/client_secrets HTTP/1.1\r\ncontent-length: 0");
        assert_eq!(made.0, expected, "{host}: {}", made.1);
    }
}

/// A WebSocket counts among the sockets of its address until it is closed.
#[test]
fn websockets_are_counted() {
    let server = Server::start(&["--to", "de", "--sockets", "3"]);
    let mut clients: Vec<_> = (0..3).map(|_| server.client(json!({}))).collect();
    clients.iter_mut().for_each(|client| drop(client.next_of("session")));
    for _ in 0..5 {
        assert_eq!(server.get("/healthz").0, 0, "it is closed without an answer");
    }
    clients.pop();
    let deadline = Instant::now() + super::server::PATIENCE;
    while server.get("/healthz").0 != 200 {
        assert!(Instant::now() < deadline, "the place is not freed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A session of the client with the token, or the socket that was refused, and the first message.
fn open_with_token(server: &Server) -> (Client, Value) {
    let mut client = server.websocket("/v1/stream?token=a-token-of-twenty-chars", &[]).unwrap();
    client.say(json!({"type": "start"}));
    let first = client.next().unwrap();
    (client, first)
}

/// Tries until there is a place for the session.
fn open_within(server: &Server, longest: Duration) -> Client {
    let deadline = Instant::now() + longest;
    loop {
        match open_with_token(server) {
            (client, first) if first["type"] == "session" => return client,
            (_, error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nothing_is_done_without_a_token() {
    let (_keep, server) = Server::start_with_token(" 1", &["--to", "de"]);
    for path in SOCKETS {
        assert_eq!(server.websocket(path, &[]).err(), Some(401), "{path}");
        assert_eq!(
            server.websocket(path, &[("authorization", "Bearer wrong-token-of-twenty")]).err(),
            Some(401),
            "{path}"
        );
        // One of them may have the only place for a session, and then another is told to come
        // again.
        let known = |opened: Result<_, u16>| matches!(opened.err(), None | Some(429));
        assert!(known(server.websocket(path, &[("authorization", "Bearer a-token-of-twenty-chars")])), "{path}");
        let mark = if path.contains('?') { '&' } else { '?' };
        assert!(known(server.websocket(&format!("{path}{mark}token=a-token-of-twenty-chars"), &[])), "{path}");
    }
    for path in ["/v1/models", "/metrics"] {
        assert_eq!(server.get(path).0, 401, "{path}");
        assert_eq!(server.get(&format!("{path}?token=a-token-of-twenty-chars")).0, 200, "{path}");
    }
    assert_eq!(server.get("/healthz").0, 200);
    // The token's line allows one session.
    // The sockets of above are gone as soon as the server has noticed.
    let _client = open_within(&server, super::server::PATIENCE);
    let (mut second, error) = open_with_token(&server);
    assert_eq!(error["type"], "error");
    assert_eq!(second.rest().code, 1013);
}

/// A session that waits for its client counts as one of that client's. A further one takes its
/// place, and going on with it needs one again.
#[test]
fn a_client_has_as_many_sessions_as_it_may_have() {
    let (_keep, server) = Server::start_with_token(" 2", &["--to", "de"]);
    let (mut first, hello) = open_with_token(&server);
    let (_second, _) = open_with_token(&server);
    let (_, refused) = open_with_token(&server);
    assert_eq!((&refused["code"], &refused["retry_after_ms"]), (&json!("rate_limit_exceeded"), &json!(5_000)));
    first.socket.close(None).unwrap();
    first.rest();
    // The first one lingers for a minute. It makes room for another one, and ends.
    let _third = open_within(&server, Duration::from_secs(10));
    let mut again = server.websocket("/v1/stream?token=a-token-of-twenty-chars", &[]).unwrap();
    again.say(json!({"type": "start", "resume": {"token": hello["token"]}}));
    let ended = again.rest();
    assert_eq!(ended.messages.last().unwrap()["interrupted"], true, "{:?}", ended.messages);
}

/// An address that others can reach is not served without tokens.
#[test]
fn an_open_address_needs_tokens() {
    let output = crate::run(&["serve", "--listen", "0.0.0.0:0"]);
    crate::refused(&output, 2, &["--tokens", "--open"]);
    let output = crate::run(&["serve", "--listen", "127.0.0.1:0", "--tokens", "/no/such/file"]);
    crate::refused(&output, 1, &["/no/such/file"]);
}

#[test]
fn messages_that_are_wrong_or_too_large_are_refused_with_a_reason() {
    let server = Server::start(&["--to", "de"]);
    for (first, part) in [
        ("", "not a `start`"),
        ("[]", "not a `start`"),
        (r#"{"type":"end"}"#, "must be `start`"),
        (r#"{"type":"start","from":"xx"}"#, "xx"),
        (r#"{"type":"start","to":"cs"}"#, "cs"),
        (r#"{"type":"start","policy":"best"}"#, "unknown policy"),
        (r#"{"type":"start","chunk_ms":1}"#, "out of range"),
        (r#"{"type":"start","history":9}"#, "history"),
        (r#"{"type":"start","format":{"encoding":"s16le","rate":0}}"#, "rate"),
        (r#"{"type":"start","format":{"encoding":"s16le","rate":4000000000}}"#, "rate"),
        (r#"{"type":"start","format":{"encoding":"f32le","channels":0}}"#, "channels"),
        (r#"{"type":"start","format":{"encoding":"mp7"}}"#, "mp7"),
    ] {
        let mut client = server.websocket("/v1/stream", &[]).unwrap();
        client.socket.send(Message::text(first)).unwrap();
        let ended = client.rest();
        assert_eq!(ended.code, 4400, "{first}");
        let message = ended.messages[0]["message"].as_str().unwrap();
        assert!(message.contains(part), "{first}: {message}");
    }
    let long_context = json!({"context": "x".repeat(5_000)});
    assert_eq!(server.client(long_context).rest().code, 4400);
    // What was refused takes no place.
    assert!(server.is_idle(), "{}", server.get("/metrics").1);
    let mut client = server.websocket("/v1/stream", &[]).unwrap();
    client.say(json!({"type": "start"}));
    client.next_of("session");
    for nonsense in ["{", r#"{"type":"jump"}"#, r#"{"type":"start"}"#] {
        client.socket.send(Message::text(nonsense)).unwrap();
        assert_eq!(client.next_of("error")["param"], "message", "the session goes on after {nonsense}");
    }
    client.socket.send(Message::text("x".repeat(70_000))).unwrap();
    assert_eq!(client.rest().code, 1009);
    let mut client = server.client(json!({}));
    client.next_of("session");
    // The peer may close while this is sent.
    let _ = client.socket.send(Message::binary(vec![0; 3 << 20]));
    client.rest();
    assert_eq!(server.get("/readyz").0, 200);
}

/// A client that connects and says nothing, or one byte a second, or that keeps back the body that
/// it has announced, does not hold a socket.
#[test]
fn slow_clients_are_cut_off() {
    let server = Server::start(&["--to", "de"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut silent = server.websocket("/v1/stream", &[]).unwrap();
            let began = Instant::now();
            assert_eq!(silent.rest().code, 4408);
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        });
        scope.spawn(|| {
            let mut socket = server.socket();
            let began = Instant::now();
            for byte in b"GET /healthz HTTP/1.1\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter() {
                if socket.write_all(&[*byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(500));
            }
            let _ = socket.read_to_end(&mut Vec::new());
            assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
        });
        for path in ["/v1/realtime/client_secrets", "/v1/realtime/translations/client_secrets"] {
            let server = &server;
            scope.spawn(move || {
                let began = Instant::now();
                let (status, answer) = server.request(&format!(
                    "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{{",
                    server.port
                ));
                assert_eq!(status, 408, "{answer}");
                assert!(answer.contains("the body did not arrive within 10 s"), "{answer}");
                assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
            });
        }
        scope.spawn(|| {
            let (status, _) = server.request(&format!(
                "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nx-long: {}\r\n\r\n",
                server.port,
                "x".repeat(100_000)
            ));
            assert!(matches!(status, 0 | 431), "{status}");
            let many: String = (0..200).map(|at| format!("x-{at}: y\r\n")).collect();
            let (status, _) =
                server.request(&format!("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{many}\r\n", server.port));
            assert!(matches!(status, 0 | 431), "{status}");
        });
    });
    assert_eq!(server.get("/healthz").0, 200);
}

/// A frame as a client sends it, with a mask of zeros: its first byte, how its length is written,
/// and its content.
fn frame(first: u8, length: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(length);
    bytes[1] |= 0x80;
    bytes.extend([0; 4]);
    bytes.extend(content);
    bytes
}

/// Frames that break the protocol, claim to be endless or are endless end their socket and nothing
/// else.
#[test]
fn broken_frames_end_their_socket() {
    let server = Server::start(&["--to", "de"]);
    let before = server.memory();
    let start = br#"{"type":"start"}"#;
    let kilobyte = |first| frame(first, &[126, 4, 0], &[b' '; 1024]);
    let endless = [kilobyte(0x01), kilobyte(0x00).repeat(2_000)].concat();
    let cases: [(&str, Vec<u8>); 9] = [
        ("a text of 2^62 bytes", frame(0x81, &[127, 0x40, 0, 0, 0, 0, 0, 0, 0], b"{")),
        ("a length with its highest bit set", frame(0x82, &[127, 0xff, 0, 0, 0, 0, 0, 0, 0], b"")),
        ("fragments without an end", endless),
        ("compressed, which was not agreed on", frame(0xc1, &[start.len() as u8], start)),
        ("reserved bits", frame(0xb1, &[start.len() as u8], start)),
        ("an unknown kind of frame", frame(0x83, &[1], b"x")),
        ("a ping that is too long", frame(0x89, &[126, 0, 200], &[b'x'; 200])),
        ("a ping in parts", frame(0x09, &[1], b"x")),
        ("text that is no UTF-8", frame(0x81, &[2], &[0xc3, 0x28])),
    ];
    for path in SOCKETS {
        for (what, bytes) in &cases {
            let mut client = server.websocket(path, &[]).unwrap();
            let stream = client.socket.get_mut();
            // The server may close while this is sent.
            let _ = stream.write_all(bytes);
            let began = Instant::now();
            client.rest();
            assert!(began.elapsed() < Duration::from_secs(5), "{path}: {what} kept it for {:?}", began.elapsed());
        }
        // Bytes of a client are masked.
        let mut client = server.websocket(path, &[]).unwrap();
        let _ = client.socket.get_mut().write_all(&[&[0x81, start.len() as u8], &start[..]].concat());
        client.rest();
    }
    let after = server.memory();
    assert!(after < before + 60.0, "{before} MiB became {after} MiB");
    let talk = &pcm("talk-c.flac")[..96_000];
    assert_eq!(server.client(json!({})).play(talk).code, 1000);
}

/// A client that asks and asks, and never reads the answers, loses its socket.
#[test]
fn clients_that_never_read_are_cut_off() {
    if !long() {
        return;
    }
    let server = Server::start(&["--to", "de"]);
    let mut socket = server.socket();
    let ask = format!("GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n", server.port);
    socket.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    // As much as the buffers hold.
    while socket.write_all(ask.as_bytes()).is_ok() {}
    let began = Instant::now();
    socket.set_write_timeout(None).unwrap();
    // The rest of the question waits until the server reads it, or is gone.
    assert!(socket.write_all(&ask.as_bytes().repeat(100_000)).is_err());
    let waited = began.elapsed();
    assert!(waited > Duration::from_secs(30) && waited < Duration::from_secs(75), "{waited:?}");
    assert_eq!(server.get("/healthz").0, 200);
}

/// Clients that vanish at any moment leave nothing behind.
#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let server = Server::start(&["--to", "de", "--linger", "0", "--sessions", "100"]);
    let talk = pcm("talk-c.flac");
    for round in 0..if long() { 300 } else { 30 } {
        let mut client = server.client(json!({}));
        if round % 3 > 0 {
            // While others end, there may be no room.
            let _ = client.next();
        }
        let _ = client.socket.send(Message::binary(talk[..3_200 * (1 + round % 20)].to_vec()));
        drop(client);
        let mut socket = server.socket();
        let _ = socket.write_all(b"GET /v1/sess");
    }
    server.wait_until_idle(super::server::PATIENCE);
    let ended = server.client(json!({})).play(&talk);
    assert_eq!(super::closed(&ended.messages), super::of_command_line("talk-c.flac"));
}

/// A client that sends a long text at once has turns like everybody else.
#[test]
fn a_long_text_leaves_the_device_to_others() {
    let server = Server::start(&[]);
    let start = json!({"to": "de", "format": {"encoding": "text"}});
    let mut long = server.client(start.clone());
    let hello = long.next_of("session");
    long.say(json!({"type": "words", "text": "Yes. ".repeat(9_000), "start_ms": 0, "end_ms": 1_000}));
    long.next_of("target");
    let mut short = server.client(start);
    short.say(json!({"type": "words", "text": "They sing.", "start_ms": 0, "end_ms": 1_000}));
    short.say(json!({"type": "end"}));
    assert_eq!(short.rest().code, 1000);
    let (id, viewer) = (hello["session"].as_str().unwrap(), hello["viewer"].as_str().unwrap());
    let (status, captions) = server.get(&format!("/v1/sessions/{id}/captions.txt?token={viewer}"));
    let lines = captions.lines().count();
    assert!(
        status == 200 && (1..9_000).contains(&lines),
        "{lines} of 9,000 sentences were translated before the other"
    );
    assert_eq!(server.get("/readyz").0, 200);
}

/// Neither sound, text nor tokens are in the log, at any level.
#[test]
fn logs_hold_no_text() {
    let (_keep, folder) = folder();
    let tokens = folder.join("tokens");
    std::fs::write(&tokens, "canary-token-0123456789\n").unwrap();
    let server = Server::start_with(
        "127.0.0.1:0",
        &["--to", "de", "--tokens", tokens.to_str().unwrap()],
        &[("RUST_LOG", "trace")],
    );
    let mut client = server.websocket("/v1/stream?token=canary-token-0123456789", &[]).unwrap();
    client.say(json!({"type": "start", "context": "canarycontext", "terms": "canaryterm = canarywort"}));
    let ended = client.play(&pcm("talk-c.flac"));
    let (source, target) = super::closed(&ended.messages);
    assert!(!source.is_empty());
    server.get("/v1/models?token=canary-token-0123456789");
    let said = server.said.lock().unwrap().clone();
    assert!(said.len() > 1_000, "the log is on");
    let line = source.join(" ");
    let canaries = ["canary-token", "canarycontext", "canaryterm", "canarywort", &line, &target[0]];
    for canary in canaries {
        assert!(!said.contains(canary), "the log has `{canary}`");
    }
    // Single words of the talk, beyond those of any program.
    for word in source.iter().filter(|word| word.len() > 7) {
        assert!(!said.contains(word.as_str()), "the log has `{word}`");
    }
}

/// Memory does not grow with the number of sessions that were.
#[test]
fn sessions_one_after_another_leave_memory_flat() {
    let server = Server::start(&["--to", "de"]);
    let talk = &pcm("talk-c.flac")[..128_000];
    let play = |count: usize| (0..count).for_each(|_| drop(server.client(json!({})).play(talk)));
    let (warm, rounds) = if long() { (300, 1_000) } else { (10, 20) };
    play(warm);
    let before = server.memory();
    play(rounds);
    let after = server.memory();
    eprintln!("{rounds} sessions: {before:.0} MiB before, {after:.0} MiB after");
    assert!(after < before + 24.0, "{before} MiB became {after} MiB");
}
