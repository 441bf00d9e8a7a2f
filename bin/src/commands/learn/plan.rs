//! What is about to be learnt, as people and machines are told it.

use std::path::Path;

use burn_seqlora::bank::Bank;
use burn_seqlora::data::{Manifest, MaskCoverage};
use burn_seqlora::lora::{Part, Site};
use burn_seqlora::methods::Constraint;
use burn_seqlora::models::memory::adapter_parameters;
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::{CapacityPlan, ConceptPlan, LearnPlan};
use serde_json::{Value, json};

use super::forecast::Forecast;
use crate::failure::Failure;
use crate::terminal::Terminal;

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

/// A plan for machines; `pieces` splits a text into its tokens.
pub fn plan_json(
    plan: &LearnPlan,
    pieces: impl Fn(&str) -> Vec<String>,
    forecast: &Forecast,
) -> Value {
    let concept = |concept: &ConceptPlan| {
        let ConceptPlan { data, config, capacity, resume_at, mask_coverage, .. } = concept;
        json!({
            "id": data.id(),
            "class": data.class_word(),
            "class_tokens": pieces(data.class_word()),
            "images": data.image_names().len(),
            "mask_coverage": mask_coverage.map(|MaskCoverage { least, mean, most }| {
                json!({ "least": least, "mean": mean, "most": most })
            }),
            "steps": config.steps,
            "continued_from": config.continued_from,
            "resume_at": resume_at,
            "layers": capacity.ranks.iter().filter(|rank| **rank > 0).count(),
            "shrunk": capacity.shrunk.len(),
            "full": capacity.full.len(),
            "least_rank": least_rank(capacity),
        })
    };
    let concepts: Vec<Value> = plan.concepts.iter().map(concept).collect();
    json!({
        "concepts": concepts,
        "done": plan.done,
        "memory": forecast.memory_json(),
        "time": forecast.time_json(),
    })
}

/// Tells what will be trained, and with which settings.
///
/// # Errors
/// If a record of the bank cannot be read.
pub fn show_plan(
    plan: &LearnPlan,
    bank: &Bank,
    sites: &[Site],
    config: &TrainConfig,
    constraint: Constraint,
    terminal: &Terminal,
) -> Result<(), Failure> {
    terminal.line("bank", format!("{}, {} concepts", bank.path().display(), bank.concepts().len()));
    for id in &plan.done {
        terminal.line("", format!("{id} is learnt already"));
    }
    let Some(first) = plan.concepts.first() else { return Ok(()) };
    show_masks(plan, terminal);
    show_class_images(plan, terminal);
    show_sites(first, sites, config, terminal);
    let steps = match config.continued_from {
        None => format!("{} steps per concept", first.config.steps),
        Some(before) => format!("{} steps after {before}", first.config.steps - before),
    };
    terminal.line(
        "",
        format!(
            "{steps} · batch {} · K={} T={} · seed {}",
            config.batch, config.outer, config.inner, config.seed
        ),
    );
    let used = bank.reserved(sites, config.orthogonal_within.as_deref())?;
    show_capacity(plan, sites, &used, config, constraint, terminal);
    Ok(())
}

/// How many new words a concept stands for in prompts, and which tokens its class word has; `pieces` splits a text
/// into them.
pub fn show_words(plan: &LearnPlan, pieces: impl Fn(&str) -> Vec<String>, terminal: &Terminal) {
    for ConceptPlan { data, config, .. } in &plan.concepts {
        let (id, class, words) = (data.id(), data.class_word(), config.tokens.words());
        if config.continued_from.is_some() {
            terminal.line(
                "words",
                format!("<{id}> goes on from the words that it has, of the class `{class}`"),
            );
            continue;
        }
        let words = if words == 1 { "one new word".into() } else { format!("{words} new words") };
        let pieces = pieces(class);
        let class = match pieces.len() {
            1 => format!("`{class}` is one token"),
            count => {
                let pieces = pieces.join("|");
                format!("`{class}` is {count} tokens ({pieces}), whose mean it starts from")
            }
        };
        terminal.line("words", format!("<{id}> stands for {words}; its class {class}"));
    }
}

/// The images of classes, and whether they are used.
fn show_class_images(plan: &LearnPlan, terminal: &Terminal) {
    for ConceptPlan { data, config, .. } in &plan.concepts {
        let Some(class) = data.class_images() else { continue };
        let (id, count) = (data.id(), class.image_names().len());
        if config.prior_weight == 0.0 {
            terminal.warning(format!(
                "{id}: its {count} images of the class are not used; `prior_weight` is 0"
            ));
        } else {
            let class = data.class_word();
            terminal.line("class", format!("<{id}> keeps `{class}` as {count} images show it"));
        }
    }
}

/// How much of their images the subject masks cover, and what they are for. Masks that cover everything or next
/// to nothing are probably not what was meant.
fn show_masks(plan: &LearnPlan, terminal: &Terminal) {
    for ConceptPlan { data, config, mask_coverage, .. } in &plan.concepts {
        let Some(MaskCoverage { least, mean, most }) = mask_coverage else { continue };
        let [low, middle, high] =
            [least, mean, most].map(|share| format!("{:.0} %", 100.0 * share));
        let used = match (config.masked_loss, config.attention().is_some()) {
            (true, true) => "the loss counts there, and attention is kept there",
            (true, false) => "the loss counts there",
            (false, true) => "attention is kept there",
            (false, false) => "they are not used: `masked_loss` is off",
        };
        let id = data.id();
        terminal
            .line("masks", format!("<{id}> cover {low} to {high}, {middle} in the mean; {used}"));
        if *most < 0.01 || *least > 0.99 {
            terminal.warning(format!(
                "{id}: its masks cover nearly nothing, or nearly all of an image"
            ));
        }
    }
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
    used: &[usize],
    config: &TrainConfig,
    constraint: Constraint,
    terminal: &Terminal,
) {
    let text = match constraint.is_orthogonal() {
        true => room(sites, used, config),
        false => "any number of concepts: nothing keeps them apart".into(),
    };
    terminal.line("capacity", text);
    for ConceptPlan { data, capacity, .. } in &plan.concepts {
        let (shrunk, full) = (capacity.shrunk.len(), capacity.full.len());
        if shrunk + full > 0 {
            let (id, least) = (data.id(), least_rank(capacity));
            terminal.warning(format!(
                "{id}: {shrunk} layers get a lower rank than {}, {least} at least, and {full} are full \
                 and skipped",
                config.rank
            ));
        }
    }
}

/// For how many more concepts there is room, besides those in the bank.
fn room(sites: &[Site], used: &[usize], config: &TrainConfig) -> String {
    let chosen = sites.iter().zip(used).filter(|(site, _)| config.sites.contains(site));
    let inputs = chosen.clone().map(|(site, _)| site.inputs).min().unwrap_or(0);
    let free = |(site, used): (&Site, &usize)| {
        site.inputs.saturating_sub(config.protected_at(site)).saturating_sub(*used)
    };
    let share = config.concepts.map_or(config.rank, |count| inputs / count);
    let rank = config.rank.min(share).max(1);
    let free = chosen.map(free).min().unwrap_or(0);
    format!(
        "{} more concepts at rank {rank} (of the fullest layer's directions, {free} are free)",
        free / rank
    )
}

/// The lowest rank that a concept gets anywhere.
fn least_rank(capacity: &CapacityPlan) -> usize {
    capacity.ranks.iter().copied().filter(|rank| *rank > 0).min().unwrap_or(0)
}
