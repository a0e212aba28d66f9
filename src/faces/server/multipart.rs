//! Reads `multipart/form-data` as it arrives, within bounds: of the whole body, of a part's
//! headers, and of the time that it may take.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use super::reply::Problem;

/// The most bytes of the headers of a part, and before the first part.
const HEADERS: usize = 8 << 10;
/// The longest boundary (RFC 2046).
const BOUNDARY: usize = 70;
/// The most bytes of a value that is not a file.
const VALUE: usize = 64 << 10;
/// A body that does not go on for this long is given up.
const IDLE: Duration = Duration::from_secs(60);
/// The fewest bytes that must come in so long a wait: 1 KiB a second. Whoever sends less would keep
/// a job from others for as long as they like.
const LEAST: usize = 60 << 10;
/// What is still read of a body after it was refused, so that its sender gets to read why.
const DRAINED: usize = 64 << 20;
const DRAINING: Duration = Duration::from_secs(10);

/// A body that is being read.
pub(super) struct Multipart {
    body: BodyDataStream,
    /// `\r\n--BOUNDARY`, which ends the content of every part.
    delimiter: Vec<u8>,
    /// What was read and is not given out yet.
    buffer: Vec<u8>,
    place: Place,
    /// How much more may be read, of `most`.
    left: u64,
    most: u64,
    /// How long the sender was waited for, and how much came. Both begin anew every minute.
    waited: Duration,
    came: usize,
}

/// Where in the body the buffer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the content of a part.
    Content,
    /// Behind a delimiter.
    Delimiter,
}

/// A part of the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub name: String,
}

impl Multipart {
    /// `most`: the most bytes of the body. A body that says that it is longer is not read.
    pub(super) fn new(headers: &HeaderMap, body: Body, most: u64) -> Result<Multipart, Problem> {
        let mut multipart = Multipart {
            body: body.into_data_stream(),
            delimiter: Vec::new(),
            // The first delimiter may stand at the very beginning, without an end of a line before
            // it.
            buffer: b"\r\n".to_vec(),
            place: Place::Content,
            left: most,
            most,
            waited: Duration::ZERO,
            came: 0,
        };
        let declared = headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|declared| declared > most) {
            let problem = multipart.too_large();
            // Whoever waits for a `100 Continue` gets the answer instead, and sends nothing.
            if !headers.contains_key("expect") {
                multipart.drain();
            }
            return Err(problem);
        }
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let Some(boundary) = boundary(kind) else {
            multipart.drain();
            let what = "the body must be multipart/form-data with a boundary";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
        };
        multipart.delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        Ok(multipart)
    }

    /// The next part; what is left of the one before is skipped. `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, Problem> {
        let mut skipped = 0;
        while self.place == Place::Content {
            match self.chunk().await? {
                // Before the first part there may be a few words.
                Some(content) => skipped += content.len(),
                None => break,
            }
            if skipped > VALUE {
                return Err(broken("something long stands between its parts"));
            }
        }
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"--") {
            return Ok(None);
        }
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > HEADERS {
                return Err(broken("the headers of a part are too long"));
            }
            self.fill().await?;
        };
        if end > HEADERS {
            return Err(broken("the headers of a part are too long"));
        }
        let headers: Vec<u8> = self.buffer.drain(..end + 4).collect();
        self.place = Place::Content;
        let headers = String::from_utf8_lossy(&headers);
        let name = headers.lines().find_map(name_of).ok_or_else(|| broken("a part has no name"))?;
        Ok(Some(Part { name }))
    }

    /// More of the content of the part; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        if self.place == Place::Delimiter {
            return Ok(None);
        }
        loop {
            if let Some(at) = find(&self.buffer, &self.delimiter) {
                if at > 0 {
                    return Ok(Some(self.buffer.drain(..at).collect()));
                }
                self.buffer.drain(..self.delimiter.len());
                self.place = Place::Delimiter;
                return Ok(None);
            }
            // The end of the buffer may be the beginning of a delimiter.
            let sure = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if sure > 0 {
                return Ok(Some(self.buffer.drain(..sure).collect()));
            }
            self.fill().await?;
        }
    }

    /// Passes over the rest of the part, however long it is.
    pub(super) async fn skip(&mut self) -> Result<(), Problem> {
        while self.chunk().await?.is_some() {}
        Ok(())
    }

    /// The content of the part as text, such as a field of a form.
    pub(super) async fn value(&mut self, part: &Part) -> Result<String, Problem> {
        let mut value = Vec::new();
        while let Some(content) = self.chunk().await? {
            value.extend(content);
            if value.len() > VALUE {
                return Err(broken(&format!("`{}` is longer than 64 KiB", short(&part.name))));
            }
        }
        String::from_utf8(value).map_err(|_| broken(&format!("`{}` is not UTF-8", short(&part.name))))
    }

    /// Reads on for a while in the background, after the body was refused.
    pub(super) fn drain(self) {
        let mut body = self.body;
        tokio::spawn(timeout(DRAINING, async move {
            let mut drained = 0;
            while let Some(Ok(bytes)) = body.next().await {
                drained += bytes.len();
                if drained > DRAINED {
                    break;
                }
            }
        }));
    }

    async fn fill(&mut self) -> Result<(), Problem> {
        let began = Instant::now();
        let read = timeout(IDLE, self.body.next()).await;
        self.waited += began.elapsed();
        match read {
            Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not go on for a minute")),
            Ok(None) => Err(broken("it ends early")),
            Ok(Some(Err(_))) => Err(broken("it was cut off")),
            Ok(Some(Ok(bytes))) => {
                self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| self.too_large())?;
                self.came = self.came.saturating_add(bytes.len());
                if self.waited >= IDLE {
                    if self.came < LEAST {
                        let what = "the body comes more slowly than 1 KiB a second";
                        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, what));
                    }
                    (self.waited, self.came) = (Duration::ZERO, 0);
                }
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
        }
    }

    fn too_large(&self) -> Problem {
        let most = self.most >> 20;
        let what = format!("the body is larger than {most} MiB, the most that this server takes");
        Problem { code: Some("too_large"), ..Problem::new(StatusCode::PAYLOAD_TOO_LARGE, what) }
    }
}

