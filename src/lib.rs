//! **alignatt**: live speech translation on any GPU. Sound goes in, captions that are never taken
//! back come out.
//!
//! A [`Cascade`] translates one stream. It takes sound in pieces and sends every result as an
//! [`Event`], in the order of the sound. What it runs on are [`Models`], which are loaded on a
//! device: a GPU through wgpu, or the CPU. This program prints the German captions of an English
//! talk, with the small models of the demo pack:
//!
//! ```
//! use alignatt::{Activity, AudioFile, Cascade, DeviceChoice, Event, EventKind};
//! use alignatt::{Language, Millis, Models, Settings};
//!
//! # #[cfg(not(target_arch = "wasm32"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # pollster::block_on(async {
//! let settings = Settings::new(Language::ENGLISH, Some(Language::GERMAN));
//! let (device, _) = alignatt::open_device(DeviceChoice::Cpu).await?; // or Auto: the best GPU
//! let engines = Models::demo(&settings).load(&device, &mut |_, _, _| ()).await?;
//! let began = std::time::Instant::now();
//! let clock = Box::new(move || Millis::from(began.elapsed()));
//! let mut cascade = Cascade::new(settings, engines, clock)?;
//! let mut show = |event: Event| match event.kind {
//!     EventKind::Target(target) => print!("{}", target.delta),
//!     _ => (),
//! };
//! let mut talk = AudioFile::open("samples/talk-a.flac")?;
//! while let Some(block) = talk.next_block()? {
//!     cascade.push(&block, Activity::Unknown);
//!     while cascade.step(&mut show).await? {}
//! #   if began.elapsed().as_secs() >= 2 { break } // a test need not hear the whole talk
//! }
//! cascade.finish(&mut show).await?;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Real models are folders in the format of the Hugging Face Hub, or GGUF files: make
//! [`ModelFiles`] of each with [`Files::folder`] or [`Files::gguf_file`], or of a Hub id with
//! [`hub`]. Without a GPU that is fast enough, or for a recogniser or translator of your own,
//! implement [`Recognize`], [`Align`] and [`Translate`] and give them to the cascade as
//! [`Engines`].
//!
//! `ARCHITECTURE.md` names the rooms and which may call which. The command line and the module for
//! the browser are in this crate, too (`faces`).

// `eprintln!` and `println!` panic where standard error or output can't be written: results would
// be lost.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]
#![warn(missing_docs, unreachable_pub)]
// Private items are linked for those who read the source.
#![allow(rustdoc::private_intra_doc_links)]

mod audio;
#[cfg(not(target_arch = "wasm32"))]
mod calibrate;
mod cascade;
mod engines;
mod faces;
mod gpu;
#[cfg(not(target_arch = "wasm32"))]
mod measure;
#[allow(missing_docs)] // public to tests and benches only
mod models;
#[allow(missing_docs)] // public to tests and benches only
mod nn;
#[allow(missing_docs)] // public to tests and benches only
mod ops;
mod policy;
mod selftest;
mod text;
mod weights;

#[cfg(not(target_arch = "wasm32"))]
pub mod hub;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod internals;

pub use audio::decode::AudioFile;
pub use audio::error::AudioError;
pub use audio::vad::Vad;
pub use cascade::engines::{
    Align, BoxError, Cost, Draft, DraftRequest, Engines, Hypothesis, NoTranslation, Recognize, TimedWord, TooLong,
    Translate, Watch,
};
pub use cascade::event::{self, Event, EventKind};
pub use cascade::{
    Activity, Cascade, CascadeError, Checkpoint, Clock, Position, ResumeError, SAMPLE_RATE, Settings, SettingsError,
    Stage, TargetSide, TextStream, TooManyWords, Untranslated,
};
pub use engines::load::{
    ContextTooLong, Direction, ModelEngines, ModelError, ModelFiles, Models, Names, Report, Role, start, translation,
};
pub use gpu::{AdapterReport, Api, Compute, DeviceChoice, GpuError, adapters};
pub use policy::heads::HeadSet;
pub use policy::kind::{PolicyKind, Preset};
pub use policy::knobs::Knobs;
pub use policy::listening::Attention;
pub use policy::{Committed, Hold, Token};
pub use selftest::open as open_device;
pub use text::{Context, Language, Millis, TermsError};
pub use weights::files::{ByteSource, Files};
pub use weights::{CheckpointError, Remedy};
