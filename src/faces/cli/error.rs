//! One line and an exit code for whatever went wrong.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use super::remedy::remedy;
use super::terminal::tell;

/// Exit code of wrong usage.
pub const USAGE: u8 = 2;
/// Exit code after Ctrl-C, SIGTERM or SIGHUP.
pub const INTERRUPTED: u8 = 130;

/// How a subcommand can end other than well.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments don't fit together.
    #[error("{0}")]
    Usage(String),
    /// Something failed; its sources are told with it.
    #[error(transparent)]
    Failed(#[from] Box<dyn Error>),
    /// Somebody asked to stop; all files are complete.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads our output any more (`| head`).
    #[error("the reader of the output has gone")]
    BrokenPipe,
}

impl CliError {
    /// Any error of the library.
    pub fn of(error: impl Error + 'static) -> CliError {
        CliError::Failed(Box::new(error))
    }

    /// A failed write to the file at `place`, which `--output` named.
    pub fn write(place: &str, error: io::Error) -> CliError {
        CliError::unwritable(place, error, "; check its folder and the space left, or give another --output")
    }

    /// A failed write to standard output.
    pub fn print(error: io::Error) -> CliError {
        CliError::unwritable("standard output", error, "")
    }

    fn unwritable(place: &str, error: io::Error, remedy: &str) -> CliError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
            _ => CliError::Failed(format!("cannot write to {place}: {error}{remedy}").into()),
        }
    }
}

/// Prints the line and gives the code.
pub fn report(outcome: Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) | Err(CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(CliError::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(CliError::Usage(message)) => {
            tell(format_args!("alignatt: {message}"));
            ExitCode::from(USAGE)
        }
        Err(CliError::Failed(error)) => {
            tell(format_args!("alignatt: {}", one_line(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

/// An error and its sources, on one line, none said twice, and what may help.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
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
