//! Every method on the same concepts: learnt, fused, evaluated by one protocol, over several seeds.

use std::path::PathBuf;

use burn_seqlora::eval::statistics::{Distribution, PairedDifference};
use clap::Args;
use serde::Serialize;

use super::comparison::Comparison;
use super::learnt::Learnt;
use super::pooled::{Bounds, Evaluations, Scores};
use super::result::{Fused, SeedResult};
use crate::failure::Failure;
use crate::program::{Program, RunOptions, parse_part};

/// Which comparison, and where it goes.
#[derive(Debug, Args)]
pub struct Options {
    /// The comparison.
    #[arg(long, default_value = "benchmarks/methods.toml", value_name = "FILE")]
    config: PathBuf,
    /// Only learn and fuse part I of N, in a folder that all parts share; the same command without this
    /// evaluates.
    #[arg(long, value_name = "I/N", value_parser = parse_part)]
    part: Option<(usize, usize)>,
    /// Concepts of each run, instead of the comparison's.
    #[arg(long, value_name = "N")]
    concepts: Option<usize>,
    /// Seeds instead of the comparison's.
    #[arg(long, value_delimiter = ',', value_name = "SEED,...")]
    seeds: Option<Vec<u64>>,
    /// Writes what each seed gave to SEED.json here, and takes what is here already instead of running it.
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    #[command(flatten)]
    run: RunOptions,
}

/// All numbers.
#[derive(Debug, Serialize)]
struct Table {
    comparison: Comparison,
    bounds: Vec<Bounds>,
    rows: Vec<Row>,
}

/// A method.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    scores: Vec<Scores>,
    /// The share of images of two concepts in which both are found, by the prompt and with boxes: means of
    /// the seeds. `None` where a fusion replaces the sum.
    both_found: Option<[f64; 2]>,
    /// Largest |entry| of B_jᵀ B_i with unit columns.
    max_overlap: f64,
    /// Seconds of training, over all concepts of all seeds.
    training_seconds: Option<Distribution>,
    /// Seconds of all concepts of a seed, if each worker has a machine of its own.
    elapsed_seconds: Option<Distribution>,
    /// Seconds from the bank to the fused weights, for all concepts of a seed.
    fusion_seconds: Option<Distribution>,
    /// Peak memory of learning and sampling, or of fusing.
    peak_bytes: Option<u64>,
    /// On disk with all concepts of a seed, in the mean.
    bytes: u64,
}

impl Options {
    /// Learns, fuses and evaluates what is missing, and prints the table.
    pub fn run(self) -> Result<(), Failure> {
        let mut comparison = Comparison::read(&self.config)?;
        comparison.concepts = self.concepts.unwrap_or(comparison.concepts);
        if let Some(seeds) = &self.seeds {
            comparison.seeds.clone_from(seeds);
        }
        let program = self.run.program();
        if let Some(part) = self.part {
            return self.learn(&comparison, &program, part);
        }
        let seeds = comparison.seeds.iter();
        let results = seeds.map(|seed| self.result(&comparison, &program, *seed));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        let table = Table::new(comparison, &results);
        print!("{}", table.to_markdown());
        self.run.write_json(&table)
    }

    /// What a seed gives, from its file or by running it.
    fn result(
        &self,
        comparison: &Comparison,
        program: &Program,
        seed: u64,
    ) -> Result<SeedResult, Failure> {
        let (only, work) = (comparison.with_seed(seed), &self.run.work);
        let file = self.results.as_ref().map(|folder| folder.join(format!("{seed}.json")));
        if let Some(file) = &file
            && let Some(result) = SeedResult::read(file, &only)?
        {
            return Ok(result);
        }
        let run = comparison.run(program, work, seed)?;
        let evaluation = comparison.evaluate(program, work, &run, seed)?;
        let result = SeedResult::new(only, &run, evaluation);
        if let Some(file) = &file {
            result.write(file)?;
        }
        Ok(result)
    }

