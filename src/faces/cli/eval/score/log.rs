//! A log of SimulEval or OmniSTEval: one JSON object a line, for a recording or for a segment.
//!
//! | field | what it is |
//! |---|---|
//! | `source` | the sound's name, or a list that begins with it |
//! | `prediction` | the translation |
//! | `reference` | its reference; in a log of recordings it isn't used |
//! | `source_length` | of the segment, in milliseconds |
//! | `delays` or `emission_cu` | for each unit, how much sound had been heard when it was shown |
//! | `elapsed` or `emission_ca` | the same with computing time |
//! | `elapsed_semantics` | `ca_compatible_incremental` where `elapsed` needs no correction |
//! | `time_to_recording_end` | OmniSTEval's: of a segment, in milliseconds |
//!
//! Other fields are left out, and so are empty lines. A field that is `null` is absent.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Map, Value};

use super::super::super::error::CliError;
use super::{lines, read_text};

/// What `elapsed_semantics` says where each time counts the computing since the unit before it
/// only.
pub(crate) const INCREMENTAL: &str = "ca_compatible_incremental";

/// A line of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    /// The file and the line, such as `instances.log:3`.
    pub(crate) place: String,
    pub(crate) source: Option<String>,
    pub(crate) prediction: String,
    pub(crate) reference: Option<String>,
    pub(crate) source_length: Option<f64>,
    pub(crate) delays: Option<Vec<f64>>,
    pub(crate) elapsed: Option<Vec<f64>>,
    /// Whether `elapsed` counts the computing since the unit before it only; SimulEval's counts
    /// all.
    pub(crate) incremental: bool,
    /// Whether OmniSTEval has cut this segment out of a recording.
    pub(crate) cut: bool,
    pub(crate) recording_end: Option<f64>,
}

/// Reads the log at `path`; it has at least one entry.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, CliError> {
    let text = read_text(path)?;
    let mut entries = Vec::new();
    for (at, line) in lines(&text).enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("{}:{}", path.display(), at + 1);
        let entry = entry(line).map_err(|what| CliError::Failed(format!("{place}: {what}").into()))?;
        entries.push(Entry { place, ..entry });
    }
    match entries.is_empty() {
        true => Err(CliError::Failed(format!("{} has no line in it", path.display()).into())),
        false => Ok(entries),
    }
}

fn entry(line: &str) -> Result<Entry, String> {
    let value: Value = match serde_json::from_str(line) {
        Ok(value) => value,
        Err(error) => serde_json::from_str(&without_nan(line)).map_err(|_| error.to_string())?,
    };
    let Value::Object(fields) = value else { return Err("not a JSON object".to_owned()) };
    let incremental = text(&fields, "elapsed_semantics")?.as_deref() == Some(INCREMENTAL);
    let cu = numbers(&fields, "emission_cu")?;
    let ca = numbers(&fields, "emission_ca")?;
    Ok(Entry {
        place: String::new(),
        source: source(&fields)?,
        prediction: text(&fields, "prediction")?.ok_or("`prediction` is missing")?,
        reference: text(&fields, "reference")?,
        source_length: number(&fields, "source_length")?,
        incremental: incremental || ca.is_some(),
        cut: fields.contains_key("segid") || cu.is_some() || ca.is_some(),
        delays: numbers(&fields, "delays")?.or(cu),
        elapsed: numbers(&fields, "elapsed")?.or(ca),
        recording_end: number(&fields, "time_to_recording_end")?,
    })
}

