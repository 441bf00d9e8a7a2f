//! The matrix product.

use burn::tensor::backend::Backend;

use super::{Dual, add_tangents};

impl<B: Backend, const D: usize> Dual<B, D> {
    /// The matrix product over the last two dimensions: `(x y)˙ = ẋ y + x ẏ`.
    ///
    /// # Shapes
    /// - self: `[..., rows, inner]`, other: `[..., inner, columns]`, output: `[..., rows, columns]`
    pub fn matmul(self, other: Self) -> Self {
        let tangent = add_tangents(
            self.tangent.map(|t| t.matmul(other.primal.clone())),
            other.tangent.map(|t| self.primal.clone().matmul(t)),
        );
        Self { primal: self.primal.matmul(other.primal), tangent }
    }
}
