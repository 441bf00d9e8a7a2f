//! Vision transformers of DINO's family (transformers' `ViTModel`).

mod config;
mod model;
mod position;

pub use config::VitConfig;
pub use model::{VitModel, VitTokens};
