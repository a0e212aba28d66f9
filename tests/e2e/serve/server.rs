//! A server for a test, and clients of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::{alignatt, sample};

/// The longest time that a test waits for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A server on a free port. It is killed when the value is dropped.
pub(super) struct Server {
    pub process: Child,
    pub port: u16,
    /// All that it wrote to standard error.
    pub said: Arc<Mutex<String>>,
}

impl Server {
    /// Starts `alignatt serve` with the token `a-token-of-twenty-chars`. `more`: what its line in
    /// the file has behind it. The file is deleted with the first value.
    pub(super) fn start_with_token(more: &str, arguments: &[&str]) -> (tempfile::TempDir, Server) {
        let (keep, folder) = folder();
        let tokens = folder.join("tokens");
        std::fs::write(&tokens, format!("a-token-of-twenty-chars{more}\n")).unwrap();
        (keep, Server::start(&[arguments, &["--tokens", tokens.to_str().unwrap()]].concat()))
    }

    /// Starts `alignatt serve` with the demo pack on the CPU, and waits until it can be used.
    pub(super) fn start(arguments: &[&str]) -> Server {
        Server::start_with("127.0.0.1:0", arguments, &[])
    }

    /// Starts it with further environment variables.
    pub(super) fn start_with(address: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
        let all = [&["serve", "--device", "cpu", "--listen", address][..], arguments].concat();
        let mut command = alignatt(&all);
        let mut process = command.envs(variables.iter().copied()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let port = loop {
            let line = lines.next().expect("the server ends before it starts").unwrap();
            said.lock().unwrap().push_str(&format!("{line}\n"));
            if let Some((_, address)) = line.split_once("serving at ") {
                break address.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
            }
        };
        let all = said.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| all.lock().unwrap().push_str(&format!("{line}\n")))
        });
        Server { process, port, said }
    }

    /// The status and the body of a request.
    pub(super) fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\r\n", self.port))
    }

    /// The status and the body of what the server answers to these bytes.
    pub(super) fn request(&self, bytes: &str) -> (u16, String) {
        let mut socket = self.socket();
        socket.write_all(bytes.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A server that closes early is an answer, too.
        let _ = socket.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned());
        (status, body)
    }

    pub(super) fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Opens a WebSocket, with further headers.
    pub(super) fn websocket(&self, path: &str, headers: &[(&str, &str)]) -> Result<Client, u16> {
        let mut request = tungstenite::http::Request::builder()
            .uri(format!("ws://127.0.0.1:{}{path}", self.port))
            .header("host", format!("127.0.0.1:{}", self.port))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", tungstenite::handshake::client::generate_key());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match tungstenite::client(request.body(()).unwrap(), MaybeTlsStream::Plain(self.socket())) {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A native client that has said `start` with these fields.
    pub(super) fn client(&self, start: Value) -> Client {
        let mut client = self.websocket("/v1/stream", &[]).unwrap();
        client.say(with_type("start", start));
        client
    }

    /// Waits until no session runs.
    pub(super) fn wait_until_idle(&self, longest: Duration) {
        let deadline = Instant::now() + longest;
        while !self.is_idle() {
            assert!(Instant::now() < deadline, "a session runs: {}", self.get("/metrics").1);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.get("/metrics").1.contains("alignatt_sessions{state=\"running\"} 0\n")
    }

    /// Memory of the process, in MiB.
    pub(super) fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    }

    /// Kills the server as a crash would.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks the server to end, and waits for its exit code.
    #[cfg(unix)]
    pub(super) fn terminate(&mut self) -> Option<i32> {
        // SAFETY: `kill` sends a signal to a process that is our child and still exists.
        unsafe { libc::kill(self.process.id().cast_signed(), libc::SIGTERM) };
        self.process.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let said = self.said.lock().unwrap();
        assert!(!said.contains("panicked") || std::thread::panicking(), "{said}");
    }
}

fn with_type(kind: &str, mut fields: Value) -> Value {
    fields["type"] = kind.into();
    fields
}

/// A WebSocket client.
pub(super) struct Client {
    pub socket: WebSocket<MaybeTlsStream<TcpStream>>,
}

/// How a WebSocket ended: its messages, and the close code.
pub(super) struct Ended {
    pub messages: Vec<Value>,
    pub code: u16,
}

impl Client {
    pub(super) fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).unwrap();
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).unwrap();
    }

    /// The next message; an error is the close code, or 0 where the socket was cut.
    pub(super) fn next(&mut self) -> Result<Value, u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(frame)) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                Ok(_) => {}
                Err(_) => return Err(0),
            }
        }
    }

    /// The next message of a type.
    pub(super) fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().unwrap_or_else(|code| panic!("closed with {code} before a {kind}"));
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// All messages up to the end.
    pub(super) fn rest(&mut self) -> Ended {
        let mut messages = Vec::new();
        loop {
            match self.next() {
                Ok(message) => messages.push(message),
                Err(code) => return Ended { messages, code },
            }
        }
    }

    /// Sends sound and the end, and reads all messages.
    pub(super) fn play(mut self, sound: &[u8]) -> Ended {
        for part in sound.chunks(6_400) {
            self.send(part);
        }
        self.say(json!({"type": "end"}));
        self.rest()
    }
}

/// The committed texts of native messages: source and target, a line a closed segment.
pub(super) fn closed(messages: &[Value]) -> (Vec<String>, Vec<String>) {
    let (mut source, mut target) = (Vec::new(), Vec::new());
    for message in messages.iter().filter(|message| message["closed"] == true) {
        match message["type"].as_str() {
            Some("source") => {
                let words = message["committed"].as_array().unwrap().iter();
                source.extend(words.map(|word| word["text"].as_str().unwrap().to_owned()));
            }
            Some("target") => target.push(message["committed"].as_str().unwrap().to_owned()),
            _ => {}
        }
    }
    (source, target)
}

/// A sample talk as 16-bit samples at 16 kHz.
pub(super) fn pcm(name: &str) -> Vec<u8> {
    let mut file = alignatt::AudioFile::open(sample(name)).unwrap();
    let mut bytes = Vec::new();
    while let Some(block) = file.next_block().unwrap() {
        bytes.extend(block.iter().flat_map(|value| ((value * 32_768.0) as i16).to_le_bytes()));
    }
    bytes
}

/// A folder of its own for a test.
pub(super) fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}
