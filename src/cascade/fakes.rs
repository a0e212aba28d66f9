//! Fake engines for tests: a talk with known words and times, and scripts of hypotheses and drafts.
//!
//! Sample i of the talk's sound has the value i, so a fake engine knows which part of the talk it
//! gets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::engines::{
    Align, BoxError, Draft, DraftRequest, Engines, Hypothesis, Recognize, TimedWord, Translate, Watch,
};
use super::event::{Event, EventKind, Start};
use super::output::CascadeError;
use super::rules::Rules;
use super::settings::Settings;
use super::stream::{Activity, Cascade};
use super::tail::{samples_in, time_of};
use crate::policy::listening::Attention;
use crate::text::units::{join_words, seam_between, source_words};
use crate::text::{Language, Millis};

/// Counts of the calls, and settings of the fakes.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub recognized: usize,
    pub longest_tail: usize,
    pub aligned: usize,
    /// Where the tails of the recogniser and of the aligner began, since the last restart of each.
    pub begun: [Option<Millis>; 2],
    pub drafts: Vec<(String, String, bool)>,
    /// Number of calls, over all engines, before one fails; `None`: no call fails.
    pub fails_in: Option<usize>,
    /// How many words beyond the one that it translates a token of [`WordTranslator`] attends to.
    pub listens_ahead: usize,
}

pub(crate) type SharedLog = Rc<RefCell<Log>>;

