//! GGUF files: those that other programs wrote, against the reference on the same weights, and
//! checkpoints of ours that are written as GGUF here, in forms of which there is no file.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alignatt::internals::audio::log_mel;
use alignatt::internals::models::ModelConfig;
use alignatt::internals::models::drafting::{Armed, Request, Translator};
use alignatt::internals::models::gguf::present;
use alignatt::internals::models::qwen3_asr::{ForcedAligner, Qwen3Asr, Recognizer};
use alignatt::internals::nn::{Precision, Storage, Tap, Target};
use alignatt::internals::weights::{Tokenizer, Weights};
use alignatt::{Compute, Files};
use burn::tensor::{Int, Tensor};

use crate::asr::wav;
use crate::gguf_writer::{Key, Writer};
use crate::golden::Golden;
use crate::text::Text;

/// A file with its golden tensors, and the folder of the checkpoint that it was made from.
pub struct Case {
    pub file: PathBuf,
    golden: PathBuf,
    checkpoint: PathBuf,
}

/// The GGUF files in folders of fixtures called `gguf…`.
pub fn cases(root: &Path) -> Vec<Case> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let is_gguf = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("gguf") && path.is_dir();
    let mut cases = Vec::new();
    for file in list(root).iter().filter(|path| is_gguf(path)).flat_map(|folder| list(folder)) {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let golden = file.with_file_name(format!("{stem}.golden.safetensors"));
        let known = list(root).into_iter().filter(|path| path.join("config.json").is_file());
        // `gemma3_like-conv-f16` was made from `gemma3_like`.
        let checkpoint = known.into_iter().find(|path| stem.starts_with(path.file_name().unwrap().to_str().unwrap()));
        if let (Some("gguf"), true, Some(checkpoint)) =
            (file.extension().and_then(|e| e.to_str()), golden.is_file(), checkpoint)
        {
            cases.push(Case { file, golden, checkpoint });
        }
    }
    assert!(!cases.is_empty(), "{}: no GGUF files", root.display());
    cases
}

pub async fn check(case: &Case, compute: &Compute) {
    let files = present(&Files::gguf_file(&case.file).unwrap()).await.unwrap();
    let config = ModelConfig::open(&files).unwrap();
    let golden = Golden::read(&case.golden, &format!("{} on {}", case.file.display(), compute.name));
    match &config {
        ModelConfig::Qwen3Asr(_) => check_asr(case, &files, &config, &golden, compute).await,
        _ => check_text(case, &files, &config, &golden, compute).await,
    }
    golden.finish();
}

async fn check_text(case: &Case, files: &Files, config: &ModelConfig, golden: &Golden, compute: &Compute) {
    let checkpoint = Files::folder(&case.checkpoint).unwrap();
    let mut expected = ModelConfig::open(&checkpoint).unwrap();
    // A copy of a tied head that the file stores is used as it is.
    if let ModelConfig::Qwen3(expected) = &mut expected {
        expected.text.tie_word_embeddings &= !Weights::open(files).await.unwrap().contains("lm_head.weight");
    }
    assert_eq!(*config, expected, "{}", golden.label());
    same_tokens(files, &checkpoint, golden);
    let (all, prompt, greedy) = (golden.ids("all_ids"), golden.ids("input_ids"), golden.ids("greedy_ids"));
    // Unpacked, then with the file's own integers.
    let unpacked = Storage::plain(Precision::F32);
    let mut of_all = Vec::new();
    for storage in [unpacked, unpacked.keeping_quants()] {
        let text = Text::open(files, config, compute, storage, 1024).await;
        of_all = logits(&text, &all, compute).await;
        golden.close("logits", &of_all, text.tolerance);
        let mut translator =
            Translator::new(text.model.clone(), Vec::new(), Armed::default(), 5, compute.clone()).unwrap();
        let request = Request { prompt: &prompt, budget: greedy.len(), ..Request::default() };
        let draft = translator.draft(&request, &mut |_| ControlFlow::Continue(())).await.unwrap();
        assert_eq!(draft.ids, greedy, "{} {storage:?}", golden.label());
    }
    let logits = of_all;

    // The checkpoint's own logits, but for the rounding of the file.
    let stem = case.file.file_stem().unwrap().to_str().unwrap();
    if stem.ends_with("f16") || stem.ends_with("q8_0") {
        let original = Text::open(&checkpoint, config, compute, Storage::plain(Precision::F32), 1024).await;
        golden.close_to("the checkpoint's logits", &logits, &self::logits(&original, &all, compute).await, 0.05);
    }
    // In half precision, as a GPU keeps the weights.
    let half = Text::open(files, config, compute, Storage::plain(Precision::F16), 1024).await;
    golden.close_to("logits in f16", &self::logits(&half, &all, compute).await, &logits, 0.05);
}

