//! Finding the attention heads of a model that follow the source.
//!
//! | file | what it holds |
//! |---|---|
//! | `scores` | how well each head follows the source, from replayed sentence pairs |
//! | `word_aligner` | which word translates which, where no alignment is given |
//!
//! Invariant: plain data in, plain data out.

#[cfg(test)]
mod gold;
pub(crate) mod scores;
pub(crate) mod word_aligner;
