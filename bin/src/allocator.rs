//! The process's allocator, shared with the benchmarks.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, for which libmimalloc-sys has no name.
const PURGE_DELAY: mi_option_t = 15;

/// Instead of after so many milliseconds.
const NEVER: c_long = -1;

/// Has freed memory stay with the process until it ends, instead of a second (mimalloc 3), unless
/// `MIMALLOC_PURGE_DELAY` says otherwise.
///
/// A training step takes the same memory as the one before: docs/decisions/0006.
pub fn keep_freed_memory() {
    // SAFETY: it writes a number to a table that has this option, in mimalloc 2 and 3 alike.
    #[expect(unsafe_code, reason = "a C function")]
    unsafe {
        mi_option_set_default(PURGE_DELAY, NEVER);
    }
}
