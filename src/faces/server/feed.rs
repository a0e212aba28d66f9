//! Sound as a client sends it, on its way to a session: raw samples of a stated coding, or any file
//! that is decoded as it arrives. A feed also hears where speech begins and ends.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use symphonia::core::io::MediaSource;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::session::{Ended, FeedingGuard, Session};
use crate::audio::decode::AudioFile;
use crate::audio::error::AudioError;
use crate::audio::pieces::{Piece, Pieces};
use crate::audio::vad::AFTER_SPEECH_MS;
use crate::audio::wav::{PcmSpec, PushedPcm};
use crate::cascade::SAMPLE_RATE;
use crate::text::Millis;

/// Blocks of a file that wait for its decoder.
const WAITING: usize = 16;
/// The name of a client's sound in messages.
pub(super) const NAME: &str = "the sound";

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

/// Where the open segment was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The number of the flush.
    pub flush: u64,
    /// The samples before it.
    pub samples: u64,
}

/// Speech begins or ends, in stream time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Began {
        at: Millis,
    },
    /// `mark`: the open segment was closed there; `None`: it was not closed.
    Ended {
        at: Millis,
        mark: Option<Mark>,
    },
}

/// Hears where speech begins and ends, and closes the open segment where it ends.
pub(super) struct Listener {
    /// After this much silence speech has ended; `None`: when the detector says so, and nothing is
    /// closed.
    silence: Option<Millis>,
    says: mpsc::UnboundedSender<Speech>,
    speaking: bool,
    /// Samples that were heard, and those up to the newest speech.
    heard: u64,
    speech_end: u64,
}

impl Listener {
    /// The receiver gets what is heard before later sound is with the session.
    pub(super) fn new(silence: Option<Millis>) -> (Listener, mpsc::UnboundedReceiver<Speech>) {
        let (says, speech) = mpsc::unbounded_channel();
        (Listener { silence, says, speaking: false, heard: 0, speech_end: 0 }, speech)
    }

    /// Whether speech ends with this piece, and when it ended.
    fn hear(&mut self, piece: &Piece) -> Option<Millis> {
        let before = self.heard;
        self.heard += piece.samples.len() as u64;
        if piece.is_speech {
            self.speech_end = self.heard;
            if !self.speaking {
                self.speaking = true;
                self.say(Speech::Began { at: time_of(before) });
            }
            return None;
        }
        // What the detector calls speech has a silence at its end.
        let end = Millis(time_of(self.speech_end).0.saturating_sub(AFTER_SPEECH_MS));
        let ended = self.speaking && time_of(self.heard) >= end + self.silence.unwrap_or_default();
        self.speaking &= !ended;
        ended.then_some(end)
    }

    fn closes(&self) -> bool {
        self.silence.is_some()
    }

    fn say(&self, speech: Speech) {
        // Nobody listens any more once the connection is gone.
        let _ = self.says.send(speech);
    }
}

fn time_of(samples: u64) -> Millis {
    Millis(samples * 1000 / u64::from(SAMPLE_RATE))
}

/// Gives pieces to a session.
#[derive(Clone)]
struct Giver {
    session: Arc<Session>,
    /// Locked only between two waits.
    listener: Option<Arc<Mutex<Listener>>>,
    /// Set when nobody wants the rest of the sound.
    stopped: Arc<AtomicBool>,
    /// Until this is dropped, no other connection feeds the session.
    _feeding: Option<FeedingGuard>,
}

impl Giver {
    fn new(session: Arc<Session>, listener: Option<Listener>, feeding: Option<FeedingGuard>) -> Giver {
        let listener = listener.map(|listener| Arc::new(Mutex::new(listener)));
        Giver { session, listener, stopped: Arc::default(), _feeding: feeding }
    }

    async fn give(&self, pieces: Vec<Piece>) -> Result<(), Ended> {
        if self.listener.is_none() {
            return self.session.push(pieces).await;
        }
        let mut block = Vec::new();
        for piece in pieces {
            let ended = self.with(|listener| (listener.hear(&piece), listener.closes()));
            block.push(piece);
            if let Some((Some(at), closes)) = ended {
                self.session.push(std::mem::take(&mut block)).await?;
                self.ended(at, closes).await?;
            }
        }
        self.session.push(block).await
    }

