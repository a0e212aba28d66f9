//! A file or standard input as pieces of sound, read on a thread of its own.
//!
//! A thread, because standard input can't be read and Ctrl-C be heard at once, and because decoding then
//! costs the models nothing. The channel is bounded: a reader that runs ahead waits, and memory stays flat.

use std::io::{self, Read};
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::audio::decode::AudioFile;
use crate::audio::error::AudioError;
use crate::audio::pcm_stream::{PcmReader, PcmSpec};
use crate::audio::pieces::{Piece, Pieces};
use crate::cascade::{Activity, BoxError, SAMPLE_RATE};
use crate::text::Millis;

/// Pieces that may wait: a minute of sound, so that a live source is not held up by a slow step.
const WAITING: usize = 6_000;

/// How errors call standard input.
const STDIN: &str = "standard input";

/// Opens a file's sound track `track`, or the one that it would play, and says which that is of several.
pub fn open_file(path: impl AsRef<Path>, track: Option<NonZero<u16>>) -> Result<AudioFile, AudioError> {
    let mut file = AudioFile::open(path.as_ref())?;
    match track {
        Some(track) => file.choose_track(track)?,
        None if file.tracks() > 1 => tracing::warn!(
            "{}: sound track {} of {} is heard; --track N hears another",
            path.as_ref().display(),
            file.track(),
            file.tracks()
        ),
        None => {}
    }
    Ok(file)
}

/// What the reader has to say.
pub enum Heard {
    /// Sound, and what the voice detector makes of it.
    Piece(Vec<f32>, Activity),
    /// The sound is over; something about it should be known.
    Warning(String),
    /// Reading failed; what came before is good.
    Failed(AudioError),
}

/// Where sound comes from.
pub enum Origin {
    File(Box<AudioFile>),
    Stdin { raw: bool },
}

/// Sound being read.
pub struct Sound {
    pieces: Receiver<Heard>,
    /// It comes at its own pace, so a late listener should catch up.
    pub live: bool,
    pub length: Option<Millis>,
}

/// What [`Sound::next`] found.
pub enum Next {
    Heard(Heard),
    /// Nothing yet.
    Waiting,
    End,
}

impl Origin {
    /// Opens `name`; `-` is standard input. A file's header is read here, so that a wrong one is found
    /// before any model loads.
    pub fn open(name: &Path, raw: bool, track: Option<NonZero<u16>>) -> Result<Origin, AudioError> {
        match is_stdin(name) {
            true => Ok(Origin::Stdin { raw }),
            false => Ok(Origin::File(Box::new(open_file(name, track)?))),
        }
    }

    /// Starts to read. `realtime`: pieces come when they would have been played.
    pub fn start(self, realtime: bool) -> Sound {
        let live = realtime || matches!(self, Origin::Stdin { .. });
        let length = match &self {
            Origin::File(file) => file.duration().map(|s| Millis((s * 1000.0).max(0.0) as u64)),
            Origin::Stdin { .. } => None,
        };
        let (sender, pieces) = sync_channel(WAITING);
        // The thread ends with the sound, or once nobody receives any more.
        thread::spawn(move || {
            let mut cutter = Cutter::new(sender, realtime);
            if let Err(Stop::Failed(error)) = self.read(&mut cutter) {
                cutter.send(Heard::Failed(error));
            }
        });
        Sound { pieces, live, length }
    }

    fn read(self, cutter: &mut Cutter) -> Result<(), Stop> {
        match self {
            Origin::File(mut file) => {
                while let Some(block) = file.next_block()? {
                    cutter.take(&block)?;
                }
                cutter.finish(file.warning())
            }
            Origin::Stdin { raw } => {
                let stdin: Box<dyn Read> = Box::new(io::stdin().lock());
                let name = STDIN;
                let mut reader = match raw {
                    true => PcmReader::raw(stdin, name, PcmSpec::RAW)?,
                    false => PcmReader::wav(stdin, name),
                };
                while let Some(block) = reader.next_block()? {
                    cutter.take(&block)?;
                }
                cutter.finish(reader.warning())
            }
        }
    }
}

impl Sound {
    /// The next thing heard; waits for it `patience` at most.
    pub fn next(&self, patience: Duration) -> Next {
        match self.pieces.recv_timeout(patience) {
            Ok(heard) => Next::Heard(heard),
            Err(RecvTimeoutError::Timeout) => Next::Waiting,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// What has been heard already.
    pub fn at_once(&self) -> Next {
        match self.pieces.try_recv() {
            Ok(heard) => Next::Heard(heard),
            Err(TryRecvError::Empty) => Next::Waiting,
            Err(TryRecvError::Disconnected) => Next::End,
        }
    }

    /// Sound made of pieces, for tests.
    #[cfg(test)]
    pub fn of_pieces(pieces: Vec<Heard>) -> Sound {
        let (sender, receiver) = sync_channel(pieces.len().max(1));
        for piece in pieces {
            let _ = sender.send(piece);
        }
        Sound { pieces: receiver, live: false, length: None }
    }
}

/// Whether a FILE is standard input.
pub fn is_stdin(name: &Path) -> bool {
    name == Path::new("-")
}

/// An error of the sound, with the flag that may mend it.
pub fn told(error: AudioError) -> BoxError {
    match &error {
        AudioError::UnknownFormat { name, .. } if name == STDIN => {
            format!("{error}; raw 16-bit mono sound at 16 kHz needs --raw").into()
        }
        AudioError::Empty { name, .. } if name == STDIN => {
            format!("{error}; did the command before the pipe write anything?").into()
        }
        _ => error.into(),
    }
}

/// Why reading ended early.
enum Stop {
    Failed(AudioError),
    NobodyListens,
}

impl From<AudioError> for Stop {
    fn from(error: AudioError) -> Stop {
        Stop::Failed(error)
    }
}

/// Cuts blocks into pieces and keeps the pace.
struct Cutter {
    pieces: Pieces,
    pace: Pace,
}

/// Gives pieces away when they would have been played, or at once.
struct Pace {
    sender: SyncSender<Heard>,
    began: Option<Instant>,
    given: u64,
}

impl Cutter {
    fn new(sender: SyncSender<Heard>, realtime: bool) -> Cutter {
        Cutter { pieces: Pieces::new(), pace: Pace { sender, began: realtime.then(Instant::now), given: 0 } }
    }

    fn take(&mut self, block: &[f32]) -> Result<(), Stop> {
        self.pieces.push(block, &mut |piece| self.pace.give(piece))
    }

    fn finish(&mut self, warning: Option<String>) -> Result<(), Stop> {
        self.pieces.finish(&mut |piece| self.pace.give(piece))?;
        if let Some(warning) = warning {
            self.send(Heard::Warning(warning));
        }
        Ok(())
    }

    fn send(&self, heard: Heard) {
        // Nobody listens any more: there is nobody to tell.
        let _ = self.pace.sender.send(heard);
    }
}

impl Pace {
    fn give(&mut self, piece: Piece) -> Result<(), Stop> {
        self.given += piece.samples.len() as u64;
        if let Some(began) = self.began {
            let due = Duration::from_millis(self.given * 1000 / u64::from(SAMPLE_RATE));
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
        let activity = Activity::of(piece.is_sound);
        self.sender.send(Heard::Piece(piece.samples, activity)).map_err(|_| Stop::NobodyListens)
    }
}
