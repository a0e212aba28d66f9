//! The Hugging Face Hub: fetches the files of a model that we need, and nothing else, into the standard cache.
//!
//! Layout, shared with Python's `huggingface_hub`: `models--owner--name/{refs/<revision>, snapshots/<commit>/<file>,
//! blobs/<etag>}` under `HF_HUB_CACHE`, or `hub` under `HF_HOME`. A snapshot's files are links to blobs, and a blob gets
//! its name only when it is whole and its hash is right, so a file that is there can be trusted.
//!
//! The `hf-hub` crate (1.0.0) is not used: it starts a cut download again from zero, checks no hash, drops the hash that
//! the Hub's listing gives, and brings a second transfer protocol that no local server can stand in for. What is left is
//! two kinds of GET request: the listing of a revision, and a file by range behind a redirect.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::source::{is_repo, is_revision};
use crate::weights::error::{CheckpointError, WRONG_MODEL, shown};
use crate::weights::files::is_plain_name;
use crate::weights::safetensors::{INDEX_FILE, SINGLE_FILE};

const ENDPOINT: &str = "https://huggingface.co";
const MAX_LISTING: u64 = 32 << 20;
const MAX_REDIRECTS: usize = 10;
const BUFFER: usize = 256 << 10;

/// Small files that a model may have; the weights come on top.
const SMALL_FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// Told how a fetch goes on.
pub trait Progress {
    /// `total` bytes are to come, `done` of them are there already.
    fn start(&mut self, total: u64, done: u64);
    /// The file that the next bytes belong to.
    fn file(&mut self, name: &str);
    /// `bytes` more are on the disk.
    fn advance(&mut self, bytes: u64);
    /// `bytes` were worth nothing (a wrong hash, a server that starts again).
    fn lose(&mut self, bytes: u64);
    /// Something to know: a retry, a wait.
    fn note(&mut self, text: &str);
    fn finish(&mut self);
}

/// No progress shown.
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _: u64, _: u64) {}
    fn file(&mut self, _: &str) {}
    fn advance(&mut self, _: u64) {}
    fn lose(&mut self, _: u64) {}
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

/// On stderr: a bar with bytes, rate and time left on a terminal, a line every five seconds elsewhere.
pub struct ShownProgress {
    label: String,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    fetched: u64,
    begun: Instant,
    told: Instant,
}

impl ShownProgress {
    pub fn new(label: &str) -> ShownProgress {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(0));
        ShownProgress {
            label: label.to_owned(),
            bar,
            total: 0,
            done: 0,
            fetched: 0,
            begun: Instant::now(),
            told: Instant::now(),
        }
    }

    fn line(&self) {
        let rate = self.fetched as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        eprintln!(
            "{}: {} of {} ({}/s)",
            self.label,
            HumanBytes(self.done),
            HumanBytes(self.total),
            HumanBytes(rate as u64)
        );
    }
}

impl Progress for ShownProgress {
    fn start(&mut self, total: u64, done: u64) {
        (self.total, self.done, self.fetched) = (total, done, 0);
        (self.begun, self.told) = (Instant::now(), Instant::now());
        if let Some(bar) = &self.bar {
            let style = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(self.label.clone());
            bar.set_length(total);
            bar.set_position(done);
            bar.reset_eta();
        } else {
            self.line();
        }
    }

    fn file(&mut self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        self.fetched += bytes;
        match &self.bar {
            Some(bar) => bar.inc(bytes),
            None if self.told.elapsed() >= Duration::from_secs(5) => {
                self.told = Instant::now();
                self.line();
            }
            None => {}
        }
    }

    fn lose(&mut self, bytes: u64) {
        self.done = self.done.saturating_sub(bytes);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{}: {text}", self.label)),
            None => eprintln!("{}: {text}", self.label),
        }
    }

    fn finish(&mut self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => self.line(),
        }
    }
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    pub repo: String,
    /// The newest snapshot, if any.
    pub snapshot: Option<PathBuf>,
    /// Whether that snapshot has its configuration and all its weights.
    pub complete: bool,
    /// Bytes of all blobs, unfinished ones included.
    pub bytes: u64,
}

/// The Hub and its cache on this machine.
#[derive(Clone, Debug)]
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    cache: PathBuf,
    offline: bool,
    /// Fruitless attempts in a row before a fetch gives up.
    attempts: u32,
    /// Wait before the first retry; doubles, up to half a minute.
    backoff: Duration,
}

impl Hub {
    /// From the environment, as `huggingface_hub` reads it: `HF_ENDPOINT`; `HF_TOKEN`, or the file `HF_TOKEN_PATH` or
    /// `HF_HOME/token`; `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or in `huggingface` of the user's cache folder; `HF_HUB_OFFLINE`.
    pub fn from_env() -> Hub {
        Hub::from_lookup(|name| std::env::var(name).ok())
    }

