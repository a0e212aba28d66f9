//! Fetching the files of a model into the cache: HTTP with resume, retries and hash checks.
//!
//! The `hf-hub` crate (1.0.0) is not used: it restarts an interrupted download from zero, checks no
//! hash, drops the hash that the Hub's listing gives, and uses a second transfer protocol that no
//! local test server can imitate. What remains is two kinds of GET request: the listing of a
//! revision, and a file by range after a redirect.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::cache::{Hub, disk_error, len_of, link};
use super::listing::{Listing, RemoteFile};
use super::network::{Network, network_error};
use crate::weights::error::{CheckpointError, shown};
use crate::weights::safetensors::INDEX_FILE;

const MAX_LISTING: u64 = 32 << 20;
const MAX_REDIRECTS: usize = 10;
const BUFFER: usize = 256 << 10;
/// Attempts that bring less than this in total, in bytes, are given up after [`Hub::patience`].
const MIN_GAIN: u64 = 1 << 20;
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Receives the progress of a fetch.
pub trait Progress {
    /// `total` bytes are needed, and `done` of them are on the disk already. Called again if more
    /// files turn out to be needed.
    fn start(&mut self, total: u64, done: u64);
    /// The file that the next bytes belong to.
    fn file(&mut self, name: &str);
    /// `bytes` more are on the disk.
    fn advance(&mut self, bytes: u64);
    /// `bytes` have to be fetched again (a wrong hash, or a server that does not resume).
    fn discard(&mut self, bytes: u64);
    /// A message for the user: a retry, a wait.
    fn note(&mut self, text: &str);
    /// All files are on the disk.
    fn finish(&mut self);
}

/// Shows no progress.
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&mut self, _: u64, _: u64) {}
    fn file(&mut self, _: &str) {}
    fn advance(&mut self, _: u64) {}
    fn discard(&mut self, _: u64) {}
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

impl Hub {
    /// Fetches a revision, or what is missing of it, into the cache, and returns its snapshot
    /// folder. If nothing is missing, nothing is written.
    ///
    /// Blocks the calling thread. Errors: a setting is unusable; the repository is gated or
    /// unknown, or contains no such model; the network fails and the cache has no complete copy;
    /// the disk is full; a hash is wrong twice.
    pub fn fetch(&self, repo: &str, revision: &str, progress: &mut dyn Progress) -> Result<PathBuf, CheckpointError> {
        self.fetch_files(repo, revision, &Wanted::Checkpoint, progress)
    }

