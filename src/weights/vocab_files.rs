//! Tokenizers of models that are published without `tokenizer.json`: `vocab.json`, `merges.txt` and
//! the `added_tokens_decoder` of `tokenizer_config.json`. Source: docs/models.md, section 1.2.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use tokenizers::AddedToken;

use super::bpe;
use super::error::{CheckpointError, FETCH_AGAIN, shown};
use super::files::Files;
use super::tokenizer::MAX_FILE;

pub(super) const VOCAB_FILE: &str = "vocab.json";
pub(super) const MERGES_FILE: &str = "merges.txt";
pub(super) const CONFIG_FILE: &str = "tokenizer_config.json";

/// Every id is smaller than this.
const MAX_ID: u32 = 1 << 22;

/// Builds the tokenizer of a model whose folder has no `tokenizer.json`.
///
/// Errors: a file is missing or damaged; the tokenizer is of another class than `Qwen2Tokenizer`.
pub(super) fn read(files: &Files) -> Result<tokenizers::Tokenizer, CheckpointError> {
    #[derive(Deserialize)]
    struct Config {
        tokenizer_class: Option<String>,
        #[serde(default)]
        added_tokens_decoder: BTreeMap<u32, Added>,
    }
    #[derive(Deserialize)]
    struct Added {
        content: String,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        normalized: bool,
        #[serde(default)]
        special: bool,
    }
    let (vocab_file, merges_file, config_file) =
        (files.path(VOCAB_FILE), files.path(MERGES_FILE), files.path(CONFIG_FILE));
    let bad_json =
        |file: &str, error: serde_json::Error| CheckpointError::tokenizer(file, shown(&error.to_string()), FETCH_AGAIN);

    let config: Config =
        serde_json::from_slice(&files.bytes(CONFIG_FILE, MAX_FILE)?).map_err(|e| bad_json(&config_file, e))?;
    let class = config.tokenizer_class.as_deref().unwrap_or("Qwen2Tokenizer");
    if !matches!(class, "Qwen2Tokenizer" | "Qwen2TokenizerFast") {
        let what = format!("tokenizer_class: {} without tokenizer.json", shown(class));
        return Err(CheckpointError::tokenizer(
            config_file,
            what,
            "only Qwen2Tokenizer can be built from a vocabulary; add tokenizer.json",
        ));
    }
    let mut vocab: BTreeMap<String, u32> =
        serde_json::from_slice(&files.bytes(VOCAB_FILE, MAX_FILE)?).map_err(|e| bad_json(&vocab_file, e))?;
    let mut taken = BTreeSet::new();
    for (name, id) in &vocab {
        if *id >= MAX_ID || !taken.insert(*id) {
            let what = format!("token {} has id {id}, which is too large or taken", shown(name));
            return Err(CheckpointError::tokenizer(vocab_file, what, FETCH_AGAIN));
        }
    }
    // The added tokens join the vocabulary under the ids that the file gives them; no merge
    // produces them.
    let mut added = Vec::new();
    for (id, token) in config.added_tokens_decoder {
        let wrong = |what: &str| {
            let what = format!("added_tokens_decoder: {id} {}: {what}", shown(&token.content));
            CheckpointError::tokenizer(&config_file, what, FETCH_AGAIN)
        };
        if id >= MAX_ID || token.content.is_empty() {
            return Err(wrong("is not a token"));
        }
        match vocab.get(&token.content) {
            Some(known) if *known == id => {}
            None if taken.insert(id) => {
                vocab.insert(token.content.clone(), id);
            }
            _ => return Err(wrong("contradicts vocab.json or another added token")),
        }
        added.push(AddedToken {
            content: token.content,
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            normalized: token.normalized,
            special: token.special,
        });
    }

    let merges = parse_merges(&merges_file, &files.text(MERGES_FILE, MAX_FILE)?)?;
    bpe::Parts { file: &merges_file, ids: vocab, merges, added }.byte_level()
}

/// Parses `merges.txt`: a version line, then two tokens on each line.
fn parse_merges(file: &str, text: &str) -> Result<Vec<(String, String)>, CheckpointError> {
    let mut merges = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.is_empty() || (at == 0 && line.starts_with("#version")) {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
                merges.push((left.to_owned(), right.to_owned()));
            }
            _ => {
                let what = format!("line {}: {} is not a pair of tokens", at + 1, shown(line));
                return Err(CheckpointError::tokenizer(file, what, FETCH_AGAIN));
            }
        }
    }
    Ok(merges)
}