    fn from_lookup(variable: impl Fn(&str) -> Option<String>) -> Hub {
        let variable =
            |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let user = || variable("HOME").or_else(|| variable("USERPROFILE")).unwrap_or_else(|| ".".to_owned());
        let caches = || variable("XDG_CACHE_HOME").map_or_else(|| Path::new(&user()).join(".cache"), PathBuf::from);
        let home = variable("HF_HOME").map_or_else(|| caches().join("huggingface"), PathBuf::from);
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
        let token_file = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let stored = || {
            fs::read_to_string(token_file).ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let is_set = |name: &str| {
            variable(name).is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()))
        };
        Hub {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()).trim_end_matches('/').to_owned(),
            token: variable("HF_TOKEN").or_else(stored),
            cache: cache.map_or_else(|| home.join("hub"), PathBuf::from),
            offline: is_set("HF_HUB_OFFLINE"),
            attempts: 6,
            backoff: Duration::from_millis(500),
        }
    }

    /// The cache folder.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The snapshot of a revision when it is in the cache and complete. Errors: not a valid id.
    pub fn location(&self, repo: &str, revision: &str) -> Result<Option<PathBuf>, CheckpointError> {
        let folder = self.folder(repo, revision)?;
        let commit = fs::read_to_string(folder.join("refs").join(revision)).unwrap_or_else(|_| revision.to_owned());
        let snapshot = folder.join("snapshots").join(commit.trim());
        Ok(Some(snapshot).filter(|snapshot| is_commit(commit.trim()) && is_complete(snapshot)))
    }

    /// The models in the cache, by name.
    pub fn list(&self) -> Vec<CachedModel> {
        let mut models: Vec<CachedModel> = entries(&self.cache)
            .into_iter()
            .filter_map(|folder| {
                let name = folder.file_name()?.to_str()?.strip_prefix("models--")?.to_owned();
                let repo = name.replacen("--", "/", 1);
                let mut snapshots = entries(&folder.join("snapshots"));
                snapshots.sort_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
                let snapshot = snapshots.pop();
                let complete = snapshot.as_deref().is_some_and(is_complete);
                let bytes = entries(&folder.join("blobs"))
                    .iter()
                    .filter_map(|blob| fs::metadata(blob).ok())
                    .map(|meta| meta.len())
                    .sum();
                is_repo(&repo).then_some(CachedModel { repo, snapshot, complete, bytes })
            })
            .collect();
        models.sort_by(|a, b| a.repo.cmp(&b.repo));
        models
    }

    /// Deletes a model from the cache; the bytes that this frees. Errors: it is not there, or cannot be deleted.
    pub fn remove(&self, repo: &str) -> Result<u64, CheckpointError> {
        let folder = self.folder(repo, "main")?;
        let Some(model) = self.list().into_iter().find(|model| model.repo == repo) else {
            return Err(CheckpointError::NotFound {
                repo: repo.to_owned(),
                what: format!("is not in {}", self.cache.display()),
                mend: "`alignatt models list` shows what is there".to_owned(),
            });
        };
        fs::remove_dir_all(&folder)
            .map_err(|error| CheckpointError::io(folder.display(), error, "check the permissions of the cache"))?;
        Ok(model.bytes)
    }

    /// Fetches a revision into the cache, or what is missing of it, and gives its snapshot folder.
    ///
    /// Blocks; call it from a thread that may. Errors: the repository is gated, unknown or holds no such model; the
    /// network fails and no complete copy is in the cache; the disk is full; a hash is wrong twice.
    pub fn fetch(&self, repo: &str, revision: &str, progress: &mut dyn Progress) -> Result<PathBuf, CheckpointError> {
        let folder = self.folder(repo, revision)?;
        if self.offline {
            return match self.location(repo, revision)? {
                Some(snapshot) => Ok(snapshot),
                None => Err(CheckpointError::Network {
                    repo: repo.to_owned(),
                    what: format!("is not in {} and HF_HUB_OFFLINE is set", self.cache.display()),
                    mend: "unset HF_HUB_OFFLINE, or name a folder".to_owned(),
                }),
            };
        }
        let fetch = Fetch { hub: self, repo, folder, agent: agent() };
        let listing = match fetch.listing(revision, progress) {
            Ok(listing) => listing,
            Err(CheckpointError::Network { what, mend, repo: name }) => {
                return match self.location(repo, revision)? {
                    Some(snapshot) => {
                        progress.note(&format!("{what}; the copy in the cache is used"));
                        Ok(snapshot)
                    }
                    None => Err(CheckpointError::Network { what, mend, repo: name }),
                };
            }
            Err(other) => return Err(other),
        };
        let files = fetch.needed(&listing)?;
        let snapshot = fetch.folder.join("snapshots").join(&listing.sha);
        let total = files.iter().map(|file| file.size).sum();
        let done = files.iter().map(|file| fetch.on_disk(file)).sum();
        progress.start(total, done);
        for file in &files {
            progress.file(&file.name);
            fetch.file(file, &listing.sha, progress)?;
            link(&snapshot, file).map_err(|error| disk(&snapshot.join(&file.name), error))?;
        }
        progress.finish();
        if revision != listing.sha {
            let reference = fetch.folder.join("refs").join(revision);
            let written = reference
                .parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::write(&reference, &listing.sha));
            written.map_err(|error| disk(&reference, error))?;
        }
        Ok(snapshot)
    }

    fn folder(&self, repo: &str, revision: &str) -> Result<PathBuf, CheckpointError> {
        if !is_repo(repo) || !is_revision(revision) {
            return Err(CheckpointError::Source {
                name: shown(&format!("{repo}@{revision}")),
                what: "is not a Hub id".to_owned(),
                mend: "write owner/name or owner/name@revision".to_owned(),
            });
        }
        Ok(self.cache.join(format!("models--{}", repo.replace('/', "--"))))
    }
}

/// One fetch under way.
struct Fetch<'a> {
    hub: &'a Hub,
    repo: &'a str,
    folder: PathBuf,
    agent: Agent,
}

