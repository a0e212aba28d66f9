//! The log of a session: its records, in memory and, with `--state`, in a file. A record is in the
//! log before anybody sees it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::record::Record;
use super::session::Opening;
use crate::cascade::Checkpoint;

/// Sessions that nobody touched for this long are deleted.
pub(super) const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest line of a file, in bytes. A usual one has less than a thousandth of it.
const LONGEST_LINE: usize = 16 << 20;
/// The file that a server locks, so that no other one uses its folder.
const LOCK: &str = "lock";

/// A line of a session's file. The first is `Open`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Open(Box<Opening>),
    /// The checkpoint is the state after the record. Only a last record may have none.
    Record {
        record: Record,
        checkpoint: Option<Box<Checkpoint>>,
    },
    /// The stream has moved on without committing anything.
    Checkpoint {
        checkpoint: Box<Checkpoint>,
    },
}

/// What is kept of one session.
pub(super) struct Log {
    records: Mutex<Vec<Arc<Record>>>,
    checkpoint: Mutex<Option<Checkpoint>>,
    /// The number of the newest record; 0 where there is none.
    latest: watch::Sender<u64>,
    touched: Mutex<SystemTime>,
    disk: Arc<Mutex<Option<Disk>>>,
}

/// The file of a session.
struct Disk {
    path: PathBuf,
    /// Opened when something is written, and closed behind the last record.
    file: Option<File>,
    /// Length of the lines that are whole.
    good: u64,
}

/// A session that was found in a folder.
pub(super) struct Found {
    pub opening: Opening,
    pub log: Log,
}

/// Locks a folder for the sessions of this server, and makes it if it is not there. The folder
/// belongs to this server while the returned file exists.
pub(super) fn lock(folder: &Path) -> io::Result<File> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    private(&mut options);
    let file = options.open(folder.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let what = format!("{} is used by another server", folder.display());
            Err(io::Error::new(io::ErrorKind::ResourceBusy, what))
        }
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

impl Log {
    /// A log for a new session. With a `folder` it is kept there as `ID.jsonl`, readable by this
    /// user only.
    pub(super) fn create(opening: &Opening, folder: Option<&Path>) -> io::Result<Log> {
        let Some(folder) = folder else { return Ok(Log::with(Vec::new(), None, SystemTime::now())) };
        let path = folder.join(format!("{}.jsonl", opening.id));
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        private(&mut options);
        let file = options.open(&path)?;
        let mut disk = Disk { path, file: Some(file), good: 0 };
        if let Err(error) = disk.write(&Line::Open(Box::new(opening.clone()))) {
            // A file without its first line would only be in the way.
            let _ = fs::remove_file(&disk.path);
            return Err(error);
        }
        Ok(Log::with(Vec::new(), Some(disk), SystemTime::now()))
    }

    fn with(records: Vec<Arc<Record>>, disk: Option<Disk>, touched: SystemTime) -> Log {
        let latest = records.last().map_or(0, |record| record.n);
        Log {
            records: Mutex::new(records),
            checkpoint: Mutex::new(None),
            latest: watch::Sender::new(latest),
            touched: Mutex::new(touched),
            disk: Arc::new(Mutex::new(disk)),
        }
    }

