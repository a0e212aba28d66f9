//! GGUF files as the command line takes them: by path, by folder, and what is said of wrong ones.

use std::path::{Path, PathBuf};

use super::{parse, refused, run};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn a_file_and_the_folder_with_it_translate_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (text, model) = (folder.path().join("text"), folder.path().join("model"));
    std::fs::write(&text, "We know this house.\nYou may open it.\n").unwrap();
    std::fs::create_dir(&model).unwrap();
    let file = fixture("gguf/gemma3_like-q4_0.gguf");
    std::fs::copy(&file, model.join("any.gguf")).unwrap();
    let shown = |mt: &Path| {
        let mt = mt.to_str().unwrap();
        let text = text.to_str().unwrap();
        let asked = ["translate", "--text", text, "--to", "de", "--mt", mt, "--policy", "local-agreement"];
        let output = run(&[&asked[..], &["--device", "cpu", "--format", "jsonl"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        super::shown(&parse(&output.stdout))
    };
    let (source, target) = shown(&file);
    assert_eq!(source.len(), 8, "{source:?}");
    assert!(target.iter().any(|text| !text.trim().is_empty()), "{target:?}");
    assert_eq!(shown(&model), (source, target));
}

#[test]
fn a_wrong_file_is_named_with_its_reason() {
    let with = |file: &str| {
        let mt = fixture(file);
        let output = run(&["translate", "--text", "-", "--to", "de", "--mt", mt.to_str().unwrap(), "--device", "cpu"]);
        (output, mt)
    };
    for (file, reason) in [
        ("gguf/hostile/overlap.gguf", "overlaps the tensor"),
        ("gguf/hostile/magic.gguf", "does not begin with GGUF"),
        ("gguf/hostile/many_tensors.gguf", "tensors, and 72 bytes follow"),
        ("gguf/hostile/ok.gguf", "is missing"),
        ("gguf/blocks.gguf", "general.architecture"),
        ("gguf_conv/qwen3_asr-f16.gguf", "is a Qwen3-ASR model"),
        ("gguf_conv/mmproj-qwen3_asr-f16.gguf", "is only the part of a model that hears or sees"),
        ("gguf/gemma3_like-f16.gguf", "no attention heads are known"),
    ] {
        let (output, mt) = with(file);
        refused(&output, 1, &[mt.file_name().unwrap().to_str().unwrap(), reason]);
    }
    let (output, _) = with("gguf_conv");
    refused(&output, 1, &["holds several models: gemma3_like-conv-f16.gguf, gemma4_e2b_like-f16.gguf"]);
    let (output, _) = with("gemma3_like/config.json");
    refused(&output, 1, &["is a file, and not a GGUF file"]);
}

/// A folder that `models quantize` wrote gives the text that the original gives when it is
/// quantized while it is loaded, and every family can be written.
#[test]
fn a_quantized_folder_translates_as_its_original_quantized() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "We know this house.\nYou may open it.\n").unwrap();
    let shown = |mt: &Path, quant: &str| {
        let (text, mt) = (text.to_str().unwrap(), mt.to_str().unwrap());
        let asked = ["translate", "--text", text, "--to", "de", "--mt", mt, "--policy", "local-agreement"];
        let output = run(&[&asked[..], &["--device", "cpu", "--format", "jsonl", "--quant", quant]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        super::shown(&parse(&output.stdout))
    };
    let original = fixture("gemma3_like");
    for quant in ["q8", "q4/q8"] {
        let made = folder.path().join(quant.replace('/', "-"));
        let made_text = made.to_str().unwrap();
        let asked = ["models", "quantize", original.to_str().unwrap(), "--quant", quant, "-o", made_text];
        let output = run(&asked);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(made.join("tokenizer.json").is_file() && !made.join("model.safetensors.part").exists());
        let size = |path: &Path| std::fs::metadata(path.join("model.safetensors")).unwrap().len();
        assert!(size(&made) * 10 < size(&original) * 4, "{} of {}", size(&made), size(&original));
        assert_eq!(shown(&made, "auto"), shown(&original, quant), "{quant}");
        refused(&run(&asked), 1, &["model.safetensors is there already"]);
    }
    for model in ["qwen3_asr", "qwen3_aligner", "qwen3_like", "gemma4_e2b_like"] {
        let made = folder.path().join(model);
        let asked = ["models", "quantize", fixture(model).to_str().unwrap(), "--quant", "q8", "-o"].map(str::to_owned);
        let asked: Vec<&str> = asked.iter().map(String::as_str).chain([made.to_str().unwrap()]).collect();
        let output = run(&asked);
        assert!(output.status.success(), "{model}: {}", String::from_utf8_lossy(&output.stderr));
        if model.ends_with("like") {
            shown(&made, "auto");
        }
    }
    let file = fixture("gguf/gemma3_like-q4_0.gguf");
    let to = folder.path().join("none");
    let asked = ["models", "quantize", file.to_str().unwrap(), "--quant", "q4", "-o", to.to_str().unwrap()];
    refused(&run(&asked), 1, &["is a GGUF file, whose weights are kept as they are"]);
    let wrong = run(&["models", "quantize", "x", "--quant", "f16", "-o", "y"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("the forms are q8, q4, q4/q8 and q8/q4"));
}
