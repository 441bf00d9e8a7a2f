//! Fusing concepts as Mix-of-Show does: in three stages, each on inputs from the layers fused before.
//!
//! | stage | layers | a concept's inputs |
//! |---|---|---|
//! | 1 | the text encoder | both prompts with the concept's own text encoder, from start to end |
//! | 2 | keys and values of cross-attention | what the fused text encoder makes of both prompts, at the concept's words and the end |
//! | 3 | all others of the denoiser | an image of the first prompt, sampled without guidance by the fused layers and the concept's own others |

use std::collections::BTreeSet;
use std::sync::Arc;

use burn::tensor::Tensor;
use burn_jvp::Dual;
use seqlora_kernels::KernelBackend;
use seqlora_kernels::ops::release_tape;

use super::apply::patched;
use super::contract::{Fusion, Statistics};
use super::run::{FusionMemory, FusionRun};
use super::statistics::{KEPT_ROWS, StatisticsFolder};
use crate::bank::Bank;
use crate::compose::{Composition, Member};
use crate::diffusion::{Guidance, SamplerPlan, sample};
use crate::error::{Error, Result};
use crate::flow::Flow;
use crate::lora::{ActivationProbe, ActivationStatistics, DualAdapters, Part, PatchSet, Site};
use crate::model::DiffusionModel;
use crate::rng::{Seed, normal};
use crate::text::{TextBatch, Tokens};

/// Layers that are fused on inputs from the same run of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The text encoder.
    TextEncoder,
    /// Keys and values of attention to the prompt.
    CrossAttention,
    /// All other layers of the denoiser.
    Spatial,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Self; 3] = [Self::TextEncoder, Self::CrossAttention, Self::Spatial];

    /// Whether a layer is fused in this stage.
    pub fn contains(self, site: &Site) -> bool {
        let stage = match site.part {
            Part::TextEncoder => Self::TextEncoder,
            Part::Denoiser if site.reads_prompt() => Self::CrossAttention,
            Part::Denoiser => Self::Spatial,
        };
        self == stage
    }
}

/// What is fused, and on which inputs.
#[derive(Debug, Clone, Copy)]
pub struct StagedFusion<'a> {
    /// How a layer's changes are combined.
    pub fusion: &'a dyn Fusion,
    /// The bank with the concepts.
    pub bank: &'a Bank,
    /// The concepts, with their strengths.
    pub members: &'a [Member],
    /// The sampler of the images whose activations count. Mix-of-Show has DPM-Solver++ with 20 steps.
    pub plan: &'a SamplerPlan,
    /// The noise of these images is a function of the seed, the same for all concepts.
    pub seed: u64,
    /// Where statistics lie until their stage is done: for Stable Diffusion 1.5 up to 0.4 GB per concept.
    pub statistics: &'a StatisticsFolder,
}

