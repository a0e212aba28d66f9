//! One token of a judged draft: whether it is shown, and why not. Tokens are part of `listen`
//! events.

use serde::{Deserialize, Serialize};

/// One token of a draft that a policy has judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// The text that the token adds.
    pub text: String,
    /// Whether the token is shown now. If not, it is held.
    pub shown: bool,
    /// Why the token is held; absent where it is shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<Hold>,
    /// The source word that the token rests on, as an index into the words of the prompt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub word: Option<usize>,
    /// Attention on accessible source words, on inaccessible ones, on the rest of the prompt, and
    /// on the draft. Zeros where no attention was captured for this token.
    #[serde(serialize_with = "rounded", deserialize_with = "or_nan")]
    pub mass: [f32; 4],
    /// Attention on single source words, as (index of the word, attention), where it is at least
    /// 0.01.
    #[serde(serialize_with = "rounded_pairs")]
    pub attention: Vec<(usize, f32)>,
}

/// Why a token is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// It rests on source words that are not accessible.
    Frontier,
    /// One of its masses is NaN or infinite.
    NotFinite,
    /// No attention was captured for it.
    NoRow,
    /// It passed, but its unit is not complete or is held at the draft's end.
    OpenUnit,
    /// An earlier token is held.
    AfterHeld,
}

impl Hold {
    /// The name in events and traces.
    pub fn name(self) -> &'static str {
        match self {
            Hold::Frontier => "frontier",
            Hold::NotFinite => "not-finite",
            Hold::NoRow => "no-row",
            Hold::OpenUnit => "open-unit",
            Hold::AfterHeld => "after-held",
        }
    }
}

/// JSON has no NaN; it is written as null.
fn or_nan<'de, D: serde::Deserializer<'de>>(from: D) -> Result<[f32; 4], D::Error> {
    Ok(<[Option<f32>; 4]>::deserialize(from)?.map(|value| value.unwrap_or(f32::NAN)))
}

/// Three decimals are enough for a reader.
fn rounded<S: serde::Serializer>(values: &[f32; 4], to: S) -> Result<S::Ok, S::Error> {
    values.map(three_decimals).serialize(to)
}

fn rounded_pairs<S: serde::Serializer>(values: &[(usize, f32)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(|&(word, mass)| (word, three_decimals(mass))))
}

fn three_decimals(value: f32) -> f64 {
    (f64::from(value) * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_in_json_is_its_name() {
        for hold in [Hold::Frontier, Hold::NotFinite, Hold::NoRow, Hold::OpenUnit, Hold::AfterHeld] {
            assert_eq!(serde_json::to_value(hold).ok(), Some(hold.name().into()));
        }
    }
}
