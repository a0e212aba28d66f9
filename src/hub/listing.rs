//! The Hub's listing of a revision, and the files of it that a model needs.

use std::path::Path;

use serde::Deserialize;

use super::cache::{disk_error, is_commit, is_hexadecimal, read_index};
use super::model_files::MODEL_FILES;
use super::network::network_error;
use crate::weights::error::{CheckpointError, WRONG_MODEL, shown};
use crate::weights::gguf::names;
use crate::weights::safetensors::{INDEX_FILE, SINGLE_FILE};

/// The commit of a revision and its files, with their sizes and hashes.
pub(super) struct Listing<'a> {
    repo: &'a str,
    pub sha: String,
    files: Vec<Sibling>,
}

/// A listing as the Hub writes it.
#[derive(Deserialize)]
struct Answer {
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
pub(super) struct RemoteFile {
    pub name: String,
    pub size: u64,
    /// The blob's name: the SHA-256 of the content for a large file, git's object id for a small
    /// one.
    pub etag: String,
}

impl<'a> Listing<'a> {
    /// Parses the answer to `url`.
    pub(super) fn parse(text: &str, repo: &'a str, url: &str) -> Result<Listing<'a>, CheckpointError> {
        let Answer { sha, siblings } = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            network_error(repo, format!("the answer to {url} is not a listing ({})", shown(&error.to_string())))
        })?;
        if !is_commit(&sha) {
            return Err(network_error(repo, format!("the answer to {url} contains no commit")));
        }
        Ok(Listing { repo, sha, files: siblings })
    }

    fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.rfilename == name)
    }

    /// The files that a model needs, without the shards of its weights. Errors: the repository has
    /// no configuration, or no weights in safetensors.
    pub(super) fn small_files(&self) -> Result<Vec<RemoteFile>, CheckpointError> {
        let weights = if self.has(SINGLE_FILE) || !self.has(INDEX_FILE) { SINGLE_FILE } else { INDEX_FILE };
        if let Some(missing) = [&*MODEL_FILES.config, weights].into_iter().find(|name| !self.has(name)) {
            return Err(match self.gguf_models().first() {
                Some(name) => self.wrong_model_but(
                    format!("has no {missing}, but GGUF files"),
                    format!("name one of them, such as {}/{}", self.repo, shown(name)),
                ),
                None => self.wrong_model(format!("has no {missing}")),
            });
        }
        let is_needed = |name: &str| name == weights || MODEL_FILES.is_small(name);
        self.files.iter().filter(|file| is_needed(&file.rfilename)).map(|file| self.remote(file)).collect()
    }

    /// The shards that the snapshot's index names.
    pub(super) fn shards(&self, snapshot: &Path) -> Result<Vec<RemoteFile>, CheckpointError> {
        let path = snapshot.join(INDEX_FILE);
        let index = read_index(&path)
            .map_err(|error| disk_error(&path, error))?
            .map_err(|what| self.wrong_model(format!("{INDEX_FILE}: {what}")))?;
        index
            .shards
            .iter()
            .map(|shard| match self.files.iter().find(|file| file.rfilename == *shard) {
                Some(file) => self.remote(file),
                None => Err(self.wrong_model(format!(
                    "{INDEX_FILE} lists {}, which the repository does not contain",
                    shown(shard)
                ))),
            })
            .collect()
    }

    fn gguf_models(&self) -> Vec<&str> {
        names::models(self.files.iter().map(|file| &*file.rfilename))
    }

    /// A GGUF file with all its parts, and with the part that hears if `hears` is set and there is
    /// one. Errors: the repository has no such file.
    pub(super) fn gguf_files(&self, file: &str, hears: bool) -> Result<Vec<RemoteFile>, CheckpointError> {
        let mut wanted = names::parts(file);
        if let Some(missing) = wanted.iter().find(|name| !self.has(name)) {
            let what = format!("has no {}", shown(missing));
            let known = self.gguf_models();
            return Err(match known.is_empty() {
                true => self.wrong_model(what),
                false => self.wrong_model_but(what, format!("it has {}", shown(&known.join(", ")))),
            });
        }
        let tower = names::tower(file, self.files.iter().map(|file| &*file.rfilename));
        wanted.extend(tower.filter(|_| hears).map(str::to_owned));
        self.files.iter().filter(|file| wanted.contains(&file.rfilename)).map(|file| self.remote(file)).collect()
    }

    fn remote(&self, file: &Sibling) -> Result<RemoteFile, CheckpointError> {
        let size = file.lfs.as_ref().map_or(file.size, |lfs| lfs.size.or(file.size));
        let (etag, len) = match &file.lfs {
            Some(lfs) => (&lfs.sha256, 64),
            None => (&file.blob_id, 40),
        };
        let etag = etag.as_ref().filter(|hash| is_hexadecimal(hash, len));
        match (size, etag) {
            (Some(size), Some(etag)) => {
                Ok(RemoteFile { name: file.rfilename.clone(), size, etag: etag.to_ascii_lowercase() })
            }
            _ => {
                let name = shown(&file.rfilename);
                Err(network_error(self.repo, format!("the listing has no size or no hash for {name}")))
            }
        }
    }

    fn wrong_model(&self, what: String) -> CheckpointError {
        CheckpointError::NotFound { repo: self.repo.to_owned(), what, remedy: WRONG_MODEL }
    }

    fn wrong_model_but(&self, what: String, remedy: String) -> CheckpointError {
        CheckpointError::NotFound { repo: self.repo.to_owned(), what, remedy: remedy.into() }
    }
}
