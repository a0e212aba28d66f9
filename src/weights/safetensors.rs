//! The headers of safetensors files, and the index of several.
//!
//! A file is 8 bytes of header length (little-endian), a JSON header
//! `{name: {dtype, shape, data_offsets}}`, then the data. Only the header is read here, and it is
//! not trusted: every size is checked against the file before anything is allocated.
//!
//! The dtypes come from the `safetensors` crate. Its parser needs the whole file in memory, and if
//! two entries have the same name it silently uses the last one, so the header is parsed here.
//! Source: the format's README, <https://github.com/huggingface/safetensors>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::{CheckpointError, FETCH_AGAIN, shown};
use super::files::{ByteSource, Files, is_safe_name};
use super::tensors::{PIECE, Stored, TensorInfo};

/// The weights, if they are in one file.
pub(crate) const SINGLE_FILE: &str = "model.safetensors";
/// The list of shards, if the weights are in several files.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

const MAX_HEADER: u64 = 100_000_000;
/// The largest index that is read, in bytes.
pub(crate) const MAX_INDEX: usize = 64 << 20;
const MAX_TENSORS: usize = 1 << 17;
const MAX_SHARDS: usize = 1024;
const MAX_RANK: usize = 8;
const MAX_NAME: usize = 512;

/// The contents of an index: the shard of every tensor, and the shards in order.
pub(crate) struct Index {
    pub tensors: BTreeMap<String, String>,
    pub shards: BTreeSet<String>,
}

impl Index {
    /// Parses the text of an index. A shard must be in the same folder or below it; the error names
    /// any other.
    pub(crate) fn parse(json: &[u8]) -> Result<Index, String> {
        #[derive(Deserialize)]
        struct Json {
            weight_map: BTreeMap<String, String>,
        }
        let json: Json = serde_json::from_slice(json).map_err(|error| shown(&error.to_string()))?;
        let shards: BTreeSet<String> = json.weight_map.values().cloned().collect();
        if shards.is_empty() || shards.len() > MAX_SHARDS {
            return Err(format!("weight_map names {} files", shards.len()));
        }
        match shards.iter().find(|shard| !is_safe_name(shard) || !shard.ends_with(".safetensors")) {
            Some(shard) => {
                Err(format!("weight_map: {} is not the name of a safetensors file of the model", shown(shard)))
            }
            None => Ok(Index { tensors: json.weight_map, shards }),
        }
    }
}

/// Reads the index of a model's files. All shards must exist.
pub(super) fn read_index(files: &Files) -> Result<Index, CheckpointError> {
    let index = Index::parse(&files.bytes(INDEX_FILE, MAX_INDEX)?)
        .map_err(|what| CheckpointError::file(files.path(INDEX_FILE), what, FETCH_AGAIN))?;
    match index.shards.iter().find(|shard| !files.has(shard)) {
        Some(shard) => Err(CheckpointError::Missing {
            file: format!("{}, which {INDEX_FILE} lists,", shown(shard)),
            place: files.label().to_owned(),
            remedy: FETCH_AGAIN,
        }),
        None => Ok(index),
    }
}

/// Reads and checks one header. The caller fills in `shard`.
pub(super) async fn read_header(
    file: &Arc<str>,
    source: &dyn ByteSource,
) -> Result<Vec<(String, TensorInfo)>, CheckpointError> {
    let size = source.size();
    let bad = |what: String| CheckpointError::file(file, what, FETCH_AGAIN);
    let io = |error| CheckpointError::io(file, error, FETCH_AGAIN);
    if size < 8 {
        return Err(bad(format!("is {size} bytes long, which is too short for a safetensors file")));
    }
    let head = source.read(0, 8).await.map_err(io)?;
    let len = match <[u8; 8]>::try_from(head) {
        Ok(head) => u64::from_le_bytes(head),
        Err(head) => return Err(bad(format!("{} bytes were read instead of 8", head.len()))),
    };
    if len > MAX_HEADER || len > size - 8 {
        return Err(bad(format!(
            "claims a header of {len} bytes in a file of {size}; it is truncated or not a safetensors file"
        )));
    }
    let mut header = Vec::new();
    while (header.len() as u64) < len {
        let piece = ((len - header.len() as u64) as usize).min(PIECE);
        let bytes = source.read(8 + header.len() as u64, piece).await.map_err(io)?;
        if bytes.len() != piece {
            return Err(bad(format!("{} bytes of the header were read instead of {piece}", bytes.len())));
        }
        header.extend_from_slice(&bytes);
    }
    let header: Header =
        serde_json::from_slice(&header).map_err(|error| bad(format!("header: {}", shown_long(&error.to_string()))))?;
    check_layout(file, size, 8 + len, header)
}

