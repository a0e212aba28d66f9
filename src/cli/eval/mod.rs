//! `alignatt eval`: policies at several chunks over a manifest of talks.
//!
//! Each point (a policy at a chunk) has a folder `OUT/LANGUAGE/POLICY-CHUNK`: `events/TALK.jsonl` of each talk, the
//! files that OmniSTEval reads, and `report.json`. A talk whose events are there is not played again, so that a run
//! that was broken off goes on and a report needs no model.
//!
//! | file | what it holds |
//! |---|---|
//! | `manifest` | talks and references |
//! | `played` | a talk's events, and when each unit was shown |
//! | `report` | the figures of a point |
//! | `quality` | BLEU and chrF, by sacrebleu |
//! | `files` | what is written |

mod files;
mod manifest;
mod played;
mod quality;
mod report;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::args::{EvalArgs, Format};
use super::engines::{self, Loaded, Translation, Wanted};
use super::error::CliError;
use super::faces::Faces;
use super::interrupt;
use super::progress::{Counting, Loading};
use super::session::{self, Opening};
use super::sound::Origin;
use crate::alignatt::{Millis, PolicyKind};
use crate::cascade::event::Start;
use crate::cascade::{Align, Engines, Recognize, Settings, Translate};
use crate::load::{Names, start};
use crate::subtitles::Side;
use manifest::Talk;
use played::Played;
use report::{HEAD, Report};

/// A policy at a chunk, and where its files are.
struct Point {
    settings: Settings,
    folder: PathBuf,
}

pub async fn eval(args: EvalArgs) -> Result<(), CliError> {
    let talks = manifest::read(&args.manifest, args.to, args.limit)?;
    let points = points(&args);
    let wanted = Wanted {
        asr: args.speech.asr.as_deref(),
        aligner: args.speech.aligner.as_deref(),
        mt: Some(Translation { to: args.to, text: &args.text, heads_len: heads_len(&args.policies) }),
        from: args.from,
        device: &args.speech.device,
    };
    play_missing(&points, &talks, &wanted).await?;
    tell(&points, &talks)
}

fn points(args: &EvalArgs) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for &policy in &args.policies {
        let own = [policy.chunk().0];
        for &chunk in if args.chunk_ms.is_empty() { &own[..] } else { &args.chunk_ms } {
            let plain = Settings::new(args.from, Some(args.to)).chunked(Millis(chunk));
            let settings = Settings { policy, history: usize::from(args.text.history), ..plain };
            if points.iter().all(|point| point.settings != settings) {
                points.push(Point { settings, folder: args.out.join(args.to.code()).join(named(policy, chunk)) });
            }
        }
    }
    points
}

/// Heads for the policy that asks most.
fn heads_len(policies: &[PolicyKind]) -> usize {
    policies.iter().map(|policy| policy.heads_len()).max().unwrap_or(0)
}

/// A folder's name: no character in it that some system refuses.
fn named(policy: PolicyKind, chunk: u64) -> String {
    let policy: String = policy.to_string().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    format!("{policy}-{chunk}")
}

/// Plays every talk at every point where that hasn't been done. Models load only if there is one.
async fn play_missing(points: &[Point], talks: &[Talk], wanted: &Wanted<'_>) -> Result<(), CliError> {
    let names = engines::names(wanted);
    let mut missing: Vec<(&Point, &Talk)> = Vec::new();
    for point in points {
        for talk in talks {
            let played = Played::read(&point.events(talk))?;
            if !played.is_some_and(|played| same(&played.start, &start(&point.settings, &names))) {
                talk.check()?;
                missing.push((point, talk));
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
        let mut loading = Loading::new();
        engines::load(wanted, &mut |what, done, total| loading.report(what, done, total)).await?
    };
    interrupt::streaming(true);
    let mut counting = Counting::new(missing.len() as u64);
    let mut outcome = Ok(());
    for (point, talk) in missing {
        counting.report(&format!("{} at {}: {}", point.settings.policy, point.settings.chunk, talk.name));
        outcome = play(&mut loaded, point, talk).await;
        if outcome.is_err() {
            break;
        }
        counting.done();
    }
    interrupt::streaming(false);
    outcome
}

/// The same models at the same point; device and version may be others.
fn same(a: &Start, b: &Start) -> bool {
    let known = |start: &Start| Start { version: String::new(), device: String::new(), ..start.clone() };
    known(a) == known(b)
}

/// Plays one talk as fast as it computes. Its events get their name once they are whole.
async fn play(Loaded { engines, names }: &mut Loaded, point: &Point, talk: &Talk) -> Result<(), CliError> {
    let path = point.events(talk);
    let partial = path.with_extension("part");
    let outcome = play_to(&partial, engines.lent(), names, point, talk).await;
    let renamed = match &outcome {
        Ok(()) => fs::rename(&partial, &path),
        Err(_) => fs::remove_file(&partial).or(Ok(())),
    };
    match outcome {
        Err(CliError::Interrupted) => Err(CliError::Interrupted),
        Err(error) => Err(talk.failed(&error)),
        Ok(()) => renamed.map_err(|e| files::failed(&path, e)),
    }
}

async fn play_to<R: Recognize, A: Align, T: Translate>(
    path: &Path,
    engines: Engines<R, A, T>,
    names: &Names,
    point: &Point,
    talk: &Talk,
) -> Result<(), CliError> {
    let sound = Origin::open(&talk.sound.to_string_lossy(), false, None).map_err(CliError::of)?.start(false);
    let file = File::create(path).map_err(|e| files::failed(path, e))?;
    let out = Box::new(BufWriter::new(file));
    let mut faces = Faces::quiet(out, path.display().to_string(), Format::Jsonl, Side::Target);
    let opening = Opening { start: start(&point.settings, names), note: None };
    let outcome = session::play(engines, point.settings, opening, sound, &mut faces).await;
    outcome.and(faces.finish())
}

/// Writes each point's files and prints its line of the table.
fn tell(points: &[Point], talks: &[Talk]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let mut told = |line: &str| writeln!(out, "{line}").map_err(|e| CliError::write("standard output", e));
    told(HEAD)?;
    let mut unscored = None;
    for point in points {
        let report = point.report(talks, &mut unscored)?;
        told(&report.row())?;
    }
    if let Some(why) = unscored {
        tracing::warn!("no BLEU and chrF: {why}");
    }
    Ok(())
}

impl Point {
    fn events(&self, talk: &Talk) -> PathBuf {
        self.folder.join("events").join(format!("{}.jsonl", talk.name))
    }

    /// The point's figures from its events, written beside them. `unscored`: why there is no quality, if so.
    fn report(&self, talks: &[Talk], unscored: &mut Option<String>) -> Result<Report, CliError> {
        let language = self.settings.target.unwrap_or(self.settings.source);
        let mut played = Vec::new();
        for talk in talks {
            let path = self.events(talk);
            let Some(of_talk) = Played::read(&path)? else {
                return Err(CliError::Failed(format!("{} has gone", path.display()).into()));
            };
            played.push((talk, of_talk));
        }
        let pairs = report::pairs(&played, language);
        let quality = quality::score(&pairs, language).map_err(|why| *unscored = Some(why)).ok();
        let report = Report::of(&played, &pairs, quality);
        let report = report.ok_or_else(|| CliError::Failed("no talk was translated".into()))?;
        files::write_judged(&self.folder, &played, language)?;
        files::write_report(&self.folder, &report)?;
        Ok(report)
    }
}
