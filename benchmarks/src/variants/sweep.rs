//! The method's free choices on the toy world: one demo per variant and seed, and their table.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use burn_seqlora::check::greatest;
use burn_seqlora::eval::report::{LearntConcept, MethodScores};
use burn_seqlora::eval::{Estimate, MetricInfo};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::Variant;
use super::demos::{Demo, Demos};
use crate::failure::Failure;
use crate::program::{RunOptions, parse_part};

/// Which variants, how often.
#[derive(Debug, Args)]
pub struct Options {
    /// The variants.
    #[arg(long, default_value = "benchmarks/sweep.toml", value_name = "FILE")]
    variants: PathBuf,
    /// Only variants whose name contains this; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The seeds, one demo of each variant for each.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2", value_name = "SEED,...")]
    seeds: Vec<u64>,
    /// Concepts per demo.
    #[arg(long, default_value_t = 4, value_name = "N")]
    concepts: usize,
    /// Images of each concept that are sampled just learnt and at the end.
    #[arg(long, alias = "pictures", default_value_t = 4, value_name = "N")]
    images: usize,
    /// Take concepts of this class only.
    #[arg(long, value_name = "WORD")]
    class: Option<String>,
    /// Only run part I of N, in a folder that all parts share; the same command without this prints the table.
    #[arg(long, value_name = "I/N", value_parser = parse_part)]
    part: Option<(usize, usize)>,
    #[command(flatten)]
    run: RunOptions,
}

/// The file of variants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variants {
    variant: Vec<Variant>,
}

/// What became of a variant: means over the concepts of all seeds. Scores are found by the name of
/// their metric.
#[derive(Debug, Serialize)]
struct Row {
    variant: Variant,
    scores: BTreeMap<String, MethodScores>,
    final_loss: Estimate,
    max_overlap: f64,
    seconds_per_concept: Estimate,
}

impl Options {
    /// Runs the demos that are missing, and prints the table.
    pub fn run(self) -> Result<(), Failure> {
        let variants: Variants = toml::from_str(&fs::read_to_string(&self.variants)?)?;
        let wanted = |variant: &Variant| {
            self.only.is_empty() || self.only.iter().any(|part| variant.name.contains(part))
        };
        let program = self.run.program();
        let demos = Demos {
            program: &program,
            work: &self.run.work,
            concepts: self.concepts,
            images: self.images,
            class: self.class.as_deref(),
        };
        let variants: Vec<Variant> = variants.variant.into_iter().filter(wanted).collect();
        if let Some((number, count)) = self.part {
            let cells = variants.iter().flat_map(|v| self.seeds.iter().map(move |seed| (v, *seed)));
            for (variant, seed) in cells.skip(number).step_by(count) {
                demos.run(variant, seed)?;
                eprintln!("{}, seed {seed}", variant.name);
            }
            return Ok(());
        }
        let mut rows = Vec::new();
        for variant in variants {
            let runs = self.seeds.iter().map(|seed| demos.run(&variant, *seed));
            let runs = runs.collect::<Result<Vec<_>, _>>()?;
            let Some(Demo { metrics, .. }) = runs.first() else { continue };
            if rows.is_empty() {
                println!("{}", head(metrics));
            }
            let row = Row::new(variant, metrics, &runs);
            println!("{}", row.line(metrics));
            rows.push(row);
        }
        self.run.write_json(&rows)
    }
}

/// The head of a Markdown table with three columns for each metric.
fn head(metrics: &[MetricInfo]) -> String {
    let columns = |metric: &MetricInfo| {
        ["just learnt", "at the end", "forgetting"].map(|stage| format!("{} {stage}", metric.name))
    };
    let last = ["loss", "mutual coherence", "s per concept"].map(String::from);
    let columns: Vec<String> = metrics.iter().flat_map(columns).chain(last).collect();
    format!("| variant | {} |\n|---|{}", columns.join(" | "), "---|".repeat(columns.len()))
}

impl Row {
    fn new(variant: Variant, metrics: &[MetricInfo], demos: &[Demo]) -> Self {
        let runs: Vec<&[LearntConcept]> =
            demos.iter().map(|demo| demo.method.concepts.as_slice()).collect();
        let scores = |metric: &MetricInfo| (metric.name.clone(), MethodScores::of(metric, &runs));
        let estimate = |of: fn(&LearntConcept) -> f64| {
            Estimate::of(&runs.iter().copied().flatten().map(of).collect::<Vec<_>>())
        };
        Self {
            variant,
            scores: metrics.iter().map(scores).collect(),
            final_loss: estimate(|c| c.final_loss),
            max_overlap: greatest(demos.iter().map(|demo| demo.method.max_overlap)),
            seconds_per_concept: estimate(|c| c.seconds),
        }
    }

    fn line(&self, metrics: &[MetricInfo]) -> String {
        let scores = metrics.iter().flat_map(|metric| {
            let MethodScores { learnt, end, forgetting } = self.scores[&metric.name];
            [learnt, end, forgetting].map(|estimate| estimate.to_string())
        });
        let last = [
            self.final_loss.to_string(),
            format!("{:.1e}", self.max_overlap),
            format!("{:.1}", self.seconds_per_concept.mean),
        ];
        let cells: Vec<String> = scores.chain(last).collect();
        format!("| {} | {} |", self.variant.name, cells.join(" | "))
    }
}
