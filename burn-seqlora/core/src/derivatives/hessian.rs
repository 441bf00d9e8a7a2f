//! Products of second derivatives with a direction V in A.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use seqlora_kernels::TrainBackend;
use serde::{Deserialize, Serialize};

use super::gradient::{ConceptParameters, Objective, Wrt, collect, gradient};
use crate::lora::{AdapterSet, Factors};

/// How second derivatives are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hvp {
    /// Reverse over forward: exact, one backward pass.
    #[default]
    Exact,
    /// Central differences of two gradients; unusable below f32.
    FiniteDifference,
    /// No second derivatives: Continual Alternating.
    None,
}

/// ∇²_AA L V and ∇²_BA L V, over all sites jointly.
#[derive(Debug, Clone)]
pub struct HessianProduct<B: Backend> {
    /// ∇²_AA L V
    pub up: Factors<B>,
    /// ∇²_BA L V
    pub down: Factors<B>,
}

/// Both products by one backward pass of φ = ⟨∇_A L, V⟩.
pub fn hessian_product<B, O>(
    objective: &O,
    at: &ConceptParameters<B::InnerBackend>,
    direction: &Factors<B::InnerBackend>,
    sample: &O::Sample,
) -> HessianProduct<B::InnerBackend>
where
    B: TrainBackend,
    O: Objective<B>,
{
    let leaves = AdapterSet::<B>::leaves(&at.adapters, true);
    let direction = direction.map(|_, v| Tensor::<B, 2>::from_inner(v));
    let rows = at.rows.clone().map(Tensor::<B, 2>::from_inner);
    let loss = objective.loss(&leaves.along(&direction), rows.as_ref(), sample);
    match loss.tangent {
        Some(phi) => {
            let grads = phi.backward();
            HessianProduct {
                up: collect::<B>(&leaves.up, &grads),
                down: collect::<B>(&leaves.down, &grads),
            }
        }
        None => {
            HessianProduct { up: at.adapters.up.zeros_like(), down: at.adapters.down.zeros_like() }
        }
    }
}

/// Both products by central differences: `(∇L(A + εV) − ∇L(A − εV)) / 2ε` with ε‖V‖ = `step`.
///
/// In f32 the best `step` is about 1e-2, with a relative error of 4e-5.
pub fn hessian_product_fd<B, O>(
    objective: &O,
    at: &ConceptParameters<B::InnerBackend>,
    direction: &Factors<B::InnerBackend>,
    sample: &O::Sample,
    step: f64,
) -> HessianProduct<B::InnerBackend>
where
    B: TrainBackend,
    O: Objective<B>,
{
    let norm = direction.norm();
    if norm == 0.0 {
        return HessianProduct { up: direction.clone(), down: at.adapters.down.zeros_like() };
    }
    let epsilon = step / norm;
    let shifted = |sign: f64| {
        let up = at.adapters.up.axpy(sign * epsilon, direction);
        let adapters = AdapterSet { up, down: at.adapters.down.clone() };
        let at = ConceptParameters { adapters, rows: at.rows.clone() };
        gradient::<B, O>(objective, &at, sample, Wrt::All)
    };
    let (plus, minus) = (shifted(1.0), shifted(-1.0));
    let quotient = |plus: &Factors<_>, minus: &Factors<_>| {
        plus.zip_map(minus, |_, p, m| (p - m).div_scalar(2.0 * epsilon))
    };
    HessianProduct { up: quotient(&plus.up, &minus.up), down: quotient(&plus.down, &minus.down) }
}
