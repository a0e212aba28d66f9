//! From the files of models to engines that are ready: what every face does before a stream can begin.
//! Faces say where the files are; nothing here reads a folder or a socket of its own.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::cascade::event::Start;
use crate::cascade::{Align, BoxError, DraftRequest, Engines, Recognize, SAMPLE_RATE, Settings, Translate};
use crate::engines::on_models::{Alignment, Recognition, Translation};
use crate::gpu::Compute;
use crate::models::drafting::{Armed, Translator};
use crate::models::gemma4::Gemma4;
use crate::models::gemma4::prompt::{Prompt, Turn};
use crate::models::qwen3_asr::{Qwen3Asr, aligner::ForcedAligner};
use crate::nn::{Head, Loader, Precision, Target};
use crate::policy::PolicyKind;
use crate::policy::heads::{HeadSet, Rows};
use crate::text::Language;
use crate::weights::config::Gemma4Config;
use crate::weights::{Files, ModelConfig, Tokenizer, Weights};

/// Files of heads above this size are refused.
const HEADS_BYTES: usize = 1 << 20;
/// Most positions of a prompt with its draft, whatever the model could.
const MT_CAPACITY: usize = 2048;

/// The files of one model.
#[derive(Clone)]
pub struct ModelFiles {
    /// As a person would name it.
    pub name: String,
    pub files: Files,
    /// It is one of the demo pack's.
    pub demo: bool,
}

/// What a model is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Recognition,
    Alignment,
    Translation,
}

impl Role {
    /// The family whose models can do it.
    pub fn family(self) -> &'static str {
        match self {
            Role::Recognition => "Qwen3-ASR",
            Role::Alignment => "Qwen3-ForcedAligner",
            Role::Translation => "Gemma-4",
        }
    }
}

/// A model that cannot be used for what it was named for.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{model} is a {family} model where a {} is needed", role.family())]
    OtherFamily { model: String, family: &'static str, role: Role },
    #[error("no attention heads are known for {model} from {from} to {to}")]
    NoHeads { model: String, demo: bool, from: Language, to: Language },
}

/// What is translated, and how.
#[derive(Clone, Debug)]
pub struct Direction {
    pub from: Language,
    pub to: Language,
    /// How many attention heads the policy asks.
    pub heads_len: usize,
    /// The model's heads; `None`: those of its folder, or those that come with the program.
    pub heads: Option<HeadSet>,
    /// What the talk is about: its title, names, terms. Empty: nothing is said of it.
    pub context: String,
}

/// The models of a stream. Without `mt` it is transcribed.
#[derive(Clone)]
pub struct Models {
    pub asr: ModelFiles,
    pub aligner: ModelFiles,
    pub mt: Option<(ModelFiles, Direction)>,
}

/// A context that leaves too little room for what is to be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the context takes {tokens} tokens, and this model has room for {most}")]
pub struct ContextTooLong {
    pub tokens: usize,
    pub most: usize,
}

/// The engines that run on these models.
pub type ModelEngines = Engines<Recognition, Alignment, Translation>;

/// Called while something loads: what, bytes done, bytes in all.
pub type Report<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Names for the start event and the status line.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub asr: String,
    pub aligner: String,
    pub mt: Option<String>,
    /// Such as `vulkan:0 NVIDIA H100`.
    pub device: String,
    /// What the reader of a run should know of the models.
    pub note: Option<&'static str>,
}

/// All models are the demo pack's.
const DEMO: &str = "demo pack: proves the machine, not the quality of the real models";
/// Some of them are.
const MIXED: &str = "the demo pack's models know some hundred words only: name real ones for the others too";

impl Names {
    pub fn of(models: &Models, device: &str) -> Names {
        let mt = models.mt.as_ref().map(|(model, _)| model);
        let mut demo = [Some(&models.asr), Some(&models.aligner), mt].into_iter().flatten().map(|model| model.demo);
        let note = match (demo.clone().all(|demo| demo), demo.any(|demo| demo)) {
            (true, _) => Some(DEMO),
            (false, true) => Some(MIXED),
            (false, false) => None,
        };
        Names {
            asr: models.asr.name.clone(),
            aligner: models.aligner.name.clone(),
            mt: mt.map(|model| model.name.clone()),
            device: device.to_owned(),
            note,
        }
    }
}

/// The first event of a run.
pub fn start(settings: &Settings, names: &Names) -> Start {
    Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source_language: settings.source,
        target_language: settings.target,
        asr: names.asr.clone(),
        aligner: names.aligner.clone(),
        mt: names.mt.clone().filter(|_| settings.target.is_some()),
        device: names.device.clone(),
        policy: settings.target.map(|_| settings.policy.to_string()),
        chunk_ms: settings.chunk,
        history: settings.history,
        context_sha256: None,
        heads_sha256: None,
        file: None,
        file_sha256: None,
    }
}

