//! Waiting for work that may block for long, while Ctrl-C is obeyed.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;
use crate::interrupt;

/// How often Ctrl-C is looked for.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long work may go on after Ctrl-C, to come to an end of its own.
const GRACE: Duration = Duration::from_secs(1);

/// Does the work in a thread of its own. After Ctrl-C it is waited for a second, then left alone: the
/// process is about to end.
///
/// # Errors
/// Those of the work, or [`Failure::Interrupted`].
pub fn interruptibly<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Nobody waits any more after Ctrl-C.
        let _ = sender.send(work());
    });
    loop {
        match receiver.recv_timeout(INTERVAL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) if interrupt::requested() => {
                return receiver.recv_timeout(GRACE).unwrap_or_else(|_| Err(stopped()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Failed("the download ended without a result".into()));
            }
        }
    }
}

/// Ctrl-C during a download.
pub fn stopped() -> Failure {
    let text = "stopped; what is downloaded is kept, and the same command goes on";
    Failure::Interrupted(text.into())
}
