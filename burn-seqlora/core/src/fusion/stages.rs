//! Fusing concepts as Mix-of-Show does: in three stages, each on inputs from the layers fused before.
//!
//! | stage | layers | a concept's inputs |
//! |---|---|---|
//! | 1 | the text encoder | both prompts with the concept's own text encoder, from start to end |
//! | 2 | keys and values of cross-attention | what the fused text encoder makes of both prompts, at the concept's words and the end |
//! | 3 | all others of the denoiser | an image of the first prompt, sampled without guidance by the fused layers and the concept's own others |

use std::collections::BTreeSet;

use seqlora_files::sha256;
use seqlora_kernels::KernelBackend;
use seqlora_kernels::ops::release_tape;

use super::apply::patched;
use super::contract::{Fusion, Statistics};
use super::folder::{FusionFolder, FusionRecord, VERSION};
use super::run::FusionRun;
use super::stage::Stage;
use super::stage_inputs::StageInputs;
use super::statistics::StatisticsFolder;
use crate::bank::Bank;
use crate::compose::{Composition, Member};
use crate::diffusion::SamplerPlan;
use crate::error::Result;
use crate::flow::Flow;
use crate::lora::{DualAdapters, PatchSet, Site};
use crate::model::DiffusionModel;
use crate::shard::Shard;

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
    /// Where the work is kept as it is done. A run goes on with what is there.
    pub folder: &'a FusionFolder,
    /// Which concepts this run records, and which layers it fuses, of all that runs with the same folder do.
    pub shard: Shard,
}

