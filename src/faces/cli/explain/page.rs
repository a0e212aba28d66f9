//! The page around the pictures: models and settings, totals, one card per segment, and the data
//! that the page's script reads.

use serde_json::{Value, json};

use super::super::markup::escaped;
use super::figures::{Seconds, signed_seconds, thousands};
use super::run::{HeldPeriod, Run, Segment, Stop, Unit, UnitAttention};
use super::timeline;
use crate::text::units::join_words;
use crate::text::{Language, Millis};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Above this number, dots are drawn smaller.
const MANY: usize = 1200;

/// A segment with everything known about its target words.
struct Card<'a> {
    number: usize,
    segment: &'a Segment,
    units: Vec<Unit>,
    stops: Vec<Stop>,
}

/// The page for all runs of the file `name`.
pub(super) fn page(name: &str, runs: &[Run]) -> String {
    let mut body = String::new();
    for (at, run) in runs.iter().enumerate() {
        run_html(&mut body, run, at, runs.len(), name);
    }
    // The frame's own parts are filled in first, so text that a model wrote is never searched for
    // slots.
    let title = runs.first().map_or(String::new(), |run| format!("{} · ", languages(run)));
    let (head, tail) = PAGE.split_once("{{body}}").unwrap_or((PAGE, ""));
    let head = head.replace("{{style}}", STYLE).replace("{{title}}", &format!("{title}{}", escaped(name)));
    let tail = tail.replace("{{script}}", SCRIPT);
    [head, body, tail].concat()
}

fn run_html(out: &mut String, run: &Run, at: usize, of: usize, name: &str) {
    let cards = cards(run);
    let several = if of > 1 { format!(" · run {} of {of}", at + 1) } else { String::new() };
    out.push_str(&format!(
        "<main class=\"run\">\n<header>\n<p class=\"kicker\">alignatt {} · {}{several}</p>\n<h1>{}</h1>\n",
        escaped(&run.start.version),
        escaped(name),
        languages(run)
    ));
    out.push_str(&setup(run));
    out.push_str(&totals(run, &cards));
    out.push_str("</header>\n");
    for note in notes(run) {
        out.push_str(&format!("<p class=\"note\">{}</p>\n", escaped(&note)));
    }
    if run.is_captured() {
        out.push_str(&overview(run, &cards, at));
    }
    out.push_str(&legend(run));
    for card in &cards {
        card_html(out, run, card, at);
    }
    out.push_str("</main>\n");
}

fn cards<'a>(run: &'a Run) -> Vec<Card<'a>> {
    let language = run.start.target_language.unwrap_or(Language::ENGLISH);
    let segments = run.segments.iter().enumerate().filter(|(_, segment)| !segment.is_empty());
    let card = |(number, segment): (usize, &'a Segment)| {
        let (units, stops) = (segment.units(language), segment.stops(language));
        Card { number, segment, units, stops }
    };
    segments.map(card).collect()
}

fn languages(run: &Run) -> String {
    let source = run.start.source_language.english_name();
    match run.start.target_language {
        Some(target) => format!("{source} → {}", target.english_name()),
        None => source.to_owned(),
    }
}

fn setup(run: &Run) -> String {
    let start = &run.start;
    let chunk = format!("{} ms", start.chunk_ms.0);
    let mut rows: Vec<(&str, &str)> = start.asr.as_deref().map(|asr| ("Recognizer", asr)).into_iter().collect();
    rows.extend(start.aligner.as_deref().map(|aligner| ("Aligner", aligner)));
    rows.extend(start.mt.as_deref().map(|mt| ("Translator", mt)));
    rows.extend(start.file.as_deref().map(|file| (if start.asr.is_some() { "Sound" } else { "Text" }, file)));
    rows.extend(start.policy.as_deref().map(|policy| ("Policy", policy)));
    rows.extend([("Chunk", chunk.as_str()), ("Device", start.device.as_str())]);
    let rows: Vec<String> =
        rows.iter().map(|(what, value)| format!("<div><dt>{what}</dt><dd>{}</dd></div>", escaped(value))).collect();
    format!("<dl class=\"setup\">{}</dl>\n", rows.concat())
}

