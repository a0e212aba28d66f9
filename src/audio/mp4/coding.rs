//! Reads the coding of a track from its sample description (`stsd`).

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_AC3, CODEC_ID_ALAC, CODEC_ID_DCA, CODEC_ID_EAC3, CODEC_ID_FLAC, CODEC_ID_MP3, CODEC_ID_OPUS,
    CODEC_ID_PCM_ALAW, CODEC_ID_PCM_F32BE, CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F64BE, CODEC_ID_PCM_F64LE,
    CODEC_ID_PCM_MULAW, CODEC_ID_PCM_S8, CODEC_ID_PCM_S16BE, CODEC_ID_PCM_S16LE, CODEC_ID_PCM_S24BE,
    CODEC_ID_PCM_S24LE, CODEC_ID_PCM_S32BE, CODEC_ID_PCM_S32LE, CODEC_ID_PCM_U8, CODEC_ID_PCM_U16BE,
    CODEC_ID_PCM_U16LE, CODEC_ID_PCM_U24BE, CODEC_ID_PCM_U24LE, CODEC_ID_PCM_U32BE, CODEC_ID_PCM_U32LE, CODEC_ID_SPEEX,
    CODEC_ID_VORBIS,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};

use super::atoms::{Kind, be_u16, be_u32, be_u64, child, children};
use crate::audio::{aac, opus};

/// A header that declares more channels than this is wrong.
const MAX_CHANNELS: u32 = 64;

/// The coding of a track.
#[derive(Clone, Debug)]
pub(in crate::audio) struct Coding {
    pub(super) kind: Kind,
    /// None if it is not decoded here.
    pub(in crate::audio) params: Option<AudioCodecParameters>,
    /// The number of bytes of a frame, for uncompressed sound.
    pub(super) frame_len: Option<u32>,
}

impl Coding {
    /// Its name, for messages.
    pub(in crate::audio) fn name(&self) -> String {
        match &self.kind {
            b"mp4a" => "this coding of MPEG-4 audio".into(),
            b"Opus" => "Opus audio with a damaged header".into(),
            b"samr" | b"sawb" | b"sawp" => "AMR audio".into(),
            b"dtsc" | b"dtse" | b"dtsh" | b"dtsl" => "DTS audio".into(),
            b"ac-4" => "Dolby AC-4 audio".into(),
            b"mlpa" => "Dolby TrueHD audio".into(),
            b"mha1" | b"mhm1" => "MPEG-H audio".into(),
            b"ima4" => "IMA ADPCM audio".into(),
            b"QDM2" | b"QDMC" => "QDesign audio".into(),
            b"MAC3" | b"MAC6" => "MACE audio".into(),
            b"enca" => "encrypted audio".into(),
            b"lpcm" | b"ipcm" | b"fpcm" | b"in24" | b"in32" | b"fl32" | b"fl64" | b"twos" | b"sowt" => {
                "uncompressed audio of this kind".into()
            }
            kind => format!("audio of the kind {:?}", String::from_utf8_lossy(kind)),
        }
    }
}

