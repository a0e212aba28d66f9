//! Loads models and devices. No other file of the command line does.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

#[cfg(feature = "server")]
use super::args::SpeechArgs;
use super::args::{ContextArgs, DeviceArgs, TextArgs};
use super::inputs::Inputs;
use super::progress::FetchBar;
use super::{sha256, text_file};
use crate::cascade::event::Start;
use crate::cascade::{BoxError, Settings};
use crate::engines::demo;
use crate::engines::load::{
    self, ContextTooLong, Direction, ModelEngines, ModelFiles, Models, Names, Report, Role, TextWeights,
};
use crate::engines::on_models::{Alignment, Translation};
use crate::engines::quantize;
use crate::gpu::{Compute, adapters};
use crate::hub::cache::{CachedModel, Hub};
use crate::hub::source::ModelSource;
use crate::models::forced::Forced;
use crate::models::prompt::TranslationPrompt;
use crate::nn::Quant;
use crate::policy::heads::HeadSet;
use crate::selftest::open;
use crate::text::{Context, Language};
use crate::weights::gguf::names::is_gguf;
use crate::weights::{CheckpointError, Files};

/// Context files and heads files above this size, in bytes, are refused.
const MAX_FILE_BYTES: usize = 1 << 20;

/// What to load. A model is a folder, a GGUF file or a Hub id; `None` is the demo pack.
#[derive(Clone, Debug)]
pub(super) struct LoadRequest<'a> {
    pub asr: Option<&'a OsStr>,
    pub aligner: Option<&'a OsStr>,
    /// `Some` where the stream is translated.
    pub mt: Option<TranslationRequest<'a>>,
    pub context: &'a ContextArgs,
    pub from: Language,
    pub device: &'a DeviceArgs,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct TranslationRequest<'a> {
    pub to: Language,
    pub text: &'a TextArgs,
    /// Number of attention heads that the policy uses.
    pub heads_len: usize,
}

/// Models that are loaded.
pub(super) struct Loaded {
    pub engines: ModelEngines,
    pub names: Names,
    pub hashes: InputHashes,
}

/// A translator that is loaded for a source that is text.
pub(super) struct LoadedText {
    pub translator: Translation,
    pub names: Names,
    pub hashes: InputHashes,
}

/// Hashes of the inputs other than the sound.
#[derive(Clone, Debug, Default)]
pub(super) struct InputHashes {
    context: Option<String>,
    /// `None` also where it is not known yet because the model has not been fetched.
    heads: Option<String>,
}

impl InputHashes {
    fn of(context: &Context, mt: Option<(&Direction, Option<&ModelFiles>)>) -> InputHashes {
        let context = Some(context.translated()).filter(|text| !text.is_empty());
        InputHashes {
            context: context.map(|text| sha256::of_text(&text)),
            heads: mt.and_then(|(direction, model)| InputHashes::heads(direction, model)),
        }
    }

    fn heads(direction: &Direction, model: Option<&ModelFiles>) -> Option<String> {
        // Missing heads become an error when the model loads.
        let own = || model.and_then(|model| model.heads(direction.from, direction.to).ok());
        let heads = direction.heads.clone().or_else(own).and_then(|set| set.to_json().ok());
        heads.map(|text| sha256::of_text(&text))
    }

    /// The first event of a run.
    pub(super) fn start(&self, settings: &Settings, names: &Names) -> Start {
        let translates = settings.target.is_some();
        Start {
            context_sha256: self.context.clone(),
            heads_sha256: self.heads.clone().filter(|_| translates && settings.policy.heads_len() > 0),
            ..load::start(settings, names)
        }
    }
}

impl LoadRequest<'_> {
    /// Adds every file that loading reads.
    pub(super) fn add_files(&self, inputs: &mut Inputs) {
        let mut models = vec![(self.asr, "--asr"), (self.aligner, "--aligner")];
        if let Some(mt) = self.mt {
            models.push((mt.text.mt.as_deref(), "--mt"));
            mt.text.heads.iter().for_each(|path| inputs.add(path, "--heads"));
        }
        self.context.context.iter().for_each(|path| inputs.add(path, "--context"));
        self.context.terms.iter().for_each(|path| inputs.add(path, "--terms"));
        for (model, flag) in models {
            local_model_files(model).iter().for_each(|path| inputs.add(path, flag));
        }
    }
}

