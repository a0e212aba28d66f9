//! Files that other programs wrote, files that lie, and files that this test writes.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use safetensors::SafeTensors;

use super::metadata::Value;
use super::*;
use crate::weights::Weights;
use crate::weights::files::ReadFuture;
use crate::weights::testing::{fixture, memory, now};

fn read(name: &str) -> Vec<u8> {
    std::fs::read(fixture("gguf").join(name)).unwrap()
}

fn open(bytes: &[u8]) -> Result<Gguf, CheckpointError> {
    now(Gguf::open(&memory(&[("a.gguf", bytes)]), "a.gguf"))
}

fn weights(gguf: &Gguf) -> Weights {
    Weights::of_gguf("blocks", gguf.tensors.clone(), gguf.sources.clone(), false)
}

#[test]
fn every_type_is_unpacked_to_the_last_bit() {
    let gguf = open(&read("blocks.gguf")).unwrap();
    let weights = weights(&gguf);
    let golden = read("blocks.golden.safetensors");
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let mut seen = 0;
    for (name, tensor) in golden.tensors() {
        let shape = tensor.shape();
        let want: Vec<u32> =
            tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes).to_bits()).collect();
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
        assert_eq!(bits(now(weights.read_f32(&name, shape)).unwrap()), want, "{name}");
        // Rows from the middle, in either precision.
        let row: usize = shape[1..].iter().product();
        let rows = shape[0] / 2..shape[0];
        let part = now(weights.read_rows_f32(&name, shape, rows.clone())).unwrap();
        assert_eq!(bits(part.clone()), want[rows.start * row..rows.end * row], "{name}");
        if part.iter().all(|value| value.abs() < 65000.0) {
            let halves = now(weights.read_rows_f16(&name, shape, rows)).unwrap();
            assert!(halves.iter().zip(&part).all(|(half, value)| *half == half::f16::from_f32(*value)), "{name}");
        }
        seen += 1;
    }
    assert_eq!(seen, gguf.tensors.len());
    assert_eq!(weights.unused(&[]), Vec::<&str>::new());
}

#[test]
fn every_type_of_value() {
    let gguf = open(&read("blocks.gguf")).unwrap();
    let meta: serde_json::Value = serde_json::from_slice(&read("blocks.meta.json")).unwrap();
    for (key, want) in meta.as_object().unwrap() {
        let got: serde_json::Value = match gguf.metadata.get(key).unwrap_or_else(|| panic!("{key}")) {
            Value::Whole(value) => serde_json::Value::Number(serde_json::Number::from_i128(*value).unwrap()),
            Value::Number(value) => (*value).into(),
            Value::Flag(value) => (*value).into(),
            Value::Text(bytes) => String::from_utf8(bytes.clone()).unwrap().into(),
            Value::Wholes(values) => values.clone().into(),
            Value::Numbers(values) => values.clone().into(),
            Value::Flags(values) => values.clone().into(),
            Value::Texts(texts) => texts.iter().map(String::from).collect::<Vec<_>>().into(),
        };
        assert_eq!(got, *want, "{key}");
    }
    assert_eq!(
        gguf.metadata.whole("a.i8").unwrap_err().to_string(),
        "memory/a.gguf: a.i8: -100 is too small or too large"
    );
    assert!(gguf.metadata.text("a.u8").unwrap_err().to_string().contains("a.u8: is not a text"));
}

/// What is said of each file of the fixtures' manifest that must be refused.
const REASONS: [(&str, &str); 28] = [
    ("magic", "does not begin with GGUF"),
    ("version1", "has GGUF's version 1"),
    ("version4", "has GGUF's version 4"),
    ("big_endian", "is a big-endian GGUF file"),
    ("cut_header", "ends in the counts"),
    ("cut_key", "ends in a key"),
    ("many_kv", "claims 4611686018427387904 keys"),
    ("many_tensors", "tensors, and"),
    ("long_string", "ends in the value of"),
    ("long_array", "is an array of"),
    ("nested_array", "is an array of arrays"),
    ("bad_value_type", "which is unknown"),
    ("same_key", "twice"),
    ("alignment0", "general.alignment: 0 is not a power of two"),
    ("alignment3", "general.alignment: 3 is not a power of two"),
    ("alignment_text", "general.alignment: is not a whole number"),
    ("same_tensor", "is listed twice"),
    ("rank5", "has 5 dimensions"),
    ("bad_type", "has the type"),
    ("removed_type", "has the type 4 (Q4_2 (removed from the format))"),
    ("row_not_blocks", "are not whole blocks of 32"),
    ("shape_overflow", "is impossible"),
    ("zero_rows", "is impossible"),
    ("beyond_end", "end beyond the file"),
    ("offset_overflow", "end beyond the file"),
    ("unaligned", "is not a multiple of 32"),
    ("cut_data", "end beyond the file"),
    ("overlap", "overlaps the tensor"),
];

