//! Sums and products.

use std::ops::{Add, Mul, Sub};

use burn::tensor::{Tensor, backend::Backend};

use super::{Dual, add_tangents};

impl<B: Backend, const D: usize> Add for Dual<B, D> {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            primal: self.primal + other.primal,
            tangent: add_tangents(self.tangent, other.tangent),
        }
    }
}

impl<B: Backend, const D: usize> Sub for Dual<B, D> {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + other.scale(-1.0)
    }
}

impl<B: Backend, const D: usize> Mul for Dual<B, D> {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let tangent = add_tangents(
            self.tangent.map(|t| t * other.primal.clone()),
            other.tangent.map(|t| self.primal.clone() * t),
        );
        Self { primal: self.primal * other.primal, tangent }
    }
}

impl<B: Backend, const D: usize> Dual<B, D> {
    /// Multiplies by a number.
    pub fn scale(self, factor: f64) -> Self {
        self.map_linear(|t| t.mul_scalar(factor))
    }

    /// Adds a constant of the same shape.
    pub fn add_constant(self, constant: Tensor<B, D>) -> Self {
        Self { primal: self.primal + constant, tangent: self.tangent }
    }

    /// Adds a value whose dimensions of size one are repeated to fit.
    pub fn add_broadcast(self, other: Dual<B, D>) -> Self {
        let dims = self.dims();
        self + other.map_linear(|t| t.expand(dims))
    }

    /// Multiplies element by element with a constant.
    pub fn mul_constant(self, constant: Tensor<B, D>) -> Self {
        self.map_linear(|t| t * constant.clone())
    }

    /// The sum of all elements.
    pub fn sum(self) -> Dual<B, 1> {
        self.map_linear(Tensor::sum)
    }

    /// The mean of all elements.
    pub fn mean(self) -> Dual<B, 1> {
        self.map_linear(Tensor::mean)
    }
}
