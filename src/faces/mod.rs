//! The program's faces: the command line, the module for browsers, and what they share.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod cli;
pub(crate) mod subtitles;
#[cfg(target_arch = "wasm32")]
pub mod wasm;