/// How far a fusion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A concept's inputs are being recorded, or have been before.
    Recording(Stage, &'a str),
    /// A layer is fused.
    Fused(Stage, &'a str),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The patches of all layers that some concept adapts.
    Fused(PatchSet),
    /// The caller stopped it.
    Stopped,
    /// This shard's part of a stage is done, and others' is not.
    Waiting(Stage),
}

/// What a stage came to.
enum Step {
    Done,
    Stopped,
    Waiting,
}

impl StagedFusion<'_> {
    /// An upper bound of the memory in bytes that [`run`](Self::run) takes besides the model, which samples images, and
    /// the result.
    ///
    /// # Errors
    /// If a concept cannot be read.
    pub fn memory(&self, sites: &[Site]) -> Result<usize> {
        let statistics = self.folder.statistics(Stage::TextEncoder);
        let fusing = self.fusion_run(sites, &statistics)?.memory().total();
        let adapted = self.adapted()?;
        let mut recording = 0;
        // Weights that are fused before: as they are read, and in place of the model's.
        let mut fused = 0;
        for stage in Stage::ALL {
            let layers = || layers(stage, sites, &adapted);
            if self.records(stage, sites) {
                // On the device and on the host.
                let sums: usize = layers().map(|site| site.inputs * site.inputs).sum();
                recording = recording.max(2 * size_of::<f32>() * sums + fused);
            }
            let weights: usize = layers().map(|site| site.inputs * site.outputs).sum();
            fused += 2 * size_of::<f32>() * weights;
        }
        Ok(fusing.max(recording))
    }

    /// How often [`run`](Self::run) tells its progress.
    ///
    /// # Errors
    /// If a concept cannot be read.
    pub fn steps(&self, sites: &[Site]) -> Result<usize> {
        let adapted = self.adapted()?;
        let own = |count: usize| (0..count).filter(|number| self.shard.has(*number)).count();
        let step = |stage: Stage| {
            let recorded = if self.records(stage, sites) { own(self.members.len()) } else { 0 };
            recorded + own(layers(stage, sites, &adapted).count())
        };
        Ok(Stage::ALL.into_iter().map(step).sum())
    }

    /// Fuses all layers that some concept adapts. A fusion that needs no statistics has one stage.
    ///
    /// Besides the model and the patches, memory holds one concept, its sums or what the fusion takes of the layers that it
    /// fuses at once ([`memory`](Self::memory)), however many concepts there are.
    ///
    /// # Errors
    /// If a concept cannot be read or used, the folder belongs to another fusion, an activation is not finite, or a
    /// layer has no solution.
    pub fn run<B, M>(
        &self,
        model: &M,
        mut progress: impl FnMut(Progress) -> Flow,
    ) -> Result<Outcome>
    where
        B: KernelBackend,
        M: DiffusionModel<B>,
    {
        self.folder.open(&self.record_of(model)?)?;
        let adapted = self.adapted()?;
        for stage in Stage::ALL {
            let layers: Vec<&Site> = layers(stage, model.sites(), &adapted).collect();
            let mut step = Step::Done;
            if !self.is_done(stage, &layers) {
                step = self.record(model, stage, &adapted, &layers, &mut progress)?;
            }
            if let Step::Done = step {
                step = self.fuse(model, stage, &layers, &mut progress)?;
            }
            match step {
                Step::Done => {}
                Step::Stopped => return Ok(Outcome::Stopped),
                Step::Waiting => return Ok(Outcome::Waiting(stage)),
            }
            self.folder.remove_statistics(stage)?;
        }
        Ok(Outcome::Fused(self.fused(&Stage::ALL, model.sites(), &adapted)?))
    }

    /// The patches of stages that are done.
    fn fused(
        &self,
        stages: &[Stage],
        sites: &[Site],
        adapted: &BTreeSet<String>,
    ) -> Result<PatchSet> {
        let mut fused = PatchSet::default();
        for stage in stages {
            for site in layers(*stage, sites, adapted) {
                self.folder.read_layer(*stage, site, &mut fused)?;
            }
        }
        Ok(fused)
    }

    /// Writes the statistics of every concept's inputs of a stage.
    fn record<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        stage: Stage,
        adapted: &BTreeSet<String>,
        layers: &[&Site],
        progress: &mut impl FnMut(Progress) -> Flow,
    ) -> Result<Step> {
        if !self.records(stage, model.sites()) {
            return Ok(Step::Done);
        }
        let inputs = StageInputs {
            stage,
            adapted,
            keep_rows: self.fusion.needs() == Statistics::GramAndInputs,
            plan: self.plan,
            seed: self.seed,
        };
        let before = Stage::ALL.split(|other| *other == stage).next().unwrap_or_default();
        let fused = patched(model, &self.fused(before, model.sites(), adapted)?)?;
        let statistics = self.folder.statistics(stage);
        let own = self.members.iter().enumerate().filter(|(number, _)| self.shard.has(*number));
        for (_, member) in own {
            if progress(Progress::Recording(stage, &member.id)) == Flow::Stop {
                return Ok(Step::Stopped);
            }
            if statistics.has(&member.id) {
                continue;
            }
            // Another run may have fused the last layer, and removed what it was fused by.
            if self.is_done(stage, layers) {
                return Ok(Step::Done);
            }
            let one = std::slice::from_ref(member);
            let concept = Composition::load(self.bank, one, model.sites(), &model.device())?;
            let own = model.sites().iter().enumerate().map(|(number, site)| {
                stage.contains(site).then(|| concept.adapters.site(number)).flatten()
            });
            let adapters = fused.clone().with_frozen(&DualAdapters::new(own.collect()));
            statistics.write(&member.id, inputs.of(model, &member.id, &concept, &adapters)?)?;
            release_tape::<B>();
        }
        let recorded = self.members.iter().all(|member| statistics.has(&member.id));
        match recorded || self.is_done(stage, layers) {
            true => Ok(Step::Done),
            false => Ok(Step::Waiting),
        }
    }

    /// Fuses the layers of a stage.
    fn fuse<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        stage: Stage,
        layers: &[&Site],
        progress: &mut impl FnMut(Progress) -> Flow,
    ) -> Result<Step> {
        let own = layers.iter().enumerate().filter(|(number, _)| self.shard.has(*number));
        let (there, left): (Vec<&Site>, Vec<&Site>) =
            own.map(|(_, site)| *site).partition(|site| self.folder.has_layer(stage, site));
        for site in there {
            if progress(Progress::Fused(stage, &site.name)) == Flow::Stop {
                return Ok(Step::Stopped);
            }
        }
        let left: BTreeSet<&str> = left.iter().map(|site| site.name.as_str()).collect();
        let statistics = self.folder.statistics(stage);
        let run = self.fusion_run(model.sites(), &statistics)?;
        let run = run.only(|site| left.contains(site.name.as_str()));
        for patch in run.patches(|site| model.site_weight(site)) {
            let (site, patch) = patch?;
            self.folder.keep_layer(stage, &site, patch)?;
            if progress(Progress::Fused(stage, &site)) == Flow::Stop {
                return Ok(Step::Stopped);
            }
        }
        match self.is_done(stage, layers) {
            true => Ok(Step::Done),
            false => Ok(Step::Waiting),
        }
    }

    /// Whether all layers of a stage are fused.
    fn is_done(&self, stage: Stage, layers: &[&Site]) -> bool {
        layers.iter().all(|site| self.folder.has_layer(stage, site))
    }

    /// Whether a stage needs inputs.
    fn records(&self, stage: Stage, sites: &[Site]) -> bool {
        self.fusion.needs() != Statistics::None && sites.iter().any(|site| stage.contains(site))
    }

    /// The names of the sites that some concept adapts.
    fn adapted(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for member in self.members {
            names.extend(self.bank.record(&member.id)?.sites.into_keys());
        }
        Ok(names)
    }

    fn fusion_run<'s>(
        &'s self,
        sites: &'s [Site],
        statistics: &'s StatisticsFolder,
    ) -> Result<FusionRun<'s>> {
        FusionRun::new(self.fusion, self.bank, self.members, sites, Some(statistics))
    }

    /// What makes this fusion another one than others.
    fn record_of<B: KernelBackend, M: DiffusionModel<B>>(&self, model: &M) -> Result<FusionRecord> {
        let concept = |member: &Member| {
            let record = self.bank.record(&member.id)?;
            // It has the digests of the concept's files.
            let digest = sha256(format!("{record:?}").as_bytes());
            Ok((member.id.clone(), member.scale, digest))
        };
        let precision = match model.sites().is_empty() {
            true => String::new(),
            false => format!("{:?}", model.site_weight(0).dtype()),
        };
        Ok(FusionRecord {
            version: VERSION,
            base: self.bank.base().fingerprint.clone(),
            precision,
            fusion: format!("{:?}", self.fusion),
            concepts: self.members.iter().map(concept).collect::<Result<_>>()?,
            sampler: sha256(format!("{:?}", self.plan).as_bytes()),
            seed: self.seed,
        })
    }
}

/// The layers of a stage that some concept adapts.
fn layers<'s>(
    stage: Stage,
    sites: &'s [Site],
    adapted: &'s BTreeSet<String>,
) -> impl Iterator<Item = &'s Site> {
    sites.iter().filter(move |site| stage.contains(site) && adapted.contains(&site.name))
}
