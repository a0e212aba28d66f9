//! Loads models and devices. No other file of the command line does.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::args::{DeviceArgs, TextArgs};
use super::inputs::Inputs;
use super::progress::Fetching;
use super::{demo, sha256, text_file};
use crate::cascade::event::Start;
use crate::cascade::{BoxError, Settings};
use crate::engines::load::{self, ContextTooLong, Direction, ModelEngines, ModelFiles, Models, Names, Report};
use crate::engines::on_models::Alignment;
use crate::gpu::{Compute, adapters};
use crate::hub::cache::{CachedModel, Hub};
use crate::hub::source::ModelSource;
use crate::models::forced::Forced;
use crate::models::prompt::TranslationPrompt;
use crate::policy::heads::HeadSet;
use crate::selftest::open;
use crate::text::Language;
use crate::weights::{CheckpointError, Files};

/// Context files and heads files above this size, in bytes, are refused.
const GIVEN_BYTES: usize = 1 << 20;

/// What to load. A model is a folder or a Hub id; `None` is the demo pack.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub asr: Option<&'a OsStr>,
    pub aligner: Option<&'a OsStr>,
    /// `Some` where the stream is translated.
    pub mt: Option<Translation<'a>>,
    pub from: Language,
    pub device: &'a DeviceArgs,
}

#[derive(Clone, Copy, Debug)]
pub struct Translation<'a> {
    pub to: Language,
    pub text: &'a TextArgs,
    /// Number of attention heads that the policy uses.
    pub heads_len: usize,
}

/// Models that are loaded.
pub struct Loaded {
    pub engines: ModelEngines,
    pub names: Names,
    pub given: Given,
}

/// Hashes of the translator's inputs other than the sound.
#[derive(Clone, Debug, Default)]
pub struct Given {
    context: Option<String>,
    /// `None` also where it is not known yet because the model has not been fetched.
    heads: Option<String>,
}

impl Given {
    fn of(direction: &Direction, model: Option<&ModelFiles>) -> Given {
        // Missing heads become an error when the model loads.
        let own = || model.and_then(|model| model.heads(direction.from, direction.to).ok());
        let heads = direction.heads.clone().or_else(own).and_then(|set| set.to_json().ok());
        let context = Some(&direction.context).filter(|text| !text.is_empty());
        Given { context: context.map(|text| sha256::of_text(text)), heads: heads.map(|text| sha256::of_text(&text)) }
    }

    /// The first event of a run.
    pub fn start(&self, settings: &Settings, names: &Names) -> Start {
        let translates = settings.target.is_some();
        Start {
            context_sha256: self.context.clone().filter(|_| translates),
            heads_sha256: self.heads.clone().filter(|_| translates && settings.policy.heads_len() > 0),
            ..load::start(settings, names)
        }
    }
}

impl Wanted<'_> {
    /// Adds every file that loading reads.
    pub fn add_files(&self, inputs: &mut Inputs) {
        let mut models = vec![(self.asr, "--asr"), (self.aligner, "--aligner")];
        if let Some(mt) = self.mt {
            models.push((mt.text.mt.as_deref(), "--mt"));
            let files = [(&mt.text.heads, "--heads"), (&mt.text.context, "--context")];
            files
                .iter()
                .filter_map(|(path, flag)| path.as_deref().zip(Some(flag)))
                .for_each(|(p, flag)| inputs.add(p, flag));
        }
        for (model, flag) in models {
            model_files(model).iter().for_each(|path| inputs.add(path, flag));
        }
    }
}