/// How far a fusion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A concept's inputs are being recorded.
    Recording(Stage, &'a str),
    /// A layer is fused.
    Fused(Stage, &'a str),
}

impl StagedFusion<'_> {
    /// The host memory that [`run`](Self::run) takes besides the model and the patches.
    ///
    /// # Errors
    /// If a concept cannot be read.
    pub fn memory(&self, sites: &[Site]) -> Result<FusionMemory> {
        Ok(self.fusion_run(sites)?.memory())
    }

    /// The number of layers that some concept adapts.
    ///
    /// # Errors
    /// If a concept cannot be read.
    pub fn layers(&self, sites: &[Site]) -> Result<usize> {
        Ok(self.fusion_run(sites)?.layers())
    }

    /// The names of the sites that some concept adapts.
    fn adapted(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for member in self.members {
            names.extend(self.bank.record(&member.id)?.sites.into_keys());
        }
        Ok(names)
    }

    fn fusion_run<'s>(&'s self, sites: &'s [Site]) -> Result<FusionRun<'s>> {
        FusionRun::new(self.fusion, self.bank, self.members, sites, Some(self.statistics))
    }

    /// The patches of all layers that some concept adapts. A fusion that needs no statistics has one stage.
    /// `None` if `progress` stopped it.
    ///
    /// Besides the model and the patches, memory holds the factors of all concepts, the sums of one concept
    /// and what the fusion takes of the layers that it fuses at once ([`memory`](Self::memory)).
    ///
    /// # Errors
    /// If a concept cannot be read or used, an activation is not finite, or a layer has no solution.
    pub fn run<B, M>(
        &self,
        model: &M,
        mut progress: impl FnMut(Progress) -> Flow,
    ) -> Result<Option<PatchSet>>
    where
        B: KernelBackend,
        M: DiffusionModel<B>,
    {
        let mut fused = PatchSet::default();
        for stage in Stage::ALL {
            let flow = self.record(model, stage, &fused, &mut progress);
            let flow = match flow {
                Ok(Flow::Continue) => self.fuse(model, stage, &mut fused, &mut progress),
                stopped => stopped,
            };
            self.clear()?;
            if flow? == Flow::Stop {
                return Ok(None);
            }
        }
        Ok(Some(fused))
    }

    /// Writes the statistics of every concept's inputs of a stage.
    fn record<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        stage: Stage,
        fused: &PatchSet,
        progress: &mut impl FnMut(Progress) -> Flow,
    ) -> Result<Flow> {
        let is_empty = !model.sites().iter().any(|site| stage.contains(site));
        if self.fusion.needs() == Statistics::None || is_empty {
            return Ok(Flow::Continue);
        }
        let fused = patched(model, fused)?;
        for member in self.members {
            if progress(Progress::Recording(stage, &member.id)) == Flow::Stop {
                return Ok(Flow::Stop);
            }
            let one = std::slice::from_ref(member);
            let concept = Composition::load(self.bank, one, model.sites(), &model.device())?;
            let own = model.sites().iter().enumerate().map(|(number, site)| {
                stage.contains(site).then(|| concept.adapters.site(number)).flatten()
            });
            let adapters = fused.concat(&DualAdapters::new(own.collect()));
            let statistics = self.inputs(model, stage, &concept, &adapters, &member.id)?;
            self.statistics.write(&member.id, statistics)?;
            release_tape::<B>();
        }
        Ok(Flow::Continue)
    }

    /// Fuses the layers of a stage.
    fn fuse<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        stage: Stage,
        fused: &mut PatchSet,
        progress: &mut impl FnMut(Progress) -> Flow,
    ) -> Result<Flow> {
        let run = self.fusion_run(model.sites())?.only(|site| stage.contains(site));
        for patch in run.patches(|site| model.site_weight(site)) {
            let (site, patch) = patch?;
            let flow = progress(Progress::Fused(stage, &site));
            fused.0.insert(site, patch);
            if flow == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    fn clear(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| self.statistics.remove(&member.id))
    }

    /// The statistics of one concept's inputs of a stage.
    fn inputs<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        stage: Stage,
        concept: &Composition<B>,
        adapters: &DualAdapters<B>,
        id: &str,
    ) -> Result<ActivationStatistics> {
        let prompts = [format!("photo of a <{id}>"), format!("<{id}>")];
        let prompts = match stage {
            Stage::TextEncoder | Stage::CrossAttention => &prompts[..],
            Stage::Spatial => &prompts[..1],
        };
        let mut statistics = ActivationStatistics::default();
        for prompt in prompts {
            let tokens = model.tokenize(&concept.vocabulary.split(prompt)?)?;
            statistics.add(self.inputs_of(model, stage, concept, adapters, tokens)?);
        }
        Ok(statistics)
    }

    fn inputs_of<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        stage: Stage,
        concept: &Composition<B>,
        adapters: &DualAdapters<B>,
        mut tokens: Tokens,
    ) -> Result<ActivationStatistics> {
        let (sites, device) = (model.sites(), model.device());
        // Of other layers nothing is needed, and those of feed-forward networks have the most inputs.
        let adapted = self.adapted()?;
        let wanted = |site: &Site| stage.contains(site) && adapted.contains(&site.name);
        let mut probe = ActivationProbe::new(sites, wanted);
        if self.fusion.needs() == Statistics::GramAndInputs {
            probe = probe.keeping(KEPT_ROWS);
        }
        if let Some(positions) = positions(model, stage, &tokens)? {
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
        match stage {
            Stage::TextEncoder => drop(encode(&probed)),
            Stage::CrossAttention => {
                // Keys and values do not depend on the latents.
                let latents = Dual::constant(Tensor::zeros(shape, &device));
                let start = Tensor::zeros([1], &device);
                model.predict(latents, start, &encode(adapters), &probed);
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
}

/// The positions of a prompt whose rows count in a stage; `None` if the rows are no positions of a prompt.
///
/// # Errors
/// If an empty prompt has no end.
fn positions<B: KernelBackend, M: DiffusionModel<B>>(
    model: &M,
    stage: Stage,
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
    Ok(match stage {
        Stage::TextEncoder => Some((0..=last).collect()),
        Stage::CrossAttention => Some(words.into_iter().chain([last]).collect()),
        Stage::Spatial => None,
    })
}
