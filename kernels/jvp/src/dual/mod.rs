//! Dual numbers over tensors.
//!
//! There are three kinds of tangent rules: a linear operation is applied to the tangent as it is, a
//! bilinear one follows the product rule, and a function of each element multiplies the tangent by
//! its derivative. Every rule is written in differentiable operations and never leaves the tape by
//! `detach`, `inner` or `into_data`: the backward pass of a tangent would then lose terms without
//! any error.

mod arith;
mod contract;
mod pointwise;
mod reduce;
mod shape;

use burn::tensor::{Tensor, backend::Backend};

/// A tensor and, if it depends on what moves, its directional derivative.
///
/// The fields are public so that an operation outside of this crate can bring its own tangent rule.
/// Both tensors have the same shape.
#[derive(Debug, Clone)]
pub struct Dual<B: Backend, const D: usize> {
    /// The value.
    pub primal: Tensor<B, D>,
    /// The directional derivative; `None` is an exact zero, which takes no memory and no
    /// computation.
    pub tangent: Option<Tensor<B, D>>,
}

impl<B: Backend, const D: usize> Dual<B, D> {
    /// A value whose tangent is an exact zero.
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

    /// Applies a linear operation to the value and to the tangent.
    ///
    /// The operation must be linear and not merely affine: adding a constant would add it to the
    /// tangent as well.
    pub fn map_linear<const E: usize>(
        self,
        operation: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
    ) -> Dual<B, E> {
        Dual { primal: operation(self.primal), tangent: self.tangent.map(operation) }
    }
}

/// The sum of two tangents, where `None` is an exact zero.
pub fn add_tangents<B: Backend, const D: usize>(
    a: Option<Tensor<B, D>>,
    b: Option<Tensor<B, D>>,
) -> Option<Tensor<B, D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
