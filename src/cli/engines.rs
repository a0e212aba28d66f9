//! How models and devices are had: the one file of the command line that knows them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{DeviceArgs, TextArgs};
use super::demo;
use crate::alignatt::Language;
use crate::alignatt::heads::{HeadSet, Rows};
use crate::cascade::on_models::{Alignment, Recognition, Translation as Text};
use crate::cascade::{BoxError, Engines};
use crate::checkpoint::config::Gemma4Config;
use crate::checkpoint::hub::{Hub, ShownProgress};
use crate::checkpoint::source::ModelSource;
use crate::checkpoint::{CheckpointError, Files, ModelConfig, Tokenizer, Weights};
use crate::gpu::{Compute, DeviceChoice, adapters, open};
use crate::models::gemma4::Gemma4;
use crate::models::gemma4::forced::Forced;
use crate::models::gemma4::prompt::Prompt;
use crate::models::gemma4::translator::{Armed, Translator};
use crate::models::qwen3_asr::{Qwen3Asr, aligner::ForcedAligner};
use crate::nn::{Head, Loader, Precision, Target};

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
    pub text: &'a TextArgs,
    /// How many attention heads the policy asks.
    pub heads_len: usize,
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
    pub engines: Engines<Recognition, Alignment, Text>,
    pub names: Names,
}

/// Called while something loads: what, bytes done, bytes in all.
pub type Report<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// No file of heads is larger.
const HEADS_BYTES: usize = 1 << 20;
/// Positions of the longest prompt with its draft.
const MT_CAPACITY: usize = 2048;

/// Loads the models of `wanted` on its device, which has passed its self-test. An error names the model or the
/// device and the mend.
pub async fn load(wanted: &Wanted<'_>, report: Report<'_>) -> Result<Loaded, BoxError> {
    let compute = device(wanted.device).await?;
    let asr = Chosen::of(wanted.asr, demo::asr)?;
    let aligner = Chosen::of(wanted.aligner, demo::aligner)?;
    let mt = match wanted.mt {
        Some(mt) => Some((Chosen::of(mt.text.mt.as_deref(), demo::mt)?, mt)),
        None => None,
    };
    if !asr.demo && (aligner.demo || mt.as_ref().is_some_and(|(mt, _)| mt.demo)) {
        tracing::warn!(
            "the demo pack's models know some hundred words only: name real ones with --aligner and --mt too"
        );
    }
    let names = Names { device: compute.name.clone(), ..names(wanted) };
    let recognizer = Recognition::new(Arc::new(load_asr(&asr, &compute, report).await?));
    settle(&compute).await?;
    let aligner = Alignment(Arc::new(load_forced_aligner(&aligner, &compute, report).await?));
    let translator = match mt {
        Some((chosen, mt)) => Some(load_text(&chosen, wanted.from, mt, &compute, report).await?),
        None => None,
    };
    settle(&compute).await?;
    Ok(Loaded { engines: Engines { recognizer, aligner, translator }, names })
}

/// What the models of `wanted` are called, before any is loaded; the device has no name yet.
pub fn names(wanted: &Wanted<'_>) -> Names {
    let name = |model: Option<&str>, demo: fn() -> Files| match model {
        Some(model) => model.to_owned(),
        None => demo().label().to_owned(),
    };
    Names {
        asr: name(wanted.asr, demo::asr),
        aligner: name(wanted.aligner, demo::aligner),
        mt: wanted.mt.map(|mt| name(mt.text.mt.as_deref(), demo::mt)),
        device: String::new(),
        demo: wanted.asr.is_none() || wanted.aligner.is_none() || wanted.mt.is_some_and(|mt| mt.text.mt.is_none()),
    }
}

/// Loads the aligner alone, with the device's name.
pub async fn load_aligner(
    model: Option<&str>,
    device_args: &DeviceArgs,
    report: Report<'_>,
) -> Result<(Alignment, Names), BoxError> {
    let compute = device(device_args).await?;
    let chosen = Chosen::of(model, demo::aligner)?;
    let names =
        Names { aligner: chosen.name.clone(), device: compute.name.clone(), demo: chosen.demo, ..Names::default() };
    Ok((Alignment(Arc::new(load_forced_aligner(&chosen, &compute, report).await?)), names))
}

