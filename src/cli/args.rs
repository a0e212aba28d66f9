//! Every flag of every subcommand.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::engines::check_device;
use crate::alignatt::{Language, PolicyKind};

/// Live speech translation: audio in, captions that are never taken back out.
#[derive(Debug, Parser)]
#[command(name = "alignatt", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Translate speech while it plays
    Translate(TranslateArgs),
    /// Transcribe speech while it plays
    Transcribe(TranscribeArgs),
    /// Find the time of every word of a known text
    Align(AlignArgs),
    /// Measure lag and quality of policies over talks with references
    Eval(EvalArgs),
    /// List the devices that models can run on
    Devices,
    /// List, fetch, remove and find models
    Models(ModelsArgs),
}

#[derive(Debug, Args)]
pub struct TranslateArgs {
    /// The language to translate to
    #[arg(long, value_name = "LANGUAGE", value_parser = target_language)]
    pub to: Language,
    /// How much of a draft is shown: local-agreement, hold-n, hold-n:N or offline
    #[arg(long, default_value = "local-agreement", value_name = "POLICY")]
    pub policy: PolicyKind,
    /// The translation model: a folder or a Hub id such as google/gemma-4-E4B-it [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub mt: Option<String>,
    #[command(flatten)]
    pub stream: StreamArgs,
}

#[derive(Debug, Args)]
pub struct TranscribeArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
}

/// What `translate` and `transcribe` share.
#[derive(Debug, Args)]
pub struct StreamArgs {
    /// Sound files, one after another; `-` is standard input (a WAV stream, or raw with --raw)
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// The language that is spoken
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// What is written: text, JSON lines with every event, or subtitles
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write to a file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Take the sound in at the pace at which it would play
    #[arg(long)]
    pub realtime: bool,
    /// Standard input is raw: 16-bit little-endian mono at 16 kHz
    #[arg(long)]
    pub raw: bool,
    /// Sound of one step, in milliseconds
    #[arg(long, default_value_t = 850, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=10_000))]
    pub chunk_ms: u64,
    #[command(flatten)]
    pub speech: SpeechArgs,
}

#[derive(Debug, Args)]
pub struct AlignArgs {
    /// The sound file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What is said in it
    #[arg(long)]
    pub text: String,
    /// The language that is spoken
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// `text` writes start, end and word in columns, in seconds; `jsonl` an object a word
    #[arg(long, value_enum, default_value_t = AlignFormat::Text)]
    pub format: AlignFormat,
    /// The alignment model: a folder or a Hub id [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub aligner: Option<String>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Talks and their references, a JSON object a line, as docs/evaluation.md has them
    #[arg(value_name = "MANIFEST")]
    pub manifest: PathBuf,
    /// The language to translate to
    #[arg(long, value_name = "LANGUAGE", value_parser = target_language)]
    pub to: Language,
    /// The language that is spoken
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// A policy, as `translate` takes it; give it again for more
    #[arg(long = "policy", value_name = "POLICY", default_values = ["local-agreement", "hold-n", "offline"])]
    pub policies: Vec<PolicyKind>,
    /// Sound of one step, in milliseconds; give it again for more
    #[arg(long, default_values_t = [850], value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=10_000))]
    pub chunk_ms: Vec<u64>,
    /// Where events and reports go; talks whose events are there are not played again
    #[arg(long, default_value = "eval", value_name = "DIR")]
    pub out: PathBuf,
    /// The first N talks only
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// The translation model: a folder or a Hub id such as google/gemma-4-E4B-it [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub mt: Option<String>,
    #[command(flatten)]
    pub speech: SpeechArgs,
}

/// The models that hear.
#[derive(Clone, Debug, Args)]
pub struct SpeechArgs {
    /// The speech model: a folder or a Hub id such as Qwen/Qwen3-ASR-0.6B [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub asr: Option<String>,
    /// The alignment model: a folder or a Hub id such as Qwen/Qwen3-ForcedAligner-0.6B [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub aligner: Option<String>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Clone, Debug, Args)]
pub struct DeviceArgs {
    /// auto, cpu, vulkan[:N], metal[:N] or dx12[:N], as `alignatt devices` lists them
    #[arg(long, env = "ALIGNATT_DEVICE", default_value = "auto", value_parser = check_device)]
    pub device: String,
}

#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub action: ModelsAction,
}

#[derive(Debug, Subcommand)]
pub enum ModelsAction {
    /// What is on this machine, with sizes
    List,
    /// Fetch a model from the Hub; a fetch that was broken off goes on where it stopped
    Fetch {
        /// Such as Qwen/Qwen3-ASR-0.6B
        id: String,
    },
    /// Delete a fetched model
    Remove { id: String },
    /// Print the folder of a fetched model, or of all of them
    Where { id: Option<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Jsonl,
    Srt,
    Vtt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AlignFormat {
    Text,
    Jsonl,
}

/// The languages that translation is made for.
const TARGETS: [Language; 3] = [Language::GERMAN, Language::ITALIAN, Language::CHINESE];

fn target_language(code: &str) -> Result<Language, String> {
    match code.parse::<Language>() {
        Ok(language) if TARGETS.contains(&language) => Ok(language),
        _ => Err("use de (German), it (Italian) or zh (Chinese)".to_owned()),
    }
}
