//! Tests of streams that are broken off and resumed, once or many times.

use super::checkpoint::{Checkpoint, ResumeError};
use super::engines::{Align, Engines, Recognize, Translate};
use super::event::{Event, EventKind, SegmentId, Word};
use super::fakes::*;
use super::rules::{BrokenRule, Rules};
use super::settings::Settings;
use super::stream::{Activity, Cascade};
use super::tail::{samples_in, time_of};
use crate::policy::PolicyKind;
use crate::text::{Language, Millis};

/// The events of a stream that was broken off, without `end` except in the last part.
type Parts = Vec<Vec<Event>>;

/// How a stream is played: its sound, and after which steps it is broken off and resumed.
struct Player<'a> {
    settings: Settings,
    length: Millis,
    /// Length of the pieces in which sound is pushed.
    block: u64,
    activity: &'a dyn Fn(Millis, Millis) -> Activity,
    breaks: &'a dyn Fn(usize) -> bool,
}

impl Player<'_> {
    /// Plays the stream to its end. `engines` makes the engines of each part; its argument counts
    /// the parts. Between two parts the checkpoint goes through JSON. Also returns the checkpoints.
    fn play<R: Recognize, A: Align, T: Translate>(
        &self,
        engines: impl Fn(usize) -> Engines<R, A, T>,
    ) -> (Parts, Vec<Checkpoint>) {
        let mut cascade = Cascade::new(self.settings, engines(0), ticking()).expect("settings that fit");
        let (mut parts, mut checkpoints) = (vec![Vec::new()], Vec::new());
        cascade.start(start_of(&self.settings), &mut |event| parts[0].push(event));
        let (mut at, mut steps) = (0, 0);
        let length = samples_in(self.length);
        while at < length {
            let end = (at + samples_in(Millis(self.block))).min(length);
            let sound: Vec<f32> = (at..end).map(|sample| sample as f32).collect();
            cascade.push(&sound, (self.activity)(time_of(at), time_of(end)));
            at = end;
            loop {
                let newest = parts.last_mut().expect("a part");
                let stepped = pollster::block_on(cascade.step(&mut |event| newest.push(event))).expect("a step");
                if !stepped {
                    break;
                }
                steps += 1;
                if !(self.breaks)(steps) {
                    continue;
                }
                let checkpoint = cascade.checkpoint();
                assert_eq!(checkpoint.check(), Ok(()));
                assert_eq!(checkpoint.position(), cascade.position());
                let json = serde_json::to_string(&checkpoint).expect("JSON");
                let read: Checkpoint = serde_json::from_str(&json).expect("the same");
                assert_eq!(read, checkpoint);
                cascade = Cascade::resume(self.settings, engines(parts.len()), ticking(), &read).expect("it goes on");
                assert_eq!(cascade.checkpoint(), checkpoint, "nothing changes before sound is pushed");
                at = checkpoint.tail_start;
                checkpoints.push(checkpoint);
                parts.push(Vec::new());
                break;
            }
        }
        let newest = parts.last_mut().expect("a part");
        pollster::block_on(cascade.finish(&mut |event| newest.push(event))).expect("an end");
        cascade.end(&mut |event| newest.push(event));
        (parts, checkpoints)
    }
}

/// Checks the parts as one run.
fn check(parts: &Parts) -> Result<(), BrokenRule> {
    let mut rules = Rules::default();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            rules.resumed();
        }
        for event in part {
            rules.observe(event)?;
        }
    }
    rules.finish()
}

fn committed_words(events: &[Event]) -> Vec<Word> {
    let closed = events.iter().filter_map(|event| match &event.kind {
        EventKind::Source(source) if source.closed => Some(source.committed.clone()),
        _ => None,
    });
    closed.flatten().collect()
}

const TEXT: &str = "Hi everyone. Today Dr. Smith talks about 3.5 million birds, which fly south. They come back in spring, \
    don't they? Nobody counts them all, and nobody has to.";

/// A talk with a long pause before its last sentence.
fn talk() -> Talk {
    let talk = Talk::spoken(TEXT, 500, 300);
    let end = talk.words.last().expect("words").2;
    talk.then(Talk::spoken("We do now.", end.0 + 2_500, 300))
}

fn length_of(talk: &Talk) -> Millis {
    talk.words.last().expect("words").2 + Millis(600)
}

