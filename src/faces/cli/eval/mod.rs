//! `alignatt eval`: plays a manifest of talks with several policies and chunks, and measures them.
//!
//! Each point (a policy at a chunk) has a folder `OUT/LANGUAGE/POLICY-CHUNK` with the events of
//! each talk as `events/TALK.jsonl`, the files that OmniSTEval reads, and `report.json`. A talk
//! whose events are there, from the same settings, is not played again. An interrupted run
//! therefore continues, and a report of finished runs needs no model.
//!
//! | file | what it holds |
//! |---|---|
//! | `manifest` | talks and references |
//! | `played` | a talk's events, and when each unit was shown |
//! | `pairs` | translations split at the segments of their references |
//! | `report` | the measurements of a point |
//! | `quality` | BLEU and chrF, by sacrebleu |
//! | `files` | the files that are written |
//! | `score` | the same measurements of logs that SimulEval or OmniSTEval wrote |

mod files;
mod manifest;
mod pairs;
mod played;
pub(super) mod quality;
mod report;
mod score;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::args::{EvalArgs, Format, target_language};
use super::engines::{self, LoadRequest, Loaded, LoadedText, TranslationRequest};
use super::error::CliError;
use super::inputs::Inputs;
use super::interrupt;
use super::outputs::Outputs;
use super::progress::{ItemBar, LoadingBar};
use super::session::{self, FirstEvents};
use super::sound::Origin;
use super::text_input::TextOrigin;
use crate::cascade::Settings;
use crate::cascade::event::Start;
use crate::faces::subtitles::Side;
use crate::measure::resegment::Tokens;
use crate::policy::PolicyKind;
use crate::text::Millis;
use manifest::Talk;
use played::Played;
use quality::Tokenizer;
use report::{HEAD, Report};

/// Version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A policy at a chunk, and the folder of its files.
struct Point {
    settings: Settings,
    folder: PathBuf,
}

pub(super) async fn eval(args: EvalArgs) -> Result<(), CliError> {
    match (&args.score.score, &args.manifest) {
        (Some(log), _) => score::score(log, &args),
        (None, Some(manifest)) => play_manifest(&args, manifest).await,
        (None, None) => Err(CliError::Usage("give a MANIFEST, or a log with --score".to_owned())),
    }
}

async fn play_manifest(args: &EvalArgs, manifest: &Path) -> Result<(), CliError> {
    target_language(args.to.code()).map_err(|what| CliError::Usage(format!("--to {}: {what}", args.to)))?;
    let talks = manifest::read(manifest, args.to, args.limit)?;
    let is_text = talks.iter().any(|talk| talk.is_text);
    if is_text && (args.speech.asr.is_some() || args.speech.aligner.is_some()) {
        let message = "--asr and --aligner hear sound, and the talks of the manifest are texts";
        return Err(CliError::Usage(message.to_owned()));
    }
    let points = points(args);
    let request = LoadRequest {
        asr: args.speech.asr.as_deref(),
        aligner: args.speech.aligner.as_deref(),
        mt: Some(TranslationRequest { to: args.to, text: &args.text, heads_len: heads_len(&args.policies) }),
        context: &args.context,
        from: args.from,
        device: &args.speech.device,
    };
    protect_inputs(manifest, &points, &talks, &request)?;
    play_missing(&points, &talks, &request, is_text).await?;
    write_reports(&points, &talks)
}

/// Fails if a point's files would overwrite a file that is read.
fn protect_inputs(
    manifest: &Path,
    points: &[Point],
    talks: &[Talk],
    request: &LoadRequest<'_>,
) -> Result<(), CliError> {
    let mut inputs = Inputs::default();
    inputs.add(manifest, "MANIFEST");
    talks.iter().for_each(|talk| inputs.add(&talk.path, &talk.place));
    request.add_files(&mut inputs);
    for point in points {
        let of_talk = |talk: &Talk| [point.events(talk), partial(&point.events(talk))];
        let written = files::FILE_NAMES.iter().map(|name| point.folder.join(name));
        written.chain(talks.iter().flat_map(of_talk)).try_for_each(|path| inputs.protect(&path, "--out"))?;
    }
    Ok(())
}

