//! The tokenizer that a GGUF file describes: tokens with their types, scores or merges.
//!
//! Two kinds of tokenizers are read, whatever the file calls them: Gemma's BPE, in which `▁` is a
//! blank and unknown characters become bytes, and Qwen's byte-level BPE. Gemma-3's files hold no
//! merges but scores. The merges follow from the tokens: every split of a token into two known
//! ones, in the order of the scores, the longest left part first. (docs/models.md, section 5.5)

use std::collections::{BTreeMap, BTreeSet};

use tokenizers::AddedToken;

use super::metadata::Metadata;
use crate::weights::error::{CheckpointError, FETCH_AGAIN, Remedy, WRONG_MODEL, shown};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const EOT: &str = "tokenizer.ggml.eot_token_id";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const TEMPLATE: &str = "tokenizer.chat_template";

/// Types of tokens. Unused ones only fill up the table.
const NORMAL: f64 = 1.0;
const UNKNOWN: f64 = 2.0;
const CONTROL: f64 = 3.0;
const USER_DEFINED: f64 = 4.0;
const UNUSED: f64 = 5.0;

/// The most tokens.
const MAX_TOKENS: usize = 1 << 22;
/// The longest token that merges are looked for, in bytes, and the most merges. Gemma's longest
/// token has 93 bytes, and its merges are 514,906.
const MAX_SPLIT: usize = 1 << 8;
const MAX_MERGES: usize = 1 << 20;

/// Tokens that end an answer, whatever else a file says: it has room for one or two.
const ENDS: [&str; 5] = ["<end_of_turn>", "<turn|>", "<|tool_response>", "<|im_end|>", "<|endoftext|>"];

/// The kind of tokenizer that a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `▁` is a blank, `<0x0A>` a byte.
    Gemma,
    /// GPT-2's alphabet, one character for each byte, with Qwen's way to split a text.
    Qwen,
}

/// A tokenizer before it is built.
#[derive(Clone, Debug)]
pub(crate) struct Vocabulary {
    pub(crate) style: Style,
    /// Name of the file, for messages.
    pub(crate) file: String,
    pub(crate) ids: BTreeMap<String, u32>,
    pub(crate) merges: Vec<(String, String)>,
    /// In the order of their ids.
    pub(crate) added: Vec<AddedToken>,
    pub(crate) bos: Option<String>,
    pub(crate) eos: Option<String>,
    /// The ids that end an answer.
    pub(crate) ends: Vec<u32>,
    pub(crate) chat_template: Option<String>,
}

