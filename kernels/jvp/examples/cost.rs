//! What a Hessian product costs, compared with a gradient and with two nested tapes. Run with
//! `cargo run --release -p burn-jvp --example cost`.

use std::time::Instant;

use burn::backend::Autodiff;
use burn::tensor::{Distribution, Tensor};
use burn_flex::Flex;
use burn_jvp::{Dual, Parameters, Vector, gradient, hessian_product};

type Tape = Autodiff<Flex>;
type Nested = Autodiff<Tape>;

const LAYERS: usize = 4;
const WIDTH: usize = 512;

/// Layers of tanh(x W) on a batch of 256.
fn loss(parameters: &Parameters<Tape>) -> Dual<Tape, 1> {
    let x = Dual::constant(Tensor::<Tape, 2>::ones([256, WIDTH], &Default::default()));
    let y = (0..LAYERS).fold(x, |x, layer| x.matmul(parameters.get(layer)).tanh());
    (y.clone() * y).mean()
}

/// The same product of the same loss by a tape over a tape.
fn nested_product(at: &Vector<Flex>, direction: &Vector<Flex>) {
    let layer = |v: &Vector<Flex>, layer| Tensor::<Tape, 2>::from_inner(v.get(layer).unwrap());
    let inner: Vec<_> = (0..LAYERS).map(|l| layer(at, l).require_grad()).collect();
    let leaf = |w: &Tensor<Tape, 2>| Tensor::<Nested, 2>::from_inner(w.clone()).require_grad();
    let outer: Vec<_> = inner.iter().map(leaf).collect();
    let x = Tensor::<Nested, 2>::ones([256, WIDTH], &Default::default());
    let y = outer.iter().fold(x, |x, w| x.matmul(w.clone()).tanh());
    let grads = (y.clone() * y).mean().backward();
    let terms = outer.iter().enumerate();
    let terms = terms.map(|(l, w)| (w.grad(&grads).unwrap() * layer(direction, l)).sum());
    let grads = terms.reduce(|sum, term| sum + term).unwrap().backward();
    inner.iter().for_each(|w| drop(w.grad(&grads).unwrap()));
}

/// The mean of ten runs in milliseconds, after one to warm up.
fn milliseconds(work: impl Fn()) -> f64 {
    work();
    let start = Instant::now();
    (0..10).for_each(|_| work());
    start.elapsed().as_secs_f64() * 100.0
}

fn main() {
    let weights = Distribution::Normal(0.0, 0.04);
    let draw = |_| Tensor::<Flex, 2>::random([WIDTH, WIDTH], weights, &Default::default());
    let [at, v] = [0, 1].map(|_| (0..LAYERS).map(draw).collect::<Vector<Flex>>());
    let slope = milliseconds(|| drop(gradient::<Tape>(loss, &at, |_| true)));
    let product = milliseconds(|| drop(hessian_product::<Tape>(loss, &at, &v, |_| true)));
    let nested = milliseconds(|| nested_product(&at, &v));
    println!("gradient         {slope:>6.1} ms");
    println!("Hessian product  {product:>6.1} ms, {:.1} gradients", product / slope);
    println!("nested tapes     {nested:>6.1} ms, {:.1} gradients", nested / slope);
}
