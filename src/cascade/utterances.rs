//! The stream of a source that somebody else recognises: each update brings the whole open
//! utterance, and the answer is its translation so far. There is no recogniser and no aligner, and
//! the caller says where an utterance ends. Everything behind the source words is the same as for
//! sound.
//!
//! [`Update`] and [`Translation`] are messages of the MT protocol, version 1 (docs/serving.md).
//!
//! * Words that the caller has committed are accessible, those of its tail are not. When words of
//!   the tail are committed and the text stays the same, the held draft is judged again, and no
//!   model is asked.
//! * In an utterance, each `committed_text` is the former one and `committed_delta`.
//! * Utterances have the caller's ids. An update for another utterance than the open one leaves
//!   that as it is shown.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::captions::{Captions, Wrote};
use super::checkpoint::TargetSide;
use super::engines::{BoxError, Translate};
use super::event::{EventKind, Listen, SegmentId, Word};
use super::settings::{Settings, SettingsError};
use super::transcript::{ClosedSource, words_of};
use crate::policy::{Committed, Hold, PolicyKind, SourceWord};
use crate::text::Millis;
use crate::text::seams::normalize;

/// The latest time of a word: so that adding to it never overflows.
const LATEST: Millis = Millis(1 << 48);
/// The end of a word of the tail: it has not been heard to its end.
const NOT_ENDED: Millis = Millis(u64::MAX);
/// The most finals that wait.
const MOST_FINALS: usize = 64;

/// The state of the open utterance, as the caller knows it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Update {
    /// The caller's number for it; the answer has it, too.
    pub seq: Option<i64>,
    #[serde(default)]
    pub utterance_id: i64,
    /// All committed words of the utterance.
    #[serde(default)]
    pub words: Vec<Row>,
    #[serde(default)]
    pub tail: Option<Tail>,
    /// How far the caller has heard.
    #[serde(default)]
    pub clock_ms: Option<f64>,
    /// The utterance is over.
    #[serde(default)]
    pub is_final: bool,
}

/// Words that may still change.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Tail {
    #[serde(default)]
    pub words: Vec<Row>,
}

/// A word, or several with one time: `[text, start_ms, end_ms]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "Vec<Value>")]
pub(crate) struct Row {
    text: String,
    start: Option<Millis>,
    end: Option<Millis>,
}

impl TryFrom<Vec<Value>> for Row {
    type Error = &'static str;
    fn try_from(row: Vec<Value>) -> Result<Row, Self::Error> {
        let time = |at: usize| match row.get(at) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(|ms| Some(millis(ms))).ok_or("a word's time is a number or null"),
        };
        let text = row.first().and_then(Value::as_str).ok_or("a word is [text, start_ms, end_ms]")?;
        Ok(Row { text: text.to_owned(), start: time(1)?, end: time(2)? })
    }
}

/// The answer to an [`Update`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename = "translation")]
pub(crate) struct Translation {
    seq: Option<i64>,
    utterance_id: i64,
    #[serde(rename = "final")]
    is_final: bool,
    /// In a final: the caller did not end the utterance; it has become too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_final: Option<bool>,
    committed_text: String,
    committed_delta: String,
    /// The rest of the draft.
    buffer_text: String,
    /// How many words with letters or digits, from the first, the committed text rests on.
    covered_source_units: Option<usize>,
    /// In a partial: why no more of the draft is committed; null where there was no draft to judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<Option<&'static str>>,
}

/// What a caller that comes back knows of the time before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Earlier {
    /// Utterances with their translations, oldest first.
    pub history: Vec<(String, String)>,
    /// The translation of the open utterance, as it is shown.
    pub accepted: String,
}

/// Updates that wait. A partial is replaced by a newer one; finals stay, in order, and go first.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    finals: VecDeque<Update>,
    partial: Option<Update>,
}

impl Mailbox {
    /// Whether another final may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.finals.len() < MOST_FINALS
    }

    /// Puts an update in. A final takes away the partial of its utterance or an earlier one, which
    /// would otherwise be served after it, as if it were of the next.
    pub(crate) fn put(&mut self, update: Update) {
        if !update.is_final {
            self.partial = Some(update);
            return;
        }
        self.partial.take_if(|partial| partial.utterance_id <= update.utterance_id);
        self.finals.push_back(update);
    }

    pub(crate) fn take(&mut self) -> Option<Update> {
        self.finals.pop_front().or_else(|| self.partial.take())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.finals.is_empty() && self.partial.is_none()
    }
}

