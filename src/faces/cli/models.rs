//! `alignatt models`: lists, fetches, removes and quantizes models.

use std::io::{self, Write};

use super::args::{ModelsAction, ModelsArgs};
use super::engines;
use super::error::CliError;
use super::progress::LoadingBar;
use super::terminal::eprint_line;
use crate::hub::cache::{CachedModel, MAIN};

pub(super) async fn models(args: ModelsArgs) -> Result<(), CliError> {
    let mut lines: Vec<String> = Vec::new();
    match args.action {
        ModelsAction::List => {
            let cached = engines::cached_models();
            if cached.is_empty() {
                eprint_line("no model has been fetched; `alignatt models fetch Qwen/Qwen3-ASR-0.6B` fetches one");
            }
            lines.extend(cached.iter().flat_map(listing_lines));
        }
        ModelsAction::Fetch { id } => {
            let place = engines::fetch_model(&id).map_err(CliError::of)?;
            lines.push(place.display().to_string());
        }
        ModelsAction::Remove { id } => {
            if let Some((repo, file)) = gguf_of(&id) {
                let what = format!(
                    "a single file cannot be removed; `alignatt models remove {repo}` removes {file} with all that was \
                     fetched from there"
                );
                return Err(CliError::Usage(what));
            }
            if let Some((repo, _)) = id.split_once('@') {
                let what =
                    format!("a single revision cannot be removed; `alignatt models remove {repo}` removes all of them");
                return Err(CliError::Usage(what));
            }
            let freed = engines::remove_model(&id).map_err(CliError::of)?;
            eprint_line(format_args!("removed {id}, which frees {}", bytes(freed)));
        }
        ModelsAction::Quantize { model, quant, output } => {
            let size = {
                let mut bar = LoadingBar::new();
                let mut report = |what: &str, done, total| bar.report(what, done, total);
                engines::quantize_model(&model, quant, &output, &mut report).await.map_err(CliError::Failed)?
            };
            eprint_line(format_args!("wrote {}, whose weights take {}", output.display(), bytes(size)));
        }
        ModelsAction::Where { id: None } => lines.push(engines::models_folder().display().to_string()),
        ModelsAction::Where { id: Some(id) } => match engines::model_place(&id).map_err(CliError::of)? {
            Some(place) => lines.push(place.display().to_string()),
            None => return Err(not_fetched(&id)),
        },
    }
    let mut out = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    written.map_err(CliError::print_failed)
}

fn not_fetched(id: &str) -> CliError {
    CliError::Failed(format!("{id} has not been fetched; `alignatt models fetch {id}` fetches it").into())
}

/// The repository and the file of an id that names a GGUF file.
fn gguf_of(id: &str) -> Option<(&str, &str)> {
    let (at, _) = id.match_indices('/').nth(1)?;
    Some((&id[..at], &id[at + 1..]))
}

/// A model with its size. Its revisions are listed where they differ from the one that a bare name
/// means. GGUF files follow, each under the name by which it can be used.
fn listing_lines(model: &CachedModel) -> Vec<String> {
    let CachedModel { repo, revisions, bytes: len, gguf } = model;
    let state = match &revisions[..] {
        [] if !gguf.is_empty() => String::new(),
        [] => "  incomplete: fetch it again to continue".to_owned(),
        [only] if only == MAIN => String::new(),
        several => format!("  @{}", several.join(" @")),
    };
    let line = format!("{repo:<40} {:>10}{state}", bytes(*len));
    std::iter::once(line).chain(gguf.iter().map(|file| format!("  {repo}/{file}"))).collect()
}

fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}
