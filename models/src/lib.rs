//! Stable Diffusion 1.x and 2.x as Burn modules over dual numbers.
//!
//! [`StableDiffusion`] loads a [`ModelSource`], a diffusers folder or a single file, and implements
//! what `burn-seqlora` asks of a model. Its parts: [`unet`], [`clip`] and [`vae`], built from the
//! layers in [`nn`]; [`tokenizer`]; [`weights`], which knows foreign file and key
//! names. [`world`] draws captioned pictures to train and to measure small models on, and the demo's
//! concepts; [`judge`], a small vision transformer of the family of [`vit`], tells what such pictures
//! show.

mod blueprint;
pub mod clip;
pub mod judge;
pub mod memory;
pub mod nn;
pub mod pretrain;
mod random_model;
mod source;
mod stable_diffusion;
pub mod tokenizer;
pub mod unet;
pub mod vae;
pub mod vit;
pub mod weights;
pub mod world;

pub use random_model::write_random_model;
pub use source::{ModelSource, SourceOptions};
pub use stable_diffusion::{StableDiffusion, StableDiffusionConfig};