/// One stream of utterances.
pub(crate) struct Utterances<T> {
    captions: Captions<T>,
    /// Committed words are accessible at once. False where the policy holds the newest back.
    certain: bool,
    /// A partial with more rows of words becomes a final; 0: none does.
    most_words: usize,
    /// Whether partials are drafted. If not, they are answered with what is shown.
    drafting: bool,
    heard: Millis,
    /// The open utterance for [`Captions`].
    segment: SegmentId,
    /// The id of the open utterance; `None` before its first update.
    id: Option<i64>,
    open: Open,
}

/// The translation of the open utterance.
#[derive(Debug, Default)]
struct Open {
    shown: String,
    tentative: String,
    covered: Option<usize>,
    /// What the caller knows of `shown`.
    sent: Committed,
}

impl<T: Translate> Utterances<T> {
    /// Creates a stream. `settings.chunk`, `pause` and `longest_segment` have no meaning here.
    ///
    /// Errors: the settings are out of range, or name no target language.
    pub(crate) fn new(
        settings: &Settings,
        translator: T,
        most_words: usize,
        earlier: Earlier,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let target = settings.target.ok_or(SettingsError::NoTarget)?;
        let mut captions = Captions::new(translator, target, settings);
        let accepted = earlier.accepted.trim();
        let shown = committed(&one_line(accepted));
        let open = Open { shown: shown.as_str().to_owned(), sent: committed(accepted), ..Open::default() };
        captions.resume(TargetSide { shown, history: earlier.history, ..TargetSide::default() });
        let certain = match settings.policy {
            PolicyKind::AlignAtt(_, knobs) => knobs.holdback == Millis::ZERO,
            PolicyKind::LocalAgreement | PolicyKind::HoldN(_) | PolicyKind::Offline => true,
        };
        Ok(Utterances {
            captions,
            certain,
            most_words,
            drafting: true,
            heard: Millis::ZERO,
            segment: SegmentId(0),
            id: None,
            open,
        })
    }

    /// Whether partials are drafted. A device that falls behind translates finals only.
    #[cfg(feature = "server")]
    pub(crate) fn set_drafting(&mut self, drafting: bool) {
        self.drafting = drafting;
    }

    /// Translates the utterance as it is now. After an error the stream goes on: what is shown
    /// stays, and the same update may come again.
    pub(crate) async fn take(&mut self, update: &Update) -> Result<Translation, BoxError> {
        self.enter(update.utterance_id);
        let rows = update.words.iter().filter(|row| !row.text.trim().is_empty()).count();
        let forced = !update.is_final && self.most_words > 0 && rows > self.most_words;
        let tail = update.tail.as_ref().filter(|_| !forced).map_or(&[][..], |tail| &tail.words);
        let source = compose(&update.words, tail);
        let clock = update.clock_ms.map_or(Millis::ZERO, millis);
        self.heard = self.heard.max(clock).max(source.last_end);
        if update.is_final || forced {
            self.finish(update, &source, forced).await
        } else {
            self.partial(update, &source).await
        }
    }

    async fn partial(&mut self, update: &Update, source: &Source) -> Result<Translation, BoxError> {
        let words = source.words(self.certain);
        let mut wrote = Wrote::default();
        let outcome = match self.drafting {
            true => self.captions.partial(self.segment, &words, self.heard, &mut wrote).await,
            false => Ok(()),
        };
        let stop_reason = self.open.read(&wrote.events);
        outcome?;
        let committed_delta = self.open.sent.grow_to(&self.open.shown);
        Ok(Translation {
            seq: update.seq,
            utterance_id: update.utterance_id,
            is_final: false,
            forced_final: None,
            committed_text: self.open.sent.as_str().to_owned(),
            committed_delta,
            buffer_text: self.open.tentative.trim().to_owned(),
            covered_source_units: self.open.covered,
            stop_reason: Some(stop_reason),
        })
    }

    async fn finish(&mut self, update: &Update, source: &Source, forced: bool) -> Result<Translation, BoxError> {
        self.captions.close(&source.closed(self.segment));
        let mut wrote = Wrote::default();
        if let Err(error) = self.captions.next_final(self.heard, &mut wrote).await {
            self.captions.reopen();
            return Err(error);
        }
        self.open.read(&wrote.events);
        let committed_text = self.next().shown;
        Ok(Translation {
            seq: update.seq,
            utterance_id: update.utterance_id,
            is_final: true,
            forced_final: Some(forced),
            committed_text,
            committed_delta: String::new(),
            buffer_text: String::new(),
            covered_source_units: None,
            stop_reason: None,
        })
    }

    /// Leaves the open utterance if `id` is another.
    fn enter(&mut self, id: i64) {
        if self.id.is_some_and(|open| open != id) {
            self.captions.close(&ClosedSource { segment: self.segment, words: Vec::new() });
            self.captions.give_up();
            self.next();
        }
        self.id = Some(id);
    }

