//! The surroundings of a run: file names of any bytes, streams that cannot be written, terminals
//! that close, blank variables, and outputs that would overwrite inputs.

use std::path::{Path, PathBuf};
use std::process::Output;

use alignatt::internals::cascade::Rules;
use alignatt::{Event, EventKind};

use super::{alignatt, copy_of_mt, parse, refused, sample, wav};

const ON_CPU: [&str; 2] = ["--device", "cpu"];

/// The first seconds of a sample, as a WAV file in `folder`.
fn short(folder: &Path, seconds: usize) -> PathBuf {
    let mut sound = alignatt::AudioFile::open(sample("talk-a.flac")).unwrap();
    let mut samples: Vec<f32> = Vec::new();
    while samples.len() < seconds * 16_000 {
        samples.extend(sound.next_block().unwrap().unwrap());
    }
    let path = folder.join("short.wav");
    std::fs::write(&path, wav(&samples[..seconds * 16_000])).unwrap();
    path
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn starts(events: &[Event]) -> Vec<&alignatt::event::Start> {
    let start = |event| match event {
        &Event { kind: EventKind::Start(ref start), .. } => Some(start),
        _ => None,
    };
    events.iter().filter_map(start).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let sound = named(b"caf\xe9.wav");
    std::fs::rename(short(folder.path(), 4), &sound).unwrap();
    let (heads, context, run) = (named(b"h\xe9.json"), named(b"c\xe9.txt"), named(b"r\xe9.jsonl"));
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    std::fs::copy(demo.join("mt/heads.en-de.json"), &heads).unwrap();
    std::fs::write(&context, "A talk about buses.").unwrap();
    let model = named(b"m\xe9");
    for part in ["asr", "aligner", "mt"] {
        std::fs::create_dir_all(model.join(part)).unwrap();
        for entry in std::fs::read_dir(demo.join(part)).unwrap().map(Result::unwrap) {
            std::os::unix::fs::symlink(entry.path(), model.join(part).join(entry.file_name())).unwrap();
        }
    }
    let mut command = alignatt(&["translate", "--to", "de", "--format", "jsonl"]);
    command.args(ON_CPU).arg(&sound).arg("--heads").arg(&heads).arg("--context").arg(&context).arg("-o").arg(&run);
    for part in ["asr", "aligner", "mt"] {
        command.arg(format!("--{part}")).arg(model.join(part));
    }
    succeeded(&command.output().unwrap());
    let events = parse(&std::fs::read(&run).unwrap());
    assert!(starts(&events)[0].file.as_ref().unwrap().ends_with("caf\u{fffd}.wav"));
    succeeded(&alignatt(&["explain"]).arg(&run).output().unwrap());
    assert!(run.with_extension("html").exists());

    let manifest = named(b"m\xe9.jsonl");
    std::fs::rename(&sound, named(b"plain.wav")).unwrap();
    std::fs::write(&manifest, r#"{"sound": "plain.wav", "de": "Ja."}"#).unwrap();
    let out = named(b"o\xe9");
    let mut eval = alignatt(&["eval", "--to", "de", "--policy", "hold-n"]);
    succeeded(&eval.args(ON_CPU).arg(&manifest).arg("--out").arg(out).output().unwrap());
    let gone = alignatt(&["transcribe"]).args(ON_CPU).arg(named(b"gone\xe9.wav")).output().unwrap();
    refused(&gone, 1, &["gone\u{fffd}.wav"]);
}

/// If standard error is on a full disk, no result is lost and no exit code changes.
#[cfg(target_os = "linux")]
#[test]
fn standard_error_may_fail() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sound = short(folder.path(), 4);
    let sound = sound.to_str().unwrap();
    let translate = ["translate", sound, "--to", "de", "--device", "cpu"];
    for more in [&[][..], &["--trace"], &["--format", "jsonl"]] {
        let arguments = [&translate[..], more].concat();
        let without_stderr = alignatt(&arguments).stderr(full()).output().unwrap();
        assert_eq!(without_stderr.status.code(), Some(0), "{arguments:?}");
        assert!(!without_stderr.stdout.is_empty(), "{arguments:?}");
    }
    let code = |arguments: &[&str]| alignatt(arguments).stderr(full()).output().unwrap().status.code();
    assert_eq!(code(&["transcribe", "/nowhere.wav", "--device", "cpu"]), Some(1));
    assert_eq!(code(&["transcribe", sound, "--device", "cpu", "-o", sound]), Some(2));
    assert_eq!(code(&["transcribe", sound, "--bogus"]), Some(2));
    // Results go to standard output, so a failure to write there is an error.
    let unwritten = alignatt(&["transcribe", sound, "--device", "cpu"]).stdout(full()).output().unwrap();
    refused(&unwritten, 1, &["cannot write to standard output"]);
    refused(&alignatt(&["--help"]).stdout(full()).output().unwrap(), 1, &["cannot write to standard output"]);
}

#[test]
fn results_are_not_written_over_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let sound = short(folder.path(), 1).to_str().unwrap().to_owned();
    let model = copy_of_mt(folder.path());
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/mt");
    std::fs::copy(demo.join("heads.en-de.json"), at("heads.json")).unwrap();
    for name in ["context.txt", "pairs.jsonl", "pairs.svg", "links.txt", "run.jsonl", "manifest.jsonl"] {
        std::fs::write(at(name), "kept").unwrap();
    }
    std::fs::hard_link(at("context.txt"), at("hard.txt")).unwrap();
    std::fs::hard_link(&sound, at("hard.wav")).unwrap();
    std::fs::hard_link(at("run.jsonl"), at("run.html")).unwrap();
    let before: Vec<_> = files(folder.path());

    let (context, heads, weights) = (at("context.txt"), at("heads.json"), model.join("model.safetensors"));
    let translate = ["translate", &sound, "--to", "de", "--device", "cpu"];
    let calibrate = ["calibrate", "--to", "de", "--device", "cpu"];
    let (pairs, links) = (at("pairs.jsonl"), at("links.txt"));
    let with = |base: &[&str], more: &[&str], output: &str| {
        let output = alignatt(&[base, more, &["--output", output]].concat()).output().unwrap();
        refused(&output, 2, &["would be overwritten; give another --output"]);
    };
    with(&translate, &[], &sound);
    with(&translate, &[], &at("hard.wav"));
    with(&translate, &["--context", &context], &context);
    with(&translate, &["--context", &context], &at("hard.txt"));
    with(&translate, &["--heads", &heads], &heads);
    with(&translate, &["--mt", model.to_str().unwrap()], weights.to_str().unwrap());
    with(&calibrate, &["--pairs", &pairs], &pairs);
    with(&calibrate, &["--pairs", &pairs, "--alignments", &links], &links);
    with(&calibrate, &["--pairs", &at("pairs.svg")], &at("pairs.json"));
    with(&["explain", &at("run.jsonl")], &[], &at("hard.txt").replace("hard.txt", "run.html"));
    refused(&alignatt(&["explain", &at("run.jsonl")]).output().unwrap(), 2, &["run.html is an input (FILE)"]);
    let picture = alignatt(&[&calibrate[..], &["--pairs", &pairs, "-o", &at("map.svg")]].concat()).output().unwrap();
    refused(&picture, 2, &["the heat map"]);
    #[cfg(unix)]
    {
        let stdin = std::fs::File::open(&sound).unwrap();
        let piped = alignatt(&["transcribe", "-", "--device", "cpu", "-o", &at("hard.wav")]).stdin(stdin).output();
        refused(&piped.unwrap(), 2, &["hard.wav is an input (standard input)"]);
    }
    assert_eq!(files(folder.path()), before);

    // The talk is stored where its events would be written.
    let events = folder.path().join("out/de/hold-n-3-850/events");
    std::fs::create_dir_all(&events).unwrap();
    std::fs::rename(&sound, events.join("talk.part")).unwrap();
    let manifest = at("manifest.jsonl");
    std::fs::write(&manifest, r#"{"sound": "out/de/hold-n-3-850/events/talk.part", "de": "Ja."}"#).unwrap();
    let eval = ["eval", &manifest, "--to", "de", "--policy", "hold-n:3", "--device", "cpu", "--out", &at("out")];
    refused(&alignatt(&eval).output().unwrap(), 2, &["talk.part is an input", "give another --out"]);
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(files(&entry)),
            false => found.push((entry.clone(), std::fs::read(&entry).unwrap())),
        }
    }
    found.sort();
    found
}