/// The files of one model, and what it is called.
struct Chosen {
    name: String,
    files: Files,
    demo: bool,
}

impl Chosen {
    fn of(model: Option<&str>, demo: fn() -> Files) -> Result<Chosen, CheckpointError> {
        let Some(model) = model else {
            let files = demo();
            return Ok(Chosen { name: files.label().to_owned(), files, demo: true });
        };
        let folder = ModelSource::parse(model)?.resolve(&Hub::from_env(), &mut ShownProgress::new(model))?;
        Ok(Chosen { name: model.to_owned(), files: Files::folder(folder)?, demo: false })
    }

    /// The folder holds a model of another kind than its place needs.
    fn is_not(&self, wanted: &str, is: &ModelConfig) -> BoxError {
        format!("{} is a {} model where {wanted} is needed; see `alignatt translate --help`", self.name, is.family())
            .into()
    }
}

/// Half precision holds published weights (bf16) exactly where they are between 8e-6 and 65504 and rounds smaller ones, at
/// half the memory; the CPU computes in f32 only.
fn precision(compute: &Compute) -> Precision {
    if compute.is_gpu() { Precision::F16 } else { Precision::F32 }
}

async fn load_asr(chosen: &Chosen, compute: &Compute, report: Report<'_>) -> Result<Qwen3Asr, BoxError> {
    let config = match ModelConfig::open(&chosen.files)? {
        ModelConfig::Qwen3Asr(config) => config,
        other => return Err(chosen.is_not("a Qwen3-ASR", &other)),
    };
    let report = std::cell::RefCell::new(report);
    let progress = |done, total| report.borrow_mut()(&chosen.name, done, total);
    let target = Target { compute, precision: precision(compute), progress: &progress };
    Ok(Qwen3Asr::load(&chosen.files, &config, target).await?)
}

async fn load_forced_aligner(
    chosen: &Chosen,
    compute: &Compute,
    report: Report<'_>,
) -> Result<ForcedAligner, BoxError> {
    let config = match ModelConfig::open(&chosen.files)? {
        ModelConfig::Qwen3Aligner(config) => config,
        other => return Err(chosen.is_not("a Qwen3-ForcedAligner", &other)),
    };
    let report = std::cell::RefCell::new(report);
    let progress = |done, total| report.borrow_mut()(&chosen.name, done, total);
    let target = Target { compute, precision: precision(compute), progress: &progress };
    Ok(ForcedAligner::load(&chosen.files, &config, target).await?)
}

async fn load_text(
    chosen: &Chosen,
    from: Language,
    wanted: Translation<'_>,
    compute: &Compute,
    report: Report<'_>,
) -> Result<Text, BoxError> {
    // What the user named is read before the weights are, and a model of another kind has no heads to measure.
    let config = gemma4_config(chosen)?;
    let set = match wanted.heads_len {
        0 => None,
        _ => Some(heads(chosen, from, wanted.to, wanted.text.heads.as_deref())?),
    };
    let best = set.as_ref().map_or(&[][..], |set| set.top(wanted.heads_len));
    let heads: Vec<Head> = best.iter().map(|head| Head { layer: head.layer, head: head.head }).collect();
    let lead = usize::from(set.as_ref().is_some_and(|set| set.rows == Rows::Predicting));
    let context = match &wanted.text.context {
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => String::new(),
    };
    let (model, tokenizer) = load_gemma4(chosen, &config, compute, report).await?;
    let prompt = Prompt::new(&chosen.files, tokenizer, from.english_name(), wanted.to.english_name(), &context)?;
    let eos = model.config().eos_token_id.clone();
    let translator =
        Translator::new(Arc::new(model), eos, Armed { heads: &heads, lead }, compute.group_len(), compute.clone())?;
    Ok(Text::new(prompt, translator, heads.len()))
}

/// A translation model with every head armed, for calibration, and what it is called.
pub async fn load_forced(
    model: Option<&str>,
    (from, to): (Language, Language),
    device_args: &DeviceArgs,
    report: Report<'_>,
) -> Result<(Forced, Prompt, String), BoxError> {
    let compute = device(device_args).await?;
    let chosen = Chosen::of(model, demo::mt)?;
    let config = gemma4_config(&chosen)?;
    let (model, tokenizer) = load_gemma4(&chosen, &config, &compute, report).await?;
    let prompt = Prompt::new(&chosen.files, tokenizer, from.english_name(), to.english_name(), "")?;
    Ok((Forced::new(Arc::new(model), compute)?, prompt, chosen.name))
}

