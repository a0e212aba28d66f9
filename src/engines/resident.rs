//! Models that are loaded once and used by many streams at a time. Each stream gets engines of its
//! own: caches, prompts and kept sound are a stream's, weights are shared.

use std::sync::Arc;

use super::load::{self, Direction, ModelEngines, ModelFiles, Models, Names, Plan, Report, Role};
use super::on_models::{Alignment, Recognition, Translation};
use crate::cascade::{BoxError, Engines};
use crate::gpu::Compute;
use crate::models::TextModel;
use crate::models::family::TextFamily;
use crate::models::qwen3_asr::{Qwen3Asr, aligner::ForcedAligner};
use crate::text::{Context, Language};
use crate::weights::{CheckpointError, Tokenizer};

/// The files of the models that a server needs.
#[derive(Clone)]
pub(crate) struct ModelSet {
    pub asr: ModelFiles,
    pub aligner: ModelFiles,
    /// `None`: streams are only transcribed.
    pub mt: Option<ModelFiles>,
}

/// Models on a device.
pub(crate) struct Resident {
    set: ModelSet,
    asr: Arc<Qwen3Asr>,
    aligner: Arc<ForcedAligner>,
    text: Option<Text>,
    compute: Compute,
}

/// A text model with all that its prompts need.
struct Text {
    config: Arc<dyn TextFamily>,
    tokenizer: Arc<Tokenizer>,
    model: Arc<dyn TextModel>,
}

/// There is no translation model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no translation model is loaded")]
pub(crate) struct NoTranslator;

impl Resident {
    /// Loads the models of `set` on a device that has passed its self-test, and runs each once.
    ///
    /// Errors: as those of [`Models::load`].
    pub(crate) async fn load(set: &ModelSet, compute: Compute, report: Report<'_>) -> Result<Resident, BoxError> {
        let set = set.opened().await?;
        let text = match &set.mt {
            Some(mt) => Some((load::text_config(mt)?, mt)),
            None => None,
        };
        let asr = load::asr(&set.asr, &compute, report).await?;
        // A device that ran out of memory reports it late.
        compute.wait_idle().await?;
        let aligner = load::aligner(&set.aligner, &compute, report).await?;
        let text = match text {
            Some((config, mt)) => {
                let tokenizer = load::tokenizer(mt, &*config)?;
                let model = load::weights_of(mt, &*config, &compute, report, None).await?.0;
                Some(Text { config, tokenizer, model })
            }
            None => None,
        };
        compute.wait_idle().await?;
        let resident = Resident { set, asr, aligner, text, compute };
        if resident.compute.is_gpu() {
            let direction = resident.text.as_ref().map(|_| Direction {
                from: Language::ENGLISH,
                to: Language::GERMAN,
                heads_len: 0,
                heads: None,
            });
            load::warm(&mut resident.engines(direction.as_ref(), &Context::default())?).await?;
        }
        Ok(resident)
    }

    /// The device.
    pub(crate) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Engines for one stream of sound, with all of their memory. `direction`: `None` where nothing
    /// is translated.
    ///
    /// Errors: there is no translator; there are no heads for the direction; the context is too
    /// long.
    pub(crate) fn engines(&self, direction: Option<&Direction>, context: &Context) -> Result<ModelEngines, BoxError> {
        load::heard_fits(&self.asr.tokenizer, context)?;
        Ok(Engines {
            recognizer: Recognition::new(self.asr.clone(), context.heard()),
            aligner: Alignment::new(self.aligner.clone()),
            translator: direction.map(|direction| self.translation(direction, context)).transpose()?,
        })
    }

    /// The translator of one stream.
    ///
    /// Errors: see [`Resident::engines`].
    pub(crate) fn translation(&self, direction: &Direction, context: &Context) -> Result<Translation, BoxError> {
        let (text, files) = self.text.as_ref().zip(self.set.mt.as_ref()).ok_or(NoTranslator)?;
        Plan::with(files, text.config.clone(), &text.tokenizer, direction, context)?
            .on(text.model.clone(), &self.compute)
    }
}

impl ModelSet {
    async fn opened(&self) -> Result<ModelSet, CheckpointError> {
        let mt = match &self.mt {
            Some(mt) => Some(mt.opened().await?),
            None => None,
        };
        Ok(ModelSet { asr: self.asr.opened().await?, aligner: self.aligner.opened().await?, mt })
    }

    /// The names of a stream's models.
    pub(crate) fn names(&self, direction: Option<&Direction>, device: &str) -> Names {
        let mt = self.mt.clone().zip(direction.cloned());
        let models = Models { asr: self.asr.clone(), aligner: self.aligner.clone(), mt, context: Context::default() };
        Names::of(&models, device)
    }

    /// The target languages for which a stream from `from` with `heads_len` heads can be opened.
    pub(crate) fn targets(&self, from: Language, heads_len: usize) -> Vec<Language> {
        let Some(mt) = &self.mt else { return Vec::new() };
        let known = |to: &Language| heads_len == 0 || mt.heads(from, *to).is_ok();
        Language::TARGETS.into_iter().filter(known).collect()
    }

    /// The models with their tasks.
    pub(crate) fn models(&self) -> impl Iterator<Item = (Role, &ModelFiles)> {
        let mt = self.mt.iter().map(|mt| (Role::Translation, mt));
        [(Role::Recognition, &self.asr), (Role::Alignment, &self.aligner)].into_iter().chain(mt)
    }
}
