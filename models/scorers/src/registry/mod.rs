//! The metrics by name.
//!
//! A metric whose weights are not there is [`Skipped`], with the places where they were looked for; it is
//! never given a number. Weights that are there but damaged are an error.

mod load;
mod loader;
mod places;
mod table;

pub use load::{LoadError, Loaded, Skipped, load};
pub use places::{Places, Source};
pub use table::{DEFAULT, names};
