//! Translations split at the segments of their references.

use super::manifest::Talk;
use super::played::Played;
use crate::measure::lag::ShownSegment;
use crate::measure::resegment::resegment;
use crate::text::units::unit_seam;
use crate::text::{Language, Millis};

/// A reference segment and the part of the translation that belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pair {
    pub prediction: String,
    pub reference: String,
    /// LongYAAL, the same with computing time, LAAL, and the same with computing time, in
    /// milliseconds. `None` where there is nothing to count.
    pub lags: [Option<f64>; 4],
}

/// Splits the translation of each talk at the segments of its reference.
pub(super) fn pairs(talks: &[(Talk, Played)], language: Language) -> Vec<Pair> {
    talks.iter().flat_map(|(talk, played)| split_talk(talk, played, language)).collect()
}

fn split_talk(talk: &Talk, played: &Played, language: Language) -> Vec<Pair> {
    let references: Vec<Vec<String>> = talk.segments.iter().map(|segment| segment.units.clone()).collect();
    let end_of = |end: Option<Millis>| end.unwrap_or(played.length);
    let recording_end = talk.segments.iter().map(|segment| end_of(segment.end)).max().unwrap_or(played.length);
    let seam = unit_seam(language);
    let ranges = resegment(&played.units, &references, language);
    let parts = talk.segments.iter().zip(ranges).map(|(segment, range)| {
        let shown = |delays: &[Millis]| {
            let shown = ShownSegment {
                delays: delays.get(range.clone()).unwrap_or_default(),
                offset: segment.start,
                length: end_of(segment.end) - segment.start,
                recording_end,
                reference_len: segment.units.len(),
            };
            [shown.long_yaal(), shown.laal()]
        };
        let ([yaal, laal], [yaal_ca, laal_ca]) = (shown(&played.delays), shown(&played.elapsed));
        Pair {
            prediction: played.units.get(range.clone()).unwrap_or_default().join(seam),
            reference: segment.units.join(seam),
            lags: [yaal, yaal_ca, laal, laal_ca],
        }
    });
    parts.collect()
}
