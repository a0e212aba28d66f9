//! What a talk is about, for the models: free text (its title, names), and a list of terms with
//! their translations where they are known. Recogniser and translator read it in their prompts.

/// The longest term, in characters.
const LONGEST_TERM: usize = 200;
/// The most terms.
const MOST_TERMS: usize = 1000;

/// What a talk is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    text: String,
    terms: Vec<Term>,
}

/// A term of a talk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    source: String,
    translation: Option<String>,
}

/// A line of a list of terms is malformed, or the list is too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {what}")]
pub struct TermsError {
    /// Number of the line, from 1.
    pub line: usize,
    what: String,
}

impl Context {
    /// A context of `text` and a list of terms: a line each, `term` or `term = translation`. Blank
    /// lines and lines that begin with `#` are skipped.
    pub fn new(text: &str, terms: &str) -> Result<Context, TermsError> {
        let mut context = Context { text: trimmed_lines(text), terms: Vec::new() };
        for (at, line) in terms.lines().enumerate() {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: String| TermsError { line: at + 1, what };
            let term = term(line).map_err(&wrong)?;
            if context.terms.len() == MOST_TERMS {
                return Err(wrong(format!("is term {}: use at most {MOST_TERMS}", MOST_TERMS + 1)));
            }
            context.terms.push(term);
        }
        Ok(context)
    }

    /// Whether nothing is known about the talk.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.terms.is_empty()
    }

    /// The text for a recogniser: translations would only mislead it.
    pub fn heard(&self) -> String {
        let terms: Vec<&str> = self.terms.iter().map(|term| term.source.as_str()).collect();
        self.with(&terms.join(", "))
    }

    /// The text for a translator, with a line for each term.
    pub fn translated(&self) -> String {
        let line = |term: &Term| match &term.translation {
            Some(translation) => format!("{} = {translation}", term.source),
            None => term.source.clone(),
        };
        self.with(&self.terms.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    fn with(&self, terms: &str) -> String {
        let seam = if self.text.is_empty() || terms.is_empty() { "" } else { "\n" };
        format!("{}{seam}{terms}", self.text)
    }
}

/// The lines of a text without blanks around them and without blank lines.
fn trimmed_lines(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn term(line: &str) -> Result<Term, String> {
    let (source, translation) = match line.split_once('=') {
        Some((source, translation)) => (source.trim(), Some(translation.trim())),
        None => (line, None),
    };
    if source.is_empty() {
        return Err("has no term before `=`".to_owned());
    }
    if translation == Some("") {
        return Err("has no translation behind `=`".to_owned());
    }
    if line.chars().count() > 2 * LONGEST_TERM {
        return Err(format!("is too long for a term: use at most {LONGEST_TERM} characters"));
    }
    if line.chars().any(char::is_control) {
        return Err("has a control character".to_owned());
    }
    Ok(Term { source: source.to_owned(), translation: translation.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_gets_what_it_can_use() {
        let terms = "\u{feff}# names\nAda Lovelace\n\n attention head =  Aufmerksamkeitskopf \n";
        let context = Context::new("A talk.\n\n  By Ann.  \n", terms).expect("a context");
        assert_eq!(context.heard(), "A talk.\nBy Ann.\nAda Lovelace, attention head");
        assert_eq!(context.translated(), "A talk.\nBy Ann.\nAda Lovelace\nattention head = Aufmerksamkeitskopf");
        let only = Context::new("", "a = b = c").expect("a context");
        assert_eq!((only.heard().as_str(), only.translated().as_str()), ("a", "a = b = c"));
        assert!(!only.is_empty());
        let none = Context::new(" \n", "# none\n").expect("a context");
        assert!(none.is_empty() && none.heard().is_empty() && none.translated().is_empty());
    }

    #[test]
    fn wrong_lines_are_named() {
        let many = "t\n".repeat(MOST_TERMS + 1);
        let long = "t".repeat(401);
        for (terms, what) in [
            ("a\n = b", "line 2 has no term before `=`"),
            ("a =", "line 1 has no translation behind `=`"),
            ("a\u{7}b", "line 1 has a control character"),
            (long.as_str(), "line 1 is too long for a term: use at most 200 characters"),
            (many.as_str(), "line 1001 is term 1001: use at most 1000"),
        ] {
            assert_eq!(Context::new("", terms).expect_err(what).to_string(), what);
        }
    }
}
