//! The program's faces: the command line, the module for browsers, and what they share.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod cli;
#[cfg(all(feature = "server", not(target_arch = "wasm32")))]
pub(crate) mod server;
pub(crate) mod subtitles;
#[cfg(target_arch = "wasm32")]
#[allow(unreachable_pub)] // wasm-bindgen exports public items wherever they are
pub(crate) mod wasm;
