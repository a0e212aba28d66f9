//! Whether the open segment needs a draft now. Source: docs/method.md, section 1.6.

/// How the source has changed since the last draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is no source.
    Empty,
    /// There was no source before.
    Initial,
    /// The source text does not start with that of the last draft.
    Rebased,
    /// More words are accessible. If the text is the same, the kept draft is judged again without
    /// the model: a new draft would come from the same prompt, so it would be the same draft.
    FrontierAdvanced,
    /// The text is the same, and no more words are accessible.
    Unchanged,
    /// The source text is longer, and no more words are accessible.
    Extended,
}

impl Turn {
    /// Compares the source text and the number of accessible words with those of the last draft.
    /// The first variant that applies is returned, in the order of the enum.
    pub(crate) fn new(previous: (&str, usize), now: (&str, usize)) -> Turn {
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

    /// Whether there is a draft to judge, new or kept.
    #[cfg(test)]
    pub(crate) fn runs(self) -> bool {
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
