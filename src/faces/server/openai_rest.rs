//! OpenAI's `POST /v1/audio/transcriptions` and `/v1/audio/translations`: a file in a form goes in,
//! its text comes out, whole or as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::{Value, json};

use super::App;
use super::guard::Who;
use super::jobs::{self, Job, Sound};
use super::multipart::Multipart;
use super::record::{Commit, Record};
use super::reply::Problem;
use super::running_text::RunningText;
use super::session::{News, Wanted};
use super::spool::Kept;
use super::viewers::{subtitles, whole_text};
use crate::cascade::{SegmentId, Word};
use crate::faces::subtitles::{Kind, Side};
use crate::text::Language;
use crate::text::units::join_words;

/// What a form may be larger than its file, in bytes.
const FORM: u64 = 1 << 20;
/// The largest prompt, in bytes.
const LARGEST_PROMPT: usize = 4 << 10;
/// The most fields of a form, without those that have no meaning here.
const MOST_FIELDS: usize = 64;
/// How often a stream without news says that it lives.
const PING: Duration = Duration::from_secs(15);
/// How the text of a link begins. The server fetches nothing.
const LINKS: [&str; 6] = ["http://", "https://", "ftp://", "file://", "s3://", "data:"];

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Transcribe,
    Translate,
}

impl Task {
    fn side(self) -> Side {
        match self {
            Task::Transcribe => Side::Source,
            Task::Translate => Side::Target,
        }
    }
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    Srt,
    Vtt,
    Verbose,
}

/// A field that has a meaning here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Model,
    Language,
    Target,
    Prompt,
    Form,
    Granularity,
    Stream,
    Link,
}

/// The fields of a form.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    model: bool,
    language: Option<Language>,
    target: Option<Language>,
    prompt: Option<String>,
    form: Option<Form>,
    words: bool,
    segments: bool,
    stream: bool,
}

/// `POST /v1/audio/transcriptions`.
pub(super) async fn transcriptions(
    State(app): State<Arc<App>>,
    Extension(who): Extension<Who>,
    request: Request,
) -> Result<Response, Problem> {
    answer(app, who, request, Task::Transcribe).await
}

/// `POST /v1/audio/translations`.
pub(super) async fn translations(
    State(app): State<Arc<App>>,
    Extension(who): Extension<Who>,
    request: Request,
) -> Result<Response, Problem> {
    answer(app, who, request, Task::Translate).await
}

async fn answer(app: Arc<App>, who: Who, request: Request, task: Task) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let mut multipart = Multipart::new(&head.headers, body, app.jobs.max_upload.saturating_add(FORM))?;
    let received = match app.jobs.place(&app, &who) {
        Err(problem) => Err(problem),
        Ok(place) => receive(&app, &mut multipart).await.map(|form| (place, form)),
    };
    let (place, (fields, sound)) = match received {
        Ok(received) => received,
        Err(problem) => {
            multipart.drain();
            return Err(problem);
        }
    };
    let form = fields.form()?;
    let wanted = fields.wanted(&app, task);
    app.sessions.check(&wanted).map_err(|refused| {
        let param = (task == Task::Translate).then_some("target_language");
        Problem { param, ..Problem::from(refused) }
    })?;
    let sound = sound.ok_or_else(|| Problem::bad("file", "the form has no file"))?;
    let job = Job::start(&app, wanted.clone(), Sound::open(sound).await?, place).await?;
    if fields.stream {
        return Ok(stream(job, task));
    }
    whole(job, task, form, &fields, &wanted).await
}