fn present<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match present(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{name}` is not a text")),
    }
}

fn source(fields: &Map<String, Value>) -> Result<Option<String>, String> {
    match present(fields, "source") {
        Some(Value::Array(list)) => match list.first() {
            Some(Value::String(name)) => Ok(Some(name.clone())),
            _ => Err("`source` does not begin with a name".to_owned()),
        },
        _ => text(fields, "source"),
    }
}

fn number(fields: &Map<String, Value>, name: &str) -> Result<Option<f64>, String> {
    let found = present(fields, name).map(|value| value.as_f64().ok_or_else(|| format!("`{name}` is not a number")));
    found.transpose()
}

fn numbers(fields: &Map<String, Value>, name: &str) -> Result<Option<Vec<f64>>, String> {
    let list = match present(fields, name) {
        None => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(format!("`{name}` is not a list of numbers")),
    };
    let number = |(at, value): (usize, &Value)| {
        value.as_f64().ok_or_else(|| format!("number {} of `{name}` is not a number", at + 1))
    };
    list.iter().enumerate().map(number).collect::<Result<_, _>>().map(Some)
}

/// The line with `null` for each `NaN` and `Infinity` outside its texts: Python writes them, though
/// they are not JSON.
fn without_nan(line: &str) -> Cow<'_, str> {
    let mut parts = line.split('"').peekable();
    let mut made = String::with_capacity(line.len());
    // Whether the part that comes next lies within a text.
    let mut quoted = false;
    while let Some(part) = parts.next() {
        match quoted {
            true => made.push_str(part),
            false => {
                made.push_str(&part.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null"))
            }
        }
        let backslashes = part.len() - part.trim_end_matches('\\').len();
        // An escaped quote doesn't end a text.
        quoted = if quoted { backslashes % 2 == 1 } else { true };
        if parts.peek().is_some() {
            made.push('"');
        }
    }
    Cow::Owned(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_source() {
        let listed = entry(
            r#"{"index":0,"source":["a/b.wav","samplerate: 16000 Hz"],"prediction":"Ja","delays":[1.5],"elapsed":[2]}"#,
        );
        let expected = Entry {
            source: Some("a/b.wav".to_owned()),
            prediction: "Ja".to_owned(),
            delays: Some(vec![1.5]),
            elapsed: Some(vec![2.0]),
            ..Entry::default()
        };
        assert_eq!(listed, Ok(expected.clone()));
        let plain = entry(
            r#"{"source":"a/b.wav","prediction":"Ja","delays":[1.5],"elapsed":[2],"reference":null,"metric":{"AL":NaN,"x":"NaN \" NaN"}}"#,
        );
        assert_eq!(plain, Ok(expected));
    }

    #[test]
    fn what_omnisteval_wrote() {
        let cut = entry(r#"{"index":3,"docid":0,"segid":3,"prediction":"","reference":"Ja","source_length":900.0}"#);
        let expected =
            Entry { reference: Some("Ja".to_owned()), source_length: Some(900.0), cut: true, ..Entry::default() };
        assert_eq!(cut, Ok(expected));
        let shown = entry(r#"{"prediction":"Ja","emission_cu":[-5],"emission_ca":[7.5],"time_to_recording_end":1e3}"#);
        let Ok(shown) = shown else { panic!("{shown:?}") };
        assert_eq!((shown.delays, shown.elapsed), (Some(vec![-5.0]), Some(vec![7.5])));
        assert!(shown.cut && shown.incremental && shown.recording_end == Some(1000.0));
    }

    #[test]
    fn what_is_no_entry() {
        for (line, what) in [
            ("{", "EOF"),
            ("[]", "not a JSON object"),
            ("{}", "`prediction` is missing"),
            (r#"{"prediction":7}"#, "`prediction` is not a text"),
            (r#"{"prediction":"a","source":[]}"#, "`source` does not begin with a name"),
            (r#"{"prediction":"a","delays":1}"#, "`delays` is not a list of numbers"),
            (r#"{"prediction":"a","delays":[1,"2"]}"#, "number 2 of `delays` is not a number"),
            (r#"{"prediction":"a","elapsed":[NaN]}"#, "number 1 of `elapsed` is not a number"),
            (r#"{"prediction":"a","delays":[1e999]}"#, "number out of range"),
            (r#"{"prediction":"a","source_length":"9"}"#, "`source_length` is not a number"),
        ] {
            let found = entry(line);
            assert!(found.as_ref().is_err_and(|error| error.contains(what)), "{line}: {found:?}");
        }
    }
}
