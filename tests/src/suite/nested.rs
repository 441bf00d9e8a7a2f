//! The library's second derivatives against nested autodiff.
//!
//! `Autodiff<Autodiff<B>>` records its own backward pass and differentiates it once more, so
//! neither tangent rules nor the adjoint recursion are involved. This is as exact as they are, and
//! the way that one would choose without dual numbers.

use crate::derivatives::{ConceptParameters, Hvp, hessian_product, hypergradient};
use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::kernels::lora_linear::LoraFactors;
use burn_seqlora::lora::{DualAdapters, Factors};
use burn_seqlora::objective::Objective;

use super::second_order::Problem;
use crate::fixtures::assert_near;
use crate::toy::training::unroll;
use crate::toy::{Precision, Toy};

type Once<B> = Autodiff<B>;
type Twice<B> = Autodiff<Autodiff<B>>;

/// One matrix per site, `None` where the site is not adapted; each is a tensor of its own on a tape.
type Matrices<D> = Vec<Option<Tensor<D, 2>>>;

/// A and B.
#[derive(Clone)]
struct Leaves<D: AutodiffBackend> {
    up: Matrices<D>,
    down: Matrices<D>,
}

impl<D: AutodiffBackend> Leaves<D> {
    fn adapters(self) -> DualAdapters<D> {
        let site = |(up, down): (Option<Tensor<D, 2>>, Option<Tensor<D, 2>>)| {
            let (up, down) = (Dual::constant(up?), Dual::constant(down?));
            Some(LoraFactors { up, down })
        };
        DualAdapters::new(self.up.into_iter().zip(self.down).map(site).collect())
    }
}

fn matrices<B: Backend>(factors: &Factors<B>) -> Matrices<B> {
    (0..factors.len()).map(|site| factors.get(site)).collect()
}

/// The same on one tape more, but not recorded there.
fn untracked<D: AutodiffBackend>(inner: Matrices<D::InnerBackend>) -> Matrices<D> {
    inner.into_iter().map(|matrix| matrix.map(Tensor::from_inner)).collect()
}

/// The same on one tape more, as leaves.
fn leaves<D: AutodiffBackend>(inner: Matrices<D::InnerBackend>) -> Matrices<D> {
    let leaf = |matrix| Tensor::from_inner(matrix).require_grad();
    inner.into_iter().map(|matrix| matrix.map(leaf)).collect()
}

/// The gradients of leaves, all of which the result depends on.
fn collect<D: AutodiffBackend>(
    leaves: &Matrices<D>,
    gradients: &D::Gradients,
) -> Matrices<D::InnerBackend> {
    let gradient = |leaf: &Tensor<D, 2>| leaf.grad(gradients).expect("the result depends on it");
    leaves.iter().map(|leaf| leaf.as_ref().map(gradient)).collect()
}

/// ∇_A L as a function of whatever the factors depend on.
fn recorded_gradient<B: KernelBackend, O: Objective<Twice<B>>>(
    objective: &O,
    [up, down]: [Matrices<Once<B>>; 2],
    sample: &O::Sample,
) -> Matrices<Once<B>> {
    let at = Leaves::<Twice<B>> { up: leaves(up), down: untracked(down) };
    let gradients = objective.loss(&at.clone().adapters(), None, sample).primal.backward();
    collect(&at.up, &gradients)
}

/// H_AA V and H_BA V by the gradient of ⟨∇_A L, V⟩.
fn double_backward<B: KernelBackend, O: Objective<Twice<B>>>(
    objective: &O,
    at: &ConceptParameters<B>,
    direction: &Factors<B>,
    sample: &O::Sample,
) -> (Factors<B>, Factors<B>) {
    let up = leaves::<Once<B>>(matrices(&at.adapters.up));
    let down = leaves::<Once<B>>(matrices(&at.adapters.down));
    let slope = recorded_gradient::<B, O>(objective, [up.clone(), down.clone()], sample);
    let direction = untracked::<Once<B>>(matrices(direction));
    let products = slope.into_iter().zip(direction).filter_map(|(g, v)| Some((g? * v?).sum()));
    let gradients = products.reduce(|a, b| a + b).unwrap().backward();
    (Factors::new(collect(&up, &gradients)), Factors::new(collect(&down, &gradients)))
}

