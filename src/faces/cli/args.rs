//! Every flag of every subcommand.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, Command as ClapCommand, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::eval::quality::Tokenizer;
use super::terminal;
use crate::gpu::DeviceChoice;
use crate::nn::Quant;
use crate::policy::PolicyKind;
use crate::text::Language;

/// Live speech translation: speech goes in, and captions that never change come out
#[derive(Debug, Parser)]
#[command(name = "alignatt", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses the process's own arguments.
    pub(super) fn from_process() -> Result<Cli, clap::Error> {
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
pub(super) enum Command {
    /// Translate speech in sound files or in a live stream
    Translate(TranslateArgs),
    /// Transcribe speech in sound files or in a live stream
    Transcribe(TranscribeArgs),
    /// Find the time of every word of a known text
    Align(AlignArgs),
    /// Find the attention heads of a translation model that follow the source
    Calibrate(CalibrateArgs),
    /// Measure the lag and the quality of policies on talks with references
    Eval(EvalArgs),
    /// Serve captions over the network: to browsers, phones, and clients of other services
    #[cfg(feature = "server")]
    Serve(Box<ServeArgs>),
    /// Make a page about a run: what was heard, shown and held, and what the model attended to
    Explain(ExplainArgs),
    /// Measure how fast a translation model runs on a device
    Bench(BenchArgs),
    /// List the devices that models can run on
    Devices,
    /// List, fetch, remove, find and quantize models
    Models(ModelsArgs),
}

#[derive(Debug, Args)]
pub(super) struct TranslateArgs {
    /// The language to translate to: de, it or zh
    #[arg(long, value_name = "LANGUAGE", value_parser = target_language)]
    pub to: Language,
    /// The rule for how much of a draft is shown: alignatt, alignatt:high (later and better), ref
    /// (as the published system decides), local-agreement, hold-n[:N] or offline
    #[arg(long, default_value = "alignatt", value_name = "POLICY")]
    pub policy: PolicyKind,
    /// Translate a text instead of sound: words with times as JSON lines, subtitles (SRT, WebVTT),
    /// or plain lines; `-` is standard input
    #[arg(long = "text", value_name = "FILE", conflicts_with_all = ["files", "raw", "track", "asr", "aligner"])]
    pub text_input: Option<PathBuf>,
    /// Print what the model attends to, one line per drafted token
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub stream: StreamArgs,
}

/// The model that translates.
#[derive(Clone, Debug, Args)]
pub(super) struct TextArgs {
    /// The translation model: a folder, a GGUF file, a Hub id such as google/gemma-4-E4B-it, or the
    /// id of a GGUF file such as owner/name/file.gguf [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub mt: Option<OsString>,
    /// The model's attention heads for this direction, as `alignatt calibrate` writes them
    /// [default: those of the model's folder, or those that come with the program]
    #[arg(long, value_name = "FILE")]
    pub heads: Option<PathBuf>,
    /// How many earlier segments the model sees with their translations, 0 to 8
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=8))]
    pub history: u8,
}

#[derive(Debug, Args)]
pub(super) struct TranscribeArgs {
    #[command(flatten)]
    pub stream: StreamArgs,
}

/// What `translate` and `transcribe` share.
#[derive(Debug, Args)]
pub(super) struct StreamArgs {
    /// Sound files, one after another; `-` is standard input (any format but mp4, or --raw)
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The language that is spoken, as an ISO 639 code
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// The form of the results: text, JSON lines with every event, or subtitles
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// The file to write; `-` is standard output [default: -]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The sound track of FILE to use, counted from 1 [default: the first that is enabled]
    #[arg(long, value_name = "N")]
    pub track: Option<NonZero<u16>>,
    /// Read the sound or the text as slowly as it would be said
    #[arg(long)]
    pub realtime: bool,
    /// Standard input is raw samples: 16-bit little-endian, mono, 16 kHz
    #[arg(long)]
    pub raw: bool,
    /// How much sound a step processes, in milliseconds [default: 850; 1500 for alignatt:high]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=10_000))]
    pub chunk_ms: Option<u64>,
    #[command(flatten)]
    pub context: ContextArgs,
    #[command(flatten)]
    pub speech: SpeechArgs,
}