async fn logits(text: &Text, ids: &[u32], compute: &Compute) -> Vec<f32> {
    let input: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let input = Tensor::<1, Int>::from_ints(input.as_slice(), &compute.device);
    let rows = text.model.forward(input, &mut text.model.cache(), ids.len(), &mut Tap::off()).unwrap();
    text.model.logits(rows).into_data_async().await.unwrap().iter().collect()
}

/// Both tokenizers make the same of texts, of control strings and of what is odd.
fn same_tokens(files: &Files, checkpoint: &Files, golden: &Golden) {
    let (ours, theirs) = (Tokenizer::open(files).unwrap(), Tokenizer::open(checkpoint).unwrap());
    // A converter may add control tokens, which stand behind the others.
    assert!(ours.vocab_size() >= theirs.vocab_size(), "{}", golden.label());
    for text in [
        "the quick brown fox jumps over the lazy dog.",
        "  two blanks,\ta tab,\n\n two lines   and three blanks    four",
        "Ünïcödé 你好 🦊 e\u{301} ▁ ▁▁ \u{0}\u{7f}",
        "<bos><start_of_turn>user\nhi<end_of_turn>\n<|turn>model\nyes<turn|><|im_start|>a<|im_end|><|endoftext|>",
        "<unk><pad><mask>[multimodal]<|think|><asr_text><timestamp><think></think>",
        "it's 3.14159, don't; I'LL go…",
        "",
    ] {
        let label = golden.label();
        assert_eq!(ours.encode(text).unwrap(), theirs.encode(text).unwrap(), "{label}: {text}");
        assert_eq!(ours.encode_plain(text).unwrap(), theirs.encode_plain(text).unwrap(), "{label}: {text}");
        let ids = ours.encode_plain(text).unwrap();
        assert_eq!(ours.decode(&ids, true).unwrap(), theirs.decode(&ids, true).unwrap(), "{label}: {text}");
    }
    for id in 0..theirs.vocab_size() as u32 {
        assert_eq!(ours.token_bytes(id), theirs.token_bytes(id), "{}: {id}", golden.label());
    }
}

