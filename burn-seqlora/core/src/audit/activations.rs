//! Running a model with each concept by itself, to see what its layers' inputs do to the other adapters.

use burn::tensor::backend::Backend;
use seqlora_kernels::KernelBackend;

use super::energy::{Energies, Inputs};
use crate::bank::Bank;
use crate::compose::{Composition, Member};
use crate::diffusion::SamplerPlan;
use crate::error::Result;
use crate::flow::Flow;
use crate::fusion::{Recording, patched, record_activations};
use crate::lora::{DualAdapters, PatchSet, Site, StoredAdapter, WeightPatch};
use crate::model::DiffusionModel;

/// Prompts about nothing that anybody teaches, among them the one of images without guidance.
pub const COMMON_PROMPTS: [&str; 6] = [
    "",
    "a photo of a house by a lake",
    "a street at night",
    "a bowl of fruit on a wooden table",
    "a painting of mountains",
    "two people walking in a park",
];

/// An adapter, and what it takes to run a model with it alone.
#[derive(Debug, Clone)]
pub struct Subject<B: Backend> {
    /// Its name.
    pub id: String,
    /// Its factors.
    pub adapter: StoredAdapter,
    /// Words and token embeddings of its prompts, if they have any.
    concept: Composition<B>,
    /// Prompts that it was made for; without any, only what it does to the others is known.
    prompts: Vec<String>,
}

impl<B: KernelBackend> Subject<B> {
    /// A concept of a bank with Mix-of-Show's two prompts.
    ///
    /// # Errors
    /// If it is not in the bank, a file is damaged, or it does not fit the model.
    pub fn of_bank<M: DiffusionModel<B>>(bank: &Bank, id: &str, model: &M) -> Result<Self> {
        let member = [Member::new(id)];
        let concept = Composition::load(bank, &member, model.sites(), &model.device())?;
        let prompts = vec![format!("photo of a <{id}>"), format!("<{id}>")];
        Ok(Self { id: id.into(), adapter: bank.adapter(id)?, concept, prompts })
    }

    /// An adapter without token embeddings of its own.
    pub fn of_adapter(id: impl Into<String>, adapter: StoredAdapter, prompts: Vec<String>) -> Self {
        Self { id: id.into(), adapter, concept: Composition::none(0), prompts }
    }

    /// The same under another name.
    pub fn called(self, id: String) -> Self {
        Self { id, ..self }
    }

    /// The same with other prompts.
    pub fn with_prompts(self, prompts: Vec<String>) -> Self {
        Self { prompts, ..self }
    }

    fn adapters<M: DiffusionModel<B>>(&self, model: &M) -> Result<DualAdapters<B>> {
        let patch = |factors| WeightPatch::LowRank(factors);
        let patches = self.adapter.0.clone().into_iter();
        patched(model, &PatchSet(patches.map(|(site, f)| (site, patch(f))).collect()))
    }
}

/// Records the inputs of every layer that some adapter changes, and computes what all adapters do to
/// them.
///
/// Each concept's inputs are those of its own prompts, sampled with its own adapter at full strength and
/// nothing else; those of common prompts are the base model's. All positions of a prompt count, the padding
/// too, because attention sees them all. Sampling is without guidance. Keys and values of cross-attention
/// and the text encoder need no latents: for them one step is as good as many.
#[derive(Debug, Clone, Copy)]
pub struct ActivationAudit<'a> {
    /// The sampler and its steps.
    pub plan: &'a SamplerPlan,
    /// The noise of image i is a function of the seed and of i, the same for all concepts.
    pub seed: u64,
    /// Prompts without any concept.
    pub common_prompts: &'a [String],
}

impl ActivationAudit<'_> {
    /// Memory holds the Gram matrices of one concept at a time: Σ m² numbers over the layers, 0.5 GB for
    /// Stable Diffusion 1.5. `progress` is told whose inputs come next, `None` for common prompts; `None`
    /// if it stopped the run.
    ///
    /// # Errors
    /// If an adapter does not fit the model, a prompt cannot be used, or an activation is not finite.
    pub fn run<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        subjects: &[Subject<B>],
        mut progress: impl FnMut(Option<&str>) -> Flow,
    ) -> Result<Option<Energies>> {
        let adapters: Vec<&StoredAdapter> = subjects.iter().map(|s| &s.adapter).collect();
        let ids = subjects.iter().map(|subject| subject.id.clone()).collect();
        let mut energies = Energies::new(ids, &adapters, model.sites());
        let adapted = |site: &Site| adapters.iter().any(|a| a.get(&site.name).is_some());
        let record = |concept: &Composition<B>, with: &DualAdapters<B>, prompts: &[String]| {
            let recording =
                Recording { prompts: prompts.to_vec(), plan: self.plan, seed: self.seed };
            record_activations(model, concept, with, adapted, &recording)
        };
        for (number, subject) in subjects.iter().enumerate() {
            if subject.prompts.is_empty() {
                continue;
            }
            if progress(Some(&subject.id)) == Flow::Stop {
                return Ok(None);
            }
            let with = subject.adapters(model)?;
            let statistics = record(&subject.concept, &with, &subject.prompts)?;
            energies.add(Inputs::Concept(number), &statistics, &adapters)?;
        }
        if progress(None) == Flow::Stop {
            return Ok(None);
        }
        let base = Composition::none(model.sites().len());
        let statistics = record(&base, &DualAdapters::none(), self.common_prompts)?;
        energies.add(Inputs::Common, &statistics, &adapters)?;
        Ok(Some(energies))
    }
}