/// Notes that a reader must know before trusting the page.
fn notes(run: &Run) -> Vec<String> {
    let mut notes = run.warnings.clone();
    match &run.end {
        None => notes.push("The file ends before the run does: the last segment may be incomplete.".to_owned()),
        Some(end) if end.interrupted => {
            notes.push("The run was interrupted: the last segment may be incomplete.".to_owned());
        }
        Some(_) => {}
    }
    match (&run.start.policy, run.start.target_language.is_some(), run.is_captured()) {
        (_, false, _) => notes.push("Nothing was translated in this run: only the source is shown.".to_owned()),
        (policy, true, false) => {
            let policy = policy.as_ref().map_or(String::new(), |policy| format!(" (policy {policy})"));
            notes.push(format!(
                "No attention was captured in this run{policy}: target words are below the moment when they were shown, and it is not known what they rest on."
            ));
        }
        _ => {}
    }
    notes
}

/// Sound heard from the end of the word that a unit rests on to the moment when the unit was shown,
/// in ms. It is negative where the unit was shown before that word ended.
fn lag(unit: &Unit, segment: &Segment) -> Option<f64> {
    let word = segment.words.get(unit.attention.as_ref()?.word?)?;
    Some(unit.at.0 as f64 - word.end_ms.0 as f64)
}

fn lags<'a>(card: &'a Card<'_>) -> impl Iterator<Item = f64> + 'a {
    card.units.iter().filter_map(|unit| lag(unit, card.segment))
}

/// The value below which the given share of all values lies.
fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((last as f64 * share).round() as usize).copied()
}

