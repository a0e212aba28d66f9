//! What the program says on standard error, and how much the terminal can show.
//!
//! Standard error can be a full disk, a closed pipe or a terminal that has gone. `eprintln!` panics there and takes
//! the results down with it, so nothing in the program uses it: the lint in `lib.rs` refuses it.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Writes a line to standard error. A failure is ignored: there is nobody left to report it to.
pub fn tell(line: impl Display) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Whether an environment variable is there without a value, which means the same as if it were not there.
pub fn is_blank(name: &OsStr) -> bool {
    env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty())
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some() && !is_blank(name.as_ref())
}

/// Whether the terminal can only show plain lines: it does not move its cursor and has no colours.
pub fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Whether progress bars can be drawn on standard error.
pub fn stderr_takes_bars() -> bool {
    io::stderr().is_terminal() && !is_dumb()
}

/// Whether lines on standard error may be coloured.
pub fn stderr_takes_colour() -> bool {
    stderr_takes_bars() && !is_set("NO_COLOR")
}
