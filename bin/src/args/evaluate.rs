//! `seqlora evaluate`: what is measured, and how.

use std::path::PathBuf;

use burn_seqlora::Shard;
use burn_seqlora::diffusion::SamplerKind;
use burn_seqlora::eval::protocol::Profile;
use clap::Args as ClapArgs;

use super::compute::Compute;
use super::generate::{MOST_AT_ONCE, MOST_STEPS, parse_size};
use super::model::Model;
use super::parse::{count, parse_name};
use super::shard::parse_shard;

#[derive(Debug, ClapArgs)]
#[command(mut_arg("model", |model| model.required(false)))]
pub struct Evaluate {
    /// The concepts with their reference images, in any form that `learn` takes; prompts of
    /// CustomConcept101 and google/dreambooth are used
    pub data: PathBuf,
    /// Only images of other programs are scored without one
    #[command(flatten)]
    pub model: Option<Model>,
    /// A bank to evaluate, under a name; can be repeated [default name: the folder's]
    #[arg(long, value_name = "[NAME=]FOLDER", value_parser = parse_unnamed)]
    pub bank: Vec<Named>,
    /// For the bank of this name, what `fuse` made of all its concepts, in place of their sum
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_named)]
    pub fused: Vec<Named>,
    /// Images of another program, under a name: FOLDER/<concept>/ with images, or with `samples/` and
    /// `prompts.json` as CustomConcept101's scripts have them; can be repeated
    #[arg(long, value_name = "NAME=FOLDER", value_parser = parse_named)]
    pub images: Vec<Named>,
    /// Where images, scores and the report go; an interrupted evaluation there goes on
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// The published protocol to start from: paper, cc101 or mixofshow [default: paper]
    #[arg(long, value_parser = parse_name::<Profile>)]
    pub profile: Option<Profile>,
    /// Settings as TOML, with the tables [protocol] and [metrics]; the options below win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the folders of a concept list lie
    #[arg(long, value_name = "FOLDER")]
    pub images_root: Option<PathBuf>,
    /// Evaluate this concept of the data; can be repeated [default: all]
    #[arg(long, value_name = "ID")]
    pub concept: Vec<String>,
    /// Prompts of every concept, one on each line, with {} for the concept; lines that begin with # are comments
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Pairs in one image: CustomConcept101's dataset_multiconcept.json, of which those pairs are taken
    /// whose concepts are evaluated, or `neighbours` in the order of the data
    #[arg(long, value_name = "FILE")]
    pub pairs: Option<PathBuf>,
    /// A metric; can be repeated [default: those of the paper, or identity and recognition with `builtin`]
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,
    /// Also score against references as JPEG, blurred, cropped and with other hues
    #[arg(long)]
    pub shift: bool,
    /// Seeds, one for each image of a prompt, e.g. 0,1,2 [default: the profile's]
    #[arg(long, value_delimiter = ',', conflicts_with = "seed")]
    pub seeds: Vec<u64>,
    /// ddim, ddpm, dpm++2m, euler or euler-a [default: the profile's]
    #[arg(long, value_parser = parse_name::<SamplerKind>)]
    pub sampler: Option<SamplerKind>,
    /// Sampling steps [default: the profile's]
    #[arg(long, value_parser = count::<MOST_STEPS>)]
    pub steps: Option<usize>,
    /// Classifier-free guidance [default: the profile's; 3 with `builtin`]
    #[arg(long)]
    pub guidance: Option<f64>,
    /// Width and height in pixels, e.g. 512x768 [default: the model's]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub size: Option<(usize, usize)>,
    /// Images that are sampled at once
    #[arg(long, default_value_t = 1, value_parser = count::<MOST_AT_ONCE>)]
    pub batch: usize,
    /// Show how many images and scores there will be, with time, memory and disk, and stop
    #[arg(long)]
    pub plan: bool,
    /// Do part I of N, e.g. 2/8, or the one that Slurm or Kubernetes says: auto, auto/N; without a report
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub shard: Option<Shard>,
    /// First take over the images and scores of this folder, which another part wrote; can be repeated
    #[arg(long, value_name = "FOLDER")]
    pub merge: Vec<PathBuf>,
    /// Start even if the memory will probably not suffice
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub compute: Compute,
}

/// A path under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub path: PathBuf,
}

fn parse_named(text: &str) -> Result<Named, String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=PATH")?;
    Ok(Named { name: checked(name)?, path: path.into() })
}

fn parse_unnamed(text: &str) -> Result<Named, String> {
    // A path may hold `=`, but not before its first `/`.
    match text.split_once('=').filter(|(name, _)| !name.contains(['/', '\\'])) {
        Some(_) => parse_named(text),
        None => {
            let path = PathBuf::from(text);
            let last = path.components().next_back();
            let last = last.map(|part| part.as_os_str().to_string_lossy().into_owned());
            let name = checked(&last.unwrap_or_default())
                .map_err(|reason| format!("{reason}; write NAME={text}"))?;
            Ok(Named { name, path })
        }
    }
}

fn checked(name: &str) -> Result<String, String> {
    let safe = |c: char| c.is_alphanumeric() || " ._+-".contains(c);
    match (1..=60).contains(&name.chars().count()) && name.chars().all(safe) && name != ".." {
        true => Ok(name.into()),
        false => Err(format!("`{name}` is no name of letters, digits, spaces and . _ + -")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        let named = |text| parse_unnamed(text).map(|named| (named.name, named.path));
        assert_eq!(named("lora=banks/b"), Ok(("lora".into(), "banks/b".into())));
        assert_eq!(named("banks/seqlora/"), Ok(("seqlora".into(), "banks/seqlora/".into())));
        assert_eq!(named("./a=b/bank"), Ok(("bank".into(), "./a=b/bank".into())));
        assert!(named("..").unwrap_err().contains("write NAME=.."));
        assert!(named("=x").is_err() && named("a<b=x").is_err());
        assert!(parse_named("bank").is_err());
    }
}
