//! Sums and means, which are linear.

use burn::tensor::backend::Backend;

use super::Dual;
use crate::total::{overall_mean, total};

impl<B: Backend, const D: usize> Dual<B, D> {
    /// The sum of all elements, `[1]`.
    pub fn sum(self) -> Dual<B, 1> {
        self.map_linear(total)
    }

    /// The mean of all elements, `[1]`.
    pub fn mean(self) -> Dual<B, 1> {
        self.map_linear(overall_mean)
    }

    /// The sum along a dimension, which remains with size one.
    pub fn sum_dim(self, dim: usize) -> Self {
        self.map_linear(|t| t.sum_dim(dim))
    }

    /// The mean along a dimension, which remains with size one.
    pub fn mean_dim(self, dim: usize) -> Self {
        self.map_linear(|t| t.mean_dim(dim))
    }
}
