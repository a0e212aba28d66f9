//! Sentence ends in a list of words, told from abbreviations, initials and decimals.

use super::units::is_cjk;

/// Never the end of a sentence: a name or a number follows.
const TITLES: &[&str] = &[
    "dr", "mr", "mrs", "ms", "prof", "st", "vs", "cf", "approx", "gen", "col", "gov", "capt", "lt", "sgt", "rev",
    "hon", "sen", "rep", "mt", "ca", "bzw", "hr", "fr", "sig", "dott", "ing",
];
/// Not the end where a number follows (or may still follow).
const NUMBERED: &[&str] = &["no", "nr", "fig", "figs", "eq", "eqs", "sec", "vol", "ch", "pp", "p", "art"];
/// The end only where the next word opens with a capital.
const EITHER: &[&str] = &["etc", "inc", "ltd", "co", "corp", "jr", "sr", "al", "usw", "ecc"];

/// Whether `word` ends a sentence, given the word after it (`None`: nothing heard yet).
///
/// `.` `!` `?` `…` and their wide forms end one, behind closing quotes too. A full stop does not after a
/// title ("Dr."), an initial ("J."), a dotted abbreviation ("e.g."), a bare number with nothing after it
/// ("3." may become "3.5"), or where the abbreviation's rule says so.
pub fn ends_sentence(word: &str, next: Option<&str>) -> bool {
    let body = word.trim_end_matches(['"', '\'', '”', '’', ')', ']', '}', '»', '」', '』']);
    let Some(mark) = body.chars().next_back() else {
        return false;
    };
    if matches!(mark, '!' | '?' | '。' | '！' | '？' | '｡') {
        return true;
    }
    let capital_next = next.is_some_and(opens_with_capital);
    if mark == '…' || body.ends_with("..") {
        return capital_next;
    }
    if mark != '.' && mark != '．' {
        return false;
    }
    let stem = body[..body.len() - mark.len_utf8()].trim_start_matches(['"', '“', '‘', '(', '[', '«']);
    let lower = stem.to_lowercase();
    if stem.is_empty() || TITLES.contains(&lower.as_str()) || stem.contains('.') && !is_decimal(stem) {
        return false;
    }
    if stem.chars().count() == 1 && stem.chars().all(char::is_uppercase) && stem != "I" {
        return false;
    }
    if NUMBERED.contains(&lower.as_str()) {
        return next.is_some_and(|n| !n.starts_with(|c: char| c.is_ascii_digit()));
    }
    if EITHER.contains(&lower.as_str()) || stem.chars().all(|c| c.is_ascii_digit()) {
        return capital_next;
    }
    true
}

/// Whether `word` closes a clause: the place to cut when a sentence won't end.
pub fn ends_clause(word: &str) -> bool {
    word.ends_with([',', ';', ':', '，', '；', '：', '、', '—', '–']) || ends_sentence(word, Some("A"))
}

/// `text` without the sentence-final marks and blanks at its end: the mark that a recognizer sets
/// behind the last word heard so far says nothing yet. Source: specs 1.3.
pub fn strip_final_marks(text: &str) -> &str {
    text.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '…'))
}

fn is_decimal(stem: &str) -> bool {
    stem.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ','))
}

fn opens_with_capital(word: &str) -> bool {
    word.chars().find(|c| c.is_alphanumeric()).is_some_and(|c| c.is_uppercase() || is_cjk(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_what_only_looks_like_one() {
        for (word, next) in [
            ("everyone.", None),
            ("everyone.", Some("I'm")),
            ("Really?!", None),
            ("said.\"", Some("Then")),
            ("3.5.", Some("Then")),
            ("3.", Some("Then")),
            ("etc.", Some("We")),
            ("No.", Some("I")),
            ("I.", None),
            ("好。", None),
            ("so...", Some("We")),
        ] {
            assert!(ends_sentence(word, next), "{word} {next:?}");
        }
        for (word, next) in [
            ("Dr.", Some("Smith")),
            ("J.", Some("Smith")),
            ("e.g.", Some("this")),
            ("U.S.", Some("President")),
            ("3.", None),
            ("3.", Some("5")),
            ("3.5", None),
            ("No.", Some("5")),
            ("No.", None),
            ("etc.", Some("and")),
            ("so...", Some("we")),
            ("well,", Some("We")),
            (".", None),
        ] {
            assert!(!ends_sentence(word, next), "{word} {next:?}");
        }
    }
}
