//! Laws of one minibatch of the trainer.

use burn_seqlora::kernels::matmul::Times;
use std::cell::RefCell;

use crate::derivatives::hypergradient;
use crate::derivatives::{Hvp, Wrt, gradient};
use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::lora::directions::{Columns, fresh_directions};
use burn_seqlora::lora::{Bases, DualAdapters, Factors, Site};
use burn_seqlora::methods::TrainState;
use burn_seqlora::objective::Objective;
use burn_seqlora::rng::Seed;
use burn_seqlora::settings::{OuterOptimizer, Preconditioner, TrainConfig, WarmStart};
use burn_seqlora::train::Trainer;

use crate::fixtures::{assert_close_numbers, assert_identical, assert_near, distance, largest};
use crate::toy::training::{adam_scales, config, constant_scales, method, unroll};
use crate::toy::{Net, Precision, Sample, Toy, matrix, numbers};

/// The coupled toy with directions taken at its first layer.
struct Problem<B: KernelBackend> {
    toy: Toy,
    net: Net<Autodiff<B>>,
    sites: Vec<Site>,
    occupied: Vec<Columns>,
    /// U of the first layer's block, in whose span the occupied directions lie; `None` for the whole space.
    block: Option<Tensor<B, 2>>,
    basis: Bases<B>,
}

impl<B: KernelBackend> Problem<B> {
    fn new(precision: Precision) -> Self {
        let toy = Toy::coupled(precision);
        let taken = fresh_directions(toy.widths[0], 4, &Vec::new(), &mut Seed::new(9).at(0));
        let occupied = vec![taken, Columns::new()];
        let basis = toy.basis(&occupied);
        Self { net: toy.net(), sites: toy.sites(), basis, block: None, occupied, toy }
    }

    /// The same with B in a block of six of the first layer's seven directions.
    fn in_a_block(precision: Precision) -> Self {
        let whole = Self::new(precision);
        let mut block = whole.occupied[0].clone();
        let more = fresh_directions(whole.toy.widths[0], 2, &block, &mut Seed::new(9).at(1));
        block.extend(more);
        let block = matrix::<B>(&block, precision.dtype);
        let basis = whole.basis.with_blocks(vec![Some(block.clone()), None]);
        Self { block: Some(block), basis, ..whole }
    }

    /// A new concept, with A ≠ 0 as after some steps and B as feasible as its numbers can be.
    fn state(&self, config: &TrainConfig) -> TrainState<B> {
        let mut state = self.toy.state(config, &[self.toy.rank; 2], &self.occupied, 1);
        let adapters = &mut state.parameters.adapters;
        adapters.up = self.toy.up(1);
        adapters.down = adapters.down.map(|site, b| self.project(site, b));
        state
    }

    /// P B = (I − Q Qᵀ) U Uᵀ B
    fn project(&self, site: usize, b: Tensor<B, 2>) -> Tensor<B, 2> {
        let b = match self.block.as_ref().filter(|_| site == 0) {
            Some(u) => u.clone().times(u.clone().transpose().times(b)),
            None => b,
        };
        match self.basis.get(site) {
            Some(q) => b.clone() - q.clone().times(q.clone().transpose().times(b)),
            None => b,
        }
    }

    fn samples(&self, config: &TrainConfig) -> Vec<Sample<Autodiff<B>>> {
        (0..config.outer * (config.inner + 1)).map(|n| self.toy.sample(n as u64)).collect()
    }

    /// Minibatches with new noise for every evaluation; returns the state after each.
    fn run(&self, config: &TrainConfig, steps: usize) -> Vec<TrainState<B>> {
        let (net, samples) = (&self.net, self.samples(config));
        let bilevel = self.bilevel(net, config);
        let mut state = self.state(config);
        let step = |_| {
            bilevel.step(&mut state, |k, t| &samples[k * (config.inner + 1) + t]);
            state.clone()
        };
        (0..steps).map(step).collect()
    }

    fn bilevel<'a, O>(
        &'a self,
        objective: &'a O,
        config: &'a TrainConfig,
    ) -> Trainer<'a, Autodiff<B>, O> {
        Trainer {
            objective,
            method: method(config),
            settings: config,
            sites: &self.sites,
            basis: &self.basis,
        }
    }
}

