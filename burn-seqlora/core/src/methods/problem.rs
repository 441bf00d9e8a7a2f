//! What a method is given: the losses of a minibatch, the constraint and the settings.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_jvp::{Dual, overall_mean};
use seqlora_kernels::{ActivationCache, KernelBackend, TrainBackend};

use super::state::TrainState;
use crate::lora::{Bases, DualAdapters, Factors, Site};
use crate::objective::{ConceptParameters, Gradient, Wrt, gradient, gradient_with_cache};
use crate::settings::{OuterOptimizer, TrainConfig};

/// The losses of one minibatch.
pub trait Losses<B: KernelBackend> {
    /// The loss at inner step t of outer iteration k, or at t = T that of the outer gradient.
    fn loss(
        &self,
        evaluation: (usize, usize),
        adapters: &DualAdapters<B>,
        embeddings: Option<&Tensor<B, 2>>,
    ) -> Dual<B, 1>;
}

/// The problem that a concept poses on one minibatch.
pub struct Problem<'a, B: TrainBackend> {
    /// L at each evaluation.
    pub losses: &'a dyn Losses<B>,
    /// The free choices.
    pub settings: &'a TrainConfig,
    /// The model's sites.
    pub sites: &'a [Site],
    /// Where B may lie.
    pub feasible: &'a Bases<B::InnerBackend>,
}

/// What one minibatch did, as tensors `[1]` that nobody has waited for.
#[derive(Debug, Clone)]
pub struct StepTensors<B: Backend> {
    /// The loss at the last gradient in all parameters.
    pub loss: Tensor<B, 1>,
    /// Norm of the (projected) gradient of B in the last step; of that of A where B is never trained.
    pub slope: Tensor<B, 1>,
    /// Mean norm of the token embeddings; `None` if they are not trained.
    pub embedding_norm: Option<Tensor<B, 1>>,
}

impl<B: TrainBackend> Problem<'_, B> {
    /// The gradient at an evaluation.
    pub fn gradient(
        &self,
        evaluation: (usize, usize),
        at: &ConceptParameters<B::InnerBackend>,
        wrt: Wrt,
    ) -> Gradient<B::InnerBackend> {
        gradient::<B>(&self.loss(evaluation), at, wrt)
    }

    /// The gradient at an evaluation, with the activations whose arithmetic intensity is at least `least`.
    pub fn gradient_with_cache(
        &self,
        evaluation: (usize, usize),
        at: &ConceptParameters<B::InnerBackend>,
        wrt: Wrt,
        least: usize,
    ) -> (Gradient<B::InnerBackend>, ActivationCache) {
        gradient_with_cache::<B>(&self.loss(evaluation), at, wrt, least)
    }

    fn loss(
        &self,
        evaluation: (usize, usize),
    ) -> impl Fn(&DualAdapters<B>, Option<&Tensor<B, 2>>) -> Dual<B, 1> + '_ {
        move |adapters, embeddings| self.losses.loss(evaluation, adapters, embeddings)
    }

    /// The learning rate of A at a site and step.
    pub fn learning_rate(&self, site: usize, step: usize) -> f64 {
        self.settings.learning_rate(&self.sites[site], step)
    }

    /// Removes what of each column is not feasible.
    pub fn project(&self, down: &Factors<B::InnerBackend>) -> Factors<B::InnerBackend> {
        match self.feasible.is_everything() {
            true => down.clone(),
            false => down.map(|site, b| self.feasible.project(site, b)),
        }
    }

    /// `B ← Π(step(B, direction))`: element-wise optimizers leave the subspace, so B is projected too.
    pub fn step_down(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        direction: &Factors<B::InnerBackend>,
    ) {
        let rate = |site| self.learning_rate(site, state.step) * self.settings.lr_down_ratio;
        let down = &state.parameters.adapters.down;
        let weight_decay = self.settings.weight_decay;
        let moved = match self.settings.outer_optimizer {
            OuterOptimizer::AdamW => state.outer.step(down, direction, rate, weight_decay),
            OuterOptimizer::GradientDescent => {
                down.zip_with_rates(direction, rate, |b, d, rate| {
                    b.mul_scalar(1.0 - rate * weight_decay) - d.mul_scalar(rate)
                })
            }
        };
        state.parameters.adapters.down = self.project(&moved);
    }

    /// AdamW on the token embeddings, until their mean norm reaches its limit; returns that norm, `[1]`.
    ///
    /// Whether it is reached is decided on the device, so that nobody has to wait for it.
    pub fn step_embeddings(
        &self,
        state: &mut TrainState<B::InnerBackend>,
        gradient: Tensor<B::InnerBackend, 2>,
    ) -> Tensor<B::InnerBackend, 1> {
        let embeddings = state.parameters.embeddings.clone().expect("a gradient in the embeddings");
        let norms = (embeddings.clone() * embeddings.clone()).sum_dim(1).sqrt();
        let norm = overall_mean(norms);
        if state.embeddings_frozen {
            return norm;
        }
        let reached = norm.clone().greater_equal_elem(self.settings.token_norm_limit);
        let frozen = match state.freezing.take() {
            Some(frozen) => frozen.bool_or(reached),
            None => reached,
        };
        let rate = self.settings.lr_token * self.settings.decay(state.step);
        let [before, gradient] =
            [embeddings.clone(), gradient].map(|t| Factors::new(vec![Some(t)]));
        let moved = state.embeddings.step(&before, &gradient, |_| rate, self.settings.weight_decay);
        let moved = moved.get(0).expect("one matrix");
        let mask = frozen.clone().reshape([1, 1]).expand(embeddings.dims());
        state.parameters.embeddings = Some(moved.mask_where(mask, embeddings));
        state.freezing = Some(frozen);
        norm
    }
}
