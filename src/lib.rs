//! **alignatt**: live speech translation on any GPU. Audio goes in, captions that are never taken back come out.
//!
//! `ARCHITECTURE.md` names the rooms and which may call which.

pub mod audio;
pub mod checkpoint;
pub mod gpu;
pub mod models;
pub mod nn;
pub mod ops;
