//! The log of a session: its records, in memory and, with `--state`, in a file. A record is in the
//! log before anybody sees it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::record::Record;
use super::session::Opening;
use crate::cascade::Checkpoint;

/// Sessions that nobody touched for this long are deleted when a server starts.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest line of a file that is read back, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// A line of a session's file. The first is `Open`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Open(Box<Opening>),
    Record { record: Record, checkpoint: Box<Checkpoint> },
}

/// What is kept of one session.
pub(super) struct Log {
    records: Mutex<Vec<Arc<Record>>>,
    checkpoint: Mutex<Option<Checkpoint>>,
    /// The number of the newest record; 0 where there is none.
    latest: watch::Sender<u64>,
    file: Option<Arc<Mutex<File>>>,
    path: Option<PathBuf>,
}

/// A session that was found in a folder.
pub(super) struct Found {
    pub opening: Opening,
    pub log: Log,
    /// `None`: nothing was committed.
    pub checkpoint: Option<Checkpoint>,
}

impl Log {
    /// A log for a new session. With a `folder` it is kept there as `ID.jsonl`, readable by this
    /// user only.
    pub(super) fn create(opening: &Opening, folder: Option<&Path>) -> io::Result<Log> {
        let Some(folder) = folder else { return Ok(Log::with(Vec::new(), None, None)) };
        let path = folder.join(format!("{}.jsonl", opening.id));
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        private(&mut options);
        let mut file = options.open(&path)?;
        write_line(&mut file, &Line::Open(Box::new(opening.clone())))?;
        Ok(Log::with(Vec::new(), Some(file), Some(path)))
    }

    fn with(records: Vec<Arc<Record>>, file: Option<File>, path: Option<PathBuf>) -> Log {
        let latest = records.last().map_or(0, |record| record.n);
        Log {
            records: Mutex::new(records),
            checkpoint: Mutex::new(None),
            latest: watch::Sender::new(latest),
            file: file.map(|file| Arc::new(Mutex::new(file))),
            path,
        }
    }

    /// All sessions of a folder that were touched within a day; older ones are deleted. A line that
    /// was being written when the program died is cut off. A file that is not a session's is left
    /// alone, and the second list says why.
    pub(super) fn find_all(folder: &Path) -> io::Result<(Vec<Found>, Vec<String>)> {
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            let age = path.metadata().and_then(|file| file.modified()).map(|at| at.elapsed().unwrap_or_default());
            if age.is_ok_and(|age| age > KEPT) {
                fs::remove_file(&path)?;
                continue;
            }
            match Log::read(&path) {
                Ok(session) => found.push(session),
                Err(error) => refused.push(format!("{}: {error}", path.display())),
            }
        }
        Ok((found, refused))
    }

    fn read(path: &Path) -> io::Result<Found> {
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let (mut opening, mut records, mut last): (_, Vec<Arc<Record>>, _) = (None, Vec::new(), None);
        let mut whole = 0u64;
        let mut reader = BufReader::new(&file);
        loop {
            let mut line = Vec::new();
            let read = io::Read::take(&mut reader, LONGEST_LINE).read_until(b'\n', &mut line)? as u64;
            if line.pop() != Some(b'\n') {
                break; // the end, or a line that was not finished
            }
            match serde_json::from_slice(&line).map_err(|_| wrong("a line is damaged"))? {
                Line::Open(first) if opening.is_none() => opening = Some(*first),
                Line::Record { record, checkpoint } if record.n == records.len() as u64 + 1 && opening.is_some() => {
                    records.push(Arc::new(record));
                    last = Some(*checkpoint);
                }
                _ => return Err(wrong("its lines are out of order")),
            }
            whole += read;
        }
        let opening = opening.ok_or_else(|| wrong("it has no first line"))?;
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        let log = Log::with(records, Some(file), Some(path.to_owned()));
        log.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&last);
        Ok(Found { opening, log, checkpoint: last })
    }

    /// Appends a record, and the state that the stream can be resumed from after it. Returns when
    /// the record is on the disk, where there is a file.
    pub(super) async fn append(&self, record: Record, checkpoint: Checkpoint) -> io::Result<()> {
        if let Some(file) = &self.file {
            let file = file.clone();
            let line = Line::Record { record: record.clone(), checkpoint: Box::new(checkpoint.clone()) };
            let written = tokio::task::spawn_blocking(move || {
                write_line(&mut file.lock().unwrap_or_else(PoisonError::into_inner), &line)
            });
            written.await.map_err(io::Error::other)??;
        }
        let n = record.n;
        self.all().push(Arc::new(record));
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint);
        self.latest.send_replace(n);
        Ok(())
    }

    /// The state after the newest record.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The records after number `after`.
    pub(super) fn after(&self, after: u64) -> Vec<Arc<Record>> {
        let records = self.all();
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(records.len());
        records[from..].to_vec()
    }

    /// Whether the last record is there.
    pub(super) fn is_over(&self) -> bool {
        self.all().last().is_some_and(|last| last.is_end())
    }

    /// The number of the newest record, now and whenever it changes.
    pub(super) fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// Deletes the file, if there is one.
    pub(super) fn forget(&self) -> io::Result<()> {
        self.path.as_ref().map_or(Ok(()), fs::remove_file)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line and waits until it is on the disk.
fn write_line(file: &mut File, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_data()
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn private(_: &mut OpenOptions) {}
