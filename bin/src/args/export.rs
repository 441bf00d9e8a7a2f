//! `seqlora export`: which concepts, and for which tools.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::model::Model;

#[derive(Debug, ClapArgs)]
#[command(mut_arg("model", |model| model.required(false)))]
pub struct Export {
    /// The bank with the concepts
    #[arg(value_name = "BANK")]
    pub bank: PathBuf,
    /// A concept to export, with its strength; can be repeated [default: all of the bank, at 1]
    #[arg(long, value_name = "ID[=SCALE]")]
    pub concept: Vec<String>,
    /// Whose format; can be repeated
    #[arg(long, value_enum, required = true)]
    pub format: Vec<ExportFormat>,
    /// The base model, for `merged` and `single-file`
    #[command(flatten)]
    pub model: Option<Model>,
    /// For these two: what `fuse` made of the concepts, in place of their sum
    #[arg(long, value_name = "FILE", requires = "pack")]
    pub fused: Option<PathBuf>,
    /// Write the concepts as one adapter of this name, which is their sum
    #[arg(long, value_name = "NAME")]
    pub pack: Option<String>,
    /// The folder, which gets a sub-folder for each format
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub overwrite: bool,
}

/// A tool's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One file for A1111, ComfyUI, kohya's scripts and diffusers
    Kohya,
    /// pytorch_lora_weights.safetensors, for load_lora_weights
    Diffusers,
    /// Folders of PEFT for UNet and text encoder
    Peft,
    /// Only the words, which the other formats get too
    TextualInversion,
    /// The base model's diffusers folder with the concepts merged into its weights
    Merged,
    /// The same as a single .safetensors file, as A1111 and ComfyUI take it
    SingleFile,
}

impl ExportFormat {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kohya => "kohya",
            Self::Diffusers => "diffusers",
            Self::Peft => "peft",
            Self::TextualInversion => "textual-inversion",
            Self::Merged => "merged",
            Self::SingleFile => "single-file",
        }
    }

    /// Whether it is a whole model.
    pub fn is_model(self) -> bool {
        matches!(self, Self::Merged | Self::SingleFile)
    }

    /// Whether it is an adapter.
    pub fn is_adapter(self) -> bool {
        !self.is_model() && self != Self::TextualInversion
    }
}
