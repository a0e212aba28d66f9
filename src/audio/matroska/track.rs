//! Reads the list of tracks (`Tracks`): the sound tracks and their codings.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_FLAC, CODEC_ID_MP3, CODEC_ID_OPUS, CODEC_ID_VORBIS,
};

use super::ebml::{children, float, uint};
use crate::audio::{mp4, opus};

const ENTRY: u32 = 0xAE;
const NUMBER: u32 = 0xD7;
const TYPE: u32 = 0x83;
const DEFAULT: u32 = 0x88;
const CODEC: u32 = 0x86;
const PRIVATE: u32 = 0x63A2;
const FRAME_LEN: u32 = 0x0023_E383;
const DELAY: u32 = 0x56AA;
const ENCODINGS: u32 = 0x6D80;
const AUDIO: u32 = 0xE1;
const SAMPLE_RATE: u32 = 0xB5;

/// The type of a sound track.
const SOUND: u64 = 2;

/// A sound track.
#[derive(Clone, Debug)]
pub(in crate::audio) struct Track {
    pub(super) number: u64,
    /// None if it is not decoded here.
    pub(in crate::audio) params: Option<AudioCodecParameters>,
    /// The name of its coding, for messages.
    pub(in crate::audio) coding: String,
    /// A player would choose it.
    pub(in crate::audio) default: bool,
    /// Nanoseconds by which the times in the file are late.
    pub(super) delay: u64,
    /// The number of nanoseconds of a packet, if all are equally long.
    pub(super) packet_len: u64,
    /// Seconds of decoded sound before the beginning.
    pub(in crate::audio) skip: f64,
}

/// The sound tracks in the list, in the file's order.
pub(super) fn tracks(list: &[u8]) -> Vec<Track> {
    children(list).filter(|&(id, _)| id == ENTRY).filter_map(|(_, entry)| track(entry)).collect()
}

fn track(entry: &[u8]) -> Option<Track> {
    let find = |id: u32| children(entry).find(|&(other, _)| other == id).map(|(_, body)| body);
    if find(TYPE).map(uint) != Some(SOUND) {
        return None;
    }
    let id = String::from_utf8_lossy(find(CODEC).unwrap_or_default()).trim_end_matches('\0').to_owned();
    let private = find(PRIVATE).unwrap_or_default();
    let audio = find(AUDIO).unwrap_or_default();
    let rate = children(audio).find(|&(id, _)| id == SAMPLE_RATE).and_then(|(_, body)| float(body));
    let rate = rate.filter(|rate| (1.0..1e9).contains(rate)).map_or(8_000, |rate| rate.round() as u32);
    let mut params = AudioCodecParameters::new();
    params.with_sample_rate(rate);
    let known = match id.as_str() {
        "A_OPUS" => {
            params.with_extra_data(private.into());
            Some(CODEC_ID_OPUS)
        }
        "A_VORBIS" => vorbis(private).map(|headers| {
            params.with_extra_data(headers);
            CODEC_ID_VORBIS
        }),
        "A_FLAC" => private.get(8..42).map(|info| {
            params.with_extra_data(info.into());
            CODEC_ID_FLAC
        }),
        "A_AAC" => mp4::aac_config(private, &mut params).filter(|&codec| codec == CODEC_ID_AAC),
        "A_MPEG/L3" => Some(CODEC_ID_MP3),
        _ => None,
    };
    let packed = find(ENCODINGS).is_some();
    let delay = find(DELAY).map_or(0, uint);
    let skip = match opus::Head::parse(private) {
        Ok(head) if id == "A_OPUS" => f64::from(head.pre_skip) / f64::from(opus::RATE),
        _ => delay as f64 / 1e9,
    };
    Some(Track {
        number: find(NUMBER).map(uint)?,
        params: known.filter(|_| !packed).map(|codec| {
            params.for_codec(codec);
            params
        }),
        coding: if packed { format!("{id} that is compressed or encrypted") } else { coding(&id) },
        default: find(DEFAULT).is_none_or(|flag| uint(flag) != 0),
        delay,
        packet_len: find(FRAME_LEN).map_or(0, uint),
        skip,
    })
}

/// The name of a coding, for messages.
fn coding(id: &str) -> String {
    match id {
        "A_AC3" | "A_EAC3" => "Dolby AC-3 audio".into(),
        "A_DTS" => "DTS audio".into(),
        "A_TRUEHD" => "Dolby TrueHD audio".into(),
        "A_VORBIS" => "Vorbis audio with a damaged header".into(),
        "A_FLAC" => "FLAC audio with a damaged header".into(),
        "A_AAC" => "AAC of this kind".into(),
        _ => format!("its audio coding ({})", id.escape_debug()),
    }
}

/// The first and the third of the three headers of Vorbis, which the decoder needs. The lengths of
/// the first two come before them.
fn vorbis(private: &[u8]) -> Option<Box<[u8]>> {
    let (2, mut rest) = private.split_first().map(|(&count, rest)| (count, rest))? else {
        return None;
    };
    let mut lens = [0usize; 2];
    for len in &mut lens {
        loop {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            *len += usize::from(byte);
            if byte < u8::MAX {
                break;
            }
        }
    }
    let ident = rest.get(..lens[0])?;
    let setup = rest.get(lens[0] + lens[1]..)?;
    Some([ident, setup].concat().into())
}
