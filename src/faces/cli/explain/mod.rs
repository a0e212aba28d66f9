//! `alignatt explain FILE`: converts the events of a run, as `--format jsonl` writes them, to one
//! self-contained HTML page. It shows the source words over time, the target words with the moment
//! when each was shown, what the model attended to, and what was held and why.
//!
//! | file | what it holds |
//! |---|---|
//! | `run` | the run, rebuilt from its events, segment by segment |
//! | `timeline` | a segment as an SVG picture |
//! | `page` | the page around the pictures, and its data |
//! | `figures` | times and numbers as people read them |
//! | `page.html`, `page.css`, `page.js` | the frame; the page is complete without the script |

mod figures;
mod page;
mod run;
mod timeline;

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::inputs::Inputs;
use super::sound::is_stdin;
use super::text_file::{LINE_BYTES, TextError, TextLines};
use crate::cascade::rules::Rules;
use crate::cascade::{Event, EventKind};
use run::Run;

/// The events cannot be explained.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExplainError {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("{file} contains no events; give the output of `translate --format jsonl`")]
    Empty { file: String },
    #[error("{file}, line {line} is not an event")]
    NotAnEvent {
        file: String,
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("{file}, line {line}: {what}")]
    BrokenRule { file: String, line: usize, what: String },
}

/// Reads `file` (`-` is standard input) and writes its page to `output`. Without `output` the page
/// goes beside the file, as `.html`, or to standard output for standard input. Returns the path of
/// the page if it is a file.
pub(super) fn explain(file: &Path, output: Option<&Path>) -> Result<Option<PathBuf>, CliError> {
    let target = match output {
        Some(path) if path == Path::new("-") => None,
        Some(path) => Some(path.to_owned()),
        None if is_stdin(file) => None,
        None => Some(file.with_extension("html")),
    };
    let mut inputs = Inputs::default();
    match is_stdin(file) {
        true => inputs.add_stdin(),
        false => inputs.add(file, "FILE"),
    }
    target.iter().try_for_each(|path| inputs.protect(path, "--output"))?;
    let page = if is_stdin(file) {
        let name = "standard input";
        page_of(name, TextLines::new(io::stdin().lock(), name, LINE_BYTES))
    } else {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
        TextLines::open(file, LINE_BYTES).map_err(ExplainError::from).and_then(|lines| page_of(&name, lines))
    };
    let page = page.map_err(CliError::of)?;
    match &target {
        Some(path) => std::fs::write(path, page).map_err(|e| CliError::write_failed(&path.display().to_string(), e))?,
        None => {
            let mut out = io::stdout().lock();
            out.write_all(page.as_bytes()).and_then(|()| out.flush()).map_err(CliError::print_failed)?;
        }
    }
    Ok(target)
}

