//! What can go wrong with sound; every message names the file (or the stream) and says the mend.

use std::io;

/// Errors of the audio room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// The file is not there, is a folder, or may not be read.
    #[error("{name}: cannot be opened: {source}; check the path and its permissions")]
    Open {
        /// The file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Reading failed midway.
    #[error("{name}: reading failed: {source}; if it lies on a network or a removable disk, copy it here first")]
    Read {
        /// The file or stream.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing in it.
    #[error("{name}: there is no sound in it ({what})")]
    Empty {
        /// The file or stream.
        name: String,
        /// In which way it is empty.
        what: &'static str,
    },
    /// Not a sound file, or not of a kind that is read here.
    #[error(
        "{name}: {found}; known are WAV, FLAC, MP3, Ogg (Vorbis, FLAC) and M4A/MP4/MOV (AAC, ALAC, PCM); \
         convert anything else first: ffmpeg -i INPUT -ar 16000 -ac 1 output.wav"
    )]
    UnknownFormat {
        /// The file or stream.
        name: String,
        /// What it looks like.
        found: String,
    },
    /// The container is known, the coding inside is not decoded here.
    #[error(
        "{name}: {codec} is not decoded here; convert it first: ffmpeg -i INPUT -ar 16000 -ac 1 output.wav, \
         or pipe it in: ffmpeg -i INPUT -f wav - | alignatt ... -"
    )]
    UnknownCodec {
        /// The file or stream.
        name: String,
        /// The coding.
        codec: String,
    },
    /// A sound track that the file does not have.
    #[error("{name}: there is no sound track {track}; it has {tracks}")]
    NoTrack {
        /// The file.
        name: String,
        /// The track that was asked for, from 1.
        track: u16,
        /// How many it has.
        tracks: usize,
    },
    /// Sound that the file promises cannot be got at.
    #[error("{name}: {what}; try to repair it: ffmpeg -i INPUT repaired.wav, or get the file again")]
    Broken {
        /// The file or stream.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A sample rate outside of what resampling takes.
    #[error("{name}: a sample rate of {rate} Hz; 1000 to 768000 Hz are taken, so the file's header is probably wrong")]
    Rate {
        /// The file or stream.
        name: String,
        /// The rate that it claims.
        rate: u32,
    },
}
