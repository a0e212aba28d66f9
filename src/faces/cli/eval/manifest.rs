//! Reads the manifest of an evaluation: one talk per line, with its references.
//!
//! ```json
//! {"sound":"talk.flac","sentences":[{"start_ms":646,"end_ms":3322,"de":"Guten Tag.","zh":"你好。"}]}
//! {"sound":"short.wav","de":"Ein Satz für alles."}
//! ```
//!
//! `sound` is relative to the manifest's folder. In place of it, `text` names a text with times, as
//! `translate --text` reads it; a manifest has talks of one kind only. References are in the field
//! of their language's code: one per sentence, with the sentence's times, or one for the whole
//! sound. Other fields (`source`, `en`) are for people. Empty lines are skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::super::error::{CliError, one_line};
use super::super::sha256;
use super::super::text_file::{LINE_BYTES, TextLines};
use super::super::text_input::TextOrigin;
use crate::audio::decode::AudioFile;
use crate::text::units::written_units;
use crate::text::{Language, Millis};

/// A talk and its references in one language.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Talk {
    /// File name of the sound or text. No two talks of a manifest have the same name without its
    /// extension.
    pub file: String,
    /// The file name without its extension.
    pub name: String,
    /// The sound, or the text where [`Talk::is_text`].
    pub path: PathBuf,
    pub is_text: bool,
    /// The line of the manifest, such as `manifest.jsonl:3`.
    pub place: String,
    /// In the order of the sound; at least one.
    pub segments: Vec<Segment>,
}

/// A sentence of the reference.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    pub start: Millis,
    /// `None` means the end of the sound.
    pub end: Option<Millis>,
    /// The reference's units, with their punctuation.
    pub units: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    sound: Option<PathBuf>,
    text: Option<PathBuf>,
    #[serde(default)]
    sentences: Vec<Sentence>,
    #[serde(flatten)]
    texts: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Sentence {
    start_ms: Millis,
    end_ms: Millis,
    #[serde(flatten)]
    texts: BTreeMap<String, Value>,
}

