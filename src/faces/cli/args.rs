//! Every flag of every subcommand.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, Command as ClapCommand, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::eval::quality::Tokenizer;
use super::terminal;
use crate::gpu::DeviceChoice;
use crate::policy::PolicyKind;
use crate::text::Language;

/// Live speech translation: audio in, captions that are never taken back out.
#[derive(Debug, Parser)]
#[command(name = "alignatt", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses the process's own arguments.
    pub fn from_process() -> Result<Cli, clap::Error> {
        let mut matches = without_blank_variables(Cli::command()).try_get_matches()?;
        Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Cli::command()))
    }
}

/// Treats blank environment variables as unset. clap would take such a variable as an empty value.
fn without_blank_variables(command: ClapCommand) -> ClapCommand {
    let command = command.mut_args(|arg| match arg.get_env().is_some_and(terminal::is_blank) {
        true => arg.env(Resettable::Reset),
        false => arg,
    });
    command.mut_subcommands(without_blank_variables)
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Translate speech while it plays
    Translate(TranslateArgs),
    /// Transcribe speech while it plays
    Transcribe(TranscribeArgs),
    /// Find the time of every word of a known text
    Align(AlignArgs),
    /// Find the attention heads of a translation model that follow the source
    Calibrate(CalibrateArgs),
    /// Measure lag and quality of policies over talks with references
    Eval(EvalArgs),
    /// Make a page of a run: what was heard, shown and held, and where the model listened
    Explain(ExplainArgs),
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
    /// How much of a draft is shown: alignatt, alignatt:high (later and better), ref (the published
    /// system's decisions), local-agreement, hold-n[:N], offline
    #[arg(long, default_value = "alignatt", value_name = "POLICY")]
    pub policy: PolicyKind,
    /// Print where the model listens, a line a drafted token
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub stream: StreamArgs,
}

/// The model that translates.
#[derive(Clone, Debug, Args)]
pub struct TextArgs {
    /// The translation model: a folder or a Hub id such as google/gemma-4-E4B-it [default: the demo
    /// pack]
    #[arg(long, value_name = "MODEL")]
    pub mt: Option<OsString>,
    /// The model's attention heads for this direction, as `alignatt calibrate` writes them
    /// [default: those of the model's folder, or those that come with the program]
    #[arg(long, value_name = "FILE")]
    pub heads: Option<PathBuf>,
    /// A text file with what the talk is about: its title, names, terms
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// Sentences before the current one that the model sees with their translations
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=8))]
    pub history: u8,
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
    pub files: Vec<PathBuf>,
    /// The language that is spoken
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// What is written: text, JSON lines with every event, or subtitles
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write to a file instead of standard output, which is `-`
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The sound track of FILE that is heard, from 1 [default: the first that is enabled]
    #[arg(long, value_name = "N")]
    pub track: Option<NonZero<u16>>,
    /// Take the sound in at the pace at which it would play
    #[arg(long)]
    pub realtime: bool,
    /// Standard input is raw: 16-bit little-endian mono at 16 kHz
    #[arg(long)]
    pub raw: bool,
    /// Sound of one step, in milliseconds [default: 850; with alignatt:high 1500]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=10_000))]
    pub chunk_ms: Option<u64>,
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
    /// The sound track of FILE that is heard, from 1 [default: the first that is enabled]
    #[arg(long, value_name = "N")]
    pub track: Option<NonZero<u16>>,
    /// The language that is spoken
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// `text` writes start, end and word in columns, in seconds; `jsonl` an object a word
    #[arg(long, value_enum, default_value_t = AlignFormat::Text)]
    pub format: AlignFormat,
    /// The alignment model: a folder or a Hub id [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub aligner: Option<OsString>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// The translation model: a folder or a Hub id [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub mt: Option<OsString>,
    /// The language of the source
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// The language of the target
    #[arg(long, value_name = "LANGUAGE")]
    pub to: Language,
    /// Sentence pairs, a JSON object a line: `source`, `target` and, if known, `alignments` [[word,
    /// unit], ...]
    #[arg(long, value_name = "FILE")]
    pub pairs: PathBuf,
    /// Word alignments, a line of `0-0 1-2` a pair [default: those of the pairs, else a statistical
    /// aligner's]
    #[arg(long, value_name = "FILE")]
    pub alignments: Option<PathBuf>,
    /// The file to write; a heat map of all heads goes beside it [default: heads.FROM-TO.json]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The events of a run, as `translate --format jsonl` writes them; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The page to write; `-` is standard output [default: FILE with .html]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Talks and their references, a JSON object a line, as docs/evaluation.md has them
    #[arg(value_name = "MANIFEST", required_unless_present = "score")]
    pub manifest: Option<PathBuf>,
    /// The language to translate to; with --score, that of the log's translations
    #[arg(long, value_name = "LANGUAGE")]
    pub to: Language,
    /// The language that is spoken
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// A policy, as `translate` takes it; give it again for more
    #[arg(long = "policy", value_name = "POLICY", default_values = ["alignatt", "alignatt:high", "local-agreement", "hold-n", "offline"])]
    pub policies: Vec<PolicyKind>,
    /// Sound of one step, in milliseconds; give it again for more [default: the policy's own]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=10_000))]
    pub chunk_ms: Vec<u64>,
    /// Where events and reports go; talks whose events are there are not played again
    #[arg(long, default_value = "eval", value_name = "DIR")]
    pub out: PathBuf,
    /// The first N talks only
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub speech: SpeechArgs,
    #[command(flatten)]
    pub score: ScoreArgs,
}