    /// The sound is over, and so is speech.
    async fn finish(&self) -> Result<(), Ended> {
        let open = self.with(|listener| {
            (std::mem::take(&mut listener.speaking).then(|| time_of(listener.heard)), listener.closes())
        });
        match open {
            Some((Some(at), closes)) => self.ended(at, closes).await,
            _ => Ok(()),
        }
    }

    async fn ended(&self, at: Millis, closes: bool) -> Result<(), Ended> {
        let mark = if closes { Some(self.flush().await?) } else { None };
        self.with(|listener| listener.say(Speech::Ended { at, mark }));
        Ok(())
    }

    /// A flush that the client asks for.
    async fn flush_asked(&self) -> Result<Mark, Ended> {
        self.with(|listener| listener.speaking = false);
        self.flush().await
    }

    async fn flush(&self) -> Result<Mark, Ended> {
        let samples = self.session.received();
        Ok(Mark { flush: self.session.flush().await?, samples })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Listener) -> T) -> Option<T> {
        let listener = self.listener.as_ref()?;
        Some(look(&mut listener.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Feeds one session.
pub(super) struct Feed {
    giver: Giver,
    kind: Kind,
}

/// What goes to the thread that decodes a file.
enum Block {
    Bytes(Bytes),
    /// Close the open segment behind the sound of the bytes before.
    Flush(oneshot::Sender<Result<Mark, Ended>>),
}

enum Kind {
    Raw { pcm: Option<Box<PushedPcm>>, pieces: Box<Pieces>, samples: Vec<f32> },
    Container { blocks: Option<mpsc::Sender<Block>>, done: Option<oneshot::Receiver<Result<(), FeedError>>> },
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.giver.stopped.store(true, Ordering::SeqCst);
    }
}

impl Form {
    /// Errors: a rate or a number of channels is out of range.
    pub(super) fn check(self) -> Result<(), AudioError> {
        match self {
            Form::Raw(spec) => PushedPcm::new(spec, NAME).map(drop),
            Form::Container => Ok(()),
        }
    }
}

impl Feed {
    /// A feed of the connection that keeps `feeding`.
    ///
    /// Errors: see [`Form::check`].
    pub(super) fn new(session: Arc<Session>, form: Form, feeding: FeedingGuard) -> Result<Feed, AudioError> {
        Feed::with(Giver::new(session, None, Some(feeding)), form, None)
    }

    /// A feed that also hears where speech begins and ends. `most`: the most sound that a file may
    /// hold.
    pub(super) fn listening(
        session: Arc<Session>,
        form: Form,
        most: Option<Millis>,
        listener: Listener,
    ) -> Result<Feed, AudioError> {
        Feed::with(Giver::new(session, Some(listener), None), form, most)
    }

    fn with(giver: Giver, form: Form, most: Option<Millis>) -> Result<Feed, AudioError> {
        let kind = match form {
            Form::Raw(spec) => Kind::Raw {
                pcm: Some(Box::new(PushedPcm::new(spec, NAME)?)),
                pieces: Box::default(),
                samples: Vec::new(),
            },
            Form::Container => {
                let (blocks, waiting) = mpsc::channel(WAITING);
                let (sender, done) = oneshot::channel();
                let (giver, runtime) = (giver.clone(), Handle::current());
                // It ends with the sound, with the session, or when `blocks` is dropped.
                tokio::task::spawn_blocking(move || {
                    let arrived = Arrived::new(waiting, giver.clone(), runtime.clone());
                    let file = AudioFile::from_source(Box::new(arrived), NAME.to_owned());
                    let outcome = file.map_err(FeedError::from).and_then(|file| run(file, &giver, &runtime, most));
                    let _ = sender.send(outcome.map(drop));
                });
                Kind::Container { blocks: Some(blocks), done: Some(done) }
            }
        };
        Ok(Feed { giver, kind })
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
                    self.giver.give(ready).await?;
                }
                Ok(())
            }
            Kind::Container { blocks, .. } => {
                let blocks = blocks.as_ref().ok_or(Ended)?;
                match blocks.send(Block::Bytes(bytes)).await {
                    Ok(()) => Ok(()),
                    // The decoder has given up.
                    Err(_) => self.decoded().await,
                }
            }
        }
    }

    /// Closes the open segment behind the sound that was pushed so far. Speech that goes on begins
    /// anew.
    pub(super) async fn flush(&mut self) -> Result<Mark, Ended> {
        if let Kind::Container { blocks: Some(blocks), .. } = &self.kind {
            let (answer, mark) = oneshot::channel();
            // The decoder may have given up: then all that it decoded is with the session.
            if blocks.send(Block::Flush(answer)).await.is_ok()
                && let Ok(mark) = mark.await
            {
                return mark;
            }
        }
        self.giver.flush_asked().await
    }

    /// Changes after how much silence speech has ended.
    pub(super) fn set_silence(&self, silence: Option<Millis>) {
        self.giver.with(|listener| listener.silence = silence);
    }

    /// The sound is over. Waits until all of it is with the session.
    pub(super) async fn finish(&mut self) -> Result<(), FeedError> {
        match &mut self.kind {
            Kind::Raw { pcm, pieces, samples } => {
                let Some(pcm) = pcm.take() else { return Ok(()) };
                samples.clear();
                pcm.finish(samples);
                let mut ready = cut(pieces, samples);
                ready.extend(last(pieces));
                self.giver.give(ready).await?;
                Ok(self.giver.finish().await?)
            }
            Kind::Container { blocks, .. } => {
                *blocks = None;
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

/// The rest of the sound.
fn last(pieces: &mut Pieces) -> Vec<Piece> {
    let mut rest = Vec::new();
    let Ok(()) = pieces.finish(&mut |piece| {
        rest.push(piece);
        Ok::<(), std::convert::Infallible>(())
    });
    rest
}

/// Decodes a file and gives its sound to the session, on a thread that may wait. Returns what the
/// user should know about the file.
pub(super) fn decode(
    file: AudioFile,
    session: Arc<Session>,
    runtime: &Handle,
    most: Option<Millis>,
) -> Result<Option<String>, FeedError> {
    run(file, &Giver::new(session, None, None), runtime, most)
}

fn run(
    mut file: AudioFile,
    giver: &Giver,
    runtime: &Handle,
    most: Option<Millis>,
) -> Result<Option<String>, FeedError> {
    let mut pieces = Pieces::new();
    let mut decoded = 0u64;
    while let Some(block) = file.next_block()? {
        if giver.stopped.load(Ordering::SeqCst) {
            return Err(Ended.into());
        }
        decoded += block.len() as u64;
        if let Some(most) = most
            && decoded * 1000 > most.0.saturating_mul(u64::from(SAMPLE_RATE))
        {
            return Err(FeedError::TooLong { most });
        }
        runtime.block_on(giver.give(cut(&mut pieces, &block)))?;
    }
    runtime.block_on(async {
        giver.give(last(&mut pieces)).await?;
        giver.finish().await
    })?;
    Ok(file.warning())
}

/// Bytes that arrive in blocks, as a reader that waits for them.
struct Arrived {
    blocks: Mutex<mpsc::Receiver<Block>>,
    rest: Bytes,
    giver: Giver,
    runtime: Handle,
}

impl Arrived {
    fn new(blocks: mpsc::Receiver<Block>, giver: Giver, runtime: Handle) -> Arrived {
        Arrived { blocks: Mutex::new(blocks), rest: Bytes::new(), giver, runtime }
    }
}

impl Read for Arrived {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let blocks = self.blocks.get_mut().unwrap_or_else(PoisonError::into_inner);
            match blocks.blocking_recv() {
                Some(Block::Bytes(bytes)) => self.rest = bytes,
                // More bytes are asked for, so the sound of those before is with the session.
                Some(Block::Flush(answer)) => {
                    let _ = answer.send(self.runtime.block_on(self.giver.flush_asked()));
                }
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
