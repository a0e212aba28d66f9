//! GGUF files as checkpoints: which family a file belongs to, and what all families share of its
//! keys and names. (docs/models.md, section 5)
//!
//! A family reads the keys of its architecture into the configuration that its checkpoints have,
//! and gives every tensor the name that it has there. From then on nobody knows that the files were
//! GGUF.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::config::{CONFIG_FILE, GENERATION_FILE};
use super::{gemma3, gemma4, qwen3, qwen3_asr};
use crate::weights::Files;
use crate::weights::error::{CheckpointError, FETCH_AGAIN, WRONG_MODEL, shown};
use crate::weights::gguf::{Gguf, Metadata, Model, Style, Vocabulary, names};
use crate::weights::section::{MAX_HEADS, MAX_LAYERS, MAX_WIDTH};
use crate::weights::tensors::TensorInfo;

const ARCHITECTURE: &str = "general.architecture";
/// Heads files of a model above this size, in bytes, are refused.
pub(crate) const HEADS_BYTES: usize = 1 << 20;

/// What a family makes of a file.
pub(crate) struct Described {
    /// `config.json`, without the end ids.
    pub config: Value,
    pub tensors: BTreeMap<String, TensorInfo>,
    pub vocabulary: Vocabulary,
    /// Whether the norms that multiply by `1 + w` are stored as `1 + w`.
    pub norms_hold_one: bool,
}

/// The files of a model in the form of a checkpoint: `files` themselves, unless they are GGUF.
///
/// Errors: it is not clear which of several GGUF files is meant; a file is damaged; its
/// architecture, or something that it asks for, is not supported.
pub async fn present(files: &Files) -> Result<Files, CheckpointError> {
    let Some(name) = model_of(files)? else { return Ok(files.clone()) };
    let mut gguf = Gguf::open(files, &name).await?;
    let architecture = gguf.metadata.text(ARCHITECTURE)?.ok_or_else(|| gguf.metadata.missing(ARCHITECTURE))?;
    let described = match architecture {
        "gemma3" => gemma3::gguf::describe(&gguf)?,
        "gemma4" => gemma4::gguf::describe(&gguf).await?,
        "qwen3" => qwen3::gguf::describe(&gguf)?,
        "qwen3vl" => {
            let tower = Gguf::open(files, &tower_of(files, &name)?).await?;
            let described = qwen3_asr::gguf::describe(&gguf, &tower)?;
            gguf.sources.extend(tower.sources);
            described
        }
        "clip" => {
            let what = "is only the part of a model that hears or sees";
            let remedy = "name the file of the text part, in the same folder";
            return Err(CheckpointError::file(files.path(&name), what, remedy));
        }
        other => {
            let what = format!("{} is not an architecture this program knows", shown(other));
            return Err(gguf.metadata.wrong(ARCHITECTURE, what, WRONG_MODEL));
        }
    };
    let Described { config, tensors, vocabulary, norms_hold_one } = described;
    let mut small = small_files(&config, &vocabulary);
    for name in files.names().into_iter().filter(|name| name.starts_with("heads.") && name.ends_with(".json")) {
        let bytes = files.bytes(&name, HEADS_BYTES)?;
        small.push((name, bytes));
    }
    let model = Model { tensors, sources: gguf.sources, vocabulary, norms_hold_one };
    Ok(Files::of_gguf(files, small, model))
}

/// The GGUF file that holds the model; `None` if the files are a checkpoint already. Errors: there
/// are several.
fn model_of(files: &Files) -> Result<Option<String>, CheckpointError> {
    if let Some(name) = files.named_gguf() {
        return Ok(Some(names::parts(name).swap_remove(0)));
    }
    if files.as_gguf().is_some() || files.has(CONFIG_FILE) {
        return Ok(None);
    }
    let all = files.names();
    match &names::models(all.iter().map(String::as_str))[..] {
        [] => Ok(None),
        [only] => Ok(Some((*only).to_owned())),
        several => Err(CheckpointError::Source {
            name: files.label().to_owned(),
            what: format!("holds several models: {}", shown(&several.join(", "))),
            remedy: "name the file of one".into(),
        }),
    }
}

fn tower_of(files: &Files, model: &str) -> Result<String, CheckpointError> {
    let all = files.names();
    names::tower(model, all.iter().map(String::as_str)).map(str::to_owned).ok_or_else(|| CheckpointError::Missing {
        file: "mmproj-….gguf, the part that hears".to_owned(),
        place: files.label().to_owned(),
        remedy: "put it into the folder of the text part; of several, one must be called like the text part".into(),
    })
}