/// Reads the first description of sound. If the rate does not fit into its field, the time scale of
/// the track is the rate.
pub(super) fn coding(stsd: &[u8], timescale: u32) -> Option<Coding> {
    let iso = stsd.first()? == &1;
    let (kind, entry) = children(stsd.get(8..)?).next()?;
    let version = be_u16(entry, 8)?;
    let (mut channels, mut bits) = (u32::from(be_u16(entry, 16)?), u32::from(be_u16(entry, 18)?));
    let mut rate = match be_u32(entry, 24)? >> 16 {
        0 => timescale,
        rate => rate,
    };
    let mut flags = None;
    let extra = match version {
        1 if !iso => 44,
        2 => {
            let exact = f64::from_bits(be_u64(entry, 32)?);
            rate = if (1.0..1e9).contains(&exact) { exact.round() as u32 } else { 0 };
            (channels, bits) = (be_u32(entry, 40)?, be_u32(entry, 48)?);
            flags = Some(be_u32(entry, 52)?);
            64
        }
        _ => 28,
    };
    let inner = entry.get(extra..).unwrap_or_default();
    let mut coding = Coding { kind, params: None, frame_len: None };
    // QuickTime puts the configuration of the decoder into another atom.
    let wave = child(inner, b"wave").unwrap_or_default();
    let find = |kind: &Kind| child(inner, kind).or_else(|| child(wave, kind));
    let mut params = AudioCodecParameters::new();
    params.with_sample_rate(rate);
    if (1..=MAX_CHANNELS).contains(&channels) {
        params.with_channels(Channels::Discrete(channels as u16));
    }
    let known = match &kind {
        b"mp4a" => match find(b"esds") {
            Some(esds) => mpeg4(esds, &mut params),
            None => None,
        },
        b"alac" => {
            let cookie = find(b"alac").and_then(|atom| atom.get(4..));
            cookie.map(|cookie| with_extra(&mut params, CODEC_ID_ALAC, cookie))
        }
        b"fLaC" => {
            let info = find(b"dfLa").and_then(|atom| atom.get(8..42));
            info.map(|info| with_extra(&mut params, CODEC_ID_FLAC, info))
        }
        b".mp3" | b"mp3 " | b"ms\x00\x55" => Some(CODEC_ID_MP3),
        b"Opus" => {
            let head = find(b"dOps").and_then(opus::Head::of_mp4);
            head.map(|head| with_extra(&mut params, CODEC_ID_OPUS, &head))
        }
        b"ac-3" | b"sac3" => Some(CODEC_ID_AC3),
        b"ec-3" => Some(CODEC_ID_EAC3),
        b"dtsc" | b"dtse" | b"dtsh" | b"dtsl" => Some(CODEC_ID_DCA),
        b"spex" => Some(CODEC_ID_SPEEX),
        _ => {
            let little = match find(b"enda") {
                Some(enda) => be_u16(enda, 0).map(|flag| flag != 0),
                None => None,
            };
            let pcm = pcm(&kind, bits, flags, little, find(b"pcmC"));
            if let Some((_, bytes)) = pcm {
                coding.frame_len = Some(bytes * channels.min(MAX_CHANNELS)).filter(|&len| len > 0);
            }
            pcm.map(|(codec, _)| codec)
        }
    };
    if let Some(codec) = known.filter(|_| rate > 0) {
        params.for_codec(codec);
        coding.params = Some(params);
    }
    Some(coding)
}

fn with_extra(params: &mut AudioCodecParameters, codec: AudioCodecId, extra: &[u8]) -> AudioCodecId {
    params.with_extra_data(extra.into());
    codec
}

/// The codec of uncompressed sound, and the number of bytes of a sample. `little` is the value of
/// `enda`. Without it, QuickTime is big-endian.
fn pcm(
    kind: &Kind,
    bits: u32,
    flags: Option<u32>,
    little: Option<bool>,
    pcmc: Option<&[u8]>,
) -> Option<(AudioCodecId, u32)> {
    let le = little.unwrap_or(false);
    let integer = |signed: bool, bits: u32, le: bool| {
        let codec = match (bits, signed, le) {
            (8, true, _) => CODEC_ID_PCM_S8,
            (8, false, _) => CODEC_ID_PCM_U8,
            (16, true, false) => CODEC_ID_PCM_S16BE,
            (16, true, true) => CODEC_ID_PCM_S16LE,
            (16, false, false) => CODEC_ID_PCM_U16BE,
            (16, false, true) => CODEC_ID_PCM_U16LE,
            (24, true, false) => CODEC_ID_PCM_S24BE,
            (24, true, true) => CODEC_ID_PCM_S24LE,
            (24, false, false) => CODEC_ID_PCM_U24BE,
            (24, false, true) => CODEC_ID_PCM_U24LE,
            (32, true, false) => CODEC_ID_PCM_S32BE,
            (32, true, true) => CODEC_ID_PCM_S32LE,
            (32, false, false) => CODEC_ID_PCM_U32BE,
            (32, false, true) => CODEC_ID_PCM_U32LE,
            _ => return None,
        };
        Some((codec, bits / 8))
    };
    let float = |bits: u32, le: bool| match (bits, le) {
        (32, false) => Some((CODEC_ID_PCM_F32BE, 4)),
        (32, true) => Some((CODEC_ID_PCM_F32LE, 4)),
        (64, false) => Some((CODEC_ID_PCM_F64BE, 8)),
        (64, true) => Some((CODEC_ID_PCM_F64LE, 8)),
        _ => None,
    };
    match kind {
        b"twos" => integer(true, bits, false),
        b"sowt" => integer(true, bits, true),
        b"raw " | b"NONE" | b"\0\0\0\0" if bits == 16 => integer(true, 16, le),
        b"raw " | b"NONE" | b"\0\0\0\0" => integer(false, 8, le),
        b"in24" => integer(true, 24, le),
        b"in32" => integer(true, 32, le),
        b"42ni" => integer(true, 24, true),
        b"23ni" => integer(true, 32, true),
        b"fl32" => float(32, le),
        b"fl64" => float(64, le),
        b"23lf" => float(32, true),
        b"46lf" => float(64, true),
        b"alaw" => Some((CODEC_ID_PCM_ALAW, 1)),
        b"ulaw" => Some((CODEC_ID_PCM_MULAW, 1)),
        b"lpcm" => match flags {
            Some(flags) if flags & 1 != 0 => float(bits, flags & 2 == 0),
            Some(flags) => integer(flags & 4 != 0, bits, flags & 2 == 0),
            // Version 0 and 1 have no flags.
            None => integer(bits > 8, bits, le),
        },
        b"ipcm" | b"fpcm" => {
            let (&[little, bits], _) = pcmc?.get(4..)?.split_first_chunk()?;
            let (bits, le) = (u32::from(bits), little & 1 != 0);
            if kind == b"fpcm" { float(bits, le) } else { integer(true, bits, le) }
        }
        _ => None,
    }
}

