//! The figures of small logs. The expected ones are OmniSTEval's (0.1.10) for the same files.
//!
//! `ALIGNATT_LOGS=FOLDER` compares figures of real logs as well. Each folder in it has a log
//! (`instances.log`), `references.txt`, `segments.yaml` and reports of OmniSTEval (`*.txt`).

use std::fs;
use std::path::{Path, PathBuf};

use super::super::super::error::one_line;
use super::*;

/// Two talks, with a mark before the first match, an empty reference and words behind the end.
const TALKS: &str = concat!(
    r#"{"index": 0, "prediction": "(Guten Morgen) mein Name ist Ada . Wir messen heute wie spät jedes Wort kommt, und das sind bzw. 3,5 Sekunden...", "delays": [1500.0, 2000.0, 2500.0, 3000.0, 3500.0, 4000.0, 4500.0, 5000.0, 5500.0, 6000.0, 6500.0, 7000.0, 7500.0, 8000.0, 8500.0, 9000.0, 9500.0, 10000.0, 10500.0, 11000.0, 11199.999999999998], "elapsed": [1623.25, 2246.5, 2869.75, 3493.0, 4116.25, 4739.5, 5362.75, 5986.0, 6609.25, 7232.5, 7855.75, 8479.0, 9102.25, 9725.5, 10348.75, 10972.0, 11595.25, 12218.5, 12841.75, 13465.0, 13788.249999999998], "prediction_length": 21, "reference": "all of it", "source": ["talks/one.wav", "samplerate: 16000"], "source_length": 10799.999999999998, "metric": {"AL": NaN}}"#,
    "\r\n\r\n",
    r#"{"index": 1, "prediction": "Gibt es Fragen? Danke, ich danke ihnen.", "delays": [2000, 2500, 3000, 4000, 4500, 5000, 5400], "elapsed": [2123.25, 2746.5, 3369.75, 4493.0, 5116.25, 5739.5, 6262.75], "source": "two", "more": [{}]}"#,
);
const REFERENCES: &str = "Guten Morgen, mein Name ist Ada.\nWir messen heute, wie spät ein Wort kommt.\n\nDas sind z.B. 3,5 Sekunden.\nGibt's Fragen?\nDann danke ich Ihnen.\n";
const SEGMENTS: &str = "\
- {duration: 2.25, offset: 0.5, speaker_id: a, wav: one.wav}
- {duration: 3.475, offset: 3.1, speaker_id: a, wav: one.wav}
- {duration: 1.0, offset: 7.0, speaker_id: a, wav: one.wav}
- {duration: 2.6, offset: 8.2, speaker_id: a, wav: one.wav}
- {duration: 1.5, offset: 1.0, speaker_id: a, wav: two.wav}
- {duration: 2.0, offset: 3.0, speaker_id: a, wav: two.wav}
";
const CHINESE: &str = r#"{"source": "zh.wav", "prediction": "，大家好，我是ＡＩ。今天讲Überblick 。谢谢", "delays": [1000.0, 1000.0, 1000.0, 1500.0, 1500.0, 1500.0, 2000.0, 2000.0, 2000.0, 2500.0, 2500.0, 2500.0, 3000.0, 3000.0, 3000.0, 3500.0, 3500.0, 3500.0, 4000.0, 4000.0, 4000.0, 4500.0, 4500.0, 4500.0, 5000.0, 5000.0], "elapsed": [1000.0, 1000.0, 1000.0, 1600.5, 1600.5, 1600.5, 2201.0, 2201.0, 2201.0, 2801.5, 2801.5, 2801.5, 3402.0, 3402.0, 3402.0, 4002.5, 4002.5, 4002.5, 4603.0, 4603.0, 4603.0, 5203.5, 5203.5, 5203.5, 5804.0, 5804.0]}"#;
/// Two segments as OmniSTEval cuts them out of a recording.
const CUT: &str = concat!(
    r#"{"index": 0, "docid": 0, "segid": 0, "prediction": "Gibt es Fragen?", "reference": "Gibt's Fragen?", "source_length": 1500.0, "emission_cu": [1000.0, 1500.0, 2600.0], "emission_ca": [1123.25, 1623.25, 2723.25], "time_to_recording_end": 4000.0}"#,
    "\n",
    r#"{"index": 1, "docid": 0, "segid": 1, "prediction": "Danke, ich danke ihnen.", "reference": "Dann danke ich Ihnen.", "source_length": 2000.0, "emission_cu": [1000.0, 1500.0, 2000.0, 2400.0], "emission_ca": [1123.25, 1623.25, 2123.25, 2523.25], "time_to_recording_end": 2000.0}"#,
    "\n",
);

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.path().join(name), text).unwrap());
        Files(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What is asked for with references and segments in these files; `-` where there are none.
    fn asked(&self, references: &str, segments: &str) -> ScoreArgs {
        let named = |name: &str| (name != "-").then(|| self.at(name));
        asked(named(references), named(segments))
    }

    fn scored(&self, log: &str, language: &str, asked: &ScoreArgs) -> Result<Vec<String>, String> {
        let place = format!("{}/", self.0.path().display());
        let told = |error: CliError| match error {
            CliError::Failed(error) => one_line(error.as_ref()).replace(&place, ""),
            other => other.to_string(),
        };
        report(&self.at(log), language.parse().unwrap(), asked, &mut BTreeSet::new()).map_err(told)
    }
}