/// The files of a model, if it is on this computer. Of a GGUF file, all GGUF files beside it: some
/// may be parts of it.
pub(super) fn local_model_files(model: Option<&OsStr>) -> Vec<PathBuf> {
    let Some(place) = model.and_then(local_place) else { return Vec::new() };
    let beside = || place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = if place.is_dir() { &*place } else { beside() };
    let belongs = |path: &Path| {
        let gguf = path.file_name().is_some_and(|name| is_gguf(&name.to_string_lossy()));
        place.is_dir() || gguf || path.file_name() == place.file_name()
    };
    let entries = folder.read_dir().into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| belongs(path)).collect()
}

/// The folder or the GGUF file of a model, if it is on this computer.
fn local_place(model: &OsStr) -> Option<PathBuf> {
    ModelSource::parse(model).ok()?.location(&Hub::from_env()).ok().flatten()
}

/// Loads the models of `request` on its device, after the device's self-test. An error names the
/// model or the device, and a remedy.
pub(super) async fn load(request: &LoadRequest<'_>, report: Report<'_>) -> Result<Loaded, BoxError> {
    let context = context(request.context)?;
    let direction = request.mt.map(|mt| direction(request.from, mt)).transpose()?;
    let compute = open_device(request.device).await?;
    let mt = match request.mt.zip(direction) {
        Some((mt, direction)) => {
            Some((resolve(mt.text.mt.as_deref(), Role::Translation, request.device.quant).await?, direction))
        }
        None => None,
    };
    let hashes = InputHashes::of(&context, mt.as_ref().map(|(model, direction)| (direction, Some(model))));
    let asr = resolve(request.asr, Role::Recognition, request.device.quant).await?;
    let models =
        Models { asr, aligner: resolve(request.aligner, Role::Alignment, request.device.quant).await?, mt, context };
    let engines = models.load(&compute, report).await.map_err(|error| with_flag(error, request.context))?;
    Ok(Loaded { engines, names: Names::of(&models, &compute.name), hashes })
}

/// Loads the translator alone, for a source that is text. `request` names no other model.
pub(super) async fn load_text(request: &LoadRequest<'_>, report: Report<'_>) -> Result<LoadedText, BoxError> {
    let mt = request.mt.ok_or("a text is translated, so it needs a translator")?;
    let context = context(request.context)?;
    let direction = direction(request.from, mt)?;
    let compute = open_device(request.device).await?;
    let model = resolve(mt.text.mt.as_deref(), Role::Translation, request.device.quant).await?;
    let hashes = InputHashes::of(&context, Some((&direction, Some(&model))));
    let translator = load::translation(&model, &direction, &context, &compute, report).await;
    let translator = translator.map_err(|error| with_flag(error, request.context))?;
    Ok(LoadedText { translator, names: Names::of_text(&model, &direction, &compute.name), hashes })
}

/// The models of a server, which are fetched from the Hub where they are missing.
#[cfg(feature = "server")]
pub(super) async fn model_set(
    speech: &SpeechArgs,
    mt: Option<&OsStr>,
) -> Result<crate::engines::resident::ModelSet, BoxError> {
    let quant = speech.device.quant;
    Ok(crate::engines::resident::ModelSet {
        asr: resolve(speech.asr.as_deref(), Role::Recognition, quant).await?,
        aligner: resolve(speech.aligner.as_deref(), Role::Alignment, quant).await?,
        mt: Some(resolve(mt, Role::Translation, quant).await?),
    })
}

