//! All that changes while a concept is trained.

use burn::tensor::{Bool, Tensor, backend::Backend};

use crate::objective::ConceptParameters;
use crate::optim::AdamW;

/// Parameters and optimizer states of one concept, in f32 whatever the model computes in.
#[derive(Debug, Clone)]
pub struct TrainState<B: Backend> {
    /// Minibatches done.
    pub step: usize,
    /// A, B and the token embeddings.
    pub parameters: ConceptParameters<B>,
    /// The optimizer of A; inner steps take its preconditioner and no momentum.
    pub inner: AdamW<B>,
    /// The optimizer of B.
    pub outer: AdamW<B>,
    /// The optimizer of the token embeddings, as factors with one site.
    pub embeddings: AdamW<B>,
    /// Whether the token embeddings have reached their norm limit.
    pub embeddings_frozen: bool,
    /// Whether they have within the present minibatch, `[1]`: not yet read back.
    pub freezing: Option<Tensor<B, 1, Bool>>,
    /// The probes' loss before the first step.
    pub initial_loss: f64,
}
