//! `seqlora demo` and `seqlora pretrain`: the drawn world.

use std::path::PathBuf;

use burn_seqlora::methods::NAMES;
use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, value_parser};

#[derive(Debug, ClapArgs)]
pub struct Demo {
    /// Where the report, images and banks go; an interrupted demo there goes on
    #[arg(long, default_value = "seqlora-demo", value_name = "FOLDER")]
    pub out: PathBuf,
    /// How many concepts are learnt, 2 to 101
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u8).range(2..=101))]
    pub concepts: u8,
    /// Images of each concept that are sampled with each method, just learnt and at the end
    #[arg(long, alias = "pictures", value_name = "N", default_value_t = 4, value_parser = value_parser!(u8).range(1..=64))]
    pub images: u8,
    /// Minibatches per concept [default: 80]
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Methods to compare
    #[arg(long, value_parser = PossibleValuesParser::new(NAMES), value_delimiter = ',', default_value = "seqlora,lora")]
    pub method: Vec<String>,
    /// Settings as TOML, as `learn` takes them; what it leaves out keeps the demo's value, and
    /// `--method` and `--concepts` win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take a small model with random weights and compare shrunken images instead of embeddings: it
    /// shows that everything runs, not what is learnt
    #[arg(long)]
    pub untrained: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Pretrain {
    /// Where the model, the states and the previews go
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Settings as TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to train [default: all, one after another]
    #[arg(long, value_enum)]
    pub part: Vec<Part>,
    /// Begin with this model's weights, `builtin` or a folder, instead of random ones
    #[arg(long, value_name = "MODEL")]
    pub from: Option<PathBuf>,
    /// Go on with an interrupted run
    #[arg(long)]
    pub resume: bool,
}

/// A part of the base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The VAE
    Autoencoder,
    /// The text encoder, on captions alone
    TextEncoder,
    /// UNet and text encoder together; needs the VAE and the text encoder
    Denoiser,
    /// What tells which objects pictures show; needs no other part
    Judge,
    /// Measures the others, all of which are needed, and writes what they can do, their curves and
    /// digests beside them
    Card,
}
