//! The pages for people: one to speak to, one to read on a phone, and one to lay over a picture.
//! They are plain files within the program, so that every installation has them. The large page,
//! which can also compute in the browser, is built by npm and served from a folder (`--page`).
//!
//! No page holds a secret: the scripts ask the server with what their address says. Addresses in
//! the pages are relative, so a proxy may serve them under a path of its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path as Part, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::App;
use super::reply::Problem;
use crate::engines::load::Direction;
use crate::text::Language;

/// A file of a page: its name, and its content.
const FILES: [(&str, &[u8]); 18] = [
    ("captions.js", include_bytes!("pages/captions.js")),
    ("follow.js", include_bytes!("pages/follow.js")),
    ("icon.svg", include_bytes!("pages/icon.svg")),
    ("overlay.css", include_bytes!("pages/overlay.css")),
    ("overlay.js", include_bytes!("pages/overlay.js")),
    ("present.css", include_bytes!("pages/present.css")),
    ("present.js", include_bytes!("pages/present.js")),
    ("link.js", include_bytes!("pages/link.js")),
    ("watch.css", include_bytes!("pages/watch.css")),
    ("watch.js", include_bytes!("pages/watch.js")),
    // The npm package's part for servers.
    ("capture-worklet.js", include_bytes!("../../../web/src/capture-worklet.js")),
    ("devices.js", include_bytes!("../../../web/src/devices.js")),
    ("errors.js", include_bytes!("../../../web/src/errors.js")),
    ("in-order.js", include_bytes!("../../../web/src/in-order.js")),
    ("queue.js", include_bytes!("../../../web/src/queue.js")),
    ("resample.js", include_bytes!("../../../web/src/resample.js")),
    ("server.js", include_bytes!("../../../web/src/server.js")),
    ("sound.js", include_bytes!("../../../web/src/sound.js")),
];

/// What the small pages may do: nothing but use this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What the large page may do: it also computes, and fetches models.
const LARGE_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
                            style-src 'self'; font-src 'self'; img-src 'self' data:; media-src 'self' blob:; \
                            connect-src 'self' https:; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
                            frame-ancestors 'none'";
/// The most files of a folder, and their most bytes.
const MOST_FILES: usize = 4096;
const MOST_BYTES: u64 = 512 << 20;
/// A wrong code is answered after this time, so that nobody can try many.
const WRONG_CODE: Duration = Duration::from_secs(1);
/// The longest text of a QR code.
const LONGEST_TEXT: usize = 512;

/// What a server knows about its pages.
#[derive(Default)]
pub(super) struct Site {
    /// The files of the large page by their paths.
    large: HashMap<String, File>,
    /// Where others reach the server, as its operator says.
    public_url: Option<String>,
    /// Where computers of the same network reach it.
    network_url: Option<String>,
}

struct File {
    kind: &'static str,
    tag: HeaderValue,
    content: Bytes,
}

/// The folder of a page cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum SiteError {
    #[error("{0}: {1}")]
    Read(String, std::io::Error),
    #[error("{0}: this folder has no index.html")]
    NoIndex(String),
    #[error("{0}: this folder has more than {MOST_FILES} files or more than 512 MiB")]
    TooLarge(String),
}

impl Site {
    /// `folder`: of the large page. All of it is read now, so no request can name a file outside.
    pub(super) fn new(
        folder: Option<&Path>,
        public_url: Option<String>,
        listen: SocketAddr,
        scheme: &str,
    ) -> Result<Site, SiteError> {
        let large = folder.map(read_folder).transpose()?.unwrap_or_default();
        let public_url = public_url.map(|url| if url.ends_with('/') { url } else { url + "/" });
        let near = network_address(listen).map(|address| SocketAddr::new(address, listen.port()));
        Ok(Site { large, public_url, network_url: near.map(|address| format!("{scheme}://{address}/")) })
    }
}

/// The address by which other computers reach a server that listens at `listen`.
fn network_address(listen: SocketAddr) -> Option<IpAddr> {
    if listen.ip().is_loopback() {
        return None;
    }
    if !listen.ip().is_unspecified() {
        return Some(listen.ip());
    }
    // Nothing is sent: to connect a datagram socket only chooses the address that it would send
    // from.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|own| own.ip()).filter(|own| !own.is_loopback() && !own.is_unspecified())
}

fn read_folder(folder: &Path) -> Result<HashMap<String, File>, SiteError> {
    let name = || folder.display().to_string();
    let (mut files, mut bytes) = (HashMap::new(), 0);
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let read = |error| SiteError::Read(folder.display().to_string(), error);
        for entry in std::fs::read_dir(&folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            let (Ok(part), kind) = (entry.file_name().into_string(), entry.file_type().map_err(read)?) else {
                continue;
            };
            let path = format!("{prefix}{part}");
            if kind.is_dir() {
                folders.push((entry.path(), format!("{path}/")));
            } else if kind.is_file() {
                bytes += entry.metadata().map_err(read)?.len();
                if files.len() == MOST_FILES || bytes > MOST_BYTES {
                    return Err(SiteError::TooLarge(name()));
                }
                let content = std::fs::read(entry.path()).map_err(read)?;
                files.insert(
                    path.clone(),
                    File { kind: kind_of(&path), tag: tag_of(&content), content: content.into() },
                );
            }
        }
    }
    if files.contains_key("index.html") { Ok(files) } else { Err(SiteError::NoIndex(name())) }
}