/// Reads the form. Its fields may come in any order, also after the file.
async fn receive(app: &App, multipart: &mut Multipart) -> Result<(Fields, Option<Kept>), Problem> {
    let (mut fields, mut sound) = (Fields::default(), None);
    let mut count = 0;
    while let Some(part) = multipart.next().await? {
        let field = Field::of(&part.name);
        if field.is_none() && part.name != "file" {
            // Such as samples of voices, which are long, or hundreds of keywords.
            app.sessions.metrics.ignored("openai");
            multipart.skip().await?;
            continue;
        }
        count += 1;
        if count > MOST_FIELDS {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "the form has more than 64 fields"));
        }
        if let Some(field) = field {
            fields.set(field, &multipart.value(&part).await?)?;
            continue;
        }
        if sound.is_some() {
            return Err(Problem::bad("file", "the form has more than one file"));
        }
        let mut spool = app.jobs.disk.spool();
        while let Some(bytes) = multipart.chunk().await? {
            spool.push(&bytes).await?;
            if is_link(spool.beginning()) {
                return Err(no_links("file"));
            }
        }
        sound = Some(spool.finish().await?);
    }
    if !fields.model {
        return Err(Problem::bad("model", "the form needs a `model`; any name will do"));
    }
    Ok((fields, sound))
}

fn is_link(beginning: &[u8]) -> bool {
    LINKS.iter().any(|link| beginning.get(..link.len()).is_some_and(|text| text.eq_ignore_ascii_case(link.as_bytes())))
}

fn no_links(param: &'static str) -> Problem {
    Problem::bad(param, "links are not fetched; send the file itself")
}

impl Field {
    /// The field with this name.
    fn of(name: &str) -> Option<Field> {
        // An array may come as `name[]`, once for each value.
        Some(match name.strip_suffix("[]").unwrap_or(name) {
            "model" => Field::Model,
            "language" => Field::Language,
            "target_language" => Field::Target,
            "prompt" => Field::Prompt,
            "response_format" => Field::Form,
            "timestamp_granularities" => Field::Granularity,
            "stream" => Field::Stream,
            "url" | "file_url" | "audio_url" => Field::Link,
            _ => return None,
        })
    }
}

impl Fields {
    /// Takes one field of the form.
    fn set(&mut self, field: Field, value: &str) -> Result<(), Problem> {
        let value = value.trim();
        match field {
            Field::Model => self.model = !value.is_empty(),
            Field::Language => self.language = language("language", value)?,
            Field::Target => self.target = language("target_language", value)?,
            Field::Prompt if value.len() > LARGEST_PROMPT => {
                return Err(Problem::bad("prompt", format!("the prompt is longer than {LARGEST_PROMPT} bytes")));
            }
            Field::Prompt => self.prompt = (!value.is_empty()).then(|| value.to_owned()),
            Field::Form => self.form = Some(form_of(value)?),
            Field::Granularity => match value {
                "word" => self.words = true,
                "segment" => self.segments = true,
                _ => return Err(Problem::bad("timestamp_granularities", "a granularity is `word` or `segment`")),
            },
            Field::Stream => {
                self.stream = match value.to_ascii_lowercase().as_str() {
                    "true" | "1" => true,
                    "false" | "0" | "" => false,
                    _ => return Err(Problem::bad("stream", "`stream` is `true` or `false`")),
                };
            }
            Field::Link => return Err(no_links("url")),
        }
        Ok(())
    }

    /// The form of the answer. Fails where fields contradict each other.
    fn form(&self) -> Result<Form, Problem> {
        let form = self.form.unwrap_or(Form::Json);
        if (self.words || self.segments) && form != Form::Verbose {
            let what = "times of words and segments come with `response_format=verbose_json`";
            return Err(Problem::bad("timestamp_granularities", what));
        }
        if self.stream && !matches!(form, Form::Json | Form::Text) {
            return Err(Problem::bad("response_format", "a stream has the form `json` or `text`"));
        }
        Ok(form)
    }

    fn wanted(&self, app: &App, task: Task) -> Wanted {
        let defaults = &app.sessions.defaults;
        let to = match task {
            Task::Transcribe => None,
            // English is what OpenAI's own translates to.
            Task::Translate => Some(self.target.or(defaults.to).unwrap_or(Language::ENGLISH)),
        };
        Wanted {
            from: self.language.unwrap_or(defaults.from),
            to,
            policy: defaults.policy.to_string(),
            chunk_ms: None,
            context: self.prompt.clone().unwrap_or_else(|| defaults.context.clone()),
            terms: defaults.terms.clone(),
            history: 0,
            text: false,
        }
    }
}

fn language(param: &'static str, value: &str) -> Result<Option<Language>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    value.parse::<Language>().map(Some).map_err(|error| Problem::bad(param, error.to_string()))
}

