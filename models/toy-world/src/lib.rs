//! A drawn world of captioned images, what measures it, and a small Stable Diffusion trained on it.
//!
//! - [`world`]: scenes of objects with colours, patterns and places, their captions and renders;
//! - [`judge`]: a small vision transformer that tells what such images show;
//! - [`pretrain`]: trains the autoencoder, text encoder, denoiser and classifier from scratch.

pub mod builtin;
pub mod judge;
pub mod pretrain;
pub mod world;
