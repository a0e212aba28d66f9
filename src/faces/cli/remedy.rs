//! Remedies for errors of the library, in the flags and commands of this program.

use std::error::Error;

use crate::audio::error::AudioError;
use crate::engines::load::{ModelError, Role, SUPPORTED};
use crate::gpu::GpuError;
use crate::nn::RunError;
use crate::weights::{CheckpointError, Remedy};

/// The remedy for an error or its causes; `None` where none is known, or where the message contains
/// it.
pub(super) fn remedy(error: &(dyn Error + 'static)) -> Option<String> {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(found) = of_link(error) {
            return Some(found);
        }
        link = error.source();
    }
    None
}

fn of_link(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<GpuError>() {
        return Some(of_gpu(error).to_owned());
    }
    if let Some(error) = error.downcast_ref::<CheckpointError>() {
        return of_checkpoint(error);
    }
    if let Some(error) = error.downcast_ref::<ModelError>() {
        return Some(of_model(error));
    }
    if let Some(error) = error.downcast_ref::<AudioError>() {
        return of_sound(error).map(str::to_owned);
    }
    match error.downcast_ref::<RunError>()? {
        RunError::Device(_) => Some("start again; if it happens again, use --device cpu".to_owned()),
        RunError::Gpu(error) => Some(of_gpu(error).to_owned()),
        RunError::Checkpoint(error) => of_checkpoint(error),
        RunError::TooLong { .. } => Some("give less sound or text at a time".to_owned()),
        RunError::RollBack(_) => None,
    }
}

fn of_gpu(error: &GpuError) -> &'static str {
    match error {
        GpuError::NoAdapter { .. } => "`alignatt devices` lists the devices; --device cpu always works",
        GpuError::Refused { .. } => "update the graphics driver, or use --device cpu",
        GpuError::SelfTest { .. } => "use another device (`alignatt devices` lists them), or --device cpu",
        GpuError::OutOfMemory { .. } => "use a smaller model, or --device cpu",
        GpuError::Failed { .. } => "try again; if it happens again, use --device cpu",
        GpuError::Lost { .. } => "start again; if memory ran out, use a smaller model or --device cpu",
    }
}

fn of_sound(error: &AudioError) -> Option<&'static str> {
    match error {
        AudioError::Open { .. } => Some("check the path and its permissions"),
        AudioError::Read { .. } => {
            Some("if the file is on a network or a removable disk, copy it to this computer first")
        }
        AudioError::UnknownFormat { .. } | AudioError::UnknownCodec { .. } => Some(
            "convert it first: ffmpeg -i INPUT -ar 16000 -ac 1 output.wav, or pipe it in: ffmpeg -i INPUT -f wav - | \
             alignatt ... -",
        ),
        AudioError::Broken { .. } => Some("try to repair it: ffmpeg -i INPUT repaired.wav, or get the file again"),
        AudioError::Empty { .. } | AudioError::NoTrack { .. } | AudioError::Rate { .. } => None,
    }
}

fn of_checkpoint(error: &CheckpointError) -> Option<String> {
    match error.remedy() {
        // The message contains the remedy already.
        Remedy::Words(_) => None,
        Remedy::UseSupportedModel => Some(SUPPORTED.to_owned()),
        Remedy::UseCpu => Some("--device cpu computes in f32".to_owned()),
        Remedy::ListModels => Some("`alignatt models list` lists the fetched models".to_owned()),
        Remedy::FetchAgain => Some(match cached_repo(error.place()) {
            Some(repo) => {
                format!("delete the model with `alignatt models remove {repo}`; it is fetched again when it is named")
            }
            None => "replace it with a good copy".to_owned(),
        }),
    }
}

/// The Hub id of the model that a path in the Hub cache belongs to.
fn cached_repo(path: &str) -> Option<String> {
    let mut parts = path.split(['/', '\\']).skip_while(|part| !part.starts_with("models--"));
    let repo = parts.next()?.strip_prefix("models--")?.replacen("--", "/", 1);
    (parts.next() == Some("snapshots")).then_some(repo)
}

