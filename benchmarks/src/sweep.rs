//! The method's free choices on the toy world: one demo per variant and seed, and their table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn_seqlora::check::greatest;
use burn_seqlora::eval::report::{LearntConcept, MethodScores, MethodSummary, Summary};
use burn_seqlora::eval::{Estimate, MetricInfo};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Which variants, how often.
#[derive(Debug, Args)]
pub struct Options {
    /// The variants.
    #[arg(long, default_value = "benchmarks/sweep.toml", value_name = "FILE")]
    variants: PathBuf,
    /// Only variants whose name contains this; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Demos per variant, with seeds from 0.
    #[arg(long, default_value_t = 3, value_name = "N")]
    seeds: u64,
    /// Concepts per demo.
    #[arg(long, default_value_t = 4, value_name = "N")]
    concepts: usize,
    /// Images of each concept that are sampled just learnt and at the end.
    #[arg(long, alias = "pictures", default_value_t = 4, value_name = "N")]
    images: usize,
    /// The program.
    #[arg(long, default_value = "target/release/seqlora", value_name = "FILE")]
    seqlora: PathBuf,
    /// Where the demos go; those that are there already are not run again.
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// Writes the rows.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The file of variants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variants {
    variant: Vec<Variant>,
}

/// One way of learning.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    method: String,
    /// What differs from the demo's settings.
    #[serde(default)]
    settings: toml::Table,
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

/// The part of a demo's summary that the table is made of.
struct Demo {
    metrics: Vec<MetricInfo>,
    method: MethodSummary,
}

impl Options {
    /// Runs the demos that are missing, and prints the table.
    pub fn run(self) -> Result<(), Failure> {
        let variants: Variants = toml::from_str(&fs::read_to_string(&self.variants)?)?;
        let wanted = |variant: &Variant| {
            self.only.is_empty() || self.only.iter().any(|part| variant.name.contains(part))
        };
        let mut rows = Vec::new();
        for variant in variants.variant.into_iter().filter(wanted) {
            let demos = (0..self.seeds).map(|seed| self.demo(&variant, seed));
            let demos = demos.collect::<Result<Vec<_>, _>>()?;
            let Some(Demo { metrics, .. }) = demos.first() else { continue };
            if rows.is_empty() {
                println!("{}", head(metrics));
            }
            let row = Row::new(variant, metrics, &demos);
            println!("{}", row.line(metrics));
            rows.push(row);
        }
        if let Some(file) = &self.json {
            fs::write(file, serde_json::to_string_pretty(&rows)? + "\n")?;
        }
        Ok(())
    }

    fn demo(&self, variant: &Variant, seed: u64) -> Result<Demo, Failure> {
        let Variant { name, method, settings } = variant;
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let folder = self.work.join(name.chars().map(letter).collect::<String>());
        let (config, out) = (folder.join("settings.toml"), folder.join(seed.to_string()));
        let settings = toml::to_string(settings)?;
        match fs::read_to_string(&config) {
            Ok(before) if before != settings => {
                return Err(
                    format!("{} holds another variant than `{name}`", folder.display()).into()
                );
            }
            _ => {}
        }
        fs::create_dir_all(&folder)?;
        fs::write(&config, settings)?;
        // One that is there is not run again, but refused if its settings are others.
        let mut command = Command::new(&self.seqlora);
        command.args(["demo", "--quiet", "--method", method, "--config"]).arg(&config);
        command.args(["--concepts", &self.concepts.to_string(), "--seed", &seed.to_string()]);
        command.args(["--images", &self.images.to_string()]);
        let status = command.arg("--out").arg(&out).stdout(std::process::Stdio::null());
        let status = status.status()?;
        if !status.success() {
            return Err(format!("{command:?} ended with {status}").into());
        }
        summary(&out, method)
    }
}

fn summary(demo: &Path, method: &str) -> Result<Demo, Failure> {
    let file = demo.join("summary.json");
    let summary: Summary = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let found = summary.methods.into_iter().find(|summary| summary.name == method);
    let method = found.ok_or_else(|| format!("{} lacks {method}", file.display()))?;
    Ok(Demo { metrics: summary.metrics, method })
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
