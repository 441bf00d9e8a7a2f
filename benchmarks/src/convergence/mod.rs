//! The paper's first theorem on a small network: under its conditions the objective of the upper level
//! never rises and its projected gradient goes to zero. The default settings, for which the theorem promises
//! nothing, run for comparison.
//!
//! Its conditions are a full batch, plain gradient descent in A and B, A rerun after every step in B, and
//! rates that are small enough, which backtracking finds here: a step is halved until the lower level
//! descends and F falls by a share of η‖P∇F‖² (Armijo).

mod chart;
mod network;

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use burn_seqlora::check::greatest;
use burn_seqlora::kernels::Flex;
use burn_seqlora::lora::Bases;
use burn_seqlora::methods::{self, TrainState};
use burn_seqlora::settings::{LrSchedule, OuterOptimizer, Preconditioner, TrainConfig, WarmStart};
use burn_seqlora::train::{StepReport, Trainer};
use clap::Args;

use self::chart::{Curve, chart};
use self::network::{Network, Problem};
use crate::failure::Failure;
use crate::least_squares::{Sample, Tape};

/// The share of η‖P∇F‖² by which F has to fall.
const ARMIJO: f64 = 1e-4;

/// After so many halvings a step is round-off.
const HALVINGS: usize = 60;

/// How far ‖P∇F‖ has to fall.
const FALL: f64 = 100.0;

/// How long, and where the results go.
#[derive(Debug, Args)]
pub struct Options {
    /// Steps in B.
    #[arg(long, default_value_t = 400, value_name = "N")]
    steps: usize,
    /// Learning rate of the default settings; theirs is for Stable Diffusion, and too small here.
    #[arg(long, default_value_t = 1e-2, value_name = "RATE")]
    lr: f64,
    /// The problem's seed.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    seed: u64,
    /// Writes convergence.csv and convergence.svg there.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The state before a step.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// L of the full batch.
    loss: f64,
    /// ‖P∇F‖ of the full batch.
    slope: f64,
    /// α and η; the default settings' own are inside Adam.
    rates: [f64; 2],
}

impl Options {
    /// Runs both, writes the files, and fails if the theorem does not hold.
    pub fn run(self) -> Result<(), Failure> {
        let problem = Problem::new(self.seed);
        let theorem = descend(&problem, self.steps)?;
        let default = by_default(&problem, self.steps, self.lr)?;
        println!("{}", summary("theorem", &theorem));
        println!("{}", summary("default", &default));
        if let Some(folder) = &self.out {
            fs::create_dir_all(folder)?;
            let csv = csv(&[("theorem", &theorem), ("default", &default)]);
            fs::write(folder.join("convergence.csv"), csv)?;
            let curve = |name, points: &[Point], of: fn(&Point) -> f64| Curve {
                name,
                values: points.iter().map(of).collect(),
            };
            let panels = [
                (
                    "loss of the full batch",
                    [
                        curve("theorem", &theorem, |p| p.loss),
                        curve("default", &default, |p| p.loss),
                    ],
                ),
                (
                    "‖P∇F‖",
                    [
                        curve("theorem", &theorem, |p| p.slope),
                        curve("default", &default, |p| p.slope),
                    ],
                ),
            ];
            fs::write(folder.join("convergence.svg"), chart(&panels))?;
        }
        check(&theorem)
    }
}

/// # Errors
/// If F rises anywhere, or ‖P∇F‖ does not fall far enough.
fn check(points: &[Point]) -> Result<(), Failure> {
    if let Some(at) = points.windows(2).position(|two| two[1].loss > two[0].loss) {
        let [before, after] = [points[at].loss, points[at + 1].loss];
        return Err(format!("F rises from {before:e} to {after:e} in step {}", at + 1).into());
    }
    let fall = fall(points);
    match fall >= FALL {
        true => Ok(()),
        false => Err(format!("‖P∇F‖ falls by {fall:.1} only; {FALL} were expected").into()),
    }
}

fn fall(points: &[Point]) -> f64 {
    // At A = 0 the first inner steps make the gradient: it is largest soon after the start.
    let largest = greatest(points.iter().map(|point| point.slope));
    largest / points.last().map_or(f64::NAN, |point| point.slope)
}

fn summary(name: &str, points: &[Point]) -> String {
    let rises = points.windows(2).filter(|two| two[1].loss > two[0].loss).count();
    let [first, last] = [points.first(), points.last()].map(|p| p.expect("a point").loss);
    format!(
        "{name}: {} steps, loss {first:.6} to {last:.6}, {rises} rises, ‖P∇F‖ falls by {:.1}",
        points.len() - 1,
        fall(points)
    )
}

fn csv(runs: &[(&str, &[Point])]) -> String {
    let mut csv = String::from("settings,step,loss,projected_gradient,alpha,eta\n");
    for (name, points) in runs {
        for (step, Point { loss, slope, rates: [alpha, eta] }) in points.iter().enumerate() {
            writeln!(csv, "{name},{step},{loss:e},{slope:e},{alpha:e},{eta:e}")
                .expect("a text has room");
        }
    }
    csv
}

