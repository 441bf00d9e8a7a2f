//! Operations on the tape: one node for the value and one for the tangent.

use std::any::type_name;
use std::fmt::Debug;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::activation_cache::{CachePass, CachePlace};
use crate::matmul::MatMul;
use crate::operation::{BackwardPasses, Float, Kernel, OfTangent, OfValue, Operation};

impl<B: MatMul, C: CheckpointStrategy> MatMul for Autodiff<B, C> {
    fn matmul(a: Float<Self>, b: Float<Self>) -> Float<Self> {
        let output = B::matmul(a.primitive.clone(), b.primitive.clone());
        // Each factor is needed for the gradient of the other.
        let needed = |x: &Float<Self>, other: &Float<Self>| {
            (!other.node.requirement.is_none()).then(|| x.primitive.clone())
        };
        let state = [needed(&a, &b), needed(&b, &a)];
        match Product.prepare::<C>([a.node, b.node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }
}

/// The node of a matrix product.
#[derive(Debug)]
struct Product;

impl<B: MatMul> Backward<B, 2> for Product {
    type State = [Option<Float<B>>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = grads.consume::<B>(&ops.node);
        let ([a, b], [at_a, at_b]) = (ops.state, ops.parents);
        if let Some(parent) = at_a {
            let b = B::float_transpose(b.expect("it was kept"));
            grads.register::<B>(parent.id, B::matmul(g.clone(), b));
        }
        if let Some(parent) = at_b {
            let a = B::float_transpose(a.expect("it was kept"));
            grads.register::<B>(parent.id, B::matmul(a, g));
        }
    }
}

/// Up to five inputs (x, W, b, A, B of a linear layer) and their tangents.
const PARENTS: usize = 10;

impl<B: Kernel<O>, O: Operation, C: CheckpointStrategy> Kernel<O> for Autodiff<B, C> {
    fn release_tape() {
        // Burn cleans up after all graphs whenever one of them was differentiated.
        let leaf = Tensor::<Self, 1>::zeros([1], &Default::default()).require_grad();
        drop(leaf.sum().backward());
    }

    fn value(operation: &O, x: &[Float<Self>]) -> Float<Self> {
        match Recording::<B, C, O>::new(operation, x) {
            Some(recording) => recording.value(None),
            None => operation.value::<Self>(x),
        }
    }

    fn tangent(operation: &O, x: &[Float<Self>], dx: &[Option<Float<Self>>]) -> Float<Self> {
        match Recording::<B, C, O>::new(operation, x) {
            Some(recording) => recording.tangent(dx, None),
            None => operation.tangent::<Self>(x, dx),
        }
    }

    fn dual(
        operation: &O,
        x: &[Float<Self>],
        dx: &[Option<Float<Self>>],
        pass: Option<&CachePass>,
    ) -> (Float<Self>, Option<Float<Self>>) {
        let moves = dx.iter().any(Option::is_some);
        let Some(recording) = Recording::<B, C, O>::new(operation, x) else {
            let value = operation.value::<Self>(x);
            return (value, moves.then(|| operation.tangent::<Self>(x, dx)));
        };
        let cached = pass.and_then(|pass| {
            let intensity = operation.arithmetic_intensity::<B>(&recording.inner);
            pass.next(type_name::<O>(), &recording.inner, intensity)
        });
        let input_gradient = cached.as_ref().and_then(CachePlace::input_gradient);
        let value = recording.value(cached);
        (value, moves.then(|| recording.tangent(dx, input_gradient)))
    }
}

/// An operation for which the backend below has backward passes of its own.
struct Recording<'a, B: Backend, C: CheckpointStrategy, O> {
    operation: &'a O,
    x: &'a [Float<Autodiff<B, C>>],
    /// x on the backend below.
    inner: Vec<Float<B>>,
    passes: BackwardPasses<B, O>,
}

impl<'a, B: Kernel<O>, C: CheckpointStrategy, O: Operation> Recording<'a, B, C, O> {
    fn new(operation: &'a O, x: &'a [Float<Autodiff<B, C>>]) -> Option<Self> {
        let inner: Vec<Float<B>> = x.iter().map(|x| x.primitive.clone()).collect();
        let passes = B::backward(&inner)?;
        Some(Self { operation, x, inner, passes })
    }

