//! `alignatt translate` and `alignatt transcribe`.

use super::args::{Format, StreamArgs, TranscribeArgs, TranslateArgs};
use super::engines::{self, Loaded, Translation, Wanted};
use super::error::CliError;
use super::faces::{Faces, Output};
use super::progress::Loading;
use super::session::Opening;
use super::sound::Origin;
use super::{interrupt, session};
use crate::alignatt::{Language, Millis, PolicyKind};
use crate::cascade::Settings;
use crate::load::start;
use crate::subtitles::Side;

pub async fn translate(args: TranslateArgs) -> Result<(), CliError> {
    let translation = Translation { to: args.to, text: &args.text, heads_len: args.policy.heads_len() };
    run(&args.stream, Some((translation, args.policy)), args.trace).await
}

pub async fn transcribe(args: TranscribeArgs) -> Result<(), CliError> {
    run(&args.stream, None, false).await
}

async fn run(
    args: &StreamArgs,
    translation: Option<(Translation<'_>, PolicyKind)>,
    trace: bool,
) -> Result<(), CliError> {
    check(args)?;
    // Every file is opened before any model loads: a wrong name shall not cost a minute.
    let origins = args.files.iter().map(|name| Origin::open(name, args.raw, args.track));
    let origins = origins.collect::<Result<Vec<_>, _>>().map_err(CliError::of)?;
    let output = args.output.as_deref().map(|path| Output::open(path, &args.files)).transpose()?;
    let wanted = Wanted {
        asr: args.speech.asr.as_deref(),
        aligner: args.speech.aligner.as_deref(),
        mt: translation.map(|(translation, _)| translation),
        from: args.from,
        device: &args.speech.device,
    };
    let Loaded { mut engines, names } = {
        let mut loading = Loading::new();
        engines::load(&wanted, &mut |what, done, total| loading.report(what, done, total)).await?
    };
    let settings = settings(args, translation);
    let side = if translation.is_some() { Side::Target } else { Side::Source };
    let mut sounds = origins.into_iter().map(|origin| origin.start(args.realtime)).peekable();
    let length = sounds.peek().and_then(|sound| sound.length).filter(|_| args.files.len() == 1);
    let mut faces = Faces::open(args.format, output, side, length, trace)?;
    interrupt::streaming(true);
    let mut outcome = Ok(());
    for sound in sounds {
        let opening = Opening { start: start(&settings, &names), note: names.note };
        outcome = session::play(engines.lent(), settings, opening, sound, &mut faces).await;
        if outcome.is_err() {
            break;
        }
    }
    let finished = faces.finish();
    interrupt::streaming(false);
    outcome.and(finished)
}

fn check(args: &StreamArgs) -> Result<(), CliError> {
    let several = args.files.len() > 1;
    if several && matches!(args.format, Format::Srt | Format::Vtt) {
        return Err(CliError::Usage("subtitles are made of one FILE at a time; run once for each".to_owned()));
    }
    if args.files.iter().filter(|name| *name == "-").count() > 1 {
        return Err(CliError::Usage("standard input (`-`) can be read once only".to_owned()));
    }
    if args.track.is_some() && args.files.iter().all(|name| name == "-") {
        return Err(CliError::Usage("--track is for files: standard input has one sound track".to_owned()));
    }
    if args.raw && !args.files.iter().any(|name| name == "-") {
        return Err(CliError::Usage("--raw is for standard input: give `-` as FILE".to_owned()));
    }
    Ok(())
}

fn settings(args: &StreamArgs, translation: Option<(Translation<'_>, PolicyKind)>) -> Settings {
    let target: Option<Language> = translation.map(|(translation, _)| translation.to);
    let plain = Settings::new(args.from, target);
    let policy = translation.map_or(plain.policy, |(_, policy)| policy);
    let chunk = args.chunk_ms.map_or(policy.chunk(), Millis);
    Settings {
        policy,
        history: translation.map_or(0, |(translation, _)| usize::from(translation.text.history)),
        ..plain.chunked(chunk)
    }
}
