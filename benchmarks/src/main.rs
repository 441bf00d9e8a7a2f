//! Timings of this project next to PyTorch's, in one run on one machine; and what the method's free
//! choices do.
//!
//! ```text
//! cargo run --release -p seqlora-benchmarks -- compare [--only ROW]... [--json FILE]
//! cargo run --release -p seqlora-benchmarks -- blind --demo DIR --out DIR
//! cargo run --release -p seqlora-benchmarks -- sweep --work DIR [--only NAME]... [--json FILE]
//! ```

#[path = "../../bin/src/allocator.rs"]
mod allocator;
mod blind;
mod compare;
mod failure;
mod measure;
mod operations;
mod peer;
mod row;
mod sweep;
mod whole_model;

use clap::Parser;

use failure::Failure;

/// Benchmarks of seqlora.
#[derive(Debug, Parser)]
enum Command {
    /// Draws line-ups of a demo's images, shuffled, for somebody who does not know the key.
    Blind(blind::Options),
    /// Runs rows here and in PyTorch by turns, and prints the ratios.
    Compare(compare::Options),
    /// Learns concepts of the toy world in several ways, and prints what became of them.
    Sweep(sweep::Options),
}

fn main() -> Result<(), Failure> {
    allocator::keep_freed_memory();
    match Command::parse() {
        Command::Blind(options) => options.run(),
        Command::Compare(options) => options.run(),
        Command::Sweep(options) => options.run(),
    }
}