/// The small files of a checkpoint that says the same.
fn small_files(config: &Value, vocabulary: &Vocabulary) -> Vec<(String, Vec<u8>)> {
    let generation = json!({"eos_token_id": vocabulary.ends});
    let tokens = json!({"bos_token": vocabulary.bos, "eos_token": vocabulary.eos});
    let mut small = vec![
        (CONFIG_FILE.to_owned(), config.to_string().into_bytes()),
        (GENERATION_FILE.to_owned(), generation.to_string().into_bytes()),
        ("tokenizer_config.json".to_owned(), tokens.to_string().into_bytes()),
    ];
    if let Some(template) = &vocabulary.chat_template {
        small.push(("chat_template.jinja".to_owned(), template.clone().into_bytes()));
    }
    small
}

/// The keys of one architecture: `gemma3.block_count` and so on.
pub(crate) struct Keys<'a> {
    pub metadata: &'a Metadata,
    architecture: &'static str,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(gguf: &'a Gguf, architecture: &'static str) -> Keys<'a> {
        Keys { metadata: &gguf.metadata, architecture }
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(crate) fn count(&self, name: &str, most: usize) -> Result<u64, CheckpointError> {
        self.metadata.count(&self.key(name), 1..=most as u64)
    }

    pub(crate) fn count_or(&self, name: &str, default: u64, most: usize) -> Result<u64, CheckpointError> {
        match self.metadata.get(&self.key(name)) {
            None => Ok(default),
            Some(_) => self.count(name, most),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, CheckpointError> {
        self.metadata.number(&self.key(name))
    }

    pub(crate) fn need_number(&self, name: &str) -> Result<f64, CheckpointError> {
        self.number(name)?.ok_or_else(|| self.metadata.missing(&self.key(name)))
    }

    pub(crate) fn by_layer(&self, name: &str, layers: usize) -> Result<Vec<u64>, CheckpointError> {
        let key = self.key(name);
        self.metadata.by_layer(&key, layers)?.ok_or_else(|| self.metadata.missing(&key))
    }

    /// The number that all layers have. Errors: it differs.
    pub(crate) fn same(&self, name: &str, layers: usize) -> Result<u64, CheckpointError> {
        let all = self.by_layer(name, layers)?;
        match all.iter().all(|value| *value == all[0]) {
            true => Ok(all[0]),
            false => Err(self.wrong(name, "differs by layer, which is not supported")),
        }
    }

    pub(crate) fn layers(&self) -> Result<usize, CheckpointError> {
        Ok(self.count("block_count", MAX_LAYERS)? as usize)
    }

    pub(crate) fn wrong(&self, name: &str, what: impl std::fmt::Display) -> CheckpointError {
        self.metadata.wrong(&self.key(name), what, WRONG_MODEL)
    }

    /// Numbers of keys and values in a head. Errors: they differ, or rotation does not turn whole
    /// heads.
    pub(crate) fn head_dim(&self, suffix: &str) -> Result<u64, CheckpointError> {
        let hidden = self.count("embedding_length", MAX_WIDTH)?;
        let heads = self.same("attention.head_count", self.layers()?)?;
        let name = |name: &str| format!("{name}{suffix}");
        let default = hidden / heads.max(1);
        let keys = self.count_or(&name("attention.key_length"), default, MAX_WIDTH)?;
        for other in ["attention.value_length", "rope.dimension_count"].map(name) {
            let length = self.count_or(&other, keys, MAX_WIDTH)?;
            if length != keys {
                return Err(self.wrong(&other, format_args!("{length} is not attention.key_length{suffix} {keys}")));
            }
        }
        Ok(keys)
    }

    /// The scaling of the rotation, as `rope_scaling` of a checkpoint says it.
    pub(crate) fn rope_scaling(&self) -> Result<Value, CheckpointError> {
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        let kind = match self.metadata.text(&self.key("rope.scaling.type"))? {
            Some(kind) => kind,
            None if factor.is_some() => "linear",
            None => "none",
        };
        Ok(match kind {
            "none" => Value::Null,
            // A factor that is not stated changes nothing, nor does 1.
            "linear" if factor.unwrap_or(1.0) == 1.0 => Value::Null,
            kind => json!({"rope_type": kind, "factor": factor}),
        })
    }

    /// The fields that all decoders share. `heads` is the same in all layers.
    pub(crate) fn decoder(&self, gguf: &Gguf) -> Result<Map<String, Value>, CheckpointError> {
        let layers = self.layers()?;
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        put("vocab_size", rows(gguf, "token_embd.weight")?.into());
        put("hidden_size", self.count("embedding_length", MAX_WIDTH)?.into());
        put("num_hidden_layers", layers.into());
        put("num_attention_heads", self.same("attention.head_count", layers)?.into());
        put("rms_norm_eps", self.need_number("attention.layer_norm_rms_epsilon")?.into());
        put("max_position_embeddings", self.count("context_length", 1 << 30)?.into());
        if let Some(experts) = self.metadata.whole(&self.key("expert_count"))? {
            put("num_experts", experts.into());
        }
        if self.metadata.flag(&self.key("attention.causal"))? == Some(false) {
            return Err(self.wrong("attention.causal", "false is not supported"));
        }
        for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if let Some(cap) = self.number(name)? {
                put(name, cap.into());
            }
        }
        Ok(fields)
    }
}

/// The rows of a table. Errors: it is missing or no table.
pub(crate) fn rows(gguf: &Gguf, name: &str) -> Result<usize, CheckpointError> {
    match gguf.tensors.get(name).map(|info| &info.shape[..]) {
        Some([rows, _]) => Ok(*rows),
        Some(shape) => {
            let what = format!("has shape {shape:?}, and a table is needed");
            Err(CheckpointError::tensor(&gguf.metadata.file, name, what, FETCH_AGAIN))
        }
        None => Err(CheckpointError::tensor(&gguf.metadata.file, name, "is missing", WRONG_MODEL)),
    }
}

/// The parts of a layer that all decoders have: GGUF's name, and the checkpoint's.
const DECODER: [(&str, &str); 10] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
];

