//! What is known of a tensor's place on a tape, and gradients that are known before a backward pass.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Shape, TensorMetadata};

use crate::operation::Float;

/// A backend with a tape whose tensors can be told apart.
pub trait Tape: AutodiffBackend {
    /// Whether gradients reach a tensor.
    fn is_tracked(x: &Float<Self>) -> bool;

    /// Whether both are the same node of the tape.
    fn is_same(a: &Float<Self>, b: &Float<Self>) -> bool;

    /// A number `[1]` whose gradients at some tensors are known: a backward pass hands them on, times its own.
    fn with_gradients(
        number: Float<Self::InnerBackend>,
        gradients: impl IntoIterator<Item = (Float<Self>, Float<Self::InnerBackend>)>,
    ) -> Float<Self>;
}

impl<B: Backend, C: CheckpointStrategy> Tape for Autodiff<B, C> {
    fn is_tracked(x: &Float<Self>) -> bool {
        !x.node.requirement.is_none()
    }

    fn is_same(a: &Float<Self>, b: &Float<Self>) -> bool {
        a.node.id == b.node.id
    }

    fn with_gradients(
        number: Float<B>,
        gradients: impl IntoIterator<Item = (Float<Self>, Float<B>)>,
    ) -> Float<Self> {
        gradients.into_iter().fold(Float::<Self>::new(number), |number, (x, gradient)| {
            let value = number.primitive.clone();
            match KnownGradient.prepare::<C>([number.node, x.node]).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish(gradient, value),
                OpsKind::UnTracked(prep) => prep.finish(value),
            }
        })
    }
}

/// The node of a number, with a known gradient at its second parent besides those that the number has.
#[derive(Debug)]
struct KnownGradient;

impl<B: Backend> Backward<B, 2> for KnownGradient {
    type State = Float<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = grads.consume::<B>(&ops.node);
        let (gradient, [number, x]) = (ops.state, ops.parents);
        if let Some(x) = x {
            let shape = Shape::from(vec![1; gradient.shape().num_dims()]);
            let factor = B::float_cast(g.clone(), gradient.dtype().into());
            let factor = B::float_reshape(factor, shape);
            grads.register::<B>(x.id, B::float_mul(gradient, factor));
        }
        if let Some(number) = number {
            grads.register::<B>(number.id, g);
        }
    }
}
