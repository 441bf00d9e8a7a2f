//! What a demo shows: the report, a sheet of pictures, a table.

use std::collections::BTreeMap;

use burn_seqlora::bank::Bank;
use burn_seqlora::eval::report::{ConceptPictures, PairPictures, Report, Stages, Summary};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::methods;
use image::RgbImage;

use super::course::Outcome;
use super::lessons::{Lesson, pair_prompts, pairs};
use crate::failure::Failure;
use crate::terminal::table;

/// From so many concepts on the report shows only [`FEW`] of the pictures that were measured.
const MANY: usize = 12;
const FEW: usize = 2;

/// Everything for the page.
///
/// # Errors
/// If a bank cannot be read.
pub fn report<B: TrainBackend>(
    summary: Summary,
    command: String,
    lessons: &[Lesson],
    before: &[Vec<RgbImage>],
    outcomes: &BTreeMap<String, Outcome>,
) -> Result<Report, Failure> {
    let count = if lessons.len() < MANY { usize::MAX } else { FEW };
    let shown = |pictures: &[RgbImage]| pictures.iter().take(count).cloned().collect::<Vec<_>>();
    let concept = |(number, lesson): (usize, &Lesson)| {
        let stages = |outcome: &Outcome| {
            let Stages { learnt, end } = &outcome.concepts[number];
            Stages { learnt: shown(learnt), end: shown(end) }
        };
        ConceptPictures {
            references: shown(&lesson.references),
            base: shown(&before[number]),
            generated: outcomes.iter().map(|(method, o)| (method.clone(), stages(o))).collect(),
        }
    };
    let pair = |(number, pair): (usize, _)| PairPictures {
        prompt: pair_prompts(pair).swap_remove(0),
        generated: outcomes.iter().map(|(m, o)| (m.clone(), o.pairs[number].clone())).collect(),
    };
    let losses = |(method, outcome): (&String, &Outcome)| {
        let bank: &Bank = &outcome.bank;
        let losses = lessons.iter().map(|lesson| bank.losses(&lesson.source.id));
        Ok((method.clone(), losses.collect::<Result<_, _>>()?))
    };
    Ok(Report {
        title: format!("{} concepts, one after another", lessons.len()),
        lead: lead::<B>(&summary),
        command,
        concepts: lessons.iter().enumerate().map(concept).collect(),
        pairs: pairs(lessons).enumerate().map(pair).collect(),
        losses: outcomes.iter().map(losses).collect::<Result<_, Failure>>()?,
        summary,
    })
}

fn lead<B: TrainBackend>(summary: &Summary) -> String {
    let references = summary.concepts.first().map_or(0, |concept| concept.references);
    let way =
        |method: &String| methods::by_name::<B>(method).map_or("", |method| method.description());
    let ways: Vec<&str> = summary.methods.keys().map(way).collect();
    format!(
        "A small diffusion model learnt {} individuals that it had never seen, each from {references} \
         pictures and without those of the others: {}. Then all adapters were added up.",
        summary.concepts.len(),
        ways.join("; and once more "),
    )
}

/// A row for each concept: one reference, then what each method makes of it in the end.
pub fn sheet_rows(report: &Report) -> Vec<Vec<RgbImage>> {
    let row = |concept: &ConceptPictures| {
        let ends = concept.generated.values().flat_map(|stages| &stages.end);
        concept.references.iter().take(1).chain(ends).cloned().collect()
    };
    report.concepts.iter().map(row).collect()
}

/// The outcome in a few lines.
pub fn headline(summary: &Summary) -> String {
    let head = ["method", "just learnt", "at the end", "forgetting", "overlap", "training"];
    let rows = summary.methods.iter().map(|(method, m)| {
        vec![
            method.to_string(),
            m.identity_learnt.to_string(),
            m.identity_end.to_string(),
            m.forgetting.to_string(),
            format!("{:.1e}", m.max_overlap),
            format!("{:.0} s", m.seconds),
        ]
    });
    let head = head.map(String::from).to_vec();
    format!("identity by {}\n{}", summary.judge, table(&[vec![head], rows.collect()].concat()))
}