    /// The same for one GGUF file of a revision, with all its parts, and with the part that hears
    /// if `hears` is set and the repository has one. Returns the file's path.
    pub fn fetch_gguf(
        &self,
        repo: &str,
        revision: &str,
        file: &str,
        hears: bool,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, CheckpointError> {
        Ok(self.fetch_files(repo, revision, &Wanted::Gguf { file, hears }, progress)?.join(file))
    }

    /// Fetches what is wanted of a revision, and returns its snapshot folder.
    fn fetch_files(
        &self,
        repo: &str,
        revision: &str,
        wanted: &Wanted<'_>,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, CheckpointError> {
        let folder = self.folder(repo, revision)?;
        if self.offline {
            return match self.local(repo, revision, wanted)? {
                Some(snapshot) => Ok(snapshot),
                None => Err(CheckpointError::Network {
                    repo: repo.to_owned(),
                    what: format!("is not in {}, and HF_HUB_OFFLINE is set", self.cache.display()),
                    remedy: "unset HF_HUB_OFFLINE, or give a folder".into(),
                }),
            };
        }
        if let Some(bad_setting) = &self.bad_setting {
            return Err(bad_setting.clone().into());
        }
        let network = Network::new(&self.proxies, &self.certificates)?;
        let fetch = Fetch { hub: self, repo, folder, network };
        let listing = match fetch.listing(revision, progress) {
            Ok(listing) => listing,
            Err(CheckpointError::Network { what, remedy, repo: name }) => {
                return match self.local(repo, revision, wanted)? {
                    Some(snapshot) => {
                        progress.note(&format!("{what}; the copy in the cache is used"));
                        Ok(snapshot)
                    }
                    None => Err(CheckpointError::Network { what, remedy, repo: name }),
                };
            }
            Err(other) => return Err(other),
        };
        let snapshot = fetch.folder.join("snapshots").join(&listing.sha);
        let mut files = match wanted {
            Wanted::Checkpoint => listing.small_files()?,
            Wanted::Gguf { file, hears } => listing.gguf_files(file, *hears)?,
        };
        if let Some(index) = files.iter().find(|file| file.name == INDEX_FILE) {
            // The index names the files that contain the weights.
            progress.start(index.size, fetch.on_disk(index, &snapshot));
            fetch.fetch_file(index, &snapshot, progress)?;
            files.extend(listing.shards(&snapshot)?);
        }
        // Small files first, so that a wrong model is detected before gigabytes are fetched.
        files.sort_by_key(|file| file.size);
        let total = files.iter().map(|file| file.size).sum();
        let done = files.iter().map(|file| fetch.on_disk(file, &snapshot)).sum();
        progress.start(total, done);
        for file in &files {
            progress.file(&file.name);
            fetch.fetch_file(file, &snapshot, progress)?;
        }
        progress.finish();
        if revision != listing.sha {
            let reference = fetch.folder.join("refs").join(revision);
            if fs::read_to_string(&reference).is_ok_and(|commit| commit.trim() == listing.sha) {
                return Ok(snapshot);
            }
            let written = reference
                .parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::write(&reference, &listing.sha));
            written.map_err(|error| disk_error(&reference, error))?;
        }
        Ok(snapshot)
    }

    /// The snapshot folder, if what is wanted is in it.
    fn local(&self, repo: &str, revision: &str, wanted: &Wanted<'_>) -> Result<Option<PathBuf>, CheckpointError> {
        match wanted {
            Wanted::Checkpoint => self.location(repo, revision),
            Wanted::Gguf { file, .. } => {
                let path = self.gguf_location(repo, revision, file)?;
                Ok(path.and_then(|path| Some(path.ancestors().nth(file.split('/').count())?.to_owned())))
            }
        }
    }
}

/// What to fetch of a repository.
enum Wanted<'a> {
    Checkpoint,
    Gguf { file: &'a str, hears: bool },
}

/// A fetch in progress.
struct Fetch<'a> {
    hub: &'a Hub,
    repo: &'a str,
    folder: PathBuf,
    network: Network,
}

/// Why one attempt failed.
enum AttemptError {
    /// Another attempt may succeed.
    Retry {
        what: String,
        /// How long the server asks the client to wait.
        wait: Option<Duration>,
        /// How many bytes the attempt brought before it failed.
        gained: u64,
    },
    /// Another attempt would fail as well.
    Fatal(CheckpointError),
}

impl AttemptError {
    fn retry(what: String) -> AttemptError {
        AttemptError::Retry { what, wait: None, gained: 0 }
    }
}

