//! Reads a file or standard input in pieces, on a thread of its own.
//!
//! The thread is needed because reading standard input blocks, and Ctrl-C must be noticed
//! meanwhile. It also decodes while the models compute. The channel is bounded: a reader that is
//! ahead waits, so memory stays bounded.

use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use symphonia::core::io::{MediaSource, ReadOnlySource};

use crate::audio::decode::AudioFile;
use crate::audio::error::AudioError;
use crate::audio::pieces::{Piece, Pieces};
use crate::audio::wav::{PcmReader, PcmSpec};
use crate::cascade::{Activity, BoxError, SAMPLE_RATE};
use crate::text::Millis;

/// The most pieces that may wait. They are a minute of sound, so a slow step does not block a live
/// source.
const MAX_WAITING: usize = 6_000;

/// Name of standard input in errors.
const STDIN: &str = "standard input";

/// Opens a file and selects its sound track `track`. Without `track`, the track that a player would
/// choose is selected, and a warning says which one that is if there are several.
pub(super) fn open_file(path: impl AsRef<Path>, track: Option<NonZero<u16>>) -> Result<AudioFile, AudioError> {
    let mut file = AudioFile::open(path.as_ref())?;
    match track {
        Some(track) => file.choose_track(track)?,
        None if file.tracks() > 1 => tracing::warn!(
            "{}: sound track {} of {} is used; --track N selects another",
            path.as_ref().display(),
            file.track(),
            file.tracks()
        ),
        None => {}
    }
    Ok(file)
}

/// What the reader sends.
pub(super) enum SoundItem {
    /// Samples, with the voice detector's result for them.
    Piece(Vec<f32>, Activity),
    /// A warning about the sound, after its end.
    Warning(String),
    /// Reading failed. What was sent before is valid.
    Failed(AudioError),
}

/// Source of the sound.
pub(super) enum Origin {
    File(Box<AudioFile>),
    Stdin { raw: bool },
}

/// Sound that is being read.
pub(super) struct Sound {
    pieces: Receiver<SoundItem>,
    /// The sound comes at its own pace, so a step that is late should catch up.
    pub live: bool,
    pub length: Option<Millis>,
}

/// Result of [`Sound::next`].
pub(super) enum Next {
    Item(SoundItem),
    /// Nothing yet.
    Waiting,
    End,
}

impl Origin {
    /// Opens `name`; `-` is standard input. A file's header is read here, so a wrong file is found
    /// before any model loads.
    pub(super) fn open(name: &Path, raw: bool, track: Option<NonZero<u16>>) -> Result<Origin, AudioError> {
        match is_stdin(name) {
            true => Ok(Origin::Stdin { raw }),
            false => Ok(Origin::File(Box::new(open_file(name, track)?))),
        }
    }

    /// Starts to read. With `realtime`, pieces arrive when they would have been played.
    pub(super) fn start(self, realtime: bool) -> Sound {
        let live = realtime || matches!(self, Origin::Stdin { .. });
        let length = match &self {
            Origin::File(file) => file.duration().map(|s| Millis((s * 1000.0).max(0.0) as u64)),
            Origin::Stdin { .. } => None,
        };
        let (sender, pieces) = sync_channel(MAX_WAITING);
        // The thread ends with the sound, or when the receiver is dropped.
        thread::spawn(move || {
            let mut cutter = Cutter::new(sender, realtime);
            if let Err(Stop::Failed(error)) = self.read(&mut cutter) {
                cutter.send(SoundItem::Failed(error));
            }
        });
        Sound { pieces, live, length }
    }

    fn read(self, cutter: &mut Cutter) -> Result<(), Stop> {
        match self {
            Origin::File(file) => read_file(*file, cutter),
            Origin::Stdin { raw: false } => {
                let stdin: Box<dyn MediaSource> = Box::new(ReadOnlySource::new(io::stdin()));
                read_file(AudioFile::from_source(stdin, STDIN.to_owned())?, cutter)
            }
            Origin::Stdin { raw: true } => {
                let mut reader = PcmReader::raw(io::stdin().lock(), STDIN, PcmSpec::RAW)?;
                while let Some(block) = reader.next_block()? {
                    cutter.push(&block)?;
                }
                cutter.finish(reader.warning())
            }
        }
    }
}