impl Vocabulary {
    /// Reads the vocabulary of a family. Errors: a key is missing or wrong; the tokenizer is of
    /// another kind.
    pub(crate) fn read(metadata: &Metadata, style: Style) -> Result<Vocabulary, CheckpointError> {
        let model = check_model(metadata, style)?;
        let tokens = metadata.texts(TOKENS)?.ok_or_else(|| metadata.missing(TOKENS))?;
        let count = tokens.len();
        if count == 0 || count > MAX_TOKENS {
            return Err(metadata.wrong(TOKENS, format_args!("{count} tokens"), FETCH_AGAIN));
        }
        let types = metadata.numbers(TYPES)?.unwrap_or_else(|| vec![NORMAL; count]);
        if types.len() != count {
            let what = format!("has {} types for {count} tokens", types.len());
            return Err(metadata.wrong(TYPES, what, FETCH_AGAIN));
        }
        let (mut ids, mut names, mut added) = (BTreeMap::new(), Vec::with_capacity(count), Vec::new());
        for (id, (token, kind)) in tokens.iter().zip(&types).enumerate() {
            let mut name = token.into_owned();
            // Runs of blanks are stored as blanks, but text has ▁ where tokens are looked for.
            if style == Style::Gemma && *kind == USER_DEFINED && name.bytes().all(|byte| byte == b' ') {
                name = name.replace(' ', "▁");
            }
            names.push(name.clone());
            if *kind == UNUSED {
                continue;
            }
            let special = *kind == CONTROL || *kind == UNKNOWN || steers(&name);
            if special || *kind == USER_DEFINED {
                added.push(AddedToken { normalized: false, ..AddedToken::from(name.clone(), special) });
            }
            if name.is_empty() || ids.insert(name, id as u32).is_some() {
                let name = shown(&names[id]);
                return Err(metadata.wrong(
                    TOKENS,
                    format_args!("token {id} {name} is empty or twice there"),
                    FETCH_AGAIN,
                ));
            }
        }
        check_alphabet(metadata, style, &ids)?;
        let merges = match metadata.texts(MERGES)? {
            Some(merges) => {
                let pairs: Option<Vec<_>> = merges.iter().map(|merge| pair(&merge)).collect();
                pairs.ok_or_else(|| metadata.wrong(MERGES, "contains what is not a pair of tokens", FETCH_AGAIN))?
            }
            None if model == "llama" => {
                let merges = merges_of(&names, &types, &scores(metadata, count)?, &ids);
                let too_many = || metadata.wrong(TOKENS, "have too many merges", FETCH_AGAIN);
                merges.ok_or_else(too_many)?
            }
            None => return Err(metadata.missing(MERGES)),
        };
        if let Some((left, right)) = merges.iter().find(|(left, right)| {
            !ids.contains_key(left) || !ids.contains_key(right) || !ids.contains_key(&format!("{left}{right}"))
        }) {
            let what = format!("{} {} is not a pair of tokens that makes a token", shown(left), shown(right));
            return Err(metadata.wrong(MERGES, what, FETCH_AGAIN));
        }
        let token = |key: &str| -> Result<Option<(u32, String)>, CheckpointError> {
            let Some(id) = metadata.whole(key)? else { return Ok(None) };
            match usize::try_from(id).ok().and_then(|id| names.get(id)) {
                Some(name) => Ok(Some((id as u32, name.clone()))),
                None => Err(metadata.wrong(key, format_args!("{id} is not the id of a token"), FETCH_AGAIN)),
            }
        };
        let (bos, eos) = (token(BOS)?, token(EOS)?);
        let named = ENDS.iter().filter_map(|name| ids.get(*name).copied());
        let ends = [eos.clone(), token(EOT)?].into_iter().flatten().map(|(id, _)| id).chain(named);
        let mut seen = BTreeSet::new();
        let ends = ends.filter(|id| seen.insert(*id)).collect();
        Ok(Vocabulary {
            style,
            file: metadata.file.to_string(),
            ids,
            merges,
            added,
            bos: bos.map(|(_, name)| name),
            eos: eos.map(|(_, name)| name),
            ends,
            chat_template: metadata.text(TEMPLATE)?.map(str::to_owned),
        })
    }

    /// The id of a token. Errors: there is none of this name.
    pub(crate) fn require(&self, name: &str) -> Result<u32, CheckpointError> {
        let missing = || CheckpointError::tokenizer(&self.file, format!("has no token {}", shown(name)), WRONG_MODEL);
        self.ids.get(name).copied().ok_or_else(missing)
    }
}

/// Checks the tokenizer's name. What it is called says little, but what is not known is refused.
fn check_model(metadata: &Metadata, style: Style) -> Result<&str, CheckpointError> {
    let model = metadata.text(MODEL)?.ok_or_else(|| metadata.missing(MODEL))?;
    let known: &[&str] = match style {
        Style::Gemma => &["llama", "gemma4", "gpt2"],
        Style::Qwen => &["gpt2"],
    };
    let unsupported = |key: &str, value: &str, known: &[&str]| {
        let what = format!("{} is not supported (only {})", shown(value), known.join(", "));
        metadata.wrong(key, what, WRONG_MODEL)
    };
    if !known.contains(&model) {
        return Err(unsupported(MODEL, model, known));
    }
    if model == "llama" && metadata.flag(SPACE_PREFIX)?.unwrap_or(true) {
        return Err(metadata.wrong(
            SPACE_PREFIX,
            "only tokenizers that put no blank before a text are supported",
            WRONG_MODEL,
        ));
    }
    if style == Style::Qwen {
        let pre = metadata.text(PRE)?.ok_or_else(|| metadata.missing(PRE))?;
        if pre != "qwen2" {
            return Err(unsupported(PRE, pre, &["qwen2"]));
        }
    }
    Ok(model)
}

