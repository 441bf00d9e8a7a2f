//! What is known of a tensor's place on a tape.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::backend::{AutodiffBackend, Backend};

use crate::operation::Float;

/// A backend with a tape whose tensors can be told apart.
pub trait Tape: AutodiffBackend {
    /// Whether gradients reach a tensor.
    fn is_tracked(x: &Float<Self>) -> bool;

    /// Whether both are the same node of the tape.
    fn is_same(a: &Float<Self>, b: &Float<Self>) -> bool;
}

impl<B: Backend, C: CheckpointStrategy> Tape for Autodiff<B, C> {
    fn is_tracked(x: &Float<Self>) -> bool {
        !x.node.requirement.is_none()
    }

    fn is_same(a: &Float<Self>, b: &Float<Self>) -> bool {
        a.node.id == b.node.id
    }
}
