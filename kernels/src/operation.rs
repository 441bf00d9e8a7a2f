//! Operations, and how a backend computes them.

use std::fmt::Debug;

use burn::tensor::backend::Backend;

pub use crate::activation_cache::ArithmeticIntensity;
use crate::activation_cache::CachePass;
use crate::matmul::MatMul;
pub use crate::primitive::{Float, float, tensor};

/// A smooth operation on some tensors, with its reference in plain tensor operations.
///
/// Each operation defines the order of its inputs. Arguments that are not differentiated (sizes,
/// masks, ε) are fields of `self`.
pub trait Operation: Clone + Debug + Send + 'static {
    /// The work per element of the results: what is saved for the memory if they are
    /// [cached](crate::ActivationCache). The default of zero means that they never are.
    fn arithmetic_intensity<B: Backend>(&self, _x: &[Float<B>]) -> ArithmeticIntensity {
        ArithmeticIntensity::default()
    }

    /// f(x)
    fn value<B: MatMul>(&self, x: &[Float<B>]) -> Float<B>;

    /// f'(x) ẋ, where a missing tangent is zero. At least one tangent is there.
    fn tangent<B: MatMul>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B>;
}

/// A gradient for each input, `None` where it was not asked for.
pub type Gradients<B> = Vec<Option<Float<B>>>;

/// A backend that computes operation `O`.
///
/// The default methods compute the reference, so an empty `impl` is enough for any backend.
pub trait Kernel<O: Operation>: MatMul {
    /// f(x)
    fn value(operation: &O, x: &[Float<Self>]) -> Float<Self> {
        operation.value::<Self>(x)
    }

    /// f'(x) ẋ
    fn tangent(operation: &O, x: &[Float<Self>], dx: &[Option<Float<Self>>]) -> Float<Self> {
        operation.tangent::<Self>(x, dx)
    }

    /// f(x), and f'(x) ẋ if any input moves. A tape with a pass fills or reads its cache.
    fn dual(
        operation: &O,
        x: &[Float<Self>],
        dx: &[Option<Float<Self>>],
        _pass: Option<&CachePass>,
    ) -> (Float<Self>, Option<Float<Self>>) {
        let value = Self::value(operation, x);
        let moves = dx.iter().any(Option::is_some);
        (value, moves.then(|| Self::tangent(operation, x, dx)))
    }

    /// Forgets what a tape holds of computations that nothing can be derived of any more; nothing without a tape.
    /// See [`release_tape`](crate::ops::release_tape).
    fn release_tape() {}

    /// The backend's own backward passes, if it has them for these inputs.
    ///
    /// `Autodiff` then records the operation as one node instead of the reference's many
    /// operations.
    fn backward(_x: &[Float<Self>]) -> Option<BackwardPasses<Self, O>> {
        None
    }
}

/// The backward passes of an operation and of its tangent.
///
/// Both are given the operation's inputs, and by `wanted` which gradients are asked for.
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
