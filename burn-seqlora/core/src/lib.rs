//! SeqLoRA: teaching a diffusion model one concept after another (arXiv 2605.22743).
//!
//! Each concept gets a low-rank adapter ΔW = A Bᵀ. A (lower level) and B (upper level) are trained
//! together by bilevel optimisation under the constraint that B is orthogonal to the B of every
//! earlier concept, so that all adapters can simply be added.
//!
//! The modules in the order of the data's way: [`data`] (what training asks of images and prompts),
//! [`text`] and [`diffusion`] (encoded prompts, noise, the denoising loss over dual numbers),
//! [`objective`] (its derivatives; [`MicroBatches`] takes less memory for them), [`methods`] and [`optim`] (how parameters
//! move), [`train`] (the loop), [`bank`] (what is learnt, on disk), [`compose`] (several concepts at once), [`fusion`] (one
//! weight per layer for several concepts), [`pipeline`] (from prompts to images), [`audit`] (whether
//! adapters interfere).
//!
//! The crate decodes no image and names no network: [`model`] holds the few traits that it asks for.

pub mod audit;
pub mod bank;
pub mod check;
mod checkpointing;
pub mod compose;
pub mod data;
pub mod diffusion;
pub mod error;
mod flow;
pub mod fusion;
pub mod lora;
mod merge_error;
pub mod methods;
mod micro_batches;
pub mod model;
mod nearest;
pub mod objective;
pub mod optim;
pub mod pipeline;
pub mod precision;
mod read;
pub mod rng;
pub mod settings;
mod shard;
pub mod text;
pub mod train;

pub use error::{Error, Result};
pub use flow::Flow;
pub use micro_batches::{MicroBatch, MicroBatches};
pub use shard::Shard;
