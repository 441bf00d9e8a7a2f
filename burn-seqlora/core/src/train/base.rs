//! The weights that a concept's adapter is added to while it is trained.

use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_kernels::KernelBackend;

use crate::bank::{Bank, ConceptId};
use crate::compose::{Composition, Member};
use crate::error::Result;
use crate::lora::{DualAdapters, Site};
use crate::objective::Objective;
use crate::settings::TrainingBase;

/// A loss in which frozen adapters of earlier concepts are concatenated with those that are trained.
///
/// They stay factors: no second copy of the model's weights, and nothing that depends on the order
/// in which adapters were merged.
#[derive(Debug)]
pub struct OnBase<B: Backend, O> {
    /// The loss on the pretrained weights.
    pub objective: O,
    /// The adapters of earlier concepts; none on the pretrained weights.
    pub earlier: DualAdapters<B>,
}

impl<B: KernelBackend, O: Objective<B>> Objective<B> for OnBase<B, O> {
    type Sample = O::Sample;

    fn loss(
        &self,
        adapters: &DualAdapters<B>,
        embeddings: Option<&Tensor<B, 2>>,
        sample: &O::Sample,
    ) -> Dual<B, 1> {
        self.objective.loss(&adapters.concat(&self.earlier), embeddings, sample)
    }
}

/// The adapters in a bank that `base` counts among the frozen weights of a concept: those before it.
///
/// # Errors
/// If a file of the bank is damaged.
pub fn earlier<B: KernelBackend>(
    base: TrainingBase,
    bank: &Bank,
    id: &ConceptId,
    sites: &[Site],
    device: &B::Device,
) -> Result<DualAdapters<B>> {
    let before = bank.concepts().iter().take_while(|other| *other != id);
    let members: Vec<Member> = match base {
        TrainingBase::Pretrained => Vec::new(),
        TrainingBase::Accumulated => before.map(Member::new).collect(),
    };
    Ok(Composition::<B>::load(bank, &members, sites, device)?.adapters)
}
