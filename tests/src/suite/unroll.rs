//! Laws of the gradient through unrolled inner steps.

use crate::derivatives::{ConceptParameters, Hvp, Wrt, gradient, number};
use crate::derivatives::{HyperGradient, hypergradient};
use burn::backend::Autodiff;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::kernels::matmul::Times;
use burn_seqlora::lora::directions::fresh_directions;
use burn_seqlora::lora::{AdapterSet, Factors};
use burn_seqlora::rng::Seed;

use crate::fixtures::{assert_close_numbers, assert_identical, assert_near, distance};
use crate::toy::training::{Unrolled, adam_scales, constant_scales, unroll};
use crate::toy::{Net, Precision, Sample, Toy, central_difference, matrix, numbers, random};

const RATE: f64 = 0.02;
const ADAM_RATE: f64 = 0.1;
const RIDGE: f64 = 0.1;

/// A toy with a minibatch for each inner step and one for the outer gradient.
struct Problem<B: KernelBackend> {
    toy: Toy,
    net: Net<Autodiff<B>>,
    inner: Vec<Sample<Autodiff<B>>>,
    outer: Sample<Autodiff<B>>,
    start: ConceptParameters<B>,
}

impl<B: KernelBackend> Problem<B> {
    fn coupled(precision: Precision, steps: u64) -> Self {
        let toy = Toy::coupled(precision);
        Self {
            net: toy.net(),
            inner: (1..=steps).map(|t| toy.sample(t)).collect(),
            outer: toy.sample(0),
            start: toy.point(),
            toy,
        }
    }

    /// One layer with L = ½‖R − A Bᵀ‖² (X orthonormal), every evaluation on the same minibatch.
    fn quadratic(precision: Precision, steps: usize) -> Self {
        let toy = Toy::single(precision);
        let [inputs, outputs] = [toy.widths[0], toy.widths[1]];
        let directions =
            |count, seed| fresh_directions(inputs, count, &Vec::new(), &mut Seed::new(seed).at(0));
        let net: Net<Autodiff<B>> = toy.net();
        let input = matrix(&directions(inputs, 1), toy.dtype);
        let weight = net.weights[0].clone() + random([outputs, inputs], 20, toy.dtype);
        let outer = Sample { target: input.clone().times(weight.transpose()), input };
        let down = Factors::new(vec![Some(matrix(&directions(toy.rank, 2), toy.dtype))]);
        let adapters = AdapterSet { up: toy.up::<B>(1).zeros_like(), down };
        let start = ConceptParameters { adapters, embeddings: None };
        Self { toy, net, inner: vec![outer.clone(); steps], outer, start }
    }

    fn unroll_from(
        &self,
        start: &ConceptParameters<B>,
        scale: impl FnMut(usize, &Factors<B>) -> Factors<B>,
    ) -> Unrolled<'_, B, Sample<Autodiff<B>>> {
        unroll(&self.net, start, &self.inner, RIDGE, scale)
    }

    fn solve(&self, run: &Unrolled<B, Sample<Autodiff<B>>>, ridge: f64) -> HyperGradient<B> {
        let (net, outer) = (&self.net, &self.outer);
        hypergradient::<Autodiff<B>, _>(net, &run.end, &run.steps, outer, ridge, Hvp::Exact)
    }

    /// The derivative of B ↦ L(A_T(B), B) along a unit vector.
    fn slope_along(
        &self,
        direction: &Factors<B>,
        step: f64,
        scale: impl Fn(usize, &Factors<B>) -> Factors<B>,
    ) -> f64 {
        central_difference(step, |s| {
            let mut start = self.start.clone();
            start.adapters.down = start.adapters.down.axpy(s, direction);
            let end = self.unroll_from(&start, &scale).end;
            number(&gradient::<Autodiff<B>, _>(&self.net, &end, &self.outer, Wrt::Up).loss)
        })
    }

    /// Checks a hypergradient along its own and along two random directions.
    fn assert_is_slope(
        &self,
        what: &str,
        hyper: &Factors<B>,
        precision: Precision,
        scale: impl Fn(usize, &Factors<B>) -> Factors<B>,
    ) {
        for direction in [hyper.clone(), self.toy.down(30), self.toy.down(31)] {
            let norm = direction.norm();
            let unit = direction.map(|_, d| d.div_scalar(norm));
            let slope = self.slope_along(&unit, precision.step, &scale);
            let tolerance = precision.differences;
            assert_close_numbers(what, unit.dot(hyper), slope, hyper.norm(), tolerance);
        }
    }
}

/// Test 3: ∇F against central differences of B ↦ L(A_T(B), B), with a minibatch per step and λ.
pub fn hypergradient_is_a_derivative<B: KernelBackend>(precision: Precision) {
    for steps in [0, 1, 2, 3, 5] {
        let problem = Problem::<B>::coupled(precision, steps);
        let run = problem.unroll_from(&problem.start, constant_scales(RATE));
        let hyper = problem.solve(&run, RIDGE);
        problem.assert_is_slope(
            &format!("T = {steps}"),
            &hyper.down,
            precision,
            constant_scales(RATE),
        );
        if steps > 0 {
            let share = distance(&hyper.partial, &hyper.down);
            assert!(share > 0.05, "T = {steps}: second derivatives must matter, {share:.2e}");
        }
    }
}

