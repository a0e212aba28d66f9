//! `alignatt calibrate`: finds the attention heads of a model that follow the source, on sentence
//! pairs.
//!
//! A pair is a line of JSON: `{"source": "...", "target": "...", "alignments": [[word, unit],
//! ...]}`. An alignment says which source word a target unit translates, both counted from 0.
//! Source words are separated by blanks; a target unit is a word or, in Chinese and Japanese, a
//! character. Alignments may also come from a file with one line of `word-unit` per pair, or else
//! from the statistical aligner. Use sentences that no evaluation uses.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::CalibrateArgs;
use super::engines;
use super::error::CliError;
use super::inputs::Inputs;
use super::outputs::OutputFile;
use super::progress::LoadingBar;
use super::terminal::eprint_line;
use super::text_file::TextLines;
use crate::calibrate::scores::{Calibration, HeadScores, MIN_TS, PairMap, PairScore, Peaks};
use crate::calibrate::word_aligner;
use crate::faces::cli::heat_map::{HeatMap, svg};
use crate::models::forced::{Forced, LONGEST};
use crate::models::prompt::{PromptIds, TranslationPrompt, Turn};
use crate::policy::heads::{Head, HeadSet, Measured, Rows};
use crate::policy::{SourceWord, word_places};
use crate::text::Language;
use crate::text::units::{join_words, source_words, unit_ends};

/// The longest line of a pair, in bytes.
const LINE_BYTES: usize = 64 * 1024;
/// The most heads in a file.
const MAX_HEADS: usize = 16;
/// Number of heads that the heat map outlines: those that the policy uses.
const USED_HEADS: usize = 4;

#[derive(Debug, Deserialize)]
struct Pair {
    source: String,
    target: String,
    alignments: Option<Vec<(usize, usize)>>,
}

pub(super) async fn calibrate(args: CalibrateArgs) -> Result<(), CliError> {
    let path = args.output.clone().unwrap_or_else(|| HeadSet::file_name(args.from, args.to).into());
    let picture_path = path.with_extension("svg");
    let [output, picture] = outputs(&args, [&path, &picture_path])?;
    let mut pairs = read_pairs(&args.pairs)?;
    if let Some(path) = &args.alignments {
        read_alignments(path, &mut pairs)?;
    }
    let how = add_alignments(&mut pairs, args.to);
    let (mut forced, prompt, name) = {
        let mut bar = LoadingBar::new();
        let mut report = |what: &str, done, total| bar.report(what, done, total);
        engines::load_forced(args.mt.as_deref(), (args.from, args.to), &args.device, &mut report).await?
    };
    let peaks = if prompt.has_examples() { Peaks::Source } else { Peaks::Context };
    let how = format!("{how}, {}", peaks.name());
    let [input, predicting] = score(&mut forced, &*prompt, &pairs, args.to, peaks).await?;
    let (rows, scores) = match best_score(&input) >= best_score(&predicting) {
        true => (Rows::Input, &input),
        false => (Rows::Predicting, &predicting),
    };
    let set = head_set(&name, &args, rows, scores, &how);
    output.write(&set.to_json().map_err(CliError::of)?)?;
    let chosen: Vec<(usize, usize)> = set.top(USED_HEADS).iter().map(|head| (head.layer, head.head)).collect();
    let title = format!("{name}, {} to {}", args.from.english_name(), args.to.english_name());
    let note = format!("{} rows, {} pairs, {}", rows.name(), scores.pairs, how);
    let map = HeatMap { title: &title, note: &note, scores: &scores.ts_matrix, chosen: &chosen };
    picture.write(&svg(&map))?;
    warn(&set, scores);
    eprint_line(format_args!("wrote {} and {}", path.display(), picture_path.display()));
    print(&set, [&input, &predicting], &mut io::stdout().lock()).map_err(CliError::print_failed)
}

/// Checks the two output files: neither is one that is read, and they differ.
fn outputs(args: &CalibrateArgs, paths: [&PathBuf; 2]) -> Result<[OutputFile; 2], CliError> {
    let [path, picture] = paths;
    if path.to_string_lossy().eq_ignore_ascii_case(&picture.to_string_lossy()) {
        let message = format!("the heat map would be written to {}, too; give another --output", picture.display());
        return Err(CliError::Usage(message));
    }
    let mut inputs = Inputs::default();
    inputs.add(&args.pairs, "--pairs");
    args.alignments.iter().for_each(|path| inputs.add(path, "--alignments"));
    // Heads files are not read here, so a heads file of the model's folder may be overwritten by a
    // new measurement.
    let is_heads = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("heads."));
    let files = engines::local_model_files(args.mt.as_deref());
    files.iter().filter(|path| !is_heads(path)).for_each(|path| inputs.add(path, "--mt"));
    Ok([OutputFile::new(path, &inputs)?, OutputFile::new(picture, &inputs)?])
}

