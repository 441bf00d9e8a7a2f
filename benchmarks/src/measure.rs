//! Seconds and peak memory of a piece of work.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What one run of a row took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Measurement {
    /// Seconds of one run.
    pub seconds: f64,
    /// The largest memory in use meanwhile, weights included; `None` where it cannot be told.
    pub peak_bytes: Option<u64>,
}

/// Runs `work` a number of times within one timing.
pub fn measure(repeat: usize, mut work: impl FnMut()) -> Measurement {
    // "5" resets the peak to what is resident now.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let start = Instant::now();
    for _ in 0..repeat {
        work();
    }
    let seconds = start.elapsed().as_secs_f64() / repeat as f64;
    Measurement { seconds, peak_bytes: peak_bytes(Path::new("/proc/self/status")) }
}

/// Largest resident memory of a process since it began or the last reset (Linux), by its status file; `None`
/// if it has ended, and elsewhere.
pub fn peak_bytes(status: &Path) -> Option<u64> {
    let status = fs::read_to_string(status).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// How many threads can run at once.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