fn read_file(mut file: AudioFile, cutter: &mut Cutter) -> Result<(), Stop> {
    while let Some(block) = file.next_block()? {
        cutter.push(&block)?;
    }
    cutter.finish(file.warning())
}

impl Sound {
    /// Returns the next item, after waiting for at most `timeout`.
    pub(super) fn next(&self, timeout: Duration) -> Next {
        match self.pieces.recv_timeout(timeout) {
            Ok(item) => Next::Item(item),
            Err(RecvTimeoutError::Timeout) => Next::Waiting,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// Returns the next item if it has arrived already.
    pub(super) fn try_next(&self) -> Next {
        match self.pieces.try_recv() {
            Ok(item) => Next::Item(item),
            Err(TryRecvError::Empty) => Next::Waiting,
            Err(TryRecvError::Disconnected) => Next::End,
        }
    }

    /// Sound made of the given pieces, for tests.
    #[cfg(test)]
    pub(super) fn of_pieces(pieces: Vec<SoundItem>) -> Sound {
        let (sender, receiver) = sync_channel(pieces.len().max(1));
        for piece in pieces {
            let _ = sender.send(piece);
        }
        Sound { pieces: receiver, live: false, length: None }
    }
}

/// Whether a FILE argument means standard input.
pub(super) fn is_stdin(name: &Path) -> bool {
    name == Path::new("-")
}

/// An error of the sound, with the flag that may fix it.
pub(super) fn with_remedy(error: AudioError) -> BoxError {
    match &error {
        AudioError::UnknownFormat { name, .. } if name == STDIN => {
            format!("{error}; convert it with ffmpeg -i INPUT -f wav -; raw 16-bit mono sound at 16 kHz needs --raw")
                .into()
        }
        AudioError::Empty { name, .. } if name == STDIN => {
            format!("{error}; check that the command before the pipe writes something").into()
        }
        _ => error.into(),
    }
}

/// Why reading ended early.
enum Stop {
    Failed(AudioError),
    ReceiverGone,
}

impl From<AudioError> for Stop {
    fn from(error: AudioError) -> Stop {
        Stop::Failed(error)
    }
}

/// Cuts decoded blocks into pieces and keeps the pace.
struct Cutter {
    pieces: Pieces,
    pace: Pace,
}

/// Sends pieces when they would have been played, or at once.
struct Pace {
    sender: SyncSender<SoundItem>,
    began: Option<Instant>,
    /// Number of samples sent so far.
    sent: u64,
}

impl Cutter {
    fn new(sender: SyncSender<SoundItem>, realtime: bool) -> Cutter {
        Cutter { pieces: Pieces::new(), pace: Pace { sender, began: realtime.then(Instant::now), sent: 0 } }
    }

    fn push(&mut self, block: &[f32]) -> Result<(), Stop> {
        self.pieces.push(block, &mut |piece| self.pace.send(piece))
    }

    fn finish(&mut self, warning: Option<String>) -> Result<(), Stop> {
        self.pieces.finish(&mut |piece| self.pace.send(piece))?;
        if let Some(warning) = warning {
            self.send(SoundItem::Warning(warning));
        }
        Ok(())
    }

    fn send(&self, item: SoundItem) {
        // A send fails only if the receiver is dropped; then nobody needs the item.
        let _ = self.pace.sender.send(item);
    }
}

impl Pace {
    fn send(&mut self, piece: Piece) -> Result<(), Stop> {
        self.sent += piece.samples.len() as u64;
        if let Some(began) = self.began {
            let due = Duration::from_millis(self.sent * 1000 / u64::from(SAMPLE_RATE));
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
        let activity = Activity::of(piece.is_speech);
        self.sender.send(SoundItem::Piece(piece.samples, activity)).map_err(|_| Stop::ReceiverGone)
    }
}
