//! The UNet of Stable Diffusion 1.x and 2.x (diffusers' `UNet2DConditionModel`).

mod blocks;
mod config;
mod model;
mod transformer;

pub use config::UNetConfig;
pub(crate) use model::COARSE;
pub use model::UNet;