fn gemma4_config(chosen: &Chosen) -> Result<Gemma4Config, BoxError> {
    match ModelConfig::open(&chosen.files)? {
        ModelConfig::Gemma4(config) => Ok(config),
        other => Err(chosen.is_not("a Gemma-4", &other)),
    }
}

async fn load_gemma4(
    chosen: &Chosen,
    config: &Gemma4Config,
    compute: &Compute,
    report: Report<'_>,
) -> Result<(Gemma4, Arc<Tokenizer>), BoxError> {
    let report = std::cell::RefCell::new(report);
    let progress = |done, total| report.borrow_mut()(&chosen.name, done, total);
    let target = Target { compute, precision: precision(compute), progress: &progress };
    let weights = Weights::open(&chosen.files).await?;
    let capacity = MT_CAPACITY.min(config.max_position_embeddings);
    let model = Gemma4::load(&Loader::new(&weights, target), config, capacity).await?;
    let tokenizer = Arc::new(Tokenizer::open(&chosen.files)?);
    tokenizer.fits(config.vocab_size)?;
    Ok((model, tokenizer))
}

/// The heads of a model for a direction: those of `file`, else those of the model's folder, else the program's own.
fn heads(chosen: &Chosen, from: Language, to: Language, file: Option<&Path>) -> Result<HeadSet, BoxError> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(HeadSet::parse(&text, &path.display().to_string())?);
    }
    let name = HeadSet::file_name(from, to);
    if chosen.files.has(&name) {
        return Ok(HeadSet::parse(&chosen.files.text(&name, HEADS_BYTES)?, &chosen.files.path(&name))?);
    }
    HeadSet::shipped(&chosen.name, from, to).ok_or_else(|| {
        let model = &chosen.name;
        format!(
            "no attention heads are known for {model} from {from} to {to}: measure them with `alignatt calibrate --mt \
             {model} --from {from} --to {to} --pairs FILE`, or use --policy local-agreement"
        )
        .into()
    })
}

/// Waits for all uploads: a device that ran out of memory says so late.
async fn settle(compute: &Compute) -> Result<(), BoxError> {
    compute.settle().await?;
    Ok(())
}

async fn device(args: &DeviceArgs) -> Result<Compute, BoxError> {
    let (compute, refused) = open(args.device.parse::<DeviceChoice>()?).await?;
    for why in refused {
        tracing::warn!("{why}");
    }
    Ok(compute)
}

/// Checks the form of `--device`; the message of a wrong one says what is right.
pub fn check_device(device: &str) -> Result<String, String> {
    match device.parse::<DeviceChoice>() {
        Ok(_) => Ok(device.to_owned()),
        Err(error) => Err(error.to_string()),
    }
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
        self_test: match crate::gpu::self_test(&Compute::cpu().device).await {
            Ok(()) => "passed".to_owned(),
            Err(what) => what,
        },
    });
    lines
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
pub fn stored_models() -> Vec<Stored> {
    let models = Hub::from_env().list().into_iter();
    let stored = models.map(|model| Stored {
        id: model.repo,
        folder: model.snapshot.unwrap_or_default(),
        bytes: model.bytes,
        whole: model.complete,
    });
    stored.collect()
}

/// Where they are stored.
pub fn models_folder() -> PathBuf {
    Hub::from_env().cache().to_owned()
}

/// Fetches a model, going on where a former fetch stopped. Returns its folder.
pub fn fetch_model(id: &str) -> Result<PathBuf, CheckpointError> {
    match ModelSource::parse(id)? {
        ModelSource::Hub { repo, revision } => Hub::from_env().fetch(&repo, &revision, &mut ShownProgress::new(id)),
        ModelSource::Folder(folder) => Ok(folder),
    }
}

/// Deletes a fetched model. Returns the bytes freed.
pub fn remove_model(id: &str) -> Result<u64, CheckpointError> {
    let repo = id.split_once('@').map_or(id, |(repo, _)| repo);
    Hub::from_env().remove(repo)
}
