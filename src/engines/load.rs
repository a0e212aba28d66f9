//! Loads engines from model files, which every face does before a stream can begin. A face says
//! where the files are. Nothing here chooses a folder or opens a socket.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

#[cfg(not(target_arch = "wasm32"))]
use super::demo;
use crate::cascade::event::Start;
use crate::cascade::{Align, BoxError, DraftRequest, Engines, Recognize, SAMPLE_RATE, Settings, Translate};
use crate::engines::on_models::{Alignment, Recognition, Translation};
use crate::gpu::Compute;
use crate::models::drafting::{Armed, Translator};
use crate::models::family::{Sizes, TextFamily};
use crate::models::gguf::{self, HEADS_BYTES};
use crate::models::prompt::{LanguageName, Task, TranslationPrompt, Turn};
use crate::models::qwen3_asr::{Qwen3Asr, aligner::ForcedAligner, config::Qwen3AsrConfig};
use crate::models::{ModelConfig, TextModel};
use crate::nn::{Head, Kept, Loader, Quant, Sensitivity, Storage, Target};
use crate::policy::PolicyKind;
use crate::policy::heads::{HeadSet, Rows};
use crate::policy::shipped_heads;
use crate::text::{Context, Language};
use crate::weights::{CheckpointError, Files, Tokenizer, Weights};

pub(crate) use crate::models::config::SUPPORTED;

/// The most tokens of a context in a recogniser's prompt.
const ASR_CONTEXT: usize = 1024;
/// The most positions of a prompt with its draft, even where the model has room for more.
const MT_CAPACITY: usize = 2048;

/// The files of one model.
#[derive(Clone)]
pub struct ModelFiles {
    /// Name of the model for people to read.
    pub name: String,
    /// Where its bytes are. What reads a GGUF file before it is loaded wants it opened
    /// ([`ModelFiles::opened`]).
    pub files: Files,
    /// Whether the model is part of the demo pack.
    pub demo: bool,
    /// How its weights are kept on the device.
    pub quant: Quant,
}

/// The task that a model is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Speech to text.
    Recognition,
    /// Word times.
    Alignment,
    /// Text to text.
    Translation,
}

impl Role {
    /// Name of the model family for this role.
    pub fn family(self) -> &'static str {
        match self {
            Role::Recognition => "Qwen3-ASR",
            Role::Alignment => "Qwen3-ForcedAligner",
            Role::Translation => "Gemma-3, Gemma-4 or Qwen3",
        }
    }
}

/// The model does not fit its role or direction.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say what the fields are
pub enum ModelError {
    #[error("{model} is a {family} model where a {} is needed", role.family())]
    OtherFamily { model: String, family: &'static str, role: Role },
    #[error("no attention heads are known for {model} from {from} to {to}")]
    NoHeads { model: String, demo: bool, from: Language, to: Language },
}

/// The direction of a translation, and its settings.
#[derive(Clone, Debug)]
pub struct Direction {
    /// The language of the source.
    pub from: Language,
    /// The language of the translation.
    pub to: Language,
    /// Number of attention heads that the policy uses.
    pub heads_len: usize,
    /// The heads to use; `None`: the file in the model's folder, or else the heads that come with
    /// the program.
    pub heads: Option<HeadSet>,
}

/// The models of a stream. Without `mt` the stream is only transcribed.
#[derive(Clone)]
pub struct Models {
    /// The recogniser.
    pub asr: ModelFiles,
    /// The aligner.
    pub aligner: ModelFiles,
    /// The translator with its direction.
    pub mt: Option<(ModelFiles, Direction)>,
    /// What the talk is about, for the recogniser and the translator.
    pub context: Context,
}

/// The context leaves a model too little room for its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the context takes {tokens} tokens of the {} model, which has room for {most}", match role {
    Role::Recognition => "speech",
    _ => "translation",
})]
pub struct ContextTooLong {
    /// The task of the model.
    pub role: Role,
    /// Tokens of the context.
    pub tokens: usize,
    /// The most tokens that fit.
    pub most: usize,
}

