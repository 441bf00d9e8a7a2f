//! Vision transformers: DINO, DINOv2, DINOv3, and the image towers of CLIP and OpenCLIP.
//!
//! They are one module, [`VitModel`], whose variants are fields of [`VitConfig`]. Where a folder or a
//! file comes from is found by [`weights::encoders`](crate::weights::encoders).

mod config;
mod model;
mod position;

pub use config::{Resampling, VitConfig};
pub use model::{VitModel, VitTokens};
