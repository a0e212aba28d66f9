//! Where a model comes from: a folder or a GGUF file, or a repository of the Hub or a GGUF file in
//! one.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::cache::{Hub, MAIN, entries, is_repo, is_revision};
use super::fetch::Progress;
use crate::weights::error::{CheckpointError, shown};
use crate::weights::files::is_safe_name;
use crate::weights::gguf::names::{is_gguf, tower};

/// A model as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A folder on this computer.
    Folder(PathBuf),
    /// A GGUF file on this computer.
    Gguf(PathBuf),
    /// A repository of the Hub: `repo` is `owner/name`; `revision` is a branch, a tag or a commit.
    Hub {
        /// `owner/name`.
        repo: String,
        /// A branch, a tag or a commit.
        revision: String,
        /// The GGUF file that is meant; `None` for a checkpoint.
        file: Option<String>,
    },
}

impl ModelSource {
    /// Parses a folder or a GGUF file that exists, `owner/name[@revision]`, or
    /// `owner/name/file.gguf[@revision]`. Errors: the name is none of these.
    ///
    /// What exists takes precedence: while the folder `Qwen/Qwen3-ASR-0.6B` exists, that name means
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
            remedy: "give a folder that contains config.json, a GGUF file, or a Hub id such as Qwen/Qwen3-ASR-0.6B"
                .into(),
        };
        if path.is_file() {
            return match is_gguf(text) || begins_as_gguf(path) {
                true => Ok(ModelSource::Gguf(path.to_owned())),
                false => Err(wrong("is a file, and not a GGUF file")),
            };
        }
        let (id, revision) = text.split_once('@').unwrap_or((text, MAIN));
        // The id of a repository has one slash; what follows a second one is a file in it.
        let (repo, file) = match id.match_indices('/').nth(1) {
            Some((at, _)) if is_gguf(id) => (&id[..at], Some(&id[at + 1..])),
            _ => (id, None),
        };
        if !is_repo(repo) || !file.is_none_or(is_safe_name) {
            return Err(wrong("is neither a folder that exists nor a Hub id"));
        }
        if !is_revision(revision) {
            return Err(wrong("has no valid revision after the @"));
        }
        let file = file.map(str::to_owned);
        Ok(ModelSource::Hub { repo: repo.to_owned(), revision: revision.to_owned(), file })
    }

    /// The folder that contains the model's files, or its GGUF file, if they are on this computer.
    /// Errors: the id is not valid.
    pub fn location(&self, hub: &Hub) -> Result<Option<PathBuf>, CheckpointError> {
        match self {
            ModelSource::Folder(path) | ModelSource::Gguf(path) => Ok(Some(path.clone())),
            ModelSource::Hub { repo, revision, file: None } => hub.location(repo, revision),
            ModelSource::Hub { repo, revision, file: Some(file) } => hub.gguf_location(repo, revision, file),
        }
    }

    /// The same; what is not in the Hub's cache is fetched. Of a GGUF file, the part that hears
    /// (`mmproj-…`) comes with it if the repository has one and `hears` is set.
    ///
    /// Errors: as for [`Hub::fetch`].
    pub fn fetch(&self, hub: &Hub, hears: bool, progress: &mut dyn Progress) -> Result<PathBuf, CheckpointError> {
        match self {
            ModelSource::Folder(path) | ModelSource::Gguf(path) => Ok(path.clone()),
            ModelSource::Hub { repo, revision, file: None } => hub.fetch(repo, revision, progress),
            ModelSource::Hub { repo, revision, file: Some(file) } => {
                hub.fetch_gguf(repo, revision, file, hears, progress)
            }
        }
    }

    /// The location, after a fetch only where something is missing. Errors: as for [`Hub::fetch`].
    pub fn resolve(&self, hub: &Hub, hears: bool, progress: &mut dyn Progress) -> Result<PathBuf, CheckpointError> {
        match self.location(hub)? {
            Some(path) if !hears || path.is_dir() || has_tower(&path) => Ok(path),
            _ => self.fetch(hub, hears, progress),
        }
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ModelSource::Folder(path) | ModelSource::Gguf(path) => write!(f, "{}", path.display()),
            ModelSource::Hub { repo, revision, file } => {
                let file = file.as_ref().map_or(String::new(), |file| format!("/{file}"));
                let revision = if revision == MAIN { String::new() } else { format!("@{revision}") };
                write!(f, "{repo}{file}{revision}")
            }
        }
    }
}

/// Whether a file is GGUF by its first bytes: some programs keep such files under other names.
fn begins_as_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"GGUF"
}

/// Whether the part that hears lies beside a GGUF file.
fn has_tower(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else { return false };
    let names: Vec<String> =
        entries(folder).iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    tower(name, names.iter().map(String::as_str)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let hub =
            |repo: &str, revision: &str| ModelSource::Hub { repo: repo.into(), revision: revision.into(), file: None };
        let parse = |text: &str| ModelSource::parse(text);
        assert_eq!(parse("Qwen/Qwen3-ASR-0.6B").unwrap(), hub("Qwen/Qwen3-ASR-0.6B", "main"));
        assert_eq!(parse("google/gemma-4-E4B-it@refs/pr/3").unwrap(), hub("google/gemma-4-E4B-it", "refs/pr/3"));
        assert_eq!(parse("a/b@0123abc").unwrap().to_string(), "a/b@0123abc");
        assert_eq!(parse("a/b").unwrap().to_string(), "a/b");
        let file = |revision: &str, file: &str| ModelSource::Hub {
            repo: "unsloth/x-GGUF".into(),
            revision: revision.into(),
            file: Some(file.into()),
        };
        for (name, expected) in [
            ("unsloth/x-GGUF/x-Q4_0.gguf", file("main", "x-Q4_0.gguf")),
            ("unsloth/x-GGUF/BF16/x-00001-of-00002.gguf@v1", file("v1", "BF16/x-00001-of-00002.gguf")),
        ] {
            assert_eq!(parse(name).unwrap(), expected);
            assert_eq!(parse(name).unwrap().to_string(), name);
        }
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
            "a/b/../c.gguf",
            "a/b//c.gguf",
            "a b/c/d.gguf",
            "a/b/c.gguf@",
        ] {
            let message = parse(wrong).unwrap_err().to_string();
            assert!(
                message.contains("give a folder that contains config.json, a GGUF file, or a Hub id"),
                "{wrong}: {message}"
            );
        }
        let file = dir.path().join("config.json");
        std::fs::write(&file, "{}").unwrap();
        assert!(parse(file.to_str().unwrap()).unwrap_err().to_string().contains("is a file, and not"));
        for (name, content) in [("x.GGUF", ""), ("sha256-0123", "GGUF\u{3}")] {
            let gguf = dir.path().join(name);
            std::fs::write(&gguf, content).unwrap();
            assert_eq!(parse(gguf.to_str().unwrap()).unwrap(), ModelSource::Gguf(gguf));
        }
    }
}
