//! How many tokens a draft may have. Source: docs/method.md, section 2.3.

/// The most tokens in one draft of an open segment. Text that is drafted beyond them is seldom
/// shown.
pub const PARTIAL_MOST: usize = 16;
/// The most tokens in one draft of a closed segment.
pub const FINAL_MOST: usize = 160;

/// The most tokens in the final draft of a source with `source_tokens` tokens. The context may have
/// room for fewer, which only the model knows.
pub fn final_budget(source_tokens: usize) -> usize {
    (3 * source_tokens + 24).clamp(32, FINAL_MOST)
}

/// The most tokens in a draft of an open segment. The policy allows at most `most` of them.
pub fn partial_budget(source_tokens: usize, most: usize) -> usize {
    (source_tokens + 8).min(most)
}

/// Reduces `budget` to what a context of `context` tokens has room for after a prompt of
/// `prompt_tokens`, less a margin of 8 tokens. Zero means that the prompt leaves no room.
pub fn within_context(budget: usize, prompt_tokens: usize, context: usize) -> usize {
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
