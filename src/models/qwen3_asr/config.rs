//! The configurations of Qwen3-ASR and Qwen3-ForcedAligner, checked value by value.
//!
//! Fields have the names that the checkpoint uses. Everything that the forward pass relies on is
//! either a field here or checked and refused by name: a checkpoint that needs a feature that this
//! program lacks must not load and then give nonsense. Source: docs/models.md, sections 1.1-1.3,
//! 1.7.

use serde_json::Value;

use crate::models::qwen3::config::{Qwen3TextConfig, decoder};
use crate::weights::Files;
use crate::weights::error::{CheckpointError, FETCH_AGAIN, WRONG_MODEL};
use crate::weights::section::{MAX_FFN, MAX_FILE, MAX_HEADS, MAX_LAYERS, MAX_WIDTH, Section, eos};

const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// The configuration of either model.
pub(crate) enum AsrOrAligner {
    Asr(Qwen3AsrConfig),
    Aligner(Qwen3AlignerConfig),
}

/// Qwen3-ASR: an audio tower and a Qwen3 decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen3AsrConfig {
    pub audio_config: AudioConfig,
    pub text_config: Qwen3TextConfig,
    pub audio_token_id: u32,
    /// Ids that end a transcript, from `generation_config.json` or `config.json`; never empty.
    pub eos_token_id: Vec<u32>,
}

/// Qwen3-ForcedAligner: the same network, with a head that classifies times.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen3AlignerConfig {
    pub audio_config: AudioConfig,
    pub text_config: Qwen3TextConfig,
    pub audio_token_id: u32,
    /// Rows of the head: classes of `timestamp_segment_time` each.
    pub classify_num: usize,
    pub timestamp_token_id: u32,
    /// Milliseconds per class.
    pub timestamp_segment_time: u32,
}

/// The audio tower of Qwen3-ASR.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioConfig {
    /// Always 128.
    pub num_mel_bins: usize,
    pub d_model: usize,
    pub encoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    /// Channels of the three convolutions.
    pub downsample_hidden_size: usize,
    /// Equal to the text model's `hidden_size`.
    pub output_dim: usize,
    /// Half a chunk, in mel frames; always 50.
    pub n_window: usize,
    /// Mel frames per attention window, a multiple of `2 * n_window`.
    pub n_window_infer: usize,
}

/// Checks `preprocessor_config.json`. The program computes the features in one way only; a release
/// that needs another must not load.
fn check_preprocessor(files: &Files) -> Result<(), CheckpointError> {
    if !files.has(PREPROCESSOR_FILE) {
        return Ok(());
    }
    let json = files.json(PREPROCESSOR_FILE, MAX_FILE)?;
    let file = files.path(PREPROCESSOR_FILE);
    let root = Section::root(&file, &json)?;
    for (field, value) in [("feature_size", 128), ("sampling_rate", 16_000), ("hop_length", 160), ("n_fft", 400)] {
        if root.get(field).is_some() {
            root.exactly(field, value, "the audio features are computed for this value only")?;
        }
    }
    Ok(())
}

