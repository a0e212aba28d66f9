//! A run, rebuilt from its events: what was said when, what was shown when, and every draft in
//! between.

use std::ops::Range;

use crate::cascade::event::{End, Listen, Source, Start, Target};
use crate::cascade::{Event, EventKind, SegmentId, Word};
use crate::policy::{Hold, Token};
use crate::text::units::{folded, is_punctuation, unit_ends};
use crate::text::{Language, Millis};

/// One run, from its `start` to its `end` or to the end of an incomplete file.
#[derive(Debug)]
pub(super) struct Run {
    pub start: Start,
    pub segments: Vec<Segment>,
    pub warnings: Vec<String>,
    /// Length of the sound heard.
    pub heard: Millis,
    pub end: Option<End>,
}

/// One segment's two sides and its drafts, in the order of their events.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub words: Vec<Word>,
    source_closed: bool,
    /// The shown text.
    pub text: String,
    /// Each growth of `text`: when it happened, and the length after it.
    grown: Vec<(Millis, usize)>,
    drafts: Vec<Draft>,
}

/// A [`Listen`] event with its position in the segment.
#[derive(Debug)]
struct Draft {
    at: Millis,
    listen: Listen,
    /// Position in the segment's text where its tokens start.
    base: usize,
    /// How many times the text had grown before.
    before: usize,
    /// Whether the source was closed.
    is_final: bool,
}

/// A shown target word or, in Chinese, a shown character.
#[derive(Debug)]
pub(super) struct Unit {
    pub text: String,
    pub at: Millis,
    pub attention: Option<UnitAttention>,
    /// The periods in which it was held, oldest first.
    pub held: Vec<HeldPeriod>,
}

/// The attention of a unit. Words are indices into [`Segment::words`].
#[derive(Clone, Debug, Default)]
pub(super) struct UnitAttention {
    /// The word that the unit rests on.
    pub word: Option<usize>,
    /// Attention on accessible source words, on inaccessible ones, on the rest of the prompt, and
    /// on the draft.
    pub mass: [f32; 4],
    pub on: Vec<(usize, f32)>,
}

/// A period in which a word was held for one reason, in one draft or in several consecutive ones.
#[derive(Debug)]
pub(super) struct HeldPeriod {
    pub from: Millis,
    pub to: Millis,
    pub times: usize,
    pub why: String,
}

/// The word at which a draft was stopped.
#[derive(Debug)]
pub(super) struct Stop {
    pub at: Millis,
    pub text: String,
    pub why: String,
    pub attention: UnitAttention,
    /// Number of source words that were accessible.
    pub heard: usize,
    /// The units that follow it in the draft.
    pub following: Vec<String>,
}

impl Run {
    pub(super) fn new(start: Start) -> Run {
        Run { start, segments: Vec::new(), warnings: Vec::new(), heard: Millis::ZERO, end: None }
    }

    /// Takes the next event, which must follow the rules.
    pub(super) fn take(&mut self, event: Event) {
        self.heard = event.audio_ms;
        match event.kind {
            EventKind::Start(_) | EventKind::Progress(_) => {}
            EventKind::Source(source) => self.segment(source.segment).set_source(source),
            EventKind::Listen(listen) => self.segment(listen.segment).add_draft(event.audio_ms, listen),
            EventKind::Target(target) => self.segment(target.segment).add_shown(event.audio_ms, &target),
            EventKind::Warning(warning) if self.warnings.contains(&warning.message) => {}
            EventKind::Warning(warning) => self.warnings.push(warning.message),
            EventKind::End(end) => self.end = Some(end),
        }
    }

    /// Whether attention was captured for any draft.
    pub(super) fn is_captured(&self) -> bool {
        self.segments.iter().any(|segment| !segment.drafts.is_empty())
    }

    /// Segments are numbered without gaps, so at most one is added.
    fn segment(&mut self, id: SegmentId) -> &mut Segment {
        let at = (id.0 as usize).min(self.segments.len());
        if at == self.segments.len() {
            self.segments.push(Segment::default());
        }
        &mut self.segments[at]
    }
}

