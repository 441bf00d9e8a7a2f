//! Exactly what can be typed. The doc comments are the help texts as shown, not Markdown.
#![allow(rustdoc::invalid_html_tags, rustdoc::broken_intra_doc_links)]

use std::path::{Path, PathBuf};

use burn_seqlora::adapter::SiteSelection;
use burn_seqlora::config::{Method, TrainConfig};
use burn_seqlora::diff::Hvp;
use burn_seqlora::diffusion::{Prediction, SamplerKind};
use burn_seqlora::precision::Precision;
use burn_seqlora::text::TokenScheme;
use clap::{Args as ClapArgs, Parser, Subcommand, value_parser};

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
    /// What the frozen UNet and text encoder compute in: f32, f16 or bf16 [default: f32]
    #[arg(long, global = true, value_parser = parse_name::<Precision>)]
    pub precision: Option<Precision>,
}

/// The base model, as all commands that need one take it.
#[derive(Debug, ClapArgs)]
pub struct Model {
    /// The base model, Stable Diffusion 1.x or 2.x: a diffusers folder, a single .safetensors
    /// file, OWNER/NAME on the Hugging Face hub, or builtin
    #[arg(long, visible_alias = "base", value_name = "MODEL")]
    pub model: PathBuf,
    /// The model's tokenizer [default: `tokenizer` in its folder, or beside its file]
    #[arg(long, value_name = "FOLDER")]
    pub tokenizer: Option<PathBuf>,
    /// What the model predicts, epsilon or v [default: what its files say]
    #[arg(long, value_parser = parse_prediction)]
    pub prediction: Option<Prediction>,
}

