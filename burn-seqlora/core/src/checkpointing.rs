//! Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): activations that are computed again in the backward pass
//! instead of being kept.
//!
//! Parts of a model run without a tape, and what they give are new leaves of it: segments. After the loss, the segments are gone
//! through from the last to the first; each runs again on a tape of its own, and its gradients are handed on. So the tape holds the
//! inputs of all segments and the activations of one. Burn 0.21 cannot differentiate within a backward pass, which is why this is done
//! where the loss is evaluated: its gradient is known before anyone asks for it.

use std::fmt::{self, Debug, Formatter};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensorOps;
use burn::tensor::{Shape, Tensor, TensorMetadata};
use burn_jvp::Dual;
use seqlora_kernels::TrainBackend;
use seqlora_kernels::operation::{Float, float, tensor};

use crate::lora::{DualAdapters, Recompute, Segment, Traced};

/// A loss on a tape of its own, which is gone when it is returned: what is returned is its value, with its gradient attached to the
/// factors and token embeddings that it was given. With `recompute`, the [segments](Recompute) of the model are computed again
/// instead of being kept.
pub(crate) fn on_own_tape<B: TrainBackend>(
    loss: impl FnOnce(&DualAdapters<B>, Option<&Tensor<B, 2>>) -> Dual<B, 1>,
    adapters: &DualAdapters<B>,
    embeddings: Option<&Tensor<B, 2>>,
    recompute: bool,
) -> Dual<B, 1> {
    let segments = Arc::new(Segments { records: Mutex::default() });
    let (mut adapters, embeddings) = adapters.cut(embeddings, segments.as_ref());
    if recompute {
        adapters = adapters.with_recompute(segments.clone());
    }
    let loss = loss(&adapters, embeddings.as_ref());
    segments.finish(loss)
}

/// What happened in one evaluation of a loss, so that its gradient can be found from the end to the beginning.
struct Segments<B: TrainBackend> {
    records: Mutex<Vec<Record<B>>>,
}

/// What happened between two parts of the tape.
enum Record<B: TrainBackend> {
    /// Tensors went on as leaves.
    Cut { before: Vec<Float<B>>, leaves: Vec<Float<B>> },
    /// A segment was run on leaves, and gave others.
    Segment { inputs: Vec<Traced<B>>, segment: Segment<B>, output: Traced<B> },
}

/// Tensors with their gradients.
type Known<B> = Vec<(Float<B>, Float<<B as AutodiffBackend>::InnerBackend>)>;

/// Gradients that are on their way to leaves.
struct Pending<B: TrainBackend> {
    /// What backward passes have found.
    found: Vec<B::Gradients>,
    /// What segments have handed on.
    handed: Vec<(Float<B>, Float<B::InnerBackend>)>,
}

impl<B: TrainBackend> Recompute<B> for Segments<B> {
    fn run(&self, inputs: &[Traced<B>], segment: Segment<B>) -> Traced<B> {
        let inputs: Vec<Traced<B>> = inputs.iter().map(|input| self.leaf(input)).collect();
        let detached: Vec<Traced<B>> =
            inputs.iter().map(|input| input.map(detached::<B>)).collect();
        let output = segment(&detached);
        if !inputs.iter().flat_map(Traced::parts).any(B::is_tracked) {
            return output;
        }
        let output = output.map(new_leaf::<B>);
        let record = Record::Segment { inputs, segment, output: output.clone() };
        self.records().push(record);
        output
    }

    fn cut(&self, tensors: Vec<Traced<B>>) -> Vec<Traced<B>> {
        let (mut before, mut leaves) = (Vec::new(), Vec::new());
        let mut cut = |part: &Float<B>| {
            if !B::is_tracked(part) {
                return part.clone();
            }
            let leaf = new_leaf::<B>(part);
            before.push(part.clone());
            leaves.push(leaf.clone());
            leaf
        };
        let tensors = tensors.iter().map(|tensor| tensor.map(&mut cut)).collect();
        self.records().push(Record::Cut { before, leaves });
        tensors
    }
}

impl<B: TrainBackend> Segments<B> {
    fn records(&self) -> MutexGuard<'_, Vec<Record<B>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tensor as a leaf: as it is, if it is one, and always the same one.
    fn leaf(&self, input: &Traced<B>) -> Traced<B> {
        let known = input.parts().map(|part| self.known(part)).collect::<Option<Vec<_>>>();
        match known {
            Some(parts) => {
                let mut parts = parts.into_iter();
                input.map(|_| parts.next().expect("one for each part"))
            }
            None => self.cut(vec![input.clone()]).remove(0),
        }
    }

    /// The leaf that stands for a part of a tensor, if there is one; what gradients do not reach needs none.
    fn known(&self, part: &Float<B>) -> Option<Float<B>> {
        if !B::is_tracked(part) {
            return Some(part.clone());
        }
        self.records().iter().find_map(|record| {
            let is_same = |other: &&Float<B>| B::is_same(other, part);
            match (record.leaves().find(is_same), record) {
                (Some(leaf), _) => Some(leaf.clone()),
                (None, Record::Cut { before, leaves }) => {
                    before.iter().position(|other| is_same(&other)).map(|at| leaves[at].clone())
                }
                (None, Record::Segment { .. }) => None,
            }
        })
    }

