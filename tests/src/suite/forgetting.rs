//! How much concepts disturb each other on their own inputs, which are not quite inside the span
//! of their directions.

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::kernels::matmul::Times;
use burn_seqlora::lora::directions::{Columns, fresh_directions, orthonormal_gauge};
use burn_seqlora::lora::{AdapterSet, Factors};
use burn_seqlora::rng::Seed;
use burn_seqlora::settings::TrainConfig;
use nalgebra::DMatrix;

use crate::fixtures::largest;
use crate::toy::training::{config, learn_in_turn, together};
use crate::toy::{Net, Precision, Sample, Toy, columns, matrix, numbers, random};

const INPUTS: usize = 32;

fn toy(dtype: DType) -> Toy {
    Toy { widths: &[INPUTS, 16], rank: 4, dtype }
}

/// `rows` Gaussian inputs with the covariance Σ = diag(k^-1.5).
fn inputs<B: Backend>(rows: usize, counter: u64, dtype: DType) -> Tensor<B, 2> {
    let scales: Vec<f64> = (1..=INPUTS).map(|k| (k as f64).powf(-0.75)).collect();
    let data = TensorData::new(scales, [1, INPUTS]);
    let scales = Tensor::from_data(data, (&B::Device::default(), dtype));
    random([rows, INPUTS], counter, dtype) * scales
}

/// A concept: inputs of its own, and outputs that the frozen layer does not give.
fn sample<B: KernelBackend>(concept: u64, dtype: DType) -> Sample<B> {
    let input = inputs(64, 40 + concept, dtype);
    let change =
        random::<B, 2>([16, INPUTS], 50 + concept, dtype).div_scalar(INPUTS as f64).mul_scalar(4.0);
    let weight = toy(dtype).net::<B>().weights[0].clone() + change;
    Sample { target: input.clone().times(weight.transpose()), input }
}

/// The share of the inputs' energy outside the span of orthonormal directions.
fn residual<B: KernelBackend>(directions: &Columns, input: &Tensor<B, 2>) -> f64 {
    let energy = |t: Tensor<B, 2>| Factors::new(vec![Some(t)]).norm().powi(2);
    let basis = matrix(directions, input.dtype());
    1.0 - energy(input.clone().times(basis)) / energy(input.clone())
}

/// The leading principal directions, by orthogonal iteration.
fn principal<B: KernelBackend>(input: &Tensor<B, 2>, count: usize) -> Columns {
    let mut found = fresh_directions(INPUTS, count, &Columns::new(), &mut Seed::new(0).at(0));
    for _ in 0..100 {
        let image =
            input.clone().transpose().times(input.clone().times(matrix(&found, input.dtype())));
        found = orthonormal_gauge(columns(&image), &Columns::new()).0;
    }
    found
}

/// Test 11: learnt directions hold more of the concept's own inputs than the random ones that they
/// started as, and no more than the principal ones.
pub fn learnt_directions_hold_more_than_frozen_ones<B: KernelBackend>(precision: Precision) {
    let toy = toy(precision.dtype);
    let config = TrainConfig { steps: 60, ..config() };
    for concept in 0..3 {
        let sample = sample::<Autodiff<B>>(concept, precision.dtype);
        let learnt = &learn_in_turn::<B>(toy, &config, 1, |_| sample.clone())[0];
        let start = toy.state::<B>(&config, &[toy.rank], &[Columns::new()], 0);
        let input = sample.input.inner();
        let of = |down: &Factors<B>| {
            let down = columns(&down.get(0).unwrap());
            residual(&orthonormal_gauge(down, &Columns::new()).0, &input)
        };
        let (frozen, learnt) = (of(&start.parameters.adapters.down), of(&learnt.down));
        let best = residual(&principal(&input, toy.rank), &input);
        println!("residual energy: frozen {frozen:.3}, learnt {learnt:.3}, principal {best:.3}");
        assert!(learnt < 0.9 * frozen && learnt >= best - precision.exact);
    }
}

