//! Exactly what can be typed. The doc comments are the help texts as shown, not Markdown.
#![allow(rustdoc::invalid_html_tags, rustdoc::broken_intra_doc_links)]

mod audit;
mod bank;
mod compute;
mod evaluate;
mod export;
mod fuse;
mod generate;
mod import;
mod learn;
mod memory_choice;
mod model;
mod parse;
mod reference;
mod shard;
mod world;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Parser, Subcommand};

pub use self::audit::Audit;
pub use self::bank::{Bank, BankCommand, MergeBanks, RemoveConcept};
pub use self::compute::Compute;
pub use self::evaluate::{Evaluate, Named};
pub use self::export::{Export, ExportFormat};
pub use self::fuse::Fuse;
pub use self::generate::{Generate, Lora, MOST_IMAGES, Region};
pub use self::import::Import;
pub use self::learn::{Learn, Previews};
pub use self::memory_choice::MemoryChoice;
pub use self::model::Model;
pub use self::reference::{Completions, Reference, ReferenceFormat};
pub use self::world::{Demo, Part, Pretrain};
use crate::terminal::{Verbosity, print_error};

/// Teach a Stable Diffusion model one concept after another, and generate with all of them.
#[derive(Debug, Parser)]
#[command(name = "seqlora", version, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
    /// Print the result as one JSON value on standard output instead of text; errors have the key
    /// `error`
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub quiet: bool,
    /// Print details, such as each layer that is trained
    #[arg(short, long, global = true, help_heading = "Output")]
    pub verbose: bool,
}

impl Args {
    /// How much the user wants to read.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// Prints help, or what is wrong with the command line; with `--json` that also as JSON.
pub fn explain(error: &clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    let arguments = env::args_os().skip(1).take_while(|argument| argument != "--");
    if error.use_stderr() && arguments.into_iter().any(|argument| argument == "--json") {
        let text = error.to_string();
        // What follows the first empty line is how the command is used.
        let text = text.split("\n\n").next().unwrap_or_default();
        print_error(text.strip_prefix("error: ").unwrap_or(text).trim(), None, code);
    }
    // Nothing can be told to someone who has closed the terminal.
    let _ = error.print();
    ExitCode::from(code)
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Learn concepts one after another and add them to a bank
    Learn(Box<Learn>),
    /// Generate images with any of a bank's concepts
    Generate(Box<Generate>),
    /// Generate images of all concepts, score them, and report
    Evaluate(Box<Evaluate>),
    /// Make one weight per layer of several concepts of a bank
    Fuse(Box<Fuse>),
    /// Write concepts as files of A1111, ComfyUI, kohya, diffusers and PEFT
    Export(Export),
    /// Add an adapter of another tool to a bank, as one of its concepts
    Import(Box<Import>),
    /// Show what is in a bank, an adapter of any tool, or a file of tensors
    Inspect(Inspect),
    /// Tell whether adapters interfere with each other
    Audit(Box<Audit>),
    /// List, verify or remove the concepts of a bank, or merge banks
    Bank(Bank),
    /// List the devices this program can use
    Devices,
    /// Learn concepts of a toy world in sequence with the built-in model, offline, and report
    Demo(Box<Demo>),
    /// Train a small base model from scratch on the toy world
    Pretrain(Box<Pretrain>),
    /// Print a script that completes commands and options in a shell
    Completions(Completions),
    /// Print all commands and options as a page, or as man pages
    Reference(Reference),
}

#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// A bank, an adapter of kohya, diffusers, PEFT or Mix-of-Show, or a safetensors or PyTorch file
    pub path: PathBuf,
}
