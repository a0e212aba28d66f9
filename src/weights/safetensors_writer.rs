//! Writes a safetensors file: the header first, then the tensors' bytes in its order.

use std::io::{self, Write};

use safetensors::Dtype;
use serde_json::{Map, Value, json};

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: u64,
}

/// Writes the header of a file with these tensors, whose bytes follow in this order.
pub(crate) fn write_header(entries: &[Entry], out: &mut dyn Write) -> io::Result<()> {
    let mut map = Map::new();
    map.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut from = 0;
    for Entry { name, dtype, shape, bytes } in entries {
        let offsets = [from, from + bytes];
        from += bytes;
        let entry = json!({ "dtype": dtype.to_string(), "shape": shape, "data_offsets": offsets });
        map.insert(name.clone(), entry);
    }
    let mut header = Value::Object(map).to_string().into_bytes();
    // The data begin at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)
}