/// Renames a file's tensors to a checkpoint's.
pub(crate) struct Names<'a> {
    /// The prefix of the decoder: `model`.
    pub prefix: &'a str,
    /// Parts of layers beside [`DECODER`].
    pub parts: &'a [(&'a str, &'a str)],
    /// Tensors that are in no layer.
    pub whole: &'a [(&'a str, &'a str)],
    /// Prefixes of tensors to leave out.
    pub skip: &'a [&'a str],
    /// Rows of queries, keys and values of a layer.
    pub qkv: &'a dyn Fn(usize) -> Option<[usize; 3]>,
}

impl Names<'_> {
    /// The tensors of `gguf` by the checkpoint's names. A tensor that is not known keeps its name,
    /// so that loading refuses it by that. Errors: fused queries, keys and values have another
    /// number of rows.
    pub(crate) fn apply(&self, gguf: &Gguf) -> Result<BTreeMap<String, TensorInfo>, CheckpointError> {
        let mut out = BTreeMap::new();
        for (name, info) in &gguf.tensors {
            if self.skip.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            if let Some((layer, "attn_qkv", kind)) = layer_part(name) {
                for (part, info) in ["q_proj", "k_proj", "v_proj"].iter().zip(self.split(layer, name, info)?) {
                    out.insert(format!("{}.layers.{layer}.self_attn.{part}.{kind}", self.prefix), info);
                }
                continue;
            }
            out.insert(self.renamed(name).unwrap_or_else(|| name.clone()), info.clone());
        }
        Ok(out)
    }

    fn renamed(&self, name: &str) -> Option<String> {
        if let Some((_, to)) = self.whole.iter().find(|(from, _)| *from == name) {
            return Some((*to).to_owned());
        }
        match name {
            "token_embd.weight" => return Some(format!("{}.embed_tokens.weight", self.prefix)),
            "output_norm.weight" => return Some(format!("{}.norm.weight", self.prefix)),
            _ => {}
        }
        let (layer, part, kind) = layer_part(name)?;
        let mut known = DECODER.iter().chain(self.parts);
        let (_, to) = known.find(|(from, _)| *from == part)?;
        // A part without a kind is one number, whose name ends here.
        let kind = if *to == "layer_scalar" { String::new() } else { format!(".{kind}") };
        Some(format!("{}.layers.{layer}.{to}{kind}", self.prefix))
    }

    /// The rows of queries, keys and values, one after another.
    fn split(&self, layer: usize, name: &str, info: &TensorInfo) -> Result<[TensorInfo; 3], CheckpointError> {
        let rows = (self.qkv)(layer).unwrap_or_default();
        let total: usize = rows.iter().sum();
        if info.shape.first() != Some(&total) {
            let what = format!("has shape {:?}, but queries, keys and values have {rows:?} rows", info.shape);
            return Err(CheckpointError::tensor(&info.file, shown(name), what, FETCH_AGAIN));
        }
        let mut from = 0;
        Ok(rows.map(|rows| {
            let part = info.rows(from..from + rows);
            from += rows;
            part
        }))
    }
}

