//! Training data: from a path on disk to square training images and prompts, in host memory.
//!
//! [`ConceptSource`] implements [`ConceptData`], the trait through which the trainer reads data.
//!
//! ```text
//! path ─ Manifest::discover ─► ConceptSource ─ Dataset::new ─► Dataset ─ example ─► Example
//!                                            └ caption ─► "a photo of a {}"
//! ```
//!
//! Every random choice takes its generator as an argument, so the seed determines every example.

mod canvas;
mod caption;
mod concept_data;
mod concept_list;
mod concept_pairs;
mod dataset;
mod dreambooth;
mod error;
mod evaluation_prompts;
mod examine;
#[cfg(test)]
mod fixtures;
mod folders;
mod found;
mod image;
mod jpeg;
mod kind;
mod layout;
mod limits;
mod listing;
mod manifest;
mod mask;
mod metadata;
mod names;
mod parameters;
mod sidecars;
mod sniff;
mod source;
mod templates;
mod toml_manifest;
mod transform;

pub use self::canvas::Canvas;
pub use self::concept_pairs::{ConceptPair, read_pairs};
pub use self::dataset::Dataset;
pub use self::dreambooth::DreamBoothIndex;
pub use self::error::DataError;
pub use self::evaluation_prompts::evaluation_prompts;
pub use self::image::load_rgb;
pub use self::kind::ConceptKind;
pub use self::layout::DataLayout;
pub use self::manifest::{DiscoverOptions, Manifest};
pub use self::mask::{Mask, load_mask};
pub use self::parameters::Parameters;
pub use self::source::{ConceptSource, ImageSource, Skipped};
pub use seqlora_core::data::{
    CaptionOptions, ConceptData, Examination, Example, Examples, MaskCoverage, Transform,
};
