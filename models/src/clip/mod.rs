//! CLIP's text encoder (transformers' `CLIPTextModel`).

mod config;
mod text;

pub use config::ClipTextConfig;
pub use text::ClipTextModel;
