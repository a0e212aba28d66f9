//! Tests of the command line with fake engines: its input, its output, and what it refuses.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use clap::{CommandFactory, Parser};

use super::args::{Cli, Command, Format};
use super::error::{CliError, one_line};
use super::inputs::Inputs;
use super::outputs::{OutputFile, Outputs, View};
use super::session::{self, FirstEvents};
use super::sound::{self, Sound, SoundItem};
use crate::audio::error::AudioError;
use crate::cascade::fakes::{
    SharedLog, Talk, TalkAligner, TalkRecognizer, WordTranslator, sound as talk_sound, start_of,
};
use crate::cascade::rules::Rules;
use crate::cascade::{Activity, Engines, Event, EventKind, Settings};
use crate::faces::subtitles::Side;
use crate::policy::PolicyKind;
use crate::text::{Language, Millis};

/// A file whose content a test can read.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>, Option<usize>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1.is_some_and(|most| self.0.borrow().len() + bytes.len() > most) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const TALK: &str = "Hi everyone. Today we talk about birds, which fly south. They come back.";

fn pieces(talk: &Talk, length: u64) -> Vec<SoundItem> {
    (0..length)
        .step_by(100)
        .map(|at| {
            let spoken = talk.words.iter().any(|w| w.1.0 < at + 100 && w.2.0 > at);
            let activity = if spoken { Activity::Speech } else { Activity::Silence };
            SoundItem::Piece(talk_sound(Millis(at), Millis(at + 100)), activity)
        })
        .collect()
}

fn play(
    format: Format,
    pieces: Vec<SoundItem>,
    log: &SharedLog,
    most: Option<usize>,
) -> (String, Result<(), CliError>) {
    let talk = Talk::spoken(TALK, 0, 300);
    let plain = Settings::new(Language::ENGLISH, Some(Language::GERMAN));
    let settings = Settings { policy: PolicyKind::LocalAgreement, ..plain };
    let mut engines = Engines {
        recognizer: TalkRecognizer(talk.clone(), log.clone()),
        aligner: TalkAligner(talk.clone(), log.clone()),
        translator: Some(WordTranslator { target: Language::GERMAN, log: log.clone(), heads_len: 0 }),
    };
    let file = Shared(Rc::default(), most);
    let mut outputs = Outputs::quiet(Box::new(file.clone()), "a test".to_owned(), format, Side::Target);
    let outcome = pollster::block_on(session::play(
        engines.lent(),
        settings,
        FirstEvents { start: start_of(&settings), notes: Vec::new() },
        Sound::of_pieces(pieces),
        &mut outputs,
    ));
    let outcome = outcome.and(outputs.finish());
    let text = String::from_utf8_lossy(&file.0.borrow()).into_owned();
    (text, outcome)
}

fn talk_pieces() -> Vec<SoundItem> {
    pieces(&Talk::spoken(TALK, 0, 300), 5_000)
}

fn events(text: &str) -> Vec<Event> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn every_format_holds_the_whole_talk() {
    let log = SharedLog::default();
    let (text, outcome) = play(Format::Text, talk_pieces(), &log, None);
    assert!(outcome.is_ok());
    assert_eq!(text, "HI EVERYONE.\nTODAY WE TALK ABOUT BIRDS, WHICH FLY SOUTH.\nTHEY COME BACK.\n");
    let (jsonl, _) = play(Format::Jsonl, talk_pieces(), &log, None);
    assert_eq!(Rules::check(&events(&jsonl)), Ok(()));
    assert_eq!(events(&jsonl).len(), jsonl.lines().count());
    let (srt, _) = play(Format::Srt, talk_pieces(), &log, None);
    assert!(srt.starts_with("1\n00:00:00,000 --> 00:00:00,600\nHI EVERYONE.\n\n2\n00:00:00,600 --> "), "{srt}");
    let (vtt, _) = play(Format::Vtt, talk_pieces(), &log, None);
    assert!(vtt.starts_with("WEBVTT\n\n00:00:00.000 --> "), "{vtt}");
    assert_eq!(vtt.matches(" --> ").count(), 3);
}

