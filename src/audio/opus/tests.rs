use proptest::prelude::*;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use super::*;
use crate::audio::ogg;
use crate::audio::testing::fixture;

/// The packets of a fixture: the header, the comment, and the sound.
pub(in crate::audio) fn packets(name: &str) -> Vec<Vec<u8>> {
    ogg::tests::packets(&std::fs::read(fixture(&format!("audio/{name}"))).unwrap())
}

/// A header of mapping family 1.
pub(in crate::audio) fn surround(channels: u8, streams: u8, coupled: u8, mapping: &[u8]) -> Vec<u8> {
    [MAGIC, &[1, channels, 56, 1, 0, 0, 0, 0, 0, 0, 1, streams, coupled], mapping].concat()
}

#[test]
fn headers() {
    let plain = &packets("opus.ogg")[0];
    let head = Head::parse(plain).unwrap();
    assert_eq!((head.channels, head.pre_skip, head.streams, head.coupled), (1, 312, 1, 0));
    assert_eq!(head.factor(), 1.0);
    let with = |at: usize, byte: u8| {
        let mut head = plain.clone();
        head[at] = byte;
        Head::parse(&head)
    };
    assert_eq!(with(9, 2).unwrap().coupled, 1);
    let minus = Head { gain: -1_541, ..head.clone() };
    assert!((minus.factor() - 0.5).abs() < 1e-3);
    for (at, byte, says) in [(9, 0, "damaged"), (9, 3, "damaged"), (8, 16, "later version"), (0, b'o', "damaged")] {
        assert!(with(at, byte).unwrap_err().contains(says), "{at}");
    }
    for family in [2, 3, 255] {
        assert!(with(18, family).unwrap_err().contains("family other than 0 and 1"));
    }
    let six = Head::parse(&surround(6, 4, 2, &[0, 4, 1, 2, 3, 5])).unwrap();
    assert_eq!((six.channels, six.streams, six.coupled), (6, 4, 2));
    assert!(Head::parse(&surround(2, 1, 1, &[0, 255])).is_ok());
    for wrong in [
        surround(6, 4, 2, &[0, 4, 1, 2, 3]),
        surround(6, 4, 2, &[0, 4, 1, 2, 3, 6]),
        surround(1, 0, 0, &[255]),
        surround(2, 1, 2, &[0, 1]),
        surround(9, 9, 0, &[0; 9]),
        surround(1, 255, 1, &[0]),
        MAGIC.to_vec(),
        Vec::new(),
    ] {
        assert!(Head::parse(&wrong).unwrap_err().contains("damaged"), "{wrong:?}");
    }
    // The same fields as MP4 has them.
    let fields = [0, 1, 1, 56, 0, 0, 0xBB, 0x80, 0xFF, 0, 0];
    let head = Head::parse(&Head::of_mp4(&fields).unwrap()).unwrap();
    assert_eq!((head.channels, head.pre_skip, head.gain), (1, 312, -256));
    assert_eq!(Head::of_mp4(&fields[1..]), None);
}

#[test]
fn lengths_of_packets() {
    for (packet, want) in [
        (&[0x48][..], Some(960)),
        (&[0x58], Some(2_880)),
        (&[0x60], Some(480)),
        (&[0x68, 1, 2], Some(960)),
        (&[0x81], Some(240)),
        (&[0x9A, 0], Some(1_920)),
        (&[0xFB, 6], Some(5_760)),
        (&[0x83, 48], Some(5_760)),
        (&[0xFB, 7], None),
        (&[0xFB, 0], None),
        (&[0xFB], None),
        (&[], None),
    ] {
        assert_eq!(frames(packet), want, "{packet:?}");
    }
}

/// Decodes packets one after another. Returns the number of frames of each, if it was decoded.
fn decoded(head: &[u8], packets: &[Vec<u8>]) -> Vec<Option<usize>> {
    let mut params = AudioCodecParameters::new();
    params.for_codec(CODEC_ID_OPUS).with_extra_data(Box::from(head));
    let mut decoder = decoder(&params).unwrap();
    let packets = packets.iter().map(|data| Packet::new(0, Timestamp::ZERO, Duration::ZERO, data.clone()));
    packets
        .map(|packet| {
            let buffer = decoder.decode(&packet).ok()?;
            let mut samples: Vec<f32> = Vec::new();
            buffer.copy_to_vec_interleaved(&mut samples);
            assert!(samples.iter().all(|x| x.abs() <= 1.0));
            Some(buffer.frames())
        })
        .collect()
}

#[test]
fn a_packet_without_sound_has_its_length() {
    let head = &packets("opus.ogg")[0];
    let empty = [vec![0x48], vec![0x58], vec![0xF8], vec![0x83, 48]];
    assert_eq!(decoded(head, &empty), [Some(960), Some(2_880), Some(960), Some(5_760)]);
    assert_eq!(decoded(head, &[Vec::new(), vec![0x83, 49]]), [None, None]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Damaged packets in every mode of the decoder: a packet has its length or is refused.
    #[test]
    fn damaged_packets_are_refused_or_have_their_length(
        at in 0usize..4,
        channels in 1u8..9,
        harms in proptest::collection::vec((any::<usize>(), any::<u8>(), 0u8..5), 1..24),
    ) {
        let all = packets(["opus.ogg", "opus_modes.ogg", "opus_modes.ogg", "opus_modes.ogg"][at]);
        let sound: Vec<Vec<u8>> = all.into_iter().filter(|p| !p.starts_with(b"Opus")).collect();
        let packets: Vec<Vec<u8>> = harms
            .iter()
            .map(|&(place, byte, kind)| {
                let mut packet = sound[place % sound.len()].clone();
                let len = packet.len();
                match kind {
                    0 => packet[place / 7 % len] ^= byte,
                    1 => packet[0] = byte,
                    2 => packet.truncate(place / 7 % len),
                    3 => packet.iter_mut().skip(1).step_by(3).for_each(|x| *x = x.wrapping_mul(byte | 1)),
                    _ => {}
                }
                packet
            })
            .collect();
        let mapping: Vec<u8> = (0..channels).collect();
        // One stream of one or two channels, or as many as there are channels.
        for head in [surround(channels.min(2), 1, channels.min(2) - 1, &mapping[..channels.min(2).into()]), surround(channels, channels, 0, &mapping)] {
            for (packet, got) in packets.iter().zip(decoded(&head, &packets)) {
                prop_assert!(got.is_none() || got == frames(packet));
            }
        }
    }
}