async fn check_asr(case: &Case, files: &Files, config: &ModelConfig, golden: &Golden, compute: &Compute) {
    let ModelConfig::Qwen3Asr(config) = config else { panic!("{config:?}") };
    let checkpoint = Files::folder(&case.checkpoint).unwrap();
    let ModelConfig::Qwen3Asr(original) = ModelConfig::open(&checkpoint).unwrap() else { panic!() };
    assert_eq!(config.text_config.hidden_size, original.text_config.hidden_size);
    assert_eq!(config.audio_token_id, original.audio_token_id);
    assert!(original.eos_token_id.iter().all(|id| config.eos_token_id.contains(id)));
    same_tokens(files, &checkpoint, golden);
    let storage = Storage::plain(Precision::F32).keeping_quants();
    let model = Arc::new(
        Qwen3Asr::load(files, &Weights::open(files).await.unwrap(), config, Target { storage, ..Target::new(compute) })
            .await
            .unwrap(),
    );
    let report = checkpoint.json("report.json", 1 << 20).unwrap();
    for clip in ["exact", "short"] {
        let named = |name: &str| format!("{clip}.{name}");
        let samples = wav(&checkpoint, clip);
        let audio = model.audio_tower.forward(&log_mel(&samples), &mut Tap::off());
        let rows = audio.dims()[0];
        let device = audio.device();
        let values: Vec<f32> = audio.clone().into_data_async().await.unwrap().iter().collect();
        golden.close(&named("audio_embeds"), &values, 1e-4);
        let (context, language) = crate::asr::options(&report["cases"][clip]);
        let mut recognizer = Recognizer::new(model.clone(), context, language).unwrap();
        let (before, after) = recognizer.prompt();
        let ids = [before, &vec![config.audio_token_id; rows], after].concat();
        golden.same(&named("input_ids"), &ids);
        let greedy = golden.ids(&named("greedy_ids"));
        let embed = |ids: &[u32]| {
            let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
            model.decoder.embed(Tensor::<1, Int>::from_ints(ids.as_slice(), &device))
        };
        let x = Tensor::cat(vec![embed(before), audio, embed(&[after, &greedy].concat())], 0);
        let hidden =
            model.decoder.rows(x, &mut model.decoder.cache_of(512), greedy.len() + 1, &mut Tap::off()).unwrap();
        let logits: Vec<f32> = model.decoder.logits(hidden).into_data_async().await.unwrap().iter().collect();
        let steps = greedy.len() * config.text_config.vocab_size;
        golden.close(&named("greedy_step_logits"), &logits[..steps], 1e-4);
        recognizer.push(&samples);
        assert_eq!(recognizer.greedy_ids(greedy.len()).await.unwrap(), greedy, "{}: {clip}", golden.label());
    }
}

/// The forced aligner as two GGUF files: its classes, its token and the same logits.
pub async fn check_aligner(folder: &Path, compute: &Compute) {
    let checkpoint = Files::folder(folder).unwrap();
    let (text, tower) = aligner_files(&checkpoint);
    let ranged = |name: &str, bytes: Vec<u8>| (name.to_owned(), Arc::new(bytes) as Arc<dyn alignatt::ByteSource>);
    let files = vec![ranged("aligner-F32.gguf", text), ranged("mmproj-aligner-F32.gguf", tower)];
    let files = present(&Files::remote("aligner", Vec::new(), files)).await.unwrap();
    let ModelConfig::Qwen3Aligner(mut config) = ModelConfig::open(&files).unwrap() else { panic!("no aligner") };
    let ModelConfig::Qwen3Aligner(original) = ModelConfig::open(&checkpoint).unwrap() else { panic!("no aligner") };
    // The only thing that the files do not say and that is not as published in the fixture.
    assert_eq!(config.audio_config.n_window_infer, 800);
    config.audio_config.n_window_infer = original.audio_config.n_window_infer;
    assert_eq!(config, original);
    let model = ForcedAligner::load(&files, &Weights::open(&files).await.unwrap(), &config, Target::new(compute))
        .await
        .unwrap();
    let golden = Golden::open(&checkpoint, &compute.name);
    let report = checkpoint.json("report.json", 1 << 20).unwrap();
    let words = alignatt::internals::models::qwen3_asr::words::split(report["text"].as_str().unwrap());
    let audio = model.audio_tower.forward(&log_mel(&wav(&checkpoint, "clip")), &mut Tap::off());
    let prompt = model.prompt(audio.dims()[0], &words).unwrap();
    assert_eq!(prompt.ids, golden.ids("input_ids"));
    let logits = model.logits(model.sequence(&prompt, audio)).unwrap();
    golden.close("logits", &logits.into_data_async().await.unwrap().iter::<f32>().collect::<Vec<_>>(), 1e-4);
}