/// The talk with fake engines that hear it as it is.
fn play_talk(talk: &Talk, settings: Settings, breaks: &dyn Fn(usize) -> bool) -> (Vec<Event>, Vec<Checkpoint>) {
    let near = |from: Millis, to: Millis| talk.words.iter().any(|word| word.1 < to && word.2 > from);
    let player = Player {
        settings,
        length: length_of(talk),
        block: 100,
        activity: &|from, to| Activity::of(near(from, to)),
        breaks,
    };
    let (parts, checkpoints) = player.play(|_| {
        let log = SharedLog::default();
        Engines {
            recognizer: TalkRecognizer(talk.clone(), log.clone()),
            aligner: TalkAligner(talk.clone(), log.clone()),
            translator: settings.target.map(|to| translator_for(to, &settings, &log)),
        }
    });
    check(&parts).unwrap_or_else(|broken| panic!("{broken}: {parts:#?}"));
    (parts.concat(), checkpoints)
}

fn all_settings() -> Vec<Settings> {
    let plain = Settings::new(Language::ENGLISH, Some(Language::GERMAN));
    let policies = ["alignatt", "alignatt:high", "local-agreement", "hold-n:2", "offline"];
    let translated = policies.map(|policy| {
        let policy: PolicyKind = policy.parse().unwrap_or_else(|error| panic!("{error}"));
        Settings { policy, history: 2, ..plain }
    });
    let short = Settings { longest_segment: Millis(3_400), ..translated[2] };
    translated.into_iter().chain([short, Settings::new(Language::ENGLISH, None)]).collect()
}

/// Wherever a stream is broken off, the whole of it has every word once, with its time, and every
/// caption whole.
#[test]
fn a_stream_that_is_broken_once_ends_like_one_that_is_not() {
    for settings in all_settings() {
        let talk = talk();
        let (unbroken, _) = play_talk(&talk, settings, &|_| false);
        let steps = unbroken.iter().filter(|event| matches!(event.kind, EventKind::Progress(_))).count();
        assert!(steps > 12, "{steps}");
        for at in 1..steps {
            let (broken, checkpoints) = play_talk(&talk, settings, &|step| step == at);
            assert_eq!(checkpoints.len(), 1);
            let heard: Vec<_> = committed_words(&broken).into_iter().map(|w| (w.text, w.start_ms, w.end_ms)).collect();
            assert_eq!(heard, talk.words, "{}: broken at step {at}", settings.policy);
            for (source, target) in closed(&broken) {
                let whole = if settings.target.is_some() { source.to_uppercase() } else { String::new() };
                assert_eq!(target, whole, "{}: broken at step {at}", settings.policy);
            }
            if settings.longest_segment > Millis(10_000) {
                assert_eq!(closed(&broken), closed(&unbroken), "{}: broken at step {at}", settings.policy);
            }
            let (end, before) = (broken.last().expect("end"), unbroken.last().expect("end"));
            let (EventKind::End(end), EventKind::End(before)) = (&end.kind, &before.kind) else { panic!("no end") };
            assert_eq!((end.words, end.interrupted), (before.words, false));
        }
    }
}

#[test]
fn a_stream_that_is_broken_at_every_step_goes_on() {
    for settings in all_settings() {
        for every in [1, 2, 3] {
            let talk = talk();
            // After each break, one step hears the tail again. Broken at every step, no two
            // hypotheses ever agree, and segments close at pauses and at their longest.
            let (broken, checkpoints) = play_talk(&talk, settings, &|step| step % every == 0);
            assert!(checkpoints.len() > 3, "{}", checkpoints.len());
            let heard: Vec<_> = committed_words(&broken).into_iter().map(|w| (w.text, w.start_ms, w.end_ms)).collect();
            assert_eq!(heard, talk.words, "{}: broken every {every} steps", settings.policy);
            for (source, target) in closed(&broken) {
                let whole = if settings.target.is_some() { source.to_uppercase() } else { String::new() };
                assert_eq!(target, whole, "{}: broken every {every} steps", settings.policy);
            }
        }
    }
}

