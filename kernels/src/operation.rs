//! Operations, and how a backend computes them.

use std::fmt::Debug;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorPrimitive};

/// A float tensor of any rank.
pub type Float<B> = burn::tensor::ops::FloatTensor<B>;

/// A smooth operation on some tensors, in plain tensor operations: the reference.
///
/// The inputs' order is the operation's own. What is not smooth (sizes, masks, ε) is in `self`.
pub trait Operation: Clone + Debug + Send + 'static {
    /// Products for each number of the value, and for each of the gradient at the first input:
    /// how much is saved by [keeping](crate::Kept) one. Zero where that is not worth a thought.
    fn products<B: Backend>(&self, _x: &[Float<B>]) -> [usize; 2] {
        [0; 2]
    }

    /// f(x)
    fn value<B: Backend>(&self, x: &[Float<B>]) -> Float<B>;

    /// f'(x) ẋ, where a missing tangent is zero, but not all are missing.
    fn tangent<B: Backend>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B>;
}

/// A gradient for each input, `None` where it was not wanted.
pub type Gradients<B> = Vec<Option<Float<B>>>;

/// A backend that computes operation `O`.
///
/// The defaults are the reference, so any backend joins with an empty `impl`.
pub trait Kernel<O: Operation>: Backend {
    /// f(x)
    fn value(operation: &O, x: &[Float<Self>]) -> Float<Self> {
        operation.value::<Self>(x)
    }

    /// f'(x) ẋ
    fn tangent(operation: &O, x: &[Float<Self>], dx: &[Option<Float<Self>>]) -> Float<Self> {
        operation.tangent::<Self>(x, dx)
    }

    /// The backward passes, if the backend has its own for these inputs.
    ///
    /// `Autodiff` then records the operation as one node instead of the reference's many.
    fn backward(_x: &[Float<Self>]) -> Option<BackwardPasses<Self, O>> {
        None
    }
}

/// The backward passes of an operation and of its tangent.
///
/// Both get the inputs and say by `wanted` which gradients are asked for.
#[derive(Debug)]
pub struct BackwardPasses<B: Backend, O> {
    /// f'(x)ᵀ g: the gradient of ⟨g, f(x)⟩ at x.
    pub of_value: OfValue<B, O>,
    /// The gradient of ⟨h, f'(x) ẋ⟩ at x, followed by that at ẋ: twice as many as inputs.
    pub of_tangent: OfTangent<B, O>,
}

/// `(operation, x, g, wanted)`
pub type OfValue<B, O> = fn(&O, &[Float<B>], Float<B>, &[bool]) -> Gradients<B>;

/// `(operation, x, ẋ, h, wanted)`
pub type OfTangent<B, O> =
    fn(&O, &[Float<B>], &[Option<Float<B>>], Float<B>, &[bool]) -> Gradients<B>;

/// The tensor of a primitive of rank `D`.
pub(crate) fn tensor<B: Backend, const D: usize>(primitive: Float<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The primitive of a tensor.
pub(crate) fn float<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Float<B> {
    tensor.into_primitive().tensor()
}
