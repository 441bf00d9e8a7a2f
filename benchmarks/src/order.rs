//! What the order of learning does: the same concepts in several orders with several seeds, and the variance
//! of identity over either.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use burn_seqlora::eval::Estimate;
use burn_seqlora::eval::results::EvaluationSummary;
use burn_seqlora::rng::Seed;
use clap::Args;
use rand_distr::{Distribution, Uniform};
use serde::Serialize;

use crate::failure::Failure;
use crate::finished_demo::{Concept, FinishedDemo, write_manifest};
use crate::program::{Program, RunOptions, parse_part};

/// Which concepts, in how many orders.
#[derive(Debug, Args)]
pub struct Options {
    /// A demo that has ended: its concepts and settings are taken.
    #[arg(long, value_name = "DIR")]
    demo: PathBuf,
    /// Orders; the first is the demo's.
    #[arg(long, default_value_t = 5, value_name = "N")]
    orders: usize,
    /// Seeds of training.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2", value_name = "SEED,...")]
    seeds: Vec<u64>,
    /// Minibatches per concept, if not the demo's.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// The metric.
    #[arg(long, default_value = "identity", value_name = "NAME")]
    metric: String,
    /// Sampling steps.
    #[arg(long, default_value_t = 12, value_name = "N")]
    sampling_steps: usize,
    /// Only learn part I of N, in a folder that all parts share.
    #[arg(long, value_name = "I/N", value_parser = parse_part)]
    part: Option<(usize, usize)>,
    #[command(flatten)]
    run: RunOptions,
}

/// All numbers.
#[derive(Debug, Serialize)]
struct Outcome {
    /// The ids in the order of learning.
    orders: Vec<Vec<String>>,
    seeds: Vec<u64>,
    /// `scores[order][seed]`: each concept's score with all concepts, in the order of the first order.
    scores: Vec<Vec<Vec<f64>>>,
    /// Of the mean over concepts.
    of_means: Variances,
    /// Of single concepts, in the mean over them.
    of_concepts: Variances,
    /// How the score changes from one place in the order to the next: the slope within each concept's runs.
    slope: Estimate,
}

/// Variance components of a two-way table with one value in each cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Variances {
    order: f64,
    seed: f64,
    /// What neither explains.
    rest: f64,
}

impl Options {
    /// Learns what is missing, evaluates it and prints the variances.
    pub fn run(self) -> Result<(), Failure> {
        if self.orders < 2 || self.seeds.len() < 2 {
            return Err("two orders and two seeds are needed at least".into());
        }
        let program = self.run.program();
        let demo = FinishedDemo::new(&self.demo);
        let concepts = demo.concepts()?;
        let orders = orders(concepts.len(), self.orders);
        fs::create_dir_all(&self.run.work)?;
        self.write_settings(&demo)?;
        let cells = (0..orders.len()).flat_map(|o| self.seeds.iter().map(move |seed| (o, *seed)));
        let (part, parts) = self.part.unwrap_or((0, 1));
        for (order, seed) in cells.skip(part).step_by(parts) {
            self.learn(&program, &concepts, &orders[order], order, seed)?;
        }
        if parts > 1 {
            return Ok(());
        }
        let scores = self.evaluate(&program, &concepts, orders.len())?;
        let outcome = Outcome::new(&concepts, &orders, self.seeds.clone(), scores);
        println!("{}", outcome.to_markdown());
        self.run.write_json(&outcome)
    }

    /// The demo's training settings as `learn` takes them.
    fn write_settings(&self, demo: &FinishedDemo) -> Result<(), Failure> {
        let mut settings = demo.settings()?;
        if let Some(steps) = self.steps {
            settings.insert("steps".into(), toml::Value::try_from(steps)?);
        }
        Ok(fs::write(self.settings(), toml::to_string(&settings)?)?)
    }

    fn settings(&self) -> PathBuf {
        self.run.work.join("learn.toml")
    }

    fn bank(&self, order: usize, seed: u64) -> PathBuf {
        self.run.work.join(format!("{order}-{seed}"))
    }

