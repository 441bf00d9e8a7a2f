//! Single-file checkpoints in the layout of the original Stable Diffusion code ("LDM").
//!
//! Such a file holds the weights of UNet, text encoder and VAE under its own names, but no configs.
//! [`infer`] derives the sizes from the shapes, and [`unet`], [`text_encoder`] and [`vae`] compute the
//! name of each parameter from the sizes.

mod infer;
mod keys;

pub use infer::{Family, Inferred, ends_in_pure_noise, infer, predicts_velocity};
pub use keys::{Renaming, text_encoder, unet, vae, vae_in, written_text_encoder};

pub use seqlora_files::Header;
