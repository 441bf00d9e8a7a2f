//! `seqlora learn`: what is learnt, and how.

use std::path::{Path, PathBuf};

use burn_seqlora::Shard;
use burn_seqlora::bank::is_concept_id;
use burn_seqlora::lora::{SiteSelection, Subspace};
use burn_seqlora::methods::NAMES;
use burn_seqlora::settings::{Hvp, LrSchedule, Memory, TrainConfig};
use burn_seqlora::text::TokenScheme;
use clap::Args as ClapArgs;
use clap::builder::PossibleValuesParser;

use super::compute::Compute;
use super::memory_choice::MemoryChoice;
use super::model::Model;
use super::parse::{count, parse_name};
use super::shard::parse_shard;

#[derive(Debug, ClapArgs)]
#[command(mut_arg("vae", |argument| argument.hide(true)))]
pub struct Learn {
    /// Images: a folder of images, a folder of such folders, a TOML manifest, or
    /// CustomConcept101's dataset.json
    pub data: PathBuf,
    #[command(flatten)]
    pub model: Model,
    /// The bank to add to; made if it is not there
    #[arg(long, alias = "output_dir", value_name = "FOLDER")]
    pub bank: PathBuf,
    /// Settings as TOML; the options below win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Go on with an interrupted run
    #[arg(long)]
    pub resume: bool,
    /// Go on with the next concept when one cannot be learnt, because its images are damaged or its loss is not finite;
    /// at the end the failed ones are listed, and the exit code is 1
    #[arg(long, conflicts_with = "further")]
    pub keep_going: bool,
    /// Train this concept of the bank further, with the settings that it has unless others are given; DATA has
    /// images of it, and `--steps` says how many more
    #[arg(long = "continue", value_name = "ID")]
    pub further: Option<String>,
    /// Learn part I of N of the concepts, e.g. 2/8, or the one that Slurm or Kubernetes says (auto, auto/N), in
    /// subspace I/N: each part into a bank of its own, and then `bank merge`. `--concepts` is the number in all
    #[arg(long, value_name = "I/N", value_parser = parse_shard, conflicts_with_all = ["further", "subspace"])]
    pub shard: Option<Shard>,
    /// Show what would be trained, with memory and time, and stop
    #[arg(long)]
    pub plan: bool,
    /// Start even if the memory will probably not suffice
    #[arg(long)]
    pub force: bool,
    /// The class of a single folder of images, e.g. dog
    #[arg(long = "class", value_name = "WORD")]
    pub class_word: Option<String>,
    /// The id of a single folder of images: its name <ID> in prompts
    #[arg(long, value_parser = parse_id)]
    pub id: Option<String>,
    /// Images of other things of the class of a single folder, whose look `--prior-weight` keeps
    #[arg(long, visible_aliases = ["class_data_dir", "reg_data_dir"], value_name = "FOLDER")]
    pub class_images: Option<PathBuf>,
    /// Where the folders of a concept list lie
    #[arg(long, value_name = "FOLDER")]
    pub images_root: Option<PathBuf>,
    #[command(flatten)]
    pub previews: Previews,
    #[command(flatten)]
    pub train: Train,
    #[command(flatten)]
    pub compute: Compute,
    /// Refused with an explanation
    #[arg(long = "network_alpha", alias = "lora_alpha", hide = true, value_parser = no_alpha)]
    _alpha: Option<String>,
    /// Refused with an explanation
    #[arg(long = "gradient_accumulation_steps", hide = true, value_parser = no_accumulation)]
    _accumulation: Option<String>,
}

/// Images and curves while a concept is learnt.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Previews and logging")]
pub struct Previews {
    /// Draw this prompt while a concept is learnt, with {} for the concept, always from the same noise and
    /// together with the concepts of the bank; can be repeated
    #[arg(long, visible_alias = "sample_prompt", value_name = "PROMPT")]
    pub preview: Vec<String>,
    /// A file with such prompts, one on each line; lines that begin with # are comments
    #[arg(long, visible_alias = "sample_prompts", value_name = "FILE")]
    pub preview_file: Option<PathBuf>,
    /// Draw and keep after so many steps, before the first and after the last [default: 50]
    #[arg(long, visible_alias = "sample_every_n_steps", value_name = "STEPS", value_parser = count::<1_000_000>)]
    pub preview_every: Option<usize>,
    /// Where previews go: FOLDER/ID/, and all of a concept on one sheet in FOLDER/ID.png [default: previews]
    #[arg(long, value_name = "FOLDER")]
    pub preview_out: Option<PathBuf>,
    /// Keep the concept as it is, with the others of the bank: FOLDER/ID/STEP is a bank, and `evaluate --bank` tells
    /// the best
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
    /// Record losses, norms and previews for TensorBoard: FOLDER/ID/events.out.tfevents.*
    #[arg(long, visible_alias = "logging_dir", value_name = "FOLDER")]
    pub tensorboard: Option<PathBuf>,
}

