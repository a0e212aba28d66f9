//! The words of the open segment, and where a segment closes.
//!
//! Words are committed when two hypotheses in a row agree on them. A segment closes behind a
//! committed word that ends a sentence. A long pause and the end of the stream close it, too. A
//! segment that reaches its length limit is cut at the best clause end among the agreed words.

use super::checkpoint::Checkpoint;
use super::event::{EventKind, SegmentId, Source, Word};
use crate::policy::SourceWord;
use crate::text::Millis;
use crate::text::agreement::{Place, agreed_len, continuation_at};
use crate::text::repetition::without_loops;
use crate::text::seams::normalize;
use crate::text::sentence::{ends_clause, ends_sentence};
use crate::text::units::{folded, join_words, source_words};

/// A silence of at least this length between two words counts as the end of a clause.
const SHORT_PAUSE: Millis = Millis(400);
/// How much later the aligner may put the end of a word when it sees it again.
const TIME_ERROR: Millis = Millis(120);
/// The most sound that is kept behind a segment's last word, where no word follows soon.
const BREATH: Millis = Millis(400);

/// Where segments may close now, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// At agreed sentence ends.
    Sentences,
    /// The segment grows long: at agreed sentence ends, else at an agreed clause end or short
    /// pause.
    Clauses,
    /// The segment is too long: as `Clauses`, else wherever it does least harm. The sound up to
    /// `give_up` is dropped, so every word that begins before then closes.
    Long { give_up: Millis },
    /// At the end of all words: there is a pause, or the stream has ended.
    All,
}

/// A segment that has closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClosedSource {
    pub segment: SegmentId,
    pub words: Vec<Word>,
}

/// Result of [`Transcript::settle`].
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub closed: Vec<ClosedSource>,
    /// Where the sound of the closed segments ends.
    pub cut: Option<Millis>,
}

/// The open segment's words.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    segment: SegmentId,
    committed: Vec<Word>,
    /// The newest hypothesis after the committed words.
    rest: Vec<String>,
    /// End times of the words of `rest`, where they were aligned.
    rest_ends: Vec<Millis>,
    /// How many words at the start of `rest` the two newest hypotheses agree on.
    agreed: usize,
    /// How many words at the start of `rest` were agreed earlier but could not be committed then,
    /// because a segment closed before them or their alignment failed. They stay, whatever later
    /// hypotheses say. The last word of a hypothesis is never among them, because it may be half a
    /// word.
    sure: usize,
    /// End time of the last sure word, where it was aligned.
    sure_until: Option<Millis>,
    /// End time of the last committed word, also of closed segments.
    floor: Millis,
    /// Whether an event was sent for the open segment.
    is_announced: bool,
    /// The number of committed words and the tentative text of that event; `None` also where the
    /// stream was resumed and its reader may still show another tentative text.
    announced: Option<(usize, String)>,
    /// The words are those of a text. They do not change, and each is complete.
    certain: bool,
}

impl Transcript {
    /// A transcript whose words come from a text, by [`Transcript::append`].
    pub(super) fn of_text() -> Transcript {
        Transcript { certain: true, ..Transcript::default() }
    }

    /// Goes on from a checkpoint that has passed its checks.
    pub(super) fn resume(&mut self, from: &Checkpoint) {
        self.segment = from.segment;
        self.committed.clone_from(&from.words);
        self.floor = from.floor_ms;
        self.is_announced = from.announced;
    }

