//! The outer iteration that SeqLoRA and Continual Alternating share: T steps in A, then one in B.

use burn::tensor::Tensor;
use seqlora_kernels::TrainBackend;

use super::problem::{Problem, StepTensors};
use super::state::TrainState;
use crate::lora::DualAdapters;
use crate::objective::Wrt;
use crate::optim::{InnerStep, hypergradient};
use crate::settings::{Hvp, Preconditioner, WarmStart};

/// K outer iterations; second derivatives are taken as `hvp` says.
pub fn minibatch<B: TrainBackend>(
    problem: &Problem<'_, B>,
    state: &mut TrainState<B::InnerBackend>,
    hvp: Hvp,
) -> StepTensors<B::InnerBackend> {
    let iterations = (0..problem.settings.outer).map(|k| outer_iteration(problem, state, k, hvp));
    iterations.last().expect("K is at least 1")
}

/// T steps in A, then one in B along the hypergradient and one in the token embeddings.
fn outer_iteration<B: TrainBackend>(
    problem: &Problem<'_, B>,
    state: &mut TrainState<B::InnerBackend>,
    k: usize,
    hvp: Hvp,
) -> StepTensors<B::InnerBackend> {
    let settings = problem.settings;
    let start = (state.parameters.adapters.up.clone(), state.inner.clone());
    let steps = inner_steps(problem, state, k, settings.cache_from(hvp));
    let loss = |t: &usize, adapters: &DualAdapters<B>, embeddings: Option<&Tensor<B, 2>>| {
        problem.losses.loss((k, *t), adapters, embeddings)
    };
    let outer = &settings.inner;
    let hyper = hypergradient(&loss, &state.parameters, &steps, outer, settings.ridge, hvp);
    let direction = problem.project(&hyper.down);
    let slope = direction.norm_tensor();
    problem.step_down(state, &direction);
    if settings.warm_start == WarmStart::Rerun {
        (state.parameters.adapters.up, state.inner) = start;
        inner_steps(problem, state, k, None);
    }
    let embedding_norm = hyper.embeddings.map(|gradient| problem.step_embeddings(state, gradient));
    StepTensors { loss: hyper.loss, slope, embedding_norm }
}

/// T steps in A; returns what is needed to differentiate through them, with the activations of their
/// gradients whose arithmetic intensity is at least `cache_from`.
fn inner_steps<B: TrainBackend>(
    problem: &Problem<'_, B>,
    state: &mut TrainState<B::InnerBackend>,
    k: usize,
    cache_from: Option<usize>,
) -> Vec<InnerStep<B::InnerBackend, usize>> {
    let settings = problem.settings;
    let step = |t| {
        let at = &state.parameters;
        let up = at.adapters.up.clone();
        let (gradient, cache) = match cache_from {
            Some(least) => {
                let (gradient, cache) = problem.gradient_with_cache((k, t), at, Wrt::Up, least);
                (gradient, Some(cache))
            }
            None => (problem.gradient((k, t), at, Wrt::Up), None),
        };
        let gradient = gradient.up.axpy(settings.ridge, &up);
        let scale = match settings.preconditioner {
            Preconditioner::Adam => state.inner.second.observe(&gradient),
            Preconditioner::None => up.ones_like(),
        };
        let rate = |site| problem.learning_rate(site, state.step);
        let step = scale.scale_by_rates(rate);
        state.parameters.adapters.up = up.axpy(-1.0, &gradient.mul(&step));
        InnerStep { up, step, sample: t, cache }
    };
    (0..settings.inner).map(step).collect()
}
