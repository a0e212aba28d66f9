//! The cascade on the corrections that a real recogniser makes: punctuation that comes and goes, a
//! number now in digits and now in words, a name that is spelled anew, a word that is split in two,
//! a sentence that is heard again.
//!
//! A trace holds what a recogniser wrote after each chunk of a talk. The committed one is made up
//! of such corrections. `ALIGNATT_TRACE=FILE` runs a recorded one: a JSON object a line, with
//! `audio_processed_ms` and `asr_text`, the transcript of the whole talk up to there.

use std::fmt;
use std::rc::Rc;

use serde::Deserialize;

use super::engines::{Align, BoxError, Engines, Hypothesis, Recognize, TimedWord};
use super::event::{Event, EventKind};
use super::fakes::*;
use super::resume_tests::{Player, check_parts};
use super::settings::Settings;
use super::stream::Activity;
use crate::policy::PolicyKind;
use crate::text::sentence::ends_sentence;
use crate::text::units::{folded, join_words, source_words};
use crate::text::{Language, Millis};

/// What a recogniser wrote, chunk by chunk.
struct Trace {
    /// The sound heard, and the words of the transcript up to there with their times.
    heard: Vec<(Millis, Vec<Spoken>)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Spoken {
    text: String,
    start: Millis,
    end: Millis,
}

impl Trace {
    /// A trace has no word times. A word that stays keeps the times that it has; new words share
    /// the time between their neighbours evenly, and at the end of the transcript the time of the
    /// chunk that brought them.
    fn of<'a>(updates: impl IntoIterator<Item = (u64, &'a str)>) -> Trace {
        let mut heard: Vec<(Millis, Vec<Spoken>)> = Vec::new();
        for (until, text) in updates {
            let until = Millis(until);
            let (from, before) = heard.last().map_or((Millis::ZERO, [].as_slice()), |(at, words)| (*at, words));
            let words = source_words(text);
            let old: Vec<&str> = before.iter().map(|word| word.text.as_str()).collect();
            let partners = partners(&words, &old);
            let known = |at: usize| partners[at].map(|old| (before[old].start, before[old].end));
            let times = filled((0..words.len()).map(known).collect(), from, until);
            let spoken = words.into_iter().zip(times).map(|(text, (start, end))| Spoken { text, start, end });
            heard.push((until, spoken.collect()));
        }
        Trace { heard }
    }

    /// The words that were spoken from `from` to `time`, as the transcript at `time` has them, or
    /// the one that comes `later` chunks after it.
    fn at(&self, from: Millis, time: Millis, later: usize) -> Vec<&Spoken> {
        let newest = self.heard.iter().rposition(|(until, _)| *until <= time);
        let words = newest.map(|at| &self.heard[at.saturating_add(later).min(self.heard.len() - 1)].1);
        let inside = |word: &&Spoken| (from.0..=time.0).contains(&((word.start.0 + word.end.0) / 2));
        words.into_iter().flatten().filter(inside).collect()
    }

    fn length(&self) -> Millis {
        self.heard.last().map_or(Millis::ZERO, |(until, _)| *until)
    }

    fn last_words(&self) -> Vec<String> {
        let words = self.heard.last().map(|(_, words)| words.iter().map(|word| word.text.clone()).collect());
        words.unwrap_or_default()
    }
}

