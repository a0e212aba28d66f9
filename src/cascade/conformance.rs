//! Conformance cases of the published policy (`tests/conformance/alignatt_cases.json`, or the file
//! that `ALIGNATT_CONFORMANCE` names) that are about words, segments and shown text. The other
//! cases are judged in `policy/conformance.rs`. Every kind of case is judged in one of the two
//! modules, or `NOT_BUILT` lists it.
//!
//! Where ours differs on purpose:
//! * `asr_commit`: agreement is in whole words, not characters. Each sentence is a segment of its
//!   own. A word count that differs from the aligner's does not stop the commit. Abbreviations and
//!   decimals do not end a sentence. There is no minimum number of words.
//! * `monotone_acceptance`: growth is judged on text, so another tokenisation of the same text is
//!   growth.
//! * `strip_live_tail_punct`: wide marks and the ellipsis are stripped too.
//! * `mailbox`: a final takes away a partial of its utterance that came before it. REF serves that
//!   partial after the final, as if it were of the next utterance.
//! * `mt_server_compose`: texts are compared without blanks before punctuation.
//! * `mt_server_session`: a final goes on from what is shown. REF may replace it.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::Value;

use super::engines::{BoxError, Draft, DraftRequest, Translate, Watch};
use super::settings::Settings;
use super::transcript::{Closing, Transcript, words_of};
use super::utterances::{Earlier, Mailbox, Row, Update, Utterances, compose, is_spoken};
use crate::policy::conformance::OF_THE_CASCADE;
use crate::policy::conformance::{self as gate, NOT_BUILT, cases};
use crate::policy::kind::Preset;
use crate::policy::knobs::Knobs;
use crate::policy::listening::Attention;
use crate::policy::{Committed, PolicyKind, budget};
use crate::text::units::{join_words, latency_units, source_words, trim_punctuation};
use crate::text::word_times::{Timed, map_times};
use crate::text::{Language, Millis, seams, sentence};

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn count(value: &Value, key: &str) -> usize {
    value[key].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default()
}

/// `Ok(false)`: ours differs on purpose. `None`: the case belongs to another module.
fn judge(case: &Value) -> Option<Result<bool, String>> {
    OF_THE_CASCADE.contains(&text(case, "kind")).then(|| judge_ours(case))
}

fn judge_ours(case: &Value) -> Result<bool, String> {
    let (input, params, expected) = (&case["input"], &case["params"], &case["expected"]);
    let same = |ours: &str, key: &str| match ours == text(expected, key) {
        true => Ok(true),
        false => Err(format!("ours {ours:?}, expected {:?}", expected[key])),
    };
    match text(case, "kind") {
        "source_normalize" | "target_normalize" => same(&seams::normalize(text(input, "text")), "text"),
        "strip_live_tail_punct" => {
            let ours = sentence::strip_final_marks(text(input, "text"));
            if text(input, "text").contains(['。', '！', '？', '…']) {
                return Ok(false);
            }
            same(ours, "text")
        }
        "strip_repeated_prefix" => {
            let ours = seams::strip_repeated_prefix(text(input, "accepted_prefix"), text(input, "continuation"));
            same(&ours, "text")
        }
        "prefill_glue" => same(&seams::glue(text(input, "prefill"), text(input, "generated_text")), "text"),
        "append_only" => {
            let mut shown = Committed::default();
            shown.extend(text(input, "emitted"));
            let delta = shown.grow_to(text(input, "candidate"));
            same(shown.as_str(), "emitted")?;
            same(&delta, "delta")
        }
        "monotone_acceptance" => {
            let ids = |key: &str| input[key].as_array().cloned().unwrap_or_default();
            let retokenized = !ids("candidate_ids").starts_with(&ids("previous_ids"));
            let mut shown = Committed::default();
            shown.extend(text(input, "previous_text"));
            let grew = !shown.grow_to(text(input, "candidate_text")).is_empty();
            if retokenized && grew {
                return Ok(false);
            }
            same(shown.as_str(), "text")
        }
        "token_budget" => {
            let is_final =
                params["is_final_source"] == true || input["is_final_source"] == true || input["is_partial"] == false;
            let tokens = count(input, "source_tokens");
            let budget = match is_final {
                true => budget::final_budget(tokens),
                false => budget::partial_budget(tokens, budget::PARTIAL_MOST),
            };
            let ours = budget::within_context(budget, count(input, "prompt_tokens"), count(params, "max_model_len"));
            let theirs = expected["max_new_tokens"].as_u64().unwrap_or_default();
            match ours as u64 == theirs {
                true => Ok(true),
                false => Err(format!("ours {ours}, expected {theirs}")),
            }
        }
        "latency_units" => {
            let target: Language = text(params, "target_lang").parse().map_err(|e| format!("{e}"))?;
            let ours = latency_units(text(input, "text"), target);
            match serde_json::json!(ours) == expected["units"] {
                true => Ok(true),
                false => Err(format!("ours {ours:?}, expected {}", expected["units"])),
            }
        }
        "asr_commit" => judge_commit(input, params, expected),
        "mailbox" => judge_mailbox(input, expected),
        "mt_server_compose" => judge_compose(input, expected),
        "mt_server_session" => judge_session(input, expected),
        kind => Err(format!("unknown kind {kind}")),
    }
}

