//! The knobs of the `alignatt` policy: their values, their names, and the text that sets them.
//!
//! A user writes them as `margin=0,holdback=500`. The table at the end has a row for each knob
//! with its name, its range, and how its value is read and written.

use std::str::FromStr;

use crate::text::language::Language;
use crate::text::time::Millis;

/// The settings of the `alignatt` policy. Each comment gives the default and the range. The
/// presets are [`Knobs::low`], [`Knobs::high`] and [`Knobs::published`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knobs {
    /// How many heads are used: the best of the head set. Default 4; 1 to 64.
    pub heads_len: usize,
    /// How many columns beyond the frontier a position may lie on. Default 0, as published 1; 0 to
    /// 64.
    pub margin: usize,
    /// A token with less inaccessible mass than this passes, whatever its position. Default 0.03; 0
    /// (off) to 1.
    pub soft_mass: f32,
    /// Words that ended less than this ago are not accessible. Default 500 ms; 0 to 10 s.
    pub holdback: Millis,
    /// Only words that two hypotheses agree on are accessible, which is about one chunk later.
    /// Default `None` (auto): on for languages whose units are characters, see [`Knobs::towards`].
    /// Chinese puts time, place, manner and clauses before what English says first. So more of the
    /// draft of half a sentence is in the wrong place, although it rests on words heard long ago.
    pub agreed_only: Option<bool>,
    /// Width of the median filter that smooths the rows before a position is taken, in columns.
    /// Default 7; 1 (off) to 63.
    pub filter_width: usize,
    /// How many units at the end of a draft are held if the model ended the draft itself. What is
    /// said next may belong before them, as it does before the verb of a German clause. A unit that
    /// the next, longer draft repeats is shown then.
    ///
    /// With 1, as published, the last unit is held in every draft that the gate did not stop (in
    /// Chinese only a unit that may continue, such as a run of letters). With more than 1, a
    /// character counts as half a unit. Default 2; 0 to 9.
    pub hold_last: usize,
    /// The longest wait at the frontier. After it, agreed words are accessible whatever their
    /// times, and a token passes if more of its mass is accessible than inaccessible. Default 4 s;
    /// `None`: no limit.
    pub stall: Option<Millis>,
    /// Most tokens in a draft of an open segment. Default 16; 1 to 160.
    pub draft_len: usize,
    /// Use the number of accessible tokens as the frontier, as published (docs/method.md, section
    /// 10, BUG-2). Default off.
    pub count_columns: bool,
}

impl Knobs {
    /// For chunks of 850 ms. Positions stay behind the frontier. The last half second of sound and
    /// two units at the end of a draft are held. On the demo pack, these values had the best
    /// quality for their lag (`docs/results.md`).
    pub const fn low() -> Knobs {
        Knobs {
            heads_len: 4,
            margin: 0,
            soft_mass: 0.03,
            holdback: Millis(500),
            agreed_only: None,
            filter_width: 7,
            hold_last: 2,
            stall: Some(Millis(4000)),
            draft_len: 16,
            count_columns: false,
        }
    }

    /// The knobs that tests are written for, independent of the presets.
    #[cfg(test)]
    pub const fn for_tests() -> Knobs {
        Knobs { margin: 1, holdback: Millis(250), hold_last: 1, agreed_only: Some(false), ..Knobs::low() }
    }

    /// For chunks of 1500 ms. Waits for more sound after a word.
    pub const fn high() -> Knobs {
        Knobs { holdback: Millis(800), stall: Some(Millis(6000)), ..Knobs::low() }
    }

    /// The settings that the paper's system was scored with, including BUG-2 (docs/method.md,
    /// section 10). Source: docs/method.md, section 5.7.
    pub const fn published() -> Knobs {
        Knobs {
            heads_len: 4,
            margin: 1,
            soft_mass: 0.03,
            holdback: Millis::ZERO,
            agreed_only: Some(false),
            filter_width: 7,
            hold_last: 1,
            stall: None,
            draft_len: 16,
            count_columns: true,
        }
    }

    /// The knobs with `agreed_only` set for translation into `target`, if it was `None`.
    pub fn towards(self, target: Language) -> Knobs {
        Knobs { agreed_only: Some(self.agreed_only.unwrap_or(target.counts_characters())), ..self }
    }

    /// Checks the ranges. The error names the first knob that is out of its range.
    pub fn check(&self) -> Result<(), KnobError> {
        match TABLE.iter().find(|knob| !(knob.fits)(self)) {
            Some(&Knob { name, range, .. }) => Err(KnobError { name, range }),
            None => Ok(()),
        }
    }

