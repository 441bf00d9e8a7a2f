//! Operations on values with their tangents.

use burn::tensor::{Tensor, backend::Backend};

use crate::activation::{Activation, Geglu};
use crate::attention::{Attention, AttentionMask};
use crate::backend::KernelBackend;
use crate::conv2d::Conv2d;
use crate::lora_linear::{LoraLinear, LoraPair};
use crate::normalize::Normalize;
use crate::operation::{Float, Kernel, Operation, float, tensor};
use crate::project::Project;

/// A value and, where it depends on the direction, its directional derivative of the same shape.
pub type Pair<B, const D: usize> = (Tensor<B, D>, Option<Tensor<B, D>>);

/// The sum of two tangents, where a missing one is zero.
pub fn add_tangents<B: Backend, const D: usize>(
    a: Option<Tensor<B, D>>,
    b: Option<Tensor<B, D>>,
) -> Option<Tensor<B, D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

/// An activation; any shape.
pub fn activation<B: KernelBackend, const D: usize>(kind: Activation, x: Pair<B, D>) -> Pair<B, D> {
    apply(&kind, vec![input(x)])
}

/// `a ∘ gelu(b)` of `x = [a, b]`, halves of the last dimension.
pub fn geglu<B: KernelBackend>(x: Pair<B, 2>) -> Pair<B, 2> {
    apply(&Geglu, vec![input(x)])
}

/// Layer norm over the last dimension: `y = x̂ ∘ weight + bias`.
///
/// # Shapes
/// - x: `[..., channels]`, weight and bias: `[channels]`
pub fn layer_norm<B: KernelBackend, const D: usize>(
    x: Pair<B, D>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Pair<B, D> {
    let shape = x.0.dims();
    let channels = shape[D - 1];
    let rows = shape.iter().product::<usize>() / channels;
    let y = normalize(map(x, |t| t.reshape([rows, channels, 1])), weight, bias, epsilon);
    map(y, |t| t.reshape(shape))
}

/// Group norm over `channels / groups` channels and all pixels: `y = x̂ ∘ weight + bias`.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`, weight and bias: `[channels]`
///
/// # Panics
/// If `groups` does not divide `channels`.
pub fn group_norm<B: KernelBackend>(
    x: Pair<B, 4>,
    groups: usize,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Pair<B, 4> {
    let shape @ [batch, channels, height, width] = x.0.dims();
    assert!(channels % groups == 0, "group_norm: {channels} channels into {groups} groups");
    let rows = |t: Tensor<B, 4>| t.reshape([batch * groups, channels / groups, height * width]);
    map(normalize(map(x, rows), weight, bias, epsilon), |t| t.reshape(shape))
}

fn normalize<B: KernelBackend>(
    x: Pair<B, 3>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Pair<B, 3> {
    apply(&Normalize { epsilon }, vec![input(x), still(weight), still(bias)])
}

/// `softmax(q kᵀ/√d + mask) v`, head by head.
///
/// # Shapes
/// - query: `[batch, queries, heads × d]`, key and value: `[batch, keys, heads × d]`
/// - output: `[batch, queries, heads × d]`
///
/// # Panics
/// If `heads` does not divide the last dimension.
pub fn attention<B: KernelBackend>(
    query: Pair<B, 3>,
    key: Pair<B, 3>,
    value: Pair<B, 3>,
    heads: usize,
    mask: AttentionMask,
) -> Pair<B, 3> {
    let channels = query.0.dims()[2];
    assert!(channels.is_multiple_of(heads), "attention: {channels} channels in {heads} heads");
    apply(&Attention { heads, mask }, vec![input(query), input(key), input(value)])
}

/// `x Wᵀ + b + (x B) Aᵀ`
///
/// # Shapes
/// - x: `[rows, inputs]`, weight: `[outputs, inputs]`, bias: `[outputs]`
/// - output: `[rows, outputs]`
pub fn lora_linear<B: KernelBackend>(
    x: Pair<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    lora: Option<LoraPair<B>>,
) -> Pair<B, 2> {
    let operation = LoraLinear { bias: bias.is_some(), lora: lora.is_some() };
    let mut inputs = vec![input(x), still(weight)];
    inputs.extend(bias.map(still));
    inputs.extend(lora.into_iter().flat_map(|lora| [input(lora.up), input(lora.down)]));
    apply(&operation, inputs)
}

/// `W ⋆ x + b`
///
/// # Shapes
/// - x: `[batch, inputs, height, width]`, weight: `[outputs, inputs, kernel, kernel]`
/// - bias: `[outputs]`
///
/// # Panics
/// If x and the weight differ in their inputs.
pub fn conv2d<B: KernelBackend>(
    x: Pair<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
    stride: usize,
    padding: usize,
) -> Pair<B, 4> {
    let (shape, kernel) = (x.0.dims(), weight.dims());
    assert!(shape[1] == kernel[1], "conv2d: an input of {shape:?} and a weight of {kernel:?}");
    apply(&Conv2d { stride, padding }, vec![input(x), still(weight), still(bias)])
}

/// Removes from each column of B what lies in the span of Q's columns.
///
/// # Shapes
/// - down: B `[inputs, rank]`, basis: Q `[inputs, directions]` with orthonormal columns
pub fn project<B: KernelBackend>(down: Tensor<B, 2>, basis: Tensor<B, 2>) -> Tensor<B, 2> {
    apply(&Project, vec![still(down), still(basis)]).0
}

type Input<B> = (Float<B>, Option<Float<B>>);

/// One pass for the value, and one for the tangent if anything moves.
fn apply<B: Kernel<O>, O: Operation, const D: usize>(
    operation: &O,
    inputs: Vec<Input<B>>,
) -> Pair<B, D> {
    let (x, dx): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
    let value = <B as Kernel<O>>::value(operation, &x);
    let moves = dx.iter().any(Option::is_some);
    let tangent = moves.then(|| <B as Kernel<O>>::tangent(operation, &x, &dx));
    (tensor(value), tangent.map(tensor))
}

fn input<B: Backend, const D: usize>((x, dx): Pair<B, D>) -> Input<B> {
    (float(x), dx.map(float))
}

fn still<B: Backend, const D: usize>(x: Tensor<B, D>) -> Input<B> {
    (float(x), None)
}

/// Applies a linear operation to both.
fn map<B: Backend, const D: usize, const E: usize>(
    (x, dx): Pair<B, D>,
    operation: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
) -> Pair<B, E> {
    (operation(x), dx.map(operation))
}
