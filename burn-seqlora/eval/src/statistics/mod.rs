//! Statistics over concepts: means with their spread, bootstrap intervals, paired comparisons.
//!
//! A concept is the unit of every statistic, since images of one concept are not independent of each
//! other: a score is averaged over a concept's images first, and then over concepts. All random numbers
//! come from a fixed seed, so that the same scores give the same intervals.

mod bootstrap;
mod distribution;
mod paired;

pub use bootstrap::{Bootstrap, quantile};
pub use distribution::Distribution;
pub use paired::{PairedDifference, holm, sign_flip};