fn form_of(value: &str) -> Result<Form, Problem> {
    match value {
        "json" | "" => Ok(Form::Json),
        "text" => Ok(Form::Text),
        "srt" => Ok(Form::Srt),
        "vtt" => Ok(Form::Vtt),
        "verbose_json" => Ok(Form::Verbose),
        _ => Err(Problem::bad("response_format", "the form is json, text, srt, vtt or verbose_json")),
    }
}

/// The answer when all is heard.
async fn whole(mut job: Job, task: Task, form: Form, fields: &Fields, wanted: &Wanted) -> Result<Response, Problem> {
    job.run().await?;
    let session = job.session.shared();
    let records = session.log.after(0);
    if interrupted(&records) {
        return Err(jobs::interrupted());
    }
    let side = task.side();
    let text =
        |kind: &'static str, text: String| ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], text).into_response();
    Ok(match form {
        Form::Text => text("text/plain; charset=utf-8", format!("{}\n", whole_text(&session, side))),
        Form::Srt => text("application/x-subrip; charset=utf-8", subtitles(&session, Kind::Srt, side)),
        Form::Vtt => text("text/vtt; charset=utf-8", subtitles(&session, Kind::Vtt, side)),
        Form::Json => {
            let answer = json!({"text": whole_text(&session, side), "usage": usage(&job)});
            Json(with_warnings(answer, &job)).into_response()
        }
        Form::Verbose => Json(with_warnings(verbose(&job, &records, task, fields, wanted), &job)).into_response(),
    })
}

fn usage(job: &Job) -> Value {
    json!({"type": "duration", "seconds": job.session.length().as_secs_f64()})
}

/// Adds what the user should know, where there is something.
fn with_warnings(mut answer: Value, job: &Job) -> Value {
    let warnings = job.warnings();
    if !warnings.is_empty() {
        answer["warnings"] = warnings.into();
    }
    answer
}

fn interrupted(records: &[Arc<Record>]) -> bool {
    let end = records.iter().flat_map(|record| &record.commits).find_map(|commit| match commit {
        Commit::End(end) => Some(end.interrupted),
        _ => None,
    });
    end.unwrap_or(true)
}

/// A closed segment.
#[derive(Default)]
struct Segment {
    words: Vec<Word>,
    target: String,
}

fn segments(records: &[Arc<Record>]) -> Vec<Segment> {
    let mut segments = std::collections::BTreeMap::<SegmentId, Segment>::new();
    for commit in records.iter().flat_map(|record| &record.commits) {
        match commit {
            Commit::Source { segment, words, .. } => {
                segments.entry(*segment).or_default().words.extend_from_slice(words);
            }
            Commit::Target { segment, delta, .. } => segments.entry(*segment).or_default().target.push_str(delta),
            Commit::End(_) => {}
        }
    }
    segments.into_values().collect()
}

fn verbose(job: &Job, records: &[Arc<Record>], task: Task, fields: &Fields, wanted: &Wanted) -> Value {
    let (task_name, language) = match task {
        Task::Transcribe => ("transcribe", wanted.from),
        Task::Translate => ("translate", wanted.to.unwrap_or(wanted.from)),
    };
    let segments = segments(records);
    let mut answer = json!({
        "task": task_name,
        "language": language.english_name().to_lowercase(),
        "duration": job.session.length().as_secs_f64(),
        "text": whole_text(&job.session, task.side()),
        "usage": usage(job),
    });
    if fields.segments || !fields.words {
        let texts = segments.iter().map(|segment| match task {
            Task::Transcribe => join_words(segment.words.iter().map(|word| word.text.as_str())),
            Task::Translate => segment.target.clone(),
        });
        let shown = segments.iter().zip(texts).filter(|(_, text)| !text.is_empty());
        let shown = shown.enumerate().map(|(id, (segment, text))| segment_json(id, &segment.words, &text));
        answer["segments"] = shown.collect();
    }
    if fields.words {
        let words = segments.iter().flat_map(|segment| &segment.words);
        let word =
            |word: &Word| json!({"word": word.text, "start": word.start_ms.seconds(), "end": word.end_ms.seconds()});
        answer["words"] = words.map(word).collect();
    }
    answer
}

