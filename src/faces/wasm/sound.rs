//! Sound files, decoded in place, and live sound, resampled.

use std::io::{self, Read, Seek, SeekFrom};

use js_sys::{Float32Array, Uint8Array};
use send_wrapper::SendWrapper;
use symphonia::core::io::MediaSource;
use wasm_bindgen::prelude::*;

use super::errors::{error, thrown, unreadable};
use crate::audio::decode::AudioFile;
use crate::audio::sought;

/// A sound file that is decoded to 16 kHz mono.
#[wasm_bindgen]
pub struct Sound(AudioFile);

#[wasm_bindgen]
impl Sound {
    /// Reads the header. `name` is used in messages.
    pub fn open(blob: web_sys::Blob, name: String) -> Result<Sound, JsValue> {
        let reader = web_sys::FileReaderSync::new()?;
        let source = BlobSource { inner: SendWrapper::new((blob.clone(), reader)), size: blob.size() as u64, at: 0 };
        Ok(Sound(AudioFile::from_source(Box::new(source), name).map_err(thrown)?))
    }

    /// The next block of samples; undefined at the end.
    #[wasm_bindgen(js_name = next)]
    pub fn next_block(&mut self) -> Result<Option<Float32Array>, JsValue> {
        let block = self.0.next_block().map_err(thrown)?;
        Ok(block.map(|samples| Float32Array::from(&samples[..])))
    }

    #[wasm_bindgen(getter)]
    pub fn duration_ms(&self) -> Option<f64> {
        self.0.duration().map(|seconds| seconds * 1000.0)
    }

    /// After the whole file has been read: what was damaged, and which of several sound tracks was
    /// decoded.
    #[wasm_bindgen(getter)]
    pub fn warning(&self) -> Option<String> {
        let several = self.0.tracks() > 1;
        let track = several.then(|| format!("sound track {} of {} was used", self.0.track(), self.0.tracks()));
        let all: Vec<String> = self.0.warning().into_iter().chain(track).collect();
        Some(all.join("; ")).filter(|all| !all.is_empty())
    }
}

/// A file of the page, read in place.
struct BlobSource {
    inner: SendWrapper<(web_sys::Blob, web_sys::FileReaderSync)>,
    size: u64,
    at: u64,
}

impl Read for BlobSource {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = (self.size.saturating_sub(self.at)).min(into.len() as u64);
        if len == 0 {
            return Ok(0);
        }
        let (blob, reader) = &*self.inner;
        let slice = blob.slice_with_f64_and_f64(self.at as f64, (self.at + len) as f64);
        let buffer = slice.and_then(|slice| reader.read_as_array_buffer(&slice)).map_err(unreadable)?;
        let bytes = Uint8Array::new(&buffer);
        let read = (bytes.length() as usize).min(into.len());
        bytes.slice(0, read as u32).copy_to(&mut into[..read]);
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for BlobSource {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = sought(to, self.at, self.size)?;
        Ok(self.at)
    }
}

impl MediaSource for BlobSource {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.size)
    }
}

/// Resamples live sound from any rate to 16 kHz.
#[wasm_bindgen]
pub struct Resampler(crate::audio::resample::Resampler);

#[wasm_bindgen]
impl Resampler {
    #[wasm_bindgen(constructor)]
    pub fn new(rate: u32) -> Result<Resampler, JsValue> {
        let resampler = crate::audio::resample::Resampler::new(rate);
        Ok(Resampler(resampler.map_err(|e| error("bad-sound", &e.to_string()))?))
    }

    pub fn push(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        self.0.push(samples, &mut out);
        out
    }

    pub fn finish(&mut self) -> Vec<f32> {
        let mut out = Vec::new();
        self.0.finish(&mut out);
        out
    }
}