    fn learn(
        &self,
        comparison: &Comparison,
        program: &Program,
        (number, count): (usize, usize),
    ) -> Result<(), Failure> {
        let seeds = comparison.seeds.iter();
        let cells = seeds.flat_map(|seed| comparison.variant.iter().map(move |v| (v, *seed)));
        for (variant, seed) in cells.skip(number).step_by(count) {
            comparison.learn(program, &self.run.work, variant, seed)?;
            eprintln!("learnt {}, seed {seed}", variant.name);
        }
        Ok(())
    }
}

impl Table {
    fn new(comparison: Comparison, results: &[SeedResult]) -> Self {
        let evaluations = Evaluations(results.iter().map(|result| &result.evaluation).collect());
        let names: Vec<&str> = comparison.names().collect();
        let metrics = evaluations.metrics();
        let bounds = metrics.iter().map(|metric| evaluations.bounds(metric, names[0])).collect();
        let row = |(number, name): (usize, &&str)| {
            let fusion = number.checked_sub(comparison.variant.len());
            let variant = match fusion.map(|fusion| &comparison.fusion[fusion].of) {
                None => number,
                Some(of) => names.iter().position(|name| name == of).expect("settings are checked"),
            };
            let order = |result: &'_ SeedResult| result.learnt[variant].order.last().cloned();
            let last: Vec<String> = results.iter().filter_map(order).collect();
            let scores = metrics.iter().map(|m| evaluations.scores(m, name, names[0], &last));
            let fused = fusion.map(|fusion| results.iter().map(|r| r.fused[fusion]).collect());
            let learnt = results.iter().map(|result| &result.learnt[variant]);
            Row::new(name, scores.collect(), &learnt.collect::<Vec<_>>(), fused)
        };
        let rows = names.iter().enumerate().map(row).collect();
        Self { bounds, rows, comparison }
    }

    /// A Markdown table of each metric, and one of what everything costs.
    fn to_markdown(&self) -> String {
        let mut text = String::new();
        for (number, Bounds { metric, floor, ceiling }) in self.bounds.iter().enumerate() {
            let (floor, ceiling) = (estimate(*floor), estimate(*ceiling));
            text += &format!(
                "{metric}: base model asked for the class {floor}, references {ceiling}\n\n"
            );
            let rows = self.rows.iter().map(|row| (row.name.as_str(), cells(&row.scores[number])));
            text += &markdown(&SCORES, &rows.collect::<Vec<_>>());
            text += "\n";
        }
        let rows = self.rows.iter().map(|row| (row.name.as_str(), row.costs()));
        text + &markdown(&COSTS, &rows.collect::<Vec<_>>())
    }
}

/// The columns of [`cells`].
const SCORES: [&str; 10] = [
    "just learnt",
    "at the end",
    "lost",
    "first minus this",
    "p",
    "confused",
    "worse of a pair",
    "in boxes",
    "drift",
    "class drift",
];

/// The columns of [`Row::costs`].
const COSTS: [&str; 8] = [
    "both found by prompt",
    "with boxes",
    "mutual coherence",
    "training, s per concept",
    "of all, on as many machines as workers, s",
    "fusion, s",
    "peak memory, GB",
    "on disk, MB",
];

/// A method's row of a metric.
fn cells(scores: &Scores) -> [String; 10] {
    let behind = scores.behind_the_first;
    [
        estimate(scores.learnt),
        estimate(scores.end),
        estimate(scores.forgetting),
        behind.map_or_else(none, difference),
        behind.map_or_else(none, |paired| format!("{:.3}", paired.p)),
        estimate(scores.confused),
        estimate(scores.pair),
        estimate(scores.pair_cropped),
        estimate(scores.drift),
        estimate(scores.class_pull),
    ]
}