/// Names that the decoder's tensors have in a GGUF file.
fn decoder_name(prefix: &str, name: &str) -> Option<String> {
    let name = name.strip_prefix(prefix)?.strip_prefix('.')?;
    match name {
        "embed_tokens.weight" => return Some("token_embd.weight".into()),
        "norm.weight" => return Some("output_norm.weight".into()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("layers.")?.split_once('.')?;
    let part = match part.strip_suffix(".weight")? {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.weight"))
}

fn tower_name(name: &str) -> Option<String> {
    let name = name.strip_prefix("thinker.audio_tower.")?;
    let (stem, kind) = name.rsplit_once('.')?;
    let to = match stem {
        "conv2d1" => "a.conv2d.1".to_owned(),
        "conv2d2" => "a.conv2d.2".to_owned(),
        "conv2d3" => "a.conv2d.3".to_owned(),
        "conv_out" => "a.conv_out".to_owned(),
        "ln_post" => "a.post_ln".to_owned(),
        "proj1" => "mm.a.mlp.1".to_owned(),
        "proj2" => "mm.a.mlp.2".to_owned(),
        _ => {
            let (layer, part) = stem.strip_prefix("layers.")?.split_once('.')?;
            let part = match part {
                "self_attn_layer_norm" => "ln1",
                "self_attn.q_proj" => "attn_q",
                "self_attn.k_proj" => "attn_k",
                "self_attn.v_proj" => "attn_v",
                "self_attn.out_proj" => "attn_out",
                "final_layer_norm" => "ln2",
                "fc1" => "ffn_up",
                "fc2" => "ffn_down",
                _ => return None,
            };
            format!("a.blk.{layer}.{part}")
        }
    };
    Some(format!("{to}.{kind}"))
}

/// The keys of a Qwen decoder's file.
fn decoder_keys(writer: &mut Writer, architecture: &str, config: &serde_json::Value, files: &Files) {
    let number = |name: &str| Key::U32(config[name].as_u64().unwrap() as u32);
    writer.key("general.architecture", Key::Text(architecture.into()));
    for (key, field) in [
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("attention.value_length", "head_dim"),
    ] {
        writer.key(&format!("{architecture}.{key}"), number(field));
    }
    writer.key(&format!("{architecture}.attention.layer_norm_rms_epsilon"), Key::F32(1e-6));
    writer.key(&format!("{architecture}.rope.freq_base"), Key::F32(1e6));
    let json = files.json("tokenizer.json", 1 << 24).unwrap();
    let mut tokens: Vec<(u64, String, i32)> = Vec::new();
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens.push((id.as_u64().unwrap(), token.clone(), 1));
    }
    for token in json["added_tokens"].as_array().unwrap() {
        let kind = if token["special"] == true { 3 } else { 4 };
        tokens.push((token["id"].as_u64().unwrap(), token["content"].as_str().unwrap().to_owned(), kind));
    }
    // An added token that is in the vocabulary, too, has the type of an added token.
    tokens.sort_by_key(|(id, _, kind)| (*id, -kind));
    tokens.dedup_by_key(|(id, ..)| *id);
    let rows = config["vocab_size"].as_u64().unwrap();
    for id in tokens.len() as u64..rows {
        tokens.push((id, format!("[PAD{id}]"), 5));
    }
    assert!(tokens.iter().enumerate().all(|(at, (id, ..))| at as u64 == *id));
    let merges = json["model"]["merges"].as_array().unwrap();
    let merge = |pair: &serde_json::Value| match pair.as_array() {
        Some(pair) => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        None => pair.as_str().unwrap().to_owned(),
    };
    writer.key("tokenizer.ggml.model", Key::Text("gpt2".into()));
    writer.key("tokenizer.ggml.pre", Key::Text("qwen2".into()));
    writer.key("tokenizer.ggml.token_type", Key::I32s(tokens.iter().map(|(.., kind)| *kind).collect()));
    writer.key("tokenizer.ggml.tokens", Key::Texts(tokens.into_iter().map(|(_, token, _)| token).collect()));
    writer.key("tokenizer.ggml.merges", Key::Texts(merges.iter().map(merge).collect()));
    writer.key("tokenizer.ggml.eos_token_id", Key::U32(318));
}

/// The aligner's checkpoint as two files.
fn aligner_files(files: &Files) -> (Vec<u8>, Vec<u8>) {
    let stored = crate::gguf_writer::tensors(files);
    let config = files.json("config.json", 1 << 20).unwrap();
    let thinker = &config["thinker_config"];
    let (mut text, mut tower) = (Writer::default(), Writer::default());
    decoder_keys(&mut text, "qwen3vl", &thinker["text_config"], files);
    text.key("qwen3vl.rope.dimension_sections", Key::I32s(vec![4, 2, 2, 0]));
    tower.key("general.architecture", Key::Text("clip".into()));
    tower.key("clip.has_audio_encoder", Key::Flag(true));
    tower.key("clip.projector_type", Key::Text("qwen3a".into()));
    for (key, field) in [
        ("projection_dim", "output_dim"),
        ("embedding_length", "d_model"),
        ("feed_forward_length", "encoder_ffn_dim"),
        ("block_count", "encoder_layers"),
        ("attention.head_count", "encoder_attention_heads"),
        ("num_mel_bins", "num_mel_bins"),
    ] {
        let value = thinker["audio_config"][field].as_u64().unwrap() as u32;
        tower.key(&format!("clip.audio.{key}"), Key::U32(value));
    }
    tower.key("clip.audio.attention.layer_norm_epsilon", Key::F32(1e-5));
    for (name, (shape, values)) in stored {
        if name == "thinker.lm_head.weight" {
            text.tensor("output.weight", &shape, &values);
        } else if let Some(name) = decoder_name("thinker.model", &name) {
            text.tensor(&name, &shape, &values);
        } else {
            let name = tower_name(&name).unwrap_or_else(|| panic!("{name}"));
            let is_bias = name.starts_with("a.conv2d.") && name.ends_with(".bias");
            let shape = if is_bias { vec![shape[0], 1, 1] } else { shape };
            tower.tensor(&name, &shape, &values);
        }
    }
    (text.finish(), tower.finish())
}

/// A Qwen3 checkpoint with fused queries, keys and values, in two parts.
pub async fn check_fused_and_split(folder: &Path, compute: &Compute) {
    let checkpoint = Files::folder(folder).unwrap();
    let config = checkpoint.json("config.json", 1 << 20).unwrap();
    let mut parts = [Writer::default(), Writer::default()];
    decoder_keys(&mut parts[0], "qwen3", &config, &checkpoint);
    let mut stored = crate::gguf_writer::tensors(&checkpoint);
    for layer in 0..config["num_hidden_layers"].as_u64().unwrap() {
        let mut take = |part: &str| stored.remove(&format!("model.layers.{layer}.self_attn.{part}.weight")).unwrap();
        let (q, k, v) = (take("q_proj"), take("k_proj"), take("v_proj"));
        let shape = vec![q.0[0] + k.0[0] + v.0[0], q.0[1]];
        parts[layer as usize % 2].tensor(&format!("blk.{layer}.attn_qkv.weight"), &shape, &[q.1, k.1, v.1].concat());
    }
    // Of a head that is tied, the copy is left out.
    stored.remove("lm_head.weight");
    for (at, (name, (shape, values))) in stored.into_iter().enumerate() {
        let name = decoder_name("model", &name).unwrap_or_else(|| panic!("{name}"));
        parts[at % 2].tensor(&name, &shape, &values);
    }
    let count = parts.iter().map(Writer::tensors_len).sum::<usize>();
    for (number, part) in parts.iter_mut().enumerate() {
        part.key("split.no", Key::U16(number as u16));
        part.key("split.count", Key::U16(2));
        part.key("split.tensors.count", Key::I32(count as i32));
    }
    let staged = tempfile::tempdir().unwrap();
    for (number, part) in parts.into_iter().enumerate() {
        std::fs::write(staged.path().join(format!("qwen-0000{}-of-00002.gguf", number + 1)), part.finish()).unwrap();
    }
    // Either part names the model, and so does the folder.
    let second = Files::gguf_file(staged.path().join("qwen-00002-of-00002.gguf")).unwrap();
    let whole = Files::folder(staged.path()).unwrap();
    let golden = Golden::open(&checkpoint, &compute.name);
    let all = golden.ids("all_ids");
    for files in [second, whole] {
        let files = present(&files).await.unwrap();
        let config = ModelConfig::open(&files).unwrap();
        assert_eq!(config, ModelConfig::open(&checkpoint).unwrap());
        let text = Text::open(&files, &config, compute, Storage::plain(Precision::F32), 1024).await;
        golden.close("logits", &logits(&text, &all, compute).await, text.tolerance);
        assert!(Weights::open(&files).await.unwrap().contains("model.layers.0.self_attn.k_proj.weight"));
    }
}