impl Model {
    /// The model in a folder.
    pub fn at(folder: &Path) -> Self {
        Self { model: folder.into(), tokenizer: None, prediction: None }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Learn concepts one after another and add them to a bank
    Learn(Box<Learn>),
    /// Generate pictures with any of a bank's concepts
    Generate(Box<Generate>),
    /// Show what is in a bank or a safetensors file
    Inspect(Inspect),
    /// List the devices this program can use
    Devices,
    /// Learn individuals of a drawn world in sequence with the built-in model, offline, and report
    Demo(Demo),
    /// Train a small base model from nothing on a drawn world
    Pretrain(Pretrain),
}

#[derive(Debug, ClapArgs)]
pub struct Learn {
    /// Images: a folder of images, a folder of such folders, a TOML manifest, or
    /// CustomConcept101's dataset.json
    pub data: PathBuf,
    #[command(flatten)]
    pub model: Model,
    /// The bank to add to; made if it is not there
    #[arg(long, value_name = "FOLDER")]
    pub bank: PathBuf,
    /// Settings as TOML; the options below win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Go on with an interrupted run
    #[arg(long)]
    pub resume: bool,
    /// Show what would be trained, and stop
    #[arg(long)]
    pub plan: bool,
    /// The class of a single folder of images, e.g. dog
    #[arg(long = "class", value_name = "WORD")]
    pub class_word: Option<String>,
    /// The id of a single folder of images: its name <ID> in prompts
    #[arg(long)]
    pub id: Option<String>,
    /// Where the folders of a concept list lie
    #[arg(long, value_name = "FOLDER")]
    pub images_root: Option<PathBuf>,
    #[command(flatten)]
    pub train: Train,
}

/// Settings that win over those of `--config`.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Training")]
pub struct Train {
    /// seqlora, alternating, or lora: each concept by itself [default: seqlora]
    #[arg(long, value_parser = parse_name::<Method>)]
    pub method: Option<Method>,
    /// Second derivatives: exact, finite-difference or none [default: exact]
    #[arg(long, value_parser = parse_name::<Hvp>)]
    pub hvp: Option<Hvp>,
    /// Minibatches per concept [default: 250]
    #[arg(long, visible_alias = "max_train_steps")]
    pub steps: Option<usize>,
    /// Images per minibatch [default: 2]
    #[arg(long, visible_alias = "train_batch_size")]
    pub batch: Option<usize>,
    /// Rank of the adapters [default: 4]
    #[arg(long, visible_alias = "network_dim")]
    pub rank: Option<usize>,
    /// K: outer iterations per minibatch [default: 3]
    #[arg(long, value_name = "K")]
    pub outer: Option<usize>,
    /// T: inner steps per outer iteration [default: 2]
    #[arg(long, value_name = "T")]
    pub inner: Option<usize>,
    /// Learning rate in the UNet [default: 1e-4]
    #[arg(long, visible_aliases = ["unet_lr", "learning_rate"])]
    pub lr_unet: Option<f64>,
    /// Learning rate in the text encoder [default: 1e-5]
    #[arg(long, visible_alias = "text_encoder_lr")]
    pub lr_text: Option<f64>,
    /// Learning rate of the concept's token rows [default: 1e-3]
    #[arg(long)]
    pub lr_token: Option<f64>,
    /// Adapted layers: cross-attention, attention or all [default: attention]
    #[arg(long, value_parser = parse_name::<SiteSelection>)]
    pub sites: Option<SiteSelection>,
    /// A concept's words: ed-lora (two, a row per layer) or single [default: ed-lora]
    #[arg(long, value_parser = parse_name::<TokenScheme>)]
    pub tokens: Option<TokenScheme>,
    /// Side of the training images in pixels [default: the model's]
    #[arg(long)]
    pub resolution: Option<usize>,
    /// How many concepts the model will hold in the end; each gets the same capacity
    #[arg(long, value_name = "N")]
    pub concepts: Option<usize>,
    /// Stop if a layer has room for less than the rank, instead of shrinking or skipping it
    #[arg(long)]
    pub strict_capacity: bool,
    /// Save the state after so many steps [default: 50]
    #[arg(long, visible_alias = "checkpointing_steps")]
    pub save_every: Option<usize>,
}

impl Train {
    /// Writes what was typed over `config`.
    pub fn override_config(&self, config: &mut TrainConfig) {
        fn set<T: Copy>(field: &mut T, typed: Option<T>) {
            *field = typed.unwrap_or(*field);
        }
        set(&mut config.method, self.method);
        set(&mut config.hvp, self.hvp);
        set(&mut config.steps, self.steps);
        set(&mut config.batch, self.batch);
        set(&mut config.rank, self.rank);
        set(&mut config.outer, self.outer);
        set(&mut config.inner, self.inner);
        set(&mut config.lr_unet, self.lr_unet);
        set(&mut config.lr_text, self.lr_text);
        set(&mut config.lr_token, self.lr_token);
        set(&mut config.sites, self.sites);
        set(&mut config.tokens, self.tokens);
        set(&mut config.save_every, self.save_every);
        config.resolution = self.resolution.or(config.resolution);
        config.concepts = self.concepts.or(config.concepts);
        config.strict_capacity |= self.strict_capacity;
    }
}

#[derive(Debug, ClapArgs)]
pub struct Generate {
    #[command(flatten)]
    pub model: Model,
    /// The bank with the concepts
    #[arg(long, value_name = "FOLDER")]
    pub bank: Option<PathBuf>,
    /// The prompt; concepts are written <ID>
    #[arg(long)]
    pub prompt: String,
    /// What the picture should not show
    #[arg(long, default_value = "")]
    pub negative: String,
    /// A concept to use, with its strength; can be repeated [default: all of the bank]
    #[arg(long, value_name = "ID[=SCALE]")]
    pub concept: Vec<String>,
    /// A prompt for a box in the picture, its corners in pixels; can be repeated. Where boxes
    /// overlap their prompts share; the prompt is for what is outside all of them
    #[arg(long, value_name = "X0,Y0,X1,Y1:PROMPT", value_parser = parse_region)]
    pub region: Vec<Region>,
    /// ddim, dpm++2m, euler or euler-a (draws noise in every step)
    #[arg(long, default_value = "dpm++2m", value_parser = parse_name::<SamplerKind>)]
    pub sampler: SamplerKind,
    /// Sampling steps
    #[arg(long, default_value_t = 25)]
    pub steps: usize,
    /// Classifier-free guidance; 1 is none
    #[arg(long, default_value_t = 7.5)]
    pub guidance: f64,
    /// Size in pixels, e.g. 512x768 [default: the model's]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub size: Option<(usize, usize)>,
    /// The number of pictures
    #[arg(long, default_value_t = 1)]
    pub num: usize,
    /// Start from this noise: safetensors with `latents` [num, 4, height/8, width/8]
    #[arg(long, value_name = "FILE")]
    pub latents: Option<PathBuf>,
    /// Write the final latents to this file, in the same format
    #[arg(long, value_name = "FILE")]
    pub save_latents: Option<PathBuf>,
    /// Where the pictures go, numbered on from those that are there
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
}

/// A box and its prompt.
#[derive(Debug, Clone)]
pub struct Region {
    /// Left, top, right and bottom in pixels.
    pub corners: [usize; 4],
    /// What is in it.
    pub prompt: String,
}

#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// A bank or a safetensors file
    pub path: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct Demo {
    /// Where report, pictures and banks go; an interrupted demo there goes on
    #[arg(long, default_value = "seqlora-demo", value_name = "FOLDER")]
    pub out: PathBuf,
    /// How many concepts are learnt, 2 to 101
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u8).range(2..=101))]
    pub concepts: u8,
    /// Minibatches per concept [default: 60]
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Methods to compare
    #[arg(long, value_parser = parse_name::<Method>, value_delimiter = ',', default_value = "seqlora,lora")]
    pub method: Vec<Method>,
    /// Settings as TOML, as `learn` takes them; what it leaves out keeps the demo's value, and
    /// `--method` and `--concepts` win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take a small model with random weights and measure identity by shrunken pictures: it shows
    /// that everything runs, not what is learnt
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
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
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
    /// Measures the others and writes what they can do, their curves and digests beside them
    Card,
}

/// Parses the name that serde gives a choice; the error lists all names.
fn parse_name<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let name: StrDeserializer<Error> = text.into_deserializer();
    T::deserialize(name).map_err(|e| e.to_string())
}

fn parse_region(text: &str) -> Result<Region, String> {
    let wrong = || format!("`{text}` is no region like \"0,0,256,512:a cat\"");
    let (corners, prompt) = text.split_once(':').ok_or_else(wrong)?;
    let corners = corners.split(',').map(|number| number.trim().parse());
    let corners: Vec<usize> = corners.collect::<Result<_, _>>().map_err(|_| wrong())?;
    let corners = corners.try_into().map_err(|_| wrong())?;
    Ok(Region { corners, prompt: prompt.trim().to_string() })
}

fn parse_prediction(text: &str) -> Result<Prediction, String> {
    match text {
        "epsilon" => Ok(Prediction::Epsilon),
        "v" => Ok(Prediction::VPrediction),
        _ => Err(format!("`{text}` is neither epsilon nor v")),
    }
}

fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let (width, height) = text.split_once(['x', 'X']).unwrap_or((text, text));
    let number = |s: &str| s.parse().map_err(|_| format!("`{text}` is no size like 512x768"));
    Ok((number(width)?, number(height)?))
}
