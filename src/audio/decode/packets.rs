//! Where the packets of a coded file come from, and which decoder takes them.

use std::io;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_AC3, CODEC_ID_DCA, CODEC_ID_EAC3, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_OPUS,
    CODEC_ID_SPEEX, CODEC_ID_WMA,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::Source;
use crate::audio::aac;
use crate::audio::error::AudioError;
use crate::audio::matroska::{self, Matroska};
use crate::audio::mp4::{Mp4, OpenError};
use crate::audio::opus;
use crate::audio::sniff::{known_format, looks_like_text};

const NO_TRACK: &str = "there is no audio track";
const NO_MATROSKA: &str = "its Matroska header is damaged or cut off";
const CUT_INDEX: &str = "its index is missing, as in a recording or a download that was interrupted";

/// Where packets come from.
pub(super) enum Packets {
    Mp4(Box<Mp4>),
    Matroska(Box<Matroska<Source>>),
    Other(Box<dyn FormatReader>),
}

impl Packets {
    pub(super) fn next(&mut self) -> Result<Option<Packet>, SymphoniaError> {
        match self {
            Packets::Mp4(mp4) => mp4.next_packet().map_err(SymphoniaError::IoError),
            Packets::Matroska(matroska) => matroska.next_packet().map_err(SymphoniaError::IoError),
            Packets::Other(format) => format.next_packet(),
        }
    }
}

/// Finds the container. `head` is the beginning of the file.
pub(super) fn open_format(source: Source, name: &str, head: &[u8]) -> Result<Box<dyn FormatReader>, AudioError> {
    let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
    let probe = symphonia::default::get_probe();
    let found = probe.probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default());
    found.map_err(|e| probe_error(&e, name, head))
}

/// Finds the index of an MP4, and the first track that can be decoded. Enabled tracks come first.
pub(super) fn open_mp4(source: Source, name: &str) -> Result<(Mp4, Box<dyn AudioDecoder>), AudioError> {
    let mut mp4 = Mp4::open(source).map_err(|e| mp4_error(e, name))?;
    let mut order: Vec<usize> = (0..mp4.tracks().len()).collect();
    order.sort_by_key(|&index| !mp4.tracks()[index].enabled);
    let mut decoders = order.into_iter().map(|index| mp4_decoder(&mp4, index, name).map(|d| (index, d)));
    let first = decoders.next().unwrap_or(Err(AudioError::Empty { name: name.into(), what: NO_TRACK }));
    let (index, decoder) = match first {
        Ok(found) => found,
        Err(refused) => decoders.find_map(Result::ok).ok_or(refused)?,
    };
    drop(decoders);
    mp4.choose(index);
    Ok((mp4, decoder))
}

/// The decoder for sound track `index` of an MP4.
pub(super) fn mp4_decoder(mp4: &Mp4, index: usize, name: &str) -> Result<Box<dyn AudioDecoder>, AudioError> {
    let coding = &mp4.tracks()[index].coding;
    let refused = |codec| AudioError::UnknownCodec { name: name.into(), codec };
    let params = coding.params.as_ref().ok_or_else(|| refused(coding.name()))?;
    // The trims of an MP4 are removed here, in the same way for every coding.
    let options = AudioDecoderOptions::default().gapless(false);
    decoder(params, &options).map_err(|e| refused(coding_name(params, &e)))
}

