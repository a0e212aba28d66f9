//! **alignatt**: live speech translation on any GPU. Audio goes in, captions that are never taken back come out.
//!
//! `ARCHITECTURE.md` names the rooms and which may call which.

// `eprintln!` and `println!` panic where standard error or output can't be written: results would be lost.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod audio;
pub mod calibrate;
pub mod cascade;
pub mod engines;
pub mod faces;
pub mod gpu;
#[cfg(not(target_arch = "wasm32"))]
pub mod hub;
pub mod measure;
pub mod models;
pub mod nn;
pub mod ops;
pub mod policy;
pub mod selftest;
pub mod text;
pub mod weights;
