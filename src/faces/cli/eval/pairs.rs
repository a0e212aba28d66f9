//! Translations split at the segments of their references.

use super::manifest::Talk;
use super::played::Played;
use crate::measure::lag::{ShownSegment, mean};
use crate::measure::resegment::{Tokens, TooLong, resegment};
use crate::text::Millis;
use crate::text::units::unit_seam;

/// The translation of a recording and its reference.
pub(super) struct Recording<'a> {
    pub units: &'a [String],
    /// When each unit was shown, in milliseconds since the recording began: the sound heard by
    /// then, and the same with computing time.
    pub delays: Option<&'a [f64]>,
    pub elapsed: Option<&'a [f64]>,
    pub segments: &'a [Spoken],
}

/// A segment of the reference; the times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spoken {
    pub text: String,
    pub offset: f64,
    pub length: f64,
}

/// A reference segment and the part of the translation that belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pair {
    pub prediction: String,
    pub reference: String,
    /// LongYAAL, the same with computing time, LAAL, and the same with computing time, in
    /// milliseconds. `None` where there is nothing to count.
    pub lags: [Option<f64>; 4],
}

impl Recording<'_> {
    /// A pair for each segment.
    pub(super) fn pairs(&self, tokens: Tokens) -> Result<Vec<Pair>, TooLong> {
        let references: Vec<Vec<String>> = self.segments.iter().map(|segment| units(&segment.text, tokens)).collect();
        let assigned = resegment(self.units, &references, tokens)?;
        let end = self.segments.iter().map(|segment| segment.offset + segment.length).fold(0.0, f64::max);
        let mut owned = vec![Vec::new(); self.segments.len()];
        for (unit, segment) in assigned.into_iter().enumerate() {
            if let Some(segment) = segment {
                owned[segment].push(unit);
            }
        }
        Ok(self.segments.iter().zip(&owned).map(|(segment, own)| self.pair(segment, own, end, tokens)).collect())
    }

    /// The pair of a segment that owns the units at `own`.
    fn pair(&self, segment: &Spoken, own: &[usize], recording_end: f64, tokens: Tokens) -> Pair {
        let reference_len = reference_len(&segment.text, tokens);
        let lags = |times: Option<&[f64]>| {
            let since_offset = |&at: &usize| times.and_then(|times| times.get(at)).map(|time| time - segment.offset);
            let delays: Vec<f64> = own.iter().filter_map(since_offset).collect();
            let recording_end = recording_end - segment.offset;
            let shown = ShownSegment { delays: &delays, length: segment.length, recording_end, reference_len };
            [shown.long_yaal(), shown.laal()]
        };
        let ([yaal, laal], [yaal_ca, laal_ca]) = (lags(self.delays), lags(self.elapsed));
        let parts: Vec<&str> = own.iter().map(|&at| self.units[at].as_str()).collect();
        let prediction = parts.join(if matches!(tokens, Tokens::Characters) { "" } else { " " });
        Pair { prediction, reference: segment.text.clone(), lags: [yaal, yaal_ca, laal, laal_ca] }
    }
}

/// The mean of the lag `which` over the pairs that have it.
pub(super) fn mean_lag(pairs: &[Pair], which: usize) -> Option<f64> {
    mean(pairs.iter().filter_map(|pair| pair.lags[which]))
}

/// A blank as Python has it, in which OmniSTEval is written.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The units of a text as it is aligned.
fn units(text: &str, tokens: Tokens) -> Vec<String> {
    let text = text.to_lowercase();
    match tokens {
        Tokens::Characters => text.chars().map(String::from).collect(),
        Tokens::Words | Tokens::Moses(_) => words(&text).map(str::to_owned).collect(),
    }
}

pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}

/// The length of a reference as latency counts it. Words are counted by the spaces between them, so
/// an empty text is one word long, as in SimulEval and OmniSTEval.
pub(super) fn reference_len(text: &str, tokens: Tokens) -> usize {
    match tokens {
        Tokens::Characters => text.trim_matches(is_blank).chars().count(),
        Tokens::Words | Tokens::Moses(_) => text.split(' ').count(),
    }
}

/// Splits the translation of each talk at the segments of its reference.
pub(super) fn pairs(talks: &[(Talk, Played)], tokens: Tokens) -> Result<Vec<Pair>, TooLong> {
    let mut pairs = Vec::new();
    for (talk, played) in talks {
        pairs.extend(split_talk(talk, played, tokens)?);
    }
    Ok(pairs)
}

fn split_talk(talk: &Talk, played: &Played, tokens: Tokens) -> Result<Vec<Pair>, TooLong> {
    let seam = played.start.target_language.map_or(" ", unit_seam);
    let milliseconds = |times: &[Millis]| times.iter().map(|time| time.0 as f64).collect::<Vec<_>>();
    let spoken = |segment: &super::manifest::Segment| Spoken {
        text: segment.units.join(seam),
        offset: segment.start.0 as f64,
        length: (segment.end.unwrap_or(played.length) - segment.start).0 as f64,
    };
    let segments: Vec<Spoken> = talk.segments.iter().map(spoken).collect();
    let (delays, elapsed) = (milliseconds(&played.delays), milliseconds(&played.elapsed));
    let recording =
        Recording { units: &played.units, delays: Some(&delays), elapsed: Some(&elapsed), segments: &segments };
    recording.pairs(tokens)
}
