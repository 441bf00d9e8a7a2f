//! The base model, as it is given on the command line.

use std::path::{Path, PathBuf};

use burn_seqlora::diffusion::Prediction;
use burn_seqlora::models::weights::Variant;
use clap::Args as ClapArgs;

use crate::hub::Revision;

/// The base model, as all commands that need one take it.
#[derive(Debug, Clone, ClapArgs)]
pub struct Model {
    /// The base model, Stable Diffusion 1.x or 2.x: a diffusers folder, a single .safetensors
    /// or .ckpt file, OWNER/NAME on the Hugging Face hub, or builtin
    #[arg(
        long,
        visible_alias = "base",
        aliases = ["pretrained_model_name_or_path", "ckpt"],
        value_name = "MODEL"
    )]
    pub model: PathBuf,
    /// The model's tokenizer [default: `tokenizer` in its folder, or next to its file]
    #[arg(long, value_name = "FOLDER")]
    pub tokenizer: Option<PathBuf>,
    /// What the model predicts, epsilon or v [default: what its files say]
    #[arg(long, value_parser = parse_prediction)]
    pub prediction: Option<Prediction>,
    /// Which of a folder's or the hub's weights to use: fp16 are half the size [default: those in
    /// full precision, else fp16]
    #[arg(long, value_name = "fp16", value_parser = parse_variant)]
    pub variant: Option<Variant>,
    /// Another VAE for the images that are made, such as a copy of sd-vae-ft-mse: its diffusers folder, or a
    /// single file
    #[arg(long, value_name = "PATH")]
    pub vae: Option<PathBuf>,
    /// The branch, tag or commit of a model on the hub [default: main]
    #[arg(long)]
    pub revision: Option<Revision>,
}

impl Model {
    /// The model in a folder.
    pub fn at(folder: &Path) -> Self {
        let model = folder.into();
        Self { model, tokenizer: None, prediction: None, variant: None, vae: None, revision: None }
    }
}

fn parse_prediction(text: &str) -> Result<Prediction, String> {
    match text {
        "epsilon" => Ok(Prediction::Epsilon),
        "v" => Ok(Prediction::VPrediction),
        _ => Err(format!("`{text}` is neither epsilon nor v")),
    }
}

fn parse_variant(text: &str) -> Result<Variant, String> {
    match text {
        "fp16" => Ok(Variant::Fp16),
        _ => Err(format!("`{text}` is not fp16, the only variant")),
    }
}