    /// The knobs with those in `text` set, for example `holdback=500,margin=0`. The error says what
    /// is wrong with `text`.
    pub fn with(mut self, text: &str) -> Result<Knobs, String> {
        for setting in text.split(',').filter(|setting| !setting.is_empty()) {
            let wrong = |what: &str| format!("`{setting}` {what}");
            let (name, value) = setting.split_once('=').ok_or_else(|| wrong("is not of the form KNOB=VALUE"))?;
            let Some(knob) = TABLE.iter().find(|knob| knob.name == name) else {
                let names = TABLE.each_ref().map(|knob| knob.name).join(", ");
                return Err(wrong(&format!("is no knob: there are {names}")));
            };
            (knob.set)(&mut self, value).ok_or_else(|| wrong("has a value that does not fit"))?;
        }
        self.check().map_err(|error| error.to_string())?;
        Ok(self)
    }

    /// The knobs whose values differ from those of `other`, in the format that [`Knobs::with`]
    /// reads.
    pub fn differs_from(&self, other: &Knobs) -> String {
        let differ = TABLE.iter().filter(|knob| (knob.get)(self) != (knob.get)(other));
        differ.map(|knob| format!("{}={}", knob.name, (knob.get)(self))).collect::<Vec<_>>().join(",")
    }
}

/// The error for a knob that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy's {name} is out of range: use {range}")]
pub struct KnobError {
    /// The name of the knob, as a user types it.
    pub name: &'static str,
    pub range: &'static str,
}

/// One knob, as a user sets and reads it.
struct Knob {
    name: &'static str,
    range: &'static str,
    /// The value as text.
    get: fn(&Knobs) -> String,
    /// Sets the value from text. `None` if the text is no value of this knob.
    set: fn(&mut Knobs, &str) -> Option<()>,
    /// Whether the value is in the range.
    fits: fn(&Knobs) -> bool,
}

/// All knobs, in the order in which they are printed.
static TABLE: [Knob; 10] = [
    Knob {
        name: "heads",
        range: "1 to 64",
        get: |knobs| knobs.heads_len.to_string(),
        set: |knobs, value| parse_into(&mut knobs.heads_len, value),
        fits: |knobs| (1..=64).contains(&knobs.heads_len),
    },
    Knob {
        name: "margin",
        range: "0 to 64 tokens",
        get: |knobs| knobs.margin.to_string(),
        set: |knobs, value| parse_into(&mut knobs.margin, value),
        fits: |knobs| knobs.margin <= 64,
    },
    Knob {
        name: "soft-mass",
        range: "0 to 1",
        get: |knobs| knobs.soft_mass.to_string(),
        set: |knobs, value| parse_into(&mut knobs.soft_mass, value),
        fits: |knobs| (0.0..=1.0).contains(&knobs.soft_mass),
    },
    Knob {
        name: "holdback",
        range: "0 to 10000 ms",
        get: |knobs| knobs.holdback.0.to_string(),
        set: |knobs, value| parse_into(&mut knobs.holdback.0, value),
        fits: |knobs| knobs.holdback <= Millis(10_000),
    },
    Knob {
        name: "agreed-only",
        range: "on, off or auto",
        get: |knobs| knobs.agreed_only.map_or("auto", on_or_off).to_owned(),
        set: |knobs, value| {
            knobs.agreed_only = if value == "auto" { None } else { Some(switch(value)?) };
            Some(())
        },
        fits: |_| true,
    },
    Knob {
        name: "filter",
        range: "1 to 63 tokens",
        get: |knobs| knobs.filter_width.to_string(),
        set: |knobs, value| parse_into(&mut knobs.filter_width, value),
        fits: |knobs| (1..=63).contains(&knobs.filter_width),
    },
    Knob {
        name: "hold-last",
        range: "0 to 9 units",
        get: |knobs| knobs.hold_last.to_string(),
        set: |knobs, value| parse_into(&mut knobs.hold_last, value),
        fits: |knobs| knobs.hold_last <= 9,
    },
    Knob {
        name: "stall",
        range: "off, or a time in ms",
        get: |knobs| knobs.stall.map_or("off".to_owned(), |limit| limit.0.to_string()),
        set: |knobs, value| {
            knobs.stall = if value == "off" { None } else { Some(Millis(value.parse().ok()?)) };
            Some(())
        },
        fits: |_| true,
    },
    Knob {
        name: "draft",
        range: "1 to 160 tokens",
        get: |knobs| knobs.draft_len.to_string(),
        set: |knobs, value| parse_into(&mut knobs.draft_len, value),
        fits: |knobs| (1..=160).contains(&knobs.draft_len),
    },
    Knob {
        name: "count-columns",
        range: "on or off",
        get: |knobs| on_or_off(knobs.count_columns).to_owned(),
        set: |knobs, value| {
            knobs.count_columns = switch(value)?;
            Some(())
        },
        fits: |_| true,
    },
];

fn parse_into<T: FromStr>(field: &mut T, value: &str) -> Option<()> {
    *field = value.parse().ok()?;
    Some(())
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