/// The type of a file by its name.
fn kind_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "flac" => "audio/flac",
        _ => "application/octet-stream",
    }
}

fn tag_of(content: &[u8]) -> HeaderValue {
    let digest: String = Sha256::digest(content).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A file; nothing but a confirmation where the browser has it.
fn file(kind: &'static str, tag: &HeaderValue, keep: &'static str, content: Bytes, asked: &HeaderMap) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static(keep)),
        (ETAG, tag.clone()),
    ];
    if asked.get(IF_NONE_MATCH) == Some(tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, content).into_response()
}

/// A page whose address lies `deep` folders below the server's.
fn page(html: &str, deep: usize) -> Response {
    let headers =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, POLICY)];
    (headers, html.replace("{root}", &"../".repeat(deep))).into_response()
}

/// `GET /`: the large page where there is one, else the presenter's.
pub(super) async fn home(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    if app.site.large.is_empty() {
        return Ok(present().await);
    }
    large(State(app), Method::GET, uri, headers).await
}

/// `GET /present`: the presenter's page.
pub(super) async fn present() -> Response {
    page(include_str!("pages/present.html"), 0)
}

/// `GET /watch`, with `session` and `token`: the page for viewers.
pub(super) async fn watch() -> Response {
    page(include_str!("pages/watch.html"), 0)
}

/// `GET /w/{code}`: the same by its short link.
pub(super) async fn watch_link() -> Response {
    page(include_str!("pages/watch.html"), 1)
}

/// `GET /overlay`, with `session` and `token`: captions over a picture.
pub(super) async fn overlay() -> Response {
    page(include_str!("pages/overlay.html"), 0)
}

/// `GET /w/{code}/overlay`.
pub(super) async fn overlay_link() -> Response {
    page(include_str!("pages/overlay.html"), 2)
}

/// `GET /pages/{name}`: a file of the small pages.
pub(super) async fn part(Part(name): Part<String>, headers: HeaderMap) -> Result<Response, Problem> {
    static TAGS: LazyLock<Vec<HeaderValue>> =
        LazyLock::new(|| FILES.iter().map(|(_, content)| tag_of(content)).collect());
    let at = FILES.iter().position(|(known, _)| *known == name).ok_or_else(super::nothing)?;
    Ok(file(kind_of(&name), &TAGS[at], "no-cache", Bytes::from_static(FILES[at].1), &headers))
}

/// Every other address: a file of the large page.
pub(super) async fn large(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(super::nothing());
    }
    let path = uri.path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let found = app.site.large.get(path).ok_or_else(super::nothing)?;
    // Names in this folder contain a hash of the content.
    let keep = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = file(found.kind, &found.tag, keep, found.content.clone(), &headers);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(LARGE_POLICY));
    Ok(response)
}

/// `GET /v1/about`: what a page needs to know of the server.
pub(super) async fn about(State(app): State<Arc<App>>) -> Json<Value> {
    let sessions = &app.sessions;
    let names: Vec<&str> = sessions.set.models().map(|(_, model)| named(&model.name)).collect();
    let directions = Language::codes().filter_map(|code| {
        let from: Language = code.parse().ok()?;
        let heads_len = Direction::new(from, Language::GERMAN, sessions.defaults.policy).heads_len;
        let targets = sessions.set.targets(from, heads_len);
        (!targets.is_empty()).then(|| (code.to_owned(), json!(targets)))
    });
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "device": sessions.device.name,
        "asr": names.first(),
        "mt": names.get(2),
        "from": sessions.defaults.from,
        "to": sessions.defaults.to,
        "directions": directions.collect::<serde_json::Map<String, Value>>(),
        "public_url": app.site.public_url,
        "network_url": app.site.network_url,
    }))
}

/// The name of a model; of a folder of this computer, only the last part.
pub(super) fn named(model: &str) -> &str {
    let path = Path::new(model);
    // No id of the Hub begins with a dot.
    let local = path.is_absolute() || model.starts_with('.');
    path.file_name().and_then(|name| name.to_str()).filter(|_| local).unwrap_or(model)
}

/// `GET /v1/links/{code}`: the sessions of a short link, in the order in which they were opened.
pub(super) async fn link(State(app): State<Arc<App>>, Part(code): Part<String>) -> Result<Response, Problem> {
    let sessions = app.sessions.of_link(&code);
    if sessions.is_empty() {
        tokio::time::sleep(WRONG_CODE).await;
        return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such link, or its sessions were forgotten"));
    }
    Ok(([(CACHE_CONTROL, "no-store")], Json(json!({"sessions": sessions}))).into_response())
}

#[derive(Deserialize)]
pub(super) struct Text {
    text: String,
}

