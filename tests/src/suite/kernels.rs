//! Laws of the kernels: tangents are derivatives, and a missing tangent is a zero one.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::attention::AttentionMask;
use burn_seqlora::kernels::lora_linear::LoraFactors;
use burn_seqlora::kernels::matmul::Times;
use burn_seqlora::kernels::ops::{
    activation, attention, geglu, group_norm, layer_norm, lora_linear, project,
};
use burn_seqlora::kernels::{Activation, KernelBackend};
use burn_seqlora::rng::{Seed, normal};

use crate::fixtures::{assert_close, largest, relative_error};

fn random<B: Backend, const D: usize>(shape: [usize; D], counter: u64) -> Tensor<B, D> {
    normal(shape, &mut Seed::new(7).at(counter), &B::Device::default())
}

fn dual<B: Backend, const D: usize>(shape: [usize; D], counter: u64) -> Dual<B, D> {
    Dual::new(random(shape, counter), random(shape, counter + 1000))
}

/// Compares a tangent with central differences along it, `f(s)` being the value at `x + s ẋ`.
///
/// The step balances truncation against f32 round-off; 2e-3 is what that leaves.
fn assert_is_derivative<B: Backend, const D: usize>(
    what: &str,
    tangent: &Tensor<B, D>,
    f: impl Fn(f64) -> Tensor<B, D>,
) {
    let step = 3e-3;
    let quotient = (f(step) - f(-step)).div_scalar(2.0 * step);
    assert_close(what, tangent, &quotient, 2e-3);
}

fn moved<B: Backend, const D: usize>(x: &Dual<B, D>, s: f64) -> Dual<B, D> {
    Dual::constant(x.primal.clone() + x.tangent.clone().unwrap().mul_scalar(s))
}

/// SiLU, GELU and quick GELU.
pub fn pointwise_tangents<B: KernelBackend>(_: f64) {
    // An odd width, both signs, and arguments far out.
    let mut x = dual::<B, 2>([3, 37], 0);
    x.primal = x.primal.mul_scalar(3.0);
    for kind in [Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        let Dual { tangent, .. } = activation(kind, x.clone());
        let name = format!("{kind:?}");
        assert_is_derivative(&name, &tangent.unwrap(), |s| activation(kind, moved(&x, s)).primal);
    }
    let x = dual::<B, 2>([3, 26], 30);
    assert_is_derivative("geglu", &geglu(x.clone()).tangent.unwrap(), |s| {
        geglu(moved(&x, s)).primal
    });
}

/// Layer and group normalisation.
pub fn norm_tangents<B: KernelBackend>(_: f64) {
    let [weight, bias] = [1, 2].map(|counter| random::<B, 1>([12], counter));
    let x = dual::<B, 3>([2, 5, 12], 3);
    let layer = |x| layer_norm(x, weight.clone(), bias.clone(), 1e-5);
    assert_is_derivative("layer norm", &layer(x.clone()).tangent.unwrap(), |s| {
        layer(moved(&x, s)).primal
    });
    let x = dual::<B, 4>([2, 12, 3, 5], 4);
    let group = |x| group_norm(x, 4, weight.clone(), bias.clone(), 1e-5);
    assert_is_derivative("group norm", &group(x.clone()).tangent.unwrap(), |s| {
        group(moved(&x, s)).primal
    });
}

/// Attention, full and causal, with all three inputs moving.
pub fn attention_tangents<B: KernelBackend>(_: f64) {
    let q = dual::<B, 3>([2, 5, 24], 5);
    let k = dual::<B, 3>([2, 7, 24], 6);
    let v = dual::<B, 3>([2, 7, 24], 7);
    let full = |q, k, v| attention(q, k, v, 3, AttentionMask::Full);
    let Dual { tangent, .. } = full(q.clone(), k.clone(), v.clone());
    assert_is_derivative("full", &tangent.unwrap(), |s| {
        full(moved(&q, s), moved(&k, s), moved(&v, s)).primal
    });
    let causal = |q, k, v| attention(q, k, v, 3, AttentionMask::Causal);
    let Dual { primal: output, tangent } = causal(k.clone(), k.clone(), v.clone());
    assert_is_derivative("causal", &tangent.unwrap(), |s| {
        causal(moved(&k, s), moved(&k, s), moved(&v, s)).primal
    });
    // The first query sees the first key alone.
    let first = |x: Tensor<B, 3>| x.narrow(1, 0, 1);
    assert_close("first row", &first(output), &first(v.primal), 1e-5);
}

