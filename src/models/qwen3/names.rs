//! The names under which a Qwen3 text model's tensors are stored. Source: docs/models.md, section
//! 4.2.

/// The prefix of embed_tokens, layers.i, norm, without a dot at the end.
pub(super) const TEXT_MODEL: &str = "model";
/// The head's weight `[V, H]`. The configuration says whether the head is tied to the embedding;
/// 0.6B and 1.7B are tied and store a copy of it under this name.
pub(super) const HEAD: &str = "lm_head.weight";