fn of_model(error: &ModelError) -> String {
    match error {
        ModelError::OtherFamily { role, .. } => {
            let flag = match role {
                Role::Recognition => "--asr",
                Role::Alignment => "--aligner",
                Role::Translation => "--mt",
            };
            format!("give a {} model with {flag}", role.family())
        }
        ModelError::NoHeads { demo: true, .. } => {
            "the demo pack translates only from English into German, Italian and Chinese; give another model with --mt"
                .to_owned()
        }
        ModelError::NoHeads { model, from, to, .. } => format!(
            "measure them with `alignatt calibrate --mt {} --from {from} --to {to} --pairs FILE` and give the file that \
             it writes with --heads, or use --policy local-agreement",
            quoted(model)
        ),
    }
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> String {
    let is_plain = |symbol: char| symbol.is_ascii_alphanumeric() || "-_./@:~+".contains(symbol);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::ModelConfig;
    use crate::text::Language;
    use crate::weights::Files;

    #[test]
    fn a_damaged_file_of_the_cache_is_fetched_again_and_one_of_a_folder_is_not() -> Result<(), Box<dyn Error>> {
        let cache = tempfile::tempdir()?;
        let snapshot = cache.path().join("models--o--m/snapshots/0123");
        std::fs::create_dir_all(&snapshot)?;
        let missing = |folder: &std::path::Path| Files::folder(folder).and_then(|files| files.bytes("config.json", 9));
        let error = missing(&snapshot).expect_err("there is no file");
        let answer = remedy(&error);
        assert_eq!(
            answer.as_deref(),
            Some("delete the model with `alignatt models remove o/m`; it is fetched again when it is named")
        );
        std::fs::write(snapshot.join("config.json"), "damaged and long")?;
        let error: Box<dyn Error> = Box::new(missing(&snapshot).expect_err("it is too long"));
        assert_eq!(remedy(&*error), answer);
        let error = missing(cache.path()).expect_err("there is no file");
        assert_eq!(remedy(&error).as_deref(), Some("replace it with a good copy"));
        Ok(())
    }

    #[test]
    fn an_unknown_model_is_answered_with_the_known_ones() {
        let files = Files::embedded("m", &[("config.json", br#"{"model_type": "x"}"#)]);
        let error = ModelConfig::open(&files).expect_err("there is no such model");
        assert!(error.to_string().ends_with("x is not a model this program knows"), "{error}");
        assert_eq!(remedy(&error).as_deref(), Some(SUPPORTED));
    }

    #[test]
    fn sound_that_cannot_be_decoded_can_be_converted() {
        let name = "x.opus".to_owned();
        let error = AudioError::UnknownCodec { name: name.clone(), codec: "Opus audio".to_owned() };
        assert!(!error.to_string().contains("ffmpeg"));
        assert!(remedy(&error).is_some_and(|remedy| remedy.contains("ffmpeg -i INPUT")));
        assert_eq!(remedy(&AudioError::NoTrack { name, track: 2, tracks: 1 }), None);
    }

    #[test]
    fn a_remedy_names_what_was_named() {
        let error = |model: &str, demo| {
            let (from, to) = (Language::GERMAN, Language::ITALIAN);
            remedy(&ModelError::NoHeads { model: model.to_owned(), demo, from, to }).unwrap_or_default()
        };
        assert!(
            error("my models/x", false)
                .starts_with("measure them with `alignatt calibrate --mt 'my models/x' --from de --to it --pairs")
        );
        let demo = error("the demo pack's mt", true);
        assert!(demo.contains("give another model with --mt") && !demo.contains("calibrate"), "{demo}");
        let lost = GpuError::Lost { adapter: "a".to_owned(), reason: "b".to_owned() };
        assert!(remedy(&RunError::Gpu(lost)).is_some_and(|words| words.contains("--device cpu")));
        assert_eq!(remedy(&std::io::Error::other("x")), None);
    }
}
