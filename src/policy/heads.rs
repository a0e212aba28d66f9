//! Head sets: which attention heads of a model follow the source while it translates, best first.
//!
//! A set belongs to one model and one direction. The sets of the published models are part of the
//! program (`shipped_heads`). A model folder may contain its own set, and calibration writes one.
//! Source: docs/method.md, section 3.

use serde::{Deserialize, Serialize};

use crate::text::language::Language;

/// Most heads in a set.
const MOST: usize = 64;
/// Layer and head numbers are below this.
const BOUND: usize = 1024;

/// One head of one layer. Both are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the layer.
    pub layer: usize,
    /// Number of the query head in its layer.
    pub head: usize,
    /// The translation score: the share of aligned target tokens at which the head's attention
    /// peaks on an aligned source token. 0 to 1.
    pub score: f64,
}

/// Which attention row is taken for a target token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    /// The row of the position at which the token is the input, as published.
    #[default]
    Input,
    /// The row of the position before, whose query chose the token.
    Predicting,
}

impl Rows {
    /// The name in a heads file.
    pub fn name(self) -> &'static str {
        match self {
            Rows::Input => "input",
            Rows::Predicting => "predicting",
        }
    }
}

/// Where a set's scores come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The method, in words.
    pub how: String,
    /// How many sentence pairs were used.
    pub pairs: usize,
    /// How many aligned target tokens were used.
    pub tokens: usize,
    /// Heads with a lower score were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

/// The heads of one model for one direction, best first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadSet {
    /// Name of the model.
    pub model: String,
    /// The language of the source.
    pub source: Language,
    /// The language of the translation.
    pub target: Language,
    /// Which row of a token the heads were measured on.
    #[serde(default)]
    pub rows: Rows,
    /// How they were measured.
    pub measured: Measured,
    /// The heads, best first.
    pub heads: Vec<Head>,
}

/// Why a head set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HeadsError {
    #[error("{file} is not a head set: {source}")]
    Json { file: String, source: serde_json::Error },
    #[error("{file}: {field} {what}")]
    Field { file: String, field: String, what: &'static str },
}

impl HeadSet {
    /// Reads a set from JSON and sorts its heads, best first. Errors name `file`, and the field
    /// that is wrong.
    pub fn parse(text: &str, file: &str) -> Result<HeadSet, HeadsError> {
        let json = |source| HeadsError::Json { file: file.to_owned(), source };
        // Editors on Windows may put a byte order mark at the start of a file.
        let mut set: HeadSet = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(json)?;
        set.check(file)?;
        set.heads.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(set)
    }

    fn check(&self, file: &str) -> Result<(), HeadsError> {
        let wrong = |field: String, what| Err(HeadsError::Field { file: file.to_owned(), field, what });
        if self.heads.is_empty() || self.heads.len() > MOST {
            return wrong("`heads`".to_owned(), "must have 1 to 64 entries");
        }
        for (at, head) in self.heads.iter().enumerate() {
            if head.layer >= BOUND || head.head >= BOUND {
                return wrong(format!("`heads[{at}]`"), "has a layer or head above 1023");
            }
            if !head.score.is_finite() {
                return wrong(format!("`heads[{at}].score`"), "is not a number");
            }
            if self.heads[..at].iter().any(|other| (other.layer, other.head) == (head.layer, head.head)) {
                return wrong(format!("`heads[{at}]`"), "stands there twice");
            }
        }
        Ok(())
    }

    /// The best `count` heads, or as many as there are.
    pub fn top(&self, count: usize) -> &[Head] {
        &self.heads[..count.min(self.heads.len())]
    }

    /// The set as the JSON text of a heads file.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The name of the file that holds a model folder's own set.
    pub fn file_name(source: Language, target: Language) -> String {
        format!("heads.{source}-{target}.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(heads: &str) -> String {
        let measured = r#"{"how": "by hand", "pairs": 2, "tokens": 9, "threshold": 0.1}"#;
        format!(r#"{{"model": "m", "source": "en", "target": "de", "measured": {measured}, "heads": {heads}}}"#)
    }

    #[test]
    fn a_set_goes_to_a_file_and_back() {
        let text = with(r#"[{"layer": 1, "head": 2, "score": 0.2}, {"layer": 0, "head": 0, "score": 0.9}]"#);
        let set = HeadSet::parse(&text, "f").expect("valid");
        assert_eq!((set.heads[0].layer, set.measured.threshold), (0, Some(0.1)));
        assert_eq!(HeadSet::parse(&set.to_json().expect("plain data"), "f").expect("valid"), set);
        assert_eq!(HeadSet::file_name(set.source, set.target), "heads.en-de.json");
    }

    #[test]
    fn errors_name_file_and_field() {
        let one = r#"{"layer": 1, "head": 2, "score": 0.2}"#;
        for (heads, want) in [
            ("[]".to_owned(), "f.json: `heads` must have 1 to 64 entries"),
            (format!("[{one},{one}]"), "f.json: `heads[1]` stands there twice"),
            (one.replace('1', "1024").replace('{', "[{") + "]", "f.json: `heads[0]` has a layer or head above 1023"),
        ] {
            assert_eq!(HeadSet::parse(&with(&heads), "f.json").expect_err("invalid").to_string(), want);
        }
        let error = HeadSet::parse("{}", "f.json").expect_err("invalid").to_string();
        assert!(error.starts_with("f.json is not a head set: missing field `model`"), "{error}");
        let error = HeadSet::parse(&with("[{\"layer\": -1}]"), "f.json").expect_err("invalid").to_string();
        assert!(error.contains("invalid value: integer `-1`"), "{error}");
    }
}
