//! Helpers for tests: the fixtures, a tiny executor, and handmade safetensors bytes.

use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::files::Files;

/// A folder of the parity fixtures, in `ALIGNATT_FIXTURES` or in `tests/fixtures` of this package.
pub(crate) fn fixture(name: &str) -> PathBuf {
    let root = std::env::var_os("ALIGNATT_FIXTURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"), PathBuf::from);
    root.join(name)
}

pub(crate) fn fixture_files(name: &str) -> Files {
    Files::folder(fixture(name)).expect("the fixtures are there")
}

/// A file of this room's own test data.
pub(crate) fn own(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/weights").join(name)
}

/// An integer tensor of a fixture's `golden.safetensors`.
pub(crate) fn golden_ids(model: &str, name: &str) -> Vec<u32> {
    let file = std::fs::read(fixture(model).join("golden.safetensors")).expect("the fixtures are there");
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("a golden file");
    let tensor = tensors.tensor(name).expect("a golden tensor");
    let width = tensor.dtype().bitsize() / 8;
    tensor.data().chunks(width).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// Runs a future that never waits, such as those over files and memory.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("this future should be ready at once"),
    }
}

/// A safetensors file with the given header text and data.
pub(crate) fn safetensors_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

/// Files in memory.
pub(crate) fn memory(files: &[(&str, &[u8])]) -> Files {
    Files::remote(
        "memory",
        files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
        Vec::new(),
    )
}
