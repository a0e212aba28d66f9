//! Recognises the format of a file by its first bytes.

/// The name of Matroska here, which includes WebM.
pub(super) const MATROSKA: &str = "Matroska or WebM";

/// The name of a well-known format other than WAV. 12 bytes are enough.
pub(super) fn known_format(head: &[u8]) -> Option<&'static str> {
    let is = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    if is(0, b"fLaC") {
        Some("FLAC")
    } else if is(0, b"OggS") {
        Some("Ogg")
    } else if is(0, b"ID3") {
        Some("MP3")
    } else if is(4, b"ftyp") {
        Some("MP4")
    } else if is(0, &[0x1A, 0x45, 0xDF, 0xA3]) {
        Some(MATROSKA)
    } else if is(0, b"FORM") {
        Some("AIFF")
    } else if is(0, b"caff") {
        Some("CAF")
    } else if is(0, b"riff") {
        Some("Wave64")
    } else {
        None
    }
}

/// True if a frame of MP3 or ADTS may begin here.
pub(super) fn is_mpeg_frame(head: &[u8]) -> bool {
    matches!(head, [0xFF, second, ..] if second & 0xF6 == 0xF0 || second & 0xE6 == 0xE2)
}

/// True if the bytes are UTF-8 without control characters.
pub(super) fn looks_like_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character may be cut at the end.
        Err(e) if e.valid_up_to() + 4 > head.len() => std::str::from_utf8(&head[..e.valid_up_to()]).unwrap_or(""),
        Err(_) => return false,
    };
    !valid.is_empty() && !valid.chars().any(|c| c.is_control() && !c.is_whitespace())
}