/// The engines that run on these models.
pub type ModelEngines = Engines<Recognition, Alignment, Translation>;

/// Progress of loading. Called with what is loading, the bytes done, and the bytes in total.
pub type Report<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Names for the start event and the status line.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Name of the recogniser; `None` where the source is text.
    pub asr: Option<String>,
    /// Name of the aligner; `None` where the source is text.
    pub aligner: Option<String>,
    /// Name of the translator.
    pub mt: Option<String>,
    /// Name of the device, such as `vulkan:0 NVIDIA H100`.
    pub device: String,
    /// Notes about the models for the reader of a run.
    pub notes: Vec<String>,
}

/// Note where all models are those of the demo pack.
const DEMO: &str = "demo pack: shows that the program runs here; says nothing about translation quality";
/// Note where only some of them are.
const MIXED: &str = "the demo pack's models know about 600 words only: name real models for the others too";

impl Names {
    /// The names of `models`, with a note where some are of the demo pack.
    pub fn of(models: &Models, device: &str) -> Names {
        let ears = [&models.asr, &models.aligner];
        let mt = models.mt.as_ref();
        let [asr, aligner] = ears.map(|model| Some(model.name.clone()));
        Names { asr, aligner, ..Names::with(&ears, mt.map(|(model, direction)| (model, direction)), device) }
    }

    /// The names of a run whose source is text.
    pub fn of_text(model: &ModelFiles, direction: &Direction, device: &str) -> Names {
        Names::with(&[], Some((model, direction)), device)
    }

    fn with(ears: &[&ModelFiles], mt: Option<(&ModelFiles, &Direction)>, device: &str) -> Names {
        let models = ears.iter().copied().chain(mt.map(|(model, _)| model));
        let mut demo = models.map(|model| model.demo);
        let note = match (demo.clone().all(|demo| demo), demo.any(|demo| demo)) {
            (true, _) => Some(DEMO.to_owned()),
            (false, true) => Some(MIXED.to_owned()),
            (false, false) => None,
        };
        let of_another = mt.and_then(|(model, direction)| direction.heads_of_another(model));
        let heads = of_another.map(|measured| {
            format!("the attention heads are those of {measured}, a model of the same family and sizes")
        });
        Names {
            mt: mt.map(|(model, _)| model.name.clone()),
            device: device.to_owned(),
            notes: note.into_iter().chain(heads).collect(),
            ..Names::default()
        }
    }
}

/// Returns the first event of a run.
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
    /// A direction with the model's own heads.
    pub fn new(from: Language, to: Language, policy: PolicyKind) -> Direction {
        Direction { from, to, heads_len: policy.heads_len(), heads: None }
    }

    /// The model whose heads `model` uses, where it is recognised by its sizes alone.
    fn heads_of_another(&self, model: &ModelFiles) -> Option<String> {
        if self.heads_len == 0 || self.heads.is_some() || model.files.has(&HeadSet::file_name(self.from, self.to)) {
            return None;
        }
        let found = model.shipped_heads(self.from, self.to).ok()??;
        (!found.by_name).then_some(found.set.model)
    }
}