impl Direction {
    /// A direction with the model's own heads and no context.
    pub fn new(from: Language, to: Language, policy: PolicyKind) -> Direction {
        Direction { from, to, heads_len: policy.heads_len(), heads: None, context: String::new() }
    }
}

/// Loads `models` on a device that has passed its self-test. An error names the model or the device.
pub async fn engines(models: &Models, compute: &Compute, report: Report<'_>) -> Result<ModelEngines, BoxError> {
    // A wrong direction or context is found before any weight is read.
    let plan = models.mt.as_ref().map(|(model, direction)| Plan::new(model, direction)).transpose()?;
    let recognizer = recognition(&models.asr, compute, report).await?;
    // A device that ran out of memory says so late.
    compute.settle().await?;
    let aligner = alignment(&models.aligner, compute, report).await?;
    let translator = match plan {
        Some(plan) => Some(plan.load(compute, report).await?),
        None => None,
    };
    compute.settle().await?;
    let mut engines = Engines { recognizer, aligner, translator };
    if compute.is_gpu() {
        warm(&mut engines).await?;
    }
    Ok(engines)
}

/// Has every model compute a little: a GPU's kernels are compiled at their first use, and the first words of a stream would
/// wait for all of them. What comes later is the same with it or without.
async fn warm(engines: &mut ModelEngines) -> Result<(), BoxError> {
    let sound: Vec<f32> = (0..SAMPLE_RATE).map(|i| 0.1 * (i as f32 * 0.2).sin()).collect();
    let language = Language::ENGLISH;
    engines.recognizer.transcribe(&sound, language).await?;
    engines.recognizer.restart();
    engines.aligner.align(&sound, "one two", language).await?;
    if let Some(translator) = &mut engines.translator {
        let request = DraftRequest {
            history: &[],
            source: "This is read in one piece, so that the kernels for many rows are made, too.",
            accepted: "",
            max_new_tokens: 2,
            source_is_final: false,
        };
        translator.draft(&request, &mut |_| ControlFlow::Continue(())).await?;
    }
    Ok(())
}

async fn recognition(model: &ModelFiles, compute: &Compute, report: Report<'_>) -> Result<Recognition, BoxError> {
    let config = match ModelConfig::open(&model.files)? {
        ModelConfig::Qwen3Asr(config) => config,
        other => return Err(model.is_not(Role::Recognition, &other)),
    };
    let progress = told(report, &model.name);
    let loaded = Qwen3Asr::load(&model.files, &config, target(compute, &progress)).await?;
    Ok(Recognition::new(Arc::new(loaded)))
}

/// The aligner alone.
pub async fn alignment(model: &ModelFiles, compute: &Compute, report: Report<'_>) -> Result<Alignment, BoxError> {
    let config = match ModelConfig::open(&model.files)? {
        ModelConfig::Qwen3Aligner(config) => config,
        other => return Err(model.is_not(Role::Alignment, &other)),
    };
    let progress = told(report, &model.name);
    let aligner = ForcedAligner::load(&model.files, &config, target(compute, &progress)).await?;
    Ok(Alignment::new(Arc::new(aligner)))
}

/// A translation that can be loaded: all that is known of it without its weights.
struct Plan<'a> {
    model: &'a ModelFiles,
    config: Gemma4Config,
    heads: Vec<Head>,
    lead: usize,
    prompt: Prompt,
}