/// What the Hub lists of a revision.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

/// A file to fetch.
struct Remote {
    name: String,
    size: u64,
    /// Name of the blob: the hash of the content for large files, of git's object for small ones.
    etag: String,
    sha256: Option<String>,
}

/// Why one attempt failed.
enum Trouble {
    /// Worth another try: what happened, and how long the server asks to wait.
    Again(String, Option<Duration>),
    /// Not worth it.
    Fatal(CheckpointError),
}

impl Fetch<'_> {
    /// The commit of a revision and its files with their sizes and hashes.
    fn listing(&self, revision: &str, progress: &mut dyn Progress) -> Result<Listing, CheckpointError> {
        let url = format!(
            "{}/api/models/{}/revision/{}?blobs=true",
            self.hub.endpoint,
            self.repo,
            revision.replace('/', "%2F")
        );
        let text = self.with_retries(progress, |_| {
            let mut response = self.get(&url, None)?;
            let body = response.body_mut().with_config().limit(MAX_LISTING);
            body.read_to_string().map_err(|error| Trouble::Again(error.to_string(), None))
        })?;
        let listing: Listing = serde_json::from_str(&text).map_err(|error| {
            self.network(format!("the answer to {url} is not a listing ({})", shown(&error.to_string())))
        })?;
        if !is_commit(&listing.sha) {
            return Err(self.network(format!("the answer to {url} names no commit")));
        }
        Ok(listing)
    }

    /// The files of a listing that a model needs. Errors: no configuration, no weights in safetensors.
    fn needed(&self, listing: &Listing) -> Result<Vec<Remote>, CheckpointError> {
        let has = |name: &str| listing.siblings.iter().any(|file| file.rfilename == name);
        for name in ["config.json", if has(INDEX_FILE) { INDEX_FILE } else { SINGLE_FILE }] {
            if !has(name) {
                return Err(CheckpointError::NotFound {
                    repo: self.repo.to_owned(),
                    what: format!("has no {name}"),
                    mend: WRONG_MODEL.to_owned(),
                });
            }
        }
        let single = has(SINGLE_FILE);
        let is_weight = |name: &str| match single {
            true => name == SINGLE_FILE,
            false => {
                name == INDEX_FILE
                    || (name.starts_with("model-") && name.contains("-of-") && name.ends_with(".safetensors"))
            }
        };
        let mut files = Vec::new();
        for file in &listing.siblings {
            let name = &file.rfilename;
            if !is_plain_name(name) || !(SMALL_FILES.contains(&name.as_str()) || is_weight(name)) {
                continue;
            }
            let sha256 = file.lfs.as_ref().and_then(|lfs| lfs.sha256.clone());
            let size = file.lfs.as_ref().and_then(|lfs| lfs.size).or(file.size);
            let is_hash =
                |hash: &String| (40..=64).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            let etag = sha256.clone().or_else(|| file.blob_id.clone()).filter(is_hash);
            let (Some(size), Some(etag)) = (size, etag) else {
                return Err(self.network(format!("the listing gives no size or no hash for {}", shown(name))));
            };
            files.push(Remote { name: name.clone(), size, etag, sha256 });
        }
        // Small files first: a wrong model is found out before gigabytes are fetched.
        files.sort_by_key(|file| file.size);
        Ok(files)
    }

    fn blob(&self, file: &Remote) -> PathBuf {
        self.folder.join("blobs").join(&file.etag)
    }

    fn partial(&self, file: &Remote) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", file.etag))
    }

    /// Bytes of a file that need not be fetched again.
    fn on_disk(&self, file: &Remote) -> u64 {
        let len = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        match len(&self.blob(file)) {
            len if len == file.size => len,
            _ => len(&self.partial(file)).min(file.size),
        }
    }

    /// Brings one blob onto the disk, whole and with the right hash.
    fn file(&self, file: &Remote, commit: &str, progress: &mut dyn Progress) -> Result<(), CheckpointError> {
        let (blob, partial) = (self.blob(file), self.partial(file));
        fs::create_dir_all(self.folder.join("blobs")).map_err(|error| disk(&blob, error))?;
        let _lock = self.lock(file, progress)?;
        if fs::metadata(&blob).is_ok_and(|meta| meta.len() == file.size) {
            return Ok(());
        }
        let url = format!("{}/{}/resolve/{commit}/{}", self.hub.endpoint, self.repo, file.name);
        let mut wrong_hash = false;
        loop {
            let mut out = Partial::open(&partial, file, progress).map_err(|error| disk(&partial, error))?;
            self.with_retries(progress, |progress| {
                let before = out.len;
                self.piece(&url, file, &mut out, progress).map_err(|trouble| match trouble {
                    Trouble::Again(what, _) if out.len > before => Trouble::Again(what, Some(Duration::ZERO)),
                    other => other,
                })
            })?;
            let hash = out.finish().map_err(|error| disk(&partial, error))?;
            if file.sha256.as_ref().is_none_or(|sha256| sha256.eq_ignore_ascii_case(&hash)) {
                return fs::rename(&partial, &blob).map_err(|error| disk(&blob, error));
            }
            fs::remove_file(&partial).map_err(|error| disk(&partial, error))?;
            progress.lose(file.size);
            if wrong_hash {
                let what = format!("has the hash {hash}, the Hub says {}", file.etag);
                return Err(CheckpointError::file(
                    format_args!("{}/{}", self.repo, file.name),
                    what,
                    "a proxy or a mirror changes the file; set HF_ENDPOINT",
                ));
            }
            wrong_hash = true;
            progress.note(&format!("{} came with a wrong hash; it is fetched once more", file.name));
        }
    }

    /// One request for the rest of a file, written as it comes.
    fn piece(&self, url: &str, file: &Remote, out: &mut Partial, progress: &mut dyn Progress) -> Result<(), Trouble> {
        if out.len == file.size {
            return Ok(());
        }
        let response = self.get(url, Some(out.len))?;
        if out.len > 0 && !resumes_at(&response, out.len) {
            progress.lose(out.len);
            out.restart().map_err(|error| Trouble::Fatal(disk(&out.path, error)))?;
        }
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        while out.len < file.size {
            let room = usize::try_from(file.size - out.len).map_or(BUFFER, |left| left.min(BUFFER));
            match body.read(&mut buffer[..room]) {
                Ok(0) => {
                    return Err(Trouble::Again(
                        format!("the connection ended at byte {} of {}", out.len, file.size),
                        None,
                    ));
                }
                Ok(len) => {
                    out.file.write_all(&buffer[..len]).map_err(|error| Trouble::Fatal(disk(&out.path, error)))?;
                    out.hash.update(&buffer[..len]);
                    out.len += len as u64;
                    progress.advance(len as u64);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Trouble::Again(
                        format!("the connection broke at byte {} of {} ({error})", out.len, file.size),
                        None,
                    ));
                }
            }
        }
        Ok(())
    }

    /// GET, from a byte if one is named, following redirects; the token goes to the Hub's own host only.
    fn get(&self, url: &str, from: Option<u64>) -> Result<Response<Body>, Trouble> {
        let mut url = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.agent.get(&url);
            if let Some(token) = self.hub.token.as_ref().filter(|_| origin(&url) == origin(&self.hub.endpoint)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Some(from) = from.filter(|from| *from > 0) {
                request = request.header("range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| match error {
                ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                    Trouble::Fatal(self.network(format!("{url} is not an address ({error}); check HF_ENDPOINT")))
                }
                other => Trouble::Again(format!("{} cannot be reached ({other})", origin(&url)), None),
            })?;
            if !response.status().is_redirection() {
                return self.check(response, &url);
            }
            let target = header(&response, "location").and_then(|target| join(&url, target));
            url = target.ok_or_else(|| Trouble::Fatal(self.network(format!("{url} redirects to nowhere"))))?;
        }
        Err(Trouble::Fatal(self.network(format!("more than {MAX_REDIRECTS} redirects, at last to {}", origin(&url)))))
    }

    fn check(&self, response: Response<Body>, url: &str) -> Result<Response<Body>, Trouble> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = header(&response, "retry-after").and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
        let reason =
            header(&response, "x-error-message").map_or(String::new(), |reason| format!(" ({})", shown(reason)));
        let page = format!("{}/{}", self.hub.endpoint, self.repo);
        let fatal = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CheckpointError::Gated {
                repo: self.repo.to_owned(),
                status: status.as_u16(),
                mend: match &self.hub.token {
                    None => format!(
                        "it is gated, private or misspelt: accept the licence on {page} and set HF_TOKEN to a token of your account"
                    ),
                    Some(_) => format!(
                        "your token does not open it: accept the licence on {page} with the same account, or check HF_TOKEN"
                    ),
                },
            },
            StatusCode::NOT_FOUND | StatusCode::GONE => CheckpointError::NotFound {
                repo: self.repo.to_owned(),
                what: format!("the Hub knows no such repository, revision or file{reason}"),
                mend: format!("check the name and the revision on {page}"),
            },
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(Trouble::Again(format!("the Hub answers {status}{reason}"), wait));
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(Trouble::Again(format!("the server refuses the range{reason}"), None));
            }
            _ if status.is_server_error() => {
                return Err(Trouble::Again(format!("the server answers {status}{reason}"), wait));
            }
            _ => self.network(format!("{} answers {status}{reason}", origin(url))),
        };
        Err(Trouble::Fatal(fatal))
    }

    /// Runs an attempt until it succeeds, fails for good, or has failed `attempts` times in a row without a new byte
    /// (an attempt that did get on says so by asking for no wait at all).
    fn with_retries<T>(
        &self,
        progress: &mut dyn Progress,
        mut attempt: impl FnMut(&mut dyn Progress) -> Result<T, Trouble>,
    ) -> Result<T, CheckpointError> {
        let mut failures = 0;
        loop {
            match attempt(progress) {
                Ok(value) => return Ok(value),
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Again(what, wait)) => {
                    failures = if wait == Some(Duration::ZERO) { 1 } else { failures + 1 };
                    if failures >= self.hub.attempts {
                        return Err(self.network(what));
                    }
                    let backoff = self.hub.backoff * 2u32.pow(failures.min(6) - 1);
                    let wait = wait.unwrap_or_default().max(backoff).min(Duration::from_secs(30));
                    progress.note(&format!("{what}; trying again"));
                    std::thread::sleep(wait);
                }
            }
        }
    }

    /// Keeps two processes from writing one blob.
    fn lock(&self, file: &Remote, progress: &mut dyn Progress) -> Result<File, CheckpointError> {
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
        open().map_err(|error| disk(&path, error))
    }

    fn network(&self, what: String) -> CheckpointError {
        CheckpointError::Network {
            repo: self.repo.to_owned(),
            what,
            mend: "check the network, HF_ENDPOINT and the proxy; run it again to go on where it stopped, or name a folder that has the files".to_owned(),
        }
    }
}

