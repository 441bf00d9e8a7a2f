//! Sums, products and quotients.

use std::ops::{Add, Div, Mul, Neg, Sub};

use burn::tensor::{Tensor, backend::Backend};

use super::{Dual, add_tangents};

/// `(x + y)˙ = ẋ + ẏ`
impl<B: Backend, const D: usize> Add for Dual<B, D> {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let tangent = add_tangents(self.tangent, other.tangent);
        Self { primal: self.primal + other.primal, tangent }
    }
}

/// `(x − y)˙ = ẋ − ẏ`
impl<B: Backend, const D: usize> Sub for Dual<B, D> {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let tangent = match (self.tangent, other.tangent) {
            (Some(a), Some(b)) => Some(a - b),
            (a, b) => a.or(b.map(Tensor::neg)),
        };
        Self { primal: self.primal - other.primal, tangent }
    }
}

/// `(−x)˙ = −ẋ`
impl<B: Backend, const D: usize> Neg for Dual<B, D> {
    type Output = Self;

    fn neg(self) -> Self {
        self.map_linear(Tensor::neg)
    }
}

/// Element by element: `(x y)˙ = ẋ y + x ẏ`
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

/// Element by element: with `q = x / y`, `q̇ = ẋ / y − q ẏ / y`
impl<B: Backend, const D: usize> Div for Dual<B, D> {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let quotient = self.primal / other.primal.clone();
        let tangent = add_tangents(
            self.tangent.map(|t| t / other.primal.clone()),
            other.tangent.map(|t| quotient.clone().mul(t).div(other.primal).neg()),
        );
        Self { primal: quotient, tangent }
    }
}

impl<B: Backend, const D: usize> Dual<B, D> {
    /// Multiplies by a number.
    pub fn scale(self, factor: f64) -> Self {
        self.map_linear(|t| t.mul_scalar(factor))
    }

    /// Adds a number to each element.
    pub fn add_scalar(self, term: f64) -> Self {
        Self { primal: self.primal.add_scalar(term), tangent: self.tangent }
    }

    /// Adds a constant of the same shape.
    pub fn add_constant(self, constant: Tensor<B, D>) -> Self {
        Self { primal: self.primal + constant, tangent: self.tangent }
    }

    /// Multiplies element by element by a constant of the same shape.
    pub fn mul_constant(self, constant: Tensor<B, D>) -> Self {
        self.map_linear(|t| t * constant.clone())
    }

    /// Adds a value whose dimensions of size one are repeated to fit, such as a bias
    /// `[1, columns]`.
    pub fn add_broadcast(self, other: Self) -> Self {
        let dims = self.dims();
        self + other.expand(dims)
    }
}
