//! Reads a source text line by line: words with times as JSON lines, subtitles (SRT, WebVTT), or
//! plain text. The first line that is not blank decides which of them it is.
//!
//! JSON lines, one object each. Times are in seconds (`start`, `end`) or in milliseconds
//! (`start_ms`, `end_ms`), or absent:
//!
//! ```json
//! {"text": "Good", "start_ms": 80, "end_ms": 240}
//! {"word": "morning", "start": 0.24, "end": 0.6}
//! {"words": [{"word": "everyone", "start": 0.6, "end": 1.1}]}
//! ```
//!
//! The events of a run are JSON lines, too: the words of its closed `source` events are read, and
//! its other events are skipped.

use serde_json::{Map, Value};

use super::time::Millis;
use super::units::source_words;

/// Times from here on are refused: a thousand hours.
const TOO_LATE: f64 = 3.6e6;
/// The most lines of a cue.
const MOST_LINES: usize = 100;
/// A cue that is shown no longer than this only moves lines up.
const FLASH: Millis = Millis(100);

/// A piece of the source text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passage {
    /// One word or several; never blank.
    pub text: String,
    /// When it is said, from and to; `None` where the text does not say.
    pub times: Option<(Millis, Millis)>,
    /// A blank line stands before it.
    pub opens_paragraph: bool,
}

/// Gives each of `words` its share of the time from `start` to `end`, by its number of letters.
pub(crate) fn spread(words: Vec<String>, start: Millis, end: Millis) -> Vec<(String, Millis, Millis)> {
    let length = |word: &String| word.chars().count() as u64;
    let (span, letters) = ((end - start).0, words.iter().map(length).sum::<u64>().max(1));
    let at = |before: u64| start + Millis(span.saturating_mul(before) / letters);
    let mut before = 0;
    let timed = words.into_iter().map(|word| {
        let from = before;
        before += length(&word);
        (word, at(from), at(before))
    });
    timed.collect()
}

/// The time of a word in a text without times: 150 words a minute.
const PER_WORD: Millis = Millis(400);

/// A word with its times in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextWord {
    /// The word with its punctuation.
    pub text: String,
    /// When it begins.
    pub start: Millis,
    /// When it ends.
    pub end: Millis,
}

/// Adds the words of `passage`, with its times, or behind the words before at 150 words a minute. A
/// pause of `pause` stands before a paragraph. Times never go back.
pub(crate) fn append(words: &mut Vec<TextWord>, passage: &Passage, pause: Millis) {
    let texts = source_words(&passage.text);
    let before = words.last().map(|word| word.end);
    let (start, end) = passage.times.unwrap_or_else(|| {
        let gap = if passage.opens_paragraph { pause } else { Millis::ZERO };
        let start = before.map_or(Millis::ZERO, |end| end + gap);
        (start, start + Millis(PER_WORD.0.saturating_mul(texts.len() as u64)))
    });
    let start = start.max(before.unwrap_or_default());
    let timed = spread(texts, start, end.max(start));
    words.extend(timed.into_iter().map(|(text, start, end)| TextWord { text, start, end }));
}

/// Reads a whole text. Errors come with the number of their line, from 1.
pub(crate) fn read(text: &str, pause: Millis) -> Result<Vec<TextWord>, (usize, PassageError)> {
    let (mut passages, mut words) = (Passages::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        for passage in passages.line(line).map_err(|error| (at + 1, error))? {
            append(&mut words, &passage, pause);
        }
    }
    passages.finish().iter().for_each(|passage| append(&mut words, passage, pause));
    Ok(words)
}

/// The end of the chunk of length `chunk` in which `time` lies: the step that a word with this end
/// belongs to.
pub(crate) fn chunk_end(time: Millis, chunk: Millis) -> Millis {
    Millis(time.0.div_ceil(chunk.0.max(1)).saturating_mul(chunk.0))
}

/// What a line is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PassageError {
    /// The line is not a JSON object.
    #[error("is not a JSON object: {0}")]
    NotJson(String),
    /// The object has no text.
    #[error("has no `text`, `word` or `words`")]
    NoText,
    /// A member has a value of another type.
    #[error("has a `{0}` that is not {1}")]
    Type(&'static str, &'static str),
    /// A time has no other end.
    #[error("has a start without an end, or an end without a start")]
    HalfTime,
    /// The end is before the start.
    #[error("ends before it starts")]
    Backwards,
    /// A line of times of a subtitle is malformed.
    #[error("is not a line of times such as 00:00:01,000 --> 00:00:02,500")]
    CueTimes,
    /// A subtitle has too many lines.
    #[error("belongs to a subtitle of more than {MOST_LINES} lines; a blank line is missing")]
    LongCue,
}

