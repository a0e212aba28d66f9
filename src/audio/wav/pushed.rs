//! Raw samples that are pushed as they arrive, for a caller that cannot wait in a read.

use super::convert::Converter;
use super::format::PcmSpec;
use crate::audio::error::AudioError;

/// Converts raw samples of one coding to 16 kHz mono.
pub(crate) struct PushedPcm {
    converter: Converter,
    /// The bytes of a frame that is not complete.
    rest: Vec<u8>,
}

impl PushedPcm {
    /// Fails for a rate or a number of channels that is out of range. `name` is for messages.
    pub(crate) fn new(spec: PcmSpec, name: &str) -> Result<PushedPcm, AudioError> {
        Ok(PushedPcm { converter: Converter::new(spec, name)?, rest: Vec::new() })
    }

    /// Takes bytes, which may end inside a frame, and appends the samples that are ready to `out`.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<f32>) {
        let frame = self.converter.spec.frame_len();
        if self.rest.is_empty() {
            let whole = bytes.len() / frame * frame;
            self.converter.take(&bytes[..whole], out);
            self.rest.extend_from_slice(&bytes[whole..]);
            return;
        }
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() / frame * frame;
        self.converter.take(&self.rest[..whole], out);
        self.rest.drain(..whole);
    }

    /// Appends the sound that the filters still hold. The bytes of half a frame are dropped.
    pub(crate) fn finish(mut self, out: &mut Vec<f32>) {
        self.converter.finish(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::PcmReader;
    use super::super::format::SampleKind;
    use super::*;

    /// Whatever the pieces, the samples are those of the reader.
    #[test]
    fn pieces_of_any_length_give_the_samples_of_the_reader() {
        for (kind, rate, channels) in
            [(SampleKind::S16, 16_000, 1), (SampleKind::S16, 24_000, 1), (SampleKind::F32, 44_100, 2)]
        {
            let spec = PcmSpec { rate, channels, kind };
            let values = (0..30_000u32).map(|i| 0.3 * (i as f32 * 0.05).sin());
            let bytes: Vec<u8> = values
                .flat_map(|value| match kind {
                    SampleKind::F32 => value.to_le_bytes().to_vec(),
                    _ => ((value * 32_767.0) as i16).to_le_bytes().to_vec(),
                })
                .collect();
            let mut reader = PcmReader::raw(bytes.as_slice(), "raw", spec).unwrap();
            let mut expected = Vec::new();
            while let Some(block) = reader.next_block().unwrap() {
                expected.extend(block);
            }
            for piece in [1, 7, 640, 4_096, bytes.len()] {
                let (mut pushed, mut out) = (PushedPcm::new(spec, "raw").unwrap(), Vec::new());
                bytes.chunks(piece).for_each(|bytes| pushed.push(bytes, &mut out));
                pushed.finish(&mut out);
                assert_eq!(out, expected, "{spec:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn rates_and_channels_out_of_range_are_refused() {
        for (rate, channels) in [(0, 1), (1, 1), (4_000_000_000, 1), (16_000, 0), (16_000, 65)] {
            assert!(PushedPcm::new(PcmSpec { rate, channels, kind: SampleKind::S16 }, "raw").is_err());
        }
    }
}
