//! The face for browsers, through wasm-bindgen: devices, engines, streams, sound. `web/` wraps it
//! in an npm package. It runs on one thread, in a dedicated worker.
//!
//! | file | what it holds |
//! |---|---|
//! | `device` | a device that has passed its self-test |
//! | `options` | the options of a translation, parsed and checked |
//! | `engines` | models on a device; opens streams |
//! | `stream` | one stream: sound goes in, events come out |
//! | `text_stream` | one stream whose source is text |
//! | `sound` | decodes sound files and resamples live sound |
//! | `files` | the files of a model, which JavaScript reads |
//! | `errors` | errors as JavaScript sees them: codes and remedies |
//!
//! A failing call throws an `Error` with a stable `code`: `no-adapter`, `adapter-failed-self-test`,
//! `out-of-memory`, `device-lost`, `bad-model`, `bad-sound`, `bad-option`, `busy`, `internal`, or
//! the code of an error that JavaScript itself threw while the module read from it.

mod device;
mod engines;
mod errors;
mod files;
mod options;
mod sound;
mod stream;
mod text_stream;

use wasm_bindgen::prelude::*;

use crate::cascade::Event;
use crate::faces::subtitles::{Kind, Side, Subtitles};
use errors::{error, refused};

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs when the module is instantiated.
#[wasm_bindgen(start)]
fn begin() {
    // Where a module does not call its static constructors itself, every export is wrapped in calls
    // of them, which costs milliseconds per call.
    // SAFETY: the linker makes this function, and nothing else calls it.
    unsafe { __wasm_call_ctors() };
    console_error_panic_hook::set_once();
}

#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Converts the events of a run, one JSON object a line, to an `srt` or `vtt` file of the `source`
/// or `target` side.
#[wasm_bindgen]
pub fn subtitles(events: &str, format: &str, side: &str) -> Result<String, JsValue> {
    let kind = match format {
        "srt" => Kind::Srt,
        "vtt" => Kind::Vtt,
        _ => return Err(error("bad-option", "subtitles are `srt` or `vtt`")),
    };
    let side = match side {
        "source" => Side::Source,
        "target" => Side::Target,
        _ => return Err(error("bad-option", "a side is `source` or `target`")),
    };
    let mut subtitles = Subtitles::new(kind, side);
    for line in events.lines() {
        let event: Event = serde_json::from_str(line).map_err(refused)?;
        subtitles.event(&event);
    }
    subtitles.finish();
    Ok(subtitles.take_text())
}
