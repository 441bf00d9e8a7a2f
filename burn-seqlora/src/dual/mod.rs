//! Dual numbers over tensors: the one key element of this project.
//!
//! A [`Dual`] is a tensor and, when it depends on the direction of differentiation, its
//! directional derivative. Layers take and return duals, so one `forward` serves
//!
//! - inference: every tangent is `None`, which is an exact zero and costs nothing;
//! - gradients: the same, with the factors required to have gradients;
//! - Hessian products: put the direction V on the factors A; the loss's tangent is then
//!   φ = ⟨∇_A L, V⟩, and one ordinary backward pass of φ gives H_AA V at A and H_BA V at B
//!   (reverse over forward).
//!
//! The rules: linear operations apply to the tangent as they are, bilinear ones follow the product
//! rule, and the others live in the kernels crate with their own tangents. Nothing in here leaves
//! the tape (`detach`, `inner`, `into_data`), or the backward pass would lose terms silently.

mod arith;
mod ops;
mod shape;

use burn::tensor::{Tensor, backend::Backend};
use seqlora_kernels::Pair;

/// A tensor and, when it depends on the direction, its directional derivative of the same shape.
#[derive(Debug, Clone)]
pub struct Dual<B: Backend, const D: usize> {
    /// The value.
    pub primal: Tensor<B, D>,
    /// The directional derivative; `None` is an exact zero.
    pub tangent: Option<Tensor<B, D>>,
}

impl<B: Backend, const D: usize> Dual<B, D> {
    /// A value that does not depend on the direction.
    pub fn constant(primal: Tensor<B, D>) -> Self {
        Self { primal, tangent: None }
    }

    /// The sizes of the dimensions.
    pub fn dims(&self) -> [usize; D] {
        self.primal.dims()
    }

    /// Applies a linear operation: to the value, and as it is to the tangent.
    pub fn map_linear<const E: usize>(
        self,
        operation: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Dual<B, E> {
        Dual { primal: operation(self.primal), tangent: self.tangent.map(operation) }
    }
}

impl<B: Backend, const D: usize> From<Pair<B, D>> for Dual<B, D> {
    fn from((primal, tangent): Pair<B, D>) -> Self {
        Self { primal, tangent }
    }
}

impl<B: Backend, const D: usize> From<Dual<B, D>> for Pair<B, D> {
    fn from(dual: Dual<B, D>) -> Self {
        (dual.primal, dual.tangent)
    }
}
