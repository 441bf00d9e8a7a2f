//! What happens during training.

use super::plan::ConceptPlan;
use super::trainer::StepReport;
use crate::bank::TrainingRecord;
use crate::compose::HostConcept;
use crate::error::Error;

/// What happens during training, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A concept begins (or goes on at its `resume_at`).
    Start(&'a ConceptPlan<'a>),
    /// The first step begins: images are encoded as far as the first loss needs them.
    Ready {
        /// The probes' loss before any step.
        initial_loss: f64,
    },
    /// A minibatch is done.
    Step(&'a StepReport),
    /// The token embeddings have reached their norm limit and stay as they are.
    EmbeddingsFrozen {
        /// Their mean norm.
        norm: f64,
        /// The limit.
        limit: f64,
    },
    /// The concept as it would be stored after so many steps; at those of
    /// [`LearnPlan::snapshot_every`](super::LearnPlan::snapshot_every).
    Snapshot {
        /// What is being trained.
        plan: &'a ConceptPlan<'a>,
        /// Steps done.
        step: usize,
        /// The concept.
        concept: &'a HostConcept,
    },
    /// The state is on disk.
    Saved(usize),
    /// A concept is in the bank.
    Learnt {
        /// Its id.
        id: &'a str,
        /// How it was trained.
        training: &'a TrainingRecord,
    },
    /// A concept cannot be learnt, and the run goes on without it.
    Failed {
        /// Its id.
        id: &'a str,
        /// Why.
        error: &'a Error,
    },
}
