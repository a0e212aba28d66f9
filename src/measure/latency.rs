//! When each unit of a translation was shown: how much sound had been heard by then, and the wall
//! clock. Source: docs/method.md, sections 6.3 and 6.4.

use std::ops::{Add, Sub};

use crate::text::language::Language;
use crate::text::time::Millis;
use crate::text::units::latency_units;

/// A unit of the translation with its two times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamped {
    pub unit: String,
    /// How much sound had been heard when the unit was shown.
    pub delay: Millis,
    /// The wall clock when the unit was shown.
    pub elapsed: Millis,
}

/// The units of a text that is updated repeatedly, each with the times of the update that added it.
#[derive(Clone, Debug)]
pub(crate) struct Stamps {
    language: Language,
    units: Vec<Stamped>,
}

impl Stamps {
    /// Stamps of a text that is still empty.
    pub(crate) fn new(language: Language) -> Stamps {
        Stamps { language, units: Vec::new() }
    }

    /// Takes the whole text as it is shown now, with the sound heard (`audio`) and the wall clock
    /// (`wall`). Units keep their times up to the first one that has changed. The units from there
    /// on are new; they get these times and are returned.
    pub(crate) fn update(&mut self, text: &str, audio: Millis, wall: Millis) -> &[Stamped] {
        let units = latency_units(text, self.language);
        let kept = self.units.iter().zip(&units).take_while(|(old, new)| old.unit == **new).count();
        self.units.truncate(kept);
        self.units.extend(units.into_iter().skip(kept).map(|unit| Stamped { unit, delay: audio, elapsed: wall }));
        &self.units[kept..]
    }

    /// All units of the newest text.
    pub(crate) fn units(&self) -> &[Stamped] {
        &self.units
    }
}

/// Computation-aware times: when a listener gets each unit if computing delays the sound that comes
/// next. For each unit, `delays` has the sound heard and `elapsed` the wall clock. The result is as
/// long as the shorter of the two lists.
pub(crate) fn computation_aware<T>(delays: &[T], elapsed: &[T]) -> Vec<T>
where
    T: Copy + PartialOrd + Add<Output = T> + Sub<Output = T>,
{
    let mut aware: Vec<T> = Vec::with_capacity(delays.len().min(elapsed.len()));
    for (at, &wall) in elapsed.iter().enumerate().take(delays.len()) {
        aware.push(match (at.checked_sub(1), aware.last()) {
            (Some(before), Some(&last)) => {
                let own = wall - elapsed[before] + delays[before];
                if own > last { own } else { last }
            }
            _ => wall,
        });
    }
    aware
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(stamps: &Stamps) -> Vec<(&str, u64)> {
        stamps.units().iter().map(|s| (s.unit.as_str(), s.delay.0)).collect()
    }

    #[test]
    fn a_unit_keeps_the_times_of_its_first_update() {
        let mut stamps = Stamps::new(Language::GERMAN);
        stamps.update("Das ist", Millis(1000), Millis(300));
        let new = stamps.update("Das ist, gut.", Millis(2000), Millis(900)).to_vec();
        assert_eq!(new, [Stamped { unit: "gut".to_owned(), delay: Millis(2000), elapsed: Millis(900) }]);
        stamps.update("Das war gut", Millis(3000), Millis(1200));
        assert_eq!(delays(&stamps), [("Das", 1000), ("war", 3000), ("gut", 3000)]);
        stamps.update("", Millis(4000), Millis(1300));
        assert!(stamps.units().is_empty());
    }

    #[test]
    fn computing_time_adds_up() {
        let ms = |all: &[u64]| all.iter().copied().map(Millis).collect::<Vec<_>>();
        let aware = computation_aware(&ms(&[1000, 1000, 2000]), &ms(&[300, 300, 900]));
        assert_eq!(aware, ms(&[300, 1000, 1600]));
        assert!(computation_aware(&ms(&[1]), &[]).is_empty());
        assert_eq!(computation_aware(&ms(&[5, 6]), &ms(&[9])), ms(&[9]));
    }
}
