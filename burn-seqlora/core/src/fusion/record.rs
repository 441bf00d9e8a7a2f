//! Recording the statistics of the layers' inputs while a model samples a concept.

use std::sync::Arc;

use seqlora_kernels::KernelBackend;

use crate::compose::Composition;
use crate::diffusion::{Guidance, SamplerPlan, sample};
use crate::error::Result;
use crate::lora::{ActivationProbe, ActivationStatistics, DualAdapters, Site};
use crate::model::DiffusionModel;
use crate::rng::{Seed, normal};
use crate::text::TextBatch;

/// The prompts and the sampler whose activations are recorded.
///
/// As in Mix-of-Show (arXiv 2305.18292), the denoiser's inputs are the latents of a sampling run, not
/// noised training images, so that nothing but the bank is needed. There are three differences:
/// - An image is sampled for each prompt; Mix-of-Show samples one, for the longer prompt.
/// - All positions of a prompt count, including start, end and padding, because cross-attention attends
///   to all of them. Mix-of-Show leaves out the padding, and at keys and values of cross-attention all
///   but the concept's words and the end.
/// - One call records all wanted layers with the given adapters. Mix-of-Show fuses the text encoder
///   first, then keys and values of cross-attention, then the rest, each on inputs from the layers fused
///   before; that takes one call per stage.
#[derive(Debug, Clone)]
pub struct Recording<'a> {
    /// Prompts that name the concept as `<id>`. Each is encoded, and sampled without guidance.
    pub prompts: Vec<String>,
    /// The sampler and its timesteps. Mix-of-Show uses DPM-Solver++ with 20 steps.
    pub plan: &'a SamplerPlan,
    /// The noise of image i is a function of the seed and of i.
    pub seed: u64,
}

impl<'a> Recording<'a> {
    /// Mix-of-Show's two prompts for a concept.
    pub fn of(id: &str, plan: &'a SamplerPlan, seed: u64) -> Self {
        Self { prompts: vec![format!("photo of a <{id}>"), format!("<{id}>")], plan, seed }
    }
}

/// Runs text encoder and denoiser with `adapters` and sums the Gram matrices of the inputs of the
/// `wanted` sites. `concept` gives the words of the prompts their embeddings; its factors have to be
/// among the adapters to be active.
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
