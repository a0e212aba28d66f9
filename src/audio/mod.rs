//! Decodes sound, and computes what the models need of it.
//!
//! | file | task |
//! |---|---|
//! | `decode` | decodes any audio file to blocks of 16 kHz mono |
//! | `wav` | reads WAV or raw samples as they arrive on a pipe |
//! | `mp4` | finds the packets and times of MP4 and QuickTime files |
//! | `matroska` | reads the packets and times of Matroska and WebM files |
//! | `ogg` | reads the packets and times of Ogg files, and finds what is missing |
//! | `aac` | decodes AAC of more than two channels |
//! | `opus` | reads headers of Opus and decodes its packets |
//! | `id3` | finds the length of the tags before the sound |
//! | `sniff` | recognises formats by their first bytes |
//! | `float_scale` | scales floating-point samples in the range of integers |
//! | `downmix` | mixes channels to one, also where they cancel each other out |
//! | `resample` | resamples any rate to 16 kHz, with the delay removed |
//! | `mel` | computes log-mel features of a clip or of a growing stream |
//! | `vad` | finds speech |
//! | `speech_model` | the network of `vad` |
//! | `pieces` | cuts a stream into pieces of 10 ms, each with the result of `vad` |
//!
//! All of this is plain data on the CPU: no threads, no clocks, and no files except in `decode`.

mod aac;
pub(crate) mod decode;
mod downmix;
pub(crate) mod error;
mod float_scale;
mod id3;
mod matroska;
pub(crate) mod mel;
mod mp4;
mod ogg;
mod opus;
pub(crate) mod pieces;
pub(crate) mod resample;
mod sniff;
mod speech_model;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod vad;
pub(crate) mod wav;

use std::io::{self, SeekFrom};

/// The position of a seek to `to`, from position `at` in data of `len` bytes. Fails for a position
/// before the beginning.
pub(crate) fn sought(to: SeekFrom, at: u64, len: u64) -> io::Result<u64> {
    let target = match to {
        SeekFrom::Start(at) => Some(at),
        SeekFrom::End(by) => len.checked_add_signed(by),
        SeekFrom::Current(by) => at.checked_add_signed(by),
    };
    target.ok_or(io::ErrorKind::InvalidInput.into())
}
