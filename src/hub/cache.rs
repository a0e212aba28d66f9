//! The Hugging Face Hub: fetches the files that this program needs of a model into the standard
//! cache.
//!
//! The layout is shared with Python's `huggingface_hub`: `models--owner--name/{refs/<revision>,
//! snapshots/<commit>/<file>, blobs/<etag>}` under `HF_HUB_CACHE`, or `hub` under `HF_HOME`. A
//! snapshot's files are links to blobs. A blob gets its name only when it is whole and its hash is
//! right, so a file that exists can be trusted.
//!
//! The `hf-hub` crate (1.0.0) is not used: it restarts an interrupted download from zero, checks no
//! hash, drops the hash that the Hub's listing gives, and uses a second transfer protocol that no
//! local test server can imitate. What remains is two kinds of GET request: the listing of a
//! revision, and a file by range after a redirect.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::environment::{Certificates, Environment, Flaw, Proxies};
use super::model_files::MODEL_FILES;
use super::network::Network;
use super::source::{MAIN, is_repo, is_revision};
use crate::weights::error::{CheckpointError, Remedy, WRONG_MODEL, shown};
use crate::weights::files::BYTE_ORDER_MARK;
use crate::weights::safetensors::{INDEX_FILE, Index, MAX_INDEX, SINGLE_FILE};

const MAX_LISTING: u64 = 32 << 20;
const MAX_REDIRECTS: usize = 10;
const BUFFER: usize = 256 << 10;
/// Attempts that bring less than this in total, in bytes, are given up after [`Hub::patience`].
const LEAST_GAIN: u64 = 1 << 20;
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many folders deep the names of branches and tags may be.
const REFS_DEPTH: usize = 8;

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
    fn lose(&mut self, bytes: u64);
    /// A message for the user: a retry, a wait.
    fn note(&mut self, text: &str);
    fn finish(&mut self);
}

/// Shows no progress.
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _: u64, _: u64) {}
    fn file(&mut self, _: &str) {}
    fn advance(&mut self, _: u64) {}
    fn lose(&mut self, _: u64) {}
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    pub repo: String,
    /// The revisions that are complete: `main` first, then other branches and tags, then commits
    /// without a name.
    pub revisions: Vec<String>,
    /// The size of all blobs in bytes, unfinished ones included.
    pub bytes: u64,
}

/// The Hub and its cache on this machine.
#[derive(Clone, Debug)]
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    cache: PathBuf,
    offline: bool,
    proxies: Proxies,
    certificates: Certificates,
    /// An unusable setting; every fetch returns it as an error.
    flaw: Option<Flaw>,
    /// How many fruitless attempts in a row end a fetch.
    attempts: u32,
    /// The wait before the first retry. It doubles with every retry, up to half a minute.
    backoff: Duration,
    /// How long attempts that bring next to nothing may continue.
    patience: Duration,
}

impl Hub {
    /// Reads the settings from the environment, as `huggingface_hub` does: `HF_ENDPOINT`;
    /// `HF_TOKEN`, or the file `HF_TOKEN_PATH` or `HF_HOME/token`; `HF_HUB_CACHE`, or `hub` in
    /// `HF_HOME`, or in `huggingface` of the user's cache folder; `HF_HUB_OFFLINE`; the variables
    /// for proxies and for certificates. An unusable value is an error only when something is
    /// fetched.
    pub fn from_env() -> Hub {
        Hub::new(Environment::read())
    }

    fn new(environment: Environment) -> Hub {
        let Environment { cache, endpoint, token, offline, proxies, certificates, flaw } = environment;
        Hub {
            endpoint,
            token,
            cache,
            offline,
            proxies,
            certificates,
            flaw,
            attempts: 6,
            backoff: Duration::from_millis(500),
            patience: Duration::from_secs(15 * 60),
        }
    }

    /// The cache folder.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The snapshot of a revision if it is in the cache and complete, otherwise `None`. Errors: the
    /// id is not valid.
    pub fn location(&self, repo: &str, revision: &str) -> Result<Option<PathBuf>, CheckpointError> {
        let folder = self.folder(repo, revision)?;
        let commit = fs::read_to_string(folder.join("refs").join(revision)).unwrap_or_else(|_| revision.to_owned());
        let snapshot = folder.join("snapshots").join(commit.trim());
        Ok(Some(snapshot).filter(|snapshot| is_commit(commit.trim()) && is_complete(snapshot)))
    }

    /// The models in the cache, sorted by name.
    pub fn list(&self) -> Vec<CachedModel> {
        let mut models: Vec<CachedModel> = entries(&self.cache)
            .into_iter()
            .filter_map(|folder| {
                let name = folder.file_name()?.to_str()?.strip_prefix("models--")?.to_owned();
                let repo = name.replacen("--", "/", 1);
                let bytes = entries(&folder.join("blobs"))
                    .iter()
                    .filter_map(|blob| fs::metadata(blob).ok())
                    .map(|meta| meta.len())
                    .sum();
                let revisions = self.revisions(&repo, &folder);
                is_repo(&repo).then_some(CachedModel { repo, revisions, bytes })
            })
            .collect();
        models.sort_by(|a, b| a.repo.cmp(&b.repo));
        models
    }

