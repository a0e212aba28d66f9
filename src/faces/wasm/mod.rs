//! The face for browsers, through wasm-bindgen: devices, engines, streams, sound. `web/` wraps it
//! in an npm package. It runs on one thread, in a dedicated worker.
//!
//! A failing call throws an `Error` with a stable `code`: `no-adapter`, `adapter-failed-self-test`,
//! `out-of-memory`, `device-lost`, `bad-model`, `bad-sound`, `bad-option`, `busy`, `internal`, or
//! the code of an error that JavaScript itself threw while the module read from it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error as StdError;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Array, Float32Array, Function, Promise, Reflect, Uint8Array};
use send_wrapper::SendWrapper;
use serde::Deserialize;
use symphonia::core::io::MediaSource;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_time::Instant;

use crate::audio::decode::AudioFile;
use crate::audio::error::AudioError;
use crate::audio::pieces::{Piece, Pieces};
use crate::audio::sought;
use crate::cascade::{Activity, BoxError, Cascade, Event, Settings};
use crate::engines::load::{self, ContextTooLong, Direction, ModelEngines, ModelError, ModelFiles, Models, Names};
use crate::engines::on_models::{Alignment, Recognition, Translation};
use crate::faces::subtitles::{Kind, Side, Subtitles};
use crate::gpu::{Complaint, Compute, DeviceChoice, GpuError, ParseDeviceError};
use crate::nn::RunError;
use crate::policy::PolicyKind;
use crate::policy::heads::{HeadSet, HeadsError};
use crate::selftest::{compare, launch_cost};
use crate::text::{Language, Millis};
use crate::weights::files::ReadFuture;
use crate::weights::{ByteSource, CheckpointError, Files, Remedy};

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

/// A device that has passed its self-test.
#[wasm_bindgen]
pub struct Device {
    compute: Compute,
    refused: Vec<String>,
}

#[wasm_bindgen]
impl Device {
    /// Opens a device. `choice` is `auto`, `webgpu` or `cpu`.
    pub async fn open(choice: String) -> Result<Device, JsValue> {
        let choice = choice.parse::<DeviceChoice>().map_err(thrown)?;
        let (compute, refused) = crate::selftest::open(choice).await.map_err(thrown)?;
        Ok(Device { compute, refused })
    }

    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.compute.name.clone()
    }

    /// What the adapter reports about itself, as JSON; `null` for the CPU.
    #[wasm_bindgen(getter)]
    pub fn report(&self) -> String {
        let report = self.compute.adapter.as_ref().map(|adapter| {
            serde_json::json!({
                "name": adapter.name,
                "driver": adapter.driver,
                "software": adapter.is_software(),
                "max_binding": adapter.max_binding,
                "max_buffer": adapter.max_buffer,
                "max_invocations": adapter.max_invocations,
                "max_shared": adapter.max_shared,
                "features": adapter.features,
            })
        });
        report.unwrap_or_default().to_string()
    }

    /// The devices that `auto` refused, with the reasons.
    #[wasm_bindgen(getter)]
    pub fn warnings(&self) -> Vec<String> {
        self.refused.clone()
    }

    /// Memory that Burn has reserved on the device, in bytes.
    pub fn memory_bytes(&self) -> f64 {
        self.compute.device.memory_pool_usage().map_or(0.0, |usage| usage.bytes_reserved as f64)
    }

    /// An error that the device reported on its own and that no call has thrown yet. Each is
    /// returned once.
    pub fn complaint(&self) -> Option<String> {
        self.compute.health.take().map(|said| match said {
            Complaint::OutOfMemory(what) | Complaint::Failed(what) | Complaint::Lost(what) => what,
        })
    }

    /// Compares every op with the CPU. Returns a JSON array of `{op, worst, passed}`.
    pub async fn self_test(&self) -> Result<String, JsValue> {
        let device = self.compute.device.clone();
        let all = compare(&device).await.map_err(|what| error("device-lost", &what))?;
        let line = all.iter().map(|op| serde_json::json!({"op": op.name, "worst": op.worst, "passed": op.passed()}));
        Ok(serde_json::Value::Array(line.collect()).to_string())
    }

    /// Microseconds to enqueue one small launch, through Burn and directly, as JSON:
    /// `{"launch": …, "bare": …}`.
    pub async fn launch_cost(&self, count: u32) -> Result<String, JsValue> {
        let device = self.compute.device.clone();
        let began = Instant::now();
        let now = || began.elapsed().as_secs_f64() * 1e6;
        let cost = launch_cost(&device, count, &now).await.map_err(|what| error("internal", &what))?;
        Ok(serde_json::json!({"launch": cost.launch, "bare": cost.bare}).to_string())
    }
}