/// The text of a context file and of a list of terms, which are checked.
#[cfg(feature = "server")]
pub(super) fn context_texts(args: &ContextArgs) -> Result<(String, String), BoxError> {
    context(args)?;
    let read = |path: &Option<PathBuf>| match path {
        Some(path) => text_file::read(path, MAX_FILE_BYTES),
        None => Ok(String::new()),
    };
    Ok((read(&args.context)?, read(&args.terms)?))
}

/// An error of loading, with the flag that may fix it.
fn with_flag(error: BoxError, context: &ContextArgs) -> BoxError {
    if !error.is::<ContextTooLong>() {
        return error;
    }
    let files = [(&context.context, "--context"), (&context.terms, "--terms")];
    let files = files.iter().filter_map(|(path, flag)| path.as_deref().zip(Some(*flag)));
    let (paths, flags): (Vec<_>, Vec<_>) = files.map(|(path, flag)| (path.display().to_string(), flag)).unzip();
    format!("{}: {error}; give shorter {}", paths.join(" and "), flags.join(" or ")).into()
}

/// The names of the models in `request` and the hashes of its inputs, before any model is fetched
/// or loaded. The name of the device is still missing. A run of a text has no models for speech.
pub(super) async fn names_and_hashes(
    request: &LoadRequest<'_>,
    is_text: bool,
) -> Result<(Names, InputHashes), BoxError> {
    let name = |model: Option<&OsStr>, role: Role| match model {
        Some(model) => model.to_string_lossy().into_owned(),
        None => demo(role).label().to_owned(),
    };
    let names = Names {
        asr: (!is_text).then(|| name(request.asr, Role::Recognition)),
        aligner: (!is_text).then(|| name(request.aligner, Role::Alignment)),
        mt: request.mt.map(|mt| name(mt.text.mt.as_deref(), Role::Translation)),
        device: String::new(),
        notes: Vec::new(),
    };
    let context = context(request.context)?;
    let hashes = match request.mt {
        Some(mt) => {
            let local = resolve_local(mt.text.mt.as_deref(), Role::Translation).await;
            InputHashes::of(&context, Some((&direction(request.from, mt)?, local.as_ref())))
        }
        None => InputHashes::of(&context, None),
    };
    Ok((names, hashes))
}

/// A model, if it is on this computer.
async fn resolve_local(model: Option<&OsStr>, role: Role) -> Option<ModelFiles> {
    match model {
        Some(model) if local_place(model).is_none() => None,
        model => resolve(model, role, Quant::Auto).await.ok(),
    }
}

/// The demo pack's model for a role.
fn demo(role: Role) -> Files {
    match role {
        Role::Recognition => demo::asr(),
        Role::Alignment => demo::aligner(),
        Role::Translation => demo::mt(),
    }
}

/// Loads the aligner alone.
pub(super) async fn load_aligner(
    model: Option<&OsStr>,
    device_args: &DeviceArgs,
    report: Report<'_>,
) -> Result<Alignment, BoxError> {
    let compute = open_device(device_args).await?;
    load::alignment(&resolve(model, Role::Alignment, device_args.quant).await?, &compute, report).await
}

/// Loads a translation model with every head armed, for calibration. Also returns its name.
pub(super) async fn load_forced(
    model: Option<&OsStr>,
    direction: (Language, Language),
    device_args: &DeviceArgs,
    report: Report<'_>,
) -> Result<(Forced, Box<dyn TranslationPrompt>, String), BoxError> {
    let compute = open_device(device_args).await?;
    let files = resolve(model, Role::Translation, device_args.quant).await?;
    let (model, prompt) = load::text_model(&files, direction, &compute, report).await?;
    Ok((Forced::new(model, compute)?, prompt, files.name))
}

/// Loads the weights of a translation model alone. Also returns its name and its device.
pub(super) async fn load_weights(
    model: Option<&OsStr>,
    device_args: &DeviceArgs,
    report: Report<'_>,
) -> Result<(String, TextWeights, Compute), BoxError> {
    let compute = open_device(device_args).await?;
    let files = resolve(model, Role::Translation, device_args.quant).await?;
    let weights = load::text_weights(&files, &compute, report).await?;
    Ok((files.name, weights, compute))
}

