//! Finds sentence ends in a list of words, and distinguishes them from abbreviations, initials and
//! decimals.

use super::units::is_cjk;

/// Abbreviations that never end a sentence, because a name or a number follows.
const TITLES: &[&str] = &[
    "dr", "mr", "mrs", "ms", "prof", "st", "vs", "cf", "approx", "gen", "col", "gov", "capt", "lt", "sgt", "rev",
    "hon", "sen", "rep", "mt", "ca", "bzw", "hr", "fr", "sig", "dott", "ing",
];
/// Abbreviations that do not end a sentence if a number follows or may still follow.
const NUMBERED: &[&str] = &["no", "nr", "fig", "figs", "eq", "eqs", "sec", "vol", "ch", "pp", "p", "art"];
/// Abbreviations that end a sentence only if the next word begins with a capital letter.
const END_BEFORE_CAPITAL: &[&str] = &["etc", "inc", "ltd", "co", "corp", "jr", "sr", "al", "usw", "ecc"];

/// Whether `word` ends a sentence, given the word after it (`None` if nothing has been heard after
/// it yet).
///
/// `.` `!` `?` and their wide forms end a sentence, also if closing quotes or brackets follow them.
/// An ellipsis does so only if the next word begins with a capital letter. A full stop does not end
/// a sentence after a title ("Dr."), an initial ("J."), a dotted abbreviation ("e.g."), or a bare
/// number without a capital letter after it ("3." may become "3.5"). Other abbreviations have rules
/// of their own.
pub(crate) fn ends_sentence(word: &str, next: Option<&str>) -> bool {
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
    if END_BEFORE_CAPITAL.contains(&lower.as_str()) || stem.chars().all(|c| c.is_ascii_digit()) {
        return capital_next;
    }
    true
}

/// Whether `word` ends a clause. A sentence that grows too long may be cut there.
pub(crate) fn ends_clause(word: &str) -> bool {
    word.ends_with([',', ';', ':', '，', '；', '：', '、', '—', '–']) || ends_sentence(word, Some("A"))
}

/// `text` without the sentence-final marks and blanks at its end. A recogniser sets such a mark
/// after the last word that it has heard so far; the mark does not mean that the sentence ends
/// there. Source: docs/method.md, section 1.3.
pub(crate) fn strip_final_marks(text: &str) -> &str {
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
