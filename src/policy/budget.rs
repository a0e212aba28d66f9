//! How many tokens a draft may have. Source: specs/alignatt4llm.md 2.3.

/// Most tokens in one draft of an open segment: what is drafted further is seldom shown.
pub const PARTIAL_MOST: usize = 16;
/// Most tokens in one draft of a closed segment.
pub const FINAL_MOST: usize = 160;

/// Tokens for a draft of `source_tokens` source tokens, before the context's own limit, which only the
/// model knows.
pub fn draft_budget(source_tokens: usize, source_is_final: bool) -> usize {
    if source_is_final {
        (3 * source_tokens + 24).clamp(32, FINAL_MOST)
    } else {
        partial_budget(source_tokens, PARTIAL_MOST)
    }
}

/// Tokens for a draft of an open segment, of which a policy allows `most`.
pub fn partial_budget(source_tokens: usize, most: usize) -> usize {
    (source_tokens + 8).min(most)
}

/// [`draft_budget`] within a context of `context` tokens that holds a prompt of `prompt_tokens`, with a
/// margin of 8. Zero: the prompt leaves no room.
pub fn within_context(budget: usize, prompt_tokens: usize, context: usize) -> usize {
    budget.min(context.saturating_sub(prompt_tokens + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_budgets() {
        assert_eq!(draft_budget(5, false), 13);
        assert_eq!(draft_budget(20, false), 16);
        assert_eq!(partial_budget(20, 24), 24);
        assert_eq!(draft_budget(0, true), 32);
        assert_eq!(draft_budget(20, true), 84);
        assert_eq!(draft_budget(90, true), 160);
        assert_eq!(within_context(16, 1010, 1024), 6);
        assert_eq!(within_context(16, 2000, 1024), 0);
    }
}
