//! The trainer: A by inner steps, B by the hypergradient, under orthogonality; plain LoRA beside it.

mod adam;
mod base;
mod capacity;
mod checkpoint;
mod learn;
mod metrics;
mod plan;
mod shared;
mod state;
mod step;

pub use base::OnBase;
pub use capacity::{CapacityPlan, plan_ranks};
pub use learn::{Event, Flow, learn};
pub use plan::{ConceptPlan, LearnPlan, plan};
pub use state::TrainState;
pub use step::{Bilevel, StepReport};
