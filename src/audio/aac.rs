//! AAC: the configuration of a decoder, and the decoder for more than two channels.
//!
//! Symphonia decodes mono and stereo. The crate syom decodes AAC-LC of up to eight channels, and
//! this module gives it the interface of symphonia.

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::audio::{AsGenericAudioBufferRef, Audio, AudioBuffer, AudioMut, AudioSpec, Channels};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, FinalizeResult};
use symphonia::core::errors::{Error, Result, decode_error, unsupported_error};
use symphonia::core::packet::PacketRef;

/// Sample rates by their index in a configuration.
pub(super) const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// The number of channels of each channel configuration, from configuration 1 on.
pub(super) const CHANNELS: [u16; 7] = [1, 2, 3, 4, 5, 6, 8];
/// The object type of AAC-LC.
pub(super) const LOW_COMPLEXITY: u64 = 2;
/// The object types that are decoded: AAC-LC, and HE-AAC of both kinds.
const OBJECTS: [u8; 3] = [2, 5, 29];
/// The maximum number of frames of one packet. HE-AAC has that many.
const MAX_FRAMES: usize = 2_048;

const INFO: CodecInfo = CodecInfo { short_name: "aac", long_name: "AAC of more than two channels", profiles: &[] };

/// An `AudioSpecificConfig` of AAC-LC. `channels` is a channel configuration.
pub(super) fn low_complexity(rate: u32, channels: u32) -> Box<[u8]> {
    let mut config = LOW_COMPLEXITY << 59;
    match RATES.iter().position(|&r| r == rate) {
        Some(index) => config |= (index as u64) << 55 | u64::from(channels) << 51,
        None => config |= 15 << 55 | u64::from(rate) << 31 | u64::from(channels) << 27,
    }
    config.to_be_bytes().into()
}

/// True for AAC with more than two channels, or with a channel layout that it defines itself.
pub(super) fn is_multichannel(params: &AudioCodecParameters) -> bool {
    params.codec == CODEC_ID_AAC && params.channels.as_ref().is_none_or(|channels| channels.count() > 2)
}

/// A decoder of AAC with more than two channels.
pub(super) struct Multichannel {
    inner: syom::Decoder,
    config: Box<[u8]>,
    params: AudioCodecParameters,
    buffer: AudioBuffer<f32>,
}

impl Multichannel {
    pub(super) fn new(params: &AudioCodecParameters) -> Result<Multichannel> {
        let rate = params.sample_rate.unwrap_or(0);
        let count = params.channels.as_ref().map_or(0, Channels::count);
        let config = match &params.extra_data {
            Some(config) if config.first().is_some_and(|byte| OBJECTS.contains(&(byte >> 3))) => config.clone(),
            Some(_) => return unsupported_error("aac: object type"),
            // ADTS has no configuration, but symphonia reads the same values from its headers.
            None => match (1..).zip(CHANNELS).find(|&(_, channels)| usize::from(channels) == count) {
                Some((channels, _)) => low_complexity(rate, channels),
                None => return unsupported_error("aac: channel layout"),
            },
        };
        let inner = syom::Decoder::from_asc(&config, syom::DecodeOptions::unbounded());
        let inner = inner.map_err(|_| Error::Unsupported("aac: configuration"))?;
        let buffer = AudioBuffer::default();
        Ok(Multichannel { inner, config, params: params.clone(), buffer })
    }

    fn decode_packet(&mut self, packet: &PacketRef<'_>) -> syom::Result<()> {
        let buffer = &mut self.buffer;
        self.inner.decode_au(packet.data, |frame| {
            let channels = u16::try_from(frame.planar.len()).unwrap_or(u16::MAX);
            let spec = AudioSpec::new(frame.sample_rate, Channels::Discrete(channels));
            if *buffer.spec() != spec {
                *buffer = AudioBuffer::new(spec, MAX_FRAMES);
            }
            buffer.clear();
            buffer.render_silence(Some(frame.samples.min(MAX_FRAMES)));
            for (plane, samples) in buffer.iter_planes_mut().zip(frame.planar) {
                plane.iter_mut().zip(*samples).for_each(|(to, from)| *to = *from);
            }
            Ok(())
        })
    }
}

impl AudioDecoder for Multichannel {
    fn reset(&mut self) {
        self.inner.reset();
        // The configuration was accepted before, so this does not fail. If it did, no packet could
        // be decoded, which is an error.
        let _ = self.inner.set_asc(&self.config);
    }

    fn codec_info(&self) -> &CodecInfo {
        &INFO
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.params
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        self.buffer.clear();
        if self.decode_packet(packet).is_err() {
            self.buffer.clear();
            // After an error, the inner decoder takes no packet until it is reset.
            self.reset();
            return decode_error("aac: the packet is damaged");
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
