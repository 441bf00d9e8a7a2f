//! The loss as a function of a concept's parameters, and its gradient.

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use seqlora_kernels::{KernelBackend, TrainBackend};

use crate::lora::{AdapterSet, DualAdapters, Factors};
use burn_jvp::Dual;
use crate::scalar::scalar;

/// All that is trained for one concept.
#[derive(Debug, Clone)]
pub struct ConceptParameters<B: Backend> {
    /// A and B.
    pub adapters: AdapterSet<B>,
    /// The concept's token rows `[rows, width]`.
    pub rows: Option<Tensor<B, 2>>,
}

/// A loss that is a pure function of the parameters and of one sample.
///
/// A sample holds everything random (noise, timesteps, crops), so that a second-order pass can
/// replay exactly what a first-order pass saw.
pub trait Objective<B: KernelBackend> {
    /// One minibatch with its noise and timesteps.
    type Sample;

    /// The loss, `[1]`.
    fn loss(
        &self,
        adapters: &DualAdapters<B>,
        rows: Option<&Tensor<B, 2>>,
        sample: &Self::Sample,
    ) -> Dual<B, 1>;
}

/// Which parameters a gradient is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrt {
    /// A alone: the inner steps.
    Up,
    /// A, B and the token rows.
    All,
}

/// The value of the loss and its gradient.
#[derive(Debug, Clone)]
pub struct Gradient<B: Backend> {
    /// L
    pub loss: f64,
    /// ∇_A L
    pub up: Factors<B>,
    /// ∇_B L; zero if it was not asked for.
    pub down: Factors<B>,
    /// The gradient in the token rows, if the loss has them and they were asked for.
    pub rows: Option<Tensor<B, 2>>,
}

/// Value and gradient of the loss by one backward pass.
pub fn gradient<B, O>(
    objective: &O,
    at: &ConceptParameters<B::InnerBackend>,
    sample: &O::Sample,
    wrt: Wrt,
) -> Gradient<B::InnerBackend>
where
    B: TrainBackend,
    O: Objective<B>,
{
    let all = wrt == Wrt::All;
    let leaves = AdapterSet::<B>::leaves(&at.adapters, all);
    let rows = at.rows.clone().map(|rows| {
        let rows = Tensor::<B, 2>::from_inner(rows);
        if all { rows.require_grad() } else { rows }
    });
    let loss = objective.loss(&leaves.constant(), rows.as_ref(), sample).primal;
    let value = scalar(loss.clone().inner());
    let grads = loss.backward();
    Gradient {
        loss: value,
        up: collect::<B>(&leaves.up, &grads),
        down: collect::<B>(&leaves.down, &grads),
        rows: rows.filter(|_| all).map(|rows| grad_or_zero::<B>(&rows, &grads)),
    }
}

pub(super) fn collect<B: AutodiffBackend>(
    leaves: &Factors<B>,
    grads: &B::Gradients,
) -> Factors<B::InnerBackend> {
    leaves.map(|_, leaf| grad_or_zero::<B>(&leaf, grads))
}

/// A leaf that the loss does not reach has gradient zero.
fn grad_or_zero<B: AutodiffBackend>(
    leaf: &Tensor<B, 2>,
    grads: &B::Gradients,
) -> Tensor<B::InnerBackend, 2> {
    leaf.grad(grads).unwrap_or_else(|| leaf.clone().inner().zeros_like())
}
