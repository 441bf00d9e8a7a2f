//! `seqlora import`: which adapter, and what it becomes.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::compute::Compute;
use super::model::Model;

#[derive(Debug, ClapArgs)]
pub struct Import {
    /// An adapter of kohya, diffusers, PEFT or Mix-of-Show
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub model: Model,
    /// The bank, which is made if it is not there
    #[arg(long, value_name = "FOLDER")]
    pub bank: PathBuf,
    /// The concept's name in prompts, <ID> [default: the file's name]
    #[arg(long)]
    pub id: Option<String>,
    /// What kind of thing it is, e.g. dog
    #[arg(long = "class", value_name = "WORD")]
    pub class_word: String,
    /// What one writes in other tools to get the concept, e.g. "sks dog"; <ID> then stands for it
    /// [default: the file's words, or its metadata]
    #[arg(long, value_name = "TEXT", conflicts_with = "words")]
    pub trigger: Option<String>,
    /// Its words as a textual inversion, a file such as `export` writes
    #[arg(long, value_name = "FILE")]
    pub words: Option<PathBuf>,
    /// Remove what acts on the directions of the bank's concepts, as banks of orthogonal concepts need
    /// it, and tell what that loses
    #[arg(long)]
    pub project: bool,
    /// Leave out modules that no concept can have, and tell what that loses
    #[arg(long)]
    pub allow_partial: bool,
    #[command(flatten)]
    pub compute: Compute,
}
