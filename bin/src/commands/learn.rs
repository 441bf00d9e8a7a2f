//! `seqlora learn`

use std::path::Path;
use std::time::{Duration, Instant};

use burn_seqlora::adapter::{Part, Site};
use burn_seqlora::bank::{Bank, BaseModel, ConceptRecord, max_overlap};
use burn_seqlora::bilevel::{ConceptPlan, Event, Flow, LearnPlan, learn, plan};
use burn_seqlora::config::TrainConfig;
use burn_seqlora::data::{DiscoverOptions, Manifest};
use burn_seqlora::model::DiffusionModel;
use indicatif::ProgressBar;
use seqlora_kernels::TrainBackend;
use seqlora_models::{StableDiffusion, memory};
use serde_json::{Value, json};

use super::{builtin, model};
use crate::args::{Global, Learn};
use crate::device::{Device, Job};
use crate::failure::Failure;
use crate::interrupt;
use crate::settings;
use crate::terminal::{Terminal, bytes, seconds, table};

/// Learns the concepts of `args.data` one after another.
pub fn run(args: &Learn, global: &Global, terminal: &Terminal) -> Result<(), Failure> {
    let mut config = match &args.config {
        Some(file) => settings::read(file)?,
        None => TrainConfig::default(),
    };
    args.train.override_config(&mut config);
    config.seed = global.seed.unwrap_or(config.seed);
    config.precision = global.precision.unwrap_or(config.precision);
    config.validate()?;
    let options = DiscoverOptions {
        class_word: args.class_word.clone(),
        id: args.id.clone(),
        images_root: args.images_root.clone(),
    };
    let manifest = Manifest::discover(&args.data, &options)?;
    show_data(&manifest, &args.data, terminal);
    builtin::warn_of_words(&args.model.model, texts(&manifest), terminal);
    let session = Session { args, config, manifest, device: global.device, terminal };
    global.device.run(session)
}

struct Session<'a> {
    args: &'a Learn,
    config: TrainConfig,
    manifest: Manifest,
    device: Device,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, config, manifest, terminal, .. } = &self;
        let (model, base) = model::open::<B>(&args.model, config.precision, &device, terminal)?;
        let mut bank = match (args.plan, args.bank.join("bank.json").exists()) {
            (false, _) => Bank::open_or_create(&args.bank, &base, model.sites())?,
            (true, true) => Bank::open_for(&args.bank, &base)?,
            (true, false) => Bank::imagined(&args.bank, &base, model.sites()),
        };
        let plan = plan(&bank, manifest, config, args.resume)?;
        self.show_plan(&model, &base, &bank, &plan);
        if args.plan {
            let nothing = || "nothing is trained: --plan stops here".into();
            return terminal.result(&plan_json(&plan), nothing);
        }
        let mut progress = Progress::new(terminal);
        let finished = learn::<B, _>(&model, &mut bank, &plan, |event| progress.show(event))?;
        if !finished {
            return Err(Failure::Interrupted(
                "stopped; the state is saved: the same command with --resume goes on".into(),
            ));
        }
        report(&bank, &progress, terminal)
    }
}

/// A plan for machines.
fn plan_json(plan: &LearnPlan) -> Value {
    let concept = |concept: &ConceptPlan| {
        let ConceptPlan { source, config, capacity, resume_at, .. } = concept;
        json!({
            "id": source.id,
            "class": source.class_word,
            "images": source.images.len(),
            "steps": config.steps,
            "resume_at": resume_at,
            "layers": capacity.ranks.iter().filter(|rank| **rank > 0).count(),
            "shrunk": capacity.shrunk.len(),
            "full": capacity.full.len(),
        })
    };
    let concepts: Vec<Value> = plan.concepts.iter().map(concept).collect();
    json!({ "concepts": concepts, "done": plan.done })
}

impl Session<'_> {
    fn show_plan<B: TrainBackend>(
        &self,
        model: &StableDiffusion<B>,
        base: &BaseModel,
        bank: &Bank,
        plan: &LearnPlan,
    ) {
        let (terminal, config) = (self.terminal, &self.config);
        let side = config.resolution.unwrap_or(model.resolution());
        terminal.line(
            "model",
            format!(
                "{} ({}), {side} px, {} on {}",
                base.name, base.fingerprint, config.precision, self.device
            ),
        );
        terminal
            .line("bank", format!("{}, {} concepts", bank.path().display(), bank.concepts().len()));
        for id in &plan.done {
            terminal.line("", format!("{id} is learnt already"));
        }
        let Some(first) = plan.concepts.first() else { return };
        let selected: Vec<usize> =
            (0..bank.sites().len()).filter(|s| config.sites.contains(&bank.sites()[*s])).collect();
        let adapted = first.capacity.ranks.iter().filter(|rank| **rank > 0).count();
        let of = |part| selected.iter().filter(|s| bank.sites()[**s].part == part).count();
        let parameters = memory::adapter_parameters(bank.sites(), &first.capacity.ranks);
        terminal.line("train", format!(
            "{} · sites {adapted}/{} ({} UNet, {} text encoder) · rank {} · {parameters} parameters per concept",
            config.method, selected.len(), of(Part::Denoiser), of(Part::TextEncoder), config.rank,
        ));
        for (site, rank) in bank.sites().iter().zip(&first.capacity.ranks) {
            if *rank > 0 {
                let Site { name, inputs, outputs, .. } = site;
                terminal.detail("", format!("{name}: {inputs} to {outputs}, rank {rank}"));
            }
        }
        terminal.line(
            "",
            format!(
                "{} steps per concept · batch {} · K={} T={} · seed {}",
                first.config.steps, config.batch, config.outer, config.inner, config.seed
            ),
        );
        let inputs = selected.iter().map(|s| bank.sites()[*s].inputs).min().unwrap_or(0);
        let capacity = match config.method.ingredients().orthogonal {
            true => {
                let shared = config.concepts.map_or(config.rank, |count| inputs / count.max(1));
                let rank = config.rank.min(shared).max(1);
                format!("{} concepts at rank {rank}", inputs / rank)
            }
            false => "any number of concepts: nothing keeps them apart".into(),
        };
        terminal.line("capacity", format!("{capacity} (narrowest layer: {inputs})"));
        for concept in &plan.concepts {
            let capacity = &concept.capacity;
            if !capacity.shrunk.is_empty() || !capacity.full.is_empty() {
                let (shrunk, full) = (capacity.shrunk.len(), capacity.full.len());
                let id = &concept.source.id;
                terminal.warning(format!(
                    "{id}: {shrunk} layers get a lower rank, {full} are full and skipped"
                ));
            }
        }
        let estimate = memory::training_estimate(model, config, side, parameters);
        terminal.line(
            "memory",
            format!(
                "about {} (weights {}, adapter and optimisers {}, activations {})",
                bytes(estimate.total()),
                bytes(estimate.weights),
                bytes(estimate.trainable),
                bytes(estimate.activations),
            ),
        );
    }
}

