//! Activations y = f(x) with their tangents ẏ = f'(x) ẋ, in differentiable operations.

use std::f64::consts::{PI, SQRT_2};

use burn::tensor::{Tensor, activation::sigmoid, backend::Backend};

use crate::Pair;

/// SiLU: `y = x σ(x)`, `ẏ = σ(x) (1 + x (1 − σ(x))) ẋ`. Any shape.
pub fn silu<B: Backend, const D: usize>(x: Pair<B, D>) -> Pair<B, D> {
    sigmoid_gated(x, 1.0)
}

/// CLIP's fast GELU: `y = x σ(c x)`, `ẏ = σ (1 + c x (1 − σ)) ẋ`, c = 1.702. Any shape.
pub fn quick_gelu<B: Backend, const D: usize>(x: Pair<B, D>) -> Pair<B, D> {
    sigmoid_gated(x, 1.702)
}

fn sigmoid_gated<B: Backend, const D: usize>((x, dx): Pair<B, D>, slope: f64) -> Pair<B, D> {
    let gate = sigmoid(x.clone().mul_scalar(slope));
    let y = x * gate.clone();
    // y = x σ, so c x (1 − σ) σ = c y (1 − σ): one product saved.
    let dy = dx.map(|dx| {
        let slack = gate.clone().neg().add_scalar(1.0);
        dx * (gate + y.clone().mul_scalar(slope) * slack)
    });
    (y, dy)
}

/// GELU with the exact error function: `y = x Φ(x)`, `ẏ = (Φ(x) + x φ(x)) ẋ`. Any shape.
pub fn gelu<B: Backend, const D: usize>((x, dx): Pair<B, D>) -> Pair<B, D> {
    let cdf = normal_cdf(x.clone());
    let y = x.clone() * cdf.clone();
    let dy = dx.map(|dx| {
        let pdf = (x.clone() * x.clone()).mul_scalar(-0.5).exp() / (2.0 * PI).sqrt();
        dx * (cdf + x * pdf)
    });
    (y, dy)
}

fn normal_cdf<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.div_scalar(SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5)
}
