//! Measures a server: how many live sessions keep up, how soon one too many is refused, what a
//! session costs in memory, how far viewers are behind, and what an upload does to a live session.
//!
//! `cargo bench --bench serve [live] [refusal] [memory] [viewers] [upload]` runs all parts, or
//! those that are named, with the demo pack on the CPU. Figures are printed, and nothing is
//! asserted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// Bytes of a second of sound.
const SECOND: usize = 32_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runs = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let talk = pcm();
    if runs("live") {
        for sessions in [1, 3, 6, 12] {
            live(sessions, &talk);
        }
    }
    if runs("refusal") {
        refusal();
    }
    if runs("memory") {
        memory(&talk);
    }
    if runs("viewers") {
        viewers(200, &talk);
    }
    if runs("upload") {
        upload(&talk);
    }
}

/// A sample talk as 16-bit samples at 16 kHz.
fn pcm() -> Vec<u8> {
    let mut file = alignatt::AudioFile::open("samples/talk-a.flac").expect("a sample");
    let mut bytes = Vec::new();
    while let Some(block) = file.next_block().expect("a sample") {
        bytes.extend(block.iter().flat_map(|value| ((value * 32_768.0) as i16).to_le_bytes()));
    }
    bytes
}

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(arguments: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alignatt"));
        command.args(["serve", "--to", "de", "--device", "cpu", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut process = command.stderr(Stdio::piped()).spawn().expect("a server");
        let mut lines = BufReader::new(process.stderr.take().expect("its messages")).lines();
        let port = loop {
            let line = lines.next().expect("the server has ended").expect("text");
            if let Some((_, address)) = line.split_once("serving at ") {
                break address
                    .trim_end_matches('/')
                    .rsplit(':')
                    .next()
                    .and_then(|port| port.parse().ok())
                    .expect("a port");
            }
        };
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Server { process, port }
    }

    fn client(&self, start: &Value) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        let url = format!("ws://127.0.0.1:{}/v1/stream", self.port);
        let (mut socket, _) = tungstenite::client(url, stream).expect("a WebSocket");
        let mut start = start.clone();
        start["type"] = "start".into();
        socket.send(Message::text(start.to_string())).expect("a socket");
        socket
    }

    /// Resident memory in MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The next JSON message; `None` at the end.
fn next(socket: &mut WebSocket<TcpStream>) -> Option<Value> {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return serde_json::from_str(text.as_str()).ok(),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Speaks `sound` in real time and returns the lag of every step, in milliseconds.
fn speak(server: &Server, sound: &[u8]) -> Vec<f64> {
    let mut socket = server.client(&json!({}));
    let raw = socket.get_ref().try_clone().expect("a second handle");
    let mut writer = WebSocket::from_raw_socket(raw, tungstenite::protocol::Role::Client, None);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let began = Instant::now();
            for (at, part) in sound.chunks(SECOND / 10).enumerate() {
                std::thread::sleep((Duration::from_millis(100) * at as u32).saturating_sub(began.elapsed()));
                if writer.send(Message::binary(part.to_vec())).is_err() {
                    return;
                }
            }
            let _ = writer.send(Message::text(r#"{"type":"end"}"#));
        });
        let mut lags = Vec::new();
        while let Some(message) = next(&mut socket) {
            if message["type"] == "progress" {
                lags.extend(message["lag_ms"].as_f64());
            }
        }
        lags
    })
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Live sessions at a time: the lag from the arrival of a step's oldest sound to its last result.
fn live(sessions: usize, talk: &[u8]) {
    let server = Server::start(&["--load", "1"]);
    let mut lags: Vec<f64> = std::thread::scope(|scope| {
        let spoken: Vec<_> = (0..sessions)
            .map(|number| {
                let server = &server;
                scope.spawn(move || {
                    // People do not begin to speak at the same moment.
                    std::thread::sleep(Duration::from_millis(290) * number as u32);
                    speak(server, talk)
                })
            })
            .collect();
        spoken.into_iter().flat_map(|session| session.join().expect("a session")).collect()
    });
    let (middle, late) = (quantile(&mut lags, 0.5), quantile(&mut lags, 0.95));
    println!("live: {sessions} sessions, lag p50 {middle:.0} ms, p95 {late:.0} ms, {} steps", lags.len());
}

/// From the request to the refusal of one session too many.
fn refusal() {
    let server = Server::start(&["--sessions", "1"]);
    let mut first = server.client(&json!({}));
    next(&mut first);
    let mut times: Vec<f64> = (0..20)
        .map(|_| {
            let began = Instant::now();
            let mut socket = server.client(&json!({}));
            while next(&mut socket).is_some() {}
            began.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    println!("refusal: p50 {:.1} ms, p95 {:.1} ms", quantile(&mut times, 0.5), quantile(&mut times, 0.95));
}

/// Memory of open sessions that have heard ten seconds, and after sessions one after another.
fn memory(talk: &[u8]) {
    let server = Server::start(&["--load", "1", "--sessions", "64"]);
    let bare = server.memory();
    let open: Vec<_> = (0..8)
        .map(|_| {
            let mut socket = server.client(&json!({}));
            socket.send(Message::binary(talk[..10 * SECOND].to_vec())).expect("a socket");
            while next(&mut socket).is_some_and(|message| message["audio_ms"].as_u64().unwrap_or(0) < 9_000) {}
            socket
        })
        .collect();
    println!(
        "memory: {bare:.0} MiB without a session, {:.1} MiB a session",
        (server.memory() - bare) / open.len() as f64
    );
    drop(open);
    for count in [0, 100, 400, 1_000] {
        for _ in 0..count {
            let mut socket = server.client(&json!({}));
            socket.send(Message::binary(talk[..2 * SECOND].to_vec())).expect("a socket");
            socket.send(Message::text(r#"{"type":"end"}"#)).expect("a socket");
            while next(&mut socket).is_some() {}
        }
        println!("memory: {:.0} MiB after {count} more sessions one after another", server.memory());
    }
}

/// How long after the session's own client its viewers have a caption.
fn viewers(count: usize, talk: &[u8]) {
    let server = Server::start(&[]);
    let mut socket = server.client(&json!({"tentative": false}));
    let hello = next(&mut socket).expect("a session");
    let path = format!(
        "/v1/sessions/{}/events?token={}",
        hello["session"].as_str().unwrap_or_default(),
        hello["viewer"].as_str().unwrap_or_default()
    );
    let (seen, all) = mpsc::channel::<(u64, Instant)>();
    std::thread::scope(|scope| {
        for _ in 0..count {
            let (seen, path, port) = (seen.clone(), path.clone(), server.port);
            scope.spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
                let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).expect("a socket");
                let mut lines = BufReader::new(stream.take(u64::MAX)).lines();
                while let Some(Ok(line)) = lines.next() {
                    if let Some(n) = line.strip_prefix("id: ").and_then(|n| n.parse().ok()) {
                        let _ = seen.send((n, Instant::now()));
                    }
                }
            });
        }
        drop(seen);
        std::thread::sleep(Duration::from_secs(1));
        socket.send(Message::binary(talk[..20 * SECOND].to_vec())).expect("a socket");
        socket.send(Message::text(r#"{"type":"end"}"#)).expect("a socket");
        let mut own = std::collections::BTreeMap::new();
        while let Some(message) = next(&mut socket) {
            if let Some(n) = message["n"].as_u64() {
                own.entry(n).or_insert_with(Instant::now);
            }
        }
        let mut delays: Vec<f64> = all
            .iter()
            .filter_map(|(n, at)| Some(at.saturating_duration_since(*own.get(&n)?).as_secs_f64() * 1000.0))
            .collect();
        let (middle, late) = (quantile(&mut delays, 0.5), quantile(&mut delays, 0.95));
        println!(
            "viewers: {count}, behind the session's client p50 {middle:.1} ms, p95 {late:.1} ms, of {} events",
            delays.len()
        );
    });
}

/// A live session alone and beside an upload of an hour, in turns.
fn upload(talk: &[u8]) {
    let server = Server::start(&[]);
    let mut hour = wav_header();
    while hour.len() < 3_600 * SECOND {
        hour.extend_from_slice(talk);
    }
    for round in 0..3 {
        let mut alone = speak(&server, &talk[..30 * SECOND]);
        let stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
        let mut beside = std::thread::scope(|scope| {
            scope.spawn(|| post(&server, &stream, &hour));
            std::thread::sleep(Duration::from_secs(5));
            let lags = speak(&server, &talk[..30 * SECOND]);
            // The rest of the hour is not waited for: the job ends with its connection.
            stream.shutdown(std::net::Shutdown::Both).expect("a socket");
            lags
        });
        println!(
            "upload, round {round}: live lag p50 {:.0} ms, p95 {:.0} ms alone; p50 {:.0} ms, p95 {:.0} ms beside an \
             upload of an hour",
            quantile(&mut alone, 0.5),
            quantile(&mut alone, 0.95),
            quantile(&mut beside, 0.5),
            quantile(&mut beside, 0.95)
        );
    }
}

/// Uploads a file for transcription, and waits for the answer or the end of the connection.
fn post(server: &Server, mut stream: &TcpStream, file: &[u8]) {
    let head = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nx\r\n--b\r\ncontent-disposition: form-data; \
                name=\"file\"; filename=\"a.wav\"\r\n\r\n";
    let tail = "\r\n--b--\r\n";
    let request = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\ncontent-type: \
         multipart/form-data; boundary=b\r\ncontent-length: {}\r\n\r\n{head}",
        server.port,
        head.len() + file.len() + tail.len()
    );
    let sent = stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.write_all(file))
        .and_then(|()| stream.write_all(tail.as_bytes()));
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    if sent.is_err() || !answer.is_empty() {
        println!("upload: it has ended already: {}", answer.lines().next().unwrap_or_default());
    }
}

/// The header of a WAV stream of unknown length, 16-bit mono at 16 kHz.
fn wav_header() -> Vec<u8> {
    let mut header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    header.extend(16_000u32.to_le_bytes());
    header.extend(32_000u32.to_le_bytes());
    header.extend(b"\x02\0\x10\0data\xff\xff\xff\xff");
    header
}
