//! Functions of each element, `f(x)˙ = f'(x) ẋ`, and the softmax.

use burn::tensor::{Tensor, activation, backend::Backend};

use super::Dual;

impl<B: Backend, const D: usize> Dual<B, D> {
    /// Applies a function to each element, given the function and its derivative.
    ///
    /// The derivative is evaluated only if there is a tangent. For Hessian products it must consist
    /// of differentiable operations, since the backward pass goes through it.
    pub fn map_pointwise(
        self,
        function: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>,
        derivative: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>,
    ) -> Self {
        let tangent = self.tangent.map(|t| derivative(self.primal.clone()) * t);
        Self { primal: function(self.primal), tangent }
    }

    /// `e^x`
    pub fn exp(self) -> Self {
        self.map_pointwise(Tensor::exp, Tensor::exp)
    }

    /// The natural logarithm.
    pub fn log(self) -> Self {
        self.map_pointwise(Tensor::log, Tensor::recip)
    }

    /// `√x`
    pub fn sqrt(self) -> Self {
        self.map_pointwise(Tensor::sqrt, |x| x.sqrt().recip().mul_scalar(0.5))
    }

    /// `1 / x`
    pub fn recip(self) -> Self {
        self.map_pointwise(Tensor::recip, |x| -(x.clone() * x).recip())
    }

    /// `max(x, 0)`, whose derivative at 0 is taken as 0.
    pub fn relu(self) -> Self {
        self.map_pointwise(activation::relu, |x| {
            let positive = x.clone().greater_elem(0.0);
            x.zeros_like().mask_fill(positive, 1.0)
        })
    }

    /// The sine.
    pub fn sin(self) -> Self {
        self.map_pointwise(Tensor::sin, Tensor::cos)
    }

    /// The cosine.
    pub fn cos(self) -> Self {
        self.map_pointwise(Tensor::cos, |x| -x.sin())
    }

    /// The hyperbolic tangent.
    pub fn tanh(self) -> Self {
        self.map_pointwise(Tensor::tanh, |x| {
            let y = x.tanh();
            -(y.clone() * y) + 1.0
        })
    }

    /// `σ(x) = 1 / (1 + e^{−x})`
    pub fn sigmoid(self) -> Self {
        self.map_pointwise(activation::sigmoid, |x| {
            let y = activation::sigmoid(x);
            y.clone() * (-y + 1.0)
        })
    }

    /// `log(1 + e^x)`, whose derivative is the sigmoid.
    pub fn softplus(self) -> Self {
        self.map_pointwise(|x| activation::softplus(x, 1.0), activation::sigmoid)
    }

    /// The softmax along a dimension: `p = softmax(x)`, `ṗ = p ∘ (ẋ − Σ p ∘ ẋ)`.
    pub fn softmax(self, dim: usize) -> Self {
        let p = activation::softmax(self.primal, dim);
        let tangent = self.tangent.map(|t| {
            let mean = (p.clone() * t.clone()).sum_dim(dim);
            p.clone() * (t - mean)
        });
        Self { primal: p, tangent }
    }

    /// The logarithm of the softmax along a dimension: `ẏ = ẋ − Σ p ∘ ẋ` with `p = softmax(x)`.
    pub fn log_softmax(self, dim: usize) -> Self {
        let tangent = self.tangent.map(|t| {
            let p = activation::softmax(self.primal.clone(), dim);
            t.clone() - (p * t).sum_dim(dim)
        });
        Self { primal: activation::log_softmax(self.primal, dim), tangent }
    }
}
