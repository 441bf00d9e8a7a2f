//! Training of the classifier: from images to the attributes of what they show.

pub mod augment;
mod loss;
mod report;
mod targets;
mod task;

pub use augment::Augmentation;
pub use loss::{classifier_loss, cross_entropy};
pub use report::ClassifierReport;
pub use targets::{Targets, covered, covered_by};
pub use task::{Classification, scene};
