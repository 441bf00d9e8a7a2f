//! Scores of images, their means over concepts, and reports.

mod estimate;
mod identity;
pub mod report;

pub use estimate::Estimate;
pub use identity::{Embeddings, Identity, ImageEncoder, SmallPictures, embed};
