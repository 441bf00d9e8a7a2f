//! Timings of this project next to PyTorch's, in one run on one machine; all methods on the same concepts;
//! what the method's free choices do; and whether the paper's theorems hold.
//!
//! ```text
//! cargo run --release -p seqlora-benchmarks -- compare [--only ROW]... [--json FILE]
//! cargo run --release -p seqlora-benchmarks -- blind --demo DIR --out DIR
//! cargo run --release -p seqlora-benchmarks -- sweep --work DIR [--only NAME]... [--json FILE]
//! cargo run --release -p seqlora-benchmarks -- methods --work DIR [--part I/N] [--json FILE]
//! cargo run --release -p seqlora-benchmarks -- plots RESULTS... --out DIR
//! cargo run --release -p seqlora-benchmarks -- order --demo DIR --work DIR [--part I/N] [--json FILE]
//! cargo run --release -p seqlora-benchmarks -- interference --demo DIR --bank DIR --work DIR [--json FILE]
//! cargo run --release -p seqlora-benchmarks -- scale --model DIR --work DIR [--fusions NAME,...]
//! cargo run --release -p seqlora-benchmarks -- convergence [--out DIR]
//! cargo run --release -p seqlora-benchmarks -- forgetting [--csv FILE]
//! ```

#[path = "../../bin/src/allocator.rs"]
mod allocator;
mod blind;
mod compare;
mod convergence;
mod failure;
mod finished_demo;
mod forgetting;
mod interference;
mod least_squares;
mod measure;
mod operations;
mod order;
mod peer;
mod program;
mod row;
mod scale;
mod variants;
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
    Sweep(variants::sweep::Options),
    /// Learns concepts of the toy world by every method, fuses where a method does, and evaluates them all.
    Methods(variants::methods::Options),
    /// Draws what `methods` found: scores over the number of concepts, the order and seconds.
    Plots(variants::plots::Options),
    /// Learns the same concepts in several orders with several seeds, and compares the variances.
    Order(order::Options),
    /// Compares what `audit` says of each pair of concepts with what they do to each other's images.
    Interference(interference::Options),
    /// Measures what up to 101 concepts cost on a model of Stable Diffusion's size.
    Scale(scale::Options),
    /// Descends on a small network under the conditions of the paper's first theorem, and checks it.
    Convergence(convergence::Options),
    /// Compares what concepts do to each other's inputs with the bound of the paper's second theorem.
    Forgetting(forgetting::Options),
}

fn main() -> Result<(), Failure> {
    allocator::keep_freed_memory();
    match Command::parse() {
        Command::Blind(options) => options.run(),
        Command::Compare(options) => options.run(),
        Command::Sweep(options) => options.run(),
        Command::Methods(options) => options.run(),
        Command::Plots(options) => options.run(),
        Command::Order(options) => options.run(),
        Command::Interference(options) => options.run(),
        Command::Scale(options) => options.run(),
        Command::Convergence(options) => options.run(),
        Command::Forgetting(options) => options.run(),
    }
}
