//! A typed reader of JSON files such as `config.json`: every value is checked, and an error names
//! the file and the field.
//!
//! Limits keep an absurd value from becoming an allocation.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::{CheckpointError, FETCH_AGAIN, Remedy, WRONG_MODEL, shown};

/// The longest configuration file that is read, in bytes.
pub(crate) const MAX_FILE: usize = 8 << 20;

pub(crate) const MAX_WIDTH: usize = 65_536;
pub(crate) const MAX_FFN: usize = 1 << 20;
pub(crate) const MAX_LAYERS: usize = 512;
pub(crate) const MAX_HEADS: usize = 1024;
pub(crate) const MAX_HEAD_DIM: usize = 4096;
pub(crate) const MAX_VOCAB: usize = 1 << 22;

/// An object of a JSON file, with its file and path for messages.
pub(crate) struct Section<'a> {
    file: &'a str,
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    /// The whole of a file. Errors: it is not an object.
    pub(crate) fn root(file: &'a str, value: &'a Value) -> Result<Section<'a>, CheckpointError> {
        match value.as_object() {
            Some(map) => Ok(Section { file, path: String::new(), map }),
            None => Err(CheckpointError::file(file, "is not a JSON object", FETCH_AGAIN)),
        }
    }

    /// The error that `field` is wrong.
    pub(crate) fn wrong(&self, field: &str, what: impl Display, remedy: impl Into<Remedy>) -> CheckpointError {
        CheckpointError::config(self.file, format_args!("{}{field}", self.path), what, remedy)
    }

    /// The value of a field; `None` if it is absent or null.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// The names of all fields.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a String> {
        self.map.keys()
    }

    fn need(&self, field: &str) -> Result<&'a Value, CheckpointError> {
        self.get(field).ok_or_else(|| self.wrong(field, "is missing", FETCH_AGAIN))
    }

    fn wrong_type(&self, field: &str, kind: impl Display) -> CheckpointError {
        let value = self.map.get(field).unwrap_or(&Value::Null);
        self.wrong(field, format_args!("{} is not {kind}", shown(&value.to_string())), FETCH_AGAIN)
    }

    /// The object in a field. Like all readers below, an error if the field is absent, null or of
    /// another type.
    pub(crate) fn section(&self, field: &str) -> Result<Section<'a>, CheckpointError> {
        let map = self.need(field)?.as_object().ok_or_else(|| self.wrong_type(field, "an object"))?;
        Ok(Section { file: self.file, path: format!("{}{}.", self.path, shown(field)), map })
    }

    /// `None` if the field is absent or null.
    pub(crate) fn maybe_section(&self, field: &str) -> Result<Option<Section<'a>>, CheckpointError> {
        self.get(field).map(|_| self.section(field)).transpose()
    }

    pub(crate) fn text(&self, field: &str) -> Result<&'a str, CheckpointError> {
        self.need(field)?.as_str().ok_or_else(|| self.wrong_type(field, "a text"))
    }

    pub(crate) fn count(&self, field: &str, range: RangeInclusive<usize>) -> Result<usize, CheckpointError> {
        let value = self.need(field)?.as_u64().and_then(|value| usize::try_from(value).ok());
        let bounds = format_args!("a whole number from {} to {}", range.start(), range.end()).to_string();
        value.filter(|value| range.contains(value)).ok_or_else(|| self.wrong_type(field, bounds))
    }

    pub(crate) fn count_or(
        &self,
        field: &str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, CheckpointError> {
        self.get(field).map_or(Ok(default), |_| self.count(field, range))
    }

    pub(crate) fn even(&self, field: &str, range: RangeInclusive<usize>) -> Result<usize, CheckpointError> {
        let value = self.count(field, range)?;
        if value.is_multiple_of(2) { Ok(value) } else { Err(self.wrong_type(field, "even, as rotary embeddings need")) }
    }

    pub(crate) fn number(&self, field: &str, range: RangeInclusive<f64>) -> Result<f64, CheckpointError> {
        let value = self.need(field)?.as_f64().filter(|value| range.contains(value));
        value.ok_or_else(|| self.wrong_type(field, format_args!("a number from {} to {}", range.start(), range.end())))
    }

    pub(crate) fn number_or(
        &self,
        field: &str,
        default: f64,
        range: RangeInclusive<f64>,
    ) -> Result<f64, CheckpointError> {
        self.get(field).map_or(Ok(default), |_| self.number(field, range))
    }

    pub(crate) fn flag(&self, field: &str, default: bool) -> Result<bool, CheckpointError> {
        self.get(field)
            .map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.wrong_type(field, "true or false")))
    }

    /// The id of a token in a vocabulary of `vocab`.
    pub(crate) fn id(&self, field: &str, vocab: usize) -> Result<u32, CheckpointError> {
        Ok(self.count(field, 0..=vocab - 1)? as u32)
    }

    /// Errors: the field is not `value`. `reason` says why it must be.
    pub(crate) fn exactly(&self, field: &str, value: u64, reason: &str) -> Result<(), CheckpointError> {
        match self.need(field)?.as_u64() == Some(value) {
            true => Ok(()),
            false => Err(self.wrong(
                field,
                format_args!("{} is not {value}: {reason}", shown(&self.map[field].to_string())),
                WRONG_MODEL,
            )),
        }
    }

    /// Errors: the field is none of the `known` texts. `default` is the text of an absent field.
    pub(crate) fn one_of(&self, field: &str, default: &str, known: &[&str]) -> Result<(), CheckpointError> {
        let value = self.get(field).map_or(Some(default), Value::as_str);
        match value.is_some_and(|value| known.contains(&value)) {
            true => Ok(()),
            false => Err(self.wrong(
                field,
                format_args!("{} is not supported (only {})", shown(&self.map[field].to_string()), known.join(", ")),
                WRONG_MODEL,
            )),
        }
    }

    /// Errors: the flag is set.
    pub(crate) fn refuse_flag(&self, field: &str) -> Result<(), CheckpointError> {
        match self.flag(field, false)? {
            false => Ok(()),
            true => Err(self.wrong(field, "true is not supported", WRONG_MODEL)),
        }
    }

    /// Errors: the field asks for a mixture of experts.
    pub(crate) fn refuse_moe(&self, field: &str) -> Result<(), CheckpointError> {
        match self.get(field) {
            None => Ok(()),
            Some(value) if value.as_u64() == Some(0) => Ok(()),
            Some(value) => Err(self.wrong(
                field,
                format_args!("{}: mixtures of experts are not supported", shown(&value.to_string())),
                WRONG_MODEL,
            )),
        }
    }

    /// Errors: the heads cannot share `kv_heads` pairs of keys and values evenly.
    pub(crate) fn groups(&self, field: &str, heads: usize, kv_heads: usize) -> Result<(), CheckpointError> {
        match heads.is_multiple_of(kv_heads) {
            true => Ok(()),
            false => Err(self.wrong(
                field,
                format_args!("{kv_heads} does not divide num_attention_heads {heads}"),
                FETCH_AGAIN,
            )),
        }
    }
}

