//! The program from outside, on the demo pack: sample talks against their references, the events
//! against their own rules, the same text on every device, and invalid input of every kind that we
//! could think of.

#[path = "../common/mod.rs"]
mod common;
mod cuts;
#[path = "../common/dice.rs"]
mod dice;
mod gguf;
#[path = "../common/noises.rs"]
mod noises;
mod score;
mod serve;
mod surroundings;
mod text_input;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use alignatt::internals::cascade::Rules;
use alignatt::{Event, EventKind};
use noises::{NOISES, noise};
use score::{errors, units, words};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)
}

fn alignatt(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignatt"));
    command.args(arguments).env_remove("ALIGNATT_DEVICE").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    alignatt(arguments).output().unwrap()
}

/// The events of a run that must succeed.
fn events(arguments: &[&str]) -> Vec<Event> {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    parse(&output.stdout)
}

fn parse(stdout: &[u8]) -> Vec<Event> {
    let lines = std::str::from_utf8(stdout).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// What is shown at the end: the source words, and the translations of closed segments.
fn shown(events: &[Event]) -> (Vec<String>, Vec<String>) {
    let (mut source, mut target) = (Vec::new(), Vec::new());
    for event in events {
        match &event.kind {
            EventKind::Source(s) if s.closed => source.extend(s.committed.iter().map(|word| word.text.clone())),
            EventKind::Target(t) if t.closed => target.push(t.committed.as_str().to_owned()),
            _ => {}
        }
    }
    (source, target)
}

fn talk(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(sample(&format!("{name}.json"))).unwrap()).unwrap()
}