/// Test 11: what later concepts do to the first one's inputs is ζᵀMζ with M = (Σ ΔW_i)ᵀ(Σ ΔW_i), whose mean
/// is tr(MΣ), whose tails fall as Laurent and Massart 2000, lemma 1, say, and whose law is that of the
/// squares of Gaussians weighted with the eigenvalues of MΣ; all of it comes from what of the inputs lies
/// outside span(B₁).
pub fn forgetting_is_a_quadratic_form_in_the_residual<B: KernelBackend>(precision: Precision) {
    let toy = toy(precision.dtype);
    let config = TrainConfig { steps: 20, ..config() };
    let learnt = learn_in_turn::<B>(toy, &config, 4, |c| sample(c, precision.dtype));
    let (first, later) = (learnt[0].down.get(0).unwrap(), together(&learnt[1..]));
    let count = 4000;
    let input = inputs::<B>(count, 60, precision.dtype);
    let forgotten = forgetting(toy, &later, &input);

    let q = matrix::<B>(&orthonormal_gauge(columns(&first), &Columns::new()).0, precision.dtype);
    let outside = input.clone() - input.clone().times(q.clone()).times(q.transpose());
    let alone = forgetting(toy, &later, &outside);
    let most = largest(forgotten.iter().copied());
    let worst = largest(forgotten.iter().zip(&alone).map(|(x, y)| x - y));
    assert!(worst < 1e-5 * most, "span(B₁) must not count: {worst:.2e} of {most:.2e}");

    // D Σ Dᵀ has the eigenvalues of MΣ.
    let [up, down] = [&later.up, &later.down].map(|f| f.get(0).unwrap());
    let root = inputs_root::<B>(precision.dtype);
    let factor = up.times(down.transpose()).times(root);
    let weights = eigenvalues(&factor.clone().times(factor.transpose()));
    let trace: f64 = weights.iter().sum();
    let mean = forgotten.iter().sum::<f64>() / count as f64;
    let deviation = (2.0 / count as f64).sqrt() * norm(&weights);
    assert!((mean - trace).abs() < 3.0 * deviation, "mean {mean}, tr(MΣ) {trace} ± {deviation}");
    assert_tails_fall(&forgotten, &weights);

    // The law itself, drawn from the eigenvalues alone.
    let squares = random::<B, 2>([count, weights.len()], 61, precision.dtype).powi_scalar(2);
    let squares = numbers(&Factors::new(vec![Some(squares)]));
    let weighted = |row: &[f64]| row.iter().zip(&weights).map(|(square, w)| w * square).sum();
    let distance = largest_gap(forgotten, squares.chunks(weights.len()).map(weighted).collect());
    // Kolmogorov and Smirnov: equal laws give more than this once in 1000 times.
    let limit = 1.95 * (2.0 / count as f64).sqrt();
    assert!(distance < limit, "the laws differ by {distance}, limit {limit}");
}

/// Sums of squares of Gaussians with these weights are rarely far from their mean (Laurent and Massart 2000,
/// lemma 1).
fn assert_tails_fall(sums: &[f64], weights: &[f64]) {
    let mean: f64 = weights.iter().sum();
    let spread = norm(weights);
    let largest = weights.iter().fold(0f64, |m, x| m.max(*x));
    for x in [1.0f64, 2.0, 3.0, 4.0, 5.0] {
        let below = 2.0 * spread * x.sqrt();
        let above = below + 2.0 * largest * x;
        let outside = sums.iter().filter(|y| **y > mean + above || **y < mean - below).count();
        let (share, bound) = (outside as f64 / sums.len() as f64, 2.0 * (-x).exp());
        assert!(share <= bound, "{share} outside at x = {x}, bound {bound}");
    }
}

fn norm(numbers: &[f64]) -> f64 {
    numbers.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The eigenvalues of a symmetric matrix.
fn eigenvalues<B: Backend>(matrix: &Tensor<B, 2>) -> Vec<f64> {
    let values = numbers(&Factors::new(vec![Some(matrix.clone())]));
    let side = matrix.dims()[0];
    DMatrix::from_row_slice(side, side, &values).symmetric_eigenvalues().iter().copied().collect()
}

/// The largest difference between the distribution functions of two samples of the same size.
fn largest_gap(mut a: Vec<f64>, mut b: Vec<f64>) -> f64 {
    for sample in [&mut a, &mut b] {
        sample.sort_by(f64::total_cmp);
    }
    let below = |sample: &[f64], x: f64| sample.partition_point(|y| *y <= x) as f64;
    let gap = |x: &f64| (below(&a, *x) - below(&b, *x)).abs() / a.len() as f64;
    a.iter().chain(&b).map(gap).fold(0.0, f64::max)
}

/// Σ^½
fn inputs_root<B: Backend>(dtype: DType) -> Tensor<B, 2> {
    let column = |k: usize| {
        (0..INPUTS).map(|i| if i == k { ((k + 1) as f64).powf(-0.75) } else { 0.0 }).collect()
    };
    matrix(&(0..INPUTS).map(column).collect(), dtype)
}

/// ‖y(x) − y₀(x)‖² per input: what the adapters change.
fn forgetting<B: KernelBackend>(
    toy: Toy,
    adapters: &AdapterSet<B>,
    input: &Tensor<B, 2>,
) -> Vec<f64> {
    let net: Net<B> = toy.net();
    let run = |adapters: &AdapterSet<B>| net.forward(&adapters.constant(), input.clone()).primal;
    let change = run(adapters) - run(&AdapterSet::empty(1));
    let squares = (change.clone() * change).sum_dim(1);
    numbers(&Factors::new(vec![Some(squares)]))
}
