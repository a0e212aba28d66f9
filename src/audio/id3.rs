//! Skips ID3v2 tags before the sound. Pictures in them can be of any length.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::sought;

/// The number of bytes of the header of a tag, and of its footer.
pub(super) const HEADER: u64 = 10;
/// The maximum number of tags. A file has one, sometimes a few.
const MAX_TAGS: usize = 1_000;

/// The number of bytes of all tags at the start of `source`. The position is reset to the start.
///
/// A tag that is longer than the file has a damaged length. Only its header is skipped, and the
/// sound is searched after it.
pub(super) fn tags_len(source: &mut Box<dyn MediaSource>) -> io::Result<u64> {
    let all = source.seek(SeekFrom::End(0))?;
    let mut at = 0;
    for _ in 0..MAX_TAGS {
        source.seek(SeekFrom::Start(at))?;
        let mut head = Vec::new();
        source.take(HEADER).read_to_end(&mut head)?;
        let Some(len) = tag_len(&head) else {
            break;
        };
        at += if len <= all - at { len } else { HEADER };
    }
    source.seek(SeekFrom::Start(0))?;
    Ok(at)
}

/// The number of bytes of the tag that begins with `head`. None if no tag begins there.
pub(super) fn tag_len(head: &[u8]) -> Option<u64> {
    let &[b'I', b'D', b'3', version, revision, flags, a, b, c, d] = head else {
        return None;
    };
    if version == 0xFF || revision == 0xFF || [a, b, c, d].iter().any(|&x| x > 0x7F) {
        return None;
    }
    let body = [a, b, c, d].iter().fold(0, |len, &x| len << 7 | u64::from(x));
    let footer = if flags & 0x10 != 0 { HEADER } else { 0 };
    Some(HEADER + body + footer)
}

/// A source without its first `start` bytes.
pub(super) struct Behind {
    inner: Box<dyn MediaSource>,
    start: u64,
    at: u64,
    len: u64,
}

impl Behind {
    pub(super) fn new(mut inner: Box<dyn MediaSource>, start: u64) -> io::Result<Self> {
        let len = inner.seek(SeekFrom::End(0))?.saturating_sub(start);
        inner.seek(SeekFrom::Start(start))?;
        Ok(Behind { inner, start, at: 0, len })
    }
}

impl Read for Behind {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buf)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Behind {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = sought(to, self.at, self.len)?;
        self.inner.seek(SeekFrom::Start(self.start.saturating_add(target)))?;
        self.at = target;
        Ok(target)
    }
}

impl MediaSource for Behind {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len)
    }
}

#[cfg(test)]
mod tests {
    use crate::audio::decode::AudioFile;
    use crate::audio::testing::fixture;
    use std::io::Cursor;

    fn tag(len: usize, fill: u8) -> Vec<u8> {
        let size = [21, 14, 7, 0].map(|by| (len >> by & 0x7F) as u8);
        [b"ID3\x04\0\0".as_slice(), &size, &vec![fill; len]].concat()
    }

    fn decoded(bytes: Vec<u8>) -> Vec<f32> {
        let mut file = AudioFile::from_source(Box::new(Cursor::new(bytes)), "tagged".into()).unwrap();
        let mut all = Vec::new();
        while let Some(block) = file.next_block().unwrap() {
            all.extend(block);
        }
        assert_eq!(file.warning(), None);
        all
    }

    #[test]
    fn sound_is_found_behind_tags_of_any_length() {
        for name in ["mono_44k.mp3", "aac_16k.aac", "stereo_22k.flac", "ref_16k.wav", "stereo_44k.ogg"] {
            let sound = std::fs::read(fixture(&format!("audio/{name}"))).unwrap();
            let want = decoded(sound.clone());
            for tags in [tag(0, 0), tag(1_100_000, 0xFF), tag(5 << 20, 0), [tag(300, 7), tag(2 << 20, 0xFB)].concat()] {
                assert!(decoded([tags, sound.clone()].concat()) == want, "{name}");
            }
        }
    }

    #[test]
    fn a_tag_that_is_longer_than_the_file_does_not_hide_the_sound() {
        let sound = std::fs::read(fixture("audio/mono_44k.mp3")).unwrap();
        let mut bytes = [tag(2_000, 0), sound.clone()].concat();
        bytes[6] = 0x7F;
        assert_eq!(decoded(bytes).len(), decoded(sound).len());
        let only = AudioFile::from_source(Box::new(Cursor::new(tag(100, 0))), "tag.mp3".into());
        assert!(only.err().unwrap().to_string().contains("nothing follows its ID3 tag"));
    }
}
