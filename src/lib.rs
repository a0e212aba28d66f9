//! **alignatt**: live speech translation on any GPU. Audio goes in, captions that are never taken back come out.
//!
//! `ARCHITECTURE.md` names the rooms and which may call which.

// `eprintln!` and `println!` panic where standard error or output can't be written: results would be lost.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod alignatt;
pub mod audio;
pub mod cascade;
pub mod checkpoint;
#[cfg(not(target_arch = "wasm32"))]
pub mod cli;
pub mod gpu;
pub mod load;
pub mod models;
pub mod nn;
pub mod ops;
pub mod subtitles;
#[cfg(target_arch = "wasm32")]
pub mod wasm;