/// The options of [`Engines::load`], as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    from: String,
    /// Absent where nothing is translated.
    to: Option<String>,
    policy: Option<String>,
    #[serde(default)]
    context: String,
    #[serde(default)]
    history: usize,
    /// Heads for this direction: the text of a heads file.
    heads: Option<String>,
    /// Sound of one step, in milliseconds. Absent: the policy's own chunk.
    chunk_ms: Option<u32>,
}

/// Parses and checks options. Without a direction nothing is translated.
fn parsed(options: &str) -> Result<(Settings, Option<Direction>), JsValue> {
    let options: Options = serde_json::from_str(options).map_err(refused)?;
    let from = options.from.parse::<Language>().map_err(refused)?;
    let to = options.to.map(|code| code.parse::<Language>()).transpose().map_err(refused)?;
    let policy = options.policy.map(|name| name.parse::<PolicyKind>()).transpose().map_err(refused)?;
    let policy = policy.unwrap_or_default();
    let heads = options.heads.map(|text| HeadSet::parse(&text, "heads")).transpose().map_err(refused)?;
    let plain = Settings::new(from, to).with_policy(policy);
    let settings = Settings { history: options.history, ..plain };
    let settings = options.chunk_ms.map_or(settings, |ms| settings.chunked(Millis(u64::from(ms))));
    settings.check().map_err(refused)?;
    let direction = to.map(|to| Direction { heads, context: options.context, ..Direction::new(from, to, policy) });
    Ok((settings, direction))
}

/// Throws the error that [`Engines::load`] would throw for these options, before any model is
/// loaded.
#[wasm_bindgen]
pub fn check_options(options: &str) -> Result<(), JsValue> {
    parsed(options).map(drop)
}

/// Models on a device.
#[wasm_bindgen]
pub struct Engines {
    home: Rc<RefCell<Option<ModelEngines>>>,
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
        let (settings, direction) = parsed(&options)?;
        let mt = match direction {
            Some(direction) => Some((model_files(&mt)?, direction)),
            None => None,
        };
        let models = Models { asr: model_files(&asr)?, aligner: model_files(&aligner)?, mt };
        let mut report = |what: &str, done: u64, total: u64| {
            // An error that the listener throws does not stop the loading.
            let _ = progress.call3(&JsValue::NULL, &what.into(), &(done as f64).into(), &(total as f64).into());
        };
        let engines = load::engines(&models, &compute, &mut report).await.map_err(boxed)?;
        let names = Names::of(&models, &compute.name);
        Ok(Engines { home: Rc::new(RefCell::new(Some(engines))), settings, names })
    }

    /// Begins a stream and sends its first events, one JSON text per call of `emit`. With `live`,
    /// sound comes at its own pace, so a step processes all sound that waits; otherwise it
    /// processes one chunk. Without `translate` the stream is only transcribed. Throws `busy` while
    /// another stream is open.
    pub fn open(&self, live: bool, translate: bool, emit: Function) -> Result<Stream, JsValue> {
        let settings = Settings { target: self.settings.target.filter(|_| translate), ..self.settings };
        // Checked before the engines are taken, because a failing `Cascade::new` would drop them.
        settings.check().map_err(refused)?;
        let Some(mut engines) = self.home.borrow_mut().take() else {
            return Err(error("busy", "another stream is open on these models; end it first"));
        };
        let unused = if settings.target.is_some() { None } else { engines.translator.take() };
        let began = Instant::now();
        let clock = Box::new(move || Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)));
        let mut cascade = Cascade::new(settings, engines, clock).map_err(thrown)?;
        cascade.start(load::start(&settings, &self.names), &mut |event| send(&emit, &event));
        if let Some(note) = self.names.note {
            cascade.warn(note.to_owned(), &mut |event| send(&emit, &event));
        }
        Ok(Stream {
            cascade: RefCell::new(Some(cascade)),
            pieces: RefCell::new(Pieces::new()),
            queue: RefCell::default(),
            queued: Cell::new(0),
            waiting: Cell::new(Millis::ZERO),
            live,
            emit,
            home: self.home.clone(),
            unused: RefCell::new(unused),
        })
    }
}

