//! One line and an exit code for whatever went wrong.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use super::remedy::remedy;

/// Exit code of wrong usage.
pub const USAGE: u8 = 2;
/// Exit code after Ctrl-C.
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
    /// Ctrl-C; all files are complete.
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

    /// A failed write to `place`.
    pub fn write(place: &str, error: io::Error) -> CliError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
            _ => CliError::Failed(
                format!(
                    "cannot write to {place}: {error}; check its folder and the space left, or give another --output"
                )
                .into(),
            ),
        }
    }
}

/// Prints the line and gives the code.
pub fn report(outcome: Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) | Err(CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(CliError::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(CliError::Usage(message)) => {
            eprintln!("alignatt: {message}");
            ExitCode::from(USAGE)
        }
        Err(CliError::Failed(error)) => {
            eprintln!("alignatt: {}", one_line(error.as_ref()));
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
