//! The classifier of the toy world: a convolutional stem and a small vision transformer.
//!
//! It measures generated images, as object detectors and DINO do for photographs:
//!
//! - A [`Prediction`] lists the classes that are present with their colours, patterns and
//!   positions, and the background. Its comparison with a
//!   [`Description`](crate::world::Description) is an [`Agreement`], attribute by attribute.
//! - The cosine between an image's embedding and the mean embedding of reference images measures
//!   whether an image shows the same individual ([`identity`]).
//!
//! A trained [`Classifier`] is loaded from a folder.
//! [`pretrain::classification`](crate::pretrain::classification) trains it on renders of the world.

mod config;
pub mod identity;
mod model;
mod prediction;
mod score;
mod trained;

pub use config::ClassifierConfig;
pub use model::{
    BACKGROUNDS, CLASSES, COLOURS, ClassifierModel, ClassifierOutput, Logits, PATTERNS, TRAITS,
};
pub use prediction::{Detection, PRESENT, Prediction};
pub use score::{Agreement, AttributeAccuracy};
pub use trained::Classifier;