type Running = Cascade<Recognition, Alignment, Translation>;

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
    home: Rc<RefCell<Option<ModelEngines>>>,
    /// The translator of a stream that is only transcribed.
    unused: RefCell<Option<Translation>>,
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
            cascade.push(&piece.samples, Activity::of(piece.is_sound));
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
        *self.home.borrow_mut() = Some(engines);
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

/// A sound file that is decoded to 16 kHz mono.
#[wasm_bindgen]
pub struct Sound(AudioFile);

#[wasm_bindgen]
impl Sound {
    /// Reads the header. `name` is used in messages.
    pub fn open(blob: web_sys::Blob, name: String) -> Result<Sound, JsValue> {
        let reader = web_sys::FileReaderSync::new()?;
        let source = BlobSource { inner: SendWrapper::new((blob.clone(), reader)), size: blob.size() as u64, at: 0 };
        Ok(Sound(AudioFile::from_source(Box::new(source), name).map_err(thrown)?))
    }

    /// The next block of samples; undefined at the end.
    #[wasm_bindgen(js_name = next)]
    pub fn next_block(&mut self) -> Result<Option<Float32Array>, JsValue> {
        let block = self.0.next_block().map_err(thrown)?;
        Ok(block.map(|samples| Float32Array::from(&samples[..])))
    }

    #[wasm_bindgen(getter)]
    pub fn duration_ms(&self) -> Option<f64> {
        self.0.duration().map(|seconds| seconds * 1000.0)
    }

    /// After the whole file has been read: what was damaged, and which of several sound tracks was
    /// decoded.
    #[wasm_bindgen(getter)]
    pub fn warning(&self) -> Option<String> {
        let several = self.0.tracks() > 1;
        let track = several.then(|| format!("sound track {} of {} was heard", self.0.track(), self.0.tracks()));
        let all: Vec<String> = self.0.warning().into_iter().chain(track).collect();
        Some(all.join("; ")).filter(|all| !all.is_empty())
    }
}

/// A file of the page, read in place.
struct BlobSource {
    inner: SendWrapper<(web_sys::Blob, web_sys::FileReaderSync)>,
    size: u64,
    at: u64,
}

impl Read for BlobSource {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = (self.size.saturating_sub(self.at)).min(into.len() as u64);
        if len == 0 {
            return Ok(0);
        }
        let (blob, reader) = &*self.inner;
        let slice = blob.slice_with_f64_and_f64(self.at as f64, (self.at + len) as f64);
        let buffer = slice.and_then(|slice| reader.read_as_array_buffer(&slice)).map_err(unreadable)?;
        let bytes = Uint8Array::new(&buffer);
        let read = (bytes.length() as usize).min(into.len());
        bytes.slice(0, read as u32).copy_to(&mut into[..read]);
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for BlobSource {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = sought(to, self.at, self.size)?;
        Ok(self.at)
    }
}

impl MediaSource for BlobSource {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.size)
    }
}

/// Resamples live sound from any rate to 16 kHz.
#[wasm_bindgen]
pub struct Resampler(crate::audio::resample::Resampler);

#[wasm_bindgen]
impl Resampler {
    #[wasm_bindgen(constructor)]
    pub fn new(rate: u32) -> Result<Resampler, JsValue> {
        let resampler = crate::audio::resample::Resampler::new(rate);
        Ok(Resampler(resampler.map_err(|e| error("bad-sound", &e.to_string()))?))
    }

