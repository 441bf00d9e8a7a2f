//! What is evaluated, and how: concepts, prompts, seeds, sampling, and the images and scores that follow.
//!
//! ```text
//! EvaluationConfig + concepts ─► Protocol ─ images ─► Vec<ImageGroup> ─ score_sets ─► Vec<ScoreSet>
//! ```
//!
//! A [`Protocol`] is data: two runs with equal protocols and methods ask for the same images, in the same
//! order, on any machine. That is what lets shards be merged.

mod config;
mod defaults;
mod images;
mod profile;
mod prompt;
mod resolved;
mod scores;
mod shift;
#[cfg(test)]
pub(crate) mod tests_support;

pub use config::{ConceptConfig, EvaluationConfig, PairConfig};
pub use images::{ImageGroup, MethodPlan, PlannedImage, Purpose, Stage, images};
pub use profile::{Profile, SamplingConfig};
pub use prompt::{MOST_PROMPTS, ProtocolError, fill, parse_prompts};
pub use resolved::{ConceptProtocol, GivenConcept, PairProtocol, Protocol};
pub use scores::{ImageSource, ScoreKind, ScoreSet, Section, score_sets};
pub use shift::Shift;
