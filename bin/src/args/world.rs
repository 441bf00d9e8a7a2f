//! `seqlora demo` and `seqlora pretrain`: the toy world.

use std::path::PathBuf;

use burn_seqlora::methods::NAMES;
use burn_seqlora::toy_world::world::Class;
use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, value_parser};

use super::compute::Compute;

#[derive(Debug, ClapArgs)]
pub struct Demo {
    /// Where the report, images and banks go; an interrupted demo there goes on
    #[arg(long, default_value = "seqlora-demo", value_name = "FOLDER")]
    pub out: PathBuf,
    /// How many concepts are learnt, 2 to 101
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u8).range(2..=101))]
    pub concepts: u8,
    /// Take concepts of this class only, such as `mug`, of which there are 11; otherwise every fourth concept
    /// is of the class of the one before it
    #[arg(long, value_name = "WORD", value_parser = PossibleValuesParser::new(Class::ALL.map(Class::word)))]
    pub class: Option<String>,
    /// Images of each concept that are sampled with each method, just learnt and at the end
    #[arg(long, alias = "pictures", value_name = "N", default_value_t = 4, value_parser = value_parser!(u8).range(1..=64))]
    pub images: u8,
    /// Minibatches per concept [default: 60]
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Methods to compare
    #[arg(long, value_parser = PossibleValuesParser::new(NAMES), value_delimiter = ',', default_value = "seqlora,alternating,lora")]
    pub method: Vec<String>,
    /// Settings as TOML, as `learn` takes them; what it leaves out keeps the demo's value, and
    /// `--method` and `--concepts` win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take a small model with random weights and compare shrunken images instead of embeddings: it
    /// shows that everything runs, not what is learnt
    #[arg(long)]
    pub untrained: bool,
    #[command(flatten)]
    pub compute: Compute,
}

#[derive(Debug, ClapArgs)]
pub struct Pretrain {
    /// Folder for the model, the training states and the previews
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Settings as a TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Part to train; may be repeated [default: all parts in order]
    #[arg(long, value_enum)]
    pub part: Vec<Part>,
    /// Start from the weights of this model, `builtin` or a folder, instead of random weights
    #[arg(long, value_name = "MODEL")]
    pub from: Option<PathBuf>,
    /// Resume an interrupted run
    #[arg(long)]
    pub resume: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// A part of the model, in the order of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The classifier of the toy world's images, which measures the other parts; needs no other part
    #[value(alias = "judge")]
    Classifier,
    /// The VAE
    Autoencoder,
    /// The text encoder, on captions alone
    TextEncoder,
    /// The UNet and the text encoder together; needs the autoencoder and the text encoder
    Denoiser,
    /// The model card: measures all other parts and writes the results, training curves and
    /// checksums
    Card,
}
