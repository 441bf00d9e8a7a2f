//! `seqlora fuse`: which concepts are fused, and how.

use std::path::PathBuf;

use burn_seqlora::Shard;
use burn_seqlora::fusion::NAMES;
use clap::Args as ClapArgs;
use clap::builder::PossibleValuesParser;

use super::compute::Compute;
use super::generate::MOST_STEPS;
use super::model::Model;
use super::parse::count;
use super::shard::parse_shard;

#[derive(Debug, ClapArgs)]
pub struct Fuse {
    #[command(flatten)]
    pub model: Model,
    /// The bank with the concepts
    #[arg(long, value_name = "FOLDER")]
    pub bank: PathBuf,
    /// A concept to fuse, with its strength; can be repeated [default: all of the bank, at 1]
    #[arg(long, value_name = "ID[=SCALE]")]
    pub concept: Vec<String>,
    /// sum, mean, or on inputs that are recorded first: least-squares, mix-of-show, loraclr
    #[arg(long, value_parser = PossibleValuesParser::new(NAMES), hide_possible_values = true)]
    pub method: String,
    /// Sampling steps of the image whose inputs are recorded for each concept
    #[arg(long, default_value_t = 20, value_parser = count::<MOST_STEPS>)]
    pub steps: usize,
    /// Make one LoRA of this rank of the result, and tell what that loses
    #[arg(long, value_parser = count::<MOST_RANK>)]
    pub rank: Option<usize>,
    /// Do part I of N of the work in the folder FILE.unfinished, which machines share; again until all is done, and then once
    /// without it; `auto` and `auto/N` read I and N as `learn` does
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub shard: Option<Shard>,
    /// The file with the changed weights, which `generate --fused` takes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Start even if the memory will probably not suffice
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// No layer has more inputs or outputs.
const MOST_RANK: usize = 1 << 16;
