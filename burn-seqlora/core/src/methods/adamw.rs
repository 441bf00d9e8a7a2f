//! What methods without levels share: AdamW in A and the token embeddings, and in B if it is trained.

use seqlora_kernels::TrainBackend;

use super::method::Work;
use super::problem::{Problem, StepTensors};
use super::state::TrainState;
use crate::objective::{Gradient, Wrt};
use crate::settings::TrainConfig;

/// K (T + 1) gradients of a minibatch, as many as the other methods take.
pub fn work(settings: &TrainConfig) -> Work {
    let gradients = settings.outer * (settings.inner + 1);
    Work { gradients, hessian_products: 0, cached: 0 }
}

/// One step for each gradient. B is trained if `wrt` has it.
pub fn minibatch<B: TrainBackend>(
    problem: &Problem<'_, B>,
    state: &mut TrainState<B::InnerBackend>,
    wrt: Wrt,
) -> StepTensors<B::InnerBackend> {
    let (outer, inner) = (problem.settings.outer, problem.settings.inner);
    let evaluations = (0..outer).flat_map(|k| (0..=inner).map(move |t| (k, t)));
    let steps = evaluations.map(|evaluation| step(problem, state, evaluation, wrt));
    steps.last().expect("K is at least 1")
}

fn step<B: TrainBackend>(
    problem: &Problem<'_, B>,
    state: &mut TrainState<B::InnerBackend>,
    evaluation: (usize, usize),
    wrt: Wrt,
) -> StepTensors<B::InnerBackend> {
    let Gradient { loss, up, down, embeddings } =
        problem.gradient(evaluation, &state.parameters, wrt);
    let rate = |site| problem.learning_rate(site, state.step);
    let weight_decay = problem.settings.weight_decay;
    let moved = state.inner.step(&state.parameters.adapters.up, &up, rate, weight_decay);
    state.parameters.adapters.up = moved;
    if wrt == Wrt::All {
        problem.step_down(state, &down);
    }
    let embedding_norm = embeddings.map(|gradient| problem.step_embeddings(state, gradient));
    let slope = if wrt == Wrt::All { down } else { up };
    StepTensors { loss, slope: slope.norm_tensor(), embedding_norm }
}
