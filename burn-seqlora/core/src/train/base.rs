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

/// A loss in which frozen adapters of earlier concepts are added to those that are trained.
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
        self.objective.loss(&adapters.clone().with_frozen(&self.earlier), embeddings, sample)
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

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use seqlora_kernels::Flex;
    use seqlora_kernels::lora_linear::LoraFactors;

    use super::*;

    /// The sum of all outputs of two layers with one input.
    struct Layers;

    impl Objective<Flex> for Layers {
        type Sample = Tensor<Flex, 2>;

        fn loss(
            &self,
            adapters: &DualAdapters<Flex>,
            _: Option<&Tensor<Flex, 2>>,
            x: &Tensor<Flex, 2>,
        ) -> Dual<Flex, 1> {
            let ranks = [0, 1].map(|site| Some(adapters.site(site)?.up.dims()[1]));
            assert_eq!(ranks, [Some(2), None], "frozen factors are not copied in a loss");
            let layer = |site| {
                let weight = Tensor::ones([5, 4], &x.device());
                adapters.linear(Some(site), Dual::constant(x.clone()), weight, None)
            };
            (layer(0) + layer(1)).sum()
        }
    }

    /// Both layers have frozen factors of rank 3, and the first also those that are trained, of rank 2.
    #[test]
    fn frozen_factors_are_added_and_stay_where_they_are() {
        let device = Default::default();
        let factors = |rank: usize, size: f32| {
            let full = |rows| Dual::constant(Tensor::<Flex, 2>::full([rows, rank], size, &device));
            Some(LoraFactors { up: full(5), down: full(4) })
        };
        let earlier = DualAdapters::<Flex>::new(vec![factors(3, 2.0), factors(3, 3.0)]);
        let on_base = OnBase { objective: Layers, earlier };
        let trained = DualAdapters::new(vec![factors(2, 1.0), None]);
        let loss = on_base.loss(&trained, None, &Tensor::ones([1, 4], &device));
        // Each of the 2 × 5 outputs is the sum of 4 elements of W + Σ A Bᵀ.
        let expected: f32 = 5.0 * 4.0 * ((1.0 + 2.0 + 3.0 * 4.0) + (1.0 + 3.0 * 9.0));
        assert_eq!(loss.primal.into_scalar(), expected);
    }
}
