//! Signals that ask the program to stop: Ctrl-C, SIGTERM, and the SIGHUP of a terminal that goes away. At the first one
//! the stream is finished cleanly. At the second, or where nothing would be lost, the program leaves at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::INTERRUPTED;
use super::live;

static ASKED: AtomicBool = AtomicBool::new(false);
static STREAMING: AtomicBool = AtomicBool::new(false);

/// Starts to listen for them. A signal that the program was started to ignore (`nohup`, or `&` in a script) stays ignored.
#[cfg(unix)]
pub fn watch() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
    let mut signals = signal_hook::iterator::Signals::new(heeded)?;
    // A terminal that goes away can send SIGHUP twice, once by its shell: that is no second request.
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|signal| stop(signal != SIGHUP)))
        .map(drop)
}

#[cfg(unix)]
fn is_ignored(signal: std::ffi::c_int) -> bool {
    // SAFETY: without a new action `sigaction` changes nothing, and it fills `now`, a plain struct of the C library for
    // which zeros are valid.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// Starts to listen for Ctrl-C, and for the console window being closed.
#[cfg(windows)]
pub fn watch() -> io::Result<()> {
    ctrlc::set_handler(|| stop(true)).map_err(io::Error::other)
}

/// `counts`: it is a request of its own, and the second one leaves at once.
fn stop(counts: bool) {
    let again = ASKED.swap(true, Ordering::SeqCst);
    if again && counts || !STREAMING.load(Ordering::SeqCst) {
        live::restore_terminal();
        std::process::exit(INTERRUPTED.into());
    }
}

/// Whether somebody asked to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// From here on there is output to be finished.
pub fn streaming(on: bool) {
    STREAMING.store(on, Ordering::SeqCst);
}
