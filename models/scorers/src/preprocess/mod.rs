//! From an image to what an encoder was trained to see.
//!
//! A [`Preprocessing`] is data: how the image is resized, with which filter and arithmetic, and the
//! statistics by which it is normalised. [`presets`] has that of each metric. Where the sides of a
//! centre crop differ by an odd number, torchvision's offset is used, `(length − side) / 2` rounded to
//! the nearest even number; transformers rounds down, one pixel off in some sizes.

mod bytes;
mod filter;
mod floats;
pub mod presets;
mod spec;

pub use bytes::resize;
pub use filter::Filter;
pub use spec::{Arithmetic, Preprocessing, Resize};
