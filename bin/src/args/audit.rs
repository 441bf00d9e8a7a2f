//! `seqlora audit`: which adapters are compared, and on what.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::compute::Compute;
use super::generate::MOST_STEPS;
use super::model::Model;
use super::parse::count;

// Other commands require the model.
#[derive(Debug, ClapArgs)]
#[command(mut_arg("model", |model| model.required(false)))]
pub struct Audit {
    /// Banks, or adapters in a known format (native, kohya, diffusers, PEFT, Mix-of-Show)
    #[arg(required = true, value_name = "BANK")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub model: Option<Model>,
    /// The prompt whose inputs count for a concept; can be repeated [default: "photo of a <ID>" and
    /// "<ID>"; none for adapters outside of banks]
    #[arg(long, value_name = "ID=TEXT")]
    pub prompt: Vec<String>,
    /// Prompts about anything but concepts, one on each line [default: six]
    #[arg(long, value_name = "FILE")]
    pub common_prompts: Option<PathBuf>,
    /// Sampling steps of the image whose inputs are recorded for each prompt; text encoder, keys and
    /// values do not depend on it
    #[arg(long, default_value_t = 4, value_parser = count::<MOST_STEPS>)]
    pub steps: usize,
    /// Show so many of the worst pairs; JSON has all
    #[arg(long, default_value_t = 10, value_parser = count::<1_000_000>)]
    pub pairs: usize,
    #[command(flatten)]
    pub compute: Compute,
}
