//! BLEU and chrF by sacrebleu, where `python3` has it. Without sacrebleu there are no scores.

use std::io::Write;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::pairs::Pair;
use crate::text::Language;

/// The result of sacrebleu.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Quality {
    pub bleu: f64,
    pub chrf: f64,
    pub bleu_signature: String,
    pub chrf_signature: String,
}

const SCRIPT: &str = r#"
import json, sys
from sacrebleu.metrics import BLEU, CHRF
request = json.load(sys.stdin)
bleu, chrf = BLEU(tokenize=request["tokenizer"]), CHRF()
score = lambda metric: metric.corpus_score(request["predictions"], [request["references"]]).score
print(json.dumps({"bleu": score(bleu), "chrf": score(chrf),
                  "bleu_signature": str(bleu.get_signature()), "chrf_signature": str(chrf.get_signature())}))
"#;

#[derive(Serialize)]
struct ScoreRequest<'a> {
    tokenizer: &'a str,
    predictions: Vec<&'a str>,
    references: Vec<&'a str>,
}

/// How sacrebleu splits texts for BLEU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::faces::cli) enum Tokenizer {
    #[value(name = "13a")]
    Thirteen,
    Intl,
    Char,
    Zh,
    JaMecab,
    KoMecab,
}

impl Tokenizer {
    /// What sacrebleu takes for a language.
    pub(in crate::faces::cli) fn of(language: Language) -> Tokenizer {
        match language.code() {
            "zh" | "yue" => Tokenizer::Zh,
            "ja" => Tokenizer::JaMecab,
            "ko" => Tokenizer::KoMecab,
            _ => Tokenizer::Thirteen,
        }
    }

    /// The name in sacrebleu.
    fn name(self) -> &'static str {
        match self {
            Tokenizer::Thirteen => "13a",
            Tokenizer::Intl => "intl",
            Tokenizer::Char => "char",
            Tokenizer::Zh => "zh",
            Tokenizer::JaMecab => "ja-mecab",
            Tokenizer::KoMecab => "ko-mecab",
        }
    }
}

/// Scores the pairs. An error says why it cannot.
pub(super) fn score(pairs: &[Pair], tokenizer: Tokenizer) -> Result<Quality, String> {
    let request = ScoreRequest {
        tokenizer: tokenizer.name(),
        predictions: pairs.iter().map(|pair| pair.prediction.as_str()).collect(),
        references: pairs.iter().map(|pair| pair.reference.as_str()).collect(),
    };
    let request = serde_json::to_vec(&request).map_err(|e| e.to_string())?;
    let answer = python(&request)?;
    serde_json::from_slice(&answer).map_err(|e| format!("sacrebleu gave no scores: {e}"))
}

fn python(input: &[u8]) -> Result<Vec<u8>, String> {
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("python3 cannot be run: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A python that has ended already reports the reason below.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    match stderr.contains("No module named 'sacrebleu'") {
        true => Err("python3 has no sacrebleu; `pip install sacrebleu` in the environment that runs this".to_owned()),
        // The message of a Python error may have several lines.
        false => Err(match stderr.rsplit_once("Error: ") {
            Some((_, message)) => message.split_whitespace().collect::<Vec<_>>().join(" "),
            None => format!("python3 failed: {}", stderr.lines().last().unwrap_or_default()),
        }),
    }
}
