//! The judge of the picture world: convolutions and a small vision transformer that tell what
//! pictures show.
//!
//! It measures generated pictures, as detectors and DINO do for photos:
//!
//! - a [`Reading`] says which classes are present, in which colours and patterns, where, and before
//!   which background; held against a [`Description`](crate::world::Description) it gives an
//!   [`Agreement`] for each attribute that a prompt states;
//! - an embedding's cosine to the mean embedding of reference pictures says how much an object is
//!   the individual that they show ([`identity`]).
//!
//! [`Judge`] is a trained one, read from a folder; [`pretrain::judging`](crate::pretrain::judging)
//! trains and measures one on the world's own renders.

mod config;
pub mod identity;
mod model;
mod reading;
mod score;
mod trained;

pub use config::JudgeConfig;
pub use model::{
    Answers, BACKGROUNDS, CLASSES, COLOURS, JudgeModel, JudgeOutput, PATTERNS, TRAITS,
};
pub use reading::{Found, PRESENT, Reading};
pub use score::{Agreement, AttributeAccuracy};
pub use trained::Judge;
