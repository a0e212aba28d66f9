//! The cache of the Hugging Face Hub on this machine: its layout, what is in it, and removing.
//!
//! The layout is shared with Python's `huggingface_hub`: `models--owner--name/{refs/<revision>,
//! snapshots/<commit>/<file>, blobs/<etag>}` under `HF_HUB_CACHE`, or `hub` under `HF_HOME`. A
//! snapshot's files are links to blobs. A blob gets its name only when it is whole and its hash is
//! right, so a file that exists can be trusted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::{BadSetting, Certificates, Environment, Proxies};
use super::model_files::MODEL_FILES;
use crate::weights::error::{CheckpointError, Remedy, shown};
use crate::weights::files::{BYTE_ORDER_MARK, is_safe_name};
use crate::weights::gguf::names;
use crate::weights::safetensors::{INDEX_FILE, Index, MAX_INDEX, SINGLE_FILE};

/// The revision used if the user names none.
pub const MAIN: &str = "main";

/// How many folders deep the names of branches and tags may be.
const REFS_DEPTH: usize = 8;

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    /// `owner/name`.
    pub repo: String,
    /// The revisions that are complete: `main` first, then other branches and tags, then commits
    /// without a name.
    pub revisions: Vec<String>,
    /// The size of all blobs in bytes, unfinished ones included.
    pub bytes: u64,
    /// The GGUF files that are whole, in any revision: of a split file the first part.
    pub gguf: Vec<String>,
}

/// The Hub and its cache on this machine.
#[derive(Clone, Debug)]
pub struct Hub {
    pub(super) endpoint: String,
    pub(super) token: Option<String>,
    pub(super) cache: PathBuf,
    pub(super) offline: bool,
    pub(super) proxies: Proxies,
    pub(super) certificates: Certificates,
    /// An unusable setting; every fetch returns it as an error.
    pub(super) bad_setting: Option<BadSetting>,
    /// How many fruitless attempts in a row end a fetch.
    pub(super) attempts: u32,
    /// The wait before the first retry. It doubles with every retry, up to half a minute.
    pub(super) backoff: Duration,
    /// How long attempts that bring next to nothing may continue.
    pub(super) patience: Duration,
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

    pub(super) fn new(environment: Environment) -> Hub {
        let Environment { cache, endpoint, token, offline, proxies, certificates, bad_setting } = environment;
        Hub {
            endpoint,
            token,
            cache,
            offline,
            proxies,
            certificates,
            bad_setting,
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
        Ok(self.snapshot(repo, revision)?.filter(|snapshot| is_complete(snapshot)))
    }

    /// A GGUF file of a revision if it is in the cache with all its parts, otherwise `None`.
    /// Errors: the id is not valid.
    pub fn gguf_location(&self, repo: &str, revision: &str, file: &str) -> Result<Option<PathBuf>, CheckpointError> {
        let Some(snapshot) = self.snapshot(repo, revision)? else { return Ok(None) };
        let whole = names::parts(file).iter().all(|part| is_safe_name(part) && snapshot.join(part).is_file());
        Ok(whole.then(|| snapshot.join(file)))
    }

    /// The folder of a revision, which may lack files.
    fn snapshot(&self, repo: &str, revision: &str) -> Result<Option<PathBuf>, CheckpointError> {
        let folder = self.folder(repo, revision)?;
        let commit = fs::read_to_string(folder.join("refs").join(revision)).unwrap_or_else(|_| revision.to_owned());
        Ok(is_commit(commit.trim()).then(|| folder.join("snapshots").join(commit.trim())))
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
                let gguf = gguf_files(&folder.join("snapshots"));
                is_repo(&repo).then_some(CachedModel { repo, revisions, bytes, gguf })
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

    /// The folder of a model in the cache. Errors: the id is not valid.
    pub(super) fn folder(&self, repo: &str, revision: &str) -> Result<PathBuf, CheckpointError> {
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

/// Whether the text is `owner/name` as the Hub allows it. This also keeps a name inside the cache
/// folder.
pub(super) fn is_repo(text: &str) -> bool {
    let part = |part: &str| {
        (1..=96).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    text.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

/// Whether the text is a branch, tag or commit: it cannot leave `refs/`, and only the slash needs
/// escaping in a URL.
pub(super) fn is_revision(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(".."))
}

/// Puts the blob `etag` into a snapshot as `pointer`, for the repository's file `name`: a relative
/// symbolic link where the system has them, otherwise a hard link or a copy.
pub(super) fn link(pointer: &Path, name: &str, etag: &str) -> std::io::Result<()> {
    let folder = pointer.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let up = "../".repeat(2 + name.matches('/').count());
    let target = Path::new(&up).join("blobs").join(etag);
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

/// The models among the GGUF files of all snapshots, whose parts are all there.
fn gguf_files(snapshots: &Path) -> Vec<String> {
    let mut files = BTreeSet::new();
    for snapshot in entries(snapshots) {
        let mut names = Vec::new();
        collect_refs(&snapshot, "", 0, &mut names);
        let models = names::models(names.iter().map(String::as_str)).into_iter();
        let whole = models.filter(|name| names::parts(name).iter().all(|part| snapshot.join(part).is_file()));
        files.extend(whole.map(str::to_owned));
    }
    files.into_iter().collect()
}

/// Reads an index from the disk. The inner error says what is wrong with its text.
pub(super) fn read_index(path: &Path) -> std::io::Result<Result<Index, String>> {
    let mut json = Vec::new();
    File::open(path)?.take(MAX_INDEX as u64 + 1).read_to_end(&mut json)?;
    if json.len() > MAX_INDEX {
        return Ok(Err(format!("is longer than {MAX_INDEX} bytes")));
    }
    Ok(Index::parse(json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&json)))
}

/// Collects the names of the files below `folder`, such as references; a name with slashes lies in
/// folders of its own.
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

/// The error for a file of the cache that cannot be read or written.
pub(super) fn disk_error(path: &Path, error: std::io::Error) -> CheckpointError {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full; make room, or set HF_HOME to a folder on another disk; what was fetched is kept"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "set HF_HOME to a folder that can be written",
        _ => "check the disk, or set HF_HOME to another one",
    };
    CheckpointError::io(path.display(), error, remedy)
}

pub(super) fn len_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(|meta| meta.is_file()).map(|meta| meta.len())
}

pub(super) fn is_commit(text: &str) -> bool {
    is_hexadecimal(text, 40)
}

pub(super) fn is_hexadecimal(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default()
}