fn asked(references: Option<PathBuf>, segments: Option<PathBuf>) -> ScoreArgs {
    ScoreArgs { score: None, segments, references, whole_words: false, raw_elapsed: false, bleu_tokenizer: None }
}

/// The lags among the figures, as they are printed.
fn lags(lines: Result<Vec<String>, String>) -> Result<Vec<(String, String)>, String> {
    let lags = lines?.into_iter().filter(|line| line.contains("AL ("));
    Ok(lags.filter_map(|line| line.rsplit_once(' ').map(|(a, b)| (a.trim().to_owned(), b.to_owned()))).collect())
}

fn expected(prefix: &str, values: [&str; 4]) -> Result<Vec<(String, String)>, String> {
    let names = ["YAAL (CU)", "LAAL (CU)", "YAAL (CA)", "LAAL (CA)"];
    Ok(names.iter().zip(values).map(|(name, value)| (format!("{prefix}{name}"), value.to_owned())).collect())
}

#[test]
fn recordings_are_scored_as_omnisteval_does() {
    let json = r#"[{"wav": "a/zh.wav", "offset": 0.2, "duration": 1.8}, {"wav": "a/zh.wav", "offset": 2.1, "duration": 1.4}, {"wav": "a/zh.wav", "offset": 3.6, "duration": 0.9}]"#;
    let files = Files::new(&[
        ("log", TALKS),
        ("refs", REFERENCES),
        ("segments.yaml", SEGMENTS),
        ("zh.log", CHINESE),
        ("zh.refs", "大家好，我是 AI。\r\n今天讲概况。\r\n谢谢。"),
        ("zh.json", json),
    ]);
    let split = files.asked("refs", "segments.yaml");
    let figures = files.scored("log", "de", &split);
    assert_eq!(
        figures.as_ref().map(|lines| lines[..2].to_vec()),
        Ok(vec!["Segments                6".to_owned(), "Empty predictions       1".to_owned()])
    );
    assert_eq!(lags(figures), expected("Long", ["1489.6111", "1404.5556", "1612.8611", "1516.4167"]));
    let whole = ScoreArgs { whole_words: true, ..files.asked("refs", "segments.yaml") };
    let of_whole = ["1313.0804", "1246.4881", "1436.3304", "1363.1756"];
    assert_eq!(lags(files.scored("log", "de", &whole)), expected("Long", of_whole));
    let raw = ScoreArgs { raw_elapsed: true, ..split };
    assert_eq!(
        lags(files.scored("log", "de", &raw)),
        expected("Long", ["1489.6111", "1404.5556", "2205.6528", "2201.9889"])
    );
    let chinese = files.scored("zh.log", "zh", &files.asked("zh.refs", "zh.json"));
    assert_eq!(lags(chinese), expected("Long", ["692.4242", "894.4444", "781.7576", "983.7778"]));
}

