//! `alignatt eval --score`: scores a log that SimulEval or OmniSTEval wrote, or this program.
//!
//! With `--segments` each line of the log is a recording. Its translation is split at the segments,
//! and a unit counts up to the end of the recording. Without, each line is a segment, and a unit
//! counts up to the end of its segment; if OmniSTEval has cut the segments out of recordings, up to
//! the end of the recording. The figures have OmniSTEval's names and equal its own.
//!
//! | file | what it holds |
//! |---|---|
//! | `log` | the lines of a log |
//! | `segments` | where the segments lie in the recordings |

pub(crate) mod log;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

use super::super::args::{EvalArgs, ScoreArgs};
use super::super::error::CliError;
use super::super::text_file;
use super::pairs::{Pair, Recording, Spoken, is_blank, mean_lag, reference_len, words};
use super::quality::{self, Tokenizer};
use crate::measure::lag::ShownSegment;
use crate::measure::latency::computation_aware;
use crate::measure::resegment::Tokens;
use crate::text::Language;
use log::Entry;
use segments::Segment;

/// The largest file that is read, in bytes.
const FILE_BYTES: usize = 128 << 20;

/// What a log was scored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Recordings, or segments that were cut out of recordings.
    Long,
    /// Segments that were translated one by one.
    Short,
}

/// Scores the log at `path` and prints the figures.
pub(crate) fn score(path: &Path, args: &EvalArgs) -> Result<(), CliError> {
    let mut notes = BTreeSet::new();
    let lines = report(path, args.to, &args.score, &mut notes)?;
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}").map_err(CliError::print_failed)?;
    }
    notes.iter().for_each(|note| tracing::warn!("{note}"));
    Ok(())
}

/// The lines to print. `notes` collects what the reader should know.
fn report(
    path: &Path,
    language: Language,
    options: &ScoreArgs,
    notes: &mut BTreeSet<String>,
) -> Result<Vec<String>, CliError> {
    let tokens = tokens(language, options.whole_words)?;
    let entries = log::read(path)?;
    let (pairs, form) = match &options.segments {
        Some(segments) => (of_recordings(&entries, segments, options, tokens)?, Form::Long),
        None => of_segments(&entries, options, tokens, notes)?,
    };
    let tokenizer = options.bleu_tokenizer.unwrap_or_else(|| Tokenizer::of(language));
    Ok(figures(&pairs, form, tokenizer, notes))
}

fn tokens(language: Language, whole_words: bool) -> Result<Tokens, CliError> {
    match whole_words {
        true if !language.counts_characters() => Ok(Tokens::Words),
        _ => Tokens::of(language).map_err(|error| CliError::Failed(format!("{error}: give --whole-words").into())),
    }
}

/// The pairs of a log of recordings.
fn of_recordings(
    entries: &[Entry],
    segments: &Path,
    options: &ScoreArgs,
    tokens: Tokens,
) -> Result<Vec<Pair>, CliError> {
    let failed = |message: String| CliError::Failed(message.into());
    let Some(references) = &options.references else {
        return Err(CliError::Usage("--segments needs --references, a line for each segment".to_owned()));
    };
    let place = format!("{} and {}", references.display(), segments.display());
    let segments = segments::read(segments)?;
    let references = read_references(references)?;
    if references.len() != segments.len() {
        let (lines, segments) = (references.len(), segments.len());
        return Err(failed(format!("{place}: {lines} references for {segments} segments")));
    }
    let names = recordings(&segments)?;
    let known: HashSet<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    let mut entry_of: HashMap<&str, &Entry> = HashMap::new();
    for entry in entries {
        let name = resolve(entry, &known).map_err(|what| failed(format!("{}: {what}", entry.place)))?;
        if let Some(other) = entry_of.insert(name, entry) {
            let (at, before) = (&entry.place, &other.place);
            return Err(failed(format!(
                "{at}: {name} is translated in {before} already; leave out --segments if each line is a segment"
            )));
        }
    }
    let mut pairs = Vec::new();
    let mut rest = segments.iter().zip(references);
    for (name, len) in &names {
        let spoken: Vec<Spoken> =
            rest.by_ref().take(*len).map(|(segment, text)| spoken(segment, &text, tokens)).collect();
        let Some(entry) = entry_of.get(name.as_str()) else {
            return Err(failed(format!("{place}: the log has no translation of {name}")));
        };
        let of_one = of_recording(entry, &spoken, options.raw_elapsed, tokens);
        pairs.extend(of_one.map_err(|what| failed(format!("{}: {what}", entry.place)))?);
    }
    same_fields(entries, |entry| entry.delays.is_some(), "`delays`").map_err(failed)?;
    same_fields(entries, |entry| entry.elapsed.is_some(), "`elapsed`").map_err(failed)?;
    Ok(pairs)
}

