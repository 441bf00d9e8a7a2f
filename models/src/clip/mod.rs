//! CLIP's text encoder (transformers' `CLIPTextModel`).

mod config;
mod text;

pub use config::{Activation, ClipTextConfig};
pub use text::ClipTextModel;
