//! The files of one model, wherever they are stored: in a folder, in the program itself (the demo
//! pack), or in a remote store.
//!
//! Small files (configs, tokenizers, templates) are read whole. Weights are read by byte range
//! through [`ByteSource`], which is asynchronous so that a browser can serve it from HTTP or OPFS.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};

use super::error::{CheckpointError, FETCH_AGAIN, shown};
use super::gguf;

/// `Send + Sync` on native targets; no bound in the browser, whose handles belong to one thread.
#[cfg(not(target_arch = "wasm32"))]
pub trait Portable: Send + Sync {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send + Sync + ?Sized> Portable for T {}
/// `Send + Sync` on native targets; no bound in the browser, whose handles belong to one thread.
#[cfg(target_arch = "wasm32")]
pub trait Portable {}
#[cfg(target_arch = "wasm32")]
impl<T: ?Sized> Portable for T {}

/// What [`ByteSource::read`] returns: the bytes, or the store's error.
#[cfg(not(target_arch = "wasm32"))]
pub type ReadFuture<'a> = Pin<Box<dyn Future<Output = std::io::Result<Vec<u8>>> + Send + 'a>>;
/// What [`ByteSource::read`] returns: the bytes, or the store's error.
#[cfg(target_arch = "wasm32")]
pub type ReadFuture<'a> = Pin<Box<dyn Future<Output = std::io::Result<Vec<u8>>> + 'a>>;

/// Random access to the bytes of one file.
pub trait ByteSource: Portable {
    /// Length of the file in bytes.
    fn size(&self) -> u64;
    /// Reads exactly `len` bytes from `offset`; if there are fewer, the error is `UnexpectedEof`.
    /// Callers read at most a few MiB at a time.
    fn read(&self, offset: u64, len: usize) -> ReadFuture<'_>;
}

/// Bytes in memory, usually part of the program itself.
impl ByteSource for &'static [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        Box::pin(std::future::ready(slice(self, offset, len)))
    }
}

impl ByteSource for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        Box::pin(std::future::ready(slice(self, offset, len)))
    }
}

fn slice(bytes: &[u8], offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(len)?));
    let piece = range.and_then(|range| bytes.get(range)).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok(piece.to_vec())
}

/// A file on disk, read by range. It is not mapped, so a file that changes during reading causes an
/// error, not a fault.
#[cfg(not(target_arch = "wasm32"))]
struct DiskFile {
    file: std::sync::Mutex<std::fs::File>,
    size: u64,
}

#[cfg(not(target_arch = "wasm32"))]
impl DiskFile {
    fn open(path: &Path) -> std::io::Result<DiskFile> {
        let file = std::fs::File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(std::io::Error::other("not a plain file"));
        }
        Ok(DiskFile { file: std::sync::Mutex::new(file), size: meta.len() })
    }

    fn read_now(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
        use std::io::{Read, Seek, SeekFrom};
        if offset.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; len];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl ByteSource for DiskFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        Box::pin(std::future::ready(self.read_now(offset, len)))
    }
}

/// The files of one model, by name. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    label: Arc<str>,
    kind: Kind,
    /// The GGUF file that is meant, where there may be others beside it. Then only GGUF files are
    /// visible.
    gguf: Option<Arc<str>>,
}

#[derive(Clone)]
enum Kind {
    #[cfg(not(target_arch = "wasm32"))]
    Folder(Arc<Path>),
    Memory {
        small: BTreeMap<String, Arc<[u8]>>,
        embedded: BTreeMap<String, &'static [u8]>,
        ranged: BTreeMap<String, Arc<dyn ByteSource>>,
    },
    /// A GGUF file in the form of a checkpoint: its small files, and everything else.
    Gguf { small: BTreeMap<String, Arc<[u8]>>, model: Arc<gguf::Model> },
}

