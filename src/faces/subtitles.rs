//! SRT and WebVTT. A segment becomes one cue, or several where it does not fit two lines of 42
//! columns.
//!
//! A cue gets its times from the source words. Where a segment is split, each part gets the times
//! of the words at the same share of the source. Cues never overlap and never go back in time, and
//! each stays for a second where there is room.

use std::collections::BTreeMap;
use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cascade::{Event, EventKind, SegmentId, Word};
use crate::text::Millis;
use crate::text::units::{join_words, push_joined, seam_between, source_words};

/// Columns of a line. A CJK character takes two.
const COLUMNS: usize = 42;
/// Lines of a cue.
const LINES: usize = 2;
/// A cue stays for at least this long where nothing follows sooner.
const SHORTEST: Millis = Millis(1000);

/// The side of a segment that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Srt,
    Vtt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cue {
    start: Millis,
    end: Millis,
    lines: Vec<String>,
}

/// A subtitle file being written.
pub(crate) struct Subtitles {
    kind: Kind,
    side: Side,
    /// Source words of closed segments whose translation has not closed yet.
    words: BTreeMap<SegmentId, Vec<Word>>,
    /// The last cue, not yet written: its end depends on what follows.
    last: Option<Cue>,
    /// End of the last written cue.
    floor: Millis,
    written: usize,
    text: String,
}

impl Subtitles {
    pub(crate) fn new(kind: Kind, side: Side) -> Subtitles {
        let text = match kind {
            Kind::Srt => String::new(),
            Kind::Vtt => "WEBVTT\n\n".to_owned(),
        };
        Subtitles { kind, side, words: BTreeMap::new(), last: None, floor: Millis::ZERO, written: 0, text }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        match (&event.kind, self.side) {
            (EventKind::Source(source), Side::Source) if source.closed => {
                let text = join_words(source.committed.iter().map(|w| w.text.as_str()));
                self.segment(&text, &source.committed);
            }
            (EventKind::Source(source), Side::Target) if source.closed => {
                self.words.insert(source.segment, source.committed.clone());
            }
            (EventKind::Target(target), Side::Target) if target.closed => {
                let words = self.words.remove(&target.segment).unwrap_or_default();
                self.segment(target.committed.as_str(), &words);
            }
            _ => {}
        }
    }

    /// Takes the text that is ready to be written.
    pub(crate) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Writes the last cue. Call it after the last event.
    pub(crate) fn finish(&mut self) {
        if let Some(last) = self.last.take() {
            self.write(last, None);
        }
    }

    fn segment(&mut self, text: &str, words: &[Word]) {
        if text.is_empty() || words.is_empty() {
            return;
        }
        for cue in cues_of(text, words) {
            if let Some(last) = self.last.replace(cue.clone()) {
                self.write(last, Some(cue.start));
            }
        }
    }