    /// The part of a checkpoint that is about source words.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            segment: self.segment,
            words: self.committed.clone(),
            floor_ms: self.floor,
            announced: self.is_announced,
            ..Checkpoint::default()
        }
    }

    /// Adds a word of a text.
    pub(super) fn append(&mut self, word: String) {
        self.rest.push(word);
    }

    /// Lets the next [`Transcript::settle`] commit all words.
    pub(super) fn agree_on_all(&mut self) {
        self.agreed = self.rest.len();
    }

    pub(super) fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Number of known words, agreed or not.
    pub(super) fn word_count(&self) -> usize {
        self.committed.len() + self.rest.len()
    }

    /// Whether the next [`Transcript::settle`] has words to commit.
    pub(super) fn has_new(&self, closing: Closing) -> bool {
        match closing {
            Closing::Sentences | Closing::Clauses => self.agreed > 0,
            Closing::Long { .. } | Closing::All => !self.rest.is_empty(),
        }
    }

    /// Whether `heard` does not start with the committed and sure words, so that
    /// [`Transcript::hear`] needs its times.
    pub(super) fn departs(&self, heard: &[String]) -> bool {
        match heard.strip_prefix(self.committed_texts().as_slice()) {
            Some(rest) => !self.opens_with_sure(rest),
            None => true,
        }
    }

    /// Takes a new hypothesis for the whole tail, split by [`words_of`]. `times` holds the absolute
    /// times of its words where [`Transcript::departs`] asks for them; otherwise it is empty.
    pub(super) fn hear(&mut self, heard: &[String], times: &[(Millis, Millis)]) {
        let committed = self.committed_texts();
        let place = place(self.floor, times).unwrap_or(Place::behind(&committed));
        let at = continuation_at(&committed, heard, place);
        self.keep_agreed();
        let mut rest = self.with_sure_words(&heard[at..], times.get(at..).unwrap_or_default());
        let new = rest.split_off(self.sure.min(rest.len()));
        let known = [committed.as_slice(), &rest].concat();
        rest.extend(without_loops(&known, new));
        self.agreed = agreed_len(&self.rest, &rest);
        self.rest = rest;
        self.rest_ends.clear();
    }

    fn committed_texts(&self) -> Vec<String> {
        self.committed.iter().map(|word| word.text.clone()).collect()
    }

    /// Makes words sure that are agreed but not committed. There are such words only after a
    /// failure.
    fn keep_agreed(&mut self) {
        let agreed = self.agreed.min(self.rest.len().saturating_sub(1));
        if agreed > self.sure {
            self.sure = agreed;
            self.sure_until = None;
        }
    }

    /// Whether `rest` starts with the sure words. Punctuation and case do not matter.
    fn opens_with_sure(&self, rest: &[String]) -> bool {
        let same = |(sure, new): (&String, &String)| folded(sure) == folded(new);
        rest.len() >= self.sure && self.rest[..self.sure].iter().zip(rest).all(same)
    }

    /// Puts the sure words before `rest` where it does not start with them. Where it does, they
    /// take the spelling of `rest`.
    fn with_sure_words(&self, rest: &[String], times: &[(Millis, Millis)]) -> Vec<String> {
        if self.opens_with_sure(rest) {
            return rest.to_vec();
        }
        let sure = &self.rest[..self.sure];
        let place = self.sure_until.and_then(|until| place(until, times)).unwrap_or(Place::behind(sure));
        let new = &rest[continuation_at(sure, rest, place)..];
        sure.iter().chain(new).cloned().collect()
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let committed = self.committed.iter().map(|w| w.text.as_str());
        committed.chain(self.rest.iter().map(String::as_str))
    }

    /// All known words; committed words as they were committed.
    pub(super) fn word_list(&self) -> Vec<String> {
        self.words().map(str::to_owned).collect()
    }

    /// Takes absolute times for every word of [`Transcript::word_list`]. Committed words keep their
    /// times.
    pub(super) fn set_times(&mut self, times: &[(Millis, Millis)]) {
        let rest = times.get(self.committed.len()..).unwrap_or_default();
        self.rest_ends = rest.iter().map(|&(_, end)| end).collect();
    }

    /// Commits words and closes segments as far as `closing` allows. `times` are those of
    /// [`Transcript::set_times`]. A segment keeps at least its first `rests_on` words. `heard` is
    /// the end of the tail.
    pub(super) fn settle(
        &mut self,
        closing: Closing,
        times: &[(Millis, Millis)],
        rests_on: usize,
        heard: Millis,
    ) -> Settled {
        let committed_len = self.committed.len();
        let mut words = self.timed_words(times);
        let known = match closing {
            Closing::All => words.len(),
            _ => committed_len + self.agreed,
        };
        let least = committed_len.max(rests_on).max(1);
        let mut ends: Vec<usize> = Vec::new(); // one past the last word of each closed segment
        let mut from = least - 1;
        while let Some(at) = sentence_end_in(&words, from, known) {
            ends.push(at + 1);
            from = at + 1;
        }
        match closing {
            Closing::Clauses if ends.is_empty() => ends.extend(clause_end(&words, least, known)),
            Closing::Long { give_up } => {
                let due = words.iter().take_while(|word| word.start_ms < give_up).count();
                if ends.last().is_none_or(|&end| end < due) {
                    ends.extend(long_cut(&words, least.max(due), known));
                }
            }
            // A segment that was announced closes even if its words have disappeared.
            Closing::All if ends.last() != Some(&words.len()) && (!words.is_empty() || self.is_announced) => {
                ends.push(words.len());
            }
            _ => {}
        }
        let sure_end = known.min(words.len().saturating_sub(1)).max(committed_len + self.sure);
        self.agreed = 0;
        let Some(&last_end) = ends.last() else {
            words.truncate(known.max(committed_len));
            self.sure = sure_end.saturating_sub(words.len());
            self.rest.drain(..words.len() - committed_len);
            let ends_left = self.rest_ends.len().min(words.len() - committed_len);
            self.rest_ends.drain(..ends_left);
            self.floor = words.last().map_or(self.floor, |w| w.end_ms);
            self.committed = words;
            return Settled::default();
        };
        let mut cut = cut_time(&words, last_end, heard);
        if let Closing::Long { give_up } = closing {
            cut = cut.max(give_up); // the next word begins later
        }
        self.sure = sure_end.saturating_sub(last_end);
        self.sure_until = words[..last_end + self.sure].last().map(|word| word.end_ms);
        self.rest = words.drain(last_end..).map(|w| w.text).collect();
        self.rest_ends.clear();
        self.committed.clear();
        (self.is_announced, self.announced) = (false, None);
        self.floor = words.last().map_or(self.floor, |w| w.end_ms);
        let mut closed = Vec::with_capacity(ends.len());
        let mut start = 0;
        for end in ends {
            closed.push(ClosedSource { segment: self.segment, words: words[start..end].to_vec() });
            self.segment = self.segment.next();
            start = end;
        }
        Settled { closed, cut: Some(cut) }
    }

    /// Committed words unchanged, the rest with new times. No word starts before the previous one
    /// has ended.
    fn timed_words(&self, times: &[(Millis, Millis)]) -> Vec<Word> {
        let mut words = self.committed.clone();
        let mut floor = self.floor;
        for (at, text) in self.rest.iter().enumerate() {
            let (start, end) = times.get(self.committed.len() + at).copied().unwrap_or((floor, floor));
            let start = start.max(floor);
            let end = end.max(start);
            floor = end;
            words.push(Word { text: text.clone(), start_ms: start, end_ms: end });
        }
        words
    }

    /// The source for a draft of the open segment. It ends with the first sentence end that could
    /// close the segment, so a draft never holds words of the next sentence.
    pub(super) fn draft_source(&self, rests_on: usize) -> Vec<SourceWord> {
        let certain = self.certain;
        let committed = self.committed.iter().map(|w| SourceWord { certain, ..source_word(w) });
        let rest = self.rest.iter().enumerate().map(|(at, text)| SourceWord {
            text: text.clone(),
            end: self.rest_ends.get(at).copied(),
            committed: false,
            certain,
        });
        let mut words: Vec<SourceWord> = committed.chain(rest).collect();
        let from = self.committed.len().max(rests_on).max(1) - 1;
        let end =
            (from..words.len()).find(|&at| ends_sentence(&words[at].text, words.get(at + 1).map(|w| w.text.as_str())));
        if let Some(at) = end {
            words.truncate(at + 1);
        }
        words
    }

    /// The event for the open segment; `None` if nothing has changed since the last one.
    pub(super) fn announce(&mut self) -> Option<EventKind> {
        let tentative = join_words(self.rest.iter().map(String::as_str));
        let now = (self.committed.len(), tentative);
        let silent = !self.is_announced && self.word_count() == 0;
        if silent || self.announced.as_ref() == Some(&now) {
            return None;
        }
        let event = EventKind::Source(Source {
            segment: self.segment,
            committed: self.committed.clone(),
            tentative: now.1.clone(),
            closed: false,
        });
        (self.is_announced, self.announced) = (true, Some(now));
        Some(event)
    }

    /// Closes the open segment with its committed and sure words, if it was ever announced. The
    /// sure words get no times of their own.
    pub(super) fn abandon(&mut self) -> Option<ClosedSource> {
        if !self.is_announced {
            return None;
        }
        let mut words = self.timed_words(&[]);
        words.truncate(self.committed.len() + self.sure);
        let segment = self.segment.next();
        let closed = ClosedSource { segment: self.segment, words };
        *self = Transcript { segment, floor: self.floor, certain: self.certain, ..Transcript::default() };
        Some(closed)
    }
}