/// All that the text encoder is going to read.
fn texts(manifest: &Manifest) -> impl Iterator<Item = &str> {
    manifest.concepts.iter().flat_map(|concept| {
        let captions = concept.images.iter().filter_map(|image| image.caption.as_ref());
        let texts = captions.chain(&concept.templates).chain([&concept.class_word]);
        texts.map(String::as_str)
    })
}

fn show_data(manifest: &Manifest, path: &Path, terminal: &Terminal) {
    let count = manifest.concepts.len();
    terminal.line("data", format!("{count} concepts in {} ({})", path.display(), manifest.layout));
    let names = manifest.concepts.iter().map(|c| c.id.len()).max().unwrap_or(0);
    for concept in &manifest.concepts {
        let images = &concept.images;
        let captions = images.iter().filter(|i| i.caption.is_some()).count();
        let masks = images.iter().filter(|i| i.mask.is_some()).count();
        terminal.line(
            "",
            format!(
                "<{}>{:pad$} {} · {} images, {captions} captions, {masks} masks",
                concept.id,
                "",
                concept.class_word,
                images.len(),
                pad = names - concept.id.len(),
            ),
        );
    }
    for skipped in &manifest.skipped {
        terminal.line("skipped", format!("{}: {}", skipped.path.display(), skipped.reason));
    }
}

/// The bar of the concept in training, and what became of the ones before.
struct Progress<'a> {
    terminal: &'a Terminal,
    bar: ProgressBar,
    started: Instant,
    learnt: Vec<(ConceptRecord, Duration)>,
}

impl<'a> Progress<'a> {
    fn new(terminal: &'a Terminal) -> Self {
        let bar = ProgressBar::hidden();
        Self { terminal, bar, started: Instant::now(), learnt: Vec::new() }
    }

    fn show(&mut self, event: Event) -> Flow {
        match event {
            Event::Start(plan) => {
                self.started = Instant::now();
                self.bar = self.terminal.bar(&plan.source.id, plan.config.steps, "steps");
                self.bar.set_position(plan.resume_at as u64);
                self.bar.reset_eta();
                if plan.resume_at > 0 {
                    self.terminal
                        .line("resume", format!("{} at step {}", plan.source.id, plan.resume_at));
                }
            }
            Event::Step(report) => {
                self.bar.set_message(format!(
                    "loss {:.4}  |∇F| {:.2e}  overlap {:.0e}",
                    report.loss, report.hypergradient, report.overlap
                ));
                self.bar.set_position(report.step as u64);
            }
            Event::RowsFrozen { norm, limit } => self.bar.suspend(|| {
                self.terminal.line(
                    "tokens",
                    format!("stay as they are: their norm {norm:.2} has reached {limit}"),
                );
            }),
            Event::Learnt(record) => {
                self.bar.finish_and_clear();
                let took = self.started.elapsed();
                self.terminal.line(
                    "learnt",
                    format!(
                        "<{}>  loss {:.4} → {:.4}  {}",
                        record.id,
                        record.initial_loss,
                        record.final_loss,
                        seconds(took)
                    ),
                );
                self.learnt.push((record.clone(), took));
            }
            Event::Saved(_) => {}
        }
        if interrupt::requested() { Flow::Stop } else { Flow::Continue }
    }
}

fn report(bank: &Bank, progress: &Progress, terminal: &Terminal) -> Result<(), Failure> {
    let overlap = max_overlap(bank)?;
    let concepts: Vec<_> = progress
        .learnt
        .iter()
        .map(|(record, took)| {
            json!({
                "id": record.id,
                "steps": record.steps,
                "initial_loss": record.initial_loss,
                "final_loss": record.final_loss,
                "seconds": took.as_secs_f64(),
            })
        })
        .collect();
    let result = json!({ "bank": bank.path(), "concepts": concepts, "max_overlap": overlap });
    terminal.result(&result, || {
        let head = ["concept", "loss before", "after", "steps", "time"].map(String::from).to_vec();
        let row = |(record, took): &(ConceptRecord, Duration)| {
            vec![
                record.id.clone(),
                format!("{:.4}", record.initial_loss),
                format!("{:.4}", record.final_loss),
                record.steps.to_string(),
                seconds(*took),
            ]
        };
        let rows = [vec![head], progress.learnt.iter().map(row).collect()].concat();
        format!(
            "{}\n{} concepts in the bank, largest overlap {overlap:.1e}",
            table(&rows),
            bank.concepts().len()
        )
    })
}
