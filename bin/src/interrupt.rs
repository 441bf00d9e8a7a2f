//! Ctrl-C ends the program at once, unless a command has work that it would lose: then the first one asks
//! it to save and stop, and the second one ends it. A command that can keep what it has while a step still runs is
//! ended as soon as the step takes longer than [`PATIENCE`].
//!
//! Files are written so that a process may end at any moment, so only work that is in memory counts.

use std::fs;
use std::path::PathBuf;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use burn_seqlora::Flow;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// How many [`Hold`]s there are.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// How long a step may take to end, if it need not end.
const PATIENCE: Duration = Duration::from_millis(1200);

/// What a command keeps if its step need not end.
type Finish = Box<dyn FnOnce() + Send>;

static FINISH: Mutex<Option<Finish>> = Mutex::new(None);

/// Temporary folders, which nothing else removes when the program ends at once.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes a folder if Ctrl-C ends the program at once.
pub fn remove_when_stopped(folder: PathBuf) {
    lock(&TEMPORARY).push(folder);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the program.
fn stop() -> ! {
    for folder in lock(&TEMPORARY).iter() {
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
        if lock(&FINISH).is_none() {
            eprintln!("\nstopping after this step; press Ctrl-C again to stop at once");
        } else {
            eprintln!("\nstopping; press Ctrl-C again to stop at once");
            // Beside this handler, which has to notice the second Ctrl-C.
            thread::spawn(finish_soon);
        }
    });
    // Without a handler Ctrl-C ends the process at once, and a checkpoint is still there.
    if let Err(error) = listening {
        eprintln!("warning: Ctrl-C will not save the state: {error}");
    }
}

/// Waits for a step to end, and ends the program if it does not.
fn finish_soon() {
    let start = Instant::now();
    while HELD.load(Ordering::SeqCst) > 0 && start.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20));
    }
    // A command that ends meanwhile waits for the lock, and keeps nothing a second time.
    let mut finish = lock(&FINISH);
    if let Some(finish) = finish.take() {
        finish();
        stop();
    }
}

/// While it lives, Ctrl-C waits until the command asks for [`flow`] or [`requested`].
#[derive(Debug)]
pub struct Hold {
    finishes: bool,
}

/// For work that a command would lose.
pub fn hold() -> Hold {
    HELD.fetch_add(1, Ordering::SeqCst);
    Hold { finishes: false }
}

/// For work that `finish` keeps, whatever step still runs.
pub fn hold_or(finish: impl FnOnce() + Send + 'static) -> Hold {
    *lock(&FINISH) = Some(Box::new(finish));
    HELD.fetch_add(1, Ordering::SeqCst);
    Hold { finishes: true }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.finishes {
            *lock(&FINISH) = None;
        }
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