impl Files {
    /// The files of a folder. Errors: the folder does not exist.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn folder(path: impl Into<PathBuf>) -> Result<Files, CheckpointError> {
        let path: PathBuf = path.into();
        let label = path.display().to_string();
        if !path.is_dir() {
            return Err(CheckpointError::Source {
                name: label,
                what: "is not a folder".into(),
                remedy: "give a folder that contains config.json and the weights".into(),
            });
        }
        Ok(Files { label: label.into(), kind: Kind::Folder(path.into()), gguf: None })
    }

    /// A GGUF file on disk, whatever it is called. The other parts of a split file, and the part of
    /// a model that hears, lie in the same folder. Errors: the file does not exist.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn gguf_file(path: impl Into<PathBuf>) -> Result<Files, CheckpointError> {
        let path: PathBuf = path.into();
        let label = path.display().to_string();
        let (Some(name), true) = (path.file_name().and_then(|name| name.to_str()), path.is_file()) else {
            return Err(CheckpointError::Source {
                name: label,
                what: "is not a file".into(),
                remedy: "give a GGUF file, or a folder that contains config.json and the weights".into(),
            });
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Files { label: label.into(), kind: Kind::Folder(folder.into()), gguf: Some(name.into()) })
    }

    /// Files that are part of the program. `label` names them in messages.
    pub fn embedded(label: &str, files: &[(&str, &'static [u8])]) -> Files {
        let embedded = files.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
        let kind = Kind::Memory { small: BTreeMap::new(), embedded, ranged: BTreeMap::new() };
        Files { label: label.into(), kind, gguf: None }
    }

    /// Small files that the caller has already fetched, and stores from which the weights are read
    /// (HTTP, OPFS).
    pub fn remote(label: &str, small: Vec<(String, Vec<u8>)>, ranged: Vec<(String, Arc<dyn ByteSource>)>) -> Files {
        let small = small.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        let ranged = ranged.into_iter().collect();
        let kind = Kind::Memory { small, embedded: BTreeMap::new(), ranged };
        Files { label: label.into(), kind, gguf: None }
    }

    /// A GGUF file in the form of a checkpoint, in place of `files` that it is among.
    pub(crate) fn of_gguf(files: &Files, small: Vec<(String, Vec<u8>)>, model: gguf::Model) -> Files {
        let small = small.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        Files { label: files.label.clone(), kind: Kind::Gguf { small, model: Arc::new(model) }, gguf: None }
    }

    /// The GGUF file in the form of a checkpoint, if these are its files.
    pub(crate) fn as_gguf(&self) -> Option<&gguf::Model> {
        match &self.kind {
            Kind::Gguf { model, .. } => Some(model),
            _ => None,
        }
    }

    /// The GGUF file that is meant, where one was named.
    pub(crate) fn named_gguf(&self) -> Option<&str> {
        self.gguf.as_deref()
    }

    /// The names of all files, without those in folders below.
    pub(crate) fn names(&self) -> Vec<String> {
        let all: Vec<String> = match &self.kind {
            #[cfg(not(target_arch = "wasm32"))]
            Kind::Folder(folder) => {
                let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
            Kind::Memory { small, embedded, ranged } => {
                small.keys().chain(embedded.keys()).chain(ranged.keys()).cloned().collect()
            }
            Kind::Gguf { small, .. } => small.keys().cloned().collect(),
        };
        all.into_iter().filter(|name| self.has(name)).collect()
    }

    /// Where the files are, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The full name of one file, for messages.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.gguf.as_deref() == Some(name) {
            return self.label.to_string();
        }
        format!("{}/{}", self.label.trim_end_matches('/'), shown(name))
    }

    /// Whether a file of this name exists.
    pub fn has(&self, name: &str) -> bool {
        if !self.may_have(name) {
            return false;
        }
        match &self.kind {
            #[cfg(not(target_arch = "wasm32"))]
            Kind::Folder(folder) => folder.join(name).is_file(),
            Kind::Memory { small, embedded, ranged } => {
                small.contains_key(name) || embedded.contains_key(name) || ranged.contains_key(name)
            }
            Kind::Gguf { small, .. } => small.contains_key(name),
        }
    }

    fn may_have(&self, name: &str) -> bool {
        let visible = |gguf: &str| gguf == name || gguf::names::is_gguf(name);
        is_safe_name(name) && self.gguf.as_deref().is_none_or(visible)
    }

    /// The folder, if the files are in one.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn as_folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Folder(folder) => Some(folder),
            Kind::Memory { .. } | Kind::Gguf { .. } => None,
        }
    }

    /// Reads a whole small text file, without the byte order mark that editors on Windows write.
    ///
    /// Errors: the file is missing, unreadable, or longer than `max` bytes (checked before anything
    /// is read).
    pub fn bytes(&self, name: &str, max: usize) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = self.read_whole(name, max)?;
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(bytes)
    }

    fn read_whole(&self, name: &str, max: usize) -> Result<Vec<u8>, CheckpointError> {
        let too_long = |len: u64| {
            CheckpointError::file(
                self.path(name),
                format!("is {len} bytes long, but at most {max} are expected"),
                FETCH_AGAIN,
            )
        };
        if !self.may_have(name) {
            return Err(self.missing(name));
        }
        match &self.kind {
            #[cfg(not(target_arch = "wasm32"))]
            Kind::Folder(folder) => {
                let file = match DiskFile::open(&folder.join(name)) {
                    Ok(file) => file,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(self.missing(name)),
                    Err(error) => {
                        return Err(CheckpointError::io(self.path(name), error, "check the file and its permissions"));
                    }
                };
                if file.size > max as u64 {
                    return Err(too_long(file.size));
                }
                file.read_now(0, file.size as usize)
                    .map_err(|error| CheckpointError::io(self.path(name), error, "check the file and the disk"))
            }
            Kind::Memory { .. } | Kind::Gguf { .. } => {
                let bytes = self.in_memory(name).ok_or_else(|| self.missing(name))?;
                if bytes.len() > max {
                    return Err(too_long(bytes.len() as u64));
                }
                Ok(bytes.to_vec())
            }
        }
    }

    /// Reads a whole small text file. Errors: as for [`Files::bytes`]; the text is not UTF-8.
    pub fn text(&self, name: &str, max: usize) -> Result<String, CheckpointError> {
        String::from_utf8(self.bytes(name, max)?)
            .map_err(|error| CheckpointError::file(self.path(name), format!("is not UTF-8 ({error})"), FETCH_AGAIN))
    }

    /// Reads a whole small JSON file. Errors: as for [`Files::text`]; the JSON does not parse.
    pub fn json(&self, name: &str, max: usize) -> Result<serde_json::Value, CheckpointError> {
        serde_json::from_slice(&self.bytes(name, max)?).map_err(|error| {
            CheckpointError::file(self.path(name), format!("is not valid JSON ({error})"), FETCH_AGAIN)
        })
    }

    /// Random access to one file. Errors: the file is missing or unreadable.
    pub fn source(&self, name: &str) -> Result<Arc<dyn ByteSource>, CheckpointError> {
        if !self.may_have(name) {
            return Err(self.missing(name));
        }
        match &self.kind {
            #[cfg(not(target_arch = "wasm32"))]
            Kind::Folder(folder) => match DiskFile::open(&folder.join(name)) {
                Ok(file) => Ok(Arc::new(file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(self.missing(name)),
                Err(error) => Err(CheckpointError::io(self.path(name), error, "check the file and its permissions")),
            },
            Kind::Memory { small, embedded, ranged } => {
                if let Some(source) = ranged.get(name) {
                    Ok(source.clone())
                } else if let Some(bytes) = embedded.get(name) {
                    Ok(Arc::new(*bytes))
                } else if let Some(bytes) = small.get(name) {
                    Ok(Arc::new(bytes.to_vec()))
                } else {
                    Err(self.missing(name))
                }
            }
            Kind::Gguf { .. } => Err(self.missing(name)),
        }
    }

    /// A small file that is in memory.
    fn in_memory(&self, name: &str) -> Option<&[u8]> {
        match &self.kind {
            #[cfg(not(target_arch = "wasm32"))]
            Kind::Folder(_) => None,
            Kind::Memory { small, embedded, .. } => {
                small.get(name).map(|bytes| &bytes[..]).or_else(|| embedded.get(name).copied())
            }
            Kind::Gguf { small, .. } => small.get(name).map(|bytes| &bytes[..]),
        }
    }

    fn missing(&self, name: &str) -> CheckpointError {
        CheckpointError::Missing { file: shown(name), place: self.label.to_string(), remedy: FETCH_AGAIN }
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Files({})", self.label)
    }
}

/// The byte order mark in UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Whether this is the name of a file in a folder or below it, as a repository lists it: plain
/// names separated by slashes.
pub(crate) fn is_safe_name(name: &str) -> bool {
    name.len() <= 1024 && name.split('/').all(is_plain_name)
}

/// Whether a name stays in its folder: no separators, no `..`, no drive, not empty.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.contains(['/', '\\', ':', '\0']) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::super::testing::memory;

    #[test]
    fn a_byte_order_mark_is_left_out() {
        let files = memory(&[("config.json", b"\xEF\xBB\xBF{\"a\": 1}"), ("short", b"\xEF\xBB")]);
        assert_eq!(files.json("config.json", 99).expect("valid")["a"], 1);
        assert_eq!(files.bytes("short", 99).expect("there"), b"\xEF\xBB");
    }
}
