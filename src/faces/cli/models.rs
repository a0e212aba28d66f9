//! `alignatt models`: lists, fetches and removes models.

use std::io::{self, Write};

use super::args::{ModelsAction, ModelsArgs};
use super::engines;
use super::error::CliError;
use super::terminal::tell;
use crate::hub::cache::CachedModel;
use crate::hub::source::MAIN;

pub async fn models(args: ModelsArgs) -> Result<(), CliError> {
    let mut lines: Vec<String> = Vec::new();
    match args.action {
        ModelsAction::List => {
            let stored = engines::stored_models();
            if stored.is_empty() {
                tell("no model has been fetched; `alignatt models fetch Qwen/Qwen3-ASR-0.6B` would");
            }
            lines.extend(stored.iter().map(listed));
        }
        ModelsAction::Fetch { id } => {
            let folder = engines::fetch_model(&id).map_err(CliError::of)?;
            lines.push(folder.display().to_string());
        }
        ModelsAction::Remove { id } => {
            if let Some((repo, _)) = id.split_once('@') {
                let what = format!("all revisions of a model are removed together: `alignatt models remove {repo}`");
                return Err(CliError::Usage(what));
            }
            let freed = engines::remove_model(&id).map_err(CliError::of)?;
            tell(format_args!("{id} removed, {} freed", bytes(freed)));
        }
        ModelsAction::Where { id: None } => lines.push(engines::models_folder().display().to_string()),
        ModelsAction::Where { id: Some(id) } => match engines::model_folder(&id).map_err(CliError::of)? {
            Some(folder) => lines.push(folder.display().to_string()),
            None => return Err(not_here(&id)),
        },
    }
    let mut out = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    written.map_err(CliError::print)
}

fn not_here(id: &str) -> CliError {
    CliError::Failed(format!("{id} has not been fetched; `alignatt models fetch {id}` does").into())
}

/// A model with its size. Its revisions are listed where they differ from the one that a bare name
/// means.
fn listed(model: &CachedModel) -> String {
    let CachedModel { repo, revisions, bytes: len } = model;
    let state = match &revisions[..] {
        [] => "  incomplete: fetch it again to go on".to_owned(),
        [only] if only == MAIN => String::new(),
        several => format!("  @{}", several.join(" @")),
    };
    format!("{repo:<40} {:>10}{state}", bytes(*len))
}

fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}