#[derive(Debug, Args)]
pub(super) struct AlignArgs {
    /// The sound file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What is said in it
    #[arg(long)]
    pub text: String,
    /// The sound track of FILE to use, counted from 1 [default: the first that is enabled]
    #[arg(long, value_name = "N")]
    pub track: Option<NonZero<u16>>,
    /// The language that is spoken, as an ISO 639 code
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// text: one line per word with its start and end in seconds; jsonl: one object per word
    #[arg(long, value_enum, default_value_t = AlignFormat::Text)]
    pub format: AlignFormat,
    /// The alignment model: a folder or a Hub id [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub aligner: Option<OsString>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Debug, Args)]
pub(super) struct CalibrateArgs {
    /// The translation model: a folder or a Hub id [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub mt: Option<OsString>,
    /// The language of the source
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// The language of the target
    #[arg(long, value_name = "LANGUAGE")]
    pub to: Language,
    /// Sentence pairs, one JSON object per line: `source`, `target` and, if known, `alignments`
    /// [[word, unit], ...]
    #[arg(long, value_name = "FILE")]
    pub pairs: PathBuf,
    /// Word alignments, one line such as `0-0 1-2` per pair [default: those of the pairs, or else
    /// those of a statistical aligner]
    #[arg(long, value_name = "FILE")]
    pub alignments: Option<PathBuf>,
    /// The file to write; a heat map of all heads is written beside it [default:
    /// heads.FROM-TO.json]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// The translation model: a folder, a GGUF file or a Hub id [default: the demo pack]
    #[arg(value_name = "MODEL")]
    pub model: Option<OsString>,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = at_least_one)]
    pub prompt: usize,
    /// Tokens to decode
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = at_least_one)]
    pub tokens: usize,
    /// Rounds to measure, after one that is not counted
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = at_least_one)]
    pub rounds: usize,
    /// The form of the results
    #[arg(long, value_enum, default_value_t = BenchFormat::Text)]
    pub format: BenchFormat,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BenchFormat {
    Text,
    Json,
}

#[cfg(feature = "server")]
const SERVE_EXAMPLES: &str = "\
Examples:
  alignatt serve --to de
      the page and all protocols at http://127.0.0.1:8000, with the demo pack's models
  alignatt serve --to de --asr Qwen/Qwen3-ASR-0.6B --aligner Qwen/Qwen3-ForcedAligner-0.6B \\
      --mt google/gemma-4-E2B-it --listen 0.0.0.0:8000 --tokens tokens.txt --state sessions
      real models for a room; clients need a token, and sessions survive a restart

docs/serving.md describes the protocols, the tokens file, and how to run it as a service.";

#[cfg(feature = "server")]
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(super) struct ServeArgs {
    /// The language that a session translates to where its client names none: de, it or zh
    /// [default: sessions are only transcribed]
    #[arg(long, value_name = "LANGUAGE", value_parser = target_language)]
    pub to: Option<Language>,
    /// The language that is spoken where a client names none, as an ISO 639 code
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// The policy where a client names none, as for `translate`
    #[arg(long, default_value = "alignatt", value_name = "POLICY")]
    pub policy: PolicyKind,
    /// The translation model, as for `translate` [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub mt: Option<OsString>,
    #[command(flatten)]
    pub context: ContextArgs,
    #[command(flatten)]
    pub speech: SpeechArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Keep sessions in this folder, so that they go on after a restart [default: in memory]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Serve the built page of this folder (www/dist) instead of the program's own, so that the
    /// presenter may also compute in the browser
    #[arg(long, value_name = "DIR")]
    pub page: Option<PathBuf>,
    /// How many live sessions may run at a time
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = at_least_one)]
    pub sessions: usize,
    /// The share of the device's time that live sessions may take together; another is refused
    #[arg(long, default_value_t = 0.7, value_name = "SHARE", value_parser = share)]
    pub load: f64,
    /// The largest file that may be uploaded, in MiB
    #[arg(long, default_value_t = 512, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_upload: u64,
    /// The longest sound in an uploaded file, in hours
    #[arg(long, default_value_t = 6, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_hours: u64,
    /// A port of its own for the MT protocol, which is also at /mt; AlignAtt4LLM's is 8765
    #[arg(long, value_name = "PORT")]
    pub mt_port: Option<u16>,
    /// An utterance of the MT protocol is ended when it has more words than this; 0: never
    #[arg(long, default_value_t = 120, value_name = "N")]
    pub max_utterance_words: usize,
    /// How many seconds a session without a connection waits for its client
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub linger: u64,
    /// How many seconds a shutdown waits for sessions to end
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub grace: u64,
}

