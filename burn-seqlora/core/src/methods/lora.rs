//! Plain LoRA (arXiv 2106.09685): every concept by itself, A and B together.

use rand_chacha::ChaCha8Rng;
use seqlora_kernels::TrainBackend;

use super::adamw;
use super::method::{Constraint, Method, Work};
use super::problem::{Problem, StepTensors};
use super::state::TrainState;
use crate::lora::directions::{Columns, kaiming_uniform};
use crate::lora::{Feasible, Site};
use crate::objective::Wrt;
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
        adamw::work(settings)
    }

    fn initial_down(
        &self,
        site: &Site,
        rank: usize,
        _: &Feasible,
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
        adamw::minibatch(problem, state, Wrt::All)
    }
}
