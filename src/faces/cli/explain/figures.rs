//! Times and numbers as people read them.

use std::fmt;

use crate::text::Millis;

/// A time or duration as people read it, with the given number of decimals: `7.65 s`, `12:07.65`.
pub(super) struct Seconds(pub Millis, pub usize);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seconds(time, decimals) = *self;
        let (minutes, seconds) = (time.0 / 60_000, Millis(time.0 % 60_000).seconds());
        let width = if decimals == 0 { 2 } else { decimals + 3 };
        match minutes {
            0 => write!(f, "{seconds:.decimals$} s"),
            1..60 => write!(f, "{minutes}:{seconds:0width$.decimals$}"),
            _ => write!(f, "{}:{:02}:{seconds:0width$.decimals$}", minutes / 60, minutes % 60),
        }
    }
}

/// A difference of times, in seconds.
pub(super) fn signed_seconds(ms: f64) -> String {
    format!("{:.2} s", ms / 1000.0).replace('-', "−")
}

/// A number with its digits in groups of three.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}
