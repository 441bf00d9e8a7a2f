//! Plain LoRA (arXiv 2106.09685): every concept by itself, A and B together.

use rand_chacha::ChaCha8Rng;
use seqlora_kernels::TrainBackend;

use super::method::{Constraint, Method, Work};
use super::problem::{Problem, StepTensors};
use super::state::TrainState;
use crate::lora::Site;
use crate::lora::directions::{Columns, kaiming_uniform};
use crate::objective::{Gradient, Wrt};
use crate::settings::TrainConfig;

/// AdamW in A, B and the token embeddings at once, as in ordinary fine-tuning. It takes K (T + 1) steps
/// of a minibatch: as many gradients as the other methods.
#[derive(Debug, Clone, Copy)]
pub struct PlainLora;

impl PlainLora {
    /// Its name in settings, banks and reports.
    pub const NAME: &'static str = "lora";
}

impl<B: TrainBackend> Method<B> for PlainLora {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn title(&self) -> &'static str {
        "Plain LoRA"
    }

    fn description(&self) -> &'static str {
        "as plain LoRAs"
    }

    fn constraint(&self) -> Constraint {
        Constraint::None
    }

    fn work(&self, settings: &TrainConfig) -> Work {
        let gradients = settings.outer * (settings.inner + 1);
        Work { gradients, hessian_products: 0, cached: 0 }
    }

    fn initial_down(
        &self,
        site: &Site,
        rank: usize,
        _: &Columns,
        _: &TrainConfig,
        rng: &mut ChaCha8Rng,
    ) -> Columns {
        kaiming_uniform(site.inputs, rank, rng)
    }

    fn step(
        &self,
        problem: &Problem<'_, B>,
        state: &mut TrainState<B::InnerBackend>,
    ) -> StepTensors<B::InnerBackend> {
        let (outer, inner) = (problem.settings.outer, problem.settings.inner);
        let evaluations = (0..outer).flat_map(|k| (0..=inner).map(move |t| (k, t)));
        let steps = evaluations.map(|evaluation| joint_step(problem, state, evaluation));
        steps.last().expect("K is at least 1")
    }
}

/// One step of AdamW in all parameters.
fn joint_step<B: TrainBackend>(
    problem: &Problem<'_, B>,
    state: &mut TrainState<B::InnerBackend>,
    evaluation: (usize, usize),
) -> StepTensors<B::InnerBackend> {
    let Gradient { loss, up, down, embeddings } =
        problem.gradient(evaluation, &state.parameters, Wrt::All);
    let rate = |site| problem.learning_rate(site, state.step);
    let weight_decay = problem.settings.weight_decay;
    let moved = state.inner.step(&state.parameters.adapters.up, &up, rate, weight_decay);
    state.parameters.adapters.up = moved;
    problem.step_down(state, &down);
    let embedding_norm = embeddings.map(|gradient| problem.step_embeddings(state, gradient));
    StepTensors { loss, slope: down.norm_tensor(), embedding_norm }
}
