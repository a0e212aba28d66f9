//! Sound in: files, standard input and what the models hear of them.
//!
//! | file | what for |
//! |---|---|
//! | `decode` | any audio file, in blocks of 16 kHz mono |
//! | `mp4` | packets and times of MP4 and QuickTime files |
//! | `pcm_stream` | WAV or raw samples as they arrive on a pipe |
//! | `ogg` | Ogg files: packets, their clock, and what is missing between them |
//! | `id3` | the length of the tags before the sound |
//! | `float_scale` | floating-point samples in the range of integers |
//! | `downmix` | several channels to one, also where they cancel each other out |
//! | `resample` | any rate to 16 kHz, delay compensated |
//! | `mel` | log-mel features, of a clip or of a growing stream |
//! | `vad` | which spans could be speech |
//! | `pieces` | a stream in pieces of 10 ms, each with what the voice detector says |
//!
//! Everything here is plain data on the CPU: no threads, no clocks, and no files outside `decode`.

pub mod decode;
mod downmix;
pub mod error;
mod float_scale;
mod id3;
pub mod mel;
mod mp4;
mod ogg;
pub mod pcm_stream;
pub mod pieces;
pub mod resample;
#[cfg(test)]
pub(crate) mod testing;
pub mod vad;

use std::io::{self, SeekFrom};

/// Position that `to` leads to in data of `len` bytes, from position `at`. Fails for a position before the
/// beginning.
pub(crate) fn sought(to: SeekFrom, at: u64, len: u64) -> io::Result<u64> {
    let target = match to {
        SeekFrom::Start(at) => Some(at),
        SeekFrom::End(by) => len.checked_add_signed(by),
        SeekFrom::Current(by) => at.checked_add_signed(by),
    };
    target.ok_or(io::ErrorKind::InvalidInput.into())
}