/// The page for the events in `lines`; `name` is shown as their source. A run that has no end, or
/// stops within its last line, is shown as far as it goes.
fn page_of<R: BufRead>(name: &str, mut lines: TextLines<R>) -> Result<String, ExplainError> {
    let file = || name.to_owned();
    let mut runs: Vec<Run> = Vec::new();
    let mut rules = Rules::default();
    let mut number = 0;
    while let Some(line) = lines.next_line()? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let event = serde_json::from_slice::<Event>(line);
        number = lines.number();
        let event = match event {
            Ok(event) => event,
            Err(error) if error.is_eof() && lines.at_end()? && !runs.is_empty() => break,
            Err(source) => return Err(ExplainError::NotAnEvent { file: file(), line: number, source }),
        };
        let broken = |what| ExplainError::BrokenRule { file: file(), line: number, what };
        // One file may hold several runs, one after another.
        if runs.last().is_some_and(|run| run.end.is_some()) && matches!(event.kind, EventKind::Start(_)) {
            rules.finish().map_err(|rule| broken(rule.what))?;
            rules = Rules::default();
        }
        rules.observe(&event).map_err(|rule| broken(rule.what))?;
        match (&event.kind, runs.last_mut()) {
            (EventKind::Start(start), _) => runs.push(Run::new(start.clone())),
            (_, Some(run)) => run.take(event),
            (_, None) => {}
        }
    }
    match runs.last() {
        None => return Err(ExplainError::Empty { file: file() }),
        Some(run) if run.end.is_some() => {
            rules.finish().map_err(|rule| ExplainError::BrokenRule { file: file(), line: number, what: rule.what })?;
        }
        Some(_) => {}
    }
    Ok(page::page(name, &runs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cascade::event::{End, Listen, Source, Start, Target};
    use crate::cascade::{SegmentId, Word};
    use crate::policy::{Committed, Hold, Token};
    use crate::text::{Language, Millis};

    const VOID: [&str; 5] = ["!doctype", "meta", "br", "img", "link"];

    /// Checks that every opened tag is closed in turn. Scripts and styles are skipped.
    fn check_tags(html: &str) {
        let mut open: Vec<String> = Vec::new();
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            let end = rest.find('>').unwrap_or_else(|| panic!("a tag without end: {}", &rest[..rest.len().min(60)]));
            let (tag, after) = (&rest[..end], &rest[end + 1..]);
            let name: String =
                tag.trim_start_matches('/').chars().take_while(|c| !c.is_whitespace() && *c != '/').collect();
            rest = after;
            if tag.starts_with('/') {
                assert_eq!(open.pop().as_deref(), Some(name.as_str()));
            } else if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
                if name == "script" || name == "style" {
                    let end = rest.find(&format!("</{name}>")).unwrap_or_else(|| panic!("{name} without end"));
                    rest = &rest[end..];
                }
                open.push(name);
            }
        }
        assert!(open.is_empty(), "left open: {open:?}");
    }

    fn start(target: Option<Language>) -> EventKind {
        EventKind::Start(Start {
            version: "0".to_owned(),
            source_language: Language::ENGLISH,
            target_language: target,
            asr: Some("ears".to_owned()),
            aligner: Some("clock".to_owned()),
            mt: target.map(|_| "<b>mt</b>".to_owned()),
            device: "cpu".to_owned(),
            policy: target.map(|_| "low".to_owned()),
            chunk_ms: Millis(850),
            history: 0,
            context_sha256: None,
            heads_sha256: None,
            file: None,
            file_sha256: None,
        })
    }

    fn page_of_text(name: &str, events: &str) -> Result<String, ExplainError> {
        page_of(name, TextLines::new(events.as_bytes(), name, LINE_BYTES))
    }

    fn source(words: &[&str], closed: bool) -> EventKind {
        let word = |(at, text): (u64, &&str)| Word {
            text: text.to_string(),
            start_ms: Millis(at * 300),
            end_ms: Millis(at * 300 + 250),
        };
        let committed = (0..).zip(words).map(word).collect();
        EventKind::Source(Source { segment: SegmentId(0), committed, tentative: String::new(), closed })
    }

    /// Tokens are `(text, word, why)`.
    fn listen(source: &[&str], heard: usize, tokens: &[(&str, usize, Option<Hold>)]) -> EventKind {
        let token = |&(text, word, why): &(&str, usize, Option<Hold>)| Token {
            text: text.to_owned(),
            shown: why.is_none(),
            why,
            word: Some(word),
            mass: [0.5, 0.25, 0.125, 0.125],
            attention: vec![(word, 0.5)],
        };
        EventKind::Listen(Listen {
            segment: SegmentId(0),
            source: source.iter().map(|word| word.to_string()).collect(),
            heard,
            drafted: true,
            tokens: tokens.iter().map(token).collect(),
        })
    }

    fn target(shown: &mut Committed, delta: &str, closed: bool) -> EventKind {
        shown.extend(delta);
        EventKind::Target(Target {
            segment: SegmentId(0),
            delta: delta.to_owned(),
            committed: shown.clone(),
            tentative: String::new(),
            closed,
        })
    }

    fn end(interrupted: bool) -> EventKind {
        EventKind::End(End { segments: 1, words: 3, interrupted, ..End::default() })
    }

    fn jsonl(events: Vec<(u64, EventKind)>) -> String {
        let line = |(at, kind): (u64, EventKind)| {
            let event = Event { audio_ms: Millis(at), wall_ms: Millis(at), kind };
            serde_json::to_string(&event).unwrap_or_default() + "\n"
        };
        events.into_iter().map(line).collect()
    }

    /// Two drafts of one segment: the verb is held until its source word is accessible.
    fn a_run() -> String {
        let words = ["I", "bought", "it."];
        let mut shown = Committed::default();
        jsonl(vec![
            (0, start(Some(Language::GERMAN))),
            (850, source(&words[..1], false)),
            (
                850,
                listen(
                    &words[..2],
                    1,
                    &[("Ich", 0, None), (" kau", 1, Some(Hold::Frontier)), ("fte", 1, Some(Hold::AfterHeld))],
                ),
            ),
            (850, target(&mut shown, "Ich", false)),
            (1700, source(&words, true)),
            (1700, listen(&words, 3, &[(" kau", 1, None), ("fte", 1, None), (" es", 2, None), (".", 2, None)])),
            (1700, target(&mut shown, " kaufte es.", true)),
            (2000, end(false)),
        ])
    }

    fn page(events: &str) -> String {
        let page = page_of_text("run.jsonl", events);
        let page = page.unwrap_or_else(|e| panic!("{}", super::super::error::one_line(&e)));
        check_tags(&page);
        page
    }

    fn refusal(events: &str) -> String {
        page_of_text("run.jsonl", events).err().map_or(String::new(), |e| super::super::error::one_line(&e))
    }

    /// The data of all segments, as the page's script reads it.
    fn data(page: &str) -> Vec<serde_json::Value> {
        let blocks = page.split("<script type=\"application/json\">").skip(1);
        let json = blocks.filter_map(|block| serde_json::from_str(block.split("</script>").next()?).ok());
        json.collect()
    }

    #[test]
    fn every_word_is_there_once_with_its_time_and_its_history() {
        let page = page(&a_run());
        let expected = serde_json::json!([{
            "s": [["I", 250], ["bought", 550], ["it.", 850]],
            "t": [
                ["Ich", 850, [0, [500, 250, 125, 125], [[0, 500]]], []],
                ["kaufte", 1700, [1, [500, 250, 125, 125], [[1, 500]]], [[850, 850, 1, "frontier"]]],
                ["es.", 1700, [2, [500, 250, 125, 125], [[2, 500]]], []],
            ],
            "h": [["kaufte", 850, [1, [500, 250, 125, 125], [[1, 500]]], "frontier", 1, ""]],
        }]);
        assert_eq!(serde_json::Value::from(data(&page)), expected);
        assert_eq!(page.matches("<g class=\"t").count(), 3);
        assert_eq!(page.matches("<g class=\"h").count(), 1);
        assert_eq!(page.matches(">kaufte</text>").count(), 2);
        assert!(page.contains("Ich kaufte es.</p>") && page.contains("I bought it.</p>"));
        assert!(!page.contains("http://") || page.matches("http://").count() == 1, "only the name of SVG");
        assert!(!page.contains("No attention") && !page.contains("{{"));
    }

    #[test]
    fn what_a_model_writes_is_never_markup() {
        let evil = "</script><script>alert('1')</script>&{{body}}\"\u{202e}<!--";
        let page = page(&a_run().replace("kau", &evil.replace('"', "\\\"")).replace("\"I\"", "\"<i>\""));
        assert_eq!(page.matches("<script").count(), 2);
        assert!(!page.contains("<i>") && !page.contains("<b>mt") && !page.contains("<!--"));
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)") && page.contains("&lt;b&gt;mt"));
        let name = page_of_text("<x>{{script}}", &a_run()).unwrap_or_default();
        assert!(name.contains("&lt;x&gt;{{script}}</title>"));
    }

    #[test]
    fn chinese_is_shown_by_character() {
        let mut shown = Committed::default();
        let events = jsonl(vec![
            (0, start(Some(Language::CHINESE))),
            (850, source(&["We"], true)),
            (850, target(&mut shown, "“我们”用GPT。", true)),
            (900, end(false)),
        ]);
        let data = data(&page(&events));
        let units: Vec<&str> =
            data[0]["t"].as_array().into_iter().flatten().filter_map(|unit| unit[0].as_str()).collect();
        assert_eq!(units, ["“我", "们”", "用", "GPT。"]);
    }

    #[test]
    fn runs_without_attention_or_translation_are_shown() {
        let without: String =
            a_run().lines().filter(|line| !line.contains("\"listen\"")).map(|l| format!("{l}\n")).collect();
        let page_without = page(&without);
        assert!(page_without.contains("No attention was captured in this run (policy low)"));
        assert_eq!(page_without.matches("<g class=\"t").count(), 3);
        let heard = jsonl(vec![(0, start(None)), (900, source(&["Hi."], true)), (900, end(true))]);
        let page = page(&heard);
        assert!(page.contains("Nothing was translated") && page.contains("was interrupted"));
        assert_eq!((page.matches("<g class=\"s\"").count(), data(&page).len()), (1, 0));
    }

    #[test]
    fn a_file_that_breaks_off_is_shown_as_far_as_it_goes() {
        let whole = a_run();
        assert!(!page(&whole).contains("The file ends before"));
        let first_end = whole.find('\n').unwrap_or(0) + 1;
        for cut in (first_end..whole.len() - 1).filter(|&cut| whole.is_char_boundary(cut)) {
            assert!(page(&whole[..cut]).contains("The file ends before"), "{cut}");
        }
    }

    #[test]
    fn times_without_bounds_do_no_harm() {
        let late = a_run().replace("\"audio_ms\":1700", "\"audio_ms\":18446744073709551000");
        let late = late.replace("\"audio_ms\":2000", "\"audio_ms\":18446744073709551615");
        assert!(page(&late).len() < 100_000);
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        page(&format!("\u{feff}{}", a_run()));
        page(&a_run().replace('\n', "\r\n"));
    }

    #[test]
    fn several_runs_follow_each_other() {
        let page = page(&[a_run(), "\n".to_owned(), a_run()].concat());
        assert!(page.contains("run 1 of 2") && page.contains("id=\"s1-0\""));
    }

    #[test]
    fn a_file_that_is_not_a_run_is_refused_with_its_line() {
        assert!(refusal("\n \n").contains("run.jsonl contains no events"));
        assert!(refusal("{\"audio_ms\":").contains("run.jsonl, line 1 is not an event: EOF"));
        let bad = a_run().replacen("{\"audio_ms\":1700", "{\"audio\":1700", 1);
        assert!(
            refusal(&bad).contains("run.jsonl, line 5 is not an event: missing field `audio_ms`"),
            "{}",
            refusal(&bad)
        );
        let back = a_run().replace("\"audio_ms\":1700", "\"audio_ms\":1");
        assert_eq!(refusal(&back), "run.jsonl, line 5: audio time went back");
        let missing = explain(Path::new("/nowhere/run.jsonl"), None).err().map(|e| e.to_string());
        assert_eq!(missing.as_deref(), Some("cannot read /nowhere/run.jsonl"));
    }

    #[test]
    fn the_page_lies_beside_its_file_and_never_on_it() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("run.jsonl");
        std::fs::write(&file, a_run())?;
        let page = folder.path().join("run.html");
        assert_eq!(explain(&file, None)?, Some(page.clone()));
        check_tags(&std::fs::read_to_string(&page)?);
        assert!(explain(&file, Some(&file)).is_err());
        std::fs::remove_file(&page)?;
        std::fs::hard_link(&file, &page)?;
        assert!(explain(&file, None).is_err());
        assert_eq!(std::fs::read_to_string(&file)?, a_run());
        Ok(())
    }
}
