//! Dual numbers over tensors.
//!
//! The rules: a linear operation applies to the tangent as it is, a bilinear one follows the product
//! rule, and a pointwise one multiplies the tangent by its derivative. Every rule is written in
//! differentiable operations. Nothing in here leaves the tape (`detach`, `inner`, `into_data`): the
//! backward pass of a tangent would then lose terms without an error.

mod arith;
mod contract;
mod pointwise;
mod shape;

use burn::tensor::{Tensor, backend::Backend};

/// A tensor and, when it depends on the direction of differentiation, its directional derivative of
/// the same shape.
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

    /// A value with its tangent.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn new(primal: Tensor<B, D>, tangent: Tensor<B, D>) -> Self {
        assert_eq!(primal.dims(), tangent.dims(), "a tangent has the shape of its value");
        Self { primal, tangent: Some(tangent) }
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

/// The sum of two tangents, where a missing one is zero.
pub fn add_tangents<B: Backend, const D: usize>(
    a: Option<Tensor<B, D>>,
    b: Option<Tensor<B, D>>,
) -> Option<Tensor<B, D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