impl<'a> Plan<'a> {
    fn new(model: &'a ModelFiles, direction: &Direction) -> Result<Plan<'a>, BoxError> {
        let config = gemma4_config(model)?;
        let set = match (direction.heads_len, &direction.heads) {
            (0, _) => None,
            (_, Some(set)) => Some(set.clone()),
            (_, None) => Some(model.heads(direction.from, direction.to)?),
        };
        let best = set.as_ref().map_or(&[][..], |set| set.top(direction.heads_len));
        let heads = best.iter().map(|head| Head { layer: head.layer, head: head.head }).collect();
        let lead = usize::from(set.as_ref().is_some_and(|set| set.rows == Rows::Predicting));
        let tokenizer = gemma4_tokenizer(model, &config)?;
        let (from, to) = (direction.from.english_name(), direction.to.english_name());
        let prompt = |context: &str| Prompt::new(&model.files, tokenizer.clone(), from, to, context);
        let (bare, full) = (prompt("")?, prompt(&direction.context)?);
        let empty = Turn::default();
        fits(bare.ids(&empty)?.ids.len(), full.ids(&empty)?.ids.len(), capacity(&config))?;
        Ok(Plan { model, config, heads, lead, prompt: full })
    }

    async fn load(self, compute: &Compute, report: Report<'_>) -> Result<Translation, BoxError> {
        let loaded = gemma4_weights(self.model, &self.config, compute, report).await?;
        let eos = loaded.config().eos_token_id.clone();
        let armed = Armed { heads: &self.heads, lead: self.lead };
        let translator = Translator::new(Arc::new(loaded), eos, armed, compute.group_len(), compute.clone())?;
        Ok(Translation::new(self.prompt, translator, self.heads.len()))
    }
}

/// Whether a context makes an empty prompt of `full` tokens, where it has `bare` without one, and leaves half of the
/// model's `capacity` to what is said.
fn fits(bare: usize, full: usize, capacity: usize) -> Result<(), ContextTooLong> {
    let (tokens, most) = (full.saturating_sub(bare), (capacity / 2).saturating_sub(bare));
    if tokens > most { Err(ContextTooLong { tokens, most }) } else { Ok(()) }
}

/// A Gemma-4 with its tokenizer.
pub async fn gemma4(
    model: &ModelFiles,
    compute: &Compute,
    report: Report<'_>,
) -> Result<(Gemma4, Arc<Tokenizer>), BoxError> {
    let config = gemma4_config(model)?;
    let tokenizer = gemma4_tokenizer(model, &config)?;
    Ok((gemma4_weights(model, &config, compute, report).await?, tokenizer))
}

fn gemma4_tokenizer(model: &ModelFiles, config: &Gemma4Config) -> Result<Arc<Tokenizer>, BoxError> {
    let tokenizer = Arc::new(Tokenizer::open(&model.files)?);
    tokenizer.fits(config.vocab_size)?;
    Ok(tokenizer)
}

/// Positions of the longest prompt with its draft.
fn capacity(config: &Gemma4Config) -> usize {
    MT_CAPACITY.min(config.max_position_embeddings)
}

fn gemma4_config(model: &ModelFiles) -> Result<Gemma4Config, BoxError> {
    match ModelConfig::open(&model.files)? {
        ModelConfig::Gemma4(config) => Ok(config),
        other => Err(model.is_not(Role::Translation, &other)),
    }
}

async fn gemma4_weights(
    model: &ModelFiles,
    config: &Gemma4Config,
    compute: &Compute,
    report: Report<'_>,
) -> Result<Gemma4, BoxError> {
    let progress = told(report, &model.name);
    let weights = Weights::open(&model.files).await?;
    Ok(Gemma4::load(&Loader::new(&weights, target(compute, &progress)), config, capacity(config)).await?)
}

/// What a loader tells of bytes, told to `report` under the model's name.
fn told<'a>(report: Report<'a>, name: &'a str) -> impl Fn(u64, u64) + 'a {
    let report = RefCell::new(report);
    move |done, total| report.borrow_mut()(name, done, total)
}

/// Half precision holds published weights (bf16) exactly where they are between 8e-6 and 65504 and rounds smaller ones, at
/// half the memory; the CPU computes in f32 only.
fn target<'a>(compute: &'a Compute, progress: &'a dyn Fn(u64, u64)) -> Target<'a> {
    let precision = if compute.is_gpu() { Precision::F16 } else { Precision::F32 };
    Target { compute, precision, progress }
}

impl ModelFiles {
    /// The folder holds a model of another family than its role needs.
    fn is_not(&self, role: Role, is: &ModelConfig) -> BoxError {
        ModelError::OtherFamily { model: self.name.clone(), family: is.family(), role }.into()
    }

    /// The heads of this model for a direction: those of its folder, else the program's own.
    pub fn heads(&self, from: Language, to: Language) -> Result<HeadSet, BoxError> {
        let name = HeadSet::file_name(from, to);
        if self.files.has(&name) {
            return Ok(HeadSet::parse(&self.files.text(&name, HEADS_BYTES)?, &self.files.path(&name))?);
        }
        HeadSet::shipped(&self.name, from, to)
            .ok_or_else(|| ModelError::NoHeads { model: self.name.clone(), demo: self.demo, from, to }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_takes_half_of_the_model_at_most() {
        assert_eq!(fits(40, 40, 2048), Ok(()));
        assert_eq!(fits(40, 1024, 2048), Ok(()));
        assert_eq!(fits(40, 1025, 2048), Err(ContextTooLong { tokens: 985, most: 984 }));
        assert_eq!(fits(40, 40, 64), Ok(()), "no context is never too long");
        assert_eq!(fits(40, 41, 64), Err(ContextTooLong { tokens: 1, most: 0 }));
    }
}