fn call(log: &SharedLog) -> Result<(), BoxError> {
    let mut log = log.borrow_mut();
    match &mut log.fails_in {
        Some(0) => {
            log.fails_in = None;
            Err("the device was lost".into())
        }
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

/// Words with absolute times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    pub words: Vec<(String, Millis, Millis)>,
}

impl Talk {
    /// `text` spoken from `start`, one word every `pace` ms, with a gap of 40 ms after each.
    pub(crate) fn spoken(text: &str, start: u64, pace: u64) -> Talk {
        let words = source_words(text).into_iter().enumerate().map(|(i, word)| {
            let from = start + i as u64 * pace;
            (word, Millis(from), Millis(from + pace - 40))
        });
        Talk { words: words.collect() }
    }

    pub(crate) fn then(mut self, other: Talk) -> Talk {
        self.words.extend(other.words);
        self
    }

    pub(crate) fn text(&self) -> String {
        join_words(self.words.iter().map(|w| w.0.as_str()))
    }
}

/// Recognises the words of a talk that lie in the tail. A word that the end of the tail cuts is
/// shortened.
pub(crate) struct TalkRecognizer(pub Talk, pub SharedLog);

impl Recognize for TalkRecognizer {
    async fn transcribe(&mut self, tail: &[f32], _: Language) -> Result<Hypothesis, BoxError> {
        call(&self.1)?;
        let mut log = self.1.borrow_mut();
        log.recognized += 1;
        log.longest_tail = log.longest_tail.max(tail.len());
        let (from, to) = span(tail);
        extends(&mut log.begun[0], from);
        let heard = self.0.words.iter().filter(|w| w.1 >= from && w.1 < to);
        let words: Vec<String> = heard
            .map(|(word, _, end)| if *end <= to { word.clone() } else { word.chars().take(2).collect() })
            .collect();
        Ok(Hypothesis { text: join_words(words.iter().map(String::as_str)), tokens: words.len() })
    }

    fn restart(&mut self) {
        self.1.borrow_mut().begun[0] = None;
    }
}

/// Returns the talk's times and cleans words as the real aligner does.
pub(crate) struct TalkAligner(pub Talk, pub SharedLog);

impl Align for TalkAligner {
    async fn align(&mut self, tail: &[f32], text: &str, _: Language) -> Result<Vec<TimedWord>, BoxError> {
        call(&self.1)?;
        assert!(!tail.is_empty(), "an aligner is asked about no sound");
        let (from, to) = span(tail);
        let mut log = self.1.borrow_mut();
        log.aligned += 1;
        extends(&mut log.begun[1], from);
        let known: Vec<_> = self.0.words.iter().filter(|w| w.1 >= from && w.1 < to).collect();
        let words = source_words(text);
        let clean = |word: &str| word.chars().filter(|c| c.is_alphanumeric() || *c == '\'').collect::<String>();
        let timed = words.iter().zip(known).map(|(word, (_, start, end))| TimedWord {
            text: clean(word),
            start_ms: *start - from,
            end_ms: *end - from,
        });
        Ok(timed.filter(|w| !w.text.is_empty()).collect())
    }

    fn restart(&mut self) {
        self.1.borrow_mut().begun[1] = None;
    }
}

/// Between two restarts a tail may only grow, because engines keep results for its beginning.
fn extends(begun: &mut Option<Millis>, from: Millis) {
    assert_eq!(*begun.get_or_insert(from), from, "the tail begins elsewhere and no engine was told");
}

/// The part of the talk that a tail holds.
pub(crate) fn span(tail: &[f32]) -> (Millis, Millis) {
    let start = tail.first().copied().unwrap_or_default() as u64;
    (time_of(start), time_of(start + tail.len() as u64))
}

/// Translates word by word into capitals (into Chinese: one 字 per word, with wide marks). The
/// budget counts words. With heads, each token attends to the word that it translates.
pub(crate) struct WordTranslator {
    pub target: Language,
    pub log: SharedLog,
    pub heads_len: usize,
}

/// Attention of a token's row: on the column that it attends to, on each other column, and on
/// prompt and draft.
const PEAK: f32 = 0.8;
const ELSEWHERE: f32 = 0.0005;
const REST: [f32; 2] = [0.1, 0.05];

impl WordTranslator {
    pub(crate) fn whole(&self, source: &str) -> String {
        let words: Vec<String> = source_words(source)
            .iter()
            .map(|word| match self.target.counts_characters() {
                true => format!("字{}", if word.ends_with('.') { "。" } else { "" }),
                false => word.to_uppercase(),
            })
            .collect();
        join_words(words.iter().map(String::as_str))
    }

    /// Rows for the first `rows` of `pieces`. Each word of the source is a column, and so is each
    /// mark behind one.
    fn attention(&self, request: &DraftRequest<'_>, pieces: &[String], rows: usize) -> Option<Attention> {
        let mut starts: Vec<usize> = request.source.match_indices([' ', ',', '.']).map(|(at, _)| at).collect();
        starts.insert(0, 0);
        starts.dedup();
        let ends = starts.iter().copied().skip(1).chain([request.source.len()]);
        let columns: Vec<_> = starts.iter().zip(ends).map(|(&start, end)| start..end).collect();
        let is_word = |at: &usize| request.source[columns[*at].clone()].contains(char::is_alphanumeric);
        let words: Vec<usize> = (0..columns.len()).filter(is_word).collect();
        let ahead = self.log.borrow().listens_ahead;
        let mut attention = Attention::new(columns.clone(), self.heads_len);
        let mut text = request.accepted.to_owned();
        for piece in &pieces[..rows] {
            text.push_str(piece);
            let word = source_words(&text).len().saturating_sub(1) + ahead;
            let peak = words.get(word).or(words.last()).copied().unwrap_or(0);
            let row = (0..columns.len()).map(|at| if at == peak { PEAK } else { ELSEWHERE });
            let rows: Vec<f32> = row.collect::<Vec<_>>().repeat(self.heads_len);
            attention.append(&rows, &[REST]).ok()?;
        }
        (self.heads_len > 0).then_some(attention)
    }
}

impl Translate for WordTranslator {
    /// Like the real translator: the newest token has no row before the draft has ended, and the
    /// watcher may stop the draft.
    async fn draft(&mut self, request: &DraftRequest<'_>, watch: Watch<'_>) -> Result<Draft, BoxError> {
        call(&self.log)?;
        let asked = (request.source.to_owned(), request.accepted.to_owned(), request.source_is_final);
        self.log.borrow_mut().drafts.push(asked);
        let whole = self.whole(request.source);
        let done = source_words(request.accepted).len();
        let rest = match whole.strip_prefix(request.accepted) {
            Some(rest) => rest.to_owned(),
            None => join_words(source_words(&whole).iter().skip(done).map(String::as_str)),
        };
        let words = source_words(&rest);
        let kept = join_words(words.iter().take(request.max_new_tokens).map(String::as_str));
        let written = words.len().min(request.max_new_tokens);
        let seam = if rest.starts_with(' ') { " " } else { seam_between(request.accepted, &kept) };
        let text = if kept.is_empty() || rest.is_empty() {
            kept
        } else if rest.starts_with(['.', ',']) {
            rest.clone()
        } else {
            format!("{seam}{kept}")
        };
        let pieces = pieces(&text, written);
        for len in 1..pieces.len() {
            let so_far = Draft {
                pieces: pieces[..len].to_vec(),
                attention: self.attention(request, &pieces, len - 1),
                ..Draft::default()
            };
            if watch(&so_far).is_break() {
                return Ok(so_far);
            }
        }
        let finished = words.len() <= request.max_new_tokens;
        let rows = if finished { pieces.len() } else { pieces.len().saturating_sub(1) };
        let attention = self.attention(request, &pieces, rows);
        Ok(Draft { pieces, finished, attention, ..Draft::default() })
    }

    fn count_tokens(&self, text: &str) -> usize {
        source_words(text).len()
    }
}

/// Splits `text` into at most `count` tokens: one word each, with the blank before it, or one 字.
/// The last token takes the rest.
fn pieces(text: &str, count: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for c in text.chars() {
        if pieces.is_empty() || (c.is_whitespace() || c == '字') && pieces.len() < count {
            pieces.push(String::new());
        }
        if let Some(last) = pieces.last_mut() {
            last.push(c);
        }
    }
    pieces
}

/// Returns the scripted results, call by call, then empty ones.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub hypotheses: VecDeque<String>,
    pub drafts: VecDeque<(String, bool)>,
    pub word_times: VecDeque<Vec<(String, u64, u64)>>,
    /// Number of heads in the drafts' attention; its values, repeated as needed.
    pub heads_len: usize,
    pub masses: Vec<f32>,
}

