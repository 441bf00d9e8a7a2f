//! Derivatives of an objective on a sample.

use burn::tensor::{Tensor, backend::Backend};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::{ActivationCache, TrainBackend};
use burn_seqlora::lora::{DualAdapters, Factors};
use burn_seqlora::objective::{self, Objective};
pub use burn_seqlora::objective::{ConceptParameters, Gradient, HessianProduct, Wrt};
use burn_seqlora::optim;
pub use burn_seqlora::optim::{HyperGradient, InnerStep};
pub use burn_seqlora::settings::Hvp;

/// The number in a tensor `[1]`.
pub fn number<B: Backend>(tensor: &Tensor<B, 1>) -> f64 {
    tensor.to_data().iter().next().expect("one element")
}

/// Value and gradient of the loss.
pub fn gradient<D: TrainBackend, O: Objective<D>>(
    objective: &O,
    at: &ConceptParameters<D::InnerBackend>,
    sample: &O::Sample,
    wrt: Wrt,
) -> Gradient<D::InnerBackend> {
    objective::gradient::<D>(&objective.on(sample), at, wrt)
}

/// The gradient in A, with all activations that can be cached.
pub fn gradient_with_cache<D: TrainBackend, O: Objective<D>>(
    objective: &O,
    at: &ConceptParameters<D::InnerBackend>,
    sample: &O::Sample,
) -> (Factors<D::InnerBackend>, ActivationCache) {
    let loss = objective.on(sample);
    let (gradient, cache) = objective::gradient_with_cache::<D>(&loss, at, Wrt::Up, 1);
    (gradient.up, cache)
}

/// Both Hessian products.
pub fn hessian_product<D: TrainBackend, O: Objective<D>>(
    objective: &O,
    at: &ConceptParameters<D::InnerBackend>,
    direction: &Factors<D::InnerBackend>,
    sample: &O::Sample,
) -> HessianProduct<D::InnerBackend> {
    objective::hessian_product::<D>(&objective.on(sample), at, direction)
}

/// Both by central differences.
pub fn hessian_product_fd<D: TrainBackend, O: Objective<D>>(
    objective: &O,
    at: &ConceptParameters<D::InnerBackend>,
    direction: &Factors<D::InnerBackend>,
    sample: &O::Sample,
    step: f64,
) -> HessianProduct<D::InnerBackend> {
    objective::hessian_product_by_differences::<D>(&objective.on(sample), at, direction, step)
}

/// The hypergradient after inner steps.
pub fn hypergradient<D: TrainBackend, O: Objective<D>>(
    objective: &O,
    end: &ConceptParameters<D::InnerBackend>,
    steps: &[InnerStep<D::InnerBackend, &O::Sample>],
    outer: &O::Sample,
    ridge: f64,
    hvp: Hvp,
) -> HyperGradient<D::InnerBackend> {
    let loss = |sample: &&O::Sample,
                adapters: &DualAdapters<D>,
                rows: Option<&Tensor<D, 2>>|
     -> Dual<D, 1> { objective.loss(adapters, rows, sample) };
    optim::hypergradient::<D, &O::Sample>(&loss, end, steps, &outer, ridge, hvp)
}