impl Models {
    /// The models of the demo pack, which is part of the program.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn demo(settings: &Settings) -> Models {
        let mt = settings.target.map(|to| (demo::mt(), Direction::new(settings.source, to, settings.policy)));
        Models {
            asr: ModelFiles::demo(demo::asr()),
            aligner: ModelFiles::demo(demo::aligner()),
            mt: mt.map(|(files, direction)| (ModelFiles::demo(files), direction)),
            context: Context::default(),
        }
    }

    /// The same models with their files as checkpoints have them, whatever they were: a GGUF file
    /// is opened. Errors: a file is damaged, or it is not clear which is meant.
    pub async fn opened(&self) -> Result<Models, CheckpointError> {
        let mt = match &self.mt {
            Some((model, direction)) => Some((model.opened().await?, direction.clone())),
            None => None,
        };
        let (asr, aligner) = (self.asr.opened().await?, self.aligner.opened().await?);
        Ok(Models { asr, aligner, mt, context: self.context.clone() })
    }

    /// Loads the models on a device that has passed its self-test.
    ///
    /// An error names the model or the device. It is found before any weight is read if a model is
    /// of the wrong family, has no heads for its direction, or has no room for the context.
    pub async fn load(&self, compute: &Compute, report: Report<'_>) -> Result<ModelEngines, BoxError> {
        let models = self.opened().await?;
        let mt = models.mt.as_ref();
        let plan = mt.map(|(model, direction)| Plan::new(model, direction, &models.context)).transpose()?;
        let recognizer = recognition(&models.asr, &models.context, compute, report).await?;
        // A device that ran out of memory reports it late.
        compute.wait_idle().await?;
        let aligner = alignment(&models.aligner, compute, report).await?;
        let translator = match plan {
            Some(plan) => Some(plan.load(compute, report).await?),
            None => None,
        };
        compute.wait_idle().await?;
        let mut engines = Engines { recognizer, aligner, translator };
        if compute.is_gpu() {
            warm(&mut engines).await?;
        }
        Ok(engines)
    }
}

/// Loads a translator alone, for a source that is text.
///
/// Errors: see [`Models::load`].
pub async fn translation(
    model: &ModelFiles,
    direction: &Direction,
    context: &Context,
    compute: &Compute,
    report: Report<'_>,
) -> Result<Translation, BoxError> {
    let model = model.opened().await?;
    let mut translator = Plan::new(&model, direction, context)?.load(compute, report).await?;
    compute.wait_idle().await?;
    if compute.is_gpu() {
        warm_translator(&mut translator).await?;
    }
    Ok(translator)
}

/// Runs every model once. The first use of a GPU kernel compiles it, and without warming up the
/// first words of a stream would wait for all kernels. Warming up does not change any result.
pub(super) async fn warm(engines: &mut ModelEngines) -> Result<(), BoxError> {
    let sound: Vec<f32> = (0..SAMPLE_RATE).map(|i| 0.1 * (i as f32 * 0.2).sin()).collect();
    let language = Language::ENGLISH;
    engines.recognizer.transcribe(&sound, language).await?;
    engines.recognizer.restart();
    engines.aligner.align(&sound, "one two", language).await?;
    match &mut engines.translator {
        Some(translator) => warm_translator(translator).await,
        None => Ok(()),
    }
}

async fn warm_translator(translator: &mut Translation) -> Result<(), BoxError> {
    let request = DraftRequest {
        history: &[],
        source: "This is read in one piece, so that the kernels for many rows are made, too.",
        accepted: "",
        max_new_tokens: 2,
        source_is_final: false,
    };
    translator.draft(&request, &mut |_| ControlFlow::Continue(())).await?;
    Ok(())
}

async fn recognition(
    model: &ModelFiles,
    context: &Context,
    compute: &Compute,
    report: Report<'_>,
) -> Result<Recognition, BoxError> {
    // The model opens its tokenizer itself. Only a context needs one before any weight is read.
    if !context.is_empty() {
        asr_config(model)?;
        heard_fits(&Tokenizer::open(&model.files)?, context)?;
    }
    Ok(Recognition::new(asr(model, compute, report).await?, context.heard()))
}

/// Checks that a recogniser has room for a context.
pub(super) fn heard_fits(tokenizer: &Tokenizer, context: &Context) -> Result<(), BoxError> {
    let tokens = tokenizer.encode_plain(&context.heard())?.len();
    if tokens > ASR_CONTEXT {
        return Err(ContextTooLong { role: Role::Recognition, tokens, most: ASR_CONTEXT }.into());
    }
    Ok(())
}