/// A segment with all fields that OpenAI's has. Those that nothing here measures are neutral.
fn segment_json(id: usize, words: &[Word], text: &str) -> Value {
    json!({
        "id": id,
        "seek": 0,
        "start": words.first().map_or(0.0, |word| word.start_ms.seconds()),
        "end": words.last().map_or(0.0, |word| word.end_ms.seconds()),
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    })
}

/// The answer as it grows.
fn stream(job: Job, task: Task) -> Response {
    let sse = Sse::new(messages(job, task)).keep_alive(KeepAlive::new().interval(PING).text("ping"));
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, axum::http::HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), axum::http::HeaderValue::from_static("no"));
    (headers, sse).into_response()
}

/// A stream that is being sent.
struct Sending {
    /// `None`: the last message was sent.
    job: Option<Job>,
    task: Task,
    running: RunningText,
    text: String,
}

fn messages(job: Job, task: Task) -> impl Stream<Item = Result<Message, Infallible>> {
    let sending = Sending { job: Some(job), task, running: RunningText::default(), text: String::new() };
    unfold(sending, |mut sending| async move {
        let value = sending.next().await?;
        // Only plain data is sent.
        Some((Ok(Message::default().json_data(value).unwrap_or_default()), sending))
    })
}

impl Sending {
    async fn next(&mut self) -> Option<Value> {
        let job = self.job.as_mut()?;
        loop {
            match job.next().await {
                Ok(Some(News::Records(records))) => {
                    let delta: String =
                        records.iter().map(|record| self.running.record(record, self.task.side())).collect();
                    if !delta.is_empty() {
                        self.text.push_str(&delta);
                        return Some(json!({"type": "transcript.text.delta", "delta": delta}));
                    }
                }
                Ok(Some(News::Volatile(_))) => {}
                Ok(None) => {
                    let last = match interrupted(&job.session.log.after(0)) {
                        true => jobs::interrupted().json(),
                        false => json!({"type": "transcript.text.done", "text": self.text}),
                    };
                    self.job = None;
                    return Some(last);
                }
                Err(problem) => {
                    self.job = None;
                    return Some(problem.json());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Result<Fields, Problem> {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.set(Field::of(name).unwrap(), value)?;
        }
        fields.form()?;
        Ok(fields)
    }

    #[test]
    fn fields_are_checked() {
        let good = fields(&[
            ("model", "whisper-1"),
            ("language", "DE"),
            ("target_language", ""),
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities", "segment"),
            ("stream", "False"),
        ]);
        let expected = Fields {
            model: true,
            language: Some(Language::GERMAN),
            form: Some(Form::Verbose),
            words: true,
            segments: true,
            ..Fields::default()
        };
        assert_eq!(good.unwrap(), expected);
        for unknown in ["temperature", "include[]", "keywords[]", "known_speaker_references[]", "Model", "", "[]"] {
            assert_eq!(Field::of(unknown), None, "{unknown}");
        }
        let long = "x".repeat(LARGEST_PROMPT + 1);
        for (pairs, param) in [
            (&[("language", "klingon")][..], "language"),
            (&[("target_language", "english")], "target_language"),
            (&[("prompt", &long)], "prompt"),
            (&[("response_format", "diarized_json")], "response_format"),
            (&[("timestamp_granularities[]", "char")], "timestamp_granularities"),
            (&[("timestamp_granularities[]", "word")], "timestamp_granularities"),
            (&[("stream", "yes")], "stream"),
            (&[("stream", "true"), ("response_format", "srt")], "response_format"),
            (&[("url", "http://127.0.0.1/")], "url"),
            (&[("audio_url", "")], "url"),
        ] {
            let problem = fields(pairs).unwrap_err();
            assert_eq!((problem.status, problem.param), (StatusCode::BAD_REQUEST, Some(param)), "{pairs:?}");
        }
        assert!(is_link(b"HTTPS://example.org/a.wav") && is_link(b"data:audio/wav;base64,"));
        assert!(!is_link(b"http") && !is_link(b"RIFF") && !is_link(b""));
    }
}
