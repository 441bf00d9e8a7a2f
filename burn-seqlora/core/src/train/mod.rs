//! Training: from a plan and the data to concepts in a bank.
//!
//! ```text
//! plan ─► ConceptPlan ─ EncodedConcept ─► samples ─ Trainer::step (a Method) ─► TrainState ─► Bank
//! ```

mod base;
mod capacity;
mod checkpoint;
mod common_prompts;
mod encode;
mod learn;
mod metrics;
mod plan;
#[cfg(all(test, feature = "cpu"))]
mod power_loss;
pub mod prompts;
mod trainer;

pub use crate::flow::Flow;
pub use base::OnBase;
pub use capacity::{CapacityPlan, plan_ranks};
pub use encode::{EncodedConcept, resolution};
pub use learn::{Event, learn};
pub use plan::{ConceptPlan, LearnPlan, plan};
pub use trainer::{StepReport, Trainer};
