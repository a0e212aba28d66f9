//! Lag, real-time factor, tokens a second.

use super::engines::Cost;
use super::event::Progress;
use super::output::Stage;
use crate::text::Millis;

/// Sums since the start, and the times of the current step.
#[derive(Debug, Default)]
pub(super) struct Meter {
    computing: Millis,
    writing: Millis,
    pub recognized_tokens: u64,
    pub drafted_tokens: u64,
    pub translating: Cost,
    step: Progress,
}

impl Meter {
    pub(super) fn begin_step(&mut self) {
        self.step = Progress::default();
    }

    /// Adds the time of one model; `tokens` is the number of tokens it wrote.
    pub(super) fn add(&mut self, stage: Stage, spent: Millis, tokens: usize) {
        let step = &mut self.step;
        let field = match stage {
            Stage::Recognize => &mut step.recognize_ms,
            Stage::Align => &mut step.align_ms,
            Stage::Translate => &mut step.translate_ms,
        };
        *field = *field + spent;
        let total = match stage {
            Stage::Recognize => Some(&mut self.recognized_tokens),
            Stage::Align => None,
            Stage::Translate => Some(&mut self.drafted_tokens),
        };
        if let Some(total) = total {
            *total += tokens as u64;
            self.writing = self.writing + spent;
        }
    }

    pub(super) fn add_computing(&mut self, spent: Millis) {
        self.computing = self.computing + spent;
    }

    pub(super) fn rtf(&self, heard: Millis) -> f64 {
        rounded(self.computing.seconds() / heard.seconds().max(0.001), 1e4)
    }

    pub(super) fn tokens_per_second(&self) -> f64 {
        rounded((self.recognized_tokens + self.drafted_tokens) as f64 / self.writing.seconds().max(0.001), 10.0)
    }

    /// The report of the step, without the fields that only the stream knows.
    pub(super) fn progress(&self, heard: Millis) -> Progress {
        Progress { rtf: self.rtf(heard), tokens_per_second: self.tokens_per_second(), ..self.step }
    }
}

/// Rounds to a multiple of `1 / parts`: nobody reads more, and a short figure is the same number
/// again when it is read from JSON.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
