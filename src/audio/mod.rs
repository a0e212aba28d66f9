//! Sound in: files, standard input and what the models hear of them.
//!
//! | file | what for |
//! |---|---|
//! | `decode` | any audio file, in blocks of 16 kHz mono |
//! | `pcm_stream` | WAV or raw samples as they arrive on a pipe |
//! | `resample` | any rate to 16 kHz, delay compensated |
//! | `mel` | log-mel features, of a clip or of a growing stream |
//! | `vad` | which spans could be speech |
//! | `split` | long audio into pieces, cut at quiet places |
//!
//! Everything here is plain data on the CPU: no threads, no clocks, and no files outside `decode`.

mod cut_mp4;
pub mod decode;
pub mod error;
pub mod mel;
pub mod pcm_stream;
pub mod pieces;
pub mod resample;
pub mod split;
#[cfg(test)]
pub(crate) mod testing;
pub mod vad;