    /// The loss, with its gradient at what was cut first: the parameters.
    fn finish(&self, loss: Dual<B, 1>) -> Dual<B, 1> {
        let Dual { primal, tangent } = loss;
        // A Hessian product is the gradient of the tangent.
        match tangent {
            Some(tangent) => {
                let primal = tensor(detached::<B>(&float(primal)));
                Dual { primal, tangent: Some(self.with_gradient(tangent)) }
            }
            None => Dual::constant(self.with_gradient(primal)),
        }
    }

    fn with_gradient(&self, value: Tensor<B, 1>) -> Tensor<B, 1> {
        let value = float(value);
        let records = mem::take(&mut *self.records());
        if !B::is_tracked(&value) {
            return tensor(value);
        }
        let mut pending = Pending::<B> {
            found: vec![<B as AutodiffBackend>::backward(value.clone())],
            handed: Vec::new(),
        };
        let mut records = records.into_iter();
        let Some(Record::Cut { before, leaves }) = records.next() else {
            return tensor(detached::<B>(&value));
        };
        for record in records.rev() {
            pending.pass(record);
        }
        tensor(B::with_gradients(B::inner(value), pending.along(before, &leaves)))
    }
}

impl<B: TrainBackend> Record<B> {
    /// The leaves that it gave.
    fn leaves(&self) -> impl Iterator<Item = &Float<B>> {
        let (cut, output) = match self {
            Self::Cut { leaves, .. } => (&leaves[..], None),
            Self::Segment { output, .. } => (&[][..], Some(output)),
        };
        cut.iter().chain(output.into_iter().flat_map(Traced::parts))
    }
}

impl<B: TrainBackend> Pending<B> {
    /// Takes gradients at what a record gave to what it was given.
    fn pass(&mut self, record: Record<B>) {
        match record {
            Record::Cut { before, leaves } => {
                let gradients = self.along(before, &leaves);
                self.found.extend(backward::<B>(gradients));
            }
            Record::Segment { inputs, segment, output } => {
                let again: Vec<Traced<B>> =
                    inputs.iter().map(|input| input.map(fresh::<B>)).collect();
                let gradients: Vec<_> = output.parts().map(|leaf| self.take(leaf)).collect();
                if gradients.iter().all(Option::is_none) {
                    return;
                }
                let run = segment(&again);
                let parts = run.parts().cloned().zip(gradients);
                let known = parts.filter_map(|(part, gradient)| Some((part, gradient?)));
                let Some(mut found) = backward::<B>(known.collect()) else { return };
                let pairs =
                    inputs.iter().flat_map(Traced::parts).zip(again.iter().flat_map(Traced::parts));
                for (leaf, fresh) in pairs {
                    if let Some(gradient) = B::grad_remove(fresh, &mut found) {
                        self.hand_on(leaf, gradient);
                    }
                }
            }
        }
    }

    fn hand_on(&mut self, leaf: &Float<B>, gradient: Float<B::InnerBackend>) {
        match self.handed.iter_mut().find(|(other, _)| B::is_same(other, leaf)) {
            Some((_, sum)) => *sum = B::InnerBackend::float_add(sum.clone(), gradient),
            None => self.handed.push((leaf.clone(), gradient)),
        }
    }

    /// The gradient at a leaf.
    fn take(&mut self, leaf: &Float<B>) -> Option<Float<B::InnerBackend>> {
        let handed = self.handed.iter().position(|(other, _)| B::is_same(other, leaf));
        let handed = handed.map(|number| self.handed.swap_remove(number).1);
        let found = self.found.iter_mut().filter_map(|found| B::grad_remove(leaf, found));
        found.chain(handed).reduce(B::InnerBackend::float_add)
    }

    /// Tensors that went on as leaves, with the gradients at these.
    fn along(&mut self, before: Vec<Float<B>>, leaves: &[Float<B>]) -> Known<B> {
        let pairs = before.into_iter().zip(leaves);
        pairs.filter_map(|(x, leaf)| Some((x, self.take(leaf)?))).collect()
    }
}

/// A backward pass from tensors whose gradients are known; `None` if it would reach nothing.
fn backward<B: TrainBackend>(known: Known<B>) -> Option<B::Gradients> {
    let (x, gradient) = known.first()?;
    let (device, dtype) = (B::float_device(x), gradient.dtype().into());
    let zero = B::InnerBackend::float_zeros(Shape::from([1]), &device, dtype);
    let number = B::with_gradients(zero, known);
    B::is_tracked(&number).then(|| <B as AutodiffBackend>::backward(number))
}

/// The same numbers without a history.
fn detached<B: AutodiffBackend>(x: &Float<B>) -> Float<B> {
    B::from_inner(B::inner(x.clone()))
}

/// The same numbers as a leaf.
fn new_leaf<B: AutodiffBackend>(x: &Float<B>) -> Float<B> {
    B::float_set_require_grad(detached::<B>(x), true)
}

/// The same numbers as a leaf, if gradients reach them.
fn fresh<B: TrainBackend>(x: &Float<B>) -> Float<B> {
    if B::is_tracked(x) { new_leaf::<B>(x) } else { x.clone() }
}

impl<B: TrainBackend> Debug for Segments<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").field("records", &self.records().len()).finish()
    }
}
