//! Progress bars and the log, both on standard error.

use std::env;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;

use super::terminal::{self, eprint_line};
use crate::hub::fetch;
use crate::text::Millis;

/// A bar appears after this time.
const SHOWN_AFTER: Duration = Duration::from_millis(700);
/// The most log that is held while the live view has the terminal, in bytes.
const MAX_HELD_LOG: usize = 64 * 1024;

/// Held log lines; `None`: log lines go to standard error at once.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// The log filter where `RUST_LOG` gives none. Our errors repeat Symphonia's own warnings. Vulkan's
/// loader reports an error where the computer has no driver, which is no fault if another device
/// computes.
const DEFAULT_FILTER: &str = "warn,symphonia=off,wgpu_hal::vulkan::instance=off";

/// Libraries that log what passes through them at their lower levels: requests with their tokens,
/// messages with text and sound. None of that may be in a log.
const INDISCREET: [&str; 6] = ["tungstenite", "tokio_tungstenite", "hyper", "hyper_util", "axum", "ureq"];

/// Starts the log with `RUST_LOG`, or with warnings only.
pub(super) fn start_log() {
    let requested = match terminal::is_blank("RUST_LOG".as_ref()) {
        true => None,
        false => env::var("RUST_LOG").ok(),
    };
    let (filter, wrong) = match requested.map(EnvFilter::try_new) {
        None => (EnvFilter::new(DEFAULT_FILTER), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
    };
    let discreet = INDISCREET.iter().filter_map(|name| format!("{name}=warn").parse().ok());
    let filter = discreet.fold(filter, EnvFilter::add_directive);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal::stderr_takes_colour())
        .without_time()
        .with_target(false);
    // Fails only where a log is running already. Then that one is used.
    let _ = log.with_writer(|| LogWriter).try_init();
    if let Some(error) = wrong {
        tracing::warn!("RUST_LOG is ignored: {error}");
    }
}

/// Holds log lines while the live view has the terminal.
pub(super) fn hold_log() {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.get_or_insert_default();
}

/// Prints the held log lines.
pub(super) fn release_log() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(lines) = held {
        // A log that cannot be written does not stop the program.
        let _ = io::stderr().write_all(&lines);
    }
}

/// Writes the log. It never fails, because tracing would report a failure with `eprintln!`, which
/// panics.
struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *HELD.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) if held.len() < MAX_HELD_LOG => held.extend_from_slice(line),
            Some(_) => {}
            None => drop(io::stderr().write_all(line)),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A bar of one line for loading, fetching, or counting.
pub(super) struct LoadingBar {
    template: &'static str,
    bar: Option<ProgressBar>,
    what: String,
    began: Instant,
}

impl LoadingBar {
    /// A bar that counts bytes.
    pub(super) fn new() -> LoadingBar {
        let template = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
        LoadingBar { template, bar: None, what: String::new(), began: Instant::now() }
    }

    /// A bar that counts items.
    pub(super) fn counting() -> LoadingBar {
        LoadingBar {
            template: "{msg} {wide_bar} {pos}/{len} {eta}",
            bar: None,
            what: String::new(),
            began: Instant::now(),
        }
    }

    /// Shows `done` of `total` bytes or items of `what`. A total of 0 means that it is not known
    /// yet.
    pub(super) fn report(&mut self, what: &str, done: u64, total: u64) {
        if self.began.elapsed() < SHOWN_AFTER {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| styled(self.template));
        if self.what != what {
            self.what = what.to_owned();
            bar.set_message(self.what.clone());
        }
        bar.set_length(total);
        bar.set_position(done);
    }
}

impl Drop for LoadingBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Progress of a fetch from the Hub. On a terminal, it is a bar with bytes, rate and remaining
/// time; elsewhere it is a line every five seconds.
pub(super) struct FetchBar {
    label: String,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    fetched: u64,
    began: Instant,
    last_line: Instant,
}

impl FetchBar {
    pub(super) fn new(label: &str) -> FetchBar {
        let bar = terminal::stderr_takes_bars().then(|| {
            let bar = styled("{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}");
            bar.set_prefix(label.to_owned());
            bar
        });
        let now = Instant::now();
        FetchBar { label: label.to_owned(), bar, total: 0, done: 0, fetched: 0, began: now, last_line: now }
    }

    fn line(&self) {
        let rate = self.fetched as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let (done, total, rate) = (HumanBytes(self.done), HumanBytes(self.total), HumanBytes(rate as u64));
        self.say(&format!("{done} of {total} ({rate}/s)"));
    }

    fn say(&self, text: &str) {
        eprint_line(format_args!("{}: {text}", self.label));
    }
}

impl fetch::Progress for FetchBar {
    fn start(&mut self, total: u64, done: u64) {
        (self.total, self.done) = (total, done);
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.reset_eta();
            }
            None => self.line(),
        }
    }

    fn file(&mut self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        self.fetched += bytes;
        match &self.bar {
            Some(bar) => bar.inc(bytes),
            None if self.last_line.elapsed() >= Duration::from_secs(5) => {
                self.last_line = Instant::now();
                self.line();
            }
            None => {}
        }
    }

    fn discard(&mut self, bytes: u64) {
        self.done = self.done.saturating_sub(bytes);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.say(text)),
            None => self.say(text),
        }
    }

    fn finish(&mut self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => self.line(),
        }
    }
}

/// A bar for sound that is being processed.
pub(super) struct SoundBar {
    bar: Option<ProgressBar>,
    total: Option<Millis>,
    began: Instant,
}

impl SoundBar {
    /// `total` is the length of the sound, where it is known. Without `shown` there is no bar.
    pub(super) fn new(total: Option<Millis>, shown: bool) -> SoundBar {
        let bar = (shown && terminal::stderr_takes_bars()).then(ProgressBar::hidden);
        SoundBar { bar, total, began: Instant::now() }
    }

    pub(super) fn report(&mut self, heard: Millis, rtf: f64) {
        let Some(bar) = &mut self.bar else { return };
        if bar.is_hidden() && self.began.elapsed() >= SHOWN_AFTER {
            *bar = match self.total {
                Some(total) => {
                    let bar = styled("{msg} {wide_bar} {percent}% {eta}");
                    bar.set_length(total.0);
                    bar
                }
                None => styled("{msg} {spinner}"),
            };
        }
        bar.set_position(heard.0);
        bar.set_message(format!("{} heard, {rtf:.2}x real time", clock_time(heard)));
    }
}

impl SoundBar {
    /// Prints lines on standard error, above the bar.
    pub(super) fn lines(&self, lines: &[String]) {
        let print = || lines.iter().for_each(eprint_line);
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for SoundBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar for items that are done one after another.
pub(super) struct ItemBar {
    bar: ProgressBar,
}

impl ItemBar {
    pub(super) fn new(total: u64) -> ItemBar {
        let bar = styled("{msg} {wide_bar} {pos}/{len} {eta}");
        bar.set_length(total);
        ItemBar { bar }
    }

    /// Shows what is being done.
    pub(super) fn report(&mut self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Counts one item as done.
    pub(super) fn done(&mut self) {
        self.bar.inc(1);
    }
}

impl Drop for ItemBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn styled(template: &str) -> ProgressBar {
    let target = match terminal::stderr_takes_bars() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// `1:02:03` or `02:03`.
pub(super) fn clock_time(time: Millis) -> String {
    let seconds = time.0 / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes:02}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
