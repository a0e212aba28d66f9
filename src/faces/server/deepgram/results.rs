//! Which results follow from the news of a session. A closed segment is a final result. Final
//! results follow one another without gaps, and interim ones come behind them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::query::Asked;
use super::seconds;
use crate::cascade::{SAMPLE_RATE, SegmentId, Word};
use crate::faces::server::feed::{Mark, Speech};
use crate::faces::server::record::{Commit, Record};
use crate::faces::server::secret::Secret;
use crate::faces::server::session::{News, Volatile};
use crate::text::Millis;
use crate::text::units::{join_words, push_joined, source_words, trim_punctuation};

pub(super) struct Results {
    request: String,
    model: String,
    models: Vec<String>,
    created: String,
    interim: bool,
    translates: bool,
    endpoints: bool,
    vad_events: bool,
    utterance_end: Option<Millis>,
    /// Segments that are not closed on all sides.
    open: BTreeMap<SegmentId, Caption>,
    /// Closed segments that are not said yet.
    closed: Vec<Caption>,
    /// Places where the open segment was closed, not reached yet, and why.
    marks: VecDeque<(Mark, Why)>,
    /// Where the last final result ends.
    floor: Millis,
    /// The end of the last word of the utterance, until its end is said.
    last_word: Option<Millis>,
    /// The last interim result.
    shown: Value,
}

#[derive(Clone, Debug, Default)]
struct Caption {
    words: Vec<Word>,
    source_closed: bool,
    target: String,
    target_closed: bool,
    /// Flushes before its source was closed.
    flushes: u64,
}

/// Why a segment was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Speech has ended.
    Silence,
    /// The client said so.
    Finalize,
    /// The stream has ended, or nothing special.
    None,
}

impl Results {
    pub(super) fn new(asked: &Asked, models: Vec<String>) -> Results {
        Results {
            request: uuid(),
            model: asked.model.clone(),
            models,
            created: utc(SystemTime::now()),
            interim: asked.interim,
            translates: asked.to.is_some(),
            endpoints: asked.endpoint.is_some(),
            vad_events: asked.vad_events,
            utterance_end: asked.utterance_end,
            open: BTreeMap::new(),
            closed: Vec::new(),
            marks: VecDeque::new(),
            floor: Millis::ZERO,
            last_word: None,
            shown: Value::Null,
        }
    }

    pub(super) fn metadata(&self, length: Duration) -> Value {
        json!({
            "type": "Metadata", "transaction_key": "deprecated", "request_id": self.request, "sha256": "",
            "created": self.created, "duration": length.as_secs_f64(), "channels": 1, "models": self.models,
        })
    }

    pub(super) fn error(&self, variant: &str, what: &str) -> Value {
        json!({"type": "Error", "variant": variant, "description": what, "message": what, "request_id": self.request})
    }

    /// The client has the open segment closed.
    pub(super) fn finalize(&mut self, mark: Mark) {
        self.marks.push_back((mark, Why::Finalize));
    }

    /// Speech begins or ends.
    pub(super) fn speech(&mut self, speech: Speech) -> Vec<Value> {
        match speech {
            Speech::Began { at } if self.vad_events => {
                vec![json!({"type": "SpeechStarted", "channel": [0, 1], "timestamp": seconds(at)})]
            }
            Speech::Ended { mark: Some(mark), .. } => {
                let why = if self.endpoints { Why::Silence } else { Why::None };
                self.marks.push_back((mark, why));
                Vec::new()
            }
            Speech::Began { .. } | Speech::Ended { .. } => Vec::new(),
        }
    }

    pub(super) fn news(&mut self, news: &News) -> Vec<Value> {
        match news {
            News::Records(records) => {
                records.iter().for_each(|record| self.take(record));
                Vec::new()
            }
            News::Volatile(now) => self.say(now),
        }
    }

    /// What is said at the end, after `length` of sound.
    pub(super) fn end(&mut self, length: Millis) -> Vec<Value> {
        // A session that was interrupted has closed all segments, too.
        let mut messages = self.finals(u64::MAX);
        messages.extend(self.utterance_end(length));
        messages
    }

    fn take(&mut self, record: &Record) {
        for commit in &record.commits {
            match commit {
                Commit::Source { segment, words, closed } => {
                    let caption = self.open.entry(*segment).or_default();
                    caption.words.extend_from_slice(words);
                    caption.source_closed |= closed;
                    caption.flushes = record.flushes;
                }
                Commit::Target { segment, delta, closed } => {
                    let caption = self.open.entry(*segment).or_default();
                    caption.target.push_str(delta);
                    caption.target_closed |= closed;
                }
                Commit::End(_) => {}
            }
        }
        while let Some(first) = self.open.first_entry() {
            let caption = first.get();
            if !caption.source_closed || self.translates && !caption.target_closed {
                break;
            }
            self.closed.push(first.remove());
        }
    }

    /// Says what a step gave.
    fn say(&mut self, now: &Volatile) -> Vec<Value> {
        let mut messages = self.finals(now.flushes);
        let tentative = now.source.as_ref().map_or("", |(_, text)| text.as_str());
        // Up to where there is surely no word.
        let next = self.open.values().find_map(|caption| caption.words.first());
        let silent = next.map(|word| word.start_ms).or(tentative.is_empty().then_some(now.audio_ms));
        messages.extend(silent.and_then(|until| self.utterance_end(until)));
        if self.interim {
            messages.extend(self.interim(now, tentative));
        }
        messages
    }