fn judge_commit(input: &Value, params: &Value, expected: &Value) -> Result<bool, String> {
    if count(params, "min_commit_words") > 0 {
        return Ok(false);
    }
    let hypothesis = source_words(text(input, "hypothesis"));
    let ends: Vec<u64> = input["word_end_s"]
        .as_array()
        .map(|ends| ends.iter().filter_map(Value::as_f64).map(|s| (s * 1000.0).round() as u64).collect())
        .unwrap_or_default();
    let aligned: Vec<Timed<'_>> = hypothesis
        .iter()
        .zip(&ends)
        .map(|(word, &end)| Timed { text: word, start: Millis(end.saturating_sub(50)), end: Millis(end) })
        .collect();
    let heard = Millis(ends.last().copied().unwrap_or_default() + 500);
    let mut transcript = Transcript::default();
    transcript.hear(&words_of(text(input, "previous_hypothesis")), &[]);
    transcript.hear(&words_of(text(input, "hypothesis")), &[]);
    let closing = match params["is_final"] == true {
        true => Closing::All,
        false => Closing::Sentences,
    };
    let times = map_times(&transcript.word_list(), &aligned, heard);
    let settled = transcript.settle(closing, &times, 0, heard);
    let closed: Vec<_> = settled.closed.iter().flat_map(|c| c.words.clone()).collect();
    let committed = join_words(closed.iter().map(|w| w.text.as_str()));
    let commit = &expected["commit"];
    if commit == "abort" {
        // The miscounted words get times all the same. The sentence that both hypotheses agree on
        // is committed.
        return match committed.is_empty() {
            true => Err("nothing committed".to_owned()),
            false => Ok(true),
        };
    }
    if committed != text(commit, "committed_text") {
        return Err(format!("ours {committed:?}, expected {commit}"));
    }
    let end = closed.last().map(|w| w.end_ms);
    let theirs = commit["end_time_s"].as_f64().map(|s| Millis((s * 1000.0).round() as u64));
    if end != theirs {
        return Err(format!("ours ends at {end:?}, expected {theirs:?}"));
    }
    let left = join_words(transcript.word_list().iter().map(String::as_str));
    if !commit.is_null() && left != text(commit, "remainder_text") {
        return Err(format!("ours leaves {left:?}, expected {commit}"));
    }
    Ok(true)
}

/// The only list in a case's `input` or `expected`.
fn only_list(value: &Value) -> Option<&Vec<Value>> {
    let mut lists = value.as_object()?.values().filter_map(Value::as_array);
    lists.next().filter(|_| lists.next().is_none())
}

fn judge_mailbox(input: &Value, expected: &Value) -> Result<bool, String> {
    let (Some(puts), Some(order)) = (only_list(input), only_list(expected)) else {
        return Err(format!("one list of updates and one of numbers are needed: {input} {expected}"));
    };
    let seq = |value: &Value| value.as_i64().or_else(|| value["seq"].as_i64());
    let mut mailbox = Mailbox::default();
    for put in puts {
        mailbox.put(serde_json::from_value(put.clone()).map_err(|error| error.to_string())?);
    }
    let served: Vec<Option<i64>> = std::iter::from_fn(|| mailbox.take()).map(|update| update.seq).collect();
    let theirs: Vec<Option<i64>> = order.iter().map(seq).filter(Option::is_some).collect();
    if served == theirs {
        return Ok(true);
    }
    // A final, and after it a partial that had come before.
    let stale = |at: usize| theirs[..at].iter().any(|before| before > &theirs[at]);
    let mended: Vec<Option<i64>> = (0..theirs.len()).filter(|&at| !stale(at)).map(|at| theirs[at]).collect();
    if served == mended { Ok(false) } else { Err(format!("ours {served:?}, expected {theirs:?}")) }
}

fn judge_compose(input: &Value, expected: &Value) -> Result<bool, String> {
    let rows = |key: &str| serde_json::from_value::<Vec<Row>>(input[key].clone()).map_err(|error| error.to_string());
    let source = compose(&rows("words")?, &rows("tail")?);
    let ours = join_words(source.words.iter().map(|word| word.text.as_str()));
    if ours != seams::normalize(text(expected, "text")) {
        return Err(format!("ours {ours:?}, expected {}", expected["text"]));
    }
    let pair = |times: Option<(Millis, Millis)>| match times {
        Some((start, end)) => [Some(start.0 as f64), Some(end.0 as f64)],
        None => [None, None],
    };
    let stamps: Vec<_> =
        source.words.iter().filter(|word| is_spoken(&word.text)).map(|word| pair(word.times)).collect();
    let ours = serde_json::json!({"stamps": stamps, "last_end_ms": source.last_end.0 as f64});
    for key in ["stamps", "last_end_ms"] {
        if ours[key] != expected[key] {
            return Err(format!("ours {}, expected {}", ours[key], expected[key]));
        }
    }
    Ok(true)
}

