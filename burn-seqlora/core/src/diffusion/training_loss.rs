//! The whole loss of training: denoising, and the terms that settings may add to it.

use std::sync::Arc;

use burn::tensor::Tensor;
use burn_jvp::Dual;
use seqlora_kernels::KernelBackend;

use super::attention_loss::AttentionRegularization;
use super::denoising::{DenoisingLoss, DenoisingSample};
use crate::lora::{AttentionMaps, DualAdapters};
use crate::model::{Denoiser, TextEncoder};
use crate::objective::Objective;

/// The denoising loss, with the attention's term and the prior's where there are any.
#[derive(Debug)]
pub struct TrainingLoss<'a, M> {
    /// The denoising loss.
    pub denoising: DenoisingLoss<'a, M>,
    /// The term of the attention. Without it, nothing is computed for it.
    pub attention: Option<AttentionRegularization>,
    /// Weight of the loss on what samples say of the class; without effect on samples that say nothing.
    pub prior_weight: f64,
}

impl<B, M> Objective<B> for TrainingLoss<'_, M>
where
    B: KernelBackend,
    M: Denoiser<B> + TextEncoder<B>,
{
    type Sample = DenoisingSample<B>;

    /// # Panics
    /// If there is a term of the attention, and the sample has no subject mask.
    fn loss(
        &self,
        adapters: &DualAdapters<B>,
        embeddings: Option<&Tensor<B, 2>>,
        sample: &DenoisingSample<B>,
    ) -> Dual<B, 1> {
        let loss = match self.attention {
            Some(attention) => self.with_attention(attention, adapters, embeddings, sample),
            None => self.denoising.loss(adapters, embeddings, sample),
        };
        match &sample.prior {
            Some(prior) => loss + self.denoising.of_prior(adapters, prior).scale(self.prior_weight),
            None => loss,
        }
    }
}

impl<M> TrainingLoss<'_, M> {
    fn with_attention<B>(
        &self,
        attention: AttentionRegularization,
        adapters: &DualAdapters<B>,
        embeddings: Option<&Tensor<B, 2>>,
        sample: &DenoisingSample<B>,
    ) -> Dual<B, 1>
    where
        B: KernelBackend,
        M: Denoiser<B> + TextEncoder<B>,
    {
        let subject = sample.subject.as_ref().expect("samples have subject masks");
        let [_, length] = sample.prompts.ids.dims();
        let maps = Arc::new(AttentionMaps::new(&sample.prompts.words, length, &subject.device()));
        let adapters = adapters.clone().with_attention_maps(maps.clone());
        let loss = self.denoising.loss(&adapters, embeddings, sample);
        loss + attention.term(maps.take(), subject)
    }
}
