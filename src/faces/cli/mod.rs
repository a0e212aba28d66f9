//! The command line: one file per subcommand. Results go to standard output, everything else to
//! standard error.
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | every flag |
//! | `engines` | loads models and devices; no other file does |
//! | `translate` | `translate` and `transcribe` |
//! | `eval` | policies at several chunks over a manifest: lag, quality, the files of OmniSTEval |
//! | `align`, `bench`, `calibrate`, `devices`, `models` | the other subcommands |
//! | `serve` | the server (`faces/server`) |
//! | `inputs`, `text_file` | files that a run reads and may not overwrite; bounded text files |
//! | `sound` | reads a file or standard input on a thread of its own, in real time if asked |
//! | `text_input` | the text of `--text`: a file, or standard input as it comes |
//! | `session` | passes sound or text to the cascade and events to the outputs |
//! | `outputs`, `live` | text, JSON lines, subtitles; the terminal's live view |
//! | `trace`, `explain` | what the model attended to, as lines and as a page |
//! | `heat_map` | the scores of all heads as a picture |
//! | `markup` | escapes text for HTML and SVG |
//! | `interrupt` | Ctrl-C and similar signals: the first finishes cleanly, the second exits |
//! | `progress` | progress bars, and the log |
//! | `sha256` | hashes of a run's inputs |
//! | `terminal` | lines on standard error, and what the terminal can show |
//! | `error`, `remedy` | errors in one line, exit codes, and remedies |
//!
//! Exit codes: 0 done, 1 something failed, 2 wrong usage, 130 interrupted.

mod align;
mod args;
mod bench;
mod calibrate;
mod devices;
mod engines;
mod error;
mod eval;
mod explain;
mod heat_map;
mod inputs;
mod interrupt;
mod live;
mod markup;
mod models;
mod outputs;
mod progress;
mod remedy;
#[cfg(feature = "server")]
mod serve;
mod session;
mod sha256;
mod sound;
mod terminal;
mod text_file;
mod text_input;
mod trace;
mod translate;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::error::ErrorKind;

use args::{Cli, Command};
use error::CliError;

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::from_process() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error),
    };
    progress::start_log();
    if let Err(error) = interrupt::watch() {
        tracing::warn!("signals cannot be caught, so Ctrl-C will end the program at once: {error}");
    }
    let outcome = pollster::block_on(run(cli));
    live::restore_terminal();
    progress::release_log();
    error::report(outcome)
}

/// Prints the help that was asked for, or what is wrong with the arguments.
fn print_usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error::report(printed.map_err(CliError::print_failed)),
        // Where even this message cannot be printed, there is nowhere to report it.
        _ => ExitCode::from(error::USAGE),
    }
}

async fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Command::Translate(args) => translate::translate(args).await,
        Command::Transcribe(args) => translate::transcribe(args).await,
        Command::Align(args) => align::align(args).await,
        Command::Calibrate(args) => calibrate::calibrate(args).await,
        Command::Eval(args) => eval::eval(args).await,
        Command::Explain(args) => {
            let written = explain::explain(&args.file, args.output.as_deref())?;
            written.iter().for_each(|path| terminal::eprint_line(format_args!("wrote {}", path.display())));
            Ok(())
        }
        Command::Bench(args) => bench::bench(args).await,
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::serve(*args).await,
        Command::Devices => devices::devices().await,
        Command::Models(args) => models::models(args).await,
    }
}
