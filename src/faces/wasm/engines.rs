//! Models on a device. One stream at a time uses them.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Function;
use wasm_bindgen::prelude::*;
use web_time::Instant;

use super::device::Device;
use super::errors::{boxed, error, refused, thrown};
use super::files::model_files;
use super::options::{Parsed, parsed};
use super::stream::{Stream, send};
use super::text_stream::TextStream;
use crate::cascade::{self, Cascade, Settings};
use crate::engines::load::{self, ModelEngines, Models, Names};
use crate::text::Millis;

/// Models on a device.
#[wasm_bindgen]
pub struct Engines {
    /// `None` while a stream uses the engines.
    slot: Rc<RefCell<Option<ModelEngines>>>,
    settings: Settings,
    names: Names,
}

#[wasm_bindgen]
impl Engines {
    /// Loads models. Each is an object `{label, demo, files}`, with files
    /// `{name, bytes} | {name, size, read(offset, len)}`. `progress(what, done, total)` is called
    /// with the number of bytes read.
    pub async fn load(
        device: &Device,
        options: String,
        asr: JsValue,
        aligner: JsValue,
        mt: JsValue,
        progress: Function,
    ) -> Result<Engines, JsValue> {
        let compute = device.compute.clone();
        let Parsed { settings, direction, context, quant } = parsed(&options)?;
        let mt = match direction {
            Some(direction) => Some((model_files(&mt, quant)?, direction)),
            None => None,
        };
        let models = Models { asr: model_files(&asr, quant)?, aligner: model_files(&aligner, quant)?, mt, context };
        let models = models.opened().await.map_err(|error| boxed(error.into()))?;
        let mut report = |what: &str, done: u64, total: u64| {
            // An error that the listener throws does not stop the loading.
            let _ = progress.call3(&JsValue::NULL, &what.into(), &(done as f64).into(), &(total as f64).into());
        };
        let engines = models.load(&compute, &mut report).await.map_err(boxed)?;
        let names = Names::of(&models, &compute.name);
        Ok(Engines { slot: Rc::new(RefCell::new(Some(engines))), settings, names })
    }

    /// Begins a stream and sends its first events, one JSON text per call of `emit`. With `live`,
    /// sound comes at its own pace, so a step processes all sound that waits; otherwise it
    /// processes one chunk. Without `translate` the stream is only transcribed. Throws `busy` while
    /// another stream is open.
    pub fn open(&self, live: bool, translate: bool, emit: Function) -> Result<Stream, JsValue> {
        let settings = Settings { target: self.settings.target.filter(|_| translate), ..self.settings };
        // Checked before the engines are taken, because a failing `Cascade::new` would drop them.
        settings.check().map_err(refused)?;
        let Some(mut engines) = self.slot.borrow_mut().take() else {
            return Err(error("busy", "another stream is open on these models; end it first"));
        };
        let unused = if settings.target.is_some() { None } else { engines.translator.take() };
        let began = Instant::now();
        let clock = Box::new(move || Millis::from(began.elapsed()));
        let mut cascade = Cascade::new(settings, engines, clock).map_err(thrown)?;
        cascade.start(load::start(&settings, &self.names), &mut |event| send(&emit, &event));
        for note in &self.names.notes {
            cascade.warn(note.clone(), &mut |event| send(&emit, &event));
        }
        Ok(Stream::new(cascade, live, emit, self.slot.clone(), unused))
    }

    /// Begins a stream whose source is text, as [`Engines::open`] does for sound. Throws
    /// `bad-option` where no translator was loaded.
    pub fn open_text(&self, emit: Function) -> Result<TextStream, JsValue> {
        let settings = self.settings;
        settings.check().map_err(refused)?;
        if settings.target.is_none() {
            return Err(error("bad-option", "a text is translated, and no translator was loaded"));
        }
        let Some(ModelEngines { recognizer, aligner, translator }) = self.slot.borrow_mut().take() else {
            return Err(error("busy", "another stream is open on these models; end it first"));
        };
        let Some(translator) = translator else {
            return Err(error("internal", "the translator is missing"));
        };
        let began = Instant::now();
        let clock = Box::new(move || Millis::from(began.elapsed()));
        let mut stream = cascade::TextStream::new(settings, translator, clock).map_err(thrown)?;
        let names = Names { asr: None, aligner: None, ..self.names.clone() };
        stream.start(load::start(&settings, &names), &mut |event| send(&emit, &event));
        for note in &names.notes {
            stream.warn(note.clone(), &mut |event| send(&emit, &event));
        }
        Ok(TextStream::new(stream, emit, self.slot.clone(), (recognizer, aligner)))
    }
}
