//! The autoencoder between pixels and latents (diffusers' `AutoencoderKL`).

mod blocks;
mod config;
mod model;

pub use config::VaeConfig;
pub use model::Vae;