    fn write(&mut self, cue: Cue, next: Option<Millis>) {
        let start = cue.start.max(self.floor);
        let wanted = cue.end.max(start + SHORTEST);
        let end = next.map_or(wanted, |next| wanted.min(next.max(cue.end))).max(start + Millis(1));
        self.floor = end;
        self.written += 1;
        let (start, end) = (self.stamp(start), self.stamp(end));
        // Writing to a string cannot fail.
        let _ = match self.kind {
            Kind::Srt => writeln!(self.text, "{}\n{start} --> {end}", self.written),
            Kind::Vtt => writeln!(self.text, "{start} --> {end}"),
        };
        for line in cue.lines {
            match self.kind {
                Kind::Srt => self.text.push_str(&line.replace("-->", "→")),
                Kind::Vtt => self.text.push_str(&line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")),
            }
            self.text.push('\n');
        }
        self.text.push('\n');
    }

    fn stamp(&self, time: Millis) -> String {
        let (seconds, millis) = (time.0 / 1000, time.0 % 1000);
        let mark = if self.kind == Kind::Srt { ',' } else { '.' };
        format!("{:02}:{:02}:{:02}{mark}{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

/// Splits a segment into cues of at most [`LINES`] lines that are about equally full.
fn cues_of(text: &str, words: &[Word]) -> Vec<Cue> {
    let lines = wrap(text, COLUMNS);
    let (Some(first), Some(last)) = (words.first(), words.last()) else {
        return Vec::new();
    };
    if lines.len() <= LINES {
        return vec![Cue { start: first.start_ms, end: last.end_ms, lines }];
    }
    // As few cues as the lines need, with lines as narrow as that number of cues allows.
    let count = lines.len().div_ceil(LINES);
    let narrow = (COLUMNS / 2..=COLUMNS).find(|&columns| wrap(text, columns).len() <= count * LINES);
    let lines = wrap(text, narrow.unwrap_or(COLUMNS));
    let total: usize = lines.iter().map(|l| l.width()).sum();
    let mut done = 0;
    let mut cues: Vec<Cue> = Vec::new();
    for part in lines.chunks(LINES) {
        let start = time_at(words, done, total);
        done += part.iter().map(|l| l.width()).sum::<usize>();
        let end = if done == total { last.end_ms } else { time_at(words, done, total) };
        let floor = cues.last().map_or(Millis::ZERO, |c| c.end);
        let start = start.max(floor);
        cues.push(Cue { start, end: end.max(start), lines: part.to_vec() });
    }
    cues
}

/// The start of the source word at the share `done / total` of the source.
fn time_at(words: &[Word], done: usize, total: usize) -> Millis {
    let at = words.len() * done / total.max(1);
    match words.get(at) {
        Some(word) => word.start_ms,
        None => words.last().map_or(Millis::ZERO, |w| w.end_ms),
    }
}

/// Splits `text` into lines of at most `columns` columns, between words or, in Chinese, between
/// characters. A longer word is cut.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in source_words(text) {
        match lines.last_mut() {
            Some(line) if line.width() + seam_between(line, &word).len() + word.width() <= columns => {
                push_joined(line, &word);
            }
            _ => lines.extend(cut_wide(&word, columns)),
        }
    }
    lines
}

fn cut_wide(word: &str, columns: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in word.chars() {
        match parts.last_mut() {
            Some(part) if part.width() + c.width().unwrap_or(0) <= columns => part.push(c),
            _ => parts.push(c.to_string()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(count: u64) -> Vec<Word> {
        (0..count)
            .map(|i| Word { text: format!("w{i}"), start_ms: Millis(i * 300), end_ms: Millis(i * 300 + 200) })
            .collect()
    }

    fn file(kind: Kind, segments: &[(&str, Vec<Word>)]) -> String {
        let mut subtitles = Subtitles::new(kind, Side::Target);
        for (text, words) in segments {
            subtitles.segment(text, words);
        }
        subtitles.finish();
        subtitles.take_text()
    }

    #[test]
    fn a_short_segment_is_one_cue() {
        assert_eq!(
            file(Kind::Srt, &[("Hallo & alle.", words(2))]),
            "1\n00:00:00,000 --> 00:00:01,000\nHallo & alle.\n\n"
        );
        assert_eq!(
            file(Kind::Vtt, &[("Hallo & <alle>.", words(2))]),
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHallo &amp; &lt;alle&gt;.\n\n"
        );
    }

    #[test]
    fn a_long_segment_is_parted_in_time() {
        let text = "Und dann haben wir gesehen, dass die Vögel, die im Herbst nach Süden geflogen waren, im Frühling alle wieder zurückgekommen sind.";
        let srt = file(Kind::Srt, &[(text, words(20))]);
        let cues: Vec<&str> = srt.trim_end().split("\n\n").collect();
        assert_eq!(cues.len(), 2, "{srt}");
        let times = |cue: &str| cue.lines().nth(1).map(|l| l.replace("00:00:0", "")).unwrap_or_default();
        let (first, second) = (times(cues[0]), times(cues[1]));
        assert!(first.starts_with("0,000 --> 2,") || first.starts_with("0,000 --> 3,"), "{srt}");
        assert_eq!(first.split(" --> ").nth(1), second.split(" --> ").next(), "{srt}");
        assert!(second.ends_with("5,900"), "{srt}");
        let chinese = "我们看到秋天飞往南方的鸟在春天又都飞回来了。".repeat(5);
        let lines = wrap(&chinese, COLUMNS);
        assert!(lines.iter().all(|l| l.width() <= COLUMNS && !l.contains(' ')));
        assert_eq!(lines.concat(), chinese);
        assert_eq!(wrap(&"x".repeat(100), COLUMNS).len(), 3);
    }

    proptest! {
        #[test]
        fn cues_are_valid_and_never_go_back(
            texts in prop::collection::vec(("[a-z你好。, ]{0,200}", 0u64..12, 0u64..3_000), 0..8),
        ) {
            let mut clock = 0;
            let segments: Vec<(String, Vec<Word>)> = texts.into_iter().map(|(text, count, step)| {
                let words = (0..count).map(|_| {
                    let start = clock;
                    clock += step;
                    Word { text: "w".to_owned(), start_ms: Millis(start), end_ms: Millis(clock) }
                }).collect();
                (crate::text::seams::normalize(&text), words)
            }).collect();
            let mut subtitles = Subtitles::new(Kind::Srt, Side::Target);
            for (text, words) in &segments {
                subtitles.segment(text, words);
            }
            subtitles.finish();
            let srt = subtitles.take_text();
            let mut floor = String::new();
            for (number, cue) in srt.split_terminator("\n\n").enumerate() {
                let lines: Vec<&str> = cue.lines().collect();
                prop_assert_eq!(lines[0], (number + 1).to_string());
                let times: Vec<&str> = lines[1].split(" --> ").collect();
                prop_assert!(*times[0] < *times[1], "{}", cue);
                prop_assert!(*floor <= *times[0], "{} after {}", cue, floor);
                floor = times[1].to_owned();
                prop_assert!((3..=4).contains(&lines.len()), "{}", cue);
                prop_assert!(lines[2..].iter().all(|l| l.width() <= COLUMNS && !l.trim().is_empty()));
            }
        }
    }
}