/// For each of `words`, its partner in `others`: the most pairs of equal words, in order. Case and
/// punctuation do not matter.
fn partners(words: &[String], others: &[&str]) -> Vec<Option<usize>> {
    let words: Vec<String> = words.iter().map(|word| folded(word)).collect();
    let others: Vec<String> = others.iter().map(|word| folded(word)).collect();
    // `most[i][j]`: the most pairs of `words[i..]` and `others[j..]`.
    let mut most = vec![vec![0usize; others.len() + 1]; words.len() + 1];
    for i in (0..words.len()).rev() {
        for j in (0..others.len()).rev() {
            most[i][j] = match words[i] == others[j] {
                true => most[i + 1][j + 1] + 1,
                false => most[i + 1][j].max(most[i][j + 1]),
            };
        }
    }
    let mut partners = vec![None; words.len()];
    let (mut i, mut j) = (0, 0);
    while i < words.len() && j < others.len() {
        if words[i] == others[j] {
            partners[i] = Some(j);
            (i, j) = (i + 1, j + 1);
        } else if most[i + 1][j] >= most[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    partners
}

/// Fills unknown times evenly between the known ones; at the end, from `from` at the earliest to
/// `until`.
fn filled(times: Vec<Option<(Millis, Millis)>>, from: Millis, until: Millis) -> Vec<(Millis, Millis)> {
    let mut filled: Vec<(Millis, Millis)> = Vec::with_capacity(times.len());
    while filled.len() < times.len() {
        let rest = &times[filled.len()..];
        let floor = filled.last().map_or(Millis::ZERO, |&(_, end)| end);
        if let Some((start, end)) = rest[0] {
            filled.push((start.max(floor), end.max(floor)));
            continue;
        }
        let run = rest.iter().take_while(|time| time.is_none()).count();
        let (first, last) = match rest.get(run) {
            Some(next) => (floor, next.map_or(floor, |(start, _)| start.max(floor))),
            None => (floor.max(from).min(until), until),
        };
        let at = |part: usize| Millis(first.0 + (last - first).0 * part as u64 / run as u64);
        filled.extend((0..run).map(|part| (at(part), at(part + 1))));
    }
    filled
}

/// Writes what the trace has for the tail.
struct Replayed {
    trace: Rc<Trace>,
    /// Hears the words as they were heard so many chunks later.
    later: usize,
}

impl Recognize for Replayed {
    async fn transcribe(&mut self, tail: &[f32], _: Language) -> Result<Hypothesis, BoxError> {
        let (from, to) = span(tail);
        let words = self.trace.at(from, to, self.later);
        Ok(Hypothesis { text: join_words(words.iter().map(|word| word.text.as_str())), tokens: words.len() })
    }

    fn restart(&mut self) {}
}

impl Align for Replayed {
    async fn align(&mut self, tail: &[f32], text: &str, _: Language) -> Result<Vec<TimedWord>, BoxError> {
        let (from, to) = span(tail);
        let words = source_words(text);
        let heard = self.trace.at(from, to, self.later);
        let partners = partners(&words, &heard.iter().map(|word| word.text.as_str()).collect::<Vec<_>>());
        let known = partners.iter().map(|at| at.map(|at| (heard[at].start, heard[at].end)));
        let times = filled(known.collect(), from, to);
        let timed = words.iter().zip(times).map(|(word, (start, end))| TimedWord {
            text: word.chars().filter(|c| c.is_alphanumeric()).collect(),
            start_ms: start - from,
            end_ms: end - from,
        });
        Ok(timed.filter(|word| !word.text.is_empty()).collect())
    }

    fn restart(&mut self) {}
}

/// What a run did with a trace. Times are in milliseconds.
#[derive(Debug, Default)]
struct Figures {
    /// Of each word, from its end to the event that committed it.
    agreed_after: Vec<u64>,
    /// Of each segment, how much sound is in it.
    lengths: Vec<u64>,
    /// Of each segment, from its last word's end to its closing.
    closed_after: Vec<u64>,
    /// Segments that do not end with a sentence, without the last.
    forced: usize,
    /// Source and translation of each segment.
    closed: Vec<(String, String)>,
    /// Words of the last transcript of the trace, and of the segments; and how many of the former
    /// the latter hold, in order.
    words: [usize; 3],
}

impl Figures {
    fn of(trace: &Trace, events: &[Event]) -> Figures {
        let mut figures = Figures { closed: closed(events), ..Figures::default() };
        let (mut committed, mut shown) = (0, Vec::new());
        for event in events {
            let EventKind::Source(source) = &event.kind else { continue };
            figures.agreed_after.extend(source.committed.iter().skip(committed).map(|w| (event.audio_ms - w.end_ms).0));
            committed = source.committed.len();
            let (Some(first), Some(last), true) = (source.committed.first(), source.committed.last(), source.closed)
            else {
                continue;
            };
            figures.lengths.push((last.end_ms - first.start_ms).0);
            figures.closed_after.push((event.audio_ms - last.end_ms).0);
            figures.forced += usize::from(!ends_sentence(&last.text, Some("A")));
            shown.extend(source.committed.iter().map(|word| word.text.clone()));
            committed = 0;
        }
        let last_is_open = figures
            .closed
            .last()
            .is_some_and(|(source, _)| source_words(source).last().is_some_and(|word| !ends_sentence(word, Some("A"))));
        figures.forced -= usize::from(last_is_open);
        let expected = trace.last_words();
        let same = partners(&expected, &shown.iter().map(String::as_str).collect::<Vec<_>>());
        figures.words = [expected.len(), shown.len(), same.iter().flatten().count()];
        figures
    }
}

/// The value that a share of the values do not exceed.
fn quantile(values: &[u64], share: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spread = |values: &[u64]| {
            let mean = values.iter().sum::<u64>() / values.len().max(1) as u64;
            format!("{mean} | {} | {} | {}", quantile(values, 0.5), quantile(values, 0.9), quantile(values, 1.0))
        };
        let [expected, shown, same] = self.words;
        let (agreed, segments) = (spread(&self.agreed_after), self.lengths.len());
        let (lengths, closed) = (spread(&self.lengths), spread(&self.closed_after));
        write!(f, "agreed after {agreed}; {segments} segments, {} by force, of {lengths}", self.forced)?;
        write!(f, ", closed after {closed}; {shown} words, {same} of the {expected} of the last transcript")
    }
}

fn run_trace(trace: &Rc<Trace>, settings: Settings) -> (Figures, Vec<Event>) {
    run_broken(trace, settings, &|_| false, 0)
}

/// A run that is broken off after some of its steps. What is resumed hears the words as they were
/// heard `later` chunks later: with more sound behind them, and differently.
fn run_broken(
    trace: &Rc<Trace>,
    settings: Settings,
    breaks: &dyn Fn(usize) -> bool,
    later: usize,
) -> (Figures, Vec<Event>) {
    let log = SharedLog::default();
    let replayed = |part: usize| Replayed { trace: trace.clone(), later: if part == 0 { 0 } else { later } };
    let engines = |part| Engines {
        recognizer: replayed(part),
        aligner: replayed(part),
        translator: settings.target.map(|to| translator_for(to, &settings, &log)),
    };
    let player = Player {
        settings,
        length: trace.length(),
        block: settings.chunk.0,
        activity: &|_, _| Activity::Unknown,
        breaks,
    };
    let (parts, _) = player.play(engines);
    // Committed words and captions are only added to.
    assert_eq!(check_parts(&parts), Ok(()));
    let events = parts.concat();
    (Figures::of(trace, &events), events)
}

fn settings(chunk: u64, longest: u64, policy: PolicyKind) -> Settings {
    let plain = Settings::new(Language::ENGLISH, Some(Language::GERMAN));
    Settings { chunk: Millis(chunk), longest_segment: Millis(longest), policy, ..plain }
}

/// Corrections of every kind, a second apart.
const CORRECTIONS: &[&str] = &[
    "Good morning, my name is Anna Kowal",
    "Good morning, my name is Anna Kowalska. I",
    "Good morning, my name is Anna Kovalska and I work",
    "Good morning, my name is Anna Kowalska and I work on data",
    "Good morning, my name is Anna Kowalska and I work on dataset quality",
    "Good morning, my name is Anna Kowalska and I work on data set quality. We",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took one hundred",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step by step",
    "Good morning, my name is Anna Kowalska and I work on data set quality. We took one hundred step-by-step guides",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web and",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web. And asked",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers surprised",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers surprised us. Nobody",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers surprised us. No body knew",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers surprised us. Nobody knew. So we ask",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers surprised us. Nobody knew. So we as we asked the",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers surprised us. Nobody knew. So we asked the readers. End",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers surprised us. Nobody knew. So we asked the readers",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers surprised us. Nobody knew. So we asked the readers. Thank you",
    "Good morning, my name is Anna Kowalska and I work on dataset quality. We took 100 step-by-step guides from the web, and asked who wrote them. The answers surprised us. Nobody knew. So we asked the readers. Thank you.",
];

fn corrections() -> Rc<Trace> {
    Rc::new(Trace::of(CORRECTIONS.iter().enumerate().map(|(at, text)| (1_000 * (at as u64 + 1), *text))))
}

#[test]
fn corrections_lose_no_word_and_show_none_twice() {
    for policy in [PolicyKind::default(), PolicyKind::LocalAgreement, PolicyKind::HoldN(2)] {
        let (figures, _) = run_trace(&corrections(), settings(1_000, 20_000, policy));
        println!("{policy}: {figures}");
        let sources: Vec<&str> = figures.closed.iter().map(|(source, _)| source.as_str()).collect();
        let expected = [
            "Good morning, my name is Anna Kowalska and I work on dataset quality.",
            // The comma came after `web` was committed.
            "We took 100 step-by-step guides from the web and asked who wrote them.",
            "The answers surprised us.",
            "Nobody knew.",
            "So we asked the readers.",
            "Thank you.",
        ];
        assert_eq!(sources, expected, "{policy}");
        // A caption may show a spelling that was corrected later, but it has every word once.
        for (source, target) in &figures.closed {
            let (source, target) = (source_words(source), source_words(target));
            let same = partners(&source, &target.iter().map(String::as_str).collect::<Vec<_>>());
            let respelled = source.len().max(target.len()) - same.iter().flatten().count();
            assert!(respelled <= 2 && source.len().abs_diff(target.len()) <= 1, "{policy}: {target:?}");
        }
        assert_eq!(figures.forced, 0);
    }
}

/// Short segments are cut by force in the middle of corrections.
#[test]
fn forced_closings_lose_no_word_of_the_corrections() {
    for longest in [4_000, 5_000, 7_000, 9_000] {
        let (figures, _) = run_trace(&corrections(), settings(1_000, longest, PolicyKind::LocalAgreement));
        println!("{longest}: {figures}");
        let [expected, shown, same] = figures.words;
        assert!(figures.forced > 0 || longest > 5_000, "{longest}: nothing was forced");
        assert!(same + 2 >= expected && shown <= expected + 2, "{longest}: {:?}", figures.closed);
        assert!(figures.lengths.iter().all(|&length| length <= longest + 1_000), "{longest}: {:?}", figures.lengths);
    }
}

/// A recogniser that forgets the beginning of the tail, or all of it, for one chunk.
#[test]
fn a_forgotten_beginning_loses_no_word() {
    for at in 2..CORRECTIONS.len() - 1 {
        for forgotten in [1, 3, 8, usize::MAX] {
            let mut trace =
                Trace::of(CORRECTIONS.iter().enumerate().map(|(at, text)| (1_000 * (at as u64 + 1), *text)));
            let words = &mut trace.heard[at].1;
            // The words of closed sentences are no longer in the tail.
            let open = words.iter().rposition(|word| ends_sentence(&word.text, Some("A"))).map_or(0, |end| end + 1);
            words.drain(open..words.len().min(open.saturating_add(forgotten)));
            let (figures, _) = run_trace(&Rc::new(trace), settings(1_000, 20_000, PolicyKind::LocalAgreement));
            let [expected, shown, same] = figures.words;
            let told = format!("{at}, {forgotten}: {figures}: {:?}", figures.closed);
            assert!(same + 2 >= expected && shown <= expected + 2, "{told}");
        }
    }
}

/// Wherever a stream is broken off, and whatever it hears anew of the words before, no word is lost
/// and none comes twice.
#[test]
fn breaks_lose_no_word_of_the_corrections() {
    for policy in [PolicyKind::default(), PolicyKind::LocalAgreement] {
        for later in [0, 1, 2, 5, usize::MAX] {
            for at in 1..CORRECTIONS.len() {
                let settings = settings(1_000, 20_000, policy);
                let (figures, _) = run_broken(&corrections(), settings, &|step| step == at, later);
                let [expected, shown, same] = figures.words;
                let told = format!("{policy}, broken at {at}, heard {later} later: {:?}", figures.closed);
                assert!(same + 1 >= expected && shown <= expected + 1, "{told}");
            }
        }
    }
}

/// The recorded trace, or `None` with a message.
fn recorded() -> Option<Rc<Trace>> {
    let Some(path) = std::env::var_os("ALIGNATT_TRACE") else {
        eprintln!("NOT RUN: ALIGNATT_TRACE names no recorded transcripts");
        return None;
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    #[derive(Deserialize)]
    struct Update {
        audio_processed_ms: f64,
        asr_text: String,
    }
    let parse = |line: &str| serde_json::from_str::<Update>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let updates: Vec<Update> = text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect();
    let heard = updates.iter().map(|update| (update.audio_processed_ms as u64, update.asr_text.as_str()));
    Some(Rc::new(Trace::of(heard)))
}

#[test]
fn a_recorded_talk() {
    let Some(trace) = recorded() else { return };
    for (chunk, longest) in [(960, 40_000), (960, 20_000), (960, 10_000), (960, 5_000), (1_920, 20_000)] {
        let (figures, events) = run_trace(&trace, settings(chunk, longest, PolicyKind::default()));
        println!("chunks of {chunk}, segments up to {longest}: {figures}");
        let [expected, shown, same] = figures.words;
        assert!(same * 100 >= expected * 95 && shown * 100 <= expected * 105, "{figures}");
        assert!(events.iter().all(|event| !matches!(event.kind, EventKind::Warning(_))), "a warning");
    }
}

#[test]
fn a_recorded_talk_that_is_broken() {
    let Some(trace) = recorded() else { return };
    let settings = settings(960, 20_000, PolicyKind::default());
    let (unbroken, events) = run_trace(&trace, settings);
    let steps = events.iter().filter(|event| matches!(event.kind, EventKind::Progress(_))).count();
    // Words of the last transcript that are missing, and words that it does not have.
    let wrong = |figures: &Figures| [figures.words[0] - figures.words[2], figures.words[1] - figures.words[2]];
    println!("unbroken: {:?} words missing and others", wrong(&unbroken));
    for later in [0, 1, 3, 10] {
        let (mut most, mut changed) = ([0; 2], 0);
        for at in (5..steps).step_by(10) {
            let (broken, _) = run_broken(&trace, settings, &|step| step == at, later);
            let wrong = wrong(&broken);
            most = [most[0].max(wrong[0]), most[1].max(wrong[1])];
            changed += usize::from(broken.closed != unbroken.closed);
        }
        println!(
            "broken once, heard {later} chunks later: at most {most:?}; {changed} runs differ from the unbroken one"
        );
        let (figures, _) = run_broken(&trace, settings, &|step| step % 5 == 0, later);
        println!("broken at every fifth step: {:?}: {figures}", wrong(&figures));
        for (wrong, unbroken) in
            most.into_iter().zip(wrong(&unbroken)).chain(wrong(&figures).into_iter().zip(wrong(&unbroken)))
        {
            assert!(wrong <= unbroken + 2, "{wrong} words, {unbroken} of the unbroken run");
        }
    }
}
