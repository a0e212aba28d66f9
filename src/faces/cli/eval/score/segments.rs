//! The segments of recordings: a list with `wav`, `offset` and `duration` (in seconds) each, as
//! YAML or, in a file named `.json`, as JSON. Other fields are left out.

use std::path::Path;

use saphyr_parser::{Event, Parser, Span};
use serde::Deserialize;

use super::super::super::error::CliError;
use super::read_text;

/// A segment of a recording; its times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    /// The file and the line, or the number of the segment in a JSON file.
    pub(crate) place: String,
    pub(crate) wav: String,
    pub(crate) offset: f64,
    pub(crate) length: f64,
}

/// Reads the segments at `path`; there is at least one.
pub(crate) fn read(path: &Path) -> Result<Vec<Segment>, CliError> {
    let text = read_text(path)?;
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let segments = if json { of_json(&text) } else { of_yaml(&text) };
    let named = |what: String| CliError::Failed(format!("{}{what}", path.display()).into());
    let mut segments = segments.map_err(named)?;
    segments.iter_mut().for_each(|segment| segment.place = format!("{}{}", path.display(), segment.place));
    match segments.is_empty() {
        true => Err(named(" has no segment in it".to_owned())),
        false => Ok(segments),
    }
}

/// The fields of a segment as they were found.
#[derive(Default, Deserialize)]
struct Fields {
    wav: Option<String>,
    offset: Option<f64>,
    duration: Option<f64>,
}

impl Fields {
    fn segment(self, place: String) -> Result<Segment, String> {
        let missing = |name: &str| format!("{place}: `{name}` is missing");
        let wav = self.wav.ok_or_else(|| missing("wav"))?;
        let offset = self.offset.ok_or_else(|| missing("offset"))?;
        let duration = self.duration.ok_or_else(|| missing("duration"))?;
        if !(offset.is_finite() && offset >= 0.0 && duration.is_finite() && duration >= 0.0) {
            return Err(format!("{place}: `offset` and `duration` must not be negative"));
        }
        Ok(Segment { place, wav, offset: offset * 1000.0, length: duration * 1000.0 })
    }
}

/// The segments in a text of JSON. Errors begin with the place in the file.
fn of_json(text: &str) -> Result<Vec<Segment>, String> {
    let list: Vec<Fields> = serde_json::from_str(text).map_err(|error| format!(": {error}"))?;
    list.into_iter().enumerate().map(|(at, fields)| fields.segment(format!(", segment {}", at + 1))).collect()
}

/// The segments in a text of YAML. Errors begin with the place in the file.
fn of_yaml(text: &str) -> Result<Vec<Segment>, String> {
    let mut events = Events { parser: Parser::new_from_str(text), line: 1 };
    match events.next()? {
        Event::SequenceStart(..) => {}
        Event::StreamEnd => return Ok(Vec::new()),
        _ => return Err(events.wrong("a list of segments is needed")),
    }
    let mut segments = Vec::new();
    loop {
        match events.next()? {
            Event::SequenceEnd => return Ok(segments),
            Event::MappingStart(..) => segments.push(segment(&mut events)?),
            _ => return Err(events.wrong("a segment must have `wav`, `offset` and `duration`")),
        }
    }
}

/// The segment whose mapping has just begun.
fn segment(events: &mut Events<'_>) -> Result<Segment, String> {
    let place = format!(":{}", events.line);
    let mut fields = Fields::default();
    loop {
        let name = match events.next()? {
            Event::MappingEnd => return fields.segment(place),
            Event::Scalar(name, ..) => name,
            _ => return Err(events.wrong("a field's name must be a text")),
        };
        match name.as_ref() {
            "wav" => fields.wav = Some(events.scalar(&name)?),
            "offset" => fields.offset = Some(events.number(&name)?),
            "duration" => fields.duration = Some(events.number(&name)?),
            _ => events.skip()?,
        }
    }
}

/// What a parser of YAML finds, one after another.
struct Events<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// The line of the event that was read last.
    line: usize,
}

