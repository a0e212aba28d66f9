//! Signals that ask the program to stop: Ctrl-C, SIGTERM, and the SIGHUP of a closing terminal. At
//! the first signal the stream is finished cleanly, or the sessions of a server. At the second one,
//! or where no output would be lost, the program exits at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::INTERRUPTED;
use super::live;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static STREAMING: AtomicBool = AtomicBool::new(false);
#[cfg(feature = "server")]
static SERVING: AtomicBool = AtomicBool::new(false);

/// Starts to listen for the signals. A signal that was ignored when the program started (by
/// `nohup`, or `&` in a script) stays ignored.
#[cfg(unix)]
pub(super) fn watch() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let awaited = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
    let mut signals = signal_hook::iterator::Signals::new(awaited)?;
    // A closing terminal can send SIGHUP twice, once through its shell. That is not a second
    // request.
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|signal| stop(signal != SIGHUP)))
        .map(drop)
}

#[cfg(unix)]
fn is_ignored(signal: std::ffi::c_int) -> bool {
    // SAFETY: `sigaction` without a new action changes nothing. It fills `now`, a plain C struct
    // for which zeros are valid.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// Starts to listen for Ctrl-C and for the closing of the console window.
#[cfg(windows)]
pub fn watch() -> io::Result<()> {
    ctrlc::set_handler(|| stop(true)).map_err(io::Error::other)
}

/// Asks the run to stop. A `separate` signal counts as a request of its own, and the second request
/// exits at once.
fn stop(separate: bool) {
    #[cfg(feature = "server")]
    if !separate && SERVING.load(Ordering::SeqCst) {
        return; // a server reads its tokens again
    }
    let again = REQUESTED.swap(true, Ordering::SeqCst);
    if again && separate || !STREAMING.load(Ordering::SeqCst) {
        live::restore_terminal();
        std::process::exit(INTERRUPTED.into());
    }
}

/// Whether a signal has asked the program to stop.
pub(super) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Says whether there is output that must be finished.
pub(super) fn set_streaming(on: bool) {
    STREAMING.store(on, Ordering::SeqCst);
}

/// Says that the program is a server, which SIGHUP does not end.
#[cfg(feature = "server")]
pub(super) fn set_serving() {
    SERVING.store(true, Ordering::SeqCst);
}