/// Reads the first `limit` talks of the manifest at `path`, with their references in `language`.
pub(super) fn read(path: &Path, language: Language, limit: Option<usize>) -> Result<Vec<Talk>, CliError> {
    let shown = path.display();
    let mut lines = TextLines::open(path, LINE_BYTES).map_err(CliError::of)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut talks: Vec<Talk> = Vec::new();
    for number in 1.. {
        let Some(line) = lines.next_text().map_err(CliError::of)? else { break };
        if limit.is_some_and(|limit| talks.len() >= limit) {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("{shown}:{number}");
        let talk = talk(line, &place, folder, language)
            .and_then(|talk| match talks.iter().any(|other| other.name == talk.name) {
                true => Err(format!("another file is called {}, too; give it another name", talk.name)),
                false => Ok(talk),
            })
            .and_then(|talk| match talks.first().is_some_and(|first| first.is_text != talk.is_text) {
                true => Err("some talks are sounds and some are texts; use a manifest for each".to_owned()),
                false => Ok(talk),
            })
            .map_err(|what| CliError::Failed(format!("{place}: {what}").into()))?;
        talks.push(talk);
    }
    match talks.is_empty() {
        true => Err(CliError::Failed(format!("{shown} contains no talk; each line must be a JSON object").into())),
        false => Ok(talks),
    }
}

fn talk(line: &str, place: &str, folder: &Path, language: Language) -> Result<Talk, String> {
    let line: Line = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let (path, is_text) = match (line.sound, line.text) {
        (Some(sound), None) => (sound, false),
        (None, Some(text)) => (text, true),
        _ => return Err("it needs either `sound` or `text`, the name of a file".to_owned()),
    };
    let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let (Some(file), Some(name)) = (part(path.file_name()), part(path.file_stem())) else {
        return Err(format!("`{}` is not a file name", path.display()));
    };
    let segments = match line.sentences.is_empty() {
        true => vec![Segment { start: Millis::ZERO, end: None, units: reference(&line.texts, language)? }],
        false => sentences(&line.sentences, language)?,
    };
    Ok(Talk { file, name, path: folder.join(path), is_text, place: place.to_owned(), segments })
}

fn sentences(sentences: &[Sentence], language: Language) -> Result<Vec<Segment>, String> {
    let mut segments: Vec<Segment> = Vec::new();
    for (at, sentence) in sentences.iter().enumerate() {
        let numbered = |what: String| format!("sentence {}: {what}", at + 1);
        if sentence.end_ms <= sentence.start_ms {
            return Err(numbered("it ends before it starts".to_owned()));
        }
        if segments.last().is_some_and(|before| before.start > sentence.start_ms) {
            return Err(numbered("it starts earlier than the sentence before it".to_owned()));
        }
        let units = reference(&sentence.texts, language).map_err(numbered)?;
        segments.push(Segment { start: sentence.start_ms, end: Some(sentence.end_ms), units });
    }
    Ok(segments)
}

fn reference(texts: &BTreeMap<String, Value>, language: Language) -> Result<Vec<String>, String> {
    let code = language.code();
    let text = texts.get(code).and_then(Value::as_str);
    let units = text.map(|text| written_units(text, language)).unwrap_or_default();
    match units.is_empty() {
        true => Err(format!("there is no reference `{code}`, which --to {code} needs")),
        false => Ok(units),
    }
}

/// A segment may end this long after the sound without a note, because its times are rounded.
const ROUNDED: Millis = Millis(100);

impl Talk {
    /// The talk with its segments cut to the `length` of its sound, and notes on what was cut. A
    /// segment that starts after the end of the sound is an error.
    pub(super) fn within(&self, length: Millis) -> Result<(Talk, Vec<String>), CliError> {
        let (mut talk, mut cut) = (self.clone(), Vec::new());
        for (at, segment) in talk.segments.iter_mut().enumerate() {
            let sentence = at + 1;
            // The single segment of a whole sound has no times of its own.
            let Some(end) = segment.end else { continue };
            if segment.start >= length {
                let message =
                    format!("sentence {sentence} starts at {}, but the sound ends at {length}", segment.start);
                return Err(self.failed(&CliError::Failed(message.into())));
            }
            if end > length + ROUNDED {
                cut.push(format!(
                    "{}: sentence {sentence} ends at {end}, but the sound ends at {length}: it is cut there",
                    self.place
                ));
            }
            segment.end = Some(end.min(length));
        }
        Ok((talk, cut))
    }

    /// Hash of the sound or text; `None` where the file is missing.
    pub(super) fn file_sha256(&self) -> Result<Option<String>, CliError> {
        if !self.path.is_file() {
            return Ok(None);
        }
        sha256::of_file(&self.path).map(Some).map_err(|error| {
            let message = format!("cannot read {}: {error}", self.path.display());
            self.failed(&CliError::Failed(message.into()))
        })
    }

    /// Checks that the sound or text can be read, before any model loads.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let checked = match self.is_text {
            true => TextOrigin::open(&self.path, Millis::ZERO).map(drop),
            false => AudioFile::open(&self.path).map(drop).map_err(CliError::of),
        };
        checked.map_err(|error| self.failed(&error))
    }

    /// `error` with the manifest line that it is about.
    pub(super) fn failed(&self, error: &CliError) -> CliError {
        CliError::Failed(format!("{}: {}", self.place, one_line(error)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_lines(lines: &str) -> Result<Vec<Talk>, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let path = folder.path().join("m.jsonl");
        std::fs::write(&path, lines).map_err(|e| e.to_string())?;
        read(&path, Language::GERMAN, None).map_err(|e| one_line(&e))
    }

    #[test]
    fn sentences_or_one_text() {
        let talks = read_lines(concat!(
            r#"{"sound":"a/x.flac","source":"Hi.","sentences":[{"start_ms":1,"end_ms":5,"en":"Hi.","de":"Hallo du."}]}"#,
            "\n\n",
            r#"{"sound":"y.wav","de":"Alles."}"#,
        ));
        let talks = talks.unwrap_or_default();
        assert_eq!(talks.len(), 2);
        assert_eq!((talks[0].file.as_str(), talks[0].name.as_str()), ("x.flac", "x"));
        assert!(talks[0].path.ends_with("a/x.flac"));
        let units = vec!["Hallo".to_owned(), "du.".to_owned()];
        assert_eq!(talks[0].segments, [Segment { start: Millis(1), end: Some(Millis(5)), units }]);
        assert_eq!(talks[1].segments[0].end, None);
        assert!(talks[1].place.ends_with("m.jsonl:3"));
    }

    #[test]
    fn a_byte_order_mark_is_left_out() {
        let talks =
            read_lines("\u{feff}{\"sound\":\"a.wav\",\"de\":\"Ja.\"}\n\u{feff}{\"sound\":\"b.wav\",\"de\":\"Ja.\"}\n");
        assert_eq!(talks.map(|talks| talks.len()), Ok(2));
    }

    #[test]
    fn segments_lie_within_the_sound() {
        let line = concat!(
            r#"{"sound":"x.flac","sentences":[{"start_ms":1,"end_ms":900,"de":"Ja."},"#,
            r#"{"start_ms":950,"end_ms":18446744073709551615,"de":"Nein."}]}"#
        );
        let talks = read_lines(line).unwrap_or_default();
        let within = |length: u64| talks[0].within(Millis(length)).map_err(|error| one_line(&error));
        let ends = |talk: &Talk| talk.segments.iter().map(|segment| segment.end).collect::<Vec<_>>();
        let (cut, notes) = within(1000).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ends(&cut), [Some(Millis(900)), Some(Millis(1000))]);
        let note =
            "m.jsonl:1: sentence 2 ends at 18446744073709551615 ms, but the sound ends at 1000 ms: it is cut there";
        assert!(notes.len() == 1 && notes[0].ends_with(note), "{notes:?}");
        let error = within(950).err().unwrap_or_default();
        assert!(error.ends_with("m.jsonl:1: sentence 2 starts at 950 ms, but the sound ends at 950 ms"), "{error}");

        let rounded = read_lines(r#"{"sound":"x.flac","sentences":[{"start_ms":1,"end_ms":1100,"de":"Ja."}]}"#);
        let rounded = rounded.unwrap_or_default()[0].within(Millis(1000));
        assert!(rounded.is_ok_and(|(talk, notes)| ends(&talk) == [Some(Millis(1000))] && notes.is_empty()));
        let whole = read_lines(r#"{"sound":"x.flac","de":"Ja."}"#).unwrap_or_default();
        assert!(whole[0].within(Millis(10)).is_ok_and(|(talk, notes)| ends(&talk) == [None] && notes.is_empty()));
    }

    #[test]
    fn errors_name_the_line() {
        let good = r#"{"sound":"a.wav","de":"Ja."}"#;
        for (line, part) in [
            ("{", "EOF"),
            (r#"{"de":"Ja."}"#, "sound"),
            (r#"{"sound":"b.wav"}"#, "`de`"),
            (r#"{"sound":"b.wav","de":" "}"#, "`de`"),
            (r#"{"sound":"/","de":"Ja."}"#, "not a file name"),
            (r#"{"sound":"b.wav","text":"b.srt","de":"Ja."}"#, "either `sound` or `text`"),
            (r#"{"text":"b.srt","de":"Ja."}"#, "some talks are sounds and some are texts"),
            (good, "called a, too"),
            (r#"{"sound":"b.wav","sentences":[{"start_ms":5,"end_ms":5,"de":"Ja."}]}"#, "sentence 1: it ends"),
            (r#"{"sound":"b.wav","sentences":[{"start_ms":5,"end_ms":9}]}"#, "sentence 1: there is no reference"),
        ] {
            let error = read_lines(&format!("{good}\n{line}")).err().unwrap_or_default();
            assert!(error.contains("m.jsonl:2: ") && error.contains(part), "{error}");
        }
        assert!(read_lines("\n").is_err_and(|error| error.contains("contains no talk")));
    }
}
