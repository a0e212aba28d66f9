//! Writes the files of a point: `hypothesis.jsonl`, `segments.yaml` and `references.txt` as
//! OmniSTEval reads them, and `report.json`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::super::error::CliError;
use super::manifest::Talk;
use super::played::Played;
use super::report::Report;
use super::score::log::INCREMENTAL;
use crate::text::units::unit_seam;
use crate::text::{Language, Millis};

const HYPOTHESIS: &str = "hypothesis.jsonl";
const SEGMENTS: &str = "segments.yaml";
const REFERENCES: &str = "references.txt";
const REPORT: &str = "report.json";

/// The files that are written into a point's folder, besides the events.
pub(super) const FILE_NAMES: [&str; 4] = [HYPOTHESIS, SEGMENTS, REFERENCES, REPORT];

/// A line of a log as SimulEval writes it.
#[derive(Serialize)]
struct Hypothesis<'a> {
    index: usize,
    source: [&'a str; 1],
    source_length: Millis,
    prediction: String,
    delays: &'a [Millis],
    elapsed: &'a [Millis],
    elapsed_semantics: &'a str,
    elapsed_wallclock_ms: &'a [Millis],
}

/// Writes the three files for OmniSTEval into `folder`.
pub(super) fn write_omnisteval(folder: &Path, talks: &[(Talk, Played)], language: Language) -> Result<(), CliError> {
    let seam = unit_seam(language);
    let (mut hypotheses, mut segments, mut references) = (String::new(), String::new(), String::new());
    for (index, (talk, played)) in talks.iter().enumerate() {
        hypotheses.push_str(&json(&Hypothesis {
            index,
            source: [&talk.file],
            source_length: played.length,
            prediction: played.units.join(seam),
            delays: &played.delays,
            elapsed: &played.elapsed,
            elapsed_semantics: INCREMENTAL,
            elapsed_wallclock_ms: &played.wall,
        })?);
        hypotheses.push('\n');
        for segment in &talk.segments {
            let length = segment.end.unwrap_or(played.length) - segment.start;
            // A JSON string is also a YAML string.
            let wav = json(&talk.file)?;
            let (offset, duration) = (segment.start.seconds(), length.seconds());
            // Writing to a string cannot fail.
            let _ = writeln!(segments, "- {{wav: {wav}, offset: {offset:.3}, duration: {duration:.3}}}");
            let _ = writeln!(references, "{}", segment.units.join(seam));
        }
    }
    write(&folder.join(HYPOTHESIS), &hypotheses)?;
    write(&folder.join(SEGMENTS), &segments)?;
    write(&folder.join(REFERENCES), &references)
}

pub(super) fn write_report(folder: &Path, report: &Report) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(report).map_err(CliError::of)?;
    write(&folder.join(REPORT), &(text + "\n"))
}

pub(super) fn make_folder(folder: &Path) -> Result<(), CliError> {
    fs::create_dir_all(folder).map_err(|e| failed(folder, e))
}

/// A write to `path` failed.
pub(super) fn failed(path: &Path, error: std::io::Error) -> CliError {
    let message = format!("cannot write to {}: {error}; check the space left, or give another --out", path.display());
    CliError::Failed(message.into())
}

fn json(value: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string(value).map_err(CliError::of)
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|e| failed(path, e))
}