    /// The complete revisions in a model's folder.
    fn revisions(&self, repo: &str, folder: &Path) -> Vec<String> {
        let mut named = Vec::new();
        collect_refs(&folder.join("refs"), "", 0, &mut named);
        named.sort_by_key(|revision| (revision != MAIN, revision.clone()));
        let mut complete: Vec<(String, PathBuf)> = named
            .into_iter()
            .filter_map(|revision| {
                let snapshot = self.location(repo, &revision).ok()??;
                Some((revision, snapshot))
            })
            .collect();
        let mut snapshots = entries(&folder.join("snapshots"));
        snapshots.sort();
        for snapshot in snapshots {
            let commit = snapshot.file_name().and_then(|name| name.to_str()).filter(|name| is_commit(name));
            let (Some(commit), true) = (commit, is_complete(&snapshot)) else { continue };
            if !complete.iter().any(|(_, other)| *other == snapshot) {
                complete.push((commit.to_owned(), snapshot));
            }
        }
        complete.into_iter().map(|(revision, _)| revision).collect()
    }

    /// Deletes a model with all its revisions from the cache, and returns how many bytes this
    /// frees.
    ///
    /// Errors: the model is not in the cache, or cannot be deleted.
    pub fn remove(&self, repo: &str) -> Result<u64, CheckpointError> {
        let folder = self.folder(repo, MAIN)?;
        let Some(model) = self.list().into_iter().find(|model| model.repo == repo) else {
            return Err(CheckpointError::NotFound {
                repo: repo.to_owned(),
                what: format!("is not in {}", self.cache.display()),
                remedy: Remedy::ListModels,
            });
        };
        fs::remove_dir_all(&folder)
            .map_err(|error| CheckpointError::io(folder.display(), error, "check the permissions of the cache"))?;
        Ok(model.bytes)
    }