/// Who can reach the server.
#[cfg(feature = "server")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkArgs {
    /// The address to listen on; one that other computers can reach needs --tokens
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// A file of tokens, `TOKEN [SESSIONS]` a line; SIGHUP reads it again [default: none is needed]
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Let everybody who can reach the server use it
    #[arg(long, conflicts_with = "tokens")]
    pub open: bool,
    /// A name that requests may call the server by, besides localhost and addresses [default: any,
    /// with --tokens at an address that others can reach]
    #[arg(long = "host-name", value_name = "NAME")]
    pub host_names: Vec<String>,
    /// An origin whose pages may use the server, such as https://talks.example
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub origins: Vec<String>,
    /// How many sockets one address may have: all phones behind one router are one address
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = at_least_one)]
    pub sockets: usize,
    /// The address at which others reach the server, for links and QR codes, such as
    /// https://captions.example/ [default: the one at which the presenter opened the page]
    #[arg(long, value_name = "URL", value_parser = web_address)]
    pub public_url: Option<String>,
    /// The address of a proxy in front of the server, which names its clients (X-Forwarded-For)
    #[arg(long = "trusted-proxy", value_name = "ADDRESS")]
    pub proxies: Vec<std::net::IpAddr>,
    /// The certificate chain, in PEM; with --tls-key the server speaks HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The events of a run, as `translate --format jsonl` writes them; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The page to write; `-` is standard output [default: FILE with the extension .html]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// The talks and their references, one JSON object per line (docs/evaluation.md describes it)
    #[arg(value_name = "MANIFEST", required_unless_present = "score")]
    pub manifest: Option<PathBuf>,
    /// The language to translate to: de, it or zh; with --score, any language of a log
    #[arg(long, value_name = "LANGUAGE")]
    pub to: Language,
    /// The language that is spoken, as an ISO 639 code
    #[arg(long, default_value = "en", value_name = "LANGUAGE")]
    pub from: Language,
    /// A policy, as for `translate`; may be given several times
    #[arg(long = "policy", value_name = "POLICY", default_values = ["alignatt", "alignatt:high", "local-agreement", "hold-n", "offline"])]
    pub policies: Vec<PolicyKind>,
    /// How much sound a step processes, in milliseconds; may be given several times [default: the
    /// policy's own]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=10_000))]
    pub chunk_ms: Vec<u64>,
    /// The folder for events and reports; a talk whose events are in it is not played again
    #[arg(long, default_value = "eval", value_name = "DIR")]
    pub out: PathBuf,
    /// Use only the first N talks
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub context: ContextArgs,
    #[command(flatten)]
    pub speech: SpeechArgs,
    #[command(flatten)]
    pub score: ScoreArgs,
}

/// Scoring a log instead of playing talks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scoring a log")]
pub(super) struct ScoreArgs {
    /// A log of SimulEval or OmniSTEval, a JSON object a line; no talk is played
    #[arg(long, value_name = "LOG", conflicts_with_all = [
        "manifest", "from", "policies", "chunk_ms", "out", "limit", "mt", "heads", "context", "terms", "history", "asr", "aligner",
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

/// What the talk is about, for the models of speech and translation.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ContextArgs {
    /// A text file that says what the talk is about: its title, names
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// A list of terms, one a line: `term` or `term = translation`
    #[arg(long, value_name = "FILE")]
    pub terms: Option<PathBuf>,
}

