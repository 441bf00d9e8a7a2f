//! Every parser of files that strangers may have made, as a function of bytes.
//!
//! A [`Target`] reads a folder of small, good files in which an input replaces some. It may refuse the
//! input or accept it, but it must not panic, hang, or allocate more than [`Guard`] allows.
//! `fuzz_targets/` gives the targets to libFuzzer; `tests/replay.rs` gives them the files in `corpus/`,
//! among them everything that was found, and seeded mutations of these files.
//!
//! ```text
//! cargo run --release -p seqlora-fuzz --example seeds -- SEEDS
//! cargo fuzz run --fuzz-dir tests/fuzz -s none --features libfuzzer bank FOUND tests/fuzz/corpus/bank SEEDS/bank
//! ```

mod guard;
mod input;
mod mutator;
mod target;
mod targets;

#[cfg(feature = "libfuzzer")]
pub use libfuzzer_sys;

pub use guard::{Guard, LIMIT, begin, busy};
pub use mutator::Mutator;
pub use target::Target;
pub use targets::TARGETS;

/// The target with this name.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("it is in the list")
}

/// A whole fuzz target for libFuzzer.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        #[global_allocator]
        static GUARD: $crate::Guard = $crate::Guard;

        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            $crate::target($name).run(input);
        });
    };
}
