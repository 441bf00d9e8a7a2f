//! Stable Diffusion 1.x and 2.x as Burn modules over dual numbers.
//!
//! [`StableDiffusion`] is loaded from a [`ModelSource`], which is a diffusers folder or a single file,
//! and implements `seqlora-core`'s [`DiffusionModel`](seqlora_core::model::DiffusionModel). Its
//! networks are [`unet`], [`clip`] and [`vae`], built from the layers in [`nn`]. [`tokenizer`] reads
//! CLIP's tokenizers, and [`weights`] is the only module that knows foreign file and key names. [`vit`]
//! and [`clip::ClipTextTower`] are the encoders of metrics: DINO of all versions, CLIP and OpenCLIP.

pub mod blueprint;
pub mod clip;
pub mod memory;
pub mod nn;
mod random_model;
mod stable_diffusion;
pub mod tokenizer;
pub mod unet;
pub mod vae;
pub mod vit;
pub mod weights;

pub use random_model::write_random_model;
pub use stable_diffusion::{
    MergeError, MergedFiles, ModelSource, SourceOptions, StableDiffusion, StableDiffusionConfig,
};
