//! `seqlora audit`: whether adapters interfere with each other.

mod advice;
mod report;
mod sources;

use std::collections::BTreeMap;
use std::fs;

use burn_seqlora::FoundModel;
use burn_seqlora::audit::{
    ActivationAudit, COMMON_PROMPTS, Energies, PairWeights, Subject, weight_overlaps,
};
use burn_seqlora::diffusion::{SamplerKind, SamplerPlan};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::lora::{Site, StoredAdapter};
use burn_seqlora::model::DiffusionModel;

use self::report::Report;
use self::sources::{Adapters, Source, sources, without_model};
use super::model;
use crate::args::{Audit, Compute};
use crate::device::Job;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Terminal;

/// Compares the adapters of banks and folders: without a model their weights alone.
pub fn run(args: &Audit, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    let sources = sources(&args.paths)?;
    let settings = Settings::new(args, &sources)?;
    match &args.model {
        Some(model) => {
            let found = model::find(model, terminal)?;
            compute.device.run(Session { args, compute, sources, settings, found, terminal })
        }
        None => {
            let Adapters { named, sites } = without_model(&sources)?;
            let adapters: Vec<&StoredAdapter> = named.iter().map(|(_, adapter)| adapter).collect();
            let weights = weight_overlaps(&adapters, &sites);
            let ids = named.iter().map(|(id, _)| id.clone()).collect();
            let report = Report { ids, sites: &sites, weights, activations: None, args };
            report.show(terminal)?;
            terminal.line("note", "--model gives what the adapters do to each other's inputs, too");
            Ok(())
        }
    }
}

/// What the command line says of prompts.
struct Settings {
    /// The prompts of concepts that were given any.
    prompts: BTreeMap<String, Vec<String>>,
    common: Vec<String>,
}

impl Settings {
    fn new(args: &Audit, sources: &[Source]) -> Result<Self, Failure> {
        let ids = sources.iter().flat_map(Source::ids).collect::<Vec<_>>();
        let mut prompts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in &args.prompt {
            let (id, prompt) = text.split_once('=').ok_or_else(|| {
                Failure::Usage(format!("--prompt {text}: write --prompt ID=TEXT"))
            })?;
            if !ids.iter().any(|known| known == id) {
                let known = ids.join(", ");
                return Err(Failure::Usage(format!(
                    "--prompt {text}: there is no adapter `{id}`; there are {known}"
                )));
            }
            prompts.entry(id.into()).or_default().push(prompt.into());
        }
        let common = match &args.common_prompts {
            None => COMMON_PROMPTS.map(String::from).to_vec(),
            Some(file) => {
                let text = fs::read_to_string(file)
                    .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
                text.lines().map(String::from).collect()
            }
        };
        Ok(Self { prompts, common })
    }
}

struct Session<'a> {
    args: &'a Audit,
    compute: &'a Compute,
    sources: Vec<Source>,
    settings: Settings,
    found: FoundModel,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, compute, sources, settings, terminal, .. } = &self;
        let precision = compute.precision.unwrap_or_default();
        let (model, base) = model::load::<B>(&self.found, precision, &device)?;
        let mut subjects: Vec<Subject<B>> = Vec::new();
        for source in sources {
            subjects.extend(source.subjects(&model, &base)?);
        }
        for subject in &mut subjects {
            if let Some(prompts) = settings.prompts.get(&subject.id) {
                *subject = subject.clone().with_prompts(prompts.clone());
            }
        }
        let adapters: Vec<&StoredAdapter> = subjects.iter().map(|s| &s.adapter).collect();
        let weights: Vec<PairWeights> = weight_overlaps(&adapters, model.sites());
        let scheduler = &self.found.config().scheduler;
        let plan = SamplerPlan::new(SamplerKind::DpmPlusPlus2M, scheduler, args.steps)?;
        let seed = compute.seed.unwrap_or(0);
        let audit = ActivationAudit { plan: &plan, seed, common_prompts: &settings.common };
        let Some(energies) = energies(&audit, &model, &subjects, terminal)? else {
            return Err(Failure::Interrupted("stopped; nothing is written".into()));
        };
        let sites: &[Site] = model.sites();
        let ids = subjects.iter().map(|subject| subject.id.clone()).collect();
        Report { ids, sites, weights, activations: Some(energies), args }.show(terminal)
    }
}

fn energies<B: TrainBackend, M: DiffusionModel<B>>(
    audit: &ActivationAudit,
    model: &M,
    subjects: &[Subject<B>],
    terminal: &Terminal,
) -> Result<Option<Energies>, Failure> {
    let _hold = interrupt::hold();
    let bar = terminal.bar("audit", subjects.len() + 1, "concepts");
    let mut done = 0;
    let energies = audit.run(model, subjects, |whose| {
        terminal.detail("inputs of", whose.unwrap_or("common prompts"));
        bar.set_position(done);
        done += 1;
        interrupt::flow()
    })?;
    bar.finish_and_clear();
    Ok(energies)
}
