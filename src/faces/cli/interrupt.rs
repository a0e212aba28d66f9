//! Ctrl-C (and SIGTERM): once, and the stream is finished cleanly; twice, or where nothing would be lost,
//! and the program leaves at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::error::INTERRUPTED;
use super::live;

static ASKED: AtomicBool = AtomicBool::new(false);
static STREAMING: AtomicBool = AtomicBool::new(false);

/// Starts to listen for it.
pub fn watch() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        let again = ASKED.swap(true, Ordering::SeqCst);
        if again || !STREAMING.load(Ordering::SeqCst) {
            live::restore_terminal();
            std::process::exit(INTERRUPTED.into());
        }
    })
}

/// Whether the user asked to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// From here on there is output to be finished.
pub fn streaming(on: bool) {
    STREAMING.store(on, Ordering::SeqCst);
}