    /// Fetches a revision, or what is missing of it, into the cache, and returns its snapshot
    /// folder. If nothing is missing, nothing is written.
    ///
    /// Blocks the calling thread. Errors: a setting is unusable; the repository is gated or
    /// unknown, or contains no such model; the network fails and the cache has no complete copy;
    /// the disk is full; a hash is wrong twice.
    pub fn fetch(&self, repo: &str, revision: &str, progress: &mut dyn Progress) -> Result<PathBuf, CheckpointError> {
        let folder = self.folder(repo, revision)?;
        if self.offline {
            return match self.location(repo, revision)? {
                Some(snapshot) => Ok(snapshot),
                None => Err(CheckpointError::Network {
                    repo: repo.to_owned(),
                    what: format!("is not in {} and HF_HUB_OFFLINE is set", self.cache.display()),
                    remedy: "unset HF_HUB_OFFLINE, or name a folder".into(),
                }),
            };
        }
        if let Some(flaw) = &self.flaw {
            return Err(flaw.clone().into());
        }
        let network = Network::new(&self.proxies, &self.certificates)?;
        let fetch = Fetch { hub: self, repo, folder, network };
        let listing = match fetch.listing(revision, progress) {
            Ok(listing) => listing,
            Err(CheckpointError::Network { what, remedy, repo: name }) => {
                return match self.location(repo, revision)? {
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
        let mut files = fetch.small_files(&listing)?;
        if let Some(index) = files.iter().find(|file| file.name == INDEX_FILE) {
            // The index names the files that contain the weights.
            progress.start(index.size, fetch.on_disk(index, &snapshot));
            fetch.bring(index, &snapshot, progress)?;
            files.extend(fetch.shards(&listing, &snapshot)?);
        }
        // Small files first, so that a wrong model is detected before gigabytes are fetched.
        files.sort_by_key(|file| file.size);
        let total = files.iter().map(|file| file.size).sum();
        let done = files.iter().map(|file| fetch.on_disk(file, &snapshot)).sum();
        progress.start(total, done);
        for file in &files {
            progress.file(&file.name);
            fetch.bring(file, &snapshot, progress)?;
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
            written.map_err(|error| disk(&reference, error))?;
        }
        Ok(snapshot)
    }

    fn folder(&self, repo: &str, revision: &str) -> Result<PathBuf, CheckpointError> {
        if !is_repo(repo) || !is_revision(revision) {
            return Err(CheckpointError::Source {
                name: shown(&format!("{repo}@{revision}")),
                what: "is not a Hub id".to_owned(),
                remedy: "write owner/name or owner/name@revision".into(),
            });
        }
        Ok(self.cache.join(format!("models--{}", repo.replace('/', "--"))))
    }
}

/// A fetch in progress.
struct Fetch<'a> {
    hub: &'a Hub,
    repo: &'a str,
    folder: PathBuf,
    network: Network,
}

/// The Hub's listing of a revision.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

impl Listing {
    fn has(&self, name: &str) -> bool {
        self.siblings.iter().any(|file| file.rfilename == name)
    }
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
    /// The blob's name: the SHA-256 of the content for a large file, git's object id for a small
    /// one.
    etag: String,
}

/// Why one attempt failed.
enum Trouble {
    /// Another attempt may succeed.
    Again {
        what: String,
        /// How long the server asks the client to wait.
        wait: Option<Duration>,
        /// How many bytes the attempt brought before it failed.
        gained: u64,
    },
    /// Another attempt would fail as well.
    Fatal(CheckpointError),
}

impl Trouble {
    fn again(what: String) -> Trouble {
        Trouble::Again { what, wait: None, gained: 0 }
    }
}

impl Fetch<'_> {
    /// Lists the commit of a revision and its files, with their sizes and hashes.
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
            body.read_to_string().map_err(|error| Trouble::again(error.to_string()))
        })?;
        let listing: Listing = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            self.network_error(format!("the answer to {url} is not a listing ({})", shown(&error.to_string())))
        })?;
        if !is_commit(&listing.sha) {
            return Err(self.network_error(format!("the answer to {url} names no commit")));
        }
        Ok(listing)
    }

    /// The files of a listing that a model needs, without the shards of its weights. Errors: the
    /// repository has no configuration, or no weights in safetensors.
    fn small_files(&self, listing: &Listing) -> Result<Vec<Remote>, CheckpointError> {
        let weights = if listing.has(SINGLE_FILE) || !listing.has(INDEX_FILE) { SINGLE_FILE } else { INDEX_FILE };
        if let Some(missing) = [&*MODEL_FILES.config, weights].into_iter().find(|name| !listing.has(name)) {
            return Err(self.wrong_model(format!("has no {missing}")));
        }
        let is_needed = |name: &str| name == weights || MODEL_FILES.is_small(name);
        listing.siblings.iter().filter(|file| is_needed(&file.rfilename)).map(|file| self.remote(file)).collect()
    }

    /// The shards that the snapshot's index names.
    fn shards(&self, listing: &Listing, snapshot: &Path) -> Result<Vec<Remote>, CheckpointError> {
        let path = snapshot.join(INDEX_FILE);
        let index = read_index(&path)
            .map_err(|error| disk(&path, error))?
            .map_err(|what| self.wrong_model(format!("{INDEX_FILE}: {what}")))?;
        index
            .shards
            .iter()
            .map(|shard| match listing.siblings.iter().find(|file| file.rfilename == *shard) {
                Some(file) => self.remote(file),
                None => Err(self.wrong_model(format!("{INDEX_FILE} names {}, which is not there", shown(shard)))),
            })
            .collect()
    }

    fn remote(&self, file: &Sibling) -> Result<Remote, CheckpointError> {
        let size = file.lfs.as_ref().map_or(file.size, |lfs| lfs.size.or(file.size));
        let (etag, len) = match &file.lfs {
            Some(lfs) => (&lfs.sha256, 64),
            None => (&file.blob_id, 40),
        };
        let etag = etag.as_ref().filter(|hash| is_hexadecimal(hash, len));
        match (size, etag) {
            (Some(size), Some(etag)) => {
                Ok(Remote { name: file.rfilename.clone(), size, etag: etag.to_ascii_lowercase() })
            }
            _ => {
                let name = shown(&file.rfilename);
                Err(self.network_error(format!("the listing gives no size or no hash for {name}")))
            }
        }
    }

    fn wrong_model(&self, what: String) -> CheckpointError {
        CheckpointError::NotFound { repo: self.repo.to_owned(), what, remedy: WRONG_MODEL.into() }
    }

    fn blob(&self, file: &Remote) -> PathBuf {
        self.folder.join("blobs").join(&file.etag)
    }

    fn partial(&self, file: &Remote) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", file.etag))
    }

    /// How many bytes of a file need not be fetched again.
    fn on_disk(&self, file: &Remote, snapshot: &Path) -> u64 {
        let is_whole = |path: &Path| len_of(path) == Some(file.size);
        match is_whole(&snapshot.join(&file.name)) || is_whole(&self.blob(file)) {
            true => file.size,
            false => len_of(&self.partial(file)).unwrap_or(0).min(file.size),
        }
    }

    /// Fetches a file into the snapshot, unless it is there already.
    fn bring(&self, file: &Remote, snapshot: &Path, progress: &mut dyn Progress) -> Result<(), CheckpointError> {
        let pointer = snapshot.join(&file.name);
        if len_of(&pointer) == Some(file.size) {
            return Ok(());
        }
        self.blob_of(file, snapshot, progress)?;
        link(&pointer, file).map_err(|error| disk(&pointer, error))
    }

    /// Fetches one blob, and stores it only if it is whole and its hash is right.
    fn blob_of(&self, file: &Remote, snapshot: &Path, progress: &mut dyn Progress) -> Result<(), CheckpointError> {
        let (blob, partial) = (self.blob(file), self.partial(file));
        fs::create_dir_all(self.folder.join("blobs")).map_err(|error| disk(&blob, error))?;
        let _lock = self.lock(file, progress)?;
        if len_of(&blob) == Some(file.size) {
            return Ok(());
        }
        let commit = snapshot.file_name().unwrap_or_default().to_string_lossy();
        let url = format!("{}/{}/resolve/{commit}/{}", self.hub.endpoint, self.repo, escaped(&file.name));
        let mut wrong_hash = false;
        loop {
            let mut out = Partial::open(&partial, file, progress).map_err(|error| disk(&partial, error))?;
            self.with_retries(progress, |progress| {
                let before = out.len;
                self.piece(&url, file, &mut out, progress).map_err(|trouble| match trouble {
                    Trouble::Again { what, wait, .. } => {
                        Trouble::Again { what, wait, gained: out.len.saturating_sub(before) }
                    }
                    fatal => fatal,
                })
            })?;
            let hash = out.finish().map_err(|error| disk(&partial, error))?;
            if hash == file.etag {
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

    /// Makes one request for the rest of a file, and writes the bytes as they arrive.
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
                    let what = format!("the connection ended at byte {} of {}", out.len, file.size);
                    return Err(Trouble::again(what));
                }
                Ok(len) => {
                    out.file.write_all(&buffer[..len]).map_err(|error| Trouble::Fatal(disk(&out.path, error)))?;
                    out.hash.update(&buffer[..len]);
                    out.len += len as u64;
                    progress.advance(len as u64);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = format!("the connection broke at byte {} of {} ({error})", out.len, file.size);
                    return Err(Trouble::again(what));
                }
            }
        }
        Ok(())
    }

    /// GET, from a byte offset if one is given, following redirects. The token is sent only to the
    /// Hub's own host.
    fn get(&self, url: &str, from: Option<u64>) -> Result<Response<Body>, Trouble> {
        let mut url = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.network.agent(&url).get(&url);
            if let Some(token) = self.hub.token.as_ref().filter(|_| origin(&url) == origin(&self.hub.endpoint)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Some(from) = from.filter(|from| *from > 0) {
                request = request.header("range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| self.unanswered(&url, error))?;
            if !response.status().is_redirection() {
                return self.check(response, &url);
            }
            let target = header(&response, "location").and_then(|target| join(&url, target));
            url = target.ok_or_else(|| Trouble::Fatal(self.network_error(format!("{url} redirects to nowhere"))))?;
        }
        let what = format!("more than {MAX_REDIRECTS} redirects, at last to {}", origin(&url));
        Err(Trouble::Fatal(self.network_error(what)))
    }

    /// The error for a request without an answer. If the connection cannot be trusted, another
    /// attempt does not help.
    fn unanswered(&self, url: &str, error: ureq::Error) -> Trouble {
        let is_untrusted = match &error {
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
            // rustls reports a bad certificate during the handshake in this way.
            ureq::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
            _ => false,
        };
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Trouble::Fatal(self.network_error(format!("{url} is not an address ({error})")))
            }
            error if is_untrusted => Trouble::Fatal(CheckpointError::Network {
                repo: self.repo.to_owned(),
                what: format!("the connection to {} cannot be trusted ({error})", origin(url)),
                remedy:
                    "check the clock; where a proxy or the server has a certificate of its own, name the file of its \
                         authority in SSL_CERT_FILE"
                        .into(),
            }),
            error => Trouble::again(format!("{} cannot be reached ({error})", origin(url))),
        }
    }

    fn check(&self, response: Response<Body>, url: &str) -> Result<Response<Body>, Trouble> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = header(&response, "retry-after").and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
        let again = |what| Trouble::Again { what, wait, gained: 0 };
        let reason =
            header(&response, "x-error-message").map_or(String::new(), |reason| format!(" ({})", shown(reason)));
        let page = format!("{}/{}", self.hub.endpoint, self.repo);
        let fatal = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CheckpointError::Gated {
                repo: self.repo.to_owned(),
                status: status.as_u16(),
                remedy: match &self.hub.token {
                    None => format!(
                        "it is gated, private or misspelt: accept the licence on {page} and set HF_TOKEN to a token of \
                         your account"
                    ),
                    Some(_) => format!(
                        "your token does not open it: accept the licence on {page} with the same account, or check HF_TOKEN"
                    ),
                }
                .into(),
            },
            StatusCode::NOT_FOUND | StatusCode::GONE => CheckpointError::NotFound {
                repo: self.repo.to_owned(),
                what: format!("the Hub knows no such repository, revision or file{reason}"),
                remedy: format!("check the name and the revision on {page}").into(),
            },
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(again(format!("the Hub answers {status}{reason}")));
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(Trouble::again(format!("the server refuses the range{reason}")));
            }
            _ if status.is_server_error() => {
                return Err(again(format!("the server answers {status}{reason}")));
            }
            _ => self.network_error(format!("{} answers {status}{reason}", origin(url))),
        };
        Err(Trouble::Fatal(fatal))
    }

    /// Repeats an attempt until it succeeds or fails for good. Gives up after `attempts` in a row
    /// that brought no byte, and when attempts have brought next to nothing for `patience`.
    fn with_retries<T>(
        &self,
        progress: &mut dyn Progress,
        mut attempt: impl FnMut(&mut dyn Progress) -> Result<T, Trouble>,
    ) -> Result<T, CheckpointError> {
        let mut failures = 0;
        let (mut since, mut gained_since) = (Instant::now(), 0);
        loop {
            let (what, wait, gained) = match attempt(progress) {
                Ok(value) => return Ok(value),
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Again { what, wait, gained }) => (what, wait, gained),
            };
            failures = if gained > 0 { 1 } else { failures + 1 };
            gained_since += gained;
            if gained_since >= LEAST_GAIN {
                (since, gained_since) = (Instant::now(), 0);
            }
            if failures >= self.hub.attempts || since.elapsed() >= self.hub.patience {
                return Err(self.network_error(what));
            }
            let backoff = self.hub.backoff * 2u32.pow(failures.min(6) - 1);
            progress.note(&format!("{what}; trying again"));
            std::thread::sleep(wait.unwrap_or_default().max(backoff).min(LONGEST_WAIT));
        }
    }

    /// Prevents two processes from writing the same blob.
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

    fn network_error(&self, what: String) -> CheckpointError {
        CheckpointError::Network {
            repo: self.repo.to_owned(),
            what,
            remedy: "check the network, HF_ENDPOINT and the proxy; run it again to go on where it stopped, or name a \
                     folder that has the files"
                .into(),
        }
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
    fn new(file: &Remote) -> Hash {
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

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A blob that is being written, with the hash of the bytes written so far.
struct Partial<'a> {
    path: PathBuf,
    of: &'a Remote,
    file: File,
    len: u64,
    hash: Hash,
}

impl<'a> Partial<'a> {
    /// Opens and hashes what an earlier attempt left. Starts again if that is longer than the file.
    fn open(path: &Path, of: &'a Remote, progress: &mut dyn Progress) -> std::io::Result<Partial<'a>> {
        let mut out = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut partial = Partial { path: path.to_owned(), of, file: out.try_clone()?, len: 0, hash: Hash::new(of) };
        if out.metadata()?.len() > of.size {
            progress.lose(of.size);
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

fn disk(path: &Path, error: std::io::Error) -> CheckpointError {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full: make room, or set HF_HOME to another disk; what is fetched stays"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "set HF_HOME to a folder that can be written",
        _ => "check the disk, or set HF_HOME to another one",
    };
    CheckpointError::io(path.display(), error, remedy)
}

/// Puts a blob into a snapshot as `pointer`: a relative symbolic link where the system has them,
/// otherwise a hard link or a copy.
fn link(pointer: &Path, file: &Remote) -> std::io::Result<()> {
    let folder = pointer.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let up = "../".repeat(2 + file.name.matches('/').count());
    let target = Path::new(&up).join("blobs").join(&file.etag);
    #[cfg(unix)]
    {
        let is_there = || fs::read_link(pointer).is_ok_and(|present| present == target);
        if is_there() {
            return Ok(());
        }
        remove_if_there(pointer)?;
        // Another process may create the same link between these two lines.
        std::os::unix::fs::symlink(&target, pointer).or_else(|error| if is_there() { Ok(()) } else { Err(error) })
    }
    #[cfg(not(unix))]
    {
        let blob = folder.join(target);
        remove_if_there(pointer)?;
        fs::hard_link(&blob, pointer).or_else(|_| fs::copy(&blob, pointer).map(|_| ()))
    }
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    fs::remove_file(path).or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Whether a snapshot has its configuration and all its weights.
fn is_complete(snapshot: &Path) -> bool {
    let has = |name: &str| snapshot.join(name).is_file();
    let has_weights = || match has(SINGLE_FILE) {
        true => true,
        false => {
            matches!(read_index(&snapshot.join(INDEX_FILE)), Ok(Ok(index)) if index.shards.iter().all(|shard| has(shard)))
        }
    };
    has(&MODEL_FILES.config) && has_weights()
}

/// Reads an index from the disk. The inner error says what is wrong with its text.
fn read_index(path: &Path) -> std::io::Result<Result<Index, String>> {
    let mut json = Vec::new();
    File::open(path)?.take(MAX_INDEX as u64 + 1).read_to_end(&mut json)?;
    if json.len() > MAX_INDEX {
        return Ok(Err(format!("is longer than {MAX_INDEX} bytes")));
    }
    Ok(Index::parse(json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&json)))
}

/// Collects the names of the references below `folder`; a name with slashes lies in folders of its
/// own.
fn collect_refs(folder: &Path, before: &str, depth: usize, into: &mut Vec<String>) {
    if depth == REFS_DEPTH {
        return;
    }
    for path in entries(folder) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        match path.is_dir() {
            true => collect_refs(&path, &format!("{before}{name}/"), depth + 1, into),
            false => into.push(format!("{before}{name}")),
        }
    }
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

fn len_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(|meta| meta.is_file()).map(|meta| meta.len())
}

fn is_commit(text: &str) -> bool {
    is_hexadecimal(text, 40)
}

fn is_hexadecimal(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, VecDeque};
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const OID: &str = "89abcdef0123456789abcdef0123456789abcdef";
    /// git's object id of the content `{}`.
    const EMPTY_OBJECT: &str = "9e26dfeeb6e641a33dae4961196235bdb965b21b";

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
        /// Close the connection after this many bytes of the body.
        cut: Option<usize>,
    }

    fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, body: body.into(), ..Reply::default() }
    }

    /// A local server: its address, and the requests that it has received.
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
            {{"rfilename":"config.json","size":2,"blobId":"{EMPTY_OBJECT}"}},{{"rfilename":"original/model.safetensors","size":9,"blobId":"{OID}"}},
            {{"rfilename":"model.safetensors","size":300000,"blobId":"{OID}","lfs":{{"sha256":"{sha}","size":300000,"pointerSize":134}}}}]}}"#
        )
    }

    /// A range of the weights, as a CDN responds.
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

    /// A Hub that redirects large files to `cdn`.
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
            proxies: Proxies::default(),
            certificates: Certificates::default(),
            flaw: None,
            attempts: 3,
            backoff: Duration::from_millis(1),
            patience: Duration::from_secs(60),
        }
    }

    fn kind(error: &CheckpointError) -> &'static str {
        match error {
            CheckpointError::Gated { .. } => "gated",
            CheckpointError::NotFound { .. } => "not found",
            CheckpointError::Network { .. } => "network",
            _ => "another",
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
        assert_eq!(fs::read_link(folder.join("config.json")).unwrap(), Path::new("../../blobs").join(EMPTY_OBJECT));
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

        // Fetching again makes one request, for the listing.
        let before = log.lock().unwrap().len();
        assert_eq!(hub.fetch("o/m", "main", &mut Silent).unwrap(), folder);
        assert_eq!((log.lock().unwrap().len() - before, cdn_log.lock().unwrap().len()), (1, 3));
        assert_eq!(hub.location("o/m", "main").unwrap(), Some(folder.clone()));
        assert_eq!(hub.location("o/m", COMMIT).unwrap(), Some(folder.clone()));
        // If HF_HUB_OFFLINE is set, or the Hub cannot be reached, the copy in the cache is used.
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
        assert_eq!(listed, [CachedModel { repo: "o/m".into(), revisions: vec!["main".into()], bytes: 300_002 }]);
        assert_eq!(hub.remove("o/m").unwrap(), 300_002);
        assert!(hub.list().is_empty() && !folder.exists());
        assert_eq!(hub.remove("o/m").unwrap_err().remedy(), &Remedy::ListModels);
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
        assert!(hub.list()[0].revisions.is_empty());
    }

    #[test]
    fn what_the_hub_refuses() {
        let fail = |status: u16, token: Option<&str>| {
            let (url, log) =
                serve(move |_| Reply { headers: vec![("x-error-message", "because".into())], ..reply(status, "{}") });
            let cache = tempfile::tempdir().unwrap();
            let hub = Hub { token: token.map(str::to_owned), ..hub(&url, cache.path()) };
            let error = hub.fetch("google/gemma-4-E4B-it", "main", &mut Silent).unwrap_err();
            (kind(&error), error.to_string().replace(&url, "HUB"), log.lock().unwrap().len())
        };
        let (kind, message, asked) = fail(401, None);
        assert_eq!((kind, asked), ("gated", 1));
        assert_eq!(
            message,
            "google/gemma-4-E4B-it: the Hub answered 401: it is gated, private or misspelt: accept the licence on \
            HUB/google/gemma-4-E4B-it and set HF_TOKEN to a token of your account"
        );
        let (kind, message, _) = fail(403, Some("t"));
        assert!(kind == "gated" && message.contains("your token does not open it"), "{message}");
        let (kind, message, asked) = fail(404, None);
        assert!(
            kind == "not found" && asked == 1 && message.contains("(because)") && message.contains("check the name"),
            "{message}"
        );
        let (kind, message, asked) = fail(503, None);
        assert!(kind == "network" && asked == 3 && message.contains("the server answers 503"), "{message}");
        let (kind, _, asked) = fail(418, None);
        assert_eq!((kind, asked), ("network", 1));
        let (kind, message, _) = fail(302, None);
        assert!(kind == "network" && message.contains("redirects to nowhere"), "{message}");

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
            (&listing().replace(EMPTY_OBJECT, "../../evil"), "no size or no hash for config.json"),
        ] {
            let body = body.to_owned();
            let (url, _) = serve(move |_| reply(200, body.clone()));
            let message = hub(&url, cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let without = listing().replace(&format!(r#""lfs":{{"sha256":"{}","#, sha256(&weights())), r#""lfs":{"#);
        let (url, _) = serve(move |_| reply(200, without.clone()));
        let message = hub(&url, cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
        assert!(message.contains("no hash for model.safetensors"), "{message}");
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

    /// A Hub with one repository that has these files at every revision.
    fn repository(files: Vec<(String, Vec<u8>)>) -> (String, Arc<Mutex<Vec<Request>>>) {
        let git = |body: &[u8]| {
            hexadecimal(&Sha1::new_with_prefix(format!("blob {}\0", body.len())).chain_update(body).finalize())
        };
        let siblings: Vec<serde_json::Value> = files
            .iter()
            .map(|(name, body)| match name.ends_with(".safetensors") {
                true => serde_json::json!({"rfilename": name, "blobId": OID, "lfs": {"sha256": sha256(body), "size": body.len()}}),
                false => serde_json::json!({"rfilename": name, "size": body.len(), "blobId": git(body)}),
            })
            .collect();
        let listing = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        serve(move |request| match request.path.split_once(&format!("/resolve/{COMMIT}/")) {
            None => reply(200, listing.clone()),
            Some((_, asked)) => files
                .iter()
                .find(|(name, _)| name.replace(' ', "%20").replace('#', "%23") == asked)
                .map_or(reply(404, ""), |(_, body)| reply(200, body.clone())),
        })
    }

    fn sharded(shards: &[&str]) -> Vec<(String, Vec<u8>)> {
        let map: BTreeMap<String, &str> = shards.iter().enumerate().map(|(at, name)| (at.to_string(), *name)).collect();
        let index = serde_json::json!({ "weight_map": map }).to_string();
        let weights = shards.iter().enumerate().map(|(at, name)| ((*name).to_owned(), vec![at as u8; 10 * at + 5]));
        let small = [
            ("config.json", b"{}".to_vec()),
            (INDEX_FILE, index.into_bytes()),
            ("heads.cs-en.json", b"[]".to_vec()),
            ("consolidated.safetensors", b"other".to_vec()),
            ("README.md", b"#".to_vec()),
        ];
        small.into_iter().map(|(name, body)| (name.to_owned(), body)).chain(weights).collect()
    }

    #[test]
    fn shards_are_those_that_the_index_names() {
        for shards in [
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            ["model.safetensors-00001-of-00002.safetensors", "model.safetensors-00002-of-00002.safetensors"],
            ["a.safetensors", "part #1/deep/b c.safetensors"],
        ] {
            let (url, _) = repository(sharded(&shards));
            let cache = tempfile::tempdir().unwrap();
            let hub = hub(&url, cache.path());
            let folder = hub.fetch("o/m", "v1.0", &mut Notes::default()).unwrap();
            assert_eq!(entries(&folder).len(), 5, "config, index, heads and two shards");
            assert_eq!(fs::read(folder.join(shards[1])).unwrap(), [1; 15]);
            assert_eq!(hub.location("o/m", "v1.0").unwrap(), Some(folder.clone()));
            fs::remove_file(folder.join(shards[1])).unwrap();
            assert_eq!(hub.location("o/m", "v1.0").unwrap(), None);
            assert_eq!(hub.fetch("o/m", "v1.0", &mut Notes::default()).unwrap(), folder);
            assert_eq!(hub.location("o/m", "v1.0").unwrap(), Some(folder));
        }
    }

    #[test]
    fn an_index_names_files_of_its_repository_only() {
        for (outside, expected) in [
            ("../x.safetensors", "is not the name of a safetensors file"),
            ("/etc/x.safetensors", "is not the name of a safetensors file"),
            ("a\\x.safetensors", "is not the name of a safetensors file"),
            ("a/../../x.safetensors", "is not the name of a safetensors file"),
            ("x.bin", "is not the name of a safetensors file"),
        ] {
            let (url, _) = repository(sharded(&[outside]));
            let cache = tempfile::tempdir().unwrap();
            let message = hub(&url, cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let mut files = sharded(&["x.safetensors"]);
        files.retain(|(name, _)| name != "x.safetensors");
        let (url, _) = repository(files);
        let cache = tempfile::tempdir().unwrap();
        let message = hub(&url, cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
        assert!(message.contains("names x.safetensors, which is not there"), "{message}");
    }

    #[test]
    fn a_small_file_with_a_wrong_hash_is_refused() {
        let (url, log) = serve(|request| match request.path.ends_with("config.json") {
            true => reply(200, "[]"),
            false => reply(200, listing()),
        });
        let cache = tempfile::tempdir().unwrap();
        let message = hub(&url, cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
        assert!(message.starts_with("o/m/config.json: has the hash ") && message.contains(EMPTY_OBJECT), "{message}");
        assert_eq!(log.lock().unwrap().len(), 3);
    }

    #[test]
    fn retries_have_an_end() {
        let (url, log) = serve(|_| Reply { headers: vec![("retry-after", "0".into())], ..reply(429, "") });
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(kind(&hub(&url, cache.path()).fetch("o/m", "main", &mut Silent).unwrap_err()), "network");
        assert_eq!(log.lock().unwrap().len(), 3);

        // Every attempt brings one byte.
        let (cdn, log) = serve(|request| ranged(request, &weights(), Some(1)));
        let (url, _) = hub_server(cdn);
        let hub = Hub { patience: Duration::from_millis(100), ..hub(&url, cache.path()) };
        let message = hub.fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
        assert!(message.contains("the connection ") && message.contains(" at byte "), "{message}");
        assert!(log.lock().unwrap().len() > 3, "an attempt that brings something does not count");
    }

    #[test]
    fn a_complete_model_is_fetched_without_writing() {
        let (url, log) = repository(sharded(&["a.safetensors"]));
        let cache = tempfile::tempdir().unwrap();
        let hub = hub(&url, cache.path());
        let folder = hub.fetch("o/m", "main", &mut Silent).unwrap();
        // Locking is impossible from here on.
        let locks = cache.path().join(".locks");
        fs::remove_dir_all(&locks).unwrap();
        fs::write(&locks, "").unwrap();
        let before = log.lock().unwrap().len();
        assert_eq!(hub.fetch("o/m", "main", &mut Notes::default()).unwrap(), folder);
        assert_eq!(log.lock().unwrap().len(), before + 1, "the listing alone");
    }

    #[test]
    fn revisions() {
        let (url, _) = repository(sharded(&["a.safetensors"]));
        let cache = tempfile::tempdir().unwrap();
        let hub = hub(&url, cache.path());
        let folder = hub.fetch("o/m", "v1.0", &mut Silent).unwrap();
        assert_eq!(hub.list()[0].revisions, ["v1.0"]);
        assert_eq!(hub.location("o/m", "main").unwrap(), None);
        hub.fetch("o/m", "refs/pr/1", &mut Silent).unwrap();
        hub.fetch("o/m", "main", &mut Silent).unwrap();
        assert_eq!(hub.list()[0].revisions, ["main", "refs/pr/1", "v1.0"]);
        // A newer snapshot without a name changes nothing.
        let other = folder.with_file_name("f".repeat(40));
        fs::create_dir(&other).unwrap();
        for file in ["config.json", SINGLE_FILE] {
            fs::write(other.join(file), "{}").unwrap();
        }
        assert_eq!(hub.location("o/m", "main").unwrap(), Some(folder));
        assert_eq!(hub.location("o/m", &"f".repeat(40)).unwrap(), Some(other));
        assert_eq!(hub.list()[0].revisions, ["main", "refs/pr/1", "v1.0", &"f".repeat(40)]);
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_told_at_once() {
        let (url, log) = repository(sharded(&["a.safetensors"]));
        let cache = tempfile::tempdir().unwrap();
        for (name, value) in [("HF_TOKEN", "hf_a\nb"), ("https_proxy", "ftp://x"), ("SSL_CERT_FILE", "/none/x.pem")] {
            let environment = Environment::from_lookup(&|asked| match asked {
                "HF_ENDPOINT" => Some(url.clone().into()),
                "HF_HOME" => Some(cache.path().into()),
                _ => (asked == name).then(|| value.into()),
            });
            let message = Hub::new(environment).fetch("o/m", "main", &mut Silent).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name}: ")) && !message.contains("hf_a"), "{message}");
        }
        assert!(log.lock().unwrap().is_empty());
    }

    /// A SOCKS5 proxy: its address, and how many connections it has forwarded.
    fn socks_proxy() -> (String, Arc<Mutex<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::new(Mutex::new(0));
        let shared = passed.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut client) = stream else { return };
                let mut greeting = [0; 2];
                client.read_exact(&mut greeting).unwrap();
                client.read_exact(&mut vec![0; usize::from(greeting[1])]).unwrap();
                client.write_all(&[5, 0]).unwrap();
                // Version, command, reserved, IPv4, four bytes of address, port.
                let mut request = [0; 10];
                client.read_exact(&mut request).unwrap();
                let port = u16::from_be_bytes([request[8], request[9]]);
                let mut server = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
                *shared.lock().unwrap() += 1;
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                std::thread::spawn(move || std::io::copy(&mut server, &mut client));
            }
        });
        (format!("socks5://{address}"), passed)
    }

    #[test]
    fn no_request_goes_past_a_proxy() {
        let (url, log) = repository(sharded(&["a.safetensors"]));
        let (proxy, passed) = socks_proxy();
        let through = |proxy: &str, direct: &[&str]| {
            let proxy = ureq::Proxy::new(proxy).unwrap();
            let direct = direct.iter().map(|host| (*host).to_owned()).collect();
            let cache = tempfile::tempdir().unwrap();
            let proxies = Proxies { http: Some(proxy), https: None, direct };
            let hub = Hub { proxies, ..hub(&url, cache.path()) };
            hub.fetch("o/m", "main", &mut Silent).map(drop)
        };
        through(&proxy, &[]).unwrap();
        assert_eq!(*passed.lock().unwrap(), log.lock().unwrap().len());
        let before = log.lock().unwrap().len();
        let message = through("socks5://127.0.0.1:9", &[]).unwrap_err().to_string();
        assert!(message.contains("cannot be reached"), "{message}");
        assert_eq!(log.lock().unwrap().len(), before);
        through("socks5://127.0.0.1:9", &["127.0.0.1"]).unwrap();
        assert!(log.lock().unwrap().len() > before);
    }

    #[test]
    fn certificates_are_those_that_are_named() {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let pem = |name: &str| crate::weights::testing::own("tls").join(name);
        let chain = vec![CertificateDer::from_pem_file(pem("server.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(pem("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let connections = Arc::new(Mutex::new(0));
        let shared = connections.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                *shared.lock().unwrap() += 1;
                let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut tls = rustls::Stream::new(&mut tls, &mut stream);
                let mut request = [0; 4096];
                // A client that does not trust this certificate disconnects.
                if tls.read(&mut request).is_ok_and(|len| len > 0) {
                    let _ = tls.write_all(b"HTTP/1.1 404 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                }
            }
        });
        let cache = tempfile::tempdir().unwrap();
        let with = |named: Vec<(&'static str, PathBuf)>| {
            let hub = Hub { certificates: Certificates { named }, ..hub(&url, cache.path()) };
            hub.fetch("o/m", "main", &mut Silent).unwrap_err()
        };
        // "not found" is the server's answer, so the client trusted the server.
        assert_eq!(kind(&with(vec![("SSL_CERT_FILE", pem("authority.pem"))])), "not found");
        assert_eq!(kind(&with(vec![("SSL_CERT_DIR", pem(""))])), "not found");
        let before = *connections.lock().unwrap();
        let message = with(Vec::new()).to_string();
        assert!(message.contains("cannot be trusted") && message.contains("SSL_CERT_FILE"), "{message}");
        assert_eq!(*connections.lock().unwrap(), before + 1, "it is not tried again");
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
    fn the_disk() {
        let full = disk(Path::new("/x"), ErrorKind::StorageFull.into()).to_string();
        assert!(full.contains("the disk is full: make room, or set HF_HOME"), "{full}");
        let (url, _) = hub_server(String::new());
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = hub(&url, &file.path().join("cache")).fetch("o/m", "main", &mut Silent).unwrap_err();
        assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
    }
}
