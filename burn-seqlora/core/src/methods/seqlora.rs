//! SeqLoRA (arXiv 2605.22743): A is the lower level and B the upper one, and the gradient in B goes
//! through the steps in A by exact Hessian products.

use seqlora_kernels::TrainBackend;

use super::bilevel;
use super::method::{Method, Work};
use super::problem::{Problem, StepTensors};
use super::state::TrainState;
use crate::settings::{Hvp, TrainConfig};

/// Bilevel optimisation with cross-Hessian terms, under orthogonality to every earlier concept.
#[derive(Debug, Clone, Copy)]
pub struct SeqLora;

impl SeqLora {
    /// Its name in settings, banks and reports.
    pub const NAME: &'static str = "seqlora";
}

impl<B: TrainBackend> Method<B> for SeqLora {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn title(&self) -> &'static str {
        "SeqLoRA"
    }

    fn description(&self) -> &'static str {
        "by SeqLoRA, which keeps every adapter orthogonal to the ones before it"
    }

    fn work(&self, settings: &TrainConfig) -> Work {
        let TrainConfig { outer, inner, hvp, .. } = *settings;
        let differences = if hvp == Hvp::FiniteDifference { 2 * inner } else { 0 };
        Work {
            gradients: outer * (inner + 1 + differences),
            hessian_products: if hvp == Hvp::Exact { outer * inner } else { 0 },
            cached: settings.cache_from(hvp).map_or(0, |_| inner),
        }
    }

    fn step(
        &self,
        problem: &Problem<'_, B>,
        state: &mut TrainState<B::InnerBackend>,
    ) -> StepTensors<B::InnerBackend> {
        bilevel::minibatch(problem, state, problem.settings.hvp)
    }
}