    /// All sessions of a folder that were touched within a day; older ones are deleted. A line that
    /// was being written when the program died is not part of a session. A file that is not a
    /// session's is left alone, and the second list says why.
    pub(super) fn find_all(folder: &Path) -> io::Result<(Vec<Found>, Vec<String>)> {
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder)? {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    refused.push(format!("{}: {error}", folder.display()));
                    continue;
                }
            };
            if path.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            match Log::find(&path) {
                Ok(session) => found.extend(session),
                Err(error) => refused.push(format!("{}: {error}", path.display())),
            }
        }
        Ok((found, refused))
    }

    /// The session of a file; `None` where it was too old and was deleted.
    fn find(path: &Path) -> io::Result<Option<Found>> {
        let touched = path.metadata()?.modified()?;
        if touched.elapsed().is_ok_and(|age| age > KEPT) {
            fs::remove_file(path)?;
            return Ok(None);
        }
        Log::read(path, touched).map(Some)
    }

    fn read(path: &Path, touched: SystemTime) -> io::Result<Found> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let (mut opening, mut records, mut last): (_, Vec<Arc<Record>>, _) = (None, Vec::new(), None);
        let mut good = 0;
        let mut reader = BufReader::new(File::open(path)?);
        loop {
            let mut line = Vec::new();
            let read = io::Read::take(&mut reader, LONGEST_LINE as u64).read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                if read == LONGEST_LINE {
                    return Err(wrong("a line is too long"));
                }
                break; // the end, or a line that was not finished
            }
            match serde_json::from_slice(&line).map_err(|_| wrong("a line is damaged"))? {
                Line::Open(first) if opening.is_none() => opening = Some(*first),
                Line::Record { record, checkpoint } if record.n == records.len() as u64 + 1 && opening.is_some() => {
                    records.push(Arc::new(record));
                    last = checkpoint.or(last);
                }
                Line::Checkpoint { checkpoint } if opening.is_some() => last = Some(checkpoint),
                _ => return Err(wrong("its lines are out of order")),
            }
            good += read as u64;
        }
        let opening = opening.ok_or_else(|| wrong("it has no first line"))?;
        let log = Log::with(records, Some(Disk { path: path.to_owned(), file: None, good }), touched);
        log.set_checkpoint(last.map(|last| *last));
        Ok(Found { opening, log })
    }

    /// Appends a record, and the state that the stream can be resumed from after it. Returns when
    /// the record is on the disk, where there is a file.
    pub(super) async fn append(&self, record: Record, checkpoint: Option<Checkpoint>) -> io::Result<()> {
        let is_end = record.is_end();
        let line = Line::Record { record: record.clone(), checkpoint: checkpoint.clone().map(Box::new) };
        self.write(line, is_end).await?;
        let n = record.n;
        self.all().push(Arc::new(record));
        self.set_checkpoint(checkpoint);
        self.latest.send_replace(n);
        Ok(())
    }

    /// Keeps the state of a stream that has moved on without committing anything.
    pub(super) async fn keep(&self, checkpoint: Checkpoint) -> io::Result<()> {
        self.write(Line::Checkpoint { checkpoint: Box::new(checkpoint.clone()) }, false).await?;
        self.set_checkpoint(Some(checkpoint));
        Ok(())
    }

    async fn write(&self, line: Line, last: bool) -> io::Result<()> {
        let disk = self.disk.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(disk) = disk.as_mut() else { return Ok::<(), io::Error>(()) };
            disk.write(&line)?;
            if last {
                disk.file = None;
            }
            Ok(())
        });
        written.await.map_err(io::Error::other)??;
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
        Ok(())
    }

    fn set_checkpoint(&self, checkpoint: Option<Checkpoint>) {
        let mut now = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        *now = checkpoint.or_else(|| now.take());
    }

    /// The newest state that was kept.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.kept(|newest| newest.cloned())
    }

    /// Looks at the newest state that was kept.
    pub(super) fn kept<T>(&self, look: impl FnOnce(Option<&Checkpoint>) -> T) -> T {
        look(self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).as_ref())
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

    /// Whether nothing was written for a day.
    pub(super) fn is_old(&self) -> bool {
        let touched = *self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.elapsed().is_ok_and(|age| age > KEPT)
    }

    /// The number of the newest record, now and whenever it changes.
    pub(super) fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// Deletes the file, if there is one. What is appended later is only in memory.
    pub(super) fn forget(&self) -> io::Result<()> {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner).take();
        disk.map_or(Ok(()), |disk| fs::remove_file(disk.path))
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Writes a line and waits until it is on the disk. After a failure it may be called again:
    /// what that left behind is cut off.
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if text.len() > LONGEST_LINE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a line is too long"));
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().append(true).open(&self.path)?),
        };
        if file.metadata()?.len() != self.good {
            file.set_len(self.good)?;
        }
        file.write_all(&text)?;
        file.sync_data()?;
        self.good += text.len() as u64;
        Ok(())
    }
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn private(_: &mut OpenOptions) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cascade::event::End;
    use crate::faces::server::record::Commit;
    use crate::faces::server::secret::Digest;
    use crate::faces::server::session::Wanted;
    use crate::text::Millis;

    fn opening() -> Opening {
        let wanted = Wanted {
            from: "en".parse().unwrap(),
            to: None,
            policy: "alignatt".to_owned(),
            chunk_ms: None,
            context: String::new(),
            terms: String::new(),
            history: 0,
            text: false,
        };
        let digest = |of: &str| Digest::of(of);
        let (owner, viewer, code) = (digest("a"), digest("b"), digest("c"));
        Opening { id: "s_1".to_owned(), wanted, owner, viewer, code, opened_ms: 1 }
    }

    fn record(n: u64) -> Record {
        Record { n, audio_ms: Millis(n), wall_ms: Millis(n), flushes: 0, commits: Vec::new() }
    }

    fn at(tail_start: u64) -> Checkpoint {
        Checkpoint { tail_start, heard: tail_start, ..Checkpoint::default() }
    }

    fn reread(folder: &Path) -> (Vec<u64>, Option<Checkpoint>) {
        let (found, refused) = Log::find_all(folder).unwrap();
        assert_eq!((found.len(), refused), (1, Vec::new()));
        (found[0].log.after(0).iter().map(|record| record.n).collect(), found[0].log.checkpoint())
    }

    /// A line that was written in part, or whole but without an answer, is written anew.
    #[tokio::test]
    async fn a_failed_write_can_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&opening(), Some(folder.path())).unwrap();
        log.append(record(1), Some(at(10))).await.unwrap();
        let path = folder.path().join("s_1.jsonl");
        let mut half = OpenOptions::new().append(true).open(&path).unwrap();
        half.write_all(br#"{"kind":"record","record":{"n":2,"#).unwrap();
        log.append(record(2), Some(at(20))).await.unwrap();
        assert_eq!(reread(folder.path()), (vec![1, 2], Some(at(20))));
    }

    /// What a crash left of a line is no part of the session, and what follows replaces it.
    #[tokio::test]
    async fn half_a_line_at_the_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&opening(), Some(folder.path())).unwrap();
        log.append(record(1), Some(at(10))).await.unwrap();
        drop(log);
        let mut file = OpenOptions::new().append(true).open(folder.path().join("s_1.jsonl")).unwrap();
        file.write_all(br#"{"kind":"record","rec"#).unwrap();
        let (found, _) = Log::find_all(folder.path()).unwrap();
        found[0].log.append(record(2), Some(at(20))).await.unwrap();
        assert_eq!(reread(folder.path()), (vec![1, 2], Some(at(20))));
    }

    /// A line that is too long to be one of a session leaves the file as it is.
    #[test]
    fn a_line_without_an_end_is_no_session() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s_1.jsonl");
        fs::write(&path, vec![b' '; LONGEST_LINE + 1]).unwrap();
        let (found, refused) = Log::find_all(folder.path()).unwrap();
        assert!(found.is_empty() && refused[0].contains("too long"), "{refused:?}");
        assert_eq!(fs::metadata(&path).unwrap().len(), LONGEST_LINE as u64 + 1);
    }

    /// A state without a record is kept, and a last record needs none.
    #[tokio::test]
    async fn states_are_kept_between_records() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&opening(), Some(folder.path())).unwrap();
        assert_eq!(log.checkpoint(), None);
        log.append(record(1), Some(at(10))).await.unwrap();
        log.keep(at(300)).await.unwrap();
        assert_eq!(log.checkpoint(), Some(at(300)));
        assert_eq!(reread(folder.path()), (vec![1], Some(at(300))));
        let end = Record { commits: vec![Commit::End(End::default())], ..record(2) };
        log.append(end, None).await.unwrap();
        assert_eq!(reread(folder.path()), (vec![1, 2], Some(at(300))));
    }

    #[tokio::test]
    async fn a_forgotten_session_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&opening(), Some(folder.path())).unwrap();
        log.forget().unwrap();
        log.append(record(1), None).await.unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// Nobody else can look into it.
    #[test]
    fn a_folder_belongs_to_one_server() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let first = lock(&folder).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
        let error = lock(&folder).unwrap_err();
        assert!(error.to_string().contains("another server"), "{error}");
        drop(first);
        lock(&folder).unwrap();
    }
}
