//! Operations on the tape: one node for the value, one for the tangent.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::Backend;

use crate::kept;
use crate::kept::Work;
use crate::operation::{Float, Kernel, OfTangent, OfValue, Operation};

/// The most inputs an operation has (x, W, b, A, B), and as many tangents.
const PARENTS: usize = 10;

impl<B: Kernel<O>, O: Operation, C: CheckpointStrategy> Kernel<O> for Autodiff<B, C> {
    fn value(operation: &O, x: &[Float<Self>]) -> Float<Self> {
        let inner: Vec<Float<B>> = x.iter().map(|x| x.primitive.clone()).collect();
        let Some(passes) = B::backward(&inner) else { return operation.value::<Self>(x) };
        let (value, work) = kept::value(operation, &inner, || B::value(operation, &inner));
        let node = ValueNode { operation: operation.clone(), backward: passes.of_value, work };
        record::<B, C, _, _>(node, x.iter().map(Some), inner, value)
    }

    fn tangent(operation: &O, x: &[Float<Self>], dx: &[Option<Float<Self>>]) -> Float<Self> {
        let inner: Vec<Float<B>> = x.iter().map(|x| x.primitive.clone()).collect();
        let Some(passes) = B::backward(&inner) else { return operation.tangent::<Self>(x, dx) };
        let primitive = |dx: &Option<Float<Self>>| dx.as_ref().map(|dx| dx.primitive.clone());
        let inner_dx: Vec<Option<Float<B>>> = dx.iter().map(primitive).collect();
        let tangent = B::tangent(operation, &inner, &inner_dx);
        let at_input = kept::at_input::<B>();
        let (operation, backward) = (operation.clone(), passes.of_tangent);
        let node = TangentNode { operation, backward, at_input };
        let parents = x.iter().map(Some).chain(dx.iter().map(Option::as_ref));
        record::<B, C, _, _>(node, parents, (inner, inner_dx), tangent)
    }
}

/// Hands its gradient to each parent that wants one. (A macro, as the parents' type has no name
/// outside of Burn.)
macro_rules! register {
    ($grads:expr, $parents:expr, $gradients:expr) => {
        for (parent, gradient) in $parents.into_iter().zip($gradients) {
            if let Some(parent) = parent {
                $grads.register::<B>(parent.id, gradient.expect("a wanted gradient"));
            }
        }
    };
}

/// A value on the tape; what its backward pass needs are the inputs, and nothing in between.
#[derive(Debug)]
struct ValueNode<B: Backend, O> {
    operation: O,
    backward: OfValue<B, O>,
    /// Where the gradient at the first input is kept for a second pass.
    work: Option<Arc<Work<B>>>,
}

/// A tangent on the tape.
#[derive(Debug)]
struct TangentNode<B: Backend, O> {
    operation: O,
    backward: OfTangent<B, O>,
    /// The gradient at the first input's tangent, if a first pass found it.
    at_input: Option<Float<B>>,
}

impl<B: Backend, O: Operation> Backward<B, PARENTS> for ValueNode<B, O> {
    type State = Vec<Float<B>>;

    fn backward(self, ops: Ops<Self::State, PARENTS>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = grads.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let x = ops.state;
        let gradients = (self.backward)(&self.operation, &x, g, &wanted[..x.len()]);
        if let (Some(work), Some(at_input)) = (self.work, &gradients[0]) {
            // A tape runs backward once.
            let _ = work.at_input.set(at_input.clone());
        }
        register!(grads, ops.parents, gradients);
    }
}

impl<B: Backend, O: Operation> Backward<B, PARENTS> for TangentNode<B, O> {
    type State = (Vec<Float<B>>, Vec<Option<Float<B>>>);

    fn backward(self, ops: Ops<Self::State, PARENTS>, grads: &mut Gradients, _: &mut Checkpointer) {
        let h = grads.consume::<B>(&ops.node);
        let mut wanted = ops.parents.each_ref().map(Option::is_some);
        let (x, dx) = ops.state;
        let first = x.len();
        wanted[first] &= self.at_input.is_none();
        let mut gradients = (self.backward)(&self.operation, &x, &dx, h, &wanted[..2 * first]);
        if let Some(at_input) = self.at_input {
            gradients[first] = Some(at_input);
        }
        register!(grads, ops.parents, gradients);
    }
}

/// Puts `output` on the tape, unless nothing it depends on is there.
fn record<'a, B, C, N, S>(
    node: N,
    parents: impl Iterator<Item = Option<&'a Float<Autodiff<B, C>>>>,
    state: S,
    output: Float<B>,
) -> Float<Autodiff<B, C>>
where
    B: Backend,
    C: CheckpointStrategy,
    N: Backward<B, PARENTS, State = S>,
    S: Clone + Send + Debug + 'static,
{
    // A parent that is not there looks like one that is not tracked.
    let absent = Float::<Autodiff<B, C>>::new(output.clone()).node;
    let mut nodes = [const { None }; PARENTS];
    for (slot, parent) in nodes.iter_mut().zip(parents) {
        *slot = parent.map(|parent| parent.node.clone());
    }
    let nodes = nodes.map(|node| node.unwrap_or_else(|| absent.clone()));
    match node.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
