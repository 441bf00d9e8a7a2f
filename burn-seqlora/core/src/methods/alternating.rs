//! Continual Alternating: the same two levels, but the gradient in B does not go through the steps in A
//! (the paper's first-order baseline).

use seqlora_kernels::TrainBackend;

use super::bilevel;
use super::method::{Method, Work};
use super::problem::{Problem, StepTensors};
use super::state::TrainState;
use crate::settings::{Hvp, TrainConfig};

/// Steps in A and B by turns, without second derivatives, under the same orthogonality.
#[derive(Debug, Clone, Copy)]
pub struct Alternating;

impl Alternating {
    /// Its name in settings, banks and reports.
    pub const NAME: &'static str = "alternating";
}

impl<B: TrainBackend> Method<B> for Alternating {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn title(&self) -> &'static str {
        "Alternating"
    }

    fn description(&self) -> &'static str {
        "by the same alternation without second derivatives"
    }

    fn work(&self, settings: &TrainConfig) -> Work {
        let gradients = settings.outer * (settings.inner + 1);
        Work { gradients, hessian_products: 0, cached: 0 }
    }

    fn step(
        &self,
        problem: &Problem<'_, B>,
        state: &mut TrainState<B::InnerBackend>,
    ) -> StepTensors<B::InnerBackend> {
        bilevel::minibatch(problem, state, Hvp::None)
    }
}