impl<'a> Events<'a> {
    /// The next event that says something about the data.
    fn next(&mut self) -> Result<Event<'a>, String> {
        loop {
            let Some(found) = self.parser.next_event() else { return Ok(Event::StreamEnd) };
            let (event, Span { start, .. }) =
                found.map_err(|error| format!(":{}: {}", error.marker().line(), error.info()))?;
            self.line = start.line();
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                event => return Ok(event),
            }
        }
    }

    fn scalar(&mut self, name: &str) -> Result<String, String> {
        match self.next()? {
            Event::Scalar(text, ..) => Ok(text.into_owned()),
            _ => Err(self.wrong(&format!("`{name}` must be a single value"))),
        }
    }

    fn number(&mut self, name: &str) -> Result<f64, String> {
        let text = self.scalar(name)?;
        text.trim().parse().map_err(|_| self.wrong(&format!("`{name}` is not a number: {text:?}")))
    }

    /// Skips the next value with all that is in it.
    fn skip(&mut self) -> Result<(), String> {
        let mut depth = 0usize;
        loop {
            match self.next()? {
                Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
                Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
                Event::StreamEnd => return Err(self.wrong("the file ends within a segment")),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn wrong(&self, what: &str) -> String {
        format!(":{}: {what}", self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(place: &str, wav: &str, offset: f64, length: f64) -> Segment {
        Segment { place: place.to_owned(), wav: wav.to_owned(), offset, length }
    }

    #[test]
    fn the_forms_that_are_in_use() {
        let flow = "# made by hand\n- {duration: 2.5, offset: 0.59, speaker_id: a.b, wav: a.b.wav}\r\n\n\
                    - {duration: 1, offset: 3, speaker_id: '10', wav: \"c d.wav\", more: [1, {x: 2}]}\n";
        let two = |first: &str, second: &str| {
            vec![found(first, "a.b.wav", 590.0, 2500.0), found(second, "c d.wav", 3000.0, 1000.0)]
        };
        assert_eq!(of_yaml(flow), Ok(two(":2", ":4")));
        let block =
            "---\n- wav: a.b.wav\n  offset: 0.59\n  duration: 2.5\n- duration: 1.0\n  wav: 'c d.wav'\n  offset: 3\n";
        assert_eq!(of_yaml(block), Ok(two(":2", ":5")));
        let json =
            r#"[{"wav":"a.b.wav","offset":0.59,"duration":2.5,"x":null},{"wav":"c d.wav","offset":3,"duration":1}]"#;
        assert_eq!(of_json(json), Ok(two(", segment 1", ", segment 2")));
        assert_eq!(of_yaml(json).map(|segments| segments.len()), Ok(2));
        assert_eq!(of_yaml(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_list_of_segments() {
        for (yaml, what) in [
            ("wav: a", ":1: a list of segments is needed"),
            ("- 1\n", ":1: a segment must have"),
            ("- {wav: a, offset: 1}\n", ":1: `duration` is missing"),
            ("\n- {wav: a, offset: x, duration: 1}\n", ":2: `offset` is not a number: \"x\""),
            ("- {wav: [a], offset: 1, duration: 1}\n", ":1: `wav` must be a single value"),
            ("- {wav: a, offset: -1, duration: 1}\n", ":1: `offset` and `duration` must not be negative"),
            ("- {wav: a, offset: 1, duration: .inf}\n", ":1: `duration` is not a number"),
            ("- {wav: a, offset: 1, duration: inf}\n", ":1: `offset` and `duration` must not be negative"),
            ("- {wav: a, offset: 1, duration: 1\n", ":"),
        ] {
            let found = of_yaml(yaml);
            assert!(found.as_ref().is_err_and(|error| error.starts_with(what)), "{yaml}: {found:?}");
        }
        assert!(of_json("{}").is_err());
        assert_eq!(of_json(r#"[{"wav":"a","offset":1}]"#), Err(", segment 1: `duration` is missing".to_owned()));
    }
}