fn best_score(scores: &HeadScores) -> f64 {
    scores.heads.first().map_or(0.0, |head| head.ts)
}

fn read_pairs(path: &Path) -> Result<Vec<Pair>, CliError> {
    let mut pairs = Vec::new();
    for_each_line(path, &mut |at, line| {
        let pair: Pair = serde_json::from_str(line).map_err(|error| format!("line {at}: {error}"))?;
        if pair.source.trim().is_empty() || pair.target.trim().is_empty() {
            return Err(format!("line {at}: `source` or `target` is empty"));
        }
        pairs.push(pair);
        Ok(())
    })?;
    match pairs.is_empty() {
        true => Err(failed(path, "there are no pairs")),
        false => Ok(pairs),
    }
}

fn read_alignments(path: &Path, pairs: &mut [Pair]) -> Result<(), CliError> {
    let (pairs_len, mut count) = (pairs.len(), 0);
    for_each_line(path, &mut |at, line| {
        let link = |link: &str| {
            let (word, unit) = link.split_once('-')?;
            Some((word.parse().ok()?, unit.parse().ok()?))
        };
        let links: Option<Vec<_>> = line.split_whitespace().map(link).collect();
        let links = links.ok_or_else(|| format!("line {at}: the line is not of the form `0-0 1-2`"))?;
        let pair = pairs.get_mut(count).ok_or_else(|| format!("line {at}: there are only {pairs_len} pairs"))?;
        pair.alignments = Some(links);
        count += 1;
        Ok(())
    })?;
    match count == pairs_len {
        true => Ok(()),
        false => Err(failed(path, &format!("there are {count} lines for {pairs_len} pairs"))),
    }
}

fn for_each_line(path: &Path, take: &mut dyn FnMut(usize, &str) -> Result<(), String>) -> Result<(), CliError> {
    let mut lines = TextLines::open(path, LINE_BYTES).map_err(CliError::of)?;
    for at in 1.. {
        let Some(line) = lines.next_text().map_err(CliError::of)? else { break };
        take(at, line).map_err(|what| failed(path, &what))?;
    }
    Ok(())
}

fn failed(path: &Path, what: &str) -> CliError {
    CliError::Failed(format!("{}: {what}", path.display()).into())
}

/// Gives every pair alignments. Returns their source in words.
fn add_alignments(pairs: &mut [Pair], to: Language) -> String {
    if pairs.iter().all(|pair| pair.alignments.is_some()) {
        return "given alignments".to_owned();
    }
    let words: Vec<word_aligner::Words> =
        pairs.iter().map(|pair| (source_words(&pair.source), target_units(&pair.target, to))).collect();
    let mut bar = LoadingBar::counting();
    let found = word_aligner::align(&words, |done, all| bar.report("aligning words", done as u64, all as u64));
    for (pair, links) in pairs.iter_mut().zip(found) {
        pair.alignments.get_or_insert(links);
    }
    "alignments of the statistical aligner".to_owned()
}

fn target_units(text: &str, language: Language) -> Vec<String> {
    let mut from = 0;
    let unit = |end: usize| {
        let unit = text[from..end].trim().to_owned();
        from = end;
        unit
    };
    unit_ends(text, language).into_iter().map(unit).collect()
}

/// Replays every pair. Returns the scores of rows where a token is the input, and of rows where it
/// is predicted.
async fn score(
    forced: &mut Forced,
    prompt: &dyn TranslationPrompt,
    pairs: &[Pair],
    to: Language,
    peaks: Peaks,
) -> Result<[HeadScores; 2], CliError> {
    let [layers, heads] = forced.shape();
    let mut sums = [Calibration::new(layers, heads, peaks), Calibration::new(layers, heads, peaks)];
    let mut bar = LoadingBar::counting();
    for (at, pair) in pairs.iter().enumerate() {
        bar.report("measuring", at as u64, pairs.len() as u64);
        let words = source_words(&pair.source);
        let source = join_words(words.iter().map(String::as_str));
        let turn = Turn { history: &[], source: &source, accepted: pair.target.trim() };
        let ids = prompt.ids(&turn).map_err(CliError::of)?;
        if ids.accepted.len() > LONGEST {
            tracing::warn!(
                "pair {} is skipped: its target has {} tokens, more than {LONGEST}",
                at + 1,
                ids.accepted.len()
            );
            continue;
        }
        let links = pair.alignments.clone().unwrap_or_default();
        let maps = pair_maps(&ids, &words, &source, pair.target.trim(), links, to);
        let [mut input, mut predicting] = [
            PairScore::new(layers, heads, &maps[0]).map_err(CliError::of)?,
            PairScore::new(layers, heads, &maps[1]).map_err(CliError::of)?,
        ];
        if input.aligned_tokens() > 0 {
            let (before, target) = ids.ids.split_at(ids.accepted.start);
            let weights = forced.attention(before, target).await.map_err(CliError::of)?;
            let layer_len = weights.len() / layers;
            for (layer, weights) in weights.chunks_exact(layer_len.max(1)).enumerate() {
                input.add_layer(layer, weights).map_err(CliError::of)?;
                predicting.add_layer(layer, weights).map_err(CliError::of)?;
            }
        }
        sums[0].add(at, &input).map_err(CliError::of)?;
        sums[1].add(at, &predicting).map_err(CliError::of)?;
    }
    let [input, predicting] = sums;
    Ok([input.scores().map_err(CliError::of)?, predicting.scores().map_err(CliError::of)?])
}

