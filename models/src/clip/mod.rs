//! CLIP's text encoder (transformers' `CLIPTextModel`), and its text tower with the projection.

mod config;
mod text;
mod tower;

pub use config::ClipTextConfig;
pub use text::ClipTextModel;
pub use tower::ClipTextTower;
