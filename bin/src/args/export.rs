//! `seqlora export`: which concepts, and for which tools.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

#[derive(Debug, ClapArgs)]
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
}

impl ExportFormat {
    /// The name of the adapter format; `None` if it has words only.
    pub fn adapter(self) -> Option<&'static str> {
        match self {
            Self::Kohya => Some("kohya"),
            Self::Diffusers => Some("diffusers"),
            Self::Peft => Some("peft"),
            Self::TextualInversion => None,
        }
    }
}
