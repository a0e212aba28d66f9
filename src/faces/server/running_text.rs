//! The committed text of one side as one text that only grows, over all segments.

use super::record::{Commit, Record};
use crate::cascade::{SegmentId, Word};
use crate::faces::subtitles::Side;
use crate::text::units::seam_between;

/// How the text ends so far.
#[derive(Debug, Default)]
pub(super) struct RunningText {
    /// Its last character.
    end: String,
    /// The segment of the translation that it ends in.
    segment: Option<SegmentId>,
}

impl RunningText {
    /// What a record adds on `side`, with the blank that joins it to the text before. May be empty.
    pub(super) fn record(&mut self, record: &Record, side: Side) -> String {
        record.commits.iter().map(|commit| self.commit(commit, side)).collect()
    }

    fn commit(&mut self, commit: &Commit, side: Side) -> String {
        match (commit, side) {
            (Commit::Source { words, .. }, Side::Source) => self.words(words),
            (Commit::Target { segment, delta, .. }, Side::Target) => self.delta(*segment, delta),
            _ => String::new(),
        }
    }

    /// What words of the source add.
    pub(super) fn words(&mut self, words: &[Word]) -> String {
        words.iter().map(|word| self.add(&word.text, true)).collect()
    }

    /// What more of a segment's translation adds.
    fn delta(&mut self, segment: SegmentId, delta: &str) -> String {
        if delta.is_empty() {
            return String::new();
        }
        let joins = self.segment.replace(segment) != Some(segment);
        self.add(delta, joins)
    }

    fn add(&mut self, text: &str, joins: bool) -> String {
        let seam = if joins { seam_between(&self.end, text) } else { "" };
        if let Some(last) = text.chars().next_back() {
            self.end = last.to_string();
        }
        format!("{seam}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Millis;

    #[test]
    fn the_parts_of_a_text_bring_the_blanks_between_them() {
        let words = |texts: &[&str]| {
            let word = |text: &&str| Word { text: (*text).to_owned(), start_ms: Millis(0), end_ms: Millis(0) };
            texts.iter().map(word).collect::<Vec<_>>()
        };
        let source =
            |segment, texts: &[&str]| Commit::Source { segment: SegmentId(segment), words: words(texts), closed: true };
        let target = |segment, delta: &str| Commit::Target {
            segment: SegmentId(segment),
            delta: delta.to_owned(),
            closed: false,
        };
        let commits = [
            source(0, &["Hi", "all."]),
            target(0, "Hallo"),
            target(0, " alle."),
            source(1, &[]),
            target(1, ""),
            source(2, &["We"]),
            target(2, "Wir"),
            target(2, "kommen."),
            target(3, "鸟飞"),
            target(3, "走。"),
            target(4, "然后"),
        ];
        let record = |commit: Commit| Record {
            n: 1,
            audio_ms: Millis(0),
            wall_ms: Millis(0),
            flushes: 0,
            commits: vec![commit],
        };
        let (mut heard, mut said) = (RunningText::default(), RunningText::default());
        let source: Vec<String> = commits.iter().cloned().map(|c| heard.record(&record(c), Side::Source)).collect();
        let target: Vec<String> = commits.iter().cloned().map(|c| said.record(&record(c), Side::Target)).collect();
        assert_eq!(source.concat(), "Hi all. We");
        assert_eq!(source[5], " We");
        assert_eq!(target.concat(), "Hallo alle. Wirkommen.鸟飞走。然后");
        assert_eq!(target[6], " Wir");
    }
}
