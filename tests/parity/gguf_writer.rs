//! Writes GGUF files, for tests that need forms which no fixture has.

use std::collections::BTreeMap;

use alignatt::Files;
use safetensors::SafeTensors;

/// A value of a key.
pub enum Key {
    U16(u16),
    U32(u32),
    I32(i32),
    F32(f32),
    Flag(bool),
    Text(String),
    I32s(Vec<i32>),
    Texts(Vec<String>),
}

/// A file that is being written; tensors are in f32.
#[derive(Default)]
pub struct Writer {
    keys: Vec<u8>,
    keys_len: u64,
    tensors: Vec<u8>,
    tensors_len: u64,
    data: Vec<u8>,
}

const ALIGNMENT: usize = 32;

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Writer {
    pub fn key(&mut self, name: &str, value: Key) {
        let (kind, bytes): (u32, Vec<u8>) = match value {
            Key::U16(value) => (2, value.to_le_bytes().to_vec()),
            Key::U32(value) => (4, value.to_le_bytes().to_vec()),
            Key::I32(value) => (5, value.to_le_bytes().to_vec()),
            Key::F32(value) => (6, value.to_le_bytes().to_vec()),
            Key::Flag(value) => (7, vec![value.into()]),
            Key::Text(value) => (8, text(&value)),
            Key::I32s(values) => {
                let all: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (9, [&5u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &all].concat())
            }
            Key::Texts(values) => {
                let all: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
                (9, [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &all].concat())
            }
        };
        self.keys.extend([text(name), kind.to_le_bytes().to_vec(), bytes].concat());
        self.keys_len += 1;
    }

    /// A tensor of a row-major shape.
    pub fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        self.tensors.extend(text(name));
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| self.tensors.extend((*size as u64).to_le_bytes()));
        self.tensors.extend(0u32.to_le_bytes());
        self.tensors.extend((self.data.len() as u64).to_le_bytes());
        self.tensors_len += 1;
        self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
    }

    pub fn tensors_len(&self) -> usize {
        self.tensors_len as usize
    }

    pub fn finish(self) -> Vec<u8> {
        let counts = [
            3u32.to_le_bytes().to_vec(),
            self.tensors_len.to_le_bytes().to_vec(),
            self.keys_len.to_le_bytes().to_vec(),
        ];
        let mut out = [b"GGUF".to_vec(), counts.concat(), self.keys, self.tensors].concat();
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        [out, self.data].concat()
    }
}

/// The tensors of a checkpoint in f32, by name.
pub fn tensors(files: &Files) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = files.bytes("model.safetensors", 1 << 30).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    tensors.tensors().into_iter().map(|(name, view)| (name, (view.shape().to_vec(), floats(view.data())))).collect()
}