#[test]
fn segments_are_scored_as_omnisteval_does() {
    let short = CUT
        .replace("emission_cu", "delays")
        .replace("emission_ca", "elapsed")
        .replace(r#""docid": 0, "segid""#, r#""x""#);
    let incremental = TALKS.replace(r#""index""#, r#""elapsed_semantics": "ca_compatible_incremental", "index""#);
    let files = Files::new(&[
        ("cut", CUT),
        ("short", &short),
        ("log", &incremental),
        ("refs", REFERENCES),
        ("segments.yaml", SEGMENTS),
        ("short.refs", "Gibt's Fragen?\nDann danke ich Ihnen."),
    ]);
    // Up to the end of the recording, and up to the end of each segment.
    let cut = lags(files.scored("cut", "de", &files.asked("-", "-")));
    assert_eq!(cut, expected("Long", ["1100.0000", "1000.0000", "1223.2500", "1123.2500"]));
    let short = lags(files.scored("short", "de", &files.asked("short.refs", "-")));
    assert_eq!(short, expected("", ["1000.0000", "1000.0000", "1123.2500", "1123.2500"]));
    // A log that says that its times are right is taken at its word.
    let right = lags(files.scored("log", "de", &files.asked("refs", "segments.yaml")));
    assert_eq!(right, expected("Long", ["1489.6111", "1404.5556", "2205.6528", "2201.9889"]));
}

#[test]
fn what_is_missing_has_no_figure() {
    let without = |name: &str, log: &str| log.replace(&format!("\"{name}\""), "\"other\"");
    let files = Files::new(&[
        ("no elapsed", &without("elapsed", TALKS)),
        ("no times", &without("delays", &without("elapsed", TALKS))),
        ("no length", &without("source_length", CUT)),
        ("refs", REFERENCES),
        ("segments.yaml", SEGMENTS),
    ]);
    let recordings = files.asked("refs", "segments.yaml");
    let cu = lags(files.scored("no elapsed", "de", &recordings));
    assert_eq!(cu, expected("Long", ["1489.6111", "1404.5556", "-", "-"]));
    assert_eq!(lags(files.scored("no times", "de", &recordings)), expected("Long", ["-"; 4]));
    let mut notes = BTreeSet::new();
    let lines = report(&files.at("no length"), Language::GERMAN, &files.asked("-", "-"), &mut notes);
    assert_eq!(lags(lines.map_err(|error| error.to_string())), expected("Long", ["-"; 4]));
    assert!(notes.iter().any(|note| note.contains("no length:1: `source_length` is missing")), "{notes:?}");
}

#[test]
fn errors_name_the_file_and_the_line() {
    let two_words = r#"{"source":"one","prediction":"ja gut","delays":[1]}"#;
    let files = Files::new(&[
        ("log", TALKS),
        ("refs", REFERENCES),
        ("segments.yaml", SEGMENTS),
        ("blank", "\n \r\n"),
        ("broken", &format!("{TALKS}\n{{")),
        ("twice", &format!("{TALKS}\n{}", TALKS.lines().last().unwrap_or_default())),
        ("one", TALKS.lines().next().unwrap_or_default()),
        ("other", &TALKS.replace("\"two\"", "\"three\"")),
        ("nameless", &TALKS.replace("\"source\"", "\"sauce\"")),
        ("counts", two_words),
        ("some", &TALKS.replacen("\"delays\"", "\"delay\"", 1).replace("\"elapsed\"", "\"e\"")),
        ("ca", &TALKS.replace("\"delays\"", "\"delay\"")),
        ("few", "Ja.\nNein.\n"),
        ("empty", "\n\n\n\nJa.\nNein.\n"),
        ("apart.yaml", &format!("{SEGMENTS}{}\n", SEGMENTS.lines().next().unwrap_or_default())),
        ("apart", &format!("{REFERENCES}Ja.\n")),
        ("bad.yaml", "- {wav: a}\n"),
        ("none.yaml", "[]\n"),
    ]);
    for (log, references, segments, message) in [
        ("gone", "refs", "segments.yaml", "cannot read gone"),
        ("blank", "refs", "segments.yaml", "blank has no line in it"),
        ("broken", "refs", "segments.yaml", "broken:4: EOF"),
        ("twice", "refs", "segments.yaml", "twice:4: two is translated in twice:3 already"),
        ("one", "refs", "segments.yaml", "the log has no translation of two"),
        ("other", "refs", "segments.yaml", "other:3: there are no segments of three"),
        ("nameless", "refs", "segments.yaml", "nameless:1: `source` is missing"),
        ("some", "refs", "segments.yaml", "some:1: `delays` is missing, and other lines have it"),
        ("ca", "refs", "segments.yaml", "ca:1: `elapsed` without `delays`"),
        ("log", "few", "segments.yaml", "few and segments.yaml: 2 references for 6 segments"),
        ("log", "empty", "segments.yaml", "log:1: all references of this recording are empty"),
        ("log", "apart", "apart.yaml", "apart.yaml:7: the segments of one.wav do not follow one another"),
        ("log", "refs", "bad.yaml", "bad.yaml:1: `offset` is missing"),
        ("log", "refs", "none.yaml", "none.yaml has no segment in it"),
        ("log", "-", "segments.yaml", "--segments needs --references"),
        ("counts", "-", "-", "counts:1: `reference` is missing: give --references"),
        ("log", "refs", "-", "refs: 6 references for 2 translations in the log"),
    ] {
        let told = files.scored(log, "de", &files.asked(references, segments));
        assert!(told.as_ref().is_err_and(|told| told.contains(message)), "{message}: {told:?}");
    }
    let units = of_recording(&entry_of(two_words), &[], false, Tokens::Words);
    assert_eq!(units, Err("2 words in `prediction`, but 1 times in `delays`".to_owned()));
    let told = files.scored("log", "el", &files.asked("refs", "segments.yaml"));
    assert_eq!(told, Err("Moses' rules for Greek are not known here: give --whole-words".to_owned()));
}

fn entry_of(line: &str) -> Entry {
    let files = Files::new(&[("log", line)]);
    log::read(&files.at("log")).ok().and_then(|mut entries| entries.pop()).unwrap_or_default()
}

#[test]
fn lines_end_in_three_ways() {
    let all = |text: &str| lines(text).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(all("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
    assert_eq!(all("a\n\nb\n"), ["a", "", "b"]);
    assert_eq!(all(""), [""; 0]);
}

#[test]
fn names_of_recordings() {
    let named = |wavs: &[&str]| {
        let segment = |wav: &&str| Segment { place: String::new(), wav: (*wav).to_owned(), offset: 0.0, length: 1.0 };
        let names = recordings(&wavs.iter().map(segment).collect::<Vec<_>>());
        names.map(|names| names.into_iter().map(|(name, _)| name).collect::<Vec<_>>()).unwrap_or_default()
    };
    assert_eq!(named(&["a/2022.x.1.wav", "a/2022.x.2.wav", "a/2022.x.2.wav"]), ["2022.x.1", "2022.x.2"]);
    assert_eq!(named(&["a.wav", "a.flac"]), ["a.wav", "a.flac"]);
    assert_eq!(named(&["x/a.wav", "y/a.wav"]), ["x/a.wav", "y/a.wav"]);
    assert_eq!(named(&[".hidden"]), [".hidden"]);
}

#[test]
fn real_logs() {
    let Some(folder) = std::env::var_os("ALIGNATT_LOGS") else {
        return eprintln!("NOT RUN: ALIGNATT_LOGS names no folder of real logs");
    };
    let mut reports = 0;
    for case in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for path in fs::read_dir(&case).unwrap().map(|entry| entry.unwrap().path()) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if text.contains("OmniSTEval v") {
                reports += 1;
                compare(&case, &text);
            }
        }
    }
    assert!(reports > 0, "no report of OmniSTEval");
}

/// Compares our figures of a log with those of a report.
fn compare(case: &Path, report_text: &str) {
    let value = |name: &str| {
        let line = report_text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix("  "));
        line.map(|value| value.trim().to_owned()).unwrap_or_default()
    };
    let characters = value("Char-level") == "yes";
    let (language, whole_words) = match value("Language").as_str() {
        "none" => (if characters { "zh" } else { "de" }.to_owned(), !characters),
        code => (code.to_owned(), false),
    };
    let args = ScoreArgs {
        whole_words,
        raw_elapsed: value("Fix CA emissions") == "no",
        ..asked(Some(case.join("references.txt")), Some(case.join("segments.yaml")))
    };
    let mut notes = BTreeSet::new();
    let lines = report(&case.join("instances.log"), language.parse().unwrap(), &args, &mut notes);
    let lines = lines.unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    notes.iter().for_each(|note| eprintln!("NOT RUN: {note}"));
    for name in ["BLEU", "chrF", "LongYAAL (CU)", "LongLAAL (CU)", "LongYAAL (CA)", "LongLAAL (CA)"] {
        let ours = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let Some(ours) = ours else { continue };
        assert_eq!(ours.trim(), value(name), "{}: {name}", case.display());
    }
}
