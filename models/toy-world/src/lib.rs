//! A toy world of captioned images, a classifier for it, and a small Stable Diffusion trained on
//! it.
//!
//! - [`world`]: scenes of simple objects, their renders, captions and ground truth;
//! - [`classifier`]: a small vision transformer that predicts what such images show;
//! - [`identification`]: which individuals an image shows;
//! - [`pretrain`]: training of VAE, text encoder, denoiser and classifier from scratch;
//! - [`builtin`]: where the model lies that was trained so.

pub mod builtin;
pub mod classifier;
pub mod identification;
mod pixels;
pub mod pretrain;
pub mod world;

pub use pixels::to_pixels;