    /// Says that an utterance has ended, if there is no word for long enough up to `until`.
    fn utterance_end(&mut self, until: Millis) -> Option<Value> {
        let (length, last) = (self.utterance_end?, self.last_word?);
        (until >= last + length).then(|| {
            self.last_word = None;
            json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": seconds(last)})
        })
    }

    /// Final results for what is closed, when `flushes` flushes were done.
    fn finals(&mut self, flushes: u64) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut closed = VecDeque::from(std::mem::take(&mut self.closed));
        while let Some((mark, why)) = self.marks.pop_front_if(|(mark, _)| mark.flush <= flushes) {
            let count = closed.iter().take_while(|caption| caption.flushes < mark.flush).count();
            let mut ending: Vec<Caption> = closed.drain(..count).collect();
            if ending.is_empty() && why != Why::None {
                ending.push(Caption::default());
            }
            let last = ending.len().saturating_sub(1);
            for (at, caption) in ending.into_iter().enumerate() {
                let why = if at == last { why } else { Why::None };
                messages.extend(self.last(caption, why, time_of(mark.samples)));
            }
        }
        for caption in closed {
            let end = caption.words.last().map_or(self.floor, |word| word.end_ms);
            messages.extend(self.last(caption, Why::None, end));
        }
        messages
    }

    /// A final result, and before it the end of the utterance before. One without words reaches to
    /// `end`.
    fn last(&mut self, caption: Caption, why: Why, end: Millis) -> Vec<Value> {
        let mut messages = Vec::new();
        if let Some(first) = caption.words.first() {
            messages.extend(self.utterance_end(first.start_ms));
        }
        let start = self.floor;
        let end = caption.words.last().map_or(end, |word| word.end_ms).max(start);
        self.floor = end;
        if let Some(word) = caption.words.last() {
            self.last_word = Some(word.end_ms);
        }
        self.shown = Value::Null;
        let text = join_words(caption.words.iter().map(|word| word.text.as_str()));
        let mut message = self.result((start, end), &text, &caption.words, caption.target.trim());
        message["is_final"] = true.into();
        message["speech_final"] = (why == Why::Silence).into();
        message["from_finalize"] = (why == Why::Finalize).into();
        messages.push(message);
        messages
    }

    /// An interim result, if it differs from the last one.
    fn interim(&mut self, now: &Volatile, tentative: &str) -> Option<Value> {
        let mut words: Vec<Word> = self.open.values().flat_map(|caption| caption.words.iter().cloned()).collect();
        let known = words.last().map_or(self.floor, |word| word.end_ms);
        words.extend(spread(tentative, known, now.audio_ms));
        let mut target = String::new();
        for caption in self.open.values() {
            push_joined(&mut target, caption.target.trim());
        }
        if let Some((_, more)) = &now.target {
            target.push_str(more);
        }
        let mut text = join_words(words.iter().map(|word| word.text.as_str()));
        if words.is_empty() {
            text.clear();
            target.clear();
        }
        let said = json!([text, target]);
        if words.is_empty() || said == self.shown {
            return None;
        }
        self.shown = said;
        let end = now.audio_ms.max(self.floor);
        let mut message = self.result((self.floor, end), &text, &words, target.trim());
        message["is_final"] = false.into();
        message["speech_final"] = false.into();
        message["from_finalize"] = false.into();
        Some(message)
    }

    fn result(&self, (start, end): (Millis, Millis), text: &str, words: &[Word], target: &str) -> Value {
        // Nothing here measures a confidence.
        let word = |word: &Word| {
            json!({
                "word": trim_punctuation(&word.text).to_lowercase(), "punctuated_word": word.text,
                "start": seconds(word.start_ms), "end": seconds(word.end_ms), "confidence": 0.0,
            })
        };
        let words: Vec<Value> = words.iter().map(word).collect();
        let mut alternative = json!({"transcript": text, "confidence": 0.0, "words": words});
        if self.translates {
            alternative["translation"] = target.into();
        }
        json!({
            "type": "Results", "channel_index": [0, 1], "start": seconds(start), "duration": seconds(end - start),
            "channel": {"alternatives": [alternative]},
            "metadata": {
                "request_id": self.request, "model_uuid": self.request,
                "model_info": {"name": self.model, "version": env!("CARGO_PKG_VERSION"), "arch": "alignatt"},
            },
        })
    }
}

/// The words of a tentative text, spread over the time in which they were said.
fn spread(text: &str, from: Millis, to: Millis) -> Vec<Word> {
    let words = source_words(text);
    let (count, length) = (words.len() as u64, to.0.saturating_sub(from.0));
    let at = |index: u64| Millis(from.0 + length * index / count.max(1));
    let timed = words.into_iter().zip(0..);
    timed.map(|(text, index)| Word { text, start_ms: at(index), end_ms: at(index + 1) }).collect()
}

fn time_of(samples: u64) -> Millis {
    Millis(samples * 1000 / u64::from(SAMPLE_RATE))
}

/// A random UUID.
fn uuid() -> String {
    let text = Secret::new("").text;
    let hex = text.trim_start_matches('_');
    let variant = ["8", "9", "a", "b"][hex.as_bytes().get(16).map_or(0, |byte| usize::from(byte % 4))];
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("{}-{}-4{}-{variant}{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

/// A time as `2026-11-27T11:06:02Z`.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0: the leap day is the last of such a year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}
