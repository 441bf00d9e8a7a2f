//! Stable Diffusion 1.x and 2.x as Burn modules over dual numbers.
//!
//! [`StableDiffusion`] loads a [`ModelSource`], a diffusers folder or a single file, and implements
//! what `seqlora-core` asks of a model. Its parts: [`unet`], [`clip`] and [`vae`], built from the
//! layers in [`nn`]; [`tokenizer`]; [`weights`], which knows foreign file and key names.

pub mod blueprint;
pub mod clip;
pub mod memory;
pub mod nn;
mod random_model;
mod source;
mod stable_diffusion;
pub mod tokenizer;
pub mod unet;
pub mod vae;
pub mod vit;
pub mod weights;

pub use random_model::write_random_model;
pub use source::{ModelSource, SourceOptions};
pub use stable_diffusion::{StableDiffusion, StableDiffusionConfig};
