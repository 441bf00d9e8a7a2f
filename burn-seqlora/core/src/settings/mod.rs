//! Every free choice of the method, with its default.

mod choices;
mod config;
mod validate;

pub use choices::{
    FrozenBasis, Hvp, InnerActivations, LrSchedule, NoiseReuse, OuterOptimizer, Preconditioner,
    TrainingBase, WarmStart,
};
pub use config::TrainConfig;
