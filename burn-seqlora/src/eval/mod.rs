//! Scores of pictures, and their means over concepts.

mod estimate;
mod identity;

pub use estimate::Estimate;
pub use identity::{Embeddings, Identity, SmallPictures, embed};
