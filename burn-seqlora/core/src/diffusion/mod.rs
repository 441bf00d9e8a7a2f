//! The diffusion process: noise schedule, denoising loss, samplers.

mod attention_loss;
mod conditioning;
mod denoising;
pub mod regions;
mod sample;
pub mod sampler;
pub mod schedule;

pub use attention_loss::{AttentionRegularization, TrainingLoss};
pub use conditioning::{Conditioning, Context};
pub use denoising::{DenoisingLoss, DenoisingSample, Noised, noised};
pub use regions::{Area, KeyValue, Source};
pub use sample::{Guidance, sample};
pub use sampler::{SamplerKind, SamplerPlan, SamplerStep};
pub use schedule::{NoiseSchedule, Prediction, ScheduleError, SchedulerConfig};