/// `GET /qr.svg?text=`: a QR code.
pub(super) async fn qr(Query(Text { text }): Query<Text>) -> Result<Response, Problem> {
    if text.len() > LONGEST_TEXT {
        return Err(Problem::bad("text", format!("text is longer than {LONGEST_TEXT} bytes")));
    }
    let code = QrCode::encode_text(&text, QrCodeEcc::Medium)
        .map_err(|_| Problem::bad("text", "text does not fit into a QR code"))?;
    let headers = [(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, "private, max-age=3600")];
    Ok((headers, svg(&code)).into_response())
}

/// A QR code as a picture, with the margin that viewers of such codes need.
fn svg(code: &QrCode) -> String {
    let (size, margin) = (code.size(), 4);
    let mut dark = String::new();
    for y in 0..size {
        let mut x = 0;
        while x < size {
            let run = (x..size).take_while(|x| code.get_module(*x, y)).count() as i32;
            if run > 0 {
                dark.push_str(&format!("M{},{}h{run}v1h-{run}z", x + margin, y + margin));
            }
            x += run + 1;
        }
    }
    let all = size + 2 * margin;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {all} {all}\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0,0h{all}v{all}h-{all}z\"/><path d=\"{dark}\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_not_told_where_models_lie() {
        let folder = std::env::temp_dir().join("private").join("model.gguf");
        assert_eq!(named(folder.to_str().unwrap()), "model.gguf");
        assert_eq!(named("../private/model.gguf"), "model.gguf");
        assert_eq!(named("./model/"), "model");
        for name in ["Qwen/Qwen3-ASR-0.6B", "owner/name/file.gguf", "the demo pack's mt"] {
            assert_eq!(named(name), name);
        }
    }

    #[test]
    fn the_picture_of_a_code_has_its_modules() {
        let code = QrCode::encode_text("http://192.0.2.7:8000/w/k7qm2xwrp9", QrCodeEcc::Medium).unwrap();
        let picture = svg(&code);
        let path = picture.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap();
        let mut drawn = vec![vec![false; code.size() as usize + 8]; code.size() as usize + 8];
        for run in path.split('M').skip(1) {
            let (x, rest) = run.split_once(',').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let len: usize = rest.split_once('v').unwrap().0.parse().unwrap();
            let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
            drawn[y][x..x + len].fill(true);
        }
        for (y, row) in drawn.iter().enumerate() {
            for (x, dark) in row.iter().enumerate() {
                assert_eq!(*dark, code.get_module(x as i32 - 4, y as i32 - 4), "{x}, {y}");
            }
        }
    }

    /// A policy without inline scripts is kept only by pages that have none, and what they name
    /// must be served.
    #[test]
    fn pages_name_only_files_that_are_there() {
        for html in
            [include_str!("pages/present.html"), include_str!("pages/watch.html"), include_str!("pages/overlay.html")]
        {
            for tag in html.split('<').filter(|tag| tag.starts_with("script")) {
                assert!(tag.trim_end().ends_with("\">"), "an inline script: {tag}");
            }
            assert!(!html.contains("style=") && !html.contains("<style"));
            // A proxy may serve them under a path of its own.
            assert!(!html.contains("=\"/") && !html.contains("=\"http"), "an address that is not relative");
            for name in html.split("{root}pages/").skip(1) {
                let name = name.split('"').next().unwrap();
                assert!(FILES.iter().any(|(known, _)| *known == name), "{name}");
            }
        }
        for (name, content) in FILES.iter().filter(|(name, _)| name.ends_with(".js")) {
            for line in std::str::from_utf8(content).unwrap().lines() {
                let Some((_, from)) = line.split_once(" from './") else { continue };
                let needed = from.split('\'').next().unwrap();
                assert!(FILES.iter().any(|(known, _)| *known == needed), "{name} needs {needed}");
            }
        }
    }

    /// The page for phones is small: it is loaded by a whole hall at once.
    #[test]
    fn the_page_for_viewers_is_small() {
        let needed = ["captions.js", "follow.js", "icon.svg", "link.js", "watch.css", "watch.js"];
        let files = FILES.iter().filter(|(name, _)| needed.contains(name)).map(|(_, content)| content.len());
        let all = files.sum::<usize>() + include_str!("pages/watch.html").len();
        assert!(all < 30_000, "{all} bytes");
    }

    #[test]
    fn a_folder_is_served_whole_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let site = |path: &Path| Site::new(Some(path), None, "127.0.0.1:8000".parse().unwrap(), "http");
        assert!(matches!(site(folder.path()), Err(SiteError::NoIndex(_))));
        std::fs::create_dir(folder.path().join("assets")).unwrap();
        std::fs::write(folder.path().join("index.html"), "page").unwrap();
        std::fs::write(folder.path().join("assets/a.wasm"), "module").unwrap();
        let mut files: Vec<(String, &str)> =
            site(folder.path()).unwrap().large.into_iter().map(|(path, file)| (path, file.kind)).collect();
        files.sort();
        let expected = [("assets/a.wasm", "application/wasm"), ("index.html", "text/html; charset=utf-8")];
        assert_eq!(files, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }
}
