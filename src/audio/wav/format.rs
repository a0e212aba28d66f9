//! The kind of the samples of a WAV, as its `fmt ` chunk declares it, and the value of a sample.

use crate::audio::error::AudioError;
use crate::audio::mel::SAMPLE_RATE;

/// The coding of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleKind {
    /// Unsigned 8 bit.
    U8,
    /// Signed 16 bit, little-endian.
    S16,
    /// Signed 24 bit, little-endian.
    S24,
    /// Signed 32 bit, little-endian.
    S32,
    /// IEEE 32 bit.
    F32,
    /// IEEE 64 bit.
    F64,
    /// G.711 A-law.
    ALaw,
    /// G.711 µ-law.
    MuLaw,
}

impl SampleKind {
    /// The number of bytes of one sample.
    pub(super) fn bytes(self) -> usize {
        match self {
            SampleKind::U8 | SampleKind::ALaw | SampleKind::MuLaw => 1,
            SampleKind::S16 => 2,
            SampleKind::S24 => 3,
            SampleKind::S32 | SampleKind::F32 => 4,
            SampleKind::F64 => 8,
        }
    }

    /// The value of one sample. Integers give values in `[-1, 1]`.
    pub(super) fn value(self, b: &[u8]) -> f32 {
        match (self, b) {
            (SampleKind::U8, &[a]) => (f32::from(a) - 128.0) / 128.0,
            (SampleKind::S16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
            (SampleKind::S24, &[a, b, c]) => (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0,
            (SampleKind::S32, &[a, b, c, d]) => (f64::from(i32::from_le_bytes([a, b, c, d])) / 2_147_483_648.0) as f32,
            (SampleKind::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (SampleKind::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
            (SampleKind::ALaw, &[a]) => a_law(a),
            (SampleKind::MuLaw, &[a]) => mu_law(a),
            _ => 0.0,
        }
    }
}

/// The kind of the samples of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PcmSpec {
    /// Frames per second.
    pub rate: u32,
    /// Samples per frame.
    pub channels: u16,
    /// The coding of a sample.
    pub kind: SampleKind,
}

impl PcmSpec {
    /// 16-bit mono at 16 kHz.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) const RAW: PcmSpec = PcmSpec { rate: SAMPLE_RATE, channels: 1, kind: SampleKind::S16 };

    /// The number of bytes of a frame.
    pub(crate) fn frame_len(&self) -> usize {
        self.kind.bytes() * usize::from(self.channels)
    }
}

/// Why a `fmt ` chunk cannot be used.
pub(super) enum FormatError {
    Short,
    /// The format tag and the bits of a sample.
    Codec(u16, u16),
}

impl FormatError {
    pub(super) fn named(self, name: &str) -> AudioError {
        let name = name.to_string();
        match self {
            FormatError::Short => AudioError::Broken { name, what: "its format header is too short".into() },
            FormatError::Codec(tag, bits) => {
                AudioError::UnknownCodec { name, codec: format!("WAV coding 0x{tag:04x} with {bits} bits") }
            }
        }
    }
}

/// Reads the body of a `fmt ` chunk: WAVEFORMAT, WAVEFORMATEX or WAVEFORMATEXTENSIBLE.
pub(super) fn parse_format(body: &[u8]) -> Result<PcmSpec, FormatError> {
    let at = |i: usize| body.get(i..i + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let (Some(tag), Some(channels), Some(align)) = (at(0), at(2), at(12)) else {
        return Err(FormatError::Short);
    };
    let rate = body.get(4..8).map(le_u32).ok_or(FormatError::Short)?;
    let bits = at(14).ok_or(FormatError::Short)?;
    // In WAVE_FORMAT_EXTENSIBLE, the coding is the first field of the sub-format.
    let tag = match tag {
        0xFFFE => at(24).ok_or(FormatError::Short)?,
        tag => tag,
    };
    // 24 bits in 4 bytes are stored at the upper end. So the size of the container decides.
    let container = match channels {
        0 => 0,
        n if align % n == 0 => align / n,
        _ => 0,
    };
    let bytes = match container {
        0 => bits.div_ceil(8),
        n if n >= bits.div_ceil(8) => n,
        _ => bits.div_ceil(8),
    };
    let kind = match (tag, bytes) {
        (1, 1) => SampleKind::U8,
        (1, 2) => SampleKind::S16,
        (1, 3) => SampleKind::S24,
        (1, 4) => SampleKind::S32,
        (3, 4) => SampleKind::F32,
        (3, 8) => SampleKind::F64,
        (6, 1) => SampleKind::ALaw,
        (7, 1) => SampleKind::MuLaw,
        _ => return Err(FormatError::Codec(tag, bits)),
    };
    Ok(PcmSpec { rate, channels, kind })
}

pub(super) fn le_u32(b: &[u8]) -> u32 {
    b.iter().take(4).rev().fold(0, |n, &b| n << 8 | u32::from(b))
}

pub(super) fn le_u64(b: &[u8]) -> u64 {
    b.iter().take(8).rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// ITU-T G.711 A-law.
fn a_law(byte: u8) -> f32 {
    let x = byte ^ 0x55;
    let (exponent, mantissa) = (u32::from(x >> 4 & 7), f32::from(x & 15));
    let magnitude = match exponent {
        0 => mantissa * 16.0 + 8.0,
        e => (mantissa * 16.0 + 264.0) * (1u32 << (e - 1)) as f32,
    };
    magnitude / 32_768.0 * if x & 0x80 != 0 { 1.0 } else { -1.0 }
}

/// ITU-T G.711 µ-law.
fn mu_law(byte: u8) -> f32 {
    let x = !byte;
    let (exponent, mantissa) = (u32::from(x >> 4 & 7), f32::from(x & 15));
    let magnitude = (mantissa * 8.0 + 132.0) * (1u32 << exponent) as f32 - 132.0;
    magnitude / 32_768.0 * if x & 0x80 != 0 { -1.0 } else { 1.0 }
}
