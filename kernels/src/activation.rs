//! Activations y = f(x).

use std::f64::consts::{PI, SQRT_2};

use burn::tensor::{Shape, Tensor, TensorMetadata, activation::sigmoid, backend::Backend};

use crate::matmul::MatMul;
use crate::operation::{Float, Operation, float, tensor};

/// An activation, element by element; any shape. Inputs: x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `y = x σ(x)`, `ẏ = σ(x) (1 + x (1 − σ(x))) ẋ`
    Silu,
    /// With the exact error function: `y = x Φ(x)`, `ẏ = (Φ(x) + x φ(x)) ẋ`
    Gelu,
    /// As in CLIP: `y = x σ(c x)`, `ẏ = σ (1 + c x (1 − σ)) ẋ`, c = 1.702
    QuickGelu,
}

impl Operation for Activation {
    fn value<B: MatMul>(&self, x: &[Float<B>]) -> Float<B> {
        let (x, shape) = flat::<B>(&x[0]);
        B::float_reshape(float(f(*self, x)), shape)
    }

    fn tangent<B: MatMul>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B> {
        let (dx, shape) = flat::<B>(dx[0].as_ref().expect("not all tangents are missing"));
        B::float_reshape(float(slope(*self, flat::<B>(&x[0]).0) * dx), shape)
    }
}

/// GELU-gated halves of the last dimension: `y = a ∘ gelu(b)` of `x = [a, b]`,
/// `ẏ = gelu(b) ȧ + a gelu'(b) ḃ`. Inputs: x `[rows, 2 n]`; output `[rows, n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geglu;

impl Operation for Geglu {
    fn value<B: MatMul>(&self, x: &[Float<B>]) -> Float<B> {
        let [a, b] = halves::<B>(&x[0]);
        float(a * f(Activation::Gelu, b))
    }

    fn tangent<B: MatMul>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B> {
        let [a, b] = halves::<B>(&x[0]);
        let [da, db] = halves::<B>(dx[0].as_ref().expect("not all tangents are missing"));
        float(da * f(Activation::Gelu, b.clone()) + a * slope(Activation::Gelu, b) * db)
    }
}

/// The tensor in one dimension, and its shape.
fn flat<B: Backend>(x: &Float<B>) -> (Tensor<B, 1>, Shape) {
    let shape = x.shape();
    (tensor(B::float_reshape(x.clone(), [shape.num_elements()].into())), shape)
}

fn halves<B: Backend>(x: &Float<B>) -> [Tensor<B, 2>; 2] {
    let x = tensor::<B, 2>(x.clone());
    let half = x.dims()[1] / 2;
    [x.clone().narrow(1, 0, half), x.narrow(1, half, half)]
}

/// f(x)
fn f<B: Backend, const D: usize>(kind: Activation, x: Tensor<B, D>) -> Tensor<B, D> {
    match kind {
        Activation::Gelu => x.clone() * normal_cdf(x),
        Activation::Silu | Activation::QuickGelu => {
            x.clone() * sigmoid(x.mul_scalar(sigmoid_slope(kind)))
        }
    }
}

/// f'(x)
fn slope<B: Backend, const D: usize>(kind: Activation, x: Tensor<B, D>) -> Tensor<B, D> {
    match kind {
        Activation::Gelu => {
            let pdf = (x.clone() * x.clone()).mul_scalar(-0.5).exp() / (2.0 * PI).sqrt();
            normal_cdf(x.clone()) + x * pdf
        }
        Activation::Silu | Activation::QuickGelu => {
            let x = x.mul_scalar(sigmoid_slope(kind));
            let gate = sigmoid(x.clone());
            let slack = gate.clone().neg().add_scalar(1.0);
            gate * (x * slack).add_scalar(1.0)
        }
    }
}

fn sigmoid_slope(kind: Activation) -> f64 {
    if kind == Activation::QuickGelu { 1.702 } else { 1.0 }
}

fn normal_cdf<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.div_scalar(SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5)
}
