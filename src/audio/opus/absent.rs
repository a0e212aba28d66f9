//! Stands where the decoder is in other builds.

use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder};
use symphonia::core::errors::{Result, unsupported_error};

/// There is no decoder.
pub(in crate::audio) fn decoder(_: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>> {
    unsupported_error("Opus audio")
}
