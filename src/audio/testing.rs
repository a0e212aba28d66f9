//! Files for the tests of this room.

use std::path::{Path, PathBuf};

use super::decode::AudioFile;

/// The path of a fixture. `ALIGNATT_FIXTURES` is searched first, then the fixtures of the crate.
pub(crate) fn fixture(path: &str) -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path);
    match std::env::var_os("ALIGNATT_FIXTURES") {
        Some(root) if PathBuf::from(&root).join(path).exists() => PathBuf::from(root).join(path),
        _ => here,
    }
}

/// The samples of a 16-bit mono 16 kHz WAV with a header of 44 bytes.
pub(crate) fn read_wav(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0).collect()
}

/// The sound of a sample talk.
pub(crate) fn sample(name: &str) -> Vec<f32> {
    open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples").join(name))
}

/// The whole sound of a file.
pub(crate) fn open(path: &Path) -> Vec<f32> {
    let mut file = AudioFile::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut samples = Vec::new();
    while let Some(block) = file.next_block().unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
        samples.extend(block);
    }
    samples
}

/// Test cases from the text functions of the reference.
pub(crate) fn golden_text() -> serde_json::Value {
    let path = fixture("text/text_golden.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
