//! Layer and group normalisation.

use burn::tensor::{Tensor, backend::Backend};

use crate::matmul::MatMul;
use crate::operation::{Float, Operation, float, tensor};

/// `y = γ x̂ + β` with `x̂ = (x − μ)/√(var + ε)` over each row, and
/// `ẏ = γ (ẋ − mean ẋ − x̂ mean(x̂ ẋ))/σ`.
///
/// It serves both kinds of normalisation. In layer norm a row is a token, with one element per
/// channel. In group norm it is one group of channels of an image with all its pixels; the rows of
/// an image are its groups in order, so row i takes the weights of group i mod `len(γ)/channels`.
///
/// Inputs: x `[rows, channels, elements]`, γ and β `[channels of all groups]`.
#[derive(Debug, Clone, Copy)]
pub struct Normalize {
    /// ε, which keeps the root away from zero.
    pub epsilon: f64,
}

impl Operation for Normalize {
    fn value<B: MatMul>(&self, x: &[Float<B>]) -> Float<B> {
        let centered = center(tensor::<B, 3>(x[0].clone()));
        let inverse_std = self.inverse_std(&centered);
        let [gamma, beta] = [1, 2].map(|i| per_row::<B>(&x[i], &centered));
        float(centered * inverse_std * gamma + beta)
    }

    fn tangent<B: MatMul>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B> {
        let dx = dx[0].clone().expect("only x has a tangent");
        let centered = center(tensor::<B, 3>(x[0].clone()));
        let inverse_std = self.inverse_std(&centered);
        let gamma = per_row::<B>(&x[1], &centered);
        let y = centered * inverse_std.clone();
        let dx = tensor::<B, 3>(dx);
        let correlation = mean(y.clone() * dx.clone());
        float((center(dx) - y * correlation) * inverse_std * gamma)
    }
}

impl Normalize {
    fn inverse_std<B: Backend>(&self, centered: &Tensor<B, 3>) -> Tensor<B, 3> {
        mean(centered.clone() * centered.clone()).add_scalar(self.epsilon).sqrt().recip()
    }
}

fn mean<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    x.mean_dim(2).mean_dim(1)
}

fn center<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    x.clone() - mean(x)
}

/// γ or β as `[rows, channels, 1]`.
fn per_row<B: Backend>(weight: &Float<B>, x: &Tensor<B, 3>) -> Tensor<B, 3> {
    let weight = tensor::<B, 1>(weight.clone());
    let [rows, channels, _] = x.dims();
    let groups = weight.dims()[0] / channels;
    weight
        .reshape([1, groups, channels])
        .expand([rows / groups, groups, channels])
        .reshape([rows, channels, 1])
}
