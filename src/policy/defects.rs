//! Tests that this room does not have the defects of the published system. Source: docs/method.md,
//! section 10.

use std::ops::Range;

use super::Committed;
use super::frontier::{Frontier, Source};
use super::gate::gate;
use super::knobs::Knobs;
use super::listening::Attention;
use super::schedule::Turn;
use super::shipped_heads::{Model, find};
use super::tracker::Tracker;
use super::{Proposal, SourceWord, joined};
use crate::text::units::{join_words, source_words};
use crate::text::{Language, Millis};

const DE: Language = Language::GERMAN;
/// Knobs that show a finished draft to its end.
const TO_THE_END: Knobs = Knobs { hold_last: 0, margin: 0, ..Knobs::for_tests() };

/// The words of `text`. The first one ends 300 ms after `start`, and each other one 300 ms after
/// the one before it.
fn words(text: &str, start: u64) -> Vec<SourceWord> {
    let texts = source_words(text).into_iter().zip(1..);
    texts
        .map(|(text, at)| SourceWord { text, end: Some(Millis(start + at * 300)), committed: false, certain: false })
        .collect()
}

/// The columns of `text`: one for each word, and one for each comma or full stop.
fn columns(text: &str) -> Vec<Range<usize>> {
    let mut starts: Vec<usize> = text.match_indices([' ', ',', '.']).map(|(at, _)| at).collect();
    starts.insert(0, 0);
    starts.push(text.len());
    starts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The attention of one head, with a row for each of `peaks`, the column on which it peaks.
fn listening(columns: &[Range<usize>], peaks: &[usize]) -> Attention {
    let mut attention = Attention::new(columns.to_vec(), 1);
    for &peak in peaks {
        let row: Vec<f32> = (0..columns.len()).map(|at| if at == peak { 0.9 } else { 0.01 }).collect();
        attention.append(&row, &[[0.0; 2]]).expect("sizes fit");
    }
    attention
}

/// The text that the gate shows, and how many source words it rests on.
fn shown(texts: &[&str], attention: &Attention, frontier: &Frontier, knobs: &Knobs) -> (String, usize) {
    let mut tracker = Tracker::new(1);
    let readings = tracker.follow(attention, frontier.columns);
    let verdict = gate(&Proposal::of_texts(texts, true, DE), readings, 0, frontier, knobs);
    (texts.concat()[..verdict.show_len].to_owned(), verdict.rests_on)
}

#[test]
fn bug_1_the_frontier_is_the_same_after_the_first_sentence() {
    for start in [0, 10_000, 7_200_000] {
        let words = words("hello world", start);
        let source = Source { words: &words, columns: &[], heard: Millis(start + 650), is_final: false };
        assert_eq!(Frontier::new(&source, &Knobs::for_tests(), false).words, 1, "from {start} ms");
    }
}

#[test]
fn bug_2_commas_do_not_move_the_frontier() {
    let text = "Well, the cat, you know, sat down";
    let words = words(text, 0);
    let columns = columns(&joined(&words));
    assert_eq!((columns.len(), words.len()), (10, 7));
    let frontier = |heard, knobs: &Knobs| {
        let source = Source { words: &words, columns: &columns, heard: Millis(heard), is_final: false };
        Frontier::new(&source, knobs, false).columns
    };
    let right = Knobs { holdback: Millis::ZERO, ..Knobs::for_tests() };
    assert_eq!(frontier(9000, &right), 10);
    assert_eq!(frontier(9000, &Knobs::published()), 7, "as published");
    // "Well, the cat," ends at 900 ms, so its five tokens are accessible, including the comma at
    // its end.
    assert_eq!(frontier(900, &right), 5);
    assert_eq!(frontier(900, &Knobs::published()), 3);
}

#[test]
fn bug_3_a_head_set_says_what_it_was_measured_on() {
    let e4b = Model { name: "gemma-4-E4B-it", family: "Gemma-4", layers: 42, heads: 8, hidden: 2560 };
    let set = find(&e4b, Language::ENGLISH, DE).expect("shipped").set;
    assert!(set.measured.how.contains("2606.03967") && set.measured.how.contains("development set"));
    assert_eq!((set.measured.pairs, set.measured.tokens), (903, 11_209));
}

#[test]
fn bug_4_heads_of_layers_that_share_their_keys_are_taken() {
    // Layers 15 and later of E2B read the keys of earlier ones.
    let e2b = Model { name: "gemma-4-E2B-it", family: "Gemma-4", layers: 35, heads: 8, hidden: 1536 };
    let set = find(&e2b, Language::ENGLISH, DE).expect("shipped").set;
    assert!(set.top(8).iter().any(|head| (head.layer, head.head) == (24, 3)));
}

#[test]
fn bug_6_a_kept_draft_is_shown_further_behind_shown_text() {
    let mut committed = Committed::default();
    committed.extend("Der");
    let words = words("The cat sat", 0);
    let columns = columns("The cat sat");
    let frontier = |heard| {
        let source = Source { words: &words, columns: &columns, heard: Millis(heard), is_final: false };
        Frontier::new(&source, &TO_THE_END, false)
    };
    let draft = [" Kater", " saß"];
    let attention = listening(&columns, &[1, 2]);
    committed.extend(&shown(&draft, &attention, &frontier(850), &TO_THE_END).0);
    assert_eq!(committed.as_str(), "Der Kater");
    // The source text is the same, and only the frontier has moved: the rest of the draft is judged
    // again.
    assert_eq!(Turn::new(("The cat sat", 2), ("The cat sat", 3)), Turn::FrontierAdvanced);
    let mut rest = attention;
    rest.skip_rows(1);
    committed.extend(&shown(&draft[1..], &rest, &frontier(1200), &TO_THE_END).0);
    assert_eq!(committed.as_str(), "Der Kater saß");
}

#[test]
fn bug_7_a_head_that_was_not_captured_is_an_error() {
    let mut attention = Attention::new(vec![0..1, 1..2], 4);
    assert!(attention.append(&[0.5; 3 * 2], &[[0.0; 2]]).is_err());
    assert!(attention.append(&[0.5; 4 * 2], &[[0.0; 2]]).is_ok());
}

#[test]
fn a_segment_cannot_close_before_the_words_that_its_shown_text_rests_on() {
    // Two sentences are in the tail, and the shown text reaches into the second one.
    let text = "It works. That holds";
    let words = words(text, 0);
    let columns = columns(text);
    let source = Source { words: &words, columns: &columns, heard: Millis(9000), is_final: false };
    let frontier = Frontier::new(&source, &TO_THE_END, false);
    let draft = [" Es", " geht", ".", " Das", " hält"];
    assert_eq!(shown(&draft[..3], &listening(&columns, &[0, 1, 2]), &frontier, &TO_THE_END).1, 2);
    let (text, rests_on) = shown(&draft, &listening(&columns, &[0, 1, 2, 3, 4]), &frontier, &TO_THE_END);
    assert_eq!((text.as_str(), rests_on), (" Es geht. Das hält", 4));
}

#[test]
fn a_stray_look_at_an_unheard_word_does_not_tie_the_text_to_it() {
    let words = words("a b c d", 0);
    let columns = columns("a b c d");
    let source = Source { words: &words, columns: &columns, heard: Millis(850), is_final: false };
    let frontier = Frontier::new(&source, &TO_THE_END, false);
    let mut attention = Attention::new(columns, 1);
    attention.append(&[0.001, 0.001, 0.001, 0.01], &[[0.9, 0.0]]).expect("sizes fit");
    assert_eq!(shown(&[" x"], &attention, &frontier, &TO_THE_END), (" x".to_owned(), 0));
}

#[test]
fn a_divergence_in_one_segment_does_not_mute_the_next() {
    let mut first = Committed::default();
    first.extend("Das ist");
    assert_eq!(first.grow_to("Dies ist"), "");
    assert_eq!(Committed::default().grow_to("Und jetzt"), "Und jetzt");
}

#[test]
fn growth_is_of_text_whatever_its_tokens() {
    let mut shown = Committed::default();
    shown.extend("Entwurfs"); // the tokens are Entwurf|s, and then Entwurfs|verarbeitung
    assert_eq!(shown.grow_to("Entwurfsverarbeitung"), "verarbeitung");
}

#[test]
fn chinese_segments_are_joined_without_a_space() {
    assert_eq!(join_words(["大家好。", "我是小王。"]), "大家好。我是小王。");
    assert_eq!(join_words(["Guten Tag.", "Ich bin da."]), "Guten Tag. Ich bin da.");
}
