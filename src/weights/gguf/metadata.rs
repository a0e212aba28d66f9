//! The keys and values of a GGUF file.
//!
//! Integers may come in any of the integer types, and some keys as one value or as one for every
//! layer, so the readers here ask for a kind of value and not for a type. Numbers in f32 are kept
//! as the shortest decimal that stands for them: 1e-6, not 9.999999974752427e-7.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::reader::Reader;
use crate::weights::error::{CheckpointError, FETCH_AGAIN, Remedy, shown};

/// The longest key, in bytes.
const MAX_KEY: u64 = 1 << 12;
/// The longest text, in bytes; chat templates have up to 20 kB.
const MAX_TEXT: u64 = 4 << 20;
/// The most elements of all arrays together; the published models have up to 1.3 million.
const MAX_ELEMENTS: u64 = 1 << 22;

/// A value of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Whole(i128),
    Number(f64),
    Flag(bool),
    /// UTF-8 by the specification.
    Text(Vec<u8>),
    Wholes(Vec<i64>),
    Numbers(Vec<f64>),
    Flags(Vec<bool>),
    Texts(Texts),
}

/// Many texts in one piece of memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Texts {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The texts in order. Bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(from, to)| String::from_utf8_lossy(&self.bytes[*from as usize..*to as usize]))
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32); // the header is shorter than 4 GB
    }
}

/// The types of values, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

const TYPES: [Type; 13] = [
    Type::U8,
    Type::I8,
    Type::U16,
    Type::I16,
    Type::U32,
    Type::I32,
    Type::F32,
    Type::Bool,
    Type::Text,
    Type::Array,
    Type::U64,
    Type::I64,
    Type::F64,
];

impl Type {
    /// The least bytes of a value.
    fn least(self) -> u64 {
        match self {
            Type::U8 | Type::I8 | Type::Bool => 1,
            Type::U16 | Type::I16 => 2,
            Type::U32 | Type::I32 | Type::F32 => 4,
            Type::U64 | Type::I64 | Type::F64 | Type::Text => 8,
            Type::Array => 12,
        }
    }

    /// A number of one of the types that are not texts or arrays.
    fn decode(self, bytes: &[u8]) -> Value {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let raw = u64::from_le_bytes(wide);
        match self {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::Whole(raw.into()),
            Type::I8 => Value::Whole((raw as i8).into()),
            Type::I16 => Value::Whole((raw as i16).into()),
            Type::I32 => Value::Whole((raw as i32).into()),
            Type::I64 => Value::Whole((raw as i64).into()),
            Type::F32 => Value::Number(shortest(f32::from_bits(raw as u32))),
            Type::F64 => Value::Number(f64::from_bits(raw)),
            Type::Bool | Type::Text | Type::Array => Value::Flag(raw != 0),
        }
    }
}

/// The number that a person wrote, if it was written in few digits.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(value.into())
}