/// A Markdown table of methods, without columns in which nothing is.
fn markdown<const N: usize>(columns: &[&str; N], rows: &[(&str, [String; N])]) -> String {
    let used = |at: &usize| rows.iter().any(|(_, cells)| cells[*at] != none());
    let used: Vec<usize> = (0..N).filter(used).collect();
    let line = |name: &str, cell: &dyn Fn(usize) -> String| {
        let cells: Vec<String> = used.iter().map(|at| cell(*at)).collect();
        format!("| {name} | {} |\n", cells.join(" | "))
    };
    let head = line("method", &|at| columns[at].to_string());
    let rows = rows.iter().map(|(name, cells)| line(name, &|at| cells[at].clone()));
    format!("{head}|---|{}\n{}", "---|".repeat(used.len()), rows.collect::<String>())
}

impl Row {
    /// Of what a variant's seeds left, and what its fusion did, if the row is that of a fusion.
    fn new(name: &str, scores: Vec<Scores>, learnt: &[&Learnt], fused: Option<Vec<Fused>>) -> Self {
        let mean = |place: usize| {
            let shares = learnt.iter().map(|learnt| Some(learnt.both_found?[place]));
            let shares = shares.collect::<Option<Vec<f64>>>()?;
            Some(shares.iter().sum::<f64>() / shares.len() as f64)
        };
        let summary = |values: &[f64]| Distribution::of(values, &Default::default());
        let seconds: Vec<f64> = learnt.iter().flat_map(|l| &l.seconds).copied().collect();
        let elapsed =
            learnt.iter().map(|learnt| learnt.elapsed_seconds).collect::<Option<Vec<_>>>();
        let fusion_seconds = |fused: &Vec<Fused>| {
            summary(&fused.iter().map(|fused| fused.seconds).collect::<Vec<_>>())
        };
        let (peaks, bytes): (Vec<Option<u64>>, Vec<u64>) = match &fused {
            Some(fused) => fused.iter().map(|fused| (fused.peak_bytes, fused.bytes)).unzip(),
            None => learnt.iter().map(|learnt| (learnt.peak_bytes, learnt.bytes)).unzip(),
        };
        let peaks = peaks.into_iter().collect::<Option<Vec<u64>>>();
        Self {
            name: name.into(),
            scores,
            both_found: mean(0).zip(mean(1)).filter(|_| fused.is_none()).map(|(p, b)| [p, b]),
            max_overlap: Learnt::most_overlap(learnt),
            training_seconds: summary(&seconds),
            elapsed_seconds: elapsed.and_then(|elapsed| summary(&elapsed)),
            fusion_seconds: fused.as_ref().and_then(fusion_seconds),
            peak_bytes: peaks.and_then(|peaks| peaks.into_iter().max()),
            bytes: bytes.iter().sum::<u64>() / bytes.len() as u64,
        }
    }

    /// What it takes, and what images of two concepts show.
    fn costs(&self) -> [String; 8] {
        let percent = |place: usize| {
            self.both_found.map_or_else(none, |both| format!("{:.0} %", 100.0 * both[place]))
        };
        let seconds = |distribution: Option<Distribution>| {
            distribution.map_or_else(none, |d| format!("{:.1}", d.mean))
        };
        [
            percent(0),
            percent(1),
            format!("{:.1e}", self.max_overlap),
            seconds(self.training_seconds),
            seconds(self.elapsed_seconds),
            seconds(self.fusion_seconds),
            self.peak_bytes.map_or_else(none, |bytes| format!("{:.2}", bytes as f64 / 1e9)),
            format!("{:.2}", self.bytes as f64 / 1e6),
        ]
    }
}

fn none() -> String {
    "–".into()
}

fn estimate(distribution: Option<Distribution>) -> String {
    distribution.map_or_else(none, |Distribution { mean, sem, .. }| match sem {
        Some(sem) => format!("{mean:.3} ± {sem:.3}"),
        None => format!("{mean:.3}"),
    })
}

/// A mean difference with its interval.
fn difference(PairedDifference { difference, .. }: PairedDifference) -> String {
    match difference.interval {
        Some([low, high]) => format!("{:+.3} ({low:+.3} to {high:+.3})", difference.mean),
        None => format!("{:+.3}", difference.mean),
    }
}
