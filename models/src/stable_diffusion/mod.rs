//! A whole Stable Diffusion model: its configs, where its files are, and the loaded network.

mod config;
mod merge;
mod merged_files;
mod model;
mod source;

pub use config::StableDiffusionConfig;
pub use merge::MergeError;
pub use merged_files::MergedFiles;
pub use model::StableDiffusion;
pub use source::{ModelSource, SourceOptions};
