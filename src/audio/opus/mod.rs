//! Opus: its header, the length of its packets, and the decoder behind the interface of symphonia.
//!
//! ```text
//! "OpusHead" · version · channels · pre-skip u16 · rate u32 · gain i16 · family
//!                                                          · [streams · coupled · mapping]
//! packet: TOC byte (configuration, stereo, code) · [number of frames] · frames
//! ```
//!
//! Sound is decoded at 48 kHz, whatever rate the encoder got. Granules, the pre-skip and the length
//! of packets count in that rate. Containers use this header as it is (Ogg, Matroska) or the same
//! fields in the other byte order (MP4).
//!
//! The gain of the header is applied here. The pre-skip is dropped by the reader of the container,
//! because the container says where the sound begins.
//!
//! The browser's module has no decoder, because it would grow by 200 KB.

#[cfg(target_arch = "wasm32")]
mod absent;
#[cfg(not(target_arch = "wasm32"))]
mod decoder;
#[cfg(test)]
pub(super) mod tests;

#[cfg(target_arch = "wasm32")]
pub(super) use absent::decoder;
#[cfg(not(target_arch = "wasm32"))]
pub(super) use decoder::decoder;

/// The sample rate of decoded sound, in Hz.
pub(super) const RATE: u32 = 48_000;
/// The maximum number of frames (samples per channel) of a packet: 120 ms.
pub(super) const MAX_FRAMES: usize = 5_760;
/// The maximum number of channels. Their layout is defined up to here.
const MAX_CHANNELS: u8 = 8;
/// What the first packet of a stream begins with.
pub(super) const MAGIC: &[u8] = b"OpusHead";
/// The number of bytes of the header without its table of channels.
const HEAD_LEN: usize = 19;
/// The number of bytes of the fields that MP4 has in the other byte order, without the table.
const DOPS_LEN: usize = 11;

/// The header of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) channels: u8,
    /// Frames to drop from the beginning of the decoded sound.
    pub(super) pre_skip: u16,
    /// In 1/256 dB.
    gain: i16,
    /// Packets consist of this many streams,
    streams: u8,
    /// of which so many, the first ones, are stereo.
    coupled: u8,
    /// The decoded channel for each channel. 255 is silence.
    mapping: [u8; MAX_CHANNELS as usize],
}

impl Head {
    /// Reads a header, or says what is not decoded.
    pub(super) fn parse(bytes: &[u8]) -> Result<Head, &'static str> {
        let damaged = "Opus audio with a damaged header";
        let head: &[u8; HEAD_LEN] = bytes.first_chunk().ok_or(damaged)?;
        if !head.starts_with(MAGIC) || head[9] == 0 {
            return Err(damaged);
        }
        if head[8] >> 4 != 0 {
            return Err("Opus audio of a later version");
        }
        let two = |at: usize| [head[at], head[at + 1]];
        let mut this = Head {
            channels: head[9],
            pre_skip: u16::from_le_bytes(two(10)),
            gain: i16::from_le_bytes(two(16)),
            streams: 1,
            coupled: head[9] - 1,
            mapping: [0, 1, 2, 3, 4, 5, 6, 7],
        };
        match head[18] {
            0 if this.channels <= 2 => return Ok(this),
            1 if this.channels <= MAX_CHANNELS => {}
            0 | 1 => return Err(damaged),
            _ => return Err("Opus audio of a channel mapping family other than 0 and 1"),
        }
        let table = bytes.get(HEAD_LEN..HEAD_LEN + 2 + usize::from(this.channels)).ok_or(damaged)?;
        (this.streams, this.coupled) = (table[0], table[1]);
        this.mapping[..table.len() - 2].copy_from_slice(&table[2..]);
        let decoded = u16::from(this.streams) + u16::from(this.coupled);
        let exists = |&channel: &u8| channel == u8::MAX || u16::from(channel) < decoded;
        let valid = this.streams > 0 && this.coupled <= this.streams && decoded <= u16::from(u8::MAX);
        match valid && this.mapping[..table.len() - 2].iter().all(exists) {
            true => Ok(this),
            false => Err(damaged),
        }
    }

    /// The header for the fields of an MP4 (`dOps`).
    pub(super) fn of_mp4(dops: &[u8]) -> Option<Vec<u8>> {
        let (fields, table) = dops.split_first_chunk::<DOPS_LEN>()?;
        let [_, channels, skip_high, skip_low, r3, r2, r1, r0, gain_high, gain_low, family] = *fields;
        let fields = [1, channels, skip_low, skip_high, r0, r1, r2, r3, gain_low, gain_high, family];
        Some([MAGIC, &fields, table].concat())
    }

    /// The factor for samples that the gain stands for.
    fn factor(&self) -> f32 {
        10f32.powf(f32::from(self.gain) / (20.0 * 256.0))
    }
}

/// The number of frames (samples per channel) of a packet. None if the packet is damaged.
pub(super) fn frames(packet: &[u8]) -> Option<usize> {
    let toc = *packet.first()?;
    let configuration = usize::from(toc >> 3);
    let each = match configuration {
        0..=11 => [480, 960, 1_920, 2_880][configuration & 3],
        12..=15 => [480, 960][configuration & 1],
        _ => [120, 240, 480, 960][configuration & 3],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1)? & 0x3F),
    };
    Some(each * count).filter(|frames| (1..=MAX_FRAMES).contains(frames))
}