fn asr_config(model: &ModelFiles) -> Result<Qwen3AsrConfig, BoxError> {
    match ModelConfig::open(&model.files)? {
        ModelConfig::Qwen3Asr(config) => Ok(config),
        other => Err(model.is_not(Role::Recognition, &other)),
    }
}

/// Loads the speech model alone.
pub(super) async fn asr(model: &ModelFiles, compute: &Compute, report: Report<'_>) -> Result<Arc<Qwen3Asr>, BoxError> {
    let config = asr_config(model)?;
    let progress = told(report, &model.name);
    let weights = Weights::open(&model.files).await?;
    let storage = model.storage(Role::Recognition, &weights, compute);
    let target = Target { compute, storage, progress: &progress, kept: None };
    Ok(Arc::new(Qwen3Asr::load(&model.files, &weights, &config, target).await?))
}

/// Loads the aligner alone.
pub(crate) async fn alignment(
    model: &ModelFiles,
    compute: &Compute,
    report: Report<'_>,
) -> Result<Alignment, BoxError> {
    Ok(Alignment::new(aligner(model, compute, report).await?))
}

pub(super) async fn aligner(
    model: &ModelFiles,
    compute: &Compute,
    report: Report<'_>,
) -> Result<Arc<ForcedAligner>, BoxError> {
    let config = match ModelConfig::open(&model.files)? {
        ModelConfig::Qwen3Aligner(config) => config,
        other => return Err(model.is_not(Role::Alignment, &other)),
    };
    let progress = told(report, &model.name);
    let weights = Weights::open(&model.files).await?;
    let storage = model.storage(Role::Alignment, &weights, compute);
    let target = Target { compute, storage, progress: &progress, kept: None };
    Ok(Arc::new(ForcedAligner::load(&model.files, &weights, &config, target).await?))
}

/// A translation that is ready to load: everything that is known without the weights.
pub(super) struct Plan<'a> {
    model: &'a ModelFiles,
    config: Arc<dyn TextFamily>,
    heads: Vec<Head>,
    lead: usize,
    prompt: Box<dyn TranslationPrompt>,
}

impl<'a> Plan<'a> {
    fn new(model: &'a ModelFiles, direction: &Direction, context: &Context) -> Result<Plan<'a>, BoxError> {
        let config = text_config(model)?;
        let tokenizer = tokenizer(model, &*config)?;
        Plan::with(model, config, &tokenizer, direction, context)
    }

    /// The plan for a model whose configuration and tokenizer are open.
    pub(super) fn with(
        model: &'a ModelFiles,
        config: Arc<dyn TextFamily>,
        tokenizer: &Arc<Tokenizer>,
        direction: &Direction,
        context: &Context,
    ) -> Result<Plan<'a>, BoxError> {
        let set = match (direction.heads_len, &direction.heads) {
            (0, _) => None,
            (_, Some(set)) => Some(set.clone()),
            (_, None) => Some(model.heads(direction.from, direction.to)?),
        };
        let best = set.as_ref().map_or(&[][..], |set| set.top(direction.heads_len));
        let heads = best.iter().map(|head| Head { layer: head.layer, head: head.head }).collect();
        let lead = usize::from(set.as_ref().is_some_and(|set| set.rows == Rows::Predicting));
        let task = |context| task(direction.from, direction.to, context);
        let prompt = |context| prompt(model, &*config, tokenizer, &task(context));
        let (bare, full) = (prompt("")?, prompt(&context.translated())?);
        let empty = Turn::default();
        fits(bare.ids(&empty)?.ids.len(), full.ids(&empty)?.ids.len(), capacity(&*config))?;
        Ok(Plan { model, config, heads, lead, prompt: full })
    }

    async fn load(self, compute: &Compute, report: Report<'_>) -> Result<Translation, BoxError> {
        let loaded = weights_of(self.model, &*self.config, compute, report, None).await?.0;
        self.on(loaded, compute)
    }

