//! Every free choice of the method, with its default.

mod choices;
mod config;
mod validate;

pub use choices::{
    FrozenBasis, Hvp, InnerActivations, LrSchedule, Memory, NoiseReuse, OuterOptimizer,
    Preconditioner, TrainingBase, WarmStart,
};
pub use config::TrainConfig;
