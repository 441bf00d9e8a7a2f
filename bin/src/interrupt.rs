//! Ctrl-C ends the program at once, unless a command has work that it would lose: then the first one asks
//! it to save and stop, and the second one ends it.
//!
//! Files are written so that a process may end at any moment, so only work that is in memory counts.

use std::fs;
use std::path::PathBuf;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use burn_seqlora::Flow;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// How many [`Hold`]s there are.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Temporary folders, which nothing else removes when the program ends at once.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes a folder if Ctrl-C ends the program at once.
pub fn remove_when_stopped(folder: PathBuf) {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
}

/// Ends the program.
fn stop() -> ! {
    for folder in TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // The program's own, or the system's to clean up.
        let _ = fs::remove_dir_all(folder);
    }
    exit(130)
}

/// Starts to listen.
pub fn install() {
    #[cfg(unix)]
    let _hang_up = IgnoredHangUp::remembered();
    let listening = ctrlc::set_handler(|| {
        let again = REQUESTED.swap(true, Ordering::SeqCst);
        if HELD.load(Ordering::SeqCst) == 0 {
            eprintln!("\nstopped");
            stop();
        }
        if again {
            stop();
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to stop at once");
    });
    // Without a handler Ctrl-C ends the process at once, and a checkpoint is still there.
    if let Err(error) = listening {
        eprintln!("warning: Ctrl-C will not save the state: {error}");
    }
}

/// While it lives, Ctrl-C waits until the command asks for [`flow`] or [`requested`].
#[derive(Debug)]
pub struct Hold(());

/// For work that a command would lose.
pub fn hold() -> Hold {
    HELD.fetch_add(1, Ordering::SeqCst);
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `nohup` lets a process ignore that its terminal is closed; when this is dropped, it still does.
#[cfg(unix)]
struct IgnoredHangUp(bool);

#[cfg(unix)]
#[expect(unsafe_code, reason = "signals have no safe interface")]
impl IgnoredHangUp {
    fn remembered() -> Self {
        // SAFETY: without a new action this only asks for the present one.
        let ignored = unsafe {
            let mut action = std::mem::zeroed::<libc::sigaction>();
            libc::sigaction(libc::SIGHUP, std::ptr::null(), &mut action) == 0
                && action.sa_sigaction == libc::SIG_IGN
        };
        Self(ignored)
    }
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "signals have no safe interface")]
impl Drop for IgnoredHangUp {
    fn drop(&mut self) {
        if self.0 {
            // SAFETY: no handler is given that could run.
            unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        }
    }
}

/// Whether Ctrl-C was pressed.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// What whoever shows progress answers: to stop after Ctrl-C.
pub fn flow() -> Flow {
    if requested() { Flow::Stop } else { Flow::Continue }
}