#[test]
fn hostile_files_are_refused_each_for_its_reason() {
    let manifest: serde_json::Value = serde_json::from_slice(&read("hostile/manifest.json")).unwrap();
    let mut left: Vec<&str> = REASONS.iter().map(|(name, _)| *name).collect();
    for (name, entry) in manifest.as_object().unwrap() {
        let source = Measured::new(read(&format!("hostile/{name}")));
        let result = now(header::read(&name.as_str().into(), &source));
        assert!(source.most() <= 1 << 20, "{name}");
        let stem = name.trim_end_matches(".gguf");
        let reason = REASONS.iter().find(|(name, _)| *name == stem);
        match (entry["must"].as_str().unwrap(), result, reason) {
            ("refuse" | "either", Err(error), Some((_, reason))) => {
                left.retain(|name| *name != stem);
                assert!(error.to_string().contains(reason), "{name}: {error}");
            }
            ("accept" | "either", Ok(_), None) => {}
            (must, result, reason) => panic!("{name}: {must}, {:?}, {reason:?}", result.map(|_| ())),
        }
    }
    assert_eq!(left, Vec::<&str>::new());
}

/// Bytes that know the most that was read at once.
struct Measured {
    bytes: Vec<u8>,
    most: AtomicU64,
}

impl Measured {
    fn new(bytes: Vec<u8>) -> Measured {
        Measured { bytes, most: AtomicU64::new(0) }
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl ByteSource for Measured {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        self.most.fetch_max(len as u64, Ordering::Relaxed);
        self.bytes.read(offset, len)
    }
}

/// A file of keys, each with its type and the bytes of its value, and of tensors.
fn file(keys: &[(&str, u32, Vec<u8>)], tensors: &[(&str, &[u64], u32, &[u8])]) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, kind, value) in keys {
        out.extend([text(key), kind.to_le_bytes().to_vec(), value.clone()].concat());
    }
    let mut data = Vec::new();
    for (name, sizes, kind, bytes) in tensors {
        out.extend([text(name), (sizes.len() as u32).to_le_bytes().to_vec()].concat());
        sizes.iter().for_each(|size| out.extend(size.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        data.extend_from_slice(bytes);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    [out, data].concat()
}

fn number(value: u16) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

#[test]
fn a_header_longer_than_a_piece() {
    let texts: Vec<u8> =
        (0..300_000u64).flat_map(|at| [&8u64.to_le_bytes()[..], format!("{at:08}").as_bytes()].concat()).collect();
    let array = [&8u32.to_le_bytes()[..], &300_000u64.to_le_bytes(), &texts].concat();
    let bytes = file(&[("x", 9, array)], &[("t", &[2], 0, &[0; 8])]);
    let source = Measured::new(bytes);
    let header = now(header::read(&"x".into(), &source)).unwrap();
    let read = header.metadata.texts("x").unwrap().unwrap();
    assert_eq!((read.len(), read.iter().last().unwrap().as_ref()), (300_000, "00299999"));
    assert_eq!(source.most(), 1 << 20);
}

/// A header that goes on and on is given up, and so is an array that takes more memory than bytes.
#[test]
fn endless_headers_are_given_up() {
    /// Zeros after a beginning, as long as it is said.
    struct Endless(Vec<u8>, u64);
    impl ByteSource for Endless {
        fn size(&self) -> u64 {
            self.1
        }
        fn read(&self, offset: u64, len: usize) -> ReadFuture<'_> {
            assert!(offset < 100 << 20);
            let mut bytes: Vec<u8> = self.0.iter().skip(offset as usize).take(len).copied().collect();
            bytes.resize(len, 0);
            Box::pin(std::future::ready(Ok(bytes)))
        }
    }
    let refused = |begin: Vec<u8>| {
        let error = now(header::read(&"x".into(), &Endless(begin, 1 << 40))).err().unwrap();
        error.to_string()
    };
    let key = |kind: u32, count: u64| {
        let array = [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
        file(&[("x", 9, array)], &[])[..24 + 8 + 1 + 4 + 12].to_vec()
    };
    for (kind, count) in [(0, (4 << 20) + 1), (8, 1 << 30), (12, 1 << 36)] {
        let message = refused(key(kind, count));
        assert!(message.contains("all arrays are too long together"), "{message}");
    }
    let names: Vec<String> = (0..17).map(|at| format!("k{at}")).collect();
    let text = [&(4u64 << 20).to_le_bytes()[..], &vec![0; 4 << 20]].concat();
    let keys: Vec<_> = names.iter().map(|name| (name.as_str(), 8, text.clone())).collect();
    let message = refused(file(&keys, &[]));
    assert!(message.contains("has a header of more than 64 MiB, in the value of k15"), "{message}");
    let mut tensors = file(&[], &[]);
    tensors[8..16].copy_from_slice(&(1u64 << 16).to_le_bytes());
    assert!(refused(tensors).contains("the name of tensor 0 is empty"));
    let long = [&(1u64 << 30).to_le_bytes()[..]].concat();
    assert!(refused(file(&[("x", 8, long)], &[])).contains("has 1073741824 bytes, but at most"));
}

#[test]
fn split_files() {
    let part = |number: u16, of: u16, name: &str, value: f32| {
        let keys = [
            ("split.no", 2, number_of(number)),
            ("split.count", 2, number_of(of)),
            ("split.tensors.count", 2, number_of(2)),
        ];
        file(&keys, &[(name, &[1], 0, &value.to_le_bytes())])
    };
    fn number_of(value: u16) -> Vec<u8> {
        number(value)
    }
    let (one, two) = (part(0, 2, "a", 1.0), part(1, 2, "b", 2.0));
    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    let open = |files: &[(&str, &[u8])]| now(Gguf::open(&memory(files), names[1]));
    let gguf = open(&[(names[0], &one), (names[1], &two)]).unwrap();
    assert_eq!(now(weights(&gguf).read_f32("b", &[1])).unwrap(), [2.0]);
    assert_eq!(now(weights(&gguf).read_f32("a", &[1])).unwrap(), [1.0]);
    let fail = |files: &[(&str, &[u8])]| open(files).err().unwrap().to_string();
    assert!(fail(&[(names[0], &one)]).contains("m-00002-of-00002.gguf is missing"));
    assert!(fail(&[(names[0], &two), (names[1], &one)]).contains("is part 2 of 2, but it is used as part 1 of 2"));
    let same = part(1, 2, "a", 2.0);
    assert!(fail(&[(names[0], &one), (names[1], &same)]).contains("tensor a: is in memory/m-00001-of-00002.gguf"));
    let whole = file(&[], &[("b", &[1], 0, &[0; 4])]);
    assert!(fail(&[(names[0], &one), (names[1], &whole)]).contains("is part 1 of 1"));
    let alone = now(Gguf::open(&memory(&[("m.gguf", &one)]), "m.gguf")).err().unwrap().to_string();
    assert!(alone.contains("is part 1 of 2, but it is used as part 1 of 1"), "{alone}");
}

#[test]
fn scales_that_are_not_finite_are_refused() {
    let infinite = half::f16::INFINITY.to_le_bytes();
    let mut block = [[0; 34], [1; 34]].concat();
    block[34..36].copy_from_slice(&infinite);
    let gguf = open(&file(&[], &[("q", &[64], 8, &block)])).unwrap();
    let message = now(weights(&gguf).read_f32("q", &[64])).unwrap_err().to_string();
    assert_eq!(message, "memory/a.gguf: tensor q: number 32 is inf");
    // 65504 * 127 fits f32 and not f16.
    block[34..36].copy_from_slice(&half::f16::MAX.to_le_bytes());
    let gguf = open(&file(&[], &[("q", &[64], 8, &block)])).unwrap();
    assert!(now(weights(&gguf).read_f32("q", &[64])).is_ok());
    block[40] = 127;
    let gguf = open(&file(&[], &[("q", &[64], 8, &block)])).unwrap();
    let message = now(weights(&gguf).read_rows_f16("q", &[64], 0..64)).unwrap_err().to_string();
    assert!(message.contains("number 36 is 8319008, which does not fit f16"), "{message}");
}

/// A tensor of several pieces, each of whole blocks.
#[test]
fn pieces_of_quantized_tensors_join_without_a_seam() {
    let rows = 700;
    let block = |at: usize| {
        let mut block = half::f16::ONE.to_le_bytes().to_vec();
        block.extend((0..32).map(|number| ((at + number) % 100) as u8));
        block
    };
    let data: Vec<u8> = (0..rows * 64).flat_map(block).collect();
    let gguf = open(&file(&[], &[("q", &[2048, rows as u64], 8, &data)])).unwrap();
    let weights = weights(&gguf);
    let whole = now(weights.read_f32("q", &[rows, 2048])).unwrap();
    assert!(whole.iter().enumerate().all(|(at, value)| *value == ((at / 32 + at % 32) % 100) as f32));
    let tail = now(weights.read_rows_f32("q", &[rows, 2048], 3..rows)).unwrap();
    assert_eq!(tail, whole[3 * 2048..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = open(&bytes);
        let _ = open(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
    }

    /// Bytes of a good file are changed, also eight in a row, as lengths and counts have them.
    #[test]
    fn mutated_files_never_panic_and_never_grow(
        at in any::<prop::sample::Index>(),
        value in prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), Just(1 << 40), Just(32)],
        len in 1usize..=8,
        cut in any::<prop::sample::Index>(),
        drop in any::<bool>(),
    ) {
        let mut bytes = read("blocks.gguf");
        // Most of the header: it has 1.5 kB.
        let at = at.index(1500);
        bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        if drop {
            bytes.truncate(cut.index(bytes.len()));
        }
        let size = bytes.len();
        if let Ok(gguf) = open(&bytes) {
            for (name, info) in &gguf.tensors {
                prop_assert!(info.bytes() <= size as u64);
                let _ = now(weights(&gguf).read_f32(name, &info.shape));
            }
        }
    }
}
