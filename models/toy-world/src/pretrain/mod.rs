//! Training a small Stable Diffusion from nothing on the drawn [`world`](crate::world).
//!
//! ```text
//! Blueprint ─► configs, tokenizer
//! scenes ─► pixels ─ Autoencoding ─► vae/ ───────────┐
//! scenes ─► captions ─ CaptionReading ─► text_encoder/ ┴─ Denoising ─► unet/, text_encoder/
//! scenes ─► pixels, truths ─ Judging ─► judge/
//!                       └── train(): one loop, one optimiser, the weights' running average
//! ```
//!
//! Every batch is a function of the seed and the step's number, so that a resumed run repeats an
//! unbroken one.

mod autoencoding;
mod captions;
mod card;
mod config;
mod denoising;
mod design;
mod drawing;
mod initial;
pub mod judging;
mod model;
mod optimizer;
mod parameters;
mod parts;
mod places;
mod scenes;
mod state;
mod train;

pub use autoencoding::{Autoencoding, Fidelity};
pub use captions::{CaptionReader, CaptionReading, captioned, tokenize};
pub use card::{Card, PartTraining};
pub use config::{PretrainConfig, StageConfig};
pub use denoising::{Denoising, Drawing, TextToLatents};
pub use design::SIDE;
pub use drawing::{Agreeing, DrawingReport, GUIDANCE};
pub use initial::initialised;
pub use model::{PretrainError, Pretraining};
pub use optimizer::{Optimizer, Parameter};
pub use parameters::{Kind, gradients, kinds, parameters, rounded, with_parameters};
pub use places::PlaceReader;
pub use scenes::to_pixels;
pub use train::{Event, Progress, Stage, train};
