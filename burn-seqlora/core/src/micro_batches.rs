//! Gradient accumulation: the images of a minibatch go through the model in parts, one after the other.

use burn::tensor::Tensor;
use burn_jvp::Dual;
use seqlora_kernels::TrainBackend;

use crate::checkpointing::on_own_tape;
use crate::lora::DualAdapters;
use crate::objective::Objective;
use crate::settings::Memory;

/// A part of a minibatch.
#[derive(Debug, Clone)]
pub struct MicroBatch<S> {
    /// Its images.
    pub sample: S,
    /// Their share of the minibatch's images.
    pub share: f64,
}

/// The loss of a minibatch, which is the mean over its images, from those of its parts.
///
/// Several parts have tapes of their own, each of which is gone before the next one begins; so has a single one in low memory. The
/// loss and its derivatives are those of the whole minibatch, up to the order of sums.
#[derive(Debug)]
pub struct MicroBatches<O> {
    /// The loss of a part: a mean over its images.
    pub objective: O,
    /// Whether activations are kept or computed again.
    pub memory: Memory,
}

impl<S> MicroBatch<S> {
    /// A minibatch in one part.
    pub fn whole(sample: S) -> Vec<Self> {
        vec![Self { sample, share: 1.0 }]
    }
}

impl<B: TrainBackend, O: Objective<B>> Objective<B> for MicroBatches<O> {
    type Sample = Vec<MicroBatch<O::Sample>>;

    /// # Panics
    /// If there is no part.
    fn loss(
        &self,
        adapters: &DualAdapters<B>,
        embeddings: Option<&Tensor<B, 2>>,
        parts: &Self::Sample,
    ) -> Dual<B, 1> {
        let recompute = self.memory == Memory::Low;
        let of_part = |MicroBatch { sample, share }: &MicroBatch<O::Sample>| {
            let loss = |adapters: &DualAdapters<B>, embeddings: Option<&Tensor<B, 2>>| {
                self.objective.loss(adapters, embeddings, sample)
            };
            match parts.len() {
                1 if recompute => on_own_tape(loss, adapters, embeddings, recompute),
                1 => loss(adapters, embeddings),
                _ => on_own_tape(loss, adapters, embeddings, recompute).scale(*share),
            }
        };
        parts.iter().map(of_part).reduce(|sum, part| sum + part).expect("a minibatch has images")
    }
}