#[test]
fn a_failed_load_leaves_no_file_and_empties_none() {
    let folder = tempfile::tempdir().unwrap();
    let sound = short(folder.path(), 1);
    let (new, former) = (folder.path().join("new.txt"), folder.path().join("former.txt"));
    std::fs::write(&former, "former").unwrap();
    for output in [&new, &former] {
        let translate = ["translate", sound.to_str().unwrap(), "--to", "de", "--device", "cpu", "--mt", "/nowhere/x"];
        let failed = alignatt(&translate).arg("-o").arg(output).output().unwrap();
        refused(&failed, 1, &["/nowhere/x"]);
    }
    assert!(!new.exists());
    assert_eq!(std::fs::read_to_string(&former).unwrap(), "former");
    let nowhere = alignatt(&["transcribe", sound.to_str().unwrap(), "-o", "/nowhere/x.txt"]).output().unwrap();
    refused(&nowhere, 1, &["cannot write to /nowhere/x.txt"]);
}

#[test]
fn blank_variables_are_unset() {
    let folder = tempfile::tempdir().unwrap();
    let sound = short(folder.path(), 1);
    let sound = sound.to_str().unwrap();
    for blank in ["", " "] {
        // Without a Vulkan driver, nothing but the CPU is tried.
        let mut command = alignatt(&["transcribe", sound]);
        command.env("ALIGNATT_DEVICE", blank).env("RUST_LOG", blank).env("VK_DRIVER_FILES", "/nowhere");
        let output = command.output().unwrap();
        succeeded(&output);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("WARN demo pack") && !stderr.contains("ERROR"), "{stderr}");
    }
    let wrong = alignatt(&["transcribe", sound]).env("ALIGNATT_DEVICE", "tpu").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let explicit = alignatt(&["transcribe", sound, "--device", ""]).output().unwrap();
    assert_eq!(explicit.status.code(), Some(2));
}

