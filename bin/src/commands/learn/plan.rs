//! What is about to be learnt, as people and machines are told it.

use std::path::Path;

use burn_seqlora::bank::Bank;
use burn_seqlora::data::Manifest;
use burn_seqlora::lora::{Part, Site};
use burn_seqlora::methods::Constraint;
use burn_seqlora::models::memory::{MemoryEstimate, adapter_parameters};
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::{ConceptPlan, LearnPlan};
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
        let ConceptPlan { data, config, capacity, resume_at, .. } = concept;
        json!({
            "id": data.id(),
            "class": data.class_word(),
            "images": data.image_names().len(),
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
    sites: &[Site],
    config: &TrainConfig,
    constraint: Constraint,
    estimate: impl FnOnce(&ConceptPlan) -> MemoryEstimate,
    terminal: &Terminal,
) {
    terminal.line("bank", format!("{}, {} concepts", bank.path().display(), bank.concepts().len()));
    for id in &plan.done {
        terminal.line("", format!("{id} is learnt already"));
    }
    let Some(first) = plan.concepts.first() else { return };
    show_sites(first, sites, config, terminal);
    terminal.line(
        "",
        format!(
            "{} steps per concept · batch {} · K={} T={} · seed {}",
            first.config.steps, config.batch, config.outer, config.inner, config.seed
        ),
    );
    show_capacity(plan, sites, config, constraint, terminal);
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
fn selected<'a>(sites: &'a [Site], config: &TrainConfig) -> impl Iterator<Item = &'a Site> {
    let selection = config.sites;
    sites.iter().filter(move |site| selection.contains(site))
}

fn show_sites(first: &ConceptPlan, sites: &[Site], config: &TrainConfig, terminal: &Terminal) {
    let ranks = &first.capacity.ranks;
    let of = |part| selected(sites, config).filter(|site| site.part == part).count();
    terminal.line(
        "train",
        format!(
            "{} · sites {}/{} ({} UNet, {} text encoder) · rank {} · {} parameters per concept",
            config.method,
            ranks.iter().filter(|rank| **rank > 0).count(),
            selected(sites, config).count(),
            of(Part::Denoiser),
            of(Part::TextEncoder),
            config.rank,
            adapter_parameters(sites, ranks),
        ),
    );
    for (Site { name, inputs, outputs, .. }, rank) in sites.iter().zip(ranks) {
        if *rank > 0 {
            terminal.detail("", format!("{name}: {inputs} to {outputs}, rank {rank}"));
        }
    }
}

fn show_capacity(
    plan: &LearnPlan,
    sites: &[Site],
    config: &TrainConfig,
    constraint: Constraint,
    terminal: &Terminal,
) {
    let protected = |site: &Site| {
        if constraint.is_orthogonal() { config.protected_at(site) } else { 0 }
    };
    let free = |site: &Site| site.inputs.saturating_sub(protected(site));
    let inputs = selected(sites, config).map(free).min().unwrap_or(0);
    let capacity = match constraint.is_orthogonal() {
        true => {
            let share = config.concepts.map_or(config.rank, |count| inputs / count.max(1));
            let rank = config.rank.min(share).max(1);
            format!("{} concepts at rank {rank}", inputs / rank)
        }
        false => "any number of concepts: nothing keeps them apart".into(),
    };
    terminal.line("capacity", format!("{capacity} (narrowest layer: {inputs})"));
    for ConceptPlan { data, capacity, .. } in &plan.concepts {
        let (shrunk, full) = (capacity.shrunk.len(), capacity.full.len());
        if shrunk + full > 0 {
            let id = data.id();
            terminal.warning(format!(
                "{id}: {shrunk} layers get a lower rank, {full} are full and skipped"
            ));
        }
    }
}