/// The adapted linear layer, with input and both factors moving.
pub fn lora_linear_tangents<B: KernelBackend>(_: f64) {
    let x = dual::<B, 2>([5, 6], 8);
    let (weight, bias) = (random::<B, 2>([4, 6], 9), random::<B, 1>([4], 10));
    let lora = LoraFactors { up: dual::<B, 2>([4, 2], 11), down: dual::<B, 2>([6, 2], 12) };
    let layer = |x, lora| lora_linear(x, weight.clone(), Some(bias.clone()), Some(lora), None);
    let Dual { primal: value, tangent } = layer(x.clone(), lora.clone());
    assert_is_derivative("lora", &tangent.unwrap(), |s| {
        let lora = LoraFactors { up: moved(&lora.up, s), down: moved(&lora.down, s) };
        layer(moved(&x, s), lora).primal
    });
    let dense = weight + lora.up.primal.times(lora.down.primal.transpose());
    let expected = x.primal.times(dense.transpose()) + bias.unsqueeze::<2>();
    assert_close("dense", &value, &expected, 1e-5);
}

/// A missing tangent is a zero one, and does not change the value by a bit.
pub fn none_is_zero<B: KernelBackend>(_: f64) {
    let q = dual::<B, 3>([1, 5, 8], 13);
    let constant = |x: &Dual<B, 3>| Dual::constant(x.primal.clone());
    let zero = |x: &Dual<B, 3>| Dual::new(x.primal.clone(), x.primal.zeros_like());
    let attend = |q, k, v| attention(q, k, v, 2, AttentionMask::Full);
    let Dual { primal: value, tangent: none } = attend(constant(&q), constant(&q), constant(&q));
    assert!(none.is_none());
    let Dual { primal: with_zeros, tangent: zeros } = attend(zero(&q), zero(&q), zero(&q));
    assert_eq!(largest(zeros.unwrap().to_data().iter()), 0.0);
    assert_eq!(value.to_data(), with_zeros.to_data());
    let Dual { primal: partly, .. } = attend(q.clone(), constant(&q), constant(&q));
    assert_eq!(value.to_data(), partly.to_data());
}

/// Idempotent, symmetric, and orthogonal to 1e-6 even for directions almost inside the span
/// (a single pass fails here).
pub fn projection<B: KernelBackend>(_: f64) {
    let (inputs, occupied) = (96, 40);
    let columns = burn_seqlora::lora::directions::fresh_directions(
        inputs,
        occupied,
        &Vec::new(),
        &mut Seed::new(3).at(0),
    );
    let values = burn_seqlora::lora::directions::from_columns(&columns);
    let data = TensorData::new(values, [inputs, occupied]);
    let q = Tensor::<B, 2>::from_data(data, &B::Device::default());
    let u = random::<B, 2>([inputs, 4], 20);
    let v = random::<B, 2>([inputs, 4], 21);
    let project = |b: Tensor<B, 2>| project(b, q.clone());

    let once = project(u.clone());
    assert!(relative_error(&project(once.clone()), &once) < 1e-6);
    let (uv, vu) = ((project(u.clone()) * v.clone()).sum(), (u.clone() * project(v)).sum());
    assert_close("symmetric", &uv, &vu, 1e-5);

    // Correlated directions: almost all of u lies in the span.
    let inside = q.clone().times(random::<B, 2>([occupied, 4], 22)).mul_scalar(100.0);
    let rest = project(inside + u);
    let norms = (rest.clone() * rest.clone()).sum_dim(0).sqrt();
    let overlap = largest(q.clone().transpose().times(rest / norms).to_data().iter());
    assert!(overlap < 1e-6, "{overlap:.2e}");
}
