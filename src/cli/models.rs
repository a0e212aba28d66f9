//! `alignatt models`: what is on this machine, and how it gets there and away.

use std::io::{self, Write};

use super::args::{ModelsAction, ModelsArgs};
use super::engines::{self, Stored};
use super::error::CliError;
use super::terminal::tell;

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
            let freed = engines::remove_model(&id).map_err(CliError::of)?;
            tell(format_args!("{id} removed, {} freed", bytes(freed)));
        }
        ModelsAction::Where { id: None } => lines.push(engines::models_folder().display().to_string()),
        ModelsAction::Where { id: Some(id) } => {
            let stored = engines::stored_models();
            match stored.iter().find(|model| model.whole && model.id.eq_ignore_ascii_case(&id)) {
                Some(model) => lines.push(model.folder.display().to_string()),
                None => return Err(not_here(&id)),
            }
        }
    }
    let mut out = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    written.map_err(CliError::print)
}

fn not_here(id: &str) -> CliError {
    CliError::Failed(format!("{id} has not been fetched; `alignatt models fetch {id}` does").into())
}

fn listed(model: &Stored) -> String {
    let state = if model.whole { "" } else { "  incomplete: fetch it again to go on" };
    format!("{:<40} {:>10}{state}", model.id, bytes(model.bytes))
}

fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}