/// The files of a model, if it is on this computer.
pub fn model_files(model: Option<&OsStr>) -> Vec<PathBuf> {
    let entries = model.and_then(folder_of).and_then(|folder| folder.read_dir().ok());
    entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The folder of a model, if it is on this computer.
fn folder_of(model: &OsStr) -> Option<PathBuf> {
    match ModelSource::parse(model).ok()? {
        ModelSource::Folder(folder) => Some(folder),
        ModelSource::Hub { repo, revision } => Hub::from_env().location(&repo, &revision).ok().flatten(),
    }
}

/// Loads the models of `wanted` on its device, after the device's self-test. An error names the
/// model or the device, and a remedy.
pub async fn load(wanted: &Wanted<'_>, report: Report<'_>) -> Result<Loaded, BoxError> {
    let direction = wanted.mt.map(|mt| direction(wanted.from, mt)).transpose()?;
    let compute = device(wanted.device).await?;
    let mt = match wanted.mt.zip(direction) {
        Some((mt, direction)) => Some((chosen(mt.text.mt.as_deref(), demo::mt)?, direction)),
        None => None,
    };
    let given = mt.as_ref().map(|(model, direction)| Given::of(direction, Some(model))).unwrap_or_default();
    let models = Models { asr: chosen(wanted.asr, demo::asr)?, aligner: chosen(wanted.aligner, demo::aligner)?, mt };
    let context = wanted.mt.and_then(|mt| mt.text.context.as_deref());
    let engines = load::engines(&models, &compute, report).await.map_err(|error| match context {
        Some(path) if error.is::<ContextTooLong>() => {
            format!("{}: {error}; give a shorter --context", path.display()).into()
        }
        _ => error,
    })?;
    Ok(Loaded { engines, names: Names::of(&models, &compute.name), given })
}

/// What is known about `wanted` before any model is fetched or loaded. The name of the device is
/// still missing.
pub fn known(wanted: &Wanted<'_>) -> Result<(Names, Given), BoxError> {
    let name = |model: Option<&OsStr>, demo: fn() -> Files| match model {
        Some(model) => model.to_string_lossy().into_owned(),
        None => demo().label().to_owned(),
    };
    let names = Names {
        asr: name(wanted.asr, demo::asr),
        aligner: name(wanted.aligner, demo::aligner),
        mt: wanted.mt.map(|mt| name(mt.text.mt.as_deref(), demo::mt)),
        device: String::new(),
        notes: Vec::new(),
    };
    let given = match wanted.mt {
        Some(mt) => Given::of(&direction(wanted.from, mt)?, present(mt.text.mt.as_deref(), demo::mt).as_ref()),
        None => Given::default(),
    };
    Ok((names, given))
}

/// A model, if it is on this computer.
fn present(model: Option<&OsStr>, demo: fn() -> Files) -> Option<ModelFiles> {
    match model {
        Some(model) if folder_of(model).is_none() => None,
        model => chosen(model, demo).ok(),
    }
}

/// Loads the aligner alone.
pub async fn load_aligner(
    model: Option<&OsStr>,
    device_args: &DeviceArgs,
    report: Report<'_>,
) -> Result<Alignment, BoxError> {
    let compute = device(device_args).await?;
    load::alignment(&chosen(model, demo::aligner)?, &compute, report).await
}

/// Loads a translation model with every head armed, for calibration. Also returns its name.
pub async fn load_forced(
    model: Option<&OsStr>,
    direction: (Language, Language),
    device_args: &DeviceArgs,
    report: Report<'_>,
) -> Result<(Forced, Box<dyn TranslationPrompt>, String), BoxError> {
    let compute = device(device_args).await?;
    let chosen = chosen(model, demo::mt)?;
    let (model, prompt) = load::text_model(&chosen, direction, &compute, report).await?;
    Ok((Forced::new(model, compute)?, prompt, chosen.name))
}

/// The files of a model, which are fetched from the Hub where they are missing.
fn chosen(model: Option<&OsStr>, demo: fn() -> Files) -> Result<ModelFiles, CheckpointError> {
    let Some(model) = model else {
        let files = demo();
        return Ok(ModelFiles { name: files.label().to_owned(), files, demo: true });
    };
    let name = model.to_string_lossy().into_owned();
    let folder = ModelSource::parse(model)?.resolve(&Hub::from_env(), &mut Fetching::new(&name))?;
    Ok(ModelFiles { name, files: Files::folder(folder)?, demo: false })
}

/// The direction that the user asked for. Reads the files that the flags name.
fn direction(from: Language, wanted: Translation<'_>) -> Result<Direction, BoxError> {
    let read = |path: &Path| text_file::read(path, GIVEN_BYTES);
    let heads = match &wanted.text.heads {
        Some(path) if wanted.heads_len > 0 => Some(HeadSet::parse(&read(path)?, &path.display().to_string())?),
        _ => None,
    };
    let context = wanted.text.context.as_deref().map(read).transpose()?.unwrap_or_default();
    Ok(Direction { from, to: wanted.to, heads_len: wanted.heads_len, heads, context })
}

async fn device(args: &DeviceArgs) -> Result<Compute, BoxError> {
    let (compute, refused) = open(args.device).await?;
    for why in refused {
        tracing::warn!("{why}");
    }
    Ok(compute)
}

/// A device as `alignatt devices` lists it.
#[derive(Clone, Debug, Default)]
pub struct DeviceLine {
    /// What `--device` takes: `vulkan:0`, `cpu`.
    pub choice: String,
    pub name: String,
    /// Driver, limits and features, as `key: value`.
    pub details: Vec<(String, String)>,
    /// Result of the self-test: `passed`, or what is wrong.
    pub self_test: String,
}

/// Every device, the best first and the CPU last.
pub async fn devices() -> Vec<DeviceLine> {
    let mut lines = Vec::new();
    for adapter in adapters().await {
        let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
        let software = if adapter.is_software() { ", software" } else { "" };
        let details = [
            ("kind", format!("{:?}{software}", adapter.kind)),
            ("driver", adapter.driver.clone()),
            ("largest binding", mebibytes(adapter.max_binding)),
            ("largest buffer", mebibytes(adapter.max_buffer)),
            ("workgroup", format!("{} invocations, {} KiB shared", adapter.max_invocations, adapter.max_shared >> 10)),
            ("features", adapter.features.join(", ")),
        ];
        lines.push(DeviceLine {
            choice: adapter.choice.to_string(),
            name: adapter.name.clone(),
            details: details.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            self_test: match open(adapter.choice).await {
                Ok(_) => "passed".to_owned(),
                Err(error) => error.to_string(),
            },
        });
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    lines.push(DeviceLine {
        choice: "cpu".to_owned(),
        name: "Burn's Flex backend".to_owned(),
        details: vec![("threads".to_owned(), threads.to_string())],
        self_test: match crate::selftest::self_test(&Compute::cpu().device).await {
            Ok(()) => "passed".to_owned(),
            Err(what) => what,
        },
    });
    lines
}

/// The models in this computer's Hub cache, by id.
pub fn stored_models() -> Vec<CachedModel> {
    Hub::from_env().list()
}

/// The folder of the Hub cache.
pub fn models_folder() -> PathBuf {
    Hub::from_env().cache().to_owned()
}

/// The folder that a model is loaded from; `None` where it would be fetched first.
pub fn model_folder(id: &str) -> Result<Option<PathBuf>, CheckpointError> {
    match ModelSource::parse(id)? {
        ModelSource::Hub { repo, revision } => Hub::from_env().location(&repo, &revision),
        ModelSource::Folder(folder) => Ok(Some(folder)),
    }
}

/// Fetches a model and continues an earlier fetch that stopped. Returns the model's folder.
pub fn fetch_model(id: &str) -> Result<PathBuf, CheckpointError> {
    match ModelSource::parse(id)? {
        ModelSource::Hub { repo, revision } => Hub::from_env().fetch(&repo, &revision, &mut Fetching::new(id)),
        ModelSource::Folder(folder) => Ok(folder),
    }
}

/// Deletes a fetched model with all its revisions. Returns the number of bytes freed.
pub fn remove_model(repo: &str) -> Result<u64, CheckpointError> {
    Hub::from_env().remove(repo)
}
