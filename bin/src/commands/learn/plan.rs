//! What is about to be learnt, as people and machines are told it.

use std::path::Path;

use burn_seqlora::adapter::{Part, Site};
use burn_seqlora::bank::Bank;
use burn_seqlora::bilevel::{ConceptPlan, LearnPlan};
use burn_seqlora::config::TrainConfig;
use burn_seqlora::data::Manifest;
use seqlora_models::memory::{MemoryEstimate, adapter_parameters};
use serde_json::{Value, json};

use crate::terminal::{Terminal, bytes};

/// Lists the concepts that were found, and what was skipped.
pub fn show_data(manifest: &Manifest, path: &Path, terminal: &Terminal) {
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

/// A plan for machines.
pub fn plan_json(plan: &LearnPlan) -> Value {
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

/// Tells what will be trained, with which settings, and what it takes.
pub fn show_plan(
    plan: &LearnPlan,
    bank: &Bank,
    config: &TrainConfig,
    estimate: impl FnOnce(&ConceptPlan) -> MemoryEstimate,
    terminal: &Terminal,
) {
    terminal.line("bank", format!("{}, {} concepts", bank.path().display(), bank.concepts().len()));
    for id in &plan.done {
        terminal.line("", format!("{id} is learnt already"));
    }
    let Some(first) = plan.concepts.first() else { return };
    show_sites(first, bank, config, terminal);
    terminal.line(
        "",
        format!(
            "{} steps per concept · batch {} · K={} T={} · seed {}",
            first.config.steps, config.batch, config.outer, config.inner, config.seed
        ),
    );
    show_capacity(plan, bank, config, terminal);
    let estimate = estimate(first);
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

/// The sites that the settings choose.
fn selected<'a>(bank: &'a Bank, config: &TrainConfig) -> impl Iterator<Item = &'a Site> {
    let sites = config.sites;
    bank.sites().iter().filter(move |site| sites.contains(site))
}

fn show_sites(first: &ConceptPlan, bank: &Bank, config: &TrainConfig, terminal: &Terminal) {
    let ranks = &first.capacity.ranks;
    let of = |part| selected(bank, config).filter(|site| site.part == part).count();
    terminal.line(
        "train",
        format!(
            "{} · sites {}/{} ({} UNet, {} text encoder) · rank {} · {} parameters per concept",
            config.method,
            ranks.iter().filter(|rank| **rank > 0).count(),
            selected(bank, config).count(),
            of(Part::Denoiser),
            of(Part::TextEncoder),
            config.rank,
            adapter_parameters(bank.sites(), ranks),
        ),
    );
    for (Site { name, inputs, outputs, .. }, rank) in bank.sites().iter().zip(ranks) {
        if *rank > 0 {
            terminal.detail("", format!("{name}: {inputs} to {outputs}, rank {rank}"));
        }
    }
}

fn show_capacity(plan: &LearnPlan, bank: &Bank, config: &TrainConfig, terminal: &Terminal) {
    let free = |site: &Site| site.inputs.saturating_sub(config.shared_at(site));
    let inputs = selected(bank, config).map(free).min().unwrap_or(0);
    let capacity = match config.method.ingredients().orthogonal {
        true => {
            let share = config.concepts.map_or(config.rank, |count| inputs / count.max(1));
            let rank = config.rank.min(share).max(1);
            format!("{} concepts at rank {rank}", inputs / rank)
        }
        false => "any number of concepts: nothing keeps them apart".into(),
    };
    terminal.line("capacity", format!("{capacity} (narrowest layer: {inputs})"));
    for ConceptPlan { source, capacity, .. } in &plan.concepts {
        let (shrunk, full) = (capacity.shrunk.len(), capacity.full.len());
        if shrunk + full > 0 {
            let id = &source.id;
            terminal.warning(format!(
                "{id}: {shrunk} layers get a lower rank, {full} are full and skipped"
            ));
        }
    }
}
