//! Training of a small Stable Diffusion from scratch on the toy [`world`](crate::world).
//!
//! ```text
//! Blueprint ─► configurations, tokenizer
//! scenes ─► pixels ─ Autoencoding ─► vae/ ─────────────────┐
//! scenes ─► captions ─ CaptionGrounding ─► text_encoder/ ──┴─ Denoising ─► unet/, text_encoder/
//! scenes ─► pixels, truths ─ Classification ─► classifier/
//!                   └── train(): one loop and optimiser for all tasks, with an EMA of the weights
//! ```
//!
//! Every batch is a function of the seed and the step's number, so that a resumed run gives the
//! same weights as an uninterrupted one.

mod autoencoding;
mod captions;
mod card;
pub mod classification;
mod config;
mod denoising;
mod denoising_batch;
mod design;
mod evaluation;
mod folder;
mod grounding;
mod guard;
mod initial;
mod optimizer;
mod parameters;
mod parts;
mod scene_latents;
mod spatial_labels;
mod state;
mod train;

pub use autoencoding::{Autoencoding, Fidelity};
pub use captions::{caption, half_captions, tokenize, training_scene};
pub use card::{Card, PartTraining};
pub use config::{OptimizerKind, PretrainConfig, TaskConfig};
pub use denoising::{Denoising, Sampling, TextToLatents};
pub use design::SIDE;
pub use evaluation::{Evaluator, GUIDANCE, GenerationReport, PromptAccuracy};
pub use folder::{PretrainError, Pretraining};
pub use grounding::{CaptionGrounding, GroundingModel};
pub use initial::initialised;
pub use optimizer::{Optimizer, Parameter};
pub use parameters::{Kind, gradients, kinds, parameters, rounded, with_parameters};
pub use scene_latents::SceneLatents;
pub use spatial_labels::SpatialHead;
pub use train::{Event, Progress, Task, train};