/// A blob that is being written, with the hash of what is there.
struct Partial {
    path: PathBuf,
    file: File,
    len: u64,
    hash: Sha256,
}

impl Partial {
    /// Opens what an earlier attempt left, and hashes it; starts again when it is longer than the file.
    fn open(path: &Path, file: &Remote, progress: &mut dyn Progress) -> std::io::Result<Partial> {
        let mut out = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut partial = Partial { path: path.to_owned(), file: out.try_clone()?, len: 0, hash: Sha256::new() };
        if out.metadata()?.len() > file.size {
            progress.lose(file.size);
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
        (self.len, self.hash) = (0, Sha256::new());
        Ok(())
    }

    /// Everything on the disk; the hash in hexadecimal.
    fn finish(self) -> std::io::Result<String> {
        self.file.sync_all()?;
        Ok(self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        .user_agent(concat!("alignatt/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let len = url[host..].find(['/', '?', '#']).unwrap_or(url.len() - host);
    &url[..host + len]
}

/// The target of a redirect, absolute or relative to the host; nothing for other schemes.
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

/// Whether an answer continues at a byte rather than starting again.
fn resumes_at(response: &Response<Body>, from: u64) -> bool {
    let start = || header(response, "content-range")?.strip_prefix("bytes ")?.split('-').next()?.parse().ok();
    response.status() == StatusCode::PARTIAL_CONTENT && start().is_none_or(|start: u64| start == from)
}

fn disk(path: &Path, error: std::io::Error) -> CheckpointError {
    let mend = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full: make room, or set HF_HOME to another disk; what is fetched stays"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "set HF_HOME to a folder that can be written",
        _ => "check the disk, or set HF_HOME to another one",
    };
    CheckpointError::io(path.display(), error, mend)
}

/// Puts a blob into a snapshot: a relative link where there are links, else a hard link or a copy.
fn link(snapshot: &Path, file: &Remote) -> std::io::Result<()> {
    fs::create_dir_all(snapshot)?;
    let pointer = snapshot.join(&file.name);
    let target = Path::new("../../blobs").join(&file.etag);
    #[cfg(unix)]
    {
        let is_there = || fs::read_link(&pointer).is_ok_and(|present| present == target);
        if is_there() {
            return Ok(());
        }
        remove_if_there(&pointer)?;
        // Another process may set the same link between these two lines.
        std::os::unix::fs::symlink(&target, &pointer).or_else(|error| if is_there() { Ok(()) } else { Err(error) })
    }
    #[cfg(not(unix))]
    {
        let blob = snapshot.join(target);
        remove_if_there(&pointer)?;
        fs::hard_link(&blob, &pointer).or_else(|_| fs::copy(&blob, &pointer).map(|_| ()))
    }
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    fs::remove_file(path).or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Whether a snapshot has its configuration and all its weights.
fn is_complete(snapshot: &Path) -> bool {
    let has = |name: &str| snapshot.join(name).is_file();
    if !has("config.json") {
        return false;
    }
    if has(SINGLE_FILE) {
        return true;
    }
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index = fs::read(snapshot.join(INDEX_FILE)).ok().and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
    index.is_some_and(|index| {
        !index.weight_map.is_empty() && index.weight_map.values().all(|shard| is_plain_name(shard) && has(shard))
    })
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const OID: &str = "89abcdef0123456789abcdef0123456789abcdef";

    #[derive(Clone, Debug, Default)]
    struct Request {
        path: String,
        range: Option<u64>,
        token: Option<String>,
    }

    #[derive(Default)]
    struct Reply {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        /// Close the connection after so many bytes of the body.
        cut: Option<usize>,
    }

    fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, body: body.into(), ..Reply::default() }
    }

    /// A server on this machine: its address, and what it was asked for.
    fn serve(answer: impl Fn(&Request) -> Reply + Send + 'static) -> (String, Arc<Mutex<Vec<Request>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let shared = log.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = Request::default();
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap_or_default();
                    if line.is_empty() {
                        break;
                    } else if request.path.is_empty() {
                        request.path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                    } else if let Some((name, value)) = line.split_once(": ") {
                        match name.to_lowercase().as_str() {
                            "range" => {
                                request.range =
                                    value.strip_prefix("bytes=").and_then(|v| v.strip_suffix('-')?.parse().ok())
                            }
                            "authorization" => request.token = value.strip_prefix("Bearer ").map(str::to_owned),
                            _ => {}
                        }
                    }
                }
                shared.lock().unwrap().push(request.clone());
                let reply = answer(&request);
                let mut head = format!(
                    "HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {}\r\n",
                    reply.status,
                    reply.body.len()
                );
                for (name, value) in &reply.headers {
                    head += &format!("{name}: {value}\r\n");
                }
                let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
                let _ = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(b"\r\n"))
                    .and_then(|()| stream.write_all(body));
            }
        });
        (url, log)
    }

    #[derive(Default)]
    struct Notes {
        notes: Vec<String>,
        total: u64,
        done: u64,
    }

    impl Progress for Notes {
        fn start(&mut self, total: u64, done: u64) {
            (self.total, self.done) = (total, done);
        }
        fn file(&mut self, _: &str) {}
        fn advance(&mut self, bytes: u64) {
            self.done += bytes;
        }
        fn lose(&mut self, bytes: u64) {
            self.done -= bytes;
        }
        fn note(&mut self, text: &str) {
            self.notes.push(text.to_owned());
        }
        fn finish(&mut self) {
            assert_eq!(self.done, self.total);
        }
    }

    fn weights() -> Vec<u8> {
        (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn sha256(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn listing() -> String {
        let sha = sha256(&weights());
        format!(
            r#"{{"id":"o/m","sha":"{COMMIT}","gated":"auto","siblings":[{{"rfilename":"README.md","size":5,"blobId":"{OID}"}},
            {{"rfilename":"config.json","size":2,"blobId":"{OID}"}},{{"rfilename":"original/model.safetensors","size":9,"blobId":"{OID}"}},
            {{"rfilename":"model.safetensors","size":300000,"blobId":"{OID}","lfs":{{"sha256":"{sha}","size":300000,"pointerSize":134}}}}]}}"#
        )
    }

    /// A range of the weights, as a CDN answers.
    fn ranged(request: &Request, body: &[u8], cut: Option<usize>) -> Reply {
        match request.range {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
                Reply {
                    status: 206,
                    headers: vec![("content-range", range)],
                    body: body[from as usize..].to_vec(),
                    cut,
                }
            }
            None => Reply { cut, ..reply(200, body) },
        }
    }

    /// The Hub, which sends large files to `cdn`.
    fn hub_server(cdn: String) -> (String, Arc<Mutex<Vec<Request>>>) {
        serve(move |request| match request.path.as_str() {
            "/api/models/o/m/revision/main?blobs=true" => reply(200, listing()),
            "/o/m/resolve/0123456789abcdef0123456789abcdef01234567/config.json" => {
                Reply { headers: vec![("location", "/elsewhere/config.json".into())], ..reply(307, "") }
            }
            "/elsewhere/config.json" => reply(200, "{}"),
            path if path.ends_with("/model.safetensors") => {
                Reply { headers: vec![("location", format!("{cdn}/blob?signature=1"))], ..reply(302, "") }
            }
            _ => reply(404, "{}"),
        })
    }

    fn hub(endpoint: &str, cache: &Path) -> Hub {
        Hub {
            endpoint: endpoint.to_owned(),
            token: None,
            cache: cache.to_owned(),
            offline: false,
            attempts: 3,
            backoff: Duration::from_millis(1),
        }
    }

    #[test]
    fn redirects_cuts_and_the_cache() {
        let cuts = Mutex::new(VecDeque::from([Some(100_000), Some(50_000), None]));
        let (cdn, cdn_log) =
            serve(move |request| ranged(request, &weights(), cuts.lock().unwrap().pop_front().flatten()));
        let (url, log) = hub_server(cdn);
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub { token: Some("secret".into()), ..hub(&url, cache.path()) };
        assert_eq!(hub.location("o/m", "main").unwrap(), None);
        let mut notes = Notes::default();
        let folder = hub.fetch("o/m", "main", &mut notes).unwrap();

        assert_eq!(folder, cache.path().join("models--o--m/snapshots").join(COMMIT));
        assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
        assert_eq!(fs::read(folder.join("config.json")).unwrap(), b"{}");
        assert_eq!(entries(&folder).len(), 2, "nothing but what is needed");
        assert_eq!(fs::read_to_string(cache.path().join("models--o--m/refs/main")).unwrap(), COMMIT);
        assert!(cache.path().join("models--o--m/blobs").join(sha256(&weights())).is_file());
        #[cfg(unix)]
        assert_eq!(fs::read_link(folder.join("config.json")).unwrap(), Path::new("../../blobs").join(OID));
        let ranges: Vec<Option<u64>> = cdn_log.lock().unwrap().iter().map(|request| request.range).collect();
        assert_eq!(ranges, [None, Some(100_000), Some(150_000)]);
        assert!(cdn_log.lock().unwrap().iter().all(|request| request.token.is_none()), "the token stays with the Hub");
        assert!(log.lock().unwrap().iter().all(|request| request.token.as_deref() == Some("secret")));
        assert_eq!(notes.total, 300_002);
        assert!(
            notes.notes[0].contains("byte 100000 of 300000") && notes.notes[0].ends_with("; trying again"),
            "{:?}",
            notes.notes
        );

        // Again: one request, for the listing.
        let before = log.lock().unwrap().len();
        assert_eq!(hub.fetch("o/m", "main", &mut Silent).unwrap(), folder);
        assert_eq!((log.lock().unwrap().len() - before, cdn_log.lock().unwrap().len()), (1, 3));
        assert_eq!(hub.location("o/m", "main").unwrap(), Some(folder.clone()));
        assert_eq!(hub.location("o/m", COMMIT).unwrap(), Some(folder.clone()));
        // Offline, and with the Hub away: the copy serves.
        let offline = Hub { offline: true, ..hub.clone() };
        assert_eq!(offline.fetch("o/m", "main", &mut Silent).unwrap(), folder);
        let message = offline.fetch("o/other", "main", &mut Silent).unwrap_err().to_string();
        assert!(message.contains("HF_HUB_OFFLINE is set"), "{message}");
        let away = Hub { endpoint: "http://127.0.0.1:9".into(), ..hub.clone() };
        let mut notes = Notes::default();
        assert_eq!(away.fetch("o/m", "main", &mut notes).unwrap(), folder);
        assert!(notes.notes.last().unwrap().contains("the copy in the cache is used"));
        let message = away.fetch("o/other", "main", &mut Silent).unwrap_err().to_string();
        assert!(
            message.starts_with("o/other: http://127.0.0.1:9 cannot be reached")
                && message.ends_with("or name a folder that has the files"),
            "{message}"
        );

        let listed = hub.list();
        assert_eq!(
            listed,
            [CachedModel { repo: "o/m".into(), snapshot: Some(folder.clone()), complete: true, bytes: 300_002 }]
        );
        assert_eq!(hub.remove("o/m").unwrap(), 300_002);
        assert!(hub.list().is_empty() && !folder.exists());
        assert!(hub.remove("o/m").unwrap_err().to_string().contains("`alignatt models list`"));
        assert!(hub.remove("../x").is_err() && hub.fetch("o/m", "../x", &mut Silent).is_err());
    }

    #[test]
    fn a_fetch_goes_on_where_another_stopped() {
        let (cdn, cdn_log) = serve(|request| ranged(request, &weights(), None));
        let (url, _) = hub_server(cdn);
        let cache = tempfile::tempdir().unwrap();
        let blobs = cache.path().join("models--o--m/blobs");
        fs::create_dir_all(&blobs).unwrap();
        let partial = blobs.join(format!("{}.incomplete", sha256(&weights())));
        fs::write(&partial, &weights()[..200_000]).unwrap();
        let folder = hub(&url, cache.path()).fetch("o/m", "main", &mut Notes::default()).unwrap();
        assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
        assert_eq!(cdn_log.lock().unwrap()[0].range, Some(200_000));
        assert!(!partial.exists());
    }

    #[test]
    fn a_server_without_ranges_starts_again() {
        let (cdn, cdn_log) =
            serve(|request| Reply { cut: request.range.is_none().then_some(1000), ..reply(200, weights()) });
        let (url, _) = hub_server(cdn);
        let cache = tempfile::tempdir().unwrap();
        let folder = hub(&url, cache.path()).fetch("o/m", "main", &mut Notes::default()).unwrap();
        assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
        assert_eq!(cdn_log.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_wrong_hash_is_fetched_once_more_and_then_refused() {
        let mut broken = weights();
        broken[7] ^= 1;
        let bodies = Mutex::new(VecDeque::from([broken.clone(), weights()]));
        let (cdn, _) = serve(move |request| ranged(request, &bodies.lock().unwrap().pop_front().unwrap(), None));
        let (url, _) = hub_server(cdn);
        let cache = tempfile::tempdir().unwrap();
        let mut notes = Notes::default();
        let folder = hub(&url, cache.path()).fetch("o/m", "main", &mut notes).unwrap();
        assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
        assert_eq!(notes.notes, ["model.safetensors came with a wrong hash; it is fetched once more"]);

        let (cdn, cdn_log) = serve(move |request| ranged(request, &broken, None));
        let (url, _) = hub_server(cdn);
        let cache = tempfile::tempdir().unwrap();
        let hub = hub(&url, cache.path());
        let message = hub.fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
        assert!(
            message.starts_with("o/m/model.safetensors: has the hash ") && message.contains(&sha256(&weights())),
            "{message}"
        );
        assert_eq!(cdn_log.lock().unwrap().len(), 2);
        assert_eq!(hub.location("o/m", "main").unwrap(), None);
        assert!(!hub.list()[0].complete);
    }

    #[test]
    fn what_the_hub_refuses() {
        let fail = |status: u16, token: Option<&str>| {
            let (url, log) =
                serve(move |_| Reply { headers: vec![("x-error-message", "because".into())], ..reply(status, "{}") });
            let cache = tempfile::tempdir().unwrap();
            let hub = Hub { token: token.map(str::to_owned), ..hub(&url, cache.path()) };
            let error = hub.fetch("google/gemma-4-E4B-it", "main", &mut Silent).unwrap_err();
            (error.code(), error.to_string().replace(&url, "HUB"), log.lock().unwrap().len())
        };
        let (code, message, asked) = fail(401, None);
        assert_eq!((code, asked), ("hub-gated", 1));
        assert_eq!(
            message,
            "google/gemma-4-E4B-it: the Hub answered 401: it is gated, private or misspelt: accept the licence on \
            HUB/google/gemma-4-E4B-it and set HF_TOKEN to a token of your account"
        );
        let (code, message, _) = fail(403, Some("t"));
        assert!(code == "hub-gated" && message.contains("your token does not open it"), "{message}");
        let (code, message, asked) = fail(404, None);
        assert!(
            code == "hub-not-found"
                && asked == 1
                && message.contains("(because)")
                && message.contains("check the name"),
            "{message}"
        );
        let (code, message, asked) = fail(503, None);
        assert!(code == "hub-network" && asked == 3 && message.contains("the server answers 503"), "{message}");
        let (code, _, asked) = fail(418, None);
        assert_eq!((code, asked), ("hub-network", 1));
        let (code, message, _) = fail(302, None);
        assert!(code == "hub-network" && message.contains("redirects to nowhere"), "{message}");

        let (url, log) = serve(|request| Reply { headers: vec![("location", request.path.clone())], ..reply(302, "") });
        let cache = tempfile::tempdir().unwrap();
        let message = hub(&url, cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
        assert!(message.contains("more than 10 redirects") && log.lock().unwrap().len() == 10, "{message}");
        for (body, expected) in [
            ("<html>", "is not a listing"),
            (r#"{"sha":"../x","siblings":[]}"#, "names no commit"),
            (&format!(r#"{{"sha":"{COMMIT}","siblings":[]}}"#), "has no config.json"),
            (
                &format!(r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"config.json"}}]}}"#),
                "has no model.safetensors",
            ),
            (&listing().replace(OID, "../../evil"), "no size or no hash for config.json"),
        ] {
            let body = body.to_owned();
            let (url, _) = serve(move |_| reply(200, body.clone()));
            let message = hub(&url, cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let message = hub("nonsense", cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
        assert!(message.starts_with("o/m: "), "{message}");
    }

    #[test]
    fn a_cut_without_progress_gives_up_and_keeps_what_came() {
        let (cdn, log) =
            serve(|request| ranged(request, &weights(), Some(if request.range.is_none() { 1000 } else { 0 })));
        let (url, _) = hub_server(cdn);
        let cache = tempfile::tempdir().unwrap();
        let message = hub(&url, cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
        assert!(
            message.contains("byte 1000 of 300000") && message.contains("run it again to go on where it stopped"),
            "{message}"
        );
        assert_eq!(log.lock().unwrap().len(), 3);
        let partial = cache.path().join("models--o--m/blobs").join(format!("{}.incomplete", sha256(&weights())));
        assert_eq!(fs::metadata(partial).unwrap().len(), 1000);
    }

    #[test]
    fn shards_and_their_index() {
        let shard = |at: usize| vec![at as u8; 10 * at];
        let index = r#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
        let files = [
            ("config.json", b"{}".to_vec()),
            (INDEX_FILE, index.into()),
            ("model-00001-of-00002.safetensors", shard(1)),
            ("model-00002-of-00002.safetensors", shard(2)),
            ("consolidated.safetensors", shard(3)),
        ];
        let siblings: Vec<String> = files
            .iter()
            .map(|(name, body)| {
                format!(r#"{{"rfilename":"{name}","size":{},"lfs":{{"sha256":"{}"}}}}"#, body.len(), sha256(body))
            })
            .collect();
        let listing = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, siblings.join(","));
        let (url, _) = serve(move |request| match request.path.rsplit('/').next() {
            Some("v1.0?blobs=true") => reply(200, listing.clone()),
            Some(name) => files
                .iter()
                .find(|(file, _)| *file == name)
                .map_or(reply(404, ""), |(_, body)| reply(200, body.clone())),
            None => reply(404, ""),
        });
        let cache = tempfile::tempdir().unwrap();
        let hub = hub(&url, cache.path());
        let folder = hub.fetch("o/m", "v1.0", &mut Notes::default()).unwrap();
        assert_eq!(entries(&folder).len(), 4);
        assert_eq!(hub.location("o/m", "v1.0").unwrap(), Some(folder.clone()));
        fs::remove_file(folder.join("model-00002-of-00002.safetensors")).unwrap();
        assert_eq!(hub.location("o/m", "v1.0").unwrap(), None);
    }

    #[test]
    fn two_fetches_at_once_write_each_blob_once() {
        let (cdn, cdn_log) = serve(|request| ranged(request, &weights(), None));
        let (url, _) = hub_server(cdn);
        let cache = tempfile::tempdir().unwrap();
        let hub = hub(&url, cache.path());
        std::thread::scope(|scope| {
            let fetches: Vec<_> = (0..4).map(|_| scope.spawn(|| hub.fetch("o/m", "main", &mut Silent))).collect();
            for fetch in fetches {
                assert_eq!(fs::read(fetch.join().unwrap().unwrap().join("model.safetensors")).unwrap(), weights());
            }
        });
        assert_eq!(cdn_log.lock().unwrap().len(), 1);
    }

    #[test]
    fn the_environment() {
        let hub = |variables: &[(&str, &str)]| {
            Hub::from_lookup(|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let plain = hub(&[("HOME", "/h")]);
        assert_eq!(
            (plain.endpoint.as_str(), plain.cache(), plain.offline),
            (ENDPOINT, Path::new("/h/.cache/huggingface/hub"), false)
        );
        assert_eq!(hub(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]).cache(), Path::new("/c/huggingface/hub"));
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        fs::write(dir.path().join("token"), "stored\n").unwrap();
        let set = hub(&[("HF_HOME", home), ("HF_ENDPOINT", "https://mirror.example/"), ("HF_HUB_OFFLINE", "1")]);
        assert_eq!(
            (set.endpoint.as_str(), set.cache(), set.offline),
            ("https://mirror.example", &*dir.path().join("hub"), true)
        );
        assert_eq!(set.token.as_deref(), Some("stored"));
        let set = hub(&[("HF_HOME", home), ("HF_TOKEN", " given "), ("HF_HUB_CACHE", "/x"), ("HF_HUB_OFFLINE", "0")]);
        assert_eq!((set.token.as_deref(), set.cache(), set.offline), (Some("given"), Path::new("/x"), false));
        assert_eq!(hub(&[("HF_HOME", "/none"), ("HF_TOKEN", "")]).token, None);
    }

    #[test]
    fn the_disk() {
        let full = disk(Path::new("/x"), ErrorKind::StorageFull.into()).to_string();
        assert!(full.contains("the disk is full: make room, or set HF_HOME"), "{full}");
        let (url, _) = hub_server(String::new());
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = hub(&url, &file.path().join("cache")).fetch("o/m", "main", &mut Silent).unwrap_err();
        assert_eq!(error.code(), "checkpoint-io");
    }
}