/// Maps for the rows of a replay: where tokens are the input, and where they are predicted.
fn pair_maps(
    ids: &PromptIds,
    words: &[String],
    source: &str,
    target: &str,
    links: Vec<(usize, usize)>,
    to: Language,
) -> [PairMap; 2] {
    let word = |text: &String| SourceWord { text: text.clone(), end: None, committed: true, certain: false };
    let places = word_places(&words.iter().map(word).collect::<Vec<_>>());
    let has_letters = |text: Option<&str>| text.is_some_and(|text| text.chars().any(char::is_alphanumeric));
    let column_words = ids.columns.iter().map(|bytes| {
        let word = places.iter().position(|place| place.start < bytes.end && bytes.start < place.end);
        word.filter(|_| has_letters(source.get(bytes.clone())))
    });
    let ends = unit_ends(target, to);
    let units = ids.accepted_columns.iter().map(|bytes| {
        let text = target.get(bytes.clone())?;
        let first = bytes.start + (text.len() - text.trim_start().len());
        has_letters(Some(text)).then(|| ends.partition_point(|&end| end <= first))
    });
    let units: Vec<Option<usize>> = units.collect();
    let column_words: Vec<Option<usize>> = column_words.collect();
    let map = |token_units: Vec<Option<usize>>| PairMap {
        columns: ids.ids.len(),
        source: ids.source.clone(),
        column_words: column_words.clone(),
        token_units,
        links: links.clone(),
    };
    let input = [None].into_iter().chain(units.iter().copied()).collect();
    let predicting = units.iter().copied().chain([None]).collect();
    [map(input), map(predicting)]
}

fn head_set(model: &str, args: &CalibrateArgs, rows: Rows, scores: &HeadScores, how: &str) -> HeadSet {
    let heads = scores.heads.iter().take(MAX_HEADS);
    let largest = scores.stability.iter().filter_map(|split| split.max_delta).fold(0.0, f64::max);
    HeadSet {
        model: model.to_owned(),
        source: args.from,
        target: args.to,
        rows,
        measured: Measured {
            how: format!(
                "alignatt calibrate, {how}; the scores of the best heads differ by at most {largest:.3} between halves"
            ),
            pairs: scores.pairs,
            tokens: scores.aligned_tokens,
            threshold: Some(MIN_TS),
        },
        heads: heads.map(|head| Head { layer: head.layer, head: head.head, score: round(head.ts) }).collect(),
    }
}

fn round(score: f64) -> f64 {
    (score * 1e4).round() / 1e4
}

/// Prints the chosen heads, their scores for both kinds of rows, their scores within the source
/// alone, and those over words out of order.
fn print(set: &HeadSet, found: [&HeadScores; 2], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "layer  head   input  predicting  within the source  out of order")?;
    for head in set.top(USED_HEADS * 2) {
        let ts = |scores: &HeadScores| scores.ts_matrix[head.layer][head.head];
        let chosen = found[usize::from(set.rows == Rows::Predicting)];
        let score = chosen.heads.iter().find(|h| (h.layer, h.head) == (head.layer, head.head));
        let within = score.map_or(0.0, |score| score.source_ts);
        let moved = score.and_then(|score| score.moved_ts).map_or("-".to_owned(), |ts| format!("{ts:.4}"));
        let (input, predicting) = (ts(found[0]), ts(found[1]));
        writeln!(out, "{:5} {:5} {input:7.4} {predicting:11.4} {within:18.4} {moved:>13}", head.layer, head.head)?;
    }
    out.flush()
}

fn warn(set: &HeadSet, scores: &HeadScores) {
    if set.heads.is_empty() {
        tracing::warn!("no head follows the source, so the file lists none and cannot be used");
    }
    if scores.non_finite_rows > 0 {
        tracing::warn!(
            "{} rows of attention contain values that are not numbers; they count as misses",
            scores.non_finite_rows
        );
    }
    if !scores.stability.iter().all(|split| split.stable) {
        tracing::warn!("two halves of the pairs disagree about the best heads or their scores; use more pairs");
    }
}