pub(crate) type SharedScript = Rc<RefCell<Script>>;

pub(crate) struct Scripted(pub SharedScript);

impl Recognize for Scripted {
    async fn transcribe(&mut self, _: &[f32], _: Language) -> Result<Hypothesis, BoxError> {
        let text = self.0.borrow_mut().hypotheses.pop_front().unwrap_or_default();
        Ok(Hypothesis { text, tokens: 1 })
    }

    fn restart(&mut self) {}
}

impl Align for Scripted {
    async fn align(&mut self, _: &[f32], _: &str, _: Language) -> Result<Vec<TimedWord>, BoxError> {
        let times = self.0.borrow_mut().word_times.pop_front().unwrap_or_default();
        let timed = times.into_iter().map(|(text, start, end)| TimedWord {
            text,
            start_ms: Millis(start),
            end_ms: Millis(end),
        });
        Ok(timed.collect())
    }

    fn restart(&mut self) {}
}

impl Translate for Scripted {
    async fn draft(&mut self, request: &DraftRequest<'_>, _: Watch<'_>) -> Result<Draft, BoxError> {
        let mut script = self.0.borrow_mut();
        let (continuation, finished) = script.drafts.pop_front().unwrap_or((String::new(), true));
        if script.heads_len == 0 {
            return Ok(Draft { pieces: vec![continuation], finished, ..Draft::default() });
        }
        // One token and one column per character.
        let pieces: Vec<String> = continuation.chars().map(String::from).collect();
        let columns = request.source.char_indices().map(|(at, c)| at..at + c.len_utf8()).collect();
        let mut attention = Attention::new(columns, script.heads_len);
        let row_len = attention.columns.len() * script.heads_len;
        for _ in 0..pieces.len() {
            let shift = row_len % script.masses.len().max(1);
            let row: Vec<f32> = script.masses.iter().copied().cycle().take(row_len).collect();
            script.masses.rotate_left(shift);
            let fits = attention.append(&row, &[REST]).is_ok();
            assert!(fits, "no masses");
        }
        Ok(Draft { pieces, finished, attention: Some(attention), ..Draft::default() })
    }

    fn count_tokens(&self, text: &str) -> usize {
        text.len()
    }
}