/// Reads both layouts of Qwen3-ASR and its aligner: nested in `thinker_config` (original) or flat
/// (transformers' own). `preprocessor_config.json` is checked where it exists.
pub(crate) fn read(files: &Files, root: &Section, generation: &Section) -> Result<AsrOrAligner, CheckpointError> {
    check_preprocessor(files)?;
    let thinker = root.maybe_section("thinker_config")?;
    let core = thinker.as_ref().unwrap_or(root);
    let audio_config = audio(&core.section("audio_config")?)?;
    let text = core.section("text_config")?;
    let tied = [&text, core, root]
        .iter()
        .find_map(|section| section.get("tie_word_embeddings").map(|_| section.flag("tie_word_embeddings", true)));
    let text_config = decoder(&text, tied.unwrap_or(Ok(thinker.is_none()))?, &["default", "mrope"])?;
    if audio_config.output_dim != text_config.hidden_size {
        let what = format!("{} is not text_config.hidden_size {}", audio_config.output_dim, text_config.hidden_size);
        return Err(core.wrong("audio_config.output_dim", what, FETCH_AGAIN));
    }
    let vocab = text_config.vocab_size;
    let audio_token_id = core.id("audio_token_id", vocab)?;
    if root.flag("token_classification_bias", false)? {
        return Err(root.wrong("token_classification_bias", "true is not supported", WRONG_MODEL));
    }
    // The top-level model_type is the same for both models; the aligner is recognised by its
    // classes.
    let classes = match (core.get("classify_num"), core.get("num_labels"), core.get("id2label")) {
        (Some(_), _, _) => Some(core.count("classify_num", 2..=MAX_WIDTH)?),
        (None, Some(_), _) => Some(core.count("num_labels", 2..=MAX_WIDTH)?),
        (None, None, Some(Value::Object(labels))) => Some(labels.len()),
        _ => None,
    };
    if let Some(classify_num) = classes {
        if !(2..=MAX_WIDTH).contains(&classify_num) {
            return Err(core.wrong("id2label", format_args!("{classify_num} classes"), FETCH_AGAIN));
        }
        return Ok(AsrOrAligner::Aligner(Qwen3AlignerConfig {
            audio_config,
            text_config,
            audio_token_id,
            classify_num,
            timestamp_token_id: match core.get("timestamp_token_id") {
                Some(_) => core.id("timestamp_token_id", vocab)?,
                None => root.id("timestamp_token_id", vocab)?,
            },
            timestamp_segment_time: core.count_or("timestamp_segment_time", 80, 1..=10_000)? as u32,
        }));
    }
    if thinker.as_ref().and_then(|t| t.get("model_type")).and_then(Value::as_str) == Some("qwen3_forced_aligner") {
        return Err(core.wrong("classify_num", "is missing from an aligner", FETCH_AGAIN));
    }
    Ok(AsrOrAligner::Asr(Qwen3AsrConfig {
        audio_config,
        text_config,
        audio_token_id,
        // The published Qwen3-ASR always ships generation_config.json.
        eos_token_id: eos(&[generation, root, core, &text], vocab)?,
    }))
}

