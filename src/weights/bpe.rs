//! Builds the two kinds of BPE tokenizers from their parts, for models without `tokenizer.json`.

use std::collections::BTreeMap;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NFC, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, AddedVocabulary, SplitDelimiterBehavior};

use super::error::{CheckpointError, FETCH_AGAIN, shown};

/// How the class `Qwen2Tokenizer` splits a text before BPE.
const QWEN2_PATTERN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The parts of a tokenizer.
pub(super) struct Parts<'a> {
    /// The file that they come from, for messages.
    pub file: &'a str,
    pub ids: BTreeMap<String, u32>,
    pub merges: Vec<(String, String)>,
    pub added: Vec<AddedToken>,
}

impl Parts<'_> {
    fn wrong(file: &str) -> impl Fn(tokenizers::Error) -> CheckpointError {
        move |error| CheckpointError::tokenizer(file, shown(&error.to_string()), FETCH_AGAIN)
    }

    /// Qwen's: NFC, words, then BPE of bytes in GPT-2's alphabet.
    pub(super) fn byte_level(self) -> Result<tokenizers::Tokenizer, CheckpointError> {
        let wrong = Self::wrong(self.file);
        let mut map = AddedVocabulary::new().get_vocab().clone(); // an empty map of the type that is needed
        map.extend(self.ids);
        let bpe = BPE::builder().vocab_and_merges(map, self.merges).build().map_err(&wrong)?;
        let pattern = SplitPattern::Regex(QWEN2_PATTERN.into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(&wrong)?;
        let bytes = ByteLevel::new(false, false, false);
        let mut inner = tokenizers::Tokenizer::new(bpe);
        inner.with_normalizer(Some(NFC)).map_err(&wrong)?;
        inner.with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])));
        inner.with_decoder(Some(bytes));
        inner.add_tokens(self.added).map_err(&wrong)?;
        Ok(inner)
    }

    /// Gemma's: ▁ for blanks, then BPE; a character without a token becomes its bytes.
    pub(super) fn byte_fallback(self) -> Result<tokenizers::Tokenizer, CheckpointError> {
        use tokenizers::decoders::{byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence};
        let wrong = Self::wrong(self.file);
        let mut map = AddedVocabulary::new().get_vocab().clone(); // an empty map of the type that is needed
        map.extend(self.ids);
        let bpe = BPE::builder()
            .vocab_and_merges(map, self.merges)
            .unk_token("<unk>".to_owned())
            .fuse_unk(true)
            .byte_fallback(true)
            .build()
            .map_err(&wrong)?;
        let blanks = Replace::new("▁", " ").map_err(&wrong)?;
        let decoders = vec![blanks.into(), ByteFallback::new().into(), Fuse::new().into()];
        let mut inner = tokenizers::Tokenizer::new(bpe);
        inner.with_normalizer(Some(Replace::new(" ", "▁").map_err(&wrong)?)).map_err(&wrong)?;
        inner.with_decoder(Some(Sequence::new(decoders)));
        inner.add_tokens(self.added).map_err(&wrong)?;
        Ok(inner)
    }
}
