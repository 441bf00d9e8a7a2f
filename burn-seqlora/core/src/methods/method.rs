//! What a method of training decides, as a trait.

use std::fmt::Debug;

use rand_chacha::ChaCha8Rng;
use seqlora_kernels::TrainBackend;

use super::problem::{Problem, StepTensors};
use super::state::TrainState;
use crate::lora::directions::Columns;
use crate::lora::{AdapterSet, Feasible, Site, StoredAdapter, finish_adapter};
use crate::settings::TrainConfig;

/// What B of a new concept is kept orthogonal to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// To the B of every earlier concept, and to the protected directions. Each concept uses up
    /// directions of a layer's inputs, so layers become full.
    EarlierConcepts,
    /// To nothing: a concept does not depend on the others, and layers are never full.
    None,
}

impl Constraint {
    /// Whether a concept uses up directions.
    pub fn is_orthogonal(self) -> bool {
        self == Self::EarlierConcepts
    }
}

/// How many passes over the model one minibatch takes: for estimates of time and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Gradients of the loss.
    pub gradients: usize,
    /// Hessian products.
    pub hessian_products: usize,
    /// Gradients whose activations are held at once for the Hessian products at the same points.
    pub cached: usize,
}

/// A way to train a concept's factors.
pub trait Method<B: TrainBackend>: Debug + Sync {
    /// Its name in settings, banks and reports.
    fn name(&self) -> &'static str;

    /// Its name as papers write it, for headings; by default [`name`](Self::name).
    fn title(&self) -> &'static str {
        self.name()
    }

    /// What it does, to complete the sentence "Concepts were learnt …".
    fn description(&self) -> &'static str;

    /// What B of a new concept is kept orthogonal to.
    fn constraint(&self) -> Constraint {
        Constraint::EarlierConcepts
    }

    /// The passes of one minibatch.
    fn work(&self, settings: &TrainConfig) -> Work;

    /// The columns of B before the first step; A begins at zero. `feasible` is where the constraint allows B at
    /// this site.
    ///
    /// Fewer columns than `rank` mean that there are no more directions. What `rng` gives is a function
    /// of the training seed, the concept's id and the site's name: two concepts draw different numbers
    /// with the same training seed.
    fn initial_down(
        &self,
        site: &Site,
        rank: usize,
        feasible: &Feasible,
        settings: &TrainConfig,
        rng: &mut ChaCha8Rng,
    ) -> Columns {
        let scaled = |column: Vec<f64>| {
            column.into_iter().map(|x| f64::from(x as f32) * settings.down_norm).collect()
        };
        feasible.fresh_directions(site.inputs, rank, rng).into_iter().map(scaled).collect()
    }

    /// One minibatch: K (T + 1) evaluations of the loss.
    fn step(
        &self,
        problem: &Problem<'_, B>,
        state: &mut TrainState<B::InnerBackend>,
    ) -> StepTensors<B::InnerBackend>;

    /// The trained factors as the bank stores them: B orthonormal and feasible at each site, A Bᵀ unchanged.
    fn finish(
        &self,
        adapters: &AdapterSet<B::InnerBackend>,
        sites: &[Site],
        feasible: &[Feasible],
    ) -> StoredAdapter {
        finish_adapter(adapters, sites, feasible)
    }
}