    /// The translation on a model that is loaded.
    pub(super) fn on(self, model: Arc<dyn TextModel>, compute: &Compute) -> Result<Translation, BoxError> {
        let armed = Armed { heads: &self.heads, lead: self.lead };
        let eos = [self.config.eos(), self.prompt.ends()].concat();
        let translator = Translator::new(model, eos, armed, compute.group_len(), compute.clone())?;
        Ok(Translation::new(self.prompt, translator, self.heads.len()))
    }
}

/// Checks that a context leaves half of the model's `capacity` to the text to translate. An empty
/// prompt has `full` tokens with the context and `bare` tokens without it.
fn fits(bare: usize, full: usize, capacity: usize) -> Result<(), ContextTooLong> {
    let (tokens, most) = (full.saturating_sub(bare), (capacity / 2).saturating_sub(bare));
    if tokens > most { Err(ContextTooLong { role: Role::Translation, tokens, most }) } else { Ok(()) }
}

/// Loads a text model, with its prompt for a direction without context.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn text_model(
    model: &ModelFiles,
    (from, to): (Language, Language),
    compute: &Compute,
    report: Report<'_>,
) -> Result<(Arc<dyn TextModel>, Box<dyn TranslationPrompt>), BoxError> {
    let config = text_config(model)?;
    let prompt = prompt(model, &*config, &tokenizer(model, &*config)?, &task(from, to, ""))?;
    Ok((weights_of(model, &*config, compute, report, None).await?.0, prompt))
}

fn task(from: Language, to: Language, context: &str) -> Task<'_> {
    let name = |language: Language| LanguageName { english: language.english_name(), code: language.code() };
    Task { source: name(from), target: name(to), context }
}

pub(super) fn tokenizer(model: &ModelFiles, config: &dyn TextFamily) -> Result<Arc<Tokenizer>, BoxError> {
    let tokenizer = Arc::new(Tokenizer::open(&model.files)?);
    tokenizer.texts_fit(config.vocab_size())?;
    Ok(tokenizer)
}

/// The prompt of a model.
///
/// Errors: see [`TextFamily::prompt`]; the layout uses a token that the model has no row for.
fn prompt(
    model: &ModelFiles,
    config: &dyn TextFamily,
    tokenizer: &Arc<Tokenizer>,
    task: &Task<'_>,
) -> Result<Box<dyn TranslationPrompt>, BoxError> {
    let prompt = config.prompt(&model.files, tokenizer.clone(), task)?;
    // All parts of a prompt, so all tokens of the layout.
    let history = [("a".to_owned(), "b".to_owned())];
    let whole = prompt.ids(&Turn { history: &history, source: "a", accepted: "b" })?;
    tokenizer.ids_fit(&whole.ids, config.vocab_size())?;
    Ok(prompt)
}

/// Positions of the longest prompt with its draft.
fn capacity(config: &dyn TextFamily) -> usize {
    MT_CAPACITY.min(config.max_positions())
}

pub(super) fn text_config(model: &ModelFiles) -> Result<Arc<dyn TextFamily>, BoxError> {
    ModelConfig::open(&model.files)?.into_text().map_err(|other| model.is_not(Role::Translation, &other))
}

/// A text model on its device.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) struct TextWeights {
    pub model: Arc<dyn TextModel>,
    pub storage: Storage,
    /// Bytes of its matrices on the device.
    pub bytes: u64,
}

/// Loads a text model alone.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn text_weights(
    model: &ModelFiles,
    compute: &Compute,
    report: Report<'_>,
) -> Result<TextWeights, BoxError> {
    let kept = RefCell::new(Kept::default());
    let (loaded, storage) = weights_of(model, &*text_config(model)?, compute, report, Some(&kept)).await?;
    Ok(TextWeights { model: loaded, storage, bytes: kept.borrow().bytes })
}

