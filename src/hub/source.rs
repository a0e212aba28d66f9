//! Where a model comes from: a folder, or a repository of the Hub.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::hub::cache::{Hub, Progress};
use crate::weights::error::{CheckpointError, shown};

/// A model as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    Folder(PathBuf),
    /// A repository of the Hub: `repo` is `owner/name`; `revision` is a branch, a tag or a commit.
    Hub {
        repo: String,
        revision: String,
    },
}

/// The revision used if the user names none.
pub const MAIN: &str = "main";

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
            remedy: "name a folder with config.json in it, or a Hub id such as Qwen/Qwen3-ASR-0.6B".into(),
        };
        if path.is_file() {
            return Err(wrong("is a file"));
        }
        let (repo, revision) = text.split_once('@').unwrap_or((text, MAIN));
        if !is_repo(repo) {
            return Err(wrong("is neither a folder that exists nor a Hub id"));
        }
        if !is_revision(revision) {
            return Err(wrong("has no valid revision behind the @"));
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

/// Whether the text is `owner/name` as the Hub allows it. This also keeps a name inside the cache
/// folder.
pub(crate) fn is_repo(text: &str) -> bool {
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
pub(crate) fn is_revision(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(".."))
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
            assert!(message.contains("name a folder with config.json in it, or a Hub id"), "{wrong}: {message}");
        }
        let file = dir.path().join("config.json");
        std::fs::write(&file, "{}").unwrap();
        assert!(parse(file.to_str().unwrap()).unwrap_err().to_string().contains("is a file"));
    }
}
