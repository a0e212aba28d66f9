//! OpenAI's file endpoints, spoken by hand: every form of the answer, fields in any order, and what
//! others have sent to servers of this kind.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::server::{PATIENCE, Server};
use crate::common::long;
use crate::sample;

/// What the server answered.
pub(super) struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The parameter that an error names.
    fn param(&self) -> Value {
        self.json()["error"]["param"].clone()
    }
}

const BOUNDARY: &str = "a-boundary-0123456789";

/// A part of a form: a field, or the file.
enum Part<'a> {
    Field(&'a str, &'a str),
    File(&'a [u8]),
}
use Part::{Field, File};

fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        let (head, content) = match part {
            Field(name, value) => (format!("form-data; name=\"{name}\""), value.as_bytes()),
            // Nobody reads the name of the file.
            File(content) => ("form-data; name=\"file\"; filename=\"$(id)/../../a b.flac\"".to_owned(), *content),
        };
        body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: {head}\r\n\r\n").bytes());
        body.extend(content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    body
}

fn head(server: &Server, path: &str, length: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n{length}\r\n\
         content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n",
        server.port
    )
}

/// Sends bytes and reads what comes back.
pub(super) fn exchange(server: &Server, parts: &[&[u8]]) -> Answer {
    let mut socket = server.socket();
    for part in parts {
        // A server that has seen enough may not read the rest.
        if socket.write_all(part).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let head = head.to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Answer { status, head, body }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((len, rest)) = body.split_once("\r\n") {
        let len = usize::from_str_radix(len, 16).unwrap_or(0);
        if len == 0 {
            break;
        }
        whole.push_str(&rest[..len]);
        body = rest[len..].trim_start_matches("\r\n");
    }
    whole
}

fn post(server: &Server, task: &str, parts: &[Part<'_>]) -> Answer {
    let body = form(parts);
    let head = head(server, &format!("/v1/audio/{task}"), &format!("content-length: {}", body.len()));
    exchange(server, &[head.as_bytes(), &body])
}

fn talk(name: &str) -> Vec<u8> {
    std::fs::read(sample(name)).unwrap()
}

/// The first seconds of a talk as a WAV file, which is deleted with the first value.
fn beginning(name: &str) -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
    let (keep, folder) = super::server::folder();
    let path = folder.join("beginning.wav");
    let file = wav(16_000, 16, &super::pcm(name)[..32_000 * 16]);
    std::fs::write(&path, &file).unwrap();
    (keep, path, file)
}

/// What the command line writes about a file.
fn command_line(arguments: &[&str], file: &std::path::Path) -> String {
    let output = crate::run(&[arguments, &["--device", "cpu", file.to_str().unwrap()]].concat());
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn in_one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_file_is_transcribed_in_every_form() {
    let server = Server::start(&[]);
    let (_keep, path, file) = beginning("talk-a.flac");
    let expected = in_one_line(&command_line(&["transcribe"], &path));
    assert!(expected.len() > 100);
    // As curl's users have it, the file comes first.
    let json = post(&server, "transcriptions", &[File(&file), Field("model", "whisper-1")]);
    assert_eq!(json.status, 200, "{}", json.body);
    assert_eq!(json.json()["text"], expected);
    let seconds = json.json()["usage"]["seconds"].as_f64().unwrap();
    assert!(seconds > 15.0 && json.json()["usage"]["type"] == "duration");
    assert!(json.head.contains("content-type: application/json"));

    let ask = |fields: &[(&'static str, &'static str)]| {
        let mut parts = vec![Field("model", "any"), Field("language", "en")];
        parts.extend(fields.iter().map(|(name, value)| Field(name, value)));
        parts.push(File(&file));
        let answer = post(&server, "transcriptions", &parts);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    };
    let text = ask(&[("response_format", "text")]);
    assert_eq!(text.body, format!("{expected}\n"));
    assert!(text.head.contains("content-type: text/plain"));
    for form in ["srt", "vtt"] {
        let expected = command_line(&["transcribe", "--format", form], &path);
        assert_eq!(ask(&[("response_format", form)]).body, expected, "{form}");
    }

    let verbose = ask(&[("response_format", "verbose_json")]).json();
    assert_eq!((verbose["task"].as_str(), verbose["language"].as_str()), (Some("transcribe"), Some("english")));
    assert_eq!((&verbose["text"], &verbose["duration"]), (&expected.clone().into(), &seconds.into()));
    assert!(verbose["words"].is_null());
    let segments = verbose["segments"].as_array().unwrap();
    let texts: Vec<&str> = segments.iter().map(|segment| segment["text"].as_str().unwrap()).collect();
    assert_eq!(texts.join(" "), expected);
    let mut end = 0.0;
    for (at, segment) in segments.iter().enumerate() {
        assert_eq!(segment["id"], at);
        let times = (segment["start"].as_f64().unwrap(), segment["end"].as_f64().unwrap());
        assert!(end <= times.0 && times.0 < times.1 && times.1 <= seconds, "{segment}");
        end = times.1;
        let fields = ["seek", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"];
        assert!(fields.iter().all(|field| !segment[field].is_null()), "{segment}");
    }
    let words = ask(&[("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]).json();
    assert!(words["segments"].is_null());
    let words: Vec<&str> = words["words"].as_array().unwrap().iter().map(|w| w["word"].as_str().unwrap()).collect();
    assert_eq!(words.join(" "), expected);
    let both = [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")];
    let both = ask(&[&[("response_format", "verbose_json")][..], &both].concat()).json();
    assert!(both["segments"].is_array() && both["words"].is_array());
}

#[test]
fn a_file_is_translated() {
    let server = Server::start(&[]);
    let (_keep, path, file) = beginning("talk-b.flac");
    let expected = in_one_line(&command_line(&["translate", "--to", "de"], &path));
    let parts = [Field("model", "any"), Field("target_language", "de"), File(&file)];
    assert_eq!(post(&server, "translations", &parts).json()["text"], expected);
    let srt = [Field("model", "any"), Field("response_format", "srt"), File(&file), Field("target_language", "de")];
    let expected_srt = command_line(&["translate", "--to", "de", "--format", "srt"], &path);
    assert_eq!(post(&server, "translations", &srt).body, expected_srt);
    let verbose =
        [Field("model", "any"), Field("response_format", "verbose_json"), Field("target_language", "de"), File(&file)];
    let verbose = post(&server, "translations", &verbose).json();
    assert_eq!((verbose["task"].as_str(), verbose["language"].as_str()), (Some("translate"), Some("german")));
    let segments = verbose["segments"].as_array().unwrap();
    let texts: Vec<&str> = segments.iter().map(|segment| segment["text"].as_str().unwrap()).collect();
    assert_eq!(texts.join(" "), expected);
    // English is the usual target, and this server has no English one.
    let english = post(&server, "translations", &[Field("model", "any"), File(&file)]);
    assert_eq!((english.status, english.param()), (400, "target_language".into()), "{}", english.body);
}

#[test]
fn a_stream_grows_to_the_whole_text() {
    let server = Server::start(&["--to", "de"]);
    let (_keep, path, file) = beginning("talk-a.flac");
    for (task, arguments) in [("transcriptions", &["transcribe"][..]), ("translations", &["translate", "--to", "de"])] {
        let parts = [Field("model", "any"), Field("stream", "true"), File(&file)];
        let answer = post(&server, task, &parts);
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: text/event-stream"), "{}", answer.head);
        let events: Vec<Value> = answer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let (last, deltas) = events.split_last().unwrap();
        assert_eq!(last["type"], "transcript.text.done");
        assert!(deltas.len() > 3 && deltas.iter().all(|event| event["type"] == "transcript.text.delta"));
        let whole: String = deltas.iter().map(|event| event["delta"].as_str().unwrap()).collect();
        assert_eq!(last["text"], whole);
        assert_eq!(whole, in_one_line(&command_line(arguments, &path)), "{task}");
    }
}

/// A WAV with a rate that nothing has.
pub(super) fn wav(rate: u32, bits: u16, sound: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    let block = bits / 8;
    file.extend((36 + sound.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend(1u16.to_le_bytes());
    file.extend(1u16.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend(rate.saturating_mul(u32::from(block)).to_le_bytes());
    file.extend(block.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend((sound.len() as u32).to_le_bytes());
    file.extend(sound);
    file
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let server = Server::start(&["--to", "de"]);
    let file = talk("talk-c.flac");
    let jpeg = [&b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"[..], &[7; 5_000]].concat();
    let (model, long) = (Field("model", "any"), "x".repeat(5_000));
    for (what, parts, status, param) in [
        ("no model", vec![File(&file)], 400, Some("model")),
        ("no file", vec![Field("model", "any")], 400, Some("file")),
        ("two files", vec![Field("model", "any"), File(&file), File(&file)], 400, Some("file")),
        ("nothing in it", vec![Field("model", "any"), File(b"")], 400, Some("file")),
        ("text", vec![Field("model", "any"), File(b"I am a text, and nobody speaks.")], 415, Some("file")),
        ("a picture", vec![Field("model", "any"), File(&jpeg)], 415, Some("file")),
        ("a rate of 0", vec![Field("model", "any"), File(&wav(0, 16, &[0; 3_200]))], 400, Some("file")),
        ("a rate of 1 Hz", vec![Field("model", "any"), File(&wav(1, 16, &[0; 3_200]))], 400, Some("file")),
        ("a rate of 4 GHz", vec![Field("model", "any"), File(&wav(4_000_000_000, 16, &[0; 320]))], 400, Some("file")),
        ("a link", vec![Field("model", "any"), File(b"http://127.0.0.1:1/a.wav")], 400, Some("file")),
        ("a link in a field", vec![model, Field("url", "http://127.0.0.1:1/a.wav"), File(&file)], 400, Some("url")),
        ("a long prompt", vec![Field("model", "any"), Field("prompt", &long), File(&file)], 400, Some("prompt")),
        (
            "an unknown form",
            vec![Field("model", "any"), Field("response_format", "diarized_json"), File(&file)],
            400,
            Some("response_format"),
        ),
        (
            "an unknown language",
            vec![Field("language", "xx"), Field("model", "any"), File(&file)],
            400,
            Some("language"),
        ),
        (
            "words without verbose_json",
            vec![Field("timestamp_granularities[]", "word"), Field("model", "any"), File(&file)],
            400,
            Some("timestamp_granularities"),
        ),
    ] {
        let answer = post(&server, "transcriptions", &parts);
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        let error = &answer.json()["error"];
        assert_eq!(error["type"], "invalid_request_error", "{what}");
        assert_eq!(error["param"].as_str(), param, "{what}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let path = "/v1/audio/transcriptions";
    let port = server.port;
    let plain =
        format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
    assert_eq!(server.request(&plain).0, 415);
    assert_eq!(server.get(path).0, 405);
    // Fields without a meaning are no error.
    let ignored = [
        Field("temperature", "0.4"),
        Field("model", "any"),
        Field("include[]", "logprobs"),
        File(&wav(16_000, 16, &[0; 64_000])),
    ];
    let silence = post(&server, "transcriptions", &ignored);
    assert_eq!((silence.status, silence.json()["text"].as_str()), (200, Some("")), "{}", silence.body);
    let quiet = wav(16_000, 16, &[0; 64_000]);
    let voice = format!("data:audio/wav;base64,{}", "A".repeat(300_000));
    let mut many: Vec<Part<'_>> = (0..100).map(|_| Field("keywords[]", "finch")).collect();
    many.extend([Field("known_speaker_references[]", &voice), Field("known_speaker_references[]", &voice)]);
    many.extend([Field("model", "any"), File(&quiet)]);
    let silence = post(&server, "transcriptions", &many);
    assert_eq!(silence.status, 200, "{}", silence.body);
    // Those with a meaning are counted and have a limit.
    let models: Vec<Part<'_>> = (0..65).map(|_| Field("model", "any")).collect();
    assert_eq!(post(&server, "transcriptions", &models).status, 400);
    let long = "x".repeat(70_000);
    assert_eq!(post(&server, "transcriptions", &[Field("model", &long)]).status, 400);
}

/// A page of an allowed origin may send the headers that its client has, such as OpenAI's.
#[test]
fn pages_of_allowed_origins_may_send_their_own_headers() {
    let server = Server::start(&["--allow-origin", "https://talks.example"]);
    let preflight = |origin: &str| {
        let request = format!(
            "OPTIONS /v1/audio/transcriptions HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\
             origin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: authorization,x-stainless-arch,x-stainless-os\r\n\r\n",
            server.port
        );
        exchange(&server, &[request.as_bytes()])
    };
    let answer = preflight("https://talks.example");
    assert_eq!(answer.status, 204);
    for line in [
        "access-control-allow-origin: https://talks.example",
        "access-control-allow-headers: authorization,x-stainless-arch,x-stainless-os",
        "vary: origin, access-control-request-headers",
    ] {
        assert!(answer.head.contains(line), "{line} is missing: {}", answer.head);
    }
    assert!(!preflight("https://other.example").head.contains("access-control"));
}

#[test]
fn what_is_too_large_is_refused_early() {
    let server = Server::start(&["--max-upload", "2", "--max-hours", "1"]);
    let before = server.memory();
    let path = "/v1/audio/transcriptions";
    // It says that it is too large, and is not read.
    let declared = head(&server, path, "content-length: 2147483648\r\nexpect: 100-continue");
    let began = Instant::now();
    let answer = exchange(&server, &[declared.as_bytes()]);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (413, Some("too_large")));
    assert!(began.elapsed() < Duration::from_secs(2));
    // It does not say so, and goes on for ever.
    let chunked = head(&server, path, "transfer-encoding: chunked");
    let beginning = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n");
    let chunk = |content: &[u8]| [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat();
    let megabyte = chunk(&vec![0; 1 << 20]);
    let mut parts = vec![chunked.into_bytes(), chunk(beginning.as_bytes())];
    parts.extend((0..200).map(|_| megabyte.clone()));
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    assert_eq!(exchange(&server, &parts).status, 413);
    // A header of a part that never ends is not kept.
    let name = chunk(&vec![b'n'; 1 << 20]);
    let chunked = head(&server, path, "transfer-encoding: chunked");
    let opening = chunk(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"").as_bytes());
    assert_eq!(exchange(&server, &[chunked.as_bytes(), &opening, &name]).status, 400);
    // A file that is larger than what may be uploaded.
    // MiB.
    let long = wav(1_000, 8, &vec![128; 62 * 60 * 1_000]);
    assert_eq!(post(&server, "transcriptions", &[Field("model", "any"), File(&long)]).status, 413);
    let after = server.memory();
    assert!(after < before + 100.0, "{before} MiB became {after} MiB");
    let talk = talk("talk-c.flac");
    assert_eq!(post(&server, "transcriptions", &[Field("model", "any"), File(&talk)]).status, 200);
}

#[test]
fn sound_that_is_too_long_is_refused() {
    let server = Server::start(&["--max-hours", "1"]);
    let before = server.memory();
    let long = wav(1_000, 8, &vec![128; 62 * 60 * 1_000]);
    let answer = post(&server, "transcriptions", &[Field("model", "any"), File(&long)]);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (413, Some("too_long")), "{}", answer.body);
    let after = server.memory();
    assert!(after < before + 200.0, "{before} MiB became {after} MiB");
}

/// A page of a stream in Ogg that ends at frame `end`.
fn ogg_page(kind: u8, end: u64, number: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(kind);
    page.extend(end.to_le_bytes());
    page.extend(7u32.to_le_bytes());
    page.extend(number.to_le_bytes());
    page.extend([0; 4]); // the checksum
    page.push(packets.len() as u8);
    page.extend(packets.iter().map(|packet| packet.len() as u8));
    packets.iter().for_each(|packet| page.extend(*packet));
    let checksum = page.iter().fold(0u32, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 24), |sum, _| (sum << 1) ^ (0x04c1_1db7 * (sum >> 31)))
    });
    page[22..26].copy_from_slice(&checksum.to_le_bytes());
    page
}

/// Some megabytes of empty Opus are days of silence. They are refused when too much of them is
/// decoded, and take little memory until then.
#[test]
fn megabytes_that_are_days_are_refused() {
    let server = Server::start(&["--max-hours", "1"]);
    let before = server.memory();
    let head = [&b"OpusHead\x01\x01\0\0"[..], &48_000u32.to_le_bytes(), &[0; 3]].concat();
    let tags = [&b"OpusTags"[..], &[0; 8]].concat();
    let mut file = [ogg_page(2, 0, 0, &[&head]), ogg_page(0, 0, 1, &[&tags])].concat();
    // 48 frames of 2.5 ms in two bytes.
    let packet: &[u8] = &[0x83, 48];
    for number in 2..4_000 {
        file.extend(ogg_page(0, u64::from(number - 1) * 255 * 5_760, number, &[packet; 255]));
    }
    let answer = post(&server, "transcriptions", &[Field("model", "any"), File(&file)]);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (413, Some("too_long")), "{}", answer.body);
    let after = server.memory();
    assert!(after < before + 200.0, "{before} MiB became {after} MiB");
}

/// Many at once: each gets its own text. What does not fit is refused, and says when to come again.
#[test]
fn many_files_at_once_keep_apart() {
    let server = Server::start(&["--to", "de"]);
    let names = ["talk-a.flac", "talk-b.flac"];
    // The first seconds of each talk are enough.
    let files: Vec<Vec<u8>> = names.iter().map(|name| wav(16_000, 16, &super::pcm(name)[..160_000])).collect();
    let text =
        |at: usize| post(&server, "transcriptions", &[Field("model", "any"), File(&files[at])]).json()["text"].clone();
    let alone: Vec<Value> = (0..2).map(text).collect();
    assert_ne!(alone[0], alone[1]);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..32).map(|at| scope.spawn(move || (at % 2, text(at % 2)))).collect();
        for one in all {
            let (at, text) = one.join().unwrap();
            assert_eq!(text, alone[at]);
        }
    });
    // Requests that never end take all places. A request that came between them may have had one of
    // the places, so another one takes it.
    let waiting = std::cell::RefCell::new(Vec::new());
    let wait = || {
        let mut socket = server.socket();
        let head = head(&server, "/v1/audio/transcriptions", "content-length: 1000");
        socket.write_all(head.as_bytes()).unwrap();
        waiting.borrow_mut().push(socket);
    };
    (0..64).for_each(|_| wait());
    let ask = || {
        wait();
        post(&server, "transcriptions", &[Field("model", "any"), File(&files[0])])
    };
    let refused = loop_until(ask, 503);
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert_eq!(refused.json()["error"]["code"], "at_capacity");
    drop(waiting);
    loop_until(|| post(&server, "transcriptions", &[Field("model", "any"), File(&files[0])]), 200);
}

/// Asks again until the status is `status`.
fn loop_until(ask: impl Fn() -> Answer, status: u16) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.status == status {
            return answer;
        }
        assert!(Instant::now() < deadline, "{} instead of {status}: {}", answer.status, answer.body);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Nothing of a long file is cut off.
#[test]
fn half_an_hour_is_whole() {
    if !long() {
        return;
    }
    let server = Server::start(&[]);
    let talk = super::pcm("talk-a.flac");
    let times = 30 * 60 * 32_000 / talk.len() + 1;
    let file = wav(16_000, 16, &talk.repeat(times));
    // As a stream, because it takes longer than a test waits for an answer.
    let answer = post(&server, "transcriptions", &[Field("model", "any"), Field("stream", "true"), File(&file)]);
    let last = answer.body.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["type"], "transcript.text.done");
    let heard = last["text"].as_str().unwrap().split(' ').count();
    let expected = command_line(&["transcribe"], &sample("talk-a.flac")).split_whitespace().count() * times;
    assert!(heard.abs_diff(expected) * 50 < expected, "{heard} words of {expected}");
}

/// A client that goes away takes its job with it.
#[test]
fn a_job_ends_with_its_connection() {
    let server = Server::start(&["--to", "de"]);
    let body = form(&[Field("model", "any"), Field("stream", "true"), File(&talk("talk-a.flac"))]);
    let head = head(&server, "/v1/audio/transcriptions", &format!("content-length: {}", body.len()));
    for round in 0..40 {
        let mut socket = server.socket();
        socket.write_all(head.as_bytes()).unwrap();
        // In the headers, in the upload, in the queue or in the answer.
        let sent = [0, 1_000, body.len() / 2, body.len()][round % 4];
        socket.write_all(&body[..sent]).unwrap();
        if round % 8 == 7 {
            socket.read_exact(&mut [0; 200]).unwrap();
        }
    }
    // They took no time from the one that stays.
    let began = Instant::now();
    let file = talk("talk-c.flac");
    let answer = post(&server, "transcriptions", &[Field("model", "any"), File(&file)]);
    assert_eq!(answer.status, 200);
    let alone = Instant::now();
    post(&server, "transcriptions", &[Field("model", "any"), File(&file)]);
    let (with, without) = (began.elapsed() - alone.elapsed(), alone.elapsed());
    assert!(with < without * 4 + Duration::from_secs(5), "{with:?} after the others, {without:?} alone");
    server.wait_until_idle(PATIENCE);
}

/// Files run in the gaps beside a live session: its steps come first.
#[test]
fn live_sessions_go_before_files() {
    let server = Server::start(&["--to", "de"]);
    let file = talk("talk-a.flac");
    // All of its sound is there, so it has work until it ends.
    let mut live = server.client(serde_json::json!({}));
    live.next_of("session");
    live.send(&super::pcm("talk-c.flac")[..32_000 * 30]);
    live.say(serde_json::json!({"type": "end"}));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let job = || (post(&server, "transcriptions", &[Field("model", "any"), File(&file)]).status, began.elapsed());
        let jobs: Vec<_> = (0..3).map(|_| scope.spawn(job)).collect();
        assert_eq!(live.rest().code, 1000);
        let live = began.elapsed();
        for job in jobs {
            let (status, took) = job.join().unwrap();
            assert_eq!(status, 200);
            assert!(took > live, "a file took {took:?}, the live session {live:?}");
        }
    });
}
