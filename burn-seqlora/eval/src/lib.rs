//! Metrics of generated images, their means over concepts, and reports.
//!
//! ```text
//! images ─ Metric ─► a score per image ─ Evaluator ─► means per concept ─ report::Summary ─► JSON, HTML
//! ```
//!
//! An evaluation of whole banks takes four steps, each a module: [`protocol`] says which images and scores
//! there are, [`store`] keeps them, [`statistics`] summarises numbers, and [`results`] writes them down.
//!
//! A [`Metric`] is anything that scores images. [`Evaluator`], [`report::Summary`] and the page go
//! through a list of metrics and a list of methods and know none of them by name. No network is in this
//! crate: one that embeds images implements [`ImageEncoder`], and one that embeds texts
//! [`TextEncoder`].

mod embedding;
mod estimate;
mod evaluator;
mod identity;
mod metric;
mod pairwise;
mod prompt_similarity;
pub mod protocol;
mod recognition;
pub mod report;
pub mod results;
pub mod statistics;
pub mod store;

pub use embedding::{Embedder, Embedding, ImageEncoder, MeanDirection, SmallImages, to_pixels};
pub use estimate::Estimate;
pub use evaluator::{Bounds, Evaluator, References, Stages};
pub use identity::Identity;
pub use metric::{Context, Direction, Metric, MetricError, MetricInfo, Needs, evaluate};
pub use pairwise::{Measure, Pairwise};
pub use prompt_similarity::{PromptScore, PromptSimilarity, PromptText, TextEmbedder, TextEncoder};
pub use recognition::Recognition;