/// Test 3: without inner steps, or with steps of length zero, ∇F = ∇_B L.
pub fn without_inner_steps_the_gradient_is_partial<B: KernelBackend>(precision: Precision) {
    for (steps, rate) in [(0, RATE), (2, 0.0)] {
        let problem = Problem::<B>::coupled(precision, steps);
        let run = problem.unroll_from(&problem.start, constant_scales(rate));
        let hyper = problem.solve(&run, RIDGE);
        let (net, at) = (&problem.net, &problem.start);
        let partial = gradient::<Autodiff<B>, _>(net, at, &problem.outer, Wrt::All).down;
        assert_identical("∇_B L", &hyper.partial, &partial);
        assert_identical("∇F", &hyper.down, &partial);
    }
}

/// Test 4, the envelope theorem: at A*(B) = R B the second derivatives cancel.
pub fn at_the_lower_optimum_the_correction_vanishes<B: KernelBackend>(precision: Precision) {
    let mut problem = Problem::<B>::quadratic(precision, 3);
    // One step of length 1/L_A = 1 leads from anywhere to the optimum.
    let down = problem.start.clone();
    let slope = gradient::<Autodiff<B>, _>(&problem.net, &down, &problem.outer, Wrt::Up).up;
    problem.start.adapters.up = slope.map(|_, g| -g);
    let run = unroll(&problem.net, &problem.start, &problem.inner, 0.0, constant_scales(0.3));
    let hyper = problem.solve(&run, 0.0);
    assert!(hyper.partial.norm() > 0.1, "∇_B L must not vanish itself");
    assert_near("∇F = ∇_B L", &hyper.down, &hyper.partial, precision.exact);
}

/// Test 5: from A₀ = 0, ∇_B L = 0 exactly, and as α → 0 ∇_B L(A_T) → −αT GᵀG B and ∇F → twice that.
pub fn early_steps_pull_towards_the_gradient<B: KernelBackend>(precision: Precision) {
    let (steps, rate) = (3, 1e-2 * precision.step);
    let problem = Problem::<B>::quadratic(precision, steps);
    let (net, at) = (&problem.net, &problem.start);
    let first = gradient::<Autodiff<B>, _>(net, at, &problem.outer, Wrt::All);
    assert!(numbers(&first.down).iter().all(|x| *x == 0.0), "∇_B L at A = 0");

    let run = unroll(net, at, &problem.inner, 0.0, constant_scales(rate));
    let hyper = problem.solve(&run, 0.0);
    // At A = 0: ∇_A L = G B, and the gradient of W is G = δᵀX.
    let Sample { input, target } = &problem.outer;
    let delta = input.clone().times(net.weights[0].clone().transpose()) - target.clone();
    let g = delta.transpose().times(input.clone()).inner();
    let pull =
        first.up.map(|_, gb| g.clone().transpose().times(gb).mul_scalar(-rate * steps as f64));
    let tolerance = 10.0 * precision.step;
    assert_near("∇_B L(A_T)", &hyper.partial, &pull, tolerance);
    assert_near("∇F", &hyper.down, &pull.map(|_, p| p.mul_scalar(2.0)), tolerance);
}

/// Test 6: with a preconditioner P_t that is held fixed, here Adam's, written out once more.
pub fn preconditioned_steps_are_differentiated_through<B: KernelBackend>(precision: Precision) {
    let problem = Problem::<B>::coupled(precision, 3);
    let run = problem.unroll_from(&problem.start, adam_scales(ADAM_RATE));
    let scales: Vec<Factors<B>> = run.steps.iter().map(|step| step.step.clone()).collect();
    let hyper = problem.solve(&run, RIDGE).down;
    problem.assert_is_slope("P fixed", &hyper, precision, |t, _| scales[t].clone());
    let free = problem.slope_along(&hyper, precision.step / hyper.norm(), |t, g| {
        // Not the trainer's gradient: P_t moves with B.
        if t == 0 { adam_scales(ADAM_RATE)(0, g) } else { scales[t].clone() }
    });
    let detached = hyper.dot(&hyper);
    assert!((free - detached).abs() > 1e-2 * detached, "detaching P must matter: {free}");
}

/// Test 13: the same ξ_t give the same bits, others give a gradient of another function.
pub fn replay_is_exact<B: KernelBackend>(precision: Precision) {
    let problem = Problem::<B>::coupled(precision, 2);
    let mut run = problem.unroll_from(&problem.start, constant_scales(RATE));
    let hyper = problem.solve(&run, RIDGE).down;
    let again = problem.unroll_from(&problem.start, constant_scales(RATE));
    assert_identical("A_T", &run.end.adapters.up, &again.end.adapters.up);
    assert_identical("∇F", &hyper, &problem.solve(&again, RIDGE).down);

    run.steps[0].sample = &problem.inner[1];
    run.steps[1].sample = &problem.inner[0];
    let wrong = distance(&problem.solve(&run, RIDGE).down, &hyper);
    assert!(wrong > 0.01, "another ξ_t must show: {wrong:.2e}");
}
