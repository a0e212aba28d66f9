//! `alignatt translate` and `alignatt transcribe`.

use std::io::{self, IsTerminal};
use std::path::Path;

use super::args::{Format, StreamArgs, TranscribeArgs, TranslateArgs};
use super::engines::{self, LoadRequest, Loaded, LoadedText, TranslationRequest};
use super::error::CliError;
use super::inputs::Inputs;
use super::outputs::{OutputFile, Outputs, View};
use super::progress::LoadingBar;
use super::session::FirstEvents;
use super::sound::{Origin, is_stdin};
use super::text_input::TextOrigin;
use super::{interrupt, session};
use crate::cascade::Settings;
use crate::cascade::event::Start;
use crate::faces::subtitles::Side;
use crate::policy::PolicyKind;
use crate::text::Millis;

pub(super) async fn translate(args: TranslateArgs) -> Result<(), CliError> {
    let translation = TranslationRequest { to: args.to, text: &args.text, heads_len: args.policy.heads_len() };
    match &args.text_input {
        Some(text) => run_text(&args, text, translation).await,
        None => run(&args.stream, Some((translation, args.policy)), args.trace).await,
    }
}

/// Translates a text instead of sound.
async fn run_text(args: &TranslateArgs, text: &Path, translation: TranslationRequest<'_>) -> Result<(), CliError> {
    let stream = &args.stream;
    let settings = settings(stream, Some((translation, args.policy)));
    let origin = TextOrigin::open(text, settings.pause)?;
    let request = LoadRequest {
        asr: None,
        aligner: None,
        mt: Some(translation),
        context: &stream.context,
        from: stream.from,
        device: &stream.speech.device,
    };
    let mut read = Inputs::default();
    match is_stdin(text) {
        true => read.add_stdin(),
        false => read.add(text, "--text"),
    }
    request.add_files(&mut read);
    let output = output_file(stream, &read)?;
    let LoadedText { mut translator, names, hashes } = {
        let mut bar = LoadingBar::new();
        engines::load_text(&request, &mut |what, done, total| bar.report(what, done, total)).await?
    };
    // What somebody types would go into the live view.
    let typed = is_stdin(text) && io::stdin().is_terminal();
    let length = match &origin {
        TextOrigin::File(words) => words.last().map(|word| word.end),
        TextOrigin::Stdin => None,
    };
    let view = View { live: !typed, trace: args.trace };
    let mut outputs = Outputs::open(stream.format, output, Side::Target, length, view)?;
    interrupt::set_streaming(true);
    let start = Start { file: Some(text.display().to_string()), ..hashes.start(&settings, &names) };
    let first = FirstEvents { start, notes: names.notes };
    let outcome = session::play_text(&mut translator, settings, first, origin, stream.realtime, &mut outputs).await;
    let finished = outputs.finish();
    interrupt::set_streaming(false);
    outcome.and(finished)
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
        context: &args.context,
        from: args.from,
        device: &args.speech.device,
    };
    let output = output_file(args, &inputs(args, &request))?;
    let Loaded { mut engines, names, hashes } = {
        let mut bar = LoadingBar::new();
        engines::load(&request, &mut |what, done, total| bar.report(what, done, total)).await?
    };
    let settings = settings(args, translation);
    let side = if translation.is_some() { Side::Target } else { Side::Source };
    let mut sounds = origins.into_iter().map(|origin| origin.start(args.realtime)).peekable();
    let length = sounds.peek().and_then(|sound| sound.length).filter(|_| args.files.len() == 1);
    let view = View { live: true, trace };
    let mut outputs = Outputs::open(args.format, output, side, length, view)?;
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

/// The file for the results; `None` for standard output.
fn output_file(args: &StreamArgs, read: &Inputs) -> Result<Option<OutputFile>, CliError> {
    let path = args.output.as_deref().filter(|path| *path != Path::new("-"));
    path.map(|path| OutputFile::new(path, read)).transpose()
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
    if args.files.is_empty() {
        return Err(CliError::Usage("no FILE is given; name a sound file, or `-` for standard input".to_owned()));
    }
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
