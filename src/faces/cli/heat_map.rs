//! A picture of the calibration: the score of every head, as one self-contained SVG for light and
//! dark backgrounds.
//!
//! Layers go down, heads go across. All cells have one colour, which is more opaque for a higher
//! score, so the same file is readable on either background. The chosen heads are outlined and
//! listed. Hovering over a cell shows its score.

use std::fmt::{self, Write};

use super::markup::escaped;

/// The data to draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeatMap<'a> {
    pub title: &'a str,
    /// A line below the title; may be empty.
    pub note: &'a str,
    /// `[layers][heads]`, 0 to 1. A value that is not a number is drawn as an empty cell.
    pub scores: &'a [Vec<f64>],
    /// (layer, head), best first.
    pub chosen: &'a [(usize, usize)],
}

const CELL: (usize, usize) = (30, 15);
/// Position of the first cell.
const ORIGIN: (usize, usize) = (64, 92);
/// Width to the right of the cells, for the scale and the list of chosen heads.
const LEGEND_WIDTH: usize = 192;
const SCALE: usize = 110;
const LINE: usize = 18;

const STYLE: &str = "\
text{font:11px system-ui,sans-serif;fill:#52525b}\
.title{font-size:15px;font-weight:600;fill:#18181b}\
.strong{font-weight:600;fill:#18181b}\
.end{text-anchor:end;font-variant-numeric:tabular-nums}.middle{text-anchor:middle}\
.ground{fill:#fff}.cell{fill:#1e40af;stroke:#e4e4e7;stop-color:#1e40af}\
.chosen{fill:none;stroke:#ea580c;stroke-width:2.5}\
@media(prefers-color-scheme:dark){\
text{fill:#a1a1aa}.title,.strong{fill:#f4f4f5}\
.ground{fill:#18181b}.cell{fill:#7dd3fc;stroke:#3f3f46;stop-color:#7dd3fc}.chosen{stroke:#fb923c}}";

/// The picture as the text of an SVG file.
pub(super) fn svg(map: &HeatMap<'_>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = draw(map, &mut out);
    out
}

fn draw(map: &HeatMap<'_>, out: &mut String) -> fmt::Result {
    let heads = map.scores.iter().map(Vec::len).max().unwrap_or(0);
    let (left, top) = ORIGIN;
    let (right, bottom) = (left + heads * CELL.0, top + map.scores.len() * CELL.1);
    let list = top + SCALE + 3 * LINE;
    let width = (right + LEGEND_WIDTH).max(48 + (9 * map.title.chars().count()).max(6 * map.note.chars().count()));
    let height = bottom.max(list + map.chosen.len() * LINE) + 24;
    let title = escaped_text(map.title);
    write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n"
    )?;
    text(out, (24, 32), "title", map.title)?;
    text(out, (24, 52), "", map.note)?;

    text(out, (left + heads * CELL.0 / 2, top - 22), "middle", "head")?;
    for head in 0..heads {
        text(out, (left + head * CELL.0 + CELL.0 / 2, top - 7), "middle", &head.to_string())?;
    }
    text(out, (left - 8, top - 7), "end", "layer")?;
    for (layer, scores) in map.scores.iter().enumerate() {
        text(out, (left - 8, top + layer * CELL.1 + 11), "end", &layer.to_string())?;
        for (head, &score) in scores.iter().enumerate() {
            let (x, y) = (left + head * CELL.0, top + layer * CELL.1);
            let opacity = if score.is_finite() { score.clamp(0.0, 1.0) } else { 0.0 };
            let label = if score.is_finite() { format!("{score:.3}") } else { "no score".to_owned() };
            writeln!(
                out,
                "<rect class=\"cell\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill-opacity=\"{opacity:.3}\">\
                 <title>layer {layer}, head {head}: {label}</title></rect>",
                CELL.0, CELL.1
            )?;
        }
    }

    let legend = right + 28;
    text(out, (legend, top - 7), "strong", "Score")?;
    write!(
        out,
        "<linearGradient id=\"scale\" x1=\"0\" y1=\"1\" x2=\"0\" y2=\"0\">\
         <stop class=\"cell\" offset=\"0\" stop-opacity=\"0\"/><stop class=\"cell\" offset=\"1\"/></linearGradient>\n\
         <rect x=\"{legend}\" y=\"{top}\" width=\"14\" height=\"{SCALE}\" style=\"fill:url(#scale)\" class=\"cell\"/>\n"
    )?;
    for (at, label) in ["1.0", "0.5", "0.0"].into_iter().enumerate() {
        text(out, (legend + 22, top + 4 + at * SCALE / 2), "", label)?;
    }
    if !map.chosen.is_empty() {
        text(out, (legend, list - LINE), "strong", "Chosen heads")?;
    }
    for (at, &(layer, head)) in map.chosen.iter().enumerate() {
        let score = map.scores.get(layer).and_then(|row| row.get(head));
        text(out, (legend, list + at * LINE), "", &format!("layer {layer}, head {head}"))?;
        if let Some(score) = score.filter(|score| score.is_finite()) {
            text(out, (legend + 140, list + at * LINE), "strong end", &format!("{score:.3}"))?;
        }
        if score.is_some() {
            writeln!(
                out,
                "<rect class=\"chosen\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" pointer-events=\"none\"/>",
                left + head * CELL.0,
                top + layer * CELL.1,
                CELL.0,
                CELL.1
            )?;
        }
    }
    out.write_str("</svg>\n")
}

fn text(out: &mut String, (x, y): (usize, usize), class: &str, text: &str) -> fmt::Result {
    writeln!(out, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{}</text>", escaped_text(text))
}

/// Escapes text for the picture, without the characters that XML does not allow.
fn escaped_text(text: &str) -> String {
    escaped(&text.replace(|c: char| c.is_control() || c == '\u{FFFE}' || c == '\u{FFFF}', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether every open tag is closed in turn.
    fn well_formed(svg: &str) -> bool {
        let mut open: Vec<&str> = Vec::new();
        for tag in svg.split('<').skip(1) {
            let Some((tag, _)) = tag.split_once('>') else { return false };
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or("");
            if tag.starts_with('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        open.is_empty()
    }

    #[test]
    fn every_head_has_its_cell() {
        let scores: Vec<Vec<f64>> = (0..42).map(|l| (0..8).map(|h| f64::from(l * 8 + h) / 336.0).collect()).collect();
        let svg = svg(&HeatMap { title: "en-de", note: "903 pairs", scores: &scores, chosen: &[(11, 3), (6, 5)] });
        assert!(well_formed(&svg));
        for (layer, row) in scores.iter().enumerate() {
            for (head, score) in row.iter().enumerate() {
                assert!(svg.contains(&format!("<title>layer {layer}, head {head}: {score:.3}</title>")));
            }
        }
        assert_eq!(svg.matches("class=\"chosen\"").count(), 2);
    }

    #[test]
    fn any_input_makes_a_picture() {
        let scores = vec![vec![f64::NAN, 7.0], vec![], vec![-1.0]];
        let map = HeatMap { title: "a<b & \"c\"\u{0}", note: "", scores: &scores, chosen: &[(9, 9), (0, 1)] };
        let drawn = svg(&map);
        assert!(well_formed(&drawn) && drawn.contains("<title>a&lt;b &amp; &quot;c&quot;</title>"));
        assert!(drawn.contains("head 0: no score") && drawn.contains("fill-opacity=\"1.000\""));
        assert_eq!(drawn.matches("class=\"chosen\"").count(), 1);
        assert!(well_formed(&svg(&HeatMap { scores: &[], chosen: &[], ..map })));
    }
}
