//! `seqlora generate`: what is drawn, and how.

use std::path::PathBuf;

use burn_seqlora::Shard;
use burn_seqlora::diffusion::{SamplerKind, TimestepSpacing};
use clap::Args as ClapArgs;

use super::compute::Compute;
use super::model::Model;
use super::parse::{count, parse_name};
use super::shard::parse_shard;

#[derive(Debug, Clone, ClapArgs)]
pub struct Generate {
    #[command(flatten)]
    pub model: Model,
    /// The bank with the concepts
    #[arg(long, value_name = "FOLDER")]
    pub bank: Option<PathBuf>,
    /// A prompt; concepts are written <ID>, and weights as in A1111: (word), (word:1.3), [word]. Brackets
    /// that are text are written \( and \). BREAK and more than 75 tokens begin a new chunk. Can be
    /// repeated
    #[arg(long, required_unless_present_any = ["prompts", "from"])]
    pub prompt: Vec<String>,
    /// Make this PNG again: all options that are not typed are those that its text tells, also if A1111 wrote
    /// it
    #[arg(long, value_name = "IMAGE")]
    pub from: Option<PathBuf>,
    /// A file of prompts, one on each line; lines that begin with # are comments
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// The negative prompt: what guidance leads away from
    #[arg(long, visible_alias = "negative-prompt", alias = "negative_prompt", default_value = "")]
    pub negative: String,
    /// Take all prompts literally, as diffusers does: brackets are text, and what is beyond 75 tokens is
    /// left out
    #[arg(long)]
    pub plain_prompts: bool,
    /// Which layer of the text encoder prompts are read from: 1 is the last one, 2 the one before, as in
    /// A1111; diffusers' clip_skip is one less
    #[arg(long, alias = "clip_skip", value_name = "N", default_value_t = 1, value_parser = count::<MOST_LAYERS>)]
    pub clip_skip: usize,
    /// A concept to use, with its strength; can be repeated [default: all of the bank, at 1]
    #[arg(long, value_name = "ID[=SCALE]")]
    pub concept: Vec<String>,
    /// What `fuse` made of these concepts, in place of their sum
    #[arg(long, value_name = "FILE", requires = "bank")]
    pub fused: Option<PathBuf>,
    /// A LoRA of kohya, diffusers, PEFT or Mix-of-Show, with its strength [1 if none is given]; can be
    /// repeated
    #[arg(long, value_name = "FILE[=SCALE]", value_parser = parse_lora)]
    pub lora: Vec<Lora>,
    /// Change this image in place of making one from noise: it is encoded, noised, and denoised again, as
    /// in diffusers' image-to-image. Without --size its own size, in multiples that the model can make
    #[arg(long, alias = "init_image", value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// How much of --init is changed, above 0 to 1: the share of --steps that is taken [default: 0.8]
    #[arg(long, visible_alias = "denoising-strength", requires = "init", value_parser = parse_strength)]
    pub strength: Option<f64>,
    /// A prompt for a box in the image, its corners in pixels; can be repeated. It names what is in the
    /// box; where boxes overlap their prompts share, and --prompt is for what is outside all of them
    #[arg(long, value_name = "X0,Y0,X1,Y1:PROMPT", value_parser = parse_region)]
    pub region: Vec<Region>,
    /// How much of --prompt counts inside of boxes too, 0 to 1: A1111's Regional Prompter has 0.2
    /// [default: 0]
    #[arg(long, value_name = "SHARE", requires = "region", value_parser = parse_share)]
    pub region_base: Option<f64>,
    /// ddim, ddpm, dpm++2m, euler or euler-a; ddpm and euler-a draw noise in every step
    #[arg(long, default_value = "dpm++2m", value_parser = parse_name::<SamplerKind>)]
    pub sampler: SamplerKind,
    /// Sampling steps
    #[arg(long, alias = "num_inference_steps", default_value_t = 25, value_parser = count::<MOST_STEPS>)]
    pub steps: usize,
    /// Noise levels of Karras et al. 2022, as "DPM++ 2M Karras" has them; for dpm++2m, euler and euler-a
    #[arg(long, alias = "use_karras_sigmas")]
    pub karras: bool,
    /// How the steps are spread over the model's training steps: leading, trailing or linspace, diffusers'
    /// timestep_spacing [default: what the model's scheduler says, else leading for ddim and linspace
    /// for the others]
    #[arg(long, alias = "timestep_spacing", value_parser = parse_name::<TimestepSpacing>)]
    pub spacing: Option<TimestepSpacing>,
    /// Classifier-free guidance; 1 or less is none [default: 7.5; 3 with `builtin`]
    #[arg(long, aliases = ["guidance_scale", "cfg_scale", "scale"])]
    pub guidance: Option<f64>,
    /// Width and height in pixels, e.g. 512x768 [default: the model's]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub size: Option<(usize, usize)>,
    /// Images of each prompt and seed
    #[arg(
        long,
        visible_alias = "num_images_per_prompt",
        alias = "images_per_prompt",
        default_value_t = 1,
        value_parser = count::<MOST_IMAGES>
    )]
    pub num: usize,
    /// Seeds, e.g. 1,2,7 [default: --seed]
    #[arg(long, value_delimiter = ',', conflicts_with = "seed")]
    pub seeds: Vec<u64>,
    /// Make only the image with this number of each seed, counted from 0: image 3 is the last one of
    /// --num 4. Can be repeated
    #[arg(long, value_name = "N", conflicts_with = "num")]
    pub image: Vec<usize>,
    /// Images that are sampled at once; each is the same in any batch but for rounding
    #[arg(long, alias = "batch_size", default_value_t = 1, value_parser = count::<MOST_AT_ONCE>)]
    pub batch: usize,
    /// Start from this noise: safetensors with `latents` [images, channels, height/f, width/f] of the
    /// model's VAE; 4 and 8 in Stable Diffusion
    #[arg(long, value_name = "FILE")]
    pub latents: Option<PathBuf>,
    /// Write the final latents to this file, in the same format
    #[arg(long, value_name = "FILE")]
    pub save_latents: Option<PathBuf>,
    /// Make part I of N of the images, e.g. 2/8, or the one that Slurm or Kubernetes says (auto, auto/N). Each has the
    /// number that it has in all of them, and those that are there are not made again, so that parts can share a
    /// folder and be run again
    #[arg(long, value_name = "I/N", value_parser = parse_shard, conflicts_with = "save_latents")]
    pub shard: Option<Shard>,
    /// Where the images go, numbered on from those that are there
    #[arg(long, aliases = ["outdir", "output_dir"], value_name = "FOLDER")]
    pub out: PathBuf,
    /// Start even if the memory will probably not suffice
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// Images of one command: a PNG each, and a line each in the result.
pub const MOST_IMAGES: usize = 1_000_000;