/// The gradient of B ↦ L(A_T(B), B) by one backward pass through all inner steps, each of which
/// holds a backward pass itself. `scales` are the steps' s_t = α P_t.
fn backward_through_the_unroll<B: KernelBackend, O: Objective<Twice<B>>>(
    objective: &O,
    start: &ConceptParameters<B>,
    (inner, outer): (&[O::Sample], &O::Sample),
    scales: &[Factors<B>],
    ridge: f64,
) -> Factors<B> {
    let down = leaves::<Once<B>>(matrices(&start.adapters.down));
    let mut up = untracked::<Once<B>>(matrices(&start.adapters.up));
    for (sample, scale) in inner.iter().zip(scales) {
        let slope = recorded_gradient::<B, O>(objective, [up.clone(), down.clone()], sample);
        let scale = untracked::<Once<B>>(matrices(scale));
        let moved = up.into_iter().zip(slope).zip(scale).map(|((a, g), scale)| {
            let a = a?;
            let g = g? + a.clone().mul_scalar(ridge);
            Some(a - g * scale?)
        });
        up = moved.collect();
    }
    let end = Leaves::<Twice<B>> { up: untracked(up), down: untracked(down.clone()) };
    let loss = objective.loss(&end.adapters(), None, outer).primal.inner();
    Factors::new(collect(&down, &loss.backward()))
}

/// Checks both products on one objective, given on either backend.
fn assert_products_agree<B, O, P>(
    (once, twice): (&O, &P),
    at: &ConceptParameters<B>,
    direction: &Factors<B>,
    samples: (&O::Sample, &P::Sample),
    tolerance: f64,
) where
    B: KernelBackend,
    O: Objective<Once<B>>,
    P: Objective<Twice<B>>,
{
    let ours = hessian_product::<Once<B>, O>(once, at, direction, samples.0);
    let (up, down) = double_backward::<B, P>(twice, at, direction, samples.1);
    assert_near("H_AA V", &ours.up, &up, tolerance);
    assert_near("H_BA V", &ours.down, &down, tolerance);
}

/// Checks the hypergradient on one objective, given on either backend, with step lengths of their
/// own for every element: the last sample is the outer one.
fn assert_hypergradients_agree<B, O, P>(
    (once, twice): (&O, &P),
    start: &ConceptParameters<B>,
    samples: (&[O::Sample], &[P::Sample]),
    rate: f64,
    tolerance: f64,
) where
    B: KernelBackend,
    O: Objective<Once<B>>,
    P: Objective<Twice<B>>,
{
    let ridge = 0.1;
    // Detached, like Adam's; between α and 2α, from the step's own gradient.
    let scale = |_, gradient: &Factors<B>| {
        gradient.map(|_, g| (g.sin().powi_scalar(2) + 1.0).mul_scalar(rate))
    };
    let (outer, inner) = samples.0.split_last().unwrap();
    let run = unroll(once, start, inner, ridge, scale);
    let (end, steps) = (&run.end, &run.steps);
    let ours = hypergradient::<Once<B>, O>(once, end, steps, outer, ridge, Hvp::Exact).down;
    let scales: Vec<Factors<B>> = run.steps.iter().map(|step| step.step.clone()).collect();
    let (outer, inner) = samples.1.split_last().unwrap();
    let theirs = backward_through_the_unroll::<B, P>(twice, start, (inner, outer), &scales, ridge);
    assert_near("∇F", &ours, &theirs, tolerance);
}

/// Tests 1, 3 and 6 on a toy.
pub fn toys_agree<B: KernelBackend>(precision: Precision) {
    let toy = Toy::coupled(precision);
    let (once, twice) = (toy.net::<Once<B>>(), toy.net::<Twice<B>>());
    let (at, direction) = (toy.point(), toy.up(3));
    let samples = (&toy.sample(0), &toy.sample(0));
    assert_products_agree::<B, _, _>((&once, &twice), &at, &direction, samples, precision.exact);
    let samples = ([0, 1, 2, 3].map(|n| toy.sample(n)), [0, 1, 2, 3].map(|n| toy.sample(n)));
    let samples = (&samples.0[..], &samples.1[..]);
    assert_hypergradients_agree::<B, _, _>((&once, &twice), &at, samples, 0.02, precision.exact);
}

/// Test 1 on the text encoder and UNet.
pub fn products_of_the_model_agree<B: KernelBackend>(tolerance: f64) {
    let (once, twice) = (Problem::<Once<B>>::new(), Problem::<Twice<B>>::new());
    let (at, direction) = (once.parameters(), once.factors("V"));
    let objectives = (&once.loss(), &twice.loss());
    let samples = (&once.sample(""), &twice.sample(""));
    assert_products_agree::<B, _, _>(objectives, &at, &direction, samples, tolerance);
}

/// Tests 3 and 6 on the text encoder and UNet, T = 2.
pub fn hypergradients_of_the_model_agree<B: KernelBackend>(tolerance: f64) {
    let (once, twice) = (Problem::<Once<B>>::new(), Problem::<Twice<B>>::new());
    let objectives = (&once.loss(), &twice.loss());
    let names = ["inner0.", "inner1.", ""];
    let samples = (names.map(|name| once.sample(name)), names.map(|name| twice.sample(name)));
    let samples = (&samples.0[..], &samples.1[..]);
    let start = once.parameters();
    assert_hypergradients_agree::<B, _, _>(objectives, &start, samples, 0.05, tolerance);
}
