//! The classifier of the toy world: a convolutional stem and a small vision transformer.
//!
//! It measures generated images, as object detectors and DINO do for photographs:
//!
//! - A [`Prediction`] lists the objects that are found with class, look and position, and the background.
//!   Its comparison with a [`Description`](crate::world::Description) is an [`Agreement`], attribute by
//!   attribute.
//! - The cosine between an image's embedding and the mean embedding of reference images measures
//!   whether an image shows the same individual ([`identity`]).
//!
//! A trained [`Classifier`] is loaded from a folder.
//! [`pretrain::classification`](crate::pretrain::classification) trains it on renders of the world.

mod attributes;
mod config;
pub mod identity;
mod model;
mod prediction;
mod score;
mod trained;

pub use attributes::Attribute;
pub(crate) use attributes::number_of;
pub use config::ClassifierConfig;
pub use model::{BACKGROUNDS, ClassifierModel, ClassifierOutput};
pub use prediction::{Detection, PRESENT, Prediction};
pub use score::{Agreement, AttributeAccuracy};
pub use trained::Classifier;
