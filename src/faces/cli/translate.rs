//! `alignatt translate` and `alignatt transcribe`.

use std::path::Path;

use super::args::{Format, StreamArgs, TranscribeArgs, TranslateArgs};
use super::engines::{self, Loaded, Translation, Wanted};
use super::error::CliError;
use super::faces::{Faces, Output};
use super::inputs::Inputs;
use super::progress::Loading;
use super::session::Opening;
use super::sound::{Origin, is_stdin};
use super::{interrupt, session};
use crate::cascade::Settings;
use crate::cascade::event::Start;
use crate::faces::subtitles::Side;
use crate::policy::PolicyKind;
use crate::text::Millis;

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
    // Every file is opened before any model loads, so that a wrong name is found at once.
    let origins = args.files.iter().map(|name| Origin::open(name, args.raw, args.track));
    let origins = origins.collect::<Result<Vec<_>, _>>().map_err(CliError::of)?;
    let wanted = Wanted {
        asr: args.speech.asr.as_deref(),
        aligner: args.speech.aligner.as_deref(),
        mt: translation.map(|(translation, _)| translation),
        from: args.from,
        device: &args.speech.device,
    };
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    let output = output.map(|path| Output::new(path, &inputs(args, &wanted))).transpose()?;
    let Loaded { mut engines, names, given } = {
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
    for (sound, name) in sounds.zip(&args.files) {
        let start = Start { file: Some(name.display().to_string()), ..given.start(&settings, &names) };
        let opening = Opening { start, notes: names.notes.clone() };
        outcome = session::play(engines.lent(), settings, opening, sound, &mut faces).await;
        if outcome.is_err() {
            break;
        }
    }
    let finished = faces.finish();
    interrupt::streaming(false);
    outcome.and(finished)
}

/// All files that the run reads.
fn inputs(args: &StreamArgs, wanted: &Wanted<'_>) -> Inputs {
    let mut inputs = Inputs::default();
    for name in &args.files {
        match is_stdin(name) {
            true => inputs.add_stdin(),
            false => inputs.add(name, "FILE"),
        }
    }
    wanted.add_files(&mut inputs);
    inputs
}

fn check(args: &StreamArgs) -> Result<(), CliError> {
    let several = args.files.len() > 1;
    if several && matches!(args.format, Format::Srt | Format::Vtt) {
        return Err(CliError::Usage("subtitles are made of one FILE at a time; run once for each".to_owned()));
    }
    if args.files.iter().filter(|name| is_stdin(name)).count() > 1 {
        return Err(CliError::Usage("standard input (`-`) can be read once only".to_owned()));
    }
    if args.track.is_some() && args.files.iter().all(|name| is_stdin(name)) {
        return Err(CliError::Usage("--track is for files: standard input has one sound track".to_owned()));
    }
    if args.raw && !args.files.iter().any(|name| is_stdin(name)) {
        return Err(CliError::Usage("--raw is for standard input: give `-` as FILE".to_owned()));
    }
    Ok(())
}

fn settings(args: &StreamArgs, translation: Option<(Translation<'_>, PolicyKind)>) -> Settings {
    let plain = Settings::new(args.from, translation.map(|(translation, _)| translation.to));
    let settings = translation.map_or(plain, |(translation, policy)| Settings {
        history: usize::from(translation.text.history),
        ..plain.with_policy(policy)
    });
    args.chunk_ms.map_or(settings, |ms| settings.chunked(Millis(ms)))
}