/// The model of REF's dialogue: the words of the source in capitals, without marks. Each is a token
/// that attends to its word.
struct Capitals {
    heads_len: usize,
    asked: Rc<Cell<usize>>,
}

impl Translate for Capitals {
    async fn draft(&mut self, request: &DraftRequest<'_>, _: Watch<'_>) -> Result<Draft, BoxError> {
        self.asked.set(self.asked.get() + 1);
        let words = source_words(request.source);
        let mut attention = Attention::new(Vec::new(), self.heads_len);
        let mut at = 0;
        for word in &words {
            let start = at + request.source[at..].find(word.as_str()).unwrap_or_default();
            at = start + word.len();
            attention.columns.push(start..at);
        }
        let mut pieces = Vec::new();
        for at in source_words(request.accepted).len()..words.len() {
            let blank = if at == 0 { "" } else { " " };
            pieces.push(format!("{blank}{}", trim_punctuation(&words[at]).to_uppercase()));
            let row: Vec<f32> = (0..words.len()).map(|column| if column == at { 1.0 } else { 0.0 }).collect();
            attention.append(&row.repeat(self.heads_len), &[[0.0; 2]])?;
        }
        Ok(Draft { pieces, finished: true, attention: Some(attention), ..Draft::default() })
    }

    fn count_tokens(&self, text: &str) -> usize {
        source_words(text).len()
    }
}

/// A dialogue from `init` on. REF's model accepts exactly what rests on accessible words, so
/// nothing else is held here.
fn judge_session(input: &Value, expected: &Value) -> Result<bool, String> {
    let language = |key: &str| text(&input["init"], key).parse::<Language>().map_err(|error| error.to_string());
    let knobs = Knobs { holdback: Millis::ZERO, hold_last: 0, filter_width: 1, ..Knobs::low() };
    let settings = Settings::new(language("source_lang")?, Some(language("target_lang")?))
        .with_policy(PolicyKind::AlignAtt(Preset::Low, knobs));
    let asked = Rc::new(Cell::new(0));
    let model = Capitals { heads_len: knobs.heads_len, asked: asked.clone() };
    let mut stream = Utterances::new(&settings, model, 120, Earlier::default()).map_err(|error| error.to_string())?;
    let updates = input["updates"].as_array().cloned().unwrap_or_default();
    let responses = expected["responses"].as_array().cloned().unwrap_or_default();
    if updates.len() != responses.len() || updates.is_empty() {
        return Err("not as many responses as updates".to_owned());
    }
    for (update, mut theirs) in updates.into_iter().zip(responses) {
        let update: Update = serde_json::from_value(update).map_err(|error| error.to_string())?;
        let before = asked.get();
        let answer = pollster::block_on(stream.take(&update)).map_err(|error| error.to_string())?;
        let mut ours = serde_json::to_value(answer).map_err(|error| error.to_string())?;
        let again = theirs["stop_reason"] == "alignatt:commit_fast_path";
        if again && asked.get() > before {
            return Err("the model was asked where the held draft is enough".to_owned());
        }
        if theirs["stop_reason"] == "fake" {
            // REF's model names itself; ours says what its policy found.
            if !ours["stop_reason"].is_string() || ours["stop_reason"] == "alignatt:commit_fast_path" {
                return Err(format!("no reason to stop: {ours}"));
            }
            (ours["stop_reason"], theirs["stop_reason"]) = (Value::Null, Value::Null);
        }
        if ours != theirs {
            return Err(format!("ours {ours}, expected {theirs}"));
        }
    }
    Ok(true)
}

#[test]
fn published_cases() {
    let mut held = 0;
    let mut failures = Vec::new();
    for case in &cases() {
        match judge(case) {
            Some(Ok(true)) => held += 1,
            Some(Ok(false)) | None => {}
            Some(Err(why)) => failures.push(format!("{}: {why}", text(case, "id"))),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(held > 0, "no case was for us");
}

#[test]
fn every_kind_is_judged_in_one_room_or_listed() {
    for case in &cases() {
        let kind = text(case, "kind");
        let listed = NOT_BUILT.iter().any(|(name, _)| *name == kind);
        let of_the_gate = gate::judge(case) != Ok(gate::Outcome::Elsewhere);
        let rooms = [judge(case).is_some(), of_the_gate, listed];
        assert_eq!(rooms.into_iter().filter(|room| *room).count(), 1, "{kind}: {rooms:?}");
    }
}