#[test]
fn a_checkpoint_is_small() {
    let (_, checkpoints) = play_talk(&talk(), all_settings()[0], &|step| step % 2 == 0);
    let longest = checkpoints.iter().map(|checkpoint| serde_json::to_string(checkpoint).expect("JSON").len()).max();
    assert!(longest.is_some_and(|longest| longest < 2_000), "{longest:?}");
    assert!(checkpoints.iter().any(|checkpoint| !checkpoint.words.is_empty()));
    let shown = |checkpoint: &Checkpoint| checkpoint.target.as_ref().is_some_and(|target| !target.shown.is_empty());
    assert!(checkpoints.iter().any(shown));
}

/// Sound was lost: the stream ends right after it was resumed.
#[test]
fn a_stream_without_its_sound_keeps_what_was_committed() {
    let talk = talk();
    for settings in all_settings() {
        let (_, checkpoints) = play_talk(&talk, settings, &|step| step % 3 == 1);
        for checkpoint in checkpoints {
            let log = SharedLog::default();
            let engines = Engines {
                recognizer: TalkRecognizer(talk.clone(), log.clone()),
                aligner: TalkAligner(talk.clone(), log.clone()),
                translator: settings.target.map(|to| translator_for(to, &settings, &log)),
            };
            let mut cascade = Cascade::resume(settings, engines, ticking(), &checkpoint).expect("it goes on");
            let mut events = Vec::new();
            pollster::block_on(cascade.finish(&mut |event| events.push(event))).expect("an end");
            cascade.end(&mut |event| events.push(event));
            let words: Vec<Word> = committed_words(&events);
            assert_eq!(words, checkpoint.words);
            let done: usize = events.iter().filter(|e| matches!(&e.kind, EventKind::Target(t) if t.closed)).count();
            let waiting = checkpoint.target.as_ref().map_or(0, |target| target.waiting.len());
            assert_eq!(done, waiting + usize::from(checkpoint.announced && checkpoint.target.is_some()));
        }
    }
}

#[test]
fn what_no_stream_has_written_is_refused() {
    let word = |text: &str, start, end| Word { text: text.to_owned(), start_ms: Millis(start), end_ms: Millis(end) };
    let good = Checkpoint {
        segment: SegmentId(2),
        heard: 64_000,
        tail_start: 32_000,
        words: vec![word("so", 2_100, 2_300), word("we", 2_300, 2_500)],
        floor: Millis(2_500),
        announced: true,
        closed_words: 5,
        target: None,
    };
    let settings = Settings::new(Language::ENGLISH, None);
    let resume = |checkpoint: &Checkpoint| {
        let log = SharedLog::default();
        let engines = Engines {
            recognizer: TalkRecognizer(Talk::default(), log.clone()),
            aligner: TalkAligner(Talk::default(), log),
            translator: None::<WordTranslator>,
        };
        Cascade::resume(settings, engines, ticking(), checkpoint).err()
    };
    assert_eq!(resume(&good), None);
    let refused = [
        Checkpoint { tail_start: 64_001, ..good.clone() },
        Checkpoint { heard: u64::MAX, tail_start: u64::MAX - 100, ..good.clone() },
        Checkpoint { tail_start: 0, heard: 16 * 20_851, ..good.clone() },
        Checkpoint { segment: SegmentId(u32::MAX), ..good.clone() },
        Checkpoint { closed_words: u64::MAX, ..good.clone() },
        Checkpoint { floor: Millis(2_499), ..good.clone() },
        Checkpoint { floor: Millis(4_001), words: Vec::new(), ..good.clone() },
        Checkpoint { announced: false, ..good.clone() },
        Checkpoint { words: vec![word("we", 2_300, 2_500), word("so", 2_100, 2_500)], ..good.clone() },
        Checkpoint { words: vec![word("we", 2_600, 2_500)], ..good.clone() },
        Checkpoint { words: vec![word("we are", 2_300, 2_500)], ..good.clone() },
        Checkpoint { words: vec![word("", 2_300, 2_500)], ..good.clone() },
        Checkpoint { words: vec![word("a", 2_500, 2_500); 4_001], ..good.clone() },
        Checkpoint { words: vec![word(&"a".repeat(1 << 21), 2_500, 2_500)], ..good.clone() },
        Checkpoint { target: Some(Default::default()), ..good.clone() },
    ];
    for checkpoint in &refused {
        assert!(matches!(resume(checkpoint), Some(ResumeError::Checkpoint(_))), "{checkpoint:?}");
    }
}