/// Splits the text of a hypothesis into words.
pub(crate) fn words_of(text: &str) -> Vec<String> {
    let clean: String = text.chars().filter(|c| c.is_whitespace() || !c.is_control()).collect();
    source_words(&normalize(&clean))
}

/// Where words begin that are new after `time`: at the first that has its middle after it. `None`
/// where no times are known.
fn place(time: Millis, times: &[(Millis, Millis)]) -> Option<Place> {
    let is_before = |&(start, end): &(Millis, Millis)| start.0 + end.0 <= 2 * time.0;
    let has_ended = |&(_, end): &(Millis, Millis)| end <= time + TIME_ERROR;
    let place = || Place { expected: times.partition_point(is_before), past: times.partition_point(has_ended) };
    (!times.is_empty()).then(place)
}

/// The first word in `from..to` that ends a sentence.
fn sentence_end_in(words: &[Word], from: usize, to: usize) -> Option<usize> {
    (from..to.min(words.len())).find(|&at| ends_sentence(&words[at].text, words.get(at + 1).map(|w| w.text.as_str())))
}

/// One past the last word in `least..=known` that ends a clause, by its punctuation or by the pause
/// behind it.
fn clause_end(words: &[Word], least: usize, known: usize) -> Option<usize> {
    (least.max(1)..=known.min(words.len()))
        .rev()
        .find(|&end| ends_clause(&words[end - 1].text) || gap_behind(words, end) >= SHORT_PAUSE)
}