impl Segment {
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.text.is_empty() && self.drafts.is_empty()
    }

    fn set_source(&mut self, source: Source) {
        self.words = source.committed;
        self.source_closed = source.closed;
    }

    fn add_shown(&mut self, at: Millis, target: &Target) {
        if !target.delta.is_empty() {
            target.committed.as_str().clone_into(&mut self.text);
            self.grown.push((at, self.text.len()));
        }
    }

    /// A draft continues the shown text. A draft that is judged again keeps its position. The later
    /// of two final drafts follows the earlier one.
    fn add_draft(&mut self, at: Millis, listen: Listen) {
        let before = self.grown.len();
        let base = match self.drafts.last() {
            Some(last) if !listen.drafted => last.base,
            Some(last) if last.is_final && last.before == before => last.base + last.len(),
            _ => self.text.len(),
        };
        self.drafts.push(Draft { at, listen, base, before, is_final: self.source_closed });
    }

    /// All units of the text, each once.
    pub(super) fn units(&self, language: Language) -> Vec<Unit> {
        let places = units_of(&self.text, language);
        let mut units: Vec<Unit> = places.iter().map(|place| self.unit(place)).collect();
        for draft in &self.drafts {
            self.note_held(draft, &places, &mut units, language);
        }
        units
    }

    fn unit(&self, place: &Range<usize>) -> Unit {
        let letters = letters_of(&self.text, place);
        let step = self.grown.partition_point(|&(_, len)| len < letters.end);
        let at = self.grown.get(step).map_or(Millis::ZERO, |grown| grown.0);
        let drafts = self.drafts.iter().rev().skip_while(|draft| draft.before > step);
        let attention =
            drafts.map(|draft| (draft, draft.tokens_in(&letters, &self.text))).find(|found| !found.1.is_empty());
        Unit {
            text: self.text[place.clone()].to_owned(),
            at,
            attention: attention.map(|(draft, tokens)| self.attention_of(draft, &tokens)),
            held: Vec::new(),
        }
    }

    /// Notes in `units` which of them `draft` held. Where a draft diverges from the text, its words
    /// are matched by their spelling.
    fn note_held(&self, draft: &Draft, places: &[Range<usize>], units: &mut [Unit], language: Language) {
        let candidate = draft.candidate(&self.text);
        let mut at = places.partition_point(|place| place.end <= draft.base);
        for place in units_of(&candidate, language).into_iter().filter(|place| place.end > draft.base) {
            let name = folded(&candidate[place.clone()]);
            let ahead = units.iter().skip(at).take(4).position(|unit| folded(&unit.text) == name);
            let Some(ahead) = ahead.filter(|_| !name.is_empty()) else { continue };
            at += ahead + 1;
            let unit = &mut units[at - 1];
            let Some(why) = draft.why_held(&letters_of(&candidate, &place)) else { continue };
            if draft.at >= unit.at {
                continue;
            }
            match unit.held.last_mut() {
                Some(last) if last.why == why => (last.to, last.times) = (draft.at, last.times + 1),
                _ => unit.held.push(HeldPeriod { from: draft.at, to: draft.at, times: 1, why: why.to_owned() }),
            }
        }
    }

    /// Where each draft was stopped. Of the drafts of one moment only the last counts.
    pub(super) fn stops(&self, language: Language) -> Vec<Stop> {
        let mut stops: Vec<Stop> = Vec::new();
        for draft in &self.drafts {
            if stops.last().is_some_and(|last| last.at == draft.at) {
                stops.pop();
            }
            stops.extend(self.stop(draft, language));
        }
        stops
    }

    fn stop(&self, draft: &Draft, language: Language) -> Option<Stop> {
        let candidate = draft.candidate(&self.text);
        let places = units_of(&candidate, language);
        let held = |place: &Range<usize>| draft.why_held(&letters_of(&candidate, place));
        let first = places.iter().position(|place| place.end > draft.base && held(place).is_some())?;
        let letters = letters_of(&candidate, &places[first]);
        let tokens = draft.tokens_in(&letters, &candidate);
        Some(Stop {
            at: draft.at,
            text: candidate[places[first].clone()].to_owned(),
            why: held(&places[first])?.to_owned(),
            attention: self.attention_of(draft, &tokens),
            heard: draft.listen.heard.min(self.words.len()),
            following: places[first + 1..].iter().map(|place| candidate[place.clone()].to_owned()).collect(),
        })
    }

    /// The mean attention of a unit's tokens. Among the words that its tokens rest on, the unit
    /// rests on the one with the most attention.
    fn attention_of(&self, draft: &Draft, tokens: &[&Token]) -> UnitAttention {
        let mut mean = UnitAttention::default();
        let share = 1.0 / tokens.len().max(1) as f32;
        let mut on = vec![0.0; self.words.len()];
        for token in tokens {
            mean.mass.iter_mut().zip(token.mass).for_each(|(sum, mass)| *sum += mass * share);
            for &(word, mass) in &token.attention {
                if let Some(place) = self.place(&draft.listen.source, word) {
                    on[place] += mass * share;
                }
            }
        }
        let words = tokens.iter().filter_map(|token| self.place(&draft.listen.source, token.word?));
        mean.word = words.max_by(|&a, &b| on[a].total_cmp(&on[b]).then(a.cmp(&b)));
        mean.on = on.into_iter().enumerate().filter(|(_, mass)| *mass >= 0.01).collect();
        mean
    }

    /// The word of the segment that corresponds to word `at` of the prompt: the one at the same
    /// index or, where the recogniser has inserted or removed words before it, one nearby with the
    /// same spelling.
    fn place(&self, source: &[String], at: usize) -> Option<usize> {
        let name = folded(source.get(at)?);
        let alike = |place: &usize| self.words.get(*place).is_some_and(|word| folded(&word.text) == name);
        let near = [Some(at), at.checked_sub(1), Some(at + 1), at.checked_sub(2), Some(at + 2)];
        near.into_iter().flatten().find(alike).or_else(|| (at < self.words.len()).then_some(at))
    }
}

