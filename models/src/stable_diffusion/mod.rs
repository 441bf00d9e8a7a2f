//! A whole Stable Diffusion model: its configs, where its files are, and the loaded network.

mod component;
mod config;
mod merge;
mod merged_files;
mod model;
mod other_vae;
mod sidecar;
mod single_file;
mod source;
mod write_sidecar;

pub use config::StableDiffusionConfig;
pub use merge::MergeError;
pub use merged_files::MergedFiles;
pub use model::StableDiffusion;
pub use source::{ModelSource, SourceOptions};
