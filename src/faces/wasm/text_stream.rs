//! One stream whose source is text: words go in, events come out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::Function;
use wasm_bindgen::prelude::*;

use super::errors::{error, thrown};
use super::stream::send;
use crate::cascade::{Engines, TextStream as Text};
use crate::engines::load::ModelEngines;
use crate::engines::on_models::{Alignment, Recognition, Translation};
use crate::text::Millis;
use crate::text::passages::{TextWord, chunk_end, read};

/// Models for speech, which a text does not need.
pub(super) type Ears = (Recognition, Alignment);

/// One stream of text. Text may be added while a step runs.
#[wasm_bindgen]
pub struct TextStream {
    /// `None` while a step runs and after the end.
    stream: RefCell<Option<Text<Translation>>>,
    words: RefCell<VecDeque<TextWord>>,
    /// Time between two steps of a text that is read.
    chunk: Millis,
    pause: Millis,
    emit: Function,
    slot: Rc<RefCell<Option<ModelEngines>>>,
    ears: RefCell<Option<Ears>>,
}

impl TextStream {
    /// A stream that has started. Its translator goes back to `slot` together with `ears`.
    pub(super) fn new(
        stream: Text<Translation>,
        emit: Function,
        slot: Rc<RefCell<Option<ModelEngines>>>,
        ears: Ears,
    ) -> TextStream {
        let settings = *stream.settings();
        TextStream {
            stream: RefCell::new(Some(stream)),
            words: RefCell::default(),
            chunk: settings.chunk,
            pause: settings.pause,
            emit,
            slot,
            ears: RefCell::new(Some(ears)),
        }
    }
}

#[wasm_bindgen]
impl TextStream {
    /// Reads a whole text: JSON lines, subtitles or plain text. Throws `bad-option` where a line is
    /// malformed, or where there is no text.
    pub fn read(&self, text: &str) -> Result<(), JsValue> {
        let words = read(text, self.pause)
            .map_err(|(line, wrong)| error("bad-option", &format!("line {line} of the text {wrong}")))?;
        if words.is_empty() {
            return Err(error("bad-option", "the text has no words"));
        }
        self.words.borrow_mut().extend(words);
        Ok(())
    }

    /// When the next step of the text that was read is due, in milliseconds; `undefined` at its
    /// end.
    pub fn due(&self) -> Option<f64> {
        self.words.borrow().front().map(|word| chunk_end(word.end, self.chunk).0 as f64)
    }

    /// Adds text that is said or typed at `now`, in milliseconds since the stream began.
    pub fn say(&self, text: &str, now: f64) {
        let now = millis(now);
        self.words.borrow_mut().push_back(TextWord { text: text.to_owned(), start: now, end: now });
    }

    /// Translates the text up to `now`, in milliseconds.
    pub async fn step(&self, now: f64) -> Result<(), JsValue> {
        let now = millis(now);
        let mut stream = self.take()?;
        let mut outcome = Ok(());
        while let Some(word) = self.words.borrow_mut().pop_front_if(|word| word.end <= now) {
            outcome = outcome.and_then(|()| stream.push(&word.text, word.start, word.end).map_err(thrown));
        }
        while outcome.is_ok() {
            outcome = stream.step(now, &mut |event| send(&self.emit, &event)).await.map_err(thrown);
            if !stream.ready() {
                break;
            }
        }
        *self.stream.borrow_mut() = Some(stream);
        outcome
    }

    /// Ends the text: closes the open segment.
    pub async fn finish(&self) -> Result<(), JsValue> {
        let mut stream = self.take()?;
        let outcome = stream.finish(&mut |event| send(&self.emit, &event)).await;
        *self.stream.borrow_mut() = Some(stream);
        outcome.map_err(thrown)
    }

    /// Sends the last event and frees the models for another stream. Throws `busy` while a step
    /// runs.
    pub fn end(&self) -> Result<(), JsValue> {
        let mut stream = self.take()?;
        stream.end(&mut |event| send(&self.emit, &event));
        self.free_models(stream);
        Ok(())
    }

    fn take(&self) -> Result<Text<Translation>, JsValue> {
        self.stream.borrow_mut().take().ok_or_else(|| error("busy", "the stream is in a step, or it has ended"))
    }

    fn free_models(&self, stream: Text<Translation>) {
        if let Some((recognizer, aligner)) = self.ears.borrow_mut().take() {
            let translator = stream.into_translator();
            *self.slot.borrow_mut() = Some(Engines { recognizer, aligner, translator });
        }
    }
}

impl Drop for TextStream {
    /// Frees the models of a stream that is freed without [`TextStream::end`].
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.free_models(stream);
        }
    }
}

fn millis(time: f64) -> Millis {
    Millis(time.max(0.0) as u64)
}