impl Previews {
    /// The steps from one preview or kept bank to the next.
    pub fn every(&self) -> usize {
        self.preview_every.unwrap_or(50)
    }

    /// Where previews go.
    pub fn folder(&self) -> &Path {
        self.preview_out.as_deref().unwrap_or(Path::new("previews"))
    }
}

/// Settings that win over those of `--config`.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Training")]
pub struct Train {
    /// seqlora, alternating, or those that learn each concept by itself: lora, orthogonal-adaptation
    /// [default: seqlora]
    #[arg(long, value_parser = PossibleValuesParser::new(NAMES), hide_possible_values = true)]
    pub method: Option<String>,
    /// Second derivatives: exact, finite-difference or none [default: exact]
    #[arg(long, value_parser = parse_name::<Hvp>)]
    pub hvp: Option<Hvp>,
    /// fast keeps all activations, low computes those of a block again (gradient checkpointing), auto is fast where that
    /// fits into the device's memory, and low elsewhere [default: fast]
    #[arg(long, value_parser = parse_name::<MemoryChoice>)]
    pub memory: Option<MemoryChoice>,
    /// The same as --memory low
    #[arg(long = "gradient_checkpointing", hide = true, conflicts_with = "memory")]
    gradient_checkpointing: bool,
    /// Minibatches per concept [default: 250]
    #[arg(long, visible_alias = "max_train_steps")]
    pub steps: Option<usize>,
    /// Images per minibatch [default: 2]
    #[arg(long, visible_alias = "train_batch_size")]
    pub batch: Option<usize>,
    /// Images of a minibatch that go through the model at once; the gradients of all such parts are added up, which gives
    /// the same with less memory [default: all]
    #[arg(long, value_name = "IMAGES")]
    pub micro_batch: Option<usize>,
    /// Rank of the adapters [default: 4]
    #[arg(long, visible_alias = "network_dim", alias = "lora_rank")]
    pub rank: Option<usize>,
    /// K: outer iterations per minibatch [default: 3]
    #[arg(long, value_name = "K")]
    pub outer: Option<usize>,
    /// T: inner steps per outer iteration [default: 2]
    #[arg(long, value_name = "T")]
    pub inner: Option<usize>,
    /// Learning rate in UNet and text encoder, where the next two do not say another
    #[arg(long = "lr", visible_alias = "learning_rate", value_name = "LR")]
    pub lr: Option<f64>,
    /// Learning rate in the UNet [default: 1e-4]
    #[arg(long, visible_alias = "unet_lr")]
    pub lr_unet: Option<f64>,
    /// Learning rate in the text encoder [default: 1e-5]
    #[arg(long, visible_alias = "text_encoder_lr")]
    pub lr_text: Option<f64>,
    /// Learning rate of the concept's token embeddings [default: 1e-3]
    #[arg(long)]
    pub lr_token: Option<f64>,
    /// How learning rates develop: linear or cosine to zero, or constant [default: linear]
    #[arg(long, visible_alias = "lr_scheduler", value_parser = parse_name::<LrSchedule>)]
    pub lr_schedule: Option<LrSchedule>,
    /// Over so many steps learning rates rise first [default: 0]
    #[arg(long, visible_alias = "lr_warmup_steps", value_name = "STEPS")]
    pub warmup_steps: Option<usize>,
    /// γ of min-SNR weights, by which steps with little noise count less; 5 is usual [default: none]
    #[arg(long, visible_alias = "min_snr_gamma", value_name = "GAMMA")]
    pub min_snr_gamma: Option<f64>,
    /// Keep the class as it is: by the denoising loss on images of the class, or without such images by what the
    /// model predicts for the class word without the concept; 1 is a start, and a step takes twice as long
    /// [default: 0]
    #[arg(long, visible_alias = "prior_loss_weight", value_name = "WEIGHT")]
    pub prior_weight: Option<f64>,
    /// Adapted layers: cross-attention-kv, cross-attention, attention or all [default: attention]
    #[arg(long, value_parser = parse_name::<SiteSelection>)]
    pub sites: Option<SiteSelection>,
    /// A concept's words: ed-lora (two words with an embedding per layer) or single (one word with one
    /// embedding) [default: ed-lora]
    #[arg(long, value_parser = parse_name::<TokenScheme>)]
    pub tokens: Option<TokenScheme>,
    /// Side of the training images in pixels [default: the model's]
    #[arg(long)]
    pub resolution: Option<usize>,
    /// How many concepts the model will hold in the end, with those in the bank; each gets the same
    /// capacity
    #[arg(long, value_name = "N")]
    pub concepts: Option<usize>,
    /// Keep B orthogonal to the concepts of this group only: each group has a layer's whole capacity,
    /// and concepts of different groups may interfere (`audit` shows how much) [default: to all]
    #[arg(long, value_name = "GROUP")]
    pub orthogonal_within: Option<String>,
    /// Learn in block K of N of a shared basis, so that N workers can learn at the same time and `bank merge` makes
    /// one bank of theirs; each has an N-th of a layer's capacity [default: the whole space]
    #[arg(long, value_name = "K/N")]
    pub subspace: Option<Subspace>,
    /// Stop if a layer has room for less than the rank, instead of shrinking or skipping it
    #[arg(long)]
    pub strict_capacity: bool,
    /// Save the state after so many steps [default: 50]
    #[arg(long, visible_alias = "checkpointing_steps", alias = "save_every_n_steps")]
    pub save_every: Option<usize>,
}

