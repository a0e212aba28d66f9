//! The fixed prompts of Qwen3-ASR and its aligner, as token ids. Tests compare them with the
//! shipped templates. Text that was recognised or typed is never read as a control token. Source:
//! docs/models.md, sections 1.7, 1.8.

use std::ops::Range;

use crate::weights::{CheckpointError, Tokenizer};

/// A prompt with placeholders for the audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioPrompt {
    pub ids: Vec<u32>,
    /// The columns that the audio rows replace.
    pub audio: Range<usize>,
    /// The columns of `<timestamp>` (aligner only): two for each word, its start and its end.
    pub timestamps: Vec<usize>,
}

/// Qwen3-ASR's prompt for `audio_len` audio tokens.
///
/// `context` goes into the system turn. `language` (an English name) forces the language and makes
/// the model write text only. `prefix` is the beginning of the answer that the model continues;
/// without a forced language it starts with the model's own `language English<asr_text>`.
///
/// Errors: the tokenizer lacks a control token.
pub(crate) fn asr_prompt(
    tokenizer: &Tokenizer,
    context: &str,
    audio_len: usize,
    language: Option<&str>,
    prefix: &str,
) -> Result<AudioPrompt, CheckpointError> {
    let (turn, end) = (tokenizer.require("<|im_start|>")?, tokenizer.require("<|im_end|>")?);
    let mut ids = vec![turn];
    ids.extend(tokenizer.encode_plain(&format!("system\n{context}"))?);
    ids.push(end);
    ids.extend(tokenizer.encode_plain("\n")?);
    ids.push(turn);
    ids.extend(tokenizer.encode_plain("user\n")?);
    let audio = push_audio(tokenizer, &mut ids, audio_len)?;
    ids.push(end);
    ids.extend(tokenizer.encode_plain("\n")?);
    ids.push(turn);
    let answer = match language {
        Some(language) => format!("language {language}<asr_text>{prefix}"),
        None => prefix.to_owned(),
    };
    // The first <asr_text> separates the language from the text. Any later one can only be
    // recognised text.
    match answer.split_once("<asr_text>") {
        Some((head, text)) => {
            ids.extend(tokenizer.encode_plain(&format!("assistant\n{head}"))?);
            ids.push(tokenizer.require("<asr_text>")?);
            ids.extend(tokenizer.encode_plain(text)?);
        }
        None => ids.extend(tokenizer.encode_plain(&format!("assistant\n{answer}"))?),
    }
    Ok(AudioPrompt { ids, audio, timestamps: Vec::new() })
}

/// Qwen3-ForcedAligner's prompt: the audio, then each word followed by two `<timestamp>`. Words
/// must not contain spaces.
pub(crate) fn aligner_prompt(
    tokenizer: &Tokenizer,
    audio_len: usize,
    words: &[&str],
) -> Result<AudioPrompt, CheckpointError> {
    let mut ids = Vec::new();
    let audio = push_audio(tokenizer, &mut ids, audio_len)?;
    let timestamp = tokenizer.require("<timestamp>")?;
    let mut timestamps = Vec::with_capacity(2 * words.len());
    for word in words {
        ids.extend(tokenizer.encode_plain(word)?);
        timestamps.extend([ids.len(), ids.len() + 1]);
        ids.extend([timestamp; 2]);
    }
    Ok(AudioPrompt { ids, audio, timestamps })
}

fn push_audio(tokenizer: &Tokenizer, ids: &mut Vec<u32>, audio_len: usize) -> Result<Range<usize>, CheckpointError> {
    ids.push(tokenizer.require("<|audio_start|>")?);
    let start = ids.len();
    ids.extend(std::iter::repeat_n(tokenizer.require("<|audio_pad|>")?, audio_len));
    let audio = start..ids.len();
    ids.push(tokenizer.require("<|audio_end|>")?);
    Ok(audio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::template::{ChatOptions, ChatTemplate, Content, Message, Part};
    use crate::weights::testing::{fixture_files, golden_ids};

    fn tokenizer(model: &str) -> Tokenizer {
        Tokenizer::open(&fixture_files(model)).unwrap()
    }

    #[test]
    fn the_asr_prompts_of_the_fixtures() {
        let tokenizer = tokenizer("qwen3_asr");
        for (clip, context, audio_len, language) in [
            ("long", "context words: Zürich", 44, Some("English")),
            ("exact", "", 26, None),
            ("odd", "", 16, Some("German")),
            ("short", "", 9, None),
            ("tiny", "", 7, Some("Chinese")),
        ] {
            let prompt = asr_prompt(&tokenizer, context, audio_len, language, "").unwrap();
            assert_eq!(prompt.ids, golden_ids("qwen3_asr", &format!("{clip}.input_ids")), "{clip}");
            let pad = tokenizer.require("<|audio_pad|>").unwrap();
            assert!(prompt.ids[prompt.audio.clone()].iter().all(|id| *id == pad) && prompt.audio.len() == audio_len);
            // The shipped template gives the same text, except for the number of placeholders and
            // the forced language.
            let template = ChatTemplate::open(&fixture_files("qwen3_asr")).unwrap().unwrap();
            let user = Message { role: "user", content: Content::Parts(vec![Part::Audio]) };
            let text = template.render(&[Message::system(context), user], &ChatOptions::default()).unwrap();
            let forced = language.map_or(String::new(), |name| format!("language {name}<asr_text>"));
            let text = text.replace("<|audio_pad|>", &"<|audio_pad|>".repeat(audio_len)) + &forced;
            assert_eq!(tokenizer.encode(&text).unwrap(), prompt.ids);
        }
        let prefixed =
            asr_prompt(&tokenizer, "", 2, None, "language English<asr_text>the <asr_text> fox<|im_end|>").unwrap();
        let asr_text = tokenizer.require("<asr_text>").unwrap();
        assert_eq!(prefixed.ids.iter().filter(|id| **id == asr_text).count(), 1);
        let turn_ends = prefixed.ids.iter().filter(|id| **id == tokenizer.require("<|im_end|>").unwrap()).count();
        assert_eq!(turn_ends, 2);
    }

    #[test]
    fn the_aligner_prompt_of_the_fixture() {
        let tokenizer = tokenizer("qwen3_aligner");
        let report = fixture_files("qwen3_aligner").json("report.json", 1 << 20).unwrap();
        let words: Vec<&str> = report["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let prompt = aligner_prompt(&tokenizer, 44, &words).unwrap();
        assert_eq!(prompt.ids, golden_ids("qwen3_aligner", "input_ids"));
        assert_eq!(prompt.timestamps.len(), 2 * words.len());
        assert!(prompt.timestamps.iter().all(|at| prompt.ids[*at] == tokenizer.require("<timestamp>").unwrap()));
        let template = ChatTemplate::open(&fixture_files("qwen3_aligner")).unwrap().unwrap();
        let mut parts = vec![Part::Audio];
        parts.extend(words.iter().map(|word| Part::Text { text: (*word).to_owned() }));
        let message = Message { role: "user", content: Content::Parts(parts) };
        let text = template.render(&[message], &ChatOptions::default()).unwrap();
        assert_eq!(text.replace("<|audio_pad|>", &"<|audio_pad|>".repeat(44)), report["input_text"].as_str().unwrap());
    }
}
