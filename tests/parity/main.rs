//! Parity: every golden tensor of every fixture folder, on the CPU backend and on every adapter
//! that is present.
//!
//! The folders are in `tests/fixtures`, or where ALIGNATT_FIXTURES points. The tolerances are those
//! of the fixtures' README. In CI (the variable CI is set) a missing adapter is a failure;
//! elsewhere the tests that were not run are printed.

mod aligner;
mod asr;
mod capture;
#[path = "../common/mod.rs"]
mod common;
mod demo;
#[path = "../common/dice.rs"]
mod dice;
mod drafting;
mod gguf;
mod gguf_writer;
mod golden;
mod mistakes;
mod real;
mod text;

use std::path::PathBuf;

use alignatt::internals::models::ModelConfig;
use alignatt::{Compute, Files};
use common::devices;

fn root() -> PathBuf {
    match std::env::var_os("ALIGNATT_FIXTURES") {
        Some(root) => PathBuf::from(root),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"),
    }
}

/// The folders that contain a model and its golden tensors.
fn folders() -> Vec<PathBuf> {
    let root = root();
    let mut folders: Vec<_> = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("golden.safetensors").is_file())
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "{}: no fixtures", root.display());
    folders
}

/// The families of text models.
const TEXT: &[&str] = &["gemma3", "gemma4", "qwen3"];

/// Runs `check` on every device, with every folder whose config is of one of the given kinds.
fn everywhere(kinds: &[&str], check: impl AsyncFn(&Files, &ModelConfig, &Compute)) {
    pollster::block_on(async {
        let devices = devices().await;
        let mut count = 0;
        for folder in folders() {
            let files = Files::folder(&folder).unwrap();
            let config = ModelConfig::open(&files).unwrap();
            let kind = golden::kind(&config);
            if !kinds.contains(&kind) {
                continue;
            }
            for compute in &devices {
                eprintln!("{kind}: {} on {}", folder.display(), compute.name);
                check(&files, &config, compute).await;
                compute.check().unwrap();
                count += 1;
            }
        }
        eprintln!("{}: {count} runs", kinds.join(", "));
    });
}

#[test]
fn qwen3_asr() {
    everywhere(&["qwen3_asr"], asr::check);
}

#[test]
fn qwen3_asr_in_the_other_layout() {
    everywhere(&["qwen3_asr"], asr::check_other_layout);
}

#[test]
fn qwen3_aligner() {
    everywhere(&["qwen3_aligner"], aligner::check);
}

#[test]
fn gemma3() {
    everywhere(&["gemma3"], text::check);
}

#[test]
fn mistakes_with_gemma3() {
    everywhere(&["gemma3"], mistakes::gemma3);
}

#[test]
fn mistakes_with_qwen3() {
    everywhere(&["qwen3"], mistakes::qwen3);
}

#[test]
fn gemma4() {
    everywhere(&["gemma4"], text::check);
}

#[test]
fn qwen3() {
    everywhere(&["qwen3"], text::check);
}

#[test]
fn qwen3_with_a_head_of_its_own() {
    everywhere(&["qwen3"], text::check_head);
}

#[test]
fn text_models_in_fewer_bits() {
    everywhere(TEXT, text::check_rounded);
}

#[test]
fn replay_equals_the_reference_s_attention() {
    everywhere(TEXT, capture::replays_the_reference);
}

#[test]
fn replay_past_the_window() {
    everywhere(TEXT, capture::replays_past_the_window);
}

#[test]
fn captures_side_by_side() {
    everywhere(TEXT, capture::side_by_side);
}

#[test]
fn a_capture_changes_no_bit() {
    everywhere(TEXT, capture::bit_identity);
}

#[test]
fn drafting() {
    everywhere(TEXT, drafting::check);
}

#[test]
fn gguf_files() {
    pollster::block_on(async {
        let devices = devices().await;
        for case in gguf::cases(&root()) {
            for compute in &devices {
                eprintln!("{} on {}", case.file.display(), compute.name);
                gguf::check(&case, compute).await;
                compute.check().unwrap();
            }
        }
    });
}

#[test]
fn qwen3_aligner_as_gguf() {
    everywhere(&["qwen3_aligner"], async |files, _, compute| {
        gguf::check_aligner(files.as_folder().unwrap(), compute).await
    });
}

#[test]
fn gguf_with_fused_tensors_in_two_parts() {
    everywhere(&["qwen3"], async |files, _, compute| {
        gguf::check_fused_and_split(files.as_folder().unwrap(), compute).await
    });
}

/// On the CPU wherever the file has been fetched; in the long tests on adapters as well, and with
/// weights that are unpacked or quantized anew.
#[test]
fn gemma3_270m() {
    pollster::block_on(async {
        let Some(files) = real::files().await else { return };
        real::tokens(&files);
        let devices = if common::long() { devices().await } else { vec![Compute::cpu()] };
        for compute in devices {
            real::check(&files, &compute).await;
            compute.check().unwrap();
            if common::long() && !compute.is_gpu() {
                real::rounded(&files, &compute).await;
            }
        }
    });
}

#[test]
fn demo_pack_translation() {
    pollster::block_on(async {
        for compute in devices().await {
            demo::translation(&compute).await;
        }
    });
}

#[test]
fn demo_pack_speech() {
    pollster::block_on(async {
        for compute in devices().await {
            demo::speech(&compute).await;
        }
    });
}