/// The theorem's conditions, with these rates.
fn plain([alpha, eta]: [f64; 2]) -> TrainConfig {
    TrainConfig {
        outer: 1,
        lr_schedule: LrSchedule::Constant,
        preconditioner: Preconditioner::None,
        outer_optimizer: OuterOptimizer::GradientDescent,
        warm_start: WarmStart::Rerun,
        ridge: 0.0,
        weight_decay: 0.0,
        lr_unet: alpha,
        lr_down_ratio: eta / alpha,
        ..TrainConfig::default()
    }
}

/// One outer iteration from a state; also the loss after it.
fn step(
    problem: &Problem,
    config: &TrainConfig,
    state: &mut TrainState<Flex>,
    sample: &Sample,
) -> Result<(StepReport, f64), Failure> {
    let trainer = trainer(problem, config)?;
    let report = trainer.step(state, |_, _| sample);
    Ok((report, trainer.loss(&state.parameters, &problem.full)))
}

fn trainer<'a>(
    problem: &'a Problem,
    config: &'a TrainConfig,
) -> Result<Trainer<'a, Tape, Network>, Failure> {
    let Problem { network, sites, basis, .. } = problem;
    let basis: &Bases<Flex> = basis;
    let method = methods::by_name::<Tape>(&config.method)?;
    Ok(Trainer { objective: network, method, settings: config, sites, basis })
}

/// Gradient descent with backtracking.
fn descend(problem: &Problem, steps: usize) -> Result<Vec<Point>, Failure> {
    let mut rates = [1.0, 1.0];
    let mut state = problem.state(&plain(rates))?;
    let config = plain(rates);
    let mut loss = trainer(problem, &config)?.loss(&state.parameters, &problem.full);
    let mut points = Vec::new();
    for _ in 0..steps {
        let Some((next, report, after)) = backtrack(problem, &state, loss, &mut rates)? else {
            break;
        };
        points.push(Point { loss, slope: report.hypergradient, rates });
        (state, loss) = (next, after);
        // It may have become easier.
        rates = rates.map(|rate| 2.0 * rate);
    }
    let (report, _) = step(problem, &plain(rates), &mut state.clone(), &problem.full)?;
    points.push(Point { loss, slope: report.hypergradient, rates });
    Ok(points)
}

type Accepted = (TrainState<Flex>, StepReport, f64);

/// The first step with halved rates in which the lower level descends and F falls enough; `None` at the
/// round-off of the numbers.
fn backtrack(
    problem: &Problem,
    state: &TrainState<Flex>,
    loss: f64,
    rates: &mut [f64; 2],
) -> Result<Option<Accepted>, Failure> {
    for _ in 0..HALVINGS {
        let mut next = state.clone();
        let (report, after) = step(problem, &plain(*rates), &mut next, &problem.full)?;
        let wanted = ARMIJO * rates[1] * report.hypergradient.powi(2);
        // The report's loss is F before the step: L(A_T(B), B).
        let descends = report.loss <= loss;
        if descends && after <= report.loss - wanted {
            return Ok(Some((next, report, after)));
        }
        rates[usize::from(descends)] *= 0.5;
    }
    Ok(None)
}

/// Adam and AdamW on changing minibatches with A carried on, as `learn` trains.
fn by_default(problem: &Problem, steps: usize, lr: f64) -> Result<Vec<Point>, Failure> {
    let config = TrainConfig { outer: 1, steps, lr_unet: lr, ..TrainConfig::default() };
    let mut state = problem.state(&config)?;
    let mut points = Vec::new();
    for number in 0..=steps {
        // The slope of the full batch, without taking the step.
        let rate = config.lr_unet * config.decay(number.min(steps.saturating_sub(1)));
        let full = plain([rate.max(1e-9), 0.0]);
        let (report, _) = step(problem, &full, &mut state.clone(), &problem.full)?;
        let loss = trainer(problem, &full)?.loss(&state.parameters, &problem.full);
        points.push(Point { loss, slope: report.hypergradient, rates: [rate, rate] });
        if number < steps {
            step(problem, &config, &mut state, &problem.minibatch(number))?;
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_theorem_holds_on_the_network() {
        for seed in 0..2 {
            let points = descend(&Problem::new(seed), 400).unwrap();
            check(&points).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert!(points.last().unwrap().loss < 0.9 * points[0].loss);
        }
    }

    #[test]
    fn what_breaks_it_is_told() {
        let point = |loss, slope| Point { loss, slope, rates: [1.0; 2] };
        let text = |points: &[Point]| check(points).unwrap_err().to_string();
        assert!(text(&[point(1.0, 200.0), point(2.0, 1.0)]).contains("F rises"));
        assert!(text(&[point(2.0, 50.0), point(1.0, 1.0)]).contains("falls by 50.0 only"));
        let with_nan = [point(3.0, f64::NAN), point(2.0, 200.0), point(1.0, 1.0)];
        assert!(text(&with_nan).contains("falls by NaN only"));
        check(&[point(2.0, 200.0), point(1.0, 1.0)]).unwrap();
    }
}
