//! The diffusion process: noise schedule, denoising loss, samplers.

mod attention_loss;
mod conditioning;
mod denoising;
pub mod regions;
mod sample;
pub mod sampler;
pub mod schedule;
mod training_loss;

pub use attention_loss::AttentionRegularization;
pub use conditioning::{Conditioning, Context};
pub use denoising::{DenoisingLoss, DenoisingSample, Noised, PriorSample, noised};
pub use regions::{Area, KeyValue, Source};
pub use sample::{Guidance, sample, sample_from};
pub use sampler::{LevelLayout, SamplerKind, SamplerPlan, SamplerStep, TimestepSpacing};
pub use schedule::{NoiseSchedule, Prediction, ScheduleError, SchedulerConfig};
pub use training_loss::TrainingLoss;
