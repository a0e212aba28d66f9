//! How models and devices are had: the one file of the command line that knows them.

use std::path::PathBuf;

use super::args::DeviceArgs;
use crate::alignatt::Language;
use crate::cascade::{Align, BoxError, Draft, DraftRequest, Engines, Hypothesis, Recognize, TimedWord, Translate};

/// What is to be loaded. A model is a folder or a Hub id; `None` is the demo pack.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub asr: Option<&'a str>,
    pub aligner: Option<&'a str>,
    /// `Some` where there is something to translate.
    pub mt: Option<Translation<'a>>,
    pub from: Language,
    pub device: &'a DeviceArgs,
}

#[derive(Clone, Copy, Debug)]
pub struct Translation<'a> {
    pub to: Language,
    pub model: Option<&'a str>,
}

/// Names for the start event and the status line.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub asr: String,
    pub aligner: String,
    pub mt: Option<String>,
    /// Such as `vulkan:0 NVIDIA H100`.
    pub device: String,
    /// At least one of the models is the demo pack's.
    pub demo: bool,
}

/// Models that are ready.
pub struct Loaded {
    pub engines: Engines<Speech, Aligner, Text>,
    pub names: Names,
}

/// Called while something loads or is fetched: what, bytes done, bytes in all (0: not known).
pub type Report<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Loads the models of `wanted` on its device, which must have passed its self-test. Warm: the first call of
/// an engine takes no longer than the second. An error names the model or the device and the mend.
pub async fn load(wanted: &Wanted<'_>, report: Report<'_>) -> Result<Loaded, BoxError> {
    let _ =
        (wanted.asr, wanted.aligner, wanted.mt.map(|t| (t.to, t.model)), wanted.from, &wanted.device.device, report);
    Err("no model can be loaded yet".into())
}

/// Loads the aligner alone, with the device's name.
pub async fn load_aligner(
    model: Option<&str>,
    device: &DeviceArgs,
    report: Report<'_>,
) -> Result<(Aligner, Names), BoxError> {
    let _ = (model, &device.device, report);
    Err("no model can be loaded yet".into())
}

/// Checks the form of `--device`; the message of a wrong one says what is right.
pub fn check_device(device: &str) -> Result<String, String> {
    Ok(device.to_owned())
}

/// A device as `alignatt devices` lists it.
#[derive(Clone, Debug, Default)]
pub struct DeviceLine {
    /// What `--device` takes: `vulkan:0`, `cpu`.
    pub choice: String,
    pub name: String,
    /// Driver, limits, features, one a line, as `key: value`.
    pub details: Vec<(String, String)>,
    /// What the self-test found: `passed`, or what is wrong.
    pub self_test: String,
}

/// Every device, best first; the CPU is the last.
pub async fn devices() -> Vec<DeviceLine> {
    Vec::new()
}

/// A model that was fetched.
#[derive(Clone, Debug)]
pub struct Stored {
    pub id: String,
    pub folder: PathBuf,
    pub bytes: u64,
    /// Every file is there.
    pub whole: bool,
}

/// The models of this machine's Hub cache, by id.
pub fn stored_models() -> Result<Vec<Stored>, BoxError> {
    Ok(Vec::new())
}

/// Where they are stored.
pub fn models_folder() -> Result<PathBuf, BoxError> {
    Err("models can't be stored yet".into())
}

/// Fetches a model, going on where a former fetch stopped. Returns its folder.
pub async fn fetch_model(id: &str, report: Report<'_>) -> Result<PathBuf, BoxError> {
    let _ = (id, report);
    Err("models can't be fetched yet".into())
}

/// Deletes a fetched model. Returns the bytes freed.
pub fn remove_model(id: &str) -> Result<u64, BoxError> {
    let _ = id;
    Err("models can't be removed yet".into())
}

/// The three engines, until the models land.
pub enum Speech {}
pub enum Aligner {}
pub enum Text {}

impl Recognize for Speech {
    async fn transcribe(&mut self, _: &[f32], _: Language) -> Result<Hypothesis, BoxError> {
        match *self {}
    }

    fn restart(&mut self) {
        match *self {}
    }
}

impl Align for Aligner {
    async fn align(&mut self, _: &[f32], _: &str, _: Language) -> Result<Vec<TimedWord>, BoxError> {
        match *self {}
    }
}

impl Translate for Text {
    async fn draft(&mut self, _: &DraftRequest<'_>) -> Result<Draft, BoxError> {
        match *self {}
    }

    fn count_tokens(&self, _: &str) -> usize {
        match *self {}
    }
}