/// Images that are sampled at once.
pub(super) const MOST_AT_ONCE: usize = 4_096;

/// Schedules have 1000 steps.
pub(super) const MOST_STEPS: usize = 10_000;

/// No text encoder has more layers.
const MOST_LAYERS: usize = 128;

/// A box and its prompt.
#[derive(Debug, Clone)]
pub struct Region {
    /// Left, top, right and bottom in pixels.
    pub corners: [usize; 4],
    /// What is in it.
    pub prompt: String,
}

/// A LoRA of another tool.
#[derive(Debug, Clone)]
pub struct Lora {
    /// Where it lies.
    pub file: PathBuf,
    /// What its change is multiplied with.
    pub scale: f64,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    number.ok_or_else(|| format!("`{text}` is no number from 0 to 1"))
}

fn parse_strength(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|strength| *strength > 0.0 && *strength <= 1.0);
    number.ok_or_else(|| format!("`{text}` is no number above 0 to 1"))
}

fn parse_lora(text: &str) -> Result<Lora, String> {
    let lora = |file: &str, scale| Lora { file: file.into(), scale };
    match text.rsplit_once('=').map(|(file, scale)| (file, scale.parse::<f64>())) {
        Some((file, Ok(scale))) if scale.is_finite() => Ok(lora(file, scale)),
        Some((_, Ok(scale))) => Err(format!("the strength {scale} is not finite")),
        // A name may contain `=`.
        _ => Ok(lora(text, 1.0)),
    }
}

fn parse_region(text: &str) -> Result<Region, String> {
    let wrong = || format!("`{text}` is no region like \"0,0,256,512:a cat\"");
    let (corners, prompt) = text.split_once(':').ok_or_else(wrong)?;
    let corners = corners.split(',').map(|number| number.trim().parse());
    let corners: Vec<usize> = corners.collect::<Result<_, _>>().map_err(|_| wrong())?;
    let corners = corners.try_into().map_err(|_| wrong())?;
    Ok(Region { corners, prompt: prompt.trim().to_string() })
}

pub(super) fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let (width, height) = text.split_once(['x', 'X']).unwrap_or((text, text));
    let number = |s: &str| s.parse().map_err(|_| format!("`{text}` is no size like 512x768"));
    Ok((number(width)?, number(height)?))
}
