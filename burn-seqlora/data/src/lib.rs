//! Training data: from a path on disk to square examples and prompts, on the host.
//!
//! [`ConceptSource`] implements [`ConceptData`](seqlora_core::data::ConceptData), which is all that
//! training asks for.
//!
//! ```text
//! path ─ Manifest::discover ─► ConceptSource ─ Dataset::load ─► Dataset ─ example ─► Example
//!                                            └ caption ─► "a photo of a {}"
//! ```
//!
//! Everything random takes its generator as an argument, so a seed decides every example.

mod canvas;
mod caption;
mod concept_data;
mod concept_list;
mod dataset;
mod dreambooth;
mod error;
#[cfg(test)]
mod fixtures;
mod folders;
mod image;
mod jpeg;
mod listing;
mod manifest;
mod mask;
mod metadata;
mod names;
mod sniff;
mod templates;
mod toml_manifest;
mod transform;

pub use self::canvas::Canvas;
pub use self::caption::ConceptKind;
pub use self::dataset::Dataset;
pub use self::dreambooth::DreamBoothIndex;
pub use self::error::DataError;
pub use self::image::load_rgb;
pub use self::manifest::{ConceptSource, DiscoverOptions, ImageSource, Layout, Manifest, Skipped};
pub use self::mask::{Mask, load_mask};
pub use seqlora_core::data::{CaptionOptions, ConceptData, Example, Examples, Transform};