    fn learn(
        &self,
        program: &Program,
        concepts: &[Concept],
        places: &[usize],
        order: usize,
        seed: u64,
    ) -> Result<(), Failure> {
        let manifest = self.run.work.join(format!("order-{order}.toml"));
        write_manifest(&manifest, places.iter().map(|place| &concepts[*place]))?;
        let bank = self.bank(order, seed);
        let mut command = program.command("learn");
        command.arg(&manifest).args(["--model", "builtin", "--seed", &seed.to_string()]);
        command.arg("--config").arg(self.settings()).arg("--bank").arg(&bank);
        program.run_once_into(command, &bank).map(drop)
    }

    /// Each concept's score with all concepts, by order and seed.
    fn evaluate(
        &self,
        program: &Program,
        concepts: &[Concept],
        orders: usize,
    ) -> Result<Vec<Vec<Vec<f64>>>, Failure> {
        let (config, out) = (self.run.work.join("evaluate.toml"), self.run.work.join("evaluation"));
        let steps = self.sampling_steps;
        let text = "forgetting = false\ndrift = false\nclass_drift = false\nseeds = [0, 1]";
        fs::write(&config, format!("[protocol]\n{text}\nsteps = {steps}\n"))?;
        let mut command = program.command("evaluate");
        command.arg(FinishedDemo::new(&self.demo).photos()).args(["--model", "builtin"]);
        command.args(["--metric", &self.metric, "--config"]).arg(&config).arg("--out").arg(&out);
        let name = |order: usize, seed: u64| format!("{order}-{seed}");
        for order in 0..orders {
            for seed in &self.seeds {
                let bank = self.bank(order, *seed);
                command.arg("--bank").arg(format!("{}={}", name(order, *seed), bank.display()));
            }
        }
        program.run(command)?;
        let summary: EvaluationSummary =
            serde_json::from_str(&fs::read_to_string(out.join("summary.json"))?)?;
        let rows = summary.concepts.into_iter();
        let found: BTreeMap<(String, String), f64> =
            rows.filter_map(|row| Some(((row.method, row.concept), row.end?))).collect();
        let of = |order: usize, seed: u64| {
            let score = |concept: &Concept| {
                let key = (name(order, seed), concept.id.clone());
                found.get(&key).copied().ok_or_else(|| format!("{key:?} has no score").into())
            };
            concepts.iter().map(score).collect::<Result<Vec<f64>, Failure>>()
        };
        let of_order = |order| self.seeds.iter().map(|seed| of(order, *seed)).collect();
        (0..orders).map(of_order).collect()
    }
}

/// The places of the concepts in each order: the first as they are, the others shuffled.
fn orders(concepts: usize, count: usize) -> Vec<Vec<usize>> {
    let shuffled = |number: usize| {
        let mut order: Vec<usize> = (0..concepts).collect();
        let mut rng = Seed::new(0).fork("order").at(number as u64);
        for last in (1..concepts).rev().filter(|_| number > 0) {
            let other = Uniform::new_inclusive(0, last).expect("a range").sample(&mut rng);
            order.swap(last, other);
        }
        order
    };
    (0..count).map(shuffled).collect()
}

impl Outcome {
    fn new(
        concepts: &[Concept],
        orders: &[Vec<usize>],
        seeds: Vec<u64>,
        scores: Vec<Vec<Vec<f64>>>,
    ) -> Self {
        let of_concept = |concept: usize| -> Vec<Vec<f64>> {
            let order = |order: &Vec<Vec<f64>>| order.iter().map(|cell| cell[concept]).collect();
            scores.iter().map(order).collect()
        };
        let means: Vec<Vec<f64>> =
            scores.iter().map(|order| order.iter().map(|cell| mean(cell)).collect()).collect();
        let all: Vec<Variances> =
            (0..concepts.len()).map(|concept| Variances::of(&of_concept(concept))).collect();
        let average = |of: fn(&Variances) -> f64| mean(&all.iter().map(of).collect::<Vec<_>>());
        let slope = |concept: usize| {
            let place = |order: &Vec<usize>| order.iter().position(|at| *at == concept);
            let places: Vec<f64> = orders.iter().filter_map(place).map(|at| at as f64).collect();
            let of_order: Vec<f64> = of_concept(concept).iter().map(|order| mean(order)).collect();
            slope(&places, &of_order)
        };
        let slopes: Vec<f64> = (0..concepts.len()).filter_map(slope).collect();
        let names = |order: &Vec<usize>| order.iter().map(|at| concepts[*at].id.clone()).collect();
        Self {
            orders: orders.iter().map(names).collect(),
            seeds,
            of_means: Variances::of(&means),
            of_concepts: Variances {
                order: average(|v| v.order),
                seed: average(|v| v.seed),
                rest: average(|v| v.rest),
            },
            slope: Estimate::of(&slopes),
            scores,
        }
    }