impl Fetch<'_> {
    /// Lists the commit of a revision and its files, with their sizes and hashes.
    fn listing(&self, revision: &str, progress: &mut dyn Progress) -> Result<Listing<'_>, CheckpointError> {
        let url = format!(
            "{}/api/models/{}/revision/{}?blobs=true",
            self.hub.endpoint,
            self.repo,
            revision.replace('/', "%2F")
        );
        let text = self.with_retries(progress, |_| {
            let mut response = self.get(&url, None)?;
            let body = response.body_mut().with_config().limit(MAX_LISTING);
            body.read_to_string().map_err(|error| AttemptError::retry(error.to_string()))
        })?;
        Listing::parse(&text, self.repo, &url)
    }

    fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.folder.join("blobs").join(&file.etag)
    }

    fn partial(&self, file: &RemoteFile) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", file.etag))
    }

    /// How many bytes of a file need not be fetched again.
    fn on_disk(&self, file: &RemoteFile, snapshot: &Path) -> u64 {
        let is_whole = |path: &Path| len_of(path) == Some(file.size);
        match is_whole(&snapshot.join(&file.name)) || is_whole(&self.blob(file)) {
            true => file.size,
            false => len_of(&self.partial(file)).unwrap_or(0).min(file.size),
        }
    }

    /// Fetches a file into the snapshot, unless it is there already.
    fn fetch_file(
        &self,
        file: &RemoteFile,
        snapshot: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), CheckpointError> {
        let pointer = snapshot.join(&file.name);
        if len_of(&pointer) == Some(file.size) {
            return Ok(());
        }
        self.fetch_blob(file, snapshot, progress)?;
        link(&pointer, &file.name, &file.etag).map_err(|error| disk_error(&pointer, error))
    }

    /// Fetches one blob, and stores it only if it is whole and its hash is right.
    fn fetch_blob(
        &self,
        file: &RemoteFile,
        snapshot: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), CheckpointError> {
        let (blob, partial) = (self.blob(file), self.partial(file));
        fs::create_dir_all(self.folder.join("blobs")).map_err(|error| disk_error(&blob, error))?;
        let _lock = self.lock(file, progress)?;
        if len_of(&blob) == Some(file.size) {
            return Ok(());
        }
        let commit = snapshot.file_name().unwrap_or_default().to_string_lossy();
        let url = format!("{}/{}/resolve/{commit}/{}", self.hub.endpoint, self.repo, escaped(&file.name));
        let mut wrong_hash = false;
        loop {
            let mut out = Partial::open(&partial, file, progress).map_err(|error| disk_error(&partial, error))?;
            self.with_retries(progress, |progress| {
                let before = out.len;
                self.request_rest(&url, file, &mut out, progress).map_err(|error| match error {
                    AttemptError::Retry { what, wait, .. } => {
                        AttemptError::Retry { what, wait, gained: out.len.saturating_sub(before) }
                    }
                    fatal => fatal,
                })
            })?;
            let hash = out.finish().map_err(|error| disk_error(&partial, error))?;
            if hash == file.etag {
                return fs::rename(&partial, &blob).map_err(|error| disk_error(&blob, error));
            }
            fs::remove_file(&partial).map_err(|error| disk_error(&partial, error))?;
            progress.discard(file.size);
            if wrong_hash {
                let what = format!("has the hash {hash}, but the Hub lists {}", file.etag);
                return Err(CheckpointError::file(
                    format_args!("{}/{}", self.repo, file.name),
                    what,
                    "a proxy or a mirror may have changed the file; check HF_ENDPOINT and the proxy",
                ));
            }
            wrong_hash = true;
            progress.note(&format!("{} has a wrong hash; it is fetched once more", file.name));
        }
    }

    /// Makes one request for the rest of a file, and writes the bytes as they arrive.
    fn request_rest(
        &self,
        url: &str,
        file: &RemoteFile,
        out: &mut Partial,
        progress: &mut dyn Progress,
    ) -> Result<(), AttemptError> {
        if out.len == file.size {
            return Ok(());
        }
        let response = self.get(url, Some(out.len))?;
        if out.len > 0 && !resumes_at(&response, out.len) {
            progress.discard(out.len);
            out.restart().map_err(|error| AttemptError::Fatal(disk_error(&out.path, error)))?;
        }
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        while out.len < file.size {
            let room = usize::try_from(file.size - out.len).map_or(BUFFER, |left| left.min(BUFFER));
            match body.read(&mut buffer[..room]) {
                Ok(0) => {
                    let what = format!("the connection ended at byte {} of {}", out.len, file.size);
                    return Err(AttemptError::retry(what));
                }
                Ok(len) => {
                    out.file
                        .write_all(&buffer[..len])
                        .map_err(|error| AttemptError::Fatal(disk_error(&out.path, error)))?;
                    out.hash.update(&buffer[..len]);
                    out.len += len as u64;
                    progress.advance(len as u64);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = format!("the connection broke at byte {} of {} ({error})", out.len, file.size);
                    return Err(AttemptError::retry(what));
                }
            }
        }
        Ok(())
    }

    /// GET, from a byte offset if one is given, following redirects. The token is sent only to the
    /// Hub's own host.
    fn get(&self, url: &str, from: Option<u64>) -> Result<Response<Body>, AttemptError> {
        let mut url = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.network.agent(&url).get(&url);
            if let Some(token) = self.hub.token.as_ref().filter(|_| origin(&url) == origin(&self.hub.endpoint)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Some(from) = from.filter(|from| *from > 0) {
                request = request.header("range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| self.request_error(&url, error))?;
            if !response.status().is_redirection() {
                return self.check(response, &url);
            }
            let target = header(&response, "location").and_then(|target| join(&url, target));
            url = target.ok_or_else(|| {
                AttemptError::Fatal(network_error(self.repo, format!("{url} redirects, but not to an address")))
            })?;
        }
        let what = format!("there are more than {MAX_REDIRECTS} redirects, the last one to {}", origin(&url));
        Err(AttemptError::Fatal(network_error(self.repo, what)))
    }

    /// The error for a request without an answer. If the connection cannot be trusted, another
    /// attempt does not help.
    fn request_error(&self, url: &str, error: ureq::Error) -> AttemptError {
        let is_untrusted = match &error {
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
            // rustls reports a bad certificate during the handshake in this way.
            ureq::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
            _ => false,
        };
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                AttemptError::Fatal(network_error(self.repo, format!("{url} is not an address ({error})")))
            }
            error if is_untrusted => AttemptError::Fatal(CheckpointError::Network {
                repo: self.repo.to_owned(),
                what: format!("the connection to {} cannot be trusted ({error})", origin(url)),
                remedy: "check the clock; if a proxy or the server has a certificate of its own, set SSL_CERT_FILE to \
                         the file of its authority"
                    .into(),
            }),
            error => AttemptError::retry(format!("{} cannot be reached ({error})", origin(url))),
        }
    }

    fn check(&self, response: Response<Body>, url: &str) -> Result<Response<Body>, AttemptError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = header(&response, "retry-after").and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
        let retry = |what| AttemptError::Retry { what, wait, gained: 0 };
        let reason =
            header(&response, "x-error-message").map_or(String::new(), |reason| format!(" ({})", shown(reason)));
        let page = format!("{}/{}", self.hub.endpoint, self.repo);
        let fatal = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CheckpointError::Gated {
                repo: self.repo.to_owned(),
                status: status.as_u16(),
                remedy: match &self.hub.token {
                    None => format!(
                        "it is gated, private or misspelt; accept the licence on {page} and set HF_TOKEN to a token of \
                         your account"
                    ),
                    Some(_) => format!(
                        "your token does not give access; accept the licence on {page} with the same account, or check HF_TOKEN"
                    ),
                }
                .into(),
            },
            StatusCode::NOT_FOUND | StatusCode::GONE => CheckpointError::NotFound {
                repo: self.repo.to_owned(),
                what: format!("the Hub has no such repository, revision or file{reason}"),
                remedy: format!("check the name and the revision on {page}").into(),
            },
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(retry(format!("the Hub answers {status}{reason}")));
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(AttemptError::retry(format!("the server refuses the range{reason}")));
            }
            _ if status.is_server_error() => {
                return Err(retry(format!("the server answers {status}{reason}")));
            }
            _ => network_error(self.repo, format!("{} answers {status}{reason}", origin(url))),
        };
        Err(AttemptError::Fatal(fatal))
    }

    /// Repeats an attempt until it succeeds or fails for good. Gives up after `attempts` in a row
    /// that brought no byte, and when attempts have brought next to nothing for `patience`.
    fn with_retries<T>(
        &self,
        progress: &mut dyn Progress,
        mut attempt: impl FnMut(&mut dyn Progress) -> Result<T, AttemptError>,
    ) -> Result<T, CheckpointError> {
        let mut failures = 0;
        let (mut since, mut gained_since) = (Instant::now(), 0);
        loop {
            let (what, wait, gained) = match attempt(progress) {
                Ok(value) => return Ok(value),
                Err(AttemptError::Fatal(error)) => return Err(error),
                Err(AttemptError::Retry { what, wait, gained }) => (what, wait, gained),
            };
            failures = if gained > 0 { 1 } else { failures + 1 };
            gained_since += gained;
            if gained_since >= MIN_GAIN {
                (since, gained_since) = (Instant::now(), 0);
            }
            if failures >= self.hub.attempts || since.elapsed() >= self.hub.patience {
                return Err(network_error(self.repo, what));
            }
            let backoff = self.hub.backoff * 2u32.pow(failures.min(6) - 1);
            progress.note(&format!("{what}; trying again"));
            std::thread::sleep(wait.unwrap_or_default().max(backoff).min(MAX_WAIT));
        }
    }

    /// Prevents two processes from writing the same blob.
    fn lock(&self, file: &RemoteFile, progress: &mut dyn Progress) -> Result<File, CheckpointError> {
        let name = self.folder.file_name().map(PathBuf::from).unwrap_or_default();
        let path = self.hub.cache.join(".locks").join(name).join(format!("{}.lock", file.etag));
        let mut open = || {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => {
                    progress.note(&format!("waiting for another process that fetches {}", file.name));
                    lock.lock()?;
                }
                Err(fs::TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            Ok(lock)
        };
        open().map_err(|error| disk_error(&path, error))
    }
}