#[test]
fn damage_and_failures_leave_complete_files() {
    let damaged = || {
        let mut pieces = talk_pieces();
        pieces.truncate(20);
        pieces.push(SoundItem::Failed(AudioError::Broken { name: "x.mp3".to_owned(), what: "it ends".to_owned() }));
        pieces
    };
    let log = SharedLog::default();
    let (jsonl, outcome) = play(Format::Jsonl, damaged(), &log, None);
    assert!(matches!(outcome, Err(CliError::Failed(_))));
    assert_eq!(Rules::check(&events(&jsonl)), Ok(()));
    assert!(play(Format::Text, damaged(), &log, None).0.starts_with("HI EVERYONE.\n"), "what was read is transcribed");

    log.borrow_mut().fails_in = Some(6);
    let (jsonl, outcome) = play(Format::Jsonl, talk_pieces(), &log, None);
    let line = outcome.err().map(|e| one_line(&e));
    assert!(line.as_ref().is_some_and(|l| l.ends_with("s: the device was lost") && !l.contains('\n')), "{line:?}");
    assert_eq!(Rules::check(&events(&jsonl)), Ok(()));

    let mut warned = talk_pieces();
    warned.push(SoundItem::Warning("the end is missing".to_owned()));
    let (jsonl, outcome) = play(Format::Jsonl, warned, &log, None);
    assert!(outcome.is_ok());
    assert!(events(&jsonl).iter().any(|e| matches!(&e.kind, EventKind::Warning(w) if w.message.contains("missing"))));
}

#[test]
fn a_reader_who_leaves_ends_it_quietly() {
    let (_, outcome) = play(Format::Jsonl, talk_pieces(), &SharedLog::default(), Some(900));
    assert!(matches!(outcome, Err(CliError::BrokenPipe)));
}

#[test]
fn nothing_at_all_is_a_valid_file() {
    let log = SharedLog::default();
    assert_eq!(play(Format::Text, Vec::new(), &log, None).0, "");
    assert_eq!(play(Format::Srt, Vec::new(), &log, None).0, "");
    assert_eq!(play(Format::Vtt, Vec::new(), &log, None).0, "WEBVTT\n\n");
    assert_eq!(events(&play(Format::Jsonl, Vec::new(), &log, None).0).len(), 2);
}

#[test]
fn an_output_file_is_kept_until_there_is_something_to_write() {
    let folder = tempfile::tempdir().map(|folder| folder.path().join("x.srt"));
    let Ok(path) = folder else { panic!("no temporary folder") };
    let missing = OutputFile::new(&path, &Inputs::default()).err().map(|e| one_line(&e));
    assert!(missing.is_some_and(|line| line.contains("x.srt")), "its folder is gone");
    let Ok(folder) = tempfile::tempdir() else { panic!("no temporary folder") };
    let path = folder.path().join("x.srt");
    assert!(OutputFile::new(&path, &Inputs::default()).is_ok());
    assert!(!path.exists(), "it was tried and nothing of it stayed");
    assert!(std::fs::write(&path, "former").is_ok());
    let output = OutputFile::new(&path, &Inputs::default());
    assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), Some("former"));
    let outputs = output.and_then(|output| {
        Outputs::open(Format::Srt, Some(output), Side::Target, None, View { live: false, trace: false })
    });
    assert!(outputs.and_then(Outputs::finish).is_ok());
    assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), Some(""));
    let mut inputs = Inputs::default();
    inputs.add(&path, "FILE");
    assert!(matches!(OutputFile::new(&path, &inputs), Err(CliError::Usage(_))));
}

#[test]
fn standard_input_without_a_wav_header_is_answered_with_raw() {
    let found = "this is not a WAV".to_owned();
    let message =
        |name: &str| sound::with_remedy(AudioError::UnknownFormat { name: name.to_owned(), found: found.clone() });
    assert!(message("standard input").to_string().ends_with("--raw"));
    assert!(!message("x.wav").to_string().contains("--raw"));
}

#[test]
fn arguments() {
    Cli::command().debug_assert();
    let parse = |line: &str| Cli::try_parse_from(line.split_whitespace());
    assert!(parse("alignatt translate a.wav b.wav --to de --format srt -o x.srt --realtime --chunk-ms 500").is_ok());
    assert!(parse("alignatt translate - --raw --to zh --policy hold-n:2 --mt google/gemma-4-E2B-it").is_ok());
    assert!(matches!(parse("alignatt transcribe a.wav --from it").map(|c| c.command), Ok(Command::Transcribe(_))));
    assert!(parse("alignatt eval m.jsonl --to de --policy hold-n:1 --policy offline --chunk-ms 500 --limit 2").is_ok());
    assert!(parse("alignatt models fetch Qwen/Qwen3-ASR-0.6B").is_ok());
    for wrong in [
        "alignatt",
        "alignatt translate a.wav",
        "alignatt translate --to de --text x.srt a.wav",
        "alignatt translate a.wav --to xx",
        "alignatt translate a.wav --to de --policy greedy",
        "alignatt translate a.wav --to de --chunk-ms 5",
        "alignatt align a.wav",
        "alignatt eval --to de",
        "alignatt eval m.jsonl --to de --policy greedy",
    ] {
        let code = parse(wrong).err().map(|e| e.exit_code());
        assert_eq!(code, Some(2), "{wrong}");
    }
}
