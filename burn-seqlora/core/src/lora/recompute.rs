//! Parts of a model whose activations may be computed again, and what is handed to them.

use std::fmt::Debug;
use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_kernels::operation::{Float, float, tensor};

/// A tensor of any rank, with its tangent if it has one.
#[derive(Debug, Clone)]
pub struct Traced<B: Backend> {
    primal: Float<B>,
    tangent: Option<Float<B>>,
}

/// A part of a model: it gives the same whenever it is run on the same.
pub type Segment<B> = Arc<dyn Fn(&[Traced<B>]) -> Traced<B> + Send + Sync>;

/// Runs segments of a model in an evaluation of its loss.
pub trait Recompute<B: Backend>: Debug + Send + Sync {
    /// What a segment gives, without the tape. Inputs that share a history on the tape, such as parts of one tensor,
    /// have to be [cut](Self::cut) together before.
    fn run(&self, inputs: &[Traced<B>], segment: Segment<B>) -> Traced<B>;

    /// The same tensors as leaves of the tape.
    fn cut(&self, tensors: Vec<Traced<B>>) -> Vec<Traced<B>>;
}

impl<B: Backend, const D: usize> From<Dual<B, D>> for Traced<B> {
    fn from(Dual { primal, tangent }: Dual<B, D>) -> Self {
        Self { primal: float(primal), tangent: tangent.map(float) }
    }
}

impl<B: Backend> Traced<B> {
    /// As a dual number.
    ///
    /// # Panics
    /// If it has another rank.
    pub fn dual<const D: usize>(&self) -> Dual<B, D> {
        Dual { primal: tensor(self.primal.clone()), tangent: self.tangent.clone().map(tensor) }
    }

    /// With another primal and another tangent.
    pub(crate) fn map(&self, mut f: impl FnMut(&Float<B>) -> Float<B>) -> Self {
        Self { primal: f(&self.primal), tangent: self.tangent.as_ref().map(f) }
    }

    /// Primal and tangent.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Float<B>> {
        [&self.primal].into_iter().chain(&self.tangent)
    }
}
