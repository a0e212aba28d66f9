//! Where a model comes from: a folder, or a repository of the Hub.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::cache::{Hub, MAIN, is_repo, is_revision};
use super::fetch::Progress;
use crate::weights::error::{CheckpointError, shown};

/// A model as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A folder on this computer.
    Folder(PathBuf),
    /// A repository of the Hub: `repo` is `owner/name`; `revision` is a branch, a tag or a commit.
    Hub {
        /// `owner/name`.
        repo: String,
        /// A branch, a tag or a commit.
        revision: String,
    },
}

impl ModelSource {
    /// Parses a folder that exists, or `owner/name[@revision]`. Errors: the name is neither.
    ///
    /// A folder takes precedence: while the folder `Qwen/Qwen3-ASR-0.6B` exists, that name means
    /// the folder.
    pub fn parse(name: impl AsRef<OsStr>) -> Result<ModelSource, CheckpointError> {
        let name = name.as_ref();
        let path = Path::new(name);
        if !name.is_empty() && path.is_dir() {
            return Ok(ModelSource::Folder(path.to_owned()));
        }
        // A name that is not UTF-8 can only be a folder.
        let text: &str = &name.to_string_lossy();
        let wrong = |what: &str| CheckpointError::Source {
            name: shown(text),
            what: what.to_owned(),
            remedy: "give a folder that contains config.json, or a Hub id such as Qwen/Qwen3-ASR-0.6B".into(),
        };
        if path.is_file() {
            return Err(wrong("is a file"));
        }
        let (repo, revision) = text.split_once('@').unwrap_or((text, MAIN));
        if !is_repo(repo) {
            return Err(wrong("is neither a folder that exists nor a Hub id"));
        }
        if !is_revision(revision) {
            return Err(wrong("has no valid revision after the @"));
        }
        Ok(ModelSource::Hub { repo: repo.to_owned(), revision: revision.to_owned() })
    }

    /// The folder that contains the model's files; fetches them from the Hub if they are not in its
    /// cache. Errors: as for [`Hub::fetch`].
    pub fn resolve(&self, hub: &Hub, progress: &mut dyn Progress) -> Result<PathBuf, CheckpointError> {
        match self {
            ModelSource::Folder(path) => Ok(path.clone()),
            ModelSource::Hub { repo, revision } => match hub.location(repo, revision)? {
                Some(folder) => Ok(folder),
                None => hub.fetch(repo, revision, progress),
            },
        }
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ModelSource::Folder(path) => write!(f, "{}", path.display()),
            ModelSource::Hub { repo, revision } if revision == MAIN => write!(f, "{repo}"),
            ModelSource::Hub { repo, revision } => write!(f, "{repo}@{revision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let hub = |repo: &str, revision: &str| ModelSource::Hub { repo: repo.into(), revision: revision.into() };
        let parse = |text: &str| ModelSource::parse(text);
        assert_eq!(parse("Qwen/Qwen3-ASR-0.6B").unwrap(), hub("Qwen/Qwen3-ASR-0.6B", "main"));
        assert_eq!(parse("google/gemma-4-E4B-it@refs/pr/3").unwrap(), hub("google/gemma-4-E4B-it", "refs/pr/3"));
        assert_eq!(parse("a/b@0123abc").unwrap().to_string(), "a/b@0123abc");
        assert_eq!(parse("a/b").unwrap().to_string(), "a/b");
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(parse(dir.path().to_str().unwrap()).unwrap(), ModelSource::Folder(dir.path().into()));
        for wrong in [
            "",
            "gemma",
            "a/b/c",
            "../x",
            "a/..",
            "/no/such/folder",
            "a/b@",
            "a/b@../x",
            "a/b@x y",
            "a b/c",
            "a/b@/x",
            "-a/b",
            "x--y/b",
            "https://x/y",
        ] {
            let message = parse(wrong).unwrap_err().to_string();
            assert!(message.contains("give a folder that contains config.json, or a Hub id"), "{wrong}: {message}");
        }
        let file = dir.path().join("config.json");
        std::fs::write(&file, "{}").unwrap();
        assert!(parse(file.to_str().unwrap()).unwrap_err().to_string().contains("is a file"));
    }
}