/// Largest |entry| of Qᵀ M at the first layer, relative to M.
fn inside<B: KernelBackend>(basis: &Bases<B>, vector: &Factors<B>) -> f64 {
    let (q, m) = (basis.get(0).unwrap().clone(), vector.get(0).unwrap());
    let overlap = Factors::new(vec![Some(q.transpose().times(m))]);
    let scale = largest(numbers(vector));
    assert!(scale.is_finite());
    largest(numbers(&overlap)) / scale
}

/// Test 7: B stays feasible under AdamW, which by itself would leave the subspace, and so does the
/// momentum, which is made of projected gradients.
pub fn feasible_steps_stay_feasible<B: KernelBackend>(precision: Precision) {
    let problem = Problem::<B>::new(precision);
    let config = TrainConfig { weight_decay: 0.01, lr_down_ratio: 10.0, ..config() };
    let moved = TrainState::clone(&problem.run(&config, 1)[0]).parameters.adapters.down;
    let start = problem.state(&config).parameters.adapters.down;
    assert!(distance(&moved, &start) > 0.1, "B must move");
    for state in problem.run(&config, 5) {
        let down = inside(&problem.basis, &state.parameters.adapters.down);
        assert!(down < 1e-6, "B: {down:.2e}");
        let momentum = inside(&problem.basis, &state.outer.first);
        assert!(momentum < 1e-6, "momentum: {momentum:.2e}");
    }
}

/// B of a worker stays in its block, though what it is trained on does not.
pub fn steps_stay_in_their_subspace<B: KernelBackend>(precision: Precision) {
    let problem = Problem::<B>::in_a_block(precision);
    let config = TrainConfig { weight_decay: 0.01, lr_down_ratio: 10.0, ..config() };
    for state in problem.run(&config, 5) {
        let down = state.parameters.adapters.down;
        assert!(inside(&problem.basis, &down) < 1e-6);
        let feasible = down.map(|site, b| problem.project(site, b));
        assert_near("B", &down, &feasible, 1e-6);
    }
    let free = Problem::<B>::new(precision).run(&config, 1).remove(0);
    let down = free.parameters.adapters.down;
    let feasible = down.map(|site, b| problem.project(site, b));
    assert!(distance(&down, &feasible) > 0.1, "the block must matter");
}

/// §1.5: A moves by the inner steps and, with gradient descent, B by −η Π ∇F of these steps, with
/// Adam's preconditioner and, in a block, without.
pub fn a_step_follows_the_projected_hypergradient<B: KernelBackend>(precision: Precision) {
    for preconditioner in [Preconditioner::None, Preconditioner::Adam] {
        let config = TrainConfig {
            preconditioner,
            outer_optimizer: OuterOptimizer::GradientDescent,
            inner: 3,
            ridge: 0.1,
            lr_down_ratio: 2.0,
            ..config()
        };
        let problem = match preconditioner {
            Preconditioner::None => Problem::<B>::in_a_block(precision),
            Preconditioner::Adam => Problem::<B>::new(precision),
        };
        let start = problem.state(&config).parameters;
        let samples = problem.samples(&config);
        let (inner, outer) = samples.split_at(config.inner);
        let (plain, mut adam) = (constant_scales(config.lr_unet), adam_scales(config.lr_unet));
        let run =
            unroll(&problem.net, &start, inner, config.ridge, |t, gradient| match preconditioner {
                Preconditioner::None => plain(t, gradient),
                Preconditioner::Adam => adam(t, gradient),
            });
        let (net, outer, ridge) = (&problem.net, &outer[0], config.ridge);
        let (end, steps) = (&run.end, &run.steps);
        let hyper = hypergradient::<Autodiff<B>, _>(net, end, steps, outer, ridge, Hvp::Exact).down;
        let projected = hyper.map(|site, h| problem.project(site, h));
        assert!(distance(&projected, &hyper) > 0.1, "the constraint must matter");

        let after = &problem.run(&config, 1)[0].parameters.adapters;
        let rate = 2.0 * config.lr_unet;
        let moved = start.adapters.down.axpy(-1.0, &after.down).map(|_, d| d.div_scalar(rate));
        assert_near("A_T", &after.up, &end.adapters.up, precision.exact);
        // B itself is rounded before the difference is taken.
        assert_near("ΔB / −η", &moved, &projected, 10.0 * precision.exact);
    }
}

