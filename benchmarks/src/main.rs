//! Timings of this project beside PyTorch's, in one run on one machine.
//!
//! ```text
//! cargo run --release -p seqlora-benchmarks -- compare [--only ROW]... [--json FILE]
//! ```

mod compare;
mod measure;
mod operations;
mod peer;
mod row;
mod whole_model;

use clap::Parser;

/// Keeps freed memory: with the system's allocator every large tensor costs page faults again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

/// Benchmarks of seqlora.
#[derive(Debug, Parser)]
enum Command {
    /// Runs rows here and in PyTorch by turns, and prints the ratios.
    Compare(compare::Options),
}

fn main() -> Result<(), Failure> {
    let Command::Compare(options) = Command::parse();
    options.run()
}
