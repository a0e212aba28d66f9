//! Whether the open segment needs a draft now. Source: specs/alignatt4llm.md 1.6.

/// What a new look at the source brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is no source.
    Empty,
    /// There was none before.
    Initial,
    /// It does not start with what was drafted last.
    Rebased,
    /// More words are accessible. Where the text is the same, the kept draft can be judged again: no model is
    /// asked, and the result is that of a new draft, which would be written from the same prompt.
    FrontierAdvanced,
    /// Nothing is new.
    Unchanged,
    /// The same source goes on.
    Extended,
}

impl Turn {
    /// Compares source text and accessible words with those of the last draft.
    pub fn new(previous: (&str, usize), now: (&str, usize)) -> Turn {
        if now.0.trim().is_empty() {
            Turn::Empty
        } else if previous.0.is_empty() {
            Turn::Initial
        } else if !now.0.starts_with(previous.0) {
            Turn::Rebased
        } else if now.1 > previous.1 {
            Turn::FrontierAdvanced
        } else if now.0 == previous.0 {
            Turn::Unchanged
        } else {
            Turn::Extended
        }
    }

    /// Whether there is something to judge.
    pub fn runs(self) -> bool {
        !matches!(self, Turn::Empty | Turn::Unchanged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts() {
        assert_eq!(Turn::new(("a", 1), (" ", 0)), Turn::Empty);
        assert_eq!(Turn::new(("", 0), ("a", 0)), Turn::Initial);
        assert_eq!(Turn::new(("a b", 1), ("a c d", 2)), Turn::Rebased);
        assert_eq!(Turn::new(("a b", 1), ("a b c", 2)), Turn::FrontierAdvanced);
        assert_eq!(Turn::new(("a b", 1), ("a b c", 1)), Turn::Extended);
        assert_eq!(Turn::new(("a b", 2), ("a b", 1)), Turn::Unchanged);
        assert!(Turn::FrontierAdvanced.runs() && !Turn::Unchanged.runs());
    }
}