fn broken(what: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("the form cannot be read: {what}"))
}

/// A name as a message may show it.
fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    let (&first, rest) = pattern.split_first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|&byte| byte == first) {
        if text[from + at + 1..].starts_with(rest) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The boundary in a `Content-Type`.
fn boundary(kind: &str) -> Option<String> {
    let (kind, parameters) = kind.split_once(';')?;
    let boundary = parameter(parameters, "boundary")?;
    let fits = kind.trim().eq_ignore_ascii_case("multipart/form-data") && (1..=BOUNDARY).contains(&boundary.len());
    fits.then_some(boundary)
}

/// The name in a line `Content-Disposition: form-data; name="…"`.
fn name_of(line: &str) -> Option<String> {
    let (header, value) = line.split_once(':')?;
    let (kind, parameters) = value.split_once(';')?;
    let is_form = kind.trim().eq_ignore_ascii_case("form-data");
    (header.trim().eq_ignore_ascii_case("content-disposition") && is_form)
        .then(|| parameter(parameters, "name"))
        .flatten()
}

/// The parameter `name` among `a=b; c="d"`.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = value_of(after.trim_start());
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after.split_once(';')?.1;
    }
}

/// A value, quoted or not, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::HeaderValue;

    use super::*;

    /// The parts of a body that arrives in pieces of `piece` bytes.
    fn parts(body: &[u8], piece: usize, most: u64) -> Result<Vec<(String, Vec<u8>)>, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let pieces: Vec<_> = body.chunks(piece).map(|piece| Ok::<_, Infallible>(piece.to_vec())).collect();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("Multipart/Form-Data; charset=utf-8; boundary=\"x y\""));
        runtime.block_on(async {
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            let mut multipart = Multipart::new(&headers, body, most)?;
            let mut parts = Vec::new();
            while let Some(part) = multipart.next().await? {
                let mut content = Vec::new();
                while let Some(more) = multipart.chunk().await? {
                    content.extend(more);
                }
                parts.push((part.name, content));
            }
            Ok(parts)
        })
    }

    const FORM: &[u8] = b"before\r\n--x y\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nany\r\n\
        --x y  \r\nContent-Type: audio/wav\r\nContent-Disposition: form-data; filename=\"a\\\"; name=b.wav\"; name=file\r\n\r\n\
        \r\n--x\r\n-- x y\0\r\r\n\r\n--x y\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--x y--\r\nafter";

    #[test]
    fn a_form_is_read_however_it_arrives() {
        for piece in 1..FORM.len() {
            let parts = parts(FORM, piece, 1 << 20).unwrap();
            let expected = [("model", &b"any"[..]), ("file", b"\r\n--x\r\n-- x y\0\r\r\n"), ("empty", b"")];
            assert_eq!(parts, expected.map(|(name, content)| (name.to_owned(), content.to_vec())), "{piece}");
        }
    }

    #[test]
    fn a_form_that_is_cut_or_too_large_is_refused() {
        let end = FORM.len() - 7;
        for len in 0..end {
            let problem = parts(&FORM[..len], 7, 1 << 20).unwrap_err();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{len}");
        }
        assert!(parts(&FORM[..end], 7, 1 << 20).is_ok());
        assert_eq!(parts(FORM, 7, 100).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let name = [b"--x y\r\nContent-Disposition: form-data; name=\"", &b"n".repeat(10_000)[..]].concat();
        assert_eq!(parts(&name, 1_000, 1 << 20).unwrap_err().status, StatusCode::BAD_REQUEST);
        let before = b"x".repeat(100_000);
        assert_eq!(parts(&before, 1_000, 1 << 20).unwrap_err().status, StatusCode::BAD_REQUEST);
        assert!(parts(b"--x y\r\n\r\nno name\r\n--x y--", 9, 1 << 20).is_err());
    }

    /// What has no meaning is passed over, and only the whole body has a limit.
    #[test]
    fn a_long_part_can_be_skipped() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=b"));
        let long = "x".repeat(3 * VALUE);
        let part =
            |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n");
        let form = format!("{}{}--b--", part("long", &long), part("model", "any"));
        let second = |most: u64| {
            let body = Body::from(form.clone());
            runtime.block_on(async {
                let mut multipart = Multipart::new(&headers, body, most)?;
                multipart.next().await?;
                multipart.skip().await?;
                let part = multipart.next().await?.ok_or_else(|| broken("it has one part"))?;
                multipart.value(&part).await
            })
        };
        assert_eq!(second(1 << 20).unwrap(), "any");
        assert_eq!(second(VALUE as u64).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn a_body_that_declares_too_much_is_not_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("101"));
        headers.insert("expect", HeaderValue::from_static("100-continue"));
        let outcome = runtime.block_on(async { Multipart::new(&headers, Body::empty(), 100).map(drop) });
        assert_eq!(outcome.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        for kind in
            ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "text/plain; boundary=a"]
        {
            assert_eq!(boundary(kind), None, "{kind}");
        }
        assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "b".repeat(71))), None);
    }

    /// A file that comes in `piece` bytes every `pause`, whole or given up.
    async fn slow(piece: usize, pause: Duration, count: usize) -> Result<usize, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=b"));
        let begin = b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n".to_vec();
        let file = std::iter::repeat_n(vec![0; piece], count);
        let pieces = std::iter::once(begin).chain(file).chain([b"\r\n--b--".to_vec()]);
        let body = futures_util::stream::iter(pieces).then(move |piece| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, Infallible>(piece)
        });
        let mut multipart = Multipart::new(&headers, Body::from_stream(body), 1 << 30)?;
        let mut read = 0;
        while multipart.next().await?.is_some() {
            while let Some(content) = multipart.chunk().await? {
                read += content.len();
            }
        }
        Ok(read)
    }

    /// Every minute of an upload counts, also after a fast one.
    #[tokio::test(start_paused = true)]
    async fn an_upload_that_trickles_is_given_up() {
        let began = Instant::now();
        let problem = slow(1, Duration::from_secs(59), 1_000_000).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::REQUEST_TIMEOUT);
        assert!(began.elapsed() < Duration::from_secs(150), "{:?}", began.elapsed());
        let problem = slow(1_000, Duration::from_secs(1), 1_000).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(slow(1_100, Duration::from_secs(1), 600).await.unwrap(), 660_000);
        assert_eq!(slow(64 << 10, Duration::from_secs(50), 20).await.unwrap(), 20 * (64 << 10), "in bursts");
        assert_eq!(slow(1, Duration::from_secs(61), 1).await.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(0u8..=255, 0..400), piece in 1usize..50) {
            let _ = parts(&body, piece, 300);
            let _ = parts(&[&b"--x y\r\nContent-Disposition: form-data; name="[..], &body].concat(), piece, 300);
        }
    }
}
