//! The measurements of one point, which is a policy at a chunk, over all talks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::manifest::Talk;
use super::pairs::{Pair, mean_lag};
use super::played::Played;
use super::quality::Quality;
use crate::cascade::event::Start;
use crate::text::Language;

/// The content of `report.json`. Lags are means over the reference's segments, in milliseconds;
/// `null` where there is nothing to count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub policy: String,
    pub chunk_ms: u64,
    pub source_language: Language,
    pub target_language: Language,
    /// `null` where the talks are texts.
    pub asr: Option<String>,
    pub aligner: Option<String>,
    pub mt: Option<String>,
    /// Number of closed segments in a prompt.
    pub history: usize,
    pub context_sha256: Option<String>,
    pub heads_sha256: Option<String>,
    /// The device and the program version that played the talks; all of them where they differ.
    pub device: String,
    pub version: String,
    pub talks: usize,
    pub segments: usize,
    pub sound_seconds: f64,
    /// Scores by sacrebleu on the text resegmented to the reference's segments; absent where there
    /// are none.
    #[serde(flatten)]
    pub quality: Option<Quality>,
    pub long_yaal_ms: Option<f64>,
    /// `_ca` means computation-aware, here and below.
    pub long_yaal_ca_ms: Option<f64>,
    pub laal_ms: Option<f64>,
    pub laal_ca_ms: Option<f64>,
    /// Computing time over sound.
    pub rtf: f64,
    pub drafted_tokens: u64,
    pub target_units: u64,
    /// Drafted tokens per shown unit.
    pub drafted_per_unit: f64,
}

impl Report {
    /// The report for `talks`, whose parts are `pairs`. `None` without any talk.
    pub(super) fn of(talks: &[(Talk, Played)], pairs: &[Pair], quality: Option<Quality>) -> Option<Report> {
        let start = &talks.first()?.1.start;
        let sum = |value: fn(&Played) -> f64| talks.iter().map(|(_, played)| value(played)).sum::<f64>();
        let sound_seconds = sum(|played| played.length.seconds());
        let drafted_tokens = talks.iter().map(|(_, played)| played.end.drafted_tokens).sum();
        let target_units = talks.iter().map(|(_, played)| played.units.len() as u64).sum();
        let lag = |which: usize| mean_lag(pairs, which).map(rounded);
        Some(Report {
            policy: start.policy.clone().unwrap_or_default(),
            chunk_ms: start.chunk_ms.0,
            source_language: start.source_language,
            target_language: start.target_language?,
            asr: start.asr.clone(),
            aligner: start.aligner.clone(),
            mt: start.mt.clone(),
            history: start.history,
            context_sha256: start.context_sha256.clone(),
            heads_sha256: start.heads_sha256.clone(),
            device: distinct(talks, |start| &start.device),
            version: distinct(talks, |start| &start.version),
            talks: talks.len(),
            segments: pairs.len(),
            sound_seconds: rounded(sound_seconds),
            quality: quality.map(|q| Quality { bleu: rounded(q.bleu), chrf: rounded(q.chrf), ..q }),
            long_yaal_ms: lag(0),
            long_yaal_ca_ms: lag(1),
            laal_ms: lag(2),
            laal_ca_ms: lag(3),
            rtf: rounded(sum(Played::computing_seconds) / sound_seconds.max(0.001)),
            drafted_tokens,
            target_units,
            drafted_per_unit: rounded(drafted_tokens as f64 / (target_units as f64).max(1.0)),
        })
    }

    /// The row of the table below [`HEAD`].
    pub(super) fn row(&self) -> String {
        let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
        let (bleu, chrf) = (self.quality.as_ref().map(|q| q.bleu), self.quality.as_ref().map(|q| q.chrf));
        format!(
            "{:<24} {:>6} {:>6} {:>6} {:>9} {:>9} {:>7} {:>7} {:>6.2} {:>8.2}",
            self.policy,
            self.chunk_ms,
            number(bleu, 1),
            number(chrf, 1),
            number(self.long_yaal_ms, 0),
            number(self.long_yaal_ca_ms, 0),
            number(self.laal_ms, 0),
            number(self.laal_ca_ms, 0),
            self.rtf,
            self.drafted_per_unit,
        )
    }
}

/// The distinct values of the talks.
fn distinct(talks: &[(Talk, Played)], value: fn(&Start) -> &str) -> String {
    let values: BTreeSet<&str> = talks.iter().map(|(_, played)| value(&played.start)).collect();
    values.into_iter().collect::<Vec<_>>().join(", ")
}

/// The head of the table. Lags are in milliseconds; `CA` includes computing time; `drafted` is
/// tokens per shown unit.
pub(super) const HEAD: &str =
    "policy                    chunk   BLEU   chrF  LongYAAL        CA    LAAL      CA    RTF  drafted";

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
