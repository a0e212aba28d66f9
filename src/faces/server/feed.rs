//! Sound as a client sends it, on its way to a session: raw samples of a stated coding, or any file
//! that is decoded as it arrives.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use axum::body::Bytes;
use symphonia::core::io::MediaSource;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::session::{Ended, Session};
use crate::audio::decode::AudioFile;
use crate::audio::error::AudioError;
use crate::audio::pieces::{Piece, Pieces};
use crate::audio::wav::{PcmSpec, PushedPcm};
use crate::cascade::SAMPLE_RATE;
use crate::text::Millis;

/// Blocks of a file that wait for its decoder.
const WAITING: usize = 16;
/// The name of a client's sound in messages.
const NAME: &str = "the sound";

/// The form of the sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Raw(PcmSpec),
    /// A file of any kind, such as WebM or WAV, from its first byte on.
    Container,
}

/// Why sound was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error(transparent)]
    Sound(#[from] AudioError),
    #[error("the sound is longer than {} minutes", most.0 / 60_000)]
    TooLong { most: Millis },
}

/// Feeds one session.
pub(super) struct Feed {
    session: Arc<Session>,
    kind: Kind,
}

enum Kind {
    Raw { pcm: Option<Box<PushedPcm>>, pieces: Box<Pieces>, samples: Vec<f32> },
    Container { bytes: Option<mpsc::Sender<Bytes>>, done: Option<oneshot::Receiver<Result<(), FeedError>>> },
}

impl Feed {
    /// `most`: the most sound that a file may hold.
    ///
    /// Errors: a rate or a number of channels is out of range.
    pub(super) fn new(session: Arc<Session>, form: Form, most: Option<Millis>) -> Result<Feed, AudioError> {
        let kind = match form {
            Form::Raw(spec) => Kind::Raw {
                pcm: Some(Box::new(PushedPcm::new(spec, NAME)?)),
                pieces: Box::default(),
                samples: Vec::new(),
            },
            Form::Container => {
                let (bytes, waiting) = mpsc::channel(WAITING);
                let (sender, done) = oneshot::channel();
                let (session, runtime) = (session.clone(), Handle::current());
                // It ends with the sound, with the session, or when `bytes` is dropped.
                tokio::task::spawn_blocking(move || {
                    let _ = sender.send(decode(Arrived::new(waiting), &session, &runtime, most));
                });
                Kind::Container { bytes: Some(bytes), done: Some(done) }
            }
        };
        Ok(Feed { session, kind })
    }

    /// Takes bytes in. Waits while the session has a minute of sound.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<(), FeedError> {
        match &mut self.kind {
            Kind::Raw { pcm, pieces, samples } => {
                let pcm = pcm.as_mut().ok_or(Ended)?;
                // A large message is converted piece by piece, so that it never is in memory twice.
                for part in bytes.chunks(1 << 15) {
                    samples.clear();
                    pcm.push(part, samples);
                    let ready = cut(pieces, samples);
                    self.session.push(ready).await?;
                }
                Ok(())
            }
            Kind::Container { bytes: sender, .. } => {
                let sender = sender.as_ref().ok_or(Ended)?;
                match sender.send(bytes).await {
                    Ok(()) => Ok(()),
                    // The decoder has given up.
                    Err(_) => self.decoded().await,
                }
            }
        }
    }

    /// The sound is over. Waits until all of it is with the session.
    pub(super) async fn finish(&mut self) -> Result<(), FeedError> {
        match &mut self.kind {
            Kind::Raw { pcm, pieces, samples } => {
                let Some(pcm) = pcm.take() else { return Ok(()) };
                samples.clear();
                pcm.finish(samples);
                let mut ready = cut(pieces, samples);
                let Ok(()) = pieces.finish(&mut |piece| {
                    ready.push(piece);
                    Ok::<(), std::convert::Infallible>(())
                });
                Ok(self.session.push(ready).await?)
            }
            Kind::Container { bytes, .. } => {
                *bytes = None;
                self.decoded().await
            }
        }
    }

    async fn decoded(&mut self) -> Result<(), FeedError> {
        let Kind::Container { done, .. } = &mut self.kind else { return Ok(()) };
        match done.take() {
            Some(done) => done.await.unwrap_or(Err(Ended.into())),
            None => Ok(()),
        }
    }
}

fn cut(pieces: &mut Pieces, samples: &[f32]) -> Vec<Piece> {
    let mut ready = Vec::new();
    let Ok(()) = pieces.push(samples, &mut |piece| {
        ready.push(piece);
        Ok::<(), std::convert::Infallible>(())
    });
    ready
}

/// Decodes a file as it arrives, and gives its sound to the session.
fn decode(source: Arrived, session: &Session, runtime: &Handle, most: Option<Millis>) -> Result<(), FeedError> {
    let mut file = AudioFile::from_source(Box::new(source), NAME.to_owned())?;
    let mut pieces = Pieces::new();
    let mut decoded = 0u64;
    while let Some(block) = file.next_block()? {
        decoded += block.len() as u64;
        if let Some(most) = most
            && decoded * 1000 > most.0.saturating_mul(u64::from(SAMPLE_RATE))
        {
            return Err(FeedError::TooLong { most });
        }
        runtime.block_on(session.push(cut(&mut pieces, &block)))?;
    }
    let mut rest = Vec::new();
    let Ok(()) = pieces.finish(&mut |piece| {
        rest.push(piece);
        Ok::<(), std::convert::Infallible>(())
    });
    Ok(runtime.block_on(session.push(rest))?)
}

/// Bytes that arrive in blocks, as a reader that waits for them.
struct Arrived {
    blocks: std::sync::Mutex<mpsc::Receiver<Bytes>>,
    rest: Bytes,
}

impl Arrived {
    fn new(blocks: mpsc::Receiver<Bytes>) -> Arrived {
        Arrived { blocks: std::sync::Mutex::new(blocks), rest: Bytes::new() }
    }
}

impl Read for Arrived {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let blocks = self.blocks.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            match blocks.blocking_recv() {
                Some(block) => self.rest = block,
                None => return Ok(0),
            }
        }
        let len = self.rest.len().min(into.len());
        into[..len].copy_from_slice(&self.rest.split_to(len));
        Ok(len)
    }
}

impl Seek for Arrived {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::NotSeekable.into())
    }
}

impl MediaSource for Arrived {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}
