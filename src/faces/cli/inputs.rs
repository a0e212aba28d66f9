//! The files that a run reads. None of them may be overwritten with its results, neither by its own
//! name nor through a link.

use std::collections::HashMap;
use std::path::Path;

use super::error::CliError;

/// Files that are read, identified by the file itself rather than by its name.
#[derive(Default)]
pub(super) struct Inputs {
    known: HashMap<FileId, String>,
}

impl Inputs {
    /// Adds the file at `path`. `what` names its use, such as `--context`. A path that is not a
    /// regular file (a pipe, a device, a missing file) cannot be overwritten and is skipped.
    pub(super) fn add(&mut self, path: &Path, what: &str) {
        self.insert(file_id(path), what);
    }

    /// Adds the file that standard input reads from, if it is a file.
    pub(super) fn add_stdin(&mut self) {
        self.insert(stdin_id(), "standard input");
    }

    fn insert(&mut self, id: Option<FileId>, what: &str) {
        if let Some(id) = id {
            self.known.entry(id).or_insert_with(|| what.to_owned());
        }
    }

    /// Fails if `output` is one of these files. `flag` is the flag that the user should change.
    pub(super) fn protect(&self, output: &Path, flag: &str) -> Result<(), CliError> {
        match file_id(output).and_then(|id| self.known.get(&id)) {
            None => Ok(()),
            Some(what) => {
                let place = output.display();
                let message = format!("{place} is an input ({what}) and would be overwritten; give another {flag}");
                Err(CliError::Usage(message))
            }
        }
    }
}

/// Device and inode, which all names of a file share.
#[cfg(unix)]
type FileId = (u64, u64);

#[cfg(unix)]
fn file_id(path: &Path) -> Option<FileId> {
    of_metadata(&std::fs::metadata(path).ok()?)
}

#[cfg(unix)]
fn stdin_id() -> Option<FileId> {
    use std::os::fd::AsFd;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    of_metadata(&std::fs::File::from(stdin).metadata().ok()?)
}

#[cfg(unix)]
fn of_metadata(found: &std::fs::Metadata) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    found.is_file().then(|| (found.dev(), found.ino()))
}

/// Volume and index, which all names of a file share.
#[cfg(windows)]
type FileId = same_file::Handle;

#[cfg(windows)]
fn file_id(path: &Path) -> Option<FileId> {
    path.is_file().then(|| same_file::Handle::from_path(path).ok()).flatten()
}

#[cfg(windows)]
fn stdin_id() -> Option<FileId> {
    same_file::Handle::stdin().ok()
}

#[cfg(test)]
mod tests {
    use super::super::error::one_line;
    use super::*;

    #[test]
    fn a_file_is_known_by_all_its_names() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("context.txt"), "Wien")?;
        std::fs::write(at("other.txt"), "Wien")?;
        std::fs::create_dir(at("sub"))?;
        std::fs::hard_link(at("context.txt"), at("hard.txt"))?;
        let mut inputs = Inputs::default();
        inputs.add(&at("context.txt"), "--context");
        inputs.add(&at("nothing.txt"), "FILE");
        inputs.add(&at("sub"), "FILE");
        let mut same = vec!["context.txt", "sub/../context.txt", "hard.txt"];
        if cfg!(unix) {
            #[cfg(unix)]
            std::os::unix::fs::symlink(at("hard.txt"), at("soft.txt"))?;
            same.push("soft.txt");
        }
        for name in same {
            let refused = inputs.protect(&at(name), "--output").err();
            assert!(matches!(refused, Some(CliError::Usage(_))), "{name}");
            let line = refused.map(|error| one_line(&error)).unwrap_or_default();
            let expected = format!("{name} is an input (--context) and would be overwritten; give another --output");
            assert!(line.ends_with(&expected), "{line}");
        }
        for name in ["other.txt", "nothing.txt", "sub", "new.txt"] {
            assert!(inputs.protect(&at(name), "--output").is_ok(), "{name}");
        }
        Ok(())
    }
}