/// Where to cut a segment that is too long, as one past its last word: at a clause end in the
/// second half of the agreed words, else at the widest gap there. Where nothing is agreed, all but
/// the last two words are taken as agreed. The cut keeps at least `least` words. `None` where there
/// are no words.
fn long_cut(words: &[Word], least: usize, known: usize) -> Option<usize> {
    let known = if known > 0 { known } else { words.len().saturating_sub(2).max(1) };
    let known = known.max(least).min(words.len());
    if known == 0 {
        return None;
    }
    let first = least.max(known / 2).clamp(1, known);
    clause_end(words, first, known).or_else(|| (first..=known).max_by_key(|&end| (gap_behind(words, end), end)))
}

fn gap_behind(words: &[Word], end: usize) -> Millis {
    match words.get(end) {
        Some(next) => next.start_ms - words[end - 1].end_ms,
        None => Millis::ZERO,
    }
}

/// The middle of the gap behind word `end - 1`, but at most [`BREATH`] behind that word.
fn cut_time(words: &[Word], end: usize, heard: Millis) -> Millis {
    let Some(last) = end.checked_sub(1).and_then(|at| words.get(at)) else {
        return heard;
    };
    let next = words.get(end).map_or(heard, |w| w.start_ms);
    let half_gap = Millis((next - last.end_ms).0 / 2);
    last.end_ms + half_gap.min(BREATH)
}

impl ClosedSource {
    pub(super) fn event(&self) -> EventKind {
        EventKind::Source(Source {
            segment: self.segment,
            committed: self.words.clone(),
            tentative: String::new(),
            closed: true,
        })
    }

    /// The words as source of a translation, all committed.
    pub(super) fn source_words(&self) -> Vec<SourceWord> {
        self.words.iter().map(source_word).collect()
    }
}

/// A committed word as a policy sees it.
fn source_word(word: &Word) -> SourceWord {
    SourceWord { text: word.text.clone(), end: Some(word.end_ms), committed: true, certain: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_cut_before_it_is_shown() {
        let mut transcript = Transcript::default();
        let shown = |transcript: &mut Transcript| match transcript.announce() {
            Some(EventKind::Source(source)) => {
                let committed = source.committed.iter().map(|word| word.text.as_str());
                join_words(committed.chain([source.tentative.as_str()]))
            }
            _ => "(nothing new)".to_owned(),
        };
        transcript.hear(&words_of(&"over and out ".repeat(7)), &[]);
        assert_eq!(shown(&mut transcript), "over and out");
        transcript.hear(&words_of(&"over and out ".repeat(12)), &[]);
        transcript.settle(Closing::Sentences, &[], 0, Millis(900));
        assert_eq!(shown(&mut transcript), "over and out");
        transcript.hear(&words_of(&format!("{} then the talk goes on", "over and out ".repeat(12))), &[]);
        assert_eq!(shown(&mut transcript), "over and out then the talk goes on");
    }
}
