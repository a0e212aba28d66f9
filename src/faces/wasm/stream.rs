//! One stream: sound goes in, events come out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::Function;
use wasm_bindgen::prelude::*;

use super::errors::{error, thrown};
use crate::audio::pieces::{Piece, Pieces};
use crate::cascade::{Activity, Cascade, Event};
use crate::engines::load::ModelEngines;
use crate::engines::on_models::{Alignment, Recognition, Translation};
use crate::text::Millis;

pub(super) type Running = Cascade<Recognition, Alignment, Translation>;

/// One stream. Sound may be pushed while a step runs.
#[wasm_bindgen]
pub struct Stream {
    /// `None` while a step runs and after the end.
    cascade: RefCell<Option<Running>>,
    pieces: RefCell<Pieces>,
    queue: RefCell<VecDeque<Piece>>,
    /// Number of samples in `queue`.
    queued: Cell<usize>,
    /// Length of the sound that waits in the cascade.
    waiting: Cell<Millis>,
    live: bool,
    emit: Function,
    slot: Rc<RefCell<Option<ModelEngines>>>,
    /// The translator of a stream that is only transcribed.
    unused: RefCell<Option<Translation>>,
}

impl Stream {
    /// A stream on a cascade that has started. Its engines go back to `slot`, together with
    /// `unused`, the translator of a stream that is only transcribed.
    pub(super) fn new(
        cascade: Running,
        live: bool,
        emit: Function,
        slot: Rc<RefCell<Option<ModelEngines>>>,
        unused: Option<Translation>,
    ) -> Stream {
        Stream {
            cascade: RefCell::new(Some(cascade)),
            pieces: RefCell::new(Pieces::new()),
            queue: RefCell::default(),
            queued: Cell::new(0),
            waiting: Cell::new(Millis::ZERO),
            live,
            emit,
            slot,
            unused: RefCell::new(unused),
        }
    }
}

#[wasm_bindgen]
impl Stream {
    /// Takes in samples (16 kHz, mono).
    pub fn push(&self, samples: &[f32]) {
        // Queuing cannot fail.
        let Ok(()) = self.pieces.borrow_mut().push(samples, &mut |piece| self.queue(piece));
    }

    /// Processes the waiting sound if there is at least one chunk. Returns false if there was less.
    pub async fn step(&self) -> Result<bool, JsValue> {
        let mut cascade = self.take()?;
        self.feed(&mut cascade);
        let outcome = cascade.step(&mut |event| send(&self.emit, &event)).await;
        self.give_back(cascade);
        outcome.map_err(thrown)
    }

    /// Ends the sound: processes the rest and closes the open segment.
    pub async fn finish(&self) -> Result<(), JsValue> {
        let Ok(()) = self.pieces.borrow_mut().finish(&mut |piece| self.queue(piece));
        let mut cascade = self.take()?;
        let mut outcome = Ok(true);
        while matches!(outcome, Ok(true)) {
            self.feed(&mut cascade);
            outcome = cascade.step(&mut |event| send(&self.emit, &event)).await;
        }
        let outcome = match outcome {
            Ok(_) => cascade.finish(&mut |event| send(&self.emit, &event)).await,
            Err(failed) => Err(failed),
        };
        self.give_back(cascade);
        outcome.map_err(thrown)
    }

    /// Sends the last event and frees the engines for another stream. Throws `busy` while a step
    /// runs.
    pub fn end(&self) -> Result<(), JsValue> {
        let mut cascade = self.take()?;
        cascade.end(&mut |event| send(&self.emit, &event));
        self.free_engines(cascade);
        Ok(())
    }

    /// Sends a warning at this point among the events.
    pub fn warn(&self, message: String) -> Result<(), JsValue> {
        let mut cascade = self.take()?;
        cascade.warn(message, &mut |event| send(&self.emit, &event));
        self.give_back(cascade);
        Ok(())
    }

    /// Length of the sound that was pushed but not processed yet, in milliseconds.
    #[wasm_bindgen(getter)]
    pub fn waiting_ms(&self) -> f64 {
        let queued = self.queued.get() as f64 * 1000.0 / f64::from(crate::cascade::SAMPLE_RATE);
        queued + self.waiting.get().0 as f64
    }

    fn queue(&self, piece: Piece) -> Result<(), std::convert::Infallible> {
        self.queued.set(self.queued.get() + piece.samples.len());
        self.queue.borrow_mut().push_back(piece);
        Ok(())
    }

    /// Moves sound to the cascade: all of a live stream, otherwise up to one chunk.
    fn feed(&self, cascade: &mut Running) {
        while self.live || !cascade.ready() {
            let Some(piece) = self.queue.borrow_mut().pop_front() else { break };
            self.queued.set(self.queued.get() - piece.samples.len());
            cascade.push(&piece.samples, Activity::of(piece.is_speech));
        }
        self.waiting.set(cascade.waiting());
    }

    fn take(&self) -> Result<Running, JsValue> {
        self.cascade.borrow_mut().take().ok_or_else(|| error("busy", "the stream is in a step, or it has ended"))
    }

    fn give_back(&self, cascade: Running) {
        self.waiting.set(cascade.waiting());
        *self.cascade.borrow_mut() = Some(cascade);
    }

    /// Gives the engines back, so that another stream can use them.
    fn free_engines(&self, cascade: Running) {
        let mut engines = cascade.into_engines();
        engines.translator = engines.translator.or_else(|| self.unused.borrow_mut().take());
        *self.slot.borrow_mut() = Some(engines);
    }
}

impl Drop for Stream {
    /// Frees the engines of a stream that is freed without [`Stream::end`].
    fn drop(&mut self) {
        if let Some(cascade) = self.cascade.take() {
            self.free_engines(cascade);
        }
    }
}

/// Passes an event to the listener, as JSON.
pub(super) fn send(emit: &Function, event: &Event) {
    match serde_json::to_string(event) {
        // An error that the listener throws does not stop the stream.
        Ok(json) => drop(emit.call1(&JsValue::NULL, &json.into())),
        Err(error) => tracing::error!("an event cannot be written: {error}"),
    }
}