/// Loads the weights of a text model. `kept` counts what is on the device, if it is given.
pub(super) async fn weights_of(
    model: &ModelFiles,
    config: &dyn TextFamily,
    compute: &Compute,
    report: Report<'_>,
    kept: Option<&RefCell<Kept>>,
) -> Result<(Arc<dyn TextModel>, Storage), BoxError> {
    let progress = told(report, &model.name);
    let weights = Weights::open(&model.files).await?;
    let storage = model.storage(Role::Translation, &weights, compute);
    let loader = Loader::new(&weights, Target { compute, storage, progress: &progress, kept });
    Ok((config.load(&loader, capacity(config)).await?, storage))
}

/// Loads a model of any kind, whose tensors are `weights`, and lets it go again: what it reads of
/// its checkpoint.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn kept(
    model: &ModelFiles,
    weights: &Weights,
    compute: &Compute,
    report: Report<'_>,
) -> Result<Kept, BoxError> {
    /// No sequence is computed.
    const NO_ROOM: usize = 1;

    let kept = RefCell::new(Kept::default());
    let progress = told(report, &model.name);
    let target = |role| {
        let storage = model.storage(role, weights, compute);
        Target { compute, storage, progress: &progress, kept: Some(&kept) }
    };
    match ModelConfig::open(&model.files)? {
        ModelConfig::Qwen3Asr(config) => {
            drop(Qwen3Asr::load(&model.files, weights, &config, target(Role::Recognition)).await?);
        }
        ModelConfig::Qwen3Aligner(config) => {
            drop(ForcedAligner::load(&model.files, weights, &config, target(Role::Alignment)).await?);
        }
        other => {
            let config = other.into_text().map_err(|other| model.is_not(Role::Translation, &other))?;
            drop(config.load(&Loader::new(weights, target(Role::Translation)), NO_ROOM).await?);
        }
    }
    Ok(kept.into_inner())
}

/// Forwards byte counts to `report` with the model's name.
fn told<'a>(report: Report<'a>, name: &'a str) -> impl Fn(u64, u64) + 'a {
    let report = RefCell::new(report);
    move |done, total| report.borrow_mut()(name, done, total)
}