/// The form of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    /// SRT and WebVTT, which differ in nothing that matters here once the header is read.
    Subtitles,
    Plain,
}

/// A subtitle that is being read.
#[derive(Debug, Default)]
struct Cue {
    times: (Millis, Millis),
    lines: Vec<String>,
}

/// Reads a text line by line.
#[derive(Debug, Default)]
pub(crate) struct Passages {
    form: Option<Form>,
    /// A first line of digits: the number of a subtitle, or a text.
    number: Option<String>,
    cue: Option<Cue>,
    /// The lines of the last subtitle and its end, because rolling captions repeat them.
    last: (Vec<String>, Millis),
    blank: bool,
}

impl Passages {
    /// A reader of a text that begins.
    pub(crate) fn new() -> Passages {
        Passages::default()
    }

    /// Reads the next line, without its end. Returns the passages that it completes.
    ///
    /// Errors: the line does not fit the form of the text. The line after it can still be read.
    pub(crate) fn line(&mut self, line: &str) -> Result<Vec<Passage>, PassageError> {
        let line = line.trim_start_matches('\u{feff}');
        if self.form.is_none() && line.trim().is_empty() && self.number.is_none() {
            return Ok(Vec::new());
        }
        if self.form.is_none() && self.number.is_none() && is_number(line) {
            self.number = Some(line.trim().to_owned());
            return Ok(Vec::new());
        }
        let form = *self.form.get_or_insert_with(|| form_of(line));
        match form {
            Form::Json if line.trim().is_empty() => Ok(Vec::new()),
            Form::Json => json_passages(line),
            Form::Subtitles => self.subtitle_line(line),
            Form::Plain => {
                let number = self.number.take();
                let mut passages: Vec<Passage> = number.and_then(|text| self.plain(&text)).into_iter().collect();
                passages.extend(self.plain(line));
                Ok(passages)
            }
        }
    }

    /// Ends the text. Returns the passages that are still open.
    pub(crate) fn finish(&mut self) -> Vec<Passage> {
        if self.form.is_none() {
            let number = self.number.take();
            return number.and_then(|text| self.plain(&text)).into_iter().collect();
        }
        self.close_cue().into_iter().collect()
    }

    fn plain(&mut self, line: &str) -> Option<Passage> {
        let text = line.trim();
        if text.is_empty() {
            self.blank = true;
            return None;
        }
        let opens_paragraph = std::mem::take(&mut self.blank);
        Some(Passage { text: text.to_owned(), times: None, opens_paragraph })
    }

    /// A line of SRT or WebVTT. Lines outside a cue (numbers, names, notes, styles) are skipped.
    fn subtitle_line(&mut self, line: &str) -> Result<Vec<Passage>, PassageError> {
        self.number = None;
        if line.contains("-->") {
            let done = self.close_cue();
            self.cue = Some(Cue { times: cue_times(line)?, lines: Vec::new() });
            return Ok(done.into_iter().collect());
        }
        if line.trim().is_empty() {
            // Rolling captions have lines of one blank inside a cue.
            let inside = !line.is_empty() && self.cue.is_some();
            return Ok(if inside { None } else { self.close_cue() }.into_iter().collect());
        }
        if let Some(cue) = &mut self.cue {
            if cue.lines.len() == MOST_LINES {
                return Err(PassageError::LongCue);
            }
            cue.lines.push(line.to_owned());
        }
        Ok(Vec::new())
    }

    fn close_cue(&mut self) -> Option<Passage> {
        let Cue { times, lines } = self.cue.take()?;
        let lines: Vec<String> = lines.iter().map(|line| without_tags(line)).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return None;
        }
        let new = self.new_lines(&lines, times);
        let text = lines[lines.len() - new..].join(" ");
        self.last = (lines, times.1);
        (new > 0).then_some(Passage { text, times: Some(times), opens_paragraph: false })
    }

    /// How many lines at the end of a cue are new. Captions that roll show the last lines of the
    /// cue before once more, above the new ones. A cue that only repeats a line says it again.
    fn new_lines(&self, lines: &[String], times: (Millis, Millis)) -> usize {
        let (last, last_end) = &self.last;
        let most = lines.len().min(last.len());
        let repeated = (1..=most).rev().find(|&len| last[last.len() - len..] == lines[..len]).unwrap_or(0);
        let rolls = times.0 <= *last_end + FLASH && (repeated < lines.len() || times.1 - times.0 <= FLASH);
        lines.len() - if rolls { repeated } else { 0 }
    }
}

