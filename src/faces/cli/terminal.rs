//! Writes to standard error, and finds out what the terminal can show.
//!
//! Standard error can be a full disk, a closed pipe or a terminal that is gone. `eprintln!` panics
//! there, and the results would be lost. Nothing in the program uses it, and the lint in `lib.rs`
//! forbids it.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Writes a line to standard error. A failure is ignored, because there is nowhere left to report
/// it.
pub(super) fn eprint_line(line: impl Display) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Whether an environment variable is set to a blank value, which means the same as unset.
pub(super) fn is_blank(name: &OsStr) -> bool {
    env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty())
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some() && !is_blank(name.as_ref())
}

/// Whether the terminal can show only plain lines, without cursor movement and colours.
pub(super) fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Whether progress bars can be drawn on standard error.
pub(super) fn stderr_takes_bars() -> bool {
    io::stderr().is_terminal() && !is_dumb()
}

/// Whether lines on standard error may be coloured.
pub(super) fn stderr_takes_colour() -> bool {
    stderr_takes_bars() && !is_set("NO_COLOR")
}
