//! What this machine has: its processor and its memory.

use std::fs;
use std::thread::available_parallelism;

/// The memory of the machine, in bytes, as far as this process may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
}

/// The threads that run at once.
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// The memory, within the limits of the control groups that containers and batch systems set; `None`
/// where the system does not tell.
pub fn memory() -> Option<Memory> {
    let Memory { total, available } = of_system()?;
    let limit = limits().min().unwrap_or(u64::MAX);
    Some(Memory { total: total.min(limit), available: available.min(limit) })
}

/// The name of the processor, where the system tells it.
#[cfg(target_os = "linux")]
pub fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

#[cfg(not(target_os = "linux"))]
pub fn processor() -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
fn of_system() -> Option<Memory> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let number = line.strip_prefix(':')?.trim().strip_suffix(" kB")?;
        Some(number.parse::<u64>().ok()? << 10)
    };
    Some(Memory { total: bytes("MemTotal")?, available: bytes("MemAvailable")? })
}

/// `hw.memsize`. macOS compresses and swaps, so all of it counts as available.
#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "a C function")]
fn of_system() -> Option<Memory> {
    let (mut total, mut size) = (0_u64, size_of::<u64>());
    // SAFETY: the value has eight bytes, and `size` says so.
    let failed = unsafe {
        let value = std::ptr::from_mut(&mut total).cast();
        libc::sysctlbyname(c"hw.memsize".as_ptr(), value, &mut size, std::ptr::null_mut(), 0)
    };
    (failed == 0).then_some(Memory { total, available: total })
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn of_system() -> Option<Memory> {
    None
}

/// The limits of the control groups that this process is in: version 2 with its parents, and version 1.
fn limits() -> impl Iterator<Item = u64> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_string();
    let parents = own.match_indices('/').map(|(at, _)| own[..at].to_string());
    let second: Vec<String> = parents.chain([own.clone()]).collect();
    let second = second.into_iter().map(|group| format!("/sys/fs/cgroup{group}/memory.max"));
    let first = "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_string();
    second.chain([first]).filter_map(|file| number_in(&file))
}

/// The number in a file; a limit of `max` is none.
fn number_in(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_memory() {
        let Memory { total, available } = memory().expect("Linux tells it");
        assert!(available <= total && total > 64 << 20, "{total} {available}");
        assert!(cores() > 0);
    }
}
