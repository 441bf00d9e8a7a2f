//! The operations on dual numbers, as layers call them: functions, and methods of [`Dual`] for the
//! activations.

use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;

use crate::CachePass;
use crate::activation::{Activation, Geglu};
use crate::attention::{Attention, AttentionMask};
use crate::backend::KernelBackend;
use crate::conv2d::Conv2d;
use crate::lora_linear::{LoraFactors, LoraLinear};
use crate::normalize::Normalize;
use crate::operation::{Float, Kernel, Operation, float, tensor};
use crate::project::Project;

/// Forgets what a tape holds of computations that nothing can be derived of any more; nothing on a backend without
/// a tape.
///
/// Burn 0.21 notes every operation on an autodiff backend, also those that nothing is to be derived of, and cleans up
/// whenever something was derived. Where nothing ever is, as in sampling, the notes pile up: 8 MB for an image of 12
/// steps by the built-in model.
pub fn release_tape<B: KernelBackend>() {
    <B as Kernel<Project>>::release_tape();
}

/// An activation of each element; any shape.
pub fn activation<B: KernelBackend, const D: usize>(kind: Activation, x: Dual<B, D>) -> Dual<B, D> {
    apply(&kind, vec![input(x)], None)
}

/// `a ∘ gelu(b)` of `x = [a, b]`, halves of the last dimension.
pub fn geglu<B: KernelBackend>(x: Dual<B, 2>) -> Dual<B, 2> {
    apply(&Geglu, vec![input(x)], None)
}

/// Layer norm over the last dimension: `y = x̂ ∘ weight + bias`.
///
/// # Shapes
/// - x: `[..., channels]`, weight and bias: `[channels]`
pub fn layer_norm<B: KernelBackend, const D: usize>(
    x: Dual<B, D>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Dual<B, D> {
    let shape = x.dims();
    let channels = shape[D - 1];
    let rows = shape.iter().product::<usize>() / channels;
    let y = normalize(x.map_linear(|t| t.reshape([rows, channels, 1])), weight, bias, epsilon);
    y.map_linear(|t| t.reshape(shape))
}

/// Group norm over `channels / groups` channels and all pixels: `y = x̂ ∘ weight + bias`.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`, weight and bias: `[channels]`
///
/// # Panics
/// If `groups` does not divide `channels`.
pub fn group_norm<B: KernelBackend>(
    x: Dual<B, 4>,
    groups: usize,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Dual<B, 4> {
    let shape @ [batch, channels, height, width] = x.dims();
    assert!(channels % groups == 0, "group_norm: {channels} channels into {groups} groups");
    let rows = |t: Tensor<B, 4>| t.reshape([batch * groups, channels / groups, height * width]);
    normalize(x.map_linear(rows), weight, bias, epsilon).map_linear(|t| t.reshape(shape))
}

fn normalize<B: KernelBackend>(
    x: Dual<B, 3>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Dual<B, 3> {
    apply(&Normalize { epsilon }, vec![input(x), frozen(weight), frozen(bias)], None)
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
    query: Dual<B, 3>,
    key: Dual<B, 3>,
    value: Dual<B, 3>,
    heads: usize,
    mask: AttentionMask,
) -> Dual<B, 3> {
    let channels = query.dims()[2];
    assert!(channels.is_multiple_of(heads), "attention: {channels} channels in {heads} heads");
    apply(&Attention { heads, mask }, vec![input(query), input(key), input(value)], None)
}

/// `x Wᵀ + b + (x B) Aᵀ`, within the `pass` of an evaluation whose activations are cached.
///
/// # Shapes
/// - x: `[rows, inputs]`, weight: `[outputs, inputs]`, bias: `[outputs]`
/// - output: `[rows, outputs]`
pub fn lora_linear<B: KernelBackend>(
    x: Dual<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    lora: Option<LoraFactors<B>>,
    pass: Option<&CachePass>,
) -> Dual<B, 2> {
    let operation = LoraLinear { bias: bias.is_some(), lora: lora.is_some() };
    let mut inputs = vec![input(x), frozen(weight)];
    inputs.extend(bias.map(frozen));
    inputs.extend(lora.into_iter().flat_map(|lora| [input(lora.up), input(lora.down)]));
    apply(&operation, inputs, pass)
}

/// `W ⋆ x + b`, within the `pass` of an evaluation whose activations are cached.
///
/// # Shapes
/// - x: `[batch, inputs, height, width]`, weight: `[outputs, inputs, kernel, kernel]`
/// - bias: `[outputs]`
///
/// # Panics
/// If x and the weight differ in their inputs.
pub fn conv2d<B: KernelBackend>(
    x: Dual<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
    stride: usize,
    padding: usize,
    pass: Option<&CachePass>,
) -> Dual<B, 4> {
    let (shape, kernel) = (x.dims(), weight.dims());
    assert!(shape[1] == kernel[1], "conv2d: an input of {shape:?} and a weight of {kernel:?}");
    let operation = Conv2d { stride, padding };
    apply(&operation, vec![input(x), frozen(weight), frozen(bias)], pass)
}

/// Projects each column of B onto the orthogonal complement of Q's columns.
///
/// # Shapes
/// - down: B `[inputs, rank]`, basis: Q `[inputs, directions]` with orthonormal columns
pub fn project<B: KernelBackend>(down: Tensor<B, 2>, basis: Tensor<B, 2>) -> Tensor<B, 2> {
    apply(&Project, vec![frozen(down), frozen(basis)], None).primal
}

type Input<B> = (Float<B>, Option<Float<B>>);

/// Computes the value, and the tangent if any input has one.
fn apply<B: Kernel<O>, O: Operation, const D: usize>(
    operation: &O,
    inputs: Vec<Input<B>>,
    pass: Option<&CachePass>,
) -> Dual<B, D> {
    let (x, dx): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
    let (value, tangent) = <B as Kernel<O>>::dual(operation, &x, &dx, pass);
    Dual { primal: tensor(value), tangent: tangent.map(tensor) }
}

fn input<B: Backend, const D: usize>(x: Dual<B, D>) -> Input<B> {
    (float(x.primal), x.tangent.map(float))
}

fn frozen<B: Backend, const D: usize>(x: Tensor<B, D>) -> Input<B> {
    (float(x), None)
}

/// Activations as methods of [`Dual`].
pub trait DualOps: Sized {
    /// An activation, element by element.
    fn activate(self, kind: Activation) -> Self;

    /// `x σ(x)`
    fn silu(self) -> Self {
        self.activate(Activation::Silu)
    }
}

impl<B: KernelBackend, const D: usize> DualOps for Dual<B, D> {
    fn activate(self, kind: Activation) -> Self {
        activation(kind, self)
    }
}
