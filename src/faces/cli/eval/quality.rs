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
score = lambda metric: round(metric.corpus_score(request["predictions"], [request["references"]]).score, 3)
print(json.dumps({"bleu": score(bleu), "chrf": score(chrf),
                  "bleu_signature": str(bleu.get_signature()), "chrf_signature": str(chrf.get_signature())}))
"#;

#[derive(Serialize)]
struct ScoreRequest<'a> {
    tokenizer: &'a str,
    predictions: Vec<&'a str>,
    references: Vec<&'a str>,
}

/// Scores the pairs. An error says why it cannot.
pub(super) fn score(pairs: &[Pair], language: Language) -> Result<Quality, String> {
    let tokenizer = match language.code() {
        "zh" | "yue" => "zh",
        "ja" => "char",
        _ => "13a",
    };
    let request = ScoreRequest {
        tokenizer,
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
        true => Err("python3 has no sacrebleu; install it with `pip install sacrebleu`".to_owned()),
        false => Err(stderr.lines().last().unwrap_or("python3 failed").to_owned()),
    }
}