fn audio(section: &Section) -> Result<AudioConfig, CheckpointError> {
    section.one_of("activation_function", "gelu", &["gelu"])?;
    section.refuse_flag("scale_embedding")?;
    section.exactly("num_mel_bins", 128, "the convolutions reduce exactly 128 mel bins to 16 rows")?;
    section.exactly("n_window", 50, "the count of 13 tokens a second holds for chunks of 2 x 50 frames only")?;
    let d_model = section.count("d_model", 4..=MAX_WIDTH)?;
    let encoder_attention_heads = section.count("encoder_attention_heads", 1..=MAX_HEADS)?;
    if !d_model.is_multiple_of(2) || !d_model.is_multiple_of(encoder_attention_heads) {
        return Err(section.wrong(
            "d_model",
            format_args!("{d_model} must be even and a multiple of {encoder_attention_heads} heads"),
            FETCH_AGAIN,
        ));
    }
    let n_window_infer = section.count("n_window_infer", 100..=1_000_000)?;
    if !n_window_infer.is_multiple_of(100) {
        return Err(section.wrong(
            "n_window_infer",
            format_args!("{n_window_infer} is not a multiple of a chunk's 100 frames"),
            FETCH_AGAIN,
        ));
    }
    Ok(AudioConfig {
        num_mel_bins: 128,
        d_model,
        encoder_layers: section.count("encoder_layers", 1..=MAX_LAYERS)?,
        encoder_attention_heads,
        encoder_ffn_dim: section.count("encoder_ffn_dim", 1..=MAX_FFN)?,
        downsample_hidden_size: section.count("downsample_hidden_size", 1..=MAX_WIDTH)?,
        output_dim: section.count("output_dim", 1..=MAX_WIDTH)?,
        n_window: 50,
        n_window_infer,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::ModelConfig;
    use crate::models::testing::{raw, refused};
    use crate::weights::testing::{fixture_files, memory};

    #[test]
    fn both_layouts_of_qwen_say_the_same() {
        let open = |model: &str| ModelConfig::open(&fixture_files(model)).unwrap();
        let (ModelConfig::Qwen3Asr(ours), ModelConfig::Qwen3Asr(theirs)) = (open("qwen3_asr"), open("qwen3_asr/hf"))
        else {
            panic!()
        };
        assert_eq!((&ours.audio_config, &ours.text_config), (&theirs.audio_config, &theirs.text_config));
        assert_eq!((ours.audio_token_id, &ours.eos_token_id[..]), (theirs.audio_token_id, &[316, 318][..]));
        assert_eq!(theirs.eos_token_id, ours.eos_token_id);
        assert_eq!(ours.text_config.rope_theta, 1e6);
        assert!(ours.text_config.tie_word_embeddings);
        assert_eq!((ours.audio_config.d_model, ours.audio_config.n_window_infer), (32, 200));

        let (ModelConfig::Qwen3Aligner(ours), ModelConfig::Qwen3Aligner(theirs)) =
            (open("qwen3_aligner"), open("qwen3_aligner/hf"))
        else {
            panic!()
        };
        assert_eq!((&ours.audio_config, &ours.text_config), (&theirs.audio_config, &theirs.text_config));
        assert_eq!((ours.classify_num, ours.timestamp_token_id, ours.timestamp_segment_time), (60, 323, 80));
        assert_eq!((theirs.classify_num, theirs.timestamp_token_id, theirs.timestamp_segment_time), (60, 323, 80));
        assert!(!ours.text_config.tie_word_embeddings);
    }

    #[test]
    fn absurd_and_unsupported_values_are_named() {
        refused(&[
            (
                "qwen3_asr",
                "/thinker_config/audio_config/n_window",
                json!(100),
                "thinker_config.audio_config.n_window: 100 is not 50: the count of 13",
            ),
            ("qwen3_asr", "/thinker_config/audio_config/num_mel_bins", json!(80), "num_mel_bins: 80 is not 128"),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/encoder_attention_heads",
                json!(0),
                "0 is not a whole number from 1 to 1024",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/encoder_attention_heads",
                json!(5),
                "audio_config.d_model: 32 must be even and a multiple of 5",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/activation_function",
                json!("relu"),
                "activation_function: \\\"relu\\\" is not supported",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/scale_embedding",
                json!(true),
                "scale_embedding: true is not supported",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/n_window_infer",
                json!(250),
                "n_window_infer: 250 is not a multiple",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config/output_dim",
                json!(64),
                "audio_config.output_dim: 64 is not text_config.hidden_size 48",
            ),
            (
                "qwen3_asr",
                "/thinker_config/text_config/num_hidden_layers",
                json!(100_000),
                "num_hidden_layers: 100000 is not",
            ),
            ("qwen3_asr", "/thinker_config/text_config/hidden_size", json!(-3), "hidden_size: -3 is not"),
            ("qwen3_asr", "/thinker_config/text_config/hidden_size", json!(1e30), "hidden_size: 1e+30 is not"),
            ("qwen3_asr", "/thinker_config/text_config/head_dim", json!(15), "head_dim: 15 is not even"),
            (
                "qwen3_asr",
                "/thinker_config/text_config/num_key_value_heads",
                json!(3),
                "num_key_value_heads: 3 does not divide num_attention_heads 4",
            ),
            (
                "qwen3_asr",
                "/thinker_config/text_config/vocab_size",
                json!(1u64 << 40),
                "vocab_size: 1099511627776 is not",
            ),
            (
                "qwen3_asr",
                "/thinker_config/text_config/attention_bias",
                json!(true),
                "attention_bias: true is not supported",
            ),
            (
                "qwen3_asr",
                "/thinker_config/text_config/rope_scaling/rope_type",
                json!("yarn"),
                "rope_scaling.rope_type: \\\"yarn\\\" is not supported",
            ),
            ("qwen3_asr", "/thinker_config/text_config/rope_theta", json!(null), "text_config.rope_theta: is missing"),
            (
                "qwen3_asr",
                "/thinker_config/audio_token_id",
                json!(328),
                "audio_token_id: 328 is not a whole number from 0 to 327",
            ),
            (
                "qwen3_asr",
                "/thinker_config/audio_config",
                json!([1]),
                "thinker_config.audio_config: [1] is not an object",
            ),
            ("qwen3_aligner", "/thinker_config/classify_num", json!(1), "classify_num: 1 is not"),
            ("qwen3_aligner", "/thinker_config/classify_num", json!(null), "classify_num: is missing from an aligner"),
            ("qwen3_aligner", "/thinker_config/timestamp_segment_time", json!(0), "timestamp_segment_time: 0 is not"),
        ]);
        let mut asr = raw("qwen3_asr");
        asr["x"] = json!(1);
        let asr = asr.to_string();
        let pre: &[u8] = br#"{"feature_size": 80}"#;
        let message = ModelConfig::open(&memory(&[("config.json", asr.as_bytes()), (PREPROCESSOR_FILE, pre)]))
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("memory/preprocessor_config.json: feature_size: 80 is not 128"), "{message}");
        let message = ModelConfig::open(&memory(&[("config.json", asr.as_bytes())])).unwrap_err().to_string();
        assert!(message.contains("eos_token_id: is missing here and in config.json"), "{message}");
    }
}