impl ModelFiles {
    /// A model of the demo pack.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn demo(files: Files) -> ModelFiles {
        ModelFiles { name: files.label().to_owned(), files, demo: true, quant: Quant::Auto }
    }

    /// The same model with its files as checkpoints have them; see [`Models::opened`].
    pub async fn opened(&self) -> Result<ModelFiles, CheckpointError> {
        Ok(ModelFiles { files: gguf::present(&self.files).await?, ..self.clone() })
    }

    /// How the model's `weights` are kept on the device of `compute`.
    fn storage(&self, role: Role, weights: &Weights, compute: &Compute) -> Storage {
        let sensitivity = if role == Role::Translation { Sensitivity::Low } else { Sensitivity::High };
        let storage = self.quant.storage(weights.numbers(), sensitivity, compute.is_gpu(), compute.memory);
        if self.quant == Quant::Auto && storage.quantizes() && !weights.is_quantized() {
            let millions = weights.numbers() / 1_000_000;
            let memory = match compute.memory {
                Some(bytes) => format!("the device has {} MiB", bytes >> 20),
                None => "the memory of the device is not known".to_owned(),
            };
            tracing::warn!(
                "{} has {millions} million weights, which are quantized to {storage} while loading ({memory})",
                self.name
            );
        }
        storage
    }

    /// The error for a folder that holds a model of another family than the role needs.
    fn is_not(&self, role: Role, is: &ModelConfig) -> BoxError {
        ModelError::OtherFamily { model: self.name.clone(), family: is.family(), role }.into()
    }

    /// The heads of this model for a direction: those in its folder, else those that come with the
    /// program.
    pub fn heads(&self, from: Language, to: Language) -> Result<HeadSet, BoxError> {
        let name = HeadSet::file_name(from, to);
        if self.files.has(&name) {
            return Ok(HeadSet::parse(&self.files.text(&name, HEADS_BYTES)?, &self.files.path(&name))?);
        }
        match self.shipped_heads(from, to)? {
            Some(found) => Ok(found.set),
            None => Err(ModelError::NoHeads { model: self.name.clone(), demo: self.demo, from, to }.into()),
        }
    }

    /// The heads that come with the program, by this model's family, sizes and name.
    fn shipped_heads(&self, from: Language, to: Language) -> Result<Option<shipped_heads::Found>, BoxError> {
        let config = text_config(self)?;
        let Sizes { layers, heads, hidden } = config.sizes();
        let model = shipped_heads::Model { name: &self.name, family: config.family(), layers, heads, hidden };
        Ok(shipped_heads::find(&model, from, to))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_context_takes_half_of_the_model_at_most() {
        assert_eq!(fits(40, 40, 2048), Ok(()));
        assert_eq!(fits(40, 1024, 2048), Ok(()));
        assert_eq!(fits(40, 1025, 2048), Err(ContextTooLong { role: Role::Translation, tokens: 985, most: 984 }));
        assert_eq!(fits(40, 40, 64), Ok(()), "no context is never too long");
        assert_eq!(fits(40, 41, 64), Err(ContextTooLong { role: Role::Translation, tokens: 1, most: 0 }));
    }

    fn model(name: &str, config: &Value, heads: Option<&HeadSet>) -> ModelFiles {
        let mut small = vec![("config.json".to_owned(), config.to_string().into_bytes())];
        if let Some(set) = heads {
            let name = HeadSet::file_name(set.source, set.target);
            small.push((name, set.to_json().expect("plain data").into_bytes()));
        }
        ModelFiles {
            name: name.to_owned(),
            files: Files::remote(name, small, Vec::new()),
            demo: false,
            quant: Quant::Auto,
        }
    }

    /// Qwen3-4B-Instruct-2507, as published.
    fn qwen3_4b() -> Value {
        json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": false,
            "eos_token_id": 151_645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2560,
            "intermediate_size": 9728, "max_position_embeddings": 262_144, "num_attention_heads": 32,
            "num_hidden_layers": 36, "num_key_value_heads": 8, "rms_norm_eps": 1e-6, "rope_scaling": null,
            "rope_theta": 5_000_000, "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151_936,
        })
    }

    /// Gemma-4-E2B, as published.
    fn gemma4_e2b() -> Value {
        let types: Vec<&str> =
            (1..=35).map(|layer| if layer % 5 == 0 { "full_attention" } else { "sliding_attention" }).collect();
        json!({
            "model_type": "gemma4_text", "vocab_size": 262_144, "hidden_size": 1536, "intermediate_size": 6144,
            "num_hidden_layers": 35, "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256,
            "global_head_dim": 512, "num_kv_shared_layers": 20, "use_double_wide_mlp": true,
            "hidden_size_per_layer_input": 256, "sliding_window": 512, "layer_types": types, "eos_token_id": 1,
            "final_logit_softcapping": 30.0,
            "rope_parameters": {
                "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        })
    }

    /// Gemma-3-4B, from which MiLMMT-46-4B was trained, as first published.
    fn gemma3_4b() -> Value {
        json!({
            "model_type": "gemma3", "eos_token_id": [1, 106],
            "text_config": {
                "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10_240,
                "num_hidden_layers": 34, "sliding_window": 1024, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            },
        })
    }

    const EN: Language = Language::ENGLISH;
    const DE: Language = Language::GERMAN;

    /// Gemma-3-270M has a token more than rows.
    #[test]
    fn a_layout_uses_no_token_without_a_row() {
        let json = std::fs::read(crate::weights::testing::own("tokenizers/gemma3.json")).expect("a tokenizer");
        let config = json!({
            "model_type": "gemma3_text", "vocab_size": 262_144, "hidden_size": 640, "intermediate_size": 2048,
            "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1, "sliding_window": 512,
        });
        let direction = Direction { heads_len: 0, ..Direction::new(EN, DE, PolicyKind::default()) };
        let plan = |template: Option<&str>| {
            let mut model = model("gemma-3-270m", &config, None);
            let mut small = vec![
                ("config.json".to_owned(), config.to_string().into_bytes()),
                ("tokenizer.json".to_owned(), json.clone()),
            ];
            small.extend(template.map(|text| ("chat_template.jinja".to_owned(), text.as_bytes().to_vec())));
            model.files = Files::remote("gemma-3-270m", small, Vec::new());
            Plan::new(&model, &direction, &Context::default()).map(drop)
        };
        plan(None).expect("a base model");
        plan(Some("{{ bos_token }}{{ messages[-1].content }}")).expect("a layout of text");
        let images = "{{ messages[-1].content }}{% if messages | length > 2 %}<image_soft_token>{% endif %}";
        let error = plan(Some(images)).expect_err("a token without a row").to_string();
        assert!(error.contains("the prompt has the token <image_soft_token>"), "{error}");
    }

    #[test]
    fn a_model_finds_its_heads_whatever_it_is_called() {
        for (config, measured) in [
            (qwen3_4b(), "Qwen/Qwen3-4B-Instruct-2507"),
            (gemma4_e2b(), "google/gemma-4-E2B-it"),
            (gemma3_4b(), "xiaomi-research/MiLMMT-46-4B-v0.1"),
        ] {
            for (name, note) in [(measured, false), ("downloads/model.gguf", true)] {
                let model = model(name, &config, None);
                assert_eq!(model.heads(EN, DE).expect("heads").model, measured, "{name}");
                let direction = Direction::new(EN, DE, PolicyKind::default());
                let models = Models {
                    asr: model.clone(),
                    aligner: model.clone(),
                    mt: Some((model, direction)),
                    context: Context::default(),
                };
                let notes = Names::of(&models, "cpu").notes;
                assert_eq!(notes.len(), usize::from(note), "{name}: {notes:?}");
                assert!(notes.iter().all(|note| note.contains(measured)), "{notes:?}");
            }
        }
    }

    /// The folder's own heads come first, and those that are named before them.
    #[test]
    fn heads_of_the_folder_and_named_heads_are_not_replaced() {
        let mut own = model("x", &qwen3_4b(), None).heads(EN, DE).expect("heads");
        own.model = "own".to_owned();
        own.heads.truncate(5);
        let bare = model("downloads/model.gguf", &qwen3_4b(), None);
        let folder = model("downloads/model", &qwen3_4b(), Some(&own));
        assert_eq!(folder.heads(EN, DE).expect("heads"), own);
        let direction = Direction::new(EN, DE, PolicyKind::default());
        assert_eq!(direction.heads_of_another(&folder), None);
        let named = Direction { heads: Some(own), ..direction.clone() };
        assert_eq!(named.heads_of_another(&bare), None);
        assert!(direction.heads_of_another(&bare).is_some());
        let local: PolicyKind = "local-agreement".parse().expect("a policy");
        assert_eq!(Direction::new(EN, DE, local).heads_of_another(&bare), None, "a policy without heads");
    }

    #[test]
    fn sizes_that_were_not_measured_have_no_heads() {
        let mut config = qwen3_4b();
        config["num_hidden_layers"] = json!(28);
        let error = model("Qwen/Qwen3-4B-Instruct-2507", &config, None).heads(EN, DE).expect_err("no heads");
        assert!(error.to_string().starts_with("no attention heads are known for Qwen/Qwen3-4B"), "{error}");
        let czech: Language = "cs".parse().expect("a language");
        assert!(model("Qwen/Qwen3-4B-Instruct-2507", &qwen3_4b(), None).heads(czech, DE).is_err());
    }
}