/// The coding that an `esds` atom names. The configuration of the decoder is added to `params`.
fn mpeg4(esds: &[u8], params: &mut AudioCodecParameters) -> Option<AudioCodecId> {
    // The flags of the ES descriptor tell which fields precede the decoder descriptor.
    let (3, es) = descriptor(esds.get(4..)?)? else {
        return None;
    };
    let flags = *es.get(2)?;
    let mut at = 3;
    at += if flags & 0x80 != 0 { 2 } else { 0 };
    at += if flags & 0x40 != 0 { 1 + usize::from(*es.get(at)?) } else { 0 };
    at += if flags & 0x20 != 0 { 2 } else { 0 };
    let (4, config) = descriptor(es.get(at..)?)? else {
        return None;
    };
    match config.first()? {
        0x40 | 0x66..=0x68 => {
            let (5, config) = descriptor(config.get(13..)?)? else {
                return None;
            };
            aac_config(config, params)
        }
        0x69 | 0x6B => Some(CODEC_ID_MP3),
        0xA5 => Some(CODEC_ID_AC3),
        0xA6 => Some(CODEC_ID_EAC3),
        0xA9..=0xAC => Some(CODEC_ID_DCA),
        0xAD => Some(CODEC_ID_OPUS),
        0xDD => Some(CODEC_ID_VORBIS),
        _ => None,
    }
}

/// The tag and the content of a descriptor. The content ends with the bytes at the latest.
fn descriptor(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let mut len = 0;
    for (i, &byte) in rest.iter().take(4).enumerate() {
        len = len << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            let content = &rest[i + 1..];
            return Some((tag, &content[..len.min(content.len())]));
        }
    }
    None
}

/// Reads the `AudioSpecificConfig` of AAC and gives the decoder that of the core.
///
/// HE-AAC is AAC of half the rate, with a description of the upper half of the band. Only the core
/// can be decoded for mono and stereo. In most files it is also all that 16 kHz can hold.
pub(in crate::audio) fn aac_config(config: &[u8], params: &mut AudioCodecParameters) -> Option<AudioCodecId> {
    let mut bits = Bits { bytes: config, at: 0 };
    let mut object = bits.object()?;
    let rate = bits.rate()?;
    let channels = bits.take(4)?;
    if object == 5 || object == 29 {
        bits.rate()?;
        object = bits.object()?;
    }
    // Frames of 960 samples instead of 1024. The decoder reads the whole configuration for these.
    let short = bits.take(1)?;
    // In configuration 0, AAC defines the channel layout itself, and the sample entry may be wrong.
    params.channels =
        (channels as usize).checked_sub(1).and_then(|at| aac::CHANNELS.get(at)).map(|&n| Channels::Discrete(n));
    if u64::from(object) != aac::LOW_COMPLEXITY || short != 0 || !(1..=7).contains(&channels) {
        params.with_extra_data(config.into());
        return Some(CODEC_ID_AAC);
    }
    params.with_sample_rate(rate).with_extra_data(aac::low_complexity(rate, channels));
    Some(CODEC_ID_AAC)
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n: usize) -> Option<u32> {
        (0..n).try_fold(0, |value, _| {
            let byte = *self.bytes.get(self.at / 8)?;
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at += 1;
            Some(value << 1 | u32::from(bit))
        })
    }

    fn object(&mut self) -> Option<u32> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)?),
            object => Some(object),
        }
    }

    fn rate(&mut self) -> Option<u32> {
        match self.take(4)? {
            15 => self.take(24),
            index => aac::RATES.get(index as usize).copied(),
        }
    }
}