/// All keys of a file with their values.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    /// Name of the file, for messages.
    pub(crate) file: Arc<str>,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// Reads `count` keys with their values. Errors: see the limits above; a key is empty, twice
    /// there or not UTF-8; a value's type is unknown.
    pub(super) async fn read(
        reader: &mut Reader<'_>,
        count: u64,
        file: &Arc<str>,
    ) -> Result<Metadata, CheckpointError> {
        let mut values = BTreeMap::new();
        let mut elements = 0;
        for at in 0..count {
            let key = String::from_utf8(reader.text(MAX_KEY, "a key").await?.to_vec());
            let key = match key {
                Ok(key) if !key.is_empty() => key,
                _ => return Err(reader.bad(format!("key {at} is empty or not UTF-8"))),
            };
            let value = read_value(reader, &key, &mut elements).await?;
            if values.contains_key(&key) {
                return Err(reader.bad(format!("has the key {} twice", shown(&key))));
            }
            values.insert(key, value);
        }
        Ok(Metadata { file: file.clone(), values })
    }

    /// The error that the value of `key` is wrong.
    pub(crate) fn wrong(&self, key: &str, what: impl Display, remedy: impl Into<Remedy>) -> CheckpointError {
        CheckpointError::config(&self.file, shown(key), what, remedy)
    }

    pub(crate) fn missing(&self, key: &str) -> CheckpointError {
        self.wrong(key, "is missing", FETCH_AGAIN)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    fn wrong_kind(&self, key: &str, kind: impl Display) -> CheckpointError {
        self.wrong(key, format_args!("is not {kind}"), FETCH_AGAIN)
    }

    /// The text of a key; `None` without the key. Errors: the value is of another kind.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(bytes)) => match str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(self.wrong_kind(key, "UTF-8")),
            },
            Some(_) => Err(self.wrong_kind(key, "a text")),
        }
    }

    /// The whole number of a key, not negative; otherwise as [`Metadata::text`].
    pub(crate) fn whole(&self, key: &str) -> Result<Option<u64>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Whole(value)) => match u64::try_from(*value) {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(self.wrong(key, format_args!("{value} is too small or too large"), FETCH_AGAIN)),
            },
            Some(_) => Err(self.wrong_kind(key, "a whole number")),
        }
    }

    /// A whole number that must be there and in `range`.
    pub(crate) fn count(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64, CheckpointError> {
        let value = self.whole(key)?.ok_or_else(|| self.missing(key))?;
        match range.contains(&value) {
            true => Ok(value),
            false => {
                let what = format!("{value} is not from {} to {}", range.start(), range.end());
                Err(self.wrong(key, what, FETCH_AGAIN))
            }
        }
    }

    /// The number of a key; otherwise as [`Metadata::text`].
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Number(value)) => Ok(Some(*value)),
            Some(Value::Whole(value)) => Ok(Some(*value as f64)),
            Some(_) => Err(self.wrong_kind(key, "a number")),
        }
    }

    /// The flag of a key; otherwise as [`Metadata::text`].
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Flag(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong_kind(key, "true or false")),
        }
    }

    /// The texts of a key; otherwise as [`Metadata::text`].
    pub(crate) fn texts(&self, key: &str) -> Result<Option<&Texts>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(self.wrong_kind(key, "a list of texts")),
        }
    }

    /// The numbers of a key; otherwise as [`Metadata::text`].
    pub(crate) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Numbers(values)) => Ok(Some(values.clone())),
            Some(Value::Wholes(values)) => Ok(Some(values.iter().map(|value| *value as f64).collect())),
            Some(_) => Err(self.wrong_kind(key, "a list of numbers")),
        }
    }

    /// The whole numbers of a key: a list, or one number for each of `layers` layers. Otherwise as
    /// [`Metadata::text`].
    pub(crate) fn by_layer(&self, key: &str, layers: usize) -> Result<Option<Vec<u64>>, CheckpointError> {
        let values = match self.get(key) {
            Some(Value::Wholes(values)) => values,
            _ => return Ok(self.whole(key)?.map(|value| vec![value; layers])),
        };
        let values: Option<Vec<u64>> = values.iter().map(|value| u64::try_from(*value).ok()).collect();
        match values.filter(|values| values.len() == layers) {
            Some(values) => Ok(Some(values)),
            None => Err(self.wrong_kind(key, format_args!("a list of {layers} numbers, one for each layer"))),
        }
    }

    /// The flags of a key, one for each of `layers` layers; otherwise as [`Metadata::text`].
    pub(crate) fn flags_by_layer(&self, key: &str, layers: usize) -> Result<Option<Vec<bool>>, CheckpointError> {
        let flags = match self.get(key) {
            None => return Ok(None),
            Some(Value::Flags(flags)) => Some(flags.clone()),
            Some(Value::Wholes(values)) => Some(values.iter().map(|value| *value != 0).collect()),
            Some(_) => None,
        };
        match flags.filter(|flags| flags.len() == layers) {
            Some(flags) => Ok(Some(flags)),
            None => Err(self.wrong_kind(key, format_args!("a list of {layers} flags, one for each layer"))),
        }
    }
}

/// Reads one value. `elements`: those of all arrays so far.
async fn read_value(reader: &mut Reader<'_>, key: &str, elements: &mut u64) -> Result<Value, CheckpointError> {
    let what = format!("the value of {}", shown(key));
    match read_type(reader, &what).await? {
        Type::Text => Ok(Value::Text(reader.text(MAX_TEXT, &what).await?.to_vec())),
        Type::Array => {
            let kind = read_type(reader, &what).await?;
            if kind == Type::Array {
                return Err(reader.bad(format!("{what} is an array of arrays, which is not supported")));
            }
            let count = reader.u64(&what).await?;
            if count > reader.left() / kind.least() {
                let left = reader.left();
                return Err(reader.bad(format!("{what} is an array of {count}, but only {left} bytes follow")));
            }
            *elements += count;
            if *elements > MAX_ELEMENTS {
                return Err(reader.bad(format!("{what} is an array of {count}, and all arrays are too long together")));
            }
            read_array(reader, kind, count, &what).await
        }
        kind => Ok(kind.decode(reader.take(kind.least(), &what).await?)),
    }
}

async fn read_type(reader: &mut Reader<'_>, what: &str) -> Result<Type, CheckpointError> {
    let number = reader.u32(what).await?;
    let kind = TYPES.get(number as usize).copied();
    kind.ok_or_else(|| reader.bad(format!("{what} has the type {number}, which is unknown")))
}

async fn read_array(reader: &mut Reader<'_>, kind: Type, count: u64, what: &str) -> Result<Value, CheckpointError> {
    match kind {
        Type::Text => {
            let mut texts = Texts::default();
            for _ in 0..count {
                texts.push(reader.text(MAX_TEXT, what).await?);
            }
            Ok(Value::Texts(texts))
        }
        Type::Bool => Ok(Value::Flags(reader.take(count, what).await?.iter().map(|byte| *byte != 0).collect())),
        Type::F32 | Type::F64 => {
            let mut numbers = Vec::new();
            for _ in 0..count {
                if let Value::Number(number) = kind.decode(reader.take(kind.least(), what).await?) {
                    numbers.push(number);
                }
            }
            Ok(Value::Numbers(numbers))
        }
        _ => {
            let mut wholes = Vec::new();
            for _ in 0..count {
                let value = kind.decode(reader.take(kind.least(), what).await?);
                match value {
                    Value::Whole(value) if i64::try_from(value).is_ok() => wholes.push(value as i64),
                    other => return Err(reader.bad(format!("{what} contains {other:?}, which is too large"))),
                }
            }
            Ok(Value::Wholes(wholes))
        }
    }
}
