//! Exactly what can be typed. The doc comments are the help texts as shown, not Markdown.
#![allow(rustdoc::invalid_html_tags, rustdoc::broken_intra_doc_links)]

mod generate;
mod learn;
mod model;
mod parse;
mod world;

use std::path::PathBuf;

use burn_seqlora::precision::Precision;
use clap::{Args as ClapArgs, Parser, Subcommand};

pub use self::generate::{Generate, Region};
pub use self::learn::Learn;
pub use self::model::Model;
use self::parse::parse_name;
pub use self::world::{Demo, Part, Pretrain};
use crate::device::Device;
use crate::terminal::Verbosity;

/// Teach a Stable Diffusion model one concept after another, and generate with all of them.
#[derive(Debug, Parser)]
#[command(name = "seqlora", version, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
    /// Print a JSON summary on standard output instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print details, such as each layer that is trained
    #[arg(short, long, global = true)]
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

/// What all commands share.
#[derive(Debug, ClapArgs)]
pub struct Global {
    /// Where to compute: cpu, wgpu[:N] or cuda[:N]
    #[arg(long, global = true, default_value = "cpu")]
    pub device: Device,
    /// Seed of everything random [default: 0]
    #[arg(long, global = true)]
    pub seed: Option<u64>,
    /// What UNet and text encoder compute in: f32, f16 or bf16 (pretrain: f32 or bf16) [default: f32]
    #[arg(long, global = true, value_parser = parse_name::<Precision>)]
    pub precision: Option<Precision>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Learn concepts one after another and add them to a bank
    Learn(Box<Learn>),
    /// Generate images with any of a bank's concepts
    Generate(Box<Generate>),
    /// Show what is in a bank or a safetensors file
    Inspect(Inspect),
    /// List the devices this program can use
    Devices,
    /// Learn concepts of a toy world in sequence with the built-in model, offline, and report
    Demo(Demo),
    /// Train a small base model from scratch on the toy world
    Pretrain(Pretrain),
}

#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// A bank or a safetensors file
    pub path: PathBuf,
}