#[test]
fn events_say_which_file_they_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let sound = short(folder.path(), 1);
    let other = folder.path().join("other.wav");
    std::fs::copy(&sound, &other).unwrap();
    let names = [sound.to_str().unwrap(), other.to_str().unwrap(), "-"];
    let arguments = [&["transcribe", "--format", "jsonl"], &names[..], &ON_CPU].concat();
    let stdin = std::fs::File::open(&sound).unwrap();
    let output = alignatt(&arguments).stdin(stdin).output().unwrap();
    succeeded(&output);
    let events = parse(&output.stdout);
    let files: Vec<_> = starts(&events).iter().map(|start| start.file.as_deref().unwrap()).collect();
    assert_eq!(files, names);
}

#[test]
fn an_evaluation_is_run_again_where_its_settings_are_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    short(folder.path(), 4);
    let sentence = r#"{"start_ms": 834, "end_ms": 99999999, "de": "Lassen Sie uns die Busse reparieren."}"#;
    std::fs::write(at("m.jsonl"), format!("\u{feff}{{\"sound\": \"short.wav\", \"sentences\": [{sentence}]}}\r\n"))
        .unwrap();
    std::fs::write(at("one.txt"), "A talk about buses.").unwrap();
    std::fs::write(at("two.txt"), "\u{feff}A talk about buses.").unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/mt");
    let heads = std::fs::read_to_string(demo.join("heads.en-de.json")).unwrap();
    std::fs::write(at("heads.json"), heads.replacen("\"score\": 0.", "\"score\": 0.9", 3)).unwrap();
    // A device that does not exist cannot run anything, so only stored runs can be reported.
    let eval = |device: &str, more: &[&str]| {
        let point = ["eval", &at("m.jsonl"), "--to", "de", "--out", &at("out"), "--policy", "alignatt"];
        alignatt(&[&point[..], &["--device", device], more].concat()).output().unwrap()
    };
    let played = eval("cpu", &[]);
    succeeded(&played);
    let stderr = String::from_utf8_lossy(&played.stderr);
    assert!(stderr.contains("m.jsonl:1: sentence 1 ends at 99999999 ms, but the sound ends at 4000 ms"), "{stderr}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(at("out/de/alignatt-850/report.json")).unwrap()).unwrap();
    assert!((0.0..4000.0).contains(&report["long_yaal_ms"].as_f64().unwrap()), "{report}");
    succeeded(&eval("vulkan:99", &[]));
    let (one, two, heads) = (at("one.txt"), at("two.txt"), at("heads.json"));
    for more in [&["--history", "1"][..], &["--context", &one], &["--heads", &heads]] {
        refused(&eval("vulkan:99", more), 1, &["vulkan"]);
    }
    succeeded(&eval("cpu", &["--context", &one]));
    succeeded(&eval("vulkan:99", &["--context", &two]));
    refused(&eval("vulkan:99", &[]), 1, &["vulkan"]);
    // Another sound under the same name, and then a sound that no longer exists.
    short(folder.path(), 3);
    refused(&eval("vulkan:99", &["--context", &one]), 1, &["vulkan"]);
    std::fs::remove_file(at("short.wav")).unwrap();
    succeeded(&eval("vulkan:99", &["--context", &one]));
}