fn spoken(segment: &Segment, text: &str, tokens: Tokens) -> Spoken {
    let text = if matches!(tokens, Tokens::Characters) { text.replace(' ', "") } else { text.to_owned() };
    Spoken { text, offset: segment.offset, length: segment.length }
}

/// The recordings in their order, each with the number of its segments. A recording is known by its
/// file name without extension, or with it, or by the whole path, whichever tells it from the
/// others.
fn recordings(segments: &[Segment]) -> Result<Vec<(String, usize)>, CliError> {
    let runs: Vec<&[Segment]> = segments.chunk_by(|a, b| a.wav == b.wav).collect();
    let mut seen = BTreeSet::new();
    for run in &runs {
        if !seen.insert(&run[0].wav) {
            let (place, wav) = (&run[0].place, &run[0].wav);
            return Err(CliError::Failed(format!("{place}: the segments of {wav} do not follow one another").into()));
        }
    }
    let named = |name: fn(&str) -> &str| runs.iter().map(|run| (name(&run[0].wav).to_owned(), run.len())).collect();
    let ways: [fn(&str) -> &str; 3] = [stem, base, |whole| whole];
    let all: [Vec<(String, usize)>; 3] = ways.map(named);
    let distinct = |names: &Vec<(String, usize)>| names.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len();
    Ok(all.into_iter().find(|names| distinct(names) == runs.len()).unwrap_or_default())
}

/// The file name of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The file name of a path without its extension.
fn stem(path: &str) -> &str {
    match base(path).rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => base(path),
    }
}

/// The name of the recording that an entry translates.
fn resolve<'a>(entry: &Entry, names: &HashSet<&'a str>) -> Result<&'a str, String> {
    let source =
        entry.source.as_deref().ok_or("`source` is missing: leave out --segments if each line is a segment")?;
    let found = [source, base(source), stem(source)].into_iter().find_map(|name| names.get(name).copied());
    found.ok_or_else(|| format!("there are no segments of {source}"))
}

fn of_recording(entry: &Entry, segments: &[Spoken], raw: bool, tokens: Tokens) -> Result<Vec<Pair>, String> {
    let units: Vec<String> = match tokens {
        Tokens::Characters => entry.prediction.chars().map(String::from).collect(),
        Tokens::Words | Tokens::Moses(_) => words(&entry.prediction).map(str::to_owned).collect(),
    };
    let what = if matches!(tokens, Tokens::Characters) { "characters" } else { "words" };
    for (times, name) in [(&entry.delays, "delays"), (&entry.elapsed, "elapsed")] {
        if let Some(times) = times.as_ref().filter(|times| times.len() != units.len()) {
            let (units, times) = (units.len(), times.len());
            return Err(format!("{units} {what} in `prediction`, but {times} times in `{name}`"));
        }
    }
    if !units.is_empty() && segments.iter().all(|segment| segment.text.is_empty()) {
        return Err("all references of this recording are empty".to_owned());
    }
    let elapsed = match (&entry.elapsed, &entry.delays) {
        (Some(elapsed), _) if raw || entry.incremental => Some(elapsed.clone()),
        (Some(elapsed), Some(delays)) => Some(computation_aware(delays, elapsed)),
        (Some(_), None) => return Err("`elapsed` without `delays`".to_owned()),
        (None, _) => None,
    };
    let delays = entry.delays.as_deref();
    let recording = Recording { units: &units, delays, elapsed: elapsed.as_deref(), segments };
    recording.pairs(tokens).map_err(|error| error.to_string())
}

/// Fails if some entries have a field and others do not: a mean over the rest would be of another
/// corpus.
fn same_fields(entries: &[Entry], has: fn(&Entry) -> bool, name: &str) -> Result<(), String> {
    let missing = entries.iter().find(|entry| !has(entry));
    match missing.filter(|_| entries.iter().any(has)) {
        Some(entry) => Err(format!("{}: {name} is missing, and other lines have it", entry.place)),
        None => Ok(()),
    }
}

