//! `alignatt bench`: how fast a translation model runs on a device, and what memory it takes.
//!
//! A round feeds a prompt in one pass, then draws tokens one by one. The ids are arbitrary: time
//! does not depend on them. The first round warms up and is not counted; figures are medians of the
//! others. A figure that the device cannot give is absent.

use std::io::{self, Write};
use std::time::Instant;

use burn::tensor::{Int, Tensor};
use serde::Serialize;

use super::args::{BenchArgs, BenchFormat};
use super::engines;
use super::error::CliError;
use super::progress::LoadingBar;
use crate::engines::load::TextWeights;
use crate::gpu::Compute;
use crate::models::TextModel;
use crate::nn::{RunError, Tap, read_ids};

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    model: String,
    device: String,
    /// How matrices are kept that are not quantized in their file.
    storage: String,
    /// Bytes of the model's weights on the device.
    weight_bytes: u64,
    load_seconds: f64,
    prompt_tokens: usize,
    prompt_tokens_per_second: f64,
    decoded_tokens: usize,
    decoded_tokens_per_second: f64,
    /// Every round's tokens per second: prompt, decoding.
    rounds: Vec<[f64; 2]>,
    /// The most memory that the process had, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_host_bytes: Option<u64>,
    /// Memory that is reserved on the device, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_bytes: Option<u64>,
}

pub(super) async fn bench(args: BenchArgs) -> Result<(), CliError> {
    let began = Instant::now();
    let (name, TextWeights { model, storage, bytes }, compute) = {
        let mut bar = LoadingBar::new();
        let mut report = |what: &str, done, total| bar.report(what, done, total);
        engines::load_weights(args.model.as_deref(), &args.device, &mut report).await?
    };
    compute.wait_idle().await.map_err(CliError::of)?;
    let load_seconds = began.elapsed().as_secs_f64();
    if args.prompt + args.tokens > model.capacity() {
        let most = model.capacity();
        return Err(CliError::Usage(format!("--prompt and --tokens together may be at most {most} for this model")));
    }
    let mut rounds = Vec::new();
    for round in 0..=args.rounds {
        let speeds = measure(&*model, &compute, args.prompt, args.tokens).await.map_err(CliError::of)?;
        if round > 0 {
            rounds.push(speeds);
        }
    }
    let median = |of: usize| {
        let mut values: Vec<f64> = rounds.iter().map(|speeds| speeds[of]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let [prompt_speed, decoding_speed] = [median(0), median(1)];
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        model: name,
        device: compute.name.clone(),
        storage: storage.to_string(),
        weight_bytes: bytes,
        load_seconds,
        prompt_tokens: args.prompt,
        prompt_tokens_per_second: prompt_speed,
        decoded_tokens: args.tokens,
        decoded_tokens_per_second: decoding_speed,
        rounds,
        peak_host_bytes: peak_host_bytes(),
        device_bytes: compute.device.memory_pool_usage().filter(|_| compute.is_gpu()).map(|usage| usage.bytes_reserved),
    };
    report.print(args.format, &mut io::stdout().lock()).map_err(CliError::print_failed)
}

/// One round → tokens per second of the prompt and of decoding.
async fn measure(model: &dyn TextModel, compute: &Compute, prompt: usize, tokens: usize) -> Result<[f64; 2], RunError> {
    let ids: Vec<i32> = (0..prompt).map(|at| (at * 7919 % 997 + 3) as i32).collect();
    let mut cache = model.cache();
    compute.wait_idle().await?;

    let began = Instant::now();
    let input = Tensor::<1, Int>::from_ints(ids.as_slice(), &compute.device);
    let row = model.forward(input, &mut cache, 1, &mut Tap::off())?;
    let mut last = model.choose(row);
    read_ids(last.clone(), compute).await?;
    let prompt_seconds = began.elapsed().as_secs_f64();

    let began = Instant::now();
    let mut left = tokens;
    while left > 0 {
        let group = compute.group_len().min(left);
        for _ in 0..group {
            let row = model.forward(last, &mut cache, 1, &mut Tap::off())?;
            last = model.choose(row);
        }
        read_ids(last.clone(), compute).await?;
        left -= group;
    }
    Ok([prompt as f64 / prompt_seconds, tokens as f64 / began.elapsed().as_secs_f64()])
}

/// The most memory that this process had at once; Linux only.
fn peak_host_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

impl Report {
    fn print(&self, format: BenchFormat, out: &mut dyn Write) -> io::Result<()> {
        if format == BenchFormat::Json {
            return writeln!(out, "{}", serde_json::to_string(self)?);
        }
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        writeln!(out, "model    {}", self.model)?;
        writeln!(out, "device   {}", self.device)?;
        writeln!(
            out,
            "weights  {} MiB; what the file has not quantized is kept in {}",
            mebibytes(self.weight_bytes),
            self.storage
        )?;
        writeln!(out, "loading  {:.1} s", self.load_seconds)?;
        writeln!(out, "prompt   {:.1} tokens/s ({} tokens)", self.prompt_tokens_per_second, self.prompt_tokens)?;
        let read = self.decoded_tokens_per_second * self.weight_bytes as f64 / 1e9;
        writeln!(
            out,
            "decode   {:.1} tokens/s ({} tokens), {read:.1} GB of weights a second",
            self.decoded_tokens_per_second, self.decoded_tokens
        )?;
        if let Some(bytes) = self.peak_host_bytes {
            writeln!(out, "memory   {} MiB on the host at most", mebibytes(bytes))?;
        }
        if let Some(bytes) = self.device_bytes {
            writeln!(out, "         {} MiB reserved on the device", mebibytes(bytes))?;
        }
        out.flush()
    }
}
