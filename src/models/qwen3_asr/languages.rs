//! The languages that Qwen3-ASR knows, by their codes and by the English names that its prompt and its answers use.
//! (specs/models.md 1.7)

/// Code (ISO 639) and name of each language.
pub const LANGUAGES: [(&str, &str); 30] = [
    ("zh", "Chinese"),
    ("en", "English"),
    ("yue", "Cantonese"),
    ("ar", "Arabic"),
    ("de", "German"),
    ("fr", "French"),
    ("es", "Spanish"),
    ("pt", "Portuguese"),
    ("id", "Indonesian"),
    ("it", "Italian"),
    ("ko", "Korean"),
    ("ru", "Russian"),
    ("th", "Thai"),
    ("vi", "Vietnamese"),
    ("ja", "Japanese"),
    ("tr", "Turkish"),
    ("hi", "Hindi"),
    ("ms", "Malay"),
    ("nl", "Dutch"),
    ("sv", "Swedish"),
    ("da", "Danish"),
    ("fi", "Finnish"),
    ("pl", "Polish"),
    ("cs", "Czech"),
    ("fil", "Filipino"),
    ("fa", "Persian"),
    ("el", "Greek"),
    ("ro", "Romanian"),
    ("hu", "Hungarian"),
    ("mk", "Macedonian"),
];

/// Codes of the languages that the forced aligner was trained for.
pub const ALIGNED: [&str; 11] = ["zh", "en", "yue", "fr", "de", "it", "ja", "ko", "pt", "ru", "es"];

/// No language of Qwen3-ASR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{asked:?} is no language of Qwen3-ASR; it knows {}", known())]
pub struct UnknownLanguage {
    /// What was asked for.
    pub asked: String,
}

fn known() -> String {
    LANGUAGES.map(|(code, _)| code).join(" ")
}

/// The name for a code: "de" → "German". Case and what follows the first `-` or `_` (a region) do not matter.
pub fn name_of(code: &str) -> Option<&'static str> {
    let code = code.split(['-', '_']).next().unwrap_or("").to_ascii_lowercase();
    let code = match code.as_str() {
        "tl" => "fil",
        other => other,
    };
    LANGUAGES.iter().find(|(c, _)| *c == code).map(|(_, name)| *name)
}

/// The code for a name, in any case: "German" → "de".
pub fn code_of(name: &str) -> Option<&'static str> {
    LANGUAGES.iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(code, _)| *code)
}

/// The name as the prompt wants it, for a code or a name as a user may write it.
pub fn find(asked: &str) -> Result<&'static str, UnknownLanguage> {
    let trimmed = asked.trim();
    name_of(trimmed)
        .or_else(|| code_of(trimmed).and_then(name_of))
        .ok_or_else(|| UnknownLanguage { asked: asked.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_to_each_other() {
        for (code, name) in LANGUAGES {
            assert_eq!(name_of(code), Some(name));
            assert_eq!(code_of(name), Some(code));
        }
        assert!(ALIGNED.iter().all(|code| name_of(code).is_some()));
    }

    #[test]
    fn users_write_them_as_they_like() {
        for (asked, name) in
            [("de", "German"), ("zh-CN", "Chinese"), ("EN_us", "English"), (" german ", "German"), ("tl", "Filipino")]
        {
            assert_eq!(find(asked), Ok(name));
        }
        let error = find("klingon").unwrap_err().to_string();
        assert!(error.contains("\"klingon\"") && error.contains(" yue "), "{error}");
        assert!(find("").is_err());
    }
}
