//! The statistics of what a concept's layers see while the model samples the concept.

use std::sync::Arc;

use seqlora_kernels::KernelBackend;

use crate::compose::Composition;
use crate::diffusion::{Guidance, SamplerPlan, sample};
use crate::error::Result;
use crate::lora::{ActivationProbe, ActivationStatistics, DualAdapters, Site};
use crate::model::DiffusionModel;
use crate::rng::{Seed, normal};
use crate::text::TextBatch;

/// What is run to record activations.
///
/// As in Mix-of-Show (arXiv 2305.18292), the denoiser's inputs are those on the way from noise to an
/// image, not noised training images: only what the bank holds is needed. In three points it differs.
/// Each prompt gives an image, where Mix-of-Show samples the longer prompt alone. All positions of a
/// prompt count, also start, end and padding, because cross-attention sees all of them. And all layers
/// are recorded in one run with the given adapters; Mix-of-Show's stages are several calls, with the
/// layers fused so far already patched.
#[derive(Debug, Clone)]
pub struct Recording<'a> {
    /// Prompts with `<id>` in the concept's place. Each is encoded, and sampled without guidance.
    pub prompts: Vec<String>,
    /// The sampler and its timesteps: Mix-of-Show takes 20 of DPM-Solver++.
    pub plan: &'a SamplerPlan,
    /// The noise of image i is a function of the seed and of i.
    pub seed: u64,
}

impl<'a> Recording<'a> {
    /// Mix-of-Show's two prompts of a concept.
    pub fn of(id: &str, plan: &'a SamplerPlan, seed: u64) -> Self {
        Self { prompts: vec![format!("photo of a <{id}>"), format!("<{id}>")], plan, seed }
    }
}

/// Runs text encoder and denoiser with `adapters` and sums the Gram matrices of the inputs of the
/// `wanted` sites. `concept` knows the words of the prompts; its own factors count only if they are
/// among the adapters.
///
/// # Errors
/// If a prompt cannot be tokenized, or an activation is not finite.
pub fn record_activations<B, M>(
    model: &M,
    concept: &Composition<B>,
    adapters: &DualAdapters<B>,
    wanted: impl Fn(&Site) -> bool,
    recording: &Recording,
) -> Result<ActivationStatistics>
where
    B: KernelBackend,
    M: DiffusionModel<B>,
{
    let (device, vocabulary) = (model.device(), &concept.vocabulary);
    let probe = Arc::new(ActivationProbe::new(model.sites(), wanted));
    let adapters = adapters.clone().with_probe(probe.clone());
    let side = model.resolution() / model.downscale();
    let shape = [1, model.latent_channels(), side, side];
    let seed = Seed::new(recording.seed).fork("fusion");
    for (number, prompt) in recording.prompts.iter().enumerate() {
        let tokens = model.tokenize(&vocabulary.split(prompt)?)?;
        let layers = model.cross_attention_layers();
        let batch = TextBatch::new(&[tokens], vocabulary, layers, &device);
        let prompt = model.encode_text(&batch, concept.embeddings.as_ref(), &adapters);
        // A scale of 1 leaves the negative prompt unused.
        let guidance = Guidance { negative: prompt.clone(), prompt, scale: 1.0 };
        let image = seed.fork(&number.to_string());
        let draw = |step: usize| normal(shape, &mut image.at(step as u64), &device);
        let noise = draw(recording.plan.steps.len());
        sample(model, &adapters, &guidance, recording.plan, noise, draw, |_| true);
    }
    probe.statistics(model.sites())
}