/// Checks a run that must fail: the exit code, and one line on standard error that contains all of
/// `parts`.
fn refused(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let line = stderr.lines().last().unwrap_or_default();
    for part in parts {
        assert!(line.contains(part), "`{line}` does not say `{part}`");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_voice_of_the_training() {
    in_three_languages("talk-a", 0.15, 0.35);
}

#[test]
fn a_voice_never_heard() {
    in_three_languages("talk-b", 0.45, 0.60);
}

#[test]
fn a_voice_in_noise() {
    in_three_languages("talk-c", 0.25, 0.50);
}

/// Translates a talk into every language. The events must keep their rules, and words and
/// translations must be near the references. The limits are somewhat looser than what the demo pack
/// reaches (tools/demo-pack/README.md). Each policy runs on each talk and into each language; with
/// LONG, in every combination of the two.
fn in_three_languages(name: &str, most_wer: f64, most_edits: f64) {
    let talk = talk(name);
    let path = sample(&format!("{name}.flac"));
    let talk_at = name.bytes().last().unwrap() as usize;
    for (language_at, language) in ["de", "it", "zh"].into_iter().enumerate() {
        for (policy_at, policy) in ["alignatt", "local-agreement", "hold-n:3"].into_iter().enumerate() {
            if !common::long() && !(talk_at + language_at + policy_at).is_multiple_of(3) {
                continue;
            }
            let arguments = [
                "translate",
                path.to_str().unwrap(),
                "--to",
                language,
                "--policy",
                policy,
                "--format",
                "jsonl",
                "--device",
                "cpu",
            ];
            let events = events(&arguments);
            Rules::check(&events).unwrap_or_else(|broken| panic!("{arguments:?}: {broken}"));
            let (source, target) = shown(&events);
            let sentences = talk["sentences"].as_array().unwrap();
            let want_source = words(talk["transcript"].as_str().unwrap());
            let want: Vec<_> = sentences.iter().flat_map(|s| units(s[language].as_str().unwrap(), language)).collect();
            let wer = errors(&words(&source.join(" ")), &want_source);
            let ter = errors(&units(&target.join(" "), language), &want);
            eprintln!(
                "{name} to {language} by {policy}: WER {:.1} %, translation edits {:.1} %",
                100.0 * wer,
                100.0 * ter
            );
            assert!(wer <= most_wer, "{name}: WER {wer}: {source:?}");
            assert!(ter <= most_edits, "{name} to {language} by {policy}: {ter}: {target:?}");
        }
    }
}

/// The CPU and every adapter give the same final text. Software adapters take two seconds for one
/// of sound, so they get a part of the talk, and all of it in the long tests.
#[test]
fn the_same_text_on_every_device() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = sample("talk-a.flac");
    if !common::long() {
        let sound = sound_of(&path);
        path = folder.path().join("beginning.wav");
        std::fs::write(&path, wav(&sound[..20 * 16_000])).unwrap();
    }
    let on = |device: &str| {
        let arguments = ["translate", path.to_str().unwrap(), "--to", "de", "--format", "jsonl", "--device", device];
        shown(&events(&arguments))
    };
    let cpu = on("cpu");
    for compute in pollster::block_on(common::devices()) {
        if let Some(adapter) = compute.adapter {
            assert_eq!(on(&adapter.choice.to_string()), cpu, "{}", compute.name);
        }
    }
}

/// A copy of the demo pack's translation model.
fn copy_of_mt(folder: &Path) -> PathBuf {
    let model = folder.join("model");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/mt");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(demo).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    model
}

/// The attention that `--trace` prints goes to standard error and does not change the output.
#[test]
fn a_trace_beside_the_text() {
    let path = sample("talk-c.flac");
    let translate = ["translate", path.to_str().unwrap(), "--to", "it", "--device", "cpu"];
    let plain = run(&translate);
    let traced = run(&[&translate[..], &["--trace"]].concat());
    assert!(plain.status.success() && traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    assert!(!plain.stdout.is_empty());
    assert_eq!(String::from_utf8_lossy(&traced.stdout), String::from_utf8_lossy(&plain.stdout));
    let of = |output: &Output, what: &str| {
        String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.contains(what)).count()
    };
    assert_eq!((of(&plain, " words heard"), of(&plain, "HELD")), (0, 0));
    assert!(of(&traced, " words heard") > 5, "{}", String::from_utf8_lossy(&traced.stderr));
    assert!(of(&traced, "   committed  \"") > 10 && of(&traced, "   HELD       \"") > 10);
}

/// The page of `explain` contains everything that the run has shown.
#[test]
fn a_run_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample("talk-a.flac");
    let file = folder.path().join("run.jsonl");
    let to_file = ["--format", "jsonl", "--output", file.to_str().unwrap(), "--device", "cpu"];
    let made = run(&[&["translate", path.to_str().unwrap(), "--to", "de"], &to_file[..]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let explained = run(&["explain", file.to_str().unwrap()]);
    assert!(explained.status.success(), "{}", String::from_utf8_lossy(&explained.stderr));
    let page = std::fs::read_to_string(folder.path().join("run.html")).unwrap();
    let (source, target) = shown(&parse(&std::fs::read(&file).unwrap()));
    assert!(source.len() > 50 && target.len() > 5);
    let escaped = |word: &str| word.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for word in source.iter().map(String::as_str).chain(target.iter().flat_map(|text| text.split_whitespace())) {
        assert!(page.contains(&escaped(word)), "`{word}` is missing");
    }

    let empty = folder.path().join("empty.jsonl");
    std::fs::write(&empty, "\n").unwrap();
    refused(&run(&["explain", empty.to_str().unwrap()]), 1, &["empty.jsonl contains no events"]);
    assert!(!folder.path().join("empty.html").exists());
    std::fs::write(&empty, "{}\n").unwrap();
    refused(&run(&["explain", empty.to_str().unwrap()]), 1, &["empty.jsonl, line 1"]);
}

/// Twelve sentence pairs of the samples, in the format that `calibrate` reads.
fn twelve_pairs(folder: &Path, language: &str) -> String {
    let talks = ["talk-a", "talk-b", "talk-c"].map(talk);
    let sentences = talks.iter().flat_map(|talk| talk["sentences"].as_array().unwrap());
    let pairs = sentences.take(12).map(|s| {
        let pair = serde_json::json!({
            "source": s["en"], "target": s[language], "alignments": s["alignments"][language]
        });
        pair.to_string()
    });
    let path = folder.join("pairs.jsonl");
    std::fs::write(&path, pairs.collect::<Vec<_>>().join("\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A model without known heads is refused with a remedy, and works once its heads have been
/// measured.
#[test]
fn heads_are_measured_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of_mt(folder.path());
    for language in ["de", "it", "zh"] {
        std::fs::remove_file(model.join(format!("heads.en-{language}.json"))).unwrap();
    }
    let model = model.to_str().unwrap();
    let pairs = twelve_pairs(folder.path(), "zh");
    let heads = folder.path().join("heads.json");
    let on_cpu = ["--to", "zh", "--mt", model, "--device", "cpu"];

    let path = sample("talk-c.flac");
    let translate = |more: &[&str]| run(&[&["translate", path.to_str().unwrap()], &on_cpu[..], more].concat());
    refused(&translate(&[]), 1, &[model, "`alignatt calibrate", "--policy local-agreement"]);
    let without = translate(&["--policy", "local-agreement"]);
    assert!(without.status.success(), "{}", String::from_utf8_lossy(&without.stderr));
    assert!(!without.stdout.is_empty());

    let measure = ["calibrate", "--pairs", &pairs, "--output", heads.to_str().unwrap()];
    let measured = run(&[&measure[..], &on_cpu[..]].concat());
    assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
    let set = alignatt::HeadSet::parse(&std::fs::read_to_string(&heads).unwrap(), "heads.json").unwrap();
    assert_eq!((set.model.as_str(), set.measured.pairs), (model, 12));
    assert!(set.heads.len() >= 4 && set.top(4).iter().all(|head| head.score > 0.3), "{set:?}");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/mt/heads.en-zh.json");
    let shipped = std::fs::read_to_string(shipped).unwrap();
    let shipped = alignatt::HeadSet::parse(&shipped, "shipped").unwrap();
    let best = |head: &alignatt::internals::policy::Head| (head.layer, head.head);
    let known: Vec<_> = shipped.top(8).iter().map(best).collect();
    assert!(set.top(4).iter().all(|head| known.contains(&best(head))), "{set:?} against {known:?}");
    let picture = std::fs::read_to_string(heads.with_extension("svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"));
    assert!(String::from_utf8_lossy(&measured.stdout).lines().count() > 4);

    let with = translate(&["--heads", heads.to_str().unwrap()]);
    assert!(with.status.success() && !with.stdout.is_empty(), "{}", String::from_utf8_lossy(&with.stderr));
    std::fs::write(&pairs, "{\"source\": \"Hi\"}\n").unwrap();
    refused(&run(&[&measure[..], &on_cpu[..]].concat()), 1, &["pairs.jsonl: line 1"]);
}

#[test]
fn text_subtitles_and_standard_input() {
    let path = sample("talk-a.flac");
    let path = path.to_str().unwrap();
    let text = run(&["translate", path, "--to", "zh", "--device", "cpu"]);
    assert!(text.status.success());
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.lines().count() > 5, "{text}");

    let folder = tempfile::tempdir().unwrap();
    for (format, opening) in [("srt", "1\n00:"), ("vtt", "WEBVTT")] {
        let file = folder.path().join(format);
        let made = run(&[
            "translate",
            path,
            "--to",
            "it",
            "--format",
            format,
            "--output",
            file.to_str().unwrap(),
            "--device",
            "cpu",
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(made.stdout.is_empty());
        let written = std::fs::read_to_string(file).unwrap();
        assert!(written.starts_with(opening), "{written}");
        assert!(written.matches("-->").count() > 5, "{written}");
    }

    // Raw samples from a pipe give the same words as the file.
    let mut sound = alignatt::AudioFile::open(path).unwrap();
    let mut bytes = Vec::new();
    while let Some(block) = sound.next_block().unwrap() {
        bytes.extend(block.iter().flat_map(|sample| ((sample * 32767.0).round() as i16).to_le_bytes()));
    }
    let mut child = alignatt(&["transcribe", "-", "--raw", "--format", "jsonl", "--device", "cpu"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let piped = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let (source, _) = shown(&parse(&piped.stdout));
    let whole = words(talk("talk-a")["transcript"].as_str().unwrap());
    // The limit is that of the same talk read from its file.
    assert!(errors(&words(&source.join(" ")), &whole) <= 0.15, "{source:?}");
}

#[test]
fn word_times_by_align() {
    let talk = talk("talk-a");
    let mut sound = alignatt::AudioFile::open(sample("talk-a.flac")).unwrap();
    let mut samples: Vec<f32> = Vec::new();
    while let Some(block) = sound.next_block().unwrap() {
        samples.extend(block);
    }
    let folder = tempfile::tempdir().unwrap();
    let piece = folder.path().join("piece.wav");
    let mut off: Vec<u64> = Vec::new();
    // Sentence by sentence, as the cascade calls the aligner.
    for (i, sentence) in talk["sentences"].as_array().unwrap().iter().enumerate() {
        let text = sentence["en"].as_str().unwrap();
        let from = sentence["start_ms"].as_u64().unwrap().saturating_sub(200);
        let to = sentence["end_ms"].as_u64().unwrap() + 200;
        std::fs::write(&piece, wav(&samples[from as usize * 16..samples.len().min(to as usize * 16)])).unwrap();
        let output = run(&["align", piece.to_str().unwrap(), "--text", text, "--format", "jsonl", "--device", "cpu"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let got = String::from_utf8(output.stdout).unwrap();
        let got: Vec<serde_json::Value> = got.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(got.len(), text.split_whitespace().count());
        let want = talk["words"].as_array().unwrap().iter().filter(|word| word["sentence"] == i);
        off.extend(got.iter().zip(want).flat_map(|(got, want)| {
            ["start_ms", "end_ms"].map(|key| (from + got[key].as_u64().unwrap()).abs_diff(want[key].as_u64().unwrap()))
        }));
    }
    off.sort_unstable();
    eprintln!("{} word times: median error {} ms", off.len(), off[off.len() / 2]);
    assert!(off[off.len() / 2] <= 80, "{off:?}");
}

/// 16 kHz mono s16 in a WAV container.
fn wav(samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|s| ((s * 32767.0) as i16).to_le_bytes()).collect();
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    for word in [16u32, 1 | 1 << 16, 16_000, 32_000, 2 | 16 << 16] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

/// Writes a manifest of the samples; returns its path and the folder for its results.
fn manifest(folder: &Path) -> (String, String) {
    let lines = ["talk-a", "talk-b", "talk-c"].map(|name| {
        let sound = sample(&format!("{name}.flac"));
        serde_json::json!({ "sound": sound, "sentences": talk(name)["sentences"] }).to_string()
    });
    let path = folder.join("manifest.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    (path.to_str().unwrap().to_owned(), folder.join("out").to_str().unwrap().to_owned())
}

#[test]
fn an_evaluation_fits_together_and_is_not_run_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, out) = manifest(folder.path());
    let evaluate = |language: &str, device: &str| {
        let point = ["--to", language, "--policy", "hold-n:2", "--chunk-ms", "1000", "--limit", "1"];
        run(&[&["eval", &manifest, "--out", &out, "--device", device], &point[..]].concat())
    };
    for language in ["de", "zh"] {
        let made = evaluate(language, "cpu");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let read = |name: &str| {
            std::fs::read_to_string(Path::new(&out).join(language).join("hold-n-2-1000").join(name)).unwrap()
        };
        let hypothesis: serde_json::Value = serde_json::from_str(&read("hypothesis.jsonl")).unwrap();
        let prediction = hypothesis["prediction"].as_str().unwrap();
        let units = match language {
            "zh" => prediction.chars().filter(|c| !c.is_whitespace()).count(),
            _ => prediction.split_whitespace().count(),
        };
        assert!(units > 50, "{prediction}");
        assert_eq!(hypothesis["source"], serde_json::json!(["talk-a.flac"]));
        let length = hypothesis["source_length"].as_u64().unwrap();
        assert!(length.abs_diff(talk("talk-a")["duration_ms"].as_u64().unwrap()) <= 1);
        for times in ["delays", "elapsed", "elapsed_wallclock_ms"] {
            let times: Vec<u64> = serde_json::from_value(hypothesis[times].clone()).unwrap();
            assert_eq!(times.len(), units);
            assert!(times.is_sorted(), "{times:?}");
        }
        let delays: Vec<u64> = serde_json::from_value(hypothesis["delays"].clone()).unwrap();
        assert!(delays.iter().all(|&at| at % 1000 == 0 || at == length), "a step is a chunk: {delays:?}");
        let sentences = talk("talk-a")["sentences"].as_array().unwrap().len();
        assert_eq!(read("references.txt").lines().count(), sentences);
        assert_eq!(read("segments.yaml").lines().count(), sentences);
        assert!(read("segments.yaml").starts_with("- {wav: \"talk-a.flac\", offset: 0.834, duration: "));
        Rules::check(&parse(read("events/talk-a.jsonl").as_bytes())).unwrap();
        let report: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(report["segments"], sentences);
        assert!(report["long_yaal_ms"].as_f64().unwrap() < report["long_yaal_ca_ms"].as_f64().unwrap(), "{report}");
        // The log that was written, scored again.
        let at = |name: &str| format!("{out}/{language}/hold-n-2-1000/{name}");
        let (log, references, segments) = (at("hypothesis.jsonl"), at("references.txt"), at("segments.yaml"));
        let files = ["--references", &references, "--segments", &segments, "--to", language];
        let scored = run(&[&["eval", "--score", &log], &files[..]].concat());
        let table = String::from_utf8_lossy(&scored.stdout).into_owned();
        for (name, field) in [("LongYAAL (CU)", "long_yaal_ms"), ("LongLAAL (CA)", "laal_ca_ms")] {
            let figure = table.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            let expected = report[field].as_f64().unwrap();
            assert!(figure.is_some_and(|figure| (figure - expected).abs() < 0.001), "{field}: {expected}, {table}");
        }
        refused(&run(&[&["eval", "--score", &log, "--limit", "1"], &files[..]].concat()), 2, &["--help"]);
        // No such device exists: the second table can only come from the stored events.
        let again = evaluate(language, "vulkan:99");
        assert_eq!(made.stdout, again.stdout, "{}", String::from_utf8_lossy(&again.stderr));
    }
    std::fs::write(&manifest, "{\"sound\": \"gone.wav\", \"de\": \"Ja.\"}").unwrap();
    refused(&evaluate("de", "cpu"), 1, &["manifest.jsonl:1: ", "gone.wav"]);
    refused(&evaluate("it", "cpu"), 1, &["manifest.jsonl:1: ", "`it`"]);
}

#[test]
fn wrong_input_is_named_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let on_cpu =
        |file: &str, more: &[&str]| run(&[&["translate", file, "--to", "de", "--device", "cpu"], more].concat());
    refused(&on_cpu("/no/such/file.wav", &[]), 1, &["/no/such/file.wav"]);
    refused(&on_cpu(&put("empty.wav", b""), &[]), 1, &["empty.wav"]);
    refused(&on_cpu(&put("text.wav", b"this is no sound at all, just words in a file"), &[]), 1, &["text.wav"]);
    let good = put("good.wav", &wav(&[0.0; 1_600]));
    refused(&on_cpu(&good, &["--mt", "/no/such/model"]), 1, &["/no/such/model"]);
    refused(&run(&["translate", &good, "--to", "de", "--device", "vulkan:99"]), 1, &["vulkan", "99"]);
    refused(&run(&["translate", &good]), 2, &[]);
    refused(&run(&["translate", &good, "--to", "fr"]), 2, &[]);

    // A model folder whose weights are truncated, and one whose header contradicts the file.
    let model = copy_of_mt(folder.path());
    let weights = model.join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    refused(&on_cpu(&good, &["--mt", model.to_str().unwrap()]), 1, &["model.safetensors"]);
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&weights, &lying).unwrap();
    refused(&on_cpu(&good, &["--mt", model.to_str().unwrap()]), 1, &["model.safetensors"]);
    // A speech model given as the translation model.
    let asr = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/asr");
    refused(&on_cpu(&good, &["--mt", asr.to_str().unwrap()]), 1, &["Qwen3-ASR"]);
}

/// A context that leaves no room for the source is refused before any sound is processed; the error
/// gives its length in tokens and the flag.
#[test]
fn a_context_that_is_too_long_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let context = folder.path().join("context.txt");
    let path = sample("talk-a.flac");
    let translate = |text: &str, more: &[&str]| {
        std::fs::write(&context, text).unwrap();
        let basic = ["translate", path.to_str().unwrap(), "--to", "de", "--device", "cpu", "--format", "jsonl"];
        run(&[&basic[..], &["--context", context.to_str().unwrap()], more].concat())
    };
    let long = translate(&"The bus company of Vienna. ".repeat(1_000), &[]);
    refused(&long, 1, &["context.txt", "the context takes", "tokens", "--context"]);
    assert!(long.stdout.is_empty(), "nothing was heard");
    // With this context, at least half of the model's positions remain for the source, even with
    // the longest history.
    let some = translate(&"The bus company of Vienna. ".repeat(80), &["--history", "8"]);
    assert!(some.status.success(), "{}", String::from_utf8_lossy(&some.stderr));
    let events = parse(&some.stdout);
    Rules::check(&events).unwrap();
    assert!(events.iter().all(|event| match &event.kind {
        EventKind::Warning(warning) => !warning.message.contains("not fully translated"),
        _ => true,
    }));
}

/// Silence: no words, no error, and the events still end as they should.
#[test]
fn next_to_nothing_and_silence() {
    let folder = tempfile::tempdir().unwrap();
    for (name, seconds) in [("short.wav", 0.1), ("silence.wav", 60.0)] {
        let path = folder.path().join(name);
        std::fs::write(&path, wav(&vec![0.0; (seconds * 16_000.0) as usize])).unwrap();
        let events =
            events(&["translate", path.to_str().unwrap(), "--to", "de", "--format", "jsonl", "--device", "cpu"]);
        Rules::check(&events).unwrap();
        assert_eq!(shown(&events), (Vec::new(), Vec::new()), "{name}");
    }
}

/// A driver whose manifest names an older API version than the driver reports is refused by name,
/// and the CPU is listed.
#[test]
#[cfg(target_os = "linux")]
fn a_driver_that_contradicts_itself_is_refused() {
    let Ok(manifests) = std::fs::read_dir("/usr/share/vulkan/icd.d") else {
        assert!(std::env::var_os("CI").is_none(), "CI needs a Vulkan driver (mesa-vulkan-drivers)");
        return eprintln!("NOT RUN: no Vulkan driver here");
    };
    let folder = tempfile::tempdir().unwrap();
    for manifest in manifests.map(|entry| entry.unwrap().path()) {
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
        json["ICD"]["api_version"] = "1.0.0".into();
        let old = folder.path().join("old.json");
        std::fs::write(&old, json.to_string()).unwrap();
        let with = |arguments: &[&str]| {
            alignatt(arguments).env("VK_DRIVER_FILES", &old).env("VK_ICD_FILENAMES", &old).output().unwrap()
        };
        let devices = with(&["devices"]);
        let listed = String::from_utf8_lossy(&devices.stdout);
        assert!(devices.status.success(), "{}: {}", manifest.display(), String::from_utf8_lossy(&devices.stderr));
        assert!(listed.contains("cpu ") && listed.contains("self-test: passed"), "{listed}");
        if listed.contains("vulkan:0") {
            assert!(listed.contains("the driver reports Vulkan 1."), "{}: {listed}", manifest.display());
            refused(
                &with(&["transcribe", sample("talk-a.flac").to_str().unwrap(), "--device", "vulkan"]),
                1,
                &["lacks"],
            );
        }
    }
}

/// Fans, music, applause, keys, hum and an empty room are not speech: no word comes of them. With
/// LONG, each lasts ten minutes.
#[test]
fn no_text_comes_of_noise() {
    let folder = tempfile::tempdir().unwrap();
    for name in NOISES {
        let path = folder.path().join(format!("{name}.wav"));
        std::fs::write(&path, wav(&noise(name, if common::long() { 600 } else { 20 }))).unwrap();
        let events =
            events(&["translate", path.to_str().unwrap(), "--to", "de", "--device", "cpu", "--format", "jsonl"]);
        Rules::check(&events).unwrap();
        let texts: Vec<String> = events.iter().filter_map(text_of).collect();
        assert!(texts.is_empty(), "{name}: {texts:?}");
    }
}

/// The text that an event shows, if it is about text.
fn text_of(event: &Event) -> Option<String> {
    match &event.kind {
        EventKind::Source(source) => {
            let words = source.committed.iter().map(|word| word.text.as_str());
            Some(words.chain([source.tentative.as_str()]).collect::<Vec<_>>().join(" "))
        }
        EventKind::Target(target) => Some(format!("{}{}", target.committed.as_str(), target.tentative)),
        _ => None,
    }
}

/// Nothing that is shown contains markup or a word seven times in a row.
fn no_markup_and_no_loop(events: &[Event], name: &str) {
    Rules::check(events).unwrap_or_else(|broken| panic!("{name}: {broken}"));
    for text in events.iter().filter_map(text_of) {
        assert!(!text.contains(['<', '>']) && !text.contains("asr_text"), "{name}: {text}");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words.windows(7).all(|seven| seven.iter().any(|word| *word != seven[0])), "{name}: {text}");
    }
}

/// The whole sound of a file.
fn sound_of(path: &Path) -> Vec<f32> {
    let mut file = alignatt::AudioFile::open(path).unwrap();
    let mut samples = Vec::new();
    while let Some(block) = file.next_block().unwrap() {
        samples.extend(block);
    }
    samples
}

/// Sounds that pass the voice detector and say nothing, or too much at once: whatever the demo
/// models make of them, no markup and no loop is shown.
#[test]
fn no_markup_and_no_loop_comes_of_babble() {
    let folder = tempfile::tempdir().unwrap();
    let talk = sound_of(&sample("talk-a.flac"));
    let other = sound_of(&sample("talk-b.flac"));
    let part = &talk[16_000..13 * 16_000];
    let mixed = |with: &[f32], gain: f32| -> Vec<f32> { part.iter().zip(with).map(|(a, b)| a + gain * b).collect() };
    let sounds: [(&str, Vec<f32>); 5] = [
        ("backwards", part.iter().rev().copied().collect()),
        ("a syllable again and again", part[14_000..17_200].iter().copied().cycle().take(part.len()).collect()),
        ("two at once", mixed(&other[16_000..], 1.0)),
        ("in music", mixed(&noise("music", 12), 1.0)),
        ("in applause", mixed(&noise("applause", 12), 3.0)),
    ];
    for (name, sound) in sounds {
        let path = folder.path().join(format!("{name}.wav"));
        std::fs::write(&path, wav(&sound)).unwrap();
        let events =
            events(&["translate", path.to_str().unwrap(), "--to", "de", "--device", "cpu", "--format", "jsonl"]);
        assert!(events.iter().any(|event| text_of(event).is_some()), "{name} passes the voice detector");
        no_markup_and_no_loop(&events, name);
    }
}

/// Real speech, of which the demo models understand next to nothing: `ALIGNATT_SPEECH` names a
/// folder of .flac files, in folders. With LONG, every language is translated into.
#[test]
fn no_markup_and_no_loop_comes_of_real_speech() {
    let Some(folder) = std::env::var_os("ALIGNATT_SPEECH") else {
        return eprintln!("NOT RUN: ALIGNATT_SPEECH names no folder of real speech");
    };
    let (mut folders, mut sounds) = (vec![PathBuf::from(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|end| end == "flac") => sounds.push(path),
                false => {}
            }
        }
    }
    assert!(!sounds.is_empty(), "the folder holds .flac files");
    sounds.sort();
    for (number, path) in sounds.iter().enumerate() {
        let path = path.to_str().unwrap();
        let said = events(&["transcribe", path, "--device", "cpu", "--format", "jsonl"]);
        no_markup_and_no_loop(&said, path);
        for (at, language) in ["de", "it", "zh"].into_iter().enumerate() {
            if common::long() || number % 3 == at {
                let events = events(&["translate", path, "--to", language, "--device", "cpu", "--format", "jsonl"]);
                no_markup_and_no_loop(&events, path);
                let (source, target) = shown(&events);
                eprintln!("{path}, {language}: {} words, {} segments", source.len(), target.len());
            }
        }
    }
}
