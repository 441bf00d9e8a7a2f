//! The gradient of the upper level through T unrolled inner steps (docs/math.md, one outer iteration).
//!
//! Inner: `A_{t+1} = A_t − s_t ∘ (∇_A L(A_t, B; ξ_t) + λ A_t)`, where the step `s_t = α P_t` holds the
//! learning rate and a detached preconditioner. Adjoint, from v = ∇_A L(A_T, B; ξ):
//!
//! ```text
//! u = s_t ∘ v;   ∇F −= H_BA(A_t; ξ_t) u;   v −= H_AA(A_t; ξ_t) u + λ u      t = T−1 … 0
//! ```

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_kernels::{ActivationCache, TrainBackend};

use crate::lora::{AdapterSet, DualAdapters, Factors};
use crate::objective::{
    ConceptParameters, Gradient, HessianProduct, Wrt, gradient, hessian_product,
    hessian_product_by_differences, hessian_product_with_cache,
};
use crate::settings::Hvp;

/// ε‖V‖ of the central differences: the best in f32.
const FINITE_DIFFERENCE_STEP: f64 = 1e-2;

/// What one inner step did; enough to differentiate through it.
#[derive(Debug, Clone)]
pub struct InnerStep<B: Backend, S> {
    /// A_t, before the step.
    pub up: Factors<B>,
    /// s_t = α P_t, element by element.
    pub step: Factors<B>,
    /// ξ_t: what the step's gradient saw, to be replayed exactly.
    pub sample: S,
    /// The activations of the step's gradient, if they were cached.
    pub cache: Option<ActivationCache>,
}

/// The gradient of F(B) = L(A_T(B), B), with what its first pass also gave.
#[derive(Debug, Clone)]
pub struct HyperGradient<B: Backend> {
    /// L(A_T, B; ξ), `[1]` on the device.
    pub loss: Tensor<B, 1>,
    /// ∇F(B)
    pub down: Factors<B>,
    /// ∇_B L(A_T, B; ξ): what is left without second derivatives.
    pub partial: Factors<B>,
    /// The gradient in the token embeddings at (A_T, B).
    pub embeddings: Option<Tensor<B, 2>>,
}

/// A loss on a sample, in the adapters and the concept's token embeddings.
pub type SampleLoss<'a, B, S> =
    dyn Fn(&S, &DualAdapters<B>, Option<&Tensor<B, 2>>) -> Dual<B, 1> + 'a;

/// The hypergradient at `end` = (A_T, B) after the inner `steps`; exact for the truncated unroll.
///
/// `loss` evaluates the objective on a sample; `outer` is the upper level's. With [`Hvp::None`] the
/// result is ∇_B L(A_T, B; ξ), the upper step of Continual Alternating.
pub fn hypergradient<B: TrainBackend, S>(
    loss: &SampleLoss<'_, B, S>,
    end: &ConceptParameters<B::InnerBackend>,
    steps: &[InnerStep<B::InnerBackend, S>],
    outer: &S,
    ridge: f64,
    hvp: Hvp,
) -> HyperGradient<B::InnerBackend> {
    let last = gradient::<B>(&|adapters, rows| loss(outer, adapters, rows), end, Wrt::All);
    let Gradient { loss: value, up: mut adjoint, down: partial, embeddings } = last;
    let mut down = partial.clone();
    for InnerStep { up, step, sample, cache } in steps.iter().rev() {
        let adapters = AdapterSet { up: up.clone(), down: end.adapters.down.clone() };
        let at = ConceptParameters { adapters, embeddings: end.embeddings.clone() };
        let direction = adjoint.mul(step);
        let loss =
            |adapters: &DualAdapters<B>, rows: Option<&Tensor<B, 2>>| loss(sample, adapters, rows);
        let HessianProduct { up: h_aa, down: h_ba } = match hvp {
            Hvp::Exact => match cache {
                Some(cache) => hessian_product_with_cache::<B>(&loss, &at, &direction, cache),
                None => hessian_product::<B>(&loss, &at, &direction),
            },
            Hvp::FiniteDifference => {
                let step = FINITE_DIFFERENCE_STEP;
                hessian_product_by_differences::<B>(&loss, &at, &direction, step)
            }
            Hvp::None => break,
        };
        down = down.axpy(-1.0, &h_ba);
        adjoint = adjoint.axpy(-1.0, &h_aa).axpy(-ridge, &direction);
    }
    HyperGradient { loss: value, down, partial, embeddings }
}
