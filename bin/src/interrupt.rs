//! Ctrl-C: the first one asks the running command to save and stop, the second one ends it.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts to listen.
pub fn install() {
    #[cfg(unix)]
    let _hang_up = IgnoredHangUp::remembered();
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
