//! The paper's second theorem on one layer: what all other concepts change at a concept's inputs, ζᵀMζ, is
//! close to its mean with a probability that Hanson and Wright's inequality bounds; and learnt directions
//! leave less of it than frozen random ones.
//!
//! The inequality's constant is fitted on the concepts of even number and applied to the others. Inputs have
//! a part in common, as those of prompts do, so that orthogonality alone does not rule forgetting out.

mod bound;
mod concepts;

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use burn_seqlora::rng::Seed;
use clap::Args;
use rand_distr::{Distribution, StandardNormal};

use self::bound::{Form, Observed, dot, fit};
use self::concepts::{Concept, Matrix, learn, transpose};
use crate::failure::Failure;

/// How many concepts, and where the results go.
#[derive(Debug, Args)]
pub struct Options {
    /// Concepts; half of them fit the constant.
    #[arg(long, default_value_t = 16, value_name = "N")]
    concepts: usize,
    /// Minibatches per concept.
    #[arg(long, default_value_t = 150, value_name = "N")]
    steps: usize,
    /// Inputs of each concept at which forgetting is measured.
    #[arg(long, default_value_t = 4000, value_name = "N")]
    inputs: usize,
    /// The probability that the bound is for.
    #[arg(long, default_value_t = 0.1, value_name = "P")]
    delta: f64,
    /// The seed of everything.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    seed: u64,
    /// Writes a line for each concept.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

/// What is known of a concept's forgetting.
struct Row {
    residual: f64,
    /// E ‖ΔW x‖² of the concept's own change.
    own: f64,
    observed: Observed,
    violations: f64,
}

impl Options {
    /// Learns with learnt and with frozen directions, prints both, and fails if frozen ones are better.
    pub fn run(self) -> Result<(), Failure> {
        if !(2..=20).contains(&self.concepts) || self.inputs == 0 {
            return Err("2 to 20 concepts fit into the layer, and inputs are at least one".into());
        }
        if !(self.delta > 0.0 && self.delta < 1.0) {
            return Err("--delta is a probability between 0 and 1".into());
        }
        let mut csv =
            String::from("directions,concept,residual,own,mean,bound,beyond_bound,fitted\n");
        let mut residuals = Vec::new();
        for (name, frozen) in [("learnt", false), ("frozen", true)] {
            let learnt = learn(self.seed, self.concepts, self.steps, frozen)?;
            let (rows, c) = self.rows(&learnt);
            residuals.push(mean(rows.iter().map(|row| row.residual)));
            println!("{}", self.summary(name, &rows, c));
            for (number, row) in rows.iter().enumerate() {
                let Row { residual, own, observed, violations } = row;
                let (trace, bound) = (observed.form.trace, observed.form.deviation(self.delta, c));
                let fitted = number % 2 == 0;
                writeln!(
                    csv,
                    "{name},{number},{residual:.6},{own:e},{trace:e},{bound:e},{violations:.4},{fitted}"
                )?;
            }
        }
        if let Some(file) = &self.csv {
            fs::write(file, csv)?;
        }
        match residuals[0] < residuals[1] {
            true => Ok(()),
            false => {
                Err(format!("frozen directions leave less of the inputs: {residuals:?}").into())
            }
        }
    }

    /// A row for each concept, and the constant fitted on every second.
    fn rows(&self, concepts: &[Concept]) -> (Vec<Row>, f64) {
        let observed: Vec<Observed> =
            (0..concepts.len()).map(|number| self.observe(concepts, number)).collect();
        let fitted: Vec<&Observed> = observed.iter().step_by(2).collect();
        let c = fit(&fitted, self.delta);
        let row = |(concept, observed): (&Concept, Observed)| Row {
            residual: concept.residual(),
            own: Form::of(&product(&concept.change, &concept.root)).trace,
            violations: observed.violations(self.delta, c),
            observed,
        };
        (concepts.iter().zip(observed).map(row).collect(), c)
    }

    /// What the others change at inputs of a concept.
    fn observe(&self, concepts: &[Concept], number: usize) -> Observed {
        let mut change: Matrix =
            vec![vec![0.0; concepts[0].change[0].len()]; concepts[0].change.len()];
        for other in concepts.iter().enumerate().filter(|(at, _)| *at != number).map(|(_, c)| c) {
            for (sum, row) in change.iter_mut().zip(&other.change) {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        }
        let g = product(&change, &concepts[number].root);
        let mut rng = Seed::new(self.seed).fork("inputs").at(number as u64);
        let value = |_| {
            let zeta: Vec<f64> = StandardNormal.sample_iter(&mut rng).take(g[0].len()).collect();
            g.iter().map(|row| dot(row, &zeta).powi(2)).sum()
        };
        let values = (0..self.inputs).map(value).collect();
        Observed { form: Form::of(&g), values }
    }

    fn summary(&self, name: &str, rows: &[Row], c: f64) -> String {
        let others = || rows.iter().skip(1).step_by(2);
        // Three standard deviations of a share of so many inputs.
        let noise = 3.0 * (self.delta * (1.0 - self.delta) / self.inputs as f64).sqrt();
        let beyond = others().filter(|row| row.violations > self.delta + noise).count();
        format!(
            "{name}: {:.1} % of the inputs' energy outside of span(B), forgetting {:.3} of a concept's own \
             change in the mean; c = {c:.3}; beyond the bound at {}: {:.2} % of the inputs of the other {} \
             concepts, {beyond} concepts by more than chance",
            100.0 * mean(rows.iter().map(|row| row.residual)),
            mean(rows.iter().map(|row| row.observed.form.trace / row.own)),
            self.delta,
            100.0 * mean(others().map(|row| row.violations)),
            others().count(),
        )
    }
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let numbers: Vec<f64> = numbers.collect();
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// A B, row by row.
fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let columns = transpose(b);
    a.iter().map(|row| columns.iter().map(|column| dot(row, column)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { concepts: 6, steps: 60, inputs: 2000, delta: 0.1, seed: 1, csv: None }
    }

    /// The mean of what is observed is the trace of the form, within its own standard error.
    #[test]
    fn the_mean_is_the_trace() {
        let concepts = learn(1, 4, 40, false).unwrap();
        for number in 0..4 {
            let Observed { form, values } = options().observe(&concepts, number);
            let error = form.frobenius * (2.0 / values.len() as f64).sqrt();
            assert!((mean(values.into_iter()) - form.trace).abs() < 4.0 * error);
        }
    }

    #[test]
    fn learnt_directions_leave_less_and_the_bound_carries_over() {
        options().run().unwrap();
        let (rows, _) = options().rows(&learn(1, 6, 60, false).unwrap());
        for row in rows.iter().skip(1).step_by(2) {
            assert!(row.violations < 0.2, "{}", row.violations);
        }
    }
}