fn parse_id(text: &str) -> Result<String, String> {
    match is_concept_id(text) {
        true => Ok(text.into()),
        false => Err(format!(
            "`{text}` is not a valid concept id; use letters A-Z a-z, digits, `.`, `_` and `-`"
        )),
    }
}

/// kohya's and PEFT's alpha scales an adapter by alpha / rank.
fn no_alpha(_: &str) -> Result<String, String> {
    let text = "adapters have no alpha here: ΔW = A Bᵀ, as with alpha equal to the rank; leave the \
                option out, and choose the strength with `generate --concept ID=SCALE`";
    Err(text.into())
}

/// Elsewhere the number of minibatches that make one; here the minibatch is what is divided.
fn no_accumulation(_: &str) -> Result<String, String> {
    let text = "--batch is the whole minibatch here, and --micro-batch the images of it that go through the model at \
                once: N steps of accumulation with B images each are --batch N×B --micro-batch B";
    Err(text.into())
}

impl Train {
    /// Writes what was typed over `config`.
    pub fn override_config(&self, config: &mut TrainConfig) {
        fn set<T: Copy>(field: &mut T, typed: Option<T>) {
            *field = typed.unwrap_or(*field);
        }
        if let Some(method) = &self.method {
            config.method = method.clone();
        }
        set(&mut config.hvp, self.hvp);
        set(&mut config.memory, self.memory.map(MemoryChoice::to_begin_with));
        if self.gradient_checkpointing {
            config.memory = Memory::Low;
        }
        set(&mut config.steps, self.steps);
        set(&mut config.batch, self.batch);
        config.micro_batch = self.micro_batch.or(config.micro_batch);
        set(&mut config.rank, self.rank);
        set(&mut config.outer, self.outer);
        set(&mut config.inner, self.inner);
        set(&mut config.lr_unet, self.lr_unet.or(self.lr));
        set(&mut config.lr_text, self.lr_text.or(self.lr));
        set(&mut config.lr_token, self.lr_token);
        set(&mut config.lr_schedule, self.lr_schedule);
        set(&mut config.warmup_steps, self.warmup_steps);
        config.min_snr_gamma = self.min_snr_gamma.or(config.min_snr_gamma);
        set(&mut config.prior_weight, self.prior_weight);
        set(&mut config.sites, self.sites);
        set(&mut config.tokens, self.tokens);
        set(&mut config.save_every, self.save_every);
        config.resolution = self.resolution.or(config.resolution);
        config.concepts = self.concepts.or(config.concepts);
        if self.orthogonal_within.is_some() {
            config.orthogonal_within.clone_from(&self.orthogonal_within);
        }
        config.subspace = self.subspace.or(config.subspace);
        config.strict_capacity |= self.strict_capacity;
    }
}
