//! An allocator with a limit, and the name of the input that is being read.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes that may be allocated at a time: a thousand times what any input has.
pub const LIMIT: usize = 256 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static INPUT: Mutex<Option<(String, Instant)>> = Mutex::new(None);

/// The system's allocator, which refuses more than [`LIMIT`] bytes. Most code cannot go on then, and ends
/// the process; so the input is named before.
#[derive(Debug)]
pub struct Guard;

/// Says which input is read from now on.
pub fn begin(input: &str) {
    *INPUT.lock().expect("nothing panics with it") = Some((input.into(), Instant::now()));
}

/// The input that is being read, and for how long it has been.
pub fn busy() -> Option<(String, Duration)> {
    let input = INPUT.lock().expect("nothing panics with it");
    input.as_ref().map(|(name, since)| (name.clone(), since.elapsed()))
}

/// Whether there is room for a number of bytes, which are then taken.
fn take(bytes: usize) -> bool {
    if LIVE.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= LIMIT {
        return true;
    }
    give(bytes);
    // The test harness would keep what `eprintln!` says to itself, and lose it when the process ends.
    let mut stderr = std::io::stderr();
    let _ = match INPUT.try_lock().as_deref() {
        Ok(Some((name, _))) => writeln!(stderr, "{name} asks for {bytes} bytes more"),
        _ => writeln!(stderr, "an input asks for {bytes} bytes more"),
    };
    false
}

fn give(bytes: usize) {
    LIVE.fetch_sub(bytes, Ordering::Relaxed);
}

// SAFETY: memory comes from the system's allocator, which is called with the caller's own arguments.
#[expect(unsafe_code, reason = "an allocator has no safe interface")]
unsafe impl GlobalAlloc for Guard {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match take(layout.size()) {
            // SAFETY: as the caller promises.
            true => unsafe { System.alloc(layout) },
            false => std::ptr::null_mut(),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match take(layout.size()) {
            // SAFETY: as the caller promises.
            true => unsafe { System.alloc_zeroed(layout) },
            false => std::ptr::null_mut(),
        }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !take(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        let new = unsafe { System.realloc(old, layout, size) };
        give(if new.is_null() { size } else { layout.size() });
        new
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}
