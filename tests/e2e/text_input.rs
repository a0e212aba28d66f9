//! Text instead of sound: `translate --text` and texts in a manifest.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use alignatt::EventKind;
use alignatt::internals::cascade::Rules;

use super::score::{errors, units};
use super::{alignatt, events, parse, refused, run, shown, talk};

/// The words of a talk as a file of JSON lines, in `folder`.
fn words_file(folder: &Path, name: &str) -> String {
    let talk = talk(name);
    let lines: String = talk["words"].as_array().unwrap().iter().map(|word| format!("{word}\n")).collect();
    put(folder, &format!("{name}.jsonl"), &lines)
}

/// Writes `text` to the file `name` in `folder`. Returns its path.
fn put(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The sentences of a talk in one language.
fn sentences(name: &str, language: &str) -> Vec<String> {
    let talk = talk(name);
    let sentences = talk["sentences"].as_array().unwrap();
    sentences.iter().map(|sentence| sentence[language].as_str().unwrap().to_owned()).collect()
}

/// Words with times: the source is the text, the translation is that of the reference but for few
/// words, and most of it is shown before its sentence has ended.
#[test]
fn words_with_times_are_translated_while_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let path = words_file(folder.path(), "talk-a");
    for language in ["de", "zh"] {
        let args = ["translate", "--text", &path, "--to", language, "--format", "jsonl", "--device", "cpu"];
        let events = events(&args);
        Rules::check(&events).unwrap();
        let (source, target) = shown(&events);
        assert_eq!(source.join(" "), sentences("talk-a", "en").join(" "));
        let reference = units(&sentences("talk-a", language).join(" "), language);
        let wrong = errors(&units(&target.join(" "), language), &reference);
        assert!(wrong < 0.1, "{language}: {wrong}, {target:?}");
        let (mut early, mut late) = (0, 0);
        for event in &events {
            let EventKind::Target(target) = &event.kind else { continue };
            *(if target.closed { &mut late } else { &mut early }) += target.delta.len();
        }
        assert!(early > late, "{language}: {early} bytes in time, {late} at the ends of segments");
        let first = serde_json::to_value(&events[0]).unwrap();
        assert!(first.get("asr").is_none() && first["mt"].is_string(), "{first}");
    }
}

/// The same text as subtitles, as plain lines and from standard input.
#[test]
fn every_form_of_a_text_gives_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences("talk-b", "en");
    let cues = text.iter().enumerate().map(|(at, sentence)| {
        format!("{}\n00:00:{:02},000 --> 00:00:{:02},500\n<i>{sentence}</i>\n\n", at + 1, at * 4, at * 4 + 3)
    });
    let subtitles: String = cues.collect();
    for (name, content) in [("a.srt", subtitles), ("a.txt", text.join("\n"))] {
        let path = put(folder.path(), name, &content);
        let events = events(&["translate", "--text", &path, "--to", "it", "--format", "jsonl", "--device", "cpu"]);
        assert_eq!(shown(&events).0.join(" "), text.join(" "), "{name}");
    }
    let mut child = alignatt(&["translate", "--text", "-", "--to", "it", "--format", "jsonl", "--device", "cpu"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.join("\n").as_bytes()).unwrap();
    let typed = parse(&child.wait_with_output().unwrap().stdout);
    Rules::check(&typed).unwrap();
    assert_eq!(shown(&typed).0.join(" "), text.join(" "));
}

#[test]
fn a_manifest_of_texts_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let words = words_file(folder.path(), "talk-c");
    let line = serde_json::json!({ "text": words, "sentences": talk("talk-c")["sentences"] }).to_string();
    let manifest = put(folder.path(), "manifest.jsonl", &line);
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let of_talk = ["eval", &manifest, "--out", out, "--to", "de", "--device", "cpu"];
    let made = run(&[&of_talk[..], &["--policy", "alignatt", "--policy", "offline"]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let lag = |policy: &str| {
        let report = std::fs::read(Path::new(out).join("de").join(policy).join("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert!(report["asr"].is_null(), "{report}");
        report["long_yaal_ms"].as_f64().unwrap()
    };
    let (ours, offline) = (lag("alignatt-850"), lag("offline-850"));
    assert!(ours < offline, "{ours} ms, {offline} ms");
    refused(&run(&[&of_talk[..], &["--asr", "/no/such/model"]].concat()), 2, &["--asr"]);
}

#[test]
fn wrong_texts_are_named_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| put(folder.path(), name, text);
    let of_text = |path: &str, more: &[&str]| {
        run(&[&["translate", "--text", path, "--to", "de", "--device", "cpu"], more].concat())
    };
    refused(&of_text("/no/such/text", &[]), 1, &["/no/such/text"]);
    refused(&of_text(&put("empty.txt", " \n"), &[]), 1, &["empty.txt contains no text"]);
    let times = put("times.srt", "1\n00:00:01,000 --> soon\nHi\n");
    refused(&of_text(&times, &[]), 1, &["times.srt, line 2 is not a line of times"]);
    let words = put("words.jsonl", "{\"text\":\"Hi\"}\n{\"text\":\"you\",\"start\":2,\"end\":1}\n");
    refused(&of_text(&words, &[]), 1, &["words.jsonl, line 2 ends before it starts"]);
    let good = put("good.txt", "Good morning.");
    refused(&of_text(&good, &["sound.wav"]), 2, &[]);
    refused(&of_text(&good, &["--asr", "model"]), 2, &[]);
    refused(&of_text(&good, &["--output", &good]), 2, &["--text"]);
    refused(&run(&["translate", "--to", "de"]), 2, &["FILE"]);
    refused(&run(&["transcribe"]), 2, &["FILE"]);
}

/// Context and terms reach the prompts of both models: they change the run's hash, and what is
/// wrong with them is said in one line.
#[test]
fn names_and_terms_reach_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| put(folder.path(), name, text);
    let text = put("good.txt", "We can wait in Vienna.");
    let basic = ["translate", "--text", &text, "--to", "de", "--device", "cpu", "--format", "jsonl"];
    let hash = |more: &[&str]| {
        let events = events(&[&basic[..], more].concat());
        serde_json::to_value(&events[0]).unwrap()["context_sha256"].clone()
    };
    let terms = put("terms", "# names\nVienna = Wien\n");
    assert!(hash(&[]).is_null());
    assert!(hash(&["--terms", &terms]).is_string());
    assert_ne!(hash(&["--terms", &terms]), hash(&["--terms", &terms, "--context", &text]));

    let wrong = put("wrong", "Vienna\n= Wien\n");
    refused(&run(&[&basic[..], &["--terms", &wrong]].concat()), 1, &["wrong, line 2 has no term before `=`"]);
    let many = put("many", &"the bus company of Vienna\n".repeat(900));
    refused(
        &run(&[&basic[..], &["--terms", &many]].concat()),
        1,
        &["many: the context takes", "translation", "--terms"],
    );
    let sound = super::sample("talk-a.flac");
    let heard = run(&["transcribe", sound.to_str().unwrap(), "--device", "cpu", "--terms", &many]);
    refused(&heard, 1, &["many: the context takes", "speech model", "--terms"]);
}