/// `blk.3.attn_q.weight` → 3, `attn_q`, `weight`.
fn layer_part(name: &str) -> Option<(usize, &str, &str)> {
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    Some((layer.parse().ok()?, part, kind))
}

/// The prefixes of the parts that see and hear, where one file holds them, too.
pub(crate) const TOWERS: &[&str] = &["v.", "mm.", "a."];

/// Reads the vocabulary of a file.
pub(crate) fn vocabulary(gguf: &Gguf, style: Style) -> Result<Vocabulary, CheckpointError> {
    Vocabulary::read(&gguf.metadata, style)
}

/// Rows of queries, keys and values of a layer whose heads have `dim` numbers.
pub(crate) fn qkv(heads: u64, kv_heads: u64, dim: u64) -> Option<[usize; 3]> {
    let rows = |heads: u64| usize::try_from(heads.checked_mul(dim)?).ok().filter(|rows| *rows <= MAX_HEADS * MAX_WIDTH);
    Some([rows(heads)?, rows(kv_heads)?, rows(kv_heads)?])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::models::ModelConfig;
    use crate::weights::testing::{fixture, fixture_files, memory, now};
    use crate::weights::{ByteSource, Tokenizer, Weights};

    fn path(name: &str) -> PathBuf {
        fixture("gguf_conv").join(name)
    }

    fn opened(name: &str) -> Files {
        now(present(&Files::gguf_file(path(name)).unwrap())).unwrap()
    }

    /// Every tensor has the checkpoint's name, shape and numbers, as far as f16 holds them.
    #[test]
    fn tensors_are_those_of_the_checkpoint() {
        for (name, model, prefix) in [
            ("gemma3_like-conv-f16.gguf", "gemma3_like", "model"),
            ("gemma4_e2b_like-f16.gguf", "gemma4_e2b_like", "model.language_model"),
            ("qwen3_like-f16.gguf", "qwen3_like", "model"),
            ("qwen3_asr-f16.gguf", "qwen3_asr", "thinker"),
        ] {
            let files = opened(name);
            let (ours, theirs) =
                (now(Weights::open(&files)).unwrap(), now(Weights::open(&fixture_files(model))).unwrap());
            let mut compared = 0;
            for name in ours.names() {
                let info = ours.info(name).unwrap();
                let original = match name.strip_prefix("model.") {
                    Some(rest) => format!("{prefix}.{rest}"),
                    None => name.to_owned(),
                };
                let mut want = now(theirs.read_f32(&original, &info.shape)).unwrap();
                if ours.norms_hold_one() && name.ends_with("norm.weight") {
                    want.iter_mut().for_each(|value| *value += 1.0);
                }
                let got = now(ours.read_f32(name, &info.shape)).unwrap();
                let near = |a: f32, b: f32| (a - b).abs() <= b.abs() / 2000.0 + 1e-7;
                assert!(got.iter().zip(&want).all(|(got, want)| near(*got, *want)), "{model}: {name}");
                compared += 1;
            }
            // Of the checkpoint, nothing is left but other towers.
            let left = theirs.unused(&["model.audio_tower.", "model.vision_tower.", "model.embed_"]);
            assert_eq!((left, compared > 50), (Vec::<&str>::new(), true), "{model}");
        }
    }

    #[test]
    fn a_file_stands_as_a_checkpoint() {
        let files = opened("gemma3_like-conv-f16.gguf");
        assert!(files.has("config.json") && !files.has("model.safetensors") && files.source("config.json").is_err());
        assert!(files.label().ends_with("gemma3_like-conv-f16.gguf"));
        assert_eq!(files.text("tokenizer_config.json", 99).unwrap(), r#"{"bos_token":"<bos>","eos_token":"<eos>"}"#);
        assert!(files.text("chat_template.jinja", 1 << 20).unwrap().contains("<start_of_turn>"));
        // What stands so already stays as it is, and so does a checkpoint.
        assert!(now(present(&files)).unwrap().as_gguf().is_some());
        assert!(now(present(&fixture_files("gemma3_like"))).unwrap().as_gguf().is_none());
        // A folder of one file, with heads beside it.
        let bytes = std::fs::read(path("gemma3_like-conv-f16.gguf")).unwrap();
        let both: Vec<(String, Arc<dyn ByteSource>)> = vec![("x.gguf".to_owned(), Arc::new(bytes))];
        let heads = vec![("heads.en-de.json".to_owned(), b"{}".to_vec())];
        let files = now(present(&Files::remote("far", heads, both))).unwrap();
        assert_eq!(files.text("heads.en-de.json", 9).unwrap(), "{}");
        assert!(ModelConfig::open(&files).is_ok() && Tokenizer::open(&files).is_ok());
    }

    /// The message for a file in which some bytes are replaced.
    fn refused(name: &str, changes: &[(&str, &str)]) -> String {
        let mut bytes = std::fs::read(path(name)).unwrap();
        for (from, to) in changes {
            assert_eq!(from.len(), to.len());
            let places: Vec<usize> = bytes
                .windows(from.len())
                .enumerate()
                .filter(|(_, part)| *part == from.as_bytes())
                .map(|(at, _)| at)
                .collect();
            assert!(!places.is_empty(), "{from}");
            places.iter().for_each(|at| bytes[*at..at + to.len()].copy_from_slice(to.as_bytes()));
        }
        let tower = std::fs::read(path("mmproj-qwen3_asr-f16.gguf")).unwrap();
        let files = memory(&[("x.gguf", &bytes), ("mmproj-x.gguf", &tower)]);
        match now(present(&files)) {
            Err(error) => error.to_string(),
            Ok(files) => ModelConfig::open(&files).err().map_or("accepted".to_owned(), |error| error.to_string()),
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let (gemma3, gemma4, qwen) = ("gemma3_like-conv-f16.gguf", "gemma4_e2b_like-f16.gguf", "qwen3_like-f16.gguf");
        assert_eq!(refused(gemma3, &[]), "accepted");
        assert_eq!(refused("qwen3_asr-f16.gguf", &[]), "accepted");
        for (name, from, to, expected) in [
            (qwen, "qwen3", "qwen9", "memory/x.gguf: general.architecture: qwen9 is not an architecture"),
            (qwen, "qwen2", "smoll", "tokenizer.ggml.pre: smoll is not supported (only qwen2)"),
            (qwen, "gpt2", "bert", "tokenizer.ggml.model: bert is not supported (only gpt2)"),
            (qwen, "token_embd", "token_embx", "tensor token_embd.weight: is missing"),
            (qwen, "qwen3.block_count", "qwen3.block_kount", "qwen3.block_count: is missing"),
            (qwen, "ggml.merges", "ggml.murges", "tokenizer.ggml.merges: is missing"),
            (gemma3, "<0x7F>", "<0x7Z>", "tokenizer.ggml.tokens: lack <0x7F>"),
            (gemma3, "linear", "yarned", "rope_scaling.rope_type"),
            (gemma4, "rope_freqs", "rope_frequ", "tensor rope_freqs.weight: is missing"),
            (
                gemma4,
                "sliding_window_pattern",
                "sliding_window_pottern",
                "gemma4.attention.sliding_window_pattern: is missing",
            ),
            (gemma4, "value_length_swa", "value_length_swo", "accepted"),
            ("qwen3_asr-f16.gguf", "<|audio_pad|>", "<|audio_pod|>", "has no token <|audio_pad|>"),
        ] {
            let message = refused(name, &[(from, to)]);
            assert!(message.contains(expected), "{name}, {from}: {message}");
        }
    }

    #[test]
    fn which_file_is_meant() {
        let (text, tower) = (path("qwen3_asr-f16.gguf"), path("mmproj-qwen3_asr-f16.gguf"));
        let (text, tower) = (std::fs::read(text).unwrap(), std::fs::read(tower).unwrap());
        let fail = |files: &[(&str, &[u8])]| now(present(&memory(files))).err().unwrap().to_string();
        let message = fail(&[("a.gguf", &text), ("b.gguf", &text)]);
        assert_eq!(message, "memory: holds several models: a.gguf, b.gguf; name the file of one");
        assert!(fail(&[("a.gguf", &text)]).starts_with("mmproj-….gguf, the part that hears is missing in memory"));
        assert!(fail(&[("a.gguf", &text), ("mmproj-b.gguf", &text)]).contains("has_audio_encoder: is not true"));
        let alone = Files::gguf_file(path("mmproj-qwen3_asr-f16.gguf")).unwrap();
        let message = now(present(&alone)).err().unwrap().to_string();
        assert!(message.contains("is only the part of a model that hears or sees"), "{message}");
        assert!(fail(&[("a.gguf", &text), ("mmproj-b.gguf", &tower[..900])]).contains("memory/mmproj-b.gguf"));
        let other = Files::gguf_file(fixture("gemma3_like/config.json")).unwrap();
        assert!(now(present(&other)).err().unwrap().to_string().contains("does not begin with GGUF"));
        assert!(Files::gguf_file("/no/such/file.gguf").is_err());
    }
}