/// The hash that names a blob, computed as the bytes arrive.
enum Hash {
    /// For a large file: the SHA-256 of the content.
    Sha256(Sha256),
    /// For a small file, git's object id: the SHA-1 of a header with the length, and the content.
    Git(Sha1),
}

impl Hash {
    fn new(file: &RemoteFile) -> Hash {
        match file.etag.len() {
            64 => Hash::Sha256(Sha256::new()),
            _ => Hash::Git(Sha1::new_with_prefix(format!("blob {}\0", file.size))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Git(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Hash::Sha256(hash) => hexadecimal(&hash.finalize()),
            Hash::Git(hash) => hexadecimal(&hash.finalize()),
        }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A blob that is being written, with the hash of the bytes written so far.
struct Partial<'a> {
    path: PathBuf,
    of: &'a RemoteFile,
    file: File,
    len: u64,
    hash: Hash,
}

impl<'a> Partial<'a> {
    /// Opens and hashes what an earlier attempt left. Starts again if that is longer than the file.
    fn open(path: &Path, of: &'a RemoteFile, progress: &mut dyn Progress) -> std::io::Result<Partial<'a>> {
        let mut out = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut partial = Partial { path: path.to_owned(), of, file: out.try_clone()?, len: 0, hash: Hash::new(of) };
        if out.metadata()?.len() > of.size {
            progress.discard(of.size);
            partial.restart()?;
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            match out.read(&mut buffer)? {
                0 => return Ok(partial),
                len => {
                    partial.hash.update(&buffer[..len]);
                    partial.len += len as u64;
                }
            }
        }
    }

    fn restart(&mut self) -> std::io::Result<()> {
        use std::io::Seek;
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.len, self.hash) = (0, Hash::new(self.of));
        Ok(())
    }

    /// Flushes everything to the disk and returns the hash in hexadecimal.
    fn finish(self) -> std::io::Result<String> {
        self.file.sync_all()?;
        Ok(self.hash.finish())
    }
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let len = url[host..].find(['/', '?', '#']).unwrap_or(url.len() - host);
    &url[..host + len]
}

/// The target of a redirect, absolute or relative to the host; `None` for other schemes.
fn join(url: &str, target: &str) -> Option<String> {
    match target {
        _ if target.starts_with("https://") || target.starts_with("http://") => Some(target.to_owned()),
        _ if target.starts_with('/') && !target.starts_with("//") => Some(format!("{}{target}", origin(url))),
        _ => None,
    }
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// Whether a response continues at byte `from` and does not start again.
fn resumes_at(response: &Response<Body>, from: u64) -> bool {
    let start = || header(response, "content-range")?.strip_prefix("bytes ")?.split('-').next()?.parse().ok();
    response.status() == StatusCode::PARTIAL_CONTENT && start().is_none_or(|start: u64| start == from)
}

/// Escapes a file's name for use in a URL.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
