//! A toy world of captioned images, a classifier for it, and a small Stable Diffusion trained on
//! it.
//!
//! - [`world`]: scenes of simple objects, their renders, captions and ground truth;
//! - [`classifier`]: a small vision transformer that predicts what such images show;
//! - [`pretrain`]: training of VAE, text encoder, denoiser and classifier from scratch;
//! - [`builtin`]: where the model lies that was trained so.

pub mod builtin;
pub mod classifier;
pub mod pretrain;
pub mod world;
