//! How many tokens a draft may have. Source: docs/method.md, section 2.3.

/// Most tokens in one draft of an open segment. Tokens beyond this would seldom be shown.
pub(crate) const PARTIAL_MOST: usize = 16;
/// Most tokens in the final translation of a segment.
pub(crate) const FINAL_MOST: usize = 160;

/// Token budget of the final translation of `source_tokens` source tokens. The model may reduce it
/// to what its context has room for ([`within_context`]).
pub(crate) fn final_budget(source_tokens: usize) -> usize {
    (3 * source_tokens + 24).clamp(32, FINAL_MOST)
}

/// Token budget of a draft of an open segment with `source_tokens` source tokens. `most` is the
/// policy's limit.
pub(crate) fn partial_budget(source_tokens: usize, most: usize) -> usize {
    (source_tokens + 8).min(most)
}

/// `budget`, reduced to what is left of a context of `context` tokens after a prompt of
/// `prompt_tokens` tokens and a margin of 8. Zero if the prompt leaves no room.
pub(crate) fn within_context(budget: usize, prompt_tokens: usize, context: usize) -> usize {
    budget.min(context.saturating_sub(prompt_tokens + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_budgets() {
        assert_eq!(partial_budget(5, PARTIAL_MOST), 13);
        assert_eq!(partial_budget(20, PARTIAL_MOST), 16);
        assert_eq!(partial_budget(20, 24), 24);
        assert_eq!(final_budget(0), 32);
        assert_eq!(final_budget(20), 84);
        assert_eq!(final_budget(90), 160);
        assert_eq!(within_context(16, 1010, 1024), 6);
        assert_eq!(within_context(16, 2000, 1024), 0);
    }
}