fn is_number(line: &str) -> bool {
    let digits = line.trim();
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

fn form_of(line: &str) -> Form {
    let line = line.trim();
    if line.starts_with('{') {
        Form::Json
    } else if line.contains("-->") || line.split_whitespace().next() == Some("WEBVTT") {
        Form::Subtitles
    } else {
        Form::Plain
    }
}

fn json_passages(line: &str) -> Result<Vec<Passage>, PassageError> {
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| PassageError::NotJson(error.to_string()))?;
    let list = match object.get("type") {
        Some(Value::String(kind)) if kind == "source" => {
            if object.get("closed") != Some(&Value::Bool(true)) {
                return Ok(Vec::new());
            }
            object.get("committed")
        }
        Some(Value::String(kind))
            if ["start", "target", "listen", "progress", "warning", "end"].contains(&kind.as_str()) =>
        {
            return Ok(Vec::new());
        }
        _ => object.get("words"),
    };
    match list {
        Some(Value::Array(words)) => {
            let passages = words.iter().map(|word| match word {
                Value::Object(word) => passage(word),
                _ => Err(PassageError::Type("words", "a list of objects")),
            });
            passages.filter_map(Result::transpose).collect()
        }
        Some(Value::Null) | None => Ok(passage(&object)?.into_iter().collect()),
        Some(_) => Err(PassageError::Type("words", "a list of objects")),
    }
}

/// The passage of one object; `None` where its text is blank.
fn passage(object: &Map<String, Value>) -> Result<Option<Passage>, PassageError> {
    let text = match ["text", "word"].iter().find_map(|key| object.get(*key)) {
        Some(Value::String(text)) => text.trim(),
        Some(_) => return Err(PassageError::Type("text", "a text")),
        None => return Err(PassageError::NoText),
    };
    let time = |seconds: &'static str, millis: &'static str| match (object.get(seconds), object.get(millis)) {
        (None | Some(Value::Null), None | Some(Value::Null)) => Ok(None),
        (Some(value), None) => in_range(value.as_f64(), seconds).map(Some),
        (_, Some(value)) => in_range(value.as_f64().map(|time| time / 1000.0), millis).map(Some),
    };
    let times = match (time("start", "start_ms")?, time("end", "end_ms")?) {
        (None, None) => None,
        (Some(start), Some(end)) if end < start => return Err(PassageError::Backwards),
        (Some(start), Some(end)) => Some((start, end)),
        _ => return Err(PassageError::HalfTime),
    };
    Ok((!text.is_empty()).then(|| Passage { text: text.to_owned(), times, opens_paragraph: false }))
}

fn in_range(seconds: Option<f64>, key: &'static str) -> Result<Millis, PassageError> {
    let fits = seconds.filter(|time| (0.0..TOO_LATE).contains(time));
    fits.map(|time| Millis((time * 1000.0).round() as u64)).ok_or(PassageError::Type(key, "a time from 0 on"))
}

/// The times of `00:00:01,000 --> 00:00:02,500`, with settings behind them or without, hours or
/// without.
fn cue_times(line: &str) -> Result<(Millis, Millis), PassageError> {
    let (start, rest) = line.split_once("-->").ok_or(PassageError::CueTimes)?;
    let end = rest.split_whitespace().next().unwrap_or_default();
    let times = clock_time(start.trim()).zip(clock_time(end));
    match times.ok_or(PassageError::CueTimes)? {
        (start, end) if end < start => Err(PassageError::Backwards),
        times => Ok(times),
    }
}

