//! A picture of one segment over the sound heard. Source words are where they were said. Target
//! words are below the moment when they were shown; hollow ones are where a draft was stopped. A
//! line leads from each to the source word that it rests on.
//!
//! The page's script finds words by their order: `.s` are source words, `.t` units, `.h` stops.

use std::collections::BTreeMap;
use std::ops::Range;

use unicode_width::UnicodeWidthChar;

use super::super::markup::escaped;
use super::figures::Seconds;
use super::run::{Segment, Stop, Unit};
use crate::text::Millis;

/// Pixels per second.
const SCALE: f64 = 180.0;
/// Space on both sides, in pixels.
const MARGIN: f64 = 14.0;
/// The narrowest width of a column of words, in pixels.
const COLUMN: f64 = 104.0;
/// The widest width, where no column follows.
const LAST_COLUMN: f64 = 300.0;
/// Height of a line of target words, and of their boxes.
const LINE: f64 = 27.0;
const BOX: f64 = 22.0;
/// Height of a line of source words, and the most lines where words are crowded.
const LANE: f64 = 17.0;
const LANES: usize = 6;
/// Height of the source words' bars.
const BAR: f64 = 8.0;

/// What appeared at one moment: indices of units and of a stop.
#[derive(Default)]
struct Column {
    units: Vec<usize>,
    stop: Option<usize>,
}

/// A word's box.
struct Placed {
    x: f64,
    y: f64,
    width: f64,
    text: String,
    /// It starts a line below another box.
    below: bool,
}

