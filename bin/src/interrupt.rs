//! Ctrl-C: the first one asks the running command to save and stop, the second one ends it.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts to listen.
pub fn install() {
    let listening = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to stop at once");
    });
    // Without a handler Ctrl-C ends the process at once, and a checkpoint is still there.
    if let Err(error) = listening {
        eprintln!("warning: Ctrl-C will not save the state: {error}");
    }
}

/// Whether Ctrl-C was pressed.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
