//! The ways in which sound cannot be read. Every message names the file or the stream.

use std::io;

/// The formats that are decoded, for messages.
#[cfg(not(target_arch = "wasm32"))]
const KNOWN: &str =
    "WAV, FLAC, MP3, Ogg (Opus, Vorbis, FLAC), WebM/MKV (Opus, Vorbis, AAC) and M4A/MP4/MOV (AAC, ALAC, Opus, PCM)";
/// The same where there is no decoder of Opus.
#[cfg(target_arch = "wasm32")]
const KNOWN: &str = "WAV, FLAC, MP3, Ogg (Vorbis, FLAC), WebM/MKV (Vorbis, AAC) and M4A/MP4/MOV (AAC, ALAC, PCM)";

/// Errors of the audio room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// The file is missing, is a folder, or may not be read.
    #[error("{name}: cannot be opened: {source}")]
    Open {
        /// The file.
        name: String,
        /// The error of the system.
        source: io::Error,
    },
    /// Reading failed midway.
    #[error("{name}: reading failed: {source}")]
    Read {
        /// The file or stream.
        name: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The file or stream contains no sound.
    #[error("{name}: there is no sound in it ({what})")]
    Empty {
        /// The file or stream.
        name: String,
        /// What is missing.
        what: &'static str,
    },
    /// The file is not a sound file, or its format is not read here.
    #[error("{name}: {found}; known are {}", KNOWN)]
    UnknownFormat {
        /// The file or stream.
        name: String,
        /// What it looks like.
        found: String,
    },
    /// The container is known, but the coding in it is not decoded here.
    #[error("{name}: {codec} is not decoded here")]
    UnknownCodec {
        /// The file or stream.
        name: String,
        /// The coding.
        codec: String,
    },
    /// The file has no such sound track.
    #[error("{name}: there is no sound track {track}; it has {tracks}")]
    NoTrack {
        /// The file.
        name: String,
        /// The requested track, from 1.
        track: u16,
        /// The number of tracks in the file.
        tracks: usize,
    },
    /// The file is too damaged to be read.
    #[error("{name}: {what}")]
    Broken {
        /// The file or stream.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The sample rate cannot be resampled.
    #[error("{name}: its header declares a sample rate of {rate} Hz, which is not between 1000 and 768000 Hz")]
    Rate {
        /// The file or stream.
        name: String,
        /// The declared rate.
        rate: u32,
    },
}