/// The first list of end ids found in `sections`.
pub(crate) fn eos(sections: &[&Section], vocab: usize) -> Result<Vec<u32>, CheckpointError> {
    for section in sections {
        let one = |id: &Value| id.as_u64().filter(|id| *id < vocab as u64).map(|id| id as u32);
        let ids = match section.get("eos_token_id") {
            None => continue,
            Some(Value::Array(ids)) if ids.len() <= 64 => ids.iter().map(one).collect(),
            Some(id) => one(id).map(|id| vec![id]),
        };
        return match ids.filter(|ids: &Vec<u32>| !ids.is_empty()) {
            Some(ids) => Ok(ids),
            None => Err(section.wrong("eos_token_id", format_args!("must be ids below {vocab}"), FETCH_AGAIN)),
        };
    }
    // Without end ids an answer would never end.
    let last = sections[0];
    Err(last.wrong("eos_token_id", "is missing here and in config.json", FETCH_AGAIN))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_name_the_file_and_the_whole_path() {
        let value = json!({"a": {"b": {"n": 3, "f": 0.5, "t": "x", "yes": true, "null": null}}});
        let root = Section::root("c.json", &value).unwrap();
        let section = root.section("a").unwrap().section("b").unwrap();
        assert_eq!((section.count("n", 1..=3).unwrap(), section.count_or("none", 7, 1..=3).unwrap()), (3, 7));
        assert!(section.get("null").is_none() && root.maybe_section("none").unwrap().is_none());
        let wrong: [(Result<(), CheckpointError>, &str); 7] = [
            (section.count("n", 4..=9).map(drop), "c.json: a.b.n: 3 is not a whole number from 4 to 9"),
            (section.count("f", 0..=9).map(drop), "c.json: a.b.f: 0.5 is not a whole number from 0 to 9"),
            (section.number("t", 0.0..=1.0).map(drop), "c.json: a.b.t: \\\"x\\\" is not a number from 0 to 1"),
            (section.text("null").map(drop), "c.json: a.b.null: is missing"),
            (section.even("n", 1..=9).map(drop), "c.json: a.b.n: 3 is not even, as rotary embeddings need"),
            (section.refuse_flag("yes"), "c.json: a.b.yes: true is not supported"),
            (root.section("none").map(drop), "c.json: none: is missing"),
        ];
        for (result, expected) in wrong {
            assert_eq!(result.unwrap_err().to_string(), expected);
        }
        assert!(Section::root("c.json", &json!([])).is_err());
    }
}
