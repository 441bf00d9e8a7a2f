//! Optimizers, and the gradient of the upper level through the steps of the lower one.

mod adam;
mod hypergradient;

pub use adam::{AdamW, SecondMoment};
pub use hypergradient::{HyperGradient, InnerStep, hypergradient};