/// The picture of a segment; empty where nothing was heard or shown.
pub(super) fn svg(segment: &Segment, units: &[Unit], stops: &[Stop], name: &str) -> String {
    let columns = columns(units, stops);
    let moments = columns.keys().copied();
    let Some(first) = segment.words.iter().map(|word| word.start_ms).chain(moments).min() else {
        return String::new();
    };
    let origin = Millis(first.0 - first.0 % 500);
    let x = |at: Millis| MARGIN + (at - origin).seconds() * SCALE;

    let (labels, lanes) = label_places(segment, &x);
    let track = 24.0 + LANE * lanes as f64;
    let top = track + BAR + 44.0;
    let (placed, bottom) = place(&columns, units, stops, top, &x);

    let said = segment.words.last().map_or(0.0, |word| x(word.end_ms));
    let label_ends = segment.words.iter().zip(&labels).map(|(word, label)| label.0 + text_width(&word.text, 12.0));
    let boxes = placed.values().map(|p| p.x + p.width);
    let width = boxes.chain(label_ends).chain([said]).fold(0.0, f64::max) + MARGIN;
    let (width, height) = (width.ceil(), bottom);

    let mut out = format!(
        "<svg class=\"time\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         role=\"group\" aria-label=\"{}\">\n",
        escaped(name)
    );
    out.push_str(&axis(origin, width));
    out.push_str(&moment_lines(&columns, &placed, track, &x));
    out.push_str(&links(segment, units, stops, &placed, track + BAR, &x));
    let base = |lane: usize| track - 5.0 - LANE * lane as f64;
    let raised = segment.words.iter().zip(&labels).filter(|(_, label)| label.1 > 0);
    let flags =
        raised.map(|(word, label)| format!("M{:.1} {:.0}V{track:.0}", x(word.start_ms) + 0.5, base(label.1) - 9.0));
    out.push_str(&format!("<path class=\"flag\" d=\"{}\"/>\n", flags.collect::<String>()));
    for (word, &(label, lane)) in segment.words.iter().zip(&labels) {
        let (left, right) = (x(word.start_ms), x(word.end_ms));
        out.push_str(&format!(
            "<g class=\"s\"><rect x=\"{left:.1}\" y=\"{track:.0}\" width=\"{:.1}\" height=\"{BAR}\"/>\
             <text x=\"{label:.0}\" y=\"{:.0}\">{}</text></g>\n",
            (right - left - 1.5).max(2.0),
            base(lane),
            escaped(&clipped(&word.text, 40)),
        ));
    }
    for (key, place) in &placed {
        let class = match (key.stop, place.below) {
            (true, true) => "h below",
            (true, false) => "h",
            (false, true) => "t below",
            (false, false) => "t",
        };
        out.push_str(&format!(
            "<g class=\"{class}\"><rect x=\"{:.0}\" y=\"{:.0}\" width=\"{:.0}\" height=\"{BOX}\" rx=\"5\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            place.x,
            place.y,
            place.width,
            place.x + 7.0,
            place.y + 15.5,
            escaped(&place.text),
        ));
        if key.stop {
            out.push_str(&format!(
                "<text class=\"why\" x=\"{:.0}\" y=\"{:.0}\">{}</text>",
                place.x + 2.0,
                place.y + BOX + 11.0,
                escaped(&why(&stops[key.at])),
            ));
        }
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn why(stop: &Stop) -> String {
    let reason = clipped(&stop.why, 20);
    if stop.following.is_empty() { reason } else { format!("{reason} +{}", stop.following.len()) }
}

/// The first characters of a text that is too long to draw.
fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn columns(units: &[Unit], stops: &[Stop]) -> BTreeMap<Millis, Column> {
    let mut columns: BTreeMap<Millis, Column> = BTreeMap::new();
    for (at, unit) in units.iter().enumerate() {
        columns.entry(unit.at).or_default().units.push(at);
    }
    for (at, stop) in stops.iter().enumerate() {
        columns.entry(stop.at).or_default().stop = Some(at);
    }
    columns
}

/// Key of a box. Units come before stops, each in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    stop: bool,
    at: usize,
}

/// The position and line of each source word's text, and the number of lines.
fn label_places(segment: &Segment, x: &impl Fn(Millis) -> f64) -> (Vec<(f64, usize)>, usize) {
    let mut ends = [f64::MIN; LANES];
    let mut places = Vec::with_capacity(segment.words.len());
    for word in &segment.words {
        let left = x(word.start_ms);
        let free = ends.iter().position(|&end| end + 5.0 <= left);
        let lane = free.unwrap_or_else(|| (0..LANES).min_by(|&a, &b| ends[a].total_cmp(&ends[b])).unwrap_or(0));
        let text_left = if lane == 0 { left } else { left + 4.0 };
        ends[lane] = text_left + text_width(&clipped(&word.text, 40), 12.0);
        places.push((text_left, lane));
    }
    let lanes = places.iter().map(|place| place.1 + 1).max().unwrap_or(1);
    (places, lanes)
}

/// All boxes, and the bottom of the lowest one. The words of a column flow like text below its
/// moment. Where the column before reaches that far, they go below its words.
fn place(
    columns: &BTreeMap<Millis, Column>,
    units: &[Unit],
    stops: &[Stop],
    top: f64,
    x: &impl Fn(Millis) -> f64,
) -> (BTreeMap<Key, Placed>, f64) {
    let mut placed = BTreeMap::new();
    let mut taken: Vec<(Range<f64>, f64)> = Vec::new();
    let mut bottom = top;
    let mut rows = columns.iter().peekable();
    while let Some((&at, column)) = rows.next() {
        let left = x(at);
        let room = rows.peek().map_or(LAST_COLUMN, |next| x(*next.0) - left - 8.0).clamp(COLUMN, LAST_COLUMN);
        let mut flow = Flow { left, room, x: 0.0, y: 0.0, widest: 0.0, boxes: Vec::new() };
        for &at in &column.units {
            flow.set(Key { stop: false, at }, clipped(&units[at].text, 40), 0.0);
        }
        if let Some(at) = column.stop {
            flow.new_line();
            flow.set(Key { stop: true, at }, clipped(&stops[at].text, 40), text_width(&why(&stops[at]), 10.0));
        }
        let extra = if column.stop.is_some() { 15.0 } else { 0.0 };
        let (right, height) = (left + flow.widest, flow.y + LINE + extra);
        taken.retain(|(across, _)| across.end > left);
        let y = taken.iter().filter(|(across, _)| across.start < right).map(|(_, low)| *low).fold(top, f64::max);
        taken.push((left - 4.0..right + 4.0, y + height));
        bottom = bottom.max(y + height);
        placed.extend(flow.boxes.into_iter().map(|(key, place)| (key, Placed { y: place.y + y, ..place })));
    }
    (placed, bottom)
}

/// The words of one column, set line by line.
struct Flow {
    left: f64,
    room: f64,
    x: f64,
    y: f64,
    widest: f64,
    boxes: Vec<(Key, Placed)>,
}

impl Flow {
    fn set(&mut self, key: Key, text: String, at_least: f64) {
        let width = text_width(&text, 13.5) + 14.0;
        if self.x > 0.0 && self.x + width > self.room {
            self.new_line();
        }
        self.boxes.push((
            key,
            Placed { x: self.left + self.x, y: self.y, width, text, below: self.x == 0.0 && self.y > 0.0 },
        ));
        self.widest = self.widest.max(self.x + width.max(at_least));
        self.x += width + 3.0;
    }

    fn new_line(&mut self) {
        if self.x > 0.0 {
            (self.x, self.y) = (0.0, self.y + LINE);
        }
    }
}

fn axis(origin: Millis, width: f64) -> String {
    let mut ticks = String::new();
    let mut text = String::new();
    let seconds = (width - 2.0 * MARGIN) / SCALE;
    // One tick per half second, or fewer where a damaged file would have millions.
    let step = 500 * (seconds / 120.0).ceil().max(1.0) as u64;
    for time in (0..1000).map(|tick| step.saturating_mul(tick)).take_while(|&time| time as f64 <= seconds * 1000.0) {
        let x = MARGIN + Millis(time).seconds() * SCALE;
        let at = origin + Millis(time);
        let whole = at.0.is_multiple_of(1000);
        ticks.push_str(&format!("M{x:.0} 0v{}", if whole { 6 } else { 3 }));
        if whole && x + 30.0 < width {
            text.push_str(&format!("<text class=\"tick\" x=\"{:.0}\" y=\"10\">{}</text>", x + 3.0, Seconds(at, 0)));
        }
    }
    format!("<path class=\"axis\" d=\"{ticks}\"/>{text}\n")
}

/// Lines from the source words down to the words of each moment.
fn moment_lines(
    columns: &BTreeMap<Millis, Column>,
    placed: &BTreeMap<Key, Placed>,
    track: f64,
    x: &impl Fn(Millis) -> f64,
) -> String {
    let mut lines = String::new();
    for (&at, column) in columns {
        let unit = column.units.first().map(|&at| Key { stop: false, at });
        let first = unit.or(column.stop.map(|at| Key { stop: true, at }));
        if let Some(first) = first.and_then(|key| placed.get(&key)) {
            lines.push_str(&format!("M{:.0} {:.0}V{:.0}", x(at), track, first.y));
        }
    }
    format!("<path class=\"moment\" d=\"{lines}\"/>\n")
}

/// A line from each box to the source word that it rests on.
fn links(
    segment: &Segment,
    units: &[Unit],
    stops: &[Stop],
    placed: &BTreeMap<Key, Placed>,
    from: f64,
    x: &impl Fn(Millis) -> f64,
) -> String {
    let mut lines = [String::new(), String::new()];
    for (key, place) in placed {
        let attention = if key.stop { Some(&stops[key.at].attention) } else { units[key.at].attention.as_ref() };
        let Some(word) = attention.and_then(|l| segment.words.get(l.word?)) else { continue };
        let start = (x(word.start_ms) + x(word.end_ms)) / 2.0;
        lines[usize::from(key.stop)].push_str(&link(start, from, place));
    }
    let [shown, held] = lines;
    format!("<path class=\"link\" d=\"{shown}\"/><path class=\"link held\" d=\"{held}\"/>\n")
}

/// A line to the left side of a box below others, and to the top of any other box.
fn link(start: f64, from: f64, to: &Placed) -> String {
    let middle = to.y + BOX / 2.0;
    let bend = from + (to.y - from) * 0.6;
    if to.below {
        let near = to.x - (to.x - start).clamp(0.0, 60.0) / 2.0;
        return format!("M{start:.0} {from:.0}C{start:.0} {bend:.0} {near:.0} {middle:.0} {:.0} {middle:.0}", to.x);
    }
    let end = to.x + to.width / 2.0;
    format!("M{start:.0} {from:.0}C{start:.0} {bend:.0} {end:.0} {bend:.0} {end:.0} {:.0}", to.y)
}

/// Approximate width of a text. It is on the large side, because fonts differ.
fn text_width(text: &str, size: f64) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | 'I' | '.' | ',' | ':' | ';' | '\'' | '!' | '|' | '(' | ')' | ' ' => 0.36,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '—' => 0.92,
        c if c.is_uppercase() || c.is_ascii_digit() => 0.67,
        c => [0.0, 0.59, 1.02][c.width().unwrap_or(0).min(2)],
    };
    text.chars().map(em).sum::<f64>() * size
}