/// Finds the tracks of a Matroska file, and the first sound track that can be decoded. Those that a
/// player would choose come first.
pub(super) fn open_matroska(
    source: Source,
    name: &str,
) -> Result<(Matroska<Source>, Box<dyn AudioDecoder>), AudioError> {
    let mut matroska = Matroska::open(source).map_err(|e| matroska_error(e, name))?;
    let mut order: Vec<usize> = (0..matroska.tracks().len()).collect();
    order.sort_by_key(|&index| !matroska.tracks()[index].default);
    let mut refused = None;
    for index in order {
        match matroska_decoder(&matroska, index, name) {
            Ok(decoder) => {
                matroska.choose(index);
                return Ok((matroska, decoder));
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or(AudioError::Empty { name: name.into(), what: NO_TRACK }))
}

/// The decoder for sound track `index` of a Matroska file.
pub(super) fn matroska_decoder(
    matroska: &Matroska<Source>,
    index: usize,
    name: &str,
) -> Result<Box<dyn AudioDecoder>, AudioError> {
    let track = &matroska.tracks()[index];
    let refused = |codec| AudioError::UnknownCodec { name: name.into(), codec };
    let params = track.params.as_ref().ok_or_else(|| refused(track.coding.clone()))?;
    // The container says what is not played, in the same way for every coding.
    let options = AudioDecoderOptions::default().gapless(false);
    decoder(params, &options).map_err(|e| refused(coding_name(params, &e)))
}

/// The first audio track that can be decoded, with its decoder. The default track comes first.
pub(super) fn pick_track(format: &dyn FormatReader, name: &str) -> Result<(Track, Box<dyn AudioDecoder>), AudioError> {
    let default = format.default_track(TrackType::Audio);
    let mut refused = None;
    for track in default.into_iter().chain(format.tracks()) {
        let Some(CodecParameters::Audio(params)) = &track.codec_params else {
            continue;
        };
        // The padding at the end of an MP3 is kept. Its length is an estimate, or that of the first
        // of several joined files.
        let options = AudioDecoderOptions::default().gapless(params.codec != CODEC_ID_MP3);
        match decoder(params, &options) {
            Ok(decoder) => return Ok((track.clone(), decoder)),
            Err(e) => refused = refused.or(Some((params, e))),
        }
    }
    let name = name.to_string();
    Err(match refused {
        Some((params, e)) => AudioError::UnknownCodec { name, codec: coding_name(params, &e) },
        None => AudioError::Empty { name, what: NO_TRACK },
    })
}

/// Symphonia's decoder, or ours for Opus and for AAC with more than two channels.
fn decoder(
    params: &AudioCodecParameters,
    options: &AudioDecoderOptions,
) -> Result<Box<dyn AudioDecoder>, SymphoniaError> {
    match symphonia::default::get_codecs().make_audio_decoder(params, options) {
        Err(_) if params.codec == CODEC_ID_OPUS => opus::decoder(params),
        Err(_) if aac::is_multichannel(params) => Ok(Box::new(aac::Multichannel::new(params)?)),
        decoder => decoder,
    }
}

/// True if the system could not read. The end of a file, or of what its header declares, is no such
/// fault.
pub(super) fn is_system_fault(e: &io::Error) -> bool {
    e.raw_os_error().is_some()
}

fn mp4_error(e: OpenError, name: &str) -> AudioError {
    let name = name.to_string();
    match e {
        OpenError::Io(source) if is_system_fault(&source) => AudioError::Read { name, source },
        OpenError::Io(e) => AudioError::Broken { name, what: format!("its MP4 header is damaged ({e})") },
        OpenError::NoIndex => AudioError::Broken { name, what: CUT_INDEX.into() },
        OpenError::NoTrack => AudioError::Empty { name, what: NO_TRACK },
    }
}

fn matroska_error(e: matroska::OpenError, name: &str) -> AudioError {
    let name = name.to_string();
    match e {
        matroska::OpenError::Io(source) => AudioError::Read { name, source },
        matroska::OpenError::Damaged => AudioError::Broken { name, what: NO_MATROSKA.into() },
        matroska::OpenError::NoTrack => AudioError::Empty { name, what: NO_TRACK },
    }
}

/// The error for a file in which symphonia found no container.
fn probe_error(e: &SymphoniaError, name: &str, head: &[u8]) -> AudioError {
    let name = name.to_string();
    let container = known_format(head);
    if let Some(container @ ("FLAC" | "MP3")) = container {
        return AudioError::Broken { name, what: format!("its {container} header is damaged ({e})") };
    }
    let found = match container {
        Some(other) => format!("this is {other}"),
        None if looks_like_text(head) => "this looks like text, not sound".into(),
        None => "this is not sound in a known format".into(),
    };
    AudioError::UnknownFormat { name, found }
}

/// The name of a coding that is not decoded, for messages.
fn coding_name(params: &AudioCodecParameters, why: &SymphoniaError) -> String {
    let channels = params.channels.as_ref().map(Channels::count);
    match (codec_name(params.codec), channels) {
        // The decoder says which kind of Opus it is.
        (_, _) if params.codec == CODEC_ID_OPUS => match why {
            SymphoniaError::Unsupported(name) => (*name).into(),
            _ => "Opus audio".into(),
        },
        (Some(known), _) => known.into(),
        (None, None) if params.codec == CODEC_ID_AAC => "AAC that defines its channel layout itself".into(),
        (None, Some(channels @ 3..)) if params.codec == CODEC_ID_AAC => format!("AAC with {channels} channels"),
        (None, _) => format!("its audio coding ({why})"),
    }
}

fn codec_name(codec: AudioCodecId) -> Option<&'static str> {
    Some(match codec {
        CODEC_ID_SPEEX => "Speex audio",
        CODEC_ID_MP1 | CODEC_ID_MP2 => "MPEG audio of layer 1 or 2",
        CODEC_ID_AC3 | CODEC_ID_EAC3 => "Dolby AC-3 audio",
        CODEC_ID_DCA => "DTS audio",
        CODEC_ID_WMA => "Windows Media audio",
        _ => return None,
    })
}