/// Where B does not move, the inner steps that [`WarmStart::Rerun`] repeats lead to the same A.
pub fn rerun_without_outer_steps_is_carry<B: KernelBackend>(precision: Precision) {
    let problem = Problem::<B>::new(precision);
    let run = |warm_start, lr_down_ratio| {
        let config = TrainConfig { warm_start, lr_down_ratio, outer: 2, ..config() };
        let states = problem.run(&config, 3);
        states[2].parameters.adapters.up.clone()
    };
    // Projecting a feasible B once more may still change its last bit.
    let (rerun, carry) = (run(WarmStart::Rerun, 0.0), run(WarmStart::Carry, 0.0));
    assert_near("A", &rerun, &carry, precision.exact);
    let moved = distance(&run(WarmStart::Rerun, 1.0), &run(WarmStart::Carry, 1.0));
    assert!(moved > 1e-3, "with outer steps they must differ: {moved:.2e}");
}

/// §2: alternating minimisation is SeqLoRA without second derivatives, bit for bit.
pub fn alternating_is_seqlora_without_second_derivatives<B: KernelBackend>(precision: Precision) {
    let problem = Problem::<B>::new(precision);
    let run = |method: &str, hvp| {
        let config = TrainConfig { method: method.into(), hvp, ..config() };
        problem.run(&config, 3)[2].parameters.adapters.clone()
    };
    let alternating = run("alternating", Hvp::Exact);
    let without = run("seqlora", Hvp::None);
    assert_identical("A", &alternating.up, &without.up);
    assert_identical("B", &alternating.down, &without.down);
    let exact = run("seqlora", Hvp::Exact);
    let difference = distance(&exact.down, &alternating.down);
    assert!(difference > 1e-3, "second derivatives must matter: {difference:.2e}");
    let finite = run("seqlora", Hvp::FiniteDifference);
    let error = distance(&finite.down, &exact.down);
    assert!(error < 0.1 * difference, "differences come close to exact: {error:.2e}");
}

/// §6: plain LoRA takes K (T + 1) steps of AdamW in A and B at once, each at its own minibatch, and
/// nothing holds B off the directions of others.
pub fn plain_lora_is_joint_adamw<B: KernelBackend>(precision: Precision) {
    let problem = Problem::<B>::new(precision);
    let config = TrainConfig {
        method: "lora".into(),
        outer: 2,
        weight_decay: 0.1,
        lr_down_ratio: 3.0,
        ..config()
    };
    let after = &problem.run(&config, 1)[0].parameters.adapters;
    let TrainState { parameters: mut at, inner: mut of_up, outer: mut of_down, .. } =
        problem.state(&config);
    for sample in &problem.samples(&config) {
        let slope = gradient::<Autodiff<B>, _>(&problem.net, &at, sample, Wrt::All);
        at.adapters.up = of_up.step(&at.adapters.up, &slope.up, |_| config.lr_unet, 0.1);
        let rate = 3.0 * config.lr_unet;
        at.adapters.down = of_down.step(&at.adapters.down, &slope.down, |_| rate, 0.1);
    }
    assert_identical("A", &after.up, &at.adapters.up);
    assert_identical("B", &after.down, &at.adapters.down);
    let overlap = inside(&problem.basis, &after.down);
    assert!(overlap > 1e-2, "it must run into the taken directions: {overlap:.2e}");
}