/// A clock that advances by 1 ms each time it is read.
pub(crate) fn ticking() -> super::Clock {
    let now = std::cell::Cell::new(7_000);
    Box::new(move || {
        now.set(now.get() + 1);
        Millis(now.get())
    })
}

pub(crate) type TalkCascade = Cascade<TalkRecognizer, TalkAligner, WordTranslator>;

/// A translator with as many heads as the policy uses.
pub(crate) fn translator_for(target: Language, settings: &Settings, log: &SharedLog) -> WordTranslator {
    WordTranslator { target, log: log.clone(), heads_len: settings.policy.heads_len() }
}

/// A cascade with fake engines for a talk.
pub(crate) fn cascade_for(talk: &Talk, settings: Settings, log: &SharedLog) -> TalkCascade {
    let engines = Engines {
        recognizer: TalkRecognizer(talk.clone(), log.clone()),
        aligner: TalkAligner(talk.clone(), log.clone()),
        translator: settings.target.map(|to| translator_for(to, &settings, log)),
    };
    match Cascade::new(settings, engines, ticking()) {
        Ok(cascade) => cascade,
        Err(error) => panic!("{error}"),
    }
}

/// The start event for tests.
pub(crate) fn start_of(settings: &Settings) -> Start {
    Start {
        version: "test".to_owned(),
        source_language: settings.source,
        target_language: settings.target,
        asr: Some("fake".to_owned()),
        aligner: Some("fake".to_owned()),
        mt: None,
        device: "none".to_owned(),
        policy: None,
        chunk_ms: settings.chunk,
        history: settings.history,
        context_sha256: None,
        heads_sha256: None,
        file: None,
        file_sha256: None,
    }
}

/// Samples `from..to` of the fake sound.
pub(crate) fn sound(from: Millis, to: Millis) -> Vec<f32> {
    (samples_in(from)..samples_in(to)).map(|i| i as f32).collect()
}

/// Plays a talk of `length` in blocks of `block` ms, with silence where no word is near. Returns
/// all events, after checking the rules.
pub(crate) fn play(
    cascade: &mut TalkCascade,
    talk: &Talk,
    length: Millis,
    block: u64,
) -> Result<Vec<Event>, CascadeError> {
    let mut events = Vec::new();
    let mut emit = |event: Event| events.push(event);
    cascade.start(start_of(cascade.settings()), &mut emit);
    let outcome = pollster::block_on(async {
        let mut at = Millis::ZERO;
        while at < length {
            let end = (at + Millis(block)).min(length);
            let spoken = talk.words.iter().any(|w| w.1 < end && w.2 > at);
            let activity = if spoken { Activity::Speech } else { Activity::Silence };
            cascade.push(&sound(at, end), activity);
            while cascade.step(&mut emit).await? {}
            at = end;
        }
        cascade.finish(&mut emit).await
    });
    cascade.end(&mut emit);
    if let Err(broken) = Rules::check(&events) {
        panic!("{broken}\n{:#?}", &events[broken.at.saturating_sub(3)..events.len().min(broken.at + 1)]);
    }
    outcome.map(|()| events)
}

/// Like [`play`], but panics on an error. Also returns the log of the engines.
pub(crate) fn run(talk: &Talk, settings: Settings, length: u64, block: u64) -> (Vec<Event>, SharedLog) {
    let log = SharedLog::default();
    let events = run_with(&log, talk, settings, length, block);
    (events, log)
}

/// The same with an existing log.
pub(crate) fn run_with(log: &SharedLog, talk: &Talk, settings: Settings, length: u64, block: u64) -> Vec<Event> {
    let mut cascade = cascade_for(talk, settings, log);
    match play(&mut cascade, talk, Millis(length), block) {
        Ok(events) => events,
        Err(error) => panic!("{error}: {}", error.source),
    }
}

/// The closed segments, as (source, translation).
pub(crate) fn closed(events: &[Event]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::Source(s) if s.closed => {
                pairs.push((join_words(s.committed.iter().map(|w| w.text.as_str())), String::new()));
            }
            EventKind::Target(t) if t.closed => pairs[t.segment.0 as usize].1 = t.committed.as_str().to_owned(),
            _ => {}
        }
    }
    pairs
}
