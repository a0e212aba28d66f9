//! Where an uploaded file waits for its decoder: in memory while it is small, and else in a file
//! without a name, which the system deletes when it is closed.
//!
//! It is not decoded as it arrives: the form may say after the file what is to be done with it, and
//! an MP4 may have its index at its end.

use std::fs::File;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use symphonia::core::io::MediaSource;

use super::reply::Problem;

/// What is kept in memory of a file.
const BLOCK: usize = 1 << 20;

/// The disk that all uploads share.
#[derive(Clone)]
pub(super) struct Disk {
    taken: Arc<AtomicU64>,
    most: u64,
}

/// The disk that one upload takes. Dropping it gives that back.
pub(super) struct Taken {
    disk: Disk,
    bytes: u64,
}

/// A file that has arrived.
pub(super) struct Kept {
    /// The file, from its beginning.
    pub source: Box<dyn MediaSource>,
    /// To be dropped with it.
    pub taken: Taken,
}

/// A file that arrives.
pub(super) struct Spool {
    /// What is not in the file yet.
    block: Vec<u8>,
    file: Option<File>,
    taken: Taken,
}

impl Disk {
    pub(super) fn new(most: u64) -> Disk {
        Disk { taken: Arc::default(), most }
    }

    pub(super) fn spool(&self) -> Spool {
        Spool { block: Vec::new(), file: None, taken: Taken { disk: self.clone(), bytes: 0 } }
    }
}

impl Taken {
    fn take(&mut self, bytes: u64) -> Result<(), Problem> {
        let taken = &self.disk.taken;
        if taken.fetch_add(bytes, Ordering::Relaxed) + bytes > self.disk.most {
            taken.fetch_sub(bytes, Ordering::Relaxed);
            let what = "the server has as many uploads as it can keep; try again later";
            return Err(Problem { code: Some("at_capacity"), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, what) });
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.disk.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Spool {
    pub(super) async fn push(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.block.extend_from_slice(bytes);
        if self.block.len() < BLOCK {
            return Ok(());
        }
        self.write().await
    }

    /// The bytes of the beginning, if all of the file is still in memory.
    pub(super) fn beginning(&self) -> &[u8] {
        if self.file.is_none() { &self.block } else { &[] }
    }

    /// The whole file.
    pub(super) async fn finish(mut self) -> Result<Kept, Problem> {
        if self.file.is_none() {
            return Ok(Kept { source: Box::new(Cursor::new(self.block)), taken: self.taken });
        }
        self.write().await?;
        let Some(mut file) = self.file else { return Err(failed("its file is gone")) };
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(Kept { source: Box::new(file), taken: self.taken })
    }

    /// Moves the block to the file.
    async fn write(&mut self) -> Result<(), Problem> {
        self.taken.take(self.block.len() as u64)?;
        let (block, file) = (std::mem::take(&mut self.block), self.file.take());
        let written = tokio::task::spawn_blocking(move || {
            let mut file = file.map_or_else(tempfile::tempfile, Ok)?;
            file.write_all(&block)?;
            Ok::<File, io::Error>(file)
        });
        self.file = Some(written.await.map_err(failed)?.map_err(failed)?);
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the upload cannot be kept: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_file_comes_back_whole_and_the_disk_is_bounded() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let disk = Disk::new(5 << 20);
        let content: Vec<u8> = (0..3_500_000u32).map(|at| (at % 251) as u8).collect();
        for len in [0, 1_000, BLOCK, content.len()] {
            let mut kept = runtime.block_on(async {
                let mut spool = disk.spool();
                for piece in content[..len].chunks(70_000) {
                    spool.push(piece).await.unwrap();
                }
                spool.finish().await.unwrap()
            });
            let mut back = Vec::new();
            kept.source.read_to_end(&mut back).unwrap();
            assert!(back == content[..len], "{len}");
        }
        assert_eq!(disk.taken.load(Ordering::Relaxed), 0, "all of it was given back");
        let outcome = runtime.block_on(async {
            let (mut first, mut second) = (disk.spool(), disk.spool());
            first.push(&content).await.unwrap();
            second.push(&content).await
        });
        assert_eq!(outcome.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(disk.taken.load(Ordering::Relaxed), 0);
    }
}