    pub fn push(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        self.0.push(samples, &mut out);
        out
    }

    pub fn finish(&mut self) -> Vec<f32> {
        let mut out = Vec::new();
        self.0.finish(&mut out);
        out
    }
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

fn send(emit: &Function, event: &Event) {
    match serde_json::to_string(event) {
        // An error that the listener throws does not stop the stream.
        Ok(json) => drop(emit.call1(&JsValue::NULL, &json.into())),
        Err(error) => tracing::error!("an event cannot be written: {error}"),
    }
}

/// Reads the files of a model from a JavaScript object.
fn model_files(model: &JsValue) -> Result<ModelFiles, JsValue> {
    let wrong = |what: &str| error("bad-option", what);
    let get = |of: &JsValue, key: &str| Reflect::get(of, &key.into());
    let name = get(model, "label")?.as_string().ok_or_else(|| wrong("a model has no label"))?;
    let (mut small, mut ranged) = (Vec::new(), Vec::<(String, Arc<dyn ByteSource>)>::new());
    for file in Array::from(&get(model, "files")?).iter() {
        let name = get(&file, "name")?.as_string().ok_or_else(|| wrong("a file of a model has no name"))?;
        let bytes = get(&file, "bytes")?;
        if bytes.is_undefined() {
            let size = get(&file, "size")?.as_f64().ok_or_else(|| wrong("a file has neither bytes nor size"))?;
            let read = get(&file, "read")?.dyn_into().map_err(|_| wrong("a file has no way to be read"))?;
            // There is only one thread, so the source need not be Send. It is an Arc because all
            // sources are.
            #[allow(clippy::arc_with_non_send_sync)]
            ranged.push((name, Arc::new(JsFile { size: size as u64, this: file, read })));
        } else {
            small.push((name, Uint8Array::new(&bytes).to_vec()));
        }
    }
    let demo = get(model, "demo")?.is_truthy();
    Ok(ModelFiles { files: Files::remote(&name, small, ranged), name, demo })
}

/// A file that JavaScript reads: in OPFS, or on a server that supports ranges.
struct JsFile {
    size: u64,
    this: JsValue,
    read: Function,
}

impl ByteSource for JsFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        let asked = self.read.call2(&self.this, &(offset as f64).into(), &(len as f64).into());
        Box::pin(async move {
            let promise = Promise::resolve(&asked.map_err(unreadable)?);
            let bytes = Uint8Array::new(&JsFuture::from(promise).await.map_err(unreadable)?);
            if bytes.length() as usize != len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(bytes.to_vec())
        })
    }
}

/// An error that JavaScript threw while the module read from it. Its code is kept.
#[derive(Debug)]
struct Thrown {
    code: Option<String>,
    message: String,
}

impl std::fmt::Display for Thrown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Thrown {}

fn unreadable(thrown: JsValue) -> io::Error {
    let text = |key: &str| Reflect::get(&thrown, &key.into()).ok().and_then(|value| value.as_string());
    let message = text("message").unwrap_or_else(|| format!("{thrown:?}"));
    io::Error::other(Thrown { code: text("code"), message })
}

fn error(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    // A fresh object takes any property.
    let _ = Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}

/// The error for an invalid option.
fn refused(failed: impl StdError) -> JsValue {
    error("bad-option", &failed.to_string())
}

fn thrown(failed: impl StdError + 'static) -> JsValue {
    boxed(Box::new(failed))
}

