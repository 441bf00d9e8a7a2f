//! The method on problems with a known optimum: one layer, whitened inputs, so that
//! L = ½‖R − A Bᵀ‖².

use crate::derivatives::{ConceptParameters, Hvp};
use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::kernels::matmul::Times;
use burn_seqlora::lora::directions::{Columns, fresh_directions};
use burn_seqlora::lora::{AdapterSet, Bases};
use burn_seqlora::rng::Seed;
use burn_seqlora::settings::{OuterOptimizer, Preconditioner, TrainConfig, WarmStart};
use burn_seqlora::train::Trainer;

use crate::fixtures::assert_close_numbers;
use crate::toy::training::{config, learn_in_turn, method, together};
use crate::toy::{Net, Precision, Sample, Toy, matrix, random};

/// Σ_k scale_k left_k right_kᵀ
fn outer_products<B: KernelBackend>(
    scales: &[f64],
    left: &[Vec<f64>],
    right: &[Vec<f64>],
    precision: Precision,
) -> Tensor<B, 2> {
    let scale = |(column, scale): (&Vec<f64>, &f64)| column.iter().map(|x| x * scale).collect();
    let left: Columns = left.iter().zip(scales).map(scale).collect();
    let right: Columns = right[..left.len()].to_vec();
    let [left, right] = [left, right].map(|c| matrix(&c, precision.dtype));
    left.times(right.transpose())
}

/// Test 9: with A rerun after every step in B the loss never rises and ends at the optimum under
/// the constraint, ½ Σ_{k>r} σ_k²(R P_Q) + ½‖R Q‖², where P ∇F = 0; by either method.
pub fn descends_to_the_constrained_optimum<B: KernelBackend>(precision: Precision) {
    let toy = Toy::single(precision);
    let [inputs, outputs] = [toy.widths[0], toy.widths[1]];
    let orthonormal =
        |size, seed| fresh_directions(size, size, &Columns::new(), &mut Seed::new(seed).at(0));
    // R = Σ σ_k u_k p_kᵀ + Σ τ_j u_j q_jᵀ: its singular values outside span(Q) are the σ_k.
    let (right, left) = (orthonormal(inputs, 1), orthonormal(outputs, 2));
    let (q, free) = right.split_at(3);
    let (sigma, tau) = ([1.4, 1.1, 0.6, 0.4, 0.2], [0.9, 0.7, 0.3]);
    let residual = outer_products::<Autodiff<B>>(&sigma, &left, free, precision)
        + outer_products(&tau, &left, q, precision);
    let squares = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
    let optimum = 0.5 * (squares(&sigma[toy.rank..]) + squares(&tau));

    let net: Net<Autodiff<B>> = toy.net();
    let input = matrix(&orthonormal(inputs, 3), precision.dtype);
    let weight = net.weights[0].clone() + residual;
    let sample = Sample { target: input.clone().times(weight.transpose()), input };
    let occupied = [q.to_vec()];
    for name in ["seqlora", "alternating"] {
        let config = TrainConfig {
            method: name.into(),
            steps: 300,
            preconditioner: Preconditioner::None,
            outer_optimizer: OuterOptimizer::GradientDescent,
            warm_start: WarmStart::Rerun,
            lr_unet: 0.3,
            ..config()
        };
        let (sites, basis) = (toy.sites(), toy.basis(&occupied));
        let bilevel = Trainer {
            objective: &net,
            method: method(&config),
            settings: &config,
            sites: &sites,
            basis: &basis,
        };
        let mut state = toy.state::<B>(&config, &[toy.rank], &occupied, 4);
        let mut last = bilevel.loss(&state.parameters, &sample);
        let mut slope = f64::NAN;
        for step in 0..config.steps {
            slope = bilevel.step(&mut state, |_, _| &sample).hypergradient;
            let loss = bilevel.loss(&state.parameters, &sample);
            assert!(loss <= last * (1.0 + precision.exact), "{step}: {last} to {loss}");
            last = loss;
        }
        assert_close_numbers("loss", last, optimum, optimum, precision.exact);
        assert!(slope < 1e-6, "P ∇F = {slope:.2e}");
    }
}

/// Test 10: what concept 1 does on inputs in span(B₁) is not changed by those learnt after it.
pub fn later_concepts_leave_the_first_ones_inputs_alone<B: KernelBackend>(precision: Precision) {
    for hvp in [Hvp::Exact, Hvp::None] {
        let toy = Toy { widths: &[12, 6], ..Toy::single(precision) };
        let config = TrainConfig { hvp, steps: 20, ..config() };
        let learnt = learn_in_turn::<B>(toy, &config, 5, |concept| toy.sample(concept));
        let first = learnt[0].down.get(0).unwrap();
        let codes = random::<B, 2>([4, toy.rank], 80, precision.dtype);
        let inside =
            Sample { input: Tensor::from_inner(codes.times(first.transpose())), ..toy.sample(0) };
        let (net, sites, basis): (Net<Autodiff<B>>, _, _) =
            (toy.net(), toy.sites(), Bases::default());
        let bilevel = Trainer {
            objective: &net,
            method: method(&config),
            settings: &config,
            sites: &sites,
            basis: &basis,
        };
        let loss = |concepts: &[AdapterSet<B>], sample| {
            let parameters = ConceptParameters { adapters: together(concepts), embeddings: None };
            bilevel.loss(&parameters, sample)
        };
        let (before, after) = (loss(&learnt[..1], &inside), loss(&learnt, &inside));
        assert_close_numbers("inside", after, before, before, precision.exact);
        let elsewhere = toy.sample(0);
        let (before, after) = (loss(&learnt[..1], &elsewhere), loss(&learnt, &elsewhere));
        assert!((after - before).abs() > 1e-2 * before, "elsewhere they must show");
    }
}
