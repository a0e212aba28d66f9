//! Prints errors in one line and gives their exit codes.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use super::remedy::remedy;
use super::terminal::eprint_line;

/// Exit code for wrong usage.
pub(super) const USAGE: u8 = 2;
/// Exit code after Ctrl-C, SIGTERM or SIGHUP.
pub(super) const INTERRUPTED: u8 = 130;

/// The ways in which a subcommand can fail.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The arguments are wrong.
    #[error("{0}")]
    Usage(String),
    /// A call failed. The message includes the sources of the error.
    #[error(transparent)]
    Failed(#[from] Box<dyn Error>),
    /// The user asked to stop. All files are complete.
    #[error("interrupted")]
    Interrupted,
    /// The reader of our output has closed it (`| head`).
    #[error("the reader of the output has closed it")]
    BrokenPipe,
}

impl CliError {
    /// Wraps any error of the library.
    pub(super) fn of(error: impl Error + 'static) -> CliError {
        CliError::Failed(Box::new(error))
    }

    /// A write to the file at `place`, from `--output`, failed.
    pub(super) fn write_failed(place: &str, error: io::Error) -> CliError {
        CliError::unwritable(place, error, "; check its folder and the space left, or give another --output")
    }

    /// A write to standard output failed.
    pub(super) fn print_failed(error: io::Error) -> CliError {
        CliError::unwritable("standard output", error, "")
    }

    fn unwritable(place: &str, error: io::Error, remedy: &str) -> CliError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
            _ => CliError::Failed(format!("cannot write to {place}: {error}{remedy}").into()),
        }
    }
}

/// Prints an error in one line and returns the exit code.
pub(super) fn report(outcome: Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) | Err(CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(CliError::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(CliError::Usage(message)) => {
            eprint_line(format_args!("alignatt: {message}"));
            ExitCode::from(USAGE)
        }
        Err(CliError::Failed(error)) => {
            eprint_line(format_args!("alignatt: {}", one_line(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

/// An error with its sources and a remedy, on one line. A text that is in the line already is not
/// repeated.
pub(super) fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = error.source();
    }
    if let Some(remedy) = remedy(error) {
        line = format!("{line}; {remedy}");
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