fn points(args: &EvalArgs) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for &policy in &args.policies {
        let own = [policy.chunk().0];
        for &chunk in if args.chunk_ms.is_empty() { &own[..] } else { &args.chunk_ms } {
            let plain = Settings::new(args.from, Some(args.to)).with_policy(policy).chunked(Millis(chunk));
            let settings = Settings { history: usize::from(args.text.history), ..plain };
            if points.iter().all(|point| point.settings != settings) {
                points.push(Point { settings, folder: args.out.join(args.to.code()).join(named(policy, chunk)) });
            }
        }
    }
    points
}

/// Number of heads for the policy that uses the most.
fn heads_len(policies: &[PolicyKind]) -> usize {
    policies.iter().map(|policy| policy.heads_len()).max().unwrap_or(0)
}

/// Name of a folder, without characters that some systems refuse.
fn named(policy: PolicyKind, chunk: u64) -> String {
    let policy: String = policy.to_string().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    format!("{policy}-{chunk}")
}

/// Plays every talk at every point that has no events of it. Models load only if a talk is missing.
async fn play_missing(
    points: &[Point],
    talks: &[Talk],
    request: &LoadRequest<'_>,
    is_text: bool,
) -> Result<(), CliError> {
    let (names, hashes) = engines::names_and_hashes(request, is_text).await?;
    let files = talks.iter().map(Talk::file_sha256).collect::<Result<Vec<_>, _>>()?;
    let mut missing: Vec<(&Point, &Talk, &Option<String>)> = Vec::new();
    for point in points {
        for (talk, file) in talks.iter().zip(&files) {
            let requested = Start { file_sha256: file.clone(), ..hashes.start(&point.settings, &names) };
            let played = Played::read(&point.events(talk))?;
            if !played.is_some_and(|played| is_same_run(&played.start, &requested)) {
                talk.check()?;
                missing.push((point, talk, file));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    for point in points {
        files::make_folder(&point.folder.join("events"))?;
    }
    let mut loaded = {
        let mut bar = LoadingBar::new();
        let mut report = |what: &str, done: u64, total: u64| bar.report(what, done, total);
        match is_text {
            true => Player::Text(Box::new(engines::load_text(request, &mut report).await?)),
            false => Player::Sound(Box::new(engines::load(request, &mut report).await?)),
        }
    };
    interrupt::set_streaming(true);
    let mut bar = ItemBar::new(missing.len() as u64);
    let mut outcome = Ok(());
    for (point, talk, file) in missing {
        bar.report(&format!("{} at {}: {}", point.settings.policy, point.settings.chunk, talk.name));
        outcome = play(&mut loaded, point, talk, file).await;
        if outcome.is_err() {
            break;
        }
        bar.done();
    }
    interrupt::set_streaming(false);
    outcome
}

/// Whether a talk was played as requested: with the same sound, the same model names and the same
/// settings. The device and the version may differ, and so may values that are not known here,
/// because the sound is missing or the model has not been fetched.
fn is_same_run(played: &Start, requested: &Start) -> bool {
    let settings = |start: &Start| Start {
        version: String::new(),
        device: String::new(),
        file: None,
        heads_sha256: start.heads_sha256.clone().filter(|_| requested.heads_sha256.is_some()),
        file_sha256: start.file_sha256.clone().filter(|_| requested.file_sha256.is_some()),
        ..start.clone()
    };
    settings(played) == settings(requested)
}

/// The path of the events until the run is complete.
fn partial(events: &Path) -> PathBuf {
    events.with_extension("part")
}

/// The models that play talks.
enum Player {
    Sound(Box<Loaded>),
    Text(Box<LoadedText>),
}

/// Plays one talk as fast as it computes. Its events get their final name when they are complete.
async fn play(player: &mut Player, point: &Point, talk: &Talk, file_sha256: &Option<String>) -> Result<(), CliError> {
    let (names, hashes) = match player {
        Player::Sound(loaded) => (&loaded.names, &loaded.hashes),
        Player::Text(loaded) => (&loaded.names, &loaded.hashes),
    };
    let path = point.events(talk);
    let partial = partial(&path);
    let start = Start {
        file: Some(talk.file.clone()),
        file_sha256: file_sha256.clone(),
        ..hashes.start(&point.settings, names)
    };
    let outcome = play_to(&partial, player, start, point, talk).await;
    let renamed = match &outcome {
        Ok(()) => fs::rename(&partial, &path),
        Err(_) => fs::remove_file(&partial).or(Ok(())),
    };
    let outcome = match outcome {
        Err(CliError::Interrupted) => Err(CliError::Interrupted),
        Err(error) => Err(talk.failed(&error)),
        Ok(()) => renamed.map_err(|e| files::failed(&path, e)),
    };
    outcome?;
    // Checks that the manifest fits the sound before the next talk is played.
    let played = Played::read(&path)?;
    played.map_or(Ok(()), |played| talk.within(played.length).map(drop))
}

async fn play_to(path: &Path, player: &mut Player, start: Start, point: &Point, talk: &Talk) -> Result<(), CliError> {
    let file = File::create(path).map_err(|e| files::failed(path, e))?;
    let out = Box::new(BufWriter::new(file));
    let mut outputs = Outputs::quiet(out, path.display().to_string(), Format::Jsonl, Side::Target);
    let first = FirstEvents { start, notes: Vec::new() };
    let settings = point.settings;
    let outcome = match player {
        Player::Sound(loaded) => {
            let sound = Origin::open(&talk.path, false, None).map_err(CliError::of)?.start(false);
            session::play(loaded.engines.lent(), settings, first, sound, &mut outputs).await
        }
        Player::Text(loaded) => {
            let text = TextOrigin::open(&talk.path, settings.pause)?;
            session::play_text(&mut loaded.translator, settings, first, text, false, &mut outputs).await
        }
    };
    outcome.and(outputs.finish())
}

/// Writes each point's files and prints its row of the table.
fn write_reports(points: &[Point], talks: &[Talk]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let mut print = |line: &str| writeln!(out, "{line}").map_err(CliError::print_failed);
    print(HEAD)?;
    let mut notes = BTreeSet::new();
    for point in points {
        let report = point.report(talks, &mut notes)?;
        print(&report.row())?;
    }
    notes.iter().for_each(|note| tracing::warn!("{note}"));
    Ok(())
}

impl Point {
    fn events(&self, talk: &Talk) -> PathBuf {
        self.folder.join("events").join(format!("{}.jsonl", talk.name))
    }

    /// The report of the point, computed from its events and written beside them. `notes` collects
    /// what the reader should know.
    fn report(&self, talks: &[Talk], notes: &mut BTreeSet<String>) -> Result<Report, CliError> {
        let language = self.settings.target.unwrap_or(self.settings.source);
        let mut played = Vec::new();
        for talk in talks {
            let path = self.events(talk);
            let Some(of_talk) = Played::read(&path)? else {
                return Err(CliError::Failed(format!("{} no longer exists", path.display()).into()));
            };
            let (talk, cut) = talk.within(of_talk.length)?;
            notes.extend(cut);
            played.push((talk, of_talk));
        }
        let tokens = Tokens::of(language).map_err(CliError::of)?;
        let pairs = pairs::pairs(&played, tokens).map_err(CliError::of)?;
        let quality = quality::score(&pairs, Tokenizer::of(language));
        let quality = quality.map_err(|why| notes.insert(format!("no BLEU and chrF: {why}"))).ok();
        let report = Report::of(&played, &pairs, quality);
        let report = report.ok_or_else(|| CliError::Failed("no talk was translated".into()))?;
        if report.version != VERSION {
            let (events, by) = (self.folder.join("events"), &report.version);
            notes.insert(format!(
                "{} comes from version {by}, and this is {VERSION}; delete it to have the talks played again",
                events.display()
            ));
        }
        files::write_omnisteval(&self.folder, &played, language)?;
        files::write_report(&self.folder, &report)?;
        Ok(report)
    }
}
