//! Training: from a plan and the data to concepts in a bank.
//!
//! ```text
//! plan ─► ConceptPlan ─ EncodedConcept (LatentCache) ─► samples ─ Trainer::step (a Method) ─► TrainState ─► Bank
//! ```

mod base;
mod capacity;
mod checkpoint;
mod checkpoint_record;
mod checkpoint_tensors;
mod common_prompts;
mod concept_run;
mod draw;
mod encode;
mod epochs;
mod event;
mod feasible;
mod forecast;
mod further;
mod keep_going;
mod latent_cache;
mod learn;
mod metrics;
mod plan;
#[cfg(all(test, feature = "cpu"))]
mod power_loss;
pub mod prompts;
mod trainer;
mod unfinished;

pub use crate::flow::Flow;
pub use base::OnBase;
pub use capacity::{CapacityPlan, plan_ranks};
pub use checkpoint::checkpointed_steps;
pub use encode::{EncodedConcept, Minibatch, resolution};
pub use event::Event;
pub use forecast::step_seconds;
pub use further::{plan_further, settings_of};
pub use keep_going::{FailedConcept, PlanOptions};
pub use latent_cache::LatentCache;
pub use learn::learn;
pub use plan::{ConceptPlan, Examining, LearnPlan, plan};
pub use trainer::{StepReport, Trainer};
pub use unfinished::check_nothing_unfinished;
