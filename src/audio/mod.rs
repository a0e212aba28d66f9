//! Sound in: files, standard input and what the models hear of them.
//!
//! | file | what for |
//! |---|---|
//! | `decode` | any audio file, in blocks of 16 kHz mono |
//! | `mp4` | packets and times of MP4 and QuickTime files |
//! | `pcm_stream` | WAV or raw samples as they arrive on a pipe |
//! | `resample` | any rate to 16 kHz, delay compensated |
//! | `mel` | log-mel features, of a clip or of a growing stream |
//! | `vad` | which spans could be speech |
//! | `pieces` | a stream in pieces of 10 ms, each with what the voice detector says |
//! | `split` | long audio into pieces, cut at quiet places |
//!
//! Everything here is plain data on the CPU: no threads, no clocks, and no files outside `decode`.

pub mod decode;
pub mod error;
pub mod mel;
mod mp4;
pub mod pcm_stream;
pub mod pieces;
pub mod resample;
pub mod split;
#[cfg(test)]
pub(crate) mod testing;
pub mod vad;