impl Draft {
    fn len(&self) -> usize {
        self.listen.tokens.iter().map(|token| token.text.len()).sum()
    }

    /// The text before the draft, followed by the draft.
    fn candidate(&self, text: &str) -> String {
        let mut candidate = text.get(..self.base).unwrap_or(text).to_owned();
        candidate.extend(self.listen.tokens.iter().map(|token| token.text.as_str()));
        candidate
    }

    fn places(&self) -> impl Iterator<Item = (Range<usize>, &Token)> {
        self.listen.tokens.iter().scan(self.base, |from, token| {
            let start = *from;
            *from += token.text.len();
            Some((start..*from, token))
        })
    }

    /// The tokens that wrote the range `letters` of `text`.
    fn tokens_in(&self, letters: &Range<usize>, text: &str) -> Vec<&Token> {
        let touch = |place: &Range<usize>| place.start < letters.end && letters.start < place.end;
        let wrote =
            |(place, token): &(Range<usize>, &Token)| touch(place) && text.get(place.clone()) == Some(&token.text);
        self.places().filter(wrote).map(|(_, token)| token).collect()
    }

    fn why_held(&self, letters: &Range<usize>) -> Option<&str> {
        let held =
            self.places().find(|(place, token)| place.start < letters.end && letters.start < place.end && !token.shown);
        held.map(|(_, token)| token.why.map_or("held", Hold::name))
    }
}

/// The ranges of the units of a text. Punctuation belongs to the unit before it, an opening mark to
/// the unit after it.
fn units_of(text: &str, language: Language) -> Vec<Range<usize>> {
    let opens =
        |c: char| matches!(c, '"' | '“' | '‘' | '„' | '«' | '(' | '[' | '「' | '『' | '（' | '《' | '〈' | '【');
    let mut units: Vec<Range<usize>> = Vec::new();
    let (mut from, mut opened) = (0, None);
    for end in unit_ends(text, language) {
        let start = end - text[from..end].trim_start().len();
        from = end;
        let unit = &text[start..end];
        if unit.chars().all(opens) && end < text.trim_end().len() {
            opened.get_or_insert(start);
        } else if unit.chars().all(is_punctuation) && opened.is_none() && !units.is_empty() {
            let last = units.len() - 1;
            units[last].end = end;
        } else {
            units.push(opened.take().unwrap_or(start)..end);
        }
    }
    units
}

/// A unit without its trailing punctuation, which may be shown later.
fn letters_of(text: &str, unit: &Range<usize>) -> Range<usize> {
    let body = text[unit.clone()].trim_end_matches(|c: char| is_punctuation(c) || c.is_whitespace());
    if body.is_empty() { unit.clone() } else { unit.start..unit.start + body.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page divides a text in the same way, and its tests read the same file.
    #[test]
    fn the_page_has_the_same_units() {
        let shared: serde_json::Value =
            serde_json::from_str(include_str!("../../../../tests/fixtures/units.json")).unwrap();
        let cases = shared["units"].as_array().unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let (text, code) = (case["text"].as_str().unwrap(), case["language"].as_str().unwrap());
            let places = units_of(text, code.parse().unwrap());
            let units: Vec<&str> = places.into_iter().map(|place| &text[place]).collect();
            assert_eq!(serde_json::json!(units), case["units"], "{code}: {text}");
        }
    }
}
