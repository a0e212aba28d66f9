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

use serde_json::Value;

use super::transcript::{Closing, Transcript, words_of};
use crate::policy::conformance::OF_THE_CASCADE;
use crate::policy::conformance::{self as gate, NOT_BUILT, cases};
use crate::policy::{Committed, budget};
use crate::text::units::{join_words, latency_units, source_words};
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
