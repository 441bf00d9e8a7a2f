//! Layer and group normalisation with their tangents.
//!
//! With x̂ = (x − μ)/σ over the normalised elements: `x̂˙ = (ẋ − mean ẋ − x̂ mean(x̂ ẋ))/σ`.

use burn::tensor::{Tensor, backend::Backend};

use crate::Pair;

/// Layer norm over the last dimension: `y = x̂ ∘ weight + bias`.
///
/// # Shapes
/// - x: `[..., channels]`, weight and bias: `[channels]`
pub fn layer_norm<B: Backend, const D: usize>(
    (x, dx): Pair<B, D>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Pair<B, D> {
    let shape = x.dims();
    let channels = shape[D - 1];
    let rows = shape.iter().product::<usize>() / channels;
    let flat = |t: Tensor<B, D>| t.reshape([rows, channels]);
    let (y, dy) = standardize((flat(x), dx.map(flat)), epsilon);
    let weight = weight.unsqueeze::<2>();
    let y = y * weight.clone() + bias.unsqueeze::<2>();
    (y.reshape(shape), dy.map(|dy| (dy * weight).reshape(shape)))
}

/// Group norm over `channels / groups` channels and all pixels: `y = x̂ ∘ weight + bias`.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`, weight and bias: `[channels]`
///
/// # Panics
/// If `groups` does not divide `channels`.
pub fn group_norm<B: Backend>(
    (x, dx): Pair<B, 4>,
    groups: usize,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Pair<B, 4> {
    let shape @ [batch, channels, height, width] = x.dims();
    assert!(channels % groups == 0, "group_norm: {channels} channels into {groups} groups");
    let flat = |t: Tensor<B, 4>| t.reshape([batch * groups, channels / groups * height * width]);
    let (y, dy) = standardize((flat(x), dx.map(flat)), epsilon);
    let weight = weight.reshape([1, channels, 1, 1]);
    let y = y.reshape(shape) * weight.clone() + bias.reshape([1, channels, 1, 1]);
    (y, dy.map(|dy| dy.reshape(shape) * weight))
}

/// x̂ = (x − mean)/√(var + ε) for each row of `[rows, elements]`, with its tangent.
fn standardize<B: Backend>((x, dx): Pair<B, 2>, epsilon: f64) -> Pair<B, 2> {
    let center = |t: Tensor<B, 2>| t.clone() - t.mean_dim(1);
    let centered = center(x);
    let variance = (centered.clone() * centered.clone()).mean_dim(1);
    let inverse_std = variance.add_scalar(epsilon).sqrt().recip();
    let y = centered * inverse_std.clone();
    let dy = dx.map(|dx| {
        let correlation = (y.clone() * dx.clone()).mean_dim(1);
        (center(dx) - y.clone() * correlation) * inverse_std
    });
    (y, dy)
}
