//! Languages by ISO 639 code: their English names as the models' prompts spell them, and whether
//! spaces separate their words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A language by its ISO 639 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub struct Language(u8);

/// Code and English name. Qwen3-ASR was trained with these names, and the translation prompt uses
/// them.
const TABLE: &[(&str, &str)] = &[
    ("en", "English"),
    ("de", "German"),
    ("it", "Italian"),
    ("zh", "Chinese"),
    ("cs", "Czech"),
    ("yue", "Cantonese"),
    ("ar", "Arabic"),
    ("fr", "French"),
    ("es", "Spanish"),
    ("pt", "Portuguese"),
    ("id", "Indonesian"),
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
    ("fil", "Filipino"),
    ("fa", "Persian"),
    ("el", "Greek"),
    ("ro", "Romanian"),
    ("hu", "Hungarian"),
    ("mk", "Macedonian"),
];

impl Language {
    /// English.
    pub const ENGLISH: Language = Language(0);
    /// German.
    pub const GERMAN: Language = Language(1);
    /// Italian.
    pub const ITALIAN: Language = Language(2);
    /// Chinese.
    pub const CHINESE: Language = Language(3);

    /// The supported target languages; any other is refused.
    pub const TARGETS: [Language; 3] = [Language::GERMAN, Language::ITALIAN, Language::CHINESE];

    /// The ISO 639 code, such as `de`.
    pub fn code(self) -> &'static str {
        TABLE[usize::from(self.0)].0
    }

    /// The English name as the models know it, such as `Chinese`.
    pub fn english_name(self) -> &'static str {
        TABLE[usize::from(self.0)].1
    }

    /// True where each character is a unit and no spaces separate words: Chinese, Cantonese,
    /// Japanese.
    pub fn counts_characters(self) -> bool {
        matches!(self.code(), "zh" | "yue" | "ja")
    }

    /// Every code, in the order of the table.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.0)
    }
}

/// The error for a code that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{code}` is not a known language; use an ISO 639 code such as en, de, it or zh")]
pub struct UnknownLanguage {
    pub code: String,
}

impl FromStr for Language {
    type Err = UnknownLanguage;
    fn from_str(code: &str) -> Result<Self, Self::Err> {
        TABLE
            .iter()
            .position(|row| row.0.eq_ignore_ascii_case(code))
            .and_then(|at| u8::try_from(at).ok())
            .map(Language)
            .ok_or_else(|| UnknownLanguage { code: code.to_owned() })
    }
}

impl TryFrom<String> for Language {
    type Error = UnknownLanguage;
    fn try_from(code: String) -> Result<Self, Self::Error> {
        code.parse()
    }
}

impl From<Language> for &'static str {
    fn from(language: Language) -> &'static str {
        language.code()
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_constants_are_what_they_say() {
        assert_eq!(Language::ENGLISH.code(), "en");
        assert_eq!(Language::GERMAN.code(), "de");
        assert_eq!(Language::ITALIAN.code(), "it");
        assert_eq!(Language::CHINESE.code(), "zh");
        assert_eq!("ZH".parse(), Ok(Language::CHINESE));
        assert!("xx".parse::<Language>().is_err());
        assert_eq!(TABLE.len(), 30);
    }
}