/// Checks that every byte has a token in the form that the kind of tokenizer needs.
fn check_alphabet(metadata: &Metadata, style: Style, ids: &BTreeMap<String, u32>) -> Result<(), CheckpointError> {
    let missing = match style {
        Style::Gemma => (0..=255u8).map(|byte| format!("<0x{byte:02X}>")).find(|name| !ids.contains_key(name)),
        Style::Qwen => {
            let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
            let mut all: Vec<String> = alphabet.into_iter().map(String::from).collect();
            all.sort();
            all.into_iter().find(|name| !ids.contains_key(name))
        }
    };
    let missing = missing.or_else(|| (style == Style::Gemma && !ids.contains_key("<unk>")).then(|| "<unk>".to_owned()));
    match missing {
        None => Ok(()),
        Some(name) => {
            let what = format!("lack {name}, so this is not the kind of tokenizer that the model needs");
            Err(metadata.wrong(TOKENS, what, WRONG_MODEL))
        }
    }
}

/// Whether a token steers a model by its name, whatever type a file gives it: `<|turn>`, `<turn|>`,
/// `<|im_end|>`.
fn steers(name: &str) -> bool {
    let Some(inner) = name.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else { return false };
    let word = inner.trim_matches('|');
    word.len() < inner.len()
        && !word.is_empty()
        && word.chars().all(|symbol| symbol.is_ascii_alphanumeric() || matches!(symbol, '_' | '"'))
}

/// The two tokens of a merge, with a blank between them.
fn pair(merge: &str) -> Option<(String, String)> {
    let (left, right) = merge.split_once(' ')?;
    (!left.is_empty() && !right.is_empty() && !right.contains(' ')).then(|| (left.to_owned(), right.to_owned()))
}

/// The scores of `count` tokens. Without them the ids are in the order of the scores.
fn scores(metadata: &Metadata, count: usize) -> Result<Vec<f64>, CheckpointError> {
    let Some(scores) = metadata.numbers(SCORES)? else { return Ok(vec![0.0; count]) };
    match scores.len() == count && scores.iter().all(|score| score.is_finite()) {
        true => Ok(scores),
        false => Err(metadata.wrong(SCORES, format_args!("are not {count} finite numbers"), Remedy::FetchAgain)),
    }
}

/// The merges of a vocabulary with scores: first those of the runs of line breaks, blanks and tabs,
/// longest first, then those of the normal tokens, the highest score first. `None` if there are
/// more than [`MAX_MERGES`].
fn merges_of(
    names: &[String],
    types: &[f64],
    scores: &[f64],
    ids: &BTreeMap<String, u32>,
) -> Option<Vec<(String, String)>> {
    let is_run = |name: &str| {
        let first = name.chars().next();
        matches!(first, Some('\n' | '▁' | '\t')) && name.chars().all(|symbol| Some(symbol) == first)
    };
    let all = || names.iter().enumerate().filter(|(_, name)| name.len() <= MAX_SPLIT);
    let mut runs: Vec<&String> =
        all().filter(|(id, name)| types[*id] == USER_DEFINED && is_run(name)).map(|(_, name)| name).collect();
    runs.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let mut normal: Vec<usize> = all().map(|(id, _)| id).filter(|id| types[*id] == NORMAL).collect();
    normal.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut merges = Vec::new();
    for name in runs.into_iter().chain(normal.into_iter().map(|id| &names[id])) {
        for (at, _) in name.char_indices().rev().filter(|(at, _)| *at > 0) {
            let (left, right) = name.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                if merges.len() == MAX_MERGES {
                    return None;
                }
                merges.push((left.to_owned(), right.to_owned()));
            }
        }
    }
    Some(merges)
}