    /// Begins the next utterance, and returns the translation of the one before.
    fn next(&mut self) -> Open {
        self.segment = self.segment.next();
        self.id = None;
        std::mem::take(&mut self.open)
    }
}

impl Open {
    /// Reads what a call wrote. Returns why no more was shown.
    fn read(&mut self, events: &[EventKind]) -> Option<&'static str> {
        let mut stop = None;
        for event in events {
            match event {
                EventKind::Listen(listen) => {
                    self.covered = self.covered.max(covered(listen));
                    stop = Some(stop_reason(listen));
                }
                EventKind::Target(target) => {
                    self.shown = target.committed.as_str().to_owned();
                    self.tentative.clone_from(&target.tentative);
                }
                _ => {}
            }
        }
        stop
    }
}

/// Number of source words, from the first, that the shown tokens of a draft rest on. Words without
/// a letter or digit do not count.
fn covered(listen: &Listen) -> Option<usize> {
    let last = listen.tokens.iter().filter(|token| token.shown).filter_map(|token| token.word).max()?;
    Some(listen.source.iter().take(last + 1).filter(|word| is_spoken(word)).count())
}

/// Why no more of a draft is shown, in the protocol's words.
fn stop_reason(listen: &Listen) -> &'static str {
    if !listen.drafted {
        return "alignatt:commit_fast_path";
    }
    match listen.tokens.iter().find_map(|token| token.why.filter(|why| *why != Hold::OpenUnit)) {
        Some(Hold::Frontier) => "alignatt:source_frontier",
        Some(Hold::NotFinite) => "alignatt:provenance_nonfinite",
        // The newest token of a draft that its limit ended.
        Some(Hold::NoRow) => "length",
        Some(Hold::OpenUnit | Hold::AfterHeld) | None => "stop",
    }
}

/// The words of an utterance.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Source {
    pub words: Vec<Piece>,
    /// The latest end of a committed word.
    pub last_end: Millis,
}

/// A word of an utterance.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    /// Start and end; `None` for a word of the tail.
    pub times: Option<(Millis, Millis)>,
}

/// The words of an utterance, with a time for each committed one. The words of a row share its
/// time. A missing end is the latest end before, a missing start is the word's end.
pub(super) fn compose(committed: &[Row], tail: &[Row]) -> Source {
    let mut source = Source::default();
    for row in committed {
        let end = row.end.unwrap_or(source.last_end);
        let start = row.start.unwrap_or(end);
        let words = words_of(&row.text);
        if words.iter().any(|word| is_spoken(word)) {
            source.last_end = source.last_end.max(end);
        }
        words.into_iter().for_each(|word| source.push(word, Some((start, end))));
    }
    for row in tail {
        words_of(&row.text).into_iter().for_each(|word| source.push(word, None));
    }
    source
}

impl Source {
    /// Appends a word. Bare punctuation belongs to the word before it.
    fn push(&mut self, text: String, times: Option<(Millis, Millis)>) {
        match self.words.last_mut() {
            Some(last) if text.chars().all(|c| matches!(c, ',' | '.' | ';' | ':' | '!' | '?')) => {
                last.text.push_str(&text);
            }
            _ => self.words.push(Piece { text, times }),
        }
    }

    fn words(&self, certain: bool) -> Vec<SourceWord> {
        let word = |piece: &Piece| match piece.times {
            Some((_, end)) => SourceWord { text: piece.text.clone(), end: Some(end), committed: true, certain },
            None => SourceWord { text: piece.text.clone(), end: Some(NOT_ENDED), committed: false, certain: false },
        };
        self.words.iter().map(word).collect()
    }

    fn closed(&self, segment: SegmentId) -> ClosedSource {
        let word = |piece: &Piece| {
            let (start_ms, end_ms) = piece.times.unwrap_or((self.last_end, self.last_end));
            Word { text: piece.text.clone(), start_ms, end_ms }
        };
        ClosedSource { segment, words: self.words.iter().map(word).collect() }
    }
}

/// Whether a word has a letter or a digit.
pub(super) fn is_spoken(word: &str) -> bool {
    word.contains(char::is_alphanumeric)
}

fn millis(ms: f64) -> Millis {
    // A number that is negative or not finite becomes zero or the latest time.
    Millis((ms.round() as u64).min(LATEST.0))
}

fn committed(text: &str) -> Committed {
    let mut committed = Committed::default();
    committed.extend(text);
    committed
}

/// `text` on one line, as shown text is.
fn one_line(text: &str) -> String {
    let blank = |c: char| if c.is_whitespace() { ' ' } else { c };
    normalize(&text.chars().map(blank).filter(|c| !c.is_control()).collect::<String>())
}
