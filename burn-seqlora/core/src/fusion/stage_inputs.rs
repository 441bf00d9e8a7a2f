//! The inputs that a concept gives to the layers of a stage.

use std::collections::BTreeSet;
use std::sync::Arc;

use burn::tensor::Tensor;
use burn_jvp::Dual;
use seqlora_kernels::KernelBackend;

use super::stage::Stage;
use super::statistics::KEPT_ROWS;
use crate::compose::Composition;
use crate::diffusion::{Guidance, SamplerPlan, sample};
use crate::error::{Error, Result};
use crate::lora::{ActivationProbe, ActivationStatistics, DualAdapters, Site};
use crate::model::DiffusionModel;
use crate::rng::{Seed, normal};
use crate::text::{TextBatch, Tokens};

/// How the inputs of a stage are recorded.
#[derive(Debug)]
pub struct StageInputs<'a> {
    pub stage: Stage,
    /// The names of the sites that some concept adapts.
    pub adapted: &'a BTreeSet<String>,
    /// Whether the last inputs are kept, besides their Gram matrix.
    pub keep_rows: bool,
    /// The sampler of the image.
    pub plan: &'a SamplerPlan,
    /// The noise of the image.
    pub seed: u64,
}

impl StageInputs<'_> {
    /// The statistics of one concept's inputs, with these adapters.
    ///
    /// # Errors
    /// If a prompt cannot be tokenized, or an activation is not finite.
    pub fn of<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        id: &str,
        concept: &Composition<B>,
        adapters: &DualAdapters<B>,
    ) -> Result<ActivationStatistics> {
        let prompts = [format!("photo of a <{id}>"), format!("<{id}>")];
        let prompts = match self.stage {
            Stage::TextEncoder | Stage::CrossAttention => &prompts[..],
            Stage::Spatial => &prompts[..1],
        };
        let mut statistics = ActivationStatistics::default();
        for prompt in prompts {
            let tokens = model.tokenize(&concept.vocabulary.split(prompt)?)?;
            statistics.add(self.of_prompt(model, concept, adapters, tokens)?);
        }
        Ok(statistics)
    }

    fn of_prompt<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        concept: &Composition<B>,
        adapters: &DualAdapters<B>,
        mut tokens: Tokens,
    ) -> Result<ActivationStatistics> {
        let (sites, device) = (model.sites(), model.device());
        // Of other layers nothing is needed, and those of feed-forward networks have the most inputs.
        let wanted = |site: &Site| self.stage.contains(site) && self.adapted.contains(&site.name);
        let mut probe = ActivationProbe::new(sites, wanted);
        if self.keep_rows {
            probe = probe.keeping(KEPT_ROWS);
        }
        if let Some(positions) = self.positions(model, &tokens)? {
            // Attention of the text encoder is causal: no state depends on the padding behind the last of them, which is
            // nine tenths of a short prompt.
            tokens.ids.truncate(positions.iter().max().map_or(0, |last| last + 1));
            probe = probe.at_positions(tokens.ids.len(), positions);
        }
        let probe = Arc::new(probe);
        let probed = adapters.clone().with_probe(probe.clone());
        let layers = model.cross_attention_layers();
        let batch = TextBatch::new(&[tokens], &concept.vocabulary, layers, &device);
        let encode = |adapters| model.encode_text(&batch, concept.embeddings.as_ref(), adapters);
        let side = model.resolution() / model.downscale();
        let shape = [1, model.latent_channels(), side, side];
        match self.stage {
            Stage::TextEncoder => drop(encode(&probed)),
            Stage::CrossAttention => {
                // Keys and values do not depend on the latents, so that a model may compute them beforehand.
                let prompt = model.prepare(encode(adapters), &probed);
                if !probe.is_complete() {
                    let latents = Dual::constant(Tensor::zeros(shape, &device));
                    model.predict(latents, Tensor::zeros([1], &device), &prompt, &probed);
                }
            }
            Stage::Spatial => {
                let prompt = encode(adapters);
                // A scale of 1 leaves the negative prompt unused.
                let guidance = Guidance { negative: prompt.clone(), prompt, scale: 1.0 };
                let seed = Seed::new(self.seed).fork("fusion").fork("0");
                let draw = |step: usize| normal(shape, &mut seed.at(step as u64), &device);
                let noise = draw(self.plan.steps.len());
                sample(model, &probed, &guidance, self.plan, noise, draw, |_| true);
            }
        }
        probe.statistics(sites)
    }

    /// The positions of a prompt whose rows count; `None` if the rows are no positions of a prompt.
    ///
    /// # Errors
    /// If an empty prompt has no end.
    fn positions<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        tokens: &Tokens,
    ) -> Result<Option<Vec<usize>>> {
        let words: Vec<usize> = tokens.words.iter().map(|(position, _)| *position).collect();
        // An empty prompt is start and end.
        let end = model.tokenize(&[])?.ids.get(1).copied();
        let end =
            end.ok_or_else(|| Error::Invalid("the tokenizer puts no end behind a prompt".into()))?;
        let is_end = |(position, id): &(usize, &u32)| **id == end && !words.contains(position);
        let found = tokens.ids.iter().enumerate().skip(1).find(is_end);
        let last = found.map_or(tokens.ids.len() - 1, |(position, _)| position);
        Ok(match self.stage {
            Stage::TextEncoder => Some((0..=last).collect()),
            Stage::CrossAttention => Some(words.into_iter().chain([last]).collect()),
            Stage::Spatial => None,
        })
    }
}
