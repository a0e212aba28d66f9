//! Tests of streams that are broken off and resumed, once or many times.

use proptest::prelude::*;
use serde_json::Value;

use super::checkpoint::{Checkpoint, ResumeError};
use super::engines::{Align, BoxError, Engines, Hypothesis, Recognize, Translate};
use super::event::{Event, EventKind, SegmentId, Word};
use super::fakes::*;
use super::no_word_lost::{NumberedAligner, cases, middle, number_of, settings, talk as numbered};
use super::rules::{BrokenRule, Rules};
use super::settings::Settings;
use super::stream::{Activity, Cascade};
use super::tail::{samples_in, time_of};
use crate::policy::PolicyKind;
use crate::text::units::join_words;
use crate::text::{Language, Millis};

/// The events of a stream that was broken off, without `end` except in the last part.
pub(super) type Parts = Vec<Vec<Event>>;

/// How a stream is played: its sound, and after which steps it is broken off and resumed.
pub(super) struct Player<'a> {
    pub settings: Settings,
    pub length: Millis,
    /// Length of the pieces in which sound is pushed.
    pub block: u64,
    pub activity: &'a dyn Fn(Millis, Millis) -> Activity,
    pub breaks: &'a dyn Fn(usize) -> bool,
}

impl Player<'_> {
    /// Plays the stream to its end. `engines` makes the engines of each part; its argument counts
    /// the parts. Between two parts the checkpoint goes through JSON. Also returns the checkpoints.
    pub(super) fn play<R: Recognize, A: Align, T: Translate>(
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
pub(super) fn check_parts(parts: &Parts) -> Result<(), BrokenRule> {
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

/// Checks the events of a stream that was resumed from a checkpoint.
fn check_after(checkpoint: &Checkpoint, events: &[Event]) -> Result<(), BrokenRule> {
    let mut rules = Rules::after(checkpoint);
    for event in events {
        rules.observe(event)?;
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

/// Fake engines that hear a talk as it is.
fn talk_engines(talk: &Talk, settings: Settings) -> Engines<TalkRecognizer, TalkAligner, WordTranslator> {
    let log = SharedLog::default();
    Engines {
        recognizer: TalkRecognizer(talk.clone(), log.clone()),
        aligner: TalkAligner(talk.clone(), log.clone()),
        translator: settings.target.map(|to| translator_for(to, &settings, &log)),
    }
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
    let (parts, checkpoints) = player.play(|_| talk_engines(talk, settings));
    check_parts(&parts).unwrap_or_else(|broken| panic!("{broken}: {parts:#?}"));
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
            let engines = talk_engines(&talk, settings);
            let mut cascade = Cascade::resume(settings, engines, ticking(), &checkpoint).expect("it goes on");
            let mut events = Vec::new();
            pollster::block_on(cascade.finish(&mut |event| events.push(event))).expect("an end");
            cascade.end(&mut |event| events.push(event));
            check_after(&checkpoint, &events).expect("the rules");
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
        floor_ms: Millis(2_500),
        announced: true,
        closed_words: 5,
        target: None,
    };
    let settings = Settings::new(Language::ENGLISH, None);
    let resume = |checkpoint: &Checkpoint| {
        Cascade::resume(settings, talk_engines(&Talk::default(), settings), ticking(), checkpoint).err()
    };
    assert_eq!(resume(&good), None);
    let refused = [
        Checkpoint { tail_start: 64_001, ..good.clone() },
        Checkpoint { heard: u64::MAX, tail_start: u64::MAX - 100, ..good.clone() },
        Checkpoint { tail_start: 0, heard: 16 * 20_851, ..good.clone() },
        Checkpoint { segment: SegmentId(u32::MAX), ..good.clone() },
        Checkpoint { closed_words: u64::MAX, ..good.clone() },
        Checkpoint { floor_ms: Millis(2_499), ..good.clone() },
        Checkpoint { floor_ms: Millis(4_001), words: Vec::new(), ..good.clone() },
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

/// What a recogniser does to a word of the talk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Edit {
    Hears,
    Substitutes,
    Deletes,
    Inserts,
    Marks,
}

/// Recognises the numbered words of a talk, in its own way: each word of the talk is always heard
/// alike, but another part of the stream hears it differently. A word that the end of the tail cuts
/// gets a different text in every call.
struct Hearing {
    talk: Talk,
    part: usize,
    edits: Vec<Edit>,
}

impl Hearing {
    fn edit(&self, number: usize) -> Edit {
        self.edits[number % self.edits.len()]
    }

    fn texts(&self, number: usize) -> Vec<String> {
        let word = &self.talk.words[number].0;
        let part = self.part;
        match self.edit(number) {
            Edit::Hears => vec![word.clone()],
            Edit::Substitutes => vec![format!("y{number}_{part}")],
            Edit::Deletes => vec![],
            Edit::Inserts => vec![format!("i{number}_{part}"), word.clone()],
            Edit::Marks if word.ends_with(['.', ',', '?']) => vec![word[..word.len() - 1].to_owned()],
            Edit::Marks => vec![format!("{word},")],
        }
    }
}

impl Recognize for Hearing {
    async fn transcribe(&mut self, tail: &[f32], _: Language) -> Result<Hypothesis, BoxError> {
        let (from, to) = span(tail);
        let inside = self.talk.words.iter().enumerate().filter(|(_, word)| middle(word) >= from && word.1 < to);
        let texts = inside.flat_map(|(number, word)| match word.2 <= to {
            true => self.texts(number),
            false => vec![format!("x{number}~{}", to.0)],
        });
        let words: Vec<String> = texts.collect();
        Ok(Hypothesis { text: join_words(words.iter().map(String::as_str)), tokens: 1 })
    }

    fn restart(&mut self) {}
}

/// A stream whose parts hear differently.
#[derive(Clone, Debug)]
struct Differing {
    settings: Settings,
    talk: Talk,
    block: u64,
    /// The stream is broken off after every so many steps.
    every: usize,
    /// What each part does to the words, by their numbers.
    edits: Vec<Vec<Edit>>,
    off: u64,
}

impl Differing {
    fn play(&self) -> Parts {
        let near = |w: &(String, Millis, Millis), from, to| w.1 < to + Millis(100) && w.2 + Millis(300) > from;
        let player = Player {
            settings: self.settings,
            length: length_of(&self.talk),
            block: self.block,
            activity: &|from, to| Activity::of(self.talk.words.iter().any(|word| near(word, from, to))),
            breaks: &|step| step % self.every == 0,
        };
        let log = SharedLog::default();
        let edits = |part: usize| self.edits[part % self.edits.len()].clone();
        let engines = |part| Engines {
            recognizer: Hearing { talk: self.talk.clone(), part, edits: edits(part) },
            aligner: NumberedAligner { talk: self.talk.clone(), off: self.off },
            translator: self.settings.target.map(|to| translator_for(to, &self.settings, &log)),
        };
        player.play(engines).0
    }

    /// The words that every part hears.
    fn due(&self, parts: usize) -> impl Iterator<Item = usize> {
        let heard = move |number: &usize| {
            (0..parts.min(self.edits.len())).all(|part| {
                let edits = &self.edits[part];
                edits[number % edits.len()] != Edit::Deletes
            })
        };
        (0..self.talk.words.len()).filter(heard)
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let parts = self.play();
        prop_assert_eq!(check_parts(&parts), Ok(()));
        let events = parts.concat();
        let shown: Vec<String> = committed_words(&events).into_iter().map(|word| word.text).collect();
        // Inserted words have no number of their own.
        let heard = || shown.iter().filter(|word| !word.starts_with('i'));
        // A half says nothing about the whole.
        let whole: Vec<_> = heard().filter(|word| !word.contains('~')).map(|word| number_of(word)).collect();
        prop_assert!(whole.is_sorted_by(|a, b| a < b), "twice or out of order: {:?}", shown);
        let numbers: Vec<_> = heard().filter_map(|word| number_of(word)).collect();
        for number in self.due(parts.len()) {
            prop_assert!(numbers.contains(&number), "{} was lost: {:?}", number, shown);
        }
        // Nothing stalls: a word is committed when its segment is as long as a segment can be.
        let most = self.settings.longest_segment + self.settings.chunk;
        for event in &events {
            match &event.kind {
                EventKind::Progress(progress) => prop_assert!(progress.tail_ms <= most, "{}", progress.tail_ms),
                EventKind::Source(source) if source.closed => {
                    let first = source.committed.first().map_or(event.audio_ms, |word| word.end_ms);
                    prop_assert!(event.audio_ms - first <= most, "{} at {}", first, event.audio_ms);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Of each hundred words, up to `share` are substituted, deleted, inserted and marked.
fn edits(share: u32) -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        100 => Just(Edit::Hears),
        share => Just(Edit::Substitutes),
        share => Just(Edit::Deletes),
        share => Just(Edit::Inserts),
        share => Just(Edit::Marks),
    ];
    prop::collection::vec(edit, 7..40)
}

prop_compose! {
    fn differing()(
        settings in settings(),
        sentences in prop::collection::vec((1usize..26, 170u64..450, 0u64..2_500, 0usize..5), 1..6),
        block in 20u64..1_500,
        every in 1usize..9,
        edits in prop::sample::select(vec![1u32, 3, 10, 25])
            .prop_flat_map(|share| prop::collection::vec(edits(share), 1..5)),
        off in prop_oneof![Just(0u64), 1u64..60],
    ) -> Differing {
        Differing { settings, talk: numbered(&sentences), block, every, edits, off }
    }
}

proptest! {
    #![proptest_config(cases())]

    /// After each break the recogniser hears old words in another way: other words, none, more, or
    /// other marks. What is committed stays and does not come again, and what every part hears is
    /// shown.
    #[test]
    fn a_recogniser_that_hears_anew_repeats_nothing_and_loses_nothing(run in differing()) {
        run.check()?;
    }
}

/// What a stranger may put in the place of a value of a checkpoint.
fn hostile_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<u64>(),
        0u64..40,
        0u64..10_000,
        (0u32..64).prop_map(|bit| 1 << bit),
        (0u32..64).prop_map(|bit| (1 << bit) - 1),
    ];
    let text = prop_oneof!["[a-c .,]{0,6}", "\\PC{0,8}", Just("\u{0} \n".to_owned()), Just("long ".repeat(300_000))];
    prop_oneof![
        8 => number.prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        4 => text.prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(serde_json::json!([])),
        1 => Just(serde_json::json!({})),
    ]
}

/// The `at`-th of all values within `value`, `value` itself included.
fn inner(value: &mut Value, at: usize) -> Option<&mut Value> {
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(fields) => fields.values().map(count).sum(),
            _ => 0,
        }
    }
    let Some(mut left) = at.checked_sub(1) else { return Some(value) };
    let parts: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    for part in parts {
        let size = count(part);
        if left < size {
            return inner(part, left);
        }
        left -= size;
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A checkpoint in which values were replaced and lists turned round is refused, or it is one
    /// that a stream could have written: the stream goes on by the rules.
    #[test]
    fn a_hostile_checkpoint_is_refused_or_goes_on(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((0usize..60, hostile_value(), any::<bool>()), 1..4),
        settings in prop::sample::select(all_settings()),
        length in 0u64..5_000,
    ) {
        let talk = talk();
        let (_, checkpoints) = play_talk(&talk, settings, &|step| step % 2 == 0);
        let mut json = serde_json::to_value(which.get(&checkpoints)).expect("JSON");
        for (at, value, turns) in changes {
            match inner(&mut json, at) {
                Some(Value::Array(list)) if turns => list.reverse(),
                Some(old) => *old = value,
                None => {}
            }
        }
        let Ok(checkpoint) = serde_json::from_value::<Checkpoint>(json) else { return Ok(()) };
        let Ok(mut cascade) = Cascade::resume(settings, talk_engines(&talk, settings), ticking(), &checkpoint) else {
            return Ok(());
        };
        prop_assert_eq!(&cascade.checkpoint(), &checkpoint);
        let mut events = Vec::new();
        let mut emit = |event: Event| events.push(event);
        let unheard = checkpoint.heard - checkpoint.tail_start + samples_in(Millis(length));
        for at in (0..unheard).step_by(1_600) {
            let piece: Vec<f32> = (at..unheard.min(at + 1_600)).map(|at| (checkpoint.tail_start + at) as f32).collect();
            cascade.push(&piece, Activity::Speech);
            pollster::block_on(cascade.step(&mut emit)).expect("a step");
        }
        pollster::block_on(cascade.finish(&mut emit)).expect("an end");
        cascade.end(&mut emit);
        prop_assert_eq!(check_after(&checkpoint, &events), Ok(()));
    }
}

/// Sound that was pushed and not heard is pushed again, however often the stream is broken off.
#[test]
fn what_was_pushed_and_not_heard_is_not_in_a_checkpoint() {
    let talk = talk();
    let settings = all_settings()[0];
    let (_, checkpoints) = play_talk(&talk, settings, &|step| step % 3 == 0);
    for checkpoint in checkpoints {
        for pushed in [0, 1, 8_000, checkpoint.heard - checkpoint.tail_start] {
            let engines = talk_engines(&talk, settings);
            let mut cascade = Cascade::resume(settings, engines, ticking(), &checkpoint).expect("it goes on");
            cascade.push(&vec![0.0; pushed as usize], Activity::Unknown);
            let events = std::cell::Cell::new(0);
            let stepped = pollster::block_on(cascade.step(&mut |_| events.set(events.get() + 1)));
            assert!(matches!(stepped, Ok(false)) && events.get() == 0, "no step before there is more than was heard");
            assert_eq!(cascade.checkpoint(), checkpoint);
        }
    }
}

/// A voice detector begins anew, too. What it took for speech before the break is heard even where
/// it now finds silence.
#[test]
fn what_was_speech_before_a_break_is_no_silence_after_it() {
    let talk = talk();
    let settings = Settings::new(Language::ENGLISH, None);
    let (_, checkpoints) = play_talk(&talk, settings, &|step| step % 2 == 0);
    let tails = checkpoints.iter().filter(|left| time_of(left.heard - left.tail_start) > Millis(900));
    let mut tried = 0;
    for checkpoint in tails.filter(|left| left.words.is_empty()) {
        let mut cascade =
            Cascade::resume(settings, talk_engines(&talk, settings), ticking(), checkpoint).expect("sound");
        let mut events = Vec::new();
        let chunk = time_of(checkpoint.heard) + settings.chunk;
        cascade.push(&sound(time_of(checkpoint.tail_start), chunk), Activity::Silence);
        assert!(matches!(pollster::block_on(cascade.step(&mut |event| events.push(event))), Ok(true)));
        pollster::block_on(cascade.finish(&mut |event| events.push(event))).expect("an end");
        cascade.end(&mut |event| events.push(event));
        let heard: Vec<String> = committed_words(&events).into_iter().map(|word| word.text).collect();
        let said =
            talk.words.iter().filter(|word| word.1 >= checkpoint.floor_ms && word.2 <= time_of(checkpoint.heard));
        assert!(said.map(|word| &word.0).all(|word| heard.contains(word)), "{heard:?}");
        tried += 1;
    }
    assert!(tried > 0);
    // Committed words keep their sound, however short it is.
    let word = Word { text: "Hi".to_owned(), start_ms: Millis(500), end_ms: Millis(760) };
    let checkpoint = Checkpoint {
        heard: 16 * 800,
        tail_start: 16 * 500,
        words: vec![word],
        floor_ms: Millis(760),
        announced: true,
        ..Checkpoint::default()
    };
    let mut cascade = Cascade::resume(settings, talk_engines(&talk, settings), ticking(), &checkpoint).expect("sound");
    cascade.push(&sound(Millis(500), Millis(1_650)), Activity::Silence);
    assert!(matches!(pollster::block_on(cascade.step(&mut |_| ())), Ok(true)));
    assert_eq!(cascade.position().tail_start, 16 * 500);
}

/// A tail that was full when the stream was broken off takes in no more than it had.
#[test]
fn a_full_tail_does_not_outgrow_the_recogniser() {
    let settings = Settings { longest_segment: Millis(4_000), ..Settings::new(Language::ENGLISH, None) };
    let longest = samples_in(settings.longest_segment + settings.chunk);
    let checkpoint = Checkpoint { heard: longest, announced: true, ..Checkpoint::default() };
    let talk = Talk::spoken(&"word ".repeat(40), 0, 300);
    for block in [1_000, 13_600, 20_000, 100_000] {
        let log = SharedLog::default();
        let engines = Engines {
            recognizer: TalkRecognizer(talk.clone(), log.clone()),
            aligner: TalkAligner(talk.clone(), log.clone()),
            translator: None::<WordTranslator>,
        };
        let mut cascade = Cascade::resume(settings, engines, ticking(), &checkpoint).expect("it goes on");
        for at in (0..160_000).step_by(block) {
            let piece: Vec<f32> = (at..at + block).map(|at| at as f32).collect();
            cascade.push(&piece, Activity::Speech);
            pollster::block_on(cascade.step(&mut |_| ())).expect("a step");
        }
        assert!(log.borrow().recognized > 1);
        assert!(log.borrow().longest_tail as u64 <= longest, "{block}: {}", log.borrow().longest_tail);
    }
}