fn totals(run: &Run, cards: &[Card<'_>]) -> String {
    let units: usize = cards.iter().map(|card| card.units.len()).sum();
    let words: usize = cards.iter().map(|card| card.segment.words.len()).sum();
    let mut tiles = vec![(
        "Sound".to_owned(),
        Seconds(run.heard, 0).to_string(),
        format!(
            "{} {}, {} words",
            thousands(cards.len() as u64),
            if cards.len() == 1 { "segment" } else { "segments" },
            thousands(words as u64)
        ),
    )];
    if let Some(target) = run.start.target_language {
        let what = if target.counts_characters() { "characters and numbers" } else { "words" };
        tiles.push(("Shown".to_owned(), thousands(units as u64), format!("{} {what}", target.english_name())));
    }
    let mut all: Vec<f64> = cards.iter().flat_map(lags).collect();
    if let (Some(middle), Some(late)) = (quantile(&mut all, 0.5), quantile(&mut all, 0.9)) {
        tiles.push((
            "Lag".to_owned(),
            signed_seconds(middle),
            format!("median; nine in ten within {}", signed_seconds(late)),
        ));
    }
    let mut waits: Vec<f64> = cards
        .iter()
        .flat_map(|card| &card.units)
        .filter_map(|unit| Some((unit.at - unit.held.first()?.from).0 as f64))
        .collect();
    if let Some(wait) = quantile(&mut waits, 0.5) {
        let share = 100.0 * waits.len() as f64 / units.max(1) as f64;
        tiles.push((
            "Held first".to_owned(),
            format!("{share:.0} %"),
            format!("of them, for {} (median)", signed_seconds(wait)),
        ));
    }
    if let Some(end) = &run.end {
        let asked = end.computed_tokens + end.saved_tokens;
        if asked > 0 {
            let share = 100.0 * end.saved_tokens as f64 / asked as f64;
            let rest = format!("{} positions of {} computed", thousands(end.computed_tokens), thousands(asked));
            tiles.push(("Translator saved".to_owned(), format!("{share:.0} %"), rest));
        }
        let speed = format!("computing per sound; {:.0} tokens/s", end.tokens_per_second);
        tiles.push(("Real-time factor".to_owned(), format!("{:.2}", end.rtf), speed));
    }
    let tile = |(what, value, rest): &(String, String, String)| {
        format!("<div class=\"tile\"><dt>{what}</dt><dd><b>{value}</b><span>{rest}</span></dd></div>")
    };
    format!("<dl class=\"tiles\">{}</dl>\n", tiles.iter().map(tile).collect::<String>())
}

/// A chart of the lag of every unit over the whole run. Each unit is a dot, and segments are links.
fn overview(run: &Run, cards: &[Card<'_>], at: usize) -> String {
    let mut all: Vec<f64> = cards.iter().flat_map(lags).collect();
    let Some(most) = quantile(&mut all, 1.0) else {
        return String::new();
    };
    let least = quantile(&mut all, 0.0).unwrap_or(0.0).min(0.0);
    let middle = quantile(&mut all, 0.5).unwrap_or(0.0);
    let (low, high) = ((least / 1000.0).floor(), (most / 1000.0).ceil().max(1.0));
    let x = |time: Millis| 1000.0 * time.0 as f64 / run.heard.0.max(1) as f64;
    let y = |lag: f64| 100.0 * (1.0 - (lag / 1000.0 - low) / (high - low));
    let mut out = String::from(
        "<section class=\"overview\"><h2>Lag of every word</h2><div class=\"plot\"><svg viewBox=\"0 0 1000 100\" \
         preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Lag of every target word over the run\">\n",
    );
    let (mut marks, mut dots, mut lines) = (String::new(), String::new(), String::new());
    let step = ((high - low) / 4.0).ceil().max(1.0);
    let mut second = low;
    while second <= high {
        let height = y(second * 1000.0);
        lines.push_str(&format!("M0 {height:.1}H1000"));
        marks.push_str(&format!("<span style=\"top:{height:.1}%\">{second:.0} s</span>"));
        second += step;
    }
    for card in cards {
        let times = card.segment.words.iter().map(|word| word.start_ms).chain(card.units.iter().map(|unit| unit.at));
        let (from, to) = (times.clone().min().unwrap_or_default(), times.max().unwrap_or_default());
        out.push_str(&format!(
            "<a href=\"#s{at}-{0}\" tabindex=\"-1\"><rect x=\"{1:.1}\" width=\"{2:.1}\" height=\"100\"/><title>Segment {0}</title></a>\n",
            card.number,
            x(from),
            x(to) - x(from),
        ));
        for (unit, lag) in card.units.iter().filter_map(|unit| Some((unit, lag(unit, card.segment)?))) {
            dots.push_str(&format!("M{:.1} {:.1}h0", x(unit.at), y(lag)));
        }
    }
    out.push_str(&format!(
        "<path class=\"grid\" d=\"{lines}\"/><path class=\"median\" d=\"M0 {0:.1}H1000\"/><path class=\"dots{2}\" d=\"{dots}\"/></svg>{marks}</div>\
         <p class=\"ends\"><span>0 s</span><span>sound heard</span><span>{1}</span></p>\
         <p class=\"hint\">From the end of the source word it rests on to the moment it was shown, in sound heard: computing comes on top. The line is the median.</p></section>\n",
        y(middle),
        Seconds(run.heard, 0),
        if all.len() > MANY { " many" } else { "" },
    ));
    out
}

fn legend(run: &Run) -> String {
    if run.start.target_language.is_none() {
        return String::new();
    }
    let mut items = vec!["<li><i class=\"key bar\"></i>source word, where it was said</li>"];
    items.push("<li><i class=\"key shown\"></i>target word, below the moment it was shown</li>");
    if run.is_captured() {
        items.push("<li><i class=\"key held\"></i>word at which a draft was held (+ words after it)</li>");
        items.push("<li><i class=\"key line\"></i>the source word it rests on</li>");
    }
    let mut out = format!("<ul class=\"legend\">{}</ul>\n", items.concat());
    if run.is_captured() {
        out.push_str(
            "<details class=\"reasons\"><summary>Why a word is held</summary><dl>\
             <div><dt>frontier</dt><dd>it rests on source words that have not been heard, or only just</dd></div>\
             <div><dt>after-held</dt><dd>an earlier word is held</dd></div>\
             <div><dt>open-unit</dt><dd>its word is not whole yet</dd></div>\
             <div><dt>no-row</dt><dd>no attention was captured for it</dd></div>\
             <div><dt>not-finite</dt><dd>its attention is not a number</dd></div></dl>\
             <p><b>heard</b>, <b>unheard</b>, <b>prompt</b> and <b>draft</b> are the shares of its attention on source words that count as heard, on the others, on the rest of the prompt, and on the draft itself.</p></details>\n\
             <p class=\"hint script\">Point at a word, tap it, or reach it with Tab and the arrow keys to see what it attended to.</p>\n",
        );
    }
    out
}

fn card_html(out: &mut String, run: &Run, card: &Card<'_>, at: usize) {
    let Card { number, segment, units, stops } = card;
    let span = match (segment.words.first(), segment.words.last()) {
        (Some(first), Some(last)) => format!("{} – {}", Seconds(first.start_ms, 2), Seconds(last.end_ms, 2)),
        _ => String::new(),
    };
    let mut all: Vec<f64> = lags(card).collect();
    let lag = quantile(&mut all, 0.5).map_or(String::new(), |lag| format!("lag {}", signed_seconds(lag)));
    out.push_str(&format!(
        "<section class=\"segment\" id=\"s{at}-{number}\">\n<h2>Segment {number}<span>{span}</span><span class=\"lag\">{lag}</span></h2>\n"
    ));
    let source = join_words(segment.words.iter().map(|word| word.text.as_str()));
    out.push_str(&sentence("said", run.start.source_language, &source));
    if let Some(target) = run.start.target_language {
        out.push_str(&sentence("put", target, &segment.text));
    }
    out.push_str("<div class=\"scroll\">\n");
    out.push_str(&timeline::svg(segment, units, stops, &format!("Segment {number} over time")));
    out.push_str("</div>\n");
    if !stops.is_empty() || units.iter().any(|unit| unit.attention.is_some()) {
        out.push_str("<details class=\"matrix script\"><summary>Attention matrix</summary></details>\n");
    }
    if run.start.target_language.is_some() {
        out.push_str(&format!("<script type=\"application/json\">{}</script>\n", data(card)));
    }
    out.push_str("</section>\n");
}

fn sentence(class: &str, language: Language, text: &str) -> String {
    format!("<p class=\"{class}\" lang=\"{language}\" dir=\"auto\">{}</p>\n", escaped(text))
}

/// Data of a segment for the script: source words `[text, end]`, units `[text, at, attention,
/// periods held]` and stops `[text, at, attention, why, accessible words, words after it]`. The
/// attention is `[word, masses, on]`, in thousandths.
fn data(card: &Card<'_>) -> String {
    let words: Vec<Value> = card.segment.words.iter().map(|word| json!([word.text, word.end_ms])).collect();
    let unit = |unit: &Unit| {
        let period = |period: &HeldPeriod| json!([period.from, period.to, period.times, period.why]);
        let held: Vec<Value> = unit.held.iter().map(period).collect();
        json!([unit.text, unit.at, unit.attention.as_ref().map(attention), held])
    };
    let stop = |stop: &Stop| {
        json!([
            stop.text,
            stop.at,
            attention(&stop.attention),
            stop.why,
            stop.heard,
            join_words(stop.following.iter().map(String::as_str))
        ])
    };
    let (units, stops) = (card.units.iter().map(unit), card.stops.iter().map(stop));
    let data = json!({ "s": words, "t": units.collect::<Vec<_>>(), "h": stops.collect::<Vec<_>>() });
    data.to_string().replace('<', "\\u003c")
}

fn attention(attention: &UnitAttention) -> Value {
    let mille = |mass: f32| (mass * 1000.0).round() as i64;
    let on: Vec<Value> = attention.on.iter().map(|&(word, mass)| json!([word, mille(mass)])).collect();
    json!([attention.word, attention.mass.map(mille), on])
}