    fn to_markdown(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(|seed| format!("seed {seed}")).collect();
        let mut text =
            format!("| order | {} |\n|---|{}\n", seeds.join(" | "), "---|".repeat(seeds.len()));
        for (order, scores) in self.orders.iter().zip(&self.scores) {
            let cells: Vec<String> =
                scores.iter().map(|cell| format!("{:.3}", mean(cell))).collect();
            text += &format!("| {} | {} |\n", order.join(" "), cells.join(" | "));
        }
        for (name, Variances { order, seed, rest }) in
            [("mean over concepts", self.of_means), ("single concepts", self.of_concepts)]
        {
            text += &format!(
                "\n{name}: standard deviation over orders {:.3}, over seeds {:.3}, rest {:.3}",
                order.max(0.0).sqrt(),
                seed.max(0.0).sqrt(),
                rest.sqrt()
            );
        }
        text + &format!("\nchange from one place in the order to the next: {}", self.slope)
    }
}

impl Variances {
    /// Unbiased components of `table[order][seed]` by the mean squares of a two-way analysis of variance; they
    /// can come out negative where there is nothing.
    fn of(table: &[Vec<f64>]) -> Self {
        let (orders, seeds) = (table.len() as f64, table[0].len() as f64);
        let rows: Vec<f64> = table.iter().map(|row| mean(row)).collect();
        let column = |at: usize| mean(&table.iter().map(|row| row[at]).collect::<Vec<_>>());
        let columns: Vec<f64> = (0..table[0].len()).map(column).collect();
        let all = mean(&rows);
        let squares = |means: &[f64]| means.iter().map(|x| (x - all).powi(2)).sum::<f64>();
        let of_orders = seeds * squares(&rows) / (orders - 1.0);
        let of_seeds = orders * squares(&columns) / (seeds - 1.0);
        let cells = table.iter().zip(&rows).flat_map(|(row, of_row)| {
            row.iter().zip(&columns).map(move |(x, of_column)| x - of_row - of_column + all)
        });
        let rest = cells.map(|x| x * x).sum::<f64>() / ((orders - 1.0) * (seeds - 1.0));
        Self { order: (of_orders - rest) / seeds, seed: (of_seeds - rest) / orders, rest }
    }
}

/// The least-squares slope; `None` if all x are equal.
fn slope(x: &[f64], y: &[f64]) -> Option<f64> {
    let (mean_x, mean_y) = (mean(x), mean(y));
    let squares: f64 = x.iter().map(|x| (x - mean_x).powi(2)).sum();
    let products: f64 = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (squares > 0.0).then(|| products / squares)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_permutations_of_which_the_first_is_as_it_was() {
        let orders = orders(8, 5);
        assert_eq!(orders[0], (0..8).collect::<Vec<_>>());
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, orders[0]);
        }
        assert!((1..5).all(|number| orders[number] != orders[number - 1]));
    }

    /// Rows differ by 1, columns not at all, and nothing is left.
    #[test]
    fn variance_goes_where_it_belongs() {
        let of_orders = Variances::of(&[vec![0.0; 3], vec![1.0; 3], vec![2.0; 3]]);
        assert_eq!(of_orders, Variances { order: 1.0, seed: 0.0, rest: 0.0 });
        let of_seeds = Variances::of(&vec![vec![0.0, 1.0, 2.0]; 4]);
        assert_eq!(of_seeds, Variances { order: 0.0, seed: 1.0, rest: 0.0 });
        // Residuals of ±1/2 in each of four cells: their squares over one degree of freedom.
        let rest = Variances::of(&[vec![0.0, 1.0], vec![1.0, 0.0]]);
        assert_eq!(rest, Variances { order: -0.5, seed: -0.5, rest: 1.0 });
    }

    #[test]
    fn the_slope_of_a_line_is_its_own() {
        assert_eq!(slope(&[0.0, 2.0, 4.0], &[1.0, 2.0, 3.0]), Some(0.5));
        assert_eq!(slope(&[1.0, 1.0], &[0.0, 1.0]), None);
    }
}