/// Opens a pseudo-terminal and returns both of its ends.
#[cfg(target_os = "linux")]
fn terminal() -> (std::fs::File, std::fs::File) {
    use std::os::fd::FromRawFd;
    let (mut master, mut slave) = (0, 0);
    let (name, modes, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: the call sets both descriptors or fails, and nothing else owns them.
    unsafe {
        assert_eq!(libc::openpty(&mut master, &mut slave, name, modes, size), 0);
        (std::fs::File::from_raw_fd(master), std::fs::File::from_raw_fd(slave))
    }
}

/// When the terminal of the live view closes, the run continues and writes its file to the last
/// event.
#[cfg(target_os = "linux")]
#[test]
fn a_file_outlives_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let sound = short(folder.path(), 4);
    let run = folder.path().join("run.jsonl");
    let (master, slave) = terminal();
    let mut command =
        alignatt(&["translate", sound.to_str().unwrap(), "--to", "de", "--format", "jsonl", "--realtime"]);
    command.args(ON_CPU).arg("-o").arg(&run).env("TERM", "xterm");
    let mut child = command.stdout(slave.try_clone().unwrap()).stderr(slave).spawn().unwrap();
    drop(command);
    until_there_is(&run);
    drop(master);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    Rules::check(&parse(&std::fs::read(&run).unwrap())).unwrap();
}

/// Waits until a run has begun to write.
#[cfg(unix)]
fn until_there_is(run: &Path) {
    while std::fs::metadata(run).map_or(0, |found| found.len()) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// A closing terminal may send SIGHUP twice; the run still finishes cleanly. A run that was started
/// with SIGHUP ignored continues.
#[cfg(unix)]
#[test]
fn a_hangup_ends_a_run_cleanly() {
    use std::os::unix::process::CommandExt;
    let folder = tempfile::tempdir().unwrap();
    let sound = short(folder.path(), 4);
    let run = folder.path().join("run.jsonl");
    for (disposition, code, interrupted) in [(libc::SIG_DFL, 130, true), (libc::SIG_IGN, 0, false)] {
        let mut program =
            alignatt(&["translate", sound.to_str().unwrap(), "--to", "de", "--format", "jsonl", "--realtime"]);
        program.arg("-o").arg(&run).args(ON_CPU).stderr(std::process::Stdio::null());
        // The tests themselves may run with SIGHUP ignored, which a child process inherits.
        let set = move || match unsafe { libc::signal(libc::SIGHUP, disposition) } {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        };
        // SAFETY: `signal` may be called between fork and exec.
        unsafe { program.pre_exec(set) };
        let mut child = program.spawn().unwrap();
        until_there_is(&run);
        let kill = format!("kill -HUP {0}; kill -HUP {0}", child.id());
        assert!(std::process::Command::new("sh").arg("-c").arg(kill).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let events = parse(&std::fs::read(&run).unwrap());
        Rules::check(&events).unwrap();
        assert!(matches!(&events.last().unwrap().kind, EventKind::End(end) if end.interrupted == interrupted));
        std::fs::remove_file(&run).unwrap();
    }
}

/// Colours are used only if the terminal supports them and they are not disabled.
#[cfg(target_os = "linux")]
#[test]
fn colours_can_be_refused() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let sound = short(folder.path(), 1);
    let stderr_with = |variable: &str, value: &str| {
        let (mut master, slave) = terminal();
        let mut command = alignatt(&["transcribe", sound.to_str().unwrap(), "--device", "cpu"]);
        command.env("TERM", "xterm").env_remove("NO_COLOR").env(variable, value).stderr(slave);
        succeeded(&command.output().unwrap());
        drop(command);
        let (mut stderr, mut block) = (Vec::new(), [0; 4096]);
        // Reading fails once the other end is closed and everything has been read.
        while let Ok(read @ 1..) = master.read(&mut block) {
            stderr.extend(&block[..read]);
        }
        String::from_utf8(stderr).unwrap()
    };
    for (variable, value, coloured) in
        [("NO_COLOR", "", true), ("NO_COLOR", "1", false), ("TERM", "dumb", false), ("TERM", "xterm", true)]
    {
        let stderr = stderr_with(variable, value);
        assert!(stderr.contains("demo pack"), "{stderr}");
        assert_eq!(stderr.contains('\u{1b}'), coloured, "{variable}={value}: {stderr:?}");
    }
}
