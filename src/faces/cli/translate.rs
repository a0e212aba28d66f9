//! `alignatt translate` and `alignatt transcribe`.

use std::path::Path;

use super::args::{Format, StreamArgs, TranscribeArgs, TranslateArgs};
use super::engines::{self, LoadRequest, Loaded, TranslationRequest};
use super::error::CliError;
use super::inputs::Inputs;
use super::outputs::{OutputFile, Outputs};
use super::progress::LoadingBar;
use super::session::FirstEvents;
use super::sound::{Origin, is_stdin};
use super::{interrupt, session};
use crate::cascade::Settings;
use crate::cascade::event::Start;
use crate::faces::subtitles::Side;
use crate::policy::PolicyKind;
use crate::text::Millis;

pub(super) async fn translate(args: TranslateArgs) -> Result<(), CliError> {
    let translation = TranslationRequest { to: args.to, text: &args.text, heads_len: args.policy.heads_len() };
    run(&args.stream, Some((translation, args.policy)), args.trace).await
}

pub(super) async fn transcribe(args: TranscribeArgs) -> Result<(), CliError> {
    run(&args.stream, None, false).await
}

async fn run(
    args: &StreamArgs,
    translation: Option<(TranslationRequest<'_>, PolicyKind)>,
    trace: bool,
) -> Result<(), CliError> {
    check(args)?;
    // Every file is opened before any model loads, so that a wrong name is found at once.
    let origins = args.files.iter().map(|name| Origin::open(name, args.raw, args.track));
    let origins = origins.collect::<Result<Vec<_>, _>>().map_err(CliError::of)?;
    let request = LoadRequest {
        asr: args.speech.asr.as_deref(),
        aligner: args.speech.aligner.as_deref(),
        mt: translation.map(|(translation, _)| translation),
        from: args.from,
        device: &args.speech.device,
    };
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    let output = output.map(|path| OutputFile::new(path, &inputs(args, &request))).transpose()?;
    let Loaded { mut engines, names, hashes } = {
        let mut bar = LoadingBar::new();
        engines::load(&request, &mut |what, done, total| bar.report(what, done, total)).await?
    };
    let settings = settings(args, translation);
    let side = if translation.is_some() { Side::Target } else { Side::Source };
    let mut sounds = origins.into_iter().map(|origin| origin.start(args.realtime)).peekable();
    let length = sounds.peek().and_then(|sound| sound.length).filter(|_| args.files.len() == 1);
    let mut outputs = Outputs::open(args.format, output, side, length, trace)?;
    interrupt::set_streaming(true);
    let mut outcome = Ok(());
    for (sound, name) in sounds.zip(&args.files) {
        let start = Start { file: Some(name.display().to_string()), ..hashes.start(&settings, &names) };
        let first = FirstEvents { start, notes: names.notes.clone() };
        outcome = session::play(engines.lent(), settings, first, sound, &mut outputs).await;
        if outcome.is_err() {
            break;
        }
    }
    let finished = outputs.finish();
    interrupt::set_streaming(false);
    outcome.and(finished)
}

/// All files that the run reads.
fn inputs(args: &StreamArgs, request: &LoadRequest<'_>) -> Inputs {
    let mut inputs = Inputs::default();
    for name in &args.files {
        match is_stdin(name) {
            true => inputs.add_stdin(),
            false => inputs.add(name, "FILE"),
        }
    }
    request.add_files(&mut inputs);
    inputs
}

fn check(args: &StreamArgs) -> Result<(), CliError> {
    let several = args.files.len() > 1;
    if several && matches!(args.format, Format::Srt | Format::Vtt) {
        return Err(CliError::Usage(
            "several FILEs are given, but subtitles are made from one; run the program once for each".to_owned(),
        ));
    }
    if args.files.iter().filter(|name| is_stdin(name)).count() > 1 {
        return Err(CliError::Usage("standard input (`-`) is given more than once".to_owned()));
    }
    if args.track.is_some() && args.files.iter().all(|name| is_stdin(name)) {
        return Err(CliError::Usage("--track selects a track of a file, but only standard input is given".to_owned()));
    }
    if args.raw && !args.files.iter().any(|name| is_stdin(name)) {
        return Err(CliError::Usage("--raw describes standard input, which is not given; give `-` as FILE".to_owned()));
    }
    Ok(())
}

fn settings(args: &StreamArgs, translation: Option<(TranslationRequest<'_>, PolicyKind)>) -> Settings {
    let plain = Settings::new(args.from, translation.map(|(translation, _)| translation.to));
    let settings = translation.map_or(plain, |(translation, policy)| Settings {
        history: usize::from(translation.text.history),
        ..plain.with_policy(policy)
    });
    args.chunk_ms.map_or(settings, |ms| settings.chunked(Millis(ms)))
}
