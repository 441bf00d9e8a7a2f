//! Single-file checkpoints in the layout of the original Stable Diffusion code ("LDM").
//!
//! One file holds UNet, text encoder and VAE under its own names, and nothing else: [`infer`] reads
//! the sizes off the shapes, and [`unet`], [`text_encoder`] and [`vae`] compute from them where each
//! parameter lies.

mod fused;
mod header;
mod infer;
mod keys;

pub use fused::parts;
pub use header::Header;
pub use infer::{Family, infer};
pub use keys::{Renaming, text_encoder, unet, vae};