/// Scoring a log instead of playing talks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scoring a log")]
pub struct ScoreArgs {
    /// A log of SimulEval or OmniSTEval, a JSON object a line; no talk is played
    #[arg(long, value_name = "LOG", conflicts_with_all = [
        "manifest", "from", "policies", "chunk_ms", "out", "limit", "mt", "heads", "context", "history", "asr", "aligner",
    ])]
    pub score: Option<PathBuf>,
    /// Where the segments lie in the log's recordings, in YAML or JSON as OmniSTEval reads them
    /// [default: each line of the log is a segment]
    #[arg(long, value_name = "FILE", requires = "score")]
    pub segments: Option<PathBuf>,
    /// The reference of each segment, a line each [default: those in the log]
    #[arg(long, value_name = "FILE", requires = "score")]
    pub references: Option<PathBuf>,
    /// Align words with their punctuation, as OmniSTEval without --lang [default: words are split
    /// by Moses' rules first, as with it]
    #[arg(long, requires = "score")]
    pub whole_words: bool,
    /// Take `elapsed` as it is, as OmniSTEval without --fix_simuleval_emission_ca [default:
    /// SimulEval's sums of computing time are made differences]
    #[arg(long, requires = "score")]
    pub raw_elapsed: bool,
    /// How sacrebleu splits texts for BLEU [default: its choice for the language]
    #[arg(long, value_name = "NAME", requires = "score")]
    pub bleu_tokenizer: Option<Tokenizer>,
}

/// The models that hear.
#[derive(Clone, Debug, Args)]
pub struct SpeechArgs {
    /// The speech model: a folder or a Hub id such as Qwen/Qwen3-ASR-0.6B [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub asr: Option<OsString>,
    /// The alignment model: a folder or a Hub id such as Qwen/Qwen3-ForcedAligner-0.6B [default:
    /// the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub aligner: Option<OsString>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Clone, Debug, Args)]
pub struct DeviceArgs {
    /// auto, cpu, vulkan[:N], metal[:N] or dx12[:N], as `alignatt devices` lists them
    #[arg(long, env = "ALIGNATT_DEVICE", default_value = "auto", value_parser = device_choice)]
    pub device: DeviceChoice,
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

pub fn target_language(code: &str) -> Result<Language, String> {
    match code.parse::<Language>() {
        Ok(language) if Language::TARGETS.contains(&language) => Ok(language),
        _ => Err("use de (German), it (Italian) or zh (Chinese)".to_owned()),
    }
}

/// Parses `--device`. The message for a wrong one says what is valid.
fn device_choice(text: &str) -> Result<DeviceChoice, String> {
    text.parse::<DeviceChoice>().map_err(|error| format!("{error} (`alignatt devices` lists them)"))
}