/// Writes a model with quantized weights into a folder. Returns their size.
pub(super) async fn quantize_model(
    model: &OsStr,
    quant: Quant,
    to: &Path,
    report: Report<'_>,
) -> Result<u64, BoxError> {
    // A folder has all parts of a model, whatever its role.
    quantize::quantize(&resolve(Some(model), Role::Translation, quant).await?, to, report).await
}

/// The files of a model, which are fetched from the Hub where they are missing.
async fn resolve(model: Option<&OsStr>, role: Role, quant: Quant) -> Result<ModelFiles, CheckpointError> {
    let Some(model) = model else {
        return Ok(ModelFiles { quant, ..ModelFiles::demo(demo(role)) });
    };
    let name = model.to_string_lossy().into_owned();
    // Whatever recognises or aligns speech has a part that hears.
    let hears = role != Role::Translation;
    let place = ModelSource::parse(model)?.resolve(&Hub::from_env(), hears, &mut FetchBar::new(&name))?;
    let files = if place.is_dir() { Files::folder(place)? } else { Files::gguf_file(place)? };
    ModelFiles { name, files, demo: false, quant }.opened().await
}

/// The direction that the user asked for. Reads the files that the flags name.
fn direction(from: Language, request: TranslationRequest<'_>) -> Result<Direction, BoxError> {
    let read = |path: &Path| text_file::read(path, MAX_FILE_BYTES);
    let heads = match &request.text.heads {
        Some(path) if request.heads_len > 0 => Some(HeadSet::parse(&read(path)?, &path.display().to_string())?),
        _ => None,
    };
    Ok(Direction { from, to: request.to, heads_len: request.heads_len, heads })
}

/// What the user says about the talk. Reads the files that the flags name.
fn context(args: &ContextArgs) -> Result<Context, BoxError> {
    let read = |path: &Option<PathBuf>| match path {
        Some(path) => text_file::read(path, MAX_FILE_BYTES),
        None => Ok(String::new()),
    };
    let (text, terms) = (read(&args.context)?, read(&args.terms)?);
    let named = |error| match &args.terms {
        Some(path) => format!("{}, {error}", path.display()),
        None => format!("{error}"),
    };
    Context::new(&text, &terms).map_err(|error| named(error).into())
}

async fn open_device(args: &DeviceArgs) -> Result<Compute, BoxError> {
    let (compute, refused) = open(args.device).await?;
    for why in refused {
        tracing::warn!("{why}");
    }
    Ok(compute)
}

/// A device as `alignatt devices` lists it.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceLine {
    /// What `--device` takes: `vulkan:0`, `cpu`.
    pub choice: String,
    pub name: String,
    /// Driver, limits and features, as `key: value`.
    pub details: Vec<(String, String)>,
    /// Result of the self-test: `passed`, or what is wrong.
    pub self_test: String,
}

/// Every device, the best first and the CPU last.
pub(super) async fn devices() -> Vec<DeviceLine> {
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
pub(super) fn cached_models() -> Vec<CachedModel> {
    Hub::from_env().list()
}

/// The folder of the Hub cache.
pub(super) fn models_folder() -> PathBuf {
    Hub::from_env().cache().to_owned()
}

/// The folder or the GGUF file that a model is loaded from; `None` where it would be fetched first.
pub(super) fn model_place(id: &str) -> Result<Option<PathBuf>, CheckpointError> {
    ModelSource::parse(id)?.location(&Hub::from_env())
}

/// Fetches a model and continues an earlier fetch that stopped. Returns the model's folder, or its
/// GGUF file.
pub(super) fn fetch_model(id: &str) -> Result<PathBuf, CheckpointError> {
    ModelSource::parse(id)?.fetch(&Hub::from_env(), true, &mut FetchBar::new(id))
}

/// Deletes a fetched model with all its revisions. Returns the number of bytes freed.
pub(super) fn remove_model(repo: &str) -> Result<u64, CheckpointError> {
    Hub::from_env().remove(repo)
}