    /// `cached` is the operation's place in the evaluation's cache.
    fn value(&self, cached: Option<CachePlace<B>>) -> Float<Autodiff<B, C>> {
        let Self { operation, x, inner, passes } = self;
        let compute = || B::value(operation, inner);
        let value = match &cached {
            Some(cached) => cached.value(compute),
            None => compute(),
        };
        let operation = O::clone(operation);
        let node = ValueNode { operation, backward: passes.of_value, cached };
        record::<B, C, _, _>(node, x.iter().map(Some), inner.clone(), value)
    }

    /// `input_gradient` is the gradient at the first input's tangent, if it is known.
    fn tangent(
        &self,
        dx: &[Option<Float<Autodiff<B, C>>>],
        input_gradient: Option<Float<B>>,
    ) -> Float<Autodiff<B, C>> {
        let Self { operation, x, inner, passes } = self;
        let primitive = |dx: &Option<Float<Autodiff<B, C>>>| Some(dx.as_ref()?.primitive.clone());
        let inner_dx: Vec<Option<Float<B>>> = dx.iter().map(primitive).collect();
        let tangent = B::tangent(operation, inner, &inner_dx);
        let operation = O::clone(operation);
        let node = TangentNode { operation, backward: passes.of_tangent, input_gradient };
        let parents = x.iter().map(Some).chain(dx.iter().map(Option::as_ref));
        record::<B, C, _, _>(node, parents, (inner.clone(), inner_dx), tangent)
    }
}

/// Registers the gradients of the parents that are tracked. (It is a macro because the type of the
/// parents is private to Burn.)
macro_rules! register {
    ($grads:expr, $parents:expr, $gradients:expr) => {
        for (parent, gradient) in $parents.into_iter().zip($gradients) {
            if let Some(parent) = parent {
                $grads.register::<B>(parent.id, gradient.expect("a wanted gradient"));
            }
        }
    };
}

/// The node of a value. Its state is the inputs; the backward pass computes intermediate results
/// again.
#[derive(Debug)]
struct ValueNode<B: Backend, O> {
    operation: O,
    backward: OfValue<B, O>,
    /// Where the gradient at the first input is cached for a Hessian product.
    cached: Option<CachePlace<B>>,
}

/// The node of a tangent. Its state is the inputs and their tangents.
#[derive(Debug)]
struct TangentNode<B: Backend, O> {
    operation: O,
    backward: OfTangent<B, O>,
    /// The gradient at the first input's tangent, if it is cached.
    input_gradient: Option<Float<B>>,
}

impl<B: Backend, O: Operation> Backward<B, PARENTS> for ValueNode<B, O> {
    type State = Vec<Float<B>>;

    fn backward(self, ops: Ops<Self::State, PARENTS>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = grads.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let x = ops.state;
        let gradients = (self.backward)(&self.operation, &x, g, &wanted[..x.len()]);
        if let (Some(cached), Some(input_gradient)) = (self.cached, &gradients[0]) {
            cached.fill_input_gradient(input_gradient);
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
        wanted[first] &= self.input_gradient.is_none();
        let mut gradients = (self.backward)(&self.operation, &x, &dx, h, &wanted[..2 * first]);
        if let Some(input_gradient) = self.input_gradient {
            gradients[first] = Some(input_gradient);
        }
        register!(grads, ops.parents, gradients);
    }
}

/// Records `output` on the tape, if it depends on anything that is tracked.
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
    // An operation has fewer parents than slots; an untracked node stands for a missing one.
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
