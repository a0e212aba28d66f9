//! Decodes packets of Opus.
//!
//! The crate ropus is a port of the reference decoder. It has not failed on any of our inputs. As
//! packets come from anywhere, a panic in it is caught nevertheless, and is a damaged packet.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ropus::OpusMSDecoder;
use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::audio::{AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, Channels};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, FinalizeResult};
use symphonia::core::errors::{Error, Result, decode_error, unsupported_error};
use symphonia::core::packet::PacketRef;

use super::{Head, MAX_FRAMES, RATE};

const INFO: CodecInfo = CodecInfo { short_name: "opus", long_name: "Opus", profiles: &[] };

/// A decoder for the header in `params`.
pub(in crate::audio) fn decoder(params: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>> {
    let Some(head) = &params.extra_data else {
        return unsupported_error("Opus audio without a header");
    };
    let head = Head::parse(head).map_err(Error::Unsupported)?;
    let Some(inner) = inner(&head) else {
        return unsupported_error("Opus audio with a damaged header");
    };
    let channels = Channels::Discrete(u16::from(head.channels));
    let mut params = params.clone();
    params.with_sample_rate(RATE).with_channels(channels.clone());
    let buffer = AudioBuffer::new(AudioSpec::new(RATE, channels), MAX_FRAMES);
    let decoded = vec![0; MAX_FRAMES * usize::from(head.channels)];
    Ok(Box::new(Opus { inner: Some(inner), head, params, buffer, decoded }))
}

fn inner(head: &Head) -> Option<OpusMSDecoder> {
    let (channels, streams, coupled) = (head.channels.into(), head.streams.into(), head.coupled.into());
    guarded(|| OpusMSDecoder::new(RATE as i32, channels, streams, coupled, &head.mapping).ok())
}

/// The result of `call`. None if it panics.
fn guarded<T>(call: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok().flatten()
}

struct Opus {
    /// None after a panic, until the next packet.
    inner: Option<OpusMSDecoder>,
    head: Head,
    params: AudioCodecParameters,
    buffer: AudioBuffer<f32>,
    /// The samples of a packet, the channels of a frame beside one another.
    decoded: Vec<i16>,
}

impl Opus {
    /// Decodes a packet and returns its number of frames.
    fn decode_packet(&mut self, packet: &[u8]) -> Option<usize> {
        let want = super::frames(packet)?;
        let len = i32::try_from(packet.len()).ok()?;
        // What a panic leaves behind is dropped.
        let mut inner = self.inner.take().or_else(|| inner(&self.head))?;
        let decoded = &mut self.decoded;
        let (inner, got) = guarded(|| {
            let got = inner.decode(Some(packet), len, decoded, MAX_FRAMES as i32, false);
            Some((inner, got))
        })?;
        self.inner = Some(inner);
        got.ok().and_then(|got| usize::try_from(got).ok()).filter(|&got| got == want)
    }
}

impl AudioDecoder for Opus {
    fn reset(&mut self) {
        self.inner = None;
    }

    fn codec_info(&self) -> &CodecInfo {
        &INFO
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.params
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        self.buffer.clear();
        let Some(frames) = self.decode_packet(packet.data) else {
            return decode_error("opus: the packet is damaged");
        };
        self.buffer.render_silence(Some(frames));
        let factor = self.head.factor() / 32_768.0;
        let channels = usize::from(self.head.channels);
        for (channel, plane) in self.buffer.iter_planes_mut().enumerate() {
            let samples = self.decoded.iter().skip(channel).step_by(channels);
            plane.iter_mut().zip(samples).for_each(|(to, &from)| *to = (f32::from(from) * factor).clamp(-1.0, 1.0));
        }
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught() {
        assert_eq!(guarded(|| Some(7)), Some(7));
        assert_eq!(guarded(|| None::<u8>), None);
        assert_eq!(guarded(|| -> Option<u8> { panic!("this panic belongs to a test") }), None);
    }
}