/// An `Error` with the whole error chain and a remedy as its message, and the code of the first
/// link that has one.
fn boxed(failed: BoxError) -> JsValue {
    let mut message = failed.to_string();
    let mut code = None;
    let mut remedy = None;
    let mut link: Option<&(dyn StdError + 'static)> = Some(&*failed);
    while let Some(current) = link {
        let text = current.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        code = code.or_else(|| code_of(current));
        remedy = remedy.or_else(|| remedy_of(current));
        link = current.source();
    }
    if let Some(remedy) = remedy {
        message = format!("{message}; {remedy}");
    }
    error(code.as_deref().unwrap_or("internal"), &message)
}

fn code_of(failed: &(dyn StdError + 'static)) -> Option<String> {
    let code = if let Some(failed) = failed.downcast_ref::<GpuError>() {
        gpu_code(failed)
    } else if let Some(failed) = failed.downcast_ref::<RunError>() {
        match failed {
            RunError::Device(_) => "device-lost",
            RunError::Gpu(failed) => gpu_code(failed),
            RunError::Checkpoint(failed) => return Some(checkpoint_code(failed)),
            RunError::TooLong { .. } | RunError::RollBack(_) => "internal",
        }
    } else if let Some(failed) = failed.downcast_ref::<CheckpointError>() {
        return Some(checkpoint_code(failed));
    } else if failed.is::<HeadsError>() {
        "bad-model"
    } else if failed.is::<ModelError>() || failed.is::<ContextTooLong>() {
        "bad-option"
    } else if failed.is::<AudioError>() {
        "bad-sound"
    } else if failed.is::<ParseDeviceError>() {
        "bad-option"
    } else {
        return None;
    };
    Some(code.to_owned())
}

fn gpu_code(failed: &GpuError) -> &'static str {
    match failed {
        GpuError::NoAdapter { .. } | GpuError::Refused { .. } => "no-adapter",
        GpuError::SelfTest { .. } => "adapter-failed-self-test",
        GpuError::OutOfMemory { .. } => "out-of-memory",
        GpuError::Failed { .. } | GpuError::Lost { .. } => "device-lost",
    }
}

/// A read that JavaScript refused keeps its own code. Every other fault is the model's.
fn checkpoint_code(failed: &CheckpointError) -> String {
    let refused = match failed {
        CheckpointError::Io { source, .. } => source.get_ref().and_then(|inner| inner.downcast_ref::<Thrown>()),
        _ => None,
    };
    refused.and_then(|thrown| thrown.code.clone()).unwrap_or_else(|| "bad-model".to_owned())
}

/// The remedy for an error, in words that suit both a program and a page.
fn remedy_of(failed: &(dyn StdError + 'static)) -> Option<&'static str> {
    if let Some(failed) = failed.downcast_ref::<GpuError>() {
        return Some(gpu_remedy(failed));
    }
    if let Some(failed) = failed.downcast_ref::<CheckpointError>() {
        return checkpoint_remedy(failed);
    }
    if let Some(failed) = failed.downcast_ref::<ModelError>() {
        return Some(match failed {
            ModelError::OtherFamily { .. } => "name a model of that family",
            ModelError::NoHeads { .. } => "give `heads` for this direction, or use the policy `local-agreement`",
        });
    }
    match failed.downcast_ref::<RunError>()? {
        RunError::Device(_) => Some("load again, on the CPU if it comes back"),
        RunError::Gpu(failed) => Some(gpu_remedy(failed)),
        RunError::Checkpoint(failed) => checkpoint_remedy(failed),
        RunError::TooLong { .. } | RunError::RollBack(_) => None,
    }
}

fn gpu_remedy(failed: &GpuError) -> &'static str {
    match failed {
        GpuError::NoAdapter { .. } => "switch WebGPU on, or use the CPU",
        GpuError::Refused { .. } | GpuError::SelfTest { .. } => "update the graphics driver, or use the CPU",
        GpuError::OutOfMemory { .. } => "use smaller models, or the CPU",
        GpuError::Failed { .. } => "try again, or use the CPU if it comes back",
        GpuError::Lost { .. } => "load again, with smaller models where memory ran out, or on the CPU",
    }
}

fn checkpoint_remedy(failed: &CheckpointError) -> Option<&'static str> {
    match failed.remedy() {
        Remedy::FetchAgain => Some("remove the model and fetch it again"),
        Remedy::UseCpu => Some("use the CPU, which computes in f32"),
        // The message contains the remedy already, and a browser has no Hub cache.
        Remedy::Words(_) | Remedy::ListModels => None,
    }
}