/// The pairs of a log of segments. `notes` collects what the reader should know.
fn of_segments(
    entries: &[Entry],
    options: &ScoreArgs,
    tokens: Tokens,
    notes: &mut BTreeSet<String>,
) -> Result<(Vec<Pair>, Form), CliError> {
    let failed = |message: String| CliError::Failed(message.into());
    let references = match &options.references {
        Some(path) => {
            let references = read_references(path)?;
            if references.len() != entries.len() {
                let (path, lines, entries) = (path.display(), references.len(), entries.len());
                return Err(failed(format!("{path}: {lines} references for {entries} translations in the log")));
            }
            references
        }
        None => entries.iter().map(own_reference).collect::<Result<_, _>>().map_err(failed)?,
    };
    let form = if entries.iter().any(|entry| entry.cut) { Form::Long } else { Form::Short };
    if let Some(entry) = entries.iter().find(|entry| entry.delays.is_some() && entry.source_length.is_none()) {
        notes.insert(format!("{}: `source_length` is missing; such lines have no lag", entry.place));
    }
    let pairs = entries.iter().zip(references).map(|(entry, reference)| of_segment(entry, reference, form, tokens));
    Ok((pairs.collect(), form))
}

fn own_reference(entry: &Entry) -> Result<String, String> {
    let reference = entry.reference.as_ref().map(|text| text.trim_matches(is_blank).to_owned());
    reference.ok_or_else(|| format!("{}: `reference` is missing: give --references", entry.place))
}

fn of_segment(entry: &Entry, reference: String, form: Form, tokens: Tokens) -> Pair {
    let reference_len = reference_len(&reference, tokens);
    let length = entry.source_length.unwrap_or(0.0);
    let recording_end = match form {
        Form::Long => entry.recording_end.unwrap_or(f64::INFINITY),
        Form::Short => length,
    };
    let lags = |times: &Option<Vec<f64>>| {
        let delays = times.as_deref().unwrap_or_default();
        let shown = ShownSegment { delays, length, recording_end, reference_len };
        [shown.long_yaal(), shown.laal()]
    };
    let ([yaal, laal], [yaal_ca, laal_ca]) = (lags(&entry.delays), lags(&entry.elapsed));
    Pair { prediction: entry.prediction.clone(), reference, lags: [yaal, yaal_ca, laal, laal_ca] }
}

/// A line for each figure. `notes` collects why figures are missing.
fn figures(pairs: &[Pair], form: Form, tokenizer: Tokenizer, notes: &mut BTreeSet<String>) -> Vec<String> {
    let mut lines = vec![
        format!("{:<24}{}", "Segments", pairs.len()),
        format!("{:<24}{}", "Empty predictions", pairs.iter().filter(|pair| pair.prediction.trim().is_empty()).count()),
    ];
    let mut figure = |name: &str, value: Option<f64>| {
        let value = value.map_or("-".to_owned(), |value| format!("{value:.4}"));
        lines.push(format!("{name:<24}{value}"));
    };
    let mut quality = |pairs: &[Pair], suffix: &str| match quality::score(pairs, tokenizer) {
        Ok(quality) => {
            figure(&format!("BLEU{suffix}"), Some(quality.bleu));
            figure(&format!("chrF{suffix}"), Some(quality.chrf));
        }
        Err(why) => {
            notes.insert(format!("no BLEU and chrF: {why}"));
        }
    };
    quality(pairs, "");
    if pairs.iter().any(|pair| !is_nfkc(&pair.prediction) || !is_nfkc(&pair.reference)) {
        let nfkc = |text: &str| text.nfkc().collect::<String>();
        let normalized =
            |pair: &Pair| Pair { prediction: nfkc(&pair.prediction), reference: nfkc(&pair.reference), ..pair.clone() };
        quality(&pairs.iter().map(normalized).collect::<Vec<_>>(), " (NFKC)");
    }
    let long = if form == Form::Long { "Long" } else { "" };
    for (which, name) in [(0, "YAAL (CU)"), (2, "LAAL (CU)"), (1, "YAAL (CA)"), (3, "LAAL (CA)")] {
        figure(&format!("{long}{name}"), mean_lag(pairs, which));
    }
    lines
}

/// The references in the file at `path`, a line each; a blank line is an empty reference.
fn read_references(path: &Path) -> Result<Vec<String>, CliError> {
    let text = read_text(path)?;
    Ok(lines(&text).map(|line| line.trim_matches(is_blank).to_owned()).collect())
}

fn read_text(path: &Path) -> Result<String, CliError> {
    text_file::read(path, FILE_BYTES).map_err(CliError::of)
}

/// The lines of a text, which may end with `\n`, `\r\n` or `\r`.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').flat_map(|line| {
        let line = line.strip_suffix('\n').unwrap_or(line);
        line.strip_suffix('\r').unwrap_or(line).split('\r')
    })
}