fn clock_time(text: &str) -> Option<Millis> {
    let (whole, fraction) = text.split_once([',', '.']).unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.len() <= 6 && part.chars().all(|c| c.is_ascii_digit());
    let parts: Vec<&str> = whole.split(':').collect();
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(|part| digits(part)) || !digits(fraction) {
        return None;
    }
    let whole = parts.iter().try_fold(0_u64, |sum, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
    let millis = format!("{fraction:0<3}").get(..3)?.parse::<u64>().ok()?;
    let time = whole * 1000 + millis;
    ((time as f64) < TOO_LATE * 1000.0).then_some(Millis(time))
}

/// The text of a line of a subtitle: without tags (`<i>`, `<c.blue>`, `{\an8}`), with its entities
/// replaced.
fn without_tags(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['<', '{']) {
        let (before, tagged) = rest.split_at(at);
        text.push_str(before);
        let is_tag = match tagged.as_bytes()[0] {
            b'<' => tagged[1..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/'),
            _ => tagged.starts_with("{\\"),
        };
        let end = tagged.find(['>', '}']).filter(|_| is_tag);
        rest = match end {
            Some(end) => &tagged[end + 1..],
            None => {
                text.push_str(&tagged[..1]);
                &tagged[1..]
            }
        };
    }
    text.push_str(rest);
    for (entity, character) in
        [("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&lrm;", ""), ("&rlm;", ""), ("&quot;", "\""), ("&amp;", "&")]
    {
        text = text.replace(entity, character);
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passages(text: &str) -> Result<Vec<Passage>, PassageError> {
        let mut passages = Passages::new();
        let mut found = Vec::new();
        for line in text.lines() {
            found.extend(passages.line(line)?);
        }
        found.extend(passages.finish());
        Ok(found)
    }

    fn timed(text: &str) -> Vec<(String, Option<(u64, u64)>)> {
        let found = passages(text).expect("a text");
        found.into_iter().map(|p| (p.text, p.times.map(|(start, end)| (start.0, end.0)))).collect()
    }

    fn says(expected: &[(&str, Option<(u64, u64)>)]) -> Vec<(String, Option<(u64, u64)>)> {
        expected.iter().map(|(text, times)| ((*text).to_owned(), *times)).collect()
    }

    #[test]
    fn json_lines_have_times_in_seconds_or_milliseconds() {
        let text = "\n{\"text\": \"Good\", \"start_ms\": 80, \"end_ms\": 240}\n\
            {\"word\": \" morning \", \"start\": 0.24, \"end\": 0.6}\n\n\
            {\"text\": \"to you\", \"words\": [{\"word\": \"to\", \"start\": 1, \"end\": 1.5}, {\"text\": \"you\"}]}\n\
            {\"text\": \"  \"}\n{\"text\": \"all\", \"start\": null, \"words\": null}";
        let expected = [
            ("Good", Some((80, 240))),
            ("morning", Some((240, 600))),
            ("to", Some((1000, 1500))),
            ("you", None),
            ("all", None),
        ];
        assert_eq!(timed(text), says(&expected));
    }

    #[test]
    fn events_of_a_run_give_the_words_of_its_closed_segments() {
        let text = r#"{"audio_ms":0,"wall_ms":0,"type":"start","version":"0.1.0"}
            {"type":"source","segment":0,"committed":[{"text":"Hi","start_ms":80,"end_ms":240}],"tentative":"x","closed":false}
            {"type":"target","segment":0,"delta":"Hallo","committed":"Hallo","tentative":"","closed":false}
            {"type":"source","segment":0,"committed":[{"text":"Hi","start_ms":80,"end_ms":240},{"text":"all.","start_ms":300,"end_ms":500}],"tentative":"","closed":true}
            {"type":"end"}"#;
        assert_eq!(timed(text), says(&[("Hi", Some((80, 240))), ("all.", Some((300, 500)))]));
    }

    #[test]
    fn subtitles_of_both_kinds() {
        let srt = "1\n00:00:01,000 --> 00:00:02,500\n<i>Good</i> morning,\n{\\an8}everyone.\n\n\
            2\n00:01:02,5 --> 01:00:03,000 X1:1 X2:2\nA < b &amp; c\n";
        let cues = [("Good morning, everyone.", Some((1000, 2500))), ("A < b & c", Some((62_500, 3_603_000)))];
        assert_eq!(timed(srt), says(&cues));
        let vtt = "WEBVTT - a talk\n\nNOTE not shown\nat all\n\nSTYLE\n::cue { color: red }\n\nintro\n\
            00:01.000 --> 00:02.500 align:start position:0%\n<v Ann>Good <00:00:01.500><c> morning</c>\n";
        assert_eq!(timed(vtt), says(&[("Good  morning", Some((1000, 2500)))]));
        assert_eq!(timed("00:01.000 --> 00:02.000\nHi"), says(&[("Hi", Some((1000, 2000)))]));
    }

    #[test]
    fn rolling_captions_are_read_once() {
        let vtt = "WEBVTT\nKind: captions\nLanguage: en\n\n\
            00:00:00.000 --> 00:00:02.000 align:start\n \nwelcome<00:00:01.000><c> to</c>\n\n\
            00:00:02.000 --> 00:00:02.010 align:start\nwelcome to\n \n\n\
            00:00:02.010 --> 00:00:04.000 align:start\nwelcome to\nthe<00:00:03.000><c> talk</c>\n\n\
            00:00:04.000 --> 00:00:04.010 align:start\nthe talk\n \n";
        assert_eq!(timed(vtt), says(&[("welcome to", Some((0, 2000))), ("the talk", Some((2010, 4000)))]));
        let twice = "1\n00:00:01,000 --> 00:00:02,000\nYes.\n\n2\n00:00:02,000 --> 00:00:03,000\nYes.\n";
        assert_eq!(timed(twice), says(&[("Yes.", Some((1000, 2000))), ("Yes.", Some((2000, 3000)))]));
    }

    #[test]
    fn plain_text_has_lines_and_paragraphs() {
        let found = passages("\n\nGood morning,\neveryone.\n\n  2 \nThe cat\n").expect("a text");
        let expected = [("Good morning,", false), ("everyone.", false), ("2", true), ("The cat", false)]
            .map(|(text, opens)| Passage { text: text.to_owned(), times: None, opens_paragraph: opens });
        assert_eq!(found, expected);
        assert_eq!(timed("1984\nis a novel.\n"), says(&[("1984", None), ("is a novel.", None)]));
        assert_eq!(timed("7"), says(&[("7", None)]));
        assert_eq!(timed(""), []);
    }

    #[test]
    fn a_text_without_times_is_said_at_a_steady_pace_and_times_never_go_back() {
        let words = |text: &str| {
            let words = read(text, Millis(1200)).expect("a text");
            words.into_iter().map(|w| (w.text, w.start.0, w.end.0)).collect::<Vec<_>>()
        };
        let says = |words: &[(&str, u64, u64)]| {
            words.iter().map(|(text, start, end)| ((*text).to_owned(), *start, *end)).collect::<Vec<_>>()
        };
        let paced = [("Good", 0, 400), ("cats", 400, 800), ("sit.", 800, 1200), ("They", 2400, 2800)];
        assert_eq!(words("Good cats\nsit.\n\nThey\n"), says(&paced));
        let back = "{\"text\":\"one\",\"start\":1,\"end\":2}\n{\"text\":\"two\",\"start\":0.5,\"end\":0.6}\n{\"text\":\"six\"}";
        assert_eq!(words(back), says(&[("one", 1000, 2000), ("two", 2000, 2000), ("six", 2000, 2400)]));
        assert_eq!(read("{\"text\":\"a\"}\n{}", Millis::ZERO), Err((2, PassageError::NoText)));
        assert_eq!(chunk_end(Millis(1), Millis(850)), Millis(850));
        assert_eq!(chunk_end(Millis(850), Millis(850)), Millis(850));
        assert_eq!(chunk_end(Millis(u64::MAX), Millis(850)), Millis(u64::MAX));
    }

    #[test]
    fn wrong_lines_say_what_is_wrong() {
        for (text, what) in [
            ("{\"text\": \"a\"}\nplain", "is not a JSON object"),
            ("{\"text\": 3}", "has a `text` that is not a text"),
            ("{\"start\": 3}", "has no `text`"),
            ("{\"text\": \"a\", \"start\": 1}", "has a start without an end"),
            ("{\"text\": \"a\", \"start\": 2, \"end\": 1}", "ends before it starts"),
            ("{\"text\": \"a\", \"start\": -1, \"end\": 1}", "has a `start` that is not"),
            ("{\"text\": \"a\", \"start\": 0, \"end\": 1e300}", "has a `end` that is not"),
            ("{\"words\": [1]}", "has a `words` that is not a list of objects"),
            ("00:01 --> later\nHi", "is not a line of times"),
            ("00:00:02,000 --> 00:00:01,000\nHi", "ends before it starts"),
        ] {
            let error = passages(text).expect_err(text).to_string();
            assert!(error.starts_with(what), "{text}: {error}");
        }
    }

    proptest! {
        /// Any lines: no panic, and no passage is blank or ends before it starts.
        #[test]
        fn any_text_is_read_or_refused(lines in prop::collection::vec(
            prop_oneof![
                any::<String>(),
                "[0-9:,. <>{}/a-c&;-]{0,30}",
                Just("00:00:01,000 --> 00:00:02,000".to_owned()),
                Just("WEBVTT".to_owned()),
                Just(String::new()),
            ], 0..12))
        {
            let mut passages = Passages::new();
            let mut found: Vec<Passage> = lines.iter().filter_map(|line| passages.line(line).ok()).flatten().collect();
            found.extend(passages.finish());
            for passage in found {
                prop_assert!(!passage.text.trim().is_empty());
                prop_assert!(passage.times.is_none_or(|(start, end)| start <= end));
            }
        }
    }
}