/// §3: Orthogonal Adaptation takes K (T + 1) steps of AdamW in A, each at its own minibatch, and no bit of
/// B changes, whatever is decayed.
pub fn orthogonal_adaptation_trains_up_alone<B: KernelBackend>(precision: Precision) {
    let problem = Problem::<B>::new(precision);
    let method = "orthogonal-adaptation".into();
    let config = TrainConfig { method, outer: 2, weight_decay: 0.1, ..config() };
    let states = problem.run(&config, 3);
    let TrainState { parameters: mut at, inner: mut of_up, .. } = problem.state(&config);
    for (samples, state) in std::iter::repeat(problem.samples(&config)).zip(&states) {
        for sample in &samples {
            let slope = gradient::<Autodiff<B>, _>(&problem.net, &at, sample, Wrt::All);
            at.adapters.up = of_up.step(&at.adapters.up, &slope.up, |_| config.lr_unet, 0.1);
        }
        assert_near("A", &state.parameters.adapters.up, &at.adapters.up, precision.exact);
        assert_identical("B", &state.parameters.adapters.down, &at.adapters.down);
    }
}

/// An objective that writes down which minibatches it is evaluated on.
struct Logged<'a, B: KernelBackend> {
    net: &'a Net<Autodiff<B>>,
    seen: RefCell<Vec<usize>>,
}

impl<B: KernelBackend> Objective<Autodiff<B>> for Logged<'_, B> {
    type Sample = (usize, Sample<Autodiff<B>>);

    fn loss(
        &self,
        adapters: &DualAdapters<Autodiff<B>>,
        rows: Option<&Tensor<Autodiff<B>, 2>>,
        (number, sample): &Self::Sample,
    ) -> Dual<Autodiff<B>, 1> {
        self.seen.borrow_mut().push(*number);
        self.net.loss(adapters, rows, sample)
    }
}

/// Test 13: the second-order pass replays each inner step's own ξ_t, last step first, and a rerun
/// repeats them.
pub fn the_trainer_replays_its_minibatches<B: KernelBackend>(precision: Precision) {
    let problem = Problem::<B>::new(precision);
    let warm_start = WarmStart::Rerun;
    let config = TrainConfig { outer: 2, inner: 3, warm_start, ..config() };
    let samples: Vec<_> = problem.samples(&config).into_iter().enumerate().collect();
    let logged = Logged { net: &problem.net, seen: RefCell::default() };
    let mut state = problem.state(&config);
    let bilevel = problem.bilevel(&logged, &config);
    bilevel.step(&mut state, |k, t| &samples[k * (config.inner + 1) + t]);
    let first = [0, 1, 2, 3, 2, 1, 0, 0, 1, 2];
    let expected: Vec<usize> = first.into_iter().chain(first.map(|n| n + 4)).collect();
    assert_eq!(logged.seen.into_inner(), expected);
}

/// AdamW by its definition: m_t = (1 − β₁) Σ β₁^(t−i) g_i, v_t likewise of the squares, both
/// corrected for their start at zero, and decay of the parameters themselves.
pub fn adamw_is_its_definition<B: KernelBackend>(precision: Precision) {
    let toy = Toy::coupled(precision);
    let (rate, decay) = (0.1, 0.3);
    let gradients = [40, 41, 42].map(|counter| toy.down::<B>(counter));
    let mut state = toy.state::<B>(&config(), &[toy.rank; 2], &vec![Columns::new(); 2], 1);
    let mut ours = toy.down::<B>(43);
    let mut expected = numbers(&ours);
    for (t, gradient) in gradients.iter().enumerate() {
        ours = state.outer.step(&ours, gradient, |_| rate, decay);
        let mean = |beta: f64, power: i32, element: usize| {
            let past = gradients[..=t].iter().rev().enumerate();
            let terms =
                past.map(|(age, g)| beta.powi(age as i32) * numbers(g)[element].powi(power));
            (1.0 - beta) * terms.sum::<f64>() / (1.0 - beta.powi(t as i32 + 1))
        };
        for (element, x) in expected.iter_mut().enumerate() {
            let step = mean(0.9, 1, element) / (mean(0.999, 2, element).sqrt() + 1e-8);
            *x -= rate * (decay * *x + step);
        }
    }
    for (ours, expected) in numbers(&ours).into_iter().zip(expected) {
        assert_close_numbers("B", ours, expected, 1.0, precision.exact);
    }
}
