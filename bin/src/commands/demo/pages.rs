//! What a demo shows: the report, a sheet of images, a table.

use burn_seqlora::eval::report::{ConceptImages, PairImages, PairScores, Report, Summary};
use burn_seqlora::eval::{MetricInfo, Stages};
use image::RgbImage;

use super::concepts::ToyConcept;
use super::experiment::{BaseImages, Outcome};
use super::pairs::{Pair, pairs};
use super::recorded::recorded;
use super::settings::Settings;
use crate::failure::Failure;
use crate::terminal::table;

/// From so many concepts on the report shows only [`FEW`] of the images that were measured.
const MANY: usize = 12;
const FEW: usize = 2;

/// Everything for the page.
///
/// # Errors
/// If a bank cannot be read.
pub fn report(
    summary: Summary,
    command: String,
    settings: &Settings,
    concepts: &[ToyConcept],
    base_images: &BaseImages,
    outcomes: &[Outcome],
) -> Result<Report, Failure> {
    let count = if concepts.len() < MANY { usize::MAX } else { FEW };
    let shown = |images: &[RgbImage]| images.iter().take(count).cloned().collect::<Vec<_>>();
    let concept = |(number, concept): (usize, &ToyConcept)| {
        let stages = |outcome: &Outcome| {
            let Stages { learnt, end } = &outcome.concepts[number];
            Stages { learnt: shown(learnt), end: shown(end) }
        };
        ConceptImages {
            references: shown(&concept.references),
            base: shown(&base_images.class[number]),
            described: shown(&base_images.described[number]),
            generated: outcomes.iter().map(stages).collect(),
        }
    };
    let pair = |(number, pair): (usize, Pair)| PairImages {
        title: pair.title(),
        generated: outcomes.iter().map(|outcome| outcome.pairs[number].clone()).collect(),
    };
    let losses = |outcome: &Outcome| {
        let losses = concepts.iter().map(|concept| outcome.bank.losses(&concept.source.id));
        Ok(losses.collect::<Result<_, _>>()?)
    };
    Ok(Report {
        title: format!("{} concepts, one after another", concepts.len()),
        lead: lead(concepts, outcomes),
        limits: settings.differences_from_the_paper(),
        command,
        concepts: concepts.iter().enumerate().map(concept).collect(),
        pairs: pairs(concepts).enumerate().map(pair).collect(),
        losses: outcomes.iter().map(losses).collect::<Result<_, Failure>>()?,
        recorded: recorded(&summary.base),
        summary,
    })
}

fn lead(concepts: &[ToyConcept], outcomes: &[Outcome]) -> String {
    let images = concepts.first().map_or(0, |concept| concept.source.images.len());
    let ways: Vec<&str> = outcomes.iter().map(|outcome| outcome.description).collect();
    format!(
        "A small diffusion model learnt {} individuals that it had never seen, each from {images} \
         images and without those of the others: {}. Then all adapters were added up.",
        concepts.len(),
        ways.join("; and once more "),
    )
}

/// A row for each concept: one reference, then each method's images at the end.
pub fn sheet_rows(report: &Report) -> Vec<Vec<RgbImage>> {
    let row = |concept: &ConceptImages| {
        let ends = concept.generated.iter().flat_map(|stages| &stages.end);
        concept.references.iter().take(1).chain(ends).cloned().collect()
    };
    report.concepts.iter().map(row).collect()
}

/// The results in a few lines: all columns of the first metric, and the others at the end.
pub fn headline(summary: &Summary) -> String {
    let (first, others) = summary.metrics.split_first().expect("a demo has metrics");
    let head = ["method", "just learnt", "at the end", "forgetting"].map(String::from);
    let at_the_end = |metric: &MetricInfo| format!("{} at the end", metric.name);
    let last = ["both by prompt", "with boxes", "coherence", "training"].map(String::from);
    let head = head.into_iter().chain(others.iter().map(at_the_end)).chain(last).collect();
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let rows = summary.methods.iter().map(|method| {
        let scores = method.scores[&first.name];
        let ends = others.iter().map(|metric| method.scores[&metric.name].end);
        let estimates = [scores.learnt, scores.end, scores.forgetting].into_iter().chain(ends);
        let pairs = method.pairs.map(|PairScores { prompt, boxes }| [prompt, boxes].map(percent));
        let pairs = pairs.unwrap_or_else(|| ["–"; 2].map(String::from));
        let last = [format!("{:.1e}", method.max_overlap), format!("{:.0} s", method.seconds)];
        let cells = [method.title.clone()].into_iter();
        let cells = cells.chain(estimates.map(|estimate| estimate.to_string()));
        cells.chain(pairs).chain(last).collect()
    });
    let rows = [vec![head], rows.collect()].concat();
    format!("{}: {}\n{}", first.name, first.description, table(&rows))
}