/// The models that hear.
#[derive(Clone, Debug, Args)]
pub(super) struct SpeechArgs {
    /// The speech model: a folder, a GGUF file, or a Hub id such as Qwen/Qwen3-ASR-0.6B [default:
    /// the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub asr: Option<OsString>,
    /// The alignment model: a folder, a GGUF file, or a Hub id such as
    /// Qwen/Qwen3-ForcedAligner-0.6B [default: the demo pack]
    #[arg(long, value_name = "MODEL")]
    pub aligner: Option<OsString>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct DeviceArgs {
    /// The device: auto, cpu, vulkan[:N], metal[:N] or dx12[:N]; `alignatt devices` lists them
    #[arg(long, env = "ALIGNATT_DEVICE", default_value = "auto", value_parser = device_choice)]
    pub device: DeviceChoice,
    /// How weights are kept: auto (as a GGUF file has them; others by size), f16, q8, q4, or one
    /// for the layers and one for the tables, such as q4/q8
    #[arg(long, default_value = "auto", value_name = "FORM")]
    pub quant: Quant,
}

#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    #[command(subcommand)]
    pub action: ModelsAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum ModelsAction {
    /// List the fetched models and their sizes
    List,
    /// Fetch a model from the Hub; an interrupted fetch continues where it stopped
    Fetch {
        /// A Hub id such as Qwen/Qwen3-ASR-0.6B, owner/name@revision, or owner/name/file.gguf
        id: String,
    },
    /// Delete a fetched model
    Remove {
        /// A Hub id, as `alignatt models list` prints it
        id: String,
    },
    /// Write a model with quantized weights into a folder, which loads without any conversion
    Quantize {
        /// A folder or a Hub id
        model: OsString,
        /// The form of the weights: q8, q4, or one for the layers and one for the tables, such as
        /// q4/q8
        #[arg(long, value_name = "FORM", value_parser = quantized)]
        quant: Quant,
        /// The folder to write
        #[arg(long, short, value_name = "DIR")]
        output: PathBuf,
    },
    /// Print the folder of a fetched model, or of all of them
    Where {
        /// A Hub id, owner/name@revision, or owner/name/file.gguf
        id: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Jsonl,
    Srt,
    Vtt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AlignFormat {
    Text,
    Jsonl,
}

pub(super) fn target_language(code: &str) -> Result<Language, String> {
    match code.parse::<Language>() {
        Ok(language) if Language::TARGETS.contains(&language) => Ok(language),
        _ => Err("the target languages are de (German), it (Italian) and zh (Chinese)".to_owned()),
    }
}

/// Parses the `--quant` of `models quantize`.
fn quantized(text: &str) -> Result<Quant, String> {
    match text.parse::<Quant>() {
        Ok(Quant::Chosen(storage)) if storage.quantizes() => Ok(Quant::Chosen(storage)),
        _ => Err("the forms are q8, q4, q4/q8 and q8/q4".to_owned()),
    }
}

/// The address of a web server.
fn web_address(text: &str) -> Result<String, String> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', ' ']) => Ok(text.to_owned()),
        _ => Err("an address such as https://captions.example/ is needed".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if (1..=100_000).contains(&number) => Ok(number),
        _ => Err("a whole number from 1 to 100000 is needed".to_owned()),
    }
}

/// Parses `--device`. The message for a wrong one says what is valid.
fn device_choice(text: &str) -> Result<DeviceChoice, String> {
    text.parse::<DeviceChoice>().map_err(|error| format!("{error} (`alignatt devices` lists them)"))
}

/// Parses the share of a whole.
#[cfg(feature = "server")]
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("a number above 0 and up to 1 is needed".to_owned()),
    }
}