/// Checks every entry against the file: size = shape x dtype, inside the file, no overlap, no gap,
/// nothing after the last one.
fn check_layout(
    file: &Arc<str>,
    size: u64,
    base: u64,
    header: Header,
) -> Result<Vec<(String, TensorInfo)>, CheckpointError> {
    let data = size - base;
    let mut spans = Vec::with_capacity(header.0.len());
    for (name, entry) in &header.0 {
        let wrong = |what: String| CheckpointError::tensor(file, shown(name), what, FETCH_AGAIN);
        let [start, end] = entry.data_offsets;
        let shape = &entry.shape.0;
        let len = shape.iter().try_fold(1u64, |len, dim| len.checked_mul(*dim as u64));
        let bytes =
            len.filter(|len| usize::try_from(*len).is_ok()).and_then(|len| Stored::Plain(entry.dtype).bytes_of(len));
        let Some(bytes) = bytes else {
            return Err(wrong(format!("shape {shape:?} of {} is impossible", entry.dtype)));
        };
        if start > end || end > data {
            return Err(wrong(format!(
                "is at bytes {start}..{end} of {data}; the file is truncated or its header is wrong"
            )));
        }
        if end - start != bytes {
            return Err(wrong(format!(
                "shape {shape:?} of {} takes {bytes} bytes, but the header gives it {}",
                entry.dtype,
                end - start
            )));
        }
        spans.push((start, end, name));
    }
    spans.sort_unstable();
    let mut at = 0;
    for (start, end, name) in spans {
        if start != at {
            let what = if start < at { "overlaps the tensor before it" } else { "follows a gap" };
            return Err(CheckpointError::tensor(
                file,
                shown(name),
                format!("{what} (byte {start}, expected {at})"),
                FETCH_AGAIN,
            ));
        }
        at = end;
    }
    if at != data {
        return Err(CheckpointError::file(file, format!("{} bytes follow the last tensor", data - at), FETCH_AGAIN));
    }
    let info = |entry: Entry| TensorInfo {
        stored: Stored::Plain(entry.dtype),
        shape: entry.shape.0,
        file: file.clone(),
        shard: 0,
        offset: base + entry.data_offsets[0],
        scales: None,
    };
    Ok(header.0.into_iter().map(|(name, entry)| (name, info(entry))).collect())
}

fn shown_long(text: &str) -> String {
    text.chars().take(300).flat_map(char::escape_debug).collect()
}

/// A parsed header. Names are unique and bounded; `__metadata__` is dropped.
struct Header(BTreeMap<String, Entry>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Shape,
    data_offsets: [u64; 2],
}

struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if name.len() > MAX_NAME || tensors.len() >= MAX_TENSORS {
                        return Err(A::Error::custom(format_args!(
                            "too many tensors or too long a name at {}",
                            shown(&name)
                        )));
                    }
                    let entry: Entry = map
                        .next_value()
                        .map_err(|error| A::Error::custom(format_args!("tensor {}: {error}", shown(&name))))?;
                    if tensors.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("tensor {} is listed twice", shown(&name))));
                    }
                    tensors.insert(name, entry);
                }
                Ok(Header(tensors))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        struct Dims;
        impl<'de> Visitor<'de> for Dims {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "at most {MAX_RANK} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    if dims.len() == MAX_RANK {
                        return Err(A::Error::invalid_length(dims.len() + 1, &self));
                    }
                    dims.push(dim);
                }
                Ok(Shape(dims))
            }
        }
        deserializer.deserialize_seq(Dims)
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;

    use super::super::tensors::Weights;
    use super::super::testing::{fixture, fixture_files, memory, now, safetensors_file};
    use super::*;

    fn open(header: &str, data: &[u8]) -> Result<Weights, CheckpointError> {
        now(Weights::open(&memory(&[(SINGLE_FILE, &safetensors_file(header, data))])))
    }

    fn refused(header: &str, data: &[u8]) -> String {
        let error = open(header, data).expect_err("must be refused");
        let message = error.to_string();
        assert!(message.starts_with("memory/model.safetensors: "), "{message}");
        assert_eq!(error.remedy(), &FETCH_AGAIN, "{message}");
        message
    }

    #[test]
    fn reads_every_dtype_whole_and_by_rows() {
        let values = [1.0f32, -2.5, 0.25, 3.0, 65504.0, -0.0];
        let mut data = Vec::new();
        values.iter().for_each(|v| data.extend(v.to_le_bytes()));
        values.iter().for_each(|v| data.extend(f16::from_f32(*v).to_le_bytes()));
        values.iter().for_each(|v| data.extend(bf16::from_f32(*v).to_le_bytes()));
        let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},
            "b":{"dtype":"F16","shape":[3,2],"data_offsets":[24,36]},"c":{"dtype":"BF16","shape":[3,2],"data_offsets":[36,48]}}  "#;
        let weights = open(header, &data).unwrap();
        for name in ["a", "b"] {
            assert_eq!(now(weights.read_f32(name, &[3, 2])).unwrap(), values);
            assert_eq!(now(weights.read_rows_f32(name, &[3, 2], 1..3)).unwrap(), values[2..]);
            assert_eq!(now(weights.read_rows_f16(name, &[3, 2], 0..3)).unwrap(), values.map(f16::from_f32));
        }
        assert_eq!(now(weights.read_rows_f32("c", &[3, 2], 0..2)).unwrap(), values[..4]);
        assert!(now(weights.read_rows_f32("c", &[3, 2], 1..1)).unwrap().is_empty());
        assert_eq!(weights.unused(&[]), Vec::<&str>::new());
        // 65504 becomes 65536 in bf16, which does not fit f16.
        let message = now(weights.read_rows_f16("c", &[3, 2], 0..3)).unwrap_err().to_string();
        assert!(message.contains("tensor c: number 4 is 65536, which does not fit f16"), "{message}");
        let message = now(weights.read_rows_f32("c", &[3, 2], 2..4)).unwrap_err().to_string();
        assert!(message.contains("3 rows"), "{message}");
    }

    #[test]
    fn pieces_join_without_a_seam() {
        let len = PIECE / 2 + 7; // more than two pieces as f32, more than one as bf16
        let data: Vec<u8> = (0..len).flat_map(|i| ((i % 251) as f32).to_le_bytes()).collect();
        let weights =
            open(&format!(r#"{{"a":{{"dtype":"F32","shape":[{len}],"data_offsets":[0,{}]}}}}"#, len * 4), &data)
                .unwrap();
        let whole = now(weights.read_f32("a", &[len])).unwrap();
        assert!(whole.iter().enumerate().all(|(i, v)| *v == (i % 251) as f32));
        let tail = now(weights.read_rows_f32("a", &[len], 5..len)).unwrap();
        assert_eq!(tail, whole[5..]);
    }

    #[test]
    fn scalars_and_empty_tensors() {
        let header = r#"{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]}}"#;
        let weights = open(header, &2.0f32.to_le_bytes()).unwrap();
        assert_eq!(now(weights.read_f32("s", &[])).unwrap(), [2.0]);
        assert!(now(weights.read_f32("e", &[0, 7])).unwrap().is_empty());
    }

    #[test]
    fn the_model_is_held_to_what_it_asks_for() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"i":{"dtype":"I64","shape":[1],"data_offsets":[8,16]},
            "tower.x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[16,20]}}"#;
        let mut data = 1.0f32.to_le_bytes().to_vec();
        data.extend(f32::NAN.to_le_bytes());
        data.extend([0; 12]);
        let weights = open(header, &data).unwrap();
        let fail = |name: &str, shape: &[usize]| now(weights.read_f32(name, shape)).unwrap_err().to_string();
        assert!(fail("b", &[2]).contains("memory: tensor b: is missing; shape [2] is needed"), "{}", fail("b", &[2]));
        assert!(fail("a", &[1, 2]).contains("model.safetensors: tensor a: has shape [2], config.json asks for [1, 2]"));
        assert!(fail("i", &[1]).contains("has dtype I64, only F32, F16 and BF16 are read"));
        assert!(fail("a", &[2]).contains("tensor a: number 1 is NaN"));
        assert_eq!(weights.unused(&[]), ["tower.x"]);
        assert!(weights.refuse_unused(&["tower."]).is_ok());
        let message = weights.refuse_unused(&[]).unwrap_err().to_string();
        assert!(message.contains("tensor tower.x: this model has no such tensor"), "{message}");
    }

    #[test]
    fn lying_headers_are_refused_by_name() {
        let a = |shape: &str, from: u64, to: u64| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
        };
        assert!(
            refused(&a("[3]", 0, 8), &[0; 8])
                .contains("tensor a: shape [3] of F32 takes 12 bytes, but the header gives it 8")
        );
        assert!(refused(&a("[2]", 0, 8), &[0; 7]).contains("tensor a: is at bytes 0..8 of 7; the file is truncated"));
        assert!(refused(&a("[2]", 8, 0), &[0; 8]).contains("tensor a: is at bytes 8..0"));
        assert!(refused(&a("[1]", 4, 8), &[0; 8]).contains("follows a gap"));
        assert!(refused(&a("[1]", 0, 4), &[0; 8]).contains("4 bytes follow the last tensor"));
        assert!(refused(&a("[4294967296,4294967296,4]", 0, 8), &[0; 8]).contains("is impossible"));
        assert!(refused(&a("[18446744073709551615,2]", 0, 8), &[0; 8]).contains("tensor a: shape"));
        assert!(refused(&a("[99999999999999999999]", 0, 8), &[0; 8]).contains("tensor a: "));
        assert!(refused(&a("[-1]", 0, 8), &[0; 8]).contains("tensor a: "));
        assert!(
            refused(&a("[1,1,1,1,1,1,1,1,2]", 0, 8), &[0; 8])
                .contains("tensor a: invalid length 9, expected at most 8 dimensions")
        );
        assert!(refused(&a("[2]", 0, 8).replace("F32", "Q4_K"), &[0; 8]).contains("tensor a: unknown variant `Q4_K`"));
        assert!(
            refused(&a("[2]", 0, 8).replace("shape", "shapes"), &[0; 8]).contains("tensor a: unknown field `shapes`")
        );
        let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        assert!(refused(twice, &[0; 8]).contains("tensor a is listed twice"));
        let over = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
        assert!(refused(over, &[0; 12]).contains("tensor b: overlaps the tensor before it"));
        assert!(refused("[]", &[]).contains("an object of tensors"));
        assert!(refused(&"[".repeat(100_000), &[]).contains("header: "));
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(1 << 20));
        assert!(refused(&long, &[]).len() < 600);
    }

    #[test]
    fn lying_lengths_are_refused_before_anything_is_allocated() {
        for len in [9u64, 1 << 26, 1 << 40, u64::MAX, MAX_HEADER + 1] {
            let mut file = len.to_le_bytes().to_vec();
            file.push(b'{');
            let message = now(Weights::open(&memory(&[(SINGLE_FILE, &file)]))).unwrap_err().to_string();
            assert!(message.contains(&format!("claims a header of {len} bytes in a file of 9")), "{message}");
        }
        let message = now(Weights::open(&memory(&[(SINGLE_FILE, b"short")]))).unwrap_err().to_string();
        assert!(message.contains("is 5 bytes long, which is too short"), "{message}");
    }

    #[test]
    fn a_sharded_checkpoint() {
        let shard = |name: &str, value: f32| {
            let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
            safetensors_file(&header, &value.to_le_bytes())
        };
        let index = |text: &str| format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{{{text}}}}}"#).into_bytes();
        let (one, two) = (shard("a", 1.0), shard("b", 2.0));
        let good = index(r#""a":"1.safetensors","b":"2.safetensors""#);
        let open = |index: &[u8], files: &[(&str, &[u8])]| {
            now(Weights::open(&memory(&[&[(INDEX_FILE, index)], files].concat())))
        };
        let weights = open(&good, &[("1.safetensors", &one), ("2.safetensors", &two)]).unwrap();
        assert_eq!(now(weights.read_f32("b", &[1])).unwrap(), [2.0]);
        assert_eq!(&*weights.info("a").unwrap().file, "memory/1.safetensors");
        assert_eq!(weights.total_bytes(), 8);

        let fail = |index: &[u8], files: &[(&str, &[u8])]| open(index, files).unwrap_err().to_string();
        let message = fail(&good, &[("1.safetensors", &one)]);
        assert_eq!(message, format!("2.safetensors, which {INDEX_FILE} lists, is missing in memory"));
        let message = fail(&good, &[("1.safetensors", &one), ("2.safetensors", &two[..two.len() - 1])]);
        assert!(message.contains("memory/2.safetensors: tensor b: is at bytes 0..4 of 3"), "{message}");
        for outside in ["../1", "/1", "a/../1", "a//1", "a\\\\1", "C:1", "./1"] {
            let message = fail(&index(&format!(r#""a":"{outside}.safetensors""#)), &[("1.safetensors", &one)]);
            assert!(message.contains("is not the name of a safetensors file of the model"), "{outside}: {message}");
        }
        let below = index(r#""a":"part one/1.safetensors""#);
        assert!(open(&below, &[("part one/1.safetensors", &one)]).is_ok());
        let message = fail(&index(r#""a":"1.safetensors","c":"1.safetensors""#), &[("1.safetensors", &one)]);
        assert!(message.contains("memory/1.safetensors: tensor c: the index puts it here"), "{message}");
        let message = fail(&good, &[("1.safetensors", &two), ("2.safetensors", &one)]);
        assert!(message.contains("tensor a: the index puts it in 1.safetensors"), "{message}");
        let message = fail(&good, &[("1.safetensors", &one), ("2.safetensors", &one)]);
        assert!(message.contains("memory/2.safetensors: tensor a: is in memory/1.safetensors as well"), "{message}");
        assert!(fail(&index(""), &[]).contains("weight_map names 0 files"));
        let message = now(Weights::open(&memory(&[]))).unwrap_err().to_string();
        assert_eq!(message, "model.safetensors is missing in memory");
    }

    #[test]
    fn fixtures_open_from_disk_and_agree_with_their_two_layouts() {
        for model in ["qwen3_asr", "qwen3_aligner", "gemma4_e2b_like", "gemma4_e4b_like"] {
            let weights = now(Weights::open(&fixture_files(model))).unwrap();
            assert!(weights.names().count() > 60);
            for name in weights.names() {
                let info = weights.info(name).unwrap();
                assert_eq!(now(weights.read_f32(name, &info.shape)).unwrap().len(), info.len());
            }
            assert!(weights.refuse_unused(&[]).is_ok());
        }
        let ours = now(Weights::open(&fixture_files("qwen3_asr"))).unwrap();
        let theirs = now(Weights::open(&fixture_files("qwen3_asr/hf"))).unwrap();
        let read = |weights: &Weights, name: &str| now(weights.read_f32(name, &[328, 48])).unwrap();
        assert_eq!(
            read(&ours, "thinker.model.embed_tokens.weight"),
            read(&theirs, "model.language_model.embed_tokens.weight")
        );
    }

    fn real_header() -> Vec<u8> {
        let file = std::fs::read(fixture("gemma4_e4b_like").join(SINGLE_FILE)).unwrap();
        let len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        file[..8 + len].to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), len in 0u64..500) {
            let _ = now(Weights::open(&memory(&[(SINGLE_FILE, &bytes)])));
            let mut framed = len.to_le_bytes().to_vec();
            framed.extend(&bytes);
            let _ = now(Weights::open(&memory(&[(SINGLE_FILE, &framed)])));
        }

        #[test]
        fn mutated_headers_never_panic(at in 8usize..9000, byte in any::<u8>(), cut in 0usize..40_000, drop in any::<bool>()) {
            let mut file = real_header();
            let at = at.min(file.len() - 1);
            file[at] = byte;
            if drop { file.truncate(cut.min(file.len())); } else { file.resize(file.len() + 970_552, 0); }
            if let Ok(weights) = now(Weights::open(&memory(&[(SINGLE_FILE, &file)]))) {
                for name in weights.names() {
                    let info = weights.info(name).unwrap();
                    prop_assert!(info.len() as u64 <= file.len() as u64);
                    let _ = now(weights.read_f32(name, &info.shape));
                }
            }
        }
    }
}
